package people

import (
	"math"
	"strconv"
	"strings"
)

// Score is what is for and against two records being of one person.
type Score struct {
	// ID of the candidate, in a Decision.
	ID    string
	Total float64
	// Terms in the order of the clues; they add up to Total.
	Terms []Term
	// NotDefinite says why the two are never a definite match, however much
	// agrees, and NotNear why they are not even worth showing. They hold no values.
	NotDefinite, NotNear []string
}

// Term is one clue that both people have.
type Term struct {
	Clue   string // FamilyName, "identifier: National ID", "other: school"
	Grade  Grade
	Weight float64
	// Words say it without what was compared: "family name sounds alike: +2".
	Words string
	// Values shows what was compared, to somebody who may see it: "Mureithi,
	// Muriithi". It must not be logged.
	Values string
}

const identifierClue = "identifier: "

// Compare weighs what is known of two people. The order of the two does not
// change the total.
func Compare(p Profile, a, b Person) Score {
	x := p.ready()
	return p.compare(x, x.ready(&a), x.ready(&b))
}

func (p *Profile) compare(x *index, a, b *ready) Score {
	var s Score
	names := x.names(a.names, b.names)
	birth, sex, mother := x.birth(a, b), x.sex(a, b), x.mother(a, b)
	phone, place := x.phone(a, b), x.place(a, b)
	s.add(GivenName, names.given)
	s.add(MiddleName, names.middle)
	s.add(FamilyName, names.family)
	s.add(NameOrder, names.order)
	s.add(BirthDate, birth)
	s.add(Sex, sex)
	s.add(Phone, phone)
	s.add(Place, place)
	s.add(Mother, mother)
	for _, c := range x.others {
		s.add(c.Name, x.other(c, a, b))
	}
	identified := s.identifiers(a, b)
	s.Total = math.Round(s.Total*1e6) / 1e6 // 0.45 + 0.35 + 0.2 is 1
	s.bars(x, names, birth, sex, mother, phone, place, identified)
	if s.household() {
		s.NotNear = append(s.NotNear, "nothing agrees but what a household shares: phone, place, sex")
	}
	if s.Total >= p.Definite && len(s.NotDefinite) == 0 && !meet(x.blocks(a), x.blocks(b)) {
		s.NotDefinite = append(s.NotDefinite, "what agrees is too uncertain to look the person up by")
	}
	return s
}

// identifiers tells whether one agrees.
func (s *Score) identifiers(a, b *ready) bool {
	found := false
	for i := range a.ids {
		for j := range b.ids {
			if a.ids[i].typ != b.ids[j].typ {
				continue
			}
			g := identifier(&a.ids[i], &b.ids[j])
			s.add(identifierClue+a.ids[i].title, g)
			found = found || g.grade == Same
			if g.grade != "" && g.grade != Same && a.ids[i].rule.Unique {
				s.NotDefinite = append(s.NotDefinite, "each has another "+orIdentifier(a.ids[i].title)+", and nobody has two")
			}
		}
	}
	return found
}

func orIdentifier(title string) string {
	if title == "" {
		return "identifier"
	}
	return title
}

// bars are the rules that no weight overrides.
func (s *Score) bars(x *index, names naming, birth, sex, mother, phone, place graded, identified bool) {
	bar := func(is bool, why string) {
		if is {
			s.NotDefinite = append(s.NotDefinite, why)
		}
	}
	given, sameDay := names.given.grade, birth.grade == Same || birth.grade == DaySwapped || birth.grade == Close
	if namesakes := agrees(names.family) && sameDay; namesakes && given != "" && !sure(given) {
		bar(true, "one family name and birth date, another given name: they may be twins")
	} else {
		bar(namesakes && names.middle.grade == Different, "one family name, birth date and first name, another second name: they may be twins")
	}
	if identified {
		bar(given == Different && !sameDay || given == "" && birth.grade == Different,
			"an identifier agrees, but neither given name nor the day of birth: it may be a relative's")
		bar(count(names.given.grade == Different, names.family.grade == Different, birth.grade == Different, sex.grade == Different) > 1,
			"an identifier agrees, but of name, birth date and sex two do not: it may be a relative's")
		return
	}
	bar(given == Different, "another given name, and no identifier agrees")
	bar(given == "" && x.given != nil, "a given name is not known, and no identifier agrees: they may be brothers or sisters")
	bar(names.family.grade != "" && !sure(names.family.grade) && sameDay && (agrees(mother) || agrees(phone)),
		"one birth date and household, another family name: they may be twins, written with the family name first")
	bar(sex.grade == Different, "another sex, and no identifier agrees")
	bar(names.order.grade == Reordered && !sameDay, "other parts of the name agree, and neither birth date nor identifier: relatives share names")
	bar((birth.grade == SameYear || birth.grade == SimilarAge) && !agrees(place) && !agrees(phone) && !agrees(mother),
		"nothing agrees but names and about the age")
	bar(birth.grade == "" && x.clues[BirthDate] != nil && !agrees(mother), "a birth date is missing and no identifier agrees: a child may have its parent's name")
}

// household tells whether nothing agrees but what those who live together share.
func (s *Score) household() bool {
	for _, t := range s.Terms {
		if t.Weight > 0 && t.Clue != Phone && t.Clue != Place && t.Clue != Sex {
			return false
		}
	}
	return true
}

func agrees(g graded) bool { return g.grade != "" && g.grade != Different && g.grade != Partly }

// sure tells whether a name agrees as those of twins do not: theirs may begin or
// sound alike, Hassan and Hussein.
func sure(g Grade) bool {
	return g == Same || g == Respelt || g == Nickname || g == Alike
}

func (s *Score) add(clue string, g graded) {
	if g.grade == "" {
		return
	}
	s.Total += g.weight
	s.Terms = append(s.Terms, Term{Clue: clue, Grade: g.grade, Weight: g.weight, Words: words(clue, g), Values: values(g)})
}

// inWords says a grade after the name of a clue, where its own word would not do.
var inWords = map[Grade]string{
	Same: "the same", Nickname: "a nickname of the other", Alike: "alike, as after a typing error", Shortened: "shortened",
	Initial: "only an initial", SameMonth: "in the same month", SameYear: "in the same year", SimilarAge: "about the same",
	Swapped: "given and family exchanged", Reordered: "another", Close: "a few days apart", OnePartWrong: "the same but for its day, month or year",
}

// words of a term: the clue, how it agrees, its weight.
func words(clue string, g graded) string {
	what := strings.TrimPrefix(strings.TrimPrefix(clue, identifierClue), otherClue)
	how := inWords[g.grade]
	if how == "" {
		how = string(g.grade)
	}
	if g.common {
		how += ", but common"
	}
	return what + " " + how + ": " + points(g.weight)
}

// points writes a weight with its sign: "+2.5".
func points(w float64) string {
	if w > 0 {
		return "+" + number(w)
	}
	return number(w)
}

// number writes a weight with at most two decimals.
func number(w float64) string {
	return strconv.FormatFloat(math.Round(w*100)/100, 'f', -1, 64)
}

func values(g graded) string {
	if g.a == "" && g.b == "" {
		return ""
	}
	return g.a + ", " + g.b
}
