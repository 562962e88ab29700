package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
)

// begin sets up the flow's expressions for one delivery: what the message
// says, what its source can add, and whether the flow wants it at all. It
// gives nil when the document made something before and is not for this flow
// any more: what it made is then withdrawn.
func (r *Runner) begin(ctx context.Context, f *flow.Flow, w *ledger.Work) (*flow.Run, error) {
	content, err := decode(w.Message.Content)
	if err != nil {
		return nil, err
	}
	run, err := f.Begin(&w.Message, content, w.Delivery.Each)
	if errors.Is(err, flow.ErrGone) || errors.Is(err, flow.ErrNotForFlow) {
		return notWanted(w, f, "the document no longer has what this flow takes")
	}
	if err != nil {
		return nil, plan.EvalStop(err)
	}
	if err := clock(run, w); err != nil {
		return nil, err
	}
	if names := run.Names(); len(names) > 0 {
		port, ok := r.Systems[w.Message.System]
		if !ok {
			return nil, missing(w.Message.System)
		}
		source, ok := port.System.(connector.Surrounder)
		if !ok {
			return nil, fmt.Errorf("flow %s uses %v, which %s cannot give", f.Name, names, w.Message.System)
		}
		more, err := source.Surround(ctx, port.Reader(w.LaneID), &w.Message, content, run.Item().Value, names)
		if err != nil {
			return nil, fmt.Errorf("read what surrounds the message: %w", err)
		}
		run.Surround(more)
	}
	wanted, why, err := run.Where()
	if err != nil {
		return nil, plan.EvalStop(err)
	}
	if !wanted {
		return notWanted(w, f, why)
	}
	return run, required(run)
}

// clock asks about a message whose sender's clock was more than a day ahead
// (law 22): its times count as receipt, which a person must know. Once asked
// and tried again, it goes on.
func clock(run *flow.Run, w *ledger.Work) error {
	const most = 24 * time.Hour
	if run.Skew() <= most {
		return nil
	}
	for _, q := range w.Questions {
		if q.Kind == "clock" {
			return nil
		}
	}
	return &plan.Stop{State: ledger.Held, Code: "clock", Cause: w.Message.System + ": a sender's clock is ahead",
		Reason: "the sender's clock was more than a day ahead when this was sent; retry to take the time of receipt for it, and have the phone's clock set"}
}

func notWanted(w *ledger.Work, f *flow.Flow, why string) (*flow.Run, error) {
	for _, m := range w.Made {
		if !m.Gone {
			return nil, nil
		}
	}
	return nil, &plan.Stop{State: ledger.Skipped, Code: "not-for-this-flow", Cause: f.Name + ": not for this flow", Reason: why}
}

// required asks the flow's requirements; the first that fails decides.
func required(run *flow.Run) error {
	v, err := run.Require()
	if err != nil {
		return plan.EvalStop(err)
	}
	if v.OK {
		return nil
	}
	state := ledger.Held
	if v.Else == "refuse" {
		state = ledger.Refused
	}
	return &plan.Stop{State: state, Code: "required", Cause: run.Flow().Name + ": " + v.That, Reason: v.Say}
}
