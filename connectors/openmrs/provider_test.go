package openmrs

import (
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

const newProvider = "cccccccc-0000-5000-8000-00000000000a"

func worker() map[string]any {
	return map[string]any{"identifier": "chw-7", "name": map[string]any{"given": "Asha", "family": "Mwangi", "prefix": "Sr"}, "gender": "F"}
}

func TestAProviderIsMadeWithHerPersonAndUndone(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.plan("Provider", newProvider, connector.Query{}, worker())
	if names(calls) != "provider.person provider.create" {
		t.Fatalf("calls: %s", names(calls))
	}
	r.roundTrip(calls)
}

func TestAProviderOfAPersonWhoIsThere(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.plan("Provider", newProvider, connector.Query{}, map[string]any{"identifier": "jane", "person": jane})
	if names(calls) != "provider.create" {
		t.Fatalf("calls: %s", names(calls))
	}
	r.roundTrip(calls)
}

func TestOnlyWhatDiffersOfAProviderIsWrittenAndUndone(t *testing.T) {
	r := newRig(t, "", people)
	for _, c := range r.plan("Provider", newProvider, connector.Query{}, worker()) {
		r.apply(c)
	}
	same := connector.Query{Made: newProvider}
	if calls := r.plan("Provider", newProvider, same, worker()); len(calls) != 0 {
		t.Errorf("nothing differs, and yet %s", names(calls))
	}
	want := worker()
	want["identifier"], want["gender"], want["name"] = "chw-8", "O", map[string]any{"given": "Aisha", "family": "Mwangi"}
	calls := r.plan("Provider", newProvider, same, want)
	if names(calls) != "provider.update provider.name provider.gender" {
		t.Fatalf("calls: %s", names(calls))
	}
	r.roundTrip(calls)
	gone, err := r.sys.Kind("Provider").Calls(t.Context(), r, connector.Change{Record: "provider", ID: newProvider, Remove: true, Reason: "kiungo delivery 7", Found: &connector.Found{ID: newProvider}})
	if err != nil || names(gone) != "provider.retire" {
		t.Fatalf("%s %v", names(gone), err)
	}
	r.roundTrip(gone)
}

func TestAProviderIsFoundExactly(t *testing.T) {
	r := newRig(t, "", `{"providers":[{"uuid":"aaaaaaaa-0000-4000-8000-000000000001","name":"chw-7 Otieno","identifier":"chw-77"},{"uuid":"aaaaaaaa-0000-4000-8000-000000000002","name":"Twin","identifier":"twin"},
	 {"uuid":"aaaaaaaa-0000-4000-8000-000000000003","name":"Twin","identifier":"twin"},{"uuid":"aaaaaaaa-0000-4000-8000-000000000004","name":"Gone","identifier":"gone","retired":true},
	 {"uuid":"aaaaaaaa-0000-4000-8000-000000000005","name":"New","identifier":"back"},{"uuid":"aaaaaaaa-0000-4000-8000-000000000006","name":"Old","identifier":"back","retired":true}]}`)
	find := func(by map[string]any) connector.Found {
		t.Helper()
		f, err := r.sys.Kind("Provider").Find(t.Context(), r, connector.Query{By: []map[string]any{by}})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := find(map[string]any{"identifier": "chw-77"}); !f.Exists || f.How != "identifier" || !strings.HasSuffix(f.ID, "1") {
		t.Errorf("%+v", f)
	}
	if f := find(map[string]any{"identifier": "chw-7"}); f.Exists || f.Voided {
		t.Errorf("the beginning of an identifier, and a name: %+v", f)
	}
	if f := find(map[string]any{"identifier": "twin"}); f.Exists || len(f.Several) != 2 {
		t.Errorf("two with one identifier: %+v", f)
	}
	if f := find(map[string]any{"identifier": "gone"}); f.Exists || !f.Voided {
		t.Errorf("retired: %+v", f)
	}
	if f := find(map[string]any{"identifier": "back"}); !f.Exists || !strings.HasSuffix(f.ID, "5") {
		t.Errorf("one of two is retired: %+v", f)
	}
	if f := find(map[string]any{"uuid": "../session"}); f.Exists {
		t.Errorf("a path: %+v", f)
	}
}

func TestWhatAProviderLacksIsSaidBeforeAnythingIsSent(t *testing.T) {
	r := newRig(t, "", people)
	for _, write := range []record.Fields{{"identifier": "x"}, {"identifier": "x", "name/given": "A"}, {"name/given": "A", "gender": "F"}} {
		_, err := r.sys.Kind("Provider").Calls(t.Context(), r, connector.Change{Record: "worker", ID: newProvider, Write: write, Wanted: write})
		if call.ClassOf(err) != call.Refusal {
			t.Errorf("%v: %v", write, err)
		}
	}
	_, problems, err := r.sys.Kind("Provider").Canon(t.Context(), r, map[string]any{"person": "me", "colour": "red", "identifier": record.Clear{}, "name": map[string]any{"nick": "A"}})
	if err != nil || len(problems) != 4 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestAnEncounterTakesTheProviderThatItsFlowMakes(t *testing.T) {
	r := newRig(t, "", people)
	want := encounterWanted()
	want["provider"] = record.Ref{Record: "worker", Kind: "openmrs/Provider", ID: newProvider, New: true}
	if f := r.canon("Encounter", want); f["provider"] != newProvider {
		t.Errorf("%v", f["provider"])
	}
	for _, c := range r.plan("Provider", newProvider, connector.Query{}, worker()) {
		r.apply(c)
	}
	r.roundTrip(r.plan("Encounter", newEncounter, connector.Query{}, want))
}
