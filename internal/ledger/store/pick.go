package store

import (
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// passWindow is how many open deliveries of a lane are looked at for one that
// may pass those that wait. What stands behind them waits its turn.
const passWindow = 200

// brief is what decides whether a delivery may run.
type brief struct {
	id      int64
	flow    string
	mac     []byte // of the each-key
	state   ledger.State
	seq     int64
	lane    int64
	via     []int64 // lanes it came by
	in      []int64 // lanes it stands in, aliases followed
	due     int64
	blocked bool
	claims  bool // blocked by claims of others
	systems string
	starts  int64
	planNo  int64
	planned bool
	calls   int64
	message int64
	bulk    bool // it came in bulk; of a picked one: its lane is bulk
}

func scanBrief(r row) brief {
	return brief{id: r.int(0), flow: r.text(1), mac: r.blob(2), state: ledger.State(r.text(3)), seq: r.int(4), lane: r.int(5),
		via: splitIDs(r.text(6)), due: r.int(7), blocked: r.text(8) != "", claims: r.text(8) == string(ledger.BlockClaim), systems: r.text(9), starts: r.int(10),
		planNo: r.int(11), planned: r.int(12) != 0, calls: r.int(13), message: r.int(14), bulk: r.int(15) != 0}
}

// mayRun tells whether nothing but time and order keeps it.
func (d *brief) mayRun() bool {
	return !d.blocked && d.state != ledger.Held && d.state != ledger.HalfUndone && !d.state.Ended()
}

// queueOf reads the first open deliveries of a lane, in order.
func (t *tx) queueOf(lane int64) ([]brief, error) {
	var q []brief
	err := t.each(qQueue, func(r row) (bool, error) {
		q = append(q, scanBrief(r))
		return true, nil
	}, lane, int64(passWindow))
	return q, err
}

// pick chooses the delivery of a lane that is to run now: the first, but one
// that waits or is held is passed by those that share no system with it (law
// 1), and one that stands in several lanes runs when it is first in each (law
// 15). Wake is the lane's due_at: now if there is one, else when there will be,
// 0 if nothing is known; negative if the lane is bulk (see dueAt).
func (t *tx) pick(lane, now int64) (picked *brief, wake int64, err error) {
	q, err := t.queueOf(lane)
	if err != nil {
		return nil, 0, err
	}
	bulk := allBulk(q)
	var before ahead
	for i := range q {
		d := &q[i]
		passes, err := t.passes(d, &before)
		if err != nil {
			return nil, 0, err
		}
		if !passes {
			before.add(d)
			continue
		}
		if d.due > now {
			if wake == 0 || d.due < wake {
				wake = d.due
			}
			before.others.add(d.systems)
			continue
		}
		if d.in, err = t.standsIn(d, lane); err != nil {
			return nil, 0, err
		}
		first, err := t.firstElsewhere(d, lane, now)
		if err != nil {
			return nil, 0, err
		}
		if !first {
			before.claims.add(d.systems)
			continue
		}
		if poison, err := t.poisoned(d); err != nil {
			return nil, 0, err
		} else if poison {
			before.others.add(d.systems)
			continue
		}
		d.bulk = bulk
		return d, dueAt(now, bulk), nil
	}
	return nil, dueAt(wake, bulk), nil
}

func (t *tx) standsIn(d *brief, lane int64) ([]int64, error) {
	if len(d.via) == 1 {
		return []int64{lane}, nil
	}
	if err := t.needAlone(); err != nil {
		return nil, err
	}
	return t.lanesOf(d.via)
}

// firstElsewhere tells whether a delivery that stands in several lanes is first
// in the others too, and whether those are idle. If not, no wake is needed:
// the last of the lanes to come to it starts it.
func (t *tx) firstElsewhere(d *brief, lane, now int64) (bool, error) {
	for _, other := range d.in {
		if other == lane {
			continue
		}
		l, err := t.lane(other)
		if err != nil {
			return false, err
		}
		if l.owner != 0 || l.merging || l.recovering {
			return false, nil
		}
		q, err := t.queueOf(other)
		if err != nil {
			return false, err
		}
		var before ahead
		for i := range q {
			passes, err := t.passes(&q[i], &before)
			if err != nil {
				return false, err
			}
			if q[i].id == d.id {
				if !passes {
					return false, nil
				}
				break
			}
			switch {
			case !passes:
				before.add(&q[i])
			case q[i].due > now:
				before.others.add(q[i].systems)
			case len(q[i].via) > 1:
				before.claims.add(q[i].systems) // it may not be first in another lane
			default:
				return false, nil // its turn comes first
			}
		}
	}
	return true, nil
}

// passes tells whether a delivery may run before those that are open ahead of
// it in a lane: it shares no system with them. If those that it shares one with
// only wait for claims, or behind such, it passes them while somebody waits for
// what it has claimed: it began before they came ahead of it (lanes were merged,
// or a person made one of them due again), and neither would ever run if each
// waited for the other.
func (t *tx) passes(d *brief, before *ahead) (bool, error) {
	switch {
	case !d.mayRun() || before.others.meet(d.systems):
		return false, nil
	case !before.claims.meet(d.systems):
		return true, nil
	}
	return one(t, qWaited, func(row) {}, d.id, d.id)
}

// ahead are the systems of the deliveries ahead of one in a lane; apart those
// of deliveries that wait for a claim, or behind such.
type ahead struct{ claims, others systems }

// add takes in a delivery that did not pass those before it.
func (a *ahead) add(d *brief) {
	if d.claims || d.mayRun() && !a.others.meet(d.systems) {
		a.claims.add(d.systems)
	} else {
		a.others.add(d.systems)
	}
}

// poisoned holds a delivery that was started twice and never ended: it may be
// what kills the process (law 25).
func (t *tx) poisoned(d *brief) (bool, error) {
	if d.starts < 2 {
		return false, nil
	}
	d.state = ledger.Held
	return true, t.must(qSetState, string(ledger.Held), "the process ended twice while this delivery was run", "poison", "poison", "", "", int64(0), int64(0), d.starts, d.id)
}

// systems is a set of names.
type systems []string

func (s *systems) add(lines string) {
	for name := range strings.SplitSeq(lines, "\n") {
		if !slices.Contains(*s, name) {
			*s = append(*s, name)
		}
	}
}

// meet tells whether a delivery's systems share one with the set. A delivery
// that names none is taken to touch all.
func (s systems) meet(lines string) bool {
	if len(s) == 0 {
		return false
	}
	if lines == "" || slices.Contains(s, "") {
		return true
	}
	for name := range strings.SplitSeq(lines, "\n") {
		if slices.Contains(s, name) {
			return true
		}
	}
	return false
}
