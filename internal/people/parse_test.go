package people

import (
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func parse(t *testing.T, text string) (Profile, error) {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return ParseProfile(m)
}

func same(a, b Profile) string { return cmp.Diff(a, b, cmpopts.IgnoreUnexported(Profile{})) }

func TestTheStandardProfileIsMeantByItsNameOrByNothing(t *testing.T) {
	for _, text := range []string{"match: standard", "near: create", "match: {from: standard}", "match: standard\nnear: ask\nseveral: ask"} {
		p, err := parse(t, text)
		want := Standard()
		want.Name = p.Name
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if diff := same(want, p); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestAProfileMayChangeTheStandardOne(t *testing.T) {
	p, err := parse(t, `
match:
  from: standard
  definite: 13
  near: 6.5
  margin: 50 %
  very common names: [Okello]
  common names: []
  clues:
    phone: {same: 4}
    mother: no
    birth date: {days: 5, years: 2, same year: 2}
    'other: school': {same: 1, alike: 0.5, different: -1, errors in a letter: 0.1}
  identifiers:
    National ID: {same: 12}
    Insurance: {several: yes, different: 0}
    TB number: {unique: no, ignore leading zeros: yes}
    Old number: no
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Standard()
	want.Name, want.Definite, want.Near, want.Margin, want.MarginShare = "standard, changed", 13, 6.5, 0, 0.5
	want.VeryCommon, want.Common = []string{"Okello"}, nil
	for i := range want.Clues {
		switch c := &want.Clues[i]; c.Name {
		case Phone:
			c.Weights[Same] = 4
		case BirthDate:
			c.Days, c.Years, c.Weights[SameYear] = 5, 2, 2
		}
	}
	want.Clues = slices.DeleteFunc(want.Clues, func(c Clue) bool { return c.Name == Mother })
	want.Clues = append(want.Clues, Clue{Name: "other: school", Edits: 0.1, Weights: map[Grade]float64{Same: 1, Alike: 0.5, Different: -1}})
	want.Identifiers = append(want.Identifiers,
		IdentifierRule{Type: "Insurance", Same: 10, Alike: 3, Several: true},
		IdentifierRule{Type: "National ID", Same: 12, Alike: 3, Different: -6, Unique: true},
		IdentifierRule{Type: "Old number", Several: true},
		IdentifierRule{Type: "TB number", Same: 10, Alike: 3, Different: -6, IgnoreZeros: true})
	if diff := same(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if fresh := Standard(); fresh.Clues[6].Weights[Same] == 4 || len(fresh.Clues) == len(p.Clues)+1 {
		t.Error("the standard profile was changed with it")
	}
}

func TestEveryProblemNamesItsKey(t *testing.T) {
	for text, want := range map[string]string{
		"match: best":                      `people.match: there is no profile "best"; there is standard`,
		"match: 3":                         "people.match: is neither",
		"match: [standard]":                "people.match: is neither",
		"match: {from: best}":              "people.match.from: there is no profile",
		"match: {from: 1}":                 "people.match.from: is not a text",
		"match: {}":                        "people.match.clues: is missing",
		"match: {clues: {sex: {same: 1}}}": "people.match.definite: is missing",
		"match: {clues: {sex: {same: 1}}, definite: 1}":                               "people.match.near: is missing",
		"match: {from: standard, near: 20}":                                           "people.match.near: is more than definite",
		"match: {from: standard, definite: high}":                                     "people.match.definite: is not a number",
		"match: {from: standard, definite: .inf}":                                     "people.match.definite: is not a number",
		"match: {from: standard, margin: much}":                                       "people.match.margin: is neither",
		"match: {from: standard, margin: -3}":                                         "people.match.margin: is below 0",
		"match: {from: standard, margin: NaN %}":                                      "people.match.margin: is neither",
		"match: {from: standard, threshold: 1}":                                       "people.match.threshold: is not a key of a profile",
		"match: {from: standard, common names: Okello}":                               "people.match.common names: is not a list",
		"match: {from: standard, common names: [Okello, 3]}":                          "people.match.common names.2: is not a name",
		"match: {from: standard, clues: [sex]}":                                       "people.match.clues: is not a mapping",
		"match: {from: standard, clues: {height: {same: 1}}}":                         "people.match.clues.height: is not a clue; there are given name",
		"match: {from: standard, clues: {'other: ': {same: 1}}}":                      "people.match.clues.other: : is not a clue",
		"match: {from: standard, clues: {phone: 3}}":                                  "people.match.clues.phone: is not a mapping",
		"match: {from: standard, clues: {phone: {nickname: 3}}}":                      "people.match.clues.phone.nickname: is no grade of this clue; there are same, alike, different",
		"match: {from: standard, clues: {phone: {same: yes}}}":                        "people.match.clues.phone.same: is not a number",
		"match: {from: standard, clues: {phone: {days: 3}}}":                          "people.match.clues.phone.days: is no grade",
		"match: {from: standard, clues: {birth date: {days: 1.5}}}":                   "people.match.clues.birth date.days: is not a whole number",
		"match: {from: standard, clues: {birth date: {years: -1}}}":                   "people.match.clues.birth date.years: is below 0",
		"match: {from: standard, clues: {place: {errors in a letter: 2}}}":            "people.match.clues.place.errors in a letter: is 1 or more",
		"match: {from: standard, identifiers: [ID]}":                                  "people.match.identifiers: is not a mapping",
		"match: {from: standard, identifiers: {ID: 4}}":                               "people.match.identifiers.ID: is not a mapping",
		"match: {from: standard, identifiers: {ID: {equal: 4}}}":                      "people.match.identifiers.ID.equal: is not a key of an identifier",
		"match: {from: standard, identifiers: {others: {unique: maybe}}}":             "people.match.identifiers.others.unique: is neither yes nor no",
		"match: {from: standard, identifiers: {ID: {unique: yes, several: yes}}}":     "people.match.identifiers.ID: is unique and several at once",
		"match: {from: standard, clues: {phone: {same: x}}, near: y, identifiers: 3}": "people.match.clues.phone.same: is not a number\npeople.match.identifiers: is not a mapping\npeople.match.near: is not a number",
	} {
		if _, err := parse(t, text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestFieldsAreWhatParseProfileReads sets every key that the reference lists.
func TestFieldsAreWhatParseProfileReads(t *testing.T) {
	for _, f := range Fields() {
		if f.About == "" || f.Shape == "" {
			t.Errorf("%s says nothing", f.Path)
		}
		var value any = 1
		switch f.Shape {
		case "text":
			value = "standard"
		case "list of texts":
			value = []any{"Okello"}
		case "yes or no":
			value = "yes"
		case "weights":
			weights := map[string]any{}
			for _, g := range f.Grades {
				weights[g] = 1
			}
			value = weights
		case "number", "number or share":
			if strings.HasSuffix(f.Path, settingEdits) {
				value = 0.2
			}
			if f.Path == "definite" || f.Path == "near" {
				value = 9.5
			}
		default:
			t.Errorf("%s is of the shape %q", f.Path, f.Shape)
		}
		keys := strings.Split(f.Path, ".")
		for _, key := range slices.Backward(keys) {
			value = map[string]any{key: value}
		}
		m := value.(map[string]any)
		m["from"] = "standard"
		p, err := ParseProfile(map[string]any{"match": m})
		if err != nil {
			t.Errorf("%s: %v", f.Path, err)
		} else if f.Path != "from" && f.Path != "identifiers.TYPE.several" && same(Standard(), p) == "" {
			t.Errorf("%s changes nothing", f.Path)
		}
	}
	var listed []string
	for _, f := range Fields() {
		listed = append(listed, f.Path)
	}
	for _, c := range Standard().Clues {
		if !slices.Contains(listed, "clues."+c.Name) {
			t.Errorf("the standard profile has %s, which is not listed", c.Name)
		}
	}
}

// FuzzParseProfile: whatever YAML stands there, there is no panic, and what is
// read can be used.
func FuzzParseProfile(f *testing.F) {
	f.Add("match: {from: standard, margin: 3 %, clues: {sex: no}}")
	f.Add("match: {definite: 1e300, near: -0, clues: {'other: x': {same: -.inf}}}")
	f.Add("match: {from: standard, identifiers: {'': {same: 1}, others: no}}")
	f.Fuzz(func(t *testing.T, text string) {
		var m map[string]any
		if yaml.Unmarshal([]byte(text), &m) != nil {
			return
		}
		if p, err := ParseProfile(m); err == nil {
			symmetric(t, p, achieng(), but(achieng(), func(p *Person) { p.Names[0].Given = "Brenda" }))
		}
	})
}
