package sim

import (
	"net/http"
	"slices"
	"strings"
)

func (s *Sim) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	if s.starting {
		// The proxy's page, as while containers are replaced.
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("<html><head><title>503 Service Temporarily Unavailable</title></head><body>The CHT is starting</body></html>"))
		return
	}
	path := r.URL.EscapedPath()
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	switch path { // open to everybody
	case "/api/info":
		answer(w, http.StatusOK, map[string]any{"version": s.o.Version})
		return
	case "/api/v2/monitoring":
		s.monitoring(w)
		return
	}
	u := s.login(w, r)
	if u == nil {
		return
	}
	if rest, ok := strings.CutPrefix(path, "/medic/"); ok {
		s.couch(w, r, u, rest)
		return
	}
	if (r.Method == http.MethodPost || r.Method == http.MethodPut) && strings.HasPrefix(path, "/api/") && r.Header.Get("Content-Type") != "application/json" &&
		!slices.ContainsFunc(anyType, func(end string) bool { return strings.Contains(path, end) }) {
		fail(w, http.StatusBadRequest, "Content-Type must be application/json")
		return
	}
	if !s.lookup(w, r, u, path) {
		s.api(w, r, u, path)
	}
}

// anyType are the endpoints that take other types than application/json too.
var anyType = []string{"/records", "/hydrate", "/contacts-by-phone", "rapidpro"}

func (s *Sim) api(w http.ResponseWriter, r *http.Request, u *user, path string) {
	switch {
	case path == "/_session" && r.Method == http.MethodGet:
		answer(w, http.StatusOK, map[string]any{"ok": true, "userCtx": map[string]any{"name": u.Username, "roles": u.Roles},
			"info": map[string]any{"authentication_handlers": []string{"cookie", "default"}, "authenticated": "default"}})
	case path == "/api/deploy-info" && r.Method == http.MethodGet:
		answer(w, http.StatusOK, map[string]any{"version": s.o.Version, "build": s.o.Version})
	case path == "/api/v1/settings" && r.Method == http.MethodGet:
		answer(w, http.StatusOK, s.settings)
	case strings.HasPrefix(path, "/api/v2/export/"):
		s.export(w, r, u, strings.TrimPrefix(path, "/api/v2/export/"))
	case path == "/api/v2/users" && r.Method == http.MethodGet:
		s.listUsers(w, u)
	case strings.HasPrefix(path, "/api/v2/users/") && r.Method == http.MethodGet:
		s.getUser(w, u, strings.TrimPrefix(path, "/api/v2/users/"))
	case path == "/api/v1/bulk-delete" && r.Method == http.MethodPost:
		s.bulkDelete(w, r, u)
	case strings.HasPrefix(path, "/api/v1/"):
		s.data(w, r, u, strings.Split(strings.TrimPrefix(path, "/api/v1/"), "/"))
	default:
		couchFail(w, http.StatusNotFound, "not_found", "Database does not exist.")
	}
}

// monitoring is the part of GET /api/v2/monitoring that tells something here.
func (s *Sim) monitoring(w http.ResponseWriter) {
	answer(w, http.StatusOK, map[string]any{
		"version":       map[string]any{"app": s.o.Version, "couchdb": "3.5.1"},
		"couchdb":       map[string]any{"medic": map[string]any{"name": "medic", "update_sequence": s.seq, "doc_count": len(s.ids())}},
		"date":          map[string]any{"current": s.now().UnixMilli()},
		"outbound_push": map[string]any{"backlog": 0},
		"conflict":      map[string]any{"count": 0},
	})
}

func (s *Sim) listUsers(w http.ResponseWriter, u *user) {
	if !s.allowed(w, u, "can_view_users") {
		return
	}
	var names []string
	for name := range s.users {
		names = append(names, name)
	}
	slices.Sort(names)
	list := []any{}
	for _, name := range names {
		list = append(list, s.account(s.users[name]))
	}
	answer(w, http.StatusOK, list)
}

func (s *Sim) getUser(w http.ResponseWriter, u *user, name string) {
	if !s.allowed(w, u, "can_view_users") {
		return
	}
	found := s.users[name]
	if found == nil {
		fail(w, http.StatusNotFound, "Failed to find user with name ["+name+"] in the [users] database.")
		return
	}
	answer(w, http.StatusOK, s.account(found))
}

// account is a user as the users API shows it: places are a list since a user
// may have several.
func (s *Sim) account(u *user) map[string]any {
	out := map[string]any{"id": "org.couchdb.user:" + u.Username, "rev": "1-" + strings.Repeat("0", 32), "username": u.Username, "roles": u.Roles, "place": nil}
	if d := s.live(u.Place); d != nil {
		out["place"] = []any{d.whole()}
	}
	if d := s.live(u.Contact); d != nil {
		out["contact"] = d.whole()
	}
	return out
}

// bulkDelete deletes documents whatever their revision; what is not there is
// passed over. The answer is a list of lists: it is sent in parts.
func (s *Sim) bulkDelete(w http.ResponseWriter, r *http.Request, u *user) {
	if !s.allowed(w, u, "can_edit") {
		return
	}
	body, ok := object(w, r)
	if !ok {
		return
	}
	docs, ok := body["docs"].([]any)
	if !ok {
		fail(w, http.StatusBadRequest, "Bulk Delete Docs: docs array missing")
		return
	}
	rows := []any{}
	for _, item := range docs {
		doc, _ := item.(map[string]any)
		d := s.live(text(doc["_id"]))
		if d == nil {
			continue
		}
		gone := d.whole()
		gone["_deleted"] = true
		rev, err := s.put(d.id, gone)
		if err != nil {
			rows = append(rows, map[string]any{"id": d.id, "error": "conflict"})
			continue
		}
		rows = append(rows, map[string]any{"ok": true, "id": d.id, "rev": rev})
	}
	answer(w, http.StatusOK, []any{rows})
}
