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

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// settle is how long after a time-out a PUT may still be waiting at CommCare:
// its proxy gives up after five minutes.
const settle = 5 * time.Minute

// Calls makes one PUT that carries only what differs.
func (k *caseKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	switch {
	case c.Remove:
		if c.Found == nil || !c.Found.Exists {
			return nil, nil
		}
		if err := k.childless(ctx, do, c.Found.ID); err != nil {
			return nil, err
		}
		return []call.Call{k.withdraw(c)}, nil
	case c.Found == nil:
		return k.create(c)
	}
	return k.update(c)
}

// create puts the case under its external_id, or under the id derived for it:
// CommCare chooses case ids, and PUT ext/ID/ is its only request that finds
// what an earlier try made. Two at once would make two cases (documented), so
// that an unknown outcome waits for the settling time.
func (k *caseKind) create(c connector.Change) ([]call.Call, error) {
	write := c.Write.Clone()
	external := write["external_id"]
	if record.Empty(external) {
		external = c.ID
	}
	if external == "" {
		return nil, errors.New("a new CommCare case needs an external_id, or an id to be made under; neither is known")
	}
	delete(write, "external_id")
	if closed, _ := write["closed"].(bool); !closed {
		delete(write, "closed")
	}
	for path, v := range write {
		if _, ok := v.(record.Clear); ok {
			delete(write, path)
		}
	}
	b := newBody()
	b.fields(write)
	segment := ""
	switch v := external.(type) {
	case string:
		segment = url.PathEscape(v)
	case record.Later:
		segment = "{" + v.Call + "." + v.Output + "}"
	}
	name := c.Record + ".create"
	path := k.s.path("api/case/v2/ext/" + segment + "/")
	want := write.Clone()
	want["external_id"] = external
	undo := withdrawal(c.Reason)
	undo.Method, undo.Path = http.MethodPut, k.s.path("api/case/v2/{"+name+".case_id}")
	made := call.Call{Name: name, Record: c.Record, System: k.s.name, Kind: k.name(), About: "make a case",
		Request: b.request(path), Outputs: map[string]string{"case_id": "/case/case_id", "id": "/case/case_id"},
		Repeat: call.Findable, Settle: settle, ReadBack: true, Reversal: call.Exact,
		Undo: &call.Undo{Request: undo, Voids: true, Guards: []call.Check{{As: partChildren,
			Read: call.Request{Method: http.MethodGet, Path: k.s.path("api/case/v2/"),
				Query: map[string][]string{"indices.parent": {"{" + name + ".case_id}"}, "limit": {"1"}}}}}},
		Check: &call.Check{Read: call.Request{Method: http.MethodGet, Path: path}, As: partCase, Want: want}}
	return []call.Call{made}, nil
}

// update puts the differences, by case id. Its undo puts back what was there;
// a property that was not there is blanked, which reads the same.
func (k *caseKind) update(c connector.Change) ([]call.Call, error) {
	write := c.Write.Clone()
	if closed, ok := write["closed"].(bool); ok && !closed {
		if was, _ := c.Found.Fields["closed"].(bool); was {
			return nil, fmt.Errorf("case %s is closed, and CommCare's case API cannot open it again; open it in CommCare or leave closed out", c.Found.ID)
		}
		delete(write, "closed")
	}
	if len(write) == 0 {
		return nil, nil
	}
	write = wholeIndices(write, c)
	pre := record.Fields{}
	for path := range write {
		pre[path] = c.Found.Fields[path]
		if pre[path] == nil {
			pre[path] = record.Clear{}
		}
	}
	path := k.s.path("api/case/v2/" + url.PathEscape(c.Found.ID))
	b, back := newBody(), newBody()
	b.fields(write)
	back.fields(pre)
	made := call.Call{Name: c.Record + ".update", Record: c.Record, System: k.s.name, Kind: k.name(), Target: c.Found.ID,
		About: "update a case", Request: b.request(path), Outputs: map[string]string{"case_id": "/case/case_id"},
		Repeat: call.Safe, ReadBack: true, Reversal: call.Exact,
		Undo:  &call.Undo{Request: back.request(path), Restore: back.restore},
		Check: &call.Check{Read: k.s.caseByID(c.Found.ID), As: partCase, Want: write, Pre: pre}}
	if closing, _ := write["closed"].(bool); closing {
		// The API cannot open a case again.
		made.About, made.Reversal, made.Undo = "update and close a case", call.Final, nil
	}
	return []call.Call{made}, nil
}

// childless refuses to take back a case that others hung cases under.
func (k *caseKind) childless(ctx context.Context, do call.Doer, id string) error {
	a, err := do.Do(ctx, "look for child cases", call.Request{Method: http.MethodGet, Path: k.s.path("api/case/v2/"),
		Query: map[string][]string{"indices.parent": {id}, "limit": {"1"}}})
	if err != nil {
		return err
	}
	items, _, _, err := caseSource{k.s}.items(a.Body)
	if err != nil {
		return fmt.Errorf("%s: look for child cases of %s: %w", k.s.name, id, err)
	}
	if len(items) > 0 {
		return &connector.InUse{Text: "the case has child cases"}
	}
	return nil
}

// withdraw closes the case with our mark and frees its external id, so that a
// later try can make it anew. It cannot be undone.
func (k *caseKind) withdraw(c connector.Change) call.Call {
	r := withdrawal(c.Reason)
	r.Method, r.Path = http.MethodPut, k.s.path("api/case/v2/"+url.PathEscape(c.Found.ID))
	pre := record.Fields{"closed": false}
	if external := c.Found.Fields.Text("external_id"); external != "" {
		pre["external_id"] = external
	}
	return call.Call{Name: c.Record + ".withdraw", Record: c.Record, System: k.s.name, Kind: k.name(), Target: c.Found.ID,
		About: "close a case that is taken back", Request: r, Repeat: call.Safe, ReadBack: true, Reversal: call.Final,
		Check: &call.Check{Read: k.s.caseByID(c.Found.ID), As: partCase, Pre: pre}}
}

// wholeIndices adds the rest of an index of which only a part differs: the API
// takes indices whole.
func wholeIndices(write record.Fields, c connector.Change) record.Fields {
	out := write.Clone()
	for path := range write {
		rest, ok := strings.CutPrefix(path, "indices/")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, "/")
		for _, field := range []string{"case_id", "case_type", "relationship"} {
			at := "indices/" + name + "/" + field
			if _, has := out[at]; has {
				continue
			}
			if v, ok := c.Wanted[at]; ok {
				out[at] = v
			} else if v, ok := c.Found.Fields[at]; ok {
				out[at] = v
			}
		}
	}
	return out
}

// body builds the JSON of a PUT from canonical fields.
type body struct {
	doc     map[string]any
	bind    []call.Bind
	restore map[string]string // JSON pointer -> field path
}

func newBody() *body { return &body{doc: map[string]any{}, restore: map[string]string{}} }

func (b *body) request(path string) call.Request {
	raw, err := json.Marshal(b.doc)
	if err != nil {
		// Only texts, booleans and maps of them are in the document.
		panic(err)
	}
	return call.Request{Method: http.MethodPut, Path: path, Body: raw, Bind: b.bind}
}

// withdrawal is the request, without its address, that takes a case back.
func withdrawal(reason string) call.Request {
	w := newBody()
	if reason == "" {
		reason = "taken back"
	}
	w.doc["close"], w.doc["external_id"] = true, ""
	w.doc["properties"] = map[string]any{withdrawnMark: reason}
	return w.request("")
}

func (b *body) fields(f record.Fields) {
	for _, path := range f.Paths() {
		parts := strings.Split(path, "/")
		switch {
		case path == "closed":
			if closing, _ := f[path].(bool); closing {
				b.doc["close"] = true
			}
		case parts[0] == "indices":
			b.index(path, parts, f)
		case parts[0] == "properties":
			b.set(path, f[path], parts...)
		default:
			b.set(path, f[path], path)
		}
	}
}

// index writes one field of an index. An index is removed by an empty case_id
// alone (hqcase/api/updates.py).
func (b *body) index(path string, parts []string, f record.Fields) {
	id := f["indices/"+parts[1]+"/case_id"]
	if record.Empty(id) && parts[2] != "case_id" {
		return
	}
	b.set(path, f[path], parts...)
	delete(b.restore, call.Pointer(parts...))
	b.restore[call.Pointer(parts[:2]...)] = "indices/" + parts[1] + "/case_id"
}

func (b *body) set(path string, v any, parts ...string) {
	at := b.doc
	for _, p := range parts[:len(parts)-1] {
		inner, ok := at[p].(map[string]any)
		if !ok {
			inner = map[string]any{}
			at[p] = inner
		}
		at = inner
	}
	pointer := call.Pointer(parts...)
	b.restore[pointer] = path
	last := parts[len(parts)-1]
	switch v := v.(type) {
	case record.Later:
		at[last] = ""
		b.bind = append(b.bind, call.Bind{At: pointer, Call: v.Call, Output: v.Output})
	case string:
		at[last] = v
	default: // Clear, or nothing: blank empties
		at[last] = ""
	}
}
