package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
)

// settle waits until CommCare has forwarded everything, the feeds are read to
// their end, and nothing moves by itself any more: what moved may have made an
// entry of a feed, so that it is looked at again.
func (w *World) settle(ctx context.Context, deadline time.Time) error {
	for quiet := 0; quiet < 2; {
		if err := w.forwardAll(ctx, deadline); err != nil {
			return err
		}
		if err := w.Engine.Settle(ctx, time.Until(deadline)); err != nil {
			return err
		}
		before, err := w.count(ctx)
		if err != nil {
			return err
		}
		if err := w.catchUp(ctx, deadline); err != nil {
			return err
		}
		after, err := w.count(ctx)
		if err != nil {
			return err
		}
		if quiet++; after != before {
			quiet = 0
		}
	}
	return nil
}

func (w *World) forwardAll(ctx context.Context, deadline time.Time) error {
	for w.commcare != nil && len(w.commcare.Pending()) > 0 {
		if time.Now().After(deadline) {
			return errors.New("CommCare has not forwarded everything in time")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// catchUp reads every stream and every list to its end. A system that stumbles
// is asked again, as the engine would.
func (w *World) catchUp(ctx context.Context, deadline time.Time) error {
	for _, s := range w.systems {
		poller, ok := w.poller(s)
		if !ok {
			continue
		}
		for _, stream := range poller.Streams() {
			if err := again(ctx, deadline, func() error { return w.Engine.Poll(ctx, s.name, stream.Name) }); err != nil {
				return fmt.Errorf("poll %s/%s: %w", s.name, stream.Name, err)
			}
		}
	}
	for _, name := range w.lists() {
		if err := again(ctx, deadline, func() error { return w.Engine.Fetch(ctx, name, "") }); err != nil {
			return fmt.Errorf("list of %s: %w", name, err)
		}
	}
	return nil
}

// poller is a system as one that is polled, if it is.
func (w *World) poller(s *system) (connector.Poller, bool) {
	port := w.Engine.Systems[s.name]
	if port == nil { // switched off
		return nil, false
	}
	p, ok := port.System.(connector.Poller)
	return p, ok
}

// again does something until it succeeds or time is up.
func again(ctx context.Context, deadline time.Time, do func() error) error {
	for {
		err := do()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lists names the flows that ask for a list.
func (w *World) lists() []string {
	var out []string
	for _, in := range w.Engine.Integrations {
		for _, f := range in.Flows {
			if slices.ContainsFunc(f.From, func(s *flow.Source) bool { return s.Message != nil && s.Message.List != "" }) {
				out = append(out, f.Name)
			}
		}
	}
	return out
}

// ask asks for the lists of flows now, before their time.
func (w *World) ask(ctx context.Context) error {
	for _, name := range w.lists() {
		if _, err := w.Engine.Ask(ctx, name, "", ""); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) count(ctx context.Context) (int64, error) {
	counts, err := w.Ledger.Counts(ctx)
	n := int64(0)
	for _, c := range counts {
		n += c.N
	}
	return n, err
}

// patience is how long the demo waits for everything to come to rest.
const patience = time.Minute
