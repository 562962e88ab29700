package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
)

// standing reads the target before a write of an old plan (law 12). It tells
// whether the call turned out to have been done already.
func (x *execution) standing(ctx context.Context, i int) (already bool, err error) {
	c := &x.plan.Calls[i]
	if c.Check == nil {
		return x.lost(ctx, i)
	}
	o, err := x.observe(ctx, c, *c.Check)
	if err != nil {
		return false, err
	}
	if c.Check.Stands(o, x.book.Output) {
		return false, nil
	}
	if c.Check.Judge(o, x.book.Output) == call.Yes && c.Check.Want != nil {
		return true, x.write(ctx, ledger.StepVerified, i, lineData{Outputs: o.Outputs})
	}
	if c.Check.Pre != nil && !o.Exists && !o.Voided && x.Lost != nil {
		if err := x.Lost(ctx, c.System, c.Kind, c.Target); err != nil {
			return false, err
		}
	}
	if x.nothingSent() {
		return false, errReplan
	}
	return false, &plan.Stop{State: ledger.Held, Code: "conflict", Cause: c.Kind + " changed while a delivery waited",
		Reason: fmt.Sprintf("%s: what was planned against changed in %s meanwhile, and the delivery is half applied; make it right there, then retry or skip", c.About, c.System)}
}

// nothingSent tells whether no call can have changed anything: what was
// announced by this very run and not sent yet does not count.
func (x *execution) nothingSent() bool {
	return x.book.Standing() == len(x.announced)
}

// verify asks the target whether a call of unknown outcome happened (law 6).
func (x *execution) verify(ctx context.Context, i int) error {
	c := &x.plan.Calls[i]
	x.stale = true
	o, err := x.observe(ctx, c, *c.Check)
	if err != nil {
		return err
	}
	switch c.Check.Judge(o, x.book.Output) {
	case call.Yes:
		x.keepReading(c.Name, o)
		return x.write(ctx, ledger.StepVerified, i, lineData{Outputs: o.Outputs})
	case call.NotYet:
		wait, marked := x.unsettled(i)
		if !marked {
			// Patience counts from now: it cannot have been sent later.
			return x.write(ctx, ledger.StepUnknown, i, lineData{})
		}
		if wait > 0 {
			return &pause{until: wait, reason: "waiting until " + c.System + " has settled, to see whether a call happened"}
		}
		if o.Voided && o.ByUs && !x.book.Back && x.onlyThis(i) {
			// A row of ours that was voided keeps its id for ever (law 9).
			x.w.Delivery.Generation++
			return errReplan
		}
		if failed := x.unsure[i]; failed != nil {
			// It did not happen this time; a system that answers so is not sent the same again at once.
			again := *failed
			again.Class = call.RetryLater
			return x.unsent(i, &again)
		}
		return x.write(ctx, ledger.StepAbsent, i, lineData{})
	}
	if x.onlyThis(i) && !x.book.Back {
		// Whatever is there now is the new truth; nothing else of ours is in it.
		return errReplan
	}
	if x.book.Back && c.Undo != nil && len(c.Undo.Restore) > 0 {
		// Part of it may have been written. An undo of fields compares each and
		// gives back only what is ours, so there is nothing to decide.
		return x.write(ctx, ledger.StepVerified, i, lineData{Outputs: o.Outputs})
	}
	return &plan.Stop{State: ledger.Held, Code: "unknown", Cause: c.Kind + ": outcome unknown and changed since",
		Reason: fmt.Sprintf("%s: it cannot be told whether this happened, because the record in %s was changed since; look at it there, then retry or skip", c.About, c.System)}
}

// onlyThis tells whether no other call may have changed anything.
func (x *execution) onlyThis(i int) bool {
	for j, e := range x.book.Calls {
		if j != i && e.State != call.Planned && e.State != call.Refused && e.State != call.Undone {
			return false
		}
	}
	return true
}

// unsettled is how long a "not there" about this call does not count yet.
// Calls whose repeat the target refuses by itself need no patience. marked is
// false when no line says by when it was sent at the latest: the run that
// announced it did not live to tell.
func (x *execution) unsettled(i int) (wait time.Duration, marked bool) {
	c := &x.plan.Calls[i]
	if c.Repeat == call.Safe {
		return 0, true
	}
	sent, marked := x.marks[c.Name]
	for _, s := range x.w.Journal {
		if s.Call == c.Name && s.Kind == ledger.StepUnknown && s.At.After(sent) {
			sent, marked = s.At, true
		}
	}
	if !marked {
		return 0, false
	}
	limits := x.Systems[c.System].Limits
	settle := c.Settle
	if limits.Settle > 0 {
		settle = limits.Settle
	}
	return sent.Add(limits.Timeout + settle).Sub(x.Ledger.Now()), true
}

// look looks once more at a call that was unknown when the undo began: the
// write may have landed after we had looked.
func (x *execution) look(ctx context.Context, i int) error {
	c := &x.plan.Calls[i]
	o, err := x.observe(ctx, c, *c.Check)
	if err != nil {
		return err
	}
	if c.Check.Judge(o, x.book.Output) == call.Yes {
		return x.write(ctx, ledger.StepVerified, i, lineData{Outputs: o.Outputs})
	}
	return x.write(ctx, ledger.StepLooked, i, lineData{})
}

// await asks whether a call that was only accepted is done.
func (x *execution) await(ctx context.Context, i int) error {
	c := &x.plan.Calls[i]
	if c.Await == nil {
		return x.write(ctx, ledger.StepAnswer, i, lineData{Outputs: x.book.Calls[i].Outputs})
	}
	for n, check := range c.Await.Verdicts {
		o, err := x.observe(ctx, c, check)
		var denied *call.Denied
		if errors.As(err, &denied) {
			return x.refused(ctx, i, &call.Error{System: c.System, About: c.About, Verdict: denied.Verdict})
		}
		if err != nil {
			return err
		}
		if check.Judge(o, x.book.Output) != call.Yes {
			break
		}
		if n == len(c.Await.Verdicts)-1 {
			return x.write(ctx, ledger.StepVerified, i, lineData{Outputs: x.book.Calls[i].Outputs})
		}
	}
	o, err := x.observe(ctx, c, c.Await.Check)
	if err != nil {
		return err
	}
	if c.Await.Check.Judge(o, x.book.Output) == call.Yes {
		return x.write(ctx, ledger.StepVerified, i, lineData{Outputs: o.Outputs})
	}
	if since := x.acceptedAt(c.Name); !since.IsZero() && x.past(since, c.Await.Until, x.Ledger.Now()) {
		return &plan.Stop{State: ledger.Held, Code: "overdue", Cause: c.System + ": accepted, and never done",
			Reason: fmt.Sprintf("%s: %s accepted it and has not done it after %s; look there, then retry or skip", c.About, c.System, c.Await.Until)}
	}
	return &pause{until: c.Await.Every, reason: c.System + " accepted it and has not done it yet"}
}

// acceptedAt is when a call was accepted, if that was before this run.
func (x *execution) acceptedAt(name string) time.Time {
	for _, s := range x.w.Journal {
		if s.Call == name && s.Kind == ledger.StepAccepted {
			return s.At
		}
	}
	return time.Time{}
}
