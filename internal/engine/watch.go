package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// Watch is told what happens, for metrics and traces. What is nil is not told.
// All of it is called on the way of the work itself: it must be quick.
type Watch struct {
	// Taken: messages arrived, were pushed or polled.
	Taken func(ctx context.Context, t intake.Taken)
	// Running: a delivery is about to be run, under the context that this gives;
	// Ran: the run is over. Ended: the ledger has taken the delivery's end, or
	// that it pauses.
	Running func(ctx context.Context, w *ledger.Work) context.Context
	Ran     func(ctx context.Context, w *ledger.Work, err error)
	Ended   func(ctx context.Context, w *ledger.Work, e *ledger.End, now time.Time)
	// Sending: a request is about to be sent to a system, under the context that
	// this gives; it may add headers. Sent: it was, with what came of it.
	Sending func(ctx context.Context, p *system.Port, r *call.Request) context.Context
	Sent    func(ctx context.Context, s system.Sent)
}

// Join tells both of two.
func (w Watch) Join(other Watch) Watch {
	return Watch{
		Taken:   both(w.Taken, other.Taken),
		Running: joined(w.Running, other.Running),
		Ran: func(ctx context.Context, d *ledger.Work, err error) {
			for _, f := range []func(context.Context, *ledger.Work, error){w.Ran, other.Ran} {
				if f != nil {
					f(ctx, d, err)
				}
			}
		},
		Ended: func(ctx context.Context, d *ledger.Work, e *ledger.End, now time.Time) {
			for _, f := range []func(context.Context, *ledger.Work, *ledger.End, time.Time){w.Ended, other.Ended} {
				if f != nil {
					f(ctx, d, e, now)
				}
			}
		},
		Sending: func(ctx context.Context, p *system.Port, r *call.Request) context.Context {
			for _, f := range []func(context.Context, *system.Port, *call.Request) context.Context{w.Sending, other.Sending} {
				if f != nil {
					ctx = f(ctx, p, r)
				}
			}
			return ctx
		},
		Sent: both(w.Sent, other.Sent),
	}
}

func both[T any](a, b func(context.Context, T)) func(context.Context, T) {
	return func(ctx context.Context, v T) {
		for _, f := range []func(context.Context, T){a, b} {
			if f != nil {
				f(ctx, v)
			}
		}
	}
}

func joined[T any](a, b func(context.Context, T) context.Context) func(context.Context, T) context.Context {
	return func(ctx context.Context, v T) context.Context {
		for _, f := range []func(context.Context, T) context.Context{a, b} {
			if f != nil {
				ctx = f(ctx, v)
			}
		}
		return ctx
	}
}

func (e *Engine) watchSystems() {
	for _, p := range e.Systems {
		p.Observe = e.Watch.Sent
		if sending := e.Watch.Sending; sending != nil {
			p.Sending = func(ctx context.Context, r *call.Request) context.Context { return sending(ctx, p, r) }
		}
	}
}

func (e *Engine) watched(ctx context.Context, w *ledger.Work) (*ledger.Work, error) {
	if e.Watch.Running != nil {
		ctx = e.Watch.Running(ctx, w)
	}
	next, err := e.Runner.Run(ctx, w)
	if e.Watch.Ran != nil {
		e.Watch.Ran(ctx, w, err)
	}
	return next, err
}

func yes(v string) (bool, error) {
	switch v {
	case "yes", "true":
		return true, nil
	case "no", "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", v)
}
