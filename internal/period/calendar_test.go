package period_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/period"
)

func TestDatesOfOtherCalendarsAreThoseOfDHIS2(t *testing.T) {
	for _, v := range table(t, "calendar_vectors.csv") {
		c, err := period.ParseCalendar(v["calendar"])
		if err != nil {
			t.Fatal(err)
		}
		local, err := time.Parse("20060102", strings.ReplaceAll(v["local_date"], "-", ""))
		if err != nil {
			t.Fatal(err)
		}
		want := day(t, v["iso_date"])
		got, err := c.Day(local.Year(), int(local.Month()), local.Day())
		if err != nil || got != want {
			t.Errorf("%s %s is %v, want %v (%v)", v["calendar"], v["local_date"], got, want, err)
		}
		y, m, d, err := c.Civil(want)
		if err != nil || y != local.Year() || m != int(local.Month()) || d != local.Day() {
			t.Errorf("%v is %d-%d-%d in the %v calendar, want %s (%v)", want, y, m, d, c, v["local_date"], err)
		}
	}
}

func TestEveryDayHasOneDateInEachCalendar(t *testing.T) {
	for _, c := range []period.Calendar{period.ISO8601, period.Ethiopian, period.Nepali} {
		for d := period.Date(1943, 4, 14); d <= period.Date(2039, 1, 1); d++ {
			y, m, md, err := c.Civil(d)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := c.Day(y, m, md); err != nil || back != d {
				t.Fatalf("%v: %v is %d-%d-%d, which is %v (%v)", c, d, y, m, md, back, err)
			}
		}
	}
}

func TestDatesThatDoNotExistAreErrors(t *testing.T) {
	for _, v := range []struct {
		c       period.Calendar
		y, m, d int
	}{{period.ISO8601, 2023, 2, 29}, {period.ISO8601, 2023, 13, 1}, {period.Ethiopian, 2016, 13, 6}, {period.Ethiopian, 2016, 14, 1},
		{period.Ethiopian, 2016, 1, 31}, {period.Nepali, 2081, 1, 32}, {period.Nepali, 2081, 13, 1}, {period.Nepali, 2096, 1, 1}, {period.Nepali, 1999, 12, 1}} {
		if got, err := v.c.Day(v.y, v.m, v.d); err == nil {
			t.Errorf("%v %d-%d-%d is %v", v.c, v.y, v.m, v.d, got)
		}
	}
	if got, err := period.Ethiopian.Day(2015, 13, 6); err != nil || got != period.Date(2023, 9, 11) {
		t.Errorf("the sixth of Pagume 2015 is %v, %v; want the day before the year 2016", got, err)
	}
}

func TestPeriodsOfOtherCalendarsAreNamedInThem(t *testing.T) {
	for _, v := range []struct {
		c          period.Calendar
		typ        period.Type
		on         string
		name       string
		start, end string
	}{
		{period.Ethiopian, period.Monthly, "2023-09-12", "201601", "2023-09-12", "2023-10-11"},
		{period.Ethiopian, period.Monthly, "2023-09-30", "201601", "2023-09-12", "2023-10-11"},
		{period.Ethiopian, period.Quarterly, "2023-10-11", "2016Q1", "2023-09-12", "2023-12-10"},
		{period.Ethiopian, period.Yearly, "2024-09-10", "2016", "2023-09-12", "2024-09-10"},
		{period.Ethiopian, period.Daily, "2014-09-11", "20070101", "2014-09-11", "2014-09-11"},
		{period.Nepali, period.Monthly, "2014-04-14", "207101", "2014-04-14", "2014-05-14"},
		{period.Nepali, period.Monthly, "2025-04-13", "208112", "2025-03-14", "2025-04-13"},
		{period.Nepali, period.FinancialJuly, "2025-04-13", "2081July", "2024-10-17", "2025-10-17"},
		{period.Nepali, period.Weekly, "2024-04-15", "2081W1", "2024-04-15", "2024-04-21"},
		{period.Nepali, period.Weekly, "2025-04-20", "2082W1", "2025-04-14", "2025-04-20"},
	} {
		p, err := period.OfIn(v.c, v.typ, day(t, v.on))
		if err != nil || p.Name() != v.name || p.Start() != day(t, v.start) || p.End() != day(t, v.end) {
			t.Errorf("%v %s of %s is %v, %v to %v (%v); want %s, %s to %s", v.c, v.typ, v.on, p, p.Start(), p.End(), err, v.name, v.start, v.end)
		}
	}
}

func TestPagumeIsFoldedIntoTheMonthBefore(t *testing.T) {
	for d := period.Date(2024, 9, 6); d <= period.Date(2024, 9, 10); d++ {
		if _, m, _, err := period.Ethiopian.Civil(d); err != nil || m != 13 {
			t.Errorf("%v is in month %d (%v), want 13", d, m, err)
		}
		if p, err := period.OfIn(period.Ethiopian, period.Monthly, d); err != nil || p.Name() != "201612" {
			t.Errorf("%v is in %v (%v), want 201612", d, p, err)
		}
		if p, err := period.OfIn(period.Ethiopian, period.Daily, d); err == nil {
			t.Errorf("%v is the day %v, which DHIS2 refuses", d, p)
		}
		if p, err := period.CompletedIn(period.Ethiopian, period.Monthly, d.In(time.UTC), time.UTC); err != nil || p.Name() != "201611" {
			t.Errorf("completed on %v is %v (%v), want 201611", d, p, err)
		}
	}
	last, err := period.ParseIn(period.Ethiopian, "20161230")
	if err != nil || last.Next().Name() != "20170101" || last.Next().Prev() != last {
		t.Errorf("after %v comes %v, and before that %v (%v)", last, last.Next(), last.Next().Prev(), err)
	}
}

func TestWhatACalendarCannotNameIsAnError(t *testing.T) {
	for _, v := range []struct {
		c    period.Calendar
		name string
	}{{period.Ethiopian, "2016W3"}, {period.Ethiopian, "2016BiW3"}, {period.Nepali, "2081WedW3"}, {period.Nepali, "2081BiW3"}, {period.Nepali, "209601"},
		{period.Nepali, "199912"}, {period.Ethiopian, "201613"}, {period.Ethiopian, "20161301"}, {period.Nepali, "20810132"}, {period.Calendar(9), "2024"}} {
		if p, err := period.ParseIn(v.c, v.name); err == nil {
			t.Errorf("%v %s is read as %v to %v", v.c, v.name, p.Start(), p.End())
		}
	}
	if _, err := period.OfIn(period.Nepali, period.Monthly, period.Date(2045, 1, 1)); err == nil || !strings.Contains(err.Error(), "2095") {
		t.Errorf("a day after the Nepali table gives %v; want an error that names its end", err)
	}
	last, err := period.ParseIn(period.Nepali, "209512")
	if err != nil || !last.Next().IsZero() {
		t.Errorf("after the last month of the Nepali table comes %v (%v)", last.Next(), err)
	}
	for _, name := range []string{"islamic", "coptic", "", "thai"} {
		if c, err := period.ParseCalendar(name); err == nil {
			t.Errorf("the calendar %q is taken as %v", name, c)
		}
	}
}
