package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

// form is a submission.
type form struct {
	id, xmlns, appID, version string
	doc                       []byte // the document under "form", as JSON: smaller than its tree
	xml                       []byte // as submitted; nil if that was JSON
	sum                       [sha256.Size]byte
	blocks                    []*xform.Block
	received, modified, index time.Time
	edited                    time.Time
	archived, held            bool
}

// tree is the document under "form".
func (f *form) tree() map[string]any {
	v, err := xform.DecodeJSON(f.doc)
	if err != nil {
		// It was written by encode.
		panic(err)
	}
	return v.(map[string]any)
}

// asXML is the form as submitted, or rendered from JSON.
func (f *form) asXML() []byte {
	if f.xml != nil {
		return f.xml
	}
	return xform.Render(withoutDerived(f.tree()))
}

// ErrDuplicate is given for the very same form once more: CommCare keeps the
// copy aside and says success.
var ErrDuplicate = errors.New("the form was there already")

// ErrIgnored is given for a submission that CommCare takes without keeping a
// form: a device's log.
var ErrIgnored = errors.New("the submission was ignored")

// InvalidCaseIndex is given when a form refers to a case that does not exist.
type InvalidCaseIndex struct{ Case, Missing string }

func (e *InvalidCaseIndex) Error() string {
	return fmt.Sprintf("InvalidCaseIndex: Case '%s' references non-existent case '%s'", e.Case, e.Missing)
}

// Submit takes a form as XForm XML, or as JSON: {"form": {…}} with or without
// what HQ adds. It gives the form's id. A form with the id of an earlier one
// replaces it (an edit). Forwarding is queued.
func (s *Sim) Submit(body []byte) (string, error) {
	doc, raw, appID, err := readSubmission(body)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.submit(doc, raw, appID)
}

func readSubmission(body []byte) (doc map[string]any, raw []byte, appID string, err error) {
	body = bytes.TrimSpace(body)
	if len(body) > 0 && body[0] == '<' {
		root, err := xform.ParseXML(body)
		if err != nil {
			return nil, nil, "", err
		}
		return root.JSON, body, "", nil
	}
	v, err := xform.DecodeJSON(body)
	if err != nil {
		return nil, nil, "", err
	}
	envelope, _ := v.(map[string]any)
	doc, ok := envelope["form"].(map[string]any)
	if !ok {
		return nil, nil, "", errors.New("the document has no form")
	}
	return doc, nil, xform.Text(envelope["app_id"]), nil
}

// withoutDerived leaves out of meta what HQ adds and no phone sends.
func withoutDerived(doc map[string]any) map[string]any {
	out := make(map[string]any, len(doc))
	for k, v := range doc {
		if meta, ok := v.(map[string]any); ok && k == "meta" {
			kept := map[string]any{}
			for name, value := range meta {
				if name != "app_build_version" && name != "commcare_version" && name != "geo_point" {
					kept[name] = value
				}
			}
			v = kept
		}
		out[k] = v
	}
	return out
}

// submit stores and processes a form; raw is its XML, nil if it came as JSON.
// The lock is held.
func (s *Sim) submit(doc map[string]any, raw []byte, appID string) (string, error) {
	xmlns := xform.Text(doc["@xmlns"])
	if xmlns == xform.DeviceReport {
		return "", ErrIgnored
	}
	packed := encode(doc)
	id := instanceID(doc)
	if id == "" {
		id = uuid.NewSHA1(uuid.NameSpaceURL, packed).String() // HQ draws a random one
	}
	now := s.stamp()
	blocks := xform.Blocks(doc)
	f := &form{id: id, xmlns: xmlns, appID: appID, version: xform.Text(doc["@version"]), doc: packed, xml: raw,
		sum: sha256.Sum256(packed), blocks: blocks,
		received: now, modified: now, index: now, held: s.holding}
	before := s.forms[id]
	if before != nil {
		if before.sum == f.sum {
			return id, ErrDuplicate
		}
		f.received, f.edited = before.received, now
		if f.appID == "" {
			f.appID = before.appID
		}
	}
	if err := s.indicesExist(blocks); err != nil {
		return "", err
	}
	s.forms[id] = f
	touched := map[string]bool{}
	for _, b := range blocks {
		touched[b.CaseID] = true
		c := s.cases[b.CaseID]
		if c == nil {
			c = &caze{id: b.CaseID, props: map[string]string{}, indices: map[string]xform.Index{}}
			s.cases[b.CaseID] = c
		}
		if !slices.Contains(c.forms, id) {
			c.forms = append(c.forms, id)
		}
		if before == nil {
			c.apply(b, f)
			s.changed(c)
		}
	}
	if before != nil {
		for _, b := range before.blocks {
			touched[b.CaseID] = true
		}
		for _, id := range sorted(touched) {
			s.rebuild(id)
		}
	}
	s.queue(f, touched)
	return id, nil
}

// queue queues what is forwarded of a saved form.
func (s *Sim) queue(f *form, touched map[string]bool) {
	for _, id := range sorted(touched) {
		if s.cases[id] != nil {
			s.out.caseSaved(id, s.stamp())
		}
	}
	s.out.formSaved(f, s.stamp())
}

func (s *Sim) indicesExist(blocks []*xform.Block) error {
	here := map[string]bool{}
	for _, b := range blocks {
		here[b.CaseID] = true
	}
	for _, b := range blocks {
		for _, i := range b.Index {
			if i.CaseID != "" && !here[i.CaseID] && s.cases[i.CaseID] == nil {
				return &InvalidCaseIndex{b.CaseID, i.CaseID}
			}
		}
	}
	return nil
}

func instanceID(doc map[string]any) string {
	for _, name := range []string{"meta", "Meta"} {
		if meta, ok := doc[name].(map[string]any); ok {
			for _, key := range []string{"instanceID", "uid"} {
				if id := xform.Text(meta[key]); id != "" {
					return strings.TrimPrefix(id, "uuid:")
				}
			}
		}
	}
	return ""
}

// Archive takes a form back, as a web user can: its cases are rebuilt without
// it. CommCare forwards nothing then; the form API shows it as archived.
func (s *Sim) Archive(id string) error { return s.archive(id, true) }

// Restore undoes Archive.
func (s *Sim) Restore(id string) error { return s.archive(id, false) }

func (s *Sim) archive(id string, yes bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.forms[id]
	if f == nil {
		return fmt.Errorf("there is no form %s", id)
	}
	f.archived = yes
	f.modified = s.stamp()
	f.index = f.modified
	touched := map[string]bool{}
	for _, b := range f.blocks {
		touched[b.CaseID] = true
	}
	for _, id := range sorted(touched) {
		if s.rebuild(id) != nil {
			s.out.caseSaved(id, s.stamp())
		}
	}
	return nil
}

// Edit changes the answers of a form, by their top-level names, under the same
// id, as a web user can.
func (s *Sim) Edit(id string, answers map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.forms[id]
	if f == nil {
		return fmt.Errorf("there is no form %s", id)
	}
	doc := f.tree()
	for k, v := range answers {
		if v == nil {
			delete(doc, k)
		} else {
			doc[k] = v
		}
	}
	_, err := s.submit(doc, nil, f.appID)
	return err
}

// envelope is the form as the form API and form_json forwarding give it.
func (f *form) envelope(domain string) map[string]any {
	doc, _ := asHQ(f.tree()).(map[string]any)
	metadata := map[string]any{}
	if meta, ok := doc["meta"].(map[string]any); ok {
		meta = clone(meta)
		for name, v := range meta {
			if !strings.HasPrefix(name, "@") {
				metadata[name] = strings.TrimSuffix(xform.Text(v), "Z")
			}
			if m, ok := v.(map[string]any); ok && name == "appVersion" {
				meta[name] = xform.Text(m)
			}
		}
		for _, derived := range []string{"app_build_version", "commcare_version", "geo_point"} {
			if _, has := meta[derived]; !has {
				meta[derived] = nil
			}
		}
		metadata["doc_type"] = "Metadata"
		doc["meta"] = meta
	}
	var edited any
	if !f.edited.IsZero() {
		edited = f.edited.Format(iso)
	}
	var app any
	if f.appID != "" {
		app = f.appID
	}
	return map[string]any{"app_id": app, "archived": f.archived, "attachments": map[string]any{}, "build_id": nil, "domain": domain,
		"edited_on": edited, "form": doc, "id": f.id, "indexed_on": f.index.Format(iso), "initial_processing_complete": true,
		"is_phone_submission": true, "metadata": metadata, "problem": nil, "received_on": f.received.Format(iso), "resource_uri": "",
		"server_modified_on": f.modified.Format(iso), "type": xform.Text(doc["#type"]), "uiversion": "1", "version": f.version}
}

// asHQ copies a form with every moment in UTC and microseconds, as HQ stores it.
func asHQ(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = asHQ(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = asHQ(item)
		}
		return out
	case string:
		if t, ok := xform.Moment(v); ok {
			return t.Format(iso)
		}
	}
	return v
}

func clone(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		// Documents here were JSON or XML before.
		panic(err)
	}
	return b
}
