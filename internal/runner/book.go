package runner

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/record"
)

// Book is what the journal says about a plan: the state of each call and the
// direction. It is rebuilt from the journal's lines alone, so that a crash
// loses nothing, and it alone decides what comes next. It does no I/O.
type Book struct {
	Plan  *plan.Plan
	Calls []Entry
	Back  bool   // undoing
	Why   string // the refusal that turned it back
	Field string
	Lines int // of the journal
	// Kept are the refusals that the flow lets pass (refused: keep).
	Kept []string
	// Left are the calls that could not be undone, in words.
	Left []string
	// Theirs says which fields an undo left because others changed them since.
	Theirs []string
	// Blocked is a refusal on a record whose flow says refused: ask.
	Blocked string

	index map[string]int
}

// Entry is the state of one call.
type Entry struct {
	State   call.State
	Outputs call.Outputs
	// WasUnknown: its outcome was once unknown; an undo is looked at once more.
	WasUnknown bool
	// Absent is how often its outcome was unknown and it turned out not to have
	// happened.
	Absent  int
	Looked  bool
	Undoing bool // an undo's intent is journaled, its result is not
	Skipped bool // its record, or one it needs, was refused and kept
	Epoch   int64
}

// Action is what comes next.
type Action int

const (
	Send   Action = iota + 1 // send the call
	Verify                   // ask the target whether the call happened
	Await                    // ask whether an accepted call is done
	Undo                     // take the call back
	Look                     // look once more at a call that was unknown and then undone
	Ask                      // a person must say whether a blind call happened
	Finish
)

// Command is the next action, on the call with that index.
type Command struct {
	Do    Action
	Call  int
	State ledger.State // for Finish
}

// lineData is the data of a journal line.
type lineData struct {
	Outputs call.Outputs `json:"outputs,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Field   string       `json:"field,omitempty"`
	// Answers are calls of a run that were answered since the line before, with
	// their outputs.
	Answers map[string]call.Outputs `json:"answers,omitempty"`
}

// notSent marks, in a line's Intent, a call that was announced and not sent.
const notSent = "-"

// Open reads a journal against its plan.
func Open(p *plan.Plan, journal []ledger.Step) (*Book, error) {
	b := &Book{Plan: p, Calls: make([]Entry, len(p.Calls)), index: make(map[string]int, len(p.Calls))}
	for i, c := range p.Calls {
		b.Calls[i].State = call.Planned
		b.index[c.Name] = i
	}
	for _, s := range journal {
		if err := b.Apply(s); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Apply takes one journal line into account.
func (b *Book) Apply(s ledger.Step) error {
	b.Lines = max(b.Lines, s.N)
	if s.Kind == ledger.StepNote {
		return nil
	}
	var d lineData
	if len(s.Data) > 0 {
		if err := json.Unmarshal(s.Data, &d); err != nil {
			return fmt.Errorf("journal line %d: %w", s.N, err)
		}
	}
	if err := b.before(s, d); err != nil {
		return err
	}
	if s.Kind == ledger.StepAnswers {
		return b.intent(s)
	}
	if s.Kind == ledger.StepBack {
		b.Back, b.Why, b.Field = true, d.Reason, d.Field
		return b.intent(s)
	}
	if s.Kind == ledger.StepAgain {
		b.again()
		return b.intent(s)
	}
	i, ok := b.index[s.Call]
	if !ok {
		return fmt.Errorf("journal line %d is about call %q, which the plan does not have", s.N, s.Call)
	}
	e := &b.Calls[i]
	switch s.Kind {
	case ledger.StepIntent:
		e.State, e.Epoch = call.Sent, s.Epoch
	case ledger.StepAnswer, ledger.StepVerified:
		b.answer(i, d.Outputs)
	case ledger.StepAccepted:
		e.State, e.Outputs = call.Accepted, d.Outputs
	case ledger.StepUnknown:
		e.State, e.WasUnknown = call.Unknown, true
	case ledger.StepAbsent:
		if e.State == call.Unknown {
			e.Absent++
		}
		e.State = call.Planned
	case ledger.StepRefused:
		e.State = call.Refused
		b.refused(i, d)
	case ledger.StepUndo:
		e.Undoing = true
	case ledger.StepUndone:
		e.State, e.Undoing = call.Undone, false
		if d.Reason != "" {
			b.Theirs = append(b.Theirs, d.Reason)
		}
	case ledger.StepLeftOver:
		e.State, e.Undoing = call.LeftOver, false
		b.Left = append(b.Left, d.Reason)
	case ledger.StepLooked:
		e.Looked = true
	default:
		return fmt.Errorf("journal line %d has kind %q, which this version does not know", s.N, s.Kind)
	}
	return b.intent(s)
}

// before takes into account what a line says of the run that it ends.
func (b *Book) before(s ledger.Step, d lineData) error {
	for name, outputs := range d.Answers {
		i, ok := b.index[name]
		if !ok {
			return fmt.Errorf("journal line %d answers call %q, which the plan does not have", s.N, name)
		}
		b.answer(i, outputs)
	}
	for word := range strings.FieldsSeq(s.Intent) {
		name, not := strings.CutPrefix(word, notSent)
		if i, ok := b.index[name]; ok && not {
			b.Calls[i].State = call.Planned
		}
	}
	return nil
}

func (b *Book) answer(i int, outputs call.Outputs) {
	b.Calls[i].State = call.Answered
	if outputs != nil {
		b.Calls[i].Outputs = outputs
	}
}

// intent takes into account that one line may carry the intents of what is
// sent next.
func (b *Book) intent(s ledger.Step) error {
	for name := range strings.FieldsSeq(s.Intent) {
		if strings.HasPrefix(name, notSent) {
			continue // before has seen to it
		}
		i, ok := b.index[name]
		if !ok {
			return fmt.Errorf("journal line %d announces call %q, which the plan does not have", s.N, name)
		}
		if b.Back {
			b.Calls[i].Undoing = true
			continue
		}
		b.Calls[i].State, b.Calls[i].Epoch = call.Sent, s.Epoch
	}
	return nil
}

// Run names the calls that are announced together from call i on: those that
// the target can be asked about, and that can be undone. One intent covers them
// all, and their answers need not be durable one by one: after a crash each of
// them is verified, with the patience that its kind needs. A call of any other
// kind is announced alone, and its answer is durable before anything else is
// sent.
func (b *Book) Run(i int) []int {
	out := []int{i}
	if !together(b.Plan.Calls[i]) {
		return out
	}
	for j := i + 1; j < len(b.Calls); j++ {
		if b.Calls[j].Skipped || b.Calls[j].State != call.Planned {
			continue
		}
		if !together(b.Plan.Calls[j]) {
			break
		}
		out = append(out, j)
	}
	return out
}

func together(c call.Call) bool {
	if c.Reversal == call.Final || c.Await != nil {
		return false
	}
	return c.Check != nil && c.Repeat != call.Blind || c.Repeat == call.Safe && c.Reversal == call.Leftover
}

func (b *Book) refused(i int, d lineData) {
	c := b.Plan.Calls[i]
	r := b.Plan.Record(c.Record)
	onRefused := "undo"
	if r != nil && r.OnRefused != "" {
		onRefused = r.OnRefused
	}
	switch onRefused {
	case "keep":
		b.Kept = append(b.Kept, fmt.Sprintf("%s was refused: %s", c.Record, d.Reason))
		b.skip(c.Record)
	case "ask":
		b.Blocked, b.Field = d.Reason, d.Field
	default:
		b.Back, b.Why, b.Field = true, d.Reason, d.Field
	}
}

// again opens refusals and left-overs once more: a person mended the cause. A
// delivery that only goes forward goes forward; one that was being taken back
// goes on with that.
func (b *Book) again() {
	b.Blocked, b.Left = "", nil
	forward := !b.Back || b.OnlyForward()
	b.Back = !forward
	for i := range b.Calls {
		switch e := &b.Calls[i]; e.State {
		case call.Refused:
			if forward {
				e.State = call.Planned
			}
		case call.LeftOver:
			e.State = call.Answered
		}
	}
}

// skip gives up the calls of a record that was refused and kept, and of the
// records that need it.
func (b *Book) skip(name string) {
	gone := map[string]bool{name: true}
	for again := true; again; {
		again = false
		for _, r := range b.Plan.Records {
			if gone[r.Name] {
				continue
			}
			for _, n := range r.Needs {
				if gone[n] {
					gone[r.Name], again = true, true
				}
			}
		}
	}
	for i, c := range b.Plan.Calls {
		if gone[c.Record] && b.Calls[i].State == call.Planned {
			b.Calls[i].Skipped = true
		}
	}
}

// Output gives the output of a call that was answered.
func (b *Book) Output(l record.Later) (string, bool) {
	i, ok := b.index[l.Call]
	if !ok {
		return "", false
	}
	v, ok := b.Calls[i].Outputs[l.Output]
	return v, ok
}

// Touched tells whether any call may have changed something.
func (b *Book) Touched() bool { return b.Standing() > 0 }

// Standing is how many calls have, or may have, changed something that was not
// taken back.
func (b *Book) Standing() int {
	n := 0
	for _, e := range b.Calls {
		switch e.State {
		case call.Planned, call.Refused, call.Undone:
		default:
			n++
		}
	}
	return n
}

// Applied tells whether any call is known to have happened.
func (b *Book) Applied() bool {
	for _, e := range b.Calls {
		if e.State == call.Answered || e.State == call.Accepted || e.State == call.LeftOver {
			return true
		}
	}
	return false
}

// OnlyForward tells whether a call that cannot be undone may have left: from
// then on the delivery only goes forward (law 7).
func (b *Book) OnlyForward() bool {
	for i, c := range b.Plan.Calls {
		if c.Reversal == call.Final && b.Calls[i].State != call.Planned && b.Calls[i].State != call.Refused {
			return true
		}
	}
	return false
}

// Next decides what comes next.
func (b *Book) Next() Command {
	if b.Blocked != "" {
		return Command{Do: Finish, State: ledger.Held}
	}
	if b.Back {
		if b.OnlyForward() {
			return Command{Do: Finish, State: ledger.Held}
		}
		return b.nextBack()
	}
	for i, e := range b.Calls {
		if e.Skipped {
			continue
		}
		switch e.State {
		case call.Planned:
			return Command{Do: Send, Call: i}
		case call.Sent, call.Unknown:
			return Command{Do: b.ask(i), Call: i}
		case call.Accepted:
			return Command{Do: Await, Call: i}
		}
	}
	return Command{Do: Finish, State: ledger.Done}
}

func (b *Book) ask(i int) Action {
	if c := b.Plan.Calls[i]; c.Check == nil && c.Repeat == call.Safe && !b.Back {
		return Send // a repeat does no harm
	}
	if b.Plan.Calls[i].Repeat == call.Blind || b.Plan.Calls[i].Check == nil {
		return Ask
	}
	return Verify
}

func (b *Book) nextBack() Command {
	for i := len(b.Calls) - 1; i >= 0; i-- {
		e, c := b.Calls[i], b.Plan.Calls[i]
		switch e.State {
		case call.Sent, call.Unknown:
			if c.Reversal == call.Leftover && c.Check == nil {
				continue // whether it happened or not, nothing is to be taken back
			}
			return Command{Do: b.ask(i), Call: i}
		case call.Answered, call.Accepted:
			if c.Reversal == call.Leftover {
				continue // does no harm; the number is used again by the next try
			}
			return Command{Do: Undo, Call: i}
		}
	}
	for i, e := range b.Calls {
		if e.WasUnknown && !e.Looked && e.State == call.Planned {
			return Command{Do: Look, Call: i}
		}
	}
	if len(b.Left) > 0 {
		return Command{Do: Finish, State: ledger.HalfUndone}
	}
	return Command{Do: Finish, State: ledger.Undone}
}
