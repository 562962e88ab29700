//go:build unix

package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

// trial is one kind of trouble.
type trial struct {
	name   string // for -chaos.only
	title  string // for the table
	weight int    // of its share of the time
	play   func(r *round)
}

var trials = []trial{
	{"kill", "SQLite, killed at random (kill -9)", 3, killed},
	{"nodes", "PostgreSQL, two nodes, either or both killed, stopped and started in turn", 4, nodesKilled},
	{"points", "SQLite, killed at every commit, before and after it", 6, points},
	{"pgpoints", "PostgreSQL, killed at every commit, before and after it", 15, pgPoints},
	{"targets", "systems that hang, lie, lose answers, are slow or go down", 5, targets},
	{"clocks", "clocks that jump: an hour and ten years ahead, a day back", 3, clocks},
	{"disk", "slow commits, writes that fail, a full disk", 3, disks},
	{"paused", "PostgreSQL, a node paused past its lease and woken late", 4, paused},
	{"cut", "PostgreSQL, a node cut off from the database", 3, cutOff},
	{"usual", "PostgreSQL, the usual lease, a node killed (kill -9) with work in hand", 0, usualLease},
	{"database", "PostgreSQL itself killed and started again, its connections taken away", 4, database},
	{"polls", "feeds and lists that are polled, calls that cannot be looked up: killed at any commit and while they are under way", 4, polls},
	{"stop", "told to stop (SIGTERM) in the middle, and started again", 2, stopped},
}

// round is one playing of a trial.
type round struct {
	*testing.T
	seed  uint64
	until time.Time // its trial's share of the time is over
	// notes of a trial that plays many worlds in one round.
	note   string
	worlds []*world
}

// world makes a world of this round.
func (r *round) world(database string, nodes int) *world {
	r.Helper()
	w := newWorld(r.T, r.seed, database, nodes)
	r.worlds = append(r.worlds, w)
	return w
}

// size chooses between the short form and the whole.
func size(short, long int) int {
	if whole() {
		return long
	}
	return short
}

// traffic is the load of most trials: it comes for some seconds.
func (w *world) traffic() { w.trafficOf(true) }

func (w *world) trafficOf(edits bool) {
	l := drawLoad(w.rng, size(12, 70), size(4, 6), edits)
	l.pause = time.Duration(size(100, 50)) * time.Millisecond
	w.begin(l)
}

// while has f do something again and again as long as forms come, and once at
// least; in the short form once or twice only.
func (w *world) while(f func()) {
	most := size(2, 1000)
	if w.url != "" && !whole() {
		most = 1 // leases take their time
	}
	for n := 0; n == 0 || w.load.busy() && n < most; n++ {
		f()
	}
}

// slow has the systems take a moment for some requests, as they do.
func (w *world) slow() {
	for _, s := range w.sims {
		s.Traffic().Switch(simulate.Fault{Kind: simulate.Slow, Match: "*", Share: 0.3, Delay: 15 * time.Millisecond})
	}
}

// calmly ends all troubles of the systems.
func (w *world) calmly() {
	for _, s := range w.sims {
		s.Traffic().Calm()
	}
	if w.board != nil {
		w.board.traffic.Calm()
	}
	w.gate.lie()
}

// settle waits until the load has come and is dealt with, and balances the books.
func (w *world) settle(asks bool) {
	w.Helper()
	w.wait()
	for _, m := range w.members {
		if !m.up() {
			m.start()
		}
	}
	w.rest(asks)
	w.balance()
}

// run plays rounds of a trial for its share of the time, one at least.
func (x *trial) run(t *testing.T, seed uint64, share time.Duration) *outcome {
	o := &outcome{trial: x}
	until := time.Now().Add(share)
	for n := uint64(0); ; n++ {
		began := time.Now()
		r := &round{seed: seed + n, until: until}
		ok := t.Run(fmt.Sprintf("seed %d", r.seed), func(t *testing.T) {
			r.T = t
			x.play(r)
		})
		o.add(r, ok)
		if !ok || time.Now().Add(time.Since(began)).After(until) {
			return o
		}
	}
}
