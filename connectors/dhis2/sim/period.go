package sim

import (
	"fmt"
	"strings"
	"time"
)

// period is a reporting period; its name is the server's canonical one.
type period struct {
	kind, name string
	start, end time.Time // first and last day, in the ISO calendar
}

// The period types by what stands between year and number
// (api/calendar/DateUnitPeriodTypeParser.java).
var (
	weekKinds = map[string]struct {
		kind  string
		first time.Weekday
	}{"W": {"Weekly", time.Monday}, "WedW": {"WeeklyWednesday", time.Wednesday}, "ThuW": {"WeeklyThursday", time.Thursday},
		"SatW": {"WeeklySaturday", time.Saturday}, "SunW": {"WeeklySunday", time.Sunday}}
	// spans are types of whole months: the first starts at month `from`, of the
	// year before where that is November's year.
	spans = map[string]struct {
		kind               string
		months, from, most int
	}{"Q": {"Quarterly", 3, 1, 4}, "NovQ": {"QuarterlyNov", 3, -1, 4}, "S": {"SixMonthly", 6, 1, 2}, "AprilS": {"SixMonthlyApril", 6, 4, 2}, "NovS": {"SixMonthlyNov", 6, -1, 2}}
	years = map[string]struct {
		kind string
		from int
	}{"": {"Yearly", 1}, "April": {"FinancialApril", 4}, "July": {"FinancialJuly", 7}, "Sep": {"FinancialSep", 9}, "Oct": {"FinancialOct", 10}, "Nov": {"FinancialNov", -1}}
)

// parsePeriod reads a period's name; nil if it is not one.
func (s *Server) parsePeriod(name string) *period {
	if p, known := s.periods.Load(name); known {
		return p.(*period)
	}
	p := s.readPeriod(name)
	if len(name) < 40 {
		s.periods.Store(name, p)
	}
	return p
}

func (s *Server) readPeriod(name string) *period {
	if len(name) < 4 || digits(name[:4]) < 0 {
		return nil
	}
	y, rest := digits(name[:4]), name[4:]
	if f, found := years[rest]; found {
		if rest == "Sep" && !s.since(42) {
			return nil
		}
		return s.months(f.kind, name, y, f.from, 12)
	}
	letters := strings.TrimRight(rest, "0123456789")
	number := rest[len(letters):]
	n := digits(number)
	switch {
	case letters == "" && len(number) == 4:
		return s.daily(y, n/100, n%100)
	case letters == "" && len(number) == 2:
		return s.monthly(y, n)
	case letters == "-" && len(number) == 2:
		return s.monthly(y, n)
	case len(rest) == 6 && rest[0] == '-' && rest[3] == '-' && digits(rest[1:3]) >= 0 && digits(rest[4:]) >= 0:
		return s.daily(y, digits(rest[1:3]), digits(rest[4:]))
	case len(rest) == 3 && rest[2] == 'B' && digits(rest[:2]) >= 1 && digits(rest[:2]) <= 6:
		n = digits(rest[:2])
		return s.months("BiMonthly", name, y, 2*n-1, 2)
	}
	if f, found := spans[letters]; found && len(number) == 1 && n >= 1 && n <= f.most {
		return s.months(f.kind, name, y, f.from+(n-1)*f.months, f.months)
	}
	if len(number) != 1 && len(number) != 2 {
		return nil
	}
	if letters == "BiW" {
		return s.week("BiWeekly", "BiW", time.Monday, y, n, 2)
	}
	if w, found := weekKinds[letters]; found {
		return s.week(w.kind, letters, w.first, y, n, 1)
	}
	return nil
}

func (s *Server) daily(y, m, d int) *period {
	t, real := s.calendar.day(y, m, d)
	if !real {
		return nil
	}
	return &period{"Daily", fmt.Sprintf("%04d%02d%02d", y, m, d), t, t}
}

func (s *Server) monthly(y, m int) *period {
	if m < 1 || m > 12 {
		return nil
	}
	return s.months("Monthly", fmt.Sprintf("%04d%02d", y, m), y, m, 1)
}

// months is a period of n months from month m of year y; m may be before or
// after that year's. Month -1 is November of the year before.
func (s *Server) months(kind, name string, y, m, n int) *period {
	if m < 1 {
		y, m = y-1, m+12
	}
	start, real := s.calendar.day(y+(m-1)/12, (m-1)%12+1, 1)
	last := m + n - 1
	ly, lm := y+(last-1)/12, (last-1)%12+1
	end, ends := s.calendar.day(ly, lm, s.calendar.daysIn(ly, lm))
	if !real || !ends {
		return nil
	}
	return &period{kind, name, start, end}
}

// firstWeek is the day that week 1 of a year starts on: the week that holds the
// year's fourth day.
func (s *Server) firstWeek(y int, first time.Weekday) (time.Time, bool) {
	fourth, real := s.calendar.day(y, 1, 4)
	if !real {
		return fourth, false
	}
	return fourth.AddDate(0, 0, -(int(fourth.Weekday())-int(first)+7)%7), true
}

func (s *Server) week(kind, letters string, first time.Weekday, y, n, weeks int) *period {
	start, real := s.firstWeek(y, first)
	next, more := s.firstWeek(y+1, first)
	if !real || !more {
		return nil
	}
	most := (daysBetween(start, next)/7 + weeks - 1) / weeks
	if n < 1 || n > most {
		return nil
	}
	at := start.AddDate(0, 0, 7*weeks*(n-1))
	return &period{kind, fmt.Sprintf("%04d%s%d", y, letters, n), at, at.AddDate(0, 0, 7*weeks-1)}
}

// periodOf is the period of a type that a day is in; nil where the calendar
// cannot say.
func (s *Server) periodOf(kind string, day time.Time) *period {
	y, m, d, named := s.calendar.local(day)
	if !named {
		return nil
	}
	var tries []string
	switch kind {
	case "Daily":
		return s.daily(y, m, d)
	case "Monthly":
		return s.monthly(y, m)
	case "BiMonthly":
		tries = []string{fmt.Sprintf("%04d%02dB", y, (m+1)/2)}
	case "BiWeekly":
		tries = weekNames(y, "BiW", 27)
	}
	for letters, w := range weekKinds {
		if w.kind == kind {
			tries = weekNames(y, letters, 53)
		}
	}
	for letters, f := range spans {
		if f.kind == kind {
			for n := 1; n <= f.most; n++ {
				for dy := -1; dy <= 1; dy++ {
					tries = append(tries, fmt.Sprintf("%04d%s%d", y+dy, letters, n))
				}
			}
		}
	}
	for letters, f := range years {
		if f.kind == kind {
			for dy := -1; dy <= 1; dy++ {
				tries = append(tries, fmt.Sprintf("%04d%s", y+dy, letters))
			}
		}
	}
	for _, name := range tries {
		if p := s.parsePeriod(name); p != nil && !day.Before(p.start) && !day.After(p.end) {
			return p
		}
	}
	return nil
}

// days is how long a period of a type lasts, about.
func (s *Server) days(kind string) int {
	p := s.periodOf(kind, isoDay(2024, 1, 15))
	if p == nil {
		return 366
	}
	return daysBetween(p.start, p.end) + 1
}

// weekNames are the weeks that may hold a day of year y.
func weekNames(y int, letters string, most int) []string {
	list := []string{fmt.Sprintf("%04d%s%d", y-1, letters, most-1), fmt.Sprintf("%04d%s%d", y-1, letters, most), fmt.Sprintf("%04d%s1", y+1, letters)}
	for n := 1; n <= most; n++ {
		list = append(list, fmt.Sprintf("%04d%s%d", y, letters, n))
	}
	return list
}

// latestOpen is the last period that data may be entered for, by a data set's
// openFuturePeriods: 0 refuses the period that is running.
func (s *Server) latestOpen(kind string, future int) *period {
	p := s.periodOf(kind, s.today())
	if p == nil {
		return nil
	}
	p = s.periodOf(kind, p.start.AddDate(0, 0, -1))
	for ; p != nil && future > 0; future-- {
		p = s.periodOf(kind, p.end.AddDate(0, 0, 1))
	}
	return p
}
