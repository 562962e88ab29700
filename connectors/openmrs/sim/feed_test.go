package sim

import (
	"encoding/json"
	"encoding/xml"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// feedGet asks for a page as a reader does, below the context of emr.example.org.
func feedGet(t testing.TB, s *Server, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", "http://emr.example.org/openmrs/ws/atomfeed/"+path, nil)
	r.SetBasicAuth("admin", "Admin123")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

type goldenFeed struct {
	Entries []struct {
		Title    string `xml:"title"`
		Category []struct {
			Term string `xml:"term,attr"`
		} `xml:"category"`
		ID      string `xml:"id"`
		Updated string `xml:"updated"`
		Content string `xml:"content"`
	} `xml:"entry"`
}

// load puts the entries of golden pages into a feed.
func load(t *testing.T, s *Server, category string, files ...string) {
	t.Helper()
	var entries []map[string]any
	for _, f := range files {
		var g goldenFeed
		if err := xml.Unmarshal(sample(t, "atomfeed/"+f), &g); err != nil {
			t.Fatal(f, err)
		}
		for _, e := range g.Entries {
			n := len(e.Category) - 1
			var tags []string
			for _, c := range e.Category[:n] {
				tags = append(tags, c.Term)
			}
			entries = append(entries, map[string]any{"title": e.Title, "category": e.Category[n].Term, "tags": tags, "id": e.ID, "at": e.Updated, "content": e.Content})
		}
	}
	b, err := json.Marshal(map[string]any{"feeds": []any{map[string]any{"category": category, "entries": entries}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Seed(b); err != nil {
		t.Fatal(err)
	}
}

func TestPagesAreAsTheGoldenOnes(t *testing.T) {
	for _, c := range []struct {
		module, category string
		files            []string
		pages            map[string]string
		// newest is what /updated says in the sample but no entry does.
	}{
		{feedBahmni, "patient", []string{"patient-page-1.xml", "patient-page-2.xml", "patient-page-3.xml"},
			map[string]string{"2": "patient-page-2.xml", "3": "patient-page-3.xml", "recent": "patient-recent-derived.xml", "1": "patient-page-1.xml"}},
		{feedICT4H, "encounter", []string{"encounter-page-emrapi.xml"}, map[string]string{"1": "encounter-page-emrapi.xml"}},
		{feedOpenMRS, "patient", []string{"patient-page-openmrs-module.xml"}, map[string]string{"1": "patient-page-openmrs-module.xml"}},
	} {
		s := newServer(t, `{"feed":"`+c.module+`"}`, "")
		load(t, s, c.category, c.files...)
		for page, file := range c.pages {
			w := feedGet(t, s, c.category+"/"+page)
			want := strings.TrimSpace(string(sample(t, "atomfeed/"+file)))
			if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != want {
				t.Errorf("%s: HTTP %d\n%s\nwant\n%s", file, w.Code, got, want)
			}
		}
	}
}

var stamp = regexp.MustCompile(`<updated>.*</updated>`)

func TestAnEmptyFeedIsPageZeroAndCannotBeFetched(t *testing.T) {
	s := newServer(t, `{"feed":"bahmni"}`, "")
	w := feedGet(t, s, "nothing/recent")
	want := stamp.ReplaceAllString(strings.TrimSpace(string(sample(t, "atomfeed/empty-recent.xml"))), "")
	if got := stamp.ReplaceAllString(strings.TrimSpace(w.Body.String()), ""); w.Code != 200 || got != want {
		t.Errorf("HTTP %d\n%s\nwant\n%s", w.Code, got, want)
	}
	var gone struct {
		Status int    `json:"status"`
		Body   string `json:"body_contains"`
	}
	if err := json.Unmarshal(sample(t, "atomfeed/atomfeed-page-gone.response.json"), &gone); err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"0", "1", "17"} {
		if w := feedGet(t, s, "nothing/"+page); w.Code != gone.Status || !strings.Contains(w.Body.String(), gone.Body) {
			t.Errorf("page %s: HTTP %d %s", page, w.Code, w.Body)
		}
	}
}

const (
	janeDoc = `{"person":{"uuid":"1c72e1ac-9b18-11e0-93c3-18a905e044dc","gender":"F","birthdate":"1988-05-17","names":[{"givenName":"Jane","familyName":"Test"}]},
 "identifiers":[{"identifier":"100DWN","identifierType":"05a29f94-c0ed-11e2-94be-8c13b969e334","location":"8d6c993e-c2cc-11de-8d13-0010c6dffd0f"}]}`
	janeID    = "1c72e1ac-9b18-11e0-93c3-18a905e044dc"
	vitalsDoc = `{"uuid":"3b9a7c52-6a15-4f0e-9f7b-2d3c4e5f6a70","patient":"` + janeID + `","encounterType":"67a71486-1a54-468f-ac3e-7091a9a79584",
 "encounterDatetime":"2024-06-03T09:20:00.000+0300","obs":[{"concept":"5089AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","value":68.5}]}`
)

// lengths says how many entries the feeds have, by category.
func lengths(s *Server, names ...string) string {
	var out []string
	for _, n := range names {
		b, _ := json.Marshal(s.FeedLength(n))
		out = append(out, n+" "+string(b))
	}
	return strings.Join(out, ", ")
}

func TestBahmnisModuleAnnouncesOnlySavedPatients(t *testing.T) {
	s := newServer(t, `{"feed":"bahmni"}`, "")
	must(t, ask(t, s, "POST", "/patient", janeDoc), 201)
	must(t, ask(t, s, "POST", "/patient/"+janeID, `{"person":{"gender":"F"}}`), 200)
	if got := s.FeedLength("patient"); got != 2 {
		t.Fatalf("%d entries for two saves of the patient", got)
	}
	name := must(t, ask(t, s, "GET", "/person/"+janeID+"/name", nil), 200).(map[string]any)["results"].([]any)[0].(map[string]any)["uuid"].(string)
	must(t, ask(t, s, "POST", "/person/"+janeID, `{"gender":"M"}`), 200)
	must(t, ask(t, s, "POST", "/person/"+janeID+"/name/"+name, `{"givenName":"Janet"}`), 200)
	must(t, ask(t, s, "POST", "/encounter", vitalsDoc), 201)
	must(t, ask(t, s, "DELETE", "/encounter/3b9a7c52-6a15-4f0e-9f7b-2d3c4e5f6a70", nil), 204)
	must(t, ask(t, s, "DELETE", "/patient/"+janeID, nil), 204)
	must(t, ask(t, s, "POST", "/patient/"+janeID, `{"deleted":"false"}`), 200)
	if got := lengths(s, "patient", "encounter", "observation", "person_name"); got != "patient 2, encounter 0, observation 0, person_name 0" {
		t.Error("announced:", got)
	}
}

func TestBahmnisScreensAnnounceTheirEncounters(t *testing.T) {
	s := newServer(t, `{"feed":"bahmni"}`, `{"encountertypes":[{"uuid":"81852aee-3f10-11e4-adec-0800271c1b75","name":"INVESTIGATION"}]}`)
	must(t, ask(t, s, "POST", "/patient", janeDoc), 201)
	r := httptest.NewRequest("POST", "http://emr.example.org/openmrs/ws/rest/v1/encounter", strings.NewReader(vitalsDoc))
	r.SetBasicAuth("clerk", clerkPassword)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	must(t, w, 201)
	must(t, ask(t, s, "POST", "/encounter", strings.NewReplacer("3b9a", "3b9b", "67a71486-1a54-468f-ac3e-7091a9a79584", "INVESTIGATION").Replace(vitalsDoc)), 201)
	page := feedGet(t, s, "encounter/1").Body.String()
	for _, want := range []string{"bahmniencounter/3b9a7c52", "bahmniencounter/3b9b7c52", `<category term="Encounter" />`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
}

func TestTheOtherModuleAnnouncesEveryRow(t *testing.T) {
	s := newServer(t, `{"feed":"openmrs","feedPage":50}`, "")
	names := []string{"patient", "person_name", "patient_identifier", "encounter", "observation"}
	step := func(want string, do func()) {
		t.Helper()
		do()
		if got := lengths(s, names...); got != want {
			t.Errorf("announced %s, want %s", got, want)
		}
	}
	step("patient 1, person_name 1, patient_identifier 1, encounter 0, observation 0", func() { must(t, ask(t, s, "POST", "/patient", janeDoc), 201) })
	name := must(t, ask(t, s, "GET", "/person/"+janeID+"/name", nil), 200).(map[string]any)["results"].([]any)[0].(map[string]any)["uuid"].(string)
	step("patient 2, person_name 2, patient_identifier 1, encounter 0, observation 0", func() {
		must(t, ask(t, s, "POST", "/person/"+janeID+"/name/"+name, `{"givenName":"Janet"}`), 200)
	})
	step("patient 2, person_name 2, patient_identifier 1, encounter 1, observation 1", func() { must(t, ask(t, s, "POST", "/encounter", vitalsDoc), 201) })
	// A void is an update and a void, of the encounter and of what is in it.
	step("patient 2, person_name 2, patient_identifier 1, encounter 3, observation 3", func() {
		must(t, ask(t, s, "DELETE", "/encounter/3b9a7c52-6a15-4f0e-9f7b-2d3c4e5f6a70", nil), 204)
	})
	if page := feedGet(t, s, "encounter/1").Body.String(); strings.Count(page, `term="VOIDED"`) != 1 || !strings.Contains(page, `{"rest":"/ws/rest/v1/encounter/3b9a7c52`) {
		t.Error(page)
	}
	if page := feedGet(t, s, "person_name/1").Body.String(); !strings.Contains(page, "/ws/rest/v1/person/"+janeID+"/name/"+name) {
		t.Error(page)
	}
}

func TestAnEventShowsUpSecondsAfterTheWrite(t *testing.T) {
	s := newServer(t, `{"feed":"bahmni","feedDelay":"1h"}`, "")
	must(t, ask(t, s, "POST", "/patient", janeDoc), 201)
	if page := feedGet(t, s, "patient/recent").Body.String(); strings.Contains(page, "<entry>") {
		t.Error("the event is out at once")
	}
	s.ahead = 2 * time.Hour
	if page := feedGet(t, s, "patient/recent").Body.String(); !strings.Contains(page, "<entry>") {
		t.Error("the event never comes out")
	}
}

func TestFeedsChangeAsServersLoseThem(t *testing.T) {
	s := newServer(t, `{"feed":"bahmni"}`, "")
	load(t, s, "patient", "patient-page-1.xml", "patient-page-2.xml", "patient-page-3.xml")
	for _, c := range []struct {
		change string
		want   int
	}{{`"repeatLast":true`, 13}, {`"dropNewest":3`, 10}, {`"dropOldest":4`, 6}, {`"hidePage":1`, 6}, {`"entries":[{"raw":"<entry><title>&"}]`, 7}, {`"reset":true`, 0}} {
		if err := s.Seed([]byte(`{"feeds":[{"category":"patient",` + c.change + `}]}`)); err != nil {
			t.Fatal(err)
		}
		if got := s.FeedLength("patient"); got != c.want {
			t.Errorf("after %s it has %d entries, want %d", c.change, got, c.want)
		}
		if c.want == 6 && strings.Contains(c.change, "hide") {
			if w := feedGet(t, s, "patient/1"); w.Code != 500 {
				t.Error("a hidden page is there")
			}
			if p := feedGet(t, s, "patient/2").Body.String(); strings.Contains(p, "prev-archive") {
				t.Error("a hidden page is linked")
			}
		}
	}
}

func TestWithoutTheModuleThereIsNoFeed(t *testing.T) {
	if w := feedGet(t, newServer(t, "", ""), "patient/recent"); w.Code != 404 {
		t.Errorf("HTTP %d", w.Code)
	}
}
