package ledgertest

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

func testPeople(t *testing.T, open Open) {
	t.Run("RetryAndSkipAreAudited", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"))[0]
		b.accept(msg("f2", "v1", "person:1"))
		lane, id := got.Lanes[0], got.Deliveries[0]
		if _, err := b.Retry(t.Context(), 99, "amina", ""); err == nil {
			t.Error("retried nothing")
		}
		_, err := b.Retry(t.Context(), id, "amina", "")
		b.is(err, ledger.ErrState)
		w := b.mustStart(lane, "f1")
		_, err = b.Skip(t.Context(), id, "amina", "")
		b.is(err, ledger.ErrState)
		b.runs(b.end(w, ledger.End{State: ledger.Held, Code: "unmapped"}), "nothing")
		ring, err := b.Retry(t.Context(), id, "amina", "mapped now")
		b.must(err)
		if ring != lane {
			t.Errorf("lane %d", ring)
		}
		b.isDue(lane, true)
		b.runs(b.end(b.mustStart(lane, "f1"), ledger.End{State: ledger.Held}), "nothing")
		_, err = b.Skip(t.Context(), id, "amina", "not ours")
		b.must(err)
		b.isDue(lane, true) // though nobody may come to ring it
		b.mustStart(lane, "f2")
		b.state(id, ledger.Skipped)
		as, err := b.Audits(t.Context(), id, 0, 10)
		b.must(err)
		if len(as) != 2 || as[0].Act != "skip" || as[0].Note != "not ours" || as[1].Act != "retry" || as[1].Who != "amina" || !as[0].At.Equal(b.now) {
			t.Errorf("%+v", as)
		}
		b.total(2)
	})
	t.Run("RetryOfAnEndedOneTakesItsOldPlace", func(t *testing.T) {
		for _, state := range []ledger.State{ledger.Undone, ledger.Refused} {
			b := newBench(t, open)
			got := b.accept(msg("f1", "v1", "person:1"))[0]
			b.accept(msg("f2", "v1", "person:1"), msg("f3", "v1", "person:1"))
			w := b.mustStart(got.Lanes[0], "f1")
			b.plan(w)
			w = b.end(w, ledger.End{State: state})
			b.runs(w, "f2")
			_, err := b.Retry(t.Context(), got.Deliveries[0], "amina", "")
			b.must(err)
			w = b.done(w)
			b.runs(w, "f1")
			if w.Plan != nil {
				t.Error("it runs under its old plan")
			}
			b.runs(b.done(w), "f3")
			b.total(3)
		}
	})
	t.Run("AnAnswerWakesItsDelivery", func(t *testing.T) {
		for _, state := range []ledger.State{ledger.Waiting, ledger.Held} {
			b := newBench(t, open)
			got := b.accept(msg("f1", "v1", "person:1"))[0]
			lane := got.Lanes[0]
			opts := json.RawMessage(`["a","b"]`)
			b.end(b.start(lane), ledger.End{State: state, BlockedOn: ledger.BlockQuestion, Question: &ledger.Question{Kind: "match", Cause: "two", Text: "which?", Options: opts}})
			qs, err := b.Questions(t.Context(), "open", 0, 10)
			b.must(err)
			if len(qs) != 1 || qs[0].Text != "which?" || string(qs[0].Options) != string(opts) || qs[0].Delivery != got.Deliveries[0] {
				t.Fatalf("%+v", qs)
			}
			if d := b.state(got.Deliveries[0], state); d.BlockedBy != strconv.FormatInt(qs[0].ID, 10) {
				t.Errorf("blocked by %q", d.BlockedBy)
			}
			b.isDue(lane, false)
			ring, err := b.Answer(t.Context(), qs[0].ID, "b", "amina")
			b.must(err)
			if ring != lane {
				t.Errorf("lane %d", ring)
			}
			_, err = b.Answer(t.Context(), qs[0].ID, "a", "amina")
			b.is(err, ledger.ErrState)
			w := b.mustStart(lane, "f1")
			if len(w.Questions) != 1 || w.Questions[0].Answer != "b" || w.Questions[0].By != "amina" || w.Questions[0].State != "answered" {
				t.Errorf("%+v", w.Questions)
			}
		}
	})
	t.Run("OrdersAreAudited", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Audit(t.Context(), ledger.Audit{Who: "ci", Act: "reload flows", Note: "abc"}))
		as, err := b.Audits(t.Context(), 0, 0, 10)
		b.must(err)
		if len(as) != 1 || as[0].Note != "abc" {
			t.Errorf("%+v", as)
		}
	})
}

func testMerge(t *testing.T, open Open) {
	t.Run("AtOnceWhenNothingRuns", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:a"), msg("f2", "v1", "person:b"), msg("f3", "v1", "person:a"))
		b.must(b.Merge(t.Context(), "person:a", "person:b", "amina"))
		a, w := got[0].Lanes[0], got[1].Lanes[0]
		b.isDue(a, false)
		b.isDue(w, true)
		b.runs(b.done(b.done(b.mustStart(a, "f1"))), "f3")
		if l := b.accept(msg("f4", "v1", "person:a"))[0].Lanes[0]; l != w {
			t.Errorf("intake uses lane %d, not %d", l, w)
		}
		b.must(b.Merge(t.Context(), "person:b", "person:a", "amina")) // they are one already
	})
	t.Run("WaitsForBothToBeIdle", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:a"), msg("f2", "v1", "person:b"), msg("f3", "v1", "person:a"), msg("f4", "v1", "person:c"))
		la, lb, lc := got[0].Lanes[0], got[1].Lanes[0], got[3].Lanes[0]
		wa, wb := b.mustStart(la, "f1"), b.mustStart(lb, "f2")
		b.must(b.Merge(t.Context(), "person:a", "person:b", "amina"))
		b.must(b.Merge(t.Context(), "person:b", "person:c", "amina")) // and on
		b.idle(lc)
		b.runs(b.done(wa), "nothing")
		b.idle(la)
		b.runs(b.done(wb), "nothing")
		w := b.start(lc)
		b.runs(w, "f3")
		b.runs(b.done(w), "f4")
		b.total(4)
	})
	t.Run("AMergeThatWaitsFollowsItsWinner", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:a"), msg("f2", "v1", "person:a"), msg("f3", "v1", "person:c"))
		lc := got[2].Lanes[0]
		w := b.mustStart(got[0].Lanes[0], "f1")
		b.must(b.Merge(t.Context(), "person:a", "person:b", "amina")) // waits for f1
		b.must(b.Merge(t.Context(), "person:b", "person:c", "amina")) // at once
		b.idle(lc)                                                    // it waits for f1 now
		b.runs(b.done(w), "nothing")
		b.runs(b.done(b.mustStart(lc, "f2")), "f3")
	})
	t.Run("CrossingMergesEnd", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:a"), msg("f2", "v1", "person:b"), msg("f3", "v1", "person:c"))
		wb := b.mustStart(got[1].Lanes[0], "f2")
		b.must(b.Merge(t.Context(), "person:a", "person:b", "amina"))
		b.must(b.Merge(t.Context(), "person:b", "person:c", "amina"))
		b.must(b.Merge(t.Context(), "person:c", "person:a", "amina"))
		b.runs(b.done(wb), "nothing")
		lanes := b.due()
		if len(lanes) != 1 {
			t.Fatalf("%v are due", lanes)
		}
		b.runs(b.done(b.mustStart(lanes[0], "f1")), "f3")
	})
}
