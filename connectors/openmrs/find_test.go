package openmrs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

func by(criteria ...map[string]any) connector.Query { return connector.Query{By: criteria} }

func identifier(typ, value string) map[string]any {
	return map[string]any{"identifier": map[string]any{typ: value}}
}

func TestSearchResultsAreComparedExactly(t *testing.T) {
	r := newRig(t, "", people)
	for _, c := range []struct {
		name string
		q    connector.Query
		want string
	}{
		{"by uuid", by(map[string]any{"uuid": jane}), jane},
		{"by identifier, although John is called so", by(identifier("OpenMRS ID", "100DWN")), jane},
		{"by the type's uuid", by(identifier(openmrsID, "100DWN")), jane},
		{"in lower case, as a Luhn type allows", by(identifier("OpenMRS ID", "100dwn")), jane},
		{"the value of another type", by(identifier("Old Identification Number", "100DWN")), ""},
		{"the beginning of a value", by(identifier("National ID", "2345678")), ""},
		{"a second criterion", by(identifier("OpenMRS ID", "1001W2"), map[string]any{"uuid": john}), john},
		{"two identifiers that both fit", by(map[string]any{"identifier": map[string]any{"OpenMRS ID": "1003EY", "National ID": "23456789"}}), john},
		{"two identifiers of two patients", by(map[string]any{"identifier": map[string]any{"OpenMRS ID": "100DWN", "National ID": "23456789"}}), ""},
		{"link", connector.Query{Linked: john, By: []map[string]any{{"link": "case-7"}}}, john},
		{"made before comes first", connector.Query{Made: john, By: []map[string]any{{"uuid": jane}}}, john},
		{"derived id", connector.Query{ID: john}, john},
		{"what is no uuid is not put in a path", by(map[string]any{"uuid": "../person"}), ""},
		{"nothing", by(map[string]any{"uuid": "99999999-0000-4000-8000-000000000000"}), ""},
	} {
		f, err := r.sys.Kind("Patient").Find(t.Context(), r, c.q)
		if err != nil || f.ID != c.want || f.Exists != (c.want != "") {
			t.Errorf("%s: %q %v %v", c.name, f.ID, f.Exists, err)
		}
	}
	if _, err := r.sys.Kind("Patient").Find(t.Context(), r, by(identifier("Nosuch Number", "1"))); call.ClassOf(err) != call.Refusal {
		t.Errorf("unknown type: %v", err)
	}
}

func TestTwoPatientsWithOneIdentifierAreAQuestion(t *testing.T) {
	seed := strings.Replace(people, `{"patients":[`, `{"patientidentifiertypes":[{"uuid":"8d79403a-c2cc-11de-8d13-0010c6dffd0f","name":"Old Identification Number","uniquenessBehavior":"NON_UNIQUE"}],"patients":[`, 1)
	shared := `"identifiers":[{"identifier":"17","identifierType":"8d79403a-c2cc-11de-8d13-0010c6dffd0f","location":"8d6c993e-c2cc-11de-8d13-0010c6dffd0f"},`
	r := newRig(t, "", strings.ReplaceAll(seed, `"identifiers":[`, shared))
	f, err := r.sys.Kind("Patient").Find(t.Context(), r, by(identifier("Old Identification Number", "17")))
	if err != nil || f.Exists || len(f.Several) != 2 {
		t.Errorf("%+v %v", f, err)
	}
}

func TestAllPagesOfASearchAreRead(t *testing.T) {
	var list []string
	for i := range 130 {
		list = append(list, fmt.Sprintf(`{"person":{"gender":"F","names":[{"givenName":"1704","familyName":"N%d"}]},"identifiers":[{"identifier":"1704%03d","identifierType":"Old Identification Number","location":"Unknown Location"}]}`, i, i))
	}
	list = append(list, `{"person":{"uuid":"`+jane+`","gender":"F","names":[{"givenName":"Jane"}]},"identifiers":[{"identifier":"1704","identifierType":"Old Identification Number","location":"Unknown Location"}]}`)
	seed := `{"patientidentifiertypes":[{"uuid":"` + openmrsID + `","name":"OpenMRS ID","required":false}],"patients":[` + strings.Join(list, ",") + `]}`
	// Links that point to an inner address do no harm: they are not followed.
	r := newRig(t, `{"inner":"http://10.0.0.7:8080/openmrs"}`, seed)
	f, err := r.sys.Kind("Patient").Find(t.Context(), r, by(identifier("Old Identification Number", "1704")))
	if err != nil || f.ID != jane {
		t.Errorf("%+v %v", f, err)
	}
}

func TestAVoidedPatientIsToldAndASurvivorFound(t *testing.T) {
	r := newRig(t, "", people)
	if _, err := r.do(t.Context(), "merge", void("/patient/"+jane, "Merged with patient #3554")); err != nil {
		t.Fatal(err)
	}
	f, err := r.sys.Kind("Patient").Find(t.Context(), r, connector.Query{Made: jane})
	if err != nil || f.Exists || !f.Voided {
		t.Errorf("%+v %v", f, err)
	}
	f, err = r.sys.Kind("Patient").Find(t.Context(), r, connector.Query{Made: jane, By: []map[string]any{identifier("National ID", "23456789")}})
	if err != nil || f.ID != john || !f.Exists {
		t.Errorf("%+v %v", f, err)
	}
}

func TestAnEncounterWithOtherContentIsNotOurs(t *testing.T) {
	r := newRig(t, "", people)
	for _, c := range encounterCalls(r) {
		r.apply(c)
	}
	want := encounterWanted()
	want["obs"] = []any{map[string]any{"concept": weight, "value": 60}}
	if calls := r.plan("Encounter", "cccccccc-0000-5000-8000-000000000002", connector.Query{}, want); names(calls) != "encounter.create" {
		t.Errorf("calls: %s", names(calls))
	}
	// Under the same id it is ours, and is corrected.
	if calls := r.plan("Encounter", newEncounter, connector.Query{}, want); len(calls) == 0 || calls[0].Name == "encounter.create" {
		t.Errorf("calls: %s", names(calls))
	}
}

func TestAVoidedEncounterIsTold(t *testing.T) {
	r := newRig(t, "", people)
	calls := encounterCalls(r)
	r.apply(calls[0])
	r.undo(calls[0])
	f, err := r.sys.Kind("Encounter").Find(t.Context(), r, connector.Query{Made: newEncounter})
	if err != nil || f.Exists || !f.Voided || !f.ByUs {
		t.Errorf("%+v %v", f, err)
	}
	if o := r.observe(calls[0]); !o.Voided || calls[0].Check.Judge(o, nil) != call.NotYet {
		t.Errorf("%+v", o)
	}
}

// TestValuesAreCheckedBeforeTheyAreSent: each wrong value is one problem, with
// the field and the rule, and no value in its text.
func TestValuesAreCheckedBeforeTheyAreSent(t *testing.T) {
	r := newRig(t, "", people)
	obs := func(row map[string]any) map[string]any { return map[string]any{"obs": []any{row}} }
	for _, c := range []struct {
		kind        string
		wanted      map[string]any
		field, rule string
	}{
		{"Patient", map[string]any{"birthdate": "2999-01-01"}, "birthdate", "future"},
		{"Patient", map[string]any{"birthdate": "1850-01-01"}, "birthdate", "age"},
		{"Patient", map[string]any{"birthdate": "01/02/1990"}, "birthdate", "day"},
		{"Patient", map[string]any{"identifiers": map[string]any{"OpenMRS ID": "100DWX"}}, "identifiers/OpenMRS ID", "check-digit"},
		{"Patient", map[string]any{"identifiers": map[string]any{"National ID": "12-A"}}, "identifiers/National ID", "format"},
		{"Patient", map[string]any{"identifiers": map[string]any{"Nosuch": "1"}}, "identifiers/Nosuch", "metadata"},
		{"Patient", map[string]any{"attributes": map[string]any{"Civil Status": "CIEL:99"}}, "attributes/Civil Status", "metadata"},
		{"Patient", map[string]any{"name": map[string]any{"first": "x"}}, "name/first", "field"},
		{"Patient", map[string]any{"name": map[string]any{"given": record.Clear{}}}, "name/given", "required"},
		{"Patient", map[string]any{"attributes": map[string]any{"Birthplace": strings.Repeat("x", 51)}}, "attributes/Birthplace", "length"},
		{"Patient", map[string]any{"shoe": 1}, "shoe", "field"},
		{"Visit", map[string]any{"type": "Nosuch"}, "type", "metadata"},
		{"Visit", map[string]any{"location": "Nosuch"}, "location", "metadata"},
		{"Visit", map[string]any{"start": "2999-01-01T00:00:00Z"}, "start", "future"},
		{"Visit", map[string]any{"start": "2024-01-02T00:00:00Z", "stop": "2024-01-01T00:00:00Z"}, "stop", "order"},
		{"Visit", map[string]any{"patient": record.Ref{Record: "x", Kind: "dhis2/Event", ID: jane}}, "patient", "reference"},
		{"Encounter", map[string]any{"provider": "Nobody"}, "provider", "metadata"},
		{"Encounter", map[string]any{"form": "f0000000-0000-4000-8000-000000000000"}, "form", "metadata"},
		{"Encounter", obs(map[string]any{"concept": "CIEL:1"}), "obs[1]/concept", "metadata"},
		{"Encounter", obs(map[string]any{"value": "1"}), "obs[1]/concept", "required"},
		{"Encounter", obs(map[string]any{"concept": weight, "value": "heavy"}), "obs[1]/value", "number"},
		{"Encounter", obs(map[string]any{"concept": weight, "value": 250.5}), "obs[1]/value", "numeric-bounds"},
		{"Encounter", obs(map[string]any{"concept": weight, "value": 54000, "units": "g"}), "obs[1]/value", "units"},
		{"Encounter", obs(map[string]any{"concept": pulse, "value": 88.5}), "obs[1]/value", "whole-number"},
		{"Encounter", obs(map[string]any{"concept": problemList, "value": "CIEL:1"}), "obs[1]/value", "coded"},
		{"Encounter", obs(map[string]any{"concept": lmp, "value": "yesterday"}), "obs[1]/value", "day"},
		{"Encounter", obs(map[string]any{"concept": eventAt, "value": "2024-01-01"}), "obs[1]/value", "moment"},
		{"Encounter", obs(map[string]any{"concept": yesNo, "value": "perhaps"}), "obs[1]/value", "boolean"},
		{"Encounter", obs(map[string]any{"concept": diagnoses, "value": "x"}), "obs[1]/value", "datatype"},
		{"Encounter", obs(map[string]any{"concept": noteConcept, "value": strings.Repeat("x", 65536)}), "obs[1]/value", "text"},
		{"Obs", map[string]any{"concept": weight, "value": -1}, "value", "numeric-bounds"},
	} {
		_, problems, err := r.sys.Kind(c.kind).Canon(t.Context(), r, c.wanted)
		if err != nil || len(problems) != 1 || problems[0].Field != c.field || problems[0].Rule != c.rule {
			t.Errorf("%s %v: %v %v", c.kind, c.wanted, problems, err)
		}
	}
	// The bounds are inside.
	for _, v := range []any{0, 250, "250.0"} {
		if _, problems, err := r.sys.Kind("Obs").Canon(t.Context(), r, map[string]any{"concept": weight, "value": v}); err != nil || problems != nil {
			t.Errorf("%v: %v %v", v, problems, err)
		}
	}
}

func TestBlankAndAbsentAnswersAreNoOpinion(t *testing.T) {
	r := newRig(t, "", people)
	f := r.canon("Patient", map[string]any{"name": map[string]any{"given": " ", "family": nil}, "gender": "", "birthdate": nil, "attributes": map[string]any{"Birthplace": ""}})
	if len(f) > 0 {
		t.Errorf("got %v", f)
	}
	f = r.canon("Encounter", map[string]any{"obs": []any{map[string]any{"concept": weight, "value": nil}, map[string]any{"concept": weight, "value": 60}}})
	if f["obs/"+weight+"#2/value"] != 60.0 || len(f) != 1 {
		t.Errorf("an unanswered row keeps its place: %v", f)
	}
}

// TestAPhoneThatIsAheadIsSetBackToTheServer: OpenMRS refuses the future.
func TestAPhoneThatIsAheadIsSetBackToTheServer(t *testing.T) {
	r := newRig(t, `{"ahead":"-40s"}`, people)
	if _, err := r.do(t.Context(), "learn the clock", r.sys.Probe()); err != nil {
		t.Fatal(err)
	}
	now := r.sys.now().Format("2006-01-02T15:04:05Z07:00")
	want := map[string]any{"patient": jane, "type": vitals, "at": now}
	r.roundTrip(r.plan("Encounter", newEncounter, connector.Query{}, want))
}

func TestProvidersAreFoundByUUIDIdentifierOrName(t *testing.T) {
	r := newRig(t, "", `{"providers":[{"uuid":"a1111111-1111-4111-8111-111111111111","name":"Asha CHW","identifier":"asha"}]}`)
	for _, v := range []any{"asha", "Asha CHW", "a1111111-1111-4111-8111-111111111111", map[string]any{"username": "asha"}} {
		if f := r.canon("Encounter", map[string]any{"provider": v}); f["provider"] != "a1111111-1111-4111-8111-111111111111" || f["role"] != unknownRole {
			t.Errorf("%v: %v", v, f)
		}
	}
}

func TestMetadataIsReadOnce(t *testing.T) {
	r := newRig(t, "", people)
	r.canon("Encounter", encounterWanted())
	r.reads = 0
	r.canon("Encounter", encounterWanted())
	if r.reads != 0 {
		t.Errorf("%d reads", r.reads)
	}
}
