package commcare

import (
	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// caseNames are the fields of a case that are not properties. case_json
// forwarding lists some of them among the properties.
var caseNames = map[string]bool{"case_name": true, "case_type": true, "owner_id": true, "external_id": true, "date_opened": true}

// caseMessage makes a message of a case in JSON: as forwarded (case_json) or as
// case API v2 gives it. modified is the header server-modified-on of
// forwarding, or "".
func caseMessage(doc map[string]any, modified string) (*connector.Incoming, error) {
	id := xform.Text(doc["case_id"])
	if id == "" {
		return nil, &xform.Bad{Text: "the case has no case_id"}
	}
	out := canonicalCase(doc)
	version := firstText(modified, doc["server_date_modified"], doc["server_last_modified"])
	return finishCase(id, version, xform.Text(doc["doc_type"]) == "CommCareCase-Deleted", out)
}

// caseBlockMessage makes the same of a case in XML (version 2): a block that
// creates, updates and closes the whole case.
func caseBlockMessage(block map[string]any, modified string) (*connector.Incoming, error) {
	b := xform.ReadBlock(block)
	if b.CaseID == "" {
		return nil, &xform.Bad{Text: "the case has no case_id"}
	}
	properties, doc := map[string]any{}, map[string]any{"case_id": b.CaseID, "closed": b.Closed,
		"last_modified": b.DateModified, "user_id": b.UserID, "indices": indexDoc(b.Index)}
	for name, v := range b.Said() {
		if caseNames[name] {
			doc[name] = v
		} else {
			properties[name] = v
		}
	}
	doc["properties"] = properties
	return finishCase(b.CaseID, modified, false, canonicalCase(doc))
}

func finishCase(id, version string, deleted bool, out map[string]any) (*connector.Incoming, error) {
	in := &connector.Incoming{Kind: kindCase, Doc: id, Version: xform.Plain(version), Withdrawn: deleted}
	var err error
	if in.Version == "" {
		if in.Version, err = hash(out); err != nil {
			return nil, err
		}
	}
	if t, ok := xform.Moment(xform.Text(out["last_modified"])); ok {
		in.Event = t
	}
	in.Content, err = encode(map[string]any{"case": out})
	return in, err
}

// canonicalCase is a case in the names of flows: its own fields, its properties
// under properties and, where no field has that name, also flat.
func canonicalCase(doc map[string]any) map[string]any {
	properties := map[string]any{}
	out := map[string]any{}
	inner, _ := doc["properties"].(map[string]any)
	for name, v := range inner {
		if v == nil {
			continue
		}
		text := xform.Plain(xform.Text(v))
		if !caseNames[name] {
			properties[name] = text
		} else if text != "" {
			out[name] = text
		}
	}
	for name := range caseNames {
		setText(out, name, doc[name])
	}
	out["case_id"] = xform.Text(doc["case_id"])
	closed, _ := doc["closed"].(bool)
	out["closed"] = closed
	setText(out, "date_closed", doc["date_closed"])
	setText(out, "last_modified", firstText(doc["date_modified"], doc["last_modified"]))
	setText(out, "user_id", doc["user_id"])
	out["indices"] = canonicalIndices(doc["indices"])
	out["type"], out["name"] = xform.Text(out["case_type"]), xform.Text(out["case_name"])
	out["properties"] = properties
	for name, v := range properties {
		if _, taken := out[name]; !taken {
			out[name] = v
		}
	}
	return out
}

// canonicalIndices reads both shapes of indices: of the case API, and of
// forwarded cases of older servers (referenced_id, referenced_type).
func canonicalIndices(v any) map[string]any {
	out := map[string]any{}
	m, _ := v.(map[string]any)
	for name, i := range m {
		index, ok := i.(map[string]any)
		if !ok {
			continue
		}
		id := firstText(index["case_id"], index["referenced_id"])
		if id == "" {
			continue
		}
		relationship := xform.Text(index["relationship"])
		if relationship == "" {
			relationship = "child"
		}
		out[name] = map[string]any{"case_id": id, "case_type": firstText(index["case_type"], index["referenced_type"]), "relationship": relationship}
	}
	return out
}
