package people

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// born is a birth date: month and day are 0 where they are not known.
type born struct {
	year, month, day int
	days             int // since year 0, of a whole date
	estimated        bool
}

// readBorn reads YYYY-MM-DD (whatever follows a T is left out), YYYY-MM or YYYY.
// What is no date is none. The first of January and of July stand for a year in
// most registers, so they count as estimated whether or not they say so.
func readBorn(p *Person) (born, bool) {
	s, _, _ := strings.Cut(strings.TrimSpace(p.Born), "T")
	parts := strings.Split(s, "-")
	if len(parts) > 3 || len(parts[0]) != 4 {
		return born{}, false
	}
	var n [3]int
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, 16)
		if err != nil || v == 0 {
			return born{}, false
		}
		n[i] = int(v)
	}
	b := born{year: n[0], month: n[1], day: n[2], estimated: p.Estimated}
	if b.month > 12 {
		return born{}, false
	}
	if b.day > 0 {
		t := time.Date(b.year, time.Month(b.month), b.day, 0, 0, 0, 0, time.UTC)
		if t.Day() != b.day {
			return born{}, false
		}
		b.days = int(t.Unix() / 86400)
		b.estimated = b.estimated || b.day == 1 && (b.month == 1 || b.month == 7)
	}
	return b, true
}

// fits gives the grades of two birth dates. A profile that names no grade for
// estimated dates takes them for exact ones.
func (c *Clue) birthFits(a, b born) []Grade {
	var fits []Grade
	if c.estimates() && (a.estimated || b.estimated) {
		if a.year == b.year {
			fits = append(fits, SameYear)
		}
		if a.day > 0 && b.day > 0 {
			if abs(a.days-b.days) <= c.Years*366 {
				fits = append(fits, SimilarAge)
			}
		} else if abs(a.year-b.year) <= c.Years {
			fits = append(fits, SimilarAge)
		}
		return fits
	}
	if a.day == 0 || b.day == 0 {
		if a.year == b.year && (a.month == 0 || b.month == 0) {
			fits = append(fits, SameYear)
		}
		if a.year == b.year && a.month == b.month && a.month > 0 {
			fits = append(fits, SameMonth)
		}
		return fits
	}
	if a.days == b.days {
		fits = append(fits, Same)
	}
	if a.year == b.year && a.month == b.day && a.day == b.month {
		fits = append(fits, DaySwapped)
	}
	if abs(a.days-b.days) <= c.Days {
		fits = append(fits, Close)
	}
	if equal := count(a.year == b.year, a.month == b.month, a.day == b.day); equal == 2 && mistyped(a, b) {
		fits = append(fits, OnePartWrong)
	}
	return fits
}

// mistyped tells whether the part in which two dates differ is one off, or one
// typing error away: 2018 and 2024 on one day of the year are two people.
func mistyped(a, b born) bool {
	for _, part := range [...][2]int{{a.year, b.year}, {a.month, b.month}, {a.day, b.day}} {
		if d := abs(part[0] - part[1]); d > 1 && Damerau(fmt.Sprintf("%02d", part[0]), fmt.Sprintf("%02d", part[1])) > 1 {
			return false
		}
	}
	return true
}

func (c *Clue) estimates() bool {
	_, year := c.Weights[SameYear]
	_, age := c.Weights[SimilarAge]
	return year || age
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

func abs(n int) int { return max(n, -n) }
