package openmrs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// about is a message of a kind about one thing of Jane's, as Poll gives it.
func about(kind, resource, uuid string) *connector.Message {
	s := &System{name: "emr"}
	e := atomEntry{id: "tag:x"}
	return &connector.Message{System: "emr", Incoming: s.entryMessage(feedStream{kind, kind}, &e, 1, target{kind: kind, resource: resource, uuid: uuid}, "", found{subject: jane, encounter: visitOf(1)})}
}

// surround asks as the runner does.
func (r *feedRig) surround(m *connector.Message, names ...string) map[string]any {
	r.t.Helper()
	var content any
	if err := json.Unmarshal(m.Content, &content); err != nil {
		r.t.Fatal(err)
	}
	out, err := r.sys.Surround(r.t.Context(), r, m, content, nil, names)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func at(t *testing.T, v any, path ...string) any {
	t.Helper()
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("no object at %s of %v", p, path)
		}
		v = m[p]
	}
	return v
}

func TestThePatientIsReadWhenPlanning(t *testing.T) {
	r := newFeedRig(t, "", people)
	m := about("patient", "patient", jane)
	r.write("POST", "/person/"+jane, `{"gender":"O"}`) // after the entry
	p := r.surround(m, "patient")["patient"]
	for path, want := range map[string]any{"id": jane, "uuid": jane, "gender": "O", "birthdate": "1988-05-17", "dead": false, "voided": false, "gone": false, "identifier": "100DWN"} {
		if got := at(t, p, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	for want, path := range map[string][]string{"Jane": {"name", "given"}, "Test": {"name", "family"}, "100DWN": {"identifiers", "OpenMRS ID"},
		"+254711000333": {"attributes", "Telephone Number"}, "Kangemi": {"address", "cityVillage"}} {
		if got := at(t, p, path...); got != want {
			t.Errorf("%s is %v, want %s", path, got, want)
		}
	}
	if at(t, p, "changed") == nil {
		t.Error("when she was changed is not said")
	}
}

func TestAVoidedPatientIsShownAsVoided(t *testing.T) {
	r := newFeedRig(t, "", people)
	r.void("/patient/" + jane)
	p := r.surround(about("patient", "patient", jane), "patient")["patient"]
	if at(t, p, "voided") != true || at(t, p, "gone") != false || at(t, p, "uuid") != jane {
		t.Errorf("%v", p)
	}
}

func TestWhatWasRemovedIsShownAsVoidedAndGone(t *testing.T) {
	r := newFeedRig(t, "", people)
	for name, m := range map[string]*connector.Message{"encounter": about("encounter", "encounter", visitOf(9)), "obs": about("observation", "obs", visitOf(9))} {
		want := map[string]any{"id": visitOf(9), "uuid": visitOf(9), "voided": true, "gone": true}
		if diff := cmp.Diff(want, r.surround(m, name)[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestOnlyWhatIsAskedForIsRead(t *testing.T) {
	r := newFeedRig(t, "", people)
	if got := r.surround(about("patient", "patient", jane)); len(got) != 0 || r.requests("") != 0 {
		t.Errorf("%v", got)
	}
}

// fullEncounter has a number, an answer, yes or no, a day, a text, several
// answers to one question, and groups in groups.
const fullEncounter = `{"encounters":[{"uuid":"20000000-0000-4000-8000-000000000001","patient":"` + jane + `","encounterType":"` + vitals + `","location":"` + unknownLocation + `",
 "encounterDatetime":"2024-06-03T09:20:00.000+0300","encounterProviders":[{"provider":"` + superUser + `","encounterRole":"` + unknownRole + `"}],
 "obs":[{"concept":"` + weight + `","value":68.5,"comment":"in clothes"},{"concept":"` + yesNo + `","value":true},{"concept":"` + lmp + `","value":"2024-05-01"},{"concept":"` + noteConcept + `","value":"a note"},
  {"concept":"` + problemList + `","value":"` + malaria + `"},{"concept":"` + problemList + `","value":"` + asthma + `"},
  {"concept":"` + diagnoses + `","groupMembers":[{"concept":"` + order + `","value":"` + primary + `"},{"concept":"` + certainty + `","value":"` + confirmed + `"}]}]}]}`

func TestAnEncounterIsShownWithItsAnswers(t *testing.T) {
	r := newFeedRig(t, "", people)
	r.seed(fullEncounter)
	got := r.surround(about("encounter", "bahmniencounter", visitOf(1)), "encounter", "patient")
	if at(t, got, "patient", "uuid") != jane {
		t.Error("the patient is not shown")
	}
	e := got["encounter"]
	if at(t, e, "at") != "2024-06-03T06:20:00Z" || at(t, e, "patient") != jane || at(t, e, "type", "uuid") != vitals || at(t, e, "location", "uuid") != unknownLocation ||
		at(t, e, "provider", "uuid") != superUser || at(t, e, "provider", "role", "uuid") != unknownRole || at(t, e, "voided") != false || at(t, e, "type", "name") == "" {
		t.Errorf("%v", e)
	}
	answers := at(t, e, "answers")
	group := map[string]any{order: primary, certainty: confirmed}
	for concept, want := range map[string]any{weight: 68.5, yesNo: true, lmp: "2024-05-01", noteConcept: "a note", problemList: []any{malaria, asthma},
		order: primary, certainty: confirmed} {
		if diff := cmp.Diff(want, at(t, answers, concept)); diff != "" {
			t.Errorf("%s: %s", concept, diff)
		}
	}
	for concept, want := range group {
		if got := at(t, answers, diagnoses, concept); got != want {
			t.Errorf("in the group: %s is %v", concept, got)
		}
	}
	rows, _ := at(t, e, "obs").([]any)
	if len(rows) != 7 {
		t.Fatalf("%d rows", len(rows))
	}
	byConcept := map[string]map[string]any{}
	for _, row := range rows {
		m := row.(map[string]any)
		byConcept[m["concept"].(string)] = m
	}
	if w := byConcept[weight]; w["value"] != 68.5 || w["comment"] != "in clothes" || w["name"] == "" || w["at"] != "2024-06-03T06:20:00Z" {
		t.Errorf("%v", w)
	}
	if members, _ := byConcept[diagnoses]["members"].([]any); len(members) != 2 {
		t.Errorf("%v", byConcept[diagnoses])
	}
}

// A table in CIEL stays in CIEL, whatever the server's uuids are.
func TestAnswersCanBeAskedByCode(t *testing.T) {
	r := newFeedRig(t, "", people)
	r.seed(fullEncounter)
	e := r.surround(about("encounter", "encounter", visitOf(1)), "encounter")["encounter"]
	for code, want := range map[string]any{"CIEL:5089": 68.5, "CIEL:1427": "2024-05-01", "CIEL:159946": "CIEL:159943", "CIEL:1284": []any{"CIEL:116128", "CIEL:121375"}} {
		if diff := cmp.Diff(want, at(t, e, "answers", code)); diff != "" {
			t.Errorf("%s: %s", code, diff)
		}
	}
	rows, _ := at(t, e, "obs").([]any)
	found := false
	for _, row := range rows {
		if at(t, row, "value") == malaria {
			found = at(t, row, "answer", "codes", "CIEL") == "116128" && at(t, row, "answer", "name") != ""
		}
	}
	if !found {
		t.Errorf("%v", rows)
	}
	r.requests("")
	r.surround(about("encounter", "encounter", visitOf(1)), "encounter")
	if n := r.requests("/concept/"); n != 0 {
		t.Errorf("%d reads of concepts that are known", n)
	}
}

func TestAnObservationIsShownWithItsEncounter(t *testing.T) {
	r := newFeedRig(t, rowsFeed, people, "feeds=observation", "feed_from=start")
	r.seed(fullEncounter)
	all := r.quietly("observation")
	var shown int
	for _, m := range all {
		if m.Kind != "observation" {
			continue // its encounter comes along
		}
		msg := &connector.Message{System: "emr", Incoming: m}
		got := r.surround(msg, "obs", "encounter", "patient")
		if at(t, got, "obs", "patient") != jane || at(t, got, "encounter", "uuid") != visitOf(1) || at(t, got, "patient", "uuid") != jane || at(t, got, "obs", "voided") != false {
			t.Fatalf("%v", got["obs"])
		}
		if at(t, got, "obs", "concept") == weight {
			shown++
			if at(t, got, "obs", "value") != 68.5 || at(t, got, "obs", "answers", weight) != 68.5 {
				t.Errorf("%v", got["obs"])
			}
		}
	}
	if shown != 1 || len(all) != 10 {
		t.Errorf("%d messages, %d of weight; want nine observations and their encounter", len(all), shown)
	}
}

func TestWhatIsShownIsDeclared(t *testing.T) {
	r := newFeedRig(t, "", people)
	r.seed(fullEncounter)
	got := r.surround(about("encounter", "encounter", visitOf(1)), "encounter", "patient")
	for _, spec := range feedMessages() {
		for _, n := range spec.Names {
			shown, ok := got[n.Name].(map[string]any)
			if !ok || n.Name != "patient" && n.Name != "encounter" {
				continue
			}
			declared := map[string]bool{}
			for _, f := range n.Fields {
				declared[f] = true
			}
			for f := range shown {
				if !declared[f] {
					t.Errorf("%s has %s, which is not declared", n.Name, f)
				}
			}
		}
	}
}

func TestAnEncounterIsOursUntilSomebodyElseTouchesIt(t *testing.T) {
	r := newFeedRig(t, rowsFeed, people, "feeds=encounter", "feed_from=start")
	r.write("POST", "/encounter", `{"uuid":"`+visitOf(1)+`","patient":"`+jane+`","encounterType":"`+vitals+`","encounterDatetime":"2024-06-03T09:20:00.000+0300","obs":[{"concept":"`+weight+`","value":68.5}]}`)
	shown := func() map[string]any {
		return r.surround(about("encounter", "encounter", visitOf(1)), "encounter")["encounter"].(map[string]any)
	}
	e := shown()
	if e["ours"] != true {
		t.Fatalf("our own: %v", e["ours"])
	}
	weighed, _ := at(t, e, "obs").([]any)[0].(map[string]any)["uuid"].(string)
	req := httptest.NewRequest(http.MethodPost, "http://emr.sim/openmrs/ws/rest/v1/obs/"+weighed, strings.NewReader(`{"value":58.5}`))
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("clerk", "Clerk123")
	w := httptest.NewRecorder()
	if r.sim.ServeHTTP(w, req); w.Code >= 300 {
		t.Fatalf("HTTP %d %s", w.Code, w.Body)
	}
	if e := shown(); e["ours"] != false {
		t.Errorf("after the clinic corrected an observation: %v", e["ours"])
	}
}
