package lane

import (
	"context"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// worker takes lanes from the queue until the dispatcher stops.
func (d *Dispatcher) worker(ctx context.Context) {
	for p := d.take(); p != nil; p = d.take() {
		for p != nil {
			p = d.turn(ctx, p)
		}
	}
}

// turn gives a lane its turn. It gives the lane whose work the ledger started
// as it freed this one, nil if there is none.
func (d *Dispatcher) turn(ctx context.Context, p *place) (next *place) {
	rest, next := d.drain(ctx, p)
	if rest != nil && rest.Bulk {
		// The ledger knows whether something of today's has come behind it; it
		// is rung again then, and else found when there is room.
		if err := d.release(context.WithoutCancel(ctx), rest); err != nil {
			d.log("%v", err)
		}
		rest = nil
	}
	d.put(p, rest)
	return next
}

// take waits for a lane, and gives nil when the dispatcher stops.
func (d *Dispatcher) take() *place {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.stopping && d.live.len() == 0 && !d.bulkReady() {
		d.work.Wait()
	}
	if d.stopping {
		return nil
	}
	if d.turns.Bulk(d.live.len() > 0, d.bulkReady()) {
		d.inBulk++
		return d.taken(d.bulk.pop())
	}
	return d.taken(d.live.pop())
}

// taken notes that a place runs from now on.
func (d *Dispatcher) taken(p *place) *place {
	p.running, p.again = true, false
	if d.missed && d.live.len() <= d.opts.Window/2 || d.unseen && d.bulk.len() <= d.opts.Window/4 {
		d.lookNow()
	}
	return p
}

// offer takes a lane of today's that is still to be started, for a worker whose
// own is being freed, nil if there is none. Where bulk may be due its turn, the
// worker comes to take.
func (d *Dispatcher) offer() *place {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping || d.live.len() == 0 || d.live.peek().work != nil || d.bulkReady() {
		return nil
	}
	return d.taken(d.live.pop())
}

// bulkReady tells whether a lane of bulk may be taken now. Entries of lanes
// that were rung since, and moved among today's, are passed over.
func (d *Dispatcher) bulkReady() bool {
	for d.bulk.len() > 0 {
		p := d.bulk.peek()
		if p.bulk && !p.running && d.known[p.lane] == p {
			return d.inBulk < MostBulk(d.opts.Workers)
		}
		d.bulk.pop()
	}
	return false
}

// drain runs the deliveries of a lane, one after the other, until there is no
// more or its turn is over; then it gives the work that is left, or the lane
// that the ledger started instead.
func (d *Dispatcher) drain(ctx context.Context, p *place) (rest *ledger.Work, other *place) {
	w := p.work
	p.work = nil
	if w == nil {
		var err error
		if w, err = d.ledger.Start(ctx, p.lane, d.ledger.Now()); err != nil {
			d.log("lane %d cannot be started: %v", p.lane, err)
			return nil, nil
		}
	}
	until := time.Now().Add(d.opts.TurnFor)
	for n := 1; w != nil; n++ {
		w.Then = func() int64 {
			if other = d.offer(); other == nil {
				return 0
			}
			return other.lane
		}
		next := d.run(ctx, w)
		own := next != nil && next.LaneID == w.LaneID && next.Epoch == w.Epoch
		if other != nil && !own {
			return nil, d.started(other, next)
		}
		if other != nil {
			// Asked in a transaction that was then made again: it is queued again.
			d.Ring(other.lane)
			d.put(other, nil)
			other = nil
		}
		if w = next; w != nil && d.over(w, n, until) {
			return w, nil
		}
	}
	return nil, nil
}

// started gives a lane that was offered, with the work that it was started
// with; if there is none, nobody knows whether it is due, and it is still to be
// started. A dispatcher that stops gives it back.
func (d *Dispatcher) started(p *place, w *ledger.Work) *place {
	d.mu.Lock()
	defer d.mu.Unlock()
	p.work = w
	if d.stopping {
		return nil
	}
	return p
}

// over tells whether a lane must step back after n deliveries: only if others
// wait, or the dispatcher stops. Bulk steps back for today's work at once.
func (d *Dispatcher) over(next *ledger.Work, n int, until time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping || next.Bulk && d.live.len() > 0 {
		return true
	}
	return d.live.len()+d.bulk.len() > 0 && (n >= d.opts.Turn || !time.Now().Before(until))
}

// put brings a lane back to the end of the queue if it has more to do.
func (d *Dispatcher) put(p *place, rest *ledger.Work) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.bulk {
		d.inBulk--
		d.work.Signal() // more of bulk may be taken
	}
	if rest == nil && !p.again {
		delete(d.known, p.lane)
		d.lookSoon()
		return
	}
	p.running, p.again, p.bulk, p.work = false, false, false, rest
	d.live.push(p)
	d.work.Signal()
}
