package openmrs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	persons "github.com/kiungo-health/kiungo/internal/people"
)

const (
	// mostCandidates is how many are given.
	mostCandidates = 200
	// clueRows is how many rows of one search are read: those of a common name
	// would be a thousand.
	clueRows = 200
	// minSearch is how many characters a search needs: GP minSearchCharacters is 2
	// by default since core 1.9, and 3 on many servers. A shorter one finds nothing,
	// without an error.
	minSearch = 3
)

// search is one search for people by one clue.
type clueSearch struct {
	how   string // "name", "phone", "identifier OpenMRS ID"
	param string // identifier or q
	query string
	keep  func(*wirePatient) bool
}

// Candidates asks by each clue in turn, the sharpest first: identifiers; phones,
// where a type of phone attribute is searchable; both names; the beginnings of
// both names; each name by itself. A word of a search fits the beginning of any
// part of a name, without sound-alikes; all words must fit one name
// (PersonLuceneQuery, PersonSearchCriteria of core). Nothing can be asked by
// birth date or place alone. Each row is read whole in the search itself.
//
// Of a search by a single name, those of about the right age come first where
// not all can be given.
func (k *patientKind) Candidates(ctx context.Context, do call.Doer, wanted persons.Person) ([]connector.Found, error) {
	searches, err := k.searches(ctx, do, wanted)
	if err != nil {
		return nil, err
	}
	var out []connector.Found
	seen, asked := map[string]bool{}, map[string]bool{}
	for _, c := range searches {
		if key := c.param + " " + strings.ToLower(c.query); asked[key] || len(out) >= mostCandidates {
			continue
		} else {
			asked[key] = true
		}
		rows, err := k.some(ctx, do, c)
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(w *wirePatient) bool {
			return w == nil || w.Voided || seen[w.UUID] || c.keep != nil && !c.keep(w)
		})
		nearestFirst(rows, wanted.Born)
		for _, w := range rows {
			if !seen[w.UUID] && len(out) < mostCandidates {
				seen[w.UUID] = true
				out = append(out, k.asFound(w, c.how, connector.Query{}))
			}
		}
	}
	return out, nil
}

func (k *patientKind) searches(ctx context.Context, do call.Doer, wanted persons.Person) ([]clueSearch, error) {
	var out []clueSearch
	for _, id := range wanted.Identifiers {
		if value := strings.TrimSpace(id.Value); value != "" {
			// The search finds what begins alike, too.
			out = append(out, clueSearch{how: "identifier " + id.Type, param: "identifier", query: value, keep: func(w *wirePatient) bool {
				return w.Identifiers != nil && slices.ContainsFunc(*w.Identifiers, func(x wireIdentifier) bool {
					return !x.Voided && strings.EqualFold(x.Identifier, value)
				})
			}})
		}
	}
	if len(wanted.Phones) > 0 {
		types, err := k.meta.attributeTypes(ctx, do)
		if err != nil {
			return nil, err
		}
		searchable := slices.ContainsFunc(types, func(t attributeType) bool {
			return t.Searchable && !t.Retired && k.clues.isPhone(cmp.Or(t.Name, t.Display))
		})
		for _, phone := range wanted.Phones {
			for _, spelling := range spellings(phone) {
				if searchable {
					out = append(out, clueSearch{how: "phone", param: "q", query: spelling})
				}
			}
		}
	}
	for _, q := range nameQueries(wanted.Names) {
		out = append(out, clueSearch{how: "name", param: "q", query: q})
	}
	return out, nil
}

// spellings are the ways in which a phone number is written. The search compares
// whole values (GP personAttributeSearch.matchMode is EXACT by default).
func spellings(phone string) []string {
	phone = strings.TrimSpace(phone)
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, phone)
	out := []string{phone, digits}
	if len(digits) >= 9 {
		local := digits[len(digits)-9:]
		out = append(out, "0"+local, local)
		if len(digits) > 10 {
			out = append(out, "+"+digits)
		}
	}
	return slices.DeleteFunc(out, func(q string) bool { return len(q) < minSearch })
}

// nameQueries are the searches by name, the narrowest first.
func nameQueries(names []persons.Name) []string {
	var both, begun, alone []string
	for _, n := range names {
		given, middle, family := plainWords(n.Given), plainWords(n.Middle), plainWords(n.Family)
		all := slices.Concat(family, given, middle)
		for i, a := range all {
			if len([]rune(a)) >= minSearch {
				alone = append(alone, a)
			}
			for _, b := range all[i+1:] {
				both = append(both, a+" "+b)
				begun = append(begun, beginning(a)+" "+beginning(b))
			}
		}
	}
	out := slices.Concat(both, begun, alone)
	return slices.DeleteFunc(out, func(q string) bool { return len([]rune(q)) < minSearch })
}

// plainWords are the words of a name without signs, which Lucene's query language
// and SQL's would take for operators and wildcards. A sign inside a word is where
// the server cuts it, too.
func plainWords(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) })
}

func beginning(word string) string {
	r := []rune(word)
	return string(r[:min(len(r), minSearch)])
}

// some reads the first rows of a search.
func (k *patientKind) some(ctx context.Context, do call.Doer, c clueSearch) ([]*wirePatient, error) {
	about := "search patient by " + strings.Fields(c.how)[0]
	var all []*wirePatient
	for len(all) < clueRows {
		r := read("/patient", c.param, c.query, "v", patientRep, "limit", pageSize)
		if len(all) > 0 {
			r.Query["startIndex"] = []string{fmt.Sprint(len(all))}
		}
		var body struct {
			Results []*wirePatient `json:"results"`
			Links   []link         `json:"links"`
		}
		if err := get(ctx, do, about, r, &body); err != nil {
			return nil, err
		}
		all = append(all, body.Results...)
		if !hasNext(body.Links) || len(body.Results) == 0 {
			break
		}
	}
	return all, nil
}

// nearestFirst orders by how far the years of birth are apart; those without one
// come last. Where nothing is known of the wanted one's, nothing is ordered.
func nearestFirst(rows []*wirePatient, born string) {
	if len(born) < 4 {
		return
	}
	year, err := strconv.Atoi(born[:4])
	if err != nil {
		return
	}
	away := func(w *wirePatient) int {
		if w.Person == nil || len(deref(w.Person.Birthdate)) < 4 {
			return 1000
		}
		y, err := strconv.Atoi(deref(w.Person.Birthdate)[:4])
		if err != nil {
			return 1000
		}
		return max(y-year, year-y)
	}
	slices.SortStableFunc(rows, func(a, b *wirePatient) int { return away(a) - away(b) })
}
