package flow

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
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
func (r *Run) Require() (Verdict, error) {
	for _, q := range r.flow.require {
		if q.that == nil {
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

// None says what to do when a record is not found.
type None string

const (
	Create   None = "create"
	SkipNone None = "skip"
	AskNone  None = "ask"
	Wait     None = "wait"
)

// Find is how a record is to be looked for.
type Find struct {
	Given bool // the flow has a find; else the kind's own way
	// By are the criteria in the flow's order. One with an absent value is left
	// out whole: without it a search would match too much.
	By []map[string]any
	// Top are criteria directly under find: each of By is meant with them. nil
	// when there are none, or when one is absent; then Incomplete is set and
	// nothing can be found.
	Top        map[string]any
	Incomplete bool
	None       None
	Wait       time.Duration // for None Wait
	Near       string        // create, ask or skip: from the record or integration.yaml
	Several    string        // ask or skip
}

// Criteria gives what to search by: each of By with Top, or Top alone.
func (f Find) Criteria() []map[string]any {
	if f.Incomplete {
		return nil
	}
	if len(f.By) == 0 {
		if f.Top == nil {
			return nil
		}
		return []map[string]any{f.Top}
	}
	out := make([]map[string]any, len(f.By))
	for i, by := range f.By {
		out[i] = maps.Clone(by)
		maps.Copy(out[i], f.Top)
	}
	return out
}

// Wanted is what a flow wants of one record. Values are as connectors take
// them: text, bool, float64, days YYYY-MM-DD, moments RFC 3339 in UTC,
// record.Ref, record.Clear, record.Later, and lists and objects of these.
type Wanted struct {
	Record *Record
	Skip   bool // when: is false; the record is left alone
	Why    string
	Find   Find
	Set    map[string]any // kept so; nil when nothing is to be set
	New    map[string]any // given once, when it is made
	Key    string         // same key, same record; "" without key:
	// Lookup: neither set nor new is written in the flow; looked up only.
	Lookup  bool
	Refused Refused
}

// Win gives who wins for a field: by the record's rules, else the integration's.
func (w *Wanted) Win(path string) Win {
	own := w.Record.Wins.For(path)
	if own.Rule != WinReceived {
		return own
	}
	return w.Record.integWins.For(path)
}

// Eval works out what is wanted of a record. The records that it Needs must
// have been Set before.
func (r *Run) Eval(rec *Record) (*Wanted, error) {
	r.record = rec.Name
	defer func() { r.record = "" }()
	w := &Wanted{Record: rec, Refused: rec.Refused, Lookup: rec.set == nil && rec.new == nil}
	if rec.when != nil {
		ok, err := r.condition(rec.when)
		if err != nil {
			return nil, err
		}
		if !ok {
			w.Skip, w.Why = true, "not wanted: "+rec.when.Text
			return w, nil
		}
	}
	var err error
	if w.Find, err = r.find(rec.find); err != nil {
		return nil, err
	}
	if rec.key != nil {
		v, err := rec.key.eval(r)
		if err != nil {
			return nil, err
		}
		t, ok := asText(v)
		if !ok || absent(v) {
			return nil, r.fail(rec.at, 0, &NoKey{"key: is absent for this message; without it a repeat would make a second record"})
		}
		w.Key = t
	}
	if w.Set, err = rec.set.evalMap(r); err != nil {
		return nil, err
	}
	w.New, err = rec.new.evalMap(r)
	return w, err
}

func (r *Run) find(f *finder) (Find, error) {
	out := Find{Given: f.given, None: f.none, Wait: f.wait, Near: f.near, Several: f.several}
	for _, by := range f.by {
		m, err := by.strict(r)
		if err != nil {
			return out, err
		}
		if m != nil {
			out.By = append(out.By, m)
		}
	}
	if f.top == nil {
		return out, nil
	}
	var err error
	out.Top, err = f.top.strict(r)
	out.Incomplete = out.Top == nil
	return out, err
}

// Result is what became of a record in this plan.
type Result struct {
	Ref record.Ref
	// Fields are its content after the plan, nested as the kind names it, with
	// what the kind gives besides ("uuid"). Values may be record.Later.
	Fields map[string]any
	// Found is its content as it was found, nested; nil when it is to be made.
	Found map[string]any
}

// Set tells what became of a record, so that later ones see it: ${patient},
// ${patient.uuid}, ${patient.found.phone}. A nil result: there is none (skipped,
// not found); all of it is absent.
func (r *Run) Set(rec *Record, res *Result) {
	if res == nil {
		delete(r.env, rec.Name)
		delete(r.env, refName(rec.Name))
		return
	}
	m := make(map[string]any, len(res.Fields)+2)
	maps.Copy(m, res.Fields)
	if m["id"] == nil {
		switch {
		case res.Ref.ID != "":
			m["id"] = res.Ref.ID
		case res.Ref.Later != (record.Later{}):
			m["id"] = res.Ref.Later
		}
	}
	if res.Found != nil {
		m["found"] = res.Found
	}
	r.env[rec.Name] = m
	r.env[refName(rec.Name)] = res.Ref
}

// forgetLets has the flow's named values worked out anew: the names changed.
// Those of from depend on the message alone and stay.
func (r *Run) forgetLets() {
	for _, l := range r.flow.lets {
		delete(r.env, l.name)
		delete(r.done, l)
	}
}

// need works out the named values that an expression uses, inner ones first,
// each once.
func (r *Run) need(e *Expr) error {
	for i := len(e.lets) - 1; i >= 0; i-- {
		if err := r.let(e.lets[i]); err != nil {
			return err
		}
	}
	return nil
}

// let works out a named value, once.
func (r *Run) let(l *namedExpr) error {
	if r.done[l] || l.expr == nil {
		return nil
	}
	v, err := r.run(l.expr)
	if err != nil {
		return err
	}
	if r.done == nil {
		r.done = map[*namedExpr]bool{}
	}
	r.done[l] = true
	r.env[l.name] = v
	return nil
}

// run evaluates an expression.
func (r *Run) run(e *Expr) (any, error) {
	if err := r.need(e); err != nil {
		return nil, err
	}
	v, err := r.machine.Run(e.prog, r.env)
	if err != nil {
		return nil, r.exprFail(e, err)
	}
	return v, nil
}

func (r *Run) condition(e *Expr) (bool, error) {
	v, err := r.run(e)
	if err != nil {
		return false, err
	}
	ok, err := truth(e.Text, v)
	if err != nil {
		return false, r.fail(e.at, e.from, err)
	}
	return ok, nil
}

// exprFail turns expr's error into ours, at its place in the file.
func (r *Run) exprFail(e *Expr, err error) error {
	offset := 0
	var fe *file.Error
	if errors.As(err, &fe) {
		offset = byteOffset(e.Text, fe.From)
		if fe.Prev != nil {
			err = fe.Prev
		} else {
			err = &TooMuch{"the expression cannot be worked out: " + fe.Message}
		}
	}
	return r.fail(e.at, e.from+offset, err)
}

func (r *Run) fail(n *node, offset int, err error) error {
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	out := &Error{Flow: r.flow.Name, Record: r.record, Err: err}
	if n != nil && n.src != nil {
		line, col := n.line, n.col
		if n.kind == textNode {
			line, col = n.place(offset)
		}
		out.Position = Position{n.src.path, line, col}
		out.Source = n.src.line(line)
	}
	return out
}
