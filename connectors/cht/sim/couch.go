package sim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// couch serves the database medic as online users see it. Called with the lock held.
func (s *Sim) couch(w http.ResponseWriter, r *http.Request, u *user, path string) {
	if !s.online(w, u) {
		return
	}
	changes := r.Method == http.MethodPut || r.Method == http.MethodDelete || r.Method == http.MethodPost && path == "_bulk_docs"
	if changes && !s.may(u, "can_edit") {
		fail(w, http.StatusForbidden, "Insufficient privileges")
		return
	}
	switch {
	case path == "_all_docs":
		s.allDocs(w, r)
	case path == "_changes" && r.Method == http.MethodGet:
		s.changes(w, r)
	case path == "_bulk_docs" && r.Method == http.MethodPost:
		s.bulkDocs(w, r)
	case path == "_find" && r.Method == http.MethodPost:
		s.find(w, r)
	case strings.HasPrefix(path, "_design/") && strings.Contains(path, "/_view/"):
		s.view(w, r, path)
	case path == "" || strings.HasPrefix(path, "_"):
		couchFail(w, http.StatusNotFound, "not_found", "missing")
	default:
		s.document(w, r, path)
	}
}

func (s *Sim) document(w http.ResponseWriter, r *http.Request, escaped string) {
	id, err := url.PathUnescape(escaped)
	if err != nil {
		couchFail(w, http.StatusBadRequest, "bad_request", "Invalid path")
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		d, q := s.docs[id], r.URL.Query()
		switch {
		case d != nil && q.Get("rev") != "":
			doc := d.at(q.Get("rev"))
			if doc == nil {
				couchFail(w, http.StatusNotFound, "not_found", "missing")
				return
			}
			if q.Get("revs") == "true" {
				doc["_revisions"] = d.revisions(q.Get("rev"))
			}
			answer(w, http.StatusOK, doc)
		case d == nil:
			couchFail(w, http.StatusNotFound, "not_found", "missing")
		case d.deleted:
			couchFail(w, http.StatusNotFound, "not_found", "deleted")
		default:
			answer(w, http.StatusOK, d.whole())
		}
	case http.MethodPut:
		doc, ok := object(w, r)
		if ok {
			s.written(w, http.StatusCreated, id, doc)
		}
	case http.MethodDelete:
		if s.live(id) == nil {
			couchFail(w, http.StatusNotFound, "not_found", "missing")
			return
		}
		s.written(w, http.StatusOK, id, map[string]any{"_rev": r.URL.Query().Get("rev"), "_deleted": true})
	default:
		couchFail(w, http.StatusMethodNotAllowed, "method_not_allowed", "Only DELETE,GET,HEAD,PUT allowed")
	}
}

func (s *Sim) written(w http.ResponseWriter, status int, id string, doc map[string]any) {
	rev, err := s.put(id, doc)
	if err != nil {
		s.putFailed(w, err)
		return
	}
	answer(w, status, map[string]any{"ok": true, "id": id, "rev": rev})
}

func (s *Sim) putFailed(w http.ResponseWriter, err error) {
	if errors.As(err, &conflict{}) {
		couchFail(w, http.StatusConflict, "conflict", "Document update conflict")
		return
	}
	couchFail(w, http.StatusBadRequest, "bad_request", "invalid_json")
}

func (s *Sim) bulkDocs(w http.ResponseWriter, r *http.Request) {
	body, ok := object(w, r)
	if !ok {
		return
	}
	docs, ok := body["docs"].([]any)
	if !ok {
		couchFail(w, http.StatusBadRequest, "bad_request", "Missing JSON list of 'docs'")
		return
	}
	rows := []any{}
	for _, item := range docs {
		doc, _ := item.(map[string]any)
		id := text(doc["_id"])
		if id == "" {
			id = fmt.Sprintf("%032x", s.seq+1) // CouchDB makes one up
		}
		if body["new_edits"] == false {
			if err := s.force(id, text(doc["_rev"]), doc); err != nil {
				rows = append(rows, map[string]any{"id": id, "error": "bad_request", "reason": "invalid_json"})
			}
			continue
		}
		rev, err := s.put(id, doc)
		if err != nil {
			rows = append(rows, map[string]any{"id": id, "error": "conflict", "reason": "Document update conflict"})
			continue
		}
		rows = append(rows, map[string]any{"ok": true, "id": id, "rev": rev})
	}
	answer(w, http.StatusCreated, rows)
}

// query is how a list of rows is asked for.
type query struct {
	start, end  string
	keys        []any
	byKeys      bool
	skip, limit int
	docs        bool
}

func readQuery(w http.ResponseWriter, r *http.Request) (query, bool) {
	q := query{limit: -1, docs: r.URL.Query().Get("include_docs") == "true"}
	bad := func() (query, bool) {
		couchFail(w, http.StatusBadRequest, "query_parse_error", "Invalid value")
		return q, false
	}
	for name, into := range map[string]*int{"skip": &q.skip, "limit": &q.limit} {
		if v := r.URL.Query().Get(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				return bad()
			}
			*into = n
		}
	}
	for name, into := range map[string]*string{"startkey": &q.start, "endkey": &q.end} {
		if v := r.URL.Query().Get(name); v != "" && json.Unmarshal([]byte(v), into) != nil {
			return bad()
		}
	}
	if v := r.URL.Query().Get("key"); v != "" {
		var key any
		if json.Unmarshal([]byte(v), &key) != nil {
			return bad()
		}
		q.keys, q.byKeys = []any{key}, true
	}
	if r.Method == http.MethodPost {
		body, ok := object(w, r)
		if !ok {
			return q, false
		}
		q.keys, q.byKeys = body["keys"].([]any)
	}
	return q, true
}

// page cuts what skip and limit ask for.
func (q query) page(rows []map[string]any) []map[string]any {
	rows = rows[min(q.skip, len(rows)):]
	if q.limit >= 0 {
		rows = rows[:min(q.limit, len(rows))]
	}
	return rows
}

func (s *Sim) allDocs(w http.ResponseWriter, r *http.Request) {
	q, ok := readQuery(w, r)
	if !ok {
		return
	}
	rows, ids := []map[string]any{}, s.ids()
	if q.byKeys {
		for _, k := range q.keys {
			rows = append(rows, s.row(text(k), q.docs))
		}
	} else {
		for _, id := range ids {
			if id >= q.start && (q.end == "" || id <= q.end) {
				rows = append(rows, s.row(id, q.docs))
			}
		}
	}
	answer(w, http.StatusOK, map[string]any{"total_rows": len(ids), "offset": 0, "rows": q.page(rows)})
}

func (s *Sim) row(id string, whole bool) map[string]any {
	d := s.docs[id]
	if d == nil {
		return map[string]any{"key": id, "error": "not_found"}
	}
	row := map[string]any{"id": id, "key": id, "value": map[string]any{"rev": d.rev}}
	if d.deleted {
		row["value"] = map[string]any{"rev": d.rev, "deleted": true}
	}
	if whole && d.deleted {
		row["doc"] = nil
	} else if whole {
		row["doc"] = d.whole()
	}
	return row
}

func (s *Sim) changes(w http.ResponseWriter, r *http.Request) {
	since, ok := s.place(strings.Trim(r.URL.Query().Get("since"), `"`))
	if !ok {
		couchFail(w, http.StatusBadRequest, "bad_request", "Malformed sequence supplied in 'since' parameter.")
		return
	}
	limit := len(s.docs)
	if v := r.URL.Query().Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			couchFail(w, http.StatusBadRequest, "query_parse_error", "Invalid value for limit")
			return
		}
		limit = max(n, 1)
	}
	var list []*stored
	for _, d := range s.docs {
		if d.seq > since {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b *stored) int { return cmp.Compare(a.seq, b.seq) })
	pending := max(0, len(list)-limit)
	list = list[:len(list)-pending]
	results, last := []any{}, since
	for _, d := range list {
		row := map[string]any{"seq": sequence(d.seq), "id": d.id, "changes": []any{map[string]any{"rev": d.rev}}}
		if d.deleted {
			row["deleted"] = true
		}
		if r.URL.Query().Get("include_docs") == "true" {
			row["doc"] = d.whole()
		}
		results, last = append(results, row), d.seq
	}
	if len(list) == 0 {
		last = s.seq
	}
	answer(w, http.StatusOK, map[string]any{"results": results, "last_seq": sequence(last), "pending": pending})
}

// find serves a part of Mango: equality, $eq, $in, $regex and $exists by dotted
// names, and $or.
func (s *Sim) find(w http.ResponseWriter, r *http.Request) {
	body, ok := object(w, r)
	if !ok {
		return
	}
	selector, ok := body["selector"].(map[string]any)
	if !ok {
		couchFail(w, http.StatusBadRequest, "missing_required_key", "Missing required key: selector")
		return
	}
	limit := 25
	if n, ok := body["limit"].(float64); ok {
		limit = int(n)
	}
	fields, _ := body["fields"].([]any)
	docs := []any{}
	for _, id := range s.ids() {
		if len(docs) >= limit {
			break
		}
		doc := s.docs[id].whole()
		if strings.HasPrefix(id, "_design/") || !matches(doc, selector) {
			continue
		}
		if len(fields) > 0 {
			cut := map[string]any{}
			for _, f := range fields {
				if v, ok := doc[text(f)]; ok {
					cut[text(f)] = v
				}
			}
			doc = cut
		}
		docs = append(docs, doc)
	}
	answer(w, http.StatusOK, map[string]any{"docs": docs, "bookmark": "nil", "warning": "No matching index found, create an index to optimize query time."})
}

func matches(doc, selector map[string]any) bool {
	for name, want := range selector {
		if name == "$or" {
			list, _ := want.([]any)
			if !slices.ContainsFunc(list, func(x any) bool { m, ok := x.(map[string]any); return ok && matches(doc, m) }) {
				return false
			}
			continue
		}
		var v any = doc
		for _, part := range strings.Split(name, ".") {
			m, _ := v.(map[string]any)
			v = m[part]
		}
		op, ok := want.(map[string]any)
		if !ok {
			op = map[string]any{"$eq": want}
		}
		for kind, arg := range op {
			if !holds(kind, v, arg) {
				return false
			}
		}
	}
	return true
}

func holds(kind string, v, arg any) bool {
	switch kind {
	case "$eq":
		return same(v, arg)
	case "$in":
		list, _ := arg.([]any)
		return slices.ContainsFunc(list, func(x any) bool { return same(v, x) })
	case "$exists":
		return (v != nil) == (arg == true)
	case "$regex":
		s, isText := v.(string)
		re, err := regexp.Compile(text(arg))
		return isText && err == nil && re.MatchString(s)
	}
	return false
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// object reads a JSON object from a request's body.
func object(w http.ResponseWriter, r *http.Request) (map[string]any, bool) {
	var doc map[string]any
	if err := json.NewDecoder(r.Body).Decode(&doc); err != nil || doc == nil {
		couchFail(w, http.StatusBadRequest, "bad_request", "invalid UTF-8 JSON")
		return nil, false
	}
	return doc, true
}
