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

// builtin is a function with a predicate: filter, map, all, any, none, one,
// count, find.
func (w *rewriter) builtin(n *ast.BuiltinNode) (ast.Node, info) {
	if n.Name == "sum" && len(n.Arguments) == 2 {
		m := &ast.BuiltinNode{Name: "map", Arguments: n.Arguments}
		m.SetLocation(n.Location())
		where := sourceOf(n)
		list, _ := w.builtin(m)
		return call(n, "sum", where, list), info{shape: leaf, typ: connector.Number}
	}
	if n.Name == "sum" {
		c := &ast.CallNode{Callee: &ast.IdentifierNode{Value: n.Name}, Arguments: n.Arguments}
		c.SetLocation(n.Location())
		return w.callNode(c)
	}
	if !predicateFunctions[n.Name] || len(n.Arguments) < 2 {
		w.problem(n, CodeUnknownFunc, "%s is not a function of the flow language%s", n.Name, suggest(n.Name, FunctionNames()))
		return n, info{}
	}
	over := n.Arguments[0]
	list, in := w.rewrite(over)
	if in.record != "" {
		w.problem(over, CodeType, "%s is a record, not a list", in.record)
	}
	p, ok := n.Arguments[1].(*ast.PredicateNode)
	if !ok {
		w.problem(n, CodeExpression, "%s needs a condition: %s(list, .field == …)", n.Name, n.Name)
		return n, info{}
	}
	w.rows = append(w.rows, in.shape.row())
	where := sourceOf(p.Node)
	body, bi := w.rewrite(p.Node)
	w.rows = w.rows[:len(w.rows)-1]
	helper := "test"
	if n.Name == "map" {
		helper = "step"
	}
	pred := &ast.PredicateNode{Node: call(p.Node, helper, where, body)}
	pred.SetLocation(p.Location())
	out := &ast.BuiltinNode{Name: n.Name, Arguments: []ast.Node{call(over, "list", sourceOf(over), list), pred}}
	out.SetLocation(n.Location())
	row := in.shape.row()
	switch n.Name {
	case "filter":
		return out, info{shape: &shape{list: true, items: row}, typ: listType}
	case "map":
		return out, info{shape: &shape{list: true, items: bi.shape}, typ: listType}
	case "find":
		return out, info{shape: row}
	case "count":
		return out, info{shape: leaf, typ: connector.Number}
	}
	return out, info{shape: leaf, typ: connector.Bool}
}

func (w *rewriter) callNode(n *ast.CallNode) (ast.Node, info) {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		w.problem(n, CodeUnknownFunc, "only functions of the flow language can be called")
		return n, info{}
	}
	if why, later := laterFunctions[id.Value]; later {
		w.problem(n, CodeNotYet, "%s() is not supported yet: %s", id.Value, why)
		return n, info{}
	}
	f := functions[id.Value]
	if f == nil {
		w.problem(n, CodeUnknownFunc, "there is no function %q%s", id.Value, suggest(id.Value, slices.Concat(FunctionNames(), slices.Collect(maps.Keys(predicateFunctions)))))
		return n, info{}
	}
	if got := len(n.Arguments); got < f.min || got > f.max {
		w.problem(n, CodeUnknownFunc, "%s has %d arguments here; write it like %s", f.name, got, f.example)
		return n, info{}
	}
	infos := make([]info, len(n.Arguments))
	args := make([]ast.Node, len(n.Arguments))
	for i, a := range n.Arguments {
		args[i], infos[i] = w.rewrite(a)
		if infos[i].record != "" {
			w.problem(a, CodeType, "%s is a record and can only be passed on alone; write a field of it: %s.uuid", infos[i].record, infos[i].record)
		}
	}
	where := sourceOf(n.Arguments[0])
	if f.name == "lookup" {
		where = sourceOf(n.Arguments[1])
	}
	if f.name == "serverFor" && len(args) == 1 {
		if w.scope.connector == "" {
			w.problem(n, CodeUnknownFunc, "say which kind of server: serverFor(%s, \"openmrs\")", where)
		}
		args = append(args, &ast.StringNode{Value: w.scope.connector})
	}
	return call(n, f.name, where, args...), w.result(n, f, infos)
}

// result says what is known of a call's result, and checks constant arguments.
func (w *rewriter) result(n *ast.CallNode, f *function, in []info) info {
	out := info{typ: f.result, text: f.result == connector.Text}
	if out.typ == connector.Any {
		out.typ = ""
	}
	switch f.result {
	case connector.Any, listType:
	default:
		out.shape = leaf
	}
	switch f.name {
	case "lookup", "table":
		t := w.table(n.Arguments[0], f.name)
		if t == nil {
			break
		}
		if f.name == "table" {
			out.shape = tableShape(t)
		} else if len(t.Columns) < len(n.Arguments) {
			w.problem(n, CodeTable, "table %q needs %d columns of codes and a target; it has %s", t.Name, len(n.Arguments)-1, strings.Join(t.Columns, ", "))
		}
	case "supervisorOf":
		w.use.addName(&w.use.tables, "supervisors")
	case "say":
		w.use.addName(&w.use.tables, "texts")
	case "answer":
		w.answers(n, in)
	case "rows", "clear", "first", "last":
		w.passOn(f.name, in[0], &out)
	case "choices", "split":
		out.shape = &shape{list: true, items: leaf}
	case "cast", "plus":
		w.constant(n, f.name)
	case "convert":
		a, okA := n.Arguments[1].(*ast.StringNode)
		b, okB := n.Arguments[2].(*ast.StringNode)
		if okA && okB {
			if _, err := convertUnits(1, a.Value, b.Value); err != nil {
				w.problem(n, CodeExpression, "%v", err)
			}
		}
	}
	return out
}

func (w *rewriter) passOn(name string, in info, out *info) {
	switch name {
	case "rows":
		out.shape = &shape{list: true, items: in.shape.row()}
	case "clear":
		*out = info{shape: in.shape, typ: in.typ}
	default:
		out.shape = in.shape.row()
	}
}

func (w *rewriter) constant(n *ast.CallNode, name string) {
	c, ok := n.Arguments[1].(*ast.StringNode)
	if !ok {
		return
	}
	if name == "cast" && !slices.Contains(castTypes, c.Value) {
		w.problem(c, CodeExpression, "there is no type %q%s", c.Value, suggest(c.Value, castTypes))
	}
	if name == "plus" {
		if _, ok := parseSpan(c.Value); !ok {
			w.problem(c, CodeExpression, `%q is no span of time; write a number and minutes, hours, days, weeks, months or years: "7 days"`, c.Value)
		}
	}
}

// table finds the table that a constant argument names.
func (w *rewriter) table(arg ast.Node, function string) *Table {
	s, ok := arg.(*ast.StringNode)
	if !ok {
		w.use.tablesX = true
		return nil
	}
	w.use.addName(&w.use.tables, s.Value)
	t := w.scope.integ.Tables[s.Value]
	if t == nil {
		w.problem(arg, CodeTable, "there is no table %q in tables/%s", s.Value, suggest(s.Value, slices.Collect(maps.Keys(w.scope.integ.Tables))))
	}
	return t
}

// answers checks the rows of a table against the questions of the samples.
func (w *rewriter) answers(n *ast.CallNode, in []info) {
	w.use.tablesX = w.use.tablesX || in[1].shape == nil || in[1].shape.table == nil
	if in[1].shape == nil || in[1].shape.table == nil {
		return
	}
	t := in[1].shape.table
	if !slices.Contains(t.Columns, "question") {
		w.problem(n, CodeTable, "answer() needs a table with the column question; %s has %s", t.Name, strings.Join(t.Columns, ", "))
		return
	}
	for i, row := range t.Rows {
		w.answerRow(n, t, i, row, in[0].shape)
	}
}

func (w *rewriter) answerRow(n *ast.CallNode, t *Table, i int, row Row, form *shape) {
	at := fmt.Sprintf("%s, row of line %d", t.file, t.lines[i])
	if codes := row["codes"]; codes != "" {
		w.use.addName(&w.use.tables, codes)
		if w.scope.integ.Tables[codes] == nil {
			w.problem(n, CodeTable, "%s: there is no table %q in tables/%s", at, codes, suggest(codes, slices.Collect(maps.Keys(w.scope.integ.Tables))))
		}
	}
	if typ := row["type"]; typ != "" && !slices.Contains(castTypes, typ) {
		w.problem(n, CodeTable, "%s: there is no type %q%s", at, typ, suggest(typ, castTypes))
	}
	for _, part := range questionPath(row["question"]) {
		form = form.row()
		next, ok := form.field(part)
		if !ok {
			w.problem(n, CodeUnknownName, "%s: no sample has the question %q%s", at, row["question"], suggest(part, form.names()))
			return
		}
		form = next
	}
}

// laterFunctions are functions of the language that this version does not run.
var laterFunctions = map[string]string{
	"state":   "expectations are not run yet",
	"open":    "expectations are not run yet",
	"decode":  "code cards are not run yet",
	"reserve": "pools of identifiers are the connector's for now",
}
