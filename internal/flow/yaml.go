package flow

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/conf"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Limits on files, checked before parsing: a parser's recursion must not be
// ours to fear (law 25).
const (
	maxFile    = 256 << 10
	maxNesting = 100
	maxExpr    = 4096
)

type nodeKind int

const (
	nullNode nodeKind = iota
	textNode
	numberNode
	boolNode
	mapNode
	listNode
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "an object", "a list"}[k]
}

// node is a YAML value with its place. Only what the language needs is left of
// YAML: no anchors, no tags, no merge keys.
type node struct {
	kind      nodeKind
	text      string // of text; of a number and a bool as written
	style     byte   // 0 plain, ' " | >
	line, col int
	pairs     []pair
	items     []*node
	inline    bool // written with {} or []
	src       *source
}

type pair struct{ key, value *node }

// source is a file as read.
type source struct {
	path  string // as shown in problems
	lines []string
}

func (s *source) line(n int) string {
	if s == nil || n < 1 || n > len(s.lines) {
		return ""
	}
	return s.lines[n-1]
}

// reader collects problems while files are read.
type reader struct {
	problems Problems
	config   *conf.Config
}

func (r *reader) add(sev Severity, code Code, src *source, line, col int, text string) {
	p := Problem{Line: max(line, 1), Col: max(col, 1), Severity: sev, Code: code, Text: text}
	if src != nil {
		p.File, p.Source = src.path, src.line(p.Line)
	}
	r.problems = append(r.problems, p)
}

func (r *reader) errorf(n *node, code Code, format string, args ...any) {
	r.add(SeverityError, code, n.src, n.line, n.col, fmt.Sprintf(format, args...))
}

func (r *reader) warnf(n *node, code Code, format string, args ...any) {
	r.add(SeverityWarning, code, n.src, n.line, n.col, fmt.Sprintf(format, args...))
}

// file reads one YAML file into its documents. show is the path for problems.
func (r *reader) file(path, show string) []*node {
	b, err := os.ReadFile(path)
	if err != nil {
		r.add(SeverityError, CodeFile, &source{path: show}, 1, 1, "cannot be read: "+plainError(err))
		return nil
	}
	return r.parse(b, show)
}

func plainError(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// parse reads YAML text into documents; empty ones are left out.
func (r *reader) parse(b []byte, show string) (docs []*node) {
	text := strings.ReplaceAll(strings.TrimPrefix(string(b), "\ufeff"), "\r\n", "\n")
	src := &source{path: filepath.ToSlash(show), lines: strings.Split(text, "\n")}
	if len(b) > maxFile {
		r.add(SeverityError, CodeTooLarge, src, 1, 1, fmt.Sprintf("the file has %d kB; at most %d kB, split it", len(b)>>10, maxFile>>10))
		return nil
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		r.add(SeverityError, CodeSyntax, src, 1, 1, "the file is not UTF-8 text; save it as UTF-8")
		return nil
	}
	if line, col := tooDeep(src.lines); line > 0 {
		r.add(SeverityError, CodeTooLarge, src, line, col, fmt.Sprintf("nested deeper than %d levels; write it flatter", maxNesting))
		return nil
	}
	defer func() {
		// goccy 1.19.2 can panic on text that is not YAML at all (found by fuzzing).
		if p := recover(); p != nil {
			docs = nil
			r.add(SeverityError, CodeSyntax, src, 1, 1, "this is not YAML that can be read")
		}
	}()
	file, err := parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(src, err)
		return nil
	}
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		c := &converter{reader: r, src: src}
		n := c.convert(d.Body)
		if n.kind == nullNode && len(n.text) == 0 {
			continue
		}
		docs = append(docs, n)
	}
	return docs
}

// tooDeep finds where brackets, block lists or indentation nest too deep.
func tooDeep(lines []string) (line, col int) {
	depth := 0
	for i, l := range lines {
		trimmed := strings.TrimLeft(l, " ")
		if len(l)-len(trimmed) > 8*maxNesting || strings.HasPrefix(trimmed, strings.Repeat("- ", maxNesting)) {
			return i + 1, 1
		}
		for j := range len(l) {
			switch l[j] {
			case '[', '{':
				if depth++; depth > maxNesting {
					return i + 1, j + 1
				}
			case ']', '}':
				depth = max(0, depth-1)
			}
		}
		if strings.Count(l, "? ") > maxNesting {
			return i + 1, 1
		}
	}
	return 0, 0
}

var bareTemplate = regexp.MustCompile(`[:,\[{-]\s*\$\{`)
var bareQuestion = regexp.MustCompile(`:\s+[^'"\s#][^'"#]*\s\?\s`)

// syntax reports a YAML error, with the reason when it is one of the known traps.
func (r *reader) syntax(src *source, err error) {
	line, col, text := 1, 1, err.Error()
	var y yaml.Error
	if errors.As(err, &y) {
		text = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			line, col = t.Position.Line, t.Position.Column
		}
	}
	l := src.line(line)
	code := CodeSyntax
	switch {
	case strings.Contains(l, "\t") && strings.TrimLeft(l, " ") != "" && strings.TrimLeft(l, " ")[0] == '\t':
		text = "a tab before the text; YAML indents with spaces only"
	case bareQuestion.MatchString(l):
		code, text = CodeCut, "YAML cannot read `? :` without quotes; put the whole value in single quotes: '…'"
	case bareTemplate.MatchString(l):
		code, text = CodeCut, "YAML reads the braces of ${…} as its own here; put the whole value in single quotes: '${…}'"
	}
	r.add(SeverityError, code, src, line, col, text)
}

type converter struct {
	*reader
	src   *source
	depth int
}

func (c *converter) at(n ast.Node) *node {
	out := &node{src: c.src, line: 1, col: 1}
	if t := n.GetToken(); t != nil && t.Position != nil {
		out.line, out.col = t.Position.Line, t.Position.Column
	}
	return out
}

func (c *converter) convert(a ast.Node) *node {
	if c.depth++; c.depth > 2*maxNesting {
		n := c.at(a)
		c.errorf(n, CodeTooLarge, "nested too deep; write it flatter")
		return n
	}
	defer func() { c.depth-- }()
	n := c.at(a)
	switch a := a.(type) {
	case *ast.MappingNode:
		n.kind, n.inline = mapNode, a.IsFlowStyle
		for _, v := range a.Values {
			c.pair(n, v)
		}
		c.place(n)
	case *ast.MappingValueNode:
		n.kind, n.inline = mapNode, a.IsFlowStyle
		c.pair(n, a)
		c.place(n)
	case *ast.SequenceNode:
		n.kind, n.inline = listNode, a.IsFlowStyle
		for _, v := range a.Values {
			n.items = append(n.items, c.convert(v))
		}
	case *ast.StringNode:
		n.kind, n.text = textNode, a.Value
		switch t := strings.TrimSpace(a.Token.Origin); {
		case strings.HasPrefix(t, "'"):
			n.style = '\''
		case strings.HasPrefix(t, `"`):
			n.style = '"'
		}
		if n.style == 0 {
			c.plain(n)
		}
	case *ast.LiteralNode:
		n.kind, n.style = textNode, '|'
		if strings.HasPrefix(a.Start.Value, ">") {
			n.style = '>'
		}
		if a.Value != nil {
			n.text = a.Value.Value
		}
	case *ast.IntegerNode:
		n.kind, n.text = numberNode, a.Token.Value
		if i, err := strconv.ParseInt(n.text, 10, 64); err != nil || strconv.FormatInt(i, 10) != n.text {
			c.changed(n, "a number written otherwise")
		}
	case *ast.FloatNode:
		n.kind, n.text = numberNode, a.Token.Value
		if f, err := strconv.ParseFloat(n.text, 64); err != nil || strconv.FormatFloat(f, 'f', -1, 64) != n.text {
			c.changed(n, "a number written otherwise")
		}
	case *ast.BoolNode:
		n.kind, n.text = boolNode, a.Token.Value
		if n.text != "true" && n.text != "false" {
			c.changed(n, "yes or no")
		}
	case *ast.NullNode:
		n.kind = nullNode
		if t := strings.TrimSpace(a.Token.Origin); t == "~" || strings.EqualFold(t, "null") && a.Token.Type.String() != "ImplicitNull" {
			n.text = t
			c.errorf(n, CodeLiteral, "YAML reads %s as nothing; leave the line out, write clear('') to empty a field, or quote the text: '%s'", t, t)
		}
	case *ast.InfinityNode, *ast.NanNode:
		n.kind, n.text = textNode, a.GetToken().Value
		c.changed(n, "a number that is none")
	case *ast.AnchorNode:
		c.errorf(n, CodeUnsupported, "anchors (&name) are not part of the flow language; write the value out, or use let")
		return c.convert(a.Value)
	case *ast.TagNode:
		c.errorf(n, CodeUnsupported, "tags (!name) are not part of the flow language; leave it out")
		if a.Value != nil {
			return c.convert(a.Value)
		}
	case *ast.AliasNode, *ast.MergeKeyNode:
		c.errorf(n, CodeUnsupported, "aliases (*name, <<) are not part of the flow language; write the value out, or use let")
	default:
		c.errorf(n, CodeUnsupported, "this YAML construct is not part of the flow language")
	}
	return n
}

// place puts an object at its first key: goccy points at the colon.
func (c *converter) place(n *node) {
	if !n.inline && len(n.pairs) > 0 {
		n.line, n.col = n.pairs[0].key.line, n.pairs[0].key.col
	}
}

func (c *converter) pair(n *node, v *ast.MappingValueNode) {
	key := c.at(v.Key)
	key.kind = textNode
	switch k := v.Key.(type) {
	case *ast.StringNode:
		key.text = k.Value
		if t := strings.TrimSpace(k.Token.Origin); strings.HasPrefix(t, "'") || strings.HasPrefix(t, `"`) {
			key.style = '\''
		}
	case *ast.MergeKeyNode:
		c.errorf(key, CodeUnsupported, "merge keys (<<) are not part of the flow language; write the values out")
		return
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		key.text = strings.TrimSpace(k.GetToken().Value)
		c.errorf(key, CodeLiteral, "YAML does not read the key %s as text; quote it: '%s':", key.text, key.text)
	default:
		c.errorf(key, CodeUnsupported, "a key must be one word or quoted text")
		return
	}
	for _, p := range n.pairs {
		if p.key.text == key.text {
			c.errorf(key, CodeDuplicate, "%q is here twice, first in line %d; keep one", key.text, p.key.line)
			return
		}
	}
	value := c.convert(v.Value)
	if value.kind == nullNode {
		value.line, value.col = key.line, key.col
	}
	n.pairs = append(n.pairs, pair{key, value})
}

var (
	yaml11Bool = regexp.MustCompile(`^(?i:yes|no|on|off)$`)
	yaml11Date = regexp.MustCompile(`^\d{4}-\d{1,2}-\d{1,2}([Tt ].*)?$`)
	yaml11Time = regexp.MustCompile(`^[-+]?\d+(:[0-5]?\d)+(\.\d*)?$`)
	numberLike = regexp.MustCompile(`^[-+]?(0[xob])?[\d_]+(\.[\d_]*)?([eE][-+]?\d+)?$|^[-+]?\.\d+([eE][-+]?\d+)?$`)
)

// plain refuses unquoted text that another YAML reader, or an editor that saves
// the file again, would turn into something else.
func (c *converter) plain(n *node) {
	switch t := n.text; {
	case yaml11Bool.MatchString(t):
		c.changed(n, "yes or no")
	case yaml11Date.MatchString(t):
		c.changed(n, "a moment")
	case yaml11Time.MatchString(t):
		c.changed(n, "a number of minutes or seconds")
	case numberLike.MatchString(t):
		c.changed(n, "a number written otherwise")
	}
}

func (c *converter) changed(n *node, as string) {
	n.kind = textNode
	quoted := "'" + n.text + "'"
	c.errorf(n, CodeLiteral, "YAML may read %s as %s; write it quoted: %s", n.text, as, quoted)
}

// get gives the value under a key, or nil.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, p := range n.pairs {
		if p.key.text == key {
			return p.value
		}
	}
	return nil
}

// place gives line and column, from 1, of a byte offset in the text of a scalar.
func (n *node) place(offset int) (line, col int) {
	offset = min(max(offset, 0), len(n.text))
	if n.style == '|' || n.style == '>' {
		before := n.text[:offset]
		k := strings.Count(before, "\n")
		if n.style == '>' {
			k = 0
		}
		body := n.src.line(n.line + 1 + k)
		indent := len(body) - len(strings.TrimLeft(body, " "))
		return n.line + 1 + k, indent + 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	}
	rest := []rune(n.src.line(n.line))
	if n.col-1 > len(rest) {
		return n.line, n.col
	}
	return n.line, n.col + n.runes(string(rest[n.col-1:]), offset)
}

// runes tells how many characters of the file stand before a byte offset of the
// value, quotes and escapes counted.
func (n *node) runes(raw string, offset int) int {
	if n.style == 0 {
		return utf8.RuneCountInString(n.text[:offset])
	}
	count, at := 1, 0
	for i := 1; i < len(raw) && at < offset; {
		r, size := utf8.DecodeRuneInString(raw[i:])
		step, took := size, size
		switch {
		case n.style == '\'' && strings.HasPrefix(raw[i:], "''"):
			step, took = 2, 1
		case n.style == '"' && r == '\\':
			step, took = 2, 1
		}
		count += utf8.RuneCountInString(raw[i:min(i+step, len(raw))])
		i += step
		at += took
	}
	return count
}
