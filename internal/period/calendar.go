package period

import (
	"fmt"
	"strings"
	"time"
)

// Calendar is the calendar in which a DHIS2 server names its periods and writes
// its dates (keyCalendar; "calendar" in /api/system/info).
type Calendar uint8

// The calendars that periods can be named in.
const (
	// ISO8601 is the everyday (Gregorian) calendar with ISO weeks.
	ISO8601 Calendar = iota
	// Ethiopian is the calendar of Ethiopia: twelve months of 30 days, then
	// Pagume of 5 days, or 6 before a leap year's end.
	//
	// DHIS2 reckons its year as 12 x 30 days and refuses a date in Pagume
	// (EthiopianCalendar.java, 2.42). Here Pagume belongs to the periods that hold
	// the end of month 12: nothing that happened in those days is lost, the name
	// is one that DHIS2 takes, and a period is over when its Pagume is. Civil
	// keeps month 13 apart, so that a date is never written as another day.
	Ethiopian
	// Nepali is Bikram Sambat. Its months have the lengths that DHIS2 has in its
	// table (NepaliCalendar.java, 2.42), for the years 2000 to 2095 BS (ISO 1943 to
	// 2039); outside there is an error. The lengths of years to come are forecasts:
	// Nepal publishes each year's calendar shortly before it begins.
	Nepali
)

var calendarNames = map[Calendar]string{ISO8601: "iso8601", Ethiopian: "ethiopian", Nepali: "nepali"}

// ParseCalendar reads a calendar's name as DHIS2 gives it. DHIS2's "gregorian"
// has the dates and periods of iso8601. Its other calendars (coptic, islamic,
// julian, persian, thai) are an error: sending periods in the wrong calendar is
// worse than sending none.
func ParseCalendar(name string) (Calendar, error) {
	switch strings.ToLower(name) {
	case "iso8601", "gregorian":
		return ISO8601, nil
	case "ethiopian":
		return Ethiopian, nil
	case "nepali":
		return Nepali, nil
	}
	return 0, fmt.Errorf("the calendar %q is not supported; those that are: iso8601, gregorian, ethiopian, nepali", name)
}

// String is the calendar's name as DHIS2 gives it.
func (c Calendar) String() string {
	if n, ok := calendarNames[c]; ok {
		return n
	}
	return fmt.Sprintf("calendar %d", uint8(c))
}

// Civil gives the year, month and day of the month of a day in the calendar.
// An Ethiopian month may be 13 (Pagume), which DHIS2 refuses in a date.
func (c Calendar) Civil(d Day) (year, month, day int, err error) {
	switch c {
	case ISO8601:
		y, m, md := d.In(time.UTC).Date()
		return y, int(m), md, nil
	case Ethiopian:
		year, month, day = ethiopianOf(d)
		return year, month, day, nil
	case Nepali:
		return nepaliOf(d)
	}
	return 0, 0, 0, fmt.Errorf("%v is not known", c)
}

// Day gives the day of a date in the calendar; an error for a date that does
// not exist there.
func (c Calendar) Day(year, month, day int) (Day, error) {
	last := 12
	if c == Ethiopian {
		last = 13
	}
	if month >= 1 && month <= last && day >= 1 {
		first, err := c.monthStart(year, month)
		if err != nil {
			return 0, err
		}
		d := first + Day(day-1)
		if y, m, _, err := c.Civil(d); err == nil && y == year && m == month {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%04d-%02d-%02d is not a date of the %v calendar", year, month, day, c)
}

// monthStart is the first day of a month; Ethiopian month 13 is Pagume.
func (c Calendar) monthStart(year, month int) (Day, error) {
	switch c {
	case ISO8601:
		return Date(year, time.Month(month), 1), nil
	case Ethiopian:
		return ethiopianDay(year, month, 1), nil
	case Nepali:
		return nepaliMonth(year, month)
	}
	return 0, fmt.Errorf("%v is not known", c)
}

// firstOf is the first day of the n-th month since month 1 of year 0, with
// twelve months a year: Ethiopian Pagume counts as part of month 12.
func (c Calendar) firstOf(n int) (Day, error) {
	return c.monthStart(floorDiv(n, 12), floorMod(n, 12)+1)
}

// monthOf is the opposite of firstOf: the month that holds a day.
func (c Calendar) monthOf(d Day) (int, error) {
	y, m, _, err := c.Civil(d)
	return y*12 + min(m, 12) - 1, err
}

// allows says which types can be named in the calendar as the server would.
func (c Calendar) allows(r *rule) error {
	switch {
	case r.weeks == 0 || c == ISO8601, c == Nepali && r.typ == Weekly:
		return nil
	case c == Ethiopian:
		return fmt.Errorf("%s periods are not supported with the Ethiopian calendar: DHIS2 reckons its weeks over a year of 360 days, so that their dates drift; use months or days", r.typ)
	default:
		return fmt.Errorf("%s periods are not supported with the %v calendar; use Weekly, months or days", r.typ, c)
	}
}

// ethiopianEpoch is 1 Meskerem of year 1 of the Amete Mihret era, 29 August 8
// (Julian): Julian day number 1724221, where 1970-01-01 is 2440588.
// Source: Reingold and Dershowitz, Calendrical Calculations, chapter 4.
const ethiopianEpoch = 1724221 - 2440588

func ethiopianDay(year, month, day int) Day {
	return Day(ethiopianEpoch + 365*(year-1) + floorDiv(year, 4) + 30*(month-1) + day - 1)
}

func ethiopianOf(d Day) (year, month, day int) {
	// 1461 days are four years, of which the third has a sixth day of Pagume.
	year = floorDiv(4*(int(d)-ethiopianEpoch)+1463, 1461)
	in := int(d - ethiopianDay(year, 1, 1))
	return year, in/30 + 1, in%30 + 1
}

func inPagume(d Day) bool {
	_, month, _ := ethiopianOf(d)
	return month > 12
}
