package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// lacks lists the members that a sample's object has and an answer's has not.
func lacks(want, got any, but ...string) []string {
	w, _ := want.(map[string]any)
	g, _ := got.(map[string]any)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(w)) {
		if _, has := g[k]; !has && !slices.Contains(but, k) {
			out = append(out, k)
		}
	}
	return out
}

func TestTheRedirectIsTheSampledOne(t *testing.T) {
	c := parse(t, sample(t, "auth/no_credentials_302.json"))
	w := bare(t, newServer(t, ""), dig(c, "request", "method").(string), dig(c, "request", "path").(string), nil)
	if float64(w.Code) != dig(c, "response", "status") || w.Header().Get("Location") != dig(c, "response", "headers", "Location") ||
		w.Header().Get("Content-Type") != dig(c, "response", "bodyContentType") {
		t.Errorf("HTTP %d %v", w.Code, w.Header())
	}
}

func TestJobsHaveTheSampledMembers(t *testing.T) {
	s := contractServer(t, `"polls": 0`)
	good := dig(must(t, ask(t, s, "POST", "/api/dataValueSets?async=true", sample(t, "data_value_sets/iccm_request_uid.json")), 200), "response", "id").(string)
	bad := dig(must(t, ask(t, s, "POST", "/api/dataValueSets?async=true", `{`), 200), "response", "id").(string)
	failed := parse(t, ask(t, s, "GET", "/api/system/tasks/DATAVALUE_IMPORT/"+bad, nil).Body.Bytes())
	want := parse(t, sample(t, "jobs/task_notifications_failed.json"))
	for i := range 2 {
		if l := lacks(dig(want, i), dig(failed, i)); l != nil {
			t.Errorf("line %d lacks %v", i, l)
		}
		for _, k := range []string{"level", "category", "completed"} {
			if dig(want, i, k) != dig(failed, i, k) {
				t.Errorf("line %d: %s is %v, want %v", i, k, dig(failed, i, k), dig(want, i, k))
			}
		}
	}
	ask(t, s, "GET", "/api/system/tasks/DATAVALUE_IMPORT/"+good, nil)
	sum := must(t, ask(t, s, "GET", "/api/system/taskSummaries/DATAVALUE_IMPORT/"+good, nil), 200)
	if l := lacks(parse(t, sample(t, "jobs/task_summary.json")), sum); l != nil || dig(sum, "importOptions", "async") != true {
		t.Errorf("the summary lacks %v: %v", l, sum)
	}
	all := must(t, ask(t, s, "GET", "/api/system/tasks", nil), 200)
	sampled := dig(parse(t, sample(t, "jobs/all_tasks.json")), 0, "DATA_INTEGRITY", "OB1qGRlCzap", 0)
	if l := lacks(sampled, dig(all, "DATAVALUE_IMPORT", good, 0)); l != nil {
		t.Errorf("a line of all tasks lacks %v", l)
	}
	old := contractServer(t, `"version": "2.40.4"`)
	// The sample is of 2018; since then the answer names its type too.
	started := must(t, ask(t, old, "POST", "/api/dataValueSets?async=true", `{}`), 200)
	legacy := parse(t, sample(t, "data_value_sets/response_async_initiated_legacy.json"))
	if l := lacks(dig(legacy, "response"), started["response"]); l != nil || started["message"] != dig(legacy, "message") || dig(started, "response", "name") != dig(legacy, "response", "name") {
		t.Errorf("the start of a job in 2.40 lacks %v: %v", l, started)
	}
}

func TestTrackerJobsHaveTheSampledMembers(t *testing.T) {
	s := trackerServer(t, `"polls": 0, "version": "2.40.4"`)
	id := dig(must(t, ask(t, s, "POST", "/api/tracker", `{"events":[{"event":"NoSuchUnit1","program":"BJ42SUrAvHo","orgUnit":"yyyyyyyyyyy","occurredAt":"2024-01-15"}]}`), 200), "response", "id").(string)
	log := parse(t, ask(t, s, "GET", "/api/tracker/jobs/"+id, nil).Body.Bytes())
	if l := lacks(dig(parse(t, sample(t, "tracker/job_log.json")), 0), dig(log, 0)); l != nil || !strings.HasPrefix(fmt.Sprint(dig(log, 0, "message")), "Import complete with status ERROR") {
		t.Errorf("the log lacks %v: %v", l, log)
	}
	got := must(t, ask(t, s, "GET", "/api/tracker/jobs/"+id+"/report", nil), 200)
	want := parse(t, sample(t, "tracker/jobreport_error.json")).(map[string]any)
	if l := append(lacks(want, got), lacks(got, want)...); l != nil {
		t.Errorf("the report differs in %v", l)
	}
	if l := lacks(dig(want, "validationReport", "errorReports", 0), dig(got, "validationReport", "errorReports", 0)); l != nil || dig(got, "stats", "ignored") != 1.0 {
		t.Errorf("an error lacks %v: %v", l, got)
	}
}

func TestEventListsHaveTheSampledMembers(t *testing.T) {
	for version, name := range map[string]string{"2.40.1": "le_2.40", "2.41.0": "ge_2.41", "2.42.3": "2.41plus"} {
		want := parse(t, sample(t, "tracker/response_get_events_"+name+".json")).(map[string]any)
		s := january(t, `"version":"`+version+`"`)
		must(t, ask(t, s, "POST", tracker, fever("FeverEvent1", `,"scheduledAt":"2024-01-15","geometry":{"type":"Point","coordinates":[34.5,0.1]}`)), 200)
		got := must(t, ask(t, s, "GET", "/api/tracker/events", nil), 200)
		key := "events"
		if version == "2.40.1" {
			key = "instances"
		}
		if l := lacks(want, got); l != nil {
			t.Errorf("%s: the list lacks %v", version, l)
		}
		// An event of a program without registration has no enrollment, and the client gave no times.
		if l := lacks(dig(want, key, 0), dig(got, key, 0), "enrollment", "createdAtClient"); l != nil {
			t.Errorf("%s: an event lacks %v", version, l)
		}
		if l := lacks(dig(want, key, 0, "dataValues", 0), dig(got, key, 0, "dataValues", 0)); l != nil {
			t.Errorf("%s: a data value lacks %v", version, l)
		}
	}
}

func TestTheSeedHoldsTheContractsLiveBirths(t *testing.T) {
	s := newServer(t, "")
	want := parse(t, sample(t, "metadata/live_births_2x3.json")).(map[string]any)
	for _, name := range []string{"categoryOptions", "categories", "categoryCombos", "categoryOptionCombos", "dataElements"} {
		for _, v := range want[name].([]any) {
			id := dig(v, "id").(string)
			got := must(t, ask(t, s, "GET", "/api/"+name+"/"+id, nil), 200)
			for _, k := range []string{"id", "code", "valueType", "categories", "categoryCombo", "categoryOptions", "zeroIsSignificant"} {
				if fmt.Sprint(dig(v, k)) != fmt.Sprint(got[k]) {
					t.Errorf("%s %s: %s is %v, want %v", name, id, k, got[k], dig(v, k))
				}
			}
		}
	}
}

func TestEveryDurationOfTheTableIsKnown(t *testing.T) {
	s := newServer(t, "")
	for _, row := range rows(t, "adx/durations.csv") {
		if !slices.Contains(adxKinds[row[0]], row[2]) {
			t.Errorf("%s is no %s", row[0], row[2])
		}
		if p := s.periodOf(row[2], isoDay(2024, 6, 12)); p == nil || p.kind != row[2] {
			t.Errorf("no %s holds a day: %+v", row[2], p)
		}
	}
}

// integrationSeed is what the server's own integration tests refer to.
const integrationSeed = `{"dataElements":[{"id":"f7n9E0hX8qk","name":"A","valueType":"NUMBER"},{"id":"Ix2HsbDMLea","name":"B","valueType":"NUMBER"},{"id":"eY5ehpbEsB7","name":"C","valueType":"NUMBER"}],
	"organisationUnits":[{"id":"DiszpKrYNg8","name":"1"},{"id":"BdfsJfj87js","name":"2"}],
	"categoryOptions":[{"id":"OptionMale1","name":"M"}],"categories":[{"id":"CategorySex","name":"Sex","categoryOptions":[{"id":"OptionMale1"}]}],
	"categoryCombos":[{"id":"ComboOfSex1","name":"Sex","categories":[{"id":"CategorySex"}]},{"id":"ComboOfSex2","name":"Sex 2","categories":[{"id":"CategorySex"}]}],
	"categoryOptionCombos":[{"id":"kjuiHgy67hg","name":"M","categoryCombo":{"id":"ComboOfSex1"},"categoryOptions":[{"id":"OptionMale1"}]},
		{"id":"Gad33qy67g5","name":"M","categoryCombo":{"id":"ComboOfSex2"},"categoryOptions":[{"id":"OptionMale1"}]}],
	"dataSets":[{"id":"pBOMPrpg1QX","name":"D","periodType":"Monthly","organisationUnits":[{"id":"DiszpKrYNg8"}],
		"dataSetElements":[{"dataElement":{"id":"f7n9E0hX8qk"}},{"dataElement":{"id":"Ix2HsbDMLea"}},{"dataElement":{"id":"eY5ehpbEsB7"}}]}]}`

func TestTheServersIntegrationPayloadsAreJudgedAsThere(t *testing.T) {
	const d = "data_value_sets/"
	for _, c := range []struct {
		file, kind, query string
		status            int
		counts            string
	}{
		{"it_dataValueSetB.xml", "xml", "", 200, "12 0 0 0"},
		{"it_dataValueSetB.csv", "csv", "", 200, "12 0 0 0"},
		{"it_dataValueSetBNoHeader.csv", "csv", "?firstRowIsHeader=false", 200, "12 0 0 0"},
		{"it_dataValueSetNonStrict.xml", "xml", "", 200, "3 0 0 0"},
		{"it_dataValueSetNonStrict.xml", "xml", "?strictPeriods=true", 409, "1 0 2 0"},
		{"it_dataValueSetNonStrict.xml", "xml", "?strictCategoryOptionCombos=true", 409, "2 0 1 0"},
		{"it_dataValueSetNonStrict.xml", "xml", "?strictAttributeOptionCombos=true", 409, "2 0 1 0"},
		{"it_dataValueSetNonStrict.xml", "xml", "?strictOrganisationUnits=true", 409, "2 0 1 0"},
		{"it_dataValueSetNonStrict.xml", "xml", "?requireCategoryOptionCombo=true", 409, "1 0 2 0"},
		{"it_dataValueSetNonStrict.xml", "xml", "?requireAttributeOptionCombo=true", 409, "1 0 2 0"},
	} {
		s := newServer(t, `{"empty":true,"now":"2013-02-03T09:00:00"}`, integrationSeed)
		w := ask(t, s, "POST", "/api/dataValueSets"+c.query, sample(t, d+c.file), "Content-Type", "application/"+c.kind)
		if got := counts(t, w); w.Code != c.status || got != c.counts {
			t.Errorf("%s%s: HTTP %d %s, want %d %s: %s", c.file, c.query, w.Code, got, c.status, c.counts, w.Body)
		}
	}
}

func TestTheDocumentedRegistrationsAreTaken(t *testing.T) {
	s := contractServer(t, "", `{"organisationUnits":[{"id":"qhqAxPSTUXp","name":"X","parent":{"id":"ImspTQPwCqd"}}],"dataSets":[{"id":"eZDhcZi6FLP","name":"D"}]}`)
	xml := strings.ReplaceAll(string(sample(t, "complete_registrations/request_docs.xml")), "bRowv6yZOF2", usualCOC)
	m := must(t, ask(t, s, "POST", "/api/completeDataSetRegistrations", xml, "Content-Type", "application/xml"), 200)
	if dig(m, "response", "importCount", "imported") != 2.0 {
		t.Errorf("%v", m)
	}
	got := must(t, ask(t, s, "GET", "/api/completeDataSetRegistrations?dataSet=eZDhcZi6FLP&period=200810&period=200811&orgUnit=qhqAxPSTUXp", nil), 200)
	want := parse(t, sample(t, "complete_registrations/response_get.json"))
	if l := lacks(dig(want, "completeDataSetRegistrations", 0), dig(got, "completeDataSetRegistrations", 0)); l != nil {
		t.Errorf("a registration lacks %v", l)
	}
}

func TestACompletionIsTakenBackForItsAttributes(t *testing.T) {
	s := january(t, "")
	const path = "/api/completeDataSetRegistrations"
	register := `{"completeDataSetRegistrations":[{"dataSet":"LbDsMonth10","period":"202401","organisationUnit":"OuFacYala01","attributeOptionCombo":"ImCoc000001"},
		{"dataSet":"LbDsMonth10","period":"202401","organisationUnit":"OuFacYala01"}]}`
	must(t, ask(t, s, "POST", path, register), 200)
	const one = path + "?ds=LbDsMonth10&pe=202401&ou=OuFacYala01"
	for query, c := range map[string]struct{ status, left int }{"&cc=ImComboAge1&cp=nothing": {409, 2}, "&cc=nothing&cp=ImAge002to1": {409, 2}} {
		if w := ask(t, s, "DELETE", one+query, nil); w.Code != c.status || len(s.data.complete) != c.left {
			t.Errorf("%s: HTTP %d, %d left", query, w.Code, len(s.data.complete))
		}
	}
	for n, query := range []string{"&cc=ImComboAge1&cp=ImAge002to1", ""} {
		if w := ask(t, s, "DELETE", one+query, nil); w.Code != 204 || len(s.data.complete) != 1-n {
			t.Errorf("%s: HTTP %d, %d left", query, w.Code, len(s.data.complete))
		}
	}
}
