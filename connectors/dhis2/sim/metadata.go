package sim

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// record is one metadata object as the API shows it.
type record = map[string]any

// collection is one kind of metadata objects, in the order they came.
type collection struct {
	ids  []string
	byID map[string]record
}

// metadata is every collection by its plural name.
type metadata map[string]*collection

// The collections that a server always has, with the class that messages name.
var classes = map[string]string{"organisationUnits": "OrganisationUnit", "dataElements": "DataElement", "dataSets": "DataSet",
	"categoryCombos": "CategoryCombo", "categories": "Category", "categoryOptions": "CategoryOption",
	"categoryOptionCombos": "CategoryOptionCombo", "optionSets": "OptionSet", "options": "Option", "programs": "Program",
	"programStages": "ProgramStage", "dataElementGroups": "DataElementGroup", "organisationUnitGroups": "OrganisationUnitGroup",
	"organisationUnitLevels": "OrganisationUnitLevel", "indicators": "Indicator", "attributes": "Attribute", "userGroups": "UserGroup", "userRoles": "UserRole"}

// usualCOC is the default category option combo of every database of the last
// decade; older ones have another.
const usualCOC = "HllvX50cXC0"

// The default combo, its category and its option.
const (
	defaultCombo    = "bjDvmb4bfuf"
	defaultCategory = "GLevLNI9wkl"
	defaultOption   = "xYerKDKCefk"
)

func newMetadata(defaultCOC string) metadata {
	m := metadata{}
	for name := range classes {
		m[name] = &collection{byID: map[string]record{}}
	}
	m.put("categoryOptions", record{"id": defaultOption, "code": "default", "name": "default", "shortName": "default"})
	m.put("categories", record{"id": defaultCategory, "code": "default", "name": "default", "dataDimensionType": "DISAGGREGATION", "categoryOptions": refs(defaultOption)})
	m.put("categoryCombos", record{"id": defaultCombo, "code": "default", "name": "default", "dataDimensionType": "DISAGGREGATION", "categories": refs(defaultCategory)})
	m.put("categoryOptionCombos", record{"id": defaultCOC, "code": "default", "name": "default", "categoryCombo": ref(defaultCombo), "categoryOptions": refs(defaultOption)})
	return m
}

func ref(id string) record { return record{"id": id} }

func refs(ids ...string) []any {
	out := make([]any, 0, len(ids))
	for _, id := range ids {
		out = append(out, ref(id))
	}
	return out
}

// put adds an object, or lays what is given over the one that is there.
func (m metadata) put(name string, r record) {
	c := m[name]
	if c == nil {
		c = &collection{byID: map[string]record{}}
		m[name] = c
	}
	id := text(r, "id")
	if old := c.byID[id]; old != nil {
		for k, v := range r {
			old[k] = v
		}
		return
	}
	c.ids = append(c.ids, id)
	c.byID[id] = r
}

// each goes through a collection in order.
func (m metadata) each(name string, do func(id string, r record)) {
	if c := m[name]; c != nil {
		for _, id := range c.ids {
			do(id, c.byID[id])
		}
	}
}

func (m metadata) get(name, id string) record {
	if c := m[name]; c != nil {
		return c.byID[id]
	}
	return nil
}

// home is the collection that a property refers to; "" for what is part of its
// object.
func (m metadata) home(property string) string {
	switch property {
	case "parent", "children", "ancestors":
		return "organisationUnits"
	case "category":
		return "categories"
	}
	for _, name := range []string{property, property + "s"} {
		if m[name] != nil {
			return name
		}
	}
	return ""
}

func text(r record, key string) string {
	v, _ := r[key].(string)
	return v
}

func idOf(v any) string {
	r, _ := v.(record)
	return text(r, "id")
}

func list(r record, key string) []any {
	v, _ := r[key].([]any)
	return v
}

func idsOf(r record, key string) []string {
	var out []string
	for _, v := range list(r, key) {
		if id := idOf(v); id != "" {
			out = append(out, id)
		}
	}
	return out
}

func number(r record, key string) float64 {
	switch v := r[key].(type) {
	case json.Number:
		f, _ := v.Float64()
		return f
	case float64:
		return v
	case int:
		return float64(v)
	}
	return 0
}

func truth(r record, key string) bool {
	v, _ := r[key].(bool)
	return v
}

// derivedUID is a fixed uid for what the server would make itself.
func derivedUID(parts ...string) string {
	const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	sum := sha256.Sum256([]byte(strings.Join(parts, "|")))
	b := make([]byte, 11)
	b[0] = all[int(sum[0])%52]
	for i := 1; i < len(b); i++ {
		b[i] = all[int(sum[i])%62]
	}
	return string(b)
}

// complete adds what a server derives: names to show, paths, levels, category
// option combos, back references.
func (s *Server) complete() {
	m := s.meta
	for name := range m {
		m.each(name, func(_ string, r record) { s.display(r) })
	}
	s.completeUnits()
	s.completeCombos()
	m.each("dataElements", func(_ string, r record) {
		delete(r, "dataSetElements")
		fill(r, record{"domainType": "AGGREGATE", "aggregationType": "SUM", "zeroIsSignificant": false, "categoryCombo": ref(defaultCombo), "valueType": "TEXT"})
		r["optionSetValue"] = r["optionSet"] != nil
	})
	m.each("dataSets", func(id string, r record) {
		fill(r, record{"periodType": "Monthly", "version": json.Number("1"), "openFuturePeriods": json.Number("0"), "expiryDays": json.Number("0"),
			"timelyDays": json.Number("15"), "categoryCombo": ref(defaultCombo), "formType": "DEFAULT", "organisationUnits": []any{}, "dataSetElements": []any{}})
		r["expiryDays"] = decimal(number(r, "expiryDays"), s.since(42))
		r["timelyDays"] = decimal(number(r, "timelyDays"), s.since(41))
		for _, v := range list(r, "dataSetElements") {
			e, _ := v.(record)
			e["dataSet"] = ref(id)
			if de := m.get("dataElements", idOf(e["dataElement"])); de != nil {
				de["dataSetElements"] = append(list(de, "dataSetElements"), e)
			}
		}
	})
	m.each("programs", func(_ string, r record) {
		fill(r, record{"programType": "WITHOUT_REGISTRATION", "version": json.Number("0"), "categoryCombo": ref(defaultCombo), "organisationUnits": []any{}})
	})
	m.each("programStages", func(id string, r record) {
		fill(r, record{"repeatable": false, "programStageDataElements": []any{}, "validationStrategy": "ON_COMPLETE"})
		if p := m.get("programs", idOf(r["program"])); p != nil && !slices.Contains(idsOf(p, "programStages"), id) {
			p["programStages"] = append(list(p, "programStages"), ref(id))
		}
	})
	m.each("programs", func(id string, r record) {
		for _, stage := range idsOf(r, "programStages") {
			if st := m.get("programStages", stage); st != nil {
				st["program"] = ref(id)
			}
		}
	})
	m.each("options", func(id string, r record) {
		if set := m.get("optionSets", idOf(r["optionSet"])); set != nil && !slices.Contains(idsOf(set, "options"), id) {
			set["options"] = append(list(set, "options"), ref(id))
		}
	})
}

// decimal writes a number of days as the version does: 15 or 15.0.
func decimal(n float64, point bool) json.Number {
	if point {
		return json.Number(fmt.Sprintf("%.1f", n))
	}
	return json.Number(fmt.Sprintf("%.0f", n))
}

func fill(r, defaults record) {
	for k, v := range defaults {
		if r[k] == nil {
			r[k] = v
		}
	}
}

const born = "2023-01-01T00:00:00.000"

func (s *Server) display(r record) {
	fill(r, record{"created": born, "lastUpdated": born})
	if name := text(r, "name"); name != "" {
		r["displayName"] = name
		if text(r, "shortName") == "" {
			r["shortName"] = name
		}
		r["displayShortName"] = r["shortName"]
		r["displayFormName"] = name
		if form := text(r, "formName"); form != "" {
			r["displayFormName"] = form
		}
	}
}

func (s *Server) completeUnits() {
	m := s.meta
	m.each("organisationUnits", func(_ string, r record) { delete(r, "children") })
	m.each("organisationUnits", func(id string, r record) {
		path, level := "/"+id, 1
		var above []any
		for at := r; ; level++ {
			up := idOf(at["parent"])
			next := m.get("organisationUnits", up)
			if next == nil || strings.Contains(path, "/"+up+"/") {
				break
			}
			path, at = "/"+up+path, next
			above = append([]any{ref(up)}, above...)
		}
		r["path"], r["level"], r["ancestors"] = path, json.Number(fmt.Sprint(level)), above
		if up := m.get("organisationUnits", idOf(r["parent"])); up != nil {
			up["children"] = append(list(up, "children"), ref(id))
		}
		fill(r, record{"openingDate": "1970-01-01T00:00:00.000"})
	})
	m.each("organisationUnits", func(_ string, r record) { r["leaf"] = len(list(r, "children")) == 0 })
}

// completeCombos makes the category option combos that are missing: the server
// does so whenever a combo is saved.
func (s *Server) completeCombos() {
	m := s.meta
	have := map[string]bool{}
	key := func(combo string, options []string) string {
		o := slices.Clone(options)
		sort.Strings(o)
		return combo + ":" + strings.Join(o, ",")
	}
	m.each("categoryOptionCombos", func(_ string, r record) {
		have[key(idOf(r["categoryCombo"]), idsOf(r, "categoryOptions"))] = true
	})
	m.each("categoryCombos", func(id string, r record) {
		rows := [][]string{nil}
		for _, cat := range idsOf(r, "categories") {
			var next [][]string
			for _, row := range rows {
				for _, option := range idsOf(m.get("categories", cat), "categoryOptions") {
					next = append(next, append(slices.Clone(row), option))
				}
			}
			rows = next
		}
		for _, row := range rows {
			if len(row) == 0 || have[key(id, row)] {
				continue
			}
			var names []string
			for _, o := range row {
				names = append(names, text(m.get("categoryOptions", o), "name"))
			}
			coc := record{"id": derivedUID(append([]string{id}, row...)...), "name": strings.Join(names, ", "), "categoryCombo": ref(id), "categoryOptions": refs(row...)}
			s.display(coc)
			m.put("categoryOptionCombos", coc)
		}
		r["isDefault"] = text(r, "name") == "default"
		delete(r, "categoryOptionCombos")
	})
	m.each("categoryOptionCombos", func(id string, r record) {
		if combo := m.get("categoryCombos", idOf(r["categoryCombo"])); combo != nil {
			combo["categoryOptionCombos"] = append(list(combo, "categoryOptionCombos"), ref(id))
		}
	})
}
