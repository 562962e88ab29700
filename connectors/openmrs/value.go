package openmrs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// text reads a wanted value as text; whole numbers are written without a point.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v), true
	case json.Number:
		return v.String(), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	return 0, false
}

func truth(v any) (meaning, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true", "1", "yes", "on":
			return true, true
		case "false", "0", "no", "off":
			return false, true
		}
	case float64, int, int64, json.Number:
		f, _ := number(v)
		return f == 1, f == 0 || f == 1
	}
	return false, false
}

func (s *System) moment(v any) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return checkYear(v)
	case string:
		return parseMoment(v, s.zone)
	}
	return time.Time{}, fmt.Errorf("not a moment")
}

func day(v any) (string, error) {
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.DateOnly), nil
	case string:
		return parseDay(v)
	}
	return "", fmt.Errorf("not a day")
}

// canoner collects the fields and problems of one Canon.
type canoner struct {
	fields   record.Fields
	problems []connector.Problem
}

func newCanoner() *canoner { return &canoner{fields: record.Fields{}} }

func (c *canoner) problem(field, rule, format string, args ...any) {
	c.problems = append(c.problems, connector.Problem{Field: field, Rule: rule, Text: fmt.Sprintf(format, args...)})
}

// plain takes the values that every field may have: clear, later, absent. It
// tells whether the value was one of them.
func (c *canoner) plain(path string, v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case record.Clear, record.Later:
		c.fields[path] = v
		return true
	case string:
		return strings.TrimSpace(v) == "" // asked, not answered: no opinion
	}
	return false
}

// ref takes a reference to another record, by Ref or by uuid.
func (c *canoner) ref(path, kind string, v any) {
	if c.plain(path, v) {
		return
	}
	switch v := v.(type) {
	case record.Ref:
		switch {
		case v.Kind != "" && v.Kind != kind:
			c.problem(path, "reference", "must refer to a record of kind %s, not %s", kind, v.Kind)
		case v.ID != "":
			c.fields[path] = v.ID
		case v.Later != (record.Later{}):
			c.fields[path] = v.Later
		default:
			c.problem(path, "reference", "refers to record %s, which has no id", v.Record)
		}
	case string:
		if !looksLikeUUID(v) {
			c.problem(path, "reference", "must be a record of the flow or a uuid")
			return
		}
		c.fields[path] = v
	default:
		c.problem(path, "reference", "must be a record of the flow or a uuid")
	}
}

// lookup takes a reference to metadata: look finds it, and what it does not
// know is a problem, because OpenMRS would drop it silently.
func (c *canoner) lookup(path, what string, v any, look func(ref string) (string, error)) error {
	if c.plain(path, v) {
		return nil
	}
	ref, ok := text(v)
	if !ok {
		c.problem(path, "metadata", "must be the name or uuid of a %s", what)
		return nil
	}
	id, err := look(ref)
	if unknown(err) {
		c.problem(path, "metadata", "the %s %q is %v", what, ref, err)
		return nil
	}
	if err != nil {
		return err
	}
	c.fields[path] = id
	return nil
}

func unknown(err error) bool { return errors.Is(err, errUnknown) || errors.Is(err, errAmbiguous) }

// soon is how far a phone's clock may be ahead of the server's before that is a
// mistake and not a skew.
const soon = 5 * time.Minute

// at takes a moment that must not be later than the server's clock. One that is
// a little ahead is moved back to it: OpenMRS refuses an encounter even a second
// in its future.
func (s *System) at(c *canoner, path string, v any) {
	if c.plain(path, v) {
		return
	}
	t, err := s.moment(v)
	if err != nil {
		c.problem(path, "moment", "is %v", err)
		return
	}
	if now := s.serverNow(); t.After(now) {
		if t.Sub(now) > soon {
			c.problem(path, "future", "is later than the clock of the OpenMRS server")
			return
		}
		t = now
	}
	c.fields[path] = canonMoment(t)
}

// refused is the error of a planning step for what OpenMRS cannot take.
func (s *System) refused(about, format string, args ...any) error {
	return &call.Error{System: s.name, About: about, Verdict: call.Verdict{Class: call.Refusal, Reason: fmt.Sprintf(format, args...)}}
}

// body builds a JSON body; values that are known later become binds.
type body struct {
	root  map[string]any
	binds []call.Bind
}

func newBody() *body { return &body{root: map[string]any{}} }

// set puts a value at the top level under a name.
func (b *body) set(name string, v any) { b.in(b.root, "", name, v) }

// in puts a value into an object that stands at a pointer.
func (b *body) in(object map[string]any, at, name string, v any) {
	switch v := v.(type) {
	case record.Later:
		b.binds = append(b.binds, call.Bind{At: at + "/" + escapePointer(name), Call: v.Call, Output: v.Output})
		object[name] = ""
	case record.Clear:
		object[name] = nil
	default:
		object[name] = v
	}
}

func (b *body) post(path string, query ...string) call.Request {
	r := read(path, query...)
	r.Method = "POST"
	r.Body = encode(b.root)
	r.Bind = b.binds
	return r
}

func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// encode writes JSON; the values are our own maps, slices and scalars, which
// always can be written.
func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("openmrs: write a body: %v", err))
	}
	return b
}

// or gives the text of a field, "" for nothing.
func fieldText(v any) string {
	t, _ := text(v)
	return t
}
