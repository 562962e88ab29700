// Package calendar gives the time of day that schedules go by, and stops them
// while the machine's clock cannot be believed (law 22). Retries and waits do
// not go by it: they use ledger time, which only rises.
package calendar

import (
	"fmt"
	"sync"
	"time"
)

const (
	// jump is how far the clock may move against the monotonic clock.
	jump = 5 * time.Minute
	// away is how long after the ledger's last commit a start is believed: a
	// clinic may be closed for weeks, a clock that is years ahead is broken.
	away = 60 * 24 * time.Hour
)

// Calendar watches one clock. It may be used from many goroutines.
type Calendar struct {
	// Wall reads the clock that is watched; nil: time.Now.
	Wall func() time.Time
	// Alarm is told, in words, when calendar work stops and when it goes on; nil: nobody.
	Alarm func(text string)

	mu      sync.Mutex
	anchor  time.Time // what the clock said when it was last believed
	mark    time.Time // that moment by the monotonic clock
	stopped string
	right   func(now time.Time) bool // while stopped: whether the clock was put right
}

// New watches a clock from now on. lastCommit is the newest time in the ledger
// before this start, zero for a new ledger: a clock that is behind it, or far
// ahead of it, is not believed until it is put right or somebody confirms it.
func New(wall func() time.Time, lastCommit time.Time, alarm func(string)) *Calendar {
	c := &Calendar{Wall: wall, Alarm: alarm}
	if c.Wall == nil {
		c.Wall = time.Now
	}
	now := c.Wall().Round(0)
	c.anchor, c.mark = now, time.Now()
	if plausible := func(t time.Time) bool { return t.After(lastCommit.Add(-jump)) && t.Before(lastCommit.Add(away)) }; !lastCommit.IsZero() && !plausible(now) {
		c.stop(fmt.Sprintf("the clock says %s, and the ledger was last written at %s", stamp(now), stamp(lastCommit)), plausible)
	}
	return c
}

// Now gives the time of day, or a *StoppedError. While the clock is not
// believed nothing is due; what was missed is caught up with afterwards.
func (c *Calendar) Now() (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, passed := c.Wall().Round(0), time.Since(c.mark)
	if c.stopped != "" {
		if !c.right(now) {
			return time.Time{}, &StoppedError{c.stopped}
		}
		c.goOn("the clock is right again")
	} else if off := now.Sub(c.anchor.Add(passed)); off.Abs() > jump {
		anchor, mark := c.anchor, c.mark
		c.stop(fmt.Sprintf("the clock moved by %s while %s went by; it says %s", off.Round(time.Second), passed.Round(time.Second), stamp(now)),
			func(now time.Time) bool { return now.Sub(anchor.Add(time.Since(mark))).Abs() <= jump })
		return time.Time{}, &StoppedError{c.stopped}
	}
	// A clock that drifts is corrected by a little, again and again.
	c.anchor, c.mark = now, time.Now()
	return now, nil
}

// Confirm believes the clock as it is now.
func (c *Calendar) Confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.anchor, c.mark = c.Wall().Round(0), time.Now()
	if c.stopped != "" {
		c.goOn("somebody confirmed the clock")
	}
}

func (c *Calendar) stop(why string, right func(time.Time) bool) {
	c.stopped, c.right = why, right
	c.tell("schedules stand still: " + why + ". Set it right, or run: kiungo clock --confirm")
}

func (c *Calendar) goOn(why string) {
	c.stopped = ""
	c.tell("schedules go on: " + why)
}

func (c *Calendar) tell(text string) {
	if c.Alarm != nil {
		c.Alarm(text)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// StoppedError says why the clock is not believed. Nothing that goes by the
// calendar is to be done; ask again later.
type StoppedError struct{ Why string }

func (e *StoppedError) Error() string {
	return "schedules stand still until the clock is right or confirmed: " + e.Why
}
