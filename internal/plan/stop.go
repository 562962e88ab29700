package plan

import (
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Stop is why a delivery cannot be planned now: it ends, waits, or needs a
// person. A failed read is not a Stop but a *call.Error.
type Stop struct {
	State ledger.State // Skipped, Refused, Held or Waiting
	// Code is the class of the reason: "not-for-this-flow", "no-patient",
	// "several", "unmapped", "value", "conflict", "withdrawn", "no-server".
	Code string
	// Cause groups stops that one answer would solve ("sex = other is not in gender.csv").
	Cause string
	// Reason in plain words, without patient data: what, and what to do next.
	Reason string
	Field  string
	// Wait is how long a State Waiting may last in all; past it the delivery is held.
	Wait time.Duration
}

func (s *Stop) Error() string { return fmt.Sprintf("%s: %s", s.State, s.Reason) }

func hold(code, cause, format string, args ...any) *Stop {
	reason := fmt.Sprintf(format, args...)
	if cause == "" {
		cause = reason
	}
	return &Stop{State: ledger.Held, Code: code, Cause: cause, Reason: reason}
}
