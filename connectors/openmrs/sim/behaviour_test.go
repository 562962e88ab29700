package sim

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWrongPasswordIsNobody: the filter never rejects; the session says so.
func TestWrongPasswordIsNobody(t *testing.T) {
	s := newServer(t, "", base2024)
	const wrong = "Basic YWRtaW46d3Jvbmc=" // admin:wrong
	if got := must(t, ask(t, s, "GET", "/session", nil, "Authorization", wrong), 200).(map[string]any); got["authenticated"] != false {
		t.Errorf("got %v", got)
	}
	if w := ask(t, s, "GET", "/patient/"+jane, nil, "Authorization", wrong); w.Code != 401 {
		t.Errorf("HTTP %d", w.Code)
	}
}

func TestEightWrongPasswordsLockTheUserForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, "", base2024)
		for range 8 {
			ask(t, s, "GET", "/session", nil, "Authorization", "Basic YWRtaW46d3Jvbmc=")
		}
		if w := ask(t, s, "GET", "/patient/"+jane, nil); w.Code != 401 {
			t.Fatalf("not locked: HTTP %d", w.Code)
		}
		time.Sleep(4 * time.Minute)
		if w := ask(t, s, "GET", "/patient/"+jane, nil); w.Code != 401 { // starts the clock again
			t.Fatalf("not locked: HTTP %d", w.Code)
		}
		time.Sleep(4 * time.Minute)
		if w := ask(t, s, "GET", "/patient/"+jane, nil); w.Code != 401 {
			t.Fatalf("each try restarts the clock: HTTP %d", w.Code)
		}
		time.Sleep(5*time.Minute + time.Second)
		must(t, ask(t, s, "GET", "/patient/"+jane, nil), 200)
	})
}

func TestAnUnknownSessionIsAnswered401AndExecuted(t *testing.T) {
	for version, status := range map[string]int{"2.24.0": 403, "2.44.0": 401} {
		s := newServer(t, `{"version":"`+version+`"}`, base2024)
		w := ask(t, s, "DELETE", "/patient/"+jane, nil, "Cookie", "JSESSIONID=forgotten")
		if w.Code != status || !strings.Contains(w.Body.String(), "<html") || !strings.Contains(w.Body.String(), "Session timed out") {
			t.Errorf("HTTP %d %s", w.Code, w.Body)
		}
		if got := must(t, ask(t, s, "GET", "/patient/"+jane, nil), 200).(map[string]any); got["voided"] != true {
			t.Error("the request was not executed")
		}
	}
}

func TestASessionCookieIsGivenAndTaken(t *testing.T) {
	s := newServer(t, "", base2024)
	cookie := ask(t, s, "GET", "/session", nil).Header().Get("Set-Cookie")
	value, _, _ := strings.Cut(cookie, ";")
	must(t, ask(t, s, "GET", "/patient/"+jane, nil, "Cookie", value), 200)
	must(t, ask(t, s, "DELETE", "/session", nil, "Cookie", value), 204)
	if w := ask(t, s, "GET", "/patient/"+jane, nil, "Cookie", value); w.Code != 401 {
		t.Errorf("HTTP %d", w.Code)
	}
}

// TestADuplicateIdentifierIsStoredUpTo244 is O3-3586.
func TestADuplicateIdentifierIsStoredUpTo244(t *testing.T) {
	for _, c := range []struct {
		version        string
		status, stored int
	}{{"2.44.0", 500, 2}, {"2.45.0", 500, 1}, {"3.2.0", 400, 1}} {
		s := newServer(t, `{"version":"`+c.version+`"}`, base2024)
		must(t, ask(t, s, "POST", "/patient", sample(t, "rest/patient-create-client-uuid.request.json")), 201)
		w := ask(t, s, "POST", "/patient/"+jane+"/identifier", map[string]any{"identifier": "1003EY", "identifierType": "OpenMRS ID", "location": "Unknown Location"})
		if w.Code != c.status {
			t.Errorf("%s: HTTP %d %s", c.version, w.Code, w.Body)
		}
		got := must(t, ask(t, s, "GET", "/patient/"+jane+"/identifier", nil), 200).(map[string]any)
		if n := len(got["results"].([]any)); n != c.stored {
			t.Errorf("%s: %d identifiers, want %d", c.version, n, c.stored)
		}
	}
}

// TestUnknownReferencesBecomeNullSilently is the converter's getByUniqueId.
func TestUnknownReferencesBecomeNullSilently(t *testing.T) {
	s := newServer(t, "", base2024)
	got := must(t, ask(t, s, "POST", "/encounter", map[string]any{"patient": jane, "encounterType": "Vitals", "encounterDatetime": "2024-06-02T09:20:00.000+0300",
		"location": "nosuch", "form": "nosuch", "visit": "nosuch"}), 201).(map[string]any)
	if got["location"] != nil || got["form"] != nil || got["visit"] != nil {
		t.Errorf("got %v", got)
	}
}

// TestAnUndeclaredParameterTurnsAllFiltersOff is RestServiceImpl.getSearchHandler.
func TestAnUndeclaredParameterTurnsAllFiltersOff(t *testing.T) {
	s := newServer(t, "", base2024)
	for _, at := range []string{"2024-06-03T09:20:00.000+0300", "2024-06-03T10:20:00.000+0300"} {
		must(t, ask(t, s, "POST", "/encounter", map[string]any{"patient": jane, "encounterType": "Vitals", "encounterDatetime": at}), 201)
	}
	for query, want := range map[string]int{"": 2, "&fromdate=2024-06-03T10:00:00.000%2B0300": 1, "&fromdate=2024-06-03T10:00:00.000%2B0300&concept=x": 2} {
		got := must(t, ask(t, s, "GET", "/encounter?patient="+jane+query, nil), 200).(map[string]any)
		if n := len(got["results"].([]any)); n != want {
			t.Errorf("%q: %d, want %d", query, n, want)
		}
	}
}

// TestIdentifierSearchIsNotExact: names that look like the identifier are given, too.
func TestIdentifierSearchIsNotExact(t *testing.T) {
	s := newServer(t, "", base2024)
	body := strings.Replace(string(sample(t, "rest/patient-create-client-uuid.request.json")), "Doe", "100DWN", 1)
	must(t, ask(t, s, "POST", "/patient", body), 201)
	got := must(t, ask(t, s, "GET", "/patient?identifier=100DWN", nil), 200).(map[string]any)
	if n := len(got["results"].([]any)); n != 2 {
		t.Errorf("%d results", n)
	}
}

func TestVoidedEncountersTakeTheirObservationsAndBringThemBack(t *testing.T) {
	s := newServer(t, "", base2024)
	must(t, ask(t, s, "POST", "/encounter", sample(t, "rest/encounter-create-obs-inline.request.json")), 201)
	before, _ := s.State()
	must(t, ask(t, s, "DELETE", "/obs/11111111-1a54-468f-ac3e-000000000001", nil), 204)
	without, _ := s.State()
	must(t, ask(t, s, "DELETE", "/encounter/3b9a7c52-6a15-4f0e-9f7b-2d3c4e5f6a70", nil), 204)
	must(t, ask(t, s, "POST", "/encounter/3b9a7c52-6a15-4f0e-9f7b-2d3c4e5f6a70", `{"deleted":"false"}`), 200)
	if after, _ := s.State(); string(after) != string(without) || string(after) == string(before) {
		t.Error("un-void brought back what was voided before")
	}
}

func TestARefusedRequestChangesNothing(t *testing.T) {
	s := newServer(t, "", base2024)
	before, _ := s.State()
	for path, body := range map[string]string{
		"/patient/" + jane: `{"person":{"gender":"O","birthdate":"2999-01-01"}}`,
		"/person/" + jane:  `{"gender":"","names":[{"givenName":"X","familyName":"Y"}]}`,
		"/visit/5b3ef2f8-8f68-4b1e-9a5f-0a6b1c2d3e4f": `{"location":"Amani Hospital","stopDatetime":"2024-06-03T08:00:00.000+0300"}`,
		"/encounter":   `{"patient":"` + jane + `","encounterType":"Vitals","encounterDatetime":"2024-06-03T09:20:00.000+0300","obs":[{"concept":"CIEL:5089","value":60},{"concept":"CIEL:5087","value":999}]}`,
		"/person/nope": `{"gender":"F"}`,
	} {
		if w := ask(t, s, "POST", path, body); w.Code < 400 {
			t.Errorf("%s: HTTP %d", path, w.Code)
		}
	}
	if after, _ := s.State(); string(after) != string(before) {
		t.Errorf("changed: %s", after)
	}
}

func TestDatesThatJodaTakes(t *testing.T) {
	s := newServer(t, `{"zone":"Africa/Nairobi"}`, "")
	for text, want := range map[string]string{
		"2019-10-08T04:09:25.000Z":      "2019-10-08T04:09:25Z",
		"2024-06-03T09:20:00.000+0300":  "2024-06-03T06:20:00Z",
		"2024-06-03T09:20:00.000+03:00": "2024-06-03T06:20:00Z",
		"2024-06-03T09:20:00.999":       "2024-06-03T06:20:00Z",
		"2024-06-03T09:20:00+0300":      "2024-06-03T06:20:00Z",
		"2024-06-03T09:20:00":           "2024-06-03T06:20:00Z",
		"2024-06-03 09:20:00":           "2024-06-03T06:20:00Z",
		"2024-06-03":                    "2024-06-02T21:00:00Z",
		"2024-06-03T09:20":              "", "03/06/2024": "", "2024-06-03T09:20:00.12Z": "", "": "", "2024-06-03T09:20:00.1234+0300": "",
	} {
		got := ""
		if at, err := s.parseDate(text); err == nil {
			got = at.UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestUnknownOptionsAndSeedsAreErrors(t *testing.T) {
	for _, o := range []string{`{"versoin":"2.44"}`, `{"zone":"Mars/Olympus"}`, `{"version":"x"}`, `{"ahead":"1"}`} {
		if _, err := New([]byte(o)); err == nil {
			t.Errorf("%s was taken", o)
		}
	}
	s := newServer(t, "", "")
	for _, d := range []string{`{"pateints":[]}`, `{"patients":[{}]}`, `{"concepts":[{"uuid":"x","datatype":"Nosuch"}]}`} {
		if err := s.Seed([]byte(d)); err == nil {
			t.Errorf("%s was taken", d)
		}
	}
}

func FuzzRepresentation(f *testing.F) {
	for _, v := range []string{"custom:(uuid)", "custom:(a:(b,c:full),links)", "custom:((", "custom:(a:)", "full"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		_, _ = representation(map[string][]string{"v": {v}}, false)
	})
}

// BenchmarkForm is one form: three reads and two writes, on 20,000 patients.
func BenchmarkForm(b *testing.B) {
	s, err := New(nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 20000 {
		id, _ := s.draw()
		if w := ask(b, s, "POST", "/patient", fmt.Sprintf(`{"person":{"uuid":"p%d","gender":"F","names":[{"givenName":"Test","familyName":"N%d"}]},"identifiers":[{"identifier":"%s","identifierType":"OpenMRS ID","location":"Unknown Location"}]}`, i, i, id)); w.Code != 201 {
			b.Fatal(w.Body)
		}
	}
	b.ResetTimer()
	for i := range b.N {
		p := fmt.Sprintf("p%d", i%20000)
		ask(b, s, "GET", "/patient/"+p+"?v=full", nil)
		ask(b, s, "GET", "/visit?patient="+p, nil)
		ask(b, s, "POST", "/visit", `{"patient":"`+p+`","visitType":"Facility Visit","startDatetime":"2024-06-03T09:00:00.000+0300"}`)
		ask(b, s, "POST", "/encounter", `{"patient":"`+p+`","encounterType":"Vitals","encounterDatetime":"2024-06-03T09:20:00.000+0300","obs":[{"concept":"CIEL:5089","value":60}]}`)
	}
}

// TestTheClerkIsAnotherUser: what a person of the clinic does carries her name,
// and neither wrong passwords nor missing privileges of the integration stop her.
func TestTheClerkIsAnotherUser(t *testing.T) {
	s := newServer(t, `{"missing":["Delete Patients"]}`, base2024)
	const clerk = "Basic Y2xlcms6Q2xlcmsxMjM=" // clerk:Clerk123
	for range 9 {
		ask(t, s, "GET", "/session", nil, "Authorization", "Basic YWRtaW46d3Jvbmc=")
	}
	audit := func(path string) map[string]any {
		t.Helper()
		got := must(t, ask(t, s, "GET", path+"?v=full", nil, "Authorization", clerk), 200).(map[string]any)
		out := map[string]any{}
		for name, v := range got["auditInfo"].(map[string]any) {
			if m, ok := v.(map[string]any); ok {
				out[name] = m["display"]
			}
		}
		return out
	}
	must(t, ask(t, s, "POST", "/person/"+jane, `{"birthdate":"1988-05-19"}`, "Authorization", clerk), 200)
	if got := audit("/person/" + jane); got["creator"] != "admin" || got["changedBy"] != "clerk" {
		t.Errorf("changed: %v", got)
	}
	must(t, ask(t, s, "POST", "/encounter", `{"uuid":"e","patient":"`+jane+`","encounterType":"Vitals","encounterDatetime":"2024-06-03T09:20:00.000+0300","obs":[{"uuid":"o","concept":"CIEL:5089","value":60}]}`, "Authorization", clerk), 201)
	next := must(t, ask(t, s, "POST", "/obs/o", `{"value":61}`, "Authorization", clerk), 200).(map[string]any)
	for path, by := range map[string]string{"/encounter/e": "creator", "/obs/" + next["uuid"].(string): "creator", "/obs/o": "voidedBy"} {
		if got := audit(path); got[by] != "clerk" {
			t.Errorf("%s: %v", path, got)
		}
	}
	must(t, ask(t, s, "DELETE", "/patient/"+jane, nil, "Authorization", clerk), 204)
	if got := audit("/patient/" + jane); got["voidedBy"] != "clerk" {
		t.Errorf("voided: %v", got)
	}
	if w := ask(t, s, "GET", "/patient/"+jane, nil, "Authorization", "Basic Y2xlcms6d3Jvbmc="); w.Code != 401 { // clerk:wrong
		t.Errorf("wrong password: HTTP %d", w.Code)
	}
	if w := ask(t, s, "GET", "/patient/"+jane, nil); w.Code != 401 {
		t.Errorf("admin is not locked: HTTP %d", w.Code)
	}
}
