package people

import (
	"maps"
	"slices"
	"strings"
)

// ready is a person made ready to be compared under one profile.
type ready struct {
	person *Person
	names  []name
	born   born
	dated  bool
	sex    string
	phones []string
	places []string
	mother []token
	ids    []typed
	keys   []string // blocking keys, made when first needed
}

// typed is what a person has of one type of identifier.
type typed struct {
	typ, title string // folded, and as it was written
	rule       *IdentifierRule
	values     []string // normalised
	text       string
}

func (x *index) ready(p *Person) *ready {
	r := &ready{person: p, sex: strings.ToUpper(fold(p.Sex))}
	for _, n := range p.Names {
		if made := x.name(n); len(made.tokens) > 0 {
			r.names = append(r.names, made)
		}
	}
	r.born, r.dated = readBorn(p)
	for _, phone := range p.Phones {
		if d := lastDigits(phone); d != "" && !slices.Contains(r.phones, d) {
			r.phones = append(r.phones, d)
		}
	}
	for _, place := range p.Places {
		if f := fold(place); f != "" {
			r.places = append(r.places, f)
		}
	}
	r.mother = x.tokens(p.Mother)
	r.ids = x.typed(p.Identifiers)
	return r
}

// lastDigits are the last nine digits of a phone number: what is left of it once
// the country code or the trunk zero is gone. Fewer than seven are no number.
func lastDigits(phone string) string {
	d := digits(phone)
	if len(d) < 7 {
		return ""
	}
	return d[max(0, len(d)-9):]
}

func (x *index) typed(ids []Identifier) []typed {
	byType := map[string]*typed{}
	for _, id := range ids {
		rule := x.identifier(id.Type)
		value := normalIdentifier(rule, id.Value)
		if value == "" {
			continue
		}
		typ := fold(id.Type)
		t := byType[typ]
		if t == nil {
			t = &typed{typ: typ, title: id.Type, rule: rule}
			byType[typ] = t
		}
		if !slices.Contains(t.values, value) {
			t.values = append(t.values, value)
			t.text = strings.TrimPrefix(t.text+", "+strings.TrimSpace(id.Value), ", ")
		}
	}
	var out []typed
	for _, typ := range slices.Sorted(maps.Keys(byType)) {
		out = append(out, *byType[typ])
	}
	return out
}

// normalIdentifier leaves case, blanks, dashes and other marks out, and leading
// zeros if the rule says so. Empty: not to be compared.
func normalIdentifier(rule *IdentifierRule, value string) string {
	if rule == nil {
		return ""
	}
	v := strings.ToUpper(foldAll(value))
	if rule.IgnoreZeros {
		v = strings.TrimLeft(v, "0")
	}
	return v
}

func (x *index) sex(a, b *ready) graded {
	c := x.clues[Sex]
	if c == nil || a.sex == "" || b.sex == "" {
		return graded{}
	}
	g, w := c.weight(when(a.sex == b.sex, Same)...)
	return graded{grade: g, weight: w, a: a.person.Sex, b: b.person.Sex}
}

func when(is bool, g Grade) []Grade {
	if is {
		return []Grade{g}
	}
	return nil
}

func (x *index) birth(a, b *ready) graded {
	c := x.clues[BirthDate]
	if c == nil || !a.dated || !b.dated {
		return graded{}
	}
	g, w := c.weight(c.birthFits(a.born, b.born)...)
	return graded{grade: g, weight: w, a: a.person.Born, b: b.person.Born}
}

func (x *index) phone(a, b *ready) graded {
	c := x.clues[Phone]
	if c == nil || len(a.phones) == 0 || len(b.phones) == 0 {
		return graded{}
	}
	var fits []Grade
	for _, p := range a.phones {
		for _, q := range b.phones {
			if p == q {
				fits = append(fits, Same)
			} else if Damerau(p, q) == 1 {
				fits = append(fits, Alike)
			}
		}
	}
	g, w := c.weight(fits...)
	return graded{grade: g, weight: w, a: strings.Join(a.person.Phones, ", "), b: strings.Join(b.person.Phones, ", ")}
}

func (x *index) place(a, b *ready) graded {
	c := x.clues[Place]
	if c == nil || len(a.places) == 0 || len(b.places) == 0 {
		return graded{}
	}
	var fits []Grade
	p, q := a.places[0], b.places[0]
	if p == q {
		fits = append(fits, Same)
	} else if x.alike(c, p, q) {
		fits = append(fits, Alike)
	}
	for _, p := range a.places {
		if slices.Contains(b.places, p) {
			fits = append(fits, Partly)
			break
		}
	}
	g, w := c.weight(fits...)
	return graded{grade: g, weight: w, a: strings.Join(a.person.Places, ", "), b: strings.Join(b.person.Places, ", ")}
}

func (x *index) alike(c *Clue, p, q string) bool {
	long, short := max(len(p), len(q)), min(len(p), len(q))
	edits := Damerau(p, q)
	if c.Edits > 0 {
		return float64(edits) <= c.Edits*float64(long)
	}
	return oneWord(p, q, edits, short)
}

// mother compares the mother's name as a bag of parts: who wrote it down had it
// from somebody else, in any order.
func (x *index) mother(a, b *ready) graded {
	c := x.clues[Mother]
	if c == nil || len(a.mother) == 0 || len(b.mother) == 0 {
		return graded{}
	}
	short, long := a.mother, b.mother
	if len(short) > len(long) || len(short) == len(long) && fold(a.person.Mother) > fold(b.person.Mother) {
		short, long = long, short
	}
	mated, equal := 0, 0
	used := make([]bool, len(long))
	for _, exact := range []bool{true, false} {
		for i := range short {
			for j := range long {
				if used[j] || exact != (short[i].fold == long[j].fold) {
					continue
				}
				if exact || fitting(&short[i], &long[j]).grades&^fitInitial != 0 && !holds(short[i].fold, long) {
					used[j] = true
					mated++
					equal += count(exact)
					break
				}
			}
		}
	}
	whole := mated >= len(short) && (len(short) > 1 || len(long) == 1)
	var fits []Grade
	if whole && equal == mated {
		fits = append(fits, Same)
	}
	if whole {
		fits = append(fits, Alike)
	}
	if mated > 0 {
		fits = append(fits, Partly)
	}
	g, w := c.weight(fits...)
	return graded{grade: g, weight: w, a: a.person.Mother, b: b.person.Mother}
}

func holds(fold string, tokens []token) bool {
	for i := range tokens {
		if tokens[i].fold == fold {
			return true
		}
	}
	return false
}

func (x *index) other(c *Clue, a, b *ready) graded {
	name := strings.TrimPrefix(c.Name, otherClue)
	p, q := fold(a.person.Others[name]), fold(b.person.Others[name])
	if p == "" || q == "" {
		return graded{}
	}
	fits := when(p == q, Same)
	if p == q || x.alike(c, p, q) {
		fits = append(fits, Alike)
	}
	g, w := c.weight(fits...)
	return graded{grade: g, weight: w, a: a.person.Others[name], b: b.person.Others[name]}
}

func identifier(a, b *typed) graded {
	g := graded{a: a.text, b: b.text}
	for _, p := range a.values {
		for _, q := range b.values {
			if p == q {
				g.grade, g.weight = Same, a.rule.Same
				return g
			}
			if min(len(p), len(q)) >= 5 && max(len(p), len(q)) <= longest && Damerau(p, q) == 1 {
				g.grade, g.weight = Alike, a.rule.Alike
			}
		}
	}
	if a.rule.Several {
		return graded{}
	}
	if g.grade == "" || a.rule.Alike == 0 {
		g.grade, g.weight = Different, a.rule.Different
	}
	return g
}
