package flow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// value is a value of a flow, compiled: absent is nil.
type value interface {
	eval(r *Run) (any, error)
	// uses tells what the value's expressions use.
	uses(u *use)
}

// literal is a value as it is written.
type literal struct{ v any }

func (l literal) eval(*Run) (any, error) { return l.v, nil }
func (literal) uses(*use)                {}

// single is one ${…}: it keeps its type.
type single struct{ e *Expr }

func (s single) eval(r *Run) (any, error) { return r.run(s.e) }
func (s single) uses(u *use)              { u.add(&s.e.use) }

// mixed is text with ${…} in it: where a part is absent the whole is.
type mixed struct {
	parts []value
	at    *node
	label string
}

func (m mixed) eval(r *Run) (any, error) {
	parts := make([]any, len(m.parts))
	for i, p := range m.parts {
		v, err := p.eval(r)
		if err != nil {
			return nil, err
		}
		parts[i] = v
	}
	v, err := r.state.concat(m.label, parts...)
	if err != nil {
		return nil, r.fail(m.at, 0, err)
	}
	return v, nil
}

func (m mixed) uses(u *use) {
	for _, p := range m.parts {
		p.uses(u)
	}
}

// typed brings a value to its field's type.
type typed struct {
	v     value
	typ   connector.Type
	at    *node
	label string
}

func (t typed) eval(r *Run) (any, error) {
	v, err := t.v.eval(r)
	if err != nil {
		return nil, err
	}
	if l, ok := v.([]any); ok {
		out := make([]any, 0, len(l))
		for _, x := range l {
			c, err := r.state.coerce(t.label, x, t.typ)
			if err != nil {
				return nil, r.fail(t.at, 0, err)
			}
			if c != nil {
				out = append(out, c)
			}
		}
		return out, nil
	}
	c, err := r.state.coerce(t.label, v, t.typ)
	if err != nil {
		return nil, r.fail(t.at, 0, err)
	}
	return c, nil
}

func (t typed) uses(u *use) { t.v.uses(u) }

// object is an object of values.
type object struct{ fields []field }

type field struct {
	name string
	v    value
	must bool // a row without it is left out
}

func (o *object) eval(r *Run) (any, error) {
	m, err := o.evalMap(r)
	if m == nil || err != nil {
		return nil, err
	}
	return m, nil
}

// evalMap gives nil when every field is absent.
func (o *object) evalMap(r *Run) (map[string]any, error) {
	if o == nil {
		return nil, nil
	}
	var out map[string]any
	for _, f := range o.fields {
		v, err := f.v.eval(r)
		if err != nil {
			return nil, err
		}
		if absent(v) {
			if f.must {
				return nil, nil
			}
			continue
		}
		if out == nil {
			out = make(map[string]any, len(o.fields))
		}
		out[f.name] = v
	}
	return out, nil
}

// strict is evalMap for criteria: one absent value, at any depth, and there is
// no criterion, else a search would match too much.
func (o *object) strict(r *Run) (map[string]any, error) {
	if o == nil {
		return nil, nil
	}
	out := make(map[string]any, len(o.fields))
	for _, f := range o.fields {
		inner, nested := f.v.(*object)
		if nested {
			m, err := inner.strict(r)
			if m == nil || err != nil {
				return nil, err
			}
			out[f.name] = m
			continue
		}
		v, err := f.v.eval(r)
		if absent(v) || err != nil {
			return nil, err
		}
		out[f.name] = v
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func (o *object) uses(u *use) {
	if o == nil {
		return
	}
	for _, f := range o.fields {
		f.v.uses(u)
	}
}

// rowList is a list of values; a row with each stands for one row per item.
type rowList struct{ rows []listRow }

type listRow struct {
	each []eachVar
	when *Expr
	v    value
}

func (l *rowList) eval(r *Run) (any, error) {
	var out []any
	for _, row := range l.rows {
		if err := row.expand(r, 0, &out); err != nil {
			return nil, err
		}
	}
	if out == nil {
		return nil, nil
	}
	return out, nil
}

func (row *listRow) expand(r *Run, depth int, out *[]any) error {
	if depth < len(row.each) {
		e := row.each[depth]
		v, err := r.run(e.expr)
		if err != nil {
			return err
		}
		old, had := r.env[e.name]
		defer func() {
			delete(r.env, e.name)
			if had {
				r.env[e.name] = old
			}
		}()
		for _, item := range listOf(v) {
			if err := r.state.step(); err != nil {
				return r.fail(e.expr.at, e.expr.from, err)
			}
			r.env[e.name] = item
			if err := row.expand(r, depth+1, out); err != nil {
				return err
			}
		}
		return nil
	}
	if row.when != nil {
		ok, err := r.condition(row.when)
		if err != nil || !ok {
			return err
		}
	}
	v, err := row.v.eval(r)
	if err != nil || absent(v) {
		return err
	}
	*out = append(*out, v)
	return nil
}

func (l *rowList) uses(u *use) {
	for _, row := range l.rows {
		for _, e := range row.each {
			u.add(&e.expr.use)
		}
		if row.when != nil {
			u.add(&row.when.use)
		}
		row.v.uses(u)
	}
}

// template reads a scalar: a literal, one ${…}, or text with some in it.
func (r *reader) template(n *node, sc *scope, label string) (value, info) {
	switch n.kind {
	case numberNode:
		f, _ := strconv.ParseFloat(n.text, 64)
		return literal{f}, info{typ: connector.Number, shape: leaf}
	case boolNode:
		return literal{n.text == "true"}, info{typ: connector.Bool, shape: leaf}
	case nullNode:
		r.errorf(n, CodeMissingKey, "%s has no value; write one, or leave the line out", label)
		return literal{}, info{}
	case mapNode, listNode:
		r.errorf(n, CodeShape, "%s is %s; it must be one value", label, n.kind)
		return literal{}, info{}
	}
	parts, ok := r.parts(n)
	if !ok {
		return literal{}, info{}
	}
	var values []value
	var only info
	for _, p := range parts {
		if !p.expr {
			values = append(values, literal{p.text})
			continue
		}
		e := r.compile(n, p.text, p.from, sc)
		if e == nil {
			return literal{}, info{}
		}
		if e.record != "" && len(parts) > 1 {
			r.errorf(n, CodeType, "%s is a record and cannot stand inside text; write a field of it: ${%s.uuid}", e.record, e.record)
		}
		values, only = append(values, single{e}), e.info
	}
	switch len(values) {
	case 0:
		return literal{""}, info{typ: connector.Text, shape: leaf, text: true}
	case 1:
		if _, ok := values[0].(single); ok {
			return values[0], only
		}
		return values[0], info{typ: connector.Text, shape: leaf, text: true}
	}
	return mixed{parts: values, at: n, label: label}, info{typ: connector.Text, shape: leaf, text: true}
}

type part struct {
	text string
	expr bool
	from int // offset of the expression in the scalar
}

// parts cuts a scalar at its ${…}. Braces and quotes inside are respected.
func (r *reader) parts(n *node) ([]part, bool) {
	var out []part
	for at := 0; at < len(n.text); {
		i := strings.Index(n.text[at:], "${")
		if i < 0 {
			out = append(out, part{text: n.text[at:]})
			break
		}
		if i > 0 {
			out = append(out, part{text: n.text[at : at+i]})
		}
		start := at + i + 2
		end := closing(n.text, start)
		if end < 0 {
			line, col := n.place(start - 2)
			why, code := "${ is not closed by }", CodeUnbalanced
			if cut := n.cutBy(); cut != "" {
				why, code = "${ is cut: "+cut, CodeCut
			} else {
				why += fmt.Sprintf("; write '%s}'", n.text)
			}
			r.add(SeverityError, code, n.src, line, col, why)
			return nil, false
		}
		out = append(out, part{text: n.text[start:end], expr: true, from: start})
		at = end + 1
	}
	return out, true
}

// closing finds the } that closes an expression, or -1.
func closing(s string, from int) int {
	depth, quote := 0, byte(0)
	for i := from; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '{':
			depth++
		case c == '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// bare reads an expression that stands without ${}.
func (r *reader) bare(n *node, sc *scope, key string) *Expr {
	switch n.kind {
	case boolNode, numberNode:
	case textNode:
		if strings.Contains(n.text, "${") {
			r.errorf(n, CodeBraces, "%s is an expression by itself; take ${ } out: %s: %s", key, key, strings.NewReplacer("${", "", "}", "").Replace(n.text))
			return nil
		}
	default:
		r.errorf(n, CodeShape, "%s is %s; it must be an expression: %s: form.age > 5", key, n.kind, key)
		return nil
	}
	return r.compile(n, n.text, 0, sc)
}

// eachOf reads each: {name: list, …}; several are loops in each other.
func (r *reader) eachOf(n *node, sc *scope) ([]eachVar, *scope) {
	var out []eachVar
	for i, p := range r.object(n) {
		if i > 0 && n.inline && p.value.kind == nullNode && !identifier(p.key.text) {
			continue // the rest of an expression that YAML cut at a comma: already said
		}
		if b := sc.names[p.key.text]; !(b != nil && b.remote) && !r.newName(p.key, sc) {
			continue // each: {case: form.cases} names what the system says of it, too
		}
		e := r.bare(p.value, sc, "each")
		if e == nil {
			sc = sc.with(p.key.text, &binding{local: true})
			continue
		}
		if e.record != "" {
			r.errorf(p.value, CodeType, "%s is a record, not a list", e.record)
		}
		out = append(out, eachVar{p.key.text, e})
		sc = sc.with(p.key.text, &binding{shape: e.shape.row(), local: true})
	}
	if n.kind == mapNode && len(n.pairs) == 0 {
		r.errorf(n, CodeMissingKey, "each needs a name and a list: each: {case: form.cases}")
	}
	return out, sc
}

// newName checks a name that a flow gives: expressions must be able to say it.
func (r *reader) newName(k *node, sc *scope) bool {
	if !identifier(k.text) {
		r.errorf(k, CodeValue, "%q cannot be a name in expressions; use letters, digits and _, not first a digit", k.text)
		return false
	}
	if functions[k.text] != nil || predicateFunctions[k.text] || slices.Contains(reservedWords, k.text) {
		r.errorf(k, CodeValue, "%q is a word of expressions; take another name", k.text)
		return false
	}
	if sc.names[k.text] != nil {
		r.errorf(k, CodeDuplicate, "the name %q is taken already; take another", k.text)
		return false
	}
	return true
}

var reservedWords = []string{"let", "in", "not", "and", "or", "nil", "true", "false", "if", "else", "contains", "matches", "startsWith", "endsWith", "found", "sum"}

func identifier(s string) bool {
	for i, c := range s {
		if c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			continue
		}
		return false
	}
	return s != ""
}
