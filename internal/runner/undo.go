package runner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
)

// undo takes one call back: it compares first, so that what people did since
// is not destroyed (law 8).
func (x *execution) undo(ctx context.Context, i int) error {
	c := &x.plan.Calls[i]
	if !x.book.Calls[i].Undoing {
		s, err := x.line(ledger.StepUndo, c.Name, lineData{})
		if err != nil {
			return err
		}
		if err := x.Ledger.Step(ctx, x.w, s); err != nil {
			return err
		}
		if err := x.book.Apply(s); err != nil {
			return err
		}
	}
	if c.Undo == nil || c.Check == nil {
		return x.leftOver(ctx, i, c.About+": cannot be undone")
	}
	o, err := x.observe(ctx, c, *c.Check)
	if err != nil {
		return err
	}
	back := c.Reversed(o, x.book.Output)
	if len(back.LeftOver) > 0 {
		return x.leftOver(ctx, i, strings.Join(back.LeftOver, "; "))
	}
	kept := lineData{}
	if len(back.Kept) > 0 {
		kept.Reason = fmt.Sprintf("%s in %s: %s was changed by others since, and stays as they have it", c.Record, c.System, strings.Join(back.Kept, ", "))
	}
	if !back.Send {
		return x.write(ctx, ledger.StepUndone, i, kept)
	}
	if text, err := x.guarded(ctx, c); err != nil || text != "" {
		if err != nil {
			return err
		}
		return x.leftOver(ctx, i, text)
	}
	_, err = x.do(ctx, c, "undo: "+c.About, back.Request)
	var refused *call.Error
	switch {
	case err == nil:
		return x.write(ctx, ledger.StepUndone, i, kept)
	case errors.As(err, &refused) && (refused.Class == call.Refusal || refused.Class == call.Conflicting):
		return x.leftOver(ctx, i, fmt.Sprintf("%s: %s refused the undo: %s", c.About, refused.System, refused.Reason))
	}
	// Unknown, down or not authorised: the next try reads and compares again,
	// which is as good as asking whether the undo happened.
	return err
}

func (x *execution) leftOver(ctx context.Context, i int, what string) error {
	return x.write(ctx, ledger.StepLeftOver, i, lineData{Reason: what})
}

// guarded reads the undo's guards and tells in words which does not hold.
func (x *execution) guarded(ctx context.Context, c *call.Call) (string, error) {
	for _, g := range c.Undo.Guards {
		o, err := x.observe(ctx, c, g)
		if err != nil {
			return "", err
		}
		if g.Judge(o, x.book.Output) != call.Yes {
			return c.About + ": others have added to it since", nil
		}
	}
	return "", nil
}

// observe reads what a check names and has the kind make it canonical.
func (x *execution) observe(ctx context.Context, c *call.Call, check call.Check) (call.Observed, error) {
	read, err := check.Read.Bound(x.book.Output)
	if err != nil {
		// It depends on a call that never happened: nothing can be there.
		return call.Observed{}, nil
	}
	answer, err := x.read(ctx, c, read)
	if err != nil {
		return call.Observed{}, err
	}
	o, err := x.kind(c).Observe(check, answer)
	if err != nil {
		return call.Observed{}, fmt.Errorf("read the answer of %s about %s: %w", c.System, c.About, err)
	}
	return o, nil
}

// read sends the read of a check. While the delivery is being finished nothing
// is written any more, and one reading serves all checks of the same record.
func (x *execution) read(ctx context.Context, c *call.Call, r call.Request) (call.Answer, error) {
	port, ok := x.Systems[c.System]
	if !ok {
		return call.Answer{}, missing(c.System)
	}
	key := c.System + " " + r.Method + " " + r.Path + "?" + url.Values(r.Query).Encode() + " " + string(r.Body)
	if answer, ok := x.readings[key]; ok {
		return answer, nil
	}
	answer, err := port.Reader(x.w.LaneID).Do(ctx, "look at: "+c.About, r)
	var failed *call.Error
	if errors.As(err, &failed) && (answer.Status == http.StatusNotFound || answer.Status == http.StatusGone) {
		err = nil // Observe reads "not there" from the answer
	}
	if err == nil && x.readings != nil {
		x.readings[key] = answer
	}
	return answer, err
}

func missing(name string) error {
	return &plan.Stop{State: ledger.Held, Code: "no-system", Cause: "system " + name + " is not configured",
		Reason: "the system " + name + " is not in the site's configuration any more; put it back and retry"}
}
