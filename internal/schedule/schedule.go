// Package schedule says when a list is asked for, and for which period. It has
// no clock of its own.
package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/period"
)

// Schedule is when something is done: every so often, on a day of the week, or
// so many days after a period's end.
type Schedule struct {
	every  time.Duration // of "15 minutes"
	week   bool          // on weekday
	on     time.Weekday
	period period.Type // "": no period
	after  int         // days after the period's end
	cal    period.Calendar
	hour   int
	minute int
}

// weekdays by their names.
var weekdays = map[string]time.Weekday{"Sunday": time.Sunday, "Monday": time.Monday, "Tuesday": time.Tuesday, "Wednesday": time.Wednesday,
	"Thursday": time.Thursday, "Friday": time.Friday, "Saturday": time.Saturday}

// byPeriod are the words for schedules by period.
var byPeriod = map[string]period.Type{"week": period.Weekly, "two weeks": period.BiWeekly, "month": period.Monthly, "two months": period.BiMonthly,
	"quarter": period.Quarterly, "six months": period.SixMonthly, "year": period.Yearly}

// Text is a schedule as a flow writes it.
type Text struct {
	Every    string // "15 minutes", "hour", "day", "Monday", "Monday 04:00", "week", "month", "quarter", … or a period type of DHIS2: "WeeklyWednesday"
	Day      int    // days after the period's end, from 1: the third of the month; 0 is 1
	At       string // "06:00"; empty is midnight
	Calendar string // of the periods: "ethiopian"; empty is iso8601
}

// Parse reads a schedule. The error says what can be written.
func Parse(t Text) (Schedule, error) {
	s := Schedule{after: max(t.Day, 1)}
	every, clock, _ := cutClock(t.Every)
	if clock == "" {
		clock = t.At
	}
	if clock != "" {
		at, err := time.Parse("15:04", clock)
		if err != nil {
			return s, fmt.Errorf("%q is no time of day; write 06:00", clock)
		}
		s.hour, s.minute = at.Hour(), at.Minute()
	}
	if t.Calendar != "" {
		var err error
		if s.cal, err = period.ParseCalendar(t.Calendar); err != nil {
			return s, err
		}
	}
	if day, ok := weekdays[every]; ok {
		s.week, s.on = true, day
		return s, nil
	}
	if p, ok := byPeriod[every]; ok {
		s.period = p
		return s, nil
	}
	if p, err := period.ParseType(every); err == nil {
		s.period = p
		return s, nil
	}
	switch every {
	case "hour":
		s.every = time.Hour
		return s, nil
	case "day":
		return s, nil
	}
	if d, ok := span(every); ok {
		s.every = d
		return s, nil
	}
	return s, fmt.Errorf("%q is no schedule; write 15 minutes, hour, day 06:00, Monday 04:00, week, month, quarter, year, or a period type of DHIS2", t.Every)
}

func cutClock(every string) (word, clock string, ok bool) {
	i := strings.LastIndexByte(every, ' ')
	if i > 0 && strings.Contains(every[i:], ":") {
		return every[:i], every[i+1:], true
	}
	return every, "", false
}

func span(s string) (time.Duration, bool) {
	n, unit, _ := strings.Cut(s, " ")
	count, err := strconv.Atoi(n)
	if err != nil || count <= 0 || count > 10_000 {
		return 0, false
	}
	switch unit {
	case "minutes", "minute":
		return time.Duration(count) * time.Minute, true
	case "hours", "hour":
		return time.Duration(count) * time.Hour, true
	case "days", "day":
		return time.Duration(count) * 24 * time.Hour, true
	}
	return 0, false
}

// ByPeriod tells whether each time stands for a period.
func (s Schedule) ByPeriod() bool { return s.period != "" }

// Type of the periods.
func (s Schedule) Type() period.Type { return s.period }

// Next is the first time after t, in that zone. A time of day that a clock
// change leaves out is an hour later on that day.
func (s Schedule) Next(t time.Time, zone *time.Location) (time.Time, error) {
	if s.every > 0 {
		return t.Add(s.every), nil
	}
	if s.ByPeriod() {
		p, err := s.around(t, zone)
		if err != nil {
			return time.Time{}, err
		}
		for !s.due(p, zone).After(t) {
			p = p.Next()
		}
		return s.due(p, zone), nil
	}
	local := t.In(zone)
	for i := range 9 {
		at := time.Date(local.Year(), local.Month(), local.Day()+i, s.hour, s.minute, 0, 0, zone)
		if at.After(t) && (!s.week || at.Weekday() == s.on) {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("no time after %s", t)
}

// due is when a period is asked for.
func (s Schedule) due(p period.Period, zone *time.Location) time.Time {
	day := p.End().In(zone)
	return time.Date(day.Year(), day.Month(), day.Day()+s.after, s.hour, s.minute, 0, 0, zone)
}

// around gives a period that is due at or before t.
func (s Schedule) around(t time.Time, zone *time.Location) (period.Period, error) {
	p, err := period.OfIn(s.cal, s.period, period.DayOf(t.In(zone)))
	if err != nil {
		return p, err
	}
	for s.due(p, zone).After(t) {
		p = p.Prev()
	}
	return p, nil
}

// Of is the period that a time of the schedule stands for.
func (s Schedule) Of(at time.Time, zone *time.Location) (period.Period, error) {
	return s.around(at, zone)
}

// Completed is the newest period that is over, whether it is asked for already
// or will be in some days.
func (s Schedule) Completed(now time.Time, zone *time.Location) (period.Period, error) {
	return period.CompletedIn(s.cal, s.period, now, zone)
}

// Named reads a period of this schedule by its name.
func (s Schedule) Named(name string) (period.Period, error) {
	p, err := period.ParseIn(s.cal, name)
	if err != nil {
		return p, err
	}
	if p.Type() != s.period {
		return p, fmt.Errorf("%s is a period of type %s, and this list goes by %s", name, p.Type(), s.period)
	}
	return p, nil
}
