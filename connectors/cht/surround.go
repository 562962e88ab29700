package cht

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// Surround tells who made a report (worker) and whom it is about (subject), as
// the CHT has them now. A contact that is no longer there is nil.
func (s *System) Surround(ctx context.Context, do call.Doer, m *connector.Message, content any, _ any, names []string) (map[string]any, error) {
	out := map[string]any{}
	if m.Kind != kindReport {
		return out, nil
	}
	doc, _ := content.(map[string]any)
	report, _ := doc["report"].(map[string]any)
	for _, name := range names {
		var id string
		var err error
		switch name {
		case "worker":
			by, _ := report["contact"].(map[string]any)
			id = text(by["_id"])
		case "subject":
			if id, err = s.subject(ctx, do, report); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s: a report has no %s to look up", s.name, name)
		}
		who, err := s.whole(ctx, do, id)
		if err != nil {
			return nil, err
		}
		if out[name] = nil; who != nil {
			out[name] = who
		}
	}
	return out, nil
}

// subjectRef is whom a report is about as the form has it: a uuid or a short
// code, in one of several fields.
func subjectRef(report map[string]any) string {
	fields, _ := report["fields"].(map[string]any)
	for _, at := range []map[string]any{fields, report} {
		for _, name := range []string{"patient_uuid", "patient_id", "place_uuid", "place_id"} {
			if ref := text(at[name]); ref != "" {
				return ref
			}
		}
	}
	return ""
}

// subject finds the contact that a report is about.
func (s *System) subject(ctx context.Context, do call.Doer, report map[string]any) (string, error) {
	ref := subjectRef(report)
	if ref == "" || len(ref) >= 32 { // a uuid, with or without dashes; short codes have 5 to 13 digits
		return ref, nil
	}
	return s.byShortcode(ctx, do, ref)
}

const referenceView = "/medic/_design/medic-client/_view/contacts_by_reference"

// byShortcode finds a contact by patient_id or place_id; "" if none or several
// have it: short codes have been given twice (issue 7670).
func (s *System) byShortcode(ctx context.Context, do call.Doer, code string) (string, error) {
	r, err := ask(referenceView, map[string]any{"keys": []any{[]string{"shortcode", code}}})
	if err != nil {
		return "", err
	}
	var page docRows
	if _, err := s.read(ctx, do, "look a short code up", r, &page); err != nil || len(page.Rows) != 1 {
		return "", err
	}
	return page.Rows[0].ID, nil
}

// whole reads a contact with everything above it.
func (s *System) whole(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	if id == "" {
		return nil, nil
	}
	r, err := ask("/api/v1/hydrate", map[string]any{"doc_ids": []string{id}})
	if err != nil {
		return nil, err
	}
	var rows []struct {
		Doc map[string]any `json:"doc"`
	}
	if _, err := s.read(ctx, do, "read a contact", r, &rows); err != nil || len(rows) == 0 || rows[0].Doc == nil {
		return nil, err
	}
	return contactNames(rows[0].Doc), nil
}

// contactNames gives a hydrated contact in the names of the MessageSpec: its own
// properties, id, place (the one it is in) and places (all above, nearest first).
func contactNames(doc map[string]any) map[string]any {
	out := maps.Clone(doc)
	for name := range doc {
		if strings.HasPrefix(name, "_") {
			delete(out, name)
		}
	}
	delete(out, "parent")
	delete(out, "contact")
	out["id"] = doc["_id"]
	if t := text(doc["contact_type"]); t != "" {
		out["type"] = t
	}
	places := []any{}
	for at, _ := doc["parent"].(map[string]any); at != nil && text(at["_id"]) != ""; at, _ = at["parent"].(map[string]any) {
		place := map[string]any{"id": at["_id"], "name": at["name"], "type": at["type"], "dhis": at["dhis"], "place_id": at["place_id"], "external_id": at["external_id"]}
		if t := text(at["contact_type"]); t != "" {
			place["type"] = t
		}
		places = append(places, place)
	}
	out["places"] = places
	if len(places) > 0 {
		out["place"] = places[0]
	}
	return out
}
