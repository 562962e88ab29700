// Package runner carries one delivery from its message to its end: plan,
// journal, apply, and undo. What comes next is decided by the Book from the
// journal alone; this file does the sending and the writing.
package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/system"
)

// Runner runs deliveries. It is used by many workers at once.
type Runner struct {
	Ledger  ledger.Ledger
	Flows   func(name string) *flow.Flow // nil: no such flow any more
	Systems map[string]*system.Port
	Policy  Policy
	Log     *slog.Logger
	// Fresh is how old a plan may be at its first write without being checked
	// against the target again; default 5 s.
	Fresh time.Duration
	// Lost is told of a record that was there, as the ledger knows, and is not there
	// at all: neither voided nor deleted. Its error stops the delivery: the system
	// was restored from a backup. Nil: nobody looks.
	Lost func(ctx context.Context, system, kind, id string) error
	// Sane tells whether the clock is believed; nil: it is.
	Sane func() bool
	// Observe is told of each end or pause of a delivery that the ledger took, for
	// metrics and traces; nil: nobody.
	Observe func(ctx context.Context, w *ledger.Work, e *ledger.End, now time.Time)
}

// Run runs the delivery until it ends or waits, and gives the lane's next work
// under the same epoch, if there is one. An error means that the ledger could
// not take the outcome (fenced, disk): the lane is left as it is.
func (r *Runner) Run(ctx context.Context, w *ledger.Work) (next *ledger.Work, err error) {
	x := &execution{Runner: r, w: w}
	defer func() {
		if p := recover(); p != nil {
			r.log().Error("a delivery panicked and is held", "delivery", w.Delivery.ID, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			next, err = x.end(ctx, ledger.End{State: ledger.Held, Code: "poison", Cause: "Kiungo failed on " + w.Delivery.Flow,
				Reason: "Kiungo itself failed on this delivery; please report it", KeepClaims: x.book != nil && x.book.Touched()})
		}
	}()
	return x.run(ctx)
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

// execution is one run of one delivery.
type execution struct {
	*Runner
	w    *ledger.Work
	flow *flow.Flow
	plan *plan.Plan
	book *Book
	// announced are the calls whose intent this very run of the process has
	// journaled and which it has not sent yet: only those may be sent without
	// asking the target first.
	announced map[string]bool
	// marks says, of calls that this run got no answer to, by when they had been sent.
	marks map[string]time.Time
	// answers are those of calls that were announced together, until the next line.
	answers  map[string]call.Outputs
	pending  *ledger.Step // a line that waits to be written with what follows it
	stale    bool         // the plan is old or was resumed: check before each write
	replans  int
	calls    int
	readBack map[string]call.Observed
	readings map[string]call.Answer // of this ending; nil before
	unsure   map[int]*call.Error    // calls that this run sent and got no clear answer to
	spent    map[string]bool        // numbers drawn that another record has
}

// maxReplans bounds how often one run plans again because the target moved.
const maxReplans = 3

func (x *execution) run(ctx context.Context) (*ledger.Work, error) {
	x.flow = x.Flows(x.w.Delivery.Flow)
	if x.w.Plan != nil {
		if err := x.resume(ctx); err != nil {
			return x.stop(ctx, err)
		}
	}
	for {
		if x.book == nil {
			if done, next, err := x.makePlan(ctx); done {
				return next, err
			}
		}
		done, next, err := x.step(ctx)
		if done {
			return next, err
		}
	}
}

// resume takes up a journaled plan after a crash, a wait or an answer.
func (x *execution) resume(ctx context.Context) error {
	p, err := plan.Decode(x.w.Plan)
	if err != nil {
		return err
	}
	book, err := Open(p, x.w.Journal)
	if err != nil {
		return err
	}
	if !book.Touched() && !book.Back && book.Blocked == "" && x.flow != nil {
		return nil // nothing happened yet: plan again with today's flow and facts
	}
	x.plan, x.book, x.stale = p, book, true
	if last := book.Next(); last.Do == Finish && last.State != ledger.Done && last.State != ledger.Undone {
		// It had come to its end and was held; now a person had it tried again.
		s := ledger.Step{N: book.Lines + 1, Kind: ledger.StepAgain, Epoch: x.w.Epoch}
		if err := x.Ledger.Step(ctx, x.w, s); err != nil {
			return err
		}
		return book.Apply(s)
	}
	return nil
}

// makePlan plans, journals, and so announces the first call.
func (x *execution) makePlan(ctx context.Context) (done bool, next *ledger.Work, err error) {
	end := func(next *ledger.Work, err error) (bool, *ledger.Work, error) { return true, next, err }
	if x.flow == nil {
		return end(x.end(ctx, ledger.End{State: ledger.Held, Code: "no-flow", Cause: "flow " + x.w.Delivery.Flow + " is gone", Forget: true,
			Reason: "the flow " + x.w.Delivery.Flow + " is not here any more, or the site has switched it off; put it back, or skip this delivery"}))
	}
	p, err := x.Runner.Plan(ctx, x.w)
	if err != nil {
		return end(x.stop(ctx, err))
	}
	x.plan = p
	if x.book, err = Open(p, nil); err != nil {
		return end(x.stop(ctx, err))
	}
	x.announced, x.answers, x.pending, x.stale = nil, nil, nil, x.travelled()
	if len(p.Calls) == 0 {
		return end(x.finish(ctx, ledger.Done))
	}
	for _, name := range p.Systems() {
		if open, reason := x.Systems[name].Open(); open {
			return end(x.blocked(ctx, name, reason))
		}
	}
	body, hash, err := p.Encode()
	if err != nil {
		return end(x.stop(ctx, err))
	}
	if err := x.approved(p, hash, x.w); err != nil {
		return end(x.stop(ctx, err))
	}
	first := x.book.Run(x.book.Next().Call)
	if x.stale {
		first = first[:1] // each of the others is looked up before it is announced
	}
	record := ledger.Plan{Body: body, Hash: hash, FlowHash: p.FlowHash, Claims: p.Claims(), Pending: x.pendingLinks(p), Intent: x.names(first)}
	err = x.Ledger.Journal(ctx, x.w, record)
	switch {
	case errors.Is(err, ledger.ErrClaimed):
		return end(nil, nil)
	case errors.Is(err, ledger.ErrLinked):
		x.book = nil
		return end(x.stop(ctx, x.linkedElsewhere(ctx, p)))
	case err != nil:
		return end(nil, err)
	}
	head, rest, _ := strings.Cut(record.Intent, " ")
	if err := x.book.Apply(ledger.Step{N: 1, Kind: ledger.StepIntent, Call: head, Intent: rest, Epoch: x.w.Epoch}); err != nil {
		return end(nil, err)
	}
	x.announce(record.Intent)
	return false, nil, nil
}

// step does the next command.
func (x *execution) step(ctx context.Context) (done bool, next *ledger.Work, err error) {
	cmd := x.book.Next()
	switch {
	case (cmd.Do == Verify || cmd.Do == Ask || cmd.Do == Send) && x.announced[x.plan.Calls[cmd.Call].Name]:
		err = x.send(ctx, cmd.Call)
	case cmd.Do == Send:
		if err = x.intend(ctx, cmd.Call); err == nil {
			return false, nil, nil
		}
	case cmd.Do == Verify:
		err = x.verify(ctx, cmd.Call)
	case cmd.Do == Undo:
		err = x.undo(ctx, cmd.Call)
	case cmd.Do == Look:
		err = x.look(ctx, cmd.Call)
	case cmd.Do == Await:
		err = x.await(ctx, cmd.Call)
	case cmd.Do == Ask:
		err = x.blind(ctx, cmd.Call)
	case cmd.Do == Finish:
		next, err = x.finish(ctx, cmd.State)
		return true, next, err
	default:
		err = fmt.Errorf("no such command %d", cmd.Do)
	}
	if err == nil {
		return false, nil, nil
	}
	if errors.Is(err, errReplan) {
		if x.replans++; x.replans <= maxReplans {
			x.book, x.plan, x.pending, x.answers, x.announced = nil, nil, nil, nil, nil
			return false, nil, nil
		}
		err = &plan.Stop{State: ledger.Waiting, Code: "moving", Cause: "the record keeps changing", Reason: "the target keeps changing while we plan; trying again later"}
	}
	next, err = x.stop(ctx, err)
	return true, next, err
}

// errReplan: the target is not what was planned against, and nothing was
// written yet.
var errReplan = errors.New("plan again")
