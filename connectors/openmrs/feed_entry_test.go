package openmrs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// visitOf is the uuid of an invented encounter.
func visitOf(n int) string { return fmt.Sprintf("20000000-0000-4000-8000-%012d", n) }

// announceEncounter makes encounters from..to of Jane and their entries.
func (r *feedRig) announceEncounter(from, to int) {
	r.t.Helper()
	if from == 1 {
		r.seed(people)
	}
	var encounters, entries []any
	for n := from; n <= to; n++ {
		encounters = append(encounters, map[string]any{"uuid": visitOf(n), "patient": jane, "encounterType": vitals, "encounterDatetime": "2024-06-03T09:20:00.000+0300",
			"obs": []any{map[string]any{"concept": weight, "value": 50 + n}}})
		entries = append(entries, map[string]any{"title": "Encounter", "category": "Encounter", "id": eventID(n),
			"content": "/openmrs/ws/rest/v1/bahmnicore/bahmniencounter/" + visitOf(n) + "?includeAll=true"})
	}
	b, err := json.Marshal(map[string]any{"encounters": encounters, "feeds": []any{map[string]any{"category": "encounter", "entries": entries}}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.seed(string(b))
}

func (r *feedRig) again(category, content string, tags ...string) {
	r.t.Helper()
	b, err := json.Marshal(map[string]any{"feeds": []any{map[string]any{"category": category, "entries": []any{map[string]any{"title": "x", "content": content, "tags": tags}}}}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.seed(string(b))
}

// Law 2: routing needs the person before the message is kept.
func TestAnEncounterEntryNamesItsPatient(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=encounter", "feed_from=start")
	r.announceEncounter(1, 2)
	for i, m := range r.quietly("encounter") {
		doc := contentOf(t, m)
		if m.Kind != "encounter" || m.Doc != "encounter/"+visitOf(i+1) || doc.Subject["id"] != jane || doc.Entry["uuid"] != visitOf(i+1) || m.Problem != "" {
			t.Errorf("%+v %s", m, m.Content)
		}
	}
}

// Weak point 4 of MOTECH's reader: a full read for each entry of one encounter.
func TestAnEncounterAnnouncedFiveTimesIsReadOnce(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=encounter", "feed_from=start")
	r.announceEncounter(1, 1)
	for range 4 {
		r.again("encounter", "/openmrs/ws/rest/v1/encounter/"+visitOf(1)+"?v=full")
	}
	got := r.quietly("encounter")
	if n := r.requests("/encounter/" + visitOf(1)); len(got) != 5 || n != 1 {
		t.Errorf("%d messages with %d reads", len(got), n)
	}
	for _, m := range got {
		if m.Doc != got[0].Doc {
			t.Errorf("another document: %s", m.Doc)
		}
	}
}

func TestAVoidedEncounterIsWithdrawn(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=encounter", "feed_from=start")
	r.announceEncounter(1, 2)
	r.void("/encounter/" + visitOf(1))
	got := r.quietly("encounter")
	if !got[0].Withdrawn || got[1].Withdrawn || got[0].Problem != "" || contentOf(t, got[0]).Subject["id"] != jane {
		t.Errorf("%+v", got)
	}
}

// void deletes a record as the clinic does.
func (r *feedRig) void(path string) {
	r.t.Helper()
	r.write(http.MethodDelete, path, "")
}

func (r *feedRig) write(method, path, body string) {
	r.t.Helper()
	req := read(path)
	req.Method = method
	if body != "" {
		req.Body = []byte(body)
	}
	a, err := r.sys.Send(r.t.Context(), req)
	if err != nil || a.Status >= 300 {
		r.t.Fatalf("%s %s: HTTP %d %s %v", method, path, a.Status, a.Body, err)
	}
}

func TestAnEntryAboutWhatIsNotThereIsHeldAlone(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=encounter", "feed_from=start")
	r.announceEncounter(1, 1)
	r.again("encounter", "/openmrs/ws/rest/v1/encounter/"+visitOf(9)+"?v=full")
	r.again("encounter", "/openmrs/ws/rest/v1/encounter/"+visitOf(1)+"?v=full")
	got := r.quietly("encounter")
	if len(got) != 3 || got[1].Problem == "" || got[0].Problem != "" || got[2].Problem != "" || got[1].Doc != "encounter/"+visitOf(9) {
		t.Errorf("%+v", got)
	}
}

// OpenMRS says 500 to what is the record's own fault, and when it stumbles.
func TestARecordThatMakesOpenMRSFailIsAskedAgainAndThenHeldAlone(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=encounter", "feed_from=start")
	r.announceEncounter(1, 5)
	r.sim.Traffic().Switch(simulate.Fault{Kind: simulate.Error500, Match: "GET /openmrs/ws/rest/v1/encounter/" + visitOf(3)})
	if got := versions(r.alarming("encounter", "OpenMRS fails on the encounter of an entry on page 1")); got != "1 2" {
		t.Errorf("given %s", got)
	}
	if got := r.quietly("encounter"); len(got) != 0 {
		t.Errorf("given %s", versions(got))
	}
	got := r.quietly("encounter")
	if versions(got) != "3 4 5" || got[0].Problem == "" || got[1].Problem != "" {
		t.Errorf("given %s, %q", versions(got), got[0].Problem)
	}
	if got := r.quietly("encounter"); len(got) != 0 {
		t.Errorf("given again: %s", versions(got))
	}
}

func TestARecordThatOpenMRSStumbledOnIsNotHeld(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=encounter", "feed_from=start")
	r.announceEncounter(1, 3)
	r.sim.Traffic().Switch(simulate.Fault{Kind: simulate.Error500, Match: "GET /openmrs/ws/rest/v1/encounter/" + visitOf(2), Call: 1})
	first, _ := r.poll("encounter")
	got := append(first, r.quietly("encounter")...)
	if versions(got) != "1 2 3" || got[1].Problem != "" {
		t.Errorf("given %s %q", versions(got), got[1].Problem)
	}
}

func TestEntriesThatCannotBeReadAreHeldAloneAndTheFeedGoesOn(t *testing.T) {
	for name, entry := range map[string]string{
		"not well-formed":  `{"raw":"<entry><title>AT&T</title><id>tag:bad</id></entry>"}`,
		"not closed":       `{"raw":"<entry><id>tag:bad</id><title>x"}`,
		"bytes between":    `{"raw":"&nonsense; "}`,
		"no content":       `{"id":"tag:bad","title":"Patient"}`,
		"no uuid":          `{"id":"tag:bad","content":"/openmrs/ws/rest/v1/patient/../session"}`,
		"broken links":     `{"id":"tag:bad","content":"{\"rest\":"}`,
		"no links":         `{"id":"tag:bad","content":"{}"}`,
		"elsewhere":        `{"id":"tag:bad","content":"http://evil.example.org/x"}`,
		"unknown resource": `{"id":"tag:bad","title":"UnExPeCtEd","content":"/openmrs/ws/rest/v1/UNKNOWN/0f54fe40-89af-4412-8dd4-5eaebe8684dc"}`,
		"no id":            `{"raw":"<entry><title>Patient</title><content>nothing</content></entry>"}`,
		"endless":          `{"id":"tag:bad","content":"` + strings.Repeat("x", 9000) + `"}`,
	} {
		r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
		r.announce("patient", 1, 2, 50)
		r.change("patient", `"entries":[`+entry+`]`)
		r.announce("patient", 3, 6, 50)
		got := r.quietly("patient")
		if len(got) != 7 {
			t.Errorf("%s: %d messages: %s", name, len(got), versions(got))
			continue
		}
		bad := got[2]
		if bad.Problem == "" || bad.Version == "" || bad.Doc == "" || bad.Kind == "" || len(bad.Content) == 0 {
			t.Errorf("%s: %+v", name, bad)
		}
		if rest := append(got[:2:2], got[3:]...); versions(rest) != numbers(1, 6) {
			t.Errorf("%s: given %s", name, versions(rest))
		}
		for _, m := range append(got[:2:2], got[3:]...) {
			if m.Problem != "" {
				t.Errorf("%s: its neighbour has a problem, too: %s", name, m.Problem)
			}
		}
		if again := r.quietly("patient"); len(again) != 0 {
			t.Errorf("%s: given again: %s", name, versions(again))
		}
	}
}

func TestABedAssignmentIsCountedAndNotHeld(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=encounter", "feed_from=start")
	r.again("encounter", "/openmrs/ws/rest/v1/bedPatientAssignment/fed0d6f9-e76c-4a8e-a10d-c8e98c7d258f?v=custom:(uuid,startDatetime)")
	got := r.quietly("encounter")
	if len(got) != 1 || got[0].Kind != "other" || got[0].Problem != "" {
		t.Errorf("%+v", got)
	}
}

func TestLinksOfAllModulesAreRead(t *testing.T) {
	const id = "1c72e1ac-9b18-11e0-93c3-18a905e044dc"
	for content, want := range map[string]target{
		"/openmrs/ws/rest/v1/patient/" + id + "?v=full":                                                           {kind: "patient", resource: "patient"},
		"/openmrs/ws/rest/v1/bahmnicore/bahmniencounter/" + id + "?includeAll=true":                               {kind: "encounter", resource: "bahmniencounter"},
		"/openmrs/ws/rest/emrapi/encounter/" + id + "?includeAll=true":                                            {kind: "encounter", resource: "encounter"},
		`{"rest":"/ws/rest/v1/patient/` + id + `?v=full","fhir":"/ws/fhir/Patient/` + id + `"}`:                   {kind: "patient", resource: "patient"},
		`{"fhir":"/ws/fhir2/R4/Observation/` + id + `"}`:                                                          {kind: "observation", resource: "Observation"},
		`{"rest":"/ws/rest/v1/person/` + id + `/name/11111111-9b18-11e0-93c3-18a905e044dc?v=full"}`:               {kind: "patient", resource: "person", part: true},
		`{"rest":"/ws/rest/v1/patient/` + id + `/identifier/11111111-9b18-11e0-93c3-18a905e044dc?v=full"}`:        {kind: "patient", resource: "patient", part: true},
		`{"rest":"/ws/rest/v1/obs/` + id + `?v=full"}`:                                                            {kind: "observation", resource: "obs"},
		"https://emr.example.org/openmrs/ws/rest/v1/encounter/" + id:                                              {kind: "encounter", resource: "encounter"},
		`{"rest":"/ws/rest/v1/visit/` + id + `?v=full","fhir":"/ws/fhir/Encounter/` + id + `"}`:                   {kind: "other", resource: "visit"},
		"\n    /openmrs/ws/rest/v1/bedPatientAssignment/" + id + "?v=custom:(uuid,encounter:(uuid,visit:(uuid)))": {kind: "other", resource: "bedPatientAssignment"},
	} {
		got, why := targetOf(content)
		if why != "" || got.kind != want.kind || got.resource != want.resource || got.uuid != id || got.part != want.part {
			t.Errorf("%s: %+v %q", content, got, why)
		}
	}
}

const rowsFeed = `{"feed":"openmrs","feedPage":20}`

func TestAnObservationEntryNamesItsPatient(t *testing.T) {
	r := newFeedRig(t, rowsFeed, people, "feeds=observation,encounter", "feed_from=start")
	r.write("POST", "/encounter", `{"uuid":"`+visitOf(1)+`","patient":"`+jane+`","encounterType":"`+vitals+`","encounterDatetime":"2024-06-03T09:20:00.000+0300","obs":[{"concept":"`+weight+`","value":68.5}]}`)
	got := r.quietly("observation")
	if len(got) != 2 || got[0].Kind != "observation" || !strings.HasPrefix(got[0].Doc, "observation/") {
		t.Fatalf("%+v", got)
	}
	doc := contentOf(t, got[0])
	if doc.Subject["id"] != jane || doc.Entry["encounter"] != visitOf(1) || doc.Entry["action"] != "CREATED" || doc.Entry["category"] != "observation" {
		t.Errorf("%s", got[0].Content)
	}
	// The encounter comes along: a corrected observation is announced here alone.
	if doc := contentOf(t, got[1]); got[1].Kind != "encounter" || got[1].Doc != "encounter/"+visitOf(1) || got[1].Withdrawn || doc.Subject["id"] != jane || doc.Entry["action"] != "" {
		t.Errorf("%s", got[1].Content)
	}
	if want := time.Date(2024, 6, 3, 6, 20, 0, 0, time.UTC); !got[1].Event.Equal(want) || got[0].Event.Equal(want) {
		t.Errorf("the encounter happened at %s, want its own time; the observation at %s, want when it was written", got[1].Event, got[0].Event)
	}
	r.void("/encounter/" + visitOf(1))
	for _, stream := range []string{"observation", "encounter"} {
		for _, m := range r.quietly(stream) {
			if !m.Withdrawn || m.Problem != "" {
				t.Errorf("%s: %+v", stream, m)
			}
		}
	}
}

func TestAVoidedPatientIsWithdrawnWhereTheFeedSaysSo(t *testing.T) {
	r := newFeedRig(t, rowsFeed, people, "feeds=patient,patient_identifier")
	r.quietly("patient")
	r.quietly("patient_identifier")
	r.void("/patient/" + jane)
	got := r.quietly("patient")
	if len(got) != 2 { // UPDATED and VOIDED, in this order or the other
		t.Fatalf("%+v", got)
	}
	voided := map[string]bool{}
	for _, m := range got {
		voided[contentOf(t, m).Entry["action"].(string)] = m.Withdrawn
	}
	if !voided["UPDATED"] || !voided["VOIDED"] {
		t.Errorf("withdrawn: %v; the order of the two is not certain, so both must be", voided)
	}
	for _, m := range r.quietly("patient_identifier") {
		if m.Withdrawn || m.Kind != "patient" || contentOf(t, m).Subject["id"] != jane {
			t.Errorf("an identifier's void: %+v", m)
		}
	}
	r.write("POST", "/patient/"+jane, `{"deleted":"false"}`)
	for _, m := range r.quietly("patient") {
		if m.Withdrawn {
			t.Error("brought back and withdrawn")
		}
	}
}

func TestARemovedEncounterIsWithdrawnWhereTheFeedSaysSo(t *testing.T) {
	r := newFeedRig(t, rowsFeed, people, "feeds=encounter")
	r.write("POST", "/encounter", `{"uuid":"`+visitOf(1)+`","patient":"`+jane+`","encounterType":"`+vitals+`","encounterDatetime":"2024-06-03T09:20:00.000+0300"}`)
	r.quietly("encounter")
	r.again("encounter", `{"rest":"/ws/rest/v1/encounter/`+visitOf(7)+`?v=full"}`, "DELETED")
	if got := r.quietly("encounter"); len(got) != 1 || !got[0].Withdrawn || got[0].Problem != "" {
		t.Errorf("%+v", got)
	}
}

func TestAMissingPrivilegeIsAProblemOfItsOwn(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=encounter", "feed_from=start")
	r.announceEncounter(1, 1)
	r.answer = hide(t, r, "patient")
	got := r.quietly("encounter")
	if len(got) != 1 || !strings.Contains(got[0].Problem, "privilege") {
		t.Errorf("%+v", got)
	}
}

// hide answers as OpenMRS does to a user who may not read a reference: it is
// left out.
func hide(t *testing.T, r *feedRig, name string) func(call.Request) (call.Answer, bool) {
	t.Helper()
	return func(req call.Request) (call.Answer, bool) {
		if isFeed(req) {
			return call.Answer{}, false
		}
		a, err := r.sys.Send(t.Context(), req)
		if err != nil {
			t.Error(err)
		}
		var doc map[string]any
		if json.Unmarshal(a.Body, &doc) == nil {
			delete(doc, name)
			a.Body = encode(doc)
		}
		return a, true
	}
}

func TestManyEncountersAreReadSideBySideAndGivenInOrder(t *testing.T) {
	r := newFeedRig(t, `{"feed":"bahmni","feedPage":20}`, "", "feeds=encounter", "feed_from=start")
	r.announceEncounter(1, 60)
	if got := versions(r.quietly("encounter")); got != numbers(1, 60) {
		t.Errorf("given %s", got)
	}
	if n := r.requests("/encounter/20000000"); n != 60 {
		t.Errorf("%d reads", n)
	}
}
