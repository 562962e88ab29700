package openmrs

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

const (
	newPatient   = "aaaaaaaa-0000-5000-8000-000000000001"
	newVisit     = "bbbbbbbb-0000-5000-8000-000000000001"
	newEncounter = "cccccccc-0000-5000-8000-000000000001"
	newObs       = "dddddddd-0000-5000-8000-000000000001"
)

func mary() map[string]any {
	return map[string]any{
		"identifiers": map[string]any{"National ID": "11112222"},
		"name":        map[string]any{"given": "Mary", "family": "Akinyi", "prefix": "Mama"},
		"gender":      "F", "birthdate": "1994-04-08", "birthdateEstimated": "yes",
		"address":    map[string]any{"cityVillage": "Siaya", "address4": "Ward 4"},
		"attributes": map[string]any{"Telephone Number": "+254700111222", "Civil Status": "CIEL:1065"},
	}
}

func TestPatientIsMadeWithADrawnIdentifierAndUndone(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.plan("Patient", newPatient, connector.Query{}, mary())
	if got := names(calls); got != "patient.draw-openmrs-id patient.create" {
		t.Fatalf("calls: %s", got)
	}
	r.roundTrip(calls)
}

func TestADrawnIdentifierIsUsedAgain(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.plan("Patient", newPatient, connector.Query{}, mary(), func(c *connector.Change) {
		c.Reserved = map[string]string{"patient.draw-openmrs-id.identifier": "10005K"}
	})
	if got := names(calls); got != "patient.create" {
		t.Fatalf("calls: %s", got)
	}
	r.roundTrip(calls)
}

func TestARepeatWritesNothing(t *testing.T) {
	r := newRig(t, "", people)
	for _, c := range r.plan("Patient", newPatient, connector.Query{}, mary()) {
		r.apply(c)
	}
	if calls := r.plan("Patient", newPatient, connector.Query{Made: newPatient}, mary()); len(calls) > 0 {
		t.Errorf("second time: %s", names(calls))
	}
	for _, c := range encounterCalls(r) {
		r.apply(c)
	}
	if calls := encounterCalls(r); len(calls) > 0 {
		t.Errorf("second encounter: %s %v", names(calls), calls[0].Check)
	}
	// The same content under another id: someone sent the form before us.
	want := encounterWanted()
	if calls := r.plan("Encounter", "cccccccc-0000-5000-8000-000000000009", connector.Query{}, want); len(calls) > 0 {
		t.Errorf("same content: %s", names(calls))
	}
}

// TestPatientChangesInOrderAndUndone covers integration I4 step 7.
func TestPatientChangesInOrderAndUndone(t *testing.T) {
	wanted := map[string]any{
		"identifiers": map[string]any{"OpenMRS ID": "1001W2", "Old Identification Number": "17"},
		"name":        map[string]any{"given": "Janet", "middle": "Wanjiku"},
		"gender":      "O", "birthdate": "1988-05-18",
		"address":    map[string]any{"cityVillage": "Westlands", "country": record.Clear{}},
		"attributes": map[string]any{"Telephone Number": record.Clear{}, "Birthplace": "Kisumu"},
	}
	r := newRig(t, "", people)
	calls := r.plan("Patient", newPatient, connector.Query{By: []map[string]any{{"uuid": jane}}}, wanted)
	want := "patient.identifier-old-identification-number patient.identifier-openmrs-id patient.name patient.address patient.person patient.attribute-birthplace patient.attribute-telephone-number"
	if got := names(calls); got != want {
		t.Fatalf("calls:\n got %s\nwant %s", got, want)
	}
	r.roundTrip(calls)
	// Each call by itself can be undone, too.
	for _, c := range calls {
		r := newRig(t, "", people)
		r.roundTrip([]call.Call{c})
	}
}

func TestDeathIsRecordedAndUndone(t *testing.T) {
	r := newRig(t, "", people)
	for _, date := range []string{"2024-02-03", "2024-02-03T10:20:30+03:00"} {
		r.roundTrip(r.plan("Patient", newPatient, connector.Query{By: []map[string]any{{"uuid": jane}}},
			map[string]any{"dead": true, "deathDate": date, "causeOfDeath": "CIEL:116128"}))
	}
}

func TestMissingAddressAndNameRowsAreAddedAndUndone(t *testing.T) {
	r := newRig(t, "", people)
	r.roundTrip(r.plan("Patient", newPatient, connector.Query{By: []map[string]any{{"uuid": john}}},
		map[string]any{"address": map[string]any{"cityVillage": "Thika"}}))
}

func TestAnIdentifierOfAnotherPatientIsNeverSent(t *testing.T) {
	r := newRig(t, "", people)
	k := r.sys.Kind("Patient")
	want := r.canon("Patient", map[string]any{"identifiers": map[string]any{"OpenMRS ID": "1003EY"}})
	found, err := k.Find(t.Context(), r, connector.Query{By: []map[string]any{{"uuid": jane}}, Wanted: want})
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Calls(t.Context(), r, connector.Change{Record: "patient", ID: jane, Found: &found, Write: want, Wanted: want})
	if call.ClassOf(err) != call.Refusal {
		t.Errorf("got %v", err)
	}
}

func TestPatientIsWithdrawnAndBroughtBack(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.remove(t, "Patient", jane)
	r.roundTrip(calls)
}

func (r *rig) remove(t *testing.T, kind, id string) []call.Call {
	t.Helper()
	found, err := r.sys.Kind(kind).Find(t.Context(), r, connector.Query{Made: id})
	if err != nil || !found.Exists {
		t.Fatalf("find: %v %v", found, err)
	}
	calls, err := r.sys.Kind(kind).Calls(t.Context(), r, connector.Change{Record: "x", ID: id, Found: &found, Remove: true, Reason: "kiungo delivery 8: withdrawn"})
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

func visitWanted() map[string]any {
	return map[string]any{"patient": record.Ref{Record: "patient", Kind: "openmrs/Patient", ID: jane}, "type": "Facility Visit",
		"start": "2024-06-03T09:00:00.000+03:00", "stop": "2024-06-05T23:59:59+03:00"}
}

func visitQuery(at string) connector.Query {
	return connector.Query{By: []map[string]any{{"patient": record.Ref{Kind: "openmrs/Patient", ID: jane}, "openAt": at}}}
}

func TestVisitIsMadeWithItsEndWithin24HoursAndUndone(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.plan("Visit", newVisit, visitQuery("2024-06-03T09:00:00+03:00"), visitWanted())
	if len(calls) != 1 || calls[0].Check.Want.Text("stop") != "2024-06-04T05:59:59Z" {
		t.Fatalf("calls: %v", calls)
	}
	r.roundTrip(calls)
}

func TestAnOpenVisitIsUsedAndLeftAlone(t *testing.T) {
	r := newRig(t, "", people)
	for _, c := range r.plan("Visit", newVisit, visitQuery("2024-06-03T09:00:00+03:00"), visitWanted()) {
		r.apply(c)
	}
	for at, want := range map[string]bool{"2024-06-03T06:00:00Z": true, "2024-06-04T05:59:59Z": true, "2024-06-04T06:00:00Z": false, "2024-06-03T05:59:59Z": false} {
		f, err := r.sys.Kind("Visit").Find(t.Context(), r, visitQuery(at))
		if err != nil || f.Exists != want {
			t.Errorf("open at %s: %v %v", at, f.Exists, err)
		}
	}
}

func TestVisitsThatOverlapAreAQuestion(t *testing.T) {
	r := newRig(t, "", people)
	for _, id := range []string{newVisit, "bbbbbbbb-0000-5000-8000-000000000002"} {
		b := newBody()
		for k, v := range map[string]any{"uuid": id, "patient": jane, "visitType": facility, "startDatetime": "2024-06-03T09:00:00.000+0300"} {
			b.set(k, v)
		}
		if _, err := r.do(t.Context(), "seed", b.post("/visit")); err != nil {
			t.Fatal(err)
		}
	}
	f, err := r.sys.Kind("Visit").Find(t.Context(), r, visitQuery("2024-06-03T10:00:00+03:00"))
	if err != nil || f.Exists || len(f.Several) != 2 {
		t.Errorf("found %v, %v", f, err)
	}
	// Our own among them is ours.
	q := visitQuery("2024-06-03T10:00:00+03:00")
	q.Made = newVisit
	if f, err = r.sys.Kind("Visit").Find(t.Context(), r, q); err != nil || f.ID != newVisit {
		t.Errorf("found %v, %v", f, err)
	}
}

func encounterWanted() map[string]any {
	return map[string]any{
		"patient": jane, "type": "Vitals", "at": "2024-06-03T09:20:00.123+03:00", "provider": "Super User", "location": "Amani Hospital",
		"obs": []any{
			map[string]any{"concept": "CIEL:5089", "value": "54.5", "units": "kg"},
			map[string]any{"concept": pulse, "value": 88},
			map[string]any{"concept": problemList, "value": []any{"CIEL:116128", asthma}},
			map[string]any{"concept": lmp, "value": "2024-05-01"},
			map[string]any{"concept": eventAt, "value": "2024-05-01T14:30:00+03:00"},
			map[string]any{"concept": clockAt, "value": "14:30"},
			map[string]any{"concept": yesNo, "value": true},
			map[string]any{"concept": noteConcept, "value": "Fever for three days", "comment": "from the CHW"},
			map[string]any{"concept": noteConcept, "value": ""}, // asked, not answered
			map[string]any{"concept": diagnoses, "members": []any{
				map[string]any{"concept": order, "value": primary},
				map[string]any{"concept": certainty, "value": confirmed},
				map[string]any{"concept": problemList, "value": malaria},
			}},
		},
	}
}

func encounterCalls(r *rig) []call.Call {
	return r.plan("Encounter", newEncounter, connector.Query{}, encounterWanted())
}

func TestEncounterIsMadeInOneRequestAndUndone(t *testing.T) {
	for _, version := range []string{"2.24.0", "2.44.0", "2.50.0", "3.4.1"} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, `{"version":"`+version+`"}`, people)
			calls := encounterCalls(r)
			if len(calls) != 1 {
				t.Fatalf("calls: %s", names(calls))
			}
			r.roundTrip(calls)
		})
	}
}

func TestEncounterChangesAreWrittenOneByOneAndUndone(t *testing.T) {
	r := newRig(t, `{"version":"2.50.0"}`, people)
	for _, c := range encounterCalls(r) {
		r.apply(c)
	}
	base := r.canon("Encounter", encounterWanted())
	changed := map[string]any{
		"patient": jane, "type": "Vitals", "at": "2024-06-03T09:25:00+03:00", "location": "Outpatient Clinic", "provider": "Super User", "role": "Clinician",
		"obs": []any{
			map[string]any{"concept": weight, "value": 55}, // changed
			map[string]any{"concept": pulse, "value": 88},
			map[string]any{"concept": problemList, "value": []any{asthma}},            // malaria taken away
			map[string]any{"concept": lmp, "value": "2024-05-02"},                     // changed
			map[string]any{"concept": eventAt, "value": "2024-05-01T14:31:00+03:00"},  // changed
			map[string]any{"concept": clockAt, "value": "14:30"},                      //
			map[string]any{"concept": yesNo, "value": "no"},                           // changed
			map[string]any{"concept": noteConcept, "value": "Fever", "comment": "c2"}, // both changed
			map[string]any{"concept": "CIEL:5090", "value": 150},                      // added
			map[string]any{"concept": diagnoses, "members": []any{
				map[string]any{"concept": order, "value": primary},
				map[string]any{"concept": problemList, "value": asthma}, // changed; certainty taken away
			}},
			map[string]any{"concept": diagnoses, "members": []any{ // a second group
				map[string]any{"concept": problemList, "value": malaria},
			}},
		},
	}
	calls := r.plan("Encounter", newEncounter, connector.Query{Made: newEncounter, Base: base}, changed)
	r.roundTrip(calls)
	for _, c := range r.plan("Encounter", newEncounter, connector.Query{Made: newEncounter, Base: base}, changed) {
		r.apply(c)
	}
	if again := r.plan("Encounter", newEncounter, connector.Query{Made: newEncounter, Base: r.canon("Encounter", changed)}, changed); len(again) > 0 {
		t.Errorf("the change is not complete: %s", names(again))
	}
}

func TestAMemberAddedToAGroupMakesTheGroupAnew(t *testing.T) {
	r := newRig(t, "", people)
	wanted := func(members ...any) map[string]any {
		return map[string]any{"patient": jane, "type": vitals, "at": "2024-06-03T09:20:00Z", "obs": []any{map[string]any{"concept": diagnoses, "members": members}}}
	}
	one := map[string]any{"concept": problemList, "value": malaria}
	two := map[string]any{"concept": certainty, "value": confirmed}
	for _, c := range r.plan("Encounter", newEncounter, connector.Query{}, wanted(one)) {
		r.apply(c)
	}
	base := r.canon("Encounter", wanted(one))
	calls := r.plan("Encounter", newEncounter, connector.Query{Made: newEncounter, Base: base}, wanted(one, two))
	r.roundTrip(calls)
	if len(calls) != 2 {
		t.Errorf("calls: %s", names(calls))
	}
}

func TestEncounterIsWithdrawnWithItsObservationsAndBroughtBack(t *testing.T) {
	r := newRig(t, "", people)
	for _, c := range encounterCalls(r) {
		r.apply(c)
	}
	r.roundTrip(r.remove(t, "Encounter", newEncounter))
}

func TestWhatOthersAddedToAnEncounterStopsItsUndo(t *testing.T) {
	r := newRig(t, "", people)
	calls := encounterCalls(r)
	r.apply(calls[0])
	b := newBody()
	for k, v := range map[string]any{"person": jane, "encounter": newEncounter, "concept": "CIEL:5088", "value": 37, "obsDatetime": "2024-06-03T09:20:00.000+0300"} {
		b.set(k, v)
	}
	if _, err := r.do(t.Context(), "a clinician adds", b.post("/obs")); err != nil {
		t.Fatal(err)
	}
	if r.undo(calls[0]) {
		t.Error("the encounter was voided under a clinician's observation")
	}
}

func TestAPatientWithEncountersOfOthersIsNotVoidedByUndo(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.plan("Patient", newPatient, connector.Query{}, mary())
	for _, c := range calls {
		r.apply(c)
	}
	want := encounterWanted()
	want["patient"] = newPatient
	for _, c := range r.plan("Encounter", newEncounter, connector.Query{}, want) {
		r.apply(c)
	}
	if r.undo(calls[1]) {
		t.Error("the patient was voided, and the encounter with her")
	}
}

func TestObservationByItself(t *testing.T) {
	r := newRig(t, "", people)
	wanted := map[string]any{"patient": jane, "concept": "CIEL:5089", "at": "2024-06-03T09:20:00Z", "value": 54.5}
	calls := r.plan("Obs", newObs, connector.Query{}, wanted)
	r.roundTrip(calls)
	// Voided, its uuid is used up (law 9): the next generation.
	next := "dddddddd-0000-5000-8000-000000000002"
	for _, c := range r.plan("Obs", next, connector.Query{}, wanted) {
		r.apply(c)
	}
	wanted["value"], wanted["comment"] = 60, "weighed again"
	calls = r.plan("Obs", next, connector.Query{Made: next}, wanted)
	r.roundTrip(calls)
	for _, c := range r.plan("Obs", next, connector.Query{Made: next}, wanted) {
		r.apply(c)
	}
	if again := r.plan("Obs", next, connector.Query{Made: next}, wanted); len(again) > 0 {
		t.Errorf("again: %s", names(again))
	}
	_ = r.remove
}

// TestOneFormNeedsFewRequests: metadata known, the patient in OpenMRS.
func TestOneFormNeedsFewRequests(t *testing.T) {
	r := newRig(t, "", people)
	r.canon("Encounter", encounterWanted())
	r.canon("Visit", visitWanted())
	r.canon("Patient", map[string]any{"name": map[string]any{"given": "Jane"}})
	if _, err := r.sys.defaultLocation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.sim.Traffic().Forget()
	calls := r.plan("Patient", newPatient, connector.Query{By: []map[string]any{{"uuid": jane}}}, map[string]any{"name": map[string]any{"given": "Jane"}})
	calls = append(calls, r.plan("Visit", newVisit, visitQuery("2024-06-03T09:20:00+03:00"), visitWanted())...)
	want := encounterWanted()
	want["visit"] = record.Ref{Kind: "openmrs/Visit", ID: newVisit, New: true}
	calls = append(calls, r.plan("Encounter", newEncounter, connector.Query{}, want)...)
	if n := len(r.sim.Traffic().Requests()); n != 3 || len(calls) != 2 {
		t.Errorf("%d reads and %d calls: %s", n, len(calls), names(calls))
	}
	// Below a patient that the plan only makes, nothing is read.
	r.reads = 0
	ref := record.Ref{Kind: "openmrs/Patient", ID: newPatient, New: true}
	if _, err := r.sys.Kind("Visit").Find(t.Context(), r, connector.Query{By: []map[string]any{{"patient": ref, "openAt": "2024-06-03T09:20:00Z"}}}); err != nil {
		t.Fatal(err)
	}
	q := connector.Query{Wanted: r.canon("Encounter", want), New: map[string]bool{"patient": true}}
	if _, err := r.sys.Kind("Encounter").Find(t.Context(), r, q); err != nil || r.reads != 0 {
		t.Errorf("%d reads, %v", r.reads, err)
	}
}
