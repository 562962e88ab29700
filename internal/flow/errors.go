package flow

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Position is a place in a file of an integration.
type Position struct {
	File      string
	Line, Col int // from 1
}

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }

// Error is a value of a flow that could not be worked out, with its place. The
// reason is inside: *Unmapped, *BadValue, *NoServer, *NotYet, *TooMuch. None of
// them gets better by a repeat: each is a question or a mistake in the flow.
type Error struct {
	Position
	Flow   string // "i05/visit-to-openmrs"
	Record string // the flow's record, or ""
	Source string // the line of the file
	Err    error
}

func (e *Error) Error() string {
	where := e.Flow
	if e.Record != "" {
		where += ", record " + e.Record
	}
	return fmt.Sprintf("%s: %s: %v", e.Position, where, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Excerpt gives the line of the file with a caret below the place.
func (e *Error) Excerpt() string { return caret(e.Source, e.Line, e.Col) }

// Asks is an error that is a question for a person. Error and Cause hold codes
// of code lists, never a free-text answer.
type Asks interface {
	error
	// Kind is the class of the question: "unmapped", "value", "server", "identity".
	Kind() string
	// Cause groups alike questions: one answer serves all.
	Cause() string
}

// Cause gives the words under which alike failures are grouped, and the class
// of the question; an error that is no question has its text and "flow".
func Cause(err error) (cause, kind string) {
	var a Asks
	if errors.As(err, &a) {
		return a.Cause(), a.Kind()
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Position.String() + ": " + e.Err.Error(), "flow"
	}
	return err.Error(), "flow"
}

// looksLikeCode tells codes of code lists from what a person may have typed:
// only those are shown in reasons, which are not sealed.
var looksLikeCode = regexp.MustCompile(`^([a-z0-9][a-z0-9_.:-]{0,39}|[A-Z]{1,3}|[A-Za-z]{2,12}:[0-9][0-9A-Za-z.-]{0,20})$`)

// Unmapped is a code without a row in its table. One answer serves all and goes
// into the table.
type Unmapped struct {
	Table  string   // "gender"
	Codes  []string // what was looked up: codes of a code list, not free text
	Column string   // the column that was wanted
	Field  string   // the question or property it came from: "case.sex"
	Known  []string // what the column holds for other codes
}

func (e *Unmapped) Error() string { return e.Cause() + "; add a row, or a row * for all others" }

// Kind is "unmapped".
func (e *Unmapped) Kind() string { return "unmapped" }

// Cause names field, code and table.
func (e *Unmapped) Cause() string {
	codes := make([]string, len(e.Codes))
	for i, c := range e.Codes {
		codes[i] = c
		if !looksLikeCode.MatchString(c) {
			codes[i] = "(a text that looks like no code)" // may be a name or a free-text answer
		}
	}
	return fmt.Sprintf("%s = %s is not in %s.csv", e.Field, strings.Join(codes, ", "), e.Table)
}

// BadValue is an answer that is not what it must be. Its text does not repeat
// the answer.
type BadValue struct {
	Field string // the question or property: "form.weight"
	Text  string // "is not a number"
}

func (e *BadValue) Error() string { return e.Cause() }

// Kind is "value".
func (e *BadValue) Kind() string { return "value" }

// Cause names the field and what is wrong with it.
func (e *BadValue) Cause() string { return e.Field + " " + e.Text }

// NoServer says that no one system could be chosen.
type NoServer struct {
	Connector string
	Place     string // id or code of the place, or ""
	Text      string
}

func (e *NoServer) Error() string { return e.Cause() }

// Kind is "server".
func (e *NoServer) Kind() string { return "server" }

// Cause names the place and the connector.
func (e *NoServer) Cause() string { return e.Text }

// NoKey says that an item of each, a record's key or a lane has no id.
type NoKey struct{ Text string }

func (e *NoKey) Error() string { return e.Text }

// Kind is "identity".
func (e *NoKey) Kind() string { return "identity" }

// Cause is the text.
func (e *NoKey) Cause() string { return e.Text }

// NotYet says that a value that is known only after a call was used inside an
// expression; it can only be passed on as it is.
type NotYet struct{ Field string }

func (e *NotYet) Error() string {
	return e.Field + " is chosen by the server and known only after the call; use it alone: '${" + e.Field + "}'"
}

// TooMuch says that an expression ran into the limits of steps or memory.
type TooMuch struct{ Text string }

func (e *TooMuch) Error() string { return e.Text }

var (
	// ErrNotForFlow: none of the flow's sources takes this message (any more).
	ErrNotForFlow = errors.New("the message is not for this flow")
	// ErrGone: the flow's each no longer gives the item of this delivery.
	ErrGone = errors.New("the item of this delivery is no longer in the message")
)
