// Package ledger is the store: messages, deliveries, plans, journal, lanes,
// claims, crosswalk, snapshots, positions, questions and audit, tied together
// by single transactions. It decides nothing about health data; it keeps the
// promises of order, once and never lost.
package ledger

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// State is the state of a delivery.
type State string

const (
	Received   State = "received"    // waits in its lane
	Planning   State = "planning"    // started, nothing journaled yet
	Applying   State = "applying"    // its plan is journaled
	Undoing    State = "undoing"     // a refusal is being reversed
	Waiting    State = "waiting"     // for a time, a claim, a circuit, an answer; see BlockedOn
	Done       State = "done"        // also with remarks
	Skipped    State = "skipped"     // not for this flow, with the reason
	Superseded State = "superseded"  // a newer version of its document took its place
	Refused    State = "refused"     // ended before anything was written
	Held       State = "held"        // needs a person; the lane waits
	Undone     State = "undone"      // reversed; the lane went on
	HalfUndone State = "half undone" // reversed but for what is listed; the lane waits
)

// NotRouted counts messages that no flow wanted. It is no state of a delivery:
// there is none.
const NotRouted State = "not routed"

// Ended tells whether a delivery in this state lets its lane go on.
func (s State) Ended() bool {
	switch s {
	case Done, Skipped, Superseded, Refused, Undone:
		return true
	}
	return false
}

// Block says what a lane waits for, besides time.
type Block string

const (
	BlockNone     Block = ""
	BlockCircuit  Block = "circuit"  // with the system's name
	BlockClaim    Block = "claim"    // with the record
	BlockQuestion Block = "question" // with the question's id
	BlockMerge    Block = "merge"
)

// Arrival is a message with what routing made of it.
type Arrival struct {
	System string
	connector.Incoming
	Routes []Route
	// About says what kind of message it is ("commcare form, xmlns …"), without
	// patient data: messages that no flow wants are counted by it.
	About string
	// Alongside leaves older versions that still wait as they are, instead of
	// taking their place.
	Alongside bool
}

// Route is one delivery to be made of a message.
type Route struct {
	Flow string // "i05/visit-to-openmrs"
	Each string // the each-key: an id, never a position; "" without each
	// Lanes are the keys of the lanes to stand in ("person:commcare:CASE").
	Lanes []string
	// Systems are the names of the systems and connectors it may touch; a later
	// delivery that shares none with a waiting or held one passes it (law 1).
	Systems []string
}

// Accepted is the outcome of an Arrival.
type Accepted struct {
	Message    int64
	Duplicate  bool // the same document and version was accepted before
	Deliveries []int64
	Lanes      []int64 // lanes that became due
}

// Advance moves a poll position in the same transaction as its messages.
type Advance struct {
	System, Stream string
	Old, New       []byte // compare and set
	// Bulk: the messages come in bulk (a list, a stream that catches up); what
	// they make due lets what comes meanwhile go first.
	Bulk bool
	// List marks, for a list that is fetched in runs, which documents were on it.
	List *Listing
}

// Listing is a chunk of a run of a list: who is on it, or who was found to have
// left it.
type Listing struct {
	List string // name of the list within its system
	Run  int64  // number of the run, rising
	Docs []string
	// Left takes the documents off the list.
	Left bool
}

// Member is a document that was on a list.
type Member struct {
	Doc     string
	Message int64 // the newest that brought it
}

// Delivery is one message through one flow and one each-key.
type Delivery struct {
	ID      int64
	Message int64
	System  string // source
	Kind    string // message kind
	Doc     string
	Version string
	Flow    string
	Each    string
	Lane    int64
	Seq     int64
	State   State
	// Reason in words for a person, without patient data; Code is its class
	// ("unmapped", "refused", "poison", "claim"); Cause groups alike ones.
	Reason, Code, Cause string
	BlockedOn           Block
	BlockedBy           string
	Attempts            int // tries of the whole delivery
	Starts              int // unfinished starts (law 25)
	Calls               int // requests that changed something, sent so far
	FlowHash            string
	PlanNo              int
	Generation          int
	Systems             []string
	Due                 time.Time
	Created, Ended      time.Time
	Remarks             []string // done with remarks; left over
	// Archived: it is in the archive; what stayed in the ledger of it is given.
	Archived bool
	Replay   *Replay // it repeats another one
}

// Work is a delivery that this node may run now, under its lane's epoch.
type Work struct {
	LaneID   int64
	LaneKey  string
	Epoch    int64
	Delivery Delivery
	Message  connector.Message
	Plan     []byte // of PlanNo; nil if none is journaled
	Journal  []Step // of that plan, in order
	Made     []Made // what this document made before, for this flow and each-key
	// Questions that this delivery asked, answered or not, oldest first.
	Questions []Question
	// Bulk: all that may run in its lane came in bulk; today's work goes first.
	Bulk bool
	// Then, if set, is called by End when it frees the lane, at most once, and
	// names the lane to be started in the same transaction, 0 for none: End gives
	// that lane's work. A ledger may leave it uncalled.
	Then func() (lane int64) `json:"-"`
}

// Step is one line of the journal. It is never changed.
type Step struct {
	N    int    // position in the journal, from 1
	Call string // name of the call it is about
	Kind StepKind
	// Data: for an answer its outputs; for a refusal the reason.
	Data  json.RawMessage
	At    time.Time
	Epoch int64
	// Intent names the calls, with a blank between them, whose intent is
	// journaled by this very line: one commit holds answer n and intent n+1
	// (law 39). A name after a minus was announced before and not sent.
	Intent string
}

// StepKind says what a journal line records.
type StepKind string

const (
	StepIntent   StepKind = "intent"
	StepAnswer   StepKind = "answer"
	StepAnswers  StepKind = "answers" // of several calls; about none by itself
	StepUnknown  StepKind = "unknown"
	StepVerified StepKind = "verified" // asked, and it had happened
	StepAbsent   StepKind = "absent"   // asked, and it had not happened
	StepRefused  StepKind = "refused"
	StepUndo     StepKind = "undo" // intent to undo
	StepUndone   StepKind = "undone"
	StepLeftOver StepKind = "left over"
	StepAccepted StepKind = "accepted"  // accepted by the target, not done yet
	StepBack     StepKind = "turn back" // from here on the delivery is undone
	StepLooked   StepKind = "looked"    // an undone call of once unknown outcome was looked at again
	StepAgain    StepKind = "again"     // a person had it tried again: refusals and left-overs are open once more
	StepNote     StepKind = "note"
)

// Plan is a plan to journal.
type Plan struct {
	Body     []byte // the runner's encoding
	Hash     string
	FlowHash string
	// Claims are the records it will write: "system|kind|id". All or none.
	Claims []string
	// Pending are links to be, written before any call (law 16).
	Pending []Link
	// Intent names the first calls, with a blank between them; journaled in the
	// same commit.
	Intent string
}

// Made is what a document made, per record of its flow.
type Made struct {
	Record     string
	System     string
	Kind       string
	ID         string
	Generation int
	Created    bool // by us; else found and used
	Gone       bool // undone or withdrawn
	// Fields are those that we wrote, with what we wrote; Before their values
	// as they were, where the record was found.
	Fields, Before record.Fields
	// Once lists the paths of Fields that were given only when it was made.
	Once []string
	// Reserved are outputs of calls that stay when undone (an identifier drawn
	// from a pool), by "call.output": the next generation uses them again.
	Reserved map[string]string
	// Took is what newer versions of the document put in place of fields that
	// they want no more.
	Took record.Fields `json:",omitempty"`
}

// Snapshot is the last agreed content of one record.
type Snapshot struct {
	System, Kind, ID string
	Fields           map[string]record.Agreed
}

// Link says that an identifier in a system belongs to a person.
type Link struct {
	Person string // person key: the lane key without "person:"
	System string
	Kind   string // "openmrs/Patient"
	ID     string
	State  string // "pending" or "linked"
	By     string // "delivery 12", or a person's name
	How    string // evidence
	At     time.Time
}

// Tie is a change of the crosswalk by a person, or what was changed.
type Tie struct {
	ID   int64
	At   time.Time
	Act  string // "linked", "unlinked", "merged", "apart"
	Who  string
	Note string
	Link Link // of "merged": Person is the person it had belonged to
}

// Lesson is a row that a person gave as an answer: from then on the table of
// that integration has it too.
type Lesson struct {
	Integration, Table string
	Codes              []string // one, or two
	Value              string   // "" means: known, and not sent
	Who                string
	At                 time.Time
}

// Cause is what stops a number of deliveries alike.
type Cause struct {
	Code, Cause string
	Flow        string // of one of them
	Reason      string // of one of them
	N           int64
	Oldest      time.Time
	Delivery    int64 // the oldest
}

// End is how a delivery ends or pauses; everything in it is one transaction.
type End struct {
	State     State
	Reason    string
	Code      string
	Cause     string
	Remarks   []string
	Made      []Made
	Snapshots []Snapshot
	Links     []Link // pending ones to confirm, new ones
	Unlink    []Link // pending ones to drop
	// Replaced are links whose record was merged into another there: they give
	// way to those in Links.
	Replaced []Link
	Last     *Step // a last journal line
	// For State Waiting or Received: when to look again, and what for.
	Due       time.Time
	BlockedOn Block
	BlockedBy string
	// KeepClaims: half applied or half undone deliveries keep them.
	KeepClaims bool
	// Forget drops the journaled plan: the next start plans again.
	Forget bool
	// Enter names lanes to stand in from now on too: of a person that was
	// discovered while planning (law 15). With State Received and Forget.
	Enter []string
	// Generation to use from now on (raised by an undo that voids).
	Generation int
	// Question to ask, if any.
	Question *Question
	// Calls is the number of changing requests sent in this run.
	Calls int
}

// Question is what only a person can decide.
type Question struct {
	ID       int64
	Delivery int64
	Kind     string // "match", "conflict", "unmapped", "refused", "approval", "unknown"
	// Key names the decision within its delivery ("match/patient"), so that the
	// next plan finds the answer. It changes when what was seen changes.
	Key     string
	Cause   string // groups alike questions
	Text    string
	Options json.RawMessage
	State   string // "open", "answered", "withdrawn"
	Answer  string
	By      string
	Asked   time.Time
}

// Circuit is the state of a system for all nodes (law 27).
type Circuit struct {
	System string
	State  string // "closed", "open" or "half open"
	Since  time.Time
	// Retry is when the next probe may be made.
	Retry    time.Time
	Failures int
	Reason   string // in words, without patient data
	Login    bool   // opened by wrong credentials
}

// Audit is one decision of a person, or an order that came from outside.
type Audit struct {
	ID       int64
	At       time.Time
	Who, Act string
	Delivery int64 // 0 if it is about none
	Note     string
}

// Filter chooses deliveries for a listing.
type Filter struct {
	States  []State
	Flow    string
	System  string
	Cause   string
	Message int64
	After   int64 // key paging: ids below (newest first), 0 = from the newest
	Limit   int   // default 50, at most 1000
}

// Count is how many deliveries of a flow are in a state.
type Count struct {
	Flow        string
	State       State
	N           int64
	Calls       int64
	First, Last time.Time
}

var (
	// ErrFenced: the lane was taken by another epoch; stop at once, write nothing.
	ErrFenced = errors.New("the lane belongs to another worker now")
	// ErrClaimed: another delivery holds a record that the plan would write, or
	// the person is becoming one with another. The delivery was left waiting for
	// it and is planned again.
	ErrClaimed = errors.New("another delivery is writing the same record")
	// ErrLinked: another person has the identifier that a pending link names.
	ErrLinked = errors.New("the identifier belongs to another person")
	// ErrMoved: a position was moved by someone else.
	ErrMoved = errors.New("the position was moved by another poller")
	// ErrFull: the disk is nearly full or the writer is far behind; answer 503.
	ErrFull = errors.New("the ledger cannot take more now")
	// ErrClosed: the ledger is closed or was stopped by a fault; open it again.
	ErrClosed = errors.New("the ledger is closed")
	// ErrUncertain: the commit failed at the disk; whether it was written is
	// not known. Stop this delivery: the ledger reopens and gives it out again.
	ErrUncertain = errors.New("the commit failed, the outcome is not known")
	// ErrAway: the ledger could not be read now (its database is away, or slow).
	// Nothing is wrong with what was asked for; it is tried again.
	ErrAway = errors.New("the ledger cannot be read now")
	// ErrNotFound: no such delivery, question or message.
	ErrNotFound = errors.New("not found")
	// ErrState: the delivery is not in a state that allows this.
	ErrState = errors.New("not possible in this state")
)
