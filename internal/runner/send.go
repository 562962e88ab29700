package runner

import (
	"context"
	"errors"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/system"
)

func (x *execution) send(ctx context.Context, i int) error {
	c := &x.plan.Calls[i]
	if x.book.Lines == 1 && (x.stale || time.Since(x.plan.At) > x.freshness()) {
		// The plan is old, or the ledger was put back in time; and the first intent
		// is in the plan's commit, before anything was looked up.
		x.stale = true
		already, err := x.standing(ctx, i)
		if err != nil || already {
			return err
		}
	}
	delete(x.announced, c.Name)
	answer, err := x.do(ctx, c, c.About, c.Request)
	if err == nil {
		return x.answered(ctx, i, answer)
	}
	var refused *call.Error
	if !errors.As(err, &refused) {
		if errors.As(err, new(*system.OpenError)) || ctx.Err() != nil {
			return x.unsent(i, err)
		}
		return err
	}
	switch refused.Class {
	case call.Conflicting:
		if !x.book.Applied() {
			// Someone else was there first: look again, nothing of ours is in it.
			if err := x.unsent(i, nil); err != nil {
				return err
			}
			return errReplan
		}
		fallthrough
	case call.Refusal:
		return x.refused(ctx, i, refused)
	case call.Queued:
		outputs, err := c.Collect(answer)
		if err != nil {
			outputs = nil
		}
		return x.write(ctx, ledger.StepAccepted, i, lineData{Outputs: outputs})
	case call.RetryLater, call.NotAuthorised:
		return x.unsent(i, err)
	}
	if c.Check == nil && c.Repeat == call.Safe {
		// Whether it happened or not does no harm: send it again, but not at once.
		again := *refused
		again.Class = call.RetryLater
		return x.unsent(i, &again)
	}
	// The outcome is unknown: ask before anything else.
	if x.unsure == nil {
		x.unsure = map[int]*call.Error{}
	}
	x.unsure[i] = refused
	return x.write(ctx, ledger.StepUnknown, i, lineData{})
}

// refused writes down that the target refused a call, at once or later.
func (x *execution) refused(ctx context.Context, i int, refused *call.Error) error {
	c := &x.plan.Calls[i]
	if err := x.drawAgain(i, refused); err != nil {
		return err
	}
	if refused.Traces && x.onRefused(c) == "undo" {
		return x.traces(ctx, i, refused)
	}
	return x.write(ctx, ledger.StepRefused, i, lineData{Reason: refused.System + ": " + refused.Reason, Field: refused.Field})
}

func (x *execution) onRefused(c *call.Call) string {
	if r := x.plan.Record(c.Record); r != nil && r.OnRefused != "" {
		return r.OnRefused
	}
	return "undo"
}

// traces handles a refusal that may have been written all the same: the
// delivery turns back, and the call is verified before it is left alone.
func (x *execution) traces(ctx context.Context, i int, refused *call.Error) error {
	unknown, err := x.line(ledger.StepUnknown, x.plan.Calls[i].Name, lineData{})
	if err != nil {
		return err
	}
	if err := x.Ledger.Step(ctx, x.w, unknown); err != nil {
		return err
	}
	if err := x.book.Apply(unknown); err != nil {
		return err
	}
	back, err := x.line(ledger.StepBack, "", lineData{Reason: refused.System + ": " + refused.Reason, Field: refused.Field})
	if err != nil {
		return err
	}
	if err := x.Ledger.Step(ctx, x.w, back); err != nil {
		return err
	}
	return x.book.Apply(back)
}

// unsent puts the call back to planned, and stops for now.
func (x *execution) unsent(i int, cause error) error {
	s, err := x.line(ledger.StepAbsent, x.plan.Calls[i].Name, lineData{})
	if err != nil {
		return err
	}
	if err := x.book.Apply(s); err != nil {
		return err
	}
	x.pending = &s
	return cause
}

func (x *execution) answered(ctx context.Context, i int, a call.Answer) error {
	c := &x.plan.Calls[i]
	outputs, err := x.outputs(c, a)
	if err != nil && c.Check != nil {
		// Done, but we cannot read what it gave: the target will say.
		return x.write(ctx, ledger.StepUnknown, i, lineData{})
	}
	if err != nil {
		return &plan.Stop{State: ledger.Held, Code: "answer", Cause: c.System + " answers in an unknown form", Reason: err.Error()}
	}
	if len(x.announced) > 0 || x.lastOfRun(i) {
		// Its intent is durable; its answer waits for the next line. After a crash
		// the target is asked.
		if x.answers == nil {
			x.answers = map[string]call.Outputs{}
		}
		x.answers[c.Name] = outputs
		x.book.answer(i, outputs)
		return nil
	}
	return x.write(ctx, ledger.StepAnswer, i, lineData{Outputs: outputs})
}

// outputs reads what a call gave from its answer, and keeps the answer as the
// call's read-back where it shows as much as one: it is then decoded only once.
func (x *execution) outputs(c *call.Call, a call.Answer) (call.Outputs, error) {
	if !c.ReadBack || c.Check == nil {
		return c.Collect(a)
	}
	o, err := x.kind(c).Observe(*c.Check, a)
	if err != nil || !o.Exists || c.Check.Judge(o, x.book.Output) == call.NotYet {
		return c.Collect(a)
	}
	x.keepReading(c.Name, o)
	if len(c.Outputs) == 0 {
		return o.Outputs, nil
	}
	out := make(call.Outputs, len(c.Outputs))
	for name := range c.Outputs {
		if out[name] = o.Outputs[name]; out[name] == "" {
			return c.Collect(a)
		}
	}
	return out, nil
}

// lastOfRun tells whether a call was announced together with others that are
// answered, and nothing but the ending follows.
func (x *execution) lastOfRun(i int) bool {
	if len(x.answers) == 0 || !together(x.plan.Calls[i]) {
		return false
	}
	for j := i + 1; j < len(x.book.Calls); j++ {
		if !x.book.Calls[j].Skipped && x.book.Calls[j].State == call.Planned {
			return false
		}
	}
	return true
}

func (x *execution) keepReading(name string, o call.Observed) {
	if x.readBack == nil {
		x.readBack = map[string]call.Observed{}
	}
	x.readBack[name] = o
}

func (x *execution) freshness() time.Duration {
	if x.Fresh > 0 {
		return x.Fresh
	}
	return 5 * time.Second
}
