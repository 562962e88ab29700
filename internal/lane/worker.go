package lane

import (
	"context"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// worker takes lanes from the queue until the dispatcher stops.
func (d *Dispatcher) worker(ctx context.Context) {
	for {
		t, ok := d.take()
		if !ok {
			return
		}
		rest := d.drain(ctx, t)
		d.put(t.lane, rest)
	}
}

// take waits for a lane.
func (d *Dispatcher) take() (turn, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.queue.len() == 0 && !d.stopping {
		d.work.Wait()
	}
	if d.stopping {
		return turn{}, false
	}
	t := d.queue.pop()
	p := d.known[t.lane]
	p.running, p.again = true, false
	if d.missed && d.queue.len() <= d.opts.Window/2 {
		d.lookNow()
	}
	return t, true
}

// drain runs the deliveries of a lane, one after the other, until there is no
// more or its turn is over; then it gives the work that is left.
func (d *Dispatcher) drain(ctx context.Context, t turn) (rest *ledger.Work) {
	w := t.work
	if w == nil {
		var err error
		if w, err = d.ledger.Start(ctx, t.lane, d.ledger.Now()); err != nil {
			d.log("lane %d cannot be started: %v", t.lane, err)
			return nil
		}
	}
	until := time.Now().Add(d.opts.TurnFor)
	for n := 1; w != nil; n++ {
		w = d.run(ctx, w)
		if w != nil && d.over(n, until) {
			return w
		}
	}
	return nil
}

// over tells whether a lane must step back after n deliveries: only if others
// wait, or the dispatcher stops.
func (d *Dispatcher) over(n int, until time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return true
	}
	return d.queue.len() > 0 && (n >= d.opts.Turn || !time.Now().Before(until))
}

// put brings a lane back to the end of the queue if it has more to do.
func (d *Dispatcher) put(id int64, rest *ledger.Work) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.known[id]
	if rest == nil && !p.again {
		delete(d.known, id)
		d.lookSoon()
		return
	}
	p.running, p.again = false, false
	d.queue.push(turn{lane: id, work: rest})
	d.work.Signal()
}
