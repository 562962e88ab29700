package plan

import (
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/question"
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
	// Key and Offer are what a person is asked, if there is more to answer than
	// that the cause was mended; see internal/question.
	Key   string
	Offer question.Offer
	// Wait is how long a State Waiting may last in all; past it the delivery is held.
	Wait time.Duration
}

func (s *Stop) Error() string { return fmt.Sprintf("%s: %s", s.State, s.Reason) }

// asks makes it a question that can be answered in place.
func (s *Stop) asks(key string, o question.Offer) *Stop {
	s.Key, s.Offer = key, o
	return s
}

func hold(code, cause, format string, args ...any) *Stop {
	reason := fmt.Sprintf(format, args...)
	if cause == "" {
		cause = reason
	}
	return &Stop{State: ledger.Held, Code: code, Cause: cause, Reason: reason}
}
