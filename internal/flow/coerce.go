package flow

import (
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

var nil2utc = time.UTC

// coerce brings a value to a field's type, as connectors expect it: text, bool,
// float64, YYYY-MM-DD, RFC 3339 in UTC with whole seconds, record.Ref, Clear,
// Later, lists and objects of these. Blank is absent here.
func (s *state) coerce(label string, v any, typ connector.Type) (any, error) {
	switch v := v.(type) {
	case record.Clear, record.Later, record.Ref:
		return v, nil
	}
	if absent(v) {
		return nil, nil
	}
	switch typ {
	case connector.Number:
		return s.cast(label, v, "number")
	case connector.Bool:
		return s.cast(label, v, "yes or no")
	case connector.Day:
		d, err := s.day(label, v)
		if err != nil {
			return nil, err
		}
		return string(d), nil
	case connector.Moment:
		t, err := s.asMoment(label, v)
		if err != nil {
			return nil, err
		}
		return formatMoment(t), nil
	case connector.Text, connector.RefTo:
		t, ok := asText(v)
		if !ok {
			return nil, notA(label, v, string(typ))
		}
		return t, nil
	}
	return outside(v), nil
}

// outside gives a value of any type in the form in which it leaves expressions.
func outside(v any) any {
	switch v := plain(v).(type) {
	case Day:
		return string(v)
	case time.Time:
		return formatMoment(v)
	case int:
		return float64(v)
	case []any:
		out := make([]any, 0, len(v))
		for _, x := range v {
			if !absent(x) {
				out = append(out, outside(x))
			}
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if !absent(x) {
				out[k] = outside(x)
			}
		}
		return out
	default:
		return v
	}
}
