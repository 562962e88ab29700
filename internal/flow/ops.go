package flow

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/record"
)

// Limits of one delivery's expressions: predicates evaluated and text made.
const (
	maxSteps = 200_000
	maxBytes = 4 << 20
)

// state is what functions may know besides their arguments. No clock: received
// is the receipt of the message.
type state struct {
	integ           *Integration
	site            *Site
	zone            *time.Location
	received, event time.Time
	steps, bytes    int
}

func (s *state) step() error {
	if s.steps++; s.steps > maxSteps {
		return &TooMuch{"the expression takes too many steps; use a smaller list"}
	}
	return nil
}

func (s *state) grow(n int) error {
	if s.bytes += n; s.bytes > maxBytes {
		return &TooMuch{"the expression makes too much text"}
	}
	return nil
}

// moment reads a moment of the message. The phone's clock may be ahead: what
// lies between the receipt and the phone's own "now" counts as receipt (law 22).
func (s *state) moment(text string) (time.Time, bool) {
	t, ok := parseMoment(text, s.zone)
	if ok && !s.received.IsZero() && t.After(s.received) && !t.After(s.event) {
		t = s.received
	}
	return t, ok
}

// operator is one operator over our values. where holds the sources of the two
// operands, for messages.
type operator func(s *state, where string, a, b any) (any, error)

var operators = map[string]operator{
	"==": func(s *state, _ string, a, b any) (any, error) {
		return !absent(a) && !absent(b) && s.equal(a, b), nil
	},
	"!=": func(s *state, _ string, a, b any) (any, error) {
		return !absent(a) && !absent(b) && !s.equal(a, b), nil
	},
	"<":  ordered(func(c int) bool { return c < 0 }),
	"<=": ordered(func(c int) bool { return c <= 0 }),
	">":  ordered(func(c int) bool { return c > 0 }),
	">=": ordered(func(c int) bool { return c >= 0 }),
	"+":  reckon(func(a, b float64) float64 { return a + b }),
	"-":  reckon(func(a, b float64) float64 { return a - b }),
	"*":  reckon(func(a, b float64) float64 { return a * b }),
	"/":  reckon(func(a, b float64) float64 { return a / b }),
	"%":  reckon(math.Mod),
	"^":  reckon(math.Pow),
	"**": reckon(math.Pow),
	"in": func(s *state, where string, a, b any) (any, error) { return s.in(a, b) },
	"contains": func(s *state, where string, a, b any) (any, error) {
		return textTest(where, a, b, strings.Contains)
	},
	"startsWith": func(s *state, where string, a, b any) (any, error) {
		return textTest(where, a, b, strings.HasPrefix)
	},
	"endsWith": func(s *state, where string, a, b any) (any, error) {
		return textTest(where, a, b, strings.HasSuffix)
	},
	"matches": func(s *state, where string, a, b any) (any, error) {
		re, ok := b.(*regexp.Regexp)
		t, isText := asText(a)
		if !ok || !isText || absent(a) {
			return false, nil
		}
		return re.MatchString(t), nil
	},
}

func operands(where string) (a, b string) {
	a, b, _ = strings.Cut(where, "\x00")
	return a, b
}

// equal compares two values that are both there: numbers as numbers, days as
// days, text exactly.
func (s *state) equal(a, b any) bool {
	a, b = plain(a), plain(b)
	switch x := a.(type) {
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, s.equal)
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			w, ok := y[k]
			if !ok || !s.equal(v, w) {
				return false
			}
		}
		return true
	case nil:
		return b == nil
	}
	switch b.(type) {
	case []any, map[string]any, nil:
		return false
	}
	x, aText := a.(string)
	y, bText := b.(string)
	if aText && bText {
		return x == y
	}
	if isTime(a) || isTime(b) {
		c, ok := s.compareTimes(a, b)
		return ok && c == 0
	}
	if n, ok := asNumber(a); ok {
		m, ok := asNumber(b)
		return ok && n == m
	}
	ta, okA := asText(a)
	tb, okB := asText(b)
	return okA && okB && ta == tb
}

func isTime(v any) bool {
	switch v.(type) {
	case Day, time.Time:
		return true
	}
	return false
}

// compareTimes compares days and moments; where one is a day, by day.
func (s *state) compareTimes(a, b any) (int, bool) {
	ta, da, okA := s.timeOf(a)
	tb, db, okB := s.timeOf(b)
	if !okA || !okB {
		return 0, false
	}
	if da != "" || db != "" {
		if da == "" {
			da = dayOf(ta, s.zone)
		}
		if db == "" {
			db = dayOf(tb, s.zone)
		}
		return strings.Compare(string(da), string(db)), true
	}
	return ta.Compare(tb), true
}

func (s *state) timeOf(v any) (t time.Time, d Day, ok bool) {
	switch v := plain(v).(type) {
	case Day:
		return t, v, true
	case time.Time:
		return v, "", true
	case string:
		if d, ok := parseDay(v); ok {
			return t, d, true
		}
		t, ok := s.moment(v)
		return t, "", ok
	}
	return t, "", false
}

// compare orders two values that are both there: numbers, or days and moments.
func (s *state) compare(where string, a, b any) (int, error) {
	left, right := operands(where)
	if n, ok := asNumber(a); ok {
		m, ok := asNumber(b)
		if !ok {
			return 0, notA(right, b, "a number")
		}
		switch {
		case n < m:
			return -1, nil
		case n > m:
			return 1, nil
		}
		return 0, nil
	}
	if c, ok := s.compareTimes(a, b); ok {
		return c, nil
	}
	if _, _, ok := s.timeOf(a); ok {
		return 0, notA(right, b, "a day or a moment")
	}
	return 0, notA(left, a, "a number, a day or a moment")
}

// notA says that a value is not what it must be, without repeating it.
func notA(field string, v any, what string) error {
	switch plain(v).(type) {
	case record.Later:
		return &NotYet{field}
	case string:
		return &BadValue{Field: field, Text: "is not " + what}
	}
	return &BadValue{Field: field, Text: "is " + kindOf(v) + ", not " + what}
}

func ordered(test func(int) bool) operator {
	return func(s *state, where string, a, b any) (any, error) {
		if absent(a) || absent(b) {
			return false, nil
		}
		c, err := s.compare(where, a, b)
		return err == nil && test(c), err
	}
}

func reckon(f func(a, b float64) float64) operator {
	return func(s *state, where string, a, b any) (any, error) {
		if absent(a) || absent(b) {
			return nil, nil
		}
		left, right := operands(where)
		n, ok := asNumber(a)
		if !ok {
			return nil, notA(left, a, "a number")
		}
		m, ok := asNumber(b)
		if !ok {
			return nil, notA(right, b, "a number")
		}
		out := f(n, m)
		if math.IsNaN(out) || math.IsInf(out, 0) {
			return nil, &BadValue{Field: left, Text: "cannot be reckoned with " + right + " (a division by zero, or too large)"}
		}
		return out, nil
	}
}

// in compares whole codes: with a list, with the codes of a select-multiple
// answer, or with the keys of an object.
func (s *state) in(a, b any) (any, error) {
	if absent(a) {
		return false, nil
	}
	switch b := scalar(b).(type) {
	case []any:
		return slices.ContainsFunc(b, func(x any) bool { return s.equal(a, x) }), nil
	case string:
		t, ok := asText(a)
		return ok && slices.Contains(strings.Fields(b), t), nil
	case map[string]any:
		t, ok := asText(a)
		_, has := b[t]
		return ok && has, nil
	}
	return false, nil
}

func textTest(where string, a, b any, test func(a, b string) bool) (any, error) {
	if absent(a) || absent(b) {
		return false, nil
	}
	left, right := operands(where)
	x, ok := asText(a)
	if !ok {
		return false, notA(left, a, "text")
	}
	y, ok := asText(b)
	if !ok {
		return false, notA(right, b, "text")
	}
	return test(x, y), nil
}

// concat joins texts; where a part is absent the whole is, where one is blank
// the whole is blank.
func (s *state) concat(field string, parts ...any) (any, error) {
	blank := false
	var b strings.Builder
	for _, p := range parts {
		if p == nil {
			return nil, nil
		}
		t, ok := asText(p)
		if !ok {
			return nil, notA(field, p, "text; write a field of it")
		}
		blank = blank || absent(p) && t != " " && t == ""
		b.WriteString(t)
	}
	if blank {
		return "", nil
	}
	return b.String(), s.grow(b.Len())
}

// truth is how a value counts in a condition: true or "true" is, absent is not;
// anything else was probably meant otherwise.
func truth(where string, v any) (bool, error) {
	if absent(v) {
		return false, nil
	}
	switch v := plain(v).(type) {
	case bool:
		return v, nil
	case string:
		switch v {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return false, &BadValue{Field: where, Text: "is " + kindOf(v) + ", not a condition; compare it: == \"yes\""}
}

// member is the dot and the brackets: on absent it is absent, lists are
// numbered from 1, -1 is the last.
func member(where string, v, key any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		t, ok := asText(key)
		if !ok {
			return nil, nil
		}
		return v[t], nil
	case []any:
		n, ok := asNumber(key)
		if !ok {
			return nil, &BadValue{Field: where, Text: "is asked of a list; take one row, [1], or use each, map or filter"}
		}
		i := int(n)
		switch {
		case float64(i) != n || i == 0:
			return nil, &BadValue{Field: where, Text: "is no row; lists are numbered from 1"}
		case i < 0 && -i <= len(v):
			return v[len(v)+i], nil
		case i > 0 && i <= len(v):
			return v[i-1], nil
		}
		return nil, nil
	case record.Later:
		return nil, &NotYet{where}
	}
	return nil, nil
}

// listOf gives what a list function works on: nothing is the empty list, one
// thing a list of one.
func listOf(v any) []any {
	switch v := v.(type) {
	case nil:
		return []any{}
	case []any:
		return v
	case string:
		if absent(v) {
			return []any{}
		}
	}
	return []any{v}
}
