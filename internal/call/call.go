// Package call describes one changing request to a system as data: the request,
// how to undo it, and how to find out whether it happened. Nothing here sends;
// the runner does.
package call

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/kiungo-health/kiungo/internal/record"
)

// IDHeader carries, with each changing request, which call of which delivery it
// is and under which epoch: "DELIVERY/PLAN/CALL/EPOCH". Systems ignore it; it is
// found in their logs.
const IDHeader = "Kiungo-Call"

// Request is a request as data, relative to a system's base URL.
//
// Path may hold {call.output}, filled from the outputs of an earlier call of
// the same plan; every other part must have been escaped with url.PathEscape,
// which leaves no brace. Body is sent as it is, after Bind put outputs in.
type Request struct {
	Method string              `json:"method"`
	Path   string              `json:"path"`
	Query  map[string][]string `json:"query,omitempty"`
	Header map[string]string   `json:"header,omitempty"`
	Body   json.RawMessage     `json:"body,omitempty"`
	Bind   []Bind              `json:"bind,omitempty"`
	// Read marks a request that changes nothing although its method is not GET.
	Read bool `json:"read,omitempty"`
}

// Changes tells whether the request may change something.
func (r Request) Changes() bool {
	return !r.Read && r.Method != http.MethodGet && r.Method != http.MethodHead
}

// Bind puts an output of an earlier call into the body at a JSON pointer.
type Bind struct {
	At     string `json:"at"` // RFC 6901
	Call   string `json:"call"`
	Output string `json:"output"`
}

// Answer is what a system answered. Header keeps only the fields that
// connectors read (Date, Retry-After, Content-Type, Location, ETag).
type Answer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header,omitempty"`
	Body   []byte            `json:"body,omitempty"`
	At     time.Time         `json:"at"` // when it arrived, by our clock
}

// Outputs are the values that later requests, undo and other records may use.
type Outputs map[string]string

// Repeat says what happens if the same call is sent twice.
type Repeat string

const (
	Safe     Repeat = "safe"     // a repeat does no harm: the target refuses or ignores it, or it only uses up a number
	Findable Repeat = "findable" // a repeat would double, but Check.Read tells whether it happened
	Blind    Repeat = "blind"    // nobody can tell; never sent again by itself
)

// Reversal says how well a call can be undone.
type Reversal string

const (
	Exact    Reversal = "exact"             // the target is as before, voided rows apart
	Covers   Reversal = "covers"            // a later state hides it (a correcting entry)
	Leftover Reversal = "harmless leftover" // cannot be undone, does no harm (an identifier consumed)
	Final    Reversal = "final"             // cannot be undone (a message sent): after it the delivery only goes forward
)

// Call is one changing request of a plan.
type Call struct {
	Name   string `json:"name"`   // unique in its plan: "patient.name"
	Record string `json:"record"` // the flow's record it serves
	System string `json:"system"` // name of the configured system
	Kind   string `json:"kind"`   // "openmrs/Patient"
	Target string `json:"target"` // id of the record written, as claimed; may be empty while Later
	About  string `json:"about"`  // in words, without patient data: "start a visit"

	Request Request           `json:"request"`
	Outputs map[string]string `json:"outputs,omitempty"` // name -> JSON pointer into the answer's body

	Repeat   Repeat   `json:"repeat"`
	Reversal Reversal `json:"reversal"`
	Undo     *Undo    `json:"undo,omitempty"`  // nil for Leftover and Final
	Check    *Check   `json:"check,omitempty"` // nil only for Blind
	// ReadBack tells that the call's own answer is as good a reading as
	// Check.Read: Observe may be given it, and no second read is needed.
	ReadBack bool `json:"read_back,omitempty"`
	// Settle is how long after the call's time-out a "not there" counts, when
	// Repeat is Findable.
	Settle time.Duration `json:"settle,omitempty"`
	// Await is set when the answer means accepted, not done.
	Await *Await `json:"await,omitempty"`
}

// Undo takes a call back. Before it is sent, the Call's Check is read: where
// the target no longer holds what the call wrote, others changed it since and
// it is not touched (law 8).
type Undo struct {
	Request Request `json:"request"`
	// Restore lists, for an update, which body property restores which field:
	// body JSON pointer -> field path. A field that others changed since is
	// taken out of the body. Empty: all or nothing.
	Restore map[string]string `json:"restore,omitempty"`
	// Guards must all hold, else the undo is left over: nothing was added by
	// others under a record that we made.
	Guards []Check `json:"guards,omitempty"`
	// Voids tells that the undo leaves a voided row behind that keeps its id:
	// a later try needs a new generation of the derived id (law 9).
	Voids bool `json:"voids,omitempty"`
}

// Check reads, by primary key, what a call writes, and says what to expect.
// It serves as verify (did it happen?), as expect (is what we planned against
// still there?) and as the comparison before an undo.
type Check struct {
	Read Request       `json:"read"`
	As   string        `json:"as"`            // which part of which kind: given back to Kind.Observe
	Key  string        `json:"key,omitempty"` // which row of a list, if any
	Want record.Fields `json:"want"`          // after the call; nil: the record is absent
	Pre  record.Fields `json:"pre"`           // before the call; nil: the record was absent
}

// Observed is what a Check read.
type Observed struct {
	Exists  bool          // false: not there, or voided
	Voided  bool          // there, but voided or deleted
	ByUs    bool          // voided by our own user
	Fields  record.Fields // canonical, only the fields that Want or Pre name need be given
	Outputs Outputs       // the same outputs as the answer would have given
}

// Await says how a call that was only accepted becomes done.
type Await struct {
	// Verdicts are read in turn, before Check: where the system says what became of
	// the call (a job's log, then its summary). Observe gives a *Denied where that is
	// a refusal. When all of them say yes the call is done; when one does not say
	// anything yet, Check decides.
	Verdicts []Check `json:"verdicts,omitempty"`
	// Check tells by what is there now that the call is done.
	Check Check         `json:"check"`
	Every time.Duration `json:"every"`
	Until time.Duration `json:"until"` // after the answer; past it a question
}

// State is the state of a call in the journal.
type State string

const (
	Planned  State = "planned"
	Sent     State = "sent"     // intent journaled; no answer yet. A crash here means unknown
	Answered State = "answered" // done, with outputs
	Unknown  State = "unknown"  // the answer was lost
	Accepted State = "accepted" // accepted, not done yet
	Refused  State = "refused"
	Undone   State = "undone"
	LeftOver State = "left over" // could not be undone
)
