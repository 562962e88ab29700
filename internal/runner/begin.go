package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/record"
)

// begin sets up the flow's expressions for one delivery: what the message
// says, what its source can add, and whether the flow wants it at all. It
// gives nil when the document made something before and is not for this flow
// any more: what it made is then withdrawn.
func (r *Runner) begin(ctx context.Context, f *flow.Flow, w *ledger.Work) (*flow.Run, error) {
	if w.Message.Wiped {
		return nil, &plan.Stop{State: ledger.Held, Code: "wiped", Cause: "contents that are kept no longer",
			Reason: "it cannot be planned: " + ledger.ErrWiped.Error() + "; have its source send it again, or skip it"}
	}
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
	return run, required(run, w)
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
		if !m.Gone && w.Delivery.Replay == nil { // a replay only puts back
			return nil, nil
		}
	}
	return nil, &plan.Stop{State: ledger.Skipped, Code: "not-for-this-flow", Cause: f.Name + ": not for this flow", Reason: why}
}

// required asks the flow's requirements; the first that fails decides.
func required(run *flow.Run, w *ledger.Work) error {
	refused := false
	v, err := run.Require(func(that string) bool {
		answer, _, _ := question.Answered(w.Questions, "require/"+that)
		refused = refused || answer == no
		return answer == yes
	})
	if err != nil {
		return plan.EvalStop(err)
	}
	if v.OK {
		return nil
	}
	s := &plan.Stop{State: ledger.Held, Code: "required", Cause: run.Flow().Name + ": " + v.That, Reason: v.Say}
	switch {
	case v.Else == "refuse":
		s.State = ledger.Refused
	case v.Else == "ask" && refused:
		s.State = ledger.Skipped
		s.Reason = "a person said no: " + v.Say
	case v.Else == "ask":
		s.Key = "require/" + v.That
		s.Offer.Choices = []question.Choice{{Value: yes, Text: "go on all the same"}, {Value: no, Text: "end this delivery without doing anything"},
			{Value: question.Retry, Text: "look again: it was mended"}}
	}
	return s
}

// Answers to a question of yes or no.
const (
	yes = "yes"
	no  = "no"
)

// unusable stops a delivery whose message cannot be used as it is, until a
// person has said to go on.
func unusable(w *ledger.Work, f *flow.Flow) error {
	if w.Message.Problem == "" || w.Message.Withdrawn {
		return nil
	}
	if answer, _, ok := question.Answered(w.Questions, "message"); ok && answer != question.Skip {
		return nil
	}
	return &plan.Stop{State: ledger.Held, Code: "message", Cause: f.Name + ": " + w.Message.Problem, Reason: w.Message.Problem, Key: "message",
		Offer: question.Offer{Choices: []question.Choice{{Value: yes, Text: "go on all the same"}, {Value: question.Skip, Text: "end this delivery without doing anything"}}}}
}

// taught plans again with what a person has taught about a code, if anybody has:
// perhaps on another node, or before this one started.
func (r *Runner) taught(ctx context.Context, f *flow.Flow, w *ledger.Work, s *plan.Stop) (*plan.Plan, error) {
	t := s.Offer.Teach
	l, err := r.Ledger.Lesson(ctx, f.Integration().ID, t.Table, t.Codes)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return nil, s
	}
	if !f.Integration().Teach(t.Table, t.Codes, l.Value) {
		return nil, s // it was known, and is not what is missing
	}
	return r.Plan(ctx, w)
}

// personKind is the kind of the records of a system that are people.
func (r *Runner) personKind(name string) string {
	port, ok := r.Systems[name]
	if !ok {
		return ""
	}
	return port.PersonKind
}

// withSource adds what the message's own record said to the snapshots.
func withSource(list []ledger.Snapshot, s plan.Source, told time.Time) []ledger.Snapshot {
	i := slices.IndexFunc(list, func(o ledger.Snapshot) bool { return o.System == s.System && o.Kind == s.Kind && o.ID == s.ID })
	var fields map[string]record.Agreed
	if i >= 0 {
		fields = list[i].Fields
	} else {
		fields = make(map[string]record.Agreed, len(s.Agreed)+len(s.Fields))
		maps.Copy(fields, s.Agreed)
	}
	changed := false
	for path, now := range s.Fields {
		old, ok := fields[path]
		if ok && record.Same(old.Value, now.Value) && !old.At.Before(now.At) {
			continue
		}
		if ok && i >= 0 && old.By == now.By && old.Seq == now.Seq {
			continue // what this very delivery wrote there is newer than what it saw
		}
		if ok {
			now = now.Follows(&old, told).Covers(&old, nil)
		} else {
			now = now.Follows(nil, told)
		}
		fields[path], changed = now, true
	}
	if i < 0 && changed {
		list = append(list, ledger.Snapshot{System: s.System, Kind: s.Kind, ID: s.ID, Fields: fields})
	}
	return list
}
