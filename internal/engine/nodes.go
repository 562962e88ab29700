package engine

import (
	"context"
	"time"

	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Dispatcher runs lanes that are due: lane.Dispatcher in one process,
// river.Dispatcher in several.
type Dispatcher interface {
	Ring(lanes ...int64)
	Run(ctx context.Context) error
}

// node is what a ledger offers to one of several processes that share it. One
// that is of one process alone may leave it out.
type node interface {
	// Lead tells whether this node is the one that does what is named.
	Lead(ctx context.Context, name string, length time.Duration) (bool, error)
	// Hold gives a context that ends when this node may not send any more.
	Hold(ctx context.Context) (context.Context, context.CancelFunc, error)
	// Drop says that this process runs a delivery no more.
	Drop(w *ledger.Work)
}

// dispatch makes the dispatcher.
func (o *Options) dispatch(run lane.Run) (Dispatcher, error) {
	lo := lane.Options{Workers: o.Concurrency, Soon: o.Soon, Grace: o.Grace, Log: func(text string) { o.Log.Warn(text) }}
	if o.Dispatcher != nil {
		return o.Dispatcher(run, lo)
	}
	return lane.New(o.Ledger, run, lo), nil
}

// hold binds what is sent to this node's lease.
func (o *Options) hold() func(context.Context) (context.Context, context.CancelFunc, error) {
	if n, ok := o.Ledger.(node); ok {
		return n.Hold
	}
	return nil
}

const (
	// term is how long a node is the one that polls a stream; it asks again
	// several times in a term.
	term      = 45 * time.Second
	termAsked = term / 3
)

// elected runs f while this node is the one that does what is named.
func (e *Engine) elected(ctx context.Context, name string, f func(context.Context)) {
	n, ok := e.Ledger.(node)
	if !ok {
		f(ctx)
		return
	}
	var now *tenure
	defer func() { now.end() }()
	tick := time.NewTicker(termAsked)
	defer tick.Stop()
	var until time.Time
	for {
		asked := time.Now()
		leads, err := n.Lead(ctx, name, term)
		switch {
		case err != nil:
			leads = asked.Before(until)
			if ctx.Err() == nil {
				e.Log.Warn("could not ask which node is to do it", "what", name, "error", err)
			}
		case leads:
			until = asked.Add(term)
		}
		switch {
		case !leads:
			now.end()
			now = nil
		case now == nil:
			now = begin(ctx, f)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// circuitsLooked is how often the systems that are down are looked at.
const circuitsLooked = 10 * time.Second

// watchCircuits probes systems that another node found down and did not live to
// see come back: deliveries wait for them that nobody else would wake. It runs
// on one node, so that few probes are made (law 27).
func (e *Engine) watchCircuits(ctx context.Context) {
	tick := time.NewTicker(circuitsLooked)
	defer tick.Stop()
	for {
		circuits, err := e.Ledger.Circuits(ctx)
		if err != nil && ctx.Err() == nil {
			e.Log.Warn("could not read which systems are down", "error", err)
		}
		for _, c := range circuits {
			port, ok := e.Systems[c.System]
			if !ok || c.State != circuitOpen || e.Ledger.Now().Sub(c.Since) < circuitsLooked {
				continue
			}
			if open, _ := port.Open(); !open {
				port.Trip(c.Reason)
				e.heal(port)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tenure is the time in which this node does something that one does.
type tenure struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

func begin(ctx context.Context, f func(context.Context)) *tenure {
	ctx, cancel := context.WithCancel(ctx)
	t := &tenure{cancel, make(chan struct{})}
	go func() {
		defer close(t.ended)
		f(ctx)
	}()
	return t
}

func (t *tenure) end() {
	if t != nil {
		t.cancel()
		<-t.ended
	}
}
