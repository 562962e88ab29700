// Package runner carries one delivery from its message to its end: plan,
// journal, apply, and undo. What comes next is decided by the Book from the
// journal alone; this file does the sending and the writing.
package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
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
	// answers are those of calls that were announced together, until the next line.
	answers  map[string]call.Outputs
	pending  *ledger.Step // a line that waits to be written with what follows it
	stale    bool         // the plan is old or was resumed: check before each write
	replans  int
	calls    int
	readBack map[string]call.Observed
	readings map[string]call.Answer // of this ending; nil before
	unsure   map[int]*call.Error    // calls that this run sent and got no clear answer to
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
			Reason: "the flow " + x.w.Delivery.Flow + " no longer exists; put it back, or skip this delivery"}))
	}
	p, err := x.Runner.Plan(ctx, x.w)
	if err != nil {
		return end(x.stop(ctx, err))
	}
	x.plan = p
	if x.book, err = Open(p, nil); err != nil {
		return end(x.stop(ctx, err))
	}
	x.announced, x.answers, x.pending, x.stale = nil, nil, nil, false
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
	first := x.book.Next()
	record := ledger.Plan{Body: body, Hash: hash, FlowHash: p.FlowHash, Claims: p.Claims(), Pending: p.Links(person(x.w)),
		Intent: x.names(x.book.Run(first.Call))}
	err = x.Ledger.Journal(ctx, x.w, record)
	switch {
	case errors.Is(err, ledger.ErrClaimed):
		return end(nil, nil)
	case errors.Is(err, ledger.ErrLinked):
		return end(x.end(ctx, ledger.End{State: ledger.Held, Code: "linked-elsewhere", Forget: true,
			Cause:  x.w.Delivery.Flow + ": the record belongs to another person",
			Reason: "the record found is already linked to another person: two cases would become one patient. Decide which is right, then retry"}))
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

func (x *execution) names(calls []int) string {
	out := make([]string, len(calls))
	for n, i := range calls {
		out[n] = x.plan.Calls[i].Name
	}
	return strings.Join(out, " ")
}

func (x *execution) announce(names string) {
	x.announced = map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		x.announced[name] = true
	}
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
		err = x.blind(cmd.Call)
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

// line makes the next line of the journal. It carries the answers that no line
// carried yet, and names what was announced and will not be sent now.
func (x *execution) line(kind ledger.StepKind, name string, d lineData) (ledger.Step, error) {
	d.Answers = x.answers
	s := ledger.Step{N: x.book.Lines + 1, Kind: kind, Call: name, Epoch: x.w.Epoch}
	if d.Reason != "" || d.Field != "" || len(d.Outputs) > 0 || len(d.Answers) > 0 {
		data, err := json.Marshal(d)
		if err != nil {
			return s, err
		}
		s.Data = data
	}
	var words []string
	for i := range x.plan.Calls {
		if c := x.plan.Calls[i].Name; x.announced[c] && c != name {
			words = append(words, notSent+c)
		}
	}
	s.Intent = strings.Join(words, " ")
	x.answers, x.announced = nil, nil
	return s, nil
}

// write journals a line. The intent of what is sent next goes into the same
// line, so that one commit holds answer n and intent n+1 (law 39); a line that
// ends the delivery waits for the ending's transaction.
func (x *execution) write(ctx context.Context, kind ledger.StepKind, i int, d lineData) error {
	s, err := x.line(kind, x.plan.Calls[i].Name, d)
	if err != nil {
		return err
	}
	if err := x.book.Apply(s); err != nil {
		return err
	}
	cmd := x.book.Next()
	next := ""
	switch {
	case cmd.Do == Finish:
		x.pending = &s
		return nil
	case cmd.Do == Send && !x.stale:
		next = x.names(x.book.Run(cmd.Call))
		x.announce(next)
	case cmd.Do == Undo && !x.book.Calls[cmd.Call].Undoing:
		next = x.plan.Calls[cmd.Call].Name
	}
	if next != "" {
		if err := x.book.intent(ledger.Step{N: s.N, Intent: next, Epoch: s.Epoch}); err != nil {
			return err
		}
		s.Intent = strings.TrimSpace(s.Intent + " " + next)
	}
	return x.Ledger.Step(ctx, x.w, s)
}

// intend journals the intent of a call that no line carried yet, after
// checking, if the plan is old, that the target still is as planned against.
func (x *execution) intend(ctx context.Context, i int) error {
	if x.stale {
		as, err := x.standing(ctx, i)
		if err != nil || as {
			return err
		}
	}
	s, err := x.line(ledger.StepIntent, x.plan.Calls[i].Name, lineData{})
	if err != nil {
		return err
	}
	if err := x.Ledger.Step(ctx, x.w, s); err != nil {
		return err
	}
	x.announce(s.Call)
	return x.book.Apply(s)
}

// standing reads the target before a write of an old plan (law 12). It tells
// whether the call turned out to have been done already.
func (x *execution) standing(ctx context.Context, i int) (already bool, err error) {
	c := &x.plan.Calls[i]
	if c.Check == nil {
		return false, nil
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
	if !x.book.Touched() {
		return false, errReplan
	}
	return false, &plan.Stop{State: ledger.Held, Code: "conflict", Cause: c.Kind + " changed while a delivery waited",
		Reason: fmt.Sprintf("%s: what was planned against changed in %s meanwhile, and the delivery is half applied; make it right there, then retry or skip", c.About, c.System)}
}

func (x *execution) send(ctx context.Context, i int) error {
	c := &x.plan.Calls[i]
	if !x.stale && i == 0 && time.Since(x.plan.At) > x.freshness() {
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
		if refused.Traces && x.onRefused(c) == "undo" {
			return x.traces(ctx, i, refused)
		}
		return x.write(ctx, ledger.StepRefused, i, lineData{Reason: refused.System + ": " + refused.Reason, Field: refused.Field})
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
	outputs, err := c.Collect(a)
	if err != nil && c.Check != nil {
		// Done, but we cannot read what it gave: the target will say.
		return x.write(ctx, ledger.StepUnknown, i, lineData{})
	}
	if err != nil {
		return &plan.Stop{State: ledger.Held, Code: "answer", Cause: c.System + " answers in an unknown form", Reason: err.Error()}
	}
	if c.ReadBack && c.Check != nil {
		if o, err := x.kind(c).Observe(*c.Check, a); err == nil && o.Exists {
			x.keepReading(c.Name, o)
			if outputs == nil {
				outputs = o.Outputs
			}
		}
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
		if wait := x.unsettled(i); wait > 0 {
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
// Calls whose repeat the target refuses by itself need no patience.
func (x *execution) unsettled(i int) time.Duration {
	c := &x.plan.Calls[i]
	if c.Repeat == call.Safe {
		return 0
	}
	var sent time.Time
	for _, s := range x.w.Journal {
		if s.Call == c.Name && s.Kind == ledger.StepIntent || slices.Contains(strings.Fields(s.Intent), c.Name) {
			sent = s.At
		}
	}
	if sent.IsZero() {
		sent = x.Ledger.Now() // announced in this run
	}
	limits := x.Systems[c.System].Limits
	settle := c.Settle
	if limits.Settle > 0 {
		settle = limits.Settle
	}
	return sent.Add(limits.Timeout + settle).Sub(x.Ledger.Now())
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
	o, err := x.observe(ctx, c, c.Await.Check)
	if err != nil {
		return err
	}
	if c.Await.Check.Judge(o, x.book.Output) == call.Yes {
		return x.write(ctx, ledger.StepVerified, i, lineData{Outputs: o.Outputs})
	}
	return &pause{until: c.Await.Every, reason: c.System + " accepted it and has not done it yet", limit: c.Await.Until,
		past: "the target accepted the call but never did it; look there, then retry or skip"}
}

func (x *execution) blind(i int) error {
	c := &x.plan.Calls[i]
	return &plan.Stop{State: ledger.Held, Code: "unknown", Cause: c.Kind + ": cannot be told whether it was sent",
		Reason: fmt.Sprintf("%s: the answer was lost and %s cannot be asked; say whether it happened: skip if it did, retry to send it again", c.About, c.System)}
}

func (x *execution) freshness() time.Duration {
	if x.Fresh > 0 {
		return x.Fresh
	}
	return 5 * time.Second
}
