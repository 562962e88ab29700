package dhis2

import (
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMetadataIsReadOnceAndThenAskedWithItsETag(t *testing.T) {
	r := newRig(t, "")
	clock := r.sys.now()
	r.sys.now = func() time.Time { return clock }
	count := func() int {
		n := 0
		for _, line := range r.log {
			if strings.Contains(line, "dataSets") {
				n++
			}
		}
		return n
	}
	read := func() *DataSet {
		ds, err := r.sys.meta.dataSet(t.Context(), r, monthly)
		if err != nil || len(ds.Elements) != 5 {
			t.Fatalf("%+v %v", ds, err)
		}
		return ds
	}
	read()
	read()
	if count() != 1 {
		t.Fatalf("read %d times", count())
	}
	clock = clock.Add(metadataAge)
	read()
	if count() != 2 {
		t.Fatalf("read %d times after its time was up", count())
	}
	log := r.sim.Traffic().Requests()
	if last := log[len(log)-1]; last.Status != 304 {
		t.Errorf("asked again it is sent again: %d %s", last.Status, last.Path)
	}
	// What changed there is known after that.
	if err := r.sim.Seed([]byte(`{"dataSets":[{"id":"` + monthly + `","periodType":"Quarterly"}]}`)); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(metadataAge)
	if ds := read(); ds.PeriodType != period.Quarterly {
		t.Errorf("%s", ds.PeriodType)
	}
}

func TestListsAreReadToTheirLastPage(t *testing.T) {
	m := opened(t, nil).meta
	var asked []string
	pages := doer(func(r call.Request) call.Answer {
		page := r.Query["page"][0]
		asked = append(asked, page)
		return call.Answer{Status: 200, Body: []byte(fmt.Sprintf(
			`{"pager":{"page":%s,"total":5,"pageSize":2,"pageCount":3,"nextPage":"https://wrong.example.org/api/dataElements?page=9"},"dataElements":[{"id":"a%s"},{"id":"b%s"}]}`, page, page, page))}
	})
	rows, err := list[Named](t.Context(), m, pages, "list", "dataElements")
	if err != nil || len(rows) != 6 || strings.Join(asked, " ") != "1 2 3" {
		t.Errorf("%v %v %v", rows, asked, err)
	}
	for name, body := range map[string]string{"response_list_unpaged_empty.json": "", "response_list_paged.json": ""} {
		rows, err := list[Named](t.Context(), opened(t, nil).meta, doer(func(r call.Request) call.Answer {
			if r.Query["page"][0] != "1" {
				return call.Answer{Status: 200, Body: []byte(`{"pager":{"page":2,"pageCount":21},"dataElements":[]}`)}
			}
			return call.Answer{Status: 200, Body: golden(t, "metadata/"+name)}
		}), "list", "dataElements")
		if err != nil || body != "" || len(rows) != map[bool]int{true: 2}[name == "response_list_paged.json"] {
			t.Errorf("%s: %v %v", name, rows, err)
		}
	}
}

func TestACodeThatFitsTwoIsRefused(t *testing.T) {
	two := doer(func(call.Request) call.Answer {
		return call.Answer{Status: 200, Body: []byte(`{"dataSets":[{"id":"a2345678901"},{"id":"b2345678901"}]}`)}
	})
	if _, err := opened(t, nil).meta.dataSet(t.Context(), two, "CODE"); !errors.Is(err, errAmbiguous) {
		t.Error(err)
	}
}

// 2.42 sends days of grace as a decimal, older ones as a whole number.
func TestADataSetIsReadAsEveryVersionSendsIt(t *testing.T) {
	for _, days := range []string{"15", "15.0"} {
		body := strings.Replace(string(golden(t, "metadata/dataset_for_mapping_response.json")), `"expiryDays": 0`, `"expiryDays": `+days, 1)
		ds, err := opened(t, nil).meta.dataSet(t.Context(), doer(func(call.Request) call.Answer { return call.Answer{Status: 200, Body: []byte(body)} }), "zuIZr92pbJL")
		if err != nil || ds.ExpiryDays != 15 || len(ds.Elements) != 4 || ds.Combo.ID != defaultCombo || !ds.assigned("DiszpKrYNg8") {
			t.Errorf("%s: %+v %v", days, ds, err)
		}
	}
}

// In a data set, another category combination may be meant than the data
// element's own.
func TestTheDataSetsCategoryCombinationComesFirst(t *testing.T) {
	r := newRig(t, "", `{"dataSets":[{"id":"OvDsMonth01","code":"OVERRIDE","name":"Override","periodType":"Monthly","categoryCombo":{"id":"bjDvmb4bfuf"},
		"dataSetElements":[{"dataElement":{"id":"`+births+`"},"categoryCombo":{"id":"ImComboAge1"}}],"organisationUnits":[{"id":"`+yala+`"}]}]}`)
	wanted := monthOf(row(births, "ImCoc000001", 3))
	wanted["dataSet"] = "OVERRIDE"
	if got := r.problems("DataValueSet", wanted); got != "" {
		t.Error(got)
	}
	wanted["values"] = []any{row(births, maleDoc, 3)}
	if got := r.problems("DataValueSet", wanted); got != "values[1]/categoryOptionCombo combination" {
		t.Error(got)
	}
}

// The mapping of the 2 x 3 live births of the seed, and of a program, as they
// are given to a person.
func TestMappingLinesAreOnePerDataElementAndCombination(t *testing.T) {
	r := newRig(t, "")
	for _, ref := range []string{"CHW_MONTHLY", "STOCK_MONTHLY", "FEVER_CASE"} {
		lines, err := r.sys.Lines(t.Context(), r, ref)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		w := csv.NewWriter(&b)
		rows := [][]string{LineHeader}
		for _, l := range lines {
			rows = append(rows, l.Record())
		}
		if err := w.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "lines", strings.ToLower(ref)+".csv")
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", ref, b.String(), want)
		}
	}
	if _, err := r.sys.Lines(t.Context(), r, "NOPE"); call.ClassOf(err) != call.Refusal {
		t.Errorf("%v", err)
	}
}

func TestWhatAServerHasIsListedAndSearched(t *testing.T) {
	r := newRig(t, "")
	o, err := r.sys.Metadata(t.Context(), r)
	if err != nil || len(o.DataSets) != 5 || len(o.Programs) != 3 || o.Info.Version != "2.42.3" || o.User.Username != "kiungo" {
		t.Fatalf("%+v %v", o, err)
	}
	for _, c := range []struct{ resource, words, want string }{
		{"dataSets", "monthly imci", "ImDsMonth01"}, {"dataElements", "live births", births}, {"dataElements", "FC_TEMP", temp},
		{"organisationUnits", "bondo hospital", "OuFacBondo1"}, {"programs", "fever", fever}, {"optionSets", "water", "OsWaterSo01"},
	} {
		got, err := r.sys.Search(t.Context(), r, c.resource, c.words, 10)
		if err != nil || len(got) != 1 || got[0].ID != c.want {
			t.Errorf("%s %q: %+v %v", c.resource, c.words, got, err)
		}
	}
	if all, err := r.sys.Search(t.Context(), r, "organisationUnits", "", 4); err != nil || len(all) != 4 {
		t.Errorf("%v %v", all, err)
	}
	if _, err := r.sys.Search(t.Context(), r, "users", "x", 4); err == nil {
		t.Error("users were searched")
	}
}

func TestLiveFindsWhatTheServerDoesNotHave(t *testing.T) {
	live := func(r *rig, uses ...Use) string {
		found, err := r.sys.Live(t.Context(), r, uses)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range found {
			out = append(out, f.Where+": "+f.Text)
		}
		return strings.Join(out, "\n")
	}
	r := newRig(t, "")
	good := Use{Where: "f.yaml:3", DataSet: "CHW_MONTHLY", PeriodType: period.Monthly, Units: []string{"CU-YAL-1", "OuFacYala01"},
		Values: []UseValue{{deaths, "", connector.Number}, {remarks, "", connector.Text}}}
	event := Use{Where: "g.yaml:7", Program: "FEVER_CASE", Units: []string{yala}, Values: []UseValue{{ageMonth, "", connector.Number}, {rdt, "", connector.Text}, {onset, "", connector.Day}}}
	if got := live(r, good, event); got != "" {
		t.Errorf("all is right: %s", got)
	}
	for name, c := range map[string]struct {
		use  Use
		says []string
	}{
		"zeros":            {Use{Where: "w", DataSet: monthly, Values: []UseValue{{births, maleDoc, connector.Number}, {births, femTBA, connector.Number}}}, []string{"stores no zero of Live births"}},
		"data set":         {Use{Where: "w", DataSet: "NOPE"}, []string{`w: the data set "NOPE" is not known`}},
		"period type":      {Use{Where: "w", DataSet: monthly, PeriodType: period.Weekly}, []string{"is Monthly, but the flow sends Weekly"}},
		"element":          {Use{Where: "w", DataSet: monthly, Values: []UseValue{{Element: "ImDeFever01"}}}, []string{"not a data element of the data set CHW monthly"}},
		"combination":      {Use{Where: "w", DataSet: "STOCK_MONTHLY", Values: []UseValue{{Element: "STOCK_OPENING"}}}, []string{"Opening balance/categoryOptionCombo is missing"}},
		"type":             {Use{Where: "w", DataSet: monthly, Values: []UseValue{{deaths, "", connector.Day}}}, []string{"takes a whole number, 0 or above, but the flow writes a day"}},
		"twice":            {Use{Where: "w", DataSet: monthly, Values: []UseValue{{Element: deaths}, {Element: "DEATHS_UNDER5"}}}, []string{"written twice"}},
		"unit":             {Use{Where: "w", Units: []string{"NOPE"}}, []string{`organisation unit "NOPE"`}},
		"not assigned":     {Use{Where: "w", DataSet: monthly, Units: []string{"KE"}}, []string{"not assigned to Kenya"}},
		"closed":           {Use{Where: "w", Units: []string{"OuFacClosed"}}, []string{"was closed on 2023-12-31"}},
		"whole":            {Use{Where: "w", DataSet: monthly, Whole: true, NotOurs: []string{"LIVE_BIRTHS", houses, "ChDePregn02", deaths + "/" + coc}}, []string{"Remarks of the supervisor", "mapped from nothing"}},
		"program":          {Use{Where: "w", Program: "NOPE"}, []string{`the program "NOPE"`}},
		"stage":            {Use{Where: "w", Program: fever, Stage: "EvStHouse01"}, []string{"is not a stage of the program"}},
		"compulsory":       {Use{Where: "w", Program: fever, Values: []UseValue{{Element: rdt}}}, []string{"Age in months", "compulsory"}},
		"element of stage": {Use{Where: "w", Program: fever, Values: []UseValue{{Element: rdt}, {Element: ageMonth}, {Element: "HvDeMembe01"}}}, []string{"not a data element of the program stage"}},
		"event not there":  {Use{Where: "w", Program: fever, Units: []string{"KE"}, Values: []UseValue{{Element: rdt}, {Element: ageMonth}}}, []string{"not assigned to Kenya"}},
	} {
		if got := live(r, c.use); !holds(got, c.says...) || strings.Count(got, "\n") > 0 {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := live(newRig(t, `{"authorities":["M_x"],"orgUnits":["OuFacBondo1"]}`), good); !holds(got, "F_DATAVALUE_ADD", "not below the data capture units") {
		t.Errorf("rights: %s", got)
	}
	old := newRig(t, `{"version":"2.41.0"}`)
	old.sys.version = Version{Major: 2, Minor: 40}
	if got := live(old); !holds(got, "says 2.40, but the server is 2.41") {
		t.Errorf("version: %s", got)
	}
}

// A national list of facilities is asked about in a few requests.
func TestManyOrgUnitsAreReadTogether(t *testing.T) {
	r := newRig(t, `{"facilities":150}`)
	var units []string
	for i := 1; i <= 150; i++ {
		units = append(units, fmt.Sprintf("GEN%04d", i))
	}
	units = append(units, yala, "OuFacYala01", "13751", "not, a code")
	found, err := r.sys.Live(t.Context(), r, []Use{{Where: "w", DataSet: monthly, Units: units}, {Where: "x", DataSet: monthly, Units: units}})
	if err != nil || len(found) != 2 || !strings.Contains(found[0].Text, "not, a code") {
		t.Fatalf("%v %v", found, err)
	}
	n := 0
	for _, line := range r.log {
		if strings.Contains(line, "/organisationUnits") {
			n++
		}
	}
	// Two batches of codes, one of UIDs, and for each use the one that is no code.
	if n != 5 {
		t.Errorf("%d requests", n)
	}
}

// Periods and dates are in the server's calendar; one that is not supported is
// refused in words rather than written wrongly.
func TestPeriodsAreInTheServersCalendar(t *testing.T) {
	r := newRig(t, `{"calendar":"ethiopian"}`)
	wanted := monthOf(row(deaths, "", 1))
	wanted["period"] = "201604"
	if got := r.problems("DataValueSet", wanted); got != "" {
		t.Error(got)
	}
	s := opened(t, nil)
	thai := doer(func(call.Request) call.Answer {
		return call.Answer{Status: 200, Body: []byte(`{"version":"2.42.1","calendar":"thai"}`)}
	})
	if _, err := s.calendar(t.Context(), thai); call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "thai") {
		t.Errorf("%v", err)
	}
}

func FuzzMetadata(f *testing.F) {
	for _, name := range []string{"metadata/dataset_for_mapping_response.json", "metadata/response_list_paged.json", "metadata/live_births_2x3.json", "system/info_user_2.42.json"} {
		f.Add(golden(f, name))
	}
	f.Add([]byte(`{"pager":{"pageCount":-1},"dataSets":[null],"categoryCombos":[null]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := opened(t, map[string]string{"version": ""})
		n := 0
		answers := doer(func(r call.Request) call.Answer {
			n++
			switch {
			case r.Path == "/system/info":
				return call.Answer{Status: 200, Body: []byte(`{"version":"2.42.1","calendar":"iso8601"}`)}
			case r.Path == "/me":
				return call.Answer{Status: 200, Body: []byte(`{"username":"kiungo","organisationUnits":[{"id":"DiszpKrYNg8"}]}`)}
			case n > 30: // a pager that never ends
				return call.Answer{Status: 200, Body: []byte(`{}`)}
			}
			return call.Answer{Status: 200, Body: body}
		})
		_, _ = s.Lines(t.Context(), answers, "zuIZr92pbJL")
		_, _, _ = s.Kind("DataValueSet").Canon(t.Context(), answers, monthOf(row(births, maleDoc, 1)))
		_, _, _ = s.Kind("Event").Canon(t.Context(), answers, fever12())
	})
}
