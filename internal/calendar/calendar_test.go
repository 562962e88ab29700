package calendar

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f with a clock that may be set apart from the bubble's own.
func bubble(t *testing.T, f func(set func(time.Duration), open func(last time.Duration) *Calendar, alarms func() int)) {
	synctest.Test(t, func(*testing.T) {
		var off time.Duration
		n := 0
		wall := func() time.Time { return time.Now().Add(off) }
		f(func(d time.Duration) { off = d },
			func(last time.Duration) *Calendar {
				return New(wall, time.Now().Add(last), func(string) { n++ })
			}, func() int { return n })
	})
}

func runs(t *testing.T, c *Calendar, want bool, when string) {
	t.Helper()
	_, err := c.Now()
	if (err == nil) != want {
		t.Errorf("%s: %v", when, err)
	}
	if err != nil && !errors.As(err, new(*StoppedError)) {
		t.Errorf("%s: %T", when, err)
	}
}

func TestAJumpStopsTheCalendarUntilTheClockIsPutBack(t *testing.T) {
	for _, jumped := range []time.Duration{10 * 365 * 24 * time.Hour, time.Hour, -24 * time.Hour} {
		bubble(t, func(set func(time.Duration), open func(time.Duration) *Calendar, alarms func() int) {
			c := open(-time.Minute)
			runs(t, c, true, "at first")
			time.Sleep(time.Hour)
			runs(t, c, true, "after an hour")
			set(jumped)
			runs(t, c, false, "after the jump")
			time.Sleep(48 * time.Hour)
			runs(t, c, false, "two days after the jump")
			set(2 * time.Second)
			runs(t, c, true, "when it was put back")
			if alarms() != 2 {
				t.Errorf("%d alarms, not one for the stop and one for the end", alarms())
			}
		})
	}
}

func TestADriftThatIsCorrectedByLittleStopsNothing(t *testing.T) {
	bubble(t, func(set func(time.Duration), open func(time.Duration) *Calendar, _ func() int) {
		c := open(-time.Minute)
		for i := range 100 {
			time.Sleep(time.Hour)
			set(time.Duration(i) * time.Minute)
			runs(t, c, true, "drifting")
		}
	})
}

func TestAStartFarFromTheLastCommitIsNotBelieved(t *testing.T) {
	for name, x := range map[string]struct {
		last   time.Duration // before (or after) what the clock says
		begins bool
	}{
		"a minute later":          {-time.Minute, true},
		"after a month's holiday": {-31 * 24 * time.Hour, true},
		"years ahead":             {-5 * 365 * 24 * time.Hour, false},
		"behind":                  {time.Hour, false},
		"in 1970":                 {55 * 365 * 24 * time.Hour, false},
	} {
		bubble(t, func(set func(time.Duration), open func(time.Duration) *Calendar, _ func() int) {
			c := open(x.last)
			runs(t, c, x.begins, name)
			if x.begins {
				return
			}
			set(x.last + time.Minute)
			runs(t, c, true, name+", put right")
		})
	}
}

func TestAPersonConfirmsTheClock(t *testing.T) {
	bubble(t, func(set func(time.Duration), open func(time.Duration) *Calendar, _ func() int) {
		c := open(-3 * 365 * 24 * time.Hour)
		runs(t, c, false, "years ahead")
		c.Confirm()
		runs(t, c, true, "confirmed")
		time.Sleep(time.Hour)
		runs(t, c, true, "an hour later")
	})
}
