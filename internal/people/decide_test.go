package people

import (
	"slices"
	"strings"
	"testing"
)

func decide(wanted Person, candidates ...Person) Decision {
	var list []Candidate
	for i, c := range candidates {
		list = append(list, Candidate{string(rune('a' + i)), c})
	}
	return Decide(Standard(), wanted, list)
}

func TestOutcomes(t *testing.T) {
	wanted := achieng()
	stranger := Person{Names: []Name{{"Hery", "", "Rabe"}}, Born: "1970-05-06", Sex: "M"}
	vague := Person{Names: []Name{{"Mercy", "", "Obudho"}}}
	for _, c := range []struct {
		what       string
		candidates []Person
		want       Outcome
		best       string
	}{
		{"nobody there", nil, None, ""},
		{"a stranger", []Person{stranger}, None, ""},
		{"herself", []Person{stranger, wanted}, Definite, "b"},
		{"herself and somebody of her name", []Person{vague, wanted}, Definite, "b"},
		{"somebody of her name", []Person{vague, stranger}, Near, "a"},
		{"two of her name", []Person{vague, vague}, Several, ""},
		{"herself, twice in the register", []Person{wanted, wanted}, Several, ""},
		{"a record without anything", []Person{{}}, None, ""},
	} {
		d := decide(wanted, c.candidates...)
		if d.Outcome != c.want || d.Best != c.best {
			t.Errorf("%s: %s %q, want %s %q", c.what, d.Outcome, d.Best, c.want, c.best)
		}
		if asked := d.Outcome == Near || d.Outcome == Several; asked != (len(d.Why) > 0) {
			t.Errorf("%s: %s, because %q", c.what, d.Outcome, d.Why)
		}
		if len(d.Ranked) != len(c.candidates) {
			t.Errorf("%s: %d ranked", c.what, len(d.Ranked))
		}
	}
}

func TestACandidateGivenTwiceCountsOnce(t *testing.T) {
	d := Decide(Standard(), achieng(), []Candidate{{"a", achieng()}, {"a", achieng()}})
	if d.Outcome != Definite || len(d.Ranked) != 1 {
		t.Errorf("%s of %d", d.Outcome, len(d.Ranked))
	}
}

func TestSomeAreNeverDefinite(t *testing.T) {
	wanted := achieng()
	for _, c := range []struct {
		what string
		p    Person
		why  string // "": definite
	}{
		{"herself", wanted, ""},
		{"another value of a unique identifier", but(wanted, func(p *Person) { p.Identifiers[0].Value = "99999999" }), "nobody has two"},
		{"a typing error in a unique identifier", but(wanted, func(p *Person) { p.Identifiers[0].Value = "12345679" }), "nobody has two"},
		{"her twin", but(wanted, func(p *Person) { p.Names[0].Given = "Brenda"; p.Identifiers = nil }), "twins"},
		{"her twin, with her card", but(wanted, func(p *Person) { p.Names[0].Given = "Brenda" }), "twins"},
		{"her twin, whose name begins alike", but(wanted, func(p *Person) { p.Names[0].Given = "M"; p.Identifiers = nil }), "twins"},
		{"her twin, told by the second name", but(wanted, func(p *Person) { p.Names[0].Middle = "Akinyi"; p.Identifiers = nil }), "twins"},
		{"her twin, family name first", but(wanted, func(p *Person) { p.Names[0] = Name{"Obudho", "", "Brenda"}; p.Identifiers = nil }), "another given name"},
		{"another sex", but(wanted, func(p *Person) { p.Sex = "M"; p.Identifiers = nil }), "another sex"},
		{"another sex, with her card", but(wanted, func(p *Person) { p.Sex = "M" }), ""},
		{"a brother with her card", but(wanted, func(p *Person) { p.Sex, p.Names[0].Given, p.Born = "M", "Brian", "2016-02-03" }), "relative"},
		{"her mother of the same name, no birth date", but(wanted, func(p *Person) { p.Born, p.Mother, p.Identifiers = "", "", nil }), "birth date is missing"},
		{"a newborn without a name", but(wanted, func(p *Person) { p.Names[0].Given, p.Names[0].Middle, p.Identifiers = "Baby", "", nil }), "given name is not known"},
		{"about her age elsewhere", but(wanted, func(p *Person) {
			p.Born, p.Phones, p.Places, p.Mother, p.Identifiers = "2019-01-01", nil, nil, "", nil
		}), "about the age"},
	} {
		d := decide(wanted, c.p)
		if c.why == "" {
			if d.Outcome != Definite {
				t.Errorf("%s: %s, because %q", c.what, d.Outcome, d.Why)
			}
			continue
		}
		if d.Outcome == Definite || !slices.ContainsFunc(append(d.Why, d.Ranked[0].NotDefinite...), func(w string) bool { return strings.Contains(w, c.why) }) {
			t.Errorf("%s: %s, because %q", c.what, d.Outcome, append(d.Why, d.Ranked[0].NotDefinite...))
		}
	}
}

// TestTwinsAreNeverDefinite: both have one name exchanged with the family's, in
// one register or in both.
func TestTwinsAreNeverDefinite(t *testing.T) {
	swap := func(p Person) Person {
		return but(p, func(p *Person) { n := &p.Names[0]; n.Given, n.Family = n.Family, n.Given })
	}
	for _, pair := range [][2]string{{"Mercy", "Brenda"}, {"Hassan", "Hussein"}, {"Achieng", "Atieno"}, {"Achieng", "Ochieng"}, {"Wanjiku", "Wanjiru"}, {"Kato", "Wasswa"}, {"Jean", "Jeanne"}, {"Opio", "Ocen"}} {
		one := but(achieng(), func(p *Person) { p.Names[0] = Name{pair[0], "", "Obudho"}; p.Identifiers = nil })
		two := but(one, func(p *Person) { p.Names[0].Given = pair[1] })
		for _, a := range []Person{one, swap(one)} {
			for _, b := range []Person{two, swap(two)} {
				if d := decide(a, b); d.Outcome == Definite {
					t.Errorf("%v and %v are definite: %+v", a.Names, b.Names, d.Ranked[0].Terms)
				}
			}
		}
	}
}

func TestASharedPhoneAloneIsNotNear(t *testing.T) {
	p := Standard()
	p.Near = 1
	for _, c := range []Person{
		{Phones: []string{"0722123456"}},
		{Phones: []string{"0722123456"}, Sex: "F", Places: []string{"Nyalenda"}},
		{Phones: []string{"0722123456"}, Sex: "F", Places: []string{"Nyalenda"}, Names: []Name{{"Hery", "", "Rabe"}}},
	} {
		d := Decide(p, achieng(), []Candidate{{"a", c}})
		if d.Outcome != None || len(d.Ranked[0].NotNear) == 0 {
			t.Errorf("%+v is %s", c, d.Outcome)
		}
	}
}

func TestTheBestMustBeatTheSecondByTheMargin(t *testing.T) {
	wanted := but(achieng(), func(p *Person) { p.Identifiers, p.Mother = nil, "" })
	second := but(wanted, func(p *Person) { p.Places = nil })
	if d := decide(wanted, wanted, second); d.Outcome != Several || !strings.Contains(strings.Join(d.Why, " "), "behind") {
		t.Errorf("2 ahead: %s %q", d.Outcome, d.Why)
	}
	second.Phones = nil
	if d := decide(wanted, wanted, second); d.Outcome != Definite || d.Best != "a" {
		t.Errorf("5 ahead: %s %q", d.Outcome, d.Why)
	}
}

func TestBlocksHoldEveryWayToFindSomebody(t *testing.T) {
	got := Blocks(Standard(), Person{
		Names: []Name{{"Betty", "", "Wanjiku"}}, Born: "1984-12-03", Phones: []string{"+254 722 123 456"}, Identifiers: []Identifier{{"National ID", "12-34"}},
	})
	for _, want := range []string{"b:1984-03-12", "i:nationalid:1234", "p:722123456", "n:bt:1984", "n:bt:03-12", "nn:bt:unjk"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("not in order, or twice: %q", got)
	}
	years := Blocks(Standard(), Person{Names: []Name{{"Betty", "", ""}}, Born: "1984-01-01"})
	for _, want := range []string{"n:bt:1981", "n:bt:1984", "n:bt:1987"} {
		if !slices.Contains(years, want) {
			t.Errorf("%q is not among %q", want, years)
		}
	}
	if got := Blocks(Standard(), Person{}); len(got) != 0 {
		t.Errorf("nobody has %q", got)
	}
}
