package runner

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

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
	if kind == ledger.StepUnknown {
		if x.marks == nil {
			x.marks = map[string]time.Time{}
		}
		x.marks[name] = x.Ledger.Now()
	}
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
