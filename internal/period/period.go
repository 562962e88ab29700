// Package period reckons with the reporting periods of DHIS2: what they are
// called, which days they hold, which one a day falls into and which one was
// just completed.
//
// Names, and the days behind them, are those of DHIS2 2.42 (DateUnitType,
// DateUnitPeriodTypeParser). Weeks are ISO weeks: week 1 is the first with four
// days in the year, and the year in the name is the week's, not the day's
// (2013-12-30 is in 2014W1); types with another first day follow the same rule
// from that day.
package period

import (
	"fmt"
	"time"
)

// Period is one reporting period: October 2026. Periods are comparable with ==
// and may be keys of maps. The zero Period is none (IsZero).
type Period struct {
	typ        Type
	cal        Calendar
	year       int32 // as in the name
	n          int32 // number in the year; 0 where the name has none
	start, end Day
}

// Of is the period of a type that holds a day, in the ISO calendar: the zero
// Period for a Type that is not one of Types, and for a period whose year is
// not from 1 to 9999.
//
// Bi-weekly periods overlap in a year of 53 weeks: DHIS2 gives week 53 a period
// of its own, 2009BiW27, whose second week is also the first of 2010BiW1. A day
// in the shared week is in the later period, as DHIS2 has it.
func Of(t Type, d Day) Period {
	p, _ := OfIn(ISO8601, t, d) // the zero Period says it
	return p
}

// OfIn is Of in a server's calendar. Errors: the day is outside the calendar's
// table, or the type cannot be named in it.
func OfIn(c Calendar, t Type, d Day) (Period, error) {
	r := ruleOf(t)
	if r == nil {
		return Period{}, fmt.Errorf("%q is not a period type of DHIS2", t)
	}
	if err := c.allows(r); err != nil {
		return Period{}, err
	}
	switch {
	case r.months > 0:
		m, err := c.monthOf(d)
		if err != nil {
			return Period{}, err
		}
		m -= r.start
		n := 0
		if r.digits > 0 {
			n = floorMod(m, 12)/r.months + 1
		}
		return r.numbered(c, floorDiv(m, 12), n)
	case r.weeks > 0:
		year, week, err := c.week(r, d)
		if err != nil {
			return Period{}, err
		}
		return r.numbered(c, year, (week-1)/r.weeks+1)
	default:
		return r.day(c, d)
	}
}

// Completed is the last period of a type whose last day is over at now in the
// zone, in the ISO calendar; the zero Period where Of gives it.
func Completed(t Type, now time.Time, zone *time.Location) Period {
	p, _ := CompletedIn(ISO8601, t, now, zone) // the zero Period says it
	return p
}

// CompletedIn is Completed in a server's calendar; errors as of OfIn.
func CompletedIn(c Calendar, t Type, now time.Time, zone *time.Location) (Period, error) {
	today := DayOf(now.In(zone))
	p, err := OfIn(c, t, today)
	for err == nil && p.end >= today { // twice where bi-weekly periods overlap
		p, err = p.move(-1)
	}
	if err != nil {
		return Period{}, err
	}
	return p, nil
}

// numbered is period n of a year (0: the year itself); it must exist.
func (r *rule) numbered(c Calendar, year, n int) (Period, error) {
	p := Period{typ: r.typ, cal: c, year: int32(year), n: int32(n)}
	if year < 1 || year > 9999 {
		return Period{}, fmt.Errorf("the year %d is not from 1 to 9999", year)
	}
	var err error
	if r.weeks > 0 {
		first, err := c.weekOne(r, year)
		if err != nil {
			return Period{}, err
		}
		p.start = first + Day((n-1)*r.weeks*7)
		p.end = p.start + Day(r.weeks*7) - 1
		return p, nil
	}
	m := year*12 + r.start + max(n-1, 0)*r.months
	if p.start, err = c.firstOf(m); err != nil {
		return Period{}, err
	}
	if p.end, err = c.firstOf(m + r.months); err != nil {
		return Period{}, err
	}
	p.end--
	return p, nil
}

// day is the Daily period of a day.
func (r *rule) day(c Calendar, d Day) (Period, error) {
	y, _, _, err := c.Civil(d)
	if err != nil {
		return Period{}, err
	}
	if c == Ethiopian && inPagume(d) {
		return Period{}, fmt.Errorf("%v is in Pagume, the thirteenth month, for which DHIS2 has no days", d)
	}
	if y < 1 || y > 9999 {
		return Period{}, fmt.Errorf("the year %d is not from 1 to 9999", y)
	}
	return Period{typ: r.typ, cal: c, start: d, end: d}, nil
}

// weekOne is the first day of the first week of a year.
func (c Calendar) weekOne(r *rule, year int) (Day, error) {
	first, err := c.firstOf(year * 12)
	return (first + 3).weekFrom(r.first), err
}

// weeksIn is how many weeks a year has: 52 or 53.
func (c Calendar) weeksIn(r *rule, year int) (int, error) {
	a, err := c.weekOne(r, year)
	if err != nil {
		return 0, err
	}
	b, err := c.weekOne(r, year+1)
	return int(b-a) / 7, err
}

// week is the week that holds a day, and the year that the week belongs to: the
// one that holds its fourth day.
func (c Calendar) week(r *rule, d Day) (year, week int, err error) {
	start := d.weekFrom(r.first)
	if year, _, _, err = c.Civil(start + 3); err != nil {
		return 0, 0, err
	}
	one, err := c.weekOne(r, year)
	return year, int(start-one)/7 + 1, err
}

// IsZero tells that it is no period.
func (p Period) IsZero() bool { return p.typ == "" }

// Type is the period's type.
func (p Period) Type() Type { return p.typ }

// Calendar is the calendar that the name is in.
func (p Period) Calendar() Calendar { return p.cal }

// Start is the first day.
func (p Period) Start() Day { return p.start }

// End is the last day; it belongs to the period.
func (p Period) End() Day { return p.end }

// Contains tells whether a day is in the period.
func (p Period) Contains(d Day) bool { return !p.IsZero() && p.start <= d && d <= p.end }

// Next is the period after this one; the zero Period after the last that has a
// name (year 9999, or the end of the calendar's table).
func (p Period) Next() Period {
	q, _ := p.move(1) // the zero Period says it
	return q
}

// Prev is the period before this one; the zero Period before the first.
func (p Period) Prev() Period {
	q, _ := p.move(-1) // the zero Period says it
	return q
}

// move goes one period on (1) or back (-1).
func (p Period) move(by int) (Period, error) {
	r := ruleOf(p.typ)
	switch {
	case r == nil:
		return Period{}, fmt.Errorf("there is no period to go on from")
	case r.months > 0:
		m, err := p.cal.monthOf(p.start)
		if err != nil {
			return Period{}, err
		}
		first, err := p.cal.firstOf(m + by*r.months)
		if err != nil {
			return Period{}, err
		}
		return OfIn(p.cal, p.typ, first)
	case r.weeks > 0:
		return p.moveWeeks(r, by)
	default:
		d := p.start + Day(by)
		for p.cal == Ethiopian && inPagume(d) {
			d += Day(by)
		}
		return r.day(p.cal, d)
	}
}

// moveWeeks counts within the year, so that bi-week 27 of a long year is neither
// left out nor come to twice.
func (p Period) moveWeeks(r *rule, by int) (Period, error) {
	year, n := int(p.year), int(p.n)+by
	if by < 0 && n < 1 {
		year--
		weeks, err := p.cal.weeksIn(r, year)
		if err != nil {
			return Period{}, err
		}
		n = (weeks-1)/r.weeks + 1
	}
	if by > 0 {
		weeks, err := p.cal.weeksIn(r, year)
		if err != nil {
			return Period{}, err
		}
		if (n-1)*r.weeks >= weeks {
			year, n = year+1, 1
		}
	}
	return r.numbered(p.cal, year, n)
}

// Name is the period's name as DHIS2 writes it in its calendar: "202610",
// "2026W44" (no nought before a week below 10), "2026NovQ1".
func (p Period) Name() string {
	r := ruleOf(p.typ)
	switch {
	case r == nil:
		return ""
	case r.months == 0 && r.weeks == 0:
		y, m, d, _ := p.cal.Civil(p.start) // a Period's days are in its calendar
		return fmt.Sprintf("%04d%02d%02d", y, m, d)
	case r.digits == 0:
		return fmt.Sprintf("%04d%s", p.year, r.infix)
	default:
		return fmt.Sprintf("%04d%s%0*d%s", p.year, r.infix, r.digits, p.n, r.suffix)
	}
}

// String is Name.
func (p Period) String() string { return p.Name() }
