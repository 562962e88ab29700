package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/system"
)

const (
	// overlap before the last moment that is surely in the backup: a delivery that
	// ended before it may have written later than another one that ended after it.
	overlap = time.Hour
	// comparedAtOnce are read at a time, within what the system bears.
	comparedAtOnce = 8
)

// ErrNoReplay: the ledger cannot tell what was made in a system.
var ErrNoReplay = errors.New("this ledger cannot tell what was made in a system")

// Replay puts back what a system lost, in receive order: a delivery for each
// document of which something is missing. Then the system goes on.
func (e *Engine) Replay(ctx context.Context, o ledger.ReplayOrder) (*ledger.ReplayReport, error) {
	port, ok := e.Systems[o.System]
	if !ok {
		return nil, fmt.Errorf("the site has no active system %q", o.System)
	}
	led := e.restored.ledger
	if led == nil {
		return nil, ErrNoReplay
	}
	r := &ledger.ReplayReport{System: o.System, Since: o.Since}
	stops, err := led.Stops(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range stops {
		if s.System != o.System {
			continue
		}
		r.Resumed = !o.DryRun
		if r.Since.IsZero() && !s.Kept.IsZero() {
			r.Since = s.Kept.Add(-overlap)
		}
	}
	if o.Accept {
		if o.DryRun {
			return r, nil
		}
		return r, e.resume(ctx, port, o.Who, note("what is gone stays so", o.Note))
	}
	if err := e.missing(ctx, port, r); err != nil || o.DryRun {
		return r, err
	}
	var replays []ledger.Replay
	for _, m := range r.Missing {
		if !m.Wiped {
			replays = append(replays, ledger.Replay{Of: m.Delivery, System: o.System, Again: o.Again})
		}
	}
	if len(replays) > 0 {
		// First all of them, then the system: none of what waited may overtake them.
		stop := ledger.Stopped{Reason: "what is missing in " + o.System + " is being put back; if that was broken off, say again: kiungo replay --missing " + o.System}
		if err := e.halt(ctx, port, stop); !errors.As(err, new(*system.OpenError)) {
			return r, err
		}
		if r.Repeated, err = led.Repeat(ctx, replays); err != nil {
			return r, err
		}
	}
	return r, e.resume(ctx, port, o.Who, note(fmt.Sprintf("%d deliveries are repeated", len(r.Repeated)), o.Note))
}

func note(what, more string) string {
	if more != "" {
		what += ": " + more
	}
	return what
}

// document is what one document, flow and each-key did in the time that is
// looked at.
type document struct {
	newest int64
	wrote  bool
}

// missing compares all that was written since some time with what is there.
func (e *Engine) missing(ctx context.Context, port *system.Port, r *ledger.ReplayReport) error {
	docs := map[string]document{}
	err := e.eachPage(ctx, port, r.Since, func(page []ledger.Writing) error {
		for _, w := range page {
			d := docs[w.Maker]
			docs[w.Maker] = document{w.Delivery.ID, d.wrote || w.Delivery.Calls > 0}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = e.eachPage(ctx, port, r.Since, func(page []ledger.Writing) error {
		page = slices.DeleteFunc(page, func(w ledger.Writing) bool {
			d := docs[w.Maker]
			return !d.wrote || d.newest != w.Delivery.ID
		})
		r.Looked += len(page)
		found, err := e.comparePage(ctx, port, page)
		r.Missing = append(r.Missing, found...)
		return err
	})
	slices.SortFunc(r.Missing, func(a, b ledger.Missing) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Delivery, b.Delivery))
	})
	return err
}

func (e *Engine) eachPage(ctx context.Context, port *system.Port, since time.Time, f func([]ledger.Writing) error) error {
	after := int64(0)
	for {
		page, next, err := e.restored.ledger.Writings(ctx, port.Name(), since, after)
		if err != nil {
			return err
		}
		if err := f(page); err != nil || next == 0 {
			return err
		}
		after = next
	}
}

// comparePage compares several at a time.
func (e *Engine) comparePage(ctx context.Context, port *system.Port, page []ledger.Writing) ([]ledger.Missing, error) {
	found := make([]ledger.Missing, len(page))
	errs := make([]error, len(page))
	work := make(chan int)
	var readers sync.WaitGroup
	for range min(comparedAtOnce, port.Limits.InFlight, len(page)) {
		readers.Go(func() {
			for i := range work {
				found[i], errs[i] = e.compareOne(ctx, port, page[i])
			}
		})
	}
	for i := range page {
		work <- i
	}
	close(work)
	readers.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(m ledger.Missing) bool { return len(m.Gone)+len(m.Changed)+len(m.Back) == 0 }), nil
}

// compareOne compares what one document made with what is there.
func (e *Engine) compareOne(ctx context.Context, port *system.Port, w ledger.Writing) (ledger.Missing, error) {
	out := ledger.Missing{Delivery: w.Delivery.ID, Flow: w.Delivery.Flow, Seq: w.Delivery.Seq, Ended: w.Delivery.Ended, Wiped: w.Wiped}
	for _, m := range w.Made {
		kind := port.Kind(connector.ShortKind(m.Kind))
		if kind == nil || m.ID == "" || m.Gone && (!m.Created || !kind.Spec().Lasts || strings.Contains(m.Record, "@")) {
			continue
		}
		snap, err := e.Ledger.Snapshot(ctx, m.System, m.Kind, m.ID)
		if err != nil {
			return out, err
		}
		found, err := kind.Find(ctx, port.Looker(), connector.Query{Made: m.ID, Base: plan.Base(snap, &m)})
		if err != nil {
			return out, fmt.Errorf("look for what delivery %d made (%s): %w", w.Delivery.ID, m.Record, err)
		}
		switch {
		case m.Gone && found.Exists:
			out.Back = append(out.Back, m.Kind)
		case m.Gone, found.Voided:
		case !found.Exists:
			gone := kind.Spec().Lasts
			if !gone {
				if gone, err = e.canBeLookedUp(ctx, w, m); err != nil {
					return out, err
				}
			}
			if gone {
				out.Gone = append(out.Gone, m.Kind)
			}
		case forgotten(&m, snap, found):
			out.Changed = append(out.Changed, m.Kind)
		}
	}
	return out, nil
}

// canBeLookedUp tells, of a kind whose records may go without a trace, whether
// its calls could be verified: then it is not there. Of what cannot be looked up
// (an SMS) nothing is known.
func (e *Engine) canBeLookedUp(ctx context.Context, w ledger.Writing, m ledger.Made) (bool, error) {
	work, err := e.Ledger.Delivery(ctx, w.Delivery.ID)
	if err != nil || work.Plan == nil {
		return false, err
	}
	p, err := plan.Decode(work.Plan)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(p.Calls, func(c call.Call) bool {
		return c.Record == m.Record && c.Check != nil && c.Repeat != call.Blind
	}), nil
}

// forgotten tells whether a record says again what stood in it before.
func forgotten(m *ledger.Made, snap *ledger.Snapshot, found connector.Found) bool {
	for path, wrote := range m.Fields {
		if !slices.Contains(m.Once, path) && plan.Forgotten(snap, m, path, wrote, found.Fields[path]) {
			return true
		}
	}
	for path, took := range m.Took {
		if plan.CameBack(snap, path, took, found.Fields[path]) {
			return true
		}
	}
	return false
}
