package commcare

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

func wantedForm(weight any) map[string]any {
	return map[string]any{"xmlns": "http://openrosa.org/formdesigner/encounter", "name": "Encounter", "at": "2026-03-02T10:00:00.5+03:00", "worker": "chw",
		"case": record.Ref{ID: "c1"}, "update": map[string]any{"last_weight": weight},
		"answers": map[string]any{"vitals": map[string]any{"weight": weight, "height": nil}, "note": "<ok> & 'fine'"}}
}

func (b *bench) canonForm(wanted map[string]any) record.Fields {
	b.Helper()
	f, problems, err := b.sys.forms.Canon(context.Background(), b, wanted)
	if err != nil || len(problems) > 0 {
		b.Fatal(err, problems)
	}
	return f
}

func (b *bench) submitForm(c connector.Change) call.Call {
	b.Helper()
	calls, err := b.sys.forms.Calls(context.Background(), b, c)
	if err != nil || len(calls) != 1 {
		b.Fatalf("%d calls, %v", len(calls), err)
	}
	a, err := b.Do(context.Background(), calls[0].About, calls[0].Request)
	if err != nil {
		b.Fatal(err)
	}
	o, err := b.sys.forms.Observe(*calls[0].Check, a)
	if err != nil || calls[0].Check.Judge(o, nil) != call.Yes {
		b.Fatalf("the answer reads as %+v, %v", o, err)
	}
	return calls[0]
}

func (b *bench) findForm(q connector.Query) connector.Found {
	b.Helper()
	f, err := b.sys.forms.Find(context.Background(), b, q)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func TestASubmittedFormIsReadBackEditedAndRestored(t *testing.T) {
	b := caseBench(t)
	wanted := b.canonForm(wantedForm(61.5))
	made := b.submitForm(connector.Change{Record: "form", ID: "derived-form", Write: wanted, Wanted: wanted})
	if made.Target != "derived-form" || made.Repeat != call.Safe || made.Reversal != call.Final {
		t.Errorf("%+v", made)
	}
	f := b.findForm(connector.Query{ID: "derived-form"})
	if d := cmp.Diff(wanted, f.Fields); !f.Exists || d != "" {
		t.Fatalf("exists %v: %s", f.Exists, d)
	}
	b.submitForm(connector.Change{Record: "form", ID: "derived-form", Write: wanted, Wanted: wanted}) // a repeat is harmless
	if got := b.find(connector.Query{Made: "c1"}).Fields["properties/last_weight"]; got != "61.5" {
		t.Errorf("the case has %v", got)
	}
	write := record.Fields{"answers/vitals/weight": "60", "update/last_weight": "60"}
	edit := b.submitForm(connector.Change{Record: "form", Found: &f, Write: write, Wanted: b.canonForm(wantedForm("60"))})
	if got := b.find(connector.Query{Made: "c1"}).Fields["properties/last_weight"]; got != "60" {
		t.Errorf("after the edit the case has %v", got)
	}
	if _, err := b.Do(t.Context(), "undo", edit.Undo.Request); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f.Fields, b.findForm(connector.Query{Made: "derived-form"}).Fields); d != "" {
		t.Errorf("after undo: %s", d)
	}
}

func TestOutputsAreBoundIntoAForm(t *testing.T) {
	b := caseBench(t)
	w := wantedForm("1")
	later := record.Later{Call: "case.create", Output: "case_id"}
	w["case"] = record.Ref{Later: later}
	wanted := b.canonForm(w)
	calls, err := b.sys.forms.Calls(t.Context(), b, connector.Change{Record: "form", ID: "f", Write: wanted, Wanted: wanted})
	if err != nil {
		t.Fatal(err)
	}
	r, err := calls[0].Request.Bound(func(l record.Later) (string, bool) { return "c2", l == later })
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(r.Body, &body); err != nil || body["case"].(map[string]any)["@case_id"] != "c2" {
		t.Errorf("%v in %s", err, r.Body)
	}
}

func TestAFormThatIsTakenBackSaysSo(t *testing.T) {
	b := caseBench(t)
	w := wantedForm("61.5")
	delete(w, "update")
	wanted, id := b.canonForm(w), "derived-form"
	b.submitForm(connector.Change{Record: "form", ID: id, Write: wanted, Wanted: wanted})
	f := b.findForm(connector.Query{Made: id})
	back := b.submitForm(connector.Change{Record: "form", Found: &f, Remove: true, Reason: "the encounter was voided"})
	if f := b.findForm(connector.Query{Made: id}); f.Exists || !f.Voided || !f.ByUs || f.Fields.Text(withdrawnAnswer) != "the encounter was voided" {
		t.Errorf("found as %+v", f)
	}
	if _, err := b.Do(t.Context(), "undo", back.Undo.Request); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f.Fields, b.findForm(connector.Query{Made: id}).Fields); d != "" {
		t.Errorf("after undo: %s", d)
	}
}

func TestAFormThatSetPropertiesCannotBeTakenBack(t *testing.T) {
	b := caseBench(t)
	_, err := b.sys.forms.Calls(t.Context(), b, connector.Change{Found: &connector.Found{Exists: true, ID: "f", Fields: record.Fields{"update/weight": "3"}}, Remove: true})
	var inUse *connector.InUse
	if !errors.As(err, &inUse) {
		t.Errorf("got %v", err)
	}
	id := b.submit(simpleForm("f", 1))
	if err := b.sim.Archive(id); err != nil {
		t.Fatal(err)
	}
	if f := b.findForm(connector.Query{Made: id}); f.Exists || !f.Voided || f.ByUs {
		t.Errorf("an archived form is found as %+v", f)
	}
	if f := b.findForm(connector.Query{ID: "none", By: []map[string]any{{"id": "../x"}}}); f.Exists || f.Voided {
		t.Errorf("found %+v", f)
	}
}

func TestAFormAboutACaseThatIsNotThereIsRefused(t *testing.T) {
	b := caseBench(t)
	w := wantedForm("1")
	w["answers"] = map[string]any{"a": "b"}
	wanted := b.canonForm(w)
	calls, err := b.sys.forms.Calls(t.Context(), b, connector.Change{Record: "form", ID: "f", Write: wanted, Wanted: wanted})
	if err != nil {
		t.Fatal(err)
	}
	r := calls[0].Request
	r.Body = json.RawMessage(`{"@xmlns":"x","meta":{"instanceID":"f"},"case":{"@case_id":"c1","index":{"parent":{"@case_type":"t","#text":"gone"}}}}`)
	if _, err := b.Do(t.Context(), "submit", r); call.ClassOf(err) != call.Refusal {
		t.Errorf("got %v", err)
	}
}

func TestFormValuesThatCommCareWouldRefuseAreProblems(t *testing.T) {
	b := caseBench(t)
	for field, wanted := range map[string]map[string]any{
		"at":            {"at": "yesterday"},
		"answers/meta":  {"answers": map[string]any{"meta": "x"}},
		"answers/a/1b":  {"answers": map[string]any{"a": map[string]any{"1b": "x"}}},
		"update/xmlish": {"update": map[string]any{"xmlish": "x"}},
		"answers/r":     {"answers": map[string]any{"r": []any{map[string]any{"a": "b"}}}},
	} {
		_, problems, err := b.sys.forms.Canon(t.Context(), b, wanted)
		if err != nil || len(problems) != 1 || problems[0].Field != field {
			t.Errorf("%v: %v %v", wanted, problems, err)
		}
	}
}
