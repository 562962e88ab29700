package people

import (
	"strings"
	"testing"
)

func named(given, middle, family string) Person {
	return Person{Names: []Name{{given, middle, family}}}
}

func gradeOf(s Score, clue string) Grade {
	for _, t := range s.Terms {
		if t.Clue == clue {
			return t.Grade
		}
	}
	return ""
}

func TestPartsOfNamesAreGraded(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want Grade
	}{
		{"Wanjiku", "WANJIKU ", Same}, {"Hélène", "Helene", Same}, {"Ng'ang'a", "Nganga", Same}, {"Ng’ang’a", "nganga", Same},
		{"José", "Jose\u0301", Same}, {"Anne-Marie", "Annemarie", Same}, {"Anne Marie", "ANNEMARIE", Same},
		{"Phillip", "Filip", Respelt}, {"Zacharia", "Zakaria", Nickname}, {"Catherine", "Katherine", Respelt}, {"Rokya", "Rokia", Respelt},
		{"Elizabeth", "Betty", Nickname}, {"Yohana", "John", Nickname}, {"José", "Zé", Nickname}, {"Fatuma", "Fatma", Nickname},
		{"Wanjiku", "Wnajiku", Alike}, {"Kimani", "Kimai", Alike}, {"Pendo", "Penda", Alike},
		{"Mureithi", "Muriithi", Alike}, {"Hassan", "Hussein", Sounds}, {"Muroki", "Mureka", Sounds},
		{"Rakoto", "Rakotomalala", Shortened}, {"Muhammadi", "Muham", Shortened},
		{"Wanjiku", "W", Initial}, {"W.", "Wanjiku", Initial},
		{"Otieno", "Atieno", Different}, {"Ochieng", "Achieng", Different}, {"Juma", "Jane", Different}, {"Wanjiku", "Wanjiru", Different}, {"Jean", "Joan", Sounds}, {"Jane", "Jans", Alike}, {"Ali", "Ani", Different}, {"Kamau", "Kemei", Different},
	} {
		for _, swap := range []bool{false, true} {
			a, b := c.a, c.b
			if swap {
				a, b = b, a
			}
			if got := gradeOf(Compare(Standard(), named(a, "", "Simiyu"), named(b, "", "Simiyu")), GivenName); got != c.want {
				t.Errorf("%s and %s are %q, want %q", a, b, got, c.want)
			}
		}
	}
}

func TestPartsOfNamesAreFoundInAnyOrder(t *testing.T) {
	full := named("Mary", "Wanjiku", "Kamau")
	for _, c := range []struct {
		what                 string
		b                    Person
		given, family, order Grade
	}{
		{"as it is", full, Same, Same, ""},
		{"given and family exchanged", named("Kamau", "Wanjiku", "Mary"), Same, Same, Swapped},
		{"in one piece", named("Mary Wanjiku Kamau", "", ""), Same, Same, ""},
		{"in one piece, family first", named("Kamau Mary Wanjiku", "", ""), Same, Same, ""},
		{"called by the second name", named("Wanjiku", "", "Kamau"), Same, Same, Reordered},
		{"second name as family name", named("Mary", "", "Wanjiku"), Same, Same, Reordered},
		{"two given names in one", named("Mary Wanjiku", "", "Kamau"), Same, Same, ""},
		{"initial first, in one piece", named("W. Mary Kamau", "", ""), Same, Same, ""},
		{"one name alone", named("Mary", "", ""), Same, "", ""},
		{"family name alone", named("", "", "Kamau"), "", Same, ""},
		{"nothing in common", named("Akinyi", "", "Owino"), Different, Different, ""},
		{"a newborn", named("Baby", "", "Kamau"), "", Same, ""},
		{"a newborn of somebody", named("Baby of Mary", "", "Kamau"), "", Same, ""},
		{"no name", Person{}, "", "", ""},
	} {
		s := Compare(Standard(), full, c.b)
		if g, f, o := gradeOf(s, GivenName), gradeOf(s, FamilyName), gradeOf(s, NameOrder); g != c.given || f != c.family || o != c.order {
			t.Errorf("%s: given %q, family %q, order %q; want %q, %q, %q", c.what, g, f, o, c.given, c.family, c.order)
		}
	}
}

func TestParticlesAndSeveralFamilyNames(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want Grade
	}{
		{"da Silva", "Silva", Same}, {"arap Moi", "Moi", Same}, {"Silva Santos", "Santos", Same},
		{"Silva Santos", "Silva Matola", Partly}, {"wa", "wa", Same}, {"O'Brien", "Obrien", Same},
	} {
		if got := gradeOf(Compare(Standard(), named("Ana", "", c.a), named("Ana", "", c.b)), FamilyName); got != c.want {
			t.Errorf("%s and %s are %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

func TestAnyOfSeveralNamesMayAgree(t *testing.T) {
	a := Person{Names: []Name{{"Mary", "", "Kamau"}, {"Mary", "", "Otieno"}}}
	if got := gradeOf(Compare(Standard(), a, named("Mary", "", "Otieno")), FamilyName); got != Same {
		t.Errorf("the name before marriage is %q, want the same", got)
	}
}

func TestToAgreeOnARareNameWeighsMore(t *testing.T) {
	weigh := func(family string) float64 {
		return Compare(Standard(), named("", "", family), named("", "", family)).Total
	}
	if rare, common, very := weigh("Nyangweso"), weigh("Kimani"), weigh("Otieno"); !(rare > common && common > very && very > 0) {
		t.Errorf("rare %v, common %v, very common %v", rare, common, very)
	}
	if s := Compare(Standard(), named("", "", "Otieno"), named("", "", "Otieno")); s.Terms[0].Words != "family name the same, but common: +2.7" {
		t.Errorf("said as %q", s.Terms[0].Words)
	}
}

func TestCommonNamesAreCountedFromARegister(t *testing.T) {
	var register []Person
	for i := range 1000 {
		p := named("Name"+strings.Repeat("x", i%7), "", "Rare"+string([]rune{rune('a' + i%26), rune('a' + i/26%26), rune('a' + i/676)}))
		if i%200 == 0 {
			p.Names[0].Family = "Zafy"
		}
		register = append(register, p)
	}
	very, some := CommonNames(register)
	if len(very) != 7 || len(some) != 1 || some[0] != "zafy" {
		t.Errorf("very common %v, common %v", very, some)
	}
}

func TestNicknamesAreWellFormed(t *testing.T) {
	groups, err := readNicknames(nicknameCSV)
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) < 500 {
		t.Errorf("%d names", len(groups))
	}
	for name, lines := range groups {
		if placeholders[name] {
			t.Errorf("%s is no name", name)
		}
		for i, n := range lines {
			for _, m := range lines[:i] {
				if n == m {
					t.Errorf("%s stands twice in one line", name)
				}
			}
		}
	}
	for _, bad := range []string{"en,John\n", "en,John,''\n", "en,\"John\n"} {
		if _, err := readNicknames(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
