package sim

import (
	"encoding/json"
	"fmt"
	"time"
)

// Ids of the default seed: those of the national set-up of the DHIS2 simulator
// (connectors/dhis2/sim), so that the two fit together.
const (
	DataSet      = "ImDsMonth01" // IMCI_MONTHLY
	MonthlySet   = "LbDsMonth10" // CHW_MONTHLY
	Fever        = "ImDeFever01"
	Diarrhoea    = "ImDeDiarr04"
	Infants      = "ImCoc000001" // 2-11 months
	Children     = "ImCoc000002" // 12-59 months
	Households   = "ChDeHouse01"
	Deaths       = "ChDeDeath03"
	NyangomaUnit = "OuVilBon001"
	UsiguUnit    = "OuVilUya001"
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
}{{11, "Nyangoma community unit", NyangomaUnit, 31}, {12, "Usigu community unit", UsiguUnit, 32}}

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
// and 12 community units, 21 to 26 CHW areas, 31 and 32 supervisors, 41 to 46 CHWs.
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

// DefaultSeed is a county with two community units that are org units in DHIS2,
// each with a supervisor and three CHWs in areas of their own, and the targets of
// the three months up to and with last.
//
// The targets of fever and of diarrhoea come by age: two share a data element
// each, with different category option combinations. Those of households and
// deaths are of another data set, pregnancies of none. In the last month Rose
// Adhiambo (Usigu) has not synced at all, and David Ochieng (Usigu) last on the
// 25th; Nyangoma is complete. The officer, with password Officer-123, may download
// the export.
func DefaultSeed(last time.Time) []byte {
	docs := []map[string]any{contactDoc(county, "district_hospital", "Siaya County", nil)}
	for _, c := range centres {
		d := contactDoc(c.number, "health_center", c.name, ref(county))
		d["dhis"] = map[string]any{"orgUnit": c.unit}
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
		"dhis_data_sets": []any{map[string]any{"id": DataSet, "translation_key": "dhis.dataset.imci"}, map[string]any{"id": MonthlySet, "translation_key": "dhis.dataset.chw"}},
		"tasks": map[string]any{"targets": map[string]any{"items": []any{
			item("pregnancies-this-month", "count", nil),
			item("households-visited", "count", map[string]any{"dataElement": Households, "dataSet": MonthlySet}),
			item("deaths-this-month", "count", map[string]any{"dataElement": Deaths, "dataSet": MonthlySet}),
			item("fever-2-11-months", "count", map[string]any{"dataElement": Fever, "categoryOptionCombo": Infants, "dataSet": DataSet}),
			item("fever-12-59-months", "count", map[string]any{"dataElement": Fever, "categoryOptionCombo": Children, "dataSet": DataSet}),
			item("diarrhoea-2-11-months", "percent", map[string]any{"dataElement": Diarrhoea, "categoryOptionCombo": Infants, "dataSet": DataSet}),
			item("diarrhoea-12-59-months", "percent", map[string]any{"dataElement": Diarrhoea, "categoryOptionCombo": Children, "dataSet": DataSet}),
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
				{ID: "pregnancies-this-month", Total: n % 3, Pass: n % 3},
				{ID: "households-visited", Total: 10 + n%7, Pass: 10 + n%7},
				{ID: "deaths-this-month", Total: n % 2},
				{ID: "fever-2-11-months", Total: 1 + n%4, Pass: 1 + n%4},
				{ID: "fever-12-59-months", Total: n % 5, Pass: n % 5},
				{ID: "diarrhoea-2-11-months", Total: 2 + n%3, Pass: n % 2, Percent: true},
				{ID: "diarrhoea-12-59-months", Total: 1 + n%2, Pass: n % 2, Percent: true},
			}))
		}
	}
	return docs
}
