package demo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Every flow of every integration carries something, both ways, with faults;
// questions of several kinds stay open; answers let what was held go on; nothing
// that a source told is missing, and nobody is there twice unasked.
func TestEveryFlowCarriesSomethingAndAnswersLetItGoOn(t *testing.T) {
	d, err := Start(t.Context(), Options{Registry: connectors.All(), Messages: 60, Rate: 600, Faults: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	if err := d.Feed(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	before, err := d.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, r := range before {
		for _, q := range r.Asked {
			kinds[q.Kind] = true
		}
	}
	for _, kind := range []string{"match", "conflict", "unmapped", "required", "approval", "linked-elsewhere"} {
		if !kinds[kind] {
			t.Errorf("no question of kind %s is open", kind)
		}
	}
	answered, after, err := d.Answer(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range [][]Row{before, after} {
		if err := Balanced(rows); err != nil {
			t.Error(err)
		}
	}
	for i, a := range answered {
		if len(a.Answers) > 0 && a.After >= a.Before {
			t.Errorf("%s: %v were answered, and %d messages are held after %d", a.ID, a.Answers, after[i].Held, before[i].Held)
		}
	}
	for _, w := range d.Worlds {
		seesEveryFlow(t, w)
		for _, s := range w.systems {
			if n := s.sim.Traffic().Count(); s.off && n > 0 {
				t.Errorf("%s: %s is switched off, and was asked %d times", w.ID, s.name, n)
			}
		}
	}
}

func seesEveryFlow(t *testing.T, w *World) {
	t.Helper()
	counts, err := w.Ledger.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := map[string]int64{}
	for _, c := range counts {
		if c.State == ledger.Done {
			done[c.Flow] += c.N
		}
	}
	for _, in := range w.Engine.Integrations {
		for _, f := range in.Flows {
			if f.Name == "i13/targets-to-dhis2" { // for a CHT that cannot export
				continue
			}
			if done[f.Name] == 0 {
				t.Errorf("%s carried nothing", f.Name)
			}
		}
	}
}

func TestAnIntegrationThatTheDemoDoesNotHaveIsNamed(t *testing.T) {
	_, err := Start(t.Context(), Options{Only: []string{"i99"}, Registry: connectors.All()})
	if err == nil || !strings.Contains(err.Error(), "i99") || !strings.Contains(err.Error(), "i05") {
		t.Fatalf("%v", err)
	}
}

func TestBalancedNamesWhatIsMissing(t *testing.T) {
	good := Row{ID: "i05", Messages: 4, Done: 1, Left: 1, Undone: 1, Held: 1, Sources: []Source{{"commcare/form", 3, 3}}, People: &People{Asked: 2}}
	if err := Balanced([]Row{good}); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Row){
		"accounted for": func(r *Row) { r.Done = 0 },
		"told of 3":     func(r *Row) { r.Sources = []Source{{"commcare/form", 3, 2}} },
		"one person":    func(r *Row) { r.People = &People{Twice: []string{"a and b"}} },
		"of nobody":     func(r *Row) { r.People = &People{Unknown: []string{"c"}} },
	} {
		bad := good
		spoil(&bad)
		if err := Balanced([]Row{good, bad}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The check knows people by what only the world's author knows: a patient whom
// Kiungo made by her number, one of the clinic by her uuid, a case by its id.
func TestTheCheckSeesSomebodyWhoIsThereTwice(t *testing.T) {
	d := &Demo{Options: Options{Only: []string{"i05"}, Seed: 1, Registry: connectors.All()}}
	if err := d.choose(); err != nil {
		t.Fatal(err)
	}
	w := d.Worlds[0]
	w.values, w.tables, w.truth = map[string]any{}, map[string]string{}, newTruth()
	if err := w.story.prepare(w, d.Registry); err != nil {
		t.Fatal(err)
	}
	check := func(asked map[string]bool) *People {
		t.Helper()
		p, err := w.truth.check(w, asked)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := check(nil); p.Patients != listed || len(p.Twice)+len(p.Unknown) > 0 {
		t.Fatalf("%+v", p)
	}
	v := w.story.(*visits)
	b := &being{truth: "x", patient: "00000000-0000-4000-8000-000000000001", given: "A", family: "B", sex: "f", born: "1990-01-01", number: "15000001"}
	w.truth.know("x", "", "case-x", b.number)
	again := *b
	again.patient, again.number = "00000000-0000-4000-8000-000000000002", ""
	for _, p := range []*being{b, &again} {
		if err := v.clinics[0].hold(p); err != nil {
			t.Fatal(err)
		}
	}
	if p := check(nil); len(p.Unknown) != 1 || len(p.Twice) != 0 {
		t.Fatalf("a patient whom nobody knows: %+v", p)
	}
	w.truth.know("x", again.patient, "", "")
	if p := check(nil); len(p.Twice) != 1 {
		t.Fatalf("two patients of one person: %+v", p)
	}
	if p := check(map[string]bool{"x": true}); len(p.Twice) != 0 || p.Asked != 1 {
		t.Fatalf("two patients about whom a clerk was asked: %+v", p)
	}
	doc, err := json.Marshal(map[string]any{"cases": []any{
		map[string]any{"case_id": "case-x", "case_type": "patient", "external_id": b.patient},
		map[string]any{"case_id": "other", "case_type": "patient", "external_id": b.patient}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.commcare.Seed(doc); err != nil {
		t.Fatal(err)
	}
	if p := check(nil); len(p.Twice) != 2 || p.Linked != 2 {
		t.Fatalf("two cases of one person: %+v", p)
	}
}
