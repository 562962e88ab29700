package commcare

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// ours are the names that this connector gives under form. An answer to a
// question of the same name stands under form.answers instead.
var ours = map[string]bool{"xmlns": true, "id": true, "meta": true, "cases": true, "received_on": true, "app_id": true, "answers": true}

// olderMeta are names of meta before its version 1 (couchforms, "scrub").
var olderMeta = map[string]string{"TimeStart": "timeStart", "TimeEnd": "timeEnd", "DeviceID": "deviceID", "chw_id": "userID", "uid": "instanceID"}

// derivedMeta are what HQ adds to meta in JSON; XML does not have them.
var derivedMeta = map[string]bool{"app_build_version": true, "commcare_version": true, "geo_point": true}

// formMessage makes a message of a form as HQ gives it in JSON:
// {"form": {…}, "id": …, "received_on": …, "app_id": …, "archived": …}. It gives
// nil for what is not a form that counts: a device's log, a superseded copy, a
// duplicate, a form that HQ could not process.
//
// The version is a hash of what the sender said, so that one form is the same
// by every channel, and an edited one is new. What only some channels carry
// (received_on, app_id) is no part of it.
func formMessage(doc map[string]any) (*connector.Incoming, error) {
	form, ok := doc["form"].(map[string]any)
	if !ok {
		return nil, &xform.Bad{Text: "the document has no form"}
	}
	docType := xform.Text(doc["doc_type"])
	switch docType {
	case "XFormDeprecated", "XFormDuplicate", "XFormError", "SubmissionErrorLog":
		return nil, nil
	}
	if xform.Text(form["@xmlns"]) == xform.DeviceReport {
		return nil, nil
	}
	out := canonicalForm(form)
	said, err := encode(out)
	if err != nil {
		return nil, err
	}
	version := hashOf(said)
	meta, _ := out["meta"].(map[string]any)
	id := firstText(doc["id"], doc["_id"], doc["form_id"], meta["instanceID"])
	if id == "" {
		// A form without any id: its content stands for it, so that a re-send is known.
		id = "content-" + version
	}
	in := &connector.Incoming{Kind: kindForm, Doc: id, Version: version}
	if archived(doc, docType) {
		in.Withdrawn, in.Version = true, version+"-archived"
	}
	if end, ok := xform.Moment(xform.Text(meta["timeEnd"])); ok {
		in.Event = end
	}
	in.Content, err = withOurs(said, id, doc)
	return in, err
}

// withOurs makes the content of what the sender said, encoded, which has no name
// of these, and what the channel says: a form may be long, and is encoded once.
func withOurs(said []byte, id string, doc map[string]any) ([]byte, error) {
	out := map[string]any{"id": id}
	setText(out, "received_on", doc["received_on"])
	setText(out, "app_id", doc["app_id"])
	head, err := encode(out)
	if err != nil {
		return nil, err
	}
	content := make([]byte, 0, len(said)+len(head)+len(`{"form":},`))
	content = append(content, `{"form":`...)
	content = append(content, head[:len(head)-1]...)
	content = append(content, ',')
	content = append(content, said[1:]...) // it has xmlns, at the least
	return append(content, '}'), nil
}

func archived(doc map[string]any, docType string) bool {
	yes, _ := doc["archived"].(bool)
	return yes || docType == "XFormArchived" || strings.HasSuffix(docType, "-Deleted")
}

func setText(into map[string]any, name string, v any) {
	if s := xform.Plain(xform.Text(v)); s != "" {
		into[name] = s
	}
}

func firstText(values ...any) string {
	for _, v := range values {
		if s := xform.Text(v); s != "" {
			return s
		}
	}
	return ""
}

// canonicalForm is the form in the names of the message kind, but for id,
// received_on and app_id.
func canonicalForm(form map[string]any) map[string]any {
	out, clashes := map[string]any{}, map[string]any{}
	for name, v := range form {
		switch name {
		case "meta", "Meta", "@xmlns", "#type", "#text":
			continue
		case "case":
			if v = withoutBlocks(v); v == nil {
				continue
			}
		}
		value := answer(name, v)
		if value == nil {
			continue
		}
		if ours[name] {
			clashes[name] = value
		} else {
			out[name] = value
		}
	}
	if len(clashes) > 0 {
		out["answers"] = clashes
	}
	out["xmlns"] = xform.Text(form["@xmlns"])
	out["meta"] = canonicalMeta(form)
	out["cases"] = canonicalBlocks(form)
	return out
}

// withoutBlocks takes case transactions out of what stands under the form's
// own "case": form.cases has them. What remains is a question group of that name.
func withoutBlocks(v any) any {
	if xform.IsBlock(v) {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		return v
	}
	rest := slices.DeleteFunc(slices.Clone(list), xform.IsBlock)
	switch len(rest) {
	case 0:
		return nil
	case 1:
		return rest[0]
	}
	return rest
}

// answer writes a value of the form plainly: text, or groups and lists of
// them. A question without an answer is "", one that was not asked is missing.
// A case block inside a group is the id of its case, which form.cases tells about.
func answer(name string, v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			if a := answer(name, item); a != nil {
				out = append(out, a)
			} else {
				out = append(out, "")
			}
		}
		return out
	case map[string]any:
		if name == "case" && xform.IsBlock(v) {
			return map[string]any{"case_id": firstText(v["@case_id"], v["case_id"])}
		}
		return group(v)
	}
	return xform.Plain(xform.Text(v))
}

func group(v map[string]any) any {
	out := make(map[string]any, len(v))
	for k, item := range v {
		if k == "@xmlns" {
			continue
		}
		if a := answer(k, item); a != nil {
			out[k] = a
		}
	}
	if len(out) == 0 {
		return ""
	}
	if text, ok := out["#text"]; ok && len(out) == 1 {
		return text
	}
	return out
}

func canonicalMeta(form map[string]any) map[string]any {
	raw := form["meta"]
	if raw == nil {
		raw = form["Meta"]
	}
	if list, ok := raw.([]any); ok && len(list) > 0 {
		raw = list[0] // HQ keeps the first of several, too
	}
	out := map[string]any{}
	m, _ := raw.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if derivedMeta[name] || strings.HasPrefix(name, "@") || m[name] == nil {
			continue
		}
		to := name
		if newer, ok := olderMeta[name]; ok {
			if _, has := m[newer]; !has {
				to = newer
			}
		}
		out[to] = xform.Plain(xform.Text(m[name]))
	}
	return out
}

// canonicalBlocks gives the form's cases, each named once, with everything the
// form says about it laid flat beside case_id, date_modified, user_id, create,
// update, index and close.
func canonicalBlocks(form map[string]any) []any {
	out := []any{}
	for _, b := range xform.Blocks(form) {
		item := map[string]any{}
		for name, v := range b.Said() {
			item[name] = v
		}
		item["case_id"] = b.CaseID
		item["date_modified"] = b.DateModified
		item["user_id"] = b.UserID
		item["close"] = b.Closed
		item["update"] = b.Update
		item["index"] = indexDoc(b.Index)
		delete(item, "create")
		if b.Created {
			item["create"] = b.Create
		}
		out = append(out, item)
	}
	return out
}

func indexDoc(in map[string]xform.Index) map[string]any {
	out := make(map[string]any, len(in))
	for name, i := range in {
		out[name] = map[string]any{"case_id": i.CaseID, "case_type": i.CaseType, "relationship": i.Relationship}
	}
	return out
}

// hash is a version made of canonical content: 128 bits in hex.
func hash(v any) (string, error) {
	b, err := encode(v)
	if err != nil {
		return "", err
	}
	return hashOf(b), nil
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// encode writes canonical JSON: names in order, nothing escaped for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write the message: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// later tells the later of two moments.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
