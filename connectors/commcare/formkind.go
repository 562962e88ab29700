package commcare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

var formSpec = &connector.KindSpec{
	Name:  "Form",
	About: "A form submitted in somebody's name. Its instanceID is ours, so that a repeat replaces it and never doubles it. CommCare has no API that takes a form back: one that is taken back is edited to say so.",
	Finds: []connector.FieldSpec{{Name: "id", Type: connector.Text, About: "Its instanceID; the form API may be seconds behind."}},
	Fields: []connector.FieldSpec{
		{Name: "xmlns", Type: connector.Text, Required: true, About: "Which form it is."},
		{Name: "name", Type: connector.Text, About: "Name of the form in lists."},
		{Name: "at", Type: connector.Moment, Required: true, About: "When it was filled in."},
		{Name: "worker", Type: connector.Text, Required: true, About: "Id of the mobile worker in whose name it is; others hide it from reports."},
		{Name: "username", Type: connector.Text, About: "Their user name."},
		{Name: "case", Type: connector.RefTo, Ref: "commcare/Case", About: "The case it is about, or its id."},
		{Name: "update", Type: connector.Text, Open: true, About: "What the form sets on that case, by property."},
		{Name: "answers", Type: connector.Any, Open: true, List: true, Key: []string{"name"}, About: "The answers by question; groups are nested. Or rows of name and value.",
			Fields: []connector.FieldSpec{{Name: "name", Type: connector.Text, Required: true}, {Name: "value", Type: connector.Any}}},
	},
	ByDefault: "by the id derived from the message",
	Gives:     []connector.FieldSpec{{Name: "id", Type: connector.Text, About: "Its instanceID."}},
}

// withdrawnAnswer says of a form of ours that it was taken back.
const (
	withdrawnAnswer = "answers/" + withdrawnMark
	partWithdrawn   = "withdrawn"
)

// formKind plans submissions to the receiver (docs/api/form-submission.rst,
// 07f55a00), read back through the form API.
type formKind struct{ s *System }

func (k *formKind) Spec() *connector.KindSpec { return formSpec }

func (k *formKind) read(id string) call.Request {
	return call.Request{Method: http.MethodGet, Path: k.s.path("api/form/v1/" + url.PathEscape(id) + "/"),
		Query: map[string][]string{"format": {"json"}}}
}

// Find reads a form by the id that the document made before, that the flow
// names, or that is derived.
func (k *formKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	ids := [][2]string{{q.Made, "made before"}}
	for _, by := range q.By {
		ids = append(ids, [2]string{plainText(by["id"]), "id"})
	}
	ids = append(ids, [2]string{q.ID, "id of ours"})
	for _, id := range ids {
		if !oneID(id[0]) {
			continue
		}
		a, err := do.Do(ctx, "find the form", k.read(id[0]))
		if err != nil {
			return connector.Found{}, err
		}
		o, err := k.Observe(call.Check{}, a)
		if err != nil {
			return connector.Found{}, err
		}
		if o.Exists || o.Voided {
			return connector.Found{Exists: o.Exists, Voided: o.Voided, ByUs: o.ByUs, ID: id[0], Fields: o.Fields, How: id[1]}, nil
		}
	}
	return connector.Found{}, nil
}

// Canon turns what a flow sets into canonical fields: answers by their path.
func (k *formKind) Canon(_ context.Context, _ call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := &canon{out: record.Fields{}}
	for name, v := range wanted {
		switch name {
		case "answers":
			c.answers(v)
		case "update":
			for property, value := range asMap(v) {
				c.formProperty(property, value)
			}
		case "at":
			c.at(v)
		default:
			if value, ok := c.value(name, v); ok {
				c.out[name] = value
			}
		}
	}
	return c.out, c.problems, nil
}

func (c *canon) at(v any) {
	s, ok := v.(string)
	if t, fine := xform.Moment(s); fine {
		c.out["at"] = t.Truncate(time.Second).Format(time.RFC3339)
	} else if t, is := v.(time.Time); is {
		c.out["at"] = t.UTC().Truncate(time.Second).Format(time.RFC3339)
	} else if v != nil && (!ok || s != "") {
		c.problem("at", "moment", "at is a moment with a zone, like 2026-03-02T10:00:00+03:00")
	}
}

func (c *canon) formProperty(name string, v any) {
	field := "update/" + name
	if !validName(name) {
		c.problem(field, "property-name", "a property's name has letters, digits, _ and - only, does not start with a digit, and not with xml")
		return
	}
	if value, ok := c.value(field, v); ok {
		c.out[field] = value
	}
}

// answers takes them by name, or as rows of name and value.
func (c *canon) answers(v any) {
	rows, ok := v.([]any)
	if !ok {
		c.nested("answers", v)
		return
	}
	byName := map[string]any{}
	for _, row := range rows {
		r := asMap(row)
		byName[text(r["name"])] = r["value"]
	}
	c.nested("answers", byName)
}

func (c *canon) nested(path string, v any) {
	group, ok := v.(map[string]any)
	if !ok {
		if value, ok := c.value(path, v); ok {
			c.out[path] = value
		}
		return
	}
	for name, inner := range group {
		at := path + "/" + name
		if !validName(name) || (path == "answers" && (name == "meta" || name == "case")) {
			c.problem(at, "question-name", "a question's name has letters, digits, _ and - only; meta and case are CommCare's own")
			continue
		}
		c.nested(at, inner)
	}
}

// Calls makes one submission. An update submits the whole form anew under the
// same id, which CommCare takes as an edit.
func (k *formKind) Calls(_ context.Context, _ call.Doer, c connector.Change) ([]call.Call, error) {
	if c.Remove {
		return k.withdraw(c)
	}
	id, whole := c.ID, c.Wanted.Clone()
	made := call.Call{Name: c.Record + ".submit", Record: c.Record, System: k.s.name, Kind: "commcare/Form", About: "submit a form",
		Repeat: call.Safe, ReadBack: true, Reversal: call.Final}
	var pre record.Fields
	if c.Found != nil {
		id, pre = c.Found.ID, record.Fields{}
		for path := range c.Write {
			pre[path] = orClear(c.Found.Fields[path])
		}
		for path, v := range c.Found.Fields {
			if _, said := whole[path]; !said {
				whole[path] = v
			}
		}
		back, err := k.submission(id, c.Found.Fields)
		if err != nil {
			return nil, err
		}
		made.Name, made.About, made.Reversal, made.Undo = c.Record+".edit", "edit a form", call.Exact, &call.Undo{Request: back}
	}
	if id == "" {
		return nil, errors.New("a form needs the id that is derived for it; none is known")
	}
	for path, v := range c.Write {
		whole[path] = v
	}
	var err error
	if made.Request, err = k.submission(id, whole); err != nil {
		return nil, err
	}
	want := c.Write.Clone()
	if pre == nil {
		want = whole
	}
	made.Target, made.Check = id, &call.Check{Read: k.read(id), Want: want, Pre: pre}
	return []call.Call{made}, nil
}

// withdraw edits a form to say that it was taken back, with the reason; what it
// said stays readable. CommCare has no API that archives a form. A form that
// set properties of its case is left to a person: an edit would set them again.
func (k *formKind) withdraw(c connector.Change) ([]call.Call, error) {
	for path := range c.Found.Fields {
		if strings.HasPrefix(path, "update/") {
			return nil, &connector.InUse{Text: "CommCare has no API that takes a form back; archive it in CommCare"}
		}
	}
	marked := record.Fields{withdrawnAnswer: "taken back"}
	if c.Reason != "" {
		marked[withdrawnAnswer] = c.Reason
	}
	for path, v := range c.Found.Fields {
		marked[path] = v
	}
	request, err := k.submission(c.Found.ID, marked)
	if err != nil {
		return nil, err
	}
	back, err := k.submission(c.Found.ID, c.Found.Fields)
	if err != nil {
		return nil, err
	}
	return []call.Call{{Name: c.Record + ".withdraw", Record: c.Record, System: k.s.name, Kind: "commcare/Form", Target: c.Found.ID,
		About: "edit a form to say that it is taken back", Request: request, Repeat: call.Safe, ReadBack: true, Reversal: call.Exact,
		Undo: &call.Undo{Request: back}, Check: &call.Check{Read: k.read(c.Found.ID), As: partWithdrawn, Pre: c.Found.Fields}}}, nil
}

func orClear(v any) any {
	if v == nil {
		return record.Clear{}
	}
	return v
}

// submission is the request of a whole form. Its body is the form as JSON,
// which Send writes as XML: outputs of other calls can then be bound into it.
func (k *formKind) submission(id string, f record.Fields) (call.Request, error) {
	at := f.Text("at")
	b := newBody()
	b.doc["#type"], b.doc["@xmlns"], b.doc["@uiVersion"], b.doc["@version"] = "data", f.Text("xmlns"), "1", "1"
	if name := f.Text("name"); name != "" {
		b.doc["@name"] = name
	}
	b.doc["meta"] = map[string]any{"@xmlns": "http://openrosa.org/jr/xforms", "deviceID": k.s.agent, "instanceID": id,
		"timeStart": at, "timeEnd": at, "username": f.Text("username")}
	b.set("worker", f["worker"], "meta", "userID")
	if !record.Empty(f["case"]) {
		b.doc["case"] = map[string]any{"@xmlns": xform.CaseV2, "@date_modified": at, "update": map[string]any{}}
		b.set("case", f["case"], "case", "@case_id")
		b.set("worker", f["worker"], "case", "@user_id")
	}
	for _, path := range f.Paths() {
		parts := strings.Split(path, "/")
		switch {
		case parts[0] == "answers":
			b.set(path, f[path], parts[1:]...)
		case parts[0] == "update" && b.doc["case"] != nil:
			b.set(path, f[path], "case", "update", parts[1])
		}
	}
	raw, err := json.Marshal(b.doc)
	if err != nil {
		return call.Request{}, fmt.Errorf("write the form: %w", err)
	}
	return call.Request{Method: http.MethodPost, Path: k.s.path("receiver/api/"), Body: raw, Bind: b.bind,
		Header: map[string]string{"Content-Type": xmlType, "X-OpenRosa-Version": "3.0"}}, nil
}

// Observe reads a form of the form API. The receiver's own answer says that
// the form is stored as it was sent: it keeps forms whole or not at all.
func (k *formKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	if a.Status == http.StatusNotFound {
		return call.Observed{}, nil
	}
	if looksLikeHTML(a) && c.As == partWithdrawn {
		return call.Observed{Voided: true, ByUs: true}, nil
	}
	if looksLikeHTML(a) { // an OpenRosa answer that Classify called done
		return call.Observed{Exists: true, Fields: c.Want}, nil
	}
	doc, err := object(a.Body)
	if err != nil {
		return call.Observed{}, fmt.Errorf("%s: read the form back: %w", k.s.name, err)
	}
	form := asMap(doc["form"])
	o := call.Observed{Exists: true, Fields: formFields(form)}
	if archived(doc, xform.Text(doc["doc_type"])) {
		o.Exists, o.Voided = false, true
	} else if o.Fields.Text(withdrawnAnswer) != "" {
		o.Exists, o.Voided, o.ByUs = false, true, true
	}
	return o, nil
}

func formFields(form map[string]any) record.Fields {
	f := record.Fields{}
	put := func(path string, v any) {
		if s := xform.Plain(xform.Text(v)); s != "" {
			f[path] = s
		}
	}
	meta := canonicalMeta(form)
	put("xmlns", form["@xmlns"])
	put("name", form["@name"])
	put("worker", meta["userID"])
	put("username", meta["username"])
	if t, ok := xform.Moment(text(meta["timeEnd"])); ok {
		f["at"] = t.Truncate(time.Second).Format(time.RFC3339)
	}
	if blocks := xform.Blocks(form); len(blocks) > 0 {
		put("case", blocks[0].CaseID)
		for name, v := range blocks[0].Update {
			put("update/"+name, v)
		}
	}
	flatten(f, "answers", form)
	return f
}

// flatten writes answers by their paths. Repeats are left out: a flow cannot
// set them.
func flatten(f record.Fields, path string, group map[string]any) {
	for name, v := range group {
		if name[:min(1, len(name))] == "@" || name == "#type" || name == "#text" || (path == "answers" && (name == "meta" || name == "Meta" || name == "case")) {
			continue
		}
		at := path + "/" + name
		switch v := v.(type) {
		case map[string]any:
			if plain := xform.Plain(xform.Text(v)); plain != "" {
				f[at] = plain
			} else {
				flatten(f, at, v)
			}
		case []any:
		default:
			if s := xform.Plain(xform.Text(v)); s != "" {
				f[at] = s
			}
		}
	}
}

func validName(name string) bool {
	return xmlName.MatchString(name) && !strings.HasPrefix(strings.ToLower(name), "xml")
}
