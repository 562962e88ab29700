// Package lanetest is the contract of a dispatcher as tests: one lane is never
// on two workers, its order is kept, wakes are neither lost nor early, and what
// a dead worker had is run again. Every dispatcher runs it.
package lanetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/lane"
)

// Dispatcher is what the engine needs of one.
type Dispatcher interface {
	Ring(lanes ...int64)
	Run(ctx context.Context) error
}

// Config is how a dispatcher under test is made.
type Config struct {
	// Node is its number; those of one test share what they share (a database).
	Node   int
	Ledger lane.Ledger
	Run    lane.Run
	// Options to take: short turns and sweeps.
	Options lane.Options
}

// Make makes the dispatcher of a node.
type Make func(t *testing.T, c Config) Dispatcher

// patience bounds a test that would otherwise wait for ever.
const patience = 30 * time.Second

// Run runs the contract with as many nodes as the dispatcher can be of.
func Run(t *testing.T, nodes int, make Make) {
	for name, f := range map[string]func(*testing.T, int, Make){
		"AloneAndInOrder": testOrder, "ALostRingIsFound": testLost, "NotEarly": testEarly,
		"ALongLaneIsRungAgain": testTurns, "AStopGivesBackOrEnds": testStop, "ADeadNodesLanesAreRun": testDead,
		"TodaysGoesBeforeBulk": testClasses, "BulkDoesNotStarve": testStarve, "TodaysBehindBulkRunsAsTodays": testBehind,
	} {
		t.Run(name, func(t *testing.T) { f(t, nodes, make) })
	}
}

// bench is some nodes on one ledger.
type bench struct {
	*testing.T
	*memory
	nodes []Dispatcher
	stops []context.CancelFunc
	ended []chan error
}

func newBench(t *testing.T, nodes int, mk Make, o lane.Options) *bench {
	b := &bench{T: t, memory: newMemory(nodes)}
	o.Workers = 8
	if o.Sweep == 0 {
		o.Sweep = 100 * time.Millisecond
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	o.Log = func(text string) { t.Log(text) }
	for i := range nodes {
		n := node{b.memory, i}
		b.nodes = append(b.nodes, mk(t, Config{Node: i, Ledger: n, Run: n.run, Options: o}))
	}
	for _, d := range b.nodes {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		b.stops, b.ended = append(b.stops, cancel), append(b.ended, ended)
	}
	t.Cleanup(func() {
		for i := range b.nodes {
			b.stop(i)
		}
	})
	return b
}

// stop stops a node and waits for it.
func (b *bench) stop(i int) {
	b.Helper()
	if b.ended[i] == nil {
		return
	}
	b.stops[i]()
	select {
	case err := <-b.ended[i]:
		if err != nil {
			b.Errorf("node %d: %v", i, err)
		}
	case <-time.After(patience):
		b.Errorf("node %d does not stop", i)
	}
	b.ended[i] = nil
}

// drained waits until all that was added has run, and checks how.
func (b *bench) drained() {
	b.Helper()
	select {
	case <-b.idle:
	case <-time.After(patience):
		b.mu.Lock()
		defer b.mu.Unlock()
		b.Fatalf("%d deliveries were never run", b.left)
	}
	b.sound()
}

func (b *bench) sound() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		b.Error(f)
	}
}

// begun waits until a lane runs.
func (b *bench) begun() int64 {
	b.Helper()
	select {
	case lane := <-b.started:
		return lane
	case <-time.After(patience):
		b.Fatal("nothing runs")
	}
	return 0
}

func testOrder(t *testing.T, nodes int, mk Make) {
	b := newBench(t, nodes, mk, lane.Options{Sweep: 50 * time.Millisecond})
	const lanes, each = 40, 10
	for id := range int64(lanes) {
		jobs := make([]job, each)
		for i := range jobs {
			jobs[i].took = time.Duration(i%3) * time.Millisecond
		}
		b.add(id+1, jobs...)
	}
	var ringing sync.WaitGroup
	for _, d := range b.nodes {
		ringing.Go(func() {
			for id := range int64(lanes) {
				d.Ring(id+1, id+1) // one too many does no harm
			}
		})
	}
	ringing.Wait()
	b.drained()
	// With nothing left, a ring runs nothing.
	b.nodes[0].Ring(1)
}

func testLost(t *testing.T, nodes int, mk Make) {
	b := newBench(t, nodes, mk, lane.Options{})
	b.add(1, job{}, job{})
	b.add(2, job{})
	b.drained()
}

func testEarly(t *testing.T, nodes int, mk Make) {
	b := newBench(t, nodes, mk, lane.Options{})
	at := time.Now().Add(300 * time.Millisecond)
	b.add(1, job{due: at}, job{due: at.Add(100 * time.Millisecond)})
	b.add(2, job{}, job{due: at})
	for _, d := range b.nodes {
		d.Ring(1, 2)
	}
	b.drained()
}

func testTurns(t *testing.T, nodes int, mk Make) {
	b := newBench(t, nodes, mk, lane.Options{Turn: 2, TurnFor: time.Millisecond})
	for id := range int64(12) {
		b.add(id+1, slices.Repeat([]job{{took: 2 * time.Millisecond}}, 8)...)
		b.nodes[0].Ring(id + 1)
	}
	b.drained()
}

func testStop(t *testing.T, nodes int, mk Make) {
	b := newBench(t, nodes, mk, lane.Options{Grace: 50 * time.Millisecond})
	b.add(1, job{took: time.Hour})
	b.nodes[0].Ring(1)
	b.begun()
	for i := range b.nodes {
		b.stop(i)
	}
	b.sound()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left != 1 || b.owned[1] != -1 {
		t.Errorf("%d left, lane 1 is of node %d", b.left, b.owned[1])
	}
}

func testDead(t *testing.T, nodes int, mk Make) {
	if nodes < 2 {
		t.Skip("this dispatcher is of one process: a dead one is no test of it")
	}
	b := newBench(t, nodes, mk, lane.Options{Grace: time.Millisecond})
	b.add(1, job{took: 300 * time.Millisecond}, job{})
	b.nodes[0].Ring(1)
	b.begun()
	for i := range b.nodes {
		if lanes := b.die(i); len(lanes) > 0 {
			if len(lanes) != 1 || lanes[0] != 1 {
				t.Fatalf("node %d had lanes %v", i, lanes)
			}
		}
	}
	b.drained()
}
