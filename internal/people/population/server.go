package population

import (
	"sort"
	"strings"
	"unicode"

	"github.com/kiungo-health/kiungo/internal/people"
)

// server gives candidates as the search of a clinic's system does: it finds
// people by an identifier, a phone, a birth date, or the beginnings of parts of
// the name, and answers with a page of at most so many.
type server struct {
	records []Record
	by      map[string][]int // what is looked for -> numbers of records
}

const (
	page = 100 // how many one question may bring; a longer answer is no use
	all  = 200 // how many candidates one person may have
)

func newServer(records []Record) *server {
	s := &server{records: records, by: map[string][]int{}}
	for i := range records {
		p := &records[i].Person
		for _, key := range exactKeys(p) {
			s.by[key] = append(s.by[key], i)
		}
		seen := map[string]bool{}
		for _, part := range nameParts(p) {
			for n := 3; n <= len(part); n++ {
				if key := "n:" + part[:n]; !seen[key] {
					seen[key] = true
					s.by[key] = append(s.by[key], i)
				}
			}
		}
	}
	return s
}

func exactKeys(p *people.Person) []string {
	var keys []string
	for _, id := range p.Identifiers {
		keys = append(keys, "i:"+id.Type+":"+strings.ReplaceAll(id.Value, "-", ""))
	}
	for _, phone := range p.Phones {
		phone = strings.ReplaceAll(phone, " ", "")
		keys = append(keys, "p:"+phone[max(0, len(phone)-9):])
	}
	if p.Born != "" {
		keys = append(keys, "b:"+p.Born)
	}
	return keys
}

// nameParts are the parts of a name in small letters without accents.
func nameParts(p *people.Person) []string {
	var parts []string
	for _, n := range p.Names {
		text := strings.ToLower(plain.Replace(n.Given + " " + n.Middle + " " + n.Family))
		parts = append(parts, strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) })...)
	}
	return parts
}

// candidates asks by each clue in turn: identifier, phone and birth date; the
// beginnings of two parts of the name together; one part alone where that is
// rare enough.
func (s *server) candidates(p *people.Person) []people.Candidate {
	var found []int
	have := map[int]bool{}
	take := func(numbers []int) {
		for _, n := range numbers {
			if !have[n] && len(found) < all {
				have[n] = true
				found = append(found, n)
			}
		}
	}
	for _, key := range exactKeys(p) {
		if !strings.HasPrefix(key, "b:") || len(s.by[key]) <= page {
			take(s.by[key])
		}
	}
	parts := nameParts(p)
	for i, one := range parts {
		for _, other := range parts[i+1:] {
			if both := intersect(s.by["n:"+start(one)], s.by["n:"+start(other)]); len(both) <= page {
				take(both)
			} else if both = intersect(s.by["n:"+one], s.by["n:"+other]); len(both) <= page {
				take(both)
			}
		}
	}
	for _, one := range parts {
		if alone := s.by["n:"+one]; len(one) > 3 && len(alone) <= page/4 {
			take(alone)
		}
	}
	out := make([]people.Candidate, len(found))
	for i, n := range found {
		out[i] = people.Candidate{ID: s.records[n].ID, Person: s.records[n].Person}
	}
	return out
}

func start(part string) string { return part[:min(len(part), 3)] }

// intersect gives the numbers that stand in both lists, which are in order.
func intersect(a, b []int) []int {
	if len(a) > len(b) {
		a, b = b, a
	}
	var out []int
	for _, n := range a {
		if i := sort.SearchInts(b, n); i < len(b) && b[i] == n {
			out = append(out, n)
		}
	}
	return out
}
