package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// rewriter turns expr's tree into one in which every dot, operator and call is
// ours, with the eight rules in it, and notes what the expression uses. What it
// does not know is refused: nothing of expr's own meaning is left but literals,
// conditions and predicates.
type rewriter struct {
	scope  *scope
	text   string
	use    *use
	rows   []*shape // what # is, innermost last
	failed bool
	fail   func(file.Location, Code, string)
}

func (w *rewriter) problem(n ast.Node, code Code, format string, args ...any) {
	if !w.failed { // the first of an expression: what follows is mostly its echo
		w.fail(n.Location(), code, fmt.Sprintf(format, args...))
	}
	w.failed = true
}

// call makes a call of one of our functions in the place of a node.
func call(at ast.Node, name, where string, args ...ast.Node) ast.Node {
	callee := &ast.IdentifierNode{Value: "\u00b7" + name}
	c := &ast.CallNode{Callee: callee, Arguments: append([]ast.Node{&ast.IdentifierNode{Value: stateName}, &ast.StringNode{Value: where}}, args...)}
	c.SetLocation(at.Location())
	callee.SetLocation(at.Location())
	return c
}

// sourceOf gives the text of a node, for messages.
func sourceOf(n ast.Node) string {
	t := n.String()
	if len(t) > 80 {
		t = t[:77] + "…"
	}
	return t
}

func (w *rewriter) rewrite(n ast.Node) (ast.Node, info) {
	switch n := n.(type) {
	case *ast.NilNode:
		return n, info{shape: leaf}
	case *ast.IntegerNode, *ast.FloatNode:
		return n, info{shape: leaf, typ: connector.Number}
	case *ast.BoolNode:
		return n, info{shape: leaf, typ: connector.Bool}
	case *ast.StringNode:
		return n, info{shape: leaf, typ: connector.Text, text: true}
	case *ast.IdentifierNode:
		return w.identifier(n)
	case *ast.ChainNode:
		return w.rewrite(n.Node)
	case *ast.MemberNode:
		return w.member(n)
	case *ast.UnaryNode:
		return w.unary(n)
	case *ast.BinaryNode:
		return w.binary(n)
	case *ast.ConditionalNode:
		cond := w.value(n.Cond)
		a, ia := w.rewrite(n.Exp1)
		b, ib := w.rewrite(n.Exp2)
		out := &ast.ConditionalNode{Ternary: true, Cond: call(n.Cond, "truth", sourceOf(n.Cond), cond), Exp1: a, Exp2: b}
		out.SetLocation(n.Location())
		return out, joinInfo(ia, ib)
	case *ast.CallNode:
		return w.callNode(n)
	case *ast.BuiltinNode:
		return w.builtin(n)
	case *ast.PredicateNode:
		v, i := w.rewrite(n.Node)
		n.Node = v
		return n, i
	case *ast.PointerNode:
		return w.pointer(n)
	case *ast.VariableDeclaratorNode:
		v, i := w.rewrite(n.Value)
		outer := w.scope
		w.scope = w.scope.with(n.Name, &binding{shape: i.shape, local: true, text: i.text})
		e, ie := w.rewrite(n.Expr)
		w.scope = outer
		n.Value, n.Expr = v, e
		return n, ie
	case *ast.ArrayNode:
		var items *shape
		for i := range n.Nodes {
			v, in := w.rewrite(n.Nodes[i])
			n.Nodes[i] = v
			items = merge(items, in.shape)
		}
		return n, info{shape: &shape{list: true, items: items}, typ: listType}
	case *ast.MapNode:
		return w.object(n)
	}
	w.problem(n, CodeExpression, "%s is not part of the flow language", sourceOf(n))
	return n, info{}
}

// value rewrites a node whose result is worked with: a record must be asked for
// a field of it.
func (w *rewriter) value(n ast.Node) ast.Node {
	out, i := w.rewrite(n)
	if i.record != "" {
		w.problem(n, CodeType, "%s is a record and can only be passed on alone; write a field of it: %s.uuid", i.record, i.record)
	}
	return out
}

func joinInfo(a, b info) info {
	out := info{text: a.text && b.text}
	if a.typ == b.typ {
		out.typ = a.typ
	}
	if a.shape != nil && b.shape != nil {
		out.shape = merge(a.shape, b.shape)
	}
	return out
}

func (w *rewriter) identifier(n *ast.IdentifierNode) (ast.Node, info) {
	b, ok := w.scope.names[n.Value]
	if !ok {
		w.unknown(n)
		return n, info{}
	}
	switch {
	case b.local:
		return n, info{shape: b.shape, text: b.text}
	case b.let != nil:
		w.use.through(b.let)
		i := info{shape: b.shape}
		if b.let.expr != nil {
			i = b.let.expr.info
		}
		return n, i
	case b.record != nil:
		w.use.addName(&w.use.records, n.Value)
		ref := &ast.IdentifierNode{Value: refName(n.Value)}
		ref.SetLocation(n.Location())
		return ref, info{typ: connector.RefTo, record: n.Value}
	}
	w.named(n.Value, b)
	return n, info{shape: b.shape}
}

func (w *rewriter) named(name string, b *binding) {
	if name != "site" {
		w.use.addName(&w.use.names, name)
	}
	if b.remote {
		w.use.addName(&w.use.asks, name)
		if !b.item {
			w.use.addName(&w.use.remote, name)
		}
	}
}

func (w *rewriter) unknown(n *ast.IdentifierNode) {
	if why, ok := w.scope.hidden[n.Value]; ok {
		w.problem(n, CodeRemote, "%s", why)
		return
	}
	if functions[n.Value] != nil || predicateFunctions[n.Value] {
		w.problem(n, CodeUnknownFunc, "%s is a function; write %s(…)", n.Value, n.Value)
		return
	}
	w.problem(n, CodeUnknownName, "there is no name %q here%s", n.Value, suggest(n.Value, slices.Collect(maps.Keys(w.scope.names))))
}

func (w *rewriter) pointer(n *ast.PointerNode) (ast.Node, info) {
	switch n.Name {
	case "":
		if len(w.rows) > 0 {
			return n, info{shape: w.rows[len(w.rows)-1]}
		}
		return n, info{}
	case "index": // lists are numbered from 1
		one := &ast.IntegerNode{Value: 1}
		one.SetLocation(n.Location())
		return call(n, "+", "#index\x001", n, one), info{shape: leaf, typ: connector.Number}
	}
	w.problem(n, CodeExpression, "#%s is not part of the flow language", n.Name)
	return n, info{}
}

func (w *rewriter) member(n *ast.MemberNode) (ast.Node, info) {
	where := sourceOf(n)
	var base ast.Node
	var in info
	if id, ok := n.Node.(*ast.IdentifierNode); ok && w.scope.names[id.Value] != nil && w.scope.names[id.Value].record != nil {
		// a field of a record, not the reference to it
		w.use.addName(&w.use.records, id.Value)
		base, in = id, info{shape: w.scope.names[id.Value].shape}
	} else {
		base, in = w.rewrite(n.Node)
	}
	key, keyInfo := n.Property, info{}
	if _, ok := key.(*ast.StringNode); !ok {
		key, keyInfo = w.rewrite(n.Property)
	}
	out := call(n, "member", where, base, key)
	name, isText := n.Property.(*ast.StringNode)
	if in.shape == nil {
		return out, info{}
	}
	switch {
	case in.shape.list && isText:
		w.problem(n, CodeRepeat, "%s is a repeat, always a list; take one row, %s[1].%s, or each, map(%s, .%s) or filter", sourceOf(n.Node), sourceOf(n.Node), name.Value, sourceOf(n.Node), name.Value)
	case in.shape.list:
		if i, ok := n.Property.(*ast.IntegerNode); ok && i.Value == 0 {
			w.problem(n, CodeRepeat, "lists are numbered from 1; write [1] for the first row")
		}
		return out, info{shape: in.shape.items}
	case isText:
		f, ok := in.shape.field(name.Value)
		if !ok {
			w.problem(n, CodeUnknownName, "%s has no %q%s%s", sourceOf(n.Node), name.Value, inFile(in.shape), suggest(name.Value, in.shape.names()))
		}
		return out, info{shape: f}
	}
	if keyInfo.record != "" {
		w.problem(n, CodeType, "%s is a record; write a field of it", keyInfo.record)
	}
	if in.shape.table != nil {
		return out, info{shape: leaf}
	}
	return out, info{}
}

func inFile(s *shape) string {
	if s == nil || s.from == "" {
		return ""
	}
	return " (" + s.from + ")"
}

func (w *rewriter) unary(n *ast.UnaryNode) (ast.Node, info) {
	v := w.value(n.Node)
	switch n.Operator {
	case "not", "!":
		return call(n, "not", sourceOf(n.Node), v), info{shape: leaf, typ: connector.Bool}
	case "-":
		return call(n, "negate", sourceOf(n.Node), v), info{shape: leaf, typ: connector.Number}
	case "+":
		return call(n, "number", sourceOf(n.Node), v), info{shape: leaf, typ: connector.Number}
	}
	w.problem(n, CodeExpression, "the operator %s is not part of the flow language", n.Operator)
	return n, info{}
}

func nothing(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.NilNode:
		return true
	case *ast.StringNode:
		return n.Value == ""
	}
	return false
}

func (w *rewriter) binary(n *ast.BinaryNode) (ast.Node, info) {
	yes := info{shape: leaf, typ: connector.Bool}
	switch n.Operator {
	case "and", "&&", "or", "||":
		out := &ast.BinaryNode{Operator: n.Operator, Left: call(n.Left, "truth", sourceOf(n.Left), w.value(n.Left)), Right: call(n.Right, "truth", sourceOf(n.Right), w.value(n.Right))}
		out.SetLocation(n.Location())
		return out, yes
	case "??":
		l, il := w.rewrite(n.Left)
		r, ir := w.rewrite(n.Right)
		out := &ast.BinaryNode{Operator: "??", Left: call(n.Left, "blank", sourceOf(n.Left), l), Right: r}
		out.SetLocation(n.Location())
		return out, joinInfo(il, ir)
	case "==", "!=":
		if nothing(n.Left) || nothing(n.Right) {
			v, _ := w.rewrite(n.Left) // a record may be asked for being there
			other := n.Left
			if nothing(n.Left) {
				v, _ = w.rewrite(n.Right)
				other = n.Right
			}
			return call(n, map[string]string{"==": "absent", "!=": "present"}[n.Operator], sourceOf(other), v), yes
		}
	case "matches":
		re, err := constRegexp(n.Right)
		if err != nil {
			w.problem(n.Right, CodeExpression, "%v", err)
			return n, yes
		}
		c := &ast.ConstantNode{Value: re}
		c.SetLocation(n.Right.Location())
		return call(n, "matches", sourceOf(n.Left)+"\x00"+sourceOf(n.Right), w.value(n.Left), c), yes
	}
	if operators[n.Operator] == nil {
		w.problem(n, CodeExpression, "the operator %s is not part of the flow language", n.Operator)
		return n, info{}
	}
	l, il := w.rewrite(n.Left)
	r, ir := w.rewrite(n.Right)
	for _, side := range []struct {
		n ast.Node
		i info
	}{{n.Left, il}, {n.Right, ir}} {
		if side.i.record != "" {
			w.problem(side.n, CodeType, "%s is a record and can only be passed on alone; write a field of it: %s.uuid", side.i.record, side.i.record)
		}
	}
	where := sourceOf(n.Left) + "\x00" + sourceOf(n.Right)
	switch n.Operator {
	case "+":
		if il.text || ir.text {
			return call(n, "join2", sourceOf(n), l, r), info{shape: leaf, typ: connector.Text, text: true}
		}
		return call(n, "+", where, l, r), info{shape: leaf, typ: connector.Number}
	case "-", "*", "/", "%", "^", "**":
		return call(n, n.Operator, where, l, r), info{shape: leaf, typ: connector.Number}
	case "contains":
		if !il.text {
			w.problem(n, CodeContains, "contains looks for parts of words: %s would be found in no_%s, too; write %s in choices(%s) for codes, or %s matches \"…\" for free text",
				sourceOf(n.Right), strings.Trim(sourceOf(n.Right), `"`), sourceOf(n.Right), sourceOf(n.Left), sourceOf(n.Left))
		}
	}
	return call(n, n.Operator, where, l, r), yes
}

func (w *rewriter) object(n *ast.MapNode) (ast.Node, info) {
	out := &shape{fields: map[string]*shape{}}
	for _, p := range n.Pairs {
		pair, ok := p.(*ast.PairNode)
		if !ok {
			continue
		}
		key, ok := pair.Key.(*ast.StringNode)
		if !ok {
			w.problem(pair.Key, CodeExpression, "the names of an object must be written out")
			return n, info{}
		}
		v, i := w.rewrite(pair.Value)
		pair.Value = v
		out.fields[key.Value] = i.shape
	}
	return n, info{shape: out, typ: connector.Object}
}
