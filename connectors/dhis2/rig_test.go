package dhis2

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors/dhis2/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// versions are those that one code serves.
var versions = []string{"2.38.5", "2.39.6", "2.40.4.1", "2.41.0", "2.42.3", "2.43-SNAPSHOT"}

// now is the server's clock in the tests.
const now = "2024-02-03T09:00:00"

const (
	monthly  = "LbDsMonth10"
	births   = "LbDeLiveB09"
	houses   = "ChDeHouse01"
	deaths   = "ChDeDeath03"
	remarks  = "ChDeRemar04"
	maleDoc  = "LbCoc000011"
	femTBA   = "LbCoc000016"
	coc      = "HllvX50cXC0"
	yala     = "OuVilYal001"
	fever    = "EvPrFever01"
	feverSt  = "EvStFever01"
	ageMonth = "EvDeAgeMo01"
	temp     = "EvDeTempe02"
	onset    = "EvDeOnset03"
	rdt      = "EvDeRdtRe04"
	actGiven = "EvDeActGi05"
)

// rig is a system that points at a simulator, and what applies calls to it as
// the runner does.
type rig struct {
	t   testing.TB
	sys *System
	sim *sim.Server
	log []string
}

func newRig(t testing.TB, options string, seeds ...string) *rig {
	t.Helper()
	if options == "" {
		options = `{}`
	}
	var opt map[string]any
	if err := json.Unmarshal([]byte(options), &opt); err != nil {
		t.Fatal(err)
	}
	if opt["now"] == nil {
		opt["now"] = now
	}
	b, err := json.Marshal(opt)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sim.New(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range seeds {
		if err := s.Seed([]byte(seed)); err != nil {
			t.Fatal(err)
		}
	}
	values := s.Settings()
	values["url"] = "http://dhis2.example.org"
	zone, err := time.LoadLocation("Africa/Nairobi")
	if err != nil {
		t.Fatal(err)
	}
	sys, err := Open(connector.Config{Name: "hmis", Values: values, Our: "kiungo", Zone: zone,
		HTTP: &http.Client{Transport: simulate.Network{"dhis2.example.org": s}}})
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02T15:04:05", now, zone)
	if err != nil {
		t.Fatal(err)
	}
	sys.now = func() time.Time { return at }
	return &rig{t: t, sys: sys, sim: s}
}

// Do sends as the planner's Doer does.
func (r *rig) Do(ctx context.Context, about string, req call.Request) (call.Answer, error) {
	if req.Changes() {
		r.t.Errorf("planning step %q wants to change something", about)
	}
	r.log = append(r.log, req.Method+" "+req.Path+"?"+url.Values(req.Query).Encode())
	return r.do(ctx, about, req)
}

func (r *rig) do(ctx context.Context, about string, req call.Request) (call.Answer, error) {
	a, err := r.sys.Send(ctx, req)
	if v := r.sys.Classify(req, a, err); v.Class != call.Done {
		return a, &call.Error{System: "hmis", About: about, Verdict: v, Err: err}
	}
	return a, nil
}

func (r *rig) state() string {
	r.t.Helper()
	b, err := r.sim.State()
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// canon makes a wanted record canonical, without problems but remarks.
func (r *rig) canon(kind string, wanted map[string]any) record.Fields {
	r.t.Helper()
	f, problems, err := r.sys.Kind(kind).Canon(r.t.Context(), r, wanted)
	if err != nil {
		r.t.Fatalf("canon %s: %v", kind, err)
	}
	for _, p := range problems {
		if !p.Remark {
			r.t.Fatalf("canon %s: %v", kind, problems)
		}
	}
	return f
}

// problems gives the rules that Canon finds broken.
func (r *rig) problems(kind string, wanted map[string]any) string {
	r.t.Helper()
	_, problems, err := r.sys.Kind(kind).Canon(r.t.Context(), r, wanted)
	if err != nil {
		r.t.Fatalf("canon %s: %v", kind, err)
	}
	var out []string
	for _, p := range problems {
		out = append(out, p.Field+" "+p.Rule)
	}
	return strings.Join(out, ", ")
}

// plan finds and compares as the planner does, and gives the calls.
func (r *rig) plan(kind, id string, q connector.Query, wanted map[string]any) []call.Call {
	r.t.Helper()
	calls, err := r.try(kind, id, q, wanted)
	if err != nil {
		r.t.Fatal(err)
	}
	return calls
}

func (r *rig) try(kind, id string, q connector.Query, wanted map[string]any) ([]call.Call, error) {
	r.t.Helper()
	k := r.sys.Kind(kind)
	want := r.canon(kind, wanted)
	q.Wanted, q.ID = want, id
	found, err := k.Find(r.t.Context(), r, q)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", kind, err)
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
			return nil, nil
		}
	}
	return k.Calls(r.t.Context(), r, c)
}

// look reads a check, as the journal keeps it: as JSON.
func (r *rig) look(kind string, check call.Check) call.Observed {
	r.t.Helper()
	b, err := json.Marshal(check)
	if err != nil {
		r.t.Fatal(err)
	}
	var back call.Check
	if err := json.Unmarshal(b, &back); err != nil {
		r.t.Fatal(err)
	}
	a, err := r.do(r.t.Context(), "check", back.Read)
	if err != nil {
		r.t.Fatal(err)
	}
	o, err := r.sys.Kind(kind).Observe(back, a)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// apply sends one call, after its check says "not yet", and looks that its check
// then says "happened".
func (r *rig) apply(kind string, c call.Call) {
	r.t.Helper()
	before := r.look(kind, *c.Check)
	if got := c.Check.Judge(before, nil); got != call.NotYet || !c.Check.Stands(before, nil) {
		r.t.Fatalf("%s: before the call its check says %q: read %v, before %v", c.Name, got, before.Fields, c.Check.Pre)
	}
	if a, err := r.do(r.t.Context(), c.About, c.Request); err != nil {
		r.t.Fatalf("%s: %v\n%s\n%s", c.Name, err, c.Request.Body, a.Body)
	}
	after := r.look(kind, *c.Check)
	if got := c.Check.Judge(after, nil); got != call.Yes {
		r.t.Fatalf("%s: after the call its check says %q: read %v, want %v", c.Name, got, after.Fields, c.Check.Want)
	}
}

// undo takes one call back as the runner does: guards, comparison, request.
func (r *rig) undo(kind string, c call.Call) (sent bool, rev call.Reverse) {
	r.t.Helper()
	for _, g := range c.Undo.Guards {
		if o := r.look(kind, g); g.Judge(o, nil) != call.Yes {
			return false, call.Reverse{LeftOver: []string{"guard"}}
		}
	}
	rev = c.Reversed(r.look(kind, *c.Check), nil)
	if !rev.Send {
		return false, rev
	}
	if a, err := r.do(r.t.Context(), "undo "+c.About, rev.Request); err != nil {
		r.t.Fatalf("undo %s: %v\n%s\n%s", c.Name, err, rev.Request.Body, a.Body)
	}
	return true, rev
}

// roundTrip applies the calls and takes them back: the state must be as before,
// byte for byte.
func (r *rig) roundTrip(kind string, calls []call.Call) {
	r.t.Helper()
	if len(calls) == 0 {
		r.t.Fatal("no calls")
	}
	start := r.state()
	for _, c := range calls {
		before := r.state()
		r.apply(kind, c)
		if before == r.state() {
			r.t.Errorf("%s changed nothing", c.Name)
		}
		// Sent again after a lost answer, it does no harm.
		after := r.state()
		if _, err := r.do(r.t.Context(), c.About, c.Request); err != nil || r.state() != after {
			r.t.Errorf("%s: sent again: %v", c.Name, err)
		}
	}
	for i := len(calls) - 1; i >= 0; i-- {
		if sent, rev := r.undo(kind, calls[i]); !sent {
			r.t.Fatalf("%s was not undone: %v", calls[i].Name, rev)
		}
	}
	if end := r.state(); end != start {
		r.t.Errorf("the state after undo differs:\n%s\n%s", start, end)
	}
}

// person changes something there as the health office does.
func (r *rig) person(method, path string, body any) {
	r.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	clerk, err := Open(connector.Config{Name: "office", Our: "browser", Values: map[string]string{"url": "http://dhis2.example.org", "username": "clerk", "password": "Clerk123"},
		HTTP: &http.Client{Transport: simulate.Network{"dhis2.example.org": r.sim}}})
	if err != nil {
		r.t.Fatal(err)
	}
	a, err := clerk.Send(r.t.Context(), call.Request{Method: method, Path: path, Body: b, Query: map[string][]string{"async": {"false"}}})
	if err != nil || a.Status >= 300 {
		r.t.Fatalf("%s %s: %d %v %s", method, path, a.Status, err, a.Body)
	}
}

// monthOf is a wanted data value set.
func monthOf(rows ...any) map[string]any {
	return map[string]any{"dataSet": "CHW_MONTHLY", "period": "202401", "orgUnit": "CU-YAL-1", "values": rows}
}

func row(element, combo string, v any) any {
	out := map[string]any{"dataElement": element, "value": v}
	if combo != "" {
		out["categoryOptionCombo"] = combo
	}
	return out
}

// seen is a wanted event.
func seen(rows ...any) map[string]any {
	return map[string]any{"program": "FEVER_CASE", "orgUnit": "CU-YAL-1", "at": "2024-01-15", "coordinates": "-0.09 34.53 1200 5", "dataValues": rows}
}

func value(element string, v any) any { return map[string]any{"dataElement": element, "value": v} }
