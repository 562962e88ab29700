package ledgertest

import (
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

func testRaise(t *testing.T, open Open) {
	t.Run("WhatRunsIsFencedAndGivenOutAgain", func(t *testing.T) {
		b := newBench(t, open)
		if !b.Restored().IsZero() {
			t.Errorf("a new ledger says that it was restored at %s", b.Restored())
		}
		first := b.Incarnation()
		lane := b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0]
		w := b.start(lane)
		b.plan(w)
		b.must(b.Raise(t.Context(), "a test", "amina"))
		if b.Incarnation() != first+1 || !b.Restored().Equal(b.Ledger.Now()) {
			t.Errorf("incarnation %d after %d, restored at %s, it is %s", b.Incarnation(), first, b.Restored(), b.Ledger.Now())
		}
		b.is(b.Step(t.Context(), w, ledger.Step{Kind: ledger.StepAnswer, Call: "c1"}), ledger.ErrFenced)
		_, err := b.End(t.Context(), w, ledger.End{State: ledger.Done}, b.now)
		b.is(err, ledger.ErrFenced)
		again := b.mustStart(lane, "f1")
		if again.Epoch <= w.Epoch || string(again.Plan) != "plan" || again.Delivery.Starts != 1 {
			t.Errorf("epoch %d after %d, plan %q, start %d: it was no crash", again.Epoch, w.Epoch, again.Plan, again.Delivery.Starts)
		}
		b.done(again)
	})
	t.Run("ItIsRememberedAndAudited", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Raise(t.Context(), "put back by hand", "amina"))
		at, incarnation := b.Restored(), b.Incarnation()
		b.now = b.now.Add(time.Hour)
		b.reopen()
		if !b.Restored().Equal(at) || b.Incarnation() != incarnation {
			t.Errorf("restored at %s in incarnation %d, not %s in %d", b.Restored(), b.Incarnation(), at, incarnation)
		}
		list, err := b.Audits(t.Context(), 0, 0, 1)
		b.must(err)
		if len(list) != 1 || list[0].Act != "raise incarnation" || list[0].Who != "amina" || list[0].Note != "put back by hand" {
			t.Errorf("%+v", list)
		}
	})
	t.Run("NumbersOfTheLostTimeAreNotGivenOut", func(t *testing.T) {
		b := newBench(t, open)
		before := b.accept(msg("f1", "v1", "person:1"))[0]
		b.must(b.Raise(t.Context(), "a test", "amina"))
		after := b.accept(msg("f2", "v1", "person:1"), msg("f3", "v1", "person:3"))
		if after[0].Message < before.Message+100_000 || after[0].Deliveries[0] < before.Deliveries[0]+100_000 || after[1].Lanes[0] < before.Lanes[0]+100_000 {
			t.Errorf("after %+v come %+v", before, after)
		}
		// Order in the lane is as before.
		if next := b.done(b.mustStart(before.Lanes[0], "f1")); next == nil || next.Message.Doc != "f2" {
			t.Errorf("after f1 runs %+v", next)
		}
	})
}
