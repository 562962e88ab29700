package period

import (
	"fmt"
	"time"
)

// Day is a calendar day, counted from 1970-01-01 (day 0). It has no zone and is
// never shifted; days are compared and reckoned with as numbers: d+1 is the next
// day.
type Day int32

const secondsADay = 24 * 60 * 60

// Date is the day of an ISO (Gregorian) date. Values outside their usual range
// are carried over, as by time.Date.
func Date(year int, month time.Month, day int) Day {
	return Day(floorDiv(int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix()), secondsADay))
}

// DayOf is the day that t shows in t's own zone: pass t.In(zone) for the day in
// a programme's zone.
func DayOf(t time.Time) Day {
	y, m, d := t.Date()
	return Date(y, m, d)
}

// ParseDay reads YYYY-MM-DD.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a day written as YYYY-MM-DD", s)
	}
	return DayOf(t), nil
}

// String writes the day as YYYY-MM-DD.
func (d Day) String() string { return d.In(time.UTC).Format(time.DateOnly) }

// In is the day's midnight in a zone (where clocks are put forward at midnight,
// the first moment of the day).
func (d Day) In(zone *time.Location) time.Time {
	y, m, day := time.Unix(int64(d)*secondsADay, 0).UTC().Date()
	return time.Date(y, m, day, 0, 0, 0, 0, zone)
}

// Weekday is the day of the week.
func (d Day) Weekday() time.Weekday {
	return time.Weekday(floorMod(int(d)+int(time.Thursday), 7)) // 1970-01-01 was a Thursday
}

// weekFrom is the last day before or on d that is a first.
func (d Day) weekFrom(first time.Weekday) Day {
	return d - Day(floorMod(int(d.Weekday()-first), 7))
}

func floorDiv(a, b int) int { return (a - floorMod(a, b)) / b }

func floorMod(a, b int) int { return (a%b + b) % b }
