// Package lane keeps workers busy with the lanes that are due. The truth of
// what is due, and of who runs a lane, is in the ledger; the dispatcher holds
// a window of it in memory and may forget all of it at any time.
package lane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/gate"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Ledger is what the dispatcher needs of a ledger.Ledger.
type Ledger interface {
	Due(ctx context.Context, now time.Time, limit int) (lanes []int64, next time.Time, err error)
	Start(ctx context.Context, lane int64, now time.Time) (*ledger.Work, error)
	Release(ctx context.Context, w *ledger.Work) error
	Now() time.Time
}

// Classed is a Ledger that tells the lanes with today's work from those whose
// work came all in bulk (law 27). Without it all are today's.
type Classed interface {
	DueByClass(ctx context.Context, now time.Time, limit int) (live, bulk []int64, next time.Time, err error)
}

// Due asks a ledger what is due, by class if it tells.
func Due(ctx context.Context, l Ledger, now time.Time, limit int) (live, bulk []int64, next time.Time, err error) {
	if c, ok := l.(Classed); ok {
		return c.DueByClass(ctx, now, limit)
	}
	live, next, err = l.Due(ctx, now, limit)
	return live, nil, next, err
}

// MostBulk is how many of so many workers bulk may have: some are always free
// for today's work, if there are several.
func MostBulk(workers int) int { return max(workers-workers/gate.Share, 1) }

// Run runs one delivery until it ended or paused, and gives the lane's next
// work as ledger.End gave it, nil if the lane was freed. It must not panic.
// When its context ends, the process is about to stop: it returns as soon as
// it can, also in the middle of a delivery.
type Run func(ctx context.Context, w *ledger.Work) (next *ledger.Work)

// Options of a Dispatcher; zero values are the defaults.
type Options struct {
	Workers int           // deliveries at once; 32
	Window  int           // lanes kept in memory, of bulk half as many; 4,096 (law 28)
	Turn    int           // deliveries a lane may run while others wait; 20
	TurnFor time.Duration // and for how long; 30 s
	Sweep   time.Duration // how often overdue lanes are looked for; 10 s (law 4)
	// Soon bounds how late a lane is noticed that a run made due later; 200 ms.
	Soon time.Duration
	// Grace is how long a stop waits for the running deliveries before it ends
	// their contexts; 20 s. Negative: not at all.
	Grace time.Duration
	// Log is told of failures of the ledger; nil: nothing.
	Log func(text string)
}

func (o Options) withDefaults() Options {
	set := func(v *int, standard int) {
		if *v <= 0 {
			*v = standard
		}
	}
	span := func(v *time.Duration, standard time.Duration) {
		if *v == 0 {
			*v = standard
		}
	}
	set(&o.Workers, 32)
	set(&o.Window, 4096)
	set(&o.Turn, 20)
	span(&o.TurnFor, 30*time.Second)
	span(&o.Sweep, 10*time.Second)
	span(&o.Soon, 200*time.Millisecond)
	span(&o.Grace, 20*time.Second)
	return o
}

// Dispatcher runs lanes in this process.
type Dispatcher struct {
	ledger Ledger
	run    Run
	opts   Options

	mu       sync.Mutex
	work     sync.Cond // something is queued, or stopping
	live     fifo
	bulk     fifo
	turns    gate.Turns
	inBulk   int              // workers that run bulk
	known    map[int64]*place // lanes queued or running here
	missed   bool             // the window was full: more may be due
	unseen   bool             // and more of bulk
	stopping bool
	look     chan struct{} // ask the ledger what is due; of capacity 1
	soon     bool          // a look is already arranged
}

// place is where a lane is in this process.
type place struct {
	lane    int64
	bulk    bool // it is queued, or runs, as bulk
	running bool
	again   bool // it was rung while it ran
	// work is set if the lane is taken and stepped back to let others run.
	work *ledger.Work
}

// New makes a dispatcher; Run starts it.
func New(l Ledger, run Run, o Options) *Dispatcher {
	d := &Dispatcher{ledger: l, run: run, opts: o.withDefaults(), known: map[int64]*place{}, look: make(chan struct{}, 1)}
	d.work.L = &d.mu
	return d
}

// Ring says that lanes are due now. It does not block, and may be called from
// ledger.OnDue. Ringing a lane that is not due costs one empty Start.
func (d *Dispatcher) Ring(lanes ...int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range lanes {
		d.ring(id)
	}
}

func (d *Dispatcher) ring(id int64) {
	p := d.known[id]
	switch {
	case p != nil && p.running:
		p.again = true
		return
	case p != nil && !p.bulk:
		return
	case p == nil && d.live.len() >= d.opts.Window:
		d.missed = true
		return
	case p == nil:
		p = &place{lane: id}
		d.known[id] = p
	}
	// Its entry among bulk, if it was there, is passed over: see drop.
	p.bulk = false
	d.live.push(p)
	d.work.Signal()
}

// ringBulk queues a lane of bulk.
func (d *Dispatcher) ringBulk(id int64) {
	switch {
	case d.known[id] != nil:
		return
	case d.bulk.len() >= d.opts.Window/2:
		d.unseen = true
		return
	}
	p := &place{lane: id, bulk: true}
	d.known[id] = p
	d.bulk.push(p)
	d.work.Signal()
}

// Look says that lanes of bulk became due: they are not rung one by one. It
// does not block.
func (d *Dispatcher) Look() { d.lookNow() }

// Run dispatches until the context ends; then it starts nothing more, waits
// for what is running, and gives the lanes back. It gives an error if not all
// could be given back: the ledger then treats them as it does after a crash.
func (d *Dispatcher) Run(ctx context.Context) error {
	runs, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	var workers sync.WaitGroup
	for range d.opts.Workers {
		workers.Go(func() { d.worker(runs) })
	}
	d.watch(ctx)

	d.mu.Lock()
	d.stopping = true
	d.work.Broadcast()
	d.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		workers.Wait()
		close(idle)
	}()
	if d.opts.Grace > 0 {
		timer := time.NewTimer(d.opts.Grace)
		defer timer.Stop()
		select {
		case <-idle:
		case <-timer.C:
		}
	}
	kill()
	<-idle
	return d.giveBack(context.WithoutCancel(ctx))
}

// giveBack releases the lanes that had stepped back.
func (d *Dispatcher) giveBack(ctx context.Context) error {
	d.mu.Lock()
	var back []*ledger.Work
	for _, p := range d.known {
		if p.work != nil {
			back = append(back, p.work)
		}
	}
	clear(d.known)
	d.mu.Unlock()
	// Not under the lock: the ledger's writer rings before it answers.
	var errs []error
	for _, w := range back {
		errs = append(errs, d.release(ctx, w))
	}
	return errors.Join(errs...)
}

func (d *Dispatcher) release(ctx context.Context, w *ledger.Work) error {
	if err := d.ledger.Release(ctx, w); err != nil && !errors.Is(err, ledger.ErrFenced) {
		return fmt.Errorf("give back lane %d: %w", w.LaneID, err)
	}
	return nil
}

// watch fills the window from the ledger: at the start, when the next lane is
// due, when the window was full and has room, and at each sweep.
func (d *Dispatcher) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.look:
		}
		timer.Reset(d.fill(ctx))
	}
}

// fill rings what is due, and gives when to look again.
func (d *Dispatcher) fill(ctx context.Context) time.Duration {
	d.mu.Lock()
	d.missed, d.unseen = false, false
	d.mu.Unlock()
	now := d.ledger.Now()
	live, bulk, next, err := Due(ctx, d.ledger, now, d.opts.Window)
	if err != nil {
		if ctx.Err() == nil {
			d.log("the ledger does not say what is due: %v", err)
		}
		return min(time.Second, d.opts.Sweep)
	}
	d.mu.Lock()
	for _, id := range live {
		if p := d.known[id]; p == nil || p.bulk && !p.running {
			d.ring(id)
		}
	}
	for _, id := range bulk {
		d.ringBulk(id)
	}
	d.missed = d.missed || len(live) >= d.opts.Window
	d.unseen = d.unseen || len(bulk) >= d.opts.Window
	d.mu.Unlock()
	if next.IsZero() {
		return d.opts.Sweep
	}
	return min(max(next.Sub(now), time.Millisecond), d.opts.Sweep)
}

// lookNow asks the watcher to look at the ledger.
func (d *Dispatcher) lookNow() {
	select {
	case d.look <- struct{}{}:
	default: // it will look anyway
	}
}

// lookSoon arranges one look for all that end within a short time: what they
// did may be due before the next sweep.
func (d *Dispatcher) lookSoon() {
	if d.soon || d.stopping {
		return
	}
	d.soon = true
	time.AfterFunc(d.opts.Soon, func() {
		d.mu.Lock()
		d.soon = false
		d.mu.Unlock()
		d.lookNow()
	})
}

func (d *Dispatcher) log(format string, args ...any) {
	if d.opts.Log != nil {
		d.opts.Log(fmt.Sprintf(format, args...))
	}
}
