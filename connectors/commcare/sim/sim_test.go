package sim

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ask sends a request with the API key, and gives status and document.
func ask(t testing.TB, s *Sim, method, path, body string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, "/a/demo/"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "ApiKey "+s.o.Username+":"+s.o.APIKey)
	r.Header.Set("Accept", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var doc map[string]any
	if w.Body.Len() > 0 && strings.Contains(w.Header().Get("Content-Type"), "json") {
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
	}
	return w.Code, doc
}

func seed(t testing.TB, s *Sim, doc string) {
	t.Helper()
	if err := s.Seed([]byte(doc)); err != nil {
		t.Fatal(err)
	}
}

const household = `{"cases":[{"case_id":"eb1a8c23-6d6d-4b61-894c-ae1c437d8dac","case_type":"household","case_name":"H","owner_id":"o"}]}`

func TestDocumentedRequestsAreTaken(t *testing.T) {
	s := newSim(t, "")
	seed(t, s, household)
	status, made := ask(t, s, "POST", "api/case/v2/", string(file(t, "case-api-v2/create.request.json")))
	if status != 200 {
		t.Fatalf("create: %d %v", status, made)
	}
	var want map[string]any
	if err := json.Unmarshal(file(t, "case-api-v2/create.response.json"), &want); err != nil {
		t.Fatal(err)
	}
	volatile := map[string]bool{"domain": true, "case_id": true, "date_opened": true, "last_modified": true, "server_last_modified": true, "indexed_on": true}
	got := made["case"].(map[string]any)
	id := got["case_id"].(string)
	opt := cmp.FilterPath(func(p cmp.Path) bool {
		k, ok := p.Last().(cmp.MapIndex)
		return ok && volatile[k.Key().String()] && len(p) < 5
	}, cmp.Ignore())
	if d := cmp.Diff(want["case"], made["case"], opt); d != "" {
		t.Error(d)
	}
	if status, doc := ask(t, s, "GET", "api/case/v2/"+id, ""); status != 200 || doc["case_name"] != "Elizabeth Harmon" {
		t.Errorf("get: %d %v", status, doc)
	}
	if status, doc := ask(t, s, "POST", "api/case/v2/", string(file(t, "case-api-v2/bulk-with-temporary-id.request.json"))); status != 200 || len(doc["cases"].([]any)) != 2 {
		t.Errorf("bulk: %d %v", status, doc)
	}
	if status, doc := ask(t, s, "POST", "api/case/v2/bulk-fetch/", string(file(t, "case-api-v2/bulk-fetch.request.json"))); status != 200 || doc["missing_records"] != 4.0 {
		t.Errorf("bulk fetch: %d %v", status, doc)
	}
	if status, doc := ask(t, s, "GET", "api/case/v2/?indices.parent=eb1a8c23-6d6d-4b61-894c-ae1c437d8dac&fields=case_id,properties", ""); status != 200 ||
		doc["matching_records"] != 1.0 || len(doc["cases"].([]any)[0].(map[string]any)) != 2 {
		t.Errorf("children: %d %v", status, doc)
	}
}

func TestTheCaseAPIRefusesInItsOwnWords(t *testing.T) {
	s := newSim(t, "")
	seed(t, s, `{"cases":[{"case_id":"c1","external_id":"two","case_type":"t"},{"case_id":"c2","external_id":"two","case_type":"t"}]}`)
	whole := `"case_type":"t","case_name":"n","owner_id":"o"`
	tests := []struct{ method, path, body, want string }{
		{"POST", "", `{` + whole + `,"colour":"x"}`, "'colour' is not a valid field."},
		{"POST", "", `{` + whole + `,"case_id":"x"}`, "You cannot specify case_id when creating a new case"},
		{"POST", "", `{"case_type":"t","case_name":"n"}`, "Property owner_id is required."},
		{"PUT", "", `{"case_name":"n"}`, "Case updates must provide either a case_id or external_id"},
		{"PUT", "nobody", `{}`, "No case found with ID 'nobody'"},
		{"PUT", "", `{"external_id":"none"}`, "Could not find a case with external_id 'none'"},
		{"PUT", "", `{"external_id":"two"}`, "There are multiple cases with external_id two"},
		{"PUT", "ext/two/", `{}`, "There are multiple cases with external_id two"},
		{"GET", "ext/two/", ``, "There are multiple cases with external_id two"},
		{"PUT", "c1", `{"properties":{"a":1}}`, "Error with case property 'a'. Values must be strings, received '1'"},
		{"PUT", "c1", `{"properties":{"1a":"x"}}`, "Error with case property '1a'. Case property names must be valid XML identifiers."},
		{"PUT", "c1", `{"properties":{"xmlish":"x"}}`, "Error with case property 'xmlish'. Case property names must be valid XML identifiers."},
		{"PUT", "c1", `{"indices":{"a b":{}}}`, "Error with index 'a b'. Index names must be valid XML identifiers."},
		{"PUT", "c1", `{"indices":{"p":{"case_id":"x","external_id":"y"}}}`, "Indices must specify case_id, external_id, or temporary ID, and only one"},
		{"PUT", "c1", `{"indices":{"p":{"case_id":"c2"}}}`, "Property case_type is required when creating or updating case indices"},
		{"PUT", "c1", `{"indices":{"p":{"case_id":"gone","case_type":"t","relationship":"child"}}}`, "InvalidCaseIndex: Case 'c1' references non-existent case 'gone'"},
		{"POST", "", `[{` + whole + `}]`, "Error in row 1: A 'create' flag is required for each update."},
		{"POST", "", `[{` + whole + `,"create":true,"indices":{"p":{"temporary_id":"9","case_type":"t","relationship":"child"}}}]`, "Could not find a case with temporary_id '9'"},
		{"POST", "", "[" + strings.Repeat(`{},`, 100) + "{}]", "You cannot submit more than 100 updates in a single request"},
	}
	before, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		status, doc := ask(t, s, test.method, "api/case/v2/"+test.path, test.body)
		if status != 400 || doc["error"] != test.want {
			t.Errorf("%s %s %s: %d %v, want %q", test.method, test.path, test.body, status, doc["error"], test.want)
		}
	}
	if after, err := s.State(); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a refused request changed something: %v", err)
	}
	if status, doc := ask(t, s, "GET", "api/case/v2/ext/none/", ""); status != 404 || doc["error"] != "Case 'none' not found" {
		t.Errorf("missing: %d %v", status, doc)
	}
}

func TestUpsertByExternalIDMakesOnceAndThenUpdates(t *testing.T) {
	s := newSim(t, "")
	_, first := ask(t, s, "PUT", "api/case/v2/ext/e1/", `{"case_type":"t","case_name":"n","owner_id":"o"}`)
	_, second := ask(t, s, "PUT", "api/case/v2/ext/e1/", `{"properties":{"a":"1"}}`)
	one, two := first["case"].(map[string]any), second["case"].(map[string]any)
	if one["case_id"] != two["case_id"] || two["case_name"] != "n" || first["xform_id"] == second["xform_id"] {
		t.Errorf("%v, then %v", first, second)
	}
}

func TestSearchSeesTheIndexOnly(t *testing.T) {
	s := newSim(t, "")
	s.LagIndex()
	seed(t, s, household)
	list := func() float64 {
		_, doc := ask(t, s, "GET", "api/case/v2/?case_type=household", "")
		return doc["matching_records"].(float64)
	}
	if list() != 0 {
		t.Error("the lagging index shows the case")
	}
	if status, _ := ask(t, s, "GET", "api/case/v2/eb1a8c23-6d6d-4b61-894c-ae1c437d8dac", ""); status != 200 {
		t.Error("a read by id does not depend on the index")
	}
	s.CatchUp()
	if list() != 1 {
		t.Error("the index did not catch up")
	}
	for _, q := range []string{"colour=x", "last_modified.near=2020-01-01", "last_modified.gt=soon", "limit=5001", "cursor=%25"} {
		if status, _ := ask(t, s, "GET", "api/case/v2/?"+q, ""); status != 400 {
			t.Errorf("%s: %d", q, status)
		}
	}
}

func TestEditingAndArchivingRebuildTheCases(t *testing.T) {
	s := newSim(t, "")
	id, err := s.Submit(file(t, "forms/form-json.registration.json"))
	if err != nil {
		t.Fatal(err)
	}
	follow, err := s.Submit(file(t, "forms/form-json.followup.json"))
	if err != nil {
		t.Fatal(err)
	}
	property := func() any {
		_, doc := ask(t, s, "GET", "api/case/v2/65e55473-e83b-4d78-9dde-eaf949758997", "")
		props, _ := doc["properties"].(map[string]any)
		return props["tb"]
	}
	if property() != "1" {
		t.Fatalf("tb is %v", property())
	}
	for _, step := range []struct {
		do   func(string) error
		id   string
		want any
	}{{s.Archive, follow, "0"}, {s.Restore, follow, "1"}, {s.Archive, follow, "0"}, {s.Archive, id, nil}} {
		if err := step.do(step.id); err != nil || property() != step.want {
			t.Errorf("tb is %v, want %v, %v", property(), step.want, err)
		}
	}
	if err := s.Archive("nothing"); err == nil {
		t.Error("a form that is not there was archived")
	}
	if _, doc := ask(t, s, "GET", "api/form/v1/", ""); len(doc["objects"].([]any)) != 0 {
		t.Error("archived forms are listed unasked")
	}
	if _, doc := ask(t, s, "GET", "api/form/v1/?include_archived=true&limit=1", ""); len(doc["objects"].([]any)) != 1 || doc["meta"].(map[string]any)["next"] == nil {
		t.Errorf("archived forms: %v", doc["meta"])
	}
}

func TestTheReceiverAnswersByOpenRosaVersion(t *testing.T) {
	orphan := `<data xmlns="x"><case case_id="a" xmlns="http://commcarehq.org/case/transaction/v2"><index><parent case_type="t">gone</parent></index></case><meta><instanceID>o</instanceID></meta></data>`
	tests := []struct {
		name, body, version string
		status              int
		nature              string
	}{
		{"good", string(file(t, "submission/xform.register-case.request.xml")), "", 201, "submit_success"},
		{"system form", string(file(t, "submission/system-form.case-blocks.request.xml")), "3.0", 201, "submit_success"},
		{"device log", string(file(t, "forms/xform.device-log.xml")), "", 201, "submit_success"},
		{"parent missing", orphan, "", 201, "submit_error"},
		{"parent missing, version 3", orphan, "3.0", 422, "processing_failure"},
		{"not XML", "<data", "", 500, "submit_error"},
	}
	for _, test := range tests {
		s := newSim(t, "")
		r := httptest.NewRequest("POST", "/a/demo/receiver/app/", strings.NewReader(test.body))
		r.Header.Set("X-OpenRosa-Version", test.version)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != test.status || !strings.Contains(w.Body.String(), `nature="`+test.nature+`"`) {
			t.Errorf("%s: %d %s", test.name, w.Code, w.Body)
		}
	}
}

func TestTheReceiverTakesAFile(t *testing.T) {
	s := newSim(t, "")
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	part, err := m.CreateFormFile("xml_submission_file", "form.xml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(file(t, "submission/xform.register-case.request.xml")); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/a/demo/receiver/", &body)
	r.Header.Set("Content-Type", m.FormDataContentType())
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if status, doc := ask(t, s, "GET", "api/case/v2/47035f62-c91d-4811-adfd-9d925bc61b99", ""); w.Code != 201 || status != 200 || doc["case_type"] != "covid_19_case" {
		t.Errorf("%d, then %d %v", w.Code, status, doc)
	}
}

func TestLocationsAreXMLUnlessAskedForJSON(t *testing.T) {
	s := newSim(t, "")
	seed(t, s, `{"locations":[`+string(file(t, "locations/location-v2.response.json"))+`]}`)
	at := "api/location/v2/68e65fbc2dc840ff8bf03849e57aca88/"
	if status, doc := ask(t, s, "GET", at+"?format=json", ""); status != 200 || doc["site_code"] != "fairfax_county" {
		t.Errorf("%d %v", status, doc)
	}
	r := httptest.NewRequest("GET", "/a/demo/"+at, nil)
	r.SetBasicAuth(s.o.Username, s.o.Password)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 200 || !strings.HasPrefix(w.Body.String(), "<?xml") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if status, _ := ask(t, s, "GET", "api/location/v2/none/", ""); status != 404 {
		t.Errorf("a missing location: %d", status)
	}
}

func TestThrottleAndCredentials(t *testing.T) {
	s := newSim(t, "")
	s.Throttle(1, "0.4")
	r := httptest.NewRequest("GET", "/a/demo/api/case/v2/", nil)
	for _, want := range []int{http.StatusTooManyRequests, http.StatusUnauthorized} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want || (want == 429 && w.Header().Get("Retry-After") != "0.4") {
			t.Errorf("%d %v, want %d", w.Code, w.Header(), want)
		}
	}
}

func TestGeneratedFormsAreTheSameForOneSeed(t *testing.T) {
	one, two, other := NewGenerator(7, 30, 4), NewGenerator(7, 30, 4), NewGenerator(8, 30, 4)
	if !bytes.Equal(one.Seed(), two.Seed()) {
		t.Error("seeds differ")
	}
	s := newSim(t, "")
	seed(t, s, string(one.Seed()))
	differ := false
	ids := map[string]bool{}
	for range 300 {
		a, b, c := one.Next(), two.Next(), other.Next()
		if !bytes.Equal(a.Body, b.Body) || a.At != b.At {
			t.Fatal("one seed gave two streams")
		}
		differ = differ || !bytes.Equal(a.Body, c.Body)
		if ids[a.ID] {
			t.Fatalf("form id %s came twice", a.ID)
		}
		ids[a.ID] = true
		if _, err := s.Submit(a.Body); err != nil {
			t.Fatal(err)
		}
	}
	if !differ {
		t.Error("two seeds gave one stream")
	}
	_, doc := ask(t, s, "GET", "api/case/v2/?case_type=patient&limit=100", "")
	if doc["matching_records"] != 30.0 {
		t.Errorf("%v people, want 30", doc["matching_records"])
	}
}
