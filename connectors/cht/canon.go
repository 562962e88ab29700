package cht

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// canon collects canonical fields and problems.
type canon struct {
	s        *System
	out      record.Fields
	problems []connector.Problem
}

func (c *canon) problem(field, rule, format string, args ...any) {
	c.problems = append(c.problems, connector.Problem{Field: field, Rule: rule, Text: fmt.Sprintf(format, args...)})
}

// value writes a plain value; numbers and yes or no become text where texts is
// set, as a form filled in on a phone has them.
func (c *canon) value(path string, v any, texts bool) {
	switch v := v.(type) {
	case nil:
	case record.Clear, record.Later:
		c.out[path] = v
	case record.Ref:
		if v.ID != "" {
			c.out[path] = v.ID
		}
	case string:
		if v = strings.TrimSpace(v); v != "" {
			c.out[path] = v
		}
	case bool:
		switch {
		case texts && v:
			c.out[path] = "yes"
		case texts:
			c.out[path] = "no"
		default:
			c.out[path] = v
		}
	case int:
		c.value(path, float64(v), texts)
	case int64:
		c.value(path, float64(v), texts)
	case float64:
		if texts {
			c.out[path] = strconv.FormatFloat(v, 'f', -1, 64)
		} else {
			c.out[path] = v
		}
	case time.Time:
		c.out[path] = v.UTC().Format(time.RFC3339)
	case []any:
		codes := make([]string, 0, len(v))
		for _, item := range v {
			s, ok := item.(string)
			if !ok || strings.ContainsAny(s, " \t\n") {
				c.problem(path, "text", "a list must hold codes without spaces")
				return
			}
			codes = append(codes, s)
		}
		c.value(path, strings.Join(codes, " "), texts)
	case map[string]any:
		for name, inner := range v {
			if name == "" || strings.ContainsAny(name, "/") || strings.HasPrefix(name, "_") {
				c.problem(path, "name", "a name is empty, begins with _ or holds a slash")
				continue
			}
			c.value(path+"/"+name, inner, texts)
		}
	default:
		c.problem(path, "text", "the value is of a type that the CHT does not keep")
	}
}

// reference checks that a contact exists, unless this plan makes it.
func (c *canon) reference(ctx context.Context, do call.Doer, path string, v any) error {
	if v == nil {
		return nil
	}
	id, later := refID(v)
	if r, ok := v.(record.Ref); ok && (later || r.New) {
		if id != "" {
			c.out[path] = id
		}
		return nil
	}
	if id == "" {
		if _, clear := v.(record.Clear); clear {
			c.problem(path, "required", "%s cannot be emptied", path)
		}
		return nil
	}
	_, err := c.s.minified(ctx, do, id)
	if errors.Is(err, errNoParent) {
		c.problem(path, "unknown", "there is no contact with this id in the CHT")
		return nil
	}
	c.out[path] = id
	return err
}

// moment writes a moment; a day is its first moment in the programme's zone.
func (c *canon) moment(path string, v any) {
	switch v := v.(type) {
	case nil:
	case time.Time:
		c.out[path] = v.UTC().Truncate(time.Second).Format(time.RFC3339)
	case string:
		if v = strings.TrimSpace(v); v == "" {
			return
		}
		if t, err := time.Parse(time.RFC3339, v); err == nil {
			c.moment(path, t)
		} else if t, err := time.ParseInLocation(time.DateOnly, v, c.s.zone); err == nil {
			c.moment(path, t)
		} else {
			c.problem(path, "moment", "%s is a moment with a zone, like 2026-03-02T10:00:00+03:00, or a day", path)
		}
	default:
		c.problem(path, "moment", "%s is a moment with a zone, like 2026-03-02T10:00:00+03:00, or a day", path)
	}
}
