package sim

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The contract's set-up: the WHO package for community health and the org units
// of the demo that its requests name.
const contractOptions = `{"empty": true, "now": "2024-02-03T09:00:00", "zone": "UTC", "orgUnits": ["ImspTQPwCqd"]`

func contractServer(t testing.TB, more string, seeds ...string) *Server {
	t.Helper()
	if more != "" {
		more = ", " + more
	}
	all := append([]string{string(sample(t, "metadata/e2e_setup_metadata.json")), string(sample(t, "metadata/chis_iccm_subset.json"))}, seeds...)
	return newServer(t, contractOptions+more+"}", all...)
}

// same compares an answer with a sample; paths that ids and moments make
// different are left out ("response/id").
func same(t *testing.T, w *httptest.ResponseRecorder, status int, want string, ignore ...string) {
	t.Helper()
	got := must(t, w, status)
	expected := parse(t, sample(t, want)).(map[string]any)
	for _, path := range ignore {
		keys := strings.Split(path, "/")
		for _, m := range []map[string]any{got, expected} {
			for _, k := range keys[:len(keys)-1] {
				m, _ = m[k].(map[string]any)
			}
			if _, has := m[keys[len(keys)-1]]; !has {
				t.Errorf("%s is missing", path)
			}
			delete(m, keys[len(keys)-1])
		}
	}
	if d := cmp.Diff(any(expected), any(got)); d != "" {
		t.Errorf("%s (-sample +simulator):\n%s", want, d)
	}
}

func TestDataValueSetsAnswerAsTheContract(t *testing.T) {
	post := func(s *Server, body any) *httptest.ResponseRecorder {
		return ask(t, s, "POST", "/api/dataValueSets", body)
	}
	const d = "data_value_sets/"
	s := contractServer(t, "")
	same(t, post(s, sample(t, d+"iccm_request_uid.json")), 200, d+"iccm_response_success.json")
	same(t, post(s, sample(t, d+"iccm_request_uid.json")), 200, d+"iccm_response_resend_unchanged.json")
	byCode := must(t, post(s, sample(t, d+"iccm_request_code.json")), 200)
	if got := dig(byCode, "response", "importCount", "ignored"); got != 7.0 {
		t.Errorf("the same values by code: ignored %v, want 7", got)
	}
	same(t, post(contractServer(t, ""), sample(t, d+"partial_request.json")), 409, d+"partial_response_409.json")
	same(t, post(contractServer(t, `"version": "2.38.5"`), sample(t, d+"partial_request.json")), 409, d+"partial_response_409_v38.json")
	same(t, post(s, `{"dataSet":"aaaaaaaaaaa","period":"202401","orgUnit":"DiszpKrYNg8","dataValues":[]}`), 409, d+"error_dataset_not_found_409.json")
	same(t, post(s, `{"dataSet":"zuIZr92pbJL","period":"202401","orgUnit":"yyyyyyyyyyy","dataValues":[]}`), 409, d+"error_outer_orgunit_not_found_409.json")
	same(t, post(s, `{"dataValues":[`), 409, d+"error_malformed_json_409.json")
	zero := `{"dataSet":"zuIZr92pbJL","period":"202312","orgUnit":"DiszpKrYNg8","dataValues":[{"dataElement":"ub8MJG97Wtt","value":"0"}]}`
	same(t, post(s, zero), 200, d+"response_zero_not_significant.json")
}

// elements that the CHT's sample names.
const chtSeed = `{"dataElements":[{"id":"kB0ZBFisE0e","name":"A","valueType":"NUMBER","categoryCombo":{"id":"bjDvmb4bfuf"}},
	{"id":"e22tIwy1nKR","name":"B","valueType":"NUMBER","categoryCombo":{"id":"bjDvmb4bfuf"}}],
	"dataSets":[{"id":"VMuFODsyWaO","name":"CHT","periodType":"Monthly"}],
	"organisationUnits":[{"id":"ChuOrgUnit1","name":"1","parent":{"id":"ImspTQPwCqd"}},{"id":"ChuOrgUnit2","name":"2","parent":{"id":"ImspTQPwCqd"}}]}`

func TestACHTFileIsSavedButAnswered409(t *testing.T) {
	s := contractServer(t, "", chtSeed)
	// The sample's org units are no uids; a server has uids.
	body := strings.NewReplacer("ou-chu1", "ChuOrgUnit1", "ou-chu2", "ChuOrgUnit2").Replace(string(sample(t, "cht/export.json")))
	same(t, ask(t, s, "POST", "/api/dataValueSets", body), 409, "cht/dhis2_response_to_export.json")
}

func TestEachConflictIsWordedAsTheContract(t *testing.T) {
	const ds = `{"dataSet":"zuIZr92pbJL","period":%q,"orgUnit":"DiszpKrYNg8","dataValues":[{"dataElement":%q%s,"value":"1"}]}`
	one := func(period, de, more string) string { return fmt.Sprintf(ds, period, de, more) }
	assigned := `{"dataSets":[{"id":"zuIZr92pbJL","organisationUnits":[{"id":"g8upMTyEZGZ"}]}]}`
	options := `{"optionSets":[{"id":"OptionSet01","name":"O","options":[{"id":"OptionOne01"}]}],"options":[{"id":"OptionOne01","code":"A","name":"A"}],
		"dataElements":[{"id":"ub8MJG97Wtt","optionSet":{"id":"OptionSet01"}}]}`
	for _, c := range []struct{ sample, options, seed, query, body string }{
		{"expired_E7640", ``, `{"dataSets":[{"id":"zuIZr92pbJL","expiryDays":15}]}`, "", one("202301", "ub8MJG97Wtt", "")},
		{"future_period_E7641", `"now": "2024-12-10T09:00:00"`, ``, "", one("202412", "ub8MJG97Wtt", "")},
		{"not_in_hierarchy_E7617", `"orgUnits": ["g8upMTyEZGZ"]`, `{"users":[{"username":"kiungo","id":"xE7jOejl9FI"}]}`, "",
			`{"dataSet":"zuIZr92pbJL","period":"202401","orgUnit":"DiszpKrYNg8","dataValues":[{"dataElement":"ub8MJG97Wtt","value":"1"},{"dataElement":"Xdj53a05QDb","value":"1"},{"dataElement":"wAbRk7fXFb6","value":"1"}]}`},
		{"option_E7621", ``, options, "", one("202401", "ub8MJG97Wtt", "")},
		{"orgunit_not_assigned_E7636", ``, assigned, "?strictOrganisationUnits=true", one("202401", "ub8MJG97Wtt", "")},
		{"strict_coc_E7634", ``, ``, "?strictCategoryOptionCombos=true", one("202401", "VBAI4xVuVg0", "")},
	} {
		seeds := []string{}
		if c.seed != "" {
			seeds = append(seeds, c.seed)
		}
		s := contractServer(t, "", seeds...)
		if c.options != "" {
			opts := map[string]any{}
			if err := json.Unmarshal([]byte(contractOptions+"}"), &opts); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte("{"+c.options+"}"), &opts); err != nil {
				t.Fatal(err)
			}
			b, _ := json.Marshal(opts)
			s = newServer(t, string(b), append([]string{string(sample(t, "metadata/e2e_setup_metadata.json")), string(sample(t, "metadata/chis_iccm_subset.json"))}, seeds...)...)
		}
		got := must(t, ask(t, s, "POST", "/api/dataValueSets"+c.query, c.body), 409)
		want := parse(t, sample(t, "data_value_sets/conflict_"+c.sample+".json"))
		if d := cmp.Diff(want, dig(got, "response", "conflicts", 0)); d != "" {
			t.Errorf("%s (-sample +simulator):\n%s", c.sample, d)
		}
	}
}

func TestAsyncImportsAreJobs(t *testing.T) {
	s := contractServer(t, "")
	w := ask(t, s, "POST", "/api/dataValueSets?async=true", sample(t, "data_value_sets/iccm_request_uid.json"))
	id := dig(parse(t, w.Body.Bytes()), "response", "id").(string)
	same(t, w, 200, "data_value_sets/response_async_initiated.json", "message", "response/id", "response/name", "response/created", "response/relativeNotifierEndpoint")
	path := "/api/system/tasks/DATAVALUE_IMPORT/" + id
	for n, want := range []string{"jobs/task_notifications_running.json", ""} {
		list := parse(t, ask(t, s, "GET", path, nil).Body.Bytes()).([]any)
		if done := dig(list, 0, "completed"); done != (n == 1) {
			t.Errorf("poll %d: completed %v", n, done)
		}
		if want != "" {
			sampled := parse(t, sample(t, want)).([]any)
			if len(list) != len(sampled) || len(dig(list, 0).(map[string]any)) != len(dig(sampled, 0).(map[string]any)) {
				t.Errorf("poll %d: %v, want the shape of %v", n, list, sampled)
			}
		}
	}
	sum := must(t, ask(t, s, "GET", "/api/system/taskSummaries/DATAVALUE_IMPORT/"+id, nil), 200)
	if sum["responseType"] != "ImportSummary" || dig(sum, "importCount", "imported") != 7.0 {
		t.Errorf("summary %v", sum)
	}
	if b := asClerk(t, s, "GET", path, nil).Body.String(); b != "[]" {
		t.Errorf("another user sees the job: %s", b)
	}
	w = ask(t, s, "POST", "/api/dataValueSets?async=true", `{"dataValues":[`)
	id = dig(must(t, w, 200), "response", "id").(string)
	path = "/api/system/tasks/DATAVALUE_IMPORT/" + id
	ask(t, s, "GET", path, nil)
	if last := parse(t, ask(t, s, "GET", path, nil).Body.Bytes()); dig(last, 0, "level") != "ERROR" || dig(last, 0, "completed") != true {
		t.Errorf("a job of a broken body: %v", last)
	}
	old := contractServer(t, `"version": "2.40.4"`)
	if m := must(t, ask(t, old, "POST", "/api/dataValueSets?async=true", `{}`), 200); m["message"] != "Initiated dataValueImport" {
		t.Errorf("2.40 says %v", m["message"])
	}
}

func TestCompletenessAnswersAsTheContract(t *testing.T) {
	const path, d = "/api/completeDataSetRegistrations", "complete_registrations/"
	s := contractServer(t, "")
	query := path + "?dataSet=zuIZr92pbJL&period=202401&orgUnit=DiszpKrYNg8"
	same(t, ask(t, s, "GET", query, nil), 200, d+"response_get_empty.json")
	same(t, ask(t, s, "POST", path, sample(t, d+"request.json")), 200, d+"response_success.json")
	same(t, ask(t, s, "POST", path, `{"completeDataSetRegistrations":[{"dataSet":"aaaaaaaaaaa","period":"202401","organisationUnit":"DiszpKrYNg8"}]}`), 409, d+"response_all_ignored_409.json")
	got := must(t, ask(t, s, "GET", query, nil), 200)
	if d := cmp.Diff(parse(t, sample(t, d+"request.json")), any(got)); d != "" {
		t.Errorf("read back:\n%s", d)
	}
	if w := ask(t, s, "DELETE", path+"?ds=zuIZr92pbJL&pe=202401&ou=DiszpKrYNg8", nil); w.Code != 204 {
		t.Errorf("delete: HTTP %d %s", w.Code, w.Body)
	}
	same(t, ask(t, s, "GET", query, nil), 200, d+"response_get_empty.json")
	for _, empty := range []string{`{}`, `{"completeDataSetRegistrations":[]}`} {
		if m := must(t, ask(t, s, "POST", path, empty), 409); m["status"] != "ERROR" {
			t.Errorf("%s: %v", empty, m)
		}
	}
	xml := strings.NewReplacer("eZDhcZi6FLP", "zuIZr92pbJL", "bRowv6yZOF2", usualCOC).Replace(string(sample(t, d+"request_docs_code.xml")))
	if m := must(t, ask(t, s, "POST", path, xml, "Content-Type", "application/xml"), 200); dig(m, "response", "importCount", "imported") != 1.0 {
		t.Errorf("XML by code: %v", m)
	}
}

// programSeed is what the sample program refers to, and the user's group.
const programSeed = `{"dataElements":[{"id":"BuZ5LGNfGEU","name":"D1","valueType":"INTEGER","domainType":"TRACKER"},{"id":"ZrqtjjveTFc","name":"D2","valueType":"TEXT","domainType":"TRACKER"}],
	"users":[{"username":"kiungo","userGroups":[{"id":"OPVIvvXzNTw"}]}]}`

func trackerServer(t testing.TB, more string) *Server {
	return contractServer(t, more, string(sample(t, "metadata/e2e_event_program.json")), programSeed)
}

const tracker = "/api/tracker?async=false&importStrategy="

func TestTrackerAnswersAsTheContract(t *testing.T) {
	const d = "tracker/event_program_"
	request := string(sample(t, d+"request.json"))
	s := trackerServer(t, "")
	same(t, ask(t, s, "POST", tracker+"CREATE_AND_UPDATE", strings.Replace(request, `"12"`, `"1.5"`, 1)), 409, d+"response_valuetype_409.json")
	same(t, ask(t, s, "POST", tracker+"CREATE_AND_UPDATE", request), 200, d+"response_created.json")
	same(t, ask(t, s, "POST", tracker+"CREATE_AND_UPDATE", request), 200, d+"response_updated.json")
	same(t, ask(t, s, "POST", tracker+"CREATE", request), 409, d+"response_exists_409.json")
	same(t, ask(t, s, "POST", "/api/tracker?async=false&importMode=VALIDATE", `{}`), 200, "tracker/response_empty_sync.json")
	same(t, ask(t, s, "POST", "/api/tracker?async=false&importStrategy=INVALID", `{}`), 400, "tracker/response_invalid_parameter_400.json")
	same(t, ask(t, s, "POST", "/api/tracker?async=false", `{"events":[{"event":"invalid_uid"}]}`), 400, "tracker/response_invalid_uid_400.json")
	if w := ask(t, s, "POST", tracker+"DELETE", `{"events":[{"event":"Qh5kzLvJ2aT"}]}`); w.Code != 200 {
		t.Fatalf("delete: HTTP %d %s", w.Code, w.Body)
	}
	same(t, ask(t, s, "POST", tracker+"CREATE_AND_UPDATE", request), 409, d+"response_deleted_409.json")

	s = trackerServer(t, "")
	var body struct {
		Events []map[string]any `json:"events"`
	}
	if err := json.Unmarshal([]byte(request), &body); err != nil {
		t.Fatal(err)
	}
	bad := map[string]any{"event": "Zt7nQpWc4Rk", "program": "BJ42SUrAvHo", "orgUnit": "yyyyyyyyyyy", "occurredAt": "2024-01-15"}
	body.Events = append(body.Events, bad)
	same(t, ask(t, s, "POST", tracker+"CREATE_AND_UPDATE&atomicMode=OBJECT", body), 200, d+"response_partial_200.json")
}

func TestTrackerAnswersOf240AsTheContract(t *testing.T) {
	s := trackerServer(t, `"version": "2.40.4"`)
	event := `{"events":[{"event":"Y8FRzr4y2jG","program":"BJ42SUrAvHo","orgUnit":"g8upMTyEZGZ","occurredAt":"2024-01-15"}]}`
	same(t, ask(t, s, "POST", tracker+"CREATE", event), 200, "tracker/response_ok_v40.json")
	outside := strings.NewReplacer("g8upMTyEZGZ", "ImspTQPwCqd", "Y8FRzr4y2jG", "STPIK5YTi4f").Replace(event)
	w := ask(t, s, "POST", tracker+"CREATE", outside)
	want := strings.NewReplacer("ABJTilhqOCW", "ImspTQPwCqd", "q04UBOqq3rp", "BJ42SUrAvHo").Replace(string(sample(t, "tracker/response_conflict_v40.json")))
	if d := cmp.Diff(parse(t, []byte(want)), any(must(t, w, 409))); d != "" {
		t.Errorf("E1029 of 2.40:\n%s", d)
	}
	list := must(t, ask(t, s, "GET", "/api/tracker/events?program=BJ42SUrAvHo", nil), 200)
	if len(list["instances"].([]any)) != 1 || list["page"] != 1.0 || list["events"] != nil {
		t.Errorf("the list of 2.40: %v", list)
	}
}

func TestAsyncTrackerImportsAreJobs(t *testing.T) {
	s := trackerServer(t, "")
	w := ask(t, s, "POST", "/api/tracker", sample(t, "tracker/event_program_request.json"))
	same(t, w, 200, "tracker/job_response.json", "response/id", "response/location")
	id := dig(parse(t, w.Body.Bytes()), "response", "id").(string)
	if w := ask(t, s, "GET", "/api/tracker/jobs/"+id+"/report", nil); w.Code != 404 {
		t.Errorf("a report before the end: HTTP %d", w.Code)
	}
	for _, want := range []bool{false, true} {
		list := parse(t, ask(t, s, "GET", "/api/tracker/jobs/"+id, nil).Body.Bytes())
		if dig(list, 0, "completed") != want || dig(list, 0, "category") != "TRACKER_IMPORT_JOB" {
			t.Errorf("job %v, want completed %v", list, want)
		}
	}
	same(t, ask(t, s, "GET", "/api/tracker/jobs/"+id+"/report?reportMode=FULL", nil), 200, "tracker/event_program_response_created.json")
}

func TestMetadataAnswersAsTheContract(t *testing.T) {
	s := contractServer(t, "", `{"dataSets":[{"id":"zuIZr92pbJL","organisationUnits":[{"id":"DiszpKrYNg8"}]}]}`)
	same(t, ask(t, s, "GET", "/api/dataElements/aaaaaaaaaaa", nil), 404, "metadata/response_not_found_404.json")
	same(t, ask(t, s, "GET", "/api/dataElements?paging=false&filter=code:eq:none", nil), 200, "metadata/response_list_unpaged_empty.json")
	got := must(t, ask(t, s, "GET", "/api/dataElements?filter=code:in:[CH079a,CH121d]&order=code:asc&pageSize=1&fields=id,code,displayName,valueType,categoryCombo", nil), 200)
	want := parse(t, sample(t, "metadata/response_list_paged.json")).(map[string]any)
	if d := cmp.Diff(dig(want, "dataElements", 0), dig(got, "dataElements", 0)); d != "" {
		t.Error(d)
	}
	if p := got["pager"].(map[string]any); p["total"] != 2.0 || p["pageCount"] != 2.0 || !strings.Contains(p["nextPage"].(string), "page=2") {
		t.Errorf("pager %v", p)
	}
	mapping := must(t, ask(t, s, "GET", "/api/dataSets/zuIZr92pbJL?fields=id,code,displayName,version,periodType,openFuturePeriods,expiryDays,categoryCombo[id,isDefault],"+
		"dataSetElements[dataElement[id,code,displayName,valueType,zeroIsSignificant,aggregationType,optionSet[id],categoryCombo[id]],categoryCombo[id]],organisationUnits[id,code,displayName]", nil), 200)
	full := parse(t, sample(t, "metadata/dataset_for_mapping_response.json")).(map[string]any)
	elements := mapping["dataSetElements"].([]any)
	for _, e := range full["dataSetElements"].([]any) { // the sample is shortened
		if !slices.ContainsFunc(elements, func(x any) bool { return cmp.Equal(x, e) }) {
			t.Errorf("the data set lacks %v", e)
		}
	}
	delete(mapping, "dataSetElements")
	delete(full, "dataSetElements")
	if d := cmp.Diff(any(full), any(mapping)); d != "" {
		t.Error(d)
	}
}

func TestADXIsTakenByCodes(t *testing.T) {
	for _, version := range []string{"2.41.3", "2.42.3"} {
		s := contractServer(t, `"version": "`+version+`"`)
		w := ask(t, s, "POST", "/api/dataValueSets", sample(t, "adx/iccm_request.xml"), "Content-Type", "application/adx+xml")
		if m := must(t, w, 200); dig(m, "response", "importCount", "imported") != 2.0 {
			t.Errorf("%s: %v", version, m)
		}
		bad := strings.Replace(string(sample(t, "adx/iccm_request.xml")), "CH095a", "NO_SUCH", 1)
		m := must(t, ask(t, s, "POST", "/api/dataValueSets", bad, "Content-Type", "application/adx+xml"), 409)
		want := "WARNING"
		if version == "2.42.3" {
			want = "ERROR" // the whole import, up to 2.41 the value alone
		}
		if m["status"] != want {
			t.Errorf("%s: an unknown code gives %v, want %s", version, m["status"], want)
		}
	}
}

func TestTheServersOwnPayloadsAreImported(t *testing.T) {
	s := contractServer(t, `"version": "2.41.3"`, string(sample(t, "metadata/e2e_aggregate_metadata.json")), `{"users":[{"username":"kiungo","authorities":["ALL"]}]}`)
	for _, name := range []string{"e2e_bulk.json", "e2e_single_dataset.json"} {
		body := sample(t, "data_value_sets/"+name)
		n := len(dig(parse(t, body), "dataValues").([]any))
		m := must(t, ask(t, s, "POST", "/api/dataValueSets", body), 200)
		c := dig(m, "response", "importCount").(map[string]any)
		if c["imported"] != float64(n) {
			t.Errorf("%s: %v of %d", name, c, n)
		}
	}
}

func TestLegacyEventsAnswerInTheSampledShape(t *testing.T) {
	s := trackerServer(t, `"version": "2.41.3"`)
	event := func(unit string) string {
		return `{"event":"LegacyEvnt1","program":"BJ42SUrAvHo","orgUnit":"` + unit + `","eventDate":"2024-01-15","dataValues":[{"dataElement":"BuZ5LGNfGEU","value":"1"}]}`
	}
	keys := func(v any, path ...any) string {
		m, _ := dig(v, path...).(map[string]any)
		return strings.Join(sorted(m), " ")
	}
	for name, c := range map[string]struct {
		unit   string
		status int
	}{"response_ok.json": {"g8upMTyEZGZ", 200}, "response_conflict_409.json": {"ImspTQPwCqd", 409}} {
		want := parse(t, sample(t, "events_legacy/"+name))
		got := must(t, ask(t, s, "POST", "/api/events", event(c.unit)), c.status)
		if a, b := keys(want, "response"), keys(got, "response"); a != b {
			t.Errorf("%s: response has %s, want %s", name, b, a)
		}
		wantOne, gotOne := dig(want, "response", "importSummaries", 0).(map[string]any), dig(got, "response", "importSummaries", 0).(map[string]any)
		delete(wantOne, "importOptions")
		for k := range wantOne {
			if _, has := gotOne[k]; !has {
				t.Errorf("%s: a summary lacks %s", name, k)
			}
		}
		if m := dig(want, "message"); got["message"] != m || dig(got, "response", "status") != dig(want, "response", "status") {
			t.Errorf("%s: %v", name, got)
		}
	}
}
