//go:build unix

package chaos

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// killed kills the one node of a SQLite ledger at random moments under load.
func killed(r *round) {
	w := r.world("", 1)
	w.slow()
	m := w.members[0]
	m.start()
	w.traffic()
	w.while(func() {
		w.pause(20*time.Millisecond, 400*time.Millisecond)
		if w.tally.faults == 0 || w.rng.IntN(3) == 0 {
			w.atAcknowledgement()
		}
		m.kill()
		w.tally.faults++
		w.mayBeLate += m.Workers // what had left it
		m.start()
	})
	w.settle(false)
}

// slowCommit is how much longer a commit may take, so that something happens
// while it is under way.
const slowCommit = 80 * time.Millisecond

// atAcknowledgement has commits take long, waits a while, and kills the node
// that acknowledges a message at the moment it does: what is acknowledged is
// committed by then. It gives the node, nil if nothing came.
func (w *world) atAcknowledgement() *member {
	w.Helper()
	for _, m := range w.members {
		if m.up() {
			m.set(conditions{Delay: slowCommit})
			m.conditions = conditions{} // when it starts again
		}
	}
	dead := make(chan *member, 1)
	f := func(m *member) {
		_ = m.cmd.Process.Kill()
		dead <- m
	}
	w.load.ackedBy.Store(&f)
	select {
	case m := <-dead:
		return m
	case <-w.load.ended:
	case <-time.After(2 * time.Second):
	}
	if w.load.ackedBy.CompareAndSwap(&f, nil) {
		return nil
	}
	return <-dead
}

// nodesKilled kills, stops and starts two nodes in any order; what one had in
// hand the other takes over, or the same one when it starts again.
func nodesKilled(r *round) {
	w := r.world(postgrestest.Shared(r).URL(schema()), 2)
	w.slow()
	for _, m := range w.members {
		m.start()
	}
	w.traffic()
	w.while(func() {
		w.pause(50*time.Millisecond, 700*time.Millisecond)
		m := w.members[w.rng.IntN(2)]
		switch k := w.rng.IntN(5); {
		case w.tally.faults == 0 || k == 4:
			if dead := w.atAcknowledgement(); dead != nil {
				m = dead
			}
			w.strike(m)
			for _, m := range w.members {
				if m.up() {
					m.set(m.conditions)
				}
			}
		case k == 0: // as in a rolling restart
			m.stop()
		case k == 1: // both
			w.strike(w.members[0])
			w.strike(w.members[1])
		default:
			w.strike(m)
		}
		if w.rng.IntN(2) == 0 {
			w.pause(lease, 2*lease)
		}
		for _, m := range w.members {
			if !m.up() {
				m.start()
			}
		}
	})
	w.settle(false)
}

// strike kills a node and notes what it had in hand.
func (w *world) strike(m *member) {
	w.Helper()
	node := w.nodeNumber(m)
	m.kill()
	w.orphaned(node)
	w.tally.faults++
	w.mayBeLate += m.Workers
}

// stopped tells a node to stop in the middle: it ends well, and leaves nothing
// taken.
func stopped(r *round) {
	database := ""
	if r.seed%2 == 1 {
		database = postgrestest.Shared(r).URL(schema())
	}
	w := r.world(database, 1)
	w.slow()
	m := w.members[0]
	m.start()
	w.traffic()
	w.while(func() {
		w.pause(20*time.Millisecond, 400*time.Millisecond)
		m.stop()
		w.tally.faults++
		if database == "" {
			w.attach()
		}
		if n := w.rows(`SELECT COUNT(*) FROM lane WHERE owner <> 0`)[0][0].(int64); n != 0 {
			w.Errorf("a node that was told to stop kept %d lanes", n)
		}
		if n := w.rows(`SELECT COUNT(*) FROM delivery WHERE starts > 1`)[0][0].(int64); n != 0 {
			w.Errorf("%d deliveries count as in flight at a crash", n)
		}
		if database == "" {
			w.detach()
		}
		m.start()
	})
	w.settle(false)
}

// points kills a node at every point of a commit of a small workload.
func points(r *round) { allPoints(r, func() string { return "" }) }

func pgPoints(r *round) {
	c := postgrestest.Shared(r)
	allPoints(r, func() string { return c.URL(schema()) })
}

func allPoints(r *round, database func() string) {
	// Without a kill, to know how many there are.
	all := int(r.point(database(), 0))
	if all < 40 {
		r.Fatalf("only %d points: the workload is too small", all)
	}
	short := 3
	if r.worlds[0].url != "" {
		short = 2
	}
	order := r.worlds[0].rng.Perm(all)
	played := 0
	for i, p := range order {
		if !whole() && i == short || whole() && time.Now().After(r.until) {
			break
		}
		r.point(database(), int64(p)+1)
		played++
	}
	r.note = fmt.Sprintf("%d of %d points", played, all)
}

// point plays the workload with a kill at one point, and gives how many points
// the node met.
func (r *round) point(database string, at int64) int64 {
	w := r.world(database, 1)
	defer w.end()
	m := w.members[0]
	m.Strike, m.Unshared = at, true
	w.mayBeLate += m.Workers
	if err := m.tryStart(time.Minute); err != nil && at == 0 {
		r.Fatal(err)
	}
	// Lines of the journal of every kind: answers are lost, and a refusal has all
	// that a delivery did taken back, until it is tried again.
	for _, sim := range w.sims {
		sim.Traffic().Switch(simulate.Fault{Kind: simulate.LostResponse, Call: 3, Times: 2})
	}
	w.sims[clinictest.ServerA].Traffic().Switch(simulate.Fault{Kind: simulate.Refuse, Match: "POST /ws/rest/v1/encounter", Call: 2})
	l := newLoad(w.rng, 3, 4)
	w.begin(l)
	retried := map[int64]int{}
	for ; at > 0; time.Sleep(time.Millisecond) {
		if !m.gone() && (l.busy() || len(w.tend(true, retried)) > 0 || !m.disarm()) {
			continue
		}
		at = 0
		if m.gone() { // else it met fewer points this time
			w.tally.faults++
			m.reap()
			m.Strike = 0
			m.start()
		}
	}
	w.wait()
	w.rest(true)
	w.balance()
	return w.met(m)
}

// disarm has a node not kill itself any more; false if it did so just now.
func (m *member) disarm() bool {
	answer, err := http.Post(m.at()+"/disarm", "", nil)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return true
}

// met asks a node how many points of commits it has met.
func (w *world) met(m *member) int64 {
	w.Helper()
	answer, err := http.Get(m.at() + "/points")
	w.must(err)
	defer answer.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(answer.Body)
	w.must(err)
	n, err := strconv.ParseInt(b.String(), 10, 64)
	w.must(err)
	return n
}
