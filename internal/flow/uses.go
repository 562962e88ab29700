package flow

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// RecordUse is what one record of a flow says of its system by itself.
type RecordUse struct {
	Connector string
	// System is the configured one that to: names; "" where the message decides.
	System string
	connector.Use
}

// Uses gives, per record, what its fields hold whatever the message is:
// literals, site values, the cells of tables. It is what a live system is asked
// about before the first message.
func (f *Flow) Uses() []RecordUse {
	r := &Run{flow: f, env: map[string]any{"site": f.integ.values}, state: state{integ: f.integ, site: f.integ.site, zone: f.integ.Zone}}
	if r.state.zone == nil {
		r.state.zone = time.UTC
	}
	r.env[stateName] = &r.state
	var out []RecordUse
	for _, rec := range f.Records {
		u := RecordUse{Connector: rec.Connector, System: f.fixedSystem(r, rec.Connector), Use: connector.Use{
			Where: fmt.Sprintf("%s, record %s (%s:%d)", f.Name, rec.Name, f.File, rec.at.line),
			Kind:  connector.ShortKind(rec.Kind), Values: map[string][]string{}, Rows: map[string][]map[string]string{}}}
		for _, s := range f.From {
			if t := s.Schedule.When.Type(); t != "" {
				u.Period, u.Day = string(t), max(s.Schedule.Day, 1)
			}
		}
		k := knowing{r, map[string]bool{}}
		k.object(rec.set, "", &u.Use)
		k.object(rec.new, "", &u.Use)
		out = append(out, u)
	}
	return out
}

// fixedSystem is the system of a connector that every message goes to.
func (f *Flow) fixedSystem(r *Run, connectorName string) string {
	if v, ok := f.to[connectorName]; ok {
		k := knowing{r, map[string]bool{}}
		if t := k.values(v); len(t) == 1 {
			return t[0]
		}
		return ""
	}
	if name, err := r.state.system(connectorName); err == nil {
		return name
	}
	return ""
}

// knowing works out what can be known without a message; vars are the items of
// each that are known besides the site's values.
type knowing struct {
	r    *Run
	vars map[string]bool
}

func (k knowing) object(o *object, path string, u *connector.Use) {
	if o == nil {
		return
	}
	for _, f := range o.fields {
		at := path + f.name
		switch v := f.v.(type) {
		case *object:
			k.object(v, at+"/", u)
		case *rowList:
			for _, row := range v.rows {
				u.Rows[at] = append(u.Rows[at], k.rows(row, 0)...)
			}
		default:
			if t := k.values(v); len(t) > 0 {
				u.Values[at] = t
			}
		}
	}
}

// rows gives the rows that one row of a flow stands for: one for each item of a
// table, or one where the message decides.
func (k knowing) rows(row listRow, depth int) []map[string]string {
	if depth < len(row.each) {
		e := row.each[depth]
		var items any
		known := k.known(&e.expr.use)
		if known {
			var err error
			items, err = k.r.run(e.expr)
			known = err == nil
		}
		if !known {
			return []map[string]string{literals(row.v)}
		}
		inner := knowing{k.r, maps.Clone(k.vars)}
		inner.vars[e.name] = true
		defer delete(k.r.env, e.name)
		var out []map[string]string
		for _, item := range listOf(items) {
			k.r.env[e.name] = item
			out = append(out, inner.rows(row, depth+1)...)
		}
		return out
	}
	if row.when != nil && k.known(&row.when.use) {
		if ok, err := k.r.condition(row.when); err == nil && !ok {
			return nil
		}
	}
	o, ok := row.v.(*object)
	if !ok {
		return nil
	}
	out := map[string]string{}
	for _, f := range o.fields {
		if t := k.values(f.v); len(t) == 1 {
			out[f.name] = t[0]
		}
	}
	return []map[string]string{out}
}

// literals gives the fields of a row that are written out: all that is known of
// rows that the message brings.
func literals(v value) map[string]string {
	out := map[string]string{}
	o, ok := v.(*object)
	if !ok {
		return out
	}
	for _, f := range o.fields {
		inner := f.v
		if t, ok := inner.(typed); ok {
			inner = t.v
		}
		if l, ok := inner.(literal); ok {
			if t, ok := asText(l.v); ok {
				out[f.name] = t
			}
		}
	}
	return out
}

// known tells whether an expression needs nothing of a message.
func (k knowing) known(u *use) bool {
	return len(u.remote) == 0 && len(u.records) == 0 && !slices.ContainsFunc(u.names, func(n string) bool { return !k.vars[n] })
}

// values gives what a value can be: one if it is known, the cells of a column if
// it is looked up there, nothing if the message alone decides.
func (k knowing) values(v value) []string {
	var u use
	v.uses(&u)
	if k.known(&u) {
		x, err := v.eval(k.r)
		if t, ok := asText(x); err == nil && ok && !absent(x) {
			return []string{t}
		}
		return nil
	}
	if t, ok := v.(typed); ok {
		v = t.v
	}
	s, ok := v.(single)
	if !ok {
		return nil
	}
	var out []string
	for _, t := range k.lookedUp(s.e) {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// lookedUp lists the cells that an expression can give where it, or one of its
// alternatives (a ?? b, c ? a : b, a let), is a lookup.
func (k knowing) lookedUp(e *Expr) []string {
	tree, err := parseExpr(e.Text, exprConfig())
	if err != nil {
		return nil
	}
	var out []string
	var walk func(n ast.Node)
	walk = func(n ast.Node) {
		switch n := n.(type) {
		case *ast.BinaryNode:
			if n.Operator == "??" {
				walk(n.Left)
				walk(n.Right)
			}
		case *ast.ConditionalNode:
			walk(n.Exp1)
			walk(n.Exp2)
		case *ast.IdentifierNode:
			for _, l := range e.lets {
				if l.name == n.Value && l.expr != nil {
					out = append(out, k.lookedUp(l.expr)...)
				}
			}
		case *ast.CallNode:
			out = append(out, k.column(n)...)
		}
	}
	walk(tree.Node)
	return out
}

// column lists the cells that a lookup may give.
func (k knowing) column(n *ast.CallNode) []string {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok || id.Value != "lookup" || len(n.Arguments) < 2 {
		return nil
	}
	name, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		return nil
	}
	t := k.r.state.integ.Tables[name.Value]
	if t == nil {
		return nil
	}
	var out []string
	for _, row := range t.Rows {
		if cell := row[t.target(len(n.Arguments)-1)]; cell != "" {
			out = append(out, cell)
		}
	}
	return out
}
