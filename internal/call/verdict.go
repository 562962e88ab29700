package call

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Class says what an answer, or its absence, means for the call.
type Class string

const (
	Done          Class = "done"
	RetryLater    Class = "retry later"    // nothing happened; the system cannot do it now
	Refusal       Class = "refused"        // nothing happened and a repeat would be refused again
	NotAuthorised Class = "not authorised" // nothing happened; credentials or a privilege are missing
	Uncertain     Class = "unknown"        // it may have happened: verify before anything else
	Conflicting   Class = "conflict"       // someone else changed or made it: read and plan again
	Queued        Class = "accepted"       // accepted, a verdict follows (Await)
)

// Verdict is a connector's reading of an answer.
type Verdict struct {
	Class Class
	// Reason in plain words, without patient data: what the system said, which
	// field, what to do next.
	Reason string
	Field  string // the record field it concerns, if known
	// RetryAfter is what the system asked for, or zero.
	RetryAfter time.Duration
	// Down tells that the system, not this request, is at fault (connection
	// refused, time-out, 502 to 504): several of these open its circuit.
	Down bool
	// Traces tells that a refused call may have been written all the same (an
	// OpenMRS up to REST module 2.44 stores a duplicate identifier and answers
	// with an error): its Check is read, and what is there is undone with the rest.
	Traces bool
	// Taken is the value for which a request was refused because another record
	// has it already (an identifier in use), where the system names it. If the
	// system gave it out itself for this delivery, another one is drawn. It may be a
	// patient's: it is never logged, nor written down.
	Taken string
}

// Error is a verdict other than Done, as an error.
type Error struct {
	System string
	About  string // what was being done: "read patient", "start a visit"
	Verdict
	Err error // transport error, or nil
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %s (%s)", e.System, e.About, e.Reason, e.Class)
}

func (e *Error) Unwrap() error { return e.Err }

// Denied is the error of Observe on one of Await's Verdicts: the system accepted
// the call first, and refused all or part of it later. Its class is Refusal.
type Denied struct{ Verdict }

func (e *Denied) Error() string { return e.Reason }

// ClassOf gives the class of an error made by a Doer, or "" for another error.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}

// Doer sends one request to one system and gives its answer once the
// connector's classifier called it done; every other verdict is an *Error.
// The runner's Doer counts, limits, and keeps the circuit; while planning it
// refuses requests that change something.
type Doer interface {
	Do(ctx context.Context, about string, r Request) (Answer, error)
}
