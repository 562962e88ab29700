package sim

import (
	"encoding/json"
	"fmt"
	"time"
)

// Ids of the default seed. The data set, data elements and combinations are those
// of CHT's documentation and of the DHIS2 demonstration database; the org units
// are facilities there.
const (
	DataSet        = "VMuFODsyWaO"
	Births         = "kB0ZBFisE0e"
	Deliveries     = "e22tIwy1nKR"
	DefaultCombo   = "HllvX50cXC0"
	AntenatalFirst = "fbfJHSPpUQD"
	Fixed          = "pq2XI5kz2BY"
	Outreach       = "PT59n8BQbqM"
	MigosiUnit     = "DiszpKrYNg8"
	AheroUnit      = "g8upMTyEZGZ"
)

// place and person of the default seed.
type seeded struct {
	number           int
	name, user, role string
	area, centre     int
}

var centres = []struct {
	number     int
	name, unit string
	supervisor int
}{{11, "Migosi Health Centre", MigosiUnit, 31}, {12, "Ahero Health Centre", AheroUnit, 32}}

var staff = []seeded{
	{number: 31, name: "Grace Wanjiru", user: "grace", role: "chw_supervisor", centre: 11},
	{number: 32, name: "Samuel Kiprop", user: "samuel", role: "chw_supervisor", centre: 12},
	{number: 41, name: "Jane Akinyi", user: "jane", role: "chw", area: 21, centre: 11},
	{number: 42, name: "Peter Ouma", user: "peter", role: "chw", area: 22, centre: 11},
	{number: 43, name: "Mary Atieno", user: "mary", role: "chw", area: 23, centre: 11},
	{number: 44, name: "John Otieno", user: "john", role: "chw", area: 24, centre: 12},
	{number: 45, name: "Rose Adhiambo", user: "rose", role: "chw", area: 25, centre: 12},
	{number: 46, name: "David Ochieng", user: "david", role: "chw", area: 26, centre: 12},
}

const county = 1

// ContactID is the id of a place or person of the default seed: 1 the county, 11
// and 12 health centres, 21 to 26 CHW areas, 31 and 32 supervisors, 41 to 46 CHWs.
func ContactID(number int) string { return fmt.Sprintf("5a1e0000-0000-4000-8000-%012d", number) }

// ref is a reference to a contact, with what is above it.
func ref(numbers ...int) map[string]any {
	var out map[string]any
	for i := len(numbers) - 1; i >= 0; i-- {
		r := map[string]any{"_id": ContactID(numbers[i])}
		if out != nil {
			r["parent"] = out
		}
		out = r
	}
	return out
}

// DefaultSeed is a county with two health centres that are org units in DHIS2,
// each with a supervisor and three CHWs in areas of their own, and the targets of
// the three months up to and with last.
//
// Two targets share a data element with different category option combinations.
// In the last month Rose Adhiambo (Ahero) has not synced at all, and David Ochieng
// (Ahero) last on the 25th; Migosi is complete. The officer, with password
// Officer-123, may download the export.
func DefaultSeed(last time.Time) []byte {
	docs := []map[string]any{contactDoc(county, "district_hospital", "Kisumu County", nil)}
	for _, c := range centres {
		d := contactDoc(c.number, "health_center", c.name, ref(county))
		d["dhis"] = map[string]any{"orgUnit": c.unit, "dataSet": DataSet}
		d["contact"] = ref(c.supervisor, c.number, county)
		docs = append(docs, d)
	}
	users := []map[string]any{{"username": "officer", "password": "Officer-123", "roles": []string{"crfo", "mm-online"}}}
	for _, p := range staff {
		above := []int{p.centre, county}
		if p.area != 0 {
			area := contactDoc(p.area, "contact", p.name+" Area", ref(above...))
			area["contact_type"] = "chw_area"
			area["contact"] = ref(append([]int{p.number, p.area}, above...)...)
			docs = append(docs, area)
			above = append([]int{p.area}, above...)
		}
		d := contactDoc(p.number, "person", p.name, ref(above...))
		d["role"], d["phone"], d["patient_id"] = p.role, fmt.Sprintf("+2547123456%02d", p.number), fmt.Sprintf("200%02d", p.number)
		docs = append(docs, d)
		users = append(users, map[string]any{"username": p.user, "password": "Simulated-" + p.user, "roles": []string{p.role},
			"place": ContactID(above[0]), "contact": ContactID(p.number)})
	}
	docs = append(docs, defaultTargets(last)...)
	raw, err := json.Marshal(map[string]any{"settings": dhisSettings(), "docs": docs, "users": users})
	if err != nil {
		// Texts and numbers only.
		panic(err)
	}
	return raw
}

func contactDoc(number int, kind, name string, parent map[string]any) map[string]any {
	d := map[string]any{"_id": ContactID(number), "type": kind, "name": name, "reported_date": 1767225600000 + number}
	if parent != nil {
		d["parent"] = parent
	}
	return d
}

func dhisSettings() map[string]any {
	item := func(id, kind string, dhis map[string]any) map[string]any {
		m := map[string]any{"id": id, "type": kind, "goal": -1, "translation_key": "targets." + id + ".title"}
		if dhis != nil {
			m["dhis"] = dhis
		}
		return m
	}
	kinds := []any{map[string]any{"id": "district_hospital"}, map[string]any{"id": "health_center", "parents": []any{"district_hospital"}},
		map[string]any{"id": "chw_area", "parents": []any{"health_center"}}, map[string]any{"id": "clinic", "parents": []any{"chw_area", "health_center"}},
		map[string]any{"id": "person", "parents": []any{"district_hospital", "health_center", "chw_area", "clinic"}, "person": true}}
	return map[string]any{
		"contact_types":  kinds,
		"dhis_data_sets": []any{map[string]any{"id": DataSet, "translation_key": "dhis.dataset.monthly.integration"}},
		"tasks": map[string]any{"targets": map[string]any{"items": []any{
			item("deaths-this-month", "count", nil),
			item("births-this-month", "count", map[string]any{"dataElement": Births}),
			item("facility-deliveries", "percent", map[string]any{"dataElement": Deliveries, "categoryOptionCombo": DefaultCombo, "attributeOptionCombo": DefaultCombo}),
			item("anc-first-visit-fixed", "count", map[string]any{"dataElement": AntenatalFirst, "categoryOptionCombo": Fixed}),
			item("anc-first-visit-outreach", "count", map[string]any{"dataElement": AntenatalFirst, "categoryOptionCombo": Outreach}),
		}}},
	}
}

func defaultTargets(last time.Time) []map[string]any {
	var docs []map[string]any
	zone := last.Location()
	for back := 2; back >= 0; back-- {
		first := time.Date(last.Year(), last.Month()-time.Month(back), 1, 0, 0, 0, 0, zone)
		for i, p := range staff {
			if p.role != "chw" || back == 0 && p.user == "rose" {
				continue
			}
			at := first.AddDate(0, 1, 0).Add(time.Duration(8+i) * time.Hour)
			if back == 0 && p.user == "david" {
				at = first.AddDate(0, 0, 24).Add(17 * time.Hour)
			}
			n := p.number + int(first.Month())
			docs = append(docs, targetDoc(p.user, ContactID(p.number), first.Format("2006-01"), at, []Count{
				{ID: "deaths-this-month", Total: n % 2},
				{ID: "births-this-month", Total: 1 + n%4, Pass: 1 + n%4},
				{ID: "facility-deliveries", Total: 1 + n%4, Pass: n % 2, Percent: true},
				{ID: "anc-first-visit-fixed", Total: n % 5, Pass: n % 5},
				{ID: "anc-first-visit-outreach", Total: 2 + n%3, Pass: 2 + n%3},
			}))
		}
	}
	return docs
}
