package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// classed is a ledger that tells today's lanes from those of bulk.
type classed interface {
	DueByClass(ctx context.Context, now time.Time, limit int) (live, bulk []int64, next time.Time, err error)
	OnBulk(func())
}

// backfill accepts messages that came in bulk, and gives their lanes.
func (b *bench) backfill(in ...ledger.Arrival) (lanes []int64) {
	b.Helper()
	for _, a := range in {
		old, err := b.Position(b.Context(), "commcare", "backfill")
		b.must(err)
		got, err := b.Accept(b.Context(), []ledger.Arrival{a}, &ledger.Advance{System: "commcare", Stream: "backfill", Old: old, New: append(slices.Clone(old), '+'), Bulk: true})
		b.must(err)
		lanes = append(lanes, got[0].Lanes...)
		b.now = b.now.Add(time.Millisecond) // the order in which they are due
	}
	return lanes
}

func (b *bench) classes(live, bulk []int64) {
	b.Helper()
	gotLive, gotBulk, _, err := b.Ledger.(classed).DueByClass(b.Context(), b.now, 1000)
	b.must(err)
	if !slices.Equal(gotLive, live) || !slices.Equal(gotBulk, bulk) {
		b.Fatalf("due today %v, in bulk %v; want %v and %v", gotLive, gotBulk, live, bulk)
	}
	all := b.due()
	if !slices.Equal(all, append(slices.Clone(live), bulk...)) {
		b.Fatalf("due %v", all)
	}
}

func testClasses(t *testing.T, open Open) {
	t.Run("WhatComesInBulkIsDueApart", func(t *testing.T) {
		b := newBench(t, open)
		rung, told := []int64{}, 0
		b.OnDue(func(lanes []int64) { rung = append(rung, lanes...) })
		b.Ledger.(classed).OnBulk(func() { told++ })
		bulk := b.backfill(msg("f1", "v1", "person:1"), msg("f2", "v1", "person:2"))
		live := b.accept(msg("f3", "v1", "person:3"))[0].Lanes[0]
		b.classes([]int64{live}, bulk)
		if told != 2 || !slices.Equal(rung, []int64{live}) {
			t.Errorf("bulk was told of %d times, %v were rung", told, rung)
		}
		w := b.mustStart(bulk[0], "f1")
		if !w.Bulk || b.mustStart(live, "f3").Bulk {
			t.Error("a delivery runs as what it is not")
		}
		b.classes(nil, bulk[1:])
	})
	t.Run("TodaysBehindBulkMakesTheLaneTodays", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.backfill(msg("f1", "v1", "person:1"))[0]
		b.classes(nil, []int64{lane})
		b.accept(msg("f2", "v1", "person:1"))
		b.classes([]int64{lane}, nil)
		w := b.mustStart(lane, "f1") // the order stays
		if w.Bulk {
			t.Error("the lane runs as bulk")
		}
		w = b.done(w)
		b.runs(w, "f2")
		b.backfill(msg("f3", "v1", "person:1"))
		b.must(b.Release(t.Context(), w))
		b.classes([]int64{lane}, nil)
		w = b.done(b.mustStart(lane, "f2"))
		b.runs(w, "f3")
		if !w.Bulk {
			t.Error("what is left of the lane is bulk")
		}
		b.must(b.Release(t.Context(), w))
		b.classes(nil, []int64{lane})
	})
	t.Run("BulkStaysBulkOverAPauseAndACircuit", func(t *testing.T) {
		b := newBench(t, open)
		lanes := b.backfill(msg("f1", "v1", "person:1"), msg("f2", "v1", "person:2"))
		at := b.now.Add(time.Hour)
		b.end(b.mustStart(lanes[0], "f1"), ledger.End{State: ledger.Waiting, Due: at})
		b.end(b.mustStart(lanes[1], "f2"), ledger.End{State: ledger.Waiting, BlockedOn: ledger.BlockCircuit, BlockedBy: "openmrs"})
		b.classes(nil, nil)
		_, _, next, err := b.Ledger.(classed).DueByClass(t.Context(), b.now, 10)
		b.must(err)
		if !next.Equal(at) {
			t.Errorf("the next is due %v, not %v", next, at)
		}
		_, err = b.Unblock(t.Context(), ledger.BlockCircuit, "openmrs", 10)
		b.must(err)
		b.classes(nil, lanes[1:])
		b.now = at
		b.classes(nil, []int64{lanes[1], lanes[0]}) // in the order of their time
		b.reopen()
		b.classes(nil, []int64{lanes[1], lanes[0]})
	})
	t.Run("TodaysThatWaitsDoesNotHoldUpBulkNorTheOtherWay", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(msg("f1", "v1", "person:1", "openmrs"))[0].Lanes[0]
		b.end(b.mustStart(lane, "f1"), ledger.End{State: ledger.Waiting, Due: b.now.Add(time.Hour)})
		b.classes(nil, nil)
		b.backfill(msg("f2", "v1", "person:1", "dhis2")) // it may pass f1
		b.classes([]int64{lane}, nil)
		b.runs(b.mustStart(lane, "f2"), "f2")
	})
}

// testCommon: nodes that share a ledger know together what systems do (law 27).
func testCommon(t *testing.T, open OpenNode) {
	type common interface {
		Common(ctx context.Context) (ledger.Common, error)
		NoteFailure(ctx context.Context, system string, lane int64) (int, error)
		ForgetFailures(ctx context.Context, system string) error
		OpenCircuit(ctx context.Context, c ledger.Circuit) (bool, error)
		Probed(ctx context.Context, c ledger.Circuit) error
		CloseCircuit(ctx context.Context, system string) (bool, error)
	}
	look := func(t *testing.T, n common) ledger.Common {
		t.Helper()
		c, err := n.Common(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Run("FailuresOfSeveralNodesAddUp", func(t *testing.T) {
		c := newCluster(t, open)
		a, b := c.nodes[0].(common), c.nodes[1].(common)
		for i, want := range []int{1, 1, 2, 3} {
			n, err := []common{a, b}[i%2].NoteFailure(t.Context(), "openmrs", []int64{7, 7, 8, 9}[i])
			if err != nil || n != want {
				t.Errorf("failure %d: %d lanes, %v", i+1, n, err)
			}
		}
		if got := look(t, b); !slices.Equal(got.Failing, []string{"openmrs"}) {
			t.Errorf("failing: %v", got.Failing)
		}
		c.must(b.ForgetFailures(t.Context(), "openmrs"))
		if got := look(t, a); len(got.Failing) != 0 {
			t.Errorf("failing after a success: %v", got.Failing)
		}
	})
	t.Run("TheFirstToOpenACircuitIsRight", func(t *testing.T) {
		c := newCluster(t, open)
		a, b := c.nodes[0].(common), c.nodes[1].(common)
		now := c.clock()
		first := ledger.Circuit{System: "openmrs", State: "open", Since: now, Retry: now.Add(time.Second), Reason: "wrong password", Login: true}
		opened, err := a.OpenCircuit(t.Context(), first)
		if err != nil || !opened {
			t.Fatalf("opened %v, %v", opened, err)
		}
		opened, err = b.OpenCircuit(t.Context(), ledger.Circuit{System: "openmrs", Since: now.Add(time.Hour), Reason: "503"})
		if err != nil || opened {
			t.Fatalf("opened again: %v, %v", opened, err)
		}
		first.Failures, first.Retry = 3, now.Add(time.Minute)
		c.must(b.Probed(t.Context(), first))
		if got := look(t, a).Circuits; len(got) != 1 || got[0] != first {
			t.Errorf("%+v", got)
		}
		for i, want := range []bool{true, false} {
			closed, err := b.CloseCircuit(t.Context(), "openmrs")
			if err != nil || closed != want {
				t.Errorf("closed %d: %v, %v", i, closed, err)
			}
		}
		// A probe that was under way when it closed opens nothing.
		c.must(a.Probed(t.Context(), first))
		if got := look(t, a).Circuits; len(got) != 1 || got[0].State != "closed" || got[0].Login {
			t.Errorf("%+v", got)
		}
	})
	t.Run("NodesComeAndGo", func(t *testing.T) {
		c := newCluster(t, open)
		if got := look(t, c.nodes[0].(common)).Nodes; got != 2 {
			t.Errorf("%d nodes", got)
		}
		c.pass(TestLease * 2)
		c.must(c.nodes[0].Beat(t.Context()))
		if got := look(t, c.nodes[0].(common)).Nodes; got != 1 {
			t.Errorf("%d nodes after the other was silent", got)
		}
		c.must(c.nodes[1].Beat(t.Context()))
		if got := look(t, c.nodes[0].(common)).Nodes; got != 2 {
			t.Errorf("%d nodes after it came back", got)
		}
	})
	t.Run("WhatIsTaughtIsSeen", func(t *testing.T) {
		c := newCluster(t, open)
		before := look(t, c.nodes[1].(common)).Taught
		c.must(c.nodes[0].Teach(t.Context(), ledger.Lesson{Integration: "i01", Table: "codes", Codes: []string{"x"}, Value: "y", Who: "clerk"}))
		if after := look(t, c.nodes[1].(common)).Taught; after == before {
			t.Error("a lesson of another node is not seen")
		}
	})
}

// testSending: law 11. A node that was given up and lives again sends nothing
// for what it ran before, though its lease is good.
func testSending(t *testing.T, open OpenNode) {
	type sender interface {
		Hold(ctx context.Context) (context.Context, context.CancelFunc, error)
		MaySend(ctx context.Context) error
	}
	c := newCluster(t, open)
	a, b := c.nodes[0], c.nodes[1]
	var lanes []int64
	for i := range 2 {
		lanes = append(lanes, c.accept(0, msg(fmt.Sprintf("f%d", i), "v1", fmt.Sprintf("person:%d", i)))[0].Lanes[0])
	}
	old := c.run(0, lanes[0], "f0")
	running := ledger.Running(t.Context(), old)
	held, end, err := a.(sender).Hold(running)
	c.must(err)
	defer end()
	c.must(a.(sender).MaySend(held))

	c.pass(2 * TestLease) // node a is paused
	c.must(b.Beat(t.Context()))
	c.run(1, lanes[0], "f0")
	c.must(a.Beat(t.Context())) // it wakes, and its heartbeat is taken
	if until, ok := a.Lease(t.Context()); !ok {
		t.Errorf("its lease is over since %s", until)
	}
	if err := a.(sender).MaySend(held); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("a call that was under way may go on: %v", err)
	}
	if _, _, err := a.(sender).Hold(running); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("the next call of the delivery may go: %v", err)
	}
	// What it starts from now on may be sent.
	now := ledger.Running(t.Context(), c.run(0, lanes[1], "f1"))
	held, end, err = a.(sender).Hold(now)
	c.must(err)
	defer end()
	c.must(a.(sender).MaySend(held))
}
