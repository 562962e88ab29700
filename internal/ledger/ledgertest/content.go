package ledgertest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
)

func testClaims(t *testing.T, open Open) {
	const rec, other = "openmrs|Patient|1", "openmrs|Patient|2"
	two := func(b *bench) (w1, w2 *ledger.Work) {
		got := b.accept(msg("f1", "v1", "person:1"), msg("f2", "v1", "person:2"))
		return b.mustStart(got[0].Lanes[0], "f1"), b.mustStart(got[1].Lanes[0], "f2")
	}
	journal := func(b *bench, w *ledger.Work, claims ...string) error {
		return b.Journal(b.Context(), w, ledger.Plan{Body: []byte("p"), Claims: claims})
	}
	t.Run("AllOrNoneAndWokenByTheRelease", func(t *testing.T) {
		b := newBench(t, open)
		w1, w2 := two(b)
		b.plan(w1, rec)
		b.is(journal(b, w2, other, rec), ledger.ErrClaimed)
		d := b.state(w2.Delivery.ID, ledger.Waiting)
		if d.BlockedOn != ledger.BlockClaim {
			t.Errorf("blocked on %q", d.BlockedOn)
		}
		b.isDue(w2.LaneID, false)
		// It holds nothing while it waits.
		w3 := b.mustStart(b.accept(msg("f3", "v1", "person:3"))[0].Lanes[0], "f3")
		b.plan(w3, other)
		b.done(w1)
		b.isDue(w2.LaneID, false) // the other record is taken now
		b.done(w3)
		b.isDue(w2.LaneID, true)
		w2 = b.mustStart(w2.LaneID, "f2")
		b.plan(w2, other, rec)
		b.done(w2)
	})
	t.Run("TheNextInReceiveOrderGetsIt", func(t *testing.T) {
		b := newBench(t, open)
		w1, w2 := two(b)
		w3 := b.mustStart(b.accept(msg("f3", "v1", "person:3"))[0].Lanes[0], "f3")
		b.plan(w1, rec)
		b.is(journal(b, w3, rec), ledger.ErrClaimed)
		b.is(journal(b, w2, rec), ledger.ErrClaimed)
		b.done(w1)
		b.isDue(w2.LaneID, true)
		b.isDue(w3.LaneID, false)
		// Even a newcomer does not take what was granted.
		w4 := b.mustStart(b.accept(msg("f4", "v1", "person:4"))[0].Lanes[0], "f4")
		b.is(journal(b, w4, rec), ledger.ErrClaimed)
		// The granted one needs it no more: the next gets it.
		w2 = b.mustStart(w2.LaneID, "f2")
		b.plan(w2)
		b.isDue(w3.LaneID, true)
		b.isDue(w4.LaneID, false)
		b.end(b.mustStart(w3.LaneID, "f3"), ledger.End{State: ledger.Held})
		b.isDue(w4.LaneID, true)
	})
	t.Run("WhoCanHaveAllPassesWhoCannot", func(t *testing.T) {
		b := newBench(t, open)
		w1, w2 := two(b)
		b.plan(w1, rec)
		b.plan(w2, other)
		w3 := b.mustStart(b.accept(msg("f3", "v1", "person:3"))[0].Lanes[0], "f3")
		w4 := b.mustStart(b.accept(msg("f4", "v1", "person:4"))[0].Lanes[0], "f4")
		b.is(journal(b, w3, rec, other), ledger.ErrClaimed)
		b.is(journal(b, w4, rec), ledger.ErrClaimed)
		b.done(w1)
		b.isDue(w3.LaneID, false) // the other record is still taken
		b.isDue(w4.LaneID, true)
		b.done(w2)
		b.isDue(w3.LaneID, false) // and now the first one is
		b.done(b.mustStart(w4.LaneID, "f4"))
		b.isDue(w3.LaneID, true)
	})
	t.Run("WhoHasItPassesWhoWaitsForIt", func(t *testing.T) {
		// The second was begun first; then the two turn out to be one person's,
		// and the first, which waits for it, stands ahead of it, with another
		// behind that.
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"), msg("f2", "v1", "person:1"), msg("f3", "v1", "person:2"))
		w3 := b.mustStart(got[2].Lanes[0], "f3")
		b.plan(w3, rec)
		b.end(w3, ledger.End{State: ledger.Waiting, Due: b.now.Add(time.Minute), KeepClaims: true})
		w1 := b.mustStart(got[0].Lanes[0], "f1")
		b.is(journal(b, w1, rec), ledger.ErrClaimed)
		b.must(b.Merge(t.Context(), "person:2", "person:1", "amina"))
		b.idle(w1.LaneID)
		b.now = b.now.Add(time.Minute)
		w3 = b.mustStart(w1.LaneID, "f3")
		if next := b.done(w3); next == nil {
			b.mustStart(w1.LaneID, "f1")
		} else {
			b.runs(next, "f1")
		}
	})
	t.Run("HalfAppliedKeepsIt", func(t *testing.T) {
		b := newBench(t, open)
		w1, w2 := two(b)
		b.plan(w1, rec)
		b.end(w1, ledger.End{State: ledger.HalfUndone, KeepClaims: true})
		b.is(journal(b, w2, rec), ledger.ErrClaimed)
		b.isDue(w2.LaneID, false)
		_, err := b.Skip(t.Context(), w1.Delivery.ID, "amina", "")
		b.must(err)
		b.isDue(w2.LaneID, true)
	})
	t.Run("AClaimedPlanIsNotStored", func(t *testing.T) {
		b := newBench(t, open)
		w1, w2 := two(b)
		b.plan(w1, rec)
		b.is(b.Journal(t.Context(), w2, ledger.Plan{Body: []byte("p"), Claims: []string{rec},
			Pending: []ledger.Link{{Person: "p", System: "openmrs", Kind: "Patient", ID: "9"}}}), ledger.ErrClaimed)
		got, err := b.Delivery(t.Context(), w2.Delivery.ID)
		b.must(err)
		l, err := b.LinkOf(t.Context(), "openmrs", "Patient", "9")
		b.must(err)
		if got.Plan != nil || l != nil {
			t.Errorf("plan %q, link %v", got.Plan, l)
		}
	})
}

func testCrosswalk(t *testing.T, open Open) {
	link := func(person, id string) ledger.Link {
		return ledger.Link{Person: person, System: "openmrs", Kind: "openmrs/Patient", ID: id, By: "delivery 1", How: "uuid"}
	}
	t.Run("AnIdentifierBelongsToOnePerson", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"), msg("f2", "v1", "person:2"))
		w1, w2 := b.start(got[0].Lanes[0]), b.start(got[1].Lanes[0])
		b.must(b.Journal(t.Context(), w1, ledger.Plan{Pending: []ledger.Link{link("a", "7")}}))
		b.is(b.Journal(t.Context(), w2, ledger.Plan{Body: []byte("p"), Claims: []string{"openmrs|Patient|7"}, Pending: []ledger.Link{link("b", "7")}}), ledger.ErrLinked)
		// Nothing of it was written, and the delivery still runs.
		b.must(b.Journal(t.Context(), w2, ledger.Plan{Pending: []ledger.Link{link("b", "8")}}))
		l, err := b.LinkOf(t.Context(), "openmrs", "openmrs/Patient", "7")
		b.must(err)
		if l == nil || l.Person != "a" || l.State != "pending" || l.How != "uuid" {
			t.Fatalf("%+v", l)
		}
		b.end(w1, ledger.End{State: ledger.Done, Links: []ledger.Link{link("a", "7")}})
		_, err = b.End(t.Context(), w2, ledger.End{State: ledger.Done, Links: []ledger.Link{link("b", "7")}}, b.now)
		b.is(err, ledger.ErrLinked)
		b.end(w2, ledger.End{State: ledger.Done, Unlink: []ledger.Link{link("b", "8")}})
		b.reopen()
		ls, err := b.Links(t.Context(), "a")
		b.must(err)
		if len(ls) != 1 || ls[0].State != "linked" || ls[0].ID != "7" || ls[0].By != "delivery 1" {
			t.Errorf("%+v", ls)
		}
		if l, err := b.LinkOf(t.Context(), "openmrs", "openmrs/Patient", "8"); err != nil || l != nil {
			t.Errorf("a dropped link is there: %v, %v", l, err)
		}
	})
	t.Run("ALinkedOneIsNotDropped", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1"), msg("f2", "v1", "person:1"))[0].Lanes[0]
		w := b.end(b.start(lane), ledger.End{State: ledger.Done, Links: []ledger.Link{link("a", "7")}})
		b.must(b.Journal(t.Context(), w, ledger.Plan{Pending: []ledger.Link{link("a", "7")}}))
		b.end(w, ledger.End{State: ledger.Undone, Unlink: []ledger.Link{link("a", "7")}})
		l, err := b.LinkOf(t.Context(), "openmrs", "openmrs/Patient", "7")
		b.must(err)
		if l == nil || l.State != "linked" {
			t.Errorf("%+v", l)
		}
	})
	t.Run("MadeAndSnapshotsComeBack", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1"))[0].Lanes[0]
		made := []ledger.Made{{Record: "patient", System: "openmrs", Kind: "openmrs/Patient", ID: "7", Generation: 1, Created: true, Fields: record.Fields{"gender": "F"}},
			{Record: "visit", System: "openmrs", Kind: "openmrs/Visit", ID: "8", Before: record.Fields{"stop": record.Clear{}}}}
		snap := ledger.Snapshot{System: "openmrs", Kind: "openmrs/Patient", ID: "7", Fields: map[string]record.Agreed{"gender": {Value: "F", At: b.now, Seq: 3, By: "commcare"}}}
		b.end(b.start(lane), ledger.End{State: ledger.Done, Made: made, Snapshots: []ledger.Snapshot{snap}})
		b.reopen()
		b.accept(msg("f1", "v2", "person:1")) // the next version of the document
		w := b.mustStart(lane, "f1")
		if diff := cmp.Diff(made, w.Made); diff != "" {
			t.Error(diff)
		}
		got, err := b.Snapshot(t.Context(), "openmrs", "openmrs/Patient", "7")
		b.must(err)
		if diff := cmp.Diff(&snap, got); diff != "" {
			t.Error(diff)
		}
		none, err := b.Snapshot(t.Context(), "openmrs", "openmrs/Patient", "9")
		if none != nil || err != nil {
			t.Errorf("%v, %v", none, err)
		}
		made[0].Gone, made[0].Generation = true, 2
		b.end(w, ledger.End{State: ledger.Undone, Made: made[:1]})
		b.accept(msg("f1", "v3", "person:1"))
		if diff := cmp.Diff(made, b.mustStart(lane, "f1").Made); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("CircuitsAreKept", func(t *testing.T) {
		b := newBench(t, open)
		c, err := b.Circuit(t.Context(), "openmrs")
		b.must(err)
		if c.State != "closed" {
			t.Errorf("%+v", c)
		}
		want := ledger.Circuit{System: "openmrs", State: "open", Since: b.now, Retry: b.now.Add(time.Minute), Failures: 3, Reason: "time-outs"}
		b.must(b.SetCircuit(t.Context(), want))
		b.reopen()
		if c, err = b.Circuit(t.Context(), "openmrs"); err != nil || c != want {
			t.Errorf("%+v, %v", c, err)
		}
		if all, err := b.Circuits(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("%+v, %v", all, err)
		}
		if err := b.SetCircuit(t.Context(), ledger.Circuit{System: "x", State: "ajar"}); err == nil {
			t.Error("an unknown state was stored")
		}
	})
}
