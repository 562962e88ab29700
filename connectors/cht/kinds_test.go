package cht

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/connectors/cht/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// write plans and applies what a flow wants, and gives the calls.
func (r *rig) write(t *testing.T, kind string, q connector.Query, wanted map[string]any) ([]call.Call, call.Outputs) {
	t.Helper()
	k := r.Kind(kind)
	f, problems, err := k.Canon(t.Context(), r, wanted)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	q.Wanted = f
	found, err := k.Find(t.Context(), r, q)
	if err != nil {
		t.Fatal(err)
	}
	c := connector.Change{Record: "it", ID: q.ID, Write: f, Wanted: f, At: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)}
	if found.Exists {
		c.Found, c.Write = &found, record.Fields{}
		for path, v := range f {
			if !record.Same(v, found.Fields[path]) {
				c.Write[path] = v
			}
		}
		if len(c.Write) == 0 {
			return nil, nil
		}
	}
	calls, err := k.Calls(t.Context(), r, c)
	if err != nil || len(calls) != 1 {
		t.Fatalf("%d calls, %v", len(calls), err)
	}
	return calls, r.apply(t, kind, calls[0])
}

// apply sends a call and checks that its Check sees it.
func (r *rig) apply(t *testing.T, kind string, c call.Call) call.Outputs {
	t.Helper()
	a, err := r.Do(t.Context(), c.About, c.Request)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Collect(a)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Check.Judge(r.observe(t, kind, *c.Check), nil); got != call.Yes {
		t.Fatalf("%s: read back: %s", c.Name, got)
	}
	return out
}

func (r *rig) observe(t *testing.T, kind string, c call.Check) call.Observed {
	t.Helper()
	a, err := r.Do(t.Context(), "read back", c.Read)
	if err != nil {
		t.Fatal(err)
	}
	o, err := r.Kind(kind).Observe(c, a)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// undo takes a call back, as the runner does.
func (r *rig) undo(t *testing.T, kind string, c call.Call, out call.Outputs) error {
	t.Helper()
	known := func(l record.Later) (string, bool) { v, ok := out[l.Output]; return v, ok && l.Call == c.Name }
	back := c.Reversed(r.observe(t, kind, *c.Check), known)
	if !back.Send {
		return errors.New("nothing to take back")
	}
	for _, g := range c.Undo.Guards {
		if r.observe(t, kind, g).Exists {
			return errors.New("others hung something on it")
		}
	}
	req, err := back.Request.Bound(known)
	if err != nil {
		return err
	}
	_, err = r.Do(t.Context(), "undo", req)
	return err
}

func (r *rig) state(t *testing.T) string {
	t.Helper()
	b, err := r.sim.State()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const newID = "0f9d2c4e-7777-5000-8000-000000000001"

func achieng() map[string]any {
	return map[string]any{"name": "Achieng Otieno", "sex": "female", "date_of_birth": "1992-06-05", "phone": "+254712345678", "role": "patient",
		"parent": sim.ContactID(21), "external_id": "MRN-1", "next_of_kin": map[string]any{"name": "Otieno"}, "consented": true}
}

func TestAPersonIsMadeUnderOurIdWithThePlacesAbove(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	before := r.state(t)
	calls, out := r.write(t, "Person", connector.Query{ID: newID}, achieng())
	doc := r.sim.Get(newID)
	want := map[string]any{"_id": sim.ContactID(21), "parent": map[string]any{"_id": sim.ContactID(11), "parent": map[string]any{"_id": sim.ContactID(1)}}}
	if d := cmp.Diff(want, doc["parent"]); d != "" || doc["type"] != "person" || doc["reported_date"] != 1793610000000.0 {
		t.Errorf("%s %v", d, doc)
	}
	// A repeat is a conflict, and never a second person.
	if _, err := r.Do(t.Context(), "again", calls[0].Request); call.ClassOf(err) != call.Conflicting {
		t.Errorf("sent twice: %v", err)
	}
	if again, _ := r.write(t, "Person", connector.Query{ID: newID}, achieng()); again != nil {
		t.Errorf("no change, and yet calls: %+v", again)
	}
	// The server gives a short code meanwhile: the undo does not mind.
	doc["patient_id"] = "54379"
	put(t, r, doc)
	if err := r.undo(t, "Person", calls[0], out); err != nil {
		t.Fatal(err)
	}
	if r.state(t) != before {
		t.Error("the undo leaves something")
	}
	// After an undo the same id is free again.
	r.write(t, "Person", connector.Query{ID: newID}, achieng())
}

func TestAPersonWithReportsIsNotTakenBack(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	calls, out := r.write(t, "Person", connector.Query{ID: newID}, achieng())
	put(t, r, report("a", "assessment", newID))
	if err := r.undo(t, "Person", calls[0], out); err == nil {
		t.Error("undone below a report")
	}
	found, err := r.Kind("Person").Find(t.Context(), r, connector.Query{ID: newID})
	if err != nil {
		t.Fatal(err)
	}
	change := connector.Change{Record: "it", Found: &found, Remove: true}
	var inUse *connector.InUse
	if _, err := r.Kind("Person").Calls(t.Context(), r, change); !errors.As(err, &inUse) {
		t.Errorf("removed below a report: %v", err)
	}
	change.Going = map[string]bool{"a": true}
	removal, err := r.Kind("Person").Calls(t.Context(), r, change)
	if err != nil {
		t.Fatal(err)
	}
	before := r.state(t)
	r.apply(t, "Person", removal[0])
	gone, err := r.Kind("Person").Find(t.Context(), r, connector.Query{Made: newID})
	if err != nil || gone.Exists || !gone.Voided {
		t.Errorf("a removed person is found as %+v, %v", gone, err)
	}
	if err := r.undo(t, "Person", removal[0], nil); err != nil || r.state(t) != before {
		t.Errorf("not put back as it was: %v", err)
	}
}

func TestAPersonsChangeKeepsWhatElseTheDocumentHolds(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	id := sim.ContactID(41)
	doc := r.sim.Get(id)
	doc["linked_docs"], doc["tags"] = map[string]any{"a": "b"}, []any{"x"}
	put(t, r, doc)
	before := r.state(t)
	calls, out := r.write(t, "Person", connector.Query{Linked: id}, map[string]any{"phone": "+254799000000", "role": record.Clear{}})
	now := r.sim.Get(id)
	delete(doc, "role")
	doc["phone"], doc["_rev"] = "+254799000000", now["_rev"]
	if d := cmp.Diff(doc, now); d != "" {
		t.Error(d)
	}
	if err := r.undo(t, "Person", calls[0], out); err != nil || r.state(t) != before {
		t.Errorf("the undo: %v", err)
	}
	// Somebody edits the person after our change: the undo is refused, not theirs lost.
	calls, out = r.write(t, "Person", connector.Query{Linked: id}, map[string]any{"phone": "+254799000000"})
	doc = r.sim.Get(id)
	doc["short_name"] = "Jane"
	put(t, r, doc)
	if err := r.undo(t, "Person", calls[0], out); call.ClassOf(err) != call.Conflicting {
		t.Errorf("undone over another's edit: %v", err)
	}
	if r.sim.Get(id)["short_name"] != "Jane" {
		t.Error("another's edit is lost")
	}
}

func TestAChangeAgainstAnOldRevisionIsPlannedAgain(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	id := sim.ContactID(41)
	found, err := r.Kind("Person").Find(t.Context(), r, connector.Query{Linked: id})
	if err != nil {
		t.Fatal(err)
	}
	calls, err := r.Kind("Person").Calls(t.Context(), r, connector.Change{Record: "it", Found: &found, Write: record.Fields{"phone": "+254799000000"}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, r, r.sim.Get(id))
	if _, err := r.Do(t.Context(), "write", calls[0].Request); call.ClassOf(err) != call.Conflicting {
		t.Error(err)
	}
}

func TestAPersonIsFoundExactly(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	r.write(t, "Person", connector.Query{ID: newID}, achieng())
	sister := achieng()
	sister["name"], sister["external_id"] = "Awino Otieno", "MRN-10"
	r.write(t, "Person", connector.Query{ID: newID + "2"}, sister)
	for name, c := range map[string]struct {
		by      map[string]any
		id      string
		several int
	}{
		"id":                                 {map[string]any{"id": newID}, newID, 0},
		"external id":                        {map[string]any{"external_id": "MRN-1"}, newID, 0},
		"unknown external id":                {map[string]any{"external_id": "MRN"}, "", 0},
		"shared phone":                       {map[string]any{"phone": "+254712345678"}, "", 2},
		"phone and name":                     {map[string]any{"phone": "+254712345678", "name": "achieng otieno"}, newID, 0},
		"short code":                         {map[string]any{"patient_id": "20043"}, sim.ContactID(43), 0},
		"a place is no person":               {map[string]any{"id": sim.ContactID(11)}, "", 0},
		"nor is one of a type of the site's": {map[string]any{"id": sim.ContactID(21)}, "", 0},
		"nothing to search for":              {map[string]any{}, "", 0},
	} {
		got, err := r.Kind("Person").Find(t.Context(), r, connector.Query{By: []map[string]any{c.by}})
		if err != nil || got.Exists != (c.id != "") || got.ID != c.id || len(got.Several) != c.several {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

func TestWhatTheCHTWouldNotFindOrTakeIsAProblem(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	for rule, wanted := range map[string]map[string]any{
		"phone": {"phone": "0712345678"}, "unknown": {"parent": "nowhere"}, "day": {"date_of_birth": "5.6.1992"}, "future": {"date_of_birth": "2092-06-05"},
		"read-only": {"patient_id": "1"}, "required": {"name": record.Clear{}}, "type": {"type": "chw_area"}, "text": {"notes": []any{"two words"}}, "name": {"a": map[string]any{"b/c": "x"}},
	} {
		_, problems, err := r.Kind("Person").Canon(t.Context(), r, wanted)
		if err != nil || len(problems) != 1 || problems[0].Rule != rule {
			t.Errorf("%v: %v %v, want %s", wanted, problems, err, rule)
		}
	}
	for rule, wanted := range map[string]map[string]any{
		"reserved": {"patient_id": "x"}, "moment": {"at": "soon"}, "unknown": {"patient": "nobody"}, "shape": {"fields": "x"},
	} {
		_, problems, err := r.Kind("Report").Canon(t.Context(), r, wanted)
		if err != nil || len(problems) != 1 || problems[0].Rule != rule {
			t.Errorf("%v: %v %v, want %s", wanted, problems, err, rule)
		}
	}
	for field := range map[string]bool{"parent": true, "type": true} {
		found, err := r.Kind("Person").Find(t.Context(), r, connector.Query{Linked: sim.ContactID(41)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Kind("Person").Calls(t.Context(), r, connector.Change{Record: "it", Found: &found, Write: record.Fields{field: sim.ContactID(22)}}); err == nil {
			t.Errorf("%s was changed", field)
		}
	}
}

func TestAReportIsMadeAsAFormWouldHaveMadeIt(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	before := r.state(t)
	_, _, at := r.poll(t, nil)
	patient := record.Ref{Record: "patient", Kind: "cht/Person", ID: sim.ContactID(43)}
	for form, want := range map[string]map[string]any{
		"follow_up": {"weeks": "2", "missed_on": "2026-10-05", "urgent": "yes", "clinic": map[string]any{"name": "Migosi"}},
		"FOLLOW_UP": {"weeks": 2.0, "missed_on": "2026-10-05", "urgent": true, "clinic": map[string]any{"name": "Migosi"}},
	} {
		wanted := map[string]any{"form": form, "patient": patient, "contact": sim.ContactID(31), "at": "2026-10-06T08:00:00+03:00", "missed_on": "2026-10-05",
			"fields": map[string]any{"weeks": 2, "urgent": true, "clinic": map[string]any{"name": "Migosi"}}}
		calls, out := r.write(t, "Report", connector.Query{ID: newID}, wanted)
		doc := r.sim.Get(newID)
		want["patient_uuid"], want["patient_id"] = sim.ContactID(43), sim.ContactID(43)
		if d := cmp.Diff(want, doc["fields"]); d != "" {
			t.Errorf("%s: %s", form, d)
		}
		if (doc["content_type"] == "xml") != (form == "follow_up") || doc["reported_date"] != float64(time.Date(2026, 10, 6, 5, 0, 0, 0, time.UTC).UnixMilli()) {
			t.Errorf("%s: %v", form, doc)
		}
		if by := doc["contact"].(map[string]any); by["_id"] != sim.ContactID(31) || by["parent"].(map[string]any)["_id"] != sim.ContactID(11) {
			t.Errorf("%s: contact %v", form, by)
		}
		if again, _ := r.write(t, "Report", connector.Query{ID: newID}, wanted); again != nil {
			t.Errorf("%s: no change, and yet calls", form)
		}
		if err := r.undo(t, "Report", calls[0], out); err != nil || r.state(t) != before {
			t.Errorf("%s: undo: %v", form, err)
		}
	}
	r.write(t, "Report", connector.Query{ID: newID + "3"}, map[string]any{"form": "follow_up", "patient": patient})
	if list, _, _ := r.poll(t, at); len(list) != 0 {
		t.Errorf("our own report comes back: %+v", list)
	}
}

func TestTheKindsSayWhatTheyTake(t *testing.T) {
	for _, name := range []string{"Person", "Report"} {
		spec := newRig(t, "{}").Kind(name).Spec()
		if spec.Name != name || len(spec.Fields) == 0 || slices.ContainsFunc(spec.Fields, func(f connector.FieldSpec) bool { return f.About == "" }) {
			t.Errorf("%+v", spec)
		}
	}
	if newRig(t, "{}").Kind("Place") != nil {
		t.Error("there is a kind that is not listed")
	}
}

func FuzzObserve(f *testing.F) {
	f.Add(`{"_id":"a","type":"person","parent":"x","a":{"b":[1]}}`, 200)
	f.Add(`{"type":"data_record","form":"x","fields":[],"reported_date":"now","contact":7}`, 200)
	f.Add(`{"error":"not_found","reason":"deleted"}`, 404)
	f.Fuzz(func(t *testing.T, body string, status int) {
		r := newRig(t, "{}")
		for _, kind := range []string{"Person", "Report"} {
			for _, as := range []string{kind, partReports} {
				o, err := r.Kind(kind).Observe(call.Check{As: as}, call.Answer{Status: status, Body: []byte(body)})
				if err != nil && strings.Contains(err.Error(), body) && len(body) > 20 {
					t.Errorf("the error quotes the answer: %v", err)
				}
				if _, err := json.Marshal(o.Fields); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
