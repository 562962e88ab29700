package lanetest

import (
	"slices"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/lane"
)

// Lanes of bulk in the tests of this file have these numbers and above.
const bulkLane = 10_000

// backfill adds lanes of bulk, one delivery each.
func (b *bench) backfill(lanes int, took time.Duration) {
	for i := range int64(lanes) {
		b.add(bulkLane+i, job{took: took, bulk: true})
	}
}

// bulkBegun waits until so many deliveries of bulk have begun.
func (b *bench) bulkBegun(n int) {
	for range n {
		b.begun()
	}
}

// at gives after how many others a lane began to run first, -1 if it did not.
func (b *bench) at(id int64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Index(b.order, id)
}

// Today's work starts soon though a back-fill is under way: after no more of its
// deliveries than start while the bell is on its way, far from all of them.
func testClasses(t *testing.T, nodes int, mk Make) {
	b := newBench(t, nodes, mk, lane.Options{Sweep: 50 * time.Millisecond})
	const bulk, took = 1200, 10 * time.Millisecond
	b.backfill(bulk, took)
	b.bulkBegun(20)
	const today = 10
	before := make([]int, today)
	for id := range int64(today) {
		b.mu.Lock()
		before[id] = len(b.order)
		b.mu.Unlock()
		b.add(id+1, job{})
		b.nodes[int(id)%nodes].Ring(id + 1)
		b.bulkBegun(3)
	}
	b.drained()
	for id := range int64(today) {
		// In process it is the next that is free; a bell of River's takes some
		// milliseconds, on a busy machine a tenth of a second, in which others start.
		if passed := b.at(id+1) - before[id]; passed > bulk/2 {
			t.Errorf("lane %d began after %d others", id+1, passed)
		}
	}
}

// Bulk goes on while today's work never ends.
func testStarve(t *testing.T, nodes int, mk Make) {
	b := newBench(t, nodes, mk, lane.Options{Sweep: 50 * time.Millisecond})
	const bulk, today = 20, 800
	b.add(bulkLane+bulk, job{bulk: true})
	b.bulkBegun(1) // from now on somebody sweeps
	for id := range int64(today) {
		b.add(id+1, job{took: 2 * time.Millisecond})
	}
	b.backfill(bulk, 0)
	for id := range int64(today) {
		b.nodes[0].Ring(id + 1)
	}
	b.drained()
	// One in eight turns is bulk's: all of it has begun by the middle.
	for id := range int64(bulk) {
		if at := b.at(bulkLane + id); at > today/2 {
			t.Errorf("lane %d of bulk began after %d others", id, at)
		}
	}
}

// A lane in which something of today's stands behind bulk is not bulk: its order
// is kept, and all of it goes first.
func testBehind(t *testing.T, nodes int, mk Make) {
	b := newBench(t, nodes, mk, lane.Options{Sweep: 50 * time.Millisecond})
	const bulk = 1200
	b.backfill(bulk, 10*time.Millisecond)
	b.bulkBegun(20)
	last := int64(bulkLane + bulk - 1) // of the back-fill
	b.mu.Lock()
	before := len(b.order)
	b.mu.Unlock()
	b.add(last, job{})
	b.nodes[0].Ring(last)
	b.drained()
	if passed := b.at(last) - before; passed > bulk/2 {
		t.Errorf("the lane began after %d others", passed)
	}
}
