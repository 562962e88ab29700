package commcare

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

const twoCases = `{"cases":[
 {"case_id":"c1","case_type":"patient","case_name":"Faith Moyo","owner_id":"o","external_id":"uuid-1","properties":{"village":"Umoja","phone":"07"}},
 {"case_id":"c2","case_type":"patient","case_name":"Juma","owner_id":"o","properties":{"village":"umoja"}}]}`

func caseBench(t *testing.T) *bench {
	b := newBench(t, nil)
	if err := b.sim.Seed([]byte(twoCases)); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) find(q connector.Query) connector.Found {
	b.Helper()
	f, err := b.sys.cases.Find(context.Background(), b, q)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func (b *bench) canon(wanted map[string]any) record.Fields {
	b.Helper()
	f, problems, err := b.sys.cases.Canon(context.Background(), b, wanted)
	if err != nil || len(problems) > 0 {
		b.Fatal(err, problems)
	}
	return f
}

// apply plans a change and makes it, as the runner does, and gives the calls
// with the outputs that they gave.
func (b *bench) apply(c connector.Change) ([]call.Call, call.Known) {
	b.Helper()
	calls, err := b.sys.cases.Calls(context.Background(), b, c)
	if err != nil {
		b.Fatal(err)
	}
	outputs := map[record.Later]string{}
	known := func(l record.Later) (string, bool) { v, ok := outputs[l]; return v, ok }
	for _, made := range calls {
		r, err := made.Request.Bound(known)
		if err != nil {
			b.Fatal(err)
		}
		a, err := b.Do(context.Background(), made.About, r)
		if err != nil {
			b.Fatal(err)
		}
		given, err := made.Collect(a)
		if err != nil {
			b.Fatal(err)
		}
		for name, v := range given {
			outputs[record.Later{Call: made.Name, Output: name}] = v
		}
		if got := made.Check.Judge(b.observe(*made.Check, known), known); got != call.Yes {
			b.Fatalf("%s: read back says %s", made.Name, got)
		}
	}
	return calls, known
}

func (b *bench) observe(c call.Check, known call.Known) call.Observed {
	b.Helper()
	r, err := c.Read.Bound(known)
	if err != nil {
		b.Fatal(err)
	}
	a, err := b.Do(context.Background(), "check", r)
	if err != nil {
		b.Fatal(err)
	}
	o, err := b.sys.cases.Observe(c, a)
	if err != nil {
		b.Fatal(err)
	}
	return o
}

func (b *bench) undo(calls []call.Call, known call.Known) {
	b.Helper()
	for _, made := range slices.Backward(calls) {
		back := made.Reversed(b.observe(*made.Check, known), known)
		if !back.Send {
			b.Fatalf("%s is not undone: %v", made.Name, back.LeftOver)
		}
		for _, g := range made.Undo.Guards {
			if !g.Stands(b.observe(g, known), known) {
				b.Fatalf("%s: a guard does not hold", made.Name)
			}
		}
		r, err := back.Request.Bound(known)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := b.Do(context.Background(), "undo", r); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bench) state() string {
	b.Helper()
	s, err := b.sim.State()
	if err != nil {
		b.Fatal(err)
	}
	return string(s)
}

func TestCasesAreFoundByEveryCriterionExactly(t *testing.T) {
	b := caseBench(t)
	by := func(c ...map[string]any) connector.Query { return connector.Query{By: c} }
	tests := []struct {
		name string
		q    connector.Query
		id   string
	}{
		{"made before", connector.Query{Made: "c2", By: []map[string]any{{"id": "c1"}}}, "c2"},
		{"linked", connector.Query{Made: "gone", Linked: "c1"}, "c1"},
		{"the flow's id before the link", connector.Query{Linked: "c1", By: []map[string]any{{"id": "c2"}}}, "c2"},
		{"the link where the flow's id is nobody", connector.Query{Linked: "c1", By: []map[string]any{{"id": "gone"}}}, "c1"},
		{"id", by(map[string]any{"id": "c1"}), "c1"},
		{"id of another type", by(map[string]any{"id": "c1", "case_type": "household"}), ""},
		{"external id", by(map[string]any{"external_id": "uuid-1"}), "c1"},
		{"external id of another type", by(map[string]any{"external_id": "uuid-1", "case_type": "household"}), ""},
		{"second criterion", by(map[string]any{"id": "none"}, map[string]any{"external_id": "uuid-1"}), "c1"},
		{"property", by(map[string]any{"property": map[string]any{"village": "Umoja"}, "case_type": "patient"}), "c1"},
		{"wanted external id", connector.Query{Wanted: record.Fields{"external_id": "uuid-1"}}, "c1"},
		{"nothing fits", by(map[string]any{"id": "x"}, map[string]any{"external_id": "x"}), ""},
		{"an id that is two", by(map[string]any{"id": "c1,c2"}), ""},
		{"no criterion", connector.Query{}, ""},
	}
	for _, test := range tests {
		if f := b.find(test.q); f.ID != test.id || f.Exists != (test.id != "") {
			t.Errorf("%s: found %q exists %v", test.name, f.ID, f.Exists)
		}
	}
}

func TestSeveralCasesWithOneExternalIDAreShown(t *testing.T) {
	b := caseBench(t)
	if err := b.sim.Seed([]byte(`{"cases":[{"case_id":"c3","case_type":"patient","external_id":"uuid-1"}]}`)); err != nil {
		t.Fatal(err)
	}
	f := b.find(connector.Query{By: []map[string]any{{"external_id": "uuid-1"}}})
	if d := cmp.Diff([]string{"c1", "c3"}, f.Several); d != "" || f.Exists {
		t.Error(f, d)
	}
	if f := b.find(connector.Query{By: []map[string]any{{"property": map[string]any{"village": "nowhere"}}}}); f.Exists || f.Several != nil {
		t.Errorf("found %+v", f)
	}
}

func TestACreateIsFoundAgainAndUndone(t *testing.T) {
	for _, external := range []any{"uuid-9 / å?#", nil} {
		b := caseBench(t)
		before := b.state()
		wanted := b.canon(map[string]any{"case_type": "patient", "case_name": "Neema", "owner_id": "o", "external_id": external, "weight": 61.5,
			"properties": map[string]any{"agreed": true}, "indices": map[string]any{"parent": map[string]any{"case_id": record.Ref{ID: "c1"}, "case_type": "patient"}}})
		calls, known := b.apply(connector.Change{Record: "case", ID: "derived-1", Write: wanted, Wanted: wanted})
		f := b.find(connector.Query{ID: "derived-1", Wanted: wanted})
		if !f.Exists || f.Fields["properties/weight"] != "61.5" || f.Fields["properties/agreed"] != "true" || f.Fields["indices/parent/case_id"] != "c1" {
			t.Fatalf("found %+v", f)
		}
		b.undo(calls, known)
		if d := cmp.Diff(before, b.state()); d != "" {
			t.Errorf("after undo: %s", d)
		}
		if gone := b.find(connector.Query{Made: f.ID, ID: "derived-1", Wanted: wanted}); gone.Exists || !gone.Voided || !gone.ByUs {
			t.Errorf("the case taken back is found as %+v", gone)
		}
		again, _ := b.apply(connector.Change{Record: "case", ID: "derived-2", Write: wanted, Wanted: wanted})
		if f2 := b.find(connector.Query{ID: "derived-2", Wanted: wanted}); !f2.Exists || f2.ID == f.ID || len(again) != 1 {
			t.Errorf("made anew as %+v", f2)
		}
	}
}

func TestACreateMayWaitForItsExternalID(t *testing.T) {
	b := caseBench(t)
	later := record.Later{Call: "patient.create", Output: "uuid"}
	wanted := b.canon(map[string]any{"case_type": "patient", "case_name": "Neema", "owner_id": "o", "external_id": record.Ref{Later: later}})
	calls, err := b.sys.cases.Calls(context.Background(), b, connector.Change{Record: "case", ID: "derived", Write: wanted, Wanted: wanted})
	if err != nil {
		t.Fatal(err)
	}
	r, err := calls[0].Request.Bound(func(l record.Later) (string, bool) { return "uu/id", l == later })
	if err != nil || r.Path != "/a/demo/api/case/v2/ext/uu%2Fid/" {
		t.Errorf("%s, %v", r.Path, err)
	}
	if calls[0].Repeat != call.Findable || calls[0].Settle == 0 {
		t.Error("two creates at once would make two cases, so a repeat is not safe")
	}
}

func TestAnUpdateSendsOnlyDifferencesAndIsUndone(t *testing.T) {
	b := caseBench(t)
	before := b.state()
	f := b.find(connector.Query{By: []map[string]any{{"id": "c1"}}})
	write := record.Fields{"external_id": "uuid-2", "properties/phone": record.Clear{}, "properties/new": "1", "case_name": "Faith M",
		"indices/parent/case_id": "c2", "indices/parent/case_type": "patient", "indices/parent/relationship": "child"}
	calls, known := b.apply(connector.Change{Record: "case", Found: &f, Write: write, Wanted: write})
	var body map[string]any
	if err := json.Unmarshal(calls[0].Request.Body, &body); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"external_id": "uuid-2", "case_name": "Faith M", "properties": map[string]any{"phone": "", "new": "1"},
		"indices": map[string]any{"parent": map[string]any{"case_id": "c2", "case_type": "patient", "relationship": "child"}}}
	if d := cmp.Diff(want, body); d != "" {
		t.Error(d)
	}
	if calls[0].Target != "c1" || calls[0].Repeat != call.Safe {
		t.Errorf("target %q repeat %s", calls[0].Target, calls[0].Repeat)
	}
	b.undo(calls, known)
	if d := cmp.Diff(before, b.state()); d != "" {
		t.Errorf("after undo: %s", d)
	}
}

func TestUndoLeavesWhatOthersChangedSince(t *testing.T) {
	b := caseBench(t)
	f := b.find(connector.Query{By: []map[string]any{{"id": "c1"}}})
	write := record.Fields{"properties/phone": "08", "properties/village": "Riverside"}
	calls, known := b.apply(connector.Change{Record: "case", Found: &f, Write: write, Wanted: write})
	b.submit([]byte(`{"form":{"@xmlns":"x","meta":{"instanceID":"human"},"case":{"@case_id":"c1","update":{"phone":"09"}}}}`))
	b.undo(calls, known)
	f = b.find(connector.Query{By: []map[string]any{{"id": "c1"}}})
	if f.Fields["properties/phone"] != "09" || f.Fields["properties/village"] != "Umoja" {
		t.Errorf("fields are %v", f.Fields)
	}
}

func TestAClosedCaseIsFoundAndCannotBeOpened(t *testing.T) {
	b := caseBench(t)
	f := b.find(connector.Query{By: []map[string]any{{"id": "c1"}}})
	calls, _ := b.apply(connector.Change{Record: "case", Found: &f, Write: record.Fields{"closed": true}, Wanted: record.Fields{"closed": true}})
	if calls[0].Reversal != call.Final || calls[0].Undo != nil {
		t.Error("closing cannot be undone")
	}
	f = b.find(connector.Query{By: []map[string]any{{"id": "c1"}}})
	if !f.Exists || f.Voided || f.Fields["closed"] != true {
		t.Errorf("closed by a flow: %+v", f)
	}
	if _, err := b.sys.cases.Calls(context.Background(), b, connector.Change{Record: "case", Found: &f, Write: record.Fields{"closed": false}}); err == nil {
		t.Error("a closed case was opened")
	}
}

func TestAWithdrawnCaseIsClosedUnlessItHasChildren(t *testing.T) {
	b := caseBench(t)
	f := b.find(connector.Query{By: []map[string]any{{"id": "c1"}}})
	b.submit([]byte(`{"form":{"@xmlns":"x","meta":{"instanceID":"i1"},"case":{"@case_id":"child","create":{"case_type":"visit"},
		"index":{"parent":{"@case_type":"patient","#text":"c1"}}}}}`))
	_, err := b.sys.cases.Calls(context.Background(), b, connector.Change{Record: "case", Found: &f, Remove: true})
	var inUse *connector.InUse
	if !errors.As(err, &inUse) {
		t.Fatalf("got %v", err)
	}
	if err := b.sim.Archive("i1"); err != nil {
		t.Fatal(err)
	}
	b.apply(connector.Change{Record: "case", Found: &f, Remove: true, Reason: "kiungo delivery 1"})
	if f = b.find(connector.Query{Made: "c1"}); f.Exists || !f.ByUs {
		t.Errorf("found %+v", f)
	}
}

func TestValuesThatCommCareWouldRefuseAreProblems(t *testing.T) {
	b := caseBench(t)
	tests := []struct {
		wanted map[string]any
		field  string
		rule   string
	}{
		{map[string]any{"1st": "x"}, "1st", "property-name"},
		{map[string]any{"properties": map[string]any{"xml_a": "x"}}, "properties/xml_a", "property-name"},
		{map[string]any{"properties": map[string]any{"a b": "x"}}, "properties/a b", "property-name"},
		{map[string]any{"properties": []any{map[string]any{"value": "x"}}}, "properties/1", "name"},
		{map[string]any{"properties": "x"}, "properties", "shape"},
		{map[string]any{"name": "x"}, "name", "reserved"},
		{map[string]any{"properties": map[string]any{"case_type": "x"}}, "properties/case_type", "reserved"},
		{map[string]any{"case_id": "x"}, "case_id", "read-only"},
		{map[string]any{"date_opened": "x"}, "date_opened", "read-only"},
		{map[string]any{"case_name": strings.Repeat("é", 256)}, "case_name", "length"},
		{map[string]any{"case_name": record.Clear{}}, "case_name", "required"},
		{map[string]any{"note": "a\x00b"}, "note", "characters"},
		{map[string]any{"note": map[string]any{"a": "b"}}, "note", "text"},
		{map[string]any{"note": []any{"two words"}}, "note", "text"},
		{map[string]any{"closed": "maybe"}, "closed", "yes-or-no"},
		{map[string]any{"indices": map[string]any{"parent": map[string]any{"case_id": "c1"}}}, "indices/parent/case_type", "required"},
		{map[string]any{"indices": map[string]any{"parent": map[string]any{"case_id": "c1", "case_type": "p", "relationship": "cousin"}}}, "indices/parent/relationship", "choice"},
		{map[string]any{"indices": map[string]any{"a b": map[string]any{}}}, "indices/a b", "index-name"},
	}
	for _, test := range tests {
		_, problems, err := b.sys.cases.Canon(context.Background(), b, test.wanted)
		if err != nil || len(problems) != 1 || problems[0].Field != test.field || problems[0].Rule != test.rule {
			t.Errorf("%v: %v %v, want %s %s", test.wanted, problems, err, test.field, test.rule)
		}
	}
}

func TestWantedValuesBecomeText(t *testing.T) {
	b := caseBench(t)
	got := b.canon(map[string]any{"case_name": " Faith ", "owner_id": nil, "external_id": "", "a": 3.0, "b": 0.1, "c": 1e21, "d": false,
		"e": []any{"fever", "cough"}, "f": record.Clear{}, "g": nil, "h": record.Later{Call: "x", Output: "y"},
		"properties": []any{map[string]any{"name": "p1", "value": "v1"}, map[string]any{"name": "p2", "value": nil}}})
	want := record.Fields{"case_name": "Faith", "properties/a": "3", "properties/b": "0.1", "properties/c": "1000000000000000000000",
		"properties/d": "false", "properties/e": "fever cough", "properties/f": record.Clear{}, "properties/h": record.Later{Call: "x", Output: "y"},
		"properties/p1": "v1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDocumentedCasesAreRead(t *testing.T) {
	s := open(t, nil)
	for _, name := range []string{"get-one.response.json", "create.response.json"} {
		o, err := s.cases.Observe(call.Check{As: partCase}, call.Answer{Status: 200, Body: file(t, "case-api-v2/"+name)})
		want := record.Fields{"case_type": "patient", "case_name": "Elizabeth Harmon", "owner_id": "20cc9dda-b90a-4af3-aa3d-fc67184e73ef",
			"external_id": "1", "date_opened": "2020-03-19T14:31:34.133Z", "last_modified": "2020-03-19T14:31:34.133Z", "closed": false,
			"properties/dob": "1948-11-02", "indices/parent/case_id": "eb1a8c23-6d6d-4b61-894c-ae1c437d8dac",
			"indices/parent/case_type": "household", "indices/parent/relationship": "child"}
		if d := cmp.Diff(want, o.Fields); err != nil || !o.Exists || d != "" || o.Outputs["case_id"] != "79e25a30-8db5-4a5a-827b-0297b254e87f" {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
	for _, name := range []string{"list-by-parent.response.json", "list-fields.response.json", "list-page-with-cursor.response.shape.json"} {
		if o, err := s.cases.Observe(call.Check{As: partChildren}, call.Answer{Status: 200, Body: file(t, "case-api-v2/"+name)}); err != nil || !o.Exists {
			t.Errorf("%s: %v %v", name, o, err)
		}
	}
}

// An update and its undo leave the case as it was, whatever was written.
func TestUpdateThenUndoChangesNothing(t *testing.T) {
	b := caseBench(t)
	rapid.Check(t, func(r *rapid.T) {
		before := b.state()
		f := b.find(connector.Query{By: []map[string]any{{"id": "c1"}}})
		write := record.Fields{}
		for _, path := range []string{"case_name", "owner_id", "external_id", "properties/village", "properties/phone", "properties/a-b", "properties/new"} {
			switch rapid.IntRange(0, 2).Draw(r, path) {
			case 0:
				write[path] = rapid.StringMatching(`[a-z<&">' ]{0,5}[a-zé]`).Draw(r, "value of "+path)
			case 1:
				if path != "case_name" {
					write[path] = record.Clear{}
				}
			}
		}
		for path, v := range write {
			if s, ok := v.(string); ok {
				write[path] = strings.TrimSpace(s)
			}
			if record.Same(write[path], f.Fields[path]) {
				delete(write, path)
			}
		}
		if len(write) == 0 {
			return
		}
		calls, known := b.apply(connector.Change{Record: "case", Found: &f, Write: write, Wanted: write})
		b.undo(calls, known)
		if d := cmp.Diff(before, b.state()); d != "" {
			r.Fatal(d)
		}
	})
}

// The answer to a create is lost: the case is looked up under the id that it
// was made under, and the same outputs come from the reading.
func TestALostAnswerToACreateIsFoundOut(t *testing.T) {
	b := caseBench(t)
	wanted := b.canon(map[string]any{"case_type": "patient", "case_name": "Neema", "owner_id": "o"})
	calls, err := b.sys.cases.Calls(t.Context(), b, connector.Change{Record: "case", ID: "derived", Write: wanted, Wanted: wanted})
	if err != nil {
		t.Fatal(err)
	}
	if got := calls[0].Check.Judge(b.observe(*calls[0].Check, nil), nil); got != call.NotYet {
		t.Errorf("before: %s", got)
	}
	b.sim.Traffic().Switch(simulate.Fault{Kind: simulate.LostResponse, Call: 1})
	if _, err := b.Do(t.Context(), "make a case", calls[0].Request); call.ClassOf(err) != call.Uncertain {
		t.Fatalf("got %v", err)
	}
	o := b.observe(*calls[0].Check, nil)
	if got := calls[0].Check.Judge(o, nil); got != call.Yes || o.Outputs["case_id"] == "" {
		t.Errorf("after: %s, outputs %v", got, o.Outputs)
	}
}

func TestALinkedCaseOfAnotherTypeIsNotTheOneAskedFor(t *testing.T) {
	referral := connector.Found{Exists: true, ID: "r1", Fields: record.Fields{"case_type": "referral"}}
	of := func(types ...string) connector.Query {
		q := connector.Query{Linked: "r1"}
		for _, caseType := range types {
			q.By = append(q.By, map[string]any{"external_id": "x", "case_type": caseType})
		}
		return q
	}
	for _, c := range []struct {
		q    connector.Query
		want bool
	}{{of("patient"), true}, {of("patient", "referral"), false}, {of("referral"), false}, {of(), false}, {of(""), false},
		{connector.Query{Wanted: record.Fields{"case_type": "patient"}}, true}, {connector.Query{Wanted: record.Fields{"case_type": "referral"}}, false}} {
		if got := otherType(referral, c.q); got != c.want {
			t.Errorf("%+v: %v", c.q, got)
		}
	}
}
