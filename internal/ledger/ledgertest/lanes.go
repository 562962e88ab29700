package ledgertest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

func testLanes(t *testing.T, open Open) {
	t.Run("OneAtATimeInReceiveOrder", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0]
		b.accept(msg("f2", "v1", "person:1"), msg("f3", "v1", "person:1"))
		b.isDue(lane, true)
		w := b.mustStart(lane, "f1")
		b.isDue(lane, false)
		b.idle(lane)
		w2 := b.done(w)
		b.runs(w2, "f2")
		if w2.Epoch != w.Epoch {
			t.Error("the next work has another epoch")
		}
		b.runs(b.done(w2), "f3")
	})
	t.Run("LanesAreIndependent", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"), msg("f2", "v1", "person:2"))
		b.mustStart(got[0].Lanes[0], "f1")
		b.mustStart(got[1].Lanes[0], "f2")
	})
	t.Run("AFreedLanesWorkerIsGivenTheLaneThatItNames", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"), msg("f2", "v1", "person:1"), msg("f3", "v1", "person:2"), msg("f4", "v1", "person:3"))
		one, two, three := got[0].Lanes[0], got[2].Lanes[0], got[3].Lanes[0]
		named, asked := int64(0), 0
		then := func() int64 { asked++; return named }
		// goes ends w, naming a lane; a ledger that does not ask leaves it to be started.
		goes := func(w *ledger.Work, lane int64, doc string) *ledger.Work {
			t.Helper()
			named, asked, w.Then = lane, 0, then
			next := b.done(w)
			if asked > 1 {
				t.Errorf("asked %d times", asked)
			}
			if asked == 0 && lane != 0 {
				next = b.start(lane)
			}
			b.runs(next, doc)
			return next
		}
		w := b.mustStart(one, "f1")
		w.Then = then
		w2 := b.done(w)
		b.runs(w2, "f2")
		if asked != 0 {
			t.Error("it asks though its own lane has more")
		}
		w3 := goes(w2, two, "f3")
		b.idle(one)
		if w3.LaneID != two {
			t.Errorf("lane %d, not %d", w3.LaneID, two)
		}
		_, err := b.End(t.Context(), w2, ledger.End{State: ledger.Done}, b.now)
		b.is(err, ledger.ErrFenced)
		held := b.mustStart(three, "f4")
		goes(w3, three, "nothing") // another worker has it
		goes(held, one, "nothing") // it has nothing to do
		last := b.mustStart(b.accept(msg("f5", "v1", "person:4"))[0].Lanes[0], "f5")
		named, asked, last.Then = 1<<40, 0, then
		b.runs(b.done(last), "nothing") // there is no such lane; the delivery ends all the same
		b.state(last.Delivery.ID, ledger.Done)
		for _, lane := range []int64{one, two, three} {
			b.isDue(lane, false)
			b.idle(lane)
		}
	})
	t.Run("AHeldDeliveryIsPassedOnlyByOtherSystems", func(t *testing.T) {
		for _, state := range []ledger.State{ledger.Held, ledger.HalfUndone, ledger.Waiting} {
			b := newBench(t, open)
			lane := b.accept(msg("f1", "v1", "person:1", "openmrs", "commcare"))[0].Lanes[0]
			b.accept(msg("f2", "v1", "person:1", "openmrs"))
			b.accept(msg("f3", "v1", "person:1", "rapidpro"))
			b.accept(msg("f4", "v1", "person:1", "dhis2", "openmrs"))
			b.accept(msg("f5", "v1", "person:1", "dhis2"))
			w := b.mustStart(lane, "f1")
			w = b.end(w, ledger.End{State: state, BlockedOn: ledger.BlockCircuit, BlockedBy: "openmrs"})
			b.runs(w, "f3")
			// f5 shares dhis2 with f4, which may not run.
			b.runs(b.done(w), "nothing")
			b.isDue(lane, false)
			b.accept(msg("f6", "v1", "person:1", "rapidpro"))
			b.isDue(lane, true)
			b.runs(b.done(b.mustStart(lane, "f6")), "nothing")
		}
	})
	t.Run("AWaitEndsByTime", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0]
		b.accept(msg("f2", "v1", "person:1"))
		w := b.mustStart(lane, "f1")
		at := b.now.Add(time.Hour)
		b.runs(b.end(w, ledger.End{State: ledger.Waiting, Due: at}), "nothing")
		b.isDue(lane, false)
		_, next, err := b.Due(t.Context(), b.now, 10)
		b.must(err)
		if !next.Equal(at) {
			t.Errorf("next due %v, not %v", next, at)
		}
		b.now = at.Add(-time.Microsecond)
		b.idle(lane)
		b.isDue(lane, false)
		b.now = at
		b.isDue(lane, true)
		b.runs(b.done(b.mustStart(lane, "f1")), "f2")
	})
	t.Run("ABlockEndsByUnblockInReceiveOrder", func(t *testing.T) {
		b := newBench(t, open)
		var lanes []int64
		for _, p := range []string{"person:c", "person:a", "person:b"} {
			lane := b.accept(msg("f"+p, "v1", p))[0].Lanes[0]
			lanes = append(lanes, lane)
			b.end(b.start(lane), ledger.End{State: ledger.Waiting, BlockedOn: ledger.BlockCircuit, BlockedBy: "openmrs"})
		}
		got, err := b.Unblock(t.Context(), ledger.BlockCircuit, "dhis2", 10)
		if err != nil || len(got) != 0 {
			t.Errorf("another system's circuit woke %v, %v", got, err)
		}
		got, err = b.Unblock(t.Context(), ledger.BlockCircuit, "openmrs", 2)
		b.must(err)
		if diff := cmp.Diff(lanes[:2], got); diff != "" {
			t.Error(diff)
		}
		got, err = b.Unblock(t.Context(), ledger.BlockCircuit, "openmrs", 2)
		b.must(err)
		if diff := cmp.Diff(lanes[2:], got); diff != "" {
			t.Error(diff)
		}
		b.mustStart(lanes[0], "fperson:c")
	})
	t.Run("ADeliveryInTwoLanesRunsWhenFirstInEach", func(t *testing.T) {
		b := newBench(t, open)
		mother := b.accept(msg("f1", "v1", "person:mother"))[0].Lanes[0]
		both := msg("f2", "v1", "person:mother")
		both.Routes[0].Lanes = []string{"person:mother", "person:child"}
		b.accept(both)
		child := b.accept(msg("f3", "v1", "person:child"))[0].Lanes[0]
		b.idle(child) // f3 is behind f2, which is behind f1
		w := b.done(b.mustStart(mother, "f1"))
		b.runs(w, "f2")
		b.idle(child)
		b.accept(msg("f4", "v1", "person:mother"))
		b.runs(b.done(w), "f4")
		b.isDue(child, true)
		b.mustStart(child, "f3")
	})
	t.Run("TwoLanesWhicheverEndsLastStartsTheSharedDelivery", func(t *testing.T) {
		b := newBench(t, open)
		mother := b.accept(msg("f1", "v1", "person:mother"))[0].Lanes[0]
		child := b.accept(msg("f2", "v1", "person:child"))[0].Lanes[0]
		both := msg("f3", "v1", "person:mother")
		both.Routes[0].Lanes = []string{"person:child", "person:mother"}
		b.accept(both)
		wm, wc := b.mustStart(mother, "f1"), b.mustStart(child, "f2")
		b.runs(b.done(wm), "nothing")
		b.runs(b.done(wc), "f3")
	})
	t.Run("ADiscoveredPersonsLaneIsEnteredToo", func(t *testing.T) {
		b := newBench(t, open)
		mother := b.accept(msg("f1", "v1", "person:mother"))[0].Lanes[0]
		child := b.accept(msg("f2", "v1", "person:child"))[0].Lanes[0]
		w, wc := b.mustStart(mother, "f1"), b.mustStart(child, "f2")
		enter := ledger.End{State: ledger.Received, Forget: true, Enter: []string{"person:child", "person:mother"}}
		b.runs(b.end(w, enter), "nothing") // the child's lane is busy
		b.idle(mother)
		w = b.done(wc)
		b.runs(w, "f1")
		b.accept(msg("f3", "v1", "person:child"), msg("f4", "v1", "person:mother"))
		b.idle(mother)
		b.runs(b.done(w), "f3")
		b.mustStart(mother, "f4")
		_, err := b.End(t.Context(), w, ledger.End{State: ledger.Done, Enter: enter.Enter}, b.now)
		b.is(err, ledger.ErrFenced)
		b.total(4)
	})
	t.Run("AStaleEpochWritesNothing", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0]
		w := b.mustStart(lane, "f1")
		b.must(b.Release(t.Context(), w))
		_, err := b.End(t.Context(), w, ledger.End{State: ledger.Done}, b.now)
		b.is(err, ledger.ErrFenced)
		again := b.mustStart(lane, "f1")
		if again.Epoch <= w.Epoch {
			t.Errorf("epoch %d after %d", again.Epoch, w.Epoch)
		}
		b.is(b.Journal(t.Context(), w, ledger.Plan{}), ledger.ErrFenced)
		b.plan(again)
		b.is(b.Step(t.Context(), w, ledger.Step{Kind: ledger.StepNote}), ledger.ErrFenced)
		b.is(b.Release(t.Context(), w), ledger.ErrFenced)
		b.runs(b.done(again), "nothing")
		b.total(1)
	})
}

func testRunning(t *testing.T, open Open) {
	t.Run("TheWorkBeforeOfADeliveryIsNoMore", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"))
		old := b.mustStart(got[0].Lanes[0], "f1")
		b.must(b.Release(t.Context(), old))
		w := b.mustStart(got[0].Lanes[0], "f1")
		b.is(b.Release(t.Context(), old), ledger.ErrFenced)
		b.is(b.Journal(t.Context(), old, ledger.Plan{Body: []byte("p")}), ledger.ErrFenced)
		_, err := b.End(t.Context(), old, ledger.End{State: ledger.Done}, b.now)
		b.is(err, ledger.ErrFenced)
		if n, ok := b.Ledger.(interface{ Drop(*ledger.Work) }); ok {
			n.Drop(old)
		}
		b.plan(w)
		b.done(w)
	})
	t.Run("PlanAndJournalComeBack", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0]
		w := b.mustStart(lane, "f1")
		if w.Delivery.State != ledger.Planning || w.Plan != nil {
			t.Errorf("%s, plan %q", w.Delivery.State, w.Plan)
		}
		b.plan(w)
		b.must(b.Step(t.Context(), w, ledger.Step{Kind: ledger.StepAnswer, Call: "c1", Intent: "c2", Data: json.RawMessage(`{"id":"7"}`), Epoch: w.Epoch}))
		b.end(w, ledger.End{State: ledger.Waiting, Due: b.now.Add(time.Minute), Calls: 2, Last: &ledger.Step{Kind: ledger.StepUnknown, Call: "c2"}})
		b.reopen()
		b.now = b.now.Add(time.Minute)
		w = b.mustStart(lane, "f1")
		want := []ledger.Step{{N: 1, Call: "c1", Kind: ledger.StepIntent}, {N: 2, Call: "c1", Kind: ledger.StepAnswer, Intent: "c2", Data: json.RawMessage(`{"id":"7"}`)}, {N: 3, Call: "c2", Kind: ledger.StepUnknown}}
		if diff := cmp.Diff(want, w.Journal, cmpopts.IgnoreFields(ledger.Step{}, "At", "Epoch")); diff != "" {
			t.Error(diff)
		}
		d := w.Delivery
		if string(w.Plan) != "plan" || d.State != ledger.Applying || d.FlowHash != "f1" || d.PlanNo != 1 || d.Calls != 2 || d.Attempts != 2 {
			t.Errorf("%q %+v", w.Plan, d)
		}
		b.must(b.Step(t.Context(), w, ledger.Step{N: 4, Kind: ledger.StepVerified, Call: "c2"}))
		if err := b.Step(t.Context(), w, ledger.Step{N: 4, Kind: ledger.StepNote}); err == nil {
			t.Error("a journal line was written over")
		}
	})
	t.Run("AForgottenPlanIsNotGivenAgain", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0]
		w := b.mustStart(lane, "f1")
		b.plan(w)
		b.runs(b.end(w, ledger.End{State: ledger.Received, Forget: true, Generation: 2}), "f1")
		w, err := b.Delivery(t.Context(), w.Delivery.ID)
		b.must(err)
		if w.Plan != nil || w.Journal != nil || w.Delivery.PlanNo != 1 || w.Delivery.Generation != 2 {
			t.Errorf("%+v", w)
		}
	})
	t.Run("AStepNeedsAPlan", func(t *testing.T) {
		b := newBench(t, open)
		w := b.mustStart(b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0], "f1")
		if err := b.Step(t.Context(), w, ledger.Step{Kind: ledger.StepNote}); err == nil {
			t.Error("journaled without a plan")
		}
		if _, err := b.End(t.Context(), w, ledger.End{}, b.now); err == nil {
			t.Error("ended in no state")
		}
	})
	t.Run("ReasonsAndRemarksAreKept", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"))[0]
		b.end(b.start(got.Lanes[0]), ledger.End{State: ledger.Done, Reason: "r", Code: "c", Cause: "k", Remarks: []string{"one", "two"}})
		d := b.state(got.Deliveries[0], ledger.Done)
		if d.Reason != "r" || d.Code != "c" || d.Cause != "k" || !cmp.Equal(d.Remarks, []string{"one", "two"}) || d.Ended.IsZero() {
			t.Errorf("%+v", d)
		}
		list, err := b.Deliveries(t.Context(), ledger.Filter{States: []ledger.State{ledger.Done}, Flow: "visit", System: "commcare", Cause: "k", Message: got.Message})
		b.must(err)
		if len(list) != 1 || list[0].ID != d.ID {
			t.Errorf("%+v", list)
		}
	})
}
