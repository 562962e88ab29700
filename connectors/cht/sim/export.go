package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// filters are what an export is asked for.
type filters struct {
	dataSet, orgUnit string
	from             int64
	readable         bool
}

// export serves /api/v2/export/dhis; other exports of 5.2.0 are not here.
func (s *Sim) export(w http.ResponseWriter, r *http.Request, u *user, kind string) {
	switch {
	case kind != "dhis":
		fail(w, http.StatusNotFound, "Invalid export type \""+kind+"\"")
		return
	case s.offline(u):
		fail(w, http.StatusForbidden, "Insufficient privileges")
		return
	case !s.may(u, "can_export_all"):
		// The map of permissions has the key dhis2, the route asks for dhis: whoever
		// has only can_export_dhis gets this.
		fail(w, http.StatusInternalServerError, "Server error")
		return
	}
	f, ok := readFilters(w, r)
	if !ok {
		return
	}
	w.Header().Set("Content-Disposition", "attachment; filename=dhis-"+s.now().In(s.zone).Format("200601021504")+".json")
	out, problem := s.dhis(f)
	if problem != "" {
		fail(w, http.StatusBadRequest, problem)
		return
	}
	answer(w, http.StatusOK, out)
}

// readFilters reads a query, or the body of a POST. Only the text "true" asks for
// the readable variant: a boolean is ignored.
func readFilters(w http.ResponseWriter, r *http.Request) (filters, bool) {
	f := filters{}
	if r.Method == http.MethodPost {
		var body struct {
			Filters struct {
				DataSet string `json:"dataSet"`
				OrgUnit string `json:"orgUnit"`
				Date    struct {
					From json.Number `json:"from"`
				} `json:"date"`
			} `json:"filters"`
			Options struct {
				Readable any `json:"humanReadable"`
			} `json:"options"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			fail(w, http.StatusBadRequest, "Bad request")
			return f, false
		}
		f.dataSet, f.orgUnit, f.readable = body.Filters.DataSet, body.Filters.OrgUnit, body.Options.Readable == "true"
		f.from, _ = body.Filters.Date.From.Int64()
		return f, true
	}
	q := r.URL.Query()
	f.dataSet, f.orgUnit, f.readable = q.Get("filters[dataSet]"), q.Get("filters[orgUnit]"), q.Get("options[humanReadable]") == "true"
	f.from, _ = strconv.ParseInt(q.Get("filters[date][from]"), 10, 64)
	return f, true
}

// dhis computes the export from the documents, with the ways of
// api/src/services/export/dhis.js (5.2.0): a value is the sum of value.total; of
// targets that share a data element the last one's attributes win and all are
// added; an org unit without data has zeros; a worker counts for every org unit
// above; whoever has none above is left out.
func (s *Sim) dhis(f filters) (map[string]any, string) {
	if f.dataSet == "" {
		return nil, `filter "dataSet" is required`
	}
	if f.from == 0 {
		return nil, `filter "from" is required`
	}
	sets := objects(s.settings, "dhis_data_sets")
	i := slices.IndexFunc(sets, func(d map[string]any) bool { return text(d["id"]) == f.dataSet })
	if i < 0 {
		return nil, "dataSet \"" + f.dataSet + "\" is not defined"
	}
	targets := s.dhisTargets(f.dataSet)
	if len(targets) == 0 {
		return nil, "dataSet \"" + f.dataSet + "\" has no dataElements"
	}
	from := time.UnixMilli(f.from).In(s.zone)
	places := s.unitPlaces(f.orgUnit)
	values := newValueSets(targets)
	units := map[string][]string{}
	for _, p := range places {
		for _, d := range many(p.doc["dhis"]) {
			if unit := text(d["orgUnit"]); unit != "" && serves(d, f.dataSet) {
				units[p.id] = append(units[p.id], unit)
				values.open(unit)
			}
		}
	}
	prefix := "target~" + from.Format("2006-01") + "~"
	for _, id := range s.ids() {
		if strings.HasPrefix(id, prefix) {
			doc := s.docs[id].doc
			values.add(objects(doc, "targets"), s.unitsAbove(text(doc["owner"]), units))
		}
	}
	out := map[string]any{"dataSet": f.dataSet, "completeDate": s.now().In(s.zone).Format(time.DateOnly), "period": from.Format("200601"), "dataValues": values.list()}
	if f.readable {
		readable(out, sets[i], targets, places)
	}
	return out, ""
}

func serves(d map[string]any, dataSet string) bool {
	return text(d["dataSet"]) == "" || text(d["dataSet"]) == dataSet
}

// dhisTargets are the targets of a data set, as the settings list them. A list in
// dhis is passed over: only one object has a dataElement of its own.
func (s *Sim) dhisTargets(dataSet string) []map[string]any {
	var out []map[string]any
	for _, item := range objects(s.settings, "tasks", "targets", "items") {
		if d, ok := item["dhis"].(map[string]any); ok && text(d["dataElement"]) != "" && serves(d, dataSet) {
			out = append(out, item)
		}
	}
	return out
}

// unitPlaces are the contacts with an org unit in the order of the view's keys,
// each once; with a filter those only that carry it.
func (s *Sim) unitPlaces(orgUnit string) []*stored {
	q := query{limit: -1}
	if orgUnit != "" {
		q.keys, q.byKeys = []any{orgUnit}, true
	}
	var out []*stored
	for _, row := range s.viewRows("medic-admin/contacts_by_dhis_orgunit", q) {
		if d := s.docs[text(row["id"])]; !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// unitsAbove lists the org units of a contact and of all above it; none for a
// contact that is no longer there.
func (s *Sim) unitsAbove(owner string, units map[string][]string) []string {
	d := s.live(owner)
	if d == nil {
		return nil
	}
	var out []string
	at := d.whole()
	for at != nil {
		for _, unit := range units[text(at["_id"])] {
			if !slices.Contains(out, unit) {
				out = append(out, unit)
			}
		}
		at, _ = at["parent"].(map[string]any)
	}
	return out
}

// valueSets are the values by org unit and data element, in order of appearance.
type valueSets struct {
	targets  []map[string]any
	order    []string
	byUnit   map[string]map[string]map[string]any
	elements []string
	element  map[string]string // of a target
}

func newValueSets(targets []map[string]any) *valueSets {
	v := &valueSets{targets: targets, byUnit: map[string]map[string]map[string]any{}, element: map[string]string{}}
	for _, t := range targets {
		element := text(t["dhis"].(map[string]any)["dataElement"])
		v.element[text(t["id"])] = element
		if !slices.Contains(v.elements, element) {
			v.elements = append(v.elements, element)
		}
	}
	return v
}

func (v *valueSets) open(unit string) {
	if v.byUnit[unit] != nil {
		return
	}
	v.order = append(v.order, unit)
	v.byUnit[unit] = map[string]map[string]any{}
	for _, t := range v.targets {
		d := t["dhis"].(map[string]any)
		value := map[string]any{}
		for name, x := range d {
			if name != "dataSet" {
				value[name] = x
			}
		}
		value["orgUnit"], value["value"] = unit, 0.0
		v.byUnit[unit][text(d["dataElement"])] = value
	}
}

func (v *valueSets) add(targets []map[string]any, units []string) {
	for _, t := range targets {
		element, ok := v.element[text(t["id"])]
		if !ok {
			continue
		}
		counted, _ := t["value"].(map[string]any)
		total, isNumber := counted["total"].(float64)
		for _, unit := range units {
			value := v.byUnit[unit][element]
			was, stillNumber := value["value"].(float64)
			if !isNumber || !stillNumber {
				value["value"] = nil // NaN, which JSON writes as null
				continue
			}
			value["value"] = was + total
		}
	}
}

func (v *valueSets) list() []any {
	out := []any{}
	for _, unit := range v.order {
		for _, element := range v.elements {
			out = append(out, v.byUnit[unit][element])
		}
	}
	return out
}

// readable puts names in place of ids, for people; it cannot be sent to DHIS2.
func readable(out, set map[string]any, targets []map[string]any, places []*stored) {
	out["dataSet"] = set["translation_key"]
	names, ids := map[string]any{}, map[string]any{}
	for _, p := range places {
		for _, d := range many(p.doc["dhis"]) {
			names[text(d["orgUnit"])] = p.doc["name"]
		}
	}
	for _, t := range targets {
		ids[text(t["dhis"].(map[string]any)["dataElement"])] = t["id"]
	}
	for _, v := range out["dataValues"].([]any) {
		value := v.(map[string]any)
		value["orgUnit"], value["dataElement"] = names[text(value["orgUnit"])], ids[text(value["dataElement"])]
	}
}
