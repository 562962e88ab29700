package people

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// finder is a WeightedPropertyPatientFinder of CommCare's MOTECH.
type finder struct {
	Searchable []string `json:"searchable_properties"`
	Weights    []struct {
		Property string    `json:"case_property"`
		Weight   float64   `json:"weight"`
		Type     string    `json:"match_type"`
		Params   []float64 `json:"match_params"`
	} `json:"property_weights"`
}

type vectors struct {
	Threshold float64 `json:"threshold_default"`
	Margin    float64 `json:"confidence_margin_default"`
	Cases     []struct {
		Case     map[string]string `json:"case"`
		Expected string            `json:"expected"`
	} `json:"cases"`
	Properties map[string]string  `json:"jsonpath_expectations"`
	Functions  map[string][][]any `json:"match_functions"`
}

func read[T any](t *testing.T, file string) (out T) {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// clueOf says which clue a case property of the example is.
var clueOf = map[string]string{"first_name": GivenName, "last_name": FamilyName, "dob": BirthDate, "address_2": otherClue + "address_2"}

// asPeople writes a finder as an officer would write it under people in
// integration.yaml.
func (f finder) asPeople(threshold, margin float64) map[string]any {
	clues := map[string]any{}
	for _, w := range f.Weights {
		clue := map[string]any{"same": w.Weight}
		switch w.Type {
		case "levenshtein":
			clue["alike"], clue["errors in a letter"] = w.Weight, w.Params[0]
		case "days_diff":
			clue["close"], clue["days"] = w.Weight, w.Params[0]
		}
		clues[clueOf[w.Property]] = clue
	}
	return map[string]any{"match": map[string]any{"definite": threshold, "near": threshold, "margin": fmt.Sprintf("%g %%", margin*100), "clues": clues}}
}

func motech(t *testing.T) (Profile, finder, vectors) {
	f, v := read[finder](t, "openmrs.patient-finder.json"), read[vectors](t, "finder.vectors.json")
	p, err := ParseProfile(f.asPeople(v.Threshold, v.Margin))
	if err != nil {
		t.Fatal(err)
	}
	return p, f, v
}

func fromProperties(m map[string]string) Person {
	return Person{Names: []Name{{Given: m["first_name"], Family: m["last_name"]}}, Born: m["dob"], Others: map[string]string{"address_2": m["address_2"]}}
}

func TestTheWeightedPropertyFinderIsExpressible(t *testing.T) {
	p, _, v := motech(t)
	patient := fromProperties(v.Properties)
	for i, c := range v.Cases {
		d := Decide(p, fromProperties(c.Case), []Candidate{{"patient", patient}})
		want, outcome := c.Expected == "score >= 1", None
		if want {
			outcome = Definite
		}
		if total := d.Ranked[0].Total; (total >= 1) != want || d.Outcome != outcome {
			t.Errorf("case %d: %v, %s because %q; want %s", i, total, d.Outcome, d.Why, c.Expected)
		}
	}
	if got, want := Compare(p, fromProperties(v.Cases[0].Case), patient).Total, 0.45+0.45+0.2+0.2; math.Abs(got-want) > 1e-9 {
		t.Errorf("the first case weighs %v, want %v", got, want)
	}
}

func TestItsMatchFunctionsAgree(t *testing.T) {
	p, _, v := motech(t)
	for _, c := range v.Functions["days_diff"] {
		s := Compare(p, Person{Born: c[1].(string)}, Person{Born: c[2].(string)})
		if (s.Total > 0) != c[3].(bool) {
			t.Errorf("days_diff %v: %+v", c, s.Terms)
		}
	}
	for _, c := range v.Functions["levenshtein"] {
		s := Compare(p, named(c[1].(string), "", ""), named(c[2].(string), "", ""))
		if (s.Total > 0) != c[3].(bool) {
			t.Errorf("levenshtein %v: %+v", c, s.Terms)
		}
	}
}

// levenshtein knows no exchange of neighbours, as MOTECH's.
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// score is what the finder gives, by its own rules.
func (f finder) score(a, b map[string]string) float64 {
	sum := 0.0
	for _, w := range f.Weights {
		x, y := a[w.Property], b[w.Property]
		match := x == y
		switch w.Type {
		case "levenshtein":
			match = float64(levenshtein(x, y))/float64(max(len(x), len(y))) <= w.Params[0]
		case "days_diff":
			p, _ := readBorn(&Person{Born: x})
			q, _ := readBorn(&Person{Born: y})
			match = abs(p.days-q.days) <= int(w.Params[0])
		}
		if match {
			sum += w.Weight
		}
	}
	return math.Round(sum*1e6) / 1e6
}

// TestTheProfileOfTheManualIsTheFinders: the text of docs/matching-motech.md.
func TestTheProfileOfTheManualIsTheFinders(t *testing.T) {
	want, _, _ := motech(t)
	got, err := parse(t, `
match:
  definite: 1
  near: 1
  margin: 66.7 %
  clues:
    given name: {same: 0.45, alike: 0.45, errors in a letter: 0.2}
    family name: {same: 0.45}
    birth date: {same: 0.2, close: 0.2, days: 364}
    'other: address_2': {same: 0.2}
`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := same(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTotalsAndChoicesAreTheFindersWhereItIsRight: over people whose names are
// written in one way and complete. Where the choice is another, a rule that the
// finder lacks says why.
func TestTotalsAndChoicesAreTheFindersWhereItIsRight(t *testing.T) {
	p, f, v := motech(t)
	agreed, stricter := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) map[string]string {
			pick := func(words string) string {
				return rapid.SampledFrom(strings.Fields(words)).Draw(t, label)
			}
			return map[string]string{
				"first_name": pick("mahapajapati mapajapati riyaz riaz devi"), "last_name": pick("gotami thapa"),
				"dob": pick("1984-03-02 1984-12-03 1985-03-02 1990-05-06"), "address_2": pick("gardens riverside"),
			}
		}
		wanted := draw("wanted")
		type scored struct {
			id    string
			score float64
		}
		var candidates []Candidate
		var passing []scored
		for i := range rapid.IntRange(1, 3).Draw(t, "candidates") {
			c, id := draw("candidate"), string(rune('a'+i))
			candidates = append(candidates, Candidate{id, fromProperties(c)})
			score := f.score(wanted, c)
			if got := Compare(p, fromProperties(wanted), fromProperties(c)).Total; got != score {
				t.Fatalf("%v and %v weigh %v, want %v", wanted, c, got, score)
			}
			if score >= v.Threshold {
				passing = append(passing, scored{id, score})
			}
		}
		slices.SortStableFunc(passing, func(a, b scored) int { return int(1e6 * (b.score - a.score)) })
		accepted := ""
		if len(passing) == 1 || len(passing) > 1 && passing[0].score/passing[1].score > 1+v.Margin {
			accepted = passing[0].id
		}
		d := Decide(p, fromProperties(wanted), candidates)
		switch {
		case d.Outcome == Definite && d.Best != accepted:
			t.Fatalf("%s is definite, and the finder takes %q", d.Best, accepted)
		case accepted != "" && d.Outcome != Definite:
			stricter++
			if len(d.Ranked[0].NotDefinite) == 0 {
				t.Fatalf("the finder takes %q, and %s because of %q", accepted, d.Outcome, d.Why)
			}
		case accepted == "" && len(passing) == 0 && d.Outcome != None:
			t.Fatalf("the finder finds nobody, and this is %s", d.Outcome)
		default:
			agreed++
		}
	})
	if agreed == 0 {
		t.Errorf("agreed %d times, stricter %d times", agreed, stricter)
	}
}

// TestWhereTheFinderIsWrong holds the examples of docs/matching-motech.md: what the finder does
// and what the standard profile does.
func TestWhereTheFinderIsWrong(t *testing.T) {
	p, f, _ := motech(t)
	full := map[string]string{"first_name": "mahapajapati", "last_name": "gotami", "dob": "1984-03-02", "address_2": "gardens"}
	with := func(key, value string) map[string]string {
		m := map[string]string{}
		for k, v := range full {
			m[k] = v
		}
		m[key] = value
		return m
	}
	for _, c := range []struct {
		what         string
		other        map[string]string
		finder, ours float64
	}{
		{"an accent", with("last_name", "gotamí"), 0.85, 1.3},
		{"a capital letter", with("last_name", "Gotami"), 0.85, 1.3},
		{"a blank at the end", with("last_name", "gotami "), 0.85, 1.3},
		{"a father of the same name, born 24 years earlier", with("dob", "1960-03-02"), 1.1, 1.1},
	} {
		if got := f.score(full, c.other); got != c.finder {
			t.Errorf("%s: the finder gives %v, and docs/matching-motech.md says %v", c.what, got, c.finder)
		}
		if got := Compare(p, fromProperties(full), fromProperties(c.other)).Total; got != c.ours {
			t.Errorf("%s: its profile gives %v, and docs/matching-motech.md says %v", c.what, got, c.ours)
		}
	}
	if levenshtein("riyaz", "riayz") != 2 || Damerau("riyaz", "riayz") != 1 {
		t.Error("two letters exchanged are two errors for the finder and one here")
	}
	asPerson := func(m map[string]string) Person {
		q := fromProperties(m)
		q.Places = []string{m["address_2"]}
		return q
	}
	if d := Decide(Standard(), asPerson(full), []Candidate{{"father", asPerson(with("dob", "1960-03-02"))}}); d.Outcome == Definite {
		t.Error("the standard profile takes the father for the son")
	}
}
