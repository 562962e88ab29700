package period_test

import (
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/period"
)

var (
	firstDay = period.Date(2015, 1, 1)
	lastDay  = period.Date(2035, 12, 31)
)

// typesOf lists what a calendar can name.
func typesOf(c period.Calendar) []period.Type {
	switch c {
	case period.ISO8601:
		return period.Types()
	default:
		out := []period.Type{period.Daily, period.Monthly, period.BiMonthly, period.Quarterly, period.QuarterlyNov, period.SixMonthly,
			period.SixMonthlyApril, period.SixMonthlyNov, period.Yearly, period.FinancialApril, period.FinancialJuly, period.FinancialSep,
			period.FinancialOct, period.FinancialNov}
		if c == period.Nepali {
			out = append(out, period.Weekly)
		}
		return out
	}
}

func TestEveryDayIsInThePeriodThatIsNamedForIt(t *testing.T) {
	for _, c := range []period.Calendar{period.ISO8601, period.Ethiopian, period.Nepali} {
		for _, typ := range typesOf(c) {
			for d := firstDay; d <= lastDay; d++ {
				if _, month, _, err := c.Civil(d); err != nil || month == 13 && typ == period.Daily {
					continue // Pagume has no days in DHIS2: TestPagumeIsFoldedIntoTheMonthBefore
				}
				checkDay(t, c, typ, d)
				if t.Failed() {
					return
				}
			}
		}
	}
}

func checkDay(t *testing.T, c period.Calendar, typ period.Type, d period.Day) {
	t.Helper()
	p, err := period.OfIn(c, typ, d)
	if err != nil {
		t.Errorf("%v %s of %v: %v", c, typ, d, err)
		return
	}
	if !p.Contains(d) || p.Start() > d || d > p.End() || p.Contains(p.Start()-1) || p.Contains(p.End()+1) {
		t.Errorf("%v %s of %v is %v, %v to %v", c, typ, d, p, p.Start(), p.End())
	}
	again, err := period.ParseIn(c, p.Name())
	if err != nil || again != p {
		t.Errorf("%v %s of %v: its name %q is read as %v %v to %v, not %v to %v (%v)", c, typ, d, p.Name(), again, again.Start(), again.End(), p.Start(), p.End(), err)
	}
	next := p.Next()
	if next.Prev() != p || next.Type() != typ || next.End() <= p.End() {
		t.Errorf("%v %v: next is %v, and before that %v", c, p, next, next.Prev())
	}
	touches := next.Start() == p.End()+1
	switch {
	case typ == period.BiWeekly && p.Name()[4:] == "BiW27":
		touches = next.Start() == p.Start()+7 // the shared week
	case typ == period.Daily && c == period.Ethiopian:
		touches = touches || next.Start()-p.End() >= 6 // over Pagume
	}
	if !touches {
		t.Errorf("%v %v ends on %v, and %v begins on %v", c, p, p.End(), next, next.Start())
	}
}

func TestNamesAreOfOnePeriodOnly(t *testing.T) {
	seen := map[string]period.Period{}
	for _, typ := range period.Types() {
		for d := firstDay; d <= lastDay; d++ {
			p := period.Of(typ, d)
			if q, ok := seen[p.Name()]; ok && q != p {
				t.Fatalf("%s names %v %v and %v %v", p.Name(), p.Type(), p.Start(), q.Type(), q.Start())
			}
			seen[p.Name()] = p
		}
	}
}

func TestISOWeeksAgreeWithTheStandardLibrary(t *testing.T) {
	for d := firstDay; d <= lastDay; d++ {
		year, week := d.In(time.UTC).ISOWeek()
		if want := year*100 + week; nameOfWeek(t, period.Of(period.Weekly, d)) != want {
			t.Fatalf("%v is in %v, want week %d of %d", d, period.Of(period.Weekly, d), week, year)
		}
	}
}

// nameOfWeek reads 2024W3 as 202403.
func nameOfWeek(t *testing.T, p period.Period) int {
	t.Helper()
	n, w := 0, 0
	for _, c := range p.Name()[:4] {
		n = n*10 + int(c-'0')
	}
	for _, c := range p.Name()[5:] {
		w = w*10 + int(c-'0')
	}
	return n*100 + w
}

func TestBiWeeksOverlapInAYearOf53Weeks(t *testing.T) {
	p, err := period.Parse("2009BiW27")
	if err != nil {
		t.Fatal(err)
	}
	shared := period.Date(2010, 1, 5)
	if got := period.Of(period.BiWeekly, shared); got.Name() != "2010BiW1" || !p.Contains(shared) {
		t.Errorf("%v is in %v and in %v: %v", shared, got, p, p.Contains(shared))
	}
	if p.Next().Name() != "2010BiW1" || p.Prev().Name() != "2009BiW26" || p.Next().Prev() != p {
		t.Errorf("around %v are %v and %v", p, p.Prev(), p.Next())
	}
	for at, want := range map[string]string{"2010-01-05": "2009BiW26", "2010-01-10": "2009BiW26", "2010-01-11": "2009BiW27", "2010-01-18": "2010BiW1"} {
		if got := period.Completed(period.BiWeekly, day(t, at).In(time.UTC), time.UTC); got.Name() != want {
			t.Errorf("completed on %s is %v, want %s", at, got, want)
		}
	}
}

func TestCompletedGoesByTheProgrammesZone(t *testing.T) {
	kampala := time.FixedZone("EAT", 3*60*60)
	quito := time.FixedZone("ECT", -5*60*60)
	at := time.Date(2026, 10, 31, 22, 0, 0, 0, time.UTC) // already November in Kampala
	if got := period.Completed(period.Monthly, at, kampala); got.Name() != "202610" {
		t.Errorf("in Kampala %v is completed, want 202610", got)
	}
	if got := period.Completed(period.Monthly, at, quito); got.Name() != "202609" {
		t.Errorf("in Quito %v is completed, want 202609", got)
	}
	if got := period.Completed(period.Daily, at, kampala); got.Name() != "20261031" {
		t.Errorf("in Kampala the day %v is completed, want 20261031", got)
	}
}

func TestOutsideOfFourDigitYearsThereIsNoPeriod(t *testing.T) {
	if p := period.Of(period.Yearly, period.Date(10000, 1, 1)); !p.IsZero() || p.Name() != "" {
		t.Errorf("year 10000 is %v", p)
	}
	if p := period.Of(period.FinancialNov, period.Date(9999, 12, 1)); !p.IsZero() {
		t.Errorf("the financial year 10000 is %v", p)
	}
	if p := period.Of("Hourly", firstDay); !p.IsZero() {
		t.Errorf("a type that does not exist gives %v", p)
	}
	var none period.Period
	if !none.Next().IsZero() || none.Contains(0) {
		t.Error("the zero Period has a next one, or holds a day")
	}
}

func TestDaysKnowTheirDateAndWeekday(t *testing.T) {
	for _, s := range []string{"1943-04-14", "1969-12-31", "1970-01-01", "2000-02-29", "2026-11-22"} {
		d := day(t, s)
		want, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		if d.String() != s || d.Weekday() != want.Weekday() || !d.In(time.UTC).Equal(want) || period.DayOf(want) != d {
			t.Errorf("%s is %v, %v, %v", s, d, d.Weekday(), d.In(time.UTC))
		}
	}
	zone := time.FixedZone("", 5*60*60+45*60)
	if d := period.Date(2026, 10, 1); period.DayOf(d.In(zone)) != d || d.In(zone).Hour() != 0 {
		t.Errorf("midnight of %v in a zone is %v", d, d.In(zone))
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"2024", "202401", "2024-01-15", "2024W53", "2009BiW27", "2024NovS2", "201613", "999912", "00010101", "2024AprilS1", "W1", "2024-W01"} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(2))
	}
	f.Fuzz(func(t *testing.T, name string, cal uint8) {
		c := period.Calendar(cal % 3)
		p, err := period.ParseIn(c, name)
		if err != nil {
			if !p.IsZero() {
				t.Fatalf("%q: a period beside the error %v", name, err)
			}
			return
		}
		again, err := period.ParseIn(c, p.Name())
		if err != nil || again != p || p.Start() > p.End() {
			t.Fatalf("%q is %v (%v to %v), whose name is read as %v, %v", name, p, p.Start(), p.End(), again, err)
		}
		if q := p.Next(); !q.IsZero() && q.Prev() != p {
			t.Fatalf("%q: after it comes %v, and before that %v", name, q, q.Prev())
		}
	})
}
