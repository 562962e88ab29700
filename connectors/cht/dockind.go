package cht

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// docKind plans for one kind of document of the database medic. A document is
// made under an id of ours (PUT /medic/ID), so that a repeat is a conflict and
// never a double, and is changed as a whole against the revision that was read.
type docKind struct {
	s     *System
	spec  *connector.KindSpec
	shape docShape
}

// docShape is what differs between kinds of documents.
type docShape interface {
	// is tells whether a document is of the kind.
	is(doc map[string]any) bool
	// canon turns what a flow wants into canonical fields.
	canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error)
	// fields gives the canonical fields of a document.
	fields(doc map[string]any) record.Fields
	// set puts a canonical field into a document; nil or Clear takes it out.
	set(doc map[string]any, path string, v any)
	// fresh starts a new document.
	fresh(ctx context.Context, do call.Doer, c connector.Change) (map[string]any, error)
	// search looks a record up by one criterion of the flow.
	search(ctx context.Context, do call.Doer, by map[string]any) (ids []string, how string, err error)
	// used says why a document may not be removed, "" if it may.
	used(ctx context.Context, do call.Doer, id string, going map[string]bool) (string, error)
	// about is the read of what others may have hung on a document, zero if nothing
	// can be: reports about a person. Its rows are counted.
	about(id string) (call.Request, error)
	// fixed are fields that cannot be changed once the document is there, and why.
	fixed() map[string]string
}

func docPath(id string) string { return "/medic/" + seg(id) }

// Spec describes the kind.
func (k *docKind) Spec() *connector.KindSpec { return k.spec }

// Canon turns what a flow wants into canonical fields.
func (k *docKind) Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	return k.shape.canon(ctx, do, wanted)
}

// Find looks a document up by what the delivery made, the crosswalk's link, the
// flow's criteria, and the id that a crashed try would have made it under.
func (k *docKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	var gone connector.Found
	for _, known := range []struct{ id, how string }{{q.Made, "made before"}, {q.Linked, "link"}} {
		f, err := k.byID(ctx, do, known.id, known.how)
		if err != nil || f.Exists {
			return f, err
		}
		if f.Voided {
			gone = f
		}
	}
	for _, by := range q.By {
		ids, how, err := k.shape.search(ctx, do, by)
		if err != nil {
			return connector.Found{}, err
		}
		if len(ids) > 1 {
			return connector.Found{Several: ids, How: how}, nil
		}
		for _, id := range ids {
			f, err := k.byID(ctx, do, id, how)
			if err != nil || f.Exists {
				return f, err
			}
		}
	}
	f, err := k.byID(ctx, do, q.ID, "id of ours")
	if err != nil || f.Exists {
		return f, err
	}
	return gone, nil
}

func (k *docKind) byID(ctx context.Context, do call.Doer, id, how string) (connector.Found, error) {
	if id == "" {
		return connector.Found{}, nil
	}
	a, err := do.Do(ctx, "read the "+strings.ToLower(k.spec.Name), get(docPath(id)))
	if err != nil {
		return connector.Found{}, err
	}
	doc, deleted, err := k.document(a)
	switch {
	case err != nil:
		return connector.Found{}, err
	case deleted:
		return connector.Found{ID: id, Voided: true, How: how}, nil
	case doc == nil || !k.shape.is(doc):
		return connector.Found{}, nil
	}
	return connector.Found{Exists: true, ID: id, Fields: k.shape.fields(doc), How: how}, nil
}

// document reads the answer to a read of a document; nil if it is not there.
func (k *docKind) document(a call.Answer) (doc map[string]any, deleted bool, err error) {
	if a.Status == http.StatusNotFound {
		return nil, strings.HasSuffix(decodeError(a.Body).text, ": deleted"), nil
	}
	if err := json.Unmarshal(a.Body, &doc); err != nil {
		return nil, false, fmt.Errorf("%s: read the %s: %w", k.s.name, strings.ToLower(k.spec.Name), shape(err))
	}
	return doc, false, nil
}

// partReports is the part of a Check that tells whether there are reports.
const partReports = "reports"

// Observe reads a document back, or whether there are reports about it.
func (k *docKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	if c.As == partReports {
		var page docRows
		if err := json.Unmarshal(a.Body, &page); err != nil {
			return call.Observed{}, fmt.Errorf("%s: look for reports about the person: %w", k.s.name, shape(err))
		}
		// Where the CHT cannot tell, there may be some.
		return call.Observed{Exists: len(page.Rows) > 0 || a.Status == http.StatusNotFound}, nil
	}
	doc, _, err := k.document(a)
	if err != nil || doc == nil {
		return call.Observed{}, err
	}
	return call.Observed{Exists: true, Fields: k.shape.fields(doc), Outputs: call.Outputs{"id": text(doc["_id"]), "rev": text(doc["_rev"])}}, nil
}

// Calls makes one write of the whole document.
func (k *docKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	switch {
	case c.Remove:
		return k.remove(ctx, do, c)
	case c.Found == nil:
		return k.create(ctx, do, c)
	}
	return k.update(ctx, do, c)
}

func (k *docKind) call(c connector.Change, verb, id, about string) call.Call {
	return call.Call{Name: c.Record + "." + verb, Record: c.Record, System: k.s.name, Kind: "cht/" + k.spec.Name, Target: id, About: about,
		Repeat: call.Safe, Reversal: call.Exact, Check: &call.Check{Read: get(docPath(id)), As: k.spec.Name}}
}

func (k *docKind) create(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	if c.ID == "" {
		return nil, fmt.Errorf("a new CHT %s needs the id that is derived for it; none is known", strings.ToLower(k.spec.Name))
	}
	doc, err := k.shape.fresh(ctx, do, c)
	if err != nil {
		return nil, err
	}
	// By it we know our own documents when they come back in the changes.
	doc[ourMark] = map[string]any{"by": k.s.our}
	want := record.Fields{}
	for _, path := range c.Write.Paths() {
		if record.Unknown(c.Write[path]) {
			return nil, fmt.Errorf("%s of a new %s must be known before it is made", path, strings.ToLower(k.spec.Name))
		}
		if !record.Empty(c.Write[path]) {
			k.shape.set(doc, path, c.Write[path])
			want[path] = c.Write[path]
		}
	}
	made := k.call(c, "create", c.ID, "make a "+strings.ToLower(k.spec.Name))
	if made.Request, err = putDoc(c.ID, doc); err != nil {
		return nil, err
	}
	made.Outputs = map[string]string{"id": "/id", "rev": "/rev"}
	made.Check.Want = want
	gone, err := bulkDelete(c.ID)
	if err != nil {
		return nil, err
	}
	made.Undo = &call.Undo{Request: gone}
	about, err := k.shape.about(c.ID)
	if err != nil {
		return nil, err
	}
	if about.Path != "" {
		made.Undo.Guards = []call.Check{{Read: about, As: partReports}}
	}
	return []call.Call{made}, nil
}

// update writes the document anew with what differs. Its undo writes what was,
// against the revision that the update made: if anyone wrote since, the CHT
// refuses it, and nothing of theirs is lost.
func (k *docKind) update(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	was, err := k.current(ctx, do, c.Found.ID)
	if err != nil {
		return nil, err
	}
	next, now, pre := clone(was), k.shape.fields(was), record.Fields{}
	for _, path := range c.Write.Paths() {
		if why := k.shape.fixed()[path]; why != "" {
			return nil, fmt.Errorf("%s of %s %s cannot be changed: %s", path, strings.ToLower(k.spec.Name), c.Found.ID, why)
		}
		if record.Unknown(c.Write[path]) {
			return nil, fmt.Errorf("%s of %s %s must be known before it is written", path, strings.ToLower(k.spec.Name), c.Found.ID)
		}
		k.shape.set(next, path, c.Write[path])
		pre[path] = now[path]
		if pre[path] == nil {
			pre[path] = record.Clear{}
		}
	}
	made := k.call(c, "update", c.Found.ID, "change a "+strings.ToLower(k.spec.Name))
	if made.Request, err = putDoc(c.Found.ID, next); err != nil {
		return nil, err
	}
	made.Outputs = map[string]string{"id": "/id", "rev": "/rev"}
	made.Check.Want, made.Check.Pre = c.Write, pre
	back, err := putDoc(c.Found.ID, was)
	if err != nil {
		return nil, err
	}
	back.Bind = []call.Bind{{At: "/_rev", Call: made.Name, Output: "rev"}}
	made.Undo = &call.Undo{Request: back}
	return []call.Call{made}, nil
}

// remove deletes the document; what was is put back under the same id.
func (k *docKind) remove(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	if c.Found == nil || !c.Found.Exists {
		return nil, nil
	}
	why, err := k.shape.used(ctx, do, c.Found.ID, c.Going)
	if err != nil {
		return nil, err
	}
	if why != "" {
		return nil, &connector.InUse{Text: why}
	}
	was, err := k.current(ctx, do, c.Found.ID)
	if err != nil {
		return nil, err
	}
	made := k.call(c, "remove", c.Found.ID, "take a "+strings.ToLower(k.spec.Name)+" back")
	if made.Request, err = bulkDelete(c.Found.ID); err != nil {
		return nil, err
	}
	made.Check.Pre = k.shape.fields(was)
	delete(was, "_rev")
	back, err := putDoc(c.Found.ID, was)
	if err != nil {
		return nil, err
	}
	made.Undo = &call.Undo{Request: back}
	return []call.Call{made}, nil
}

func (k *docKind) current(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	a, err := do.Do(ctx, "read the "+strings.ToLower(k.spec.Name), get(docPath(id)))
	if err != nil {
		return nil, err
	}
	doc, _, err := k.document(a)
	if err == nil && doc == nil {
		err = fmt.Errorf("%s: %s %s is no longer there: it is planned again", k.s.name, strings.ToLower(k.spec.Name), id)
	}
	return doc, err
}

func putDoc(id string, doc map[string]any) (call.Request, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return call.Request{}, fmt.Errorf("write the document %s: %w", id, err)
	}
	return call.Request{Method: http.MethodPut, Path: docPath(id), Body: raw}, nil
}

// bulkDelete deletes a document whatever its revision: the server itself may have
// written to it since (a short code, a lineage).
func bulkDelete(id string) (call.Request, error) {
	raw, err := json.Marshal(map[string]any{"docs": []any{map[string]any{"_id": id}}})
	if err != nil {
		return call.Request{}, fmt.Errorf("write the request's body: %w", err)
	}
	return call.Request{Method: http.MethodPost, Path: bulkDeletePath, Body: raw}, nil
}

// clone copies a document, groups and lists too.
func clone(doc map[string]any) map[string]any {
	out := maps.Clone(doc)
	for name, v := range out {
		if m, ok := v.(map[string]any); ok {
			out[name] = clone(m)
		}
	}
	return out
}

// setAt puts a value at a path, or takes it out where it is empty.
func setAt(doc map[string]any, parts []string, v any) {
	for _, p := range parts[:len(parts)-1] {
		inner, ok := doc[p].(map[string]any)
		if !ok {
			if record.Empty(v) {
				return
			}
			inner = map[string]any{}
			doc[p] = inner
		}
		doc = inner
	}
	if last := parts[len(parts)-1]; record.Empty(v) {
		delete(doc, last)
	} else {
		doc[last] = v
	}
}

// flat writes the plain values of a group by their paths; lists are left out.
func flat(f record.Fields, prefix string, group map[string]any, leave []string) {
	for name, v := range group {
		if slices.Contains(leave, name) || strings.HasPrefix(name, "_") || strings.Contains(name, "/") {
			continue
		}
		switch v := v.(type) {
		case map[string]any:
			flat(f, prefix+name+"/", v, nil)
		case string:
			if v != "" {
				f[prefix+name] = v
			}
		case float64, bool:
			f[prefix+name] = v
		}
	}
}

// errNoParent is a reference to a contact that is not in the CHT.
var errNoParent = errors.New("the contact is not in the CHT")

// minified gives a reference to a contact with the ids of all above it, as
// documents hold it: replication to phones goes by it.
func (s *System) minified(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	known := map[string]*contact{}
	if err := s.contacts(ctx, do, []string{id}, known); err != nil {
		return nil, err
	}
	c := known[id]
	if c == nil {
		return nil, errNoParent
	}
	var out map[string]any
	for _, above := range slices.Backward(c.line()) {
		at := map[string]any{"_id": above}
		if out != nil {
			at["parent"] = out
		}
		out = at
	}
	return out, nil
}

// refID gives the id that a flow's value refers to; later tells that it is not
// known yet.
func refID(v any) (id string, later bool) {
	switch v := v.(type) {
	case record.Ref:
		return v.ID, v.ID == ""
	case string:
		return strings.TrimSpace(v), false
	}
	return "", false
}
