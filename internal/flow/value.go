package flow

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/record"
)

// Values in expressions: nil (absent), string, bool, float64 and int, Day,
// time.Time, []any, map[string]any, record.Clear, record.Ref, record.Later.

// Day is a calendar day, YYYY-MM-DD. It has no zone and is never shifted.
type Day string

// scalar looks through an element that has attributes: {"@id": …, "#text": "x"} is x.
func scalar(v any) any {
	if m, ok := v.(map[string]any); ok {
		if t, ok := m["#text"]; ok {
			return t
		}
	}
	return v
}

// absent tells whether a value counts as not there: never asked, or blank.
func absent(v any) bool {
	switch v := scalar(v).(type) {
	case nil:
		return true
	case string:
		return strings.TrimSpace(v) == ""
	}
	return false
}

// plain brings numbers of other types to float64 or int.
func plain(v any) any {
	switch v := scalar(v).(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case int64:
		return float64(v)
	case int32:
		return float64(v)
	case uint64:
		return float64(v)
	case float32:
		return float64(v)
	default:
		return v
	}
}

// parseNumber reads a number as people and phones write it: "68.5", "68,5",
// " 68 ". No exponents, no thousands separators: "1,250" would be a guess.
func parseNumber(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	digits, comma := 0, false
	for i, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case (r == '-' || r == '+') && i == 0:
		case (r == '.' || r == ',') && !comma && i > 0:
			comma = true
		default:
			return 0, false
		}
	}
	if digits == 0 || digits > 30 {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64)
	return f, err == nil
}

// asNumber gives a number, or text that is one.
func asNumber(v any) (float64, bool) {
	switch v := plain(v).(type) {
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	case int:
		return float64(v), true
	case string:
		return parseNumber(v)
	}
	return 0, false
}

// asText gives a value as text; false for what has no text.
func asText(v any) (string, bool) {
	switch v := plain(v).(type) {
	case string:
		return v, true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case bool:
		return strconv.FormatBool(v), true
	case Day:
		return string(v), true
	case time.Time:
		return formatMoment(v), true
	}
	return "", false
}

func formatMoment(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// kindOf names a value's type in words, without the value.
func kindOf(v any) string {
	switch plain(v).(type) {
	case nil:
		return "nothing"
	case string:
		return "text"
	case float64, int:
		return "a number"
	case bool:
		return "yes or no"
	case Day:
		return "a day"
	case time.Time:
		return "a moment"
	case []any:
		return "a list"
	case map[string]any:
		return "a group"
	case record.Ref:
		return "a record"
	case record.Clear:
		return "clear()"
	case record.Later:
		return "known only after the call"
	}
	return fmt.Sprintf("%T", v)
}

var momentLayouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999Z07",
	"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700",
}

var localLayouts = []string{
	"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04",
}

// parseMoment reads a moment; one without a zone is meant in zone.
func parseMoment(s string, zone *time.Location) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if len(s) < 16 || len(s) > 40 {
		return time.Time{}, false
	}
	for _, l := range momentLayouts {
		if t, err := time.Parse(l, s); err == nil {
			return t, true
		}
	}
	for _, l := range localLayouts {
		if t, err := time.ParseInLocation(l, s, zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseDay reads YYYY-MM-DD.
func parseDay(s string) (Day, bool) {
	s = strings.TrimSpace(s)
	if len(s) != 10 {
		return "", false
	}
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return "", false
	}
	return Day(s), true
}

func (d Day) time(zone *time.Location) time.Time {
	t, err := time.ParseInLocation(time.DateOnly, string(d), zone)
	if err != nil {
		return time.Time{} // cannot be: a Day is made by parseDay and dayOf only
	}
	return t
}

func dayOf(t time.Time, zone *time.Location) Day { return Day(t.In(zone).Format(time.DateOnly)) }

// Span is a length of time on the calendar and on the clock.
type Span struct {
	Months, Days int
	Clock        time.Duration
}

// Duration is the span without a calendar: a day of 24 hours, a month of 30 days.
func (s Span) Duration() time.Duration {
	return time.Duration(s.Months)*30*24*time.Hour + time.Duration(s.Days)*24*time.Hour + s.Clock
}

// parseSpan reads "7 days", "24 hours", "1 month", "90 minutes", "1 day 12 hours".
func parseSpan(s string) (Span, bool) {
	words := strings.Fields(strings.ReplaceAll(s, ",", " "))
	if len(words) == 0 || len(words)%2 != 0 || len(words) > 8 {
		return Span{}, false
	}
	var out Span
	for i := 0; i < len(words); i += 2 {
		n, err := strconv.Atoi(words[i])
		if err != nil || n < -100_000 || n > 100_000 {
			return Span{}, false
		}
		switch strings.TrimSuffix(words[i+1], "s") {
		case "second":
			out.Clock += time.Duration(n) * time.Second
		case "minute":
			out.Clock += time.Duration(n) * time.Minute
		case "hour":
			out.Clock += time.Duration(n) * time.Hour
		case "day":
			out.Days += n
		case "week":
			out.Days += 7 * n
		case "month":
			out.Months += n
		case "year":
			out.Months += 12 * n
		default:
			return Span{}, false
		}
	}
	return out, true
}

// add moves a moment by a span: days and months on the calendar of its zone, a
// month's end stays a month's end (31 January plus a month is 28 or 29 February).
func (s Span) add(t time.Time) time.Time {
	if s.Months != 0 {
		first := time.Date(t.Year(), t.Month(), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location()).AddDate(0, s.Months, 0)
		last := first.AddDate(0, 1, -1).Day()
		t = first.AddDate(0, 0, min(t.Day(), last)-1)
	}
	return t.AddDate(0, 0, s.Days).Add(s.Clock)
}
