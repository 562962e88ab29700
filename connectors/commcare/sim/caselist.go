package sim

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listCases is GET api/case/v2/: filters, oldest indexed first, and a cursor
// that carries the filters (default limit 20, at most 5000). It sees the
// search index, which LagIndex holds back.
func (s *Sim) listCases(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if cursor := q.Get("cursor"); cursor != "" {
		raw, err := base64.URLEncoding.DecodeString(cursor)
		if err == nil {
			q, err = url.ParseQuery(string(raw))
		}
		if err != nil {
			problem(w, http.StatusBadRequest, "Invalid cursor")
			return
		}
	}
	limit := 20
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 5000 {
			problem(w, http.StatusBadRequest, "You cannot request more than 5000 cases per request.")
			return
		}
		limit = n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := s.search(q)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	doc := map[string]any{"matching_records": len(found)}
	if after := q.Get("after"); after != "" {
		found = found[min(position(found, after), len(found)):]
	}
	if len(found) > limit {
		found = found[:limit]
		last := found[limit-1]
		q.Set("after", last.indexedOn.Format(iso)+" "+last.id)
		doc["next"] = map[string]any{"cursor": base64.URLEncoding.EncodeToString([]byte(q.Encode()))}
	}
	cases := make([]any, 0, len(found))
	for _, c := range found {
		cases = append(cases, only(c.json(s.o.Domain), q))
	}
	doc["cases"] = cases
	answer(w, http.StatusOK, doc)
}

// position is where the cursor's walk goes on: behind the thing named.
func position(found []*caze, after string) int {
	at, id, _ := strings.Cut(after, " ")
	return len(found) - len(slices.DeleteFunc(slices.Clone(found), func(c *caze) bool {
		return cmp.Or(cmp.Compare(c.indexedOn.Format(iso), at), cmp.Compare(c.id, id)) <= 0
	}))
}

// only keeps the fields asked for (fields=a,b; fields.properties=c).
func only(doc map[string]any, q url.Values) map[string]any {
	if q.Get("fields") == "" {
		return doc
	}
	out := map[string]any{}
	for _, name := range strings.Split(q.Get("fields"), ",") {
		if v, ok := doc[name]; ok {
			out[name] = v
		}
	}
	return out
}

var plainFilters = map[string]func(*caze) string{
	"external_id": func(c *caze) string { return c.external },
	"case_type":   func(c *caze) string { return c.typ },
	"owner_id":    func(c *caze) string { return c.owner },
	"case_name":   func(c *caze) string { return c.name },
	"closed":      func(c *caze) string { return strconv.FormatBool(c.closed) },
}

var timeFilters = map[string]func(*caze) time.Time{
	"last_modified":        func(c *caze) time.Time { return c.modified },
	"server_last_modified": func(c *caze) time.Time { return c.serverModified },
	"indexed_on":           func(c *caze) time.Time { return c.indexedOn },
	"date_opened":          func(c *caze) time.Time { return c.opened },
	"date_closed":          func(c *caze) time.Time { return c.shut },
}

func (s *Sim) search(q url.Values) ([]*caze, error) {
	var tests []func(*caze) bool
	for name := range q {
		test, err := filter(name, q.Get(name))
		if err != nil {
			return nil, err
		}
		if test != nil {
			tests = append(tests, test)
		}
	}
	candidates := s.indexed
	if id := q.Get("external_id"); id != "" {
		candidates = map[string]*caze{} // who ever had it
		for _, key := range s.externals[id] {
			if c := s.indexed[key]; c != nil {
				candidates[key] = c
			}
		}
	}
	var found []*caze
next:
	for _, c := range candidates {
		for _, test := range tests {
			if !test(c) {
				continue next
			}
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b *caze) int {
		return cmp.Or(a.indexedOn.Compare(b.indexedOn), cmp.Compare(a.id, b.id))
	})
	return found, nil
}

func filter(name, v string) (func(*caze) bool, error) {
	switch name {
	case "limit", "fields", "fields.properties", "exclude", "exclude.properties", "cursor", "after", "include_deprecated", "format":
		return nil, nil
	}
	if get := plainFilters[name]; get != nil {
		return func(c *caze) bool { return get(c) == v }, nil
	}
	if p, ok := strings.CutPrefix(name, "properties."); ok {
		return func(c *caze) bool { return c.props[p] == v }, nil
	}
	if i, ok := strings.CutPrefix(name, "indices."); ok {
		return func(c *caze) bool { return c.indices[i].CaseID == v }, nil
	}
	field, op, _ := strings.Cut(name, ".")
	get := timeFilters[field]
	if get == nil {
		return nil, userError("'" + name + "' is not a valid parameter.")
	}
	at, err := parsed(v)
	if err != nil {
		return nil, err
	}
	switch op {
	case "gt":
		return func(c *caze) bool { return get(c).After(at) }, nil
	case "gte":
		return func(c *caze) bool { return !get(c).Before(at) }, nil
	case "lt":
		return func(c *caze) bool { return get(c).Before(at) }, nil
	case "lte":
		return func(c *caze) bool { return !get(c).After(at) }, nil
	}
	return nil, userError("'" + name + "' is not a valid parameter.")
}
