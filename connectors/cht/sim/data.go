package sim

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// data serves what can be read of the data access API (recorded from 5.2.0).
func (s *Sim) data(w http.ResponseWriter, r *http.Request, u *user, path []string) {
	kinds := map[string]string{"person": "can_view_contacts", "place": "can_view_contacts", "contact": "can_view_contacts", "report": "can_view_reports", "target": ""}
	permission, ok := kinds[path[0]]
	if !ok || r.Method != http.MethodGet || len(path) > 2 || path[0] == "target" && !s.since(5, 1) {
		couchFail(w, http.StatusNotFound, "not_found", "Database does not exist.")
		return
	}
	if permission != "" && !s.allowed(w, u, permission) || permission == "" && !s.allowed(w, u) {
		return
	}
	q := r.URL.Query()
	if len(path) == 1 || path[1] == "uuid" {
		s.dataList(w, path, q)
		return
	}
	id, err := url.PathUnescape(path[1])
	d := s.live(id)
	if err != nil || d == nil || !s.is(d.doc, path[0]) {
		fail(w, http.StatusNotFound, strings.ToUpper(path[0][:1])+path[0][1:]+" not found")
		return
	}
	if q.Get("with_lineage") == "true" {
		answer(w, http.StatusOK, s.hydrate(d.whole()))
		return
	}
	answer(w, http.StatusOK, d.whole())
}

// is tells whether a document is of a kind of the data API.
func (s *Sim) is(doc map[string]any, kind string) bool {
	switch kind {
	case "report":
		return text(doc["type"]) == "data_record" && text(doc["form"]) != ""
	case "target":
		return text(doc["type"]) == "target"
	case "contact":
		return isContact(doc)
	}
	if !isContact(doc) {
		return false
	}
	return s.person(typeOf(doc)) == (kind == "person")
}

// person tells whether a contact type is one of persons.
func (s *Sim) person(contactType string) bool {
	for _, t := range objects(s.settings, "contact_types") {
		if text(t["id"]) == contactType {
			return t["person"] == true
		}
	}
	return contactType == "person"
}

// defaultLimit and uuidLimit are how much a list gives without limit.
const (
	defaultLimit = 100
	uuidLimit    = 10000
)

func (s *Sim) dataList(w http.ResponseWriter, path []string, q url.Values) {
	limit := defaultLimit
	if len(path) == 2 {
		limit = uuidLimit
	}
	if v, given := q["limit"]; given {
		n, err := strconv.Atoi(v[0])
		if err != nil || n <= 0 {
			fail(w, http.StatusBadRequest, fmt.Sprintf("The limit must be a positive integer: [%q].", v[0]))
			return
		}
		limit = n
	}
	skip := 0
	if v, given := q["cursor"]; given {
		n, err := strconv.Atoi(v[0])
		if err != nil || n < 0 {
			fail(w, http.StatusBadRequest, fmt.Sprintf("The cursor must be a string or null for first page: [%q].", v[0]))
			return
		}
		skip = n
	}
	list, problem := s.listed(path, q)
	if problem != "" {
		fail(w, http.StatusBadRequest, problem)
		return
	}
	// The cursor is an offset: what is added or removed meanwhile moves it.
	list = list[min(skip, len(list)):]
	var cursor any
	if len(list) > limit || len(list) == limit && path[0] != "target" {
		cursor = strconv.Itoa(skip + limit)
	} else if len(list) == limit {
		cursor = nil
	}
	list = list[:min(limit, len(list))]
	data := []any{}
	for _, d := range list {
		if len(path) == 2 {
			data = append(data, d.id)
		} else {
			data = append(data, d.whole())
		}
	}
	answer(w, http.StatusOK, map[string]any{"data": data, "cursor": cursor})
}

// listed gives the documents that a list is about, in the order of their ids.
func (s *Sim) listed(path []string, q url.Values) ([]*stored, string) {
	if path[0] == "target" {
		return s.targets(q)
	}
	contactType := q.Get("type")
	switch {
	case path[0] == "report":
		return nil, "Either query param freetext or type is required"
	case contactType == "" && len(path) == 2:
		return nil, "Either query param freetext or type is required"
	case contactType == "":
		return nil, "Invalid contact type [undefined]."
	case path[0] == "person" && !s.person(contactType), path[0] == "place" && s.person(contactType):
		return nil, "Invalid contact type [" + contactType + "]."
	}
	var out []*stored
	for _, id := range s.ids() {
		if d := s.docs[id]; isContact(d.doc) && typeOf(d.doc) == contactType {
			out = append(out, d)
		}
	}
	return out, ""
}

var monthText = regexp.MustCompile(`^\d{4}-\d{2}$`)

func (s *Sim) targets(q url.Values) ([]*stored, string) {
	period := q.Get("reporting_period")
	if !monthText.MatchString(period) {
		if period == "" {
			period = "undefined"
		}
		return nil, "Invalid reporting period [" + period + "]."
	}
	owners := strings.Split(q.Get("contact_ids"), ",")
	if id := q.Get("contact_id"); id != "" {
		owners = []string{id}
	}
	var out []*stored
	for _, id := range s.ids() {
		if d := s.docs[id]; strings.HasPrefix(id, "target~"+period+"~") && slices.Contains(owners, text(d.doc["owner"])) {
			out = append(out, d)
		}
	}
	return out, ""
}

// hydrate puts the documents of the contacts in place of their ids: of everything
// above, and of the primary contacts on the way; and of a report's subject.
func (s *Sim) hydrate(doc map[string]any) map[string]any {
	doc = maps.Clone(doc)
	if text(doc["type"]) == "data_record" {
		if c, ok := doc["contact"].(map[string]any); ok {
			if d := s.live(text(c["_id"])); d != nil {
				doc["contact"] = s.hydrate(d.whole())
			}
		}
		fields, _ := doc["fields"].(map[string]any)
		if d := s.subject(fields); d != nil {
			doc["patient"] = s.hydrate(d.whole())
		}
		return doc
	}
	for _, name := range []string{"parent", "contact"} {
		ref, ok := doc[name].(map[string]any)
		if !ok {
			continue
		}
		d := s.live(text(ref["_id"]))
		switch {
		case d != nil && name == "parent":
			doc[name] = s.hydrate(d.whole())
		case d != nil:
			doc[name] = d.whole()
		}
	}
	return doc
}

// subject finds whom a report is about: by uuid, or by the short code.
func (s *Sim) subject(fields map[string]any) *stored {
	for _, name := range []string{"patient_uuid", "patient_id"} {
		ref := text(fields[name])
		if ref == "" {
			continue
		}
		if d := s.live(ref); d != nil && isContact(d.doc) {
			return d
		}
		for _, id := range s.ids() {
			if d := s.docs[id]; isContact(d.doc) && text(d.doc["patient_id"]) == ref {
				return d
			}
		}
	}
	return nil
}
