package engine

import (
	"context"
	"time"

	"github.com/kiungo-health/kiungo/internal/calendar"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// walled is a ledger that knows the clock of its machine (or database) beside
// ledger time, and when it was last written before this start.
type walled interface {
	Wall() time.Time
	LastCommit() time.Time
}

// makeCalendar watches the clock that schedules go by.
func (e *Engine) makeCalendar() {
	alarm := func(text string) {
		e.Log.Warn(text)
		if err := e.Ledger.Audit(context.WithoutCancel(e.ctx), ledger.Audit{Who: "kiungo", Act: "clock", Note: text}); err != nil {
			e.Log.Error("could not write down what the clock did", "error", err)
		}
	}
	if w, ok := e.Ledger.(walled); ok {
		e.calendar = calendar.New(w.Wall, w.LastCommit(), alarm)
		return
	}
	e.calendar = calendar.New(e.Ledger.Now, time.Time{}, alarm)
}

// Today gives the time of day that schedules go by, or a
// *calendar.StoppedError while the clock cannot be believed.
func (e *Engine) Today() (time.Time, error) { return e.calendar.Now() }

// ConfirmClock has the clock believed as it is now.
func (e *Engine) ConfirmClock(ctx context.Context, who string) error {
	e.calendar.Confirm()
	return e.Ledger.Audit(ctx, ledger.Audit{Who: who, Act: "clock", Note: "confirmed the clock"})
}

func (e *Engine) sane() bool {
	_, err := e.calendar.Now()
	return err == nil
}
