package openmrs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	persons "github.com/kiungo-health/kiungo/internal/people"
)

const third = "33333333-3333-4333-8333-333333333333"

// three are Jane, John and a third.
var three = strings.TrimSuffix(strings.TrimSpace(people), "]}") + `,
 {"person":{"uuid":"` + third + `","gender":"F","names":[{"givenName":"Third","familyName":"Person"}]},
  "identifiers":[{"identifier":"1001W2","identifierType":"` + openmrsID + `","location":"8d6c993e-c2cc-11de-8d13-0010c6dffd0f"}]}]}`

func (r *rig) merge(winner string, losers ...string) {
	r.t.Helper()
	if err := r.sim.Seed(fmt.Appendf(nil, `{"merges":[{"preferred":%q,"notPreferred":["%s"]}]}`, winner, strings.Join(losers, `","`))); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) made(id string) connector.Found {
	r.t.Helper()
	f, err := r.sys.Kind("Patient").Find(r.t.Context(), r, connector.Query{Made: id})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func TestAMergedPatientTellsItsWinner(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(r *rig)
		want string
	}{
		"merged":                    {func(r *rig) { r.merge(john, jane) }, john},
		"two merged into one":       {func(r *rig) { r.merge(john, jane, third) }, john},
		"the winner merged again":   {func(r *rig) { r.merge(john, jane); r.merge(third, john) }, third},
		"voided, not merged":        {func(r *rig) { r.clerk(void("/patient/"+jane, "died")) }, ""},
		"voided with the words":     {func(r *rig) { r.clerk(void("/patient/"+jane, "Merged with patient #3554")) }, ""},
		"the winner voided":         {func(r *rig) { r.merge(john, jane); r.clerk(void("/patient/"+john, "left")) }, ""},
		"the identifier taken away": {func(r *rig) { r.merge(john, jane); r.takeAway(john, "100DWN") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "", three)
			c.do(r)
			f := r.made(jane)
			if f.Exists || !f.Voided || f.ID != jane || f.MergedInto != c.want {
				t.Errorf("%+v, want merged into %q", f, c.want)
			}
		})
	}
}

// clerk does what somebody at the clinic does.
func (r *rig) clerk(req call.Request) {
	r.t.Helper()
	if _, err := r.do(r.t.Context(), "clerk", req); err != nil {
		r.t.Fatal(err)
	}
}

// takeAway voids one identifier of a patient.
func (r *rig) takeAway(patient, value string) {
	r.t.Helper()
	var rows struct {
		Results []struct{ UUID, Identifier string } `json:"results"`
	}
	if err := get(r.t.Context(), r, "read identifiers", read("/patient/"+patient+"/identifier", "v", "default"), &rows); err != nil {
		r.t.Fatal(err)
	}
	for _, row := range rows.Results {
		if row.Identifier == value {
			r.clerk(void("/patient/"+patient+"/identifier/"+row.UUID, "wrong"))
		}
	}
}

// TestAnotherWithTheSameSharedIdentifierIsNoWinner: of a type that several may
// have, somebody else can hold the loser's value.
func TestAnotherWithTheSameSharedIdentifierIsNoWinner(t *testing.T) {
	shared := `{"identifier":"17","identifierType":"8d79403a-c2cc-11de-8d13-0010c6dffd0f","location":"8d6c993e-c2cc-11de-8d13-0010c6dffd0f"}`
	seed := `{"patientidentifiertypes":[{"uuid":"8d79403a-c2cc-11de-8d13-0010c6dffd0f","name":"Old Identification Number","uniquenessBehavior":"NON_UNIQUE"},{"uuid":"` + openmrsID + `","name":"OpenMRS ID","required":false}],"patients":[`
	for i, id := range []string{jane, john, third} {
		if i > 0 {
			seed += ","
		}
		seed += `{"person":{"uuid":"` + id + `","gender":"F","names":[{"givenName":"A"}]},"identifiers":[` + shared + `]}`
	}
	r := newRig(t, "", seed+"]}")
	r.merge(john, jane) // nothing is copied: John had the number before
	if f := r.made(jane); f.MergedInto != "" || !f.Voided {
		t.Errorf("a guess: %+v", f)
	}
}

// TestTheSurvivorIsFoundByAnIdentifierOfTheLoser: what Find did before it knew
// winners, on servers where nothing can be learnt.
func TestTheSurvivorIsFoundByAnIdentifierOfTheLoser(t *testing.T) {
	r := newRig(t, "", three)
	r.merge(john, jane)
	f, err := r.sys.Kind("Patient").Find(t.Context(), r, connector.Query{Made: jane, By: []map[string]any{identifier("OpenMRS ID", "100DWN")}})
	if err != nil || !f.Exists || f.ID != john {
		t.Errorf("%+v %v", f, err)
	}
}

// TestWhatAMergeMoves: encounters keep their uuids, observations get new ones,
// and the loser's phone takes the place of the winner's.
func TestWhatAMergeMoves(t *testing.T) {
	r := newRig(t, "", three)
	for _, c := range encounterCalls(r) {
		r.apply(c)
	}
	before, err := r.sys.Kind("Encounter").Find(t.Context(), r, connector.Query{Made: newEncounter})
	if err != nil || !before.Exists {
		t.Fatal(err)
	}
	r.merge(john, jane)
	after, err := r.sys.Kind("Encounter").Find(t.Context(), r, connector.Query{Made: newEncounter})
	if err != nil || !after.Exists || after.Fields.Text("patient") != john {
		t.Fatalf("%+v %v", after, err)
	}
	for path, v := range before.Fields {
		if path != "patient" && fmt.Sprint(after.Fields[path]) != fmt.Sprint(v) {
			t.Errorf("%s was %v, is %v", path, v, after.Fields[path])
		}
	}
	w := r.made(john)
	if w.Fields.Text("attributes/Telephone Number") != "+254711000333" || w.Fields.Text("name/given") != "John" {
		t.Errorf("%v", w.Fields)
	}
	// The winner answers to the loser's name, too.
	if got := ids(r.candidates(persons.Person{Names: []persons.Name{{Given: "Jane", Family: "Test"}}})); got != "john by name" {
		t.Errorf("candidates: %s", got)
	}
}
