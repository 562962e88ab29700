package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors/openmrs/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// rig is a system that points at a simulator, and what applies calls to it as
// the runner does.
type rig struct {
	t   testing.TB
	sys *System
	sim *sim.Server
	// reads counts what Do sent.
	reads int
	log   []string
	// partial counts answers that did not show all that was written.
	partial int
	known   map[record.Later]string
}

const (
	vitals      = "67a71486-1a54-468f-ac3e-7091a9a79584"
	facility    = "7b0f5697-27e3-40c4-8bae-f4049abfb4ed"
	openmrsID   = "05a29f94-c0ed-11e2-94be-8c13b969e334"
	superUser   = "f9badd80-ab76-11e2-9e96-0800200c9a66"
	weight      = "5089AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	pulse       = "5087AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	problemList = "1284AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	malaria     = "116128AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	asthma      = "121375AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	lmp         = "1427AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	noteConcept = "160632AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	diagnoses   = "159947AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	order       = "159946AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	primary     = "159943AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	certainty   = "159394AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	confirmed   = "159392AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	eventAt     = "160753AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	clockAt     = "160752AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	yesNo       = "163740AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

	jane = "1c72e1ac-9b18-11e0-93c3-18a905e044dc"
	john = "7a1a19c2-3ed6-4a63-b8c0-f762dc8d7562"
)

// people are Jane, who has a visit on 3 June 2024, and John.
const people = `{"patients":[
 {"person":{"uuid":"` + jane + `","gender":"F","birthdate":"1988-05-17","names":[{"givenName":"Jane","familyName":"Test","preferred":true}],
  "addresses":[{"cityVillage":"Kangemi","country":"Kenya","preferred":true}],
  "attributes":[{"attributeType":"14d4f066-15f5-102d-96e4-000c29c2a5d7","value":"+254711000333"}]},
  "identifiers":[{"identifier":"100DWN","identifierType":"` + openmrsID + `","location":"8d6c993e-c2cc-11de-8d13-0010c6dffd0f","preferred":true}]},
 {"person":{"uuid":"` + john + `","gender":"M","birthdate":"1990-02-28","names":[{"givenName":"John","familyName":"100DWN"}]},
  "identifiers":[{"identifier":"1003EY","identifierType":"` + openmrsID + `","location":"8d6c993e-c2cc-11de-8d13-0010c6dffd0f"},
                 {"identifier":"23456789","identifierType":"49af6cdc-7968-4abb-bf46-de10d7f4859f","location":"8d6c993e-c2cc-11de-8d13-0010c6dffd0f"}]}
]}`

func newRig(t testing.TB, options, seed string) *rig {
	t.Helper()
	s, err := sim.New([]byte(options))
	if err != nil {
		t.Fatal(err)
	}
	if seed != "" {
		if err := s.Seed([]byte(seed)); err != nil {
			t.Fatal(err)
		}
	}
	values := s.Settings()
	values["url"] = "http://emr.example.org/openmrs"
	zone, err := time.LoadLocation("Africa/Nairobi")
	if err != nil {
		t.Fatal(err)
	}
	sys, err := Open(connector.Config{Name: "emr", Values: values, Our: "kiungo", Zone: zone,
		HTTP: &http.Client{Transport: simulate.Network{"emr.example.org": s}}})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, sys: sys, sim: s, known: map[record.Later]string{}}
}

// Do sends as the runner's Doer does.
func (r *rig) Do(ctx context.Context, about string, req call.Request) (call.Answer, error) {
	if req.Changes() {
		r.t.Errorf("planning step %q wants to change something", about)
	}
	r.reads++
	r.log = append(r.log, req.Method+" "+req.Path+"?"+url.Values(req.Query).Encode())
	return r.do(ctx, about, req)
}

func (r *rig) do(ctx context.Context, about string, req call.Request) (call.Answer, error) {
	a, err := r.sys.Send(ctx, req)
	if v := r.sys.Classify(req, a, err); v.Class != call.Done {
		return a, &call.Error{System: "emr", About: about, Verdict: v, Err: err}
	}
	return a, nil
}

func (r *rig) outputs(l record.Later) (string, bool) {
	v, ok := r.known[l]
	return v, ok
}

func (r *rig) state() string {
	r.t.Helper()
	b, err := r.sim.State()
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// canon makes a wanted record canonical, without problems.
func (r *rig) canon(kind string, wanted map[string]any) record.Fields {
	r.t.Helper()
	f, problems, err := r.sys.Kind(kind).Canon(r.t.Context(), r, wanted)
	if err != nil {
		r.t.Fatalf("canon %s: %v", kind, err)
	}
	if len(problems) > 0 {
		r.t.Fatalf("canon %s: %v", kind, problems)
	}
	return f
}

// plan finds and compares as the planner does, and gives the calls.
func (r *rig) plan(kind, id string, q connector.Query, wanted map[string]any, fix ...func(*connector.Change)) []call.Call {
	r.t.Helper()
	k := r.sys.Kind(kind)
	want := r.canon(kind, wanted)
	q.Wanted, q.ID = want, id
	found, err := k.Find(r.t.Context(), r, q)
	if err != nil {
		r.t.Fatalf("find %s: %v", kind, err)
	}
	c := connector.Change{Record: strings.ToLower(kind), ID: id, Write: want, Wanted: want, Reason: "kiungo delivery 7"}
	if found.Exists {
		c.ID, c.Found, c.Write = found.ID, &found, record.Fields{}
		for path, v := range want {
			if !record.Same(found.Fields[path], v) {
				c.Write[path] = v
			}
		}
		for path, v := range q.Base { // no longer wanted
			if _, still := want[path]; !still && !record.Empty(found.Fields[path]) && record.Same(found.Fields[path], v) {
				c.Write[path] = record.Clear{}
			}
		}
		if len(c.Write) == 0 {
			return nil
		}
	}
	for _, f := range fix {
		f(&c)
	}
	calls, err := k.Calls(r.t.Context(), r, c)
	if err != nil {
		r.t.Fatalf("calls %s: %v", kind, err)
	}
	return calls
}

// observe reads a call's check.
func (r *rig) observe(c call.Call) call.Observed {
	r.t.Helper()
	return r.look(c.Kind, *c.Check)
}

func (r *rig) look(kind string, check call.Check) call.Observed {
	r.t.Helper()
	// The journal keeps checks as JSON.
	b, err := json.Marshal(check)
	if err != nil {
		r.t.Fatal(err)
	}
	var back call.Check
	if err := json.Unmarshal(b, &back); err != nil {
		r.t.Fatal(err)
	}
	a, err := r.do(r.t.Context(), "check", r.bound(back.Read))
	if err != nil {
		r.t.Fatal(err)
	}
	o, err := r.sys.Kind(strings.TrimPrefix(kind, "openmrs/")).Observe(back, a)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) bound(req call.Request) call.Request {
	r.t.Helper()
	out, err := req.Bound(r.outputs)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// apply sends one call, after its check says "not yet", and looks that its check
// then says "happened" with the same outputs as the answer.
func (r *rig) apply(c call.Call) {
	r.t.Helper()
	if c.Check != nil {
		if got := c.Check.Judge(r.observe(c), r.outputs); got != call.NotYet {
			r.t.Fatalf("%s: before the call its check says %q", c.Name, got)
		}
		if !c.Check.Stands(r.observe(c), r.outputs) {
			r.t.Fatalf("%s: the pre-image does not stand", c.Name)
		}
	}
	a, err := r.do(r.t.Context(), c.About, r.bound(c.Request))
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", c.Name, err, a.Body)
	}
	outs, err := c.Collect(a)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, v := range outs {
		r.known[record.Later{Call: c.Name, Output: name}] = v
	}
	if c.Check == nil {
		return
	}
	o := r.observe(c)
	if got := c.Check.Judge(o, r.outputs); got != call.Yes {
		r.t.Fatalf("%s: after the call its check says %q: read %v, want %v, before %v", c.Name, got, o.Fields, c.Check.Want, c.Check.Pre)
	}
	for name, v := range outs {
		if o.Outputs[name] != v {
			r.t.Errorf("%s: the check gives output %s = %q, the answer %q", c.Name, name, o.Outputs[name], v)
		}
	}
	if c.ReadBack {
		back, err := r.sys.Kind(strings.TrimPrefix(c.Kind, "openmrs/")).Observe(*c.Check, a)
		// An answer that does not show all is no reading; the check's read is.
		partial := err == nil && !back.Exists && !back.Voided && c.Check.Want != nil
		if err != nil || !partial && c.Check.Judge(back, r.outputs) != call.Yes {
			r.t.Errorf("%s: its own answer does not read as its check: %v %v", c.Name, back, err)
		}
		if partial {
			r.partial++
		}
		for path, v := range back.Fields {
			if !record.Same(v, o.Fields[path]) {
				r.t.Errorf("%s: its own answer gives %v at %s, its check %v", c.Name, v, path, o.Fields[path])
			}
		}
	}
}

// undo takes one call back as the runner does: guards, comparison, request.
func (r *rig) undo(c call.Call) (sent bool) {
	r.t.Helper()
	if c.Reversal == call.Leftover {
		return false
	}
	for _, g := range c.Undo.Guards {
		if o := r.look(c.Kind, g); g.Judge(o, r.outputs) != call.Yes {
			return false
		}
	}
	rev := c.Reversed(r.observe(c), r.outputs)
	if !rev.Send {
		return false
	}
	if _, err := r.do(r.t.Context(), "undo "+c.About, r.bound(rev.Request)); err != nil {
		r.t.Fatalf("undo %s: %v", c.Name, err)
	}
	return true
}

// roundTrip applies the calls one by one, and after each number of them takes
// them back: the state must be as before, byte for byte.
func (r *rig) roundTrip(calls []call.Call) {
	r.t.Helper()
	if len(calls) == 0 {
		r.t.Fatal("no calls")
	}
	start := r.state()
	for _, c := range calls {
		before := r.state()
		r.apply(c)
		if c.Undo == nil {
			continue
		}
		after := r.state()
		if before == after {
			r.t.Errorf("%s changed nothing", c.Name)
		}
	}
	for i := len(calls) - 1; i >= 0; i-- {
		if calls[i].Reversal != call.Leftover && !r.undo(calls[i]) {
			r.t.Fatalf("%s was not undone", calls[i].Name)
		}
	}
	if end := r.state(); end != start {
		r.t.Errorf("the state after undo differs:\n%s", firstDifference(start, end))
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d:\n before %s\n after  %s", i+1, x[i], y[i])
		}
	}
	return "one is longer"
}

func names(calls []call.Call) string {
	var out []string
	for _, c := range calls {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}
