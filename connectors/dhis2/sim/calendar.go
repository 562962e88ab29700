package sim

import (
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"
)

// calendar is the server's keyCalendar: period names and dates that are values
// are written in it.
type calendar interface {
	// day gives the ISO day of a local date; false if there is no such date.
	day(y, m, d int) (time.Time, bool)
	// local gives the date of an ISO day; false where the server cannot name it.
	local(t time.Time) (y, m, d int, named bool)
	daysIn(y, m int) int
	// parseDate reads yyyy-MM-dd.
	parseDate(s string) (time.Time, bool)
}

// calendars by the name that /api/system/info gives.
var calendars = map[string]func() calendar{
	"iso8601":   func() calendar { return isoCalendar{} },
	"gregorian": func() calendar { return isoCalendar{} },
	"ethiopian": func() calendar { return ethiopian{} },
	"nepali":    func() calendar { return nepali{} },
}

func calendarNamed(name string) (calendar, error) {
	make, found := calendars[name]
	if !found {
		return nil, fmt.Errorf("read the simulator's options: calendar %q is not simulated: iso8601, gregorian, ethiopian or nepali", name)
	}
	return make(), nil
}

func isoDay(y, m, d int) time.Time { return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC) }

// parsed reads yyyy-MM-dd by a calendar.
func parsed(c calendar, s string) (time.Time, bool) {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return time.Time{}, false
	}
	y, m, d := digits(s[:4]), digits(s[5:7]), digits(s[8:])
	if y < 0 || m < 0 || d < 0 {
		return time.Time{}, false
	}
	return c.day(y, m, d)
}

// digits reads a number of digits only, else -1.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

type isoCalendar struct{}

func (isoCalendar) day(y, m, d int) (time.Time, bool) {
	t := isoDay(y, m, d)
	return t, m >= 1 && m <= 12 && d >= 1 && t.Day() == d && y > 0
}

func (isoCalendar) local(t time.Time) (y, m, d int, named bool) {
	return t.Year(), int(t.Month()), t.Day(), true
}
func (isoCalendar) daysIn(y, m int) int                    { return isoDay(y, m+1, 0).Day() }
func (c isoCalendar) parseDate(s string) (time.Time, bool) { return parsed(c, s) }

// ethiopian has twelve months of 30 days; the five or six days of Pagume are in
// no month that DHIS2 knows (EthiopianCalendar.java).
type ethiopian struct{}

var ethiopianAnchor = isoDay(2014, 9, 11) // 1 Meskerem 2007

func ethiopianNewYear(y int) int { return 365*(y-2007) + y/4 - 2007/4 }

func (ethiopian) day(y, m, d int) (time.Time, bool) {
	if y < 1 || m < 1 || m > 12 || d < 1 || d > 30 {
		return time.Time{}, false
	}
	return ethiopianAnchor.AddDate(0, 0, ethiopianNewYear(y)+30*(m-1)+d-1), true
}

func (ethiopian) local(t time.Time) (y, m, d int, named bool) {
	n := daysBetween(ethiopianAnchor, t)
	y = 2007 + n/365 + 1
	for ethiopianNewYear(y) > n {
		y--
	}
	n -= ethiopianNewYear(y)
	return y, n/30 + 1, n%30 + 1, n < 360
}

func (ethiopian) daysIn(int, int) int                    { return 30 }
func (c ethiopian) parseDate(s string) (time.Time, bool) { return parsed(c, s) }

func daysBetween(a, b time.Time) int { return int(b.Sub(a).Hours()) / 24 }

// nepali is Bikram Sambat by the server's own table of month lengths.
type nepali struct{}

type nepaliTable struct {
	first  int
	starts []int // day number of each year's first day, from the anchor
	months [][12]int
}

var nepaliAnchor = isoDay(1943, 4, 14) // 1 Baisakh 2000

var nepaliYears = sync.OnceValue(func() nepaliTable {
	var t nepaliTable
	rows := table(nepaliMonths)
	t.first, _ = strconv.Atoi(rows[0][0])
	day := 0
	for _, row := range rows {
		var months [12]int
		for i := range months {
			months[i], _ = strconv.Atoi(row[2+i])
		}
		t.starts = append(t.starts, day)
		t.months = append(t.months, months)
		for _, n := range months {
			day += n
		}
	}
	t.starts = append(t.starts, day)
	anchor := t.starts[2000-t.first]
	for i := range t.starts {
		t.starts[i] -= anchor
	}
	return t
})

func (nepali) daysIn(y, m int) int {
	t := nepaliYears()
	if y < t.first || y-t.first >= len(t.months) || m < 1 || m > 12 {
		return 0
	}
	return t.months[y-t.first][m-1]
}

func (c nepali) day(y, m, d int) (time.Time, bool) {
	if d < 1 || d > c.daysIn(y, m) {
		return time.Time{}, false
	}
	t := nepaliYears()
	n := t.starts[y-t.first] + d - 1
	for i := range m - 1 {
		n += t.months[y-t.first][i]
	}
	return nepaliAnchor.AddDate(0, 0, n), true
}

func (nepali) local(at time.Time) (y, m, d int, named bool) {
	t := nepaliYears()
	n := daysBetween(nepaliAnchor, at)
	i := sort.SearchInts(t.starts, n+1) - 1
	if i < 0 || i >= len(t.months) {
		return 0, 0, 0, false
	}
	n -= t.starts[i]
	for k, length := range t.months[i] {
		if n < length {
			return t.first + i, k + 1, n + 1, true
		}
		n -= length
	}
	return 0, 0, 0, false
}

func (c nepali) parseDate(s string) (time.Time, bool) { return parsed(c, s) }
