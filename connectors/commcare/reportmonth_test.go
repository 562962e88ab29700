package commcare

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
)

// programme is a project space whose workers fill in births, surveillance and
// stock forms, with a report over each: what integration I3 sends to DHIS2.
func programme(t *testing.T) *bench {
	b := newBench(t, nil)
	births := sim.Report{ID: "births", Title: "Live births", Forms: "http://openrosa.org/formdesigner/birth",
		Columns: []sim.ReportColumn{{ID: "clinic_id", Field: "location.data.dhis_id", Display: "Clinic"}},
		Filters: []sim.ReportFilter{{Slug: "form_date", Type: "date", Datatype: "date", Field: "on"}}}
	for _, sex := range []string{"male", "female"} {
		for _, by := range []string{"doctor", "midwife", "tba"} {
			births.Columns = append(births.Columns, sim.ReportColumn{ID: sex + "_" + by, Count: true, Where: map[string]string{"sex": sex, "attendant": by}})
		}
	}
	cases := sim.Report{ID: "surveillance", Title: "Surveillance", Forms: "http://openrosa.org/formdesigner/case",
		Columns: []sim.ReportColumn{{ID: "clinic_id", Field: "location.data.dhis_id"}, {ID: "disease", Display: "Disease", Expand: "disease"}},
		Filters: []sim.ReportFilter{{Slug: "seen", Type: "date", Datatype: "date", Field: "on"}}}
	stock := sim.Report{ID: "stock", Title: "Stock", Forms: "http://openrosa.org/formdesigner/stock",
		Columns: []sim.ReportColumn{{ID: "clinic_id", Field: "location.data.dhis_id"}, {ID: "item"}, {ID: "opening", First: "opening"}, {ID: "received", Sum: "received"},
			{ID: "used", Sum: "used"}, {ID: "closing", Last: "closing"}},
		Filters: []sim.ReportFilter{{Slug: "counted", Type: "date", Datatype: "date", Field: "on"}}}
	doc := map[string]any{"reports": []any{births, cases, stock}}
	var users, places []any
	for _, place := range []string{"kisumu", "siaya"} {
		users = append(users, map[string]any{"id": "chw-" + place, "primary_location": place})
		places = append(places, map[string]any{"location_id": place, "site_code": place, "name": place, "location_data": map[string]any{"dhis_id": "ou-" + place}})
	}
	doc["users"], doc["locations"] = users, places
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.sim.Seed(raw); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) fill(form, place, on string, answers map[string]any) string {
	b.Helper()
	doc := map[string]any{"@xmlns": "http://openrosa.org/formdesigner/" + form, "on": on,
		"meta": map[string]any{"instanceID": fmt.Sprintf("%s-%s-%s-%v", form, place, on, answers), "userID": "chw-" + place}}
	for k, v := range answers {
		doc[k] = v
	}
	raw, err := json.Marshal(map[string]any{"form": doc})
	if err != nil {
		b.Fatal(err)
	}
	return b.submit(raw)
}

// completed is the run of a report for the period just over at a moment.
func completed(report string, t period.Type, at time.Time) connector.Run {
	p := period.Completed(t, at, nairobi)
	return connector.Run{Kind: "report", Keys: map[string]string{"report": report, "key": "clinic_id"}, At: at,
		Period: p.Name(), Start: p.Start().In(nairobi), End: p.End().In(nairobi)}
}

func TestAMonthOfFormsIsTheRowsOfTheMonthlyDataSet(t *testing.T) {
	b := programme(t)
	for _, v := range []struct{ place, on, sex, by string }{{"kisumu", "2026-10-01", "male", "doctor"}, {"kisumu", "2026-10-31", "female", "midwife"},
		{"kisumu", "2026-11-01", "male", "doctor"}, {"siaya", "2026-10-10", "female", "tba"}} {
		b.fill("birth", v.place, v.on, map[string]any{"sex": v.sex, "attendant": v.by})
	}
	run := completed("births", period.Monthly, time.Date(2026, 10, 31, 22, 0, 0, 0, time.UTC)) // the first of November in Nairobi
	got, _ := b.list(run)
	if len(got) != 2 || got[0].Doc != "report/births/202610/ou-kisumu" {
		t.Fatalf("%+v", got)
	}
	want := map[string]any{"clinic_id": "ou-kisumu", "Clinic": "ou-kisumu", "male_doctor": 1.0, "male_midwife": 0.0, "male_tba": 0.0, "female_doctor": 0.0, "female_midwife": 1.0, "female_tba": 0.0}
	if d := cmp.Diff(want, row(t, got[0])); d != "" {
		t.Error(d)
	}

	late := b.fill("birth", "kisumu", "2026-10-30", map[string]any{"sex": "male", "attendant": "tba"}) // synced in November
	again, _ := b.list(run)
	if again[0].Version == got[0].Version || again[1].Version != got[1].Version || row(t, again[0])["male_tba"] != 1.0 {
		t.Errorf("after a late form: %+v", again)
	}
	if err := b.sim.Archive(late); err != nil {
		t.Fatal(err)
	}
	if taken, _ := b.list(run); taken[0].Version != got[0].Version {
		t.Error("without the late form the row is not what it was")
	}
}

func TestAWeekOfSurveillanceIsTheRowsOfItsISOWeek(t *testing.T) {
	b := programme(t)
	b.fill("case", "siaya", "2026-12-28", map[string]any{"disease": "measles"})
	b.fill("case", "siaya", "2027-01-03", map[string]any{"disease": "cholera"})
	b.fill("case", "siaya", "2027-01-04", map[string]any{"disease": "cholera"})
	got, _ := b.list(completed("surveillance", period.Weekly, time.Date(2027, 1, 5, 3, 0, 0, 0, time.UTC)))
	if len(got) != 1 || got[0].Doc != "report/surveillance/2026W53/ou-siaya" {
		t.Fatalf("%+v", got)
	}
	if d := cmp.Diff(map[string]any{"clinic_id": "ou-siaya", "disease-cholera": 1.0, "Disease-cholera": 1.0, "disease-measles": 1.0, "Disease-measles": 1.0}, row(t, got[0])); d != "" {
		t.Error(d)
	}
}

func TestAQuarterOfStockSumsWhatMovesAndTakesWhatStands(t *testing.T) {
	b := programme(t)
	for _, v := range []struct{ on, item, opening, received, used, closing string }{{"2026-07-31", "ors", "40", "10", "20", "30"}, {"2026-08-31", "ors", "30", "0", "30", "0"},
		{"2026-09-30", "ors", "0", "0", "0", "0"}, {"2026-09-30", "zinc", "5", "", "1", "4"}, {"2026-10-31", "ors", "0", "100", "0", "100"}} {
		b.fill("stock", "kisumu", v.on, map[string]any{"item": v.item, "opening": v.opening, "received": v.received, "used": v.used, "closing": v.closing})
	}
	run := completed("stock", period.Quarterly, time.Date(2026, 10, 5, 3, 0, 0, 0, time.UTC))
	run.Keys["key"] = "clinic_id, item"
	got, _ := b.list(run)
	if len(got) != 2 || got[0].Doc != "report/stock/2026Q3/ou-kisumu,ors" {
		t.Fatalf("%+v", got)
	}
	if d := cmp.Diff(map[string]any{"clinic_id": "ou-kisumu", "item": "ors", "opening": "40", "received": 10.0, "used": 50.0, "closing": "0"}, row(t, got[0])); d != "" {
		t.Error(d)
	}
	if v := row(t, got[1])["received"]; v != nil {
		t.Errorf("what nobody filled in is %v, want null", v)
	}
}
