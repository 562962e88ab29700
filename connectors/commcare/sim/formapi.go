package sim

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

// listForms is GET api/form/v1/ (spec/form-v1.json): limit 20 by default and
// 1000 at most, which 0 also means; offset; order_by; filters.
func (s *Sim) listForms(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, offset := 20, 0
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			problem(w, http.StatusBadRequest, "Invalid limit '"+v+"' provided. Please provide a positive integer.")
			return
		}
		if limit = n; n == 0 || n > 1000 {
			limit = 1000
		}
	}
	if v := q.Get("offset"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			problem(w, http.StatusBadRequest, "Invalid offset '"+v+"' provided. Please provide a positive integer.")
			return
		}
		offset = n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.matching(q)
	page := found[min(offset, len(found)):min(offset+limit, len(found))]
	objects := make([]any, 0, len(page))
	for _, f := range page {
		objects = append(objects, f.envelope(s.o.Domain))
	}
	var next any
	if offset+limit < len(found) {
		q.Set("limit", strconv.Itoa(limit))
		q.Set("offset", strconv.Itoa(offset+limit))
		next = r.URL.Path + "?" + q.Encode()
	}
	answer(w, http.StatusOK, map[string]any{"meta": map[string]any{"limit": limit, "next": next, "offset": offset, "previous": nil,
		"total_count": len(found)}, "objects": objects})
}

func (s *Sim) matching(q url.Values) []*form {
	var found []*form
	for _, id := range sorted(s.forms) {
		f := s.forms[id]
		if f.held || (f.archived && q.Get("include_archived") != "true") ||
			(q.Get("xmlns") != "" && f.xmlns != q.Get("xmlns")) || (q.Get("app_id") != "" && f.appID != q.Get("app_id")) ||
			(q.Get("case_id") != "" && !touches(f, q.Get("case_id"))) ||
			!within(f.received, q.Get("received_on_start"), q.Get("received_on_end")) ||
			!within(f.index, q.Get("indexed_on_start"), q.Get("indexed_on_end")) {
			continue
		}
		found = append(found, f)
	}
	by, down := strings.CutPrefix(q.Get("order_by"), "-")
	slices.SortStableFunc(found, func(a, b *form) int {
		c := cmp.Compare(key(a, by).UnixMicro(), key(b, by).UnixMicro())
		if down {
			return -c
		}
		return c
	})
	return found
}

func key(f *form, by string) time.Time {
	switch by {
	case "indexed_on":
		return f.index
	case "server_modified_on":
		return f.modified
	}
	return f.received
}

func touches(f *form, caseID string) bool {
	for _, b := range f.blocks {
		if b.CaseID == caseID {
			return true
		}
	}
	return false
}

// within compares with moments or days, both ends included.
func within(t time.Time, from, to string) bool {
	if at, ok := moment(from); ok && t.Before(at) {
		return false
	}
	if at, ok := moment(to); ok && t.After(at) {
		return false
	}
	return true
}

func moment(v string) (time.Time, bool) {
	if t, err := time.Parse(time.DateOnly, v); err == nil {
		return t, true
	}
	return xform.Moment(v)
}

func (s *Sim) getForm(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.forms[r.PathValue("id")]
	if f == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	answer(w, http.StatusOK, f.envelope(s.o.Domain))
}
