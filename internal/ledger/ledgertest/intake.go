package ledgertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

func testIntake(t *testing.T, open Open) {
	t.Run("AcceptedComesBackWhole", func(t *testing.T) {
		b := newBench(t, open)
		a := msg("f1", "v1", "person:1")
		a.Event = time.Date(2026, 2, 28, 10, 0, 0, 0, time.UTC)
		got := b.accept(a)[0]
		if got.Duplicate || len(got.Deliveries) != 1 || len(got.Lanes) != 1 {
			t.Fatalf("%+v", got)
		}
		b.reopen()
		w := b.mustStart(got.Lanes[0], "f1")
		if diff := cmp.Diff(a.Incoming, w.Message.Incoming); diff != "" {
			t.Error(diff)
		}
		if w.LaneKey != "person:1" || w.Delivery.Each != "case-1" || w.Delivery.Flow != "visit" || w.Message.System != "commcare" ||
			w.Message.ID != got.Message || w.Delivery.ID != got.Deliveries[0] || w.Delivery.Doc != "f1" || w.Delivery.Version != "v1" {
			t.Errorf("%+v", w)
		}
		if !w.Message.Received.Equal(b.now) || w.Message.Seq == 0 || w.Delivery.Seq <= w.Message.Seq {
			t.Errorf("received %v, number %d, delivery's %d", w.Message.Received, w.Message.Seq, w.Delivery.Seq)
		}
	})
	t.Run("SameVersionTwiceIsOneDelivery", func(t *testing.T) {
		b := newBench(t, open)
		first := b.accept(msg("f1", "v1", "person:1"))[0]
		for range 2 {
			again := b.accept(msg("f1", "v1", "person:1"))[0]
			if !again.Duplicate || again.Message != first.Message || !slices.Equal(again.Deliveries, first.Deliveries) {
				t.Fatalf("%+v after %+v", again, first)
			}
			b.reopen()
		}
		both := b.accept(msg("f2", "v1", "person:1"), msg("f2", "v1", "person:1"))
		if both[0].Duplicate || !both[1].Duplicate {
			t.Errorf("twice in one transaction: %+v", both)
		}
		b.total(2)
	})
	t.Run("WithoutDocumentNothingIsFolded", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(msg("", "", "person:1"))
		if b.accept(msg("", "", "person:1"))[0].Duplicate {
			t.Error("folded")
		}
		b.total(2)
	})
	t.Run("WithoutLaneAMessageIsItsOwnLane", func(t *testing.T) {
		b := newBench(t, open)
		a, c := msg("", "", ""), msg("", "", "")
		a.Routes[0].Lanes, c.Routes[0].Lanes = nil, nil
		got := b.accept(a, c)
		if got[0].Lanes[0] == got[1].Lanes[0] {
			t.Error("two anonymous messages share a lane")
		}
	})
	t.Run("MessageWithoutFlowsIsKept", func(t *testing.T) {
		b := newBench(t, open)
		a := msg("f1", "v1", "")
		a.Routes = nil
		got := b.accept(a)[0]
		m, err := b.Message(t.Context(), got.Message)
		b.must(err)
		if string(m.Content) != string(a.Content) {
			t.Errorf("content %q", m.Content)
		}
	})
	t.Run("PositionMovesWithItsMessagesOrNotAtAll", func(t *testing.T) {
		b := newBench(t, open)
		adv := &ledger.Advance{System: "openmrs", Stream: "atom", New: []byte("1")}
		_, err := b.Accept(t.Context(), []ledger.Arrival{msg("f1", "v1", "person:1")}, adv)
		b.must(err)
		_, err = b.Accept(t.Context(), []ledger.Arrival{msg("f2", "v1", "person:1")}, adv) // Old is nil again
		b.is(err, ledger.ErrMoved)
		b.total(1)
		adv.Old, adv.New = []byte("1"), []byte("2")
		_, err = b.Accept(t.Context(), []ledger.Arrival{msg("f2", "v1", "person:1")}, adv)
		b.must(err)
		b.reopen()
		pos, err := b.Position(t.Context(), "openmrs", "atom")
		b.must(err)
		if string(pos) != "2" {
			t.Errorf("position %q", pos)
		}
		pos, err = b.Position(t.Context(), "openmrs", "other")
		if err != nil || pos != nil {
			t.Errorf("position of nothing: %q, %v", pos, err)
		}
		b.total(2)
	})
	t.Run("MessagesAreListedNewestFirst", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(msg("f1", "v1", "p:1"), msg("f2", "v1", "p:1"), msg("f3", "v1", "p:1"))
		var docs []string
		after := int64(0)
		for {
			page, err := b.Messages(t.Context(), "commcare", after, 2)
			b.must(err)
			if len(page) == 0 {
				break
			}
			for _, m := range page {
				docs, after = append(docs, m.Doc), m.ID
			}
		}
		if !slices.Equal(docs, []string{"f3", "f2", "f1"}) {
			t.Error(docs)
		}
	})
	t.Run("BadArrivalsAreRefused", func(t *testing.T) {
		b := newBench(t, open)
		for name, a := range map[string]ledger.Arrival{
			"no system":   {Incoming: connector.Incoming{Doc: "x"}},
			"no flow":     {System: "s", Routes: []ledger.Route{{Lanes: []string{"a"}}}},
			"system name": {System: "s", Routes: []ledger.Route{{Flow: "f", Systems: []string{"a\nb"}}}},
		} {
			if _, err := b.Accept(t.Context(), []ledger.Arrival{a}, nil); err == nil {
				t.Errorf("%s was accepted", name)
			}
		}
	})
}

// testIsolation: units that are committed together do not suffer from each
// other (law 23, measurement m5).
func testIsolation(t *testing.T, open Open) {
	t.Run("AnEndedContextReachesNoStatement", func(t *testing.T) {
		b := newBench(t, open)
		const n = 60
		errs := make(chan error, n)
		for i := range n {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				_, err := b.Accept(ctx, []ledger.Arrival{msg("", "", "person:1")}, nil)
				errs <- err
			}()
			if i%3 == 0 {
				go cancel()
			} else {
				t.Cleanup(cancel)
			}
		}
		stored := 0
		for range n {
			switch err := <-errs; err {
			case nil:
				stored++
			case context.Canceled:
			default:
				t.Error(err)
			}
		}
		if stored < n-n/3 {
			t.Errorf("%d of the callers that stayed failed", n-n/3-stored)
		}
		b.total(stored)
	})
	t.Run("AFailingUnitFailsAlone", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(msg("f0", "v1", "person:0"))
		const n = 40
		errs := make(chan error, 2*n)
		for i := range n {
			go func() {
				_, err := b.Accept(t.Context(), []ledger.Arrival{msg("", "", "person:1")}, nil)
				errs <- err
			}()
			go func() {
				// Fails after it was told to write: the position was moved.
				_, err := b.Accept(t.Context(), []ledger.Arrival{msg("", "", "person:2")}, &ledger.Advance{System: "s", Stream: "x", Old: []byte{byte(i)}, New: []byte("n")})
				errs <- err
			}()
		}
		failed := 0
		for range 2 * n {
			if err := <-errs; err != nil {
				b.is(err, ledger.ErrMoved)
				failed++
			}
		}
		if failed != n {
			t.Errorf("%d failed, not %d", failed, n)
		}
		b.total(1 + n)
	})
}

func testClock(t *testing.T, open Open) {
	t.Run("NeverBehindTheLastCommit", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(msg("f1", "v1", "person:1"))
		before := b.now
		b.now = before.Add(-365 * 24 * time.Hour)
		if b.Now().Before(before) {
			t.Errorf("ledger time %v is behind the commit at %v", b.Now(), before)
		}
		b.reopen()
		if b.Now().Before(before) {
			t.Errorf("after opening: %v", b.Now())
		}
	})
}
