package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

var errKill = errors.New("killed")

func testCrash(t *testing.T, open Open) {
	t.Run("AcceptedIsNeverLost", func(t *testing.T) {
		for _, point := range []string{"before commit", "after commit"} {
			b := newBench(t, open)
			b.accept(msg("f1", "v1", "person:1"))
			b.fault = func(p string) error {
				if p == point {
					return errKill
				}
				return nil
			}
			_, err := b.Accept(t.Context(), []ledger.Arrival{msg("f2", "v1", "person:1")}, nil)
			b.is(err, ledger.ErrClosed)
			b.fault = nil
			_, err = b.Accept(t.Context(), []ledger.Arrival{msg("f3", "v1", "person:1")}, nil)
			b.is(err, ledger.ErrClosed) // dead is dead
			b.reopen()
			want := map[string]int{"before commit": 1, "after commit": 2}[point]
			b.total(want)
			if dup := b.accept(msg("f2", "v1", "person:1"))[0].Duplicate; dup != (want == 2) {
				t.Errorf("killed %s: duplicate %t", point, dup)
			}
		}
	})
	t.Run("InFlightIsGivenAgainOneAtATime", func(t *testing.T) {
		b := newBench(t, open)
		var lanes []int64
		var old []*ledger.Work
		for i := range 4 {
			lane := b.accept(msg(fmt.Sprintf("f%d", i), "v1", fmt.Sprintf("person:%d", i)))[0].Lanes[0]
			lanes = append(lanes, lane)
			if i < 3 {
				old = append(old, b.start(lane))
			}
		}
		b.plan(old[0])
		b.reopen()
		for i := range 3 {
			due := b.due()
			in := 0
			for _, l := range due {
				if slices.Contains(lanes[:3], l) {
					in++
				}
			}
			if in != 1 || !slices.Contains(due, lanes[3]) {
				t.Fatalf("%v are due of %v", due, lanes)
			}
			w := b.mustStart(lanes[i], fmt.Sprintf("f%d", i))
			if w.Epoch <= old[i].Epoch || w.Delivery.Starts != 2 {
				t.Errorf("epoch %d after %d, start %d", w.Epoch, old[i].Epoch, w.Delivery.Starts)
			}
			if i == 0 && string(w.Plan) != "plan" {
				t.Error("the plan is gone")
			}
			if i < 2 {
				b.idle(lanes[i+1])
			}
			_, err := b.End(t.Context(), old[i], ledger.End{State: ledger.Done}, b.now)
			b.is(err, ledger.ErrFenced)
			b.done(w)
		}
		b.total(4)
	})
	t.Run("TheSecondUnfinishedStartIsPoison", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"))[0]
		b.accept(msg("f2", "v1", "person:2"), msg("f3", "v1", "person:1", "rapidpro"))
		for range 2 {
			b.mustStart(got.Lanes[0], "f1")
			b.reopen()
		}
		w := b.mustStart(got.Lanes[0], "f3") // it passes
		if d := b.state(got.Deliveries[0], ledger.Held); d.Code != "poison" {
			t.Errorf("%+v", d)
		}
		b.done(w)
		_, err := b.Retry(t.Context(), got.Deliveries[0], "amina", "")
		b.must(err)
		b.mustStart(got.Lanes[0], "f1")
	})
	t.Run("AStopIsNoCrash", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0]
		for range 4 {
			b.must(b.Release(t.Context(), b.mustStart(lane, "f1")))
			b.reopen()
		}
	})
	t.Run("ATwoLaneDeliveryIsRestarted", func(t *testing.T) {
		b := newBench(t, open)
		a := msg("f1", "v1", "")
		a.Routes[0].Lanes = []string{"person:1", "person:2"}
		b.accept(a)
		lanes := b.due()
		b.mustStart(lanes[1], "f1")
		b.reopen()
		var w *ledger.Work
		for _, l := range b.due() {
			if got := b.start(l); got != nil {
				w = got
			}
		}
		b.runs(w, "f1")
		b.done(w)
		b.total(1)
	})
	t.Run("KilledAtEachCommit", func(t *testing.T) {
		for kill := 1; ; kill++ {
			b := newBench(t, open)
			n := 0
			b.fault = func(string) error {
				if n++; n == kill {
					return errKill
				}
				return nil
			}
			all := smallWorkload(b)
			b.fault = nil
			b.reopen()
			finish(b)
			counts, err := b.Counts(t.Context())
			b.must(err)
			for _, c := range counts {
				if c.State != ledger.Done {
					t.Errorf("killed at %d: %d are %s", kill, c.N, c.State)
				}
			}
			b.Ledger.Close()
			if all {
				return
			}
		}
	})
}

// smallWorkload goes on until it is killed, and gives true if it was not.
func smallWorkload(b *bench) bool {
	got, err := b.Accept(b.Context(), []ledger.Arrival{msg("f1", "v1", "person:1"), msg("f2", "v1", "person:2"), msg("f3", "v1", "person:1")}, nil)
	if err != nil {
		return false
	}
	for _, a := range got[:2] {
		w, err := b.Start(b.Context(), a.Lanes[0], b.now)
		for err == nil && w != nil {
			if err = b.Journal(b.Context(), w, ledger.Plan{Body: []byte("p"), Claims: []string{"openmrs|Patient|1"}, Intent: "c"}); err != nil {
				break
			}
			if err = b.Step(b.Context(), w, ledger.Step{Kind: ledger.StepAnswer, Call: "c"}); err != nil {
				break
			}
			w, err = b.End(b.Context(), w, ledger.End{State: ledger.Done}, b.now)
		}
		if err != nil {
			return false
		}
	}
	return true
}

// finish runs everything that is due.
func finish(b *bench) {
	b.Helper()
	for {
		due := b.due()
		if len(due) == 0 {
			return
		}
		ran := false
		for _, l := range due {
			for w := b.start(l); w != nil; w = b.done(w) {
				ran = true
			}
		}
		if !ran {
			b.Fatalf("lanes %v are due and start nothing", due)
		}
	}
}
