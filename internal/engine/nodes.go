package engine

import (
	"context"
	"time"

	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
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
	// MaySend asks that again, right before something is written.
	MaySend(ctx context.Context) error
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

// onBulk has the dispatcher in process look for lanes of bulk when some became
// due; River's sweep finds them by itself.
func (e *Engine) onBulk() {
	l, tells := e.Ledger.(interface{ OnBulk(func()) })
	d, looks := e.dispatcher.(interface{ Look() })
	if tells && looks {
		l.OnBulk(d.Look)
	}
}

// hold binds what is sent to this node's lease.
func (o *Options) hold() func(context.Context) (context.Context, context.CancelFunc, error) {
	n, ok := o.Ledger.(node)
	if !ok || o.Dispatcher == nil {
		return nil // nobody else runs our lanes
	}
	return func(ctx context.Context) (context.Context, context.CancelFunc, error) {
		held, end, err := n.Hold(ctx)
		if err != nil {
			return nil, nil, err
		}
		return system.WithGuard(held, func() error { return n.MaySend(held) }), end, nil
	}
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
