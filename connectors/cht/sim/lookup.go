package sim

import (
	"encoding/json"
	"net/http"
	"regexp"
)

// lookup serves hydrate and contacts-by-phone, for every online user; ok is
// false for another path.
func (s *Sim) lookup(w http.ResponseWriter, r *http.Request, u *user, path string) (ok bool) {
	switch {
	case path != "/api/v1/hydrate" && path != "/api/v1/contacts-by-phone", r.Method != http.MethodGet && r.Method != http.MethodPost:
		return false
	case !s.online(w, u):
		return true
	}
	body := map[string]any{}
	if r.Method == http.MethodPost {
		if body, ok = object(w, r); !ok {
			return true
		}
	}
	if path == "/api/v1/contacts-by-phone" {
		phone := text(body["phone"])
		if v := r.URL.Query().Get("phone"); v != "" {
			phone = v
		}
		s.byPhone(w, phone)
		return true
	}
	ids, _ := body["doc_ids"].([]any)
	if v := r.URL.Query().Get("doc_ids"); v != "" && json.Unmarshal([]byte(v), &ids) != nil {
		ids = nil
	}
	if ids == nil {
		couchFail(w, http.StatusBadRequest, "bad_request", "`doc_ids` parameter must be a json array.")
		return true
	}
	out := []any{}
	for _, id := range ids {
		if d := s.live(text(id)); d != nil {
			out = append(out, map[string]any{"id": id, "doc": s.hydrate(d.whole())})
			continue
		}
		out = append(out, map[string]any{"id": id, "error": "not_found"})
	}
	answer(w, http.StatusOK, out)
	return true
}

// international is a phone number as the CHT stores it. Numbers in another form
// are not brought into it here, as the CHT does by libphonenumber.
var international = regexp.MustCompile(`^\+\d{7,15}$`)

func (s *Sim) byPhone(w http.ResponseWriter, phone string) {
	if !international.MatchString(phone) {
		couchFail(w, http.StatusBadRequest, "bad_request", "`phone` parameter is required and must be a valid phone number")
		return
	}
	docs := []any{}
	for _, row := range s.viewRows("medic-client/contacts_by_phone", query{keys: []any{phone}, byKeys: true}) {
		docs = append(docs, s.hydrate(s.docs[text(row["id"])].whole()))
	}
	if len(docs) == 0 {
		couchFail(w, http.StatusNotFound, "not_found", "no matches found")
		return
	}
	answer(w, http.StatusOK, map[string]any{"ok": true, "docs": docs})
}
