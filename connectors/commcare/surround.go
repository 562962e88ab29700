package commcare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// deepest is how many levels of places are followed upwards.
const deepest = 20

// Surround gives case, worker, place and owner for a form, and worker, place
// and owner for a case. item is one element of form.cases; without it, a form
// about exactly one case means that one.
func (s *System) Surround(ctx context.Context, do call.Doer, m *connector.Message, content, item any, names []string) (map[string]any, error) {
	l := &looker{s: s, do: do, item: asMap(item)}
	doc := asMap(content)
	if doc == nil && m != nil && len(m.Content) > 0 {
		if err := json.Unmarshal(m.Content, &doc); err != nil {
			return nil, fmt.Errorf("read the content of message %d: %w", m.ID, err)
		}
	}
	l.form, l.stored = asMap(doc["form"]), asMap(doc["case"])
	out := map[string]any{}
	for _, name := range names {
		var v map[string]any
		var err error
		switch name {
		case "case":
			v, err = l.theCase(ctx)
		case "worker":
			v, err = s.worker(ctx, do, l.workerID())
		case "place":
			v, err = l.place(ctx)
		case "owner":
			v, err = l.owner(ctx)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		if v != nil {
			out[name] = v
		}
	}
	return out, nil
}

// looker answers for one message and item; it reads the case once.
type looker struct {
	s      *System
	do     call.Doer
	form   map[string]any
	item   map[string]any // element of form.cases, or nil
	stored map[string]any // the case of a case message, or as read
	merged map[string]any
}

func (l *looker) workerID() string {
	if l.form != nil {
		return text(asMap(l.form["meta"])["userID"])
	}
	return text(l.stored["user_id"])
}

func (l *looker) theCase(ctx context.Context) (map[string]any, error) {
	if l.form == nil {
		return l.stored, nil
	}
	if l.merged != nil {
		return l.merged, nil
	}
	item := l.item
	if text(item["case_id"]) == "" {
		all, _ := l.form["cases"].([]any)
		if len(all) != 1 {
			return nil, nil
		}
		item = asMap(all[0])
	}
	stored, err := l.s.readCase(ctx, l.do, text(item["case_id"]))
	if err != nil {
		return nil, err
	}
	l.merged = overlay(stored, item)
	return l.merged, nil
}

// overlay is the stored case with what the form says about it over it. A form
// processed later than this one may have changed the stored case since: this
// form's own words stay the newest that it knows of.
func overlay(stored, item map[string]any) map[string]any {
	doc := map[string]any{"case_id": item["case_id"]}
	properties := map[string]any{}
	for k, v := range stored {
		doc[k] = v
	}
	for k, v := range asMap(stored["properties"]) {
		properties[k] = v
	}
	for _, part := range []any{item["create"], item["update"]} {
		for name, v := range asMap(part) {
			if caseNames[name] {
				doc[name] = v
			} else {
				properties[name] = v
			}
		}
	}
	doc["properties"] = properties
	if closed, _ := item["close"].(bool); closed {
		doc["closed"] = true
	}
	indices := map[string]any{}
	for k, v := range asMap(stored["indices"]) {
		indices[k] = v
	}
	for k, v := range asMap(item["index"]) {
		indices[k] = v
	}
	doc["indices"] = indices
	out := canonicalCase(doc)
	out["id"] = out["case_id"]
	return out
}

func (l *looker) place(ctx context.Context) (map[string]any, error) {
	w, err := l.s.worker(ctx, l.do, l.workerID())
	if err != nil || w == nil {
		return nil, err
	}
	return asMap(w["place"]), nil
}

// owner is who the case belongs to: a worker, or a place that shares it. An id
// that is neither is a case sharing group.
func (l *looker) owner(ctx context.Context) (map[string]any, error) {
	c, err := l.theCase(ctx)
	if err != nil {
		return nil, err
	}
	id := text(c["owner_id"])
	if id == "" || id == "-" {
		return nil, nil
	}
	place, err := l.s.place(ctx, l.do, id)
	if err != nil {
		return nil, err
	}
	if place != nil {
		return map[string]any{"id": id, "kind": "place", "name": place["name"], "place": place}, nil
	}
	w, err := l.s.worker(ctx, l.do, id)
	if err != nil {
		return nil, err
	}
	if w != nil {
		return map[string]any{"id": id, "kind": "worker", "name": w["name"], "place": w["place"], "worker": w}, nil
	}
	return map[string]any{"id": id, "kind": "group"}, nil
}

// worker reads a mobile worker, or else a web user, and where they work; nil
// if there is none.
func (s *System) worker(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	if id == "" {
		return nil, nil
	}
	doc, err := s.document(ctx, do, s.users, id, "read the worker", "api/v0.5/user/", "api/v0.5/web-user/")
	if err != nil || doc == nil {
		return nil, err
	}
	data := asMap(doc["user_data"])
	if data == nil {
		data = map[string]any{}
	}
	full := strings.TrimSpace(text(doc["first_name"]) + " " + text(doc["last_name"]))
	username, _, _ := strings.Cut(text(doc["username"]), "@")
	if full == "" {
		full = username
	}
	w := map[string]any{"id": id, "username": username, "name": full, "first_name": text(doc["first_name"]), "last_name": text(doc["last_name"]),
		"phone": text(doc["default_phone_number"]), "email": text(doc["email"]), "groups": list(doc["groups"]), "data": data, "places": places(doc, data)}
	primary := firstText(doc["primary_location"], data["commcare_location_id"])
	if primary == "" {
		return w, nil
	}
	place, err := s.place(ctx, do, primary)
	if err != nil {
		return nil, err
	}
	if place != nil {
		w["place"] = place
	}
	return w, nil
}

// places are the ids of all the worker's places.
func places(doc, data map[string]any) []any {
	if l := list(doc["locations"]); len(l) > 0 {
		return l
	}
	out := []any{}
	for _, id := range strings.FieldsFunc(text(data["commcare_location_ids"]), func(r rune) bool { return r == ' ' || r == ',' }) {
		out = append(out, id)
	}
	return out
}

// place reads a location with the chain of those above it, nearest first; nil
// if there is none.
func (s *System) place(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	own, err := s.onePlace(ctx, do, id)
	if err != nil || own == nil {
		return nil, err
	}
	ancestors := []any{}
	seen := map[string]bool{id: true}
	for at := own; len(ancestors) < deepest; {
		up := text(at["parent"])
		if up == "" || seen[up] {
			break
		}
		seen[up] = true
		if at, err = s.onePlace(ctx, do, up); err != nil {
			return nil, err
		}
		if at == nil {
			break
		}
		ancestors = append(ancestors, at)
	}
	own["ancestors"] = ancestors
	return own, nil
}

func (s *System) onePlace(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	doc, err := s.document(ctx, do, s.places, id, "read the location", "api/location/v2/")
	if err != nil || doc == nil {
		return nil, err
	}
	data := asMap(doc["location_data"])
	if data == nil {
		data = map[string]any{}
	}
	return map[string]any{"id": text(doc["location_id"]), "name": text(doc["name"]), "site_code": text(doc["site_code"]),
		"type": text(doc["location_type_code"]), "type_name": text(doc["location_type_name"]), "data": data,
		"parent": text(doc["parent_location_id"]), "latitude": text(doc["latitude"]), "longitude": text(doc["longitude"])}, nil
}

// document reads /{under}{id}/ from the first address that has it, through a
// cache that also remembers that there is none.
func (s *System) document(ctx context.Context, do call.Doer, c *cache, id, about string, under ...string) (map[string]any, error) {
	if !oneID(id) {
		return nil, nil
	}
	if doc, ok := c.get(id); ok {
		return doc, nil
	}
	for _, at := range under {
		a, err := do.Do(ctx, about, call.Request{Method: http.MethodGet, Path: s.path(at + url.PathEscape(id) + "/"),
			Query: map[string][]string{"format": {"json"}}})
		if err != nil {
			return nil, err
		}
		if a.Status == http.StatusNotFound {
			continue
		}
		doc, err := object(a.Body)
		if err != nil {
			return nil, fmt.Errorf("%s: %s %s: %w", s.name, about, id, err)
		}
		c.put(id, doc)
		return doc, nil
	}
	c.put(id, nil)
	return nil, nil
}

// readCase reads a case by its id, nil if there is none.
func (s *System) readCase(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	if !oneID(id) {
		return nil, nil
	}
	a, err := do.Do(ctx, "read the case", s.caseByID(id))
	if err != nil || a.Status == http.StatusNotFound {
		return nil, err
	}
	doc, err := object(a.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: read case %s: %w", s.name, id, err)
	}
	return doc, nil
}

// oneID tells whether a text can be the id of one document. In an address a
// comma would ask for several, and dots would leave the folder.
func oneID(id string) bool {
	return id != "" && id != "." && id != ".." && !strings.ContainsAny(id, ",/")
}

func object(body []byte) (map[string]any, error) {
	doc, err := xform.DecodePage(body)
	if err != nil {
		return nil, err
	}
	m, ok := doc.(map[string]any)
	if !ok {
		return nil, &xform.Bad{Text: "the answer is not a JSON object"}
	}
	return m, nil
}

func asMap(v any) map[string]any {
	switch m := v.(type) {
	case map[string]any:
		return m
	case map[string]string:
		out := make(map[string]any, len(m))
		for k, v := range m {
			out[k] = v
		}
		return out
	}
	return nil
}

func text(v any) string { return xform.Text(v) }

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{}
}
