package sim

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

const reportUUID = "11111111-2222-4333-8444-555566667777"

const reportOfPatients = `,"reports":[{"uuid":"` + reportUUID + `","name":"CommCare Import","parameters":[{"name":"startDate","type":"date","required":true},{"name":"owner"}],
 "dataSets":[{"uuid":"22222222-3333-4444-8555-666677778888","name":"patients","of":"patients"}],
 "designs":[{"uuid":"49cf7248-d27c-11ef-a287-0242ac120002","name":"CSV","rendererType":"org.openmrs.module.reporting.report.renderer.CsvReportRenderer"}],"polls":2}]}`

func withReport() string {
	return strings.TrimSuffix(strings.TrimSpace(base2024), "}") + reportOfPatients
}

func TestReportsHaveTheShapeOfTheContract(t *testing.T) {
	s := newServer(t, "", withReport())
	path := "/reportingrest/reportdata/" + reportUUID
	for _, got := range []any{
		must(t, ask(t, s, "GET", path+"?startDate=2019-08-01&owner=abc", nil), 200),
		must(t, ask(t, s, "POST", path, `{"startDate":"2019-08-01","owner":"abc"}`), 200),
	} {
		for _, diff := range shape(parse(t, sample(t, "reporting/reportdata.response.json")), got, "") {
			t.Error(diff)
		}
	}
	missing := must(t, ask(t, newServer(t, `{"version":"3.2.0"}`, withReport()), "GET", path, nil), 500)
	for _, diff := range shape(parse(t, sample(t, "reporting/500-missing-parameter.json")), missing, "") {
		t.Error(diff)
	}
	must(t, ask(t, s, "GET", "/reportingrest/reportdata/99999999-2222-4333-8444-555566667777", nil), 404)
	must(t, ask(t, s, "GET", path+"?startDate=2019-08-01&v=full", nil), 400)
	must(t, ask(t, s, "GET", path+"?startDate=1.8.2019", nil), 400)
}

// TestARecordedReportRequestIsTaken, and is ready after as many looks as it says.
func TestARecordedReportRequestIsTaken(t *testing.T) {
	s := newServer(t, "", withReport())
	body := strings.Replace(string(sample(t, "reporting/reportrequest-create.request.json")), "d9c79890-7ea9-41b1-a068-b5b99ca3d593", reportUUID, 1)
	made := must(t, ask(t, s, "POST", "/reportingrest/reportRequest", body), 201).(map[string]any)
	path := "/reportingrest/reportRequest/" + made["uuid"].(string)
	file := "/reportingrest/downloadReport?reportRequestUuid=" + made["uuid"].(string)
	if at := made["parameterMappings"].(map[string]any)["startDate"]; at != "2017-01-01T00:00:00.000+0300" {
		t.Errorf("startDate %v", at)
	}
	must(t, ask(t, s, "GET", file, nil), 500)
	var states []string
	for range 3 {
		states = append(states, must(t, ask(t, s, "GET", path, nil), 200).(map[string]any)["status"].(string))
	}
	if got := strings.Join(states, " "); got != "PROCESSING PROCESSING COMPLETED" && got != "REQUESTED PROCESSING COMPLETED" {
		t.Errorf("states %s", got)
	}
	got := must(t, ask(t, s, "GET", file, nil), 200).(map[string]any)
	if got["filename"] != "CommCare_Import.csv" || got["fileContent"] == "" {
		t.Errorf("%v", got)
	}
	// startIndex is the number of a page: its default finds nothing.
	for query, want := range map[string]int{"": 0, "&startIndex=1": 1, "&startIndex=1&status=FAILED,PROCESSING": 0, "&startIndex=1&status=COMPLETED": 1} {
		list := must(t, ask(t, s, "GET", "/reportingrest/reportRequest?reportDefinition="+reportUUID+query, nil), 200).(map[string]any)["results"].([]any)
		if len(list) != want {
			t.Errorf("%q: %d requests, want %d", query, len(list), want)
		}
	}
	if w := ask(t, s, "DELETE", path, nil); w.Code != 204 {
		t.Errorf("HTTP %d", w.Code)
	}
	must(t, ask(t, s, "GET", path, nil), 404)
}

func found(t *testing.T, s *Server, query string) int {
	t.Helper()
	return len(must(t, ask(t, s, "GET", "/patient?"+query, nil), 200).(map[string]any)["results"].([]any))
}

func TestTheSearchForPatientsIsAsTheReferenceSays(t *testing.T) {
	s := newServer(t, `{"minSearch":3}`, strings.Replace(base2024, `{"patients":[`, `{"personattributetypes":[{"uuid":"14d4f066-15f5-102d-96e4-000c29c2a5d7","name":"Telephone Number","format":"java.lang.String","searchable":true}],"patients":[`, 1))
	must(t, ask(t, s, "POST", "/person/1c72e1ac-9b18-11e0-93c3-18a905e044dc/attribute", `{"attributeType":"14d4f066-15f5-102d-96e4-000c29c2a5d7","value":"0711000333"}`), 201)
	for query, want := range map[string]int{
		"q=jan":                    1, // the beginning
		"q=ja":                     0, // too short: nothing, without an error
		"q=ane":                    0, // not the middle
		"q=wanjiku+jan":            1, // all words, in any order
		"q=jane+otieno":            0,
		"q=jayne":                  0, // no sound-alikes
		"q=0711000333":             1, // a searchable attribute, whole
		"q=071100033":              0,
		"identifier=jane":          1, // a search by identifier is not exact
		"identifier=jane&x=1":      -1,
		"identifier=nobody":        0,
		"q=jane&limit=1&v=default": 1,
	} {
		if want < 0 { // no handler declares x, and the resource's own search wants q
			must(t, ask(t, s, "GET", "/patient?"+query, nil), 400)
			continue
		}
		if got := found(t, s, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	ask(t, s, "DELETE", "/patient/1c72e1ac-9b18-11e0-93c3-18a905e044dc", nil)
	if got := found(t, s, "q=jane&includeAll=true"); got != 0 {
		t.Errorf("a voided patient is found")
	}
}

// clerkMerges does what a person does on the form.
func clerkMerges(s *Server, body string) int {
	r := httptest.NewRequest("POST", "http://emr.example.org/openmrs/admin/patients/mergePatients.form", strings.NewReader(body))
	r.SetBasicAuth("clerk", "Clerk123")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code
}

func TestAMergeVoidsTheLoserAsRecorded(t *testing.T) {
	const winner, loser = "1c72e1ac-9b18-11e0-93c3-18a905e044dc", "7a1a19c2-3ed6-4a63-b8c0-f762dc8d7562"
	s := newServer(t, "", base2024)
	must(t, ask(t, s, "POST", "/patient", `{"person":{"uuid":"`+loser+`","gender":"F","names":[{"givenName":"Jane"}]},
	 "identifiers":[{"identifier":"1003EY","identifierType":"05a29f94-c0ed-11e2-94be-8c13b969e334","location":"8d6c993e-c2cc-11de-8d13-0010c6dffd0f"}]}`), 201)
	for body, want := range map[string]int{`{"preferred":"` + winner + `","notPreferred":["` + winner + `"]}`: 400, `{"preferred":"x","notPreferred":["` + loser + `"]}`: 400, `{}`: 400} {
		if got := clerkMerges(s, body); got != want {
			t.Errorf("%s: HTTP %d, want %d", body, got, want)
		}
	}
	if got := clerkMerges(s, `{"preferred":"`+winner+`","notPreferred":["`+loser+`"]}`); got != 302 {
		t.Fatalf("HTTP %d", got)
	}
	gone := must(t, ask(t, s, "GET", "/patient/"+loser+"?v=full", nil), 200).(map[string]any)
	audit := gone["auditInfo"].(map[string]any)
	if reason, _ := audit["voidReason"].(string); !strings.HasPrefix(reason, "Merged with patient #") || gone["display"] != "" || gone["voided"] != true || len(gone["identifiers"].([]any)) != 0 {
		t.Errorf("%v", gone)
	}
	all := must(t, ask(t, s, "GET", "/patient/"+loser+"/identifier?includeAll=true&v=full", nil), 200).(map[string]any)["results"].([]any)
	if len(all) != 1 || all[0].(map[string]any)["auditInfo"].(map[string]any)["voidReason"] != audit["voidReason"] {
		t.Errorf("%v", all)
	}
	if found(t, s, "identifier=1003EY") != 1 {
		t.Error("the winner has not the loser's identifier")
	}
	state, _ := s.State()
	var live struct{ Patients []map[string]any }
	if err := json.Unmarshal(state, &live); err != nil || len(live.Patients) != 1 {
		t.Errorf("%d patients are live, %v", len(live.Patients), err)
	}
}
