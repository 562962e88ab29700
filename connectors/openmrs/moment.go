package openmrs

import (
	"fmt"
	"strings"
	"time"
)

// Moments cross the wire in two dialects: what OpenMRS sends is
// yyyy-MM-dd'T'HH:mm:ss.SSSZ in the server's zone; what it takes is listed in
// ConversionUtil.convert of the REST module. Canonical is RFC 3339 in UTC with
// whole seconds: MySQL keeps no more (projectbuendia client PR 90).

// wireLayout is the form in which OpenMRS takes a moment on every version.
const wireLayout = "2006-01-02T15:04:05.000-0700"

var withZone = []string{
	time.RFC3339, // Go reads a fraction after the seconds wherever the layout has none
	"2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02 15:04:05 Z0700",
	"2006-01-02T15:04Z07:00",
}

var withoutZone = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"}

// parseMoment reads a moment. Text without a zone is meant in zone; a day alone
// is not a moment.
func parseMoment(text string, zone *time.Location) (time.Time, error) {
	text = strings.TrimSpace(text)
	if n := len(text); n > 5 && (text[n-5] == '+' || text[n-5] == '-') { // what OpenMRS sends
		if t, err := time.Parse(withZone[1], text); err == nil {
			return checkYear(t)
		}
	}
	for _, layout := range withZone {
		if t, err := time.Parse(layout, text); err == nil {
			return checkYear(t)
		}
	}
	for _, layout := range withoutZone {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return checkYear(t)
		}
	}
	return time.Time{}, fmt.Errorf("not a moment such as 2024-06-03T09:20:00+03:00")
}

func checkYear(t time.Time) (time.Time, error) {
	// In UTC, because that is how it is kept: RFC 3339 has four digits.
	if y := t.UTC().Year(); y < 1000 || y > 9999 {
		return time.Time{}, fmt.Errorf("the year is out of range")
	}
	return t.UTC().Truncate(time.Second), nil
}

// canonMoment writes a moment canonically.
func canonMoment(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// wireMoment writes a canonical moment as OpenMRS takes it, in zone; text that
// is not canonical is given as it is, for the server to judge.
func wireMoment(canon string, zone *time.Location) string {
	t, err := time.Parse(time.RFC3339, canon)
	if err != nil {
		return canon
	}
	return t.In(zone).Format(wireLayout)
}

// fromWire makes what OpenMRS sent canonical. Old servers send epoch
// milliseconds in some places; those come as numbers and are handled by the caller.
func fromWire(text string, zone *time.Location) (string, bool) {
	t, err := parseMoment(text, zone)
	if err != nil {
		return "", false
	}
	return canonMoment(t), true
}

// parseDay reads a day, YYYY-MM-DD. A moment gives the day that is written in
// it: it is never shifted to another zone.
func parseDay(text string) (string, error) {
	text = strings.TrimSpace(text)
	if len(text) > 10 && (text[10] == 'T' || text[10] == ' ') {
		text = text[:10]
	}
	if _, err := time.Parse(time.DateOnly, text); err != nil {
		return "", fmt.Errorf("not a day such as 2024-06-03")
	}
	return text, nil
}

// dayFromWire takes the day of a birthdate: its first ten characters. OpenMRS
// sends it as midnight in the server's zone, and converted to UTC it would be
// the day before on every server east of Greenwich (opensrp-server issue 299).
func dayFromWire(text string) string {
	if len(text) >= 10 {
		if d, err := parseDay(text[:10]); err == nil {
			return d
		}
	}
	return ""
}

var clockLayouts = []string{"15:04:05", "15:04", "15:04:05.000Z07:00", "15:04Z07:00", "15:04:05.000"}

// parseClock reads a time of the day as HH:MM:SS.
func parseClock(text string) (string, error) {
	for _, layout := range clockLayouts {
		if t, err := time.Parse(layout, strings.TrimSpace(text)); err == nil {
			return t.Format(time.TimeOnly), nil
		}
	}
	return "", fmt.Errorf("not a time such as 14:30")
}
