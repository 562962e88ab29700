package cht

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// exported is an export as a file, by org unit and cell.
type exported struct {
	DataSet string `json:"dataSet"`
	Period  string `json:"period"`
	OrgUnit string `json:"orgUnit"`
	Values  []struct {
		DataElement          string      `json:"dataElement"`
		CategoryOptionCombo  string      `json:"categoryOptionCombo"`
		AttributeOptionCombo string      `json:"attributeOptionCombo"`
		OrgUnit              string      `json:"orgUnit"`
		Value                json.Number `json:"value"`
	} `json:"dataValues"`
}

func (e exported) byUnit(t *testing.T) map[string]map[combo]float64 {
	t.Helper()
	out := map[string]map[combo]float64{}
	for _, v := range e.Values {
		unit := e.OrgUnit + v.OrgUnit
		if out[unit] == nil {
			out[unit] = map[combo]float64{}
		}
		n, err := v.Value.Float64()
		if err != nil {
			t.Fatal(err)
		}
		out[unit][combo{v.DataElement, v.CategoryOptionCombo, v.AttributeOptionCombo}] = n
	}
	return out
}

type vectors struct {
	Settings map[string]any `json:"settings"`
	Targets  []any          `json:"target_documents"`
	Places   []any          `json:"org_unit_places"`
	Owners   []any          `json:"owners"`
	Cases    []struct {
		Name    string `json:"name"`
		Filters struct {
			OrgUnit string `json:"orgUnit"`
		} `json:"filters"`
		Options  map[string]any `json:"options"`
		Response *exported      `json:"response"`
	} `json:"cases"`
}

// TestRowsAreWhatTheCHTExports goes through the vectors made by running the
// export of 5.2.0 (testdata/README.md).
func TestRowsAreWhatTheCHTExports(t *testing.T) {
	var v vectors
	load(t, &v, "dhis", "export_vectors.json")
	items, ran := v.Settings["tasks.targets.items"], 0
	for _, c := range v.Cases {
		if c.Response == nil || c.Options["humanReadable"] == true {
			continue // refusals; and the readable file, which cannot be sent
		}
		ran++
		want := c.Response.byUnit(t)
		shared := strings.HasPrefix(c.Name, "two targets on one dataElement")
		if shared {
			items = []any{map[string]any{"id": "births-this-month", "dhis": map[string]any{"dataElement": "kB0ZBFisE0e", "categoryOptionCombo": "male000coc1"}},
				map[string]any{"id": "facility-deliveries", "dhis": map[string]any{"dataElement": "kB0ZBFisE0e", "categoryOptionCombo": "fem0000coc2"}}}
			// The CHT exports 11 under the last combination.
			want = map[string]map[combo]float64{"DiszpKrYNg8": {{"kB0ZBFisE0e", "male000coc1", ""}: 5, {"kB0ZBFisE0e", "fem0000coc2", ""}: 6}}
		}
		r := newRig(t, `{"zone":"UTC"}`)
		seed, err := json.Marshal(map[string]any{"docs": append(append(append([]any{}, v.Targets...), v.Places...), v.Owners...),
			"settings": map[string]any{"dhis_data_sets": v.Settings["dhis_data_sets"], "tasks": map[string]any{"targets": map[string]any{"items": items}}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.sim.Seed(seed); err != nil {
			t.Fatal(err)
		}
		_, rows := r.all(t, connector.Run{Kind: kindExport, Period: c.Response.Period, Keys: map[string]string{"dataSet": c.Response.DataSet, "orgUnit": c.Filters.OrgUnit}})
		got := map[string]map[combo]float64{}
		for doc, content := range rows {
			if content.OrgUnit == "" {
				continue // the owner who no longer exists is a row of problems
			}
			got[content.OrgUnit] = content.Row.values()
			if doc != fmt.Sprintf("dhis/%s/%s/%s", c.Response.DataSet, c.Response.Period, content.OrgUnit) || !*content.Row.Agrees {
				t.Errorf("%s: %s: %+v", c.Name, doc, content.Row)
			}
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(combo{})); d != "" {
			t.Errorf("%s (-CHT +row):\n%s", c.Name, d)
		}
	}
	if ran < 5 {
		t.Errorf("%d vectors compared", ran)
	}
}

// TestOneExportBecomesOneDataSetPerOrgUnit: the file that the CHT gives cannot be
// posted as it is (dhis2_response_to_export.json); split by org unit it can.
func TestOneExportBecomesOneDataSetPerOrgUnit(t *testing.T) {
	for file, want := range map[string]string{"export.json": "normalised_for_dhis2.json", "export_all_zero.json": ""} {
		var e dhisExport
		var app settings
		load(t, &e, "dhis2", file)
		load(t, &app, "dhis2", "app_settings_dhis_part.json")
		f := &figures{settings: &app, contacts: map[string]*contact{}}
		got := map[string]map[combo]float64{}
		for _, r := range f.merge(&e) {
			got[r.OrgUnit] = r.values()
		}
		sets := make([]exported, 1)
		if want == "" {
			load(t, &sets[0], "dhis2", file)
		} else {
			load(t, &sets, "dhis2", want)
		}
		expect := map[string]map[combo]float64{}
		for _, s := range sets {
			for unit, values := range s.byUnit(t) {
				expect[unit] = values
			}
		}
		if d := cmp.Diff(expect, got, cmp.AllowUnexported(combo{})); d != "" {
			t.Errorf("%s: %s", file, d)
		}
	}
}

func TestAContactHasOneOrgUnitOrSeveral(t *testing.T) {
	var list []*contact
	load(t, &list, "dhis2", "contact_with_orgunit.json")
	got := []any{list[0].units("VMuFODsyWaO"), list[1].units("ds-2"), list[1].units(""), list[1].units("ds-3")}
	if d := cmp.Diff([]any{[]string{"ou-chu1"}, []string{"ou-2"}, []string{"ou-1", "ou-2"}, []string(nil)}, got); d != "" {
		t.Error(d)
	}
}
