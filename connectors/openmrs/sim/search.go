package sim

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxFound is the most that a search for people gives (GP person.searchMaxResults).
const maxFound = 1000

// searchPatients answers GET /patient and GET /person. It is not exact: a search
// by identifier is the general one (HibernatePatientDAO.getPatients), which looks
// at identifiers, names and searchable attributes; fuzzy matching is off, and
// voided people are never found.
func (s *Server) searchPatients(req *request, q url.Values) (*result, *failure) {
	byIdentifier := q.Get("identifier") != "" && declared(q, "identifier", "searchType")
	needle := q.Get("q")
	if byIdentifier {
		needle = q.Get("identifier")
	}
	if needle == "" {
		return nil, unsupported()
	}
	if byIdentifier && q.Get("searchType") == "start" {
		return s.page(req, s.startingWith(needle, q.Get("includeAll") == "true"), nil)
	}
	out := []thing{}
	if len([]rune(needle)) >= s.minSearch() {
		for _, p := range s.matching(strings.ToLower(needle)) {
			if req.path[0] == "person" {
				out = append(out, p.person)
			} else {
				out = append(out, p)
			}
		}
	}
	bySeq(out)
	return s.page(req, out[:min(len(out), maxFound)], nil)
}

// minSearch is GP minSearchCharacters, 2 by default.
func (s *Server) minSearch() int {
	if s.opt.MinSearch > 0 {
		return s.opt.MinSearch
	}
	return 2
}

// startingWith is RestHelperService.findPatientsByIdentifierStartingWith, which
// finds voided patients too if asked.
func (s *Server) startingWith(needle string, voided bool) []thing {
	out := []thing{}
	for _, p := range s.data.patients {
		if p.voided && !voided {
			continue
		}
		if slices.ContainsFunc(p.identifiers, func(r *row) bool {
			return (voided || !r.voided) && strings.HasPrefix(strings.ToLower(r.text("identifier")), strings.ToLower(needle))
		}) {
			out = append(out, p)
		}
	}
	bySeq(out)
	return out
}

// matching finds who fits the words: an identifier that begins with them, a
// searchable attribute that is them, or one name that has for each word a part
// that begins with it.
func (s *Server) matching(query string) []*patient {
	words := strings.Fields(query)
	if len(words) == 0 {
		return nil
	}
	near := map[*patient]bool{}
	collect := func(word string) {
		for p := range s.data.tokens[word] {
			near[p] = true
		}
		if len(s.data.patients) > manyPatients {
			return
		}
		for token, ps := range s.data.tokens {
			if strings.HasPrefix(token, word) {
				for p := range ps {
					near[p] = true
				}
			}
		}
	}
	collect(words[0])
	if whole := strings.Join(words, " "); whole != words[0] {
		collect(whole)
	}
	var out []*patient
	for p := range near {
		if s.fits(p, strings.Join(words, " "), words) {
			out = append(out, p)
		}
	}
	return out
}

func (s *Server) fits(p *patient, whole string, words []string) bool {
	for _, r := range p.identifiers {
		if !r.voided && strings.HasPrefix(strings.ToLower(r.text("identifier")), whole) {
			return true
		}
	}
	for _, r := range p.person.attributes {
		if !r.voided && r.ref("attributeType").flag("searchable") && strings.ToLower(r.text("value")) == whole {
			return true
		}
	}
	return slices.ContainsFunc(p.person.names, func(n *row) bool { return !n.voided && nameFits(n, words) })
}

// nameFits: every word begins some word of the name.
func nameFits(n *row, words []string) bool {
	var parts []string
	for _, k := range []string{"givenName", "middleName", "familyName", "familyName2"} {
		parts = append(parts, strings.Fields(strings.ToLower(n.text(k)))...)
	}
	for _, w := range words {
		if !slices.ContainsFunc(parts, func(part string) bool { return strings.HasPrefix(part, w) }) {
			return false
		}
	}
	return true
}

// listRows gives the rows of a sub-resource; of identifiers and the rest the
// voided ones too with includeAll (PatientIdentifierResource1_8.doGetAll, 2.24 on).
func (s *Server) listRows(req *request, rows []*row) (*result, *failure) {
	if req.Method == http.MethodGet && req.URL.Query().Get("includeAll") == "true" {
		all := []thing{}
		for _, r := range rows {
			all = append(all, r)
		}
		return s.page(req, all, nil)
	}
	return s.page(req, live(rows), nil)
}
