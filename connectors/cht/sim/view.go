package sim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// emitted is what a view gives for a document.
type emitted struct{ key, value any }

// contactTypes are the types of contact documents; with configurable hierarchies
// the type is contact, and contact_type says which.
var contactTypes = []string{"contact", "district_hospital", "health_center", "clinic", "person"}

func isContact(doc map[string]any) bool { return slices.Contains(contactTypes, text(doc["type"])) }

func typeOf(doc map[string]any) string {
	if text(doc["type"]) == "contact" {
		return text(doc["contact_type"])
	}
	return text(doc["type"])
}

// views are those of cht-core's design documents that are served; their results
// follow the maps recorded from 5.2.0 (contracts, api/couchdb_proxy.json).
var views = map[string]func(doc map[string]any) []emitted{
	"medic-admin/contacts_by_dhis_orgunit": func(doc map[string]any) []emitted {
		if !isContact(doc) {
			return nil
		}
		var out []emitted
		for _, d := range many(doc["dhis"]) {
			if unit := text(d["orgUnit"]); unit != "" {
				out = append(out, emitted{unit, nil})
			}
		}
		return out
	},
	"medic-client/contacts_by_reference": func(doc map[string]any) []emitted {
		if !isContact(doc) {
			return nil
		}
		var out []emitted
		for _, name := range []string{"place_id", "patient_id"} {
			if code := text(doc[name]); code != "" {
				out = append(out, emitted{[]any{"shortcode", code}, doc["reported_date"]})
			}
		}
		if code := text(doc["rc_code"]); code != "" {
			out = append(out, emitted{[]any{"external", strings.ToUpper(code)}, doc["reported_date"]})
		}
		return out
	},
	"medic-client/contacts_by_phone": func(doc map[string]any) []emitted {
		if phone := text(doc["phone"]); phone != "" && isContact(doc) {
			return []emitted{{phone, nil}}
		}
		return nil
	},
	"medic-client/contacts_by_type": func(doc map[string]any) []emitted {
		if isContact(doc) {
			return []emitted{{[]any{typeOf(doc)}, nil}}
		}
		return nil
	},
	"medic-client/contacts_by_parent": func(doc map[string]any) []emitted {
		parent, _ := doc["parent"].(map[string]any)
		if id := text(parent["_id"]); id != "" && isContact(doc) {
			return []emitted{{[]any{id, typeOf(doc)}, nil}}
		}
		return nil
	},
	"medic-client/reports_by_subject": func(doc map[string]any) []emitted {
		if text(doc["form"]) == "" || text(doc["type"]) != "data_record" {
			return nil
		}
		var out []emitted
		fields, _ := doc["fields"].(map[string]any)
		for i, at := range []map[string]any{doc, fields} {
			for _, name := range []string{"patient_id", "place_id", "case_id", "patient_uuid", "place_uuid"} {
				if ref := text(at[name]); ref != "" && (i == 1 || !strings.HasSuffix(name, "uuid")) {
					out = append(out, emitted{ref, doc["reported_date"]})
				}
			}
		}
		return out
	},
	"medic-client/reports_by_form": func(doc map[string]any) []emitted {
		if form := text(doc["form"]); form != "" && text(doc["type"]) == "data_record" {
			return []emitted{{[]any{form}, doc["reported_date"]}}
		}
		return nil
	},
}

func (s *Sim) view(w http.ResponseWriter, r *http.Request, path string) {
	name := strings.Replace(strings.TrimPrefix(path, "_design/"), "/_view/", "/", 1)
	emit := views[name]
	if emit == nil || s.o.NoOrgUnitView && name == "medic-admin/contacts_by_dhis_orgunit" {
		couchFail(w, http.StatusNotFound, "not_found", "missing_named_view")
		return
	}
	q, ok := readQuery(w, r)
	if !ok {
		return
	}
	rows := s.viewRows(name, q)
	total := len(rows)
	answer(w, http.StatusOK, map[string]any{"total_rows": total, "offset": 0, "rows": q.page(rows)})
}

// viewRows gives the rows of a view in the order of their keys, then ids.
func (s *Sim) viewRows(name string, q query) []map[string]any {
	rows := []map[string]any{}
	for _, id := range s.ids() {
		d := s.docs[id]
		for _, e := range views[name](d.doc) {
			if q.byKeys && !slices.ContainsFunc(q.keys, func(k any) bool { return same(k, e.key) }) {
				continue
			}
			row := map[string]any{"id": id, "key": e.key, "value": e.value}
			if q.docs {
				row["doc"] = d.whole()
			}
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b map[string]any) int { return bytes.Compare(collation(a["key"]), collation(b["key"])) })
	return rows
}

// collation orders keys; those of these views are texts, or lists of texts.
func collation(key any) []byte {
	raw, err := json.Marshal(key)
	if err != nil {
		return nil
	}
	return raw
}
