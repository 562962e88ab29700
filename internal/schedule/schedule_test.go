package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestNextTimeOfASchedule(t *testing.T) {
	nairobi := zone(t, "Africa/Nairobi")
	for _, c := range []struct {
		text     Text
		at, want string
		periodIs string
	}{
		{Text{Every: "Monday 04:00"}, "2026-11-22T19:00:00+03:00", "2026-11-23T04:00:00+03:00", ""},
		{Text{Every: "Monday 04:00"}, "2026-11-23T04:00:00+03:00", "2026-11-30T04:00:00+03:00", ""},
		{Text{Every: "Monday", At: "04:00"}, "2026-11-23T03:59:59+03:00", "2026-11-23T04:00:00+03:00", ""},
		{Text{Every: "day 06:00"}, "2026-11-22T23:30:00Z", "2026-11-23T06:00:00+03:00", ""},
		{Text{Every: "15 minutes"}, "2026-11-22T19:00:00+03:00", "2026-11-22T19:15:00+03:00", ""},
		{Text{Every: "month", Day: 3, At: "06:00"}, "2026-11-22T19:00:00+03:00", "2026-12-03T06:00:00+03:00", "202611"},
		{Text{Every: "month", Day: 3, At: "06:00"}, "2026-12-03T05:59:00+03:00", "2026-12-03T06:00:00+03:00", "202611"},
		{Text{Every: "month", Day: 3, At: "06:00"}, "2026-12-31T23:00:00Z", "2027-01-03T06:00:00+03:00", "202612"},
		{Text{Every: "week"}, "2026-11-22T19:00:00+03:00", "2026-11-23T00:00:00+03:00", "2026W47"},
		{Text{Every: "quarter", Day: 15}, "2026-11-22T19:00:00+03:00", "2027-01-15T00:00:00+03:00", "2026Q4"},
		{Text{Every: "WeeklyWednesday"}, "2026-11-22T19:00:00+03:00", "2026-11-25T00:00:00+03:00", "2026WedW47"},
		{Text{Every: "month", Day: 5, Calendar: "ethiopian"}, "2026-11-22T19:00:00+03:00", "2026-12-14T00:00:00+03:00", "201903"},
	} {
		s, err := Parse(c.text)
		if err != nil {
			t.Errorf("%+v: %v", c.text, err)
			continue
		}
		at, _ := time.Parse(time.RFC3339, c.at)
		got, err := s.Next(at, nairobi)
		if err != nil || got.Format(time.RFC3339) != c.want {
			t.Errorf("%+v after %s: %s, %v; want %s", c.text, c.at, got.Format(time.RFC3339), err, c.want)
			continue
		}
		if c.periodIs == "" {
			continue
		}
		p, err := s.Of(got, nairobi)
		if err != nil || p.Name() != c.periodIs {
			t.Errorf("%+v at %s: period %s, %v; want %s", c.text, c.want, p, err, c.periodIs)
		}
	}
}

func TestWhatIsNoScheduleIsSaid(t *testing.T) {
	for _, every := range []string{"", "sometimes", "monday", "0 minutes", "25:00", "Monday 25:00", "-5 days"} {
		if _, err := Parse(Text{Every: every}); err == nil {
			t.Errorf("%q is taken", every)
		}
	}
}

func TestTimesFollowEachOtherAndPeriodsAreNeverLeftOut(t *testing.T) {
	names := []string{"Monday 04:00", "day 02:30", "week", "month", "quarter", "six months", "year", "FinancialApril", "WeeklySaturday"}
	zones := []*time.Location{zone(t, "Africa/Nairobi"), zone(t, "Europe/Lisbon"), time.UTC}
	rapid.Check(t, func(t *rapid.T) {
		s, err := Parse(Text{Every: rapid.SampledFrom(names).Draw(t, "every"), Day: rapid.IntRange(0, 28).Draw(t, "day"), At: "02:30"})
		if err != nil {
			t.Fatal(err)
		}
		z := rapid.SampledFrom(zones).Draw(t, "zone")
		at := time.Unix(rapid.Int64Range(1_420_000_000, 2_080_000_000).Draw(t, "at"), 0)
		last := ""
		for range 6 {
			next, err := s.Next(at, z)
			if err != nil || !next.After(at) {
				t.Fatalf("after %s comes %s, %v", at, next, err)
			}
			if s.ByPeriod() {
				p, err := s.Of(next, z)
				if err != nil {
					t.Fatal(err)
				}
				if last != "" && p.Prev().Name() != last {
					t.Fatalf("%s follows %s", p, last)
				}
				last = p.Name()
			}
			at = next
		}
	})
}
