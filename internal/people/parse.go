package people

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ParseProfile reads the profile from what stands under people in
// integration.yaml, decoded: its key match is the name of a shipped profile
// ("standard", also if it is left out) or a mapping of the keys that Fields
// lists. The other keys under people are not read here. The error joins all
// problems, each with the path of its key; the profile is ready for use.
func ParseProfile(people map[string]any) (Profile, error) {
	r := &reader{}
	var p Profile
	switch v := people["match"].(type) {
	case nil:
		p = Standard()
	case string:
		p = r.shipped("people.match", v)
	case map[string]any:
		p = r.profile("people.match", v)
	default:
		r.problem("people.match", "is neither the name of a profile nor a mapping")
	}
	if err := errors.Join(r.problems...); err != nil {
		return Profile{}, err
	}
	return p.Ready(), nil
}

type reader struct{ problems []error }

func (r *reader) problem(path, format string, a ...any) {
	r.problems = append(r.problems, fmt.Errorf(path+": "+format, a...))
}

func (r *reader) shipped(path, name string) Profile {
	if name != "standard" {
		r.problem(path, "there is no profile %q; there is standard", name)
	}
	return Standard()
}

func (r *reader) profile(path string, m map[string]any) Profile {
	p := Profile{Name: "of the integration"}
	if from, given := m["from"]; given {
		name, ok := from.(string)
		if !ok {
			r.problem(path+".from", "is not a text")
		} else {
			p = r.shipped(path+".from", name)
			p.Name += ", changed"
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at, v := path+"."+key, m[key]
		switch key {
		case "from":
		case "definite":
			p.Definite = r.number(at, v)
		case "near":
			p.Near = r.number(at, v)
		case "margin":
			p.Margin, p.MarginShare = r.margin(at, v)
		case "very common names":
			p.VeryCommon = r.texts(at, v)
		case "common names":
			p.Common = r.texts(at, v)
		case "clues":
			r.clues(at, v, &p)
		case "identifiers":
			r.identifiers(at, v, &p)
		default:
			r.problem(at, "is not a key of a profile; there are from, definite, near, margin, clues, identifiers, common names, very common names")
		}
	}
	r.whole(path, &p)
	return p
}

// whole checks what no single key tells.
func (r *reader) whole(path string, p *Profile) {
	if len(r.problems) > 0 {
		return
	}
	switch {
	case len(p.Clues)+len(p.Identifiers) == 0:
		r.problem(path+".clues", "is missing: a profile without from names at least one clue")
	case p.Definite <= 0:
		r.problem(path+".definite", "is missing or not above 0: everybody would be the person wanted")
	case p.Near <= 0:
		r.problem(path+".near", "is missing or not above 0: everybody would be shown")
	case p.Near > p.Definite:
		r.problem(path+".near", "is more than definite: a definite match would not be near")
	}
}

func (r *reader) number(path string, v any) float64 {
	switch v := v.(type) {
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case float64:
		if !math.IsNaN(v) && math.Abs(v) <= 1e6 {
			return v
		}
	}
	r.problem(path, "is not a number")
	return 0
}

func (r *reader) positive(path string, v any) float64 {
	n := r.number(path, v)
	if n < 0 {
		r.problem(path, "is below 0")
	}
	return n
}

// margin is a number, or a share as "67 %".
func (r *reader) margin(path string, v any) (points, share float64) {
	text, ok := v.(string)
	if !ok {
		return r.positive(path, v), 0
	}
	percent, found := strings.CutSuffix(strings.TrimSpace(text), "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(percent), 64)
	if !found || err != nil || !(n >= 0 && n <= 1000) {
		r.problem(path, "is neither a number nor a share such as 67 %%")
		return 0, 0
	}
	return 0, n / 100
}

func (r *reader) texts(path string, v any) []string {
	list, ok := v.([]any)
	if !ok {
		r.problem(path, "is not a list of texts")
		return nil
	}
	var out []string
	for i, v := range list {
		text, ok := v.(string)
		if !ok || fold(text) == "" {
			r.problem(fmt.Sprintf("%s.%d", path, i+1), "is not a name")
			continue
		}
		out = append(out, text)
	}
	return out
}

func (r *reader) mapping(path string, v any) map[string]any {
	m, ok := v.(map[string]any)
	if !ok {
		r.problem(path, "is not a mapping")
	}
	return m
}

func (r *reader) clues(path string, v any, p *Profile) {
	m := r.mapping(path, v)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at, allowed := path+"."+name, grades[name]
		if other, is := strings.CutPrefix(name, otherClue); is && strings.TrimSpace(other) != "" {
			allowed = otherGrades
		}
		if allowed == nil {
			r.problem(at, "is not a clue; there are %s, and other: NAME", strings.Join(clueOrder, ", "))
			continue
		}
		p.Clues = slices.Clone(p.Clues)
		i := slices.IndexFunc(p.Clues, func(c Clue) bool { return c.Name == name })
		if dropped(m[name]) {
			if i >= 0 {
				p.Clues = slices.Delete(p.Clues, i, i+1)
			}
			continue
		}
		if i < 0 {
			p.Clues = append(p.Clues, Clue{Name: name, Weights: map[Grade]float64{}})
			i = len(p.Clues) - 1
		}
		r.clue(at, m[name], &p.Clues[i], allowed)
	}
}

// dropped tells whether a clue or type of the profile begun from is left out.
func dropped(v any) bool { return v == any(false) || v == any("no") }

func (r *reader) clue(path string, v any, c *Clue, allowed []Grade) {
	m := r.mapping(path, v)
	settings := clueSettings[c.Name]
	if strings.HasPrefix(c.Name, otherClue) {
		settings = []string{settingEdits}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at, v := path+"."+key, m[key]
		switch {
		case slices.Contains(allowed, Grade(key)):
			c.Weights[Grade(key)] = r.number(at, v)
		case !slices.Contains(settings, key):
			r.problem(at, "is no grade of this clue; there are %s", strings.Join(append(texts(allowed), settings...), ", "))
		case key == settingEdits:
			if c.Edits = r.positive(at, v); c.Edits >= 1 {
				r.problem(at, "is 1 or more: any two words would be alike")
			}
		case key == settingDays:
			c.Days = r.integer(at, v)
		case key == settingYears:
			c.Years = r.integer(at, v)
		}
	}
}

// integer is a whole number up to a lifetime's days.
func (r *reader) integer(path string, v any) int {
	n := r.positive(path, v)
	if n != math.Trunc(n) || n > 50_000 {
		r.problem(path, "is not a whole number up to 50000")
		return 0
	}
	return int(n)
}

func (r *reader) identifiers(path string, v any, p *Profile) {
	m := r.mapping(path, v)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at, typ := path+"."+name, name
		if name == anyType {
			typ = ""
		}
		p.Identifiers = slices.Clone(p.Identifiers)
		i := slices.IndexFunc(p.Identifiers, func(rule IdentifierRule) bool { return fold(rule.Type) == fold(typ) })
		if dropped(m[name]) {
			// A type that does not count, while others of no rule do.
			r.put(p, i, IdentifierRule{Type: typ, Several: true})
			continue
		}
		rule := IdentifierRule{Type: typ}
		if i >= 0 {
			rule = p.Identifiers[i]
		} else if others := slices.IndexFunc(p.Identifiers, func(rule IdentifierRule) bool { return rule.Type == "" }); others >= 0 {
			rule = p.Identifiers[others]
			rule.Type = typ
		}
		r.rule(at, m[name], &rule)
		r.put(p, i, rule)
	}
}

func (r *reader) put(p *Profile, i int, rule IdentifierRule) {
	if i >= 0 {
		p.Identifiers[i] = rule
	} else {
		p.Identifiers = append(p.Identifiers, rule)
	}
}

func (r *reader) rule(path string, v any, rule *IdentifierRule) {
	m := r.mapping(path, v)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at, v := path+"."+key, m[key]
		switch key {
		case "same":
			rule.Same = r.number(at, v)
		case "alike":
			rule.Alike = r.number(at, v)
		case "different":
			rule.Different = r.number(at, v)
		case "unique":
			rule.Unique = r.yes(at, v)
		case "several":
			rule.Several = r.yes(at, v)
		case "ignore leading zeros":
			rule.IgnoreZeros = r.yes(at, v)
		default:
			r.problem(at, "is not a key of an identifier; there are same, alike, different, unique, several, ignore leading zeros")
		}
	}
	if !rule.Several || !rule.Unique {
		return
	}
	_, several := m["several"]
	_, unique := m["unique"]
	switch {
	case several && unique:
		r.problem(path, "is unique and several at once")
	case several:
		rule.Unique = false
	default:
		rule.Several = false
	}
}

// yes reads yes or no: YAML 1.2 leaves these as text, and makes true and false
// of what is spelt so.
func (r *reader) yes(path string, v any) bool {
	switch v {
	case true, "yes":
		return true
	case false, "no":
		return false
	}
	r.problem(path, "is neither yes nor no")
	return false
}
