package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Node is a ledger that several processes have open.
type Node interface {
	ledger.Ledger
	// Beat does what a node does at intervals: it says that it lives, and takes
	// over from those that do not.
	Beat(ctx context.Context) error
	// Lease gives until when the node may send something.
	Lease(ctx context.Context) (until time.Time, ok bool)
	// Lead tells whether the node is the one that does what is named.
	Lead(ctx context.Context, name string, length time.Duration) (bool, error)
}

// TestLease is how long a node under test may be silent. It gives no heartbeat
// by itself meanwhile.
const TestLease = 10 * time.Minute

// OpenNode opens the store of a folder as one of several nodes.
type OpenNode func(t testing.TB, dir string, node int, c Config) Node

// RunNodes runs what several nodes on one ledger promise.
func RunNodes(t *testing.T, open OpenNode) {
	for name, f := range map[string]func(*testing.T, OpenNode){
		"TakeOver": testTakeOver, "Together": testTogether, "Load": testLoad, "Lead": testLead,
		"Common": testCommon, "Sending": testSending,
	} {
		t.Run(name, func(t *testing.T) { f(t, open) })
	}
}

// cluster is two nodes with a clock that only the test moves.
type cluster struct {
	*testing.T
	open  OpenNode
	dir   string
	mu    sync.Mutex
	now   time.Time
	kill  [2]bool
	nodes [2]Node
}

func newCluster(t *testing.T, open OpenNode) *cluster {
	c := &cluster{T: t, open: open, dir: t.TempDir(), now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)}
	for i := range c.nodes {
		c.start(i)
		t.Cleanup(func() { c.nodes[i].Close() })
	}
	return c
}

func (c *cluster) start(i int) {
	c.nodes[i] = c.open(c.T, c.dir, i, Config{Clock: c.clock, Fault: func(string) error {
		if c.kill[i] {
			return errKill
		}
		return nil
	}})
}

func (c *cluster) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *cluster) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// run starts a lane on a node and checks which document runs, "" for none.
func (c *cluster) run(node int, lane int64, doc string) *ledger.Work {
	c.Helper()
	w, err := c.nodes[node].Start(c.Context(), lane, c.clock())
	c.must(err)
	got := ""
	if w != nil {
		got = w.Message.Doc
	}
	if got != doc {
		c.Fatalf("node %d runs %q, not %q", node, got, doc)
	}
	return w
}

func (c *cluster) accept(node int, a ...ledger.Arrival) []ledger.Accepted {
	c.Helper()
	got, err := c.nodes[node].Accept(c.Context(), a, nil)
	c.must(err)
	return got
}

func testTakeOver(t *testing.T, open OpenNode) {
	t.Run("ASilentNodeIsTakenOverAfterItsLeaseAndFenced", func(t *testing.T) {
		c := newCluster(t, open)
		a, b := c.nodes[0], c.nodes[1]
		lane := c.accept(0, msg("f1", "v1", "person:1"), msg("f2", "v1", "person:1"))[0].Lanes[0]
		old := c.run(0, lane, "f1")
		c.must(a.Journal(t.Context(), old, ledger.Plan{Body: []byte("plan"), Intent: "c1"}))
		c.run(1, lane, "")
		c.pass(TestLease - time.Second)
		c.must(b.Beat(t.Context()))
		c.run(1, lane, "") // its lease is not over
		c.pass(TestLease)
		c.must(b.Beat(t.Context()))
		w := c.run(1, lane, "f1")
		if w.Epoch <= old.Epoch || string(w.Plan) != "plan" || len(w.Journal) != 1 {
			t.Errorf("epoch %d after %d, plan %q, %d lines", w.Epoch, old.Epoch, w.Plan, len(w.Journal))
		}
		if err := a.Step(t.Context(), old, ledger.Step{Kind: ledger.StepAnswer, Call: "c1"}); !errors.Is(err, ledger.ErrFenced) {
			t.Errorf("a step of the old epoch: %v", err)
		}
		if _, err := a.End(t.Context(), old, ledger.End{State: ledger.Done}, c.clock()); !errors.Is(err, ledger.ErrFenced) {
			t.Errorf("an end of the old epoch: %v", err)
		}
		next, err := b.End(t.Context(), w, ledger.End{State: ledger.Done}, c.clock())
		c.must(err)
		if next == nil || next.Message.Doc != "f2" {
			t.Errorf("f2 does not follow: %+v", next)
		}
	})
	t.Run("ANodeThatBeatsKeepsItsLanes", func(t *testing.T) {
		c := newCluster(t, open)
		lane := c.accept(0, msg("f1", "v1", "person:1"))[0].Lanes[0]
		w := c.run(0, lane, "f1")
		for range 5 {
			c.pass(TestLease / 2)
			c.must(c.nodes[0].Beat(t.Context()))
			c.must(c.nodes[1].Beat(t.Context()))
		}
		c.run(1, lane, "")
		_, err := c.nodes[0].End(t.Context(), w, ledger.End{State: ledger.Done}, c.clock())
		c.must(err)
	})
	t.Run("AKilledNodeThatStartsAgainHasItsLanesAtOnce", func(t *testing.T) {
		c := newCluster(t, open)
		lane := c.accept(0, msg("f1", "v1", "person:1"))[0].Lanes[0]
		old := c.run(0, lane, "f1")
		c.kill[0] = true
		_, err := c.nodes[0].End(t.Context(), old, ledger.End{State: ledger.Done}, c.clock())
		if !errors.Is(err, ledger.ErrClosed) {
			t.Fatalf("killed: %v", err)
		}
		c.kill[0] = false
		c.nodes[0].Close()
		c.start(0)
		w := c.run(1, lane, "f1") // by whichever node comes first
		if w.Epoch <= old.Epoch || w.Delivery.Starts != 2 {
			t.Errorf("epoch %d after %d, start %d", w.Epoch, old.Epoch, w.Delivery.Starts)
		}
	})
	t.Run("ANodeThatStopsLeavesNothingBehind", func(t *testing.T) {
		c := newCluster(t, open)
		lane := c.accept(0, msg("f1", "v1", "person:1"))[0].Lanes[0]
		c.must(c.nodes[0].Release(t.Context(), c.run(0, lane, "f1")))
		c.must(c.nodes[0].Close())
		c.run(1, lane, "f1")
	})
	t.Run("ACutOffNodeMaySendNothing", func(t *testing.T) {
		c := newCluster(t, open)
		until, ok := c.nodes[0].Lease(t.Context())
		if left := time.Until(until); !ok || left <= 0 || left > TestLease {
			t.Errorf("a new node may send for %s, %t", left, ok)
		}
	})
}

func testLead(t *testing.T, open OpenNode) {
	c := newCluster(t, open)
	leads := func(node int, name string, want bool) {
		t.Helper()
		got, err := c.nodes[node].Lead(t.Context(), name, time.Minute)
		c.must(err)
		if got != want {
			t.Errorf("node %d leads %s: %t", node, name, got)
		}
	}
	leads(0, "forms", true)
	leads(1, "forms", false)
	leads(1, "feed", true)
	c.pass(50 * time.Second)
	leads(0, "forms", true)
	c.pass(50 * time.Second)
	leads(1, "forms", false)
	c.pass(time.Minute)
	leads(1, "forms", true)
	leads(0, "forms", false)
	c.must(c.nodes[1].Close())
	leads(0, "feed", true)
}

func testTogether(t *testing.T, open OpenNode) {
	t.Run("OneDocumentAtTwoNodesIsOneDelivery", func(t *testing.T) {
		c := newCluster(t, open)
		for n := range 30 {
			doc := fmt.Sprintf("f%d", n)
			var got [2]ledger.Accepted
			c.both(func(i int) error {
				a, err := c.nodes[i].Accept(t.Context(), []ledger.Arrival{msg(doc, "v1", fmt.Sprintf("person:%d", i))}, nil)
				if err == nil {
					got[i] = a[0]
				}
				return err
			})
			if got[0].Duplicate == got[1].Duplicate || got[0].Message != got[1].Message {
				t.Fatalf("%s: %+v", doc, got)
			}
		}
	})
	t.Run("OneRecordIsClaimedByOneAndGivenOn", func(t *testing.T) {
		c := newCluster(t, open)
		for n := range 20 {
			var w [2]*ledger.Work
			for i := range w {
				doc := fmt.Sprintf("f%d-%d", n, i)
				w[i] = c.run(i, c.accept(i, msg(doc, "v1", fmt.Sprintf("person:%d-%d", n, i)))[0].Lanes[0], doc)
			}
			record := fmt.Sprintf("openmrs|Visit|%d", n)
			var errs [2]error
			c.both(func(i int) error {
				errs[i] = c.nodes[i].Journal(t.Context(), w[i], ledger.Plan{Body: []byte("p"), Claims: []string{record}, Intent: "c"})
				return nil
			})
			winner := 0
			if errs[0] != nil {
				winner = 1
			}
			if errs[winner] != nil || !errors.Is(errs[1-winner], ledger.ErrClaimed) {
				t.Fatalf("journaled: %v", errs)
			}
			_, err := c.nodes[winner].End(t.Context(), w[winner], ledger.End{State: ledger.Done}, c.clock())
			c.must(err)
			again := c.run(winner, w[1-winner].LaneID, w[1-winner].Message.Doc)
			_, err = c.nodes[winner].End(t.Context(), again, ledger.End{State: ledger.Done}, c.clock())
			c.must(err)
		}
	})
	t.Run("OneIdentifierIsLinkedToOnePerson", func(t *testing.T) {
		c := newCluster(t, open)
		for n := range 20 {
			var w [2]*ledger.Work
			for i := range w {
				doc := fmt.Sprintf("f%d-%d", n, i)
				w[i] = c.run(i, c.accept(i, msg(doc, "v1", fmt.Sprintf("person:commcare/%d-%d", n, i)))[0].Lanes[0], doc)
			}
			var errs [2]error
			c.both(func(i int) error {
				errs[i] = c.nodes[i].Journal(t.Context(), w[i], ledger.Plan{Body: []byte("p"), Intent: "c",
					Pending: []ledger.Link{{Person: fmt.Sprintf("commcare/%d-%d", n, i), System: "openmrs", Kind: "openmrs/Patient", ID: fmt.Sprint(n)}}})
				return nil
			})
			if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[0], errs[1]), ledger.ErrLinked) {
				t.Fatalf("linked: %v", errs)
			}
		}
	})
	t.Run("OnePositionIsMovedByOne", func(t *testing.T) {
		c := newCluster(t, open)
		var at []byte
		for n := range 20 {
			next := []byte(fmt.Sprint(n))
			var errs [2]error
			c.both(func(i int) error {
				_, errs[i] = c.nodes[i].Accept(t.Context(), []ledger.Arrival{msg(fmt.Sprintf("f%d-%d", n, i), "v1", "person:1")},
					&ledger.Advance{System: "commcare", Stream: "forms", Old: at, New: next})
				return nil
			})
			if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[0], errs[1]), ledger.ErrMoved) {
				t.Fatalf("moved: %v", errs)
			}
			at = next
		}
	})
}

// both runs f for each node at the same time.
func (c *cluster) both(f func(node int) error) {
	c.Helper()
	var wg sync.WaitGroup
	var errs [2]error
	for i := range errs {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	c.must(errors.Join(errs[:]...))
}

// testLoad has two nodes accept, run, hold back and merge at once, and checks
// that a lane is alone and in order, and that nothing is lost (invariants 1, 4).
func testLoad(t *testing.T, open OpenNode) {
	c := newCluster(t, open)
	const people, each, senders = 6, 25, 3
	var mu sync.Mutex
	busy := map[int64]bool{}
	// A merge brings in what is older than what ran before it: order is that of
	// the deliveries that came by one person.
	last, person := map[string]int64{}, map[string]string{}
	var faults []string
	var accepted, done int
	enter := func(w *ledger.Work) {
		mu.Lock()
		defer mu.Unlock()
		if busy[w.LaneID] {
			faults = append(faults, fmt.Sprintf("lane %d runs twice at once", w.LaneID))
		}
		who := person[w.Message.Doc]
		if w.Delivery.Seq <= last[who] {
			faults = append(faults, fmt.Sprintf("%s runs %d after %d", who, w.Delivery.Seq, last[who]))
		}
		busy[w.LaneID], last[who] = true, w.Delivery.Seq
	}
	leave := func(w *ledger.Work) {
		mu.Lock()
		defer mu.Unlock()
		busy[w.LaneID] = false
		done++
	}
	work := func(l ledger.Ledger, lane int64) error {
		w, err := l.Start(t.Context(), lane, c.clock())
		for err == nil && w != nil {
			enter(w)
			claim := fmt.Sprintf("openmrs|Visit|%d", w.Delivery.ID%5)
			err = l.Journal(t.Context(), w, ledger.Plan{Body: []byte("p"), Claims: []string{claim}, Intent: "c"})
			if errors.Is(err, ledger.ErrClaimed) {
				mu.Lock()
				busy[w.LaneID], last[person[w.Message.Doc]] = false, w.Delivery.Seq-1
				mu.Unlock()
				return nil
			}
			if err == nil {
				err = l.Step(t.Context(), w, ledger.Step{Kind: ledger.StepAnswer, Call: "c"})
			}
			if err == nil {
				leave(w)
				w, err = l.End(t.Context(), w, ledger.End{State: ledger.Done}, c.clock())
			}
		}
		return err
	}
	drain := func(l ledger.Ledger) (ran bool, err error) {
		due, _, err := l.Due(t.Context(), c.clock(), 100)
		for _, lane := range due {
			if err == nil {
				err = work(l, lane)
			}
		}
		return len(due) > 0, err
	}
	var sending, working sync.WaitGroup
	errs := make(chan error, 100)
	stop := make(chan struct{})
	for i, l := range c.nodes {
		for s := range senders {
			sending.Go(func() {
				for n := range each {
					who, doc := fmt.Sprintf("person:%d", (n+s)%people), fmt.Sprintf("f%d-%d-%d", i, s, n)
					mu.Lock()
					person[doc] = who
					mu.Unlock()
					if _, err := l.Accept(t.Context(), []ledger.Arrival{msg(doc, "v1", who)}, nil); err != nil {
						errs <- err
						return
					}
					mu.Lock()
					accepted++
					mu.Unlock()
				}
			})
		}
		for range 2 {
			working.Go(func() {
				for {
					ran, err := drain(l)
					if err != nil {
						errs <- err
						return
					}
					select {
					case <-stop:
						if !ran {
							return
						}
					default:
					}
				}
			})
		}
	}
	sending.Go(func() {
		for n := range 2 {
			if err := c.nodes[n].Merge(t.Context(), fmt.Sprintf("person:%d", n), fmt.Sprintf("person:%d", n+1), "amina"); err != nil {
				errs <- err
			}
		}
	})
	sending.Wait()
	close(stop)
	working.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	for ran := true; ran; {
		var err error
		ran, err = drain(c.nodes[0])
		c.must(err)
	}
	slices.Sort(faults)
	for _, f := range faults {
		t.Error(f)
	}
	if accepted != len(c.nodes)*senders*each || done != accepted {
		t.Errorf("%d accepted, %d done", accepted, done)
	}
	counts, err := c.nodes[1].Counts(t.Context())
	c.must(err)
	if len(counts) != 1 || counts[0].State != ledger.Done || counts[0].N != int64(accepted) {
		t.Errorf("counted %+v of %d", counts, accepted)
	}
}
