package invariants

import (
	"fmt"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// scene is one delivery, with what went before it.
type scene struct {
	name   string
	folder string
	known  func() []person // cases that CommCare has
	before func() []form
	last   func() form
}

var scenes = []scene{
	{"registration of an unknown person", shipped, nil, nil,
		func() form { return somebody(1, "a").Register(day(1)) }},
	{"visit of an unknown person", shipped, func() []person { return []person{somebody(1, "a")} }, nil,
		func() form { return somebody(1, "a").Visit(day(2), "50") }},
	{"visit that also changes the person", shipped, nil, func() []form { return []form{somebody(1, "a").Register(day(1))} },
		func() form {
			p := somebody(1, "a")
			f := p.Visit(day(2), "50")
			p.Given, p.Family, p.Phone, p.Sex = p.Given+"new", p.Family+"new", "+254711955555", "m"
			return f.With(map[string]any{"case": p.Block(f.At, map[string]any{"update": p.Properties()})})
		}},
	{"edited visit", shipped, nil, func() []form { return []form{somebody(1, "a").Register(day(1)), somebody(1, "a").Visit(day(2), "50")} },
		func() form { return somebody(1, "a").Visit(day(2), "50").Edited("53") }},
	{"edited visit that also clears the phone", shipped, nil, func() []form { return []form{somebody(1, "a").Register(day(1)), somebody(1, "a").Visit(day(2), "50")} },
		func() form {
			p := somebody(1, "a")
			f := p.Visit(day(2), "50").Edited("53")
			p.Phone = ""
			return f.With(map[string]any{"case": p.Block(f.At, map[string]any{"update": p.Properties()})})
		}},
	{"withdrawn visit", shipped, nil, func() []form { return []form{somebody(1, "a").Register(day(1)), somebody(1, "a").Visit(day(2), "50")} },
		func() form { f := somebody(1, "a").Visit(day(2), "50"); f.Archived = true; return f }},
	{"registration whose copy must succeed", "testdata/twofold", nil, nil,
		func() form { return somebody(1, "a").Register(day(1)) }},
}

// play plays a scene up to its last form, calls faulty, and then sends the last.
func (s scene) play(t *testing.T, faulty func(w *world), after func(w *world, before map[string]string)) {
	t.Helper()
	bubbleOf(t, s.folder, func(w *world) {
		if s.known != nil {
			for _, p := range s.known() {
				w.must(w.sims[source].Seed(asJSON(map[string]any{"cases": []any{p.Known()}})))
			}
		}
		w.start()
		if s.before != nil {
			w.run(s.before()...)
		}
		last := s.last()
		if !last.Archived {
			w.submit(last)
		}
		before := w.state()
		for _, sim := range w.sims {
			sim.Traffic().Forget()
		}
		faulty(w)
		if !w.push(last.Body()) {
			t.Fatal("intake did not take the form")
		}
		w.settle()
		after(w, before)
	})
}

// calls counts the changing requests to each system when nothing fails, and
// gives the end of the scene, ids masked.
func (s scene) calls(t *testing.T) (n map[string]int, end map[string]string) {
	t.Helper()
	n = map[string]int{}
	s.play(t, func(*world) {}, func(w *world, _ map[string]string) {
		w.lastIs(ledger.Done)
		for name := range w.sims {
			n[name] = len(w.changes(name))
		}
		var err error
		end, err = unnamed(w.state())
		w.must(err)
	})
	if n[serverA] == 0 {
		t.Fatalf("%s makes no call", s.name)
	}
	return n, end
}

func (w *world) lastIs(want ledger.State) {
	w.t.Helper()
	list := w.deliveries()
	if d := list[len(list)-1]; d.State != want {
		w.t.Errorf("delivery %d is %s, want %s: %s %q", d.ID, d.State, want, d.Reason, d.Remarks)
	}
}

// refusable are the systems whose refusal takes a scene's delivery back.
func (s scene) refusable() []string {
	if s.folder == shipped {
		return []string{serverA} // a refused copy to the case is kept
	}
	return []string{serverA, source}
}

// takenBack checks that nothing is left of a delivery, and that it is done
// well once the cause is mended.
func takenBack(end map[string]string, struck ...simulate.Kind) func(w *world, before map[string]string) {
	return func(w *world, before map[string]string) {
		w.t.Helper()
		w.lastIs(ledger.Held)
		for _, kind := range struck {
			if n := w.struck(kind); n != 1 {
				w.t.Errorf("the fault %s struck %d times, want once", kind, n)
			}
		}
		w.same("taken back", before, w.state())
		w.calm()
		if n := w.retryHeld(); n != 1 {
			w.t.Errorf("%d deliveries were retried, want 1", n)
		}
		w.lastIs(ledger.Done)
		got, err := unnamed(w.state())
		w.must(err)
		w.same("tried again", end, got)
	}
}

// TestExactUndo refuses every call of every scene, and every later one after an
// earlier one of unknown outcome: the systems are as before, byte for byte but
// for voided rows, and a later retry does all of it once.
func TestExactUndo(t *testing.T) {
	lost := []simulate.Kind{simulate.LostResponse, simulate.Error500After, simulate.TimeoutAfter, simulate.TimeoutBefore, simulate.Executed401}
	if testing.Short() {
		lost = lost[:1]
	}
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			n, end := s.calls(t)
			for _, refusing := range s.refusable() {
				for k := 1; k <= n[refusing]; k++ {
					refuse := func(w *world) { w.sims[refusing].Traffic().Switch(simulate.Fault{Kind: simulate.Refuse, Call: k}) }
					t.Run(fmt.Sprintf("%s refuses %d", refusing, k), func(t *testing.T) {
						t.Parallel()
						s.play(t, refuse, takenBack(end, simulate.Refuse))
					})
					for j := 1; j < k || refusing != serverA && j <= n[serverA]; j++ {
						for _, kind := range lost {
							t.Run(fmt.Sprintf("%s refuses %d after %s at %d", refusing, k, kind, j), func(t *testing.T) {
								t.Parallel()
								s.play(t, func(w *world) {
									later := k
									if kind == simulate.TimeoutBefore && refusing == serverA {
										later++ // the call is sent once more
									}
									// The later one first: a request that one fault hits is not counted by those after it.
									w.sims[refusing].Traffic().Switch(simulate.Fault{Kind: simulate.Refuse, Call: later})
									w.sims[serverA].Traffic().Switch(simulate.Fault{Kind: kind, Call: j})
								}, takenBack(end, simulate.Refuse, kind))
							})
						}
					}
				}
			}
		})
	}
}

// TestExactUndoWhenTheUndoFails lets the undo itself meet faults: it is
// compared and tried again until nothing is left.
func TestExactUndoWhenTheUndoFails(t *testing.T) {
	for _, s := range scenes {
		n, end := s.calls(t)
		last := s.refusable()[len(s.refusable())-1]
		if n[serverA] < 2 {
			continue
		}
		for _, kind := range []simulate.Kind{simulate.LostResponse, simulate.Error500, simulate.Error500After, simulate.TimeoutBefore, simulate.TimeoutAfter, simulate.HTMLPage} {
			for undo := range 3 {
				t.Run(fmt.Sprintf("%s, %s at undo %d", s.name, kind, undo+1), func(t *testing.T) {
					t.Parallel()
					s.play(t, func(w *world) {
						w.sims[serverA].Traffic().Switch(simulate.Fault{Kind: kind, Call: n[serverA] + 1 + undo})
						w.sims[last].Traffic().Switch(simulate.Fault{Kind: simulate.Refuse, Call: n[last]})
					}, takenBack(end, simulate.Refuse))
				})
			}
			if testing.Short() {
				break
			}
		}
	}
}
