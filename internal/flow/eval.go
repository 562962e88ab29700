package flow

import (
	"errors"

	"github.com/expr-lang/expr/file"
)

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
