package river

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/lane"
)

// TestWhatIsSaidOverAndOverIsCounted: one line a minute of each kind, with how
// often it was said; what River says and what we say are gathered alike, numbers
// in it make no other kind, and nothing is lost at the end.
func TestWhatIsSaidOverAndOverIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var said []string
		d := &Dispatcher{}
		d.repeats.to = func(text string) {
			said = append(said, fmt.Sprintf("%s %s", time.Since(began).Round(time.Second), text))
		}
		river := slog.New(&handler{&d.repeats})
		for n := range 600 { // nearly two minutes without a database
			river.ErrorContext(context.Background(), "producer: Error fetching jobs", "err", errors.New("of somebody"))
			d.log("lane %d cannot be started: %v", n, "away")
			if n == 300 {
				river.Warn("Notifier: connection lost")
			}
			river.Info("not a warning")
			time.Sleep(190 * time.Millisecond)
		}
		time.Sleep(10 * time.Minute) // it is back
		d.log("lane %d cannot be started: %v", 7, "away again")
		d.log("lane %d cannot be started: %v", 8, "away again")
		d.log("the node stops")
		d.repeats.end()
		d.log("the node stops")
		want := []string{
			"0s River: producer: Error fetching jobs",
			"0s lane 0 cannot be started: away",
			"57s River: Notifier: connection lost",
			"1m0s River: producer: Error fetching jobs (315 times more within a minute)",
			"1m0s lane 315 cannot be started: away (315 times more within a minute)",
			"2m0s River: producer: Error fetching jobs (284 times more within a minute)",
			"2m0s lane 599 cannot be started: away (284 times more within a minute)",
			"11m54s lane 7 cannot be started: away again",
			"11m54s lane 8 cannot be started: away again (once more within a minute)",
			"11m54s the node stops",
			"11m54s the node stops",
		}
		slices.Sort(want)
		slices.Sort(said)
		if !slices.Equal(said, want) {
			t.Errorf("it said\n%q\nwant\n%q", said, want)
		}
	})
}

// TestWithoutALogNothingIsGathered: nobody listens.
func TestWithoutALogNothingIsGathered(t *testing.T) {
	d := &Dispatcher{opts: Options{Options: lane.Options{}}}
	d.log("%d", 1)
	if (&handler{&d.repeats}).Enabled(t.Context(), slog.LevelError) || len(d.repeats.known) > 0 {
		t.Error("it gathers what nobody reads")
	}
	d.repeats.end()
}
