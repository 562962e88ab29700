package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/record"
)

// Target is a system as the planner sees it: what it can plan, and reads.
type Target struct {
	System    connector.System
	Connector string
	Do        call.Doer // refuses requests that change something
}

// Memory is what the planner asks of the ledger.
type Memory interface {
	Snapshot(ctx context.Context, system, kind, id string) (*ledger.Snapshot, error)
	Links(ctx context.Context, person string) ([]ledger.Link, error)
	LinkOf(ctx context.Context, system, kind, id string) (*ledger.Link, error)
	Apart(ctx context.Context, person string) ([]ledger.Link, error)
}

// Input is one delivery to plan.
type Input struct {
	Flow    *flow.Flow
	Run     *flow.Run // nil when the document was withdrawn: everything it made goes
	Source  string    // connector of the message's system
	Work    *ledger.Work
	Targets func(system string) (Target, error)
	Memory  Memory
	Now     time.Time
	// Lost is told of a record that the ledger knows and that is not there at all;
	// see runner.Runner.
	Lost func(ctx context.Context, system, kind, id string) error
}

// Make plans one delivery. It gives a *Stop when the delivery ends, waits or
// needs a person instead, and a *call.Error when a read failed.
func Make(ctx context.Context, in Input) (*Plan, error) {
	p := &planner{Input: in, replay: in.Work.Delivery.Replay, needs: map[string][]string{}, done: map[string]bool{},
		person: strings.TrimPrefix(in.Work.LaneKey, "person:")}
	if p.person == in.Work.LaneKey {
		p.person = ""
	}
	p.plan = &Plan{Flow: in.Flow.Name, FlowHash: in.Flow.Hash, At: in.Now,
		Generation: in.Work.Delivery.Generation, Event: eventTime(in.Work.Message)}
	if in.Run != nil {
		for _, rec := range in.Flow.Records {
			if err := p.record(ctx, rec); err != nil {
				return nil, err
			}
		}
	}
	if err := p.withdraw(ctx); err != nil {
		return nil, err
	}
	if p.replay == nil { // what a message said when it was first carried on is agreed already
		if err := p.sources(ctx); err != nil {
			return nil, err
		}
	}
	calls, err := Order(p.calls, p.needs)
	if err != nil {
		return nil, err
	}
	p.plan.Calls = calls
	if in.Run != nil && len(calls) > 0 {
		if p.plan.Approve, err = in.Run.Approve(); err != nil {
			return nil, EvalStop(err)
		}
	}
	if len(p.plan.Records) == 0 {
		return nil, &Stop{State: ledger.Skipped, Code: "nothing-wanted", Cause: "nothing wanted",
			Reason: "nothing to do for this message: " + strings.Join(p.why, "; ")}
	}
	return p.plan, nil
}

// eventTime is when it happened in the field. A clinical time later than
// receipt counts as receipt (law 22).
func eventTime(m connector.Message) time.Time {
	if m.Event.IsZero() || m.Event.After(m.Received) {
		return m.Received
	}
	return m.Event
}

type planner struct {
	Input
	replay *ledger.Replay // of the delivery, nil if it repeats none
	plan   *Plan
	calls  []call.Call
	needs  map[string][]string
	done   map[string]bool // records of Made that this plan took care of
	going  map[string]bool // ids of the records that this plan removes
	why    []string        // why records were left out
	moved  []ledger.Made   // made in a system that is not this record's any more
	seen   map[flow.Origin]record.Agreed
	// apartIn are origins that some field of the plan differs from.
	apartIn map[flow.Origin]bool
	links   []ledger.Link // of the person, read once
	apart   map[string]bool
	person  string
	// of the record that is being planned: blocking keys of a match that found
	// nobody, and the record that was merged into the one found
	spec     *connector.KindSpec
	blocks   []string
	replaces string
}

// record plans one record of the flow.
func (p *planner) record(ctx context.Context, rec *flow.Record) error {
	want, err := p.Run.Eval(rec)
	if err != nil {
		return EvalStop(err)
	}
	if want.Skip {
		p.why = append(p.why, rec.Name+" "+want.Why)
		p.Run.Set(rec, nil)
		return nil
	}
	target, kind, err := p.target(rec)
	if err != nil {
		return err
	}
	p.spec = kind.Spec()
	made := p.madeOf(rec)
	if made != nil && !made.Gone && made.System != target.System.Name() {
		if p.replay != nil {
			return p.goneElsewhere(rec, made)
		}
		// The person is another facility's now: what stands in the old one goes.
		p.moved = append(p.moved, *made)
		made = p.formerly(rec, target.System.Name())
	}
	r := Record{Name: rec.Name, System: target.System.Name(), Kind: rec.Kind, Needs: rec.Needs,
		OnRefused: string(want.Refused), Person: kind.Spec().Person, Generation: p.generation(made)}
	p.needs[rec.Name] = rec.Needs

	set, fresh, err := p.canon(ctx, rec, kind, target, want)
	if err != nil {
		return err
	}
	found, derived, err := p.find(ctx, rec, kind, target, want, made, set, fresh)
	if err != nil {
		return err
	}
	p.done[rec.Name] = true
	if rec.Was != "" {
		p.done[rec.Was] = true
	}
	r.Found = found.Fields
	r.Matched, r.Replaces = p.blocks, p.replaces
	p.blocks, p.replaces = nil, ""
	switch {
	case !found.Exists && p.elsewhere(made, r.System):
		err = p.stands(ctx, &r, made)
	case found.Exists:
		r.ID, r.Exists, r.How = found.ID, true, found.How
		r.Created = made != nil && made.Created && made.ID == found.ID
		if made != nil && made.ID == found.ID {
			r.Before, r.Once = made.Before, made.Once
		}
		err = p.merge(ctx, &r, rec, set, found, made, want, target)
	case want.Lookup:
		err = nil
	case want.NewErr != nil:
		return EvalStop(want.NewErr)
	default:
		r.ID, r.Created = derived, true
		for path := range fresh {
			if _, also := set[path]; !also {
				r.Once = append(r.Once, path)
			}
		}
		slices.Sort(r.Once)
		r.Write = record.Fields{}
		for _, f := range []record.Fields{fresh, set} {
			for path, v := range f {
				if !record.Empty(v) {
					r.Write[path] = v
				}
			}
		}
		r.Mine = r.Write.Clone()
		for path := range set {
			p.carried(rec, path, p.plan.Event)
		}
		err = p.anew(ctx, &r, made)
	}
	if err != nil {
		return err
	}
	p.keepMine(&r, made, union(fresh, set))
	calls, err := p.callsOf(ctx, &r, kind, target, found, set, fresh, made)
	if err != nil {
		return err
	}
	if p.notAgain(&r, made, kind.Spec(), calls) {
		p.remark("%s was sent to %s before and cannot be taken back, so it is not sent again", r.Name, r.System)
		if calls, err = nil, p.stands(ctx, &r, made); err != nil {
			return err
		}
	}
	p.calls = append(p.calls, calls...)
	p.plan.Records = append(p.plan.Records, r)
	p.Run.Set(rec, result(r, found, kind.Spec()))
	return nil
}

func (p *planner) callsOf(ctx context.Context, r *Record, kind connector.Kind, target Target,
	found connector.Found, set, fresh record.Fields, made *ledger.Made) ([]call.Call, error) {
	if len(r.Write) == 0 && (r.Exists || !r.Created) {
		return nil, nil
	}
	change := connector.Change{Record: r.Name, ID: r.ID, Write: r.Write, Wanted: union(fresh, set),
		Reason: fmt.Sprintf("kiungo delivery %d", p.Work.Delivery.ID), At: p.plan.Event}
	if r.Exists {
		change.Found = &found
	}
	if made != nil {
		change.Reserved = made.Reserved
	}
	calls, err := kind.Calls(ctx, target.Do, change)
	if err != nil {
		return nil, fmt.Errorf("plan %s of %s: %w", r.Name, r.System, err)
	}
	for i := range calls {
		calls[i].Record, calls[i].System, calls[i].Kind = r.Name, r.System, r.Kind
		if calls[i].Target == "" {
			calls[i].Target = r.ID
		}
	}
	if !r.Exists && (r.ID == "" || kind.Spec().ServerChooses) && len(calls) > 0 {
		last := calls[len(calls)-1]
		if _, ok := last.Outputs["id"]; ok {
			r.ID, r.Later = "", &record.Later{Call: last.Name, Output: "id"}
		}
	}
	return calls, nil
}

// result is what later records of the flow see of this one.
func result(r Record, found connector.Found, spec *connector.KindSpec) *flow.Result {
	ref := record.Ref{Record: r.Name, Kind: r.Kind, ID: r.ID, New: !r.Exists}
	if r.Later != nil {
		ref.Later = *r.Later
	}
	if r.ID == "" && r.Later == nil {
		return nil // looked up, and not there
	}
	fields := flattened(nested(union(found.Fields, r.Write)), spec.OpenUnder)
	if r.ID != "" {
		fields["uuid"] = r.ID
	} else {
		fields["uuid"] = *r.Later
	}
	if spec.IDName != "" {
		fields[spec.IDName] = fields["uuid"]
	}
	out := &flow.Result{Ref: ref, Fields: fields}
	if r.Exists {
		out.Found = flattened(nested(found.Fields), spec.OpenUnder)
	}
	return out
}

// flattened gives the fields below under also by their own names, as flows
// name them when they write them.
func flattened(f map[string]any, under string) map[string]any {
	below, _ := f[under].(map[string]any)
	for name, v := range below {
		if _, taken := f[name]; !taken {
			f[name] = v
		}
	}
	return f
}

// nested turns canonical paths into nested objects, as flows name them. What
// is emptied, and what cannot be read, is absent there.
func nested(f record.Fields) map[string]any {
	out := map[string]any{}
	for path, v := range f {
		switch v.(type) {
		case record.Clear, record.Unreadable, nil:
			continue
		}
		at := out
		parts := strings.Split(path, "/")
		for _, part := range parts[:len(parts)-1] {
			inner, ok := at[part].(map[string]any)
			if !ok {
				inner = map[string]any{}
				at[part] = inner
			}
			at = inner
		}
		at[parts[len(parts)-1]] = v
	}
	return out
}

func (p *planner) target(rec *flow.Record) (Target, connector.Kind, error) {
	name, err := p.Run.System(rec.Connector)
	if err != nil {
		return Target{}, nil, EvalStop(err)
	}
	target, err := p.Targets(name)
	if err != nil {
		return Target{}, nil, err
	}
	kind := target.System.Kind(connector.ShortKind(rec.Kind))
	if kind == nil {
		return Target{}, nil, fmt.Errorf("system %s has no record kind %s", name, rec.Kind)
	}
	return target, kind, nil
}

func union(fields ...record.Fields) record.Fields {
	out := record.Fields{}
	for _, f := range fields {
		for k, v := range f {
			out[k] = v
		}
	}
	return out
}

// EvalStop turns an expression's error into what the delivery does about it:
// every such error needs a person, and none gets better by a repeat.
func EvalStop(err error) error {
	var s *Stop
	if errors.As(err, &s) || call.ClassOf(err) != "" {
		return err
	}
	cause, kind := flow.Cause(err)
	reason := err.Error()
	var offer question.Offer
	var key string
	var unmapped *flow.Unmapped
	if errors.As(err, &unmapped) {
		key, offer = teach(unmapped)
	}
	var at *flow.Error
	if errors.As(err, &at) {
		// First what is wrong, then where: a clerk reads this.
		where := at.Position.String()
		if at.Record != "" {
			where = "record " + at.Record + ", " + where
		}
		reason = fmt.Sprintf("%v (%s)", at.Err, where)
	}
	return &Stop{State: ledger.Held, Code: kind, Cause: cause, Reason: reason, Key: key, Offer: offer}
}

// teach offers to answer an unmapped code in place: the answer becomes a row of
// the table.
func teach(u *flow.Unmapped) (string, question.Offer) {
	o := question.Offer{Teach: &question.Teach{Table: u.Table, Codes: u.Codes, Column: u.Column},
		Other: fmt.Sprintf("a value for column %s of %s.csv", u.Column, u.Table)}
	for _, v := range u.Known {
		o.Choices = append(o.Choices, question.Choice{Value: v, Text: "as other codes of this table"})
	}
	o.Choices = append(o.Choices, question.Choice{Value: NotSent, Text: "known, and not sent"}, question.Choice{Value: question.Skip, Text: "end this delivery without doing anything"})
	return "unmapped/" + u.Table + "/" + strings.Join(u.Codes, "/"), o
}

// NotSent is the answer that makes a code known without a target.
const NotSent = "(not sent)"

// remark notes something that the delivery's end will say.
func (p *planner) remark(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(p.plan.Remarks, text) {
		p.plan.Remarks = append(p.plan.Remarks, text)
	}
}
