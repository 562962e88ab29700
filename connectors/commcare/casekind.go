package commcare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// withdrawnMark is the property that says that we closed a case to take it
// back. A case that is closed without it was closed by people, which is a
// normal end and no reason not to write to it.
const withdrawnMark = "kiungo_withdrawn"

// Parts of the kind that a Check reads.
const (
	partCase     = "case"
	partChildren = "children"
)

// caseKind plans for cases through case API v2 (docs/api/cases-v2.rst,
// 0f144a52).
type caseKind struct {
	s    *System
	spec *connector.KindSpec
}

func (k *caseKind) Spec() *connector.KindSpec { return k.spec }

func (k *caseKind) name() string { return "commcare/" + k.spec.Name }

func (s *System) caseByID(id string) call.Request {
	return call.Request{Method: http.MethodGet, Path: s.path("api/case/v2/" + url.PathEscape(id))}
}

func (s *System) caseByExternalID(id string) call.Request {
	return call.Request{Method: http.MethodGet, Path: s.path("api/case/v2/ext/" + url.PathEscape(id) + "/")}
}

// Find looks a case up by what the delivery made, an id that the flow names, the
// crosswalk's link, the flow's other criteria, the external_id wanted, and the id
// that a crashed try would have made it under, in this order. The flow's id goes
// before the link: a person may have several cases, and the link knows one.
func (k *caseKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	var gone connector.Found
	ways := []func() (connector.Found, error){func() (connector.Found, error) { return k.known(ctx, do, q.Made, "made before") }}
	for _, criterion := range q.By {
		if plainText(criterion["id"]) != "" {
			ways = append(ways, func() (connector.Found, error) { return k.byCriterion(ctx, do, criterion) })
		}
	}
	ways = append(ways, func() (connector.Found, error) {
		f, err := k.known(ctx, do, q.Linked, "link")
		if err == nil && f.Exists && otherType(f, q) {
			return connector.Found{}, nil
		}
		return f, err
	})
	for _, find := range ways {
		f, err := find()
		if err != nil || f.Exists {
			return f, err
		}
		if f.Voided {
			gone = f
		}
	}
	by := q.By
	if len(by) == 0 {
		if external := q.Wanted.Text("external_id"); external != "" {
			by = []map[string]any{{"external_id": external}}
		}
	}
	for _, criterion := range by {
		f, err := k.byCriterion(ctx, do, criterion)
		if err != nil || f.Exists || len(f.Several) > 0 {
			return f, err
		}
		if f.Voided {
			gone = f
		}
	}
	if q.ID != "" {
		f, err := k.byExternalID(ctx, do, q.ID, "", "id of ours")
		if err != nil || f.Exists || len(f.Several) > 0 {
			return f, err
		}
	}
	return gone, nil
}

// otherType tells whether a case is of another type than all that the flow
// asks for: a person's referral is linked to her as her own case is.
func otherType(f connector.Found, q connector.Query) bool {
	has, asked := f.Fields.Text("case_type"), false
	for _, criterion := range append(slices.Clone(q.By), map[string]any{"case_type": q.Wanted["case_type"]}) {
		want := plainText(criterion["case_type"])
		if want == has {
			return false
		}
		asked = asked || want != ""
	}
	return asked
}

func (k *caseKind) byCriterion(ctx context.Context, do call.Doer, criterion map[string]any) (connector.Found, error) {
	caseType := plainText(criterion["case_type"])
	if id := plainText(criterion["id"]); id != "" {
		f, err := k.byID(ctx, do, id, "id")
		if err == nil && f.Exists && caseType != "" && f.Fields.Text("case_type") != caseType {
			return connector.Found{}, nil
		}
		return f, err
	}
	if id := plainText(criterion["external_id"]); id != "" {
		return k.byExternalID(ctx, do, id, caseType, "external_id")
	}
	if properties, ok := criterion["property"].(map[string]any); ok && len(properties) > 0 {
		return k.byProperties(ctx, do, properties, caseType)
	}
	return connector.Found{}, nil
}

func (k *caseKind) byID(ctx context.Context, do call.Doer, id, how string) (connector.Found, error) {
	doc, err := k.s.readCase(ctx, do, id)
	if err != nil || doc == nil {
		return connector.Found{}, err
	}
	return found(doc, how), nil
}

// known looks up a case whose id may not be known.
func (k *caseKind) known(ctx context.Context, do call.Doer, id, how string) (connector.Found, error) {
	if id == "" {
		return connector.Found{}, nil
	}
	return k.byID(ctx, do, id, how)
}

// byExternalID asks for the one case with an external id. CommCare refuses when
// there are several (since January 2026); then they are listed and shown.
func (k *caseKind) byExternalID(ctx context.Context, do call.Doer, id, caseType, how string) (connector.Found, error) {
	if id == "." || id == ".." {
		return connector.Found{}, nil
	}
	a, err := do.Do(ctx, "find the case by its external id", k.s.caseByExternalID(id))
	if call.ClassOf(err) == call.Conflicting {
		return k.list(ctx, do, map[string]string{"external_id": id}, caseType, how)
	}
	if err != nil || a.Status == http.StatusNotFound {
		return connector.Found{}, err
	}
	doc, err := object(a.Body)
	if err != nil {
		return connector.Found{}, fmt.Errorf("%s: find the case by its external id: %w", k.s.name, err)
	}
	if text(doc["external_id"]) != id || (caseType != "" && text(doc["case_type"]) != caseType) {
		return connector.Found{}, nil
	}
	return found(doc, how), nil
}

func (k *caseKind) byProperties(ctx context.Context, do call.Doer, properties map[string]any, caseType string) (connector.Found, error) {
	want := map[string]string{}
	for name, v := range properties {
		if s := plainText(v); s != "" {
			want["properties."+name] = s
		}
	}
	if len(want) == 0 {
		return connector.Found{}, nil
	}
	return k.list(ctx, do, want, caseType, "property")
}

// maxMatches is how many cases are looked at before the criterion is called
// ambiguous.
const maxMatches = 20

// list searches, and keeps only cases that hold exactly what was asked for:
// the index is case-insensitive and may be behind.
func (k *caseKind) list(ctx context.Context, do call.Doer, want map[string]string, caseType, how string) (connector.Found, error) {
	q := map[string][]string{"limit": {"100"}}
	for name, v := range want {
		q[name] = []string{v}
	}
	if caseType != "" {
		q["case_type"] = []string{caseType}
	}
	var hits []map[string]any
	for len(hits) <= maxMatches {
		a, err := do.Do(ctx, "search for the case", call.Request{Method: http.MethodGet, Path: k.s.path("api/case/v2/"), Query: q})
		if err != nil {
			return connector.Found{}, err
		}
		items, next, more, err := caseSource{k.s}.items(a.Body)
		if err != nil {
			return connector.Found{}, fmt.Errorf("%s: search for the case: %w", k.s.name, err)
		}
		for _, doc := range items {
			if exactly(doc, want, caseType) && !takenBack(doc) {
				hits = append(hits, doc)
			}
		}
		if !more {
			break
		}
		q = map[string][]string{"cursor": {next}}
	}
	switch len(hits) {
	case 0:
		return connector.Found{}, nil
	case 1:
		// The index is behind; the case itself is read by its id.
		return k.byID(ctx, do, text(hits[0]["case_id"]), how)
	}
	f := connector.Found{How: how}
	for _, doc := range hits {
		f.Several = append(f.Several, text(doc["case_id"]))
	}
	return f, nil
}

func exactly(doc map[string]any, want map[string]string, caseType string) bool {
	properties := asMap(doc["properties"])
	for name, v := range want {
		has := text(doc[name])
		if property, ok := strings.CutPrefix(name, "properties."); ok {
			has = text(properties[property])
		}
		if has != v {
			return false
		}
	}
	return caseType == "" || text(doc["case_type"]) == caseType
}

func takenBack(doc map[string]any) bool {
	closed, _ := doc["closed"].(bool)
	return closed && text(asMap(doc["properties"])[withdrawnMark]) != ""
}

func found(doc map[string]any, how string) connector.Found {
	f := connector.Found{ID: text(doc["case_id"]), Fields: caseFields(doc), How: how}
	if t, ok := xform.Moment(firstText(doc["server_last_modified"], doc["last_modified"])); ok {
		f.Changed = t
	}
	if takenBack(doc) {
		f.Voided, f.ByUs = true, true
		return f
	}
	f.Exists = true
	return f
}

// caseFields is the canonical content of a case as the API gives it. A blank
// property is left out: the API can blank one, never remove it.
func caseFields(doc map[string]any) record.Fields {
	f := record.Fields{}
	for _, name := range []string{"case_type", "case_name", "owner_id", "external_id", "date_opened", "last_modified"} {
		if v := xform.Plain(text(doc[name])); v != "" {
			f[name] = v
		}
	}
	closed, _ := doc["closed"].(bool)
	f["closed"] = closed
	for name, v := range asMap(doc["properties"]) {
		if v := text(v); v != "" {
			f["properties/"+name] = v
		}
	}
	for name, v := range canonicalIndices(doc["indices"]) {
		for field, value := range asMap(v) {
			f["indices/"+name+"/"+field] = value
		}
	}
	return f
}

// Observe reads a case, as read or as a PUT answers it, or whether a case has
// children.
func (k *caseKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	if a.Status == http.StatusNotFound {
		return call.Observed{}, nil
	}
	doc, err := object(a.Body)
	if err != nil {
		return call.Observed{}, fmt.Errorf("%s: read the case back: %w", k.s.name, err)
	}
	if c.As == partChildren {
		return call.Observed{Exists: len(list(doc["cases"])) > 0}, nil
	}
	if inner := asMap(doc["case"]); inner != nil {
		doc = inner
	}
	f := found(doc, "")
	return call.Observed{Exists: f.Exists, Voided: f.Voided, ByUs: f.ByUs, Fields: f.Fields, Outputs: call.Outputs{"case_id": f.ID, "id": f.ID}}, nil
}

// plainText gives a criterion's value as text.
func plainText(v any) string {
	switch v := v.(type) {
	case record.Ref:
		return v.ID
	case json.Number, string, bool:
		return text(v)
	case float64:
		return number(v)
	}
	return ""
}
