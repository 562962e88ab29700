package xform

import (
	"encoding/json"
	"strings"
	"time"
)

// Text gives a value of a form as text: of an element with attributes its
// text, of a list its last item's. Form values are text on the wire; numbers
// and booleans stand only where HQ added them.
func Text(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	case map[string]any:
		return Text(v["#text"])
	case []any:
		if len(v) > 0 {
			return Text(v[len(v)-1])
		}
	}
	return ""
}

// layouts of moments as phones and HQ write them: a phone may shorten its
// offset to the hour; HQ's metadata copies lack the Z and are UTC.
var layouts = []string{
	"2006-01-02T15:04:05Z07:00",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05",
}

// Moment reads a moment as CommCare writes it; ok is false for anything else,
// days included.
func Moment(s string) (t time.Time, ok bool) {
	if len(s) < 19 || len(s) > 40 || s[4] != '-' || s[10] != 'T' || s[13] != ':' {
		return time.Time{}, false
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// Plain trims a text, and writes a moment in UTC, as RFC 3339 without trailing
// zeros: JSON from HQ and XML from the phone then say the same.
func Plain(s string) string {
	s = strings.TrimSpace(s)
	if t, ok := Moment(s); ok {
		return t.Format(time.RFC3339Nano)
	}
	return s
}
