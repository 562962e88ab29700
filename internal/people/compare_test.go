package people

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// achieng is somebody of whom much is known.
func achieng() Person {
	return Person{
		Names: []Name{{"Mercy", "Achieng", "Obudho"}}, Born: "2019-08-14", Sex: "F", Phones: []string{"+254 722 123 456"},
		Places: []string{"Nyalenda", "Kisumu"}, Mother: "Rose Auma", Identifiers: []Identifier{{"National ID", "1234-5678"}},
	}
}

// but gives somebody with one thing changed.
func but(p Person, change func(*Person)) Person {
	p.Names, p.Identifiers = slices.Clone(p.Names), slices.Clone(p.Identifiers)
	p.Phones, p.Places = slices.Clone(p.Phones), slices.Clone(p.Places)
	change(&p)
	return p
}

func TestAScoreIsExplainedInWords(t *testing.T) {
	other := Person{
		Names: []Name{{"Mery", "A.", "Obudo"}}, Born: "2019-08-16", Sex: "f", Phones: []string{"0722123457"},
		Places: []string{"Manyatta", "KISUMU"}, Mother: "Rose", Identifiers: []Identifier{{"national id", "12345678"}, {"Clinic", "9"}},
	}
	s := Compare(Standard(), achieng(), other)
	var words, values []string
	for _, term := range s.Terms {
		words, values = append(words, term.Words), append(values, term.Values)
	}
	if diff := cmp.Diff([]string{
		"given name alike, as after a typing error, but common: +2.4",
		"middle name only an initial, but common: +0.3",
		"family name spelt another way: +4",
		"birth date a few days apart: +4",
		"sex the same: +0.5",
		"phone alike, as after a typing error: +1.5",
		"place partly the same: -0.5",
		"mother partly the same: +1",
		"National ID the same: +10",
	}, words); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, w := range words {
		for _, part := range strings.FieldsFunc(values[i], func(r rune) bool { return r == ',' || r == ' ' }) {
			if len(part) > 1 && strings.Contains(strings.ToLower(w), strings.ToLower(part)) {
				t.Errorf("%q holds a value", w)
			}
		}
		if values[i] == "" {
			t.Errorf("%q has no values to show", w)
		}
	}
	sum := 0.0
	for _, term := range s.Terms {
		sum += term.Weight
	}
	if math.Abs(sum-s.Total) > 1e-6 {
		t.Errorf("the terms add up to %v, not to %v", sum, s.Total)
	}
}

func TestBirthDatesAreGraded(t *testing.T) {
	for _, c := range []struct {
		a, b      string
		estimated bool
		want      Grade
	}{
		{"1984-03-09", "1984-03-09", false, Same}, {"1984-03-09T00:00:00.000+0200", "1984-03-09", false, Same},
		{"1984-03-09", "1984-09-03", false, DaySwapped}, {"1984-03-09", "1984-03-11", false, Close}, {"1983-12-30", "1984-01-02", false, Close},
		{"1984-03-09", "1985-03-09", false, OnePartWrong}, {"1984-03-09", "1984-03-19", false, OnePartWrong}, {"1984-03-09", "1984-04-09", false, OnePartWrong},
		{"1984-03-09", "1994-03-09", false, OnePartWrong}, {"2018-03-09", "2024-03-09", false, Different}, {"1984-03-09", "1984-03-24", false, Different},
		{"1984-03", "1984-03-09", false, SameMonth}, {"1984-04", "1984-03-09", false, Different}, {"1984", "1984-03-09", false, SameYear}, {"1984", "1984", false, SameYear},
		{"1984", "1985-03-09", false, Different}, {"1984", "1985-03-09", true, SimilarAge},
		{"1984-01-01", "1984-11-30", false, SameYear}, {"1984-07-01", "1986-11-30", false, SimilarAge}, {"1984-01-01", "1984-01-01", false, SameYear}, {"1984-01-01", "1988-11-30", false, Different},
		{"1984-03-09", "1986-11-30", true, SimilarAge}, {"1984-03-09", "1984-11-30", true, SameYear}, {"1984-03-09", "1984-03-09", true, SameYear}, {"1984-03-09", "1990-03-09", true, Different},
		{"1984-02-30", "1984-02-30", false, ""}, {"9.3.1984", "1984-03-09", false, ""}, {"", "1984-03-09", false, ""}, {"0000-00-00", "0000-00-00", false, ""}, {"1984-13-01", "1984", false, ""},
	} {
		a, b := Person{Born: c.a, Estimated: c.estimated}, Person{Born: c.b}
		for _, s := range []Score{Compare(Standard(), a, b), Compare(Standard(), b, a)} {
			if got := gradeOf(s, BirthDate); got != c.want {
				t.Errorf("%s and %s (estimated %v) are %q, want %q", c.a, c.b, c.estimated, got, c.want)
			}
		}
	}
}

func TestOtherCluesAreGraded(t *testing.T) {
	p := Standard()
	p.Clues = append(p.Clues, Clue{Name: "other: school", Weights: map[Grade]float64{Same: 1, Alike: 0.5, Different: -1}})
	school := func(s string) Person { return Person{Others: map[string]string{"school": s, "clan": s}} }
	for _, c := range []struct {
		what, clue string
		a, b       Person
		want       Grade
	}{
		{"phone with country code", Phone, Person{Phones: []string{"0722 123-456"}}, Person{Phones: []string{"+254722123456"}}, Same},
		{"one of two phones", Phone, Person{Phones: []string{"0722123456", "0733000000"}}, Person{Phones: []string{"0733 000 000"}}, Same},
		{"a digit wrong", Phone, Person{Phones: []string{"0722123456"}}, Person{Phones: []string{"0722123450"}}, Alike},
		{"another phone", Phone, Person{Phones: []string{"0722123456"}}, Person{Phones: []string{"0733987654"}}, Different},
		{"Arabic digits", Phone, Person{Phones: []string{"٠٧٢٢١٢٣٤٥٦"}}, Person{Phones: []string{"0722123456"}}, Same},
		{"no phone", Phone, Person{Phones: []string{"none"}}, Person{Phones: []string{"0733987654"}}, ""},
		{"most local place", Place, Person{Places: []string{"Ifanadiana", "Vatovavy"}}, Person{Places: []string{"IFANADIANA"}}, Same},
		{"wider place", Place, Person{Places: []string{"Ifanadiana", "Vatovavy"}}, Person{Places: []string{"Kelilalina", "vatovavy"}}, Partly},
		{"place misspelt", Place, Person{Places: []string{"Ifanadiana"}}, Person{Places: []string{"Ifandiana"}}, Alike},
		{"another place", Place, Person{Places: []string{"Ifanadiana"}}, Person{Places: []string{"Kisumu"}}, Different},
		{"mother in another order", Mother, Person{Mother: "Rose Auma"}, Person{Mother: "AUMA Rose"}, Same},
		{"mother shorter", Mother, Person{Mother: "Rose Auma"}, Person{Mother: "Rose"}, Partly},
		{"mother misspelt", Mother, Person{Mother: "Rose Atieno"}, Person{Mother: "Rosa Atieno"}, Alike},
		{"mother alone", Mother, Person{Mother: "Rose"}, Person{Mother: "rose"}, Same},
		{"another mother", Mother, Person{Mother: "Rose Auma"}, Person{Mother: "Jane Akinyi"}, Different},
		{"sex", Sex, Person{Sex: "f"}, Person{Sex: "F"}, Same},
		{"another sex", Sex, Person{Sex: "M"}, Person{Sex: "F"}, Different},
		{"sex unknown", Sex, Person{Sex: ""}, Person{Sex: "F"}, ""},
		{"a named further clue", "other: school", school("Saint Paul's"), school("saint pauls"), Same},
		{"a further clue misspelt", "other: school", school("Nyamasaria"), school("Nyamasara"), Alike},
		{"another further clue", "other: school", school("Nyamasaria"), school("Kajulu"), Different},
		{"a further clue that no profile names", "other: clan", school("a"), school("a"), ""},
	} {
		for _, s := range []Score{Compare(p, c.a, c.b), Compare(p, c.b, c.a)} {
			if got := gradeOf(s, c.clue); got != c.want {
				t.Errorf("%s: %q, want %q", c.what, got, c.want)
			}
		}
	}
}

func TestIdentifiersAreComparedByType(t *testing.T) {
	p := Standard()
	p.Identifiers = append(p.Identifiers,
		IdentifierRule{Type: "Ward number", Same: 2, Different: -1, IgnoreZeros: true},
		IdentifierRule{Type: "Insurance", Same: 5, Several: true})
	is := func(typ string, values ...string) Person {
		var out Person
		for _, v := range values {
			out.Identifiers = append(out.Identifiers, Identifier{typ, v})
		}
		return out
	}
	for _, c := range []struct {
		what string
		a, b Person
		want float64
		bars bool
	}{
		{"the same", is("National ID", "ab 12-34"), is("national id", "AB1234"), 10, false},
		{"one of two", is("National ID", "1234", "9999"), is("National ID", "9999"), 10, false},
		{"different", is("National ID", "1234"), is("National ID", "9999"), -6, true},
		{"a typing error", is("National ID", "123456"), is("National ID", "123457"), 3, true},
		{"two digits exchanged", is("National ID", "123456"), is("National ID", "132456"), 3, true},
		{"leading zeros count", is("National ID", "0012"), is("National ID", "12"), -6, true},
		{"leading zeros do not count", is("Ward number", "0012"), is("Ward number", "12"), 2, false},
		{"different, not unique", is("Ward number", "13"), is("Ward number", "12"), -1, false},
		{"several allowed", is("Insurance", "13"), is("Insurance", "12"), 0, false},
		{"several, one agrees", is("Insurance", "13", "14"), is("Insurance", "14"), 5, false},
		{"other types", is("National ID", "1234"), is("Passport", "1234"), 0, false},
		{"blank", is("National ID", " - "), is("National ID", "1234"), 0, false},
	} {
		for _, s := range []Score{Compare(p, c.a, c.b), Compare(p, c.b, c.a)} {
			bars := slices.ContainsFunc(s.NotDefinite, func(w string) bool { return strings.Contains(w, "nobody has two") })
			if s.Total != c.want || bars != c.bars {
				t.Errorf("%s: %v, never definite %v; want %v, %v", c.what, s.Total, bars, c.want, c.bars)
			}
		}
	}
}

// anybody draws people out of so little that they often have much in common.
func anybody(t *rapid.T, label string) Person {
	word := rapid.SampledFrom(strings.Split("Mary,Maria,Mery,Otieno,Atieno,Wanjiku,Wajniku,Kamau,M,K.,Baby,José,jose,Anne-Marie,Annemarie,da Silva,Silva Santos,Rakoto,Rakotomalala,,,Ng'ang'a,Ali Ali,'", ","))
	words := func(l string) string { return strings.TrimSpace(word.Draw(t, l) + " " + word.Draw(t, l)) }
	var p Person
	for range rapid.IntRange(0, 2).Draw(t, label+" names") {
		p.Names = append(p.Names, Name{words("given"), words("middle"), words("family")})
	}
	p.Born = rapid.SampledFrom([]string{"", "1984", "1984-03", "1984-03-04", "1984-04-03", "1984-03-05", "1985-03-04", "1984-01-01", "x"}).Draw(t, label+" born")
	p.Estimated = rapid.Bool().Draw(t, label+" estimated")
	p.Sex = rapid.SampledFrom([]string{"", "M", "F", "O"}).Draw(t, label+" sex")
	p.Phones = rapid.SliceOfN(rapid.SampledFrom([]string{"0722123456", "+254722123456", "0722123457", "1"}), 0, 2).Draw(t, label+" phones")
	p.Places = rapid.SliceOfN(rapid.SampledFrom([]string{"Kisumu", "Kisum", "Seme", ""}), 0, 2).Draw(t, label+" places")
	p.Mother = words("mother")
	for _, typ := range rapid.SliceOfN(rapid.SampledFrom([]string{"A", "a", "B"}), 0, 3).Draw(t, label+" types") {
		p.Identifiers = append(p.Identifiers, Identifier{typ, rapid.SampledFrom([]string{"12345", "123-45", "12354", "9", ""}).Draw(t, "value")})
	}
	return p
}

func TestTheOrderOfTwoPeopleDoesNotMatter(t *testing.T) {
	profile := Standard().Ready()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anybody(t, "a"), anybody(t, "b")
		symmetric(t, profile, a, b)
	})
}

func symmetric(t interface{ Fatalf(string, ...any) }, profile Profile, a, b Person) {
	there, back := Compare(profile, a, b), Compare(profile, b, a)
	if there.Total != back.Total || math.IsNaN(there.Total) || math.IsInf(there.Total, 0) {
		t.Fatalf("one way %v, the other %v", there, back)
	}
	if len(there.NotNear) != len(back.NotNear) || len(there.NotDefinite) != len(back.NotDefinite) {
		t.Fatalf("one way %q %q, the other %q %q", there.NotDefinite, there.NotNear, back.NotDefinite, back.NotNear)
	}
}

func TestWhatIsDefiniteSharesABlockingKey(t *testing.T) {
	profile := Standard()
	profile.Definite = 5 // so that much is
	profile = profile.Ready()
	definite := 0
	rapid.Check(t, func(t *rapid.T) {
		a, b := anybody(t, "a"), anybody(t, "b")
		if Decide(profile, a, []Candidate{{"b", b}}).Outcome != Definite {
			return
		}
		definite++
		if !meet(Blocks(profile, a), Blocks(profile, b)) {
			t.Fatalf("no key of %q is among %q", Blocks(profile, a), Blocks(profile, b))
		}
	})
	if definite == 0 {
		t.Error("nobody was definite: nothing was checked")
	}
}

func TestLongTextIsComparedInLittleTime(t *testing.T) {
	long := strings.Repeat("wanjiku", 100_000)
	p := Person{Names: []Name{{long, long + " a b c d e f g h i j k l m", long}}, Born: long, Phones: []string{strings.Repeat("7", 1e6)}, Places: []string{long}, Mother: long, Identifiers: []Identifier{{"A", long}}}
	q := but(p, func(p *Person) {
		p.Names[0].Family, p.Places, p.Identifiers[0].Value = long+"x", []string{long + "x"}, long+"x"
	})
	s := Compare(Standard(), p, q) // a minute and more if every letter were compared with every other
	if g := gradeOf(s, "identifier: A"); g != Different {
		t.Errorf("long identifiers that differ at their end are %q", g)
	}
	symmetric(t, Standard(), p, q)
}

// FuzzCompare: odd text makes no panic, and the order of the two never matters.
func FuzzCompare(f *testing.F) {
	f.Add("Ng'ang'a", "1984-03-09", "+254", "ÀÉ ø", "A\xff-00")
	f.Add("\u0301\u0301 ʼ", "0000-99-99T", "٠٧٢٢", "﷽ Ⅷ ²", "")
	f.Add("İstanbul ẞ ŉ", "1984-1-1", "9999999999999", "a b c d e f g h i j k l", "--")
	f.Add("ch tch sch chr eau", "-1-", "x", "Baby", "0")
	profile := Standard().Ready()
	f.Fuzz(func(t *testing.T, one, born, phone, two, id string) {
		a := Person{Names: []Name{{one, two, id}, {two, "", ""}}, Born: born, Phones: []string{phone, id}, Places: []string{two}, Mother: one, Sex: phone, Identifiers: []Identifier{{"A", id}, {one, two}}}
		b := Person{Names: []Name{{two, one, born}}, Born: phone, Estimated: true, Phones: []string{born, two}, Places: []string{one, two}, Mother: two, Sex: born, Identifiers: []Identifier{{"A", two}, {two, id}}}
		symmetric(t, profile, a, b)
		symmetric(t, profile, a, a)
		Blocks(profile, a)
		Decide(profile, a, []Candidate{{"1", b}, {"2", a}})
	})
}
