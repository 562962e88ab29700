package flow

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/expr-lang/expr/vm"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// Run is one delivery being planned: what a flow wants for one message and one
// item. It is for one goroutine. It reads nothing; what needs a read is given to
// it by Surround and Set.
type Run struct {
	flow    *Flow
	source  int
	item    Item
	msg     *connector.Message
	content any
	env     map[string]any
	done    map[*namedExpr]bool
	state   state
	machine vm.VM
	record  string // being evaluated, for errors
}

// Begin starts to plan a delivery. each is its each-key ("" without each). It
// gives ErrNotForFlow when the flow, as it is now, does not take the message,
// and ErrGone when its each no longer gives the item.
func (f *Flow) Begin(m *connector.Message, content any, each string) (*Run, error) {
	items, err := f.Route(m, content)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		if f.takesAny(m, content) {
			return nil, ErrGone
		}
		return nil, ErrNotForFlow
	}
	i := slices.IndexFunc(items, func(it Item) bool { return it.Each == each })
	if i < 0 && each == "" {
		r := f.start(m, content, items[0].source)
		return nil, r.fail(f.each[0].expr.at, f.each[0].expr.from, &NoKey{"this delivery was kept when its items could not be told apart; send the message again now that they can"})
	}
	if i < 0 {
		return nil, ErrGone
	}
	r := f.start(m, content, items[i].source)
	r.item = items[i]
	maps.Copy(r.env, r.item.vars)
	return r, r.sourceLets()
}

// sourceLets works out the named values of the message's source.
func (r *Run) sourceLets() error {
	for _, l := range r.flow.From[r.source].lets {
		if err := r.let(l); err != nil {
			return err
		}
	}
	return nil
}

func (f *Flow) takesAny(m *connector.Message, content any) bool {
	return len(f.each) > 0 && slices.ContainsFunc(f.From, func(s *Source) bool { return s.takes(m, content, f.integ.site) })
}

// Flow is the flow that is planned.
func (r *Run) Flow() *Flow { return r.flow }

// Item is the item of each that is planned.
func (r *Run) Item() Item { return r.item }

// Names lists the names that need a read of the message's system and that this
// flow's expressions use: to be asked of its Surrounder.
func (r *Run) Names() []string {
	var out []string
	for _, n := range r.flow.From[r.source].Message.Names {
		if n.Remote && slices.Contains(r.flow.asks, n.Name) {
			out = append(out, n.Name)
		}
	}
	return out
}

// Surround gives the values of the names that needed a read. A name of each is
// replaced: the system knows more of the item than the message.
func (r *Run) Surround(values map[string]any) {
	names := r.flow.From[r.source].Message.Names
	for k, v := range values {
		if slices.ContainsFunc(names, func(n connector.NameSpec) bool { return n.Name == k }) && v != nil {
			r.env[k] = v
		}
	}
	r.forgetLets()
}

// Skew is how far the sender's clock was ahead at receipt, or zero. Its times
// up to its own "now" count as receipt; over 24 hours it is also a question.
func (r *Run) Skew() time.Duration {
	if r.msg.Received.IsZero() || !r.msg.Event.After(r.msg.Received) {
		return 0
	}
	return r.msg.Event.Sub(r.msg.Received)
}

// At is the event time of the message: the sender's, but never after receipt.
func (r *Run) At() time.Time {
	if r.msg.Event.IsZero() || r.Skew() > 0 {
		return r.msg.Received
	}
	return r.msg.Event
}

// Where asks the flow's where. When it is false the delivery is skipped, with
// the reason.
func (r *Run) Where() (ok bool, reason string, err error) {
	if r.flow.where == nil {
		return true, "", nil
	}
	ok, err = r.condition(r.flow.where)
	if err != nil || ok {
		return ok, "", err
	}
	return false, "not for this flow: " + r.flow.where.Text, nil
}

// Verdict is what require says.
type Verdict struct {
	OK   bool
	Else string // refuse, ask or hold
	Say  string // in words for the sender or the clerk; may hold answers
	That string // the condition that did not hold, without values
}

// Require asks the requirements in order; the first that does not hold decides.
// waived tells of a condition that a person has waived for this delivery.
func (r *Run) Require(waived func(that string) bool) (Verdict, error) {
	for _, q := range r.flow.require {
		if q.that == nil || q.els == "ask" && waived(q.that.Text) {
			continue
		}
		ok, err := r.condition(q.that)
		if err != nil {
			return Verdict{}, err
		}
		if ok {
			continue
		}
		v := Verdict{Else: q.els, That: q.that.Text}
		if q.say != nil {
			x, err := q.say.eval(r)
			if err != nil {
				return Verdict{}, err
			}
			t, _ := asText(x)
			v.Say, _ = r.state.say(t, nil).(string)
		}
		return v, nil
	}
	return Verdict{OK: true}, nil
}

// Approve gives what a person is to approve before the plan is carried out, ""
// if nobody need.
func (r *Run) Approve() (string, error) {
	a := r.flow.Approve
	if a == nil {
		return "", nil
	}
	if a.when != nil {
		if ok, err := r.condition(a.when); err != nil || !ok {
			return "", err
		}
	}
	v, err := a.say.eval(r)
	if err != nil {
		return "", err
	}
	t, _ := asText(v)
	said, _ := r.state.say(t, nil).(string)
	if said == "" {
		said = "approve this"
	}
	return said, nil
}

// System names the system of a connector that this delivery goes to: what to:
// says, else the only active one. A *NoServer error is a question.
func (r *Run) System(connectorName string) (string, error) {
	v, ok := r.flow.to[connectorName]
	if !ok {
		// the message's own system, when records go back to where it came from
		if s := r.flow.integ.site; s != nil && s.Systems[r.msg.System] != nil && s.Systems[r.msg.System].Connector == connectorName {
			return r.msg.System, nil
		}
		name, err := r.state.system(connectorName)
		if err != nil {
			return "", &Error{Position: Position{r.flow.File, r.flow.Line, 1}, Flow: r.flow.Name, Err: err}
		}
		return name, nil
	}
	x, err := v.eval(r)
	if err != nil {
		return "", err
	}
	name, _ := asText(x)
	site := r.flow.integ.site
	switch {
	case name == "":
		err = &NoServer{Connector: connectorName, Text: "to: gives no " + connectorName + " system for this message"}
	case site == nil || site.Systems[name] == nil || site.Systems[name].Connector != connectorName:
		err = &NoServer{Connector: connectorName, Text: fmt.Sprintf("%q is no %s system of site.yaml", name, connectorName)}
	case !site.Systems[name].Active:
		err = &NoServer{Connector: connectorName, Text: fmt.Sprintf("the system %s is switched off; switch it on, or skip", name)}
	default:
		return name, nil
	}
	return "", &Error{Position: Position{r.flow.File, r.flow.Line, 1}, Flow: r.flow.Name, Err: err}
}
