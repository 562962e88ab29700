package population

import (
	"fmt"
	"strings"

	"github.com/kiungo-health/kiungo/internal/people"
)

// register is how well a register is kept: probabilities, for each record, that
// something is missing or wrong. They are guesses on the gloomy side of what
// studies of registers in the region report; they were not fitted to anything.
type register struct {
	prefix                                                string
	nickname, typo, respelt, plain, noSecond, initial     float64
	calledSecond, swapped, onePiece, married              float64
	noBirth, reckoned, yearOnly, daySwapped, digit, aDay  float64
	noSex, wrongSex                                       float64
	noPhone, newPhone, phoneTypo, noPlace, moved          float64
	mother, national, clinicID, wrongID, anothers, unborn float64
}

var worker = register{
	prefix: "case", nickname: 0.06, typo: 0.035, respelt: 0.04, plain: 0.8, noSecond: 0.45, initial: 0.02,
	calledSecond: 0.03, swapped: 0.03, onePiece: 0.05, married: 0.03,
	noBirth: 0.03, reckoned: 0.5, yearOnly: 0.15, daySwapped: 0.012, digit: 0.015, aDay: 0.01,
	noSex: 0.01, wrongSex: 0.004,
	noPhone: 0.2, newPhone: 0.08, phoneTypo: 0.015, noPlace: 0.03, moved: 0.05,
	mother: 0.5, national: 0.4, clinicID: 0.35, wrongID: 0.012, anothers: 0.006, unborn: 0.04,
}

var clinic = register{
	prefix: "patient", nickname: 0.02, typo: 0.025, respelt: 0.03, plain: 0.5, noSecond: 0.3, initial: 0.03,
	calledSecond: 0.015, swapped: 0.02, onePiece: 0.01, married: 0.02,
	noBirth: 0.01, reckoned: 0.8, yearOnly: 0.05, daySwapped: 0.01, digit: 0.012, aDay: 0.01,
	noSex: 0.003, wrongSex: 0.004,
	noPhone: 0.3, newPhone: 0.08, phoneTypo: 0.01, noPlace: 0.08, moved: 0.05,
	mother: 0.45, national: 0.55, clinicID: 1, wrongID: 0.005, anothers: 0.003, unborn: 0.04,
}

func (m *maker) record(of int, r register, n int) Record {
	h := &m.humans[of]
	p := people.Person{Sex: h.sex()}
	p.Names = []people.Name{m.name(h, r)}
	m.birth(h, r, &p)
	switch x := m.Float64(); {
	case x < r.noSex:
		p.Sex = ""
	case x < r.noSex+r.wrongSex:
		p.Sex = map[string]string{"M": "F", "F": "M"}[p.Sex]
	}
	m.phones(h, r, &p)
	m.places(h, r, &p)
	if probability := r.mother; m.is(probability) && !h.adult || m.is(probability/5) {
		p.Mother = m.mother(h, r)
	}
	m.identifiers(h, r, &p)
	return Record{ID: fmt.Sprintf("%s-%05d", r.prefix, n), Of: of, Person: p}
}

func (m *maker) name(h *human, r register) people.Name {
	given, second, family := h.given, h.second, h.family
	if h.girl && h.adult && m.is(r.married) {
		family = m.skewed(h.custom.family)
	}
	if second != "" && m.is(r.calledSecond) {
		given, second = second, ""
	}
	if short := called[given]; len(short) > 0 && m.is(3*r.nickname) {
		given = m.pick(short)
	}
	if m.is(r.noSecond) {
		second = ""
	}
	if !h.adult && today.Sub(h.born).Hours() < 24*120 && m.is(10*r.unborn) {
		given, second = "Baby", ""
	}
	given, second, family = m.typed(given, r), m.typed(second, r), m.typed(family, r)
	if second != "" && m.is(4*r.initial) {
		second = second[:1]
	} else if given != "Baby" && m.is(r.initial/4) {
		given = given[:1]
	}
	if m.is(r.swapped) {
		given, family = family, given
	}
	if m.is(r.onePiece) {
		parts := []string{given, second, family}
		if m.is(0.4) {
			parts = []string{family, given, second}
		}
		return people.Name{Given: strings.Join(strings.Fields(strings.Join(parts, " ")), " ")}
	}
	if h.custom.familyByFirst && m.is(0.3) {
		return people.Name{Given: strings.TrimSpace(given + " " + second), Family: family}
	}
	return people.Name{Given: given, Middle: second, Family: family}
}

// typed is a name as somebody hears and types it.
func (m *maker) typed(s string, r register) string {
	if s == "" || s == "Baby" {
		return s
	}
	if m.is(r.plain) {
		s = plain.Replace(s)
	}
	if m.is(r.respelt) {
		s = m.respell(s)
	}
	for m.is(r.typo) {
		s = m.typo(s)
	}
	switch {
	case m.is(0.1):
		s = strings.ToUpper(s)
	case m.is(0.1):
		s = strings.ToLower(s)
	case m.is(0.03):
		s += " "
	}
	return s
}

var heard = [][2]string{{"ph", "f"}, {"c", "k"}, {"k", "c"}, {"i", "y"}, {"y", "i"}, {"oo", "u"}, {"ou", "u"}, {"w", "u"}, {"th", "t"}, {"r", "l"}, {"l", "r"}, {"nj", "nch"}, {"sh", "s"}, {"z", "s"}, {"v", "f"}, {"ei", "ii"}, {"ee", "i"}, {"mm", "m"}, {"tt", "t"}, {"ss", "s"}, {"b", "p"}, {"g", "k"}, {"e", "i"}, {"o", "u"}, {"ai", "e"}}

func (m *maker) respell(s string) string {
	for range 20 {
		pair := heard[m.IntN(len(heard))]
		if i := strings.Index(s, pair[0]); i > 0 {
			return s[:i] + pair[1] + s[i+len(pair[0]):]
		}
	}
	return s
}

// typo makes one typing error: a letter exchanged with its neighbour, left out,
// doubled, or another one hit.
func (m *maker) typo(s string) string {
	r := []rune(s)
	if len(r) < 3 {
		return s
	}
	i := m.IntN(len(r) - 1)
	switch m.IntN(4) {
	case 0:
		r[i], r[i+1] = r[i+1], r[i]
	case 1:
		r = append(r[:i+1], r[min(i+2, len(r)):]...)
	case 2:
		r = append(r[:i+1], r[i:]...)
	default:
		r[i+1] = rune('a' + m.IntN(26))
	}
	return string(r)
}

func (m *maker) birth(h *human, r register, p *people.Person) {
	t := h.born
	switch {
	case m.is(r.noBirth):
		return
	case !h.exact && m.is(0.9) || m.is(r.reckoned/25): // reckoned from the age that was told
		year := t.Year() + m.IntN(3) - 1
		if h.adult && m.is(0.3) {
			year += m.IntN(5) - 2
		}
		p.Born, p.Estimated = fmt.Sprintf("%d-01-01", year), m.is(r.reckoned)
		if m.is(r.yearOnly) {
			p.Born = p.Born[:4]
		}
		return
	}
	switch x := m.Float64(); {
	case x < r.daySwapped:
		if t.Day() <= 12 {
			p.Born = fmt.Sprintf("%d-%02d-%02d", t.Year(), t.Day(), int(t.Month()))
			return
		}
	case x < r.daySwapped+r.digit:
		switch m.IntN(3) {
		case 0:
			t = t.AddDate(1-2*m.IntN(2), 0, 0)
		case 1:
			t = t.AddDate(0, 1-2*m.IntN(2), 0)
		default:
			t = t.AddDate(0, 0, 10-20*m.IntN(2))
		}
	case x < r.daySwapped+r.digit+r.aDay:
		t = t.AddDate(0, 0, 1+m.IntN(2))
	}
	p.Born = day(t)
}

func (m *maker) phones(h *human, r register, p *people.Person) {
	if m.is(r.noPhone) {
		return
	}
	phone := h.phones[0]
	if len(h.phones) > 1 && m.is(0.2) {
		phone = h.phones[1]
	}
	if m.is(r.newPhone) {
		phone = m.phone()
	}
	if m.is(r.phoneTypo) {
		i := m.IntN(len(phone))
		phone = phone[:i] + fmt.Sprint(m.IntN(10)) + phone[i+1:]
	}
	switch m.IntN(3) {
	case 0:
		phone = "0" + phone
	case 1:
		phone = "+254 " + phone[:3] + " " + phone[3:6] + " " + phone[6:]
	default:
		phone = "254" + phone
	}
	p.Phones = []string{phone}
}

func (m *maker) places(h *human, r register, p *people.Person) {
	if m.is(r.noPlace) {
		return
	}
	place := h.place
	if m.is(r.moved) {
		place = m.pick(h.custom.places)
	}
	p.Places = []string{m.typed(place, r), h.custom.wider}
}

func (m *maker) mother(h *human, r register) string {
	parts := strings.Fields(h.mother)
	for i := range parts {
		if short := called[parts[i]]; len(short) > 0 && m.is(2*r.nickname) {
			parts[i] = m.pick(short)
		}
		parts[i] = strings.TrimSpace(m.typed(parts[i], r))
	}
	if m.is(0.2) {
		parts = parts[:1]
	}
	return strings.Join(parts, " ")
}

func (m *maker) identifiers(h *human, r register, p *people.Person) {
	other := h
	if h.sibling >= 0 && h.sibling < len(m.humans) && m.is(r.anothers) {
		other = &m.humans[h.sibling]
	}
	add := func(typ, value string, probability float64) {
		if value == "" || !m.is(probability) {
			return
		}
		if m.is(r.wrongID) {
			b := []byte(value)
			for range 1 + m.IntN(2) {
				if i := m.IntN(len(b)); b[i] != '-' {
					b[i] = byte('0' + m.IntN(10))
				}
			}
			value = string(b)
		}
		if m.is(0.1) {
			value = strings.ReplaceAll(value, "-", "")
		}
		p.Identifiers = append(p.Identifiers, people.Identifier{Type: typ, Value: value})
	}
	add("National ID", other.national, r.national)
	add("OpenMRS ID", other.clinic, r.clinicID)
}
