package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/system"
)

// pause is a wait for a known reason that is nobody's fault.
type pause struct {
	until  time.Duration
	reason string
}

func (p *pause) Error() string { return p.reason }

func person(w *ledger.Work) string {
	if who, ok := strings.CutPrefix(w.LaneKey, "person:"); ok {
		return who
	}
	return ""
}

func (x *execution) kind(c *call.Call) connector.Kind {
	return x.Systems[c.System].Kind(connector.ShortKind(c.Kind))
}

// do sends one request of a call, with its id and epoch, outputs filled in.
func (x *execution) do(ctx context.Context, c *call.Call, about string, r call.Request) (call.Answer, error) {
	port, ok := x.Systems[c.System]
	if !ok {
		return call.Answer{}, missing(c.System)
	}
	r, err := r.Bound(x.book.Output)
	if err != nil {
		return call.Answer{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	header := make(map[string]string, len(r.Header)+1)
	maps.Copy(header, r.Header)
	header[call.IDHeader] = fmt.Sprintf("%d/%d/%s/%d", x.w.Delivery.ID, x.w.Delivery.PlanNo, c.Name, x.w.Epoch)
	r.Header = header
	x.calls++
	return port.Writer(x.w.LaneID).Do(ctx, about, r)
}

// end writes the outcome, with the line that still waits for it.
func (x *execution) end(ctx context.Context, e ledger.End) (*ledger.Work, error) {
	if x.pending == nil && (len(x.answers) > 0 || len(x.announced) > 0) {
		s, err := x.line(ledger.StepAnswers, "", lineData{})
		if err != nil {
			return nil, err
		}
		x.pending = &s
	}
	if e.Question == nil && (e.State == ledger.Held || e.State == ledger.HalfUndone) {
		e.Question = &ledger.Question{Kind: e.Code, Cause: e.Cause, Text: e.Reason}
	}
	e.Last, x.pending = x.pending, nil
	e.Calls = x.calls
	if e.Generation == 0 {
		e.Generation = x.w.Delivery.Generation
	}
	// A stop must not lose what is known: the ledger does not hear our context.
	now := x.Ledger.Now()
	next, err := x.Ledger.End(context.WithoutCancel(ctx), x.w, e, now)
	if x.Observe != nil && err == nil {
		x.Observe(ctx, x.w, &e, now)
	}
	if errors.Is(err, ledger.ErrLinked) && len(e.Links) > 0 {
		// What was found turned out to be another person's: done, it would be tried
		// again for ever.
		return x.stop(ctx, x.linkedElsewhere(ctx, x.plan))
	}
	return next, err
}

// stop decides what an error means for the delivery: wait, hold, skip.
func (x *execution) stop(ctx context.Context, cause error) (*ledger.Work, error) {
	for _, lost := range []error{ledger.ErrFenced, ledger.ErrFull, ledger.ErrClosed, ledger.ErrUncertain} {
		if errors.Is(cause, lost) {
			return nil, cause // the ledger gives the delivery out again
		}
	}
	if errors.Is(cause, plan.ErrCodec) {
		return nil, errors.Join(cause, x.Ledger.Release(context.WithoutCancel(ctx), x.w))
	}
	if ctx.Err() != nil && !errors.As(cause, new(*plan.Stop)) {
		// This node stops; the delivery goes on where it is.
		return x.end(ctx, x.resting(x.Ledger.Now(), "", ""))
	}
	if errors.Is(cause, ledger.ErrAway) {
		return nil, cause // nothing is wrong with the delivery
	}
	var s *plan.Stop
	var p *pause
	var failed *call.Error
	var down *system.OpenError
	now := x.Ledger.Now()
	switch {
	case errors.As(cause, &s):
		return x.stopped(ctx, s, now)
	case errors.As(cause, &p):
		return x.end(ctx, x.resting(now.Add(max(p.until, time.Millisecond)), "waiting", p.reason))
	case errors.As(cause, &down):
		return x.blocked(ctx, down.System, down.Reason)
	case errors.As(cause, &failed):
		return x.failed(ctx, failed, now)
	}
	x.log().Error("a delivery is held", "delivery", x.w.Delivery.ID, "error", cause)
	return x.end(ctx, ledger.End{State: ledger.Held, Code: "internal", Cause: "internal error in " + x.w.Delivery.Flow,
		Reason: cause.Error(), KeepClaims: x.touched()})
}

func (x *execution) touched() bool { return x.book != nil && x.book.Touched() }

// resting is an End that keeps the delivery going later, in the state it is in.
func (x *execution) resting(due time.Time, code, reason string) ledger.End {
	e := ledger.End{State: ledger.Waiting, Due: due, Code: code, Reason: reason}
	if x.touched() {
		e.State, e.KeepClaims = ledger.Applying, true
		if x.book.Back {
			e.State = ledger.Undoing
		}
	}
	return e
}

func (x *execution) stopped(ctx context.Context, s *plan.Stop, now time.Time) (*ledger.Work, error) {
	if s.State == ledger.Waiting {
		if s.Wait > 0 && x.past(x.w.Delivery.Created, s.Wait, now) {
			return x.end(ctx, ledger.End{State: ledger.Held, Code: s.Code, Cause: s.Cause, Reason: s.Reason + "; it did not come in time"})
		}
		e := x.resting(now.Add(x.Policy.Pause(x.w.Delivery.Attempts, 0)), s.Code, s.Reason)
		e.Cause = s.Cause
		return x.end(ctx, e)
	}
	e := ledger.End{State: s.State, Code: s.Code, Cause: s.Cause, Reason: s.Reason, KeepClaims: x.touched()}
	if s.State == ledger.Held {
		if s.Offer.Teach != nil && x.flow != nil {
			s.Offer.Teach.Integration = x.flow.Integration().ID
		}
		options, err := s.Offer.Encode()
		if err != nil {
			return nil, err
		}
		e.Question = &ledger.Question{Kind: s.Code, Key: s.Key, Cause: s.Cause, Text: s.Reason, Options: options}
	}
	return x.end(ctx, e)
}

// failed handles a request that could not be done now.
func (x *execution) failed(ctx context.Context, f *call.Error, now time.Time) (*ledger.Work, error) {
	if port := x.Systems[f.System]; port != nil {
		if open, _ := port.Open(); open {
			return x.blocked(ctx, f.System, f.Reason)
		}
	}
	switch f.Class {
	case call.Refusal, call.Conflicting: // of a read
		return x.end(ctx, ledger.End{State: ledger.Held, Code: "refused", Cause: f.System + ": " + f.About + " refused",
			Reason: f.About + ": " + f.System + " refused: " + f.Reason, KeepClaims: x.touched()})
	case call.NotAuthorised:
		return x.end(ctx, ledger.End{State: ledger.Held, Code: "not-authorised", Cause: f.System + ": not authorised to " + f.About,
			Reason: f.About + ": " + f.System + " does not allow it: " + f.Reason, KeepClaims: x.touched()})
	}
	if x.w.Delivery.Attempts >= giveUpTries && x.past(x.w.Delivery.Created, x.Policy.withDefaults().GiveUp, now) {
		return x.end(ctx, ledger.End{State: ledger.Held, Code: "gave-up", Cause: f.System + ": " + f.About + " keeps failing",
			Reason: "tried for days: " + f.Reason, KeepClaims: x.touched()})
	}
	return x.end(ctx, x.resting(now.Add(x.Policy.Pause(x.w.Delivery.Attempts, f.RetryAfter)), "retry", f.About+": "+f.System+": "+f.Reason))
}

// blocked waits, without a wake time, for a system's circuit to close.
func (x *execution) blocked(ctx context.Context, name, reason string) (*ledger.Work, error) {
	e := x.resting(time.Time{}, "down", name+" is down: "+reason)
	if port := x.Systems[name]; port != nil {
		if why, stopped := port.Stopped(); stopped {
			e.Code, e.Reason = "stopped", why
		}
	}
	e.BlockedOn, e.BlockedBy = ledger.BlockCircuit, name
	next, err := x.end(ctx, e)
	if port := x.Systems[name]; err == nil && port != nil {
		if open, _ := port.Open(); !open {
			// It came back between our look and our commit: nobody would wake us.
			_, err = x.Ledger.Unblock(context.WithoutCancel(ctx), ledger.BlockCircuit, name, 1000)
		}
	}
	return next, err
}

// finish ends the delivery in the state that the book says.
func (x *execution) finish(ctx context.Context, state ledger.State) (*ledger.Work, error) {
	switch state {
	case ledger.Done:
		return x.finishDone(ctx)
	case ledger.Undone, ledger.HalfUndone:
		return x.finishBack(ctx, state)
	}
	reason := x.book.Blocked
	if reason == "" {
		reason = x.book.Why + "; a call that cannot be undone has left, so the rest was not taken back"
	}
	return x.end(ctx, ledger.End{State: ledger.Held, Code: "refused", Cause: x.cause(), Reason: reason, KeepClaims: true,
		Question: &ledger.Question{Kind: "refused", Cause: x.cause(), Text: reason}})
}

func (x *execution) cause() string {
	cause := x.w.Delivery.Flow + ": refused"
	if x.book.Field != "" {
		cause += " (" + x.book.Field + ")"
	}
	return cause
}

// finishBack ends a delivery that was taken back. The flow says whether the
// lane waits for a person or goes on; what is left over always waits.
func (x *execution) finishBack(ctx context.Context, state ledger.State) (*ledger.Work, error) {
	e := ledger.End{State: state, Code: "refused", Cause: x.cause(), Forget: state == ledger.Undone,
		Reason: x.book.Why, Remarks: append(slices.Clone(x.book.Left), x.book.Theirs...), KeepClaims: state == ledger.HalfUndone,
		Generation: x.w.Delivery.Generation, Unlink: x.pendingLinks(x.plan)}
	if x.voided() {
		e.Generation++
	}
	e.Made = x.reserved(e.Generation)
	if state == ledger.Undone && (x.flow == nil || x.flow.OnRefused != flow.Pass) {
		e.State = ledger.Held
		e.Reason += "; everything was taken back. Mend the cause and retry, or skip"
	}
	if e.State != ledger.Undone {
		e.Question = &ledger.Question{Kind: "refused", Cause: e.Cause, Text: e.Reason}
	}
	return x.end(ctx, e)
}

// voided tells whether an undo left voided rows that keep their ids.
func (x *execution) voided() bool {
	for i, c := range x.plan.Calls {
		if x.book.Calls[i].State == call.Undone && c.Undo != nil && c.Undo.Voids {
			return true
		}
	}
	return false
}

// reserved keeps what stays when undone, so that the next try uses it again.
func (x *execution) reserved(generation int) []ledger.Made {
	var out []ledger.Made
	for _, r := range x.plan.Records {
		keep := map[string]string{}
		for i, c := range x.plan.Calls {
			if c.Record == r.Name && c.Reversal == call.Leftover {
				for name, v := range x.book.Calls[i].Outputs {
					keep[c.Name+"."+name] = v
				}
			}
		}
		keep = x.unspent(keep)
		if old := x.madeBefore(r.Name); old != nil {
			if len(keep) > 0 {
				again := *old
				again.Reserved = keep
				out = append(out, again)
			}
			continue
		}
		if len(keep) > 0 || r.Created && !r.Exists {
			out = append(out, ledger.Made{Record: r.Name, System: r.System, Kind: r.Kind, ID: r.ID,
				Generation: max(generation, r.Generation+1), Created: true, Gone: true, Reserved: keep})
		}
	}
	return out
}

// drawn are what calls gave that cannot be undone and do no harm: a record that
// must be made again, because its system lost it, is given the same.
func (x *execution) drawn(name string) map[string]string {
	var out map[string]string
	if old := x.madeBefore(name); old != nil {
		out = old.Reserved
	}
	for i, c := range x.plan.Calls {
		if c.Record != name || c.Reversal != call.Leftover {
			continue
		}
		for output, v := range x.book.Calls[i].Outputs {
			if out == nil {
				out = map[string]string{}
			}
			out[c.Name+"."+output] = v
		}
	}
	return out
}

func (x *execution) madeBefore(name string) *ledger.Made {
	for i, m := range x.w.Made {
		if m.Record == name && !m.Gone {
			return &x.w.Made[i]
		}
	}
	return nil
}

// finishDone reads back what was written where no answer said it, and stores
// what was made and agreed.
func (x *execution) finishDone(ctx context.Context) (*ledger.Work, error) {
	if err := x.readAll(ctx); err != nil {
		return x.stop(ctx, err)
	}
	e := ledger.End{State: ledger.Done, Remarks: append(append([]string(nil), x.plan.Remarks...), x.book.Kept...)}
	for _, r := range x.plan.Records {
		if r.Later != nil && r.ID == "" {
			r.ID, _ = x.book.Output(*r.Later)
		}
		if r.ID == "" || x.skipped(r.Name) {
			continue
		}
		e.Made = append(e.Made, x.made(r))
		if s := x.snapshot(r); s != nil {
			e.Snapshots = append(e.Snapshots, *s)
		}
		if who := person(x.w); r.Person && who != "" && !r.Removed && !r.GivenBack {
			e.Links = append(e.Links, ledger.Link{Person: who, System: r.System, Kind: r.Kind, ID: r.ID,
				State: "linked", By: linkedBy(x.w.Delivery.ID), How: r.How})
			if r.Replaces != "" {
				e.Replaced = append(e.Replaced, ledger.Link{Person: who, System: r.System, Kind: r.Kind, ID: r.Replaces})
			}
		}
	}
	if own, ok := x.plan.Own(person(x.w), &x.w.Message, x.personKind(x.w.Message.System)); ok && len(e.Links) > 0 {
		own.By = linkedBy(x.w.Delivery.ID)
		e.Links = append(e.Links, own)
	}
	for _, s := range x.plan.Sources {
		e.Snapshots = withSource(e.Snapshots, s, x.Ledger.Now())
	}
	if len(x.plan.Calls) == 0 && len(e.Remarks) == 0 {
		e.Reason = "the other system already says this; nothing to change"
	}
	return x.end(ctx, e)
}

func (x *execution) skipped(name string) bool {
	for i, c := range x.plan.Calls {
		if c.Record == name && (x.book.Calls[i].Skipped || x.book.Calls[i].State == call.Refused) {
			return true
		}
	}
	return false
}

// readAll reads back what no answer showed.
func (x *execution) readAll(ctx context.Context) error {
	x.readings = map[string]call.Answer{}
	for i := range x.plan.Calls {
		c := &x.plan.Calls[i]
		if _, ok := x.readBack[c.Name]; ok || c.Check == nil || c.Check.Want == nil || x.book.Calls[i].State != call.Answered {
			continue
		}
		o, err := x.observe(ctx, c, *c.Check)
		if err != nil {
			return err
		}
		if c.Check.Judge(o, x.book.Output) == call.NotYet {
			return x.untrue(ctx, i)
		}
		x.keepReading(c.Name, o)
	}
	return nil
}

// mostUntrue is how often a target may say that a call was done, and show that it
// was not, before a person is asked.
const mostUntrue = 3

// untrue is told that a target answered a call as done and shows the record as it
// was before. Something between it and us may have answered (the login page of a
// network), or it did so in passing: the outcome is unknown, and found out as
// after a lost answer, now or when a person has it retried.
func (x *execution) untrue(ctx context.Context, i int) error {
	c := &x.plan.Calls[i]
	if x.pending != nil {
		if err := x.Ledger.Step(ctx, x.w, *x.pending); err != nil {
			return err
		}
		x.pending = nil
	}
	delete(x.answers, c.Name)
	if err := x.write(ctx, ledger.StepUnknown, i, lineData{}); err != nil {
		return err
	}
	if n := x.book.Calls[i].Absent; n >= mostUntrue {
		return &plan.Stop{State: ledger.Held, Code: "answer", Cause: c.System + " says that it is done, and it is not",
			Reason: fmt.Sprintf("%s: %s answers that it was done, and shows the record as it was before, though it was sent %d times; find out why there, then retry or skip", c.About, c.System, n+1)}
	}
	return &pause{until: time.Millisecond, reason: c.System + " says that it was done, and shows the record as it was; it is looked at again"}
}

func (x *execution) made(r plan.Record) ledger.Made {
	generation := r.Generation
	if r.Removed && r.Created {
		generation++ // the voided row keeps its id
	}
	m := ledger.Made{Record: r.Name, System: r.System, Kind: r.Kind, ID: r.ID, Generation: generation,
		Created: r.Created, Gone: r.Removed || r.GivenBack, Fields: call.Resolve(r.Mine, x.book.Output), Before: record.Fields{}, Once: r.Once}
	maps.Copy(m.Before, x.notOurs(r))
	maps.Copy(m.Before, r.Before) // the first version knew what was there before us
	if !m.Gone {
		m.Took, m.Reserved = r.Took, x.drawn(r.Name)
	}
	return m
}

// notOurs is what a record had of others where this plan writes: what an earlier
// version of the document had written is not to be given back to it.
func (x *execution) notOurs(r plan.Record) record.Fields {
	old := x.madeBefore(r.Name)
	if old == nil || old.ID != r.ID {
		return r.Was
	}
	out := record.Fields{}
	for path, was := range r.Was {
		_, wrote := old.Before[path]
		mine, had := old.Fields[path]
		if had && (wrote || old.Created) && record.Same(mine, was) {
			continue
		}
		out[path] = was
	}
	return out
}

// snapshot is what both sides agree on now: what was read back of what we
// wrote, and what we found equal.
func (x *execution) snapshot(r plan.Record) *ledger.Snapshot {
	if r.Removed {
		return nil
	}
	read := record.Fields{}
	for i, c := range x.plan.Calls {
		if c.Record == r.Name && x.book.Calls[i].State == call.Answered {
			maps.Copy(read, x.readBack[c.Name].Fields)
		}
	}
	fields := map[string]record.Agreed{}
	maps.Copy(fields, r.Agreed)
	changed := false
	if r.GivenBack {
		// What we gave back is not agreed any more: the same document, sent again,
		// writes it anew.
		for path := range r.Write {
			_, had := fields[path]
			changed = changed || had
			delete(fields, path)
		}
	}
	for path, v := range r.Took {
		// Agreed is now what stands in its place, so that the same answer, said
		// again, is news.
		old, had := fields[path]
		if _, now := r.Write[path]; !had || !now {
			continue
		}
		if record.Empty(v) {
			v = nil
		}
		fields[path], changed = record.Agreed{Value: v, At: x.plan.Event, Seq: x.w.Message.Seq, By: x.w.Message.System}.Covers(&old, nil), true
	}
	for path, judged := range r.Settled {
		old := fields[path]
		fields[path], changed = record.Agreed{Value: judged, At: x.plan.Event, Seq: x.w.Message.Seq, By: x.w.Message.System}.Covers(&old, nil), true
	}
	for path, mine := range r.Mine {
		if _, unknown := mine.(record.Later); unknown {
			mine = call.Resolve(record.Fields{path: mine}, x.book.Output)[path]
		}
		now := record.Agreed{Value: mine, At: x.plan.Event, Seq: x.w.Message.Seq, By: x.w.Message.System}
		if v, ok := read[path]; ok {
			now.Value = v
		}
		if record.Empty(now.Value) {
			now.Value = nil
		}
		if old, ok := fields[path]; ok && record.Same(old.Value, now.Value) && !old.At.Before(now.At) {
			continue
		}
		if old, ok := fields[path]; ok {
			now = now.Follows(&old, time.Time{}).Covers(&old, r.Was[path])
		} else {
			now = now.Covers(nil, r.Was[path])
		}
		fields[path], changed = now, true
	}
	if !changed {
		return nil
	}
	return &ledger.Snapshot{System: r.System, Kind: r.Kind, ID: r.ID, Fields: fields}
}

// Plan plans a delivery against the live systems, and changes nothing.
func (r *Runner) Plan(ctx context.Context, w *ledger.Work) (*plan.Plan, error) {
	f := r.Flows(w.Delivery.Flow)
	if f == nil {
		return nil, fmt.Errorf("no flow %s", w.Delivery.Flow)
	}
	targets := func(name string) (plan.Target, error) {
		port, ok := r.Systems[name]
		if !ok {
			return plan.Target{}, missing(name)
		}
		return plan.Target{System: port.System, Connector: port.Connector, Do: port.Reader(w.LaneID)}, nil
	}
	if err := unusable(w, f); err != nil {
		return nil, err
	}
	in := plan.Input{Flow: f, Work: w, Targets: targets, Memory: r.Ledger, Now: r.Ledger.Now(), Lost: r.Lost}
	if source, ok := r.Systems[w.Message.System]; ok {
		in.Source = source.Connector
	}
	if !w.Message.Withdrawn {
		run, err := r.begin(ctx, f, w)
		if err != nil {
			return nil, err
		}
		in.Run = run
	}
	p, err := plan.Make(ctx, in)
	var s *plan.Stop
	if errors.As(err, &s) && s.Offer.Teach != nil {
		return r.taught(ctx, f, w, s)
	}
	return p, err
}

func decode(content []byte) (any, error) {
	var v any
	if err := json.Unmarshal(content, &v); err != nil {
		return nil, fmt.Errorf("read the stored message: %w", err)
	}
	return v, nil
}
