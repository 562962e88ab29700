package flow

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Severity tells whether a problem stops a flow from running.
type Severity string

const (
	// SeverityError stops the flow from running.
	SeverityError Severity = "error"
	// SeverityWarning is shown; the flow runs.
	SeverityWarning Severity = "warning"
)

// Code is the stable name of a kind of problem; it does not change with the wording.
type Code string

// The codes of problems. Each has a table test.
const (
	CodeSyntax       Code = "yaml-syntax"       // not YAML
	CodeTooLarge     Code = "too-large"         // file or nesting beyond the limits
	CodeUnsupported  Code = "yaml-unsupported"  // anchors, tags, merge keys
	CodeDuplicate    Code = "duplicate-key"     // one key twice
	CodeDuplicateID  Code = "duplicate-flow"    // one flow name twice
	CodeUnknownKey   Code = "unknown-key"       // not a word of the language
	CodeMissingKey   Code = "missing-key"       // a key that must be there
	CodeShape        Code = "wrong-shape"       // a list where an object is meant
	CodeLiteral      Code = "changed-literal"   // YAML would read something else than was written
	CodeCut          Code = "cut-expression"    // YAML cuts the expression
	CodeUnbalanced   Code = "unbalanced"        // ${ without }
	CodeExpression   Code = "bad-expression"    // expr cannot read it
	CodeBraces       Code = "braces"            // ${} around a bare expression, or missing
	CodeUnknownName  Code = "unknown-name"      // no such name, or no such field in the samples
	CodeUnknownFunc  Code = "unknown-function"  // no such function, or wrong number of arguments
	CodeRepeat       Code = "repeat"            // a repeat used as if it were one thing
	CodeContains     Code = "contains"          // parts of words
	CodeRemote       Code = "needs-a-read"      // a name that needs a read where only the message may be used
	CodeConstantLane Code = "constant-lane"     // one call at a time for a country
	CodeKind         Code = "unknown-kind"      // no such record kind
	CodeMessage      Code = "unknown-message"   // no such system or message kind
	CodeField        Code = "unknown-field"     // no such field of the kind
	CodeRequired     Code = "missing-field"     // a field that the kind needs
	CodeType         Code = "wrong-type"        // a value of another type than the field
	CodeLoop         Code = "reference-loop"    // records or lets that need each other
	CodeTable        Code = "unknown-table"     // no such table or column
	CodeTableFile    Code = "bad-table"         // a table that cannot be read
	CodeSite         Code = "site-value"        // a site: value that is missing or not declared
	CodeSystem       Code = "unknown-system"    // no such configured system
	CodeSecret       Code = "secret-in-clear"   // a secret written into a file
	CodeSample       Code = "sample"            // no sample, or one that cannot be read
	CodeValue        Code = "bad-value"         // a value that the word does not allow
	CodeNotYet       Code = "not-supported-yet" // a word of the language that this version does not run
	CodeFile         Code = "file"              // a file that cannot be read
)

// Problem is one thing that is wrong in a file, at its place.
type Problem struct {
	File      string
	Line, Col int // from 1
	Severity  Severity
	Code      Code
	Text      string // what is wrong; what to write instead
	Source    string // the line of the file
}

// String gives "file:line:col: error: what is wrong; what to write instead (code)".
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s (%s)", p.File, p.Line, p.Col, p.Severity, p.Text, p.Code)
}

// Excerpt gives the line of the file with a caret below the place, or "".
func (p Problem) Excerpt() string { return caret(p.Source, p.Line, p.Col) }

// Problems are all problems of all files read, sorted by place.
type Problems []Problem

// String gives one line per problem and a count.
func (p Problems) String() string {
	if len(p) == 0 {
		return ""
	}
	var b strings.Builder
	files := map[string]bool{}
	for _, x := range p {
		fmt.Fprintln(&b, x)
		files[x.File] = true
	}
	errs := p.Errors()
	fmt.Fprintf(&b, "%s, %s in %s\n", count(errs, "error"), count(len(p)-errs, "warning"), count(len(files), "file"))
	return b.String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Errors counts the problems that stop a flow from running.
func (p Problems) Errors() int {
	n := 0
	for _, x := range p {
		if x.Severity == SeverityError {
			n++
		}
	}
	return n
}

// Err gives nil when nothing stops the flows from running, else all problems as one error.
func (p Problems) Err() error {
	if p.Errors() == 0 {
		return nil
	}
	return errors.New(strings.TrimSpace(p.String()))
}

func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Text, b.Text))
	})
	return slices.CompactFunc(p, func(a, b Problem) bool { return a == b })
}

func caret(source string, line, col int) string {
	if source == "" {
		return ""
	}
	head := fmt.Sprintf("%5d | ", line)
	pad := []rune(strings.Repeat(" ", len(head)-2) + "| ")
	for i, r := range []rune(source) {
		if i >= col-1 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		pad = append(pad, r)
	}
	return head + source + "\n" + string(pad) + "^"
}

// nearest gives the candidate that the word was probably meant to be, or "".
func nearest(word string, candidates []string) string {
	best, bestDistance := "", 1+len([]rune(word))/3
	for _, c := range candidates {
		if c == word {
			continue
		}
		d := distance(strings.ToLower(word), strings.ToLower(c))
		if d < bestDistance || d == bestDistance && (best == "" || c < best) {
			best, bestDistance = c, d
		}
	}
	return best
}

// suggest ends a sentence about an unknown word: the nearest, else the choices.
func suggest(word string, candidates []string) string {
	if n := nearest(word, candidates); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	c := slices.Compact(slices.Sorted(slices.Values(candidates)))
	switch {
	case len(c) == 0:
		return ""
	case len(c) > 12:
		return "; there are " + strings.Join(c[:12], ", ") + ", …"
	case len(c) == 1:
		return "; there is " + c[0]
	}
	return "; there are " + strings.Join(c, ", ")
}

// distance is the optimal string alignment distance: letters added, left out,
// changed, or two neighbours swapped.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, prev := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row := make([]int, len(y)+1)
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, prev[j]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev = prev, row
	}
	return prev[len(y)]
}
