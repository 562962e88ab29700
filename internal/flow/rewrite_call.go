package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/kiungo-health/kiungo/internal/connector"
)

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
	if t.lines[i] == 0 {
		at = fmt.Sprintf("%s, a row of the site's own (samples/%s beside site.yaml may hold a message as it comes)", t.file, w.scope.integ.ID)
	}
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
