//go:build unix

package chaos

import (
	"syscall"
	"time"

	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// sluggish has the systems take long for some requests, so that nodes have work
// in hand whenever something happens to them.
func (w *world) sluggish() {
	for _, s := range w.sims {
		s.Traffic().Switch(simulate.Fault{Kind: simulate.Slow, Match: "*", Share: 0.3, Delay: 120 * time.Millisecond})
	}
}

// paused stops one of two nodes for longer than its lease, as when its machine
// is suspended, and lets it go on: it finds its lanes taken over. What it then
// writes is refused; what it had almost sent is late and does no harm. There are
// no edits: a first version that waited in its socket all the while would be
// taken for news, as the documentation says.
func paused(r *round) {
	w := r.world(postgrestest.Shared(r).URL(schema()), 2)
	w.sluggish()
	for _, m := range w.members {
		m.start()
	}
	w.trafficOf(false)
	w.while(func() {
		w.pause(300*time.Millisecond, time.Duration(size(600, 1000))*time.Millisecond)
		m := w.members[w.rng.IntN(2)]
		node := w.nodeNumber(m)
		m.signal(syscall.SIGSTOP)
		w.orphaned(node)
		w.tally.faults++
		w.mayBeLate += m.Workers
		if whole() {
			w.pause(lease, 3*lease)
		} else {
			w.pause(lease*5/4, 2*lease)
		}
		m.signal(syscall.SIGCONT)
	})
	w.settle(false)
}

// cutLease ends before the last of some calls that are announced together.
const cutLease = 900 * time.Millisecond

// cutOff cuts one of two nodes off the database, so that it notices or not, for
// a while: it stops sending before its lease ends, and works again afterwards.
func cutOff(r *round) {
	w := r.world(postgrestest.Shared(r).URL(schema()), 2)
	w.sluggish()
	m := w.members[0]
	c := postgrestest.NewCable(r, w.url, nil)
	m.Database = c.URL
	for _, m := range w.members {
		m.Lease = cutLease
		m.start()
	}
	w.traffic()
	w.while(func() {
		w.pause(300*time.Millisecond, time.Duration(size(600, 1000))*time.Millisecond)
		node := w.nodeNumber(m)
		w.tally.faults++
		w.mayBeLate += m.Workers
		// What is in hand now sends its calls, announced together, for longer than the lease.
		w.calmly()
		for _, s := range w.sims {
			s.Traffic().Switch(simulate.Fault{Kind: simulate.Slow, Delay: callTimeout * 7 / 10})
		}
		w.pause(50*time.Millisecond, 300*time.Millisecond)
		cut := time.Now()
		if w.rng.IntN(2) == 0 {
			c.Pull()
		} else {
			c.Clamp()
		}
		w.orphaned(node)
		if whole() {
			w.pause(cutLease/3, 5*cutLease)
		} else {
			w.pause(cutLease*3/2, 2*cutLease)
		}
		mended := time.Now()
		c.Mend()
		w.calmly()
		w.sluggish()
		// Its last heartbeat was before the cut: by then nothing of it may be sent.
		over := cut.Add(cutLease + cutLease/6)
		for _, a := range w.gate.arrivals() {
			if a.node == m.n && a.from.After(over) && a.from.Before(mended) {
				w.Errorf("call %s came %s after its node was cut off, whose lease is %s", a, a.from.Sub(cut), cutLease)
			}
		}
	})
	w.settle(false)
}

// usualLease kills a node that has work in hand, with the lease that nodes have
// when nothing is said, and asks the ledger how long it took to take over.
func usualLease(r *round) {
	if !whole() {
		r.Skip("takes 40 seconds: make chaos")
	}
	w := r.world(postgrestest.Shared(r).URL(schema()), 2)
	for _, s := range w.sims {
		s.Traffic().Switch(simulate.Fault{Kind: simulate.Slow, Delay: 300 * time.Millisecond})
	}
	for _, m := range w.members {
		m.Lease, m.Sweep = 0, 0
		m.start()
	}
	l := newLoad(w.rng, 40, 3)
	l.pause = 20 * time.Millisecond
	w.begin(l)
	w.pause(time.Second, 2*time.Second)
	w.strike(w.members[0])
	if len(w.orphans) == 0 {
		r.Fatal("the node that was killed had nothing in hand")
	}
	w.calmly()
	w.wait()
	w.rest(false)
	w.balance()
	if w.tally.takeover == 0 || w.tally.takeover > time.Minute {
		r.Errorf("%d lanes were taken over within %s, want within a minute", len(w.orphans), w.tally.takeover)
	}
}
