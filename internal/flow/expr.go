package flow

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/expr-lang/expr/builtin"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// stateName is where programs find their *state. No identifier can be written so.
const stateName = "\u00b7state"

// refName is where programs find the reference to a record, for ${patient} alone.
func refName(record string) string { return "\u00b7" + record }

// Expr is a compiled expression with its place.
type Expr struct {
	Text string
	prog *vm.Program
	at   *node // scalar that it stands in
	from int   // offset in the scalar's text
	use
	info
}

// use is what an expression uses, through lets too.
type use struct {
	names   []string // of the message, of each and of rows
	remote  []string // that need a read, whatever stands in each
	asks    []string // that need a read when planning
	lets    []*namedExpr
	records []string
	tables  []string
	tablesX bool // a table whose name is not known before running
}

// info is what is known of an expression's result.
type info struct {
	shape  *shape
	typ    connector.Type // "" when not known
	text   bool           // surely text: + joins
	record string         // exactly one record: ${patient}
}

// binding is a name that expressions may use.
type binding struct {
	remote bool // needs a read
	item   bool // of each: also there without the read
	shape  *shape
	let    *namedExpr
	record *Record
	local  bool // variable of the expression itself, or of a row list
	text   bool // surely text
}

// scope is the names that an expression may use.
type scope struct {
	names     map[string]*binding
	hidden    map[string]string // names that exist but not here -> why
	connector string            // for serverFor(place) inside to:
	integ     *Integration
}

func (s *scope) with(name string, b *binding) *scope {
	out := *s
	out.names = maps.Clone(s.names)
	out.names[name] = b
	return &out
}

// exprConfig is made once a reader: expr keeps types in it while it checks.
func (r *reader) exprConfig() *conf.Config {
	if r.config == nil {
		r.config = exprConfig()
	}
	return r.config
}

// exprConfig is expr's configuration: its grammar, our functions. The builtins
// that are left take predicates.
func exprConfig() *conf.Config {
	c := conf.New(map[string]any{})
	c.Strict = false
	c.Optimize = false
	c.DisableIfOperator = true
	c.MaxNodes = 2000
	for name := range c.Builtins {
		if !predicateFunctions[name] {
			delete(c.Builtins, name)
			c.Disabled[name] = true
		}
	}
	add := func(name string, f func(...any) (any, error)) {
		c.Functions[name] = &builtin.Function{Name: name, Func: f}
	}
	for name, op := range operators {
		add("\u00b7"+name, func(p ...any) (any, error) { return op(p[0].(*state), p[1].(string), p[2], p[3]) })
	}
	for name, f := range functions {
		add("\u00b7"+name, func(p ...any) (any, error) {
			v, err := f.call(p[0].(*state), p[1].(string), p[2:])
			if n, ok := v.(float64); ok && (math.IsNaN(n) || math.IsInf(n, 0)) {
				return nil, &BadValue{Field: p[1].(string), Text: "is too large a number"}
			}
			return v, err
		})
	}
	for name, f := range helpers {
		add("\u00b7"+name, func(p ...any) (any, error) { return f(p[0].(*state), p[1].(string), p[2:]) })
	}
	return c
}

// predicateFunctions are the builtins of expr that stay.
var predicateFunctions = map[string]bool{"all": true, "none": true, "any": true, "one": true, "filter": true, "map": true, "count": true, "find": true}

// helpers are what operators, dots and conditions become.
var helpers = map[string]func(s *state, where string, args []any) (any, error){
	"truth":   func(_ *state, where string, a []any) (any, error) { return truth(where, a[0]) },
	"not":     func(_ *state, where string, a []any) (any, error) { t, err := truth(where, a[0]); return !t, err },
	"member":  func(_ *state, where string, a []any) (any, error) { return member(where, a[0], a[1]) },
	"absent":  func(_ *state, _ string, a []any) (any, error) { return absent(a[0]), nil },
	"present": func(_ *state, _ string, a []any) (any, error) { return !absent(a[0]), nil },
	"blank": func(_ *state, _ string, a []any) (any, error) {
		if absent(a[0]) {
			return nil, nil
		}
		return a[0], nil
	},
	"list": func(_ *state, _ string, a []any) (any, error) { return listOf(a[0]), nil },
	"step": func(s *state, where string, a []any) (any, error) {
		if err := s.step(); err != nil {
			return nil, err
		}
		return a[0], nil
	},
	"test": func(s *state, where string, a []any) (any, error) {
		if err := s.step(); err != nil {
			return nil, err
		}
		return truth(where, a[0])
	},
	"join2": func(s *state, where string, a []any) (any, error) { return s.concat(where, a...) },
	"negate": func(_ *state, where string, a []any) (any, error) {
		if absent(a[0]) {
			return nil, nil
		}
		n, ok := asNumber(a[0])
		if !ok {
			return nil, notA(where, a[0], "a number")
		}
		return -n, nil
	},
}

// compile reads an expression that stands at an offset of a scalar. It gives
// nil when there was a problem, which is then reported.
func (r *reader) compile(n *node, text string, from int, sc *scope) *Expr {
	e := &Expr{Text: strings.TrimSpace(text), at: n, from: from}
	fail := func(offset int, code Code, format string, args ...any) {
		line, col := n.place(from + offset)
		r.add(SeverityError, code, n.src, line, col, fmt.Sprintf(format, args...))
	}
	if len(text) > maxExpr {
		fail(0, CodeTooLarge, "the expression has more than %d letters; use let for parts of it", maxExpr)
		return nil
	}
	if e.Text == "" {
		fail(0, CodeExpression, "the expression is empty")
		return nil
	}
	tree, err := parseExpr(text, r.exprConfig())
	if err != nil {
		offset, msg := exprError(text, err)
		if why := n.cutBy(); why != "" {
			fail(len(text), CodeCut, "%s", why)
			return nil
		}
		fail(offset, CodeExpression, "the expression cannot be read: %s", msg)
		return nil
	}
	w := &rewriter{scope: sc, text: text, use: &e.use, fail: func(loc file.Location, code Code, msg string) {
		fail(byteOffset(text, loc.From), code, "%s", msg)
	}}
	tree.Node, e.info = w.rewrite(tree.Node)
	if w.failed {
		return nil
	}
	c := r.exprConfig()
	if _, err := checker.Check(tree, c); err != nil {
		offset, msg := exprError(text, err)
		fail(offset, CodeExpression, "the expression cannot be read: %s", msg)
		return nil
	}
	if e.prog, err = compiler.Compile(tree, c); err != nil {
		offset, msg := exprError(text, err)
		fail(offset, CodeExpression, "the expression cannot be read: %s", msg)
		return nil
	}
	return e
}

// parseExpr parses; expr's parser is not to take the process down.
func parseExpr(text string, c *conf.Config) (tree *parser.Tree, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("this is not an expression")
		}
	}()
	tree, err = parser.ParseWithConfig(text, c)
	if err == nil && tree.Node == nil {
		err = errors.New("this is not an expression")
	}
	return tree, err
}

func exprError(text string, err error) (offset int, msg string) {
	var fe *file.Error
	if errors.As(err, &fe) {
		return byteOffset(text, fe.From), fe.Message
	}
	return 0, err.Error()
}

// byteOffset turns expr's offset in runes into one in bytes.
func byteOffset(text string, runes int) int {
	for i := range text {
		if runes == 0 {
			return i
		}
		runes--
	}
	return len(text)
}

// cutBy says how YAML cut an unquoted scalar, if it did.
func (n *node) cutBy() string {
	if n.style != 0 || n.src == nil {
		return ""
	}
	rest := []rune(n.src.line(n.line))
	end := n.col - 1 + len([]rune(n.text))
	if end > len(rest) {
		return ""
	}
	after := string(rest[end:])
	switch t := strings.TrimLeft(after, " "); {
	case strings.HasPrefix(t, "#") && t != after:
		return "YAML ends unquoted text at ` #`; put the whole value in single quotes: '…'"
	case strings.HasPrefix(t, ","):
		return "YAML ends unquoted text inside {} and [] at the comma; put the whole value in single quotes: '…'"
	case strings.HasPrefix(t, ":"):
		return "YAML ends unquoted text at `: `; put the whole value in single quotes: '…'"
	}
	return ""
}

// constRegexp compiles the pattern of matches.
func constRegexp(n ast.Node) (*regexp.Regexp, error) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		return nil, errors.New("the pattern of matches must be written out as text")
	}
	re, err := regexp.Compile(s.Value)
	if err != nil {
		return nil, fmt.Errorf("the pattern cannot be read: %w", err)
	}
	return re, nil
}

func (u *use) addName(list *[]string, name string) {
	if !slices.Contains(*list, name) {
		*list = append(*list, name)
	}
}

// through adds what a let uses.
func (u *use) through(l *namedExpr) {
	if slices.Contains(u.lets, l) {
		return
	}
	u.lets = append(u.lets, l)
	if l.expr != nil {
		u.add(&l.expr.use)
	}
}

// add joins another expression's use.
func (u *use) add(o *use) {
	for _, x := range o.names {
		u.addName(&u.names, x)
	}
	for _, x := range o.remote {
		u.addName(&u.remote, x)
	}
	for _, x := range o.asks {
		u.addName(&u.asks, x)
	}
	for _, x := range o.records {
		u.addName(&u.records, x)
	}
	for _, x := range o.tables {
		u.addName(&u.tables, x)
	}
	u.tablesX = u.tablesX || o.tablesX
	for _, l := range o.lets {
		u.through(l)
	}
}
