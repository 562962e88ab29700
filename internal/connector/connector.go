// Package connector holds the small interfaces that one folder under
// connectors/ implements for one kind of system. The core knows systems only
// through them.
package connector

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/people"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Connector describes one kind of system. It is data but for Open: check, the
// editor's schema, the reference pages and the command line are made from it.
type Connector struct {
	Name     string // "openmrs"
	Title    string // "OpenMRS"
	About    string
	Options  []Option
	Kinds    []KindSpec
	Messages []MessageSpec
	// Open makes a configured instance. It makes no request.
	Open func(Config) (System, error)
	// Sample turns a document as the system sends it into the contents of the
	// messages it gives, so that a flow's samples are real payloads. nil: samples
	// are contents already.
	Sample func(kind string, raw []byte) ([][]byte, error)
	// Simulate makes a simulator of such a system; options are in its own words
	// ({"version":"2.44","zone":"Africa/Nairobi"}), nil for the defaults.
	Simulate func(options []byte) (simulate.Simulator, error)
}

// Option is one setting of a system.
type Option struct {
	Name     string // "url"
	About    string
	Default  string
	Required bool
	// Secret options are given as "env:NAME" or "file:PATH", never in clear.
	Secret bool
}

// CommonOptions are options that every system has, whatever its connector.
var CommonOptions = []Option{
	{Name: "limit", About: "how many requests it bears at a time; nodes that share a ledger share it, at least 1 each", Default: "8"},
	{Name: "rate", About: "how many requests a second it bears; 0 for no limit; nodes that share a ledger share it", Default: "0"},
	{Name: "timeout", About: "how long one request may take: 60s", Default: "60s"},
	{Name: "settle", About: "how long after its time-out a request may still be under way in the system; left out, what its connector knows of it"},
	{Name: "traceparent", About: "yes: where traces are on, tell it the trace by the W3C header traceparent", Default: "no"},
}

// Config is a configured instance: values of the options, secrets resolved.
type Config struct {
	Name   string // "openmrs-chulaimbo"
	Values map[string]string
	// Zone in which days are meant where the system does not say.
	Zone *time.Location
	// HTTP is the client to use: TLS verified, no redirects, no proxy surprises.
	HTTP *http.Client
	// Our is how we name ourselves to the system (User-Agent, void reasons).
	Our string
}

// System is a configured instance of a connector. All methods may be called
// from many goroutines.
type System interface {
	Name() string
	// Kind gives a record kind by its short name ("Patient"), or nil.
	Kind(name string) Kind
	// Send sends one request and reads the whole answer. The error is a
	// transport error only; the meaning of both is Classify's.
	Send(ctx context.Context, r call.Request) (call.Answer, error)
	Classify(r call.Request, a call.Answer, err error) call.Verdict
	// Probe is the cheap read that tells whether a system that was down is back.
	Probe() call.Request
}

// Receiver is a System that gets messages pushed to it.
type Receiver interface {
	// Receive turns a delivered request into messages, without any read from
	// elsewhere: it must answer in milliseconds. Authorised is asked first, and
	// the body is already limited in size. A *BadInput error is answered 400
	// with its text; nothing is kept then.
	Receive(r *http.Request, body []byte) ([]Incoming, error)
	// Authorised checks the sender's credentials of a pushed request.
	Authorised(r *http.Request) bool
}

// Poller is a System that can be asked for new messages.
type Poller interface {
	// Streams lists what to poll, with how often.
	Streams() []Stream
	// Poll reads one chunk (at most 500 messages or 1 MB) from a position, nil
	// at the very first time.
	Poll(ctx context.Context, do call.Doer, stream string, position []byte) (Batch, error)
}

// Stream is one feed of a Poller.
type Stream struct {
	Name  string
	Every time.Duration
}

// Batch is a chunk of a poll. Position is stored in the same transaction as
// the messages; More asks for the next chunk at once.
type Batch struct {
	Messages []Incoming
	Position []byte
	More     bool
	// Alarms are what a person should know of this stream, in words without
	// patient data: a gap in a feed, a feed that was reset. They are logged and
	// kept in the audit trail.
	Alarms []string
	// Lost says, in words without patient data, that the source no longer has
	// what was read from it: a backup was restored, or its feed was purged. The
	// core then looks whether the system lost what was made in it, before it takes
	// the batch.
	Lost string
}

// Lister is a System that has lists which a flow's schedule asks for: the rows
// of a report, the totals of a month. The core keeps the schedule, catches up
// on what was missed, knows who is on the list, and says for each row what
// became of it (MessageSpec.List).
type Lister interface {
	// List reads one chunk of a run (at most 500 rows or 1 MB). The cursor is
	// nil at the beginning of the run, then what the last Page gave; it is
	// stored, so that a run goes on after a restart. An error is tried again with
	// the same cursor.
	List(ctx context.Context, do call.Doer, run Run, cursor []byte) (Page, error)
}

// Run is one asking for a list.
type Run struct {
	Kind string // message kind: "report"
	// Keys are the keys of the flow's from (MessageSpec.From): report -> its uuid.
	// With are the values that the flow gives besides, under with: the
	// parameters of a report, dates as YYYY-MM-DD.
	Keys, With map[string]string
	// At is the moment the schedule named, in the programme's zone; a run that
	// was missed and is caught up keeps it.
	At time.Time
	// Period is the ISO name of the period just completed ("202610", "2026W44"),
	// for schedules by period; Start and End are its first and last day, as
	// midnight in the programme's zone.
	Period     string
	Start, End time.Time
}

// Page is a chunk of a Run.
type Page struct {
	Messages []Incoming
	// Cursor is where to go on.
	Cursor []byte
	// Wait is set while the list is not ready (a report that takes an hour): ask
	// again with Cursor after so long. It has no Messages then.
	Wait time.Duration
	// Done: this was the last chunk, and the list is known to be complete. Who
	// left the list is worked out from such runs only.
	Done bool
}

// Incoming is a message as a connector decoded it.
type Incoming struct {
	Kind string // "form"
	// Doc is the id of the source document, Version its version: equal for the
	// same thing over every channel it can come by (law 19). Doc may be empty
	// only for sources without ids.
	Doc, Version string
	// Withdrawn: the document was archived, voided or deleted; what it made is
	// to be taken back.
	Withdrawn bool
	// Event is when it happened in the field, by the sender's clock; zero if unsaid.
	Event time.Time
	// Content is the canonical JSON document, in the names of the MessageSpec.
	Content []byte
	// Wake names a stream of the same system to poll now instead of at its next
	// turn. Such an Incoming has nothing else and is not kept: a sender that only
	// says "something is new" (a CommCare form stub) is answered with it, and a
	// lost wake costs no more than the wait for the stream's turn.
	Wake string
	// Problem says, in words and without patient data, why the message cannot be
	// used as it is: a row without an id, an entry that cannot be read. Its
	// deliveries are made, and held at once with it; the others go on.
	Problem string
	// Stray: a row of a list that does not say whom or what it is about. It is
	// nobody's, so it cannot leave the list; and who seems to have left it may be
	// this one.
	Stray bool
}

// Message is an accepted message.
type Message struct {
	ID       int64
	System   string
	Received time.Time
	Seq      int64 // receive number
	// Wiped: the content is no longer kept, so that nothing can be planned from it.
	Wiped bool
	Incoming
}

// Surrounder is a System that can say more about the messages it sent than
// they carry themselves: the stored case, the worker, the place. Asked when
// planning, never at intake.
type Surrounder interface {
	// Surround gives values for the names that the MessageSpec marks Remote,
	// for one message and one item of its each. It reads only names asked for.
	Surround(ctx context.Context, do call.Doer, m *Message, content any, item any, names []string) (map[string]any, error)
}

// BadInput is a sender's fault: it is answered in these words, and nothing is kept.
type BadInput struct{ Text string }

func (e *BadInput) Error() string { return e.Text }

// MessageSpec describes a message kind to check, editor and docs.
type MessageSpec struct {
	Name  string // "form"
	About string
	// From lists the keys that a flow's from may filter on, besides where:
	// name -> path into the content that it is compared with ("xmlns" -> "form/xmlns").
	From map[string]string
	// List names the object of the content that is a row of a list ("row"): the
	// kind is fetched by Lister, on a flow's schedule. The core adds to that object
	// change: new, changed, same or left, against the last list.
	List string
	// Live: the message carries no content of its own (a feed entry); what it is
	// about is read when its delivery is planned.
	Live bool
	// Names are the names that expressions may use.
	Names []NameSpec
}

// NameSpec is one name in the environment of a flow's expressions.
type NameSpec struct {
	Name  string // "form", "case", "worker"
	About string
	// Remote names need a read; they may be used when planning only.
	Remote bool
	// Sampled: its fields are those of the flow's sample files; otherwise Fields.
	Sampled bool
	// Open: any field may be asked for (case properties).
	Open   bool
	Fields []string
	// Kind is the record kind of this connector that the name is one of ("Case"),
	// and Key the field that holds its id: what a flow has carried over from it is
	// then agreed on both sides, and a later change there is known for one. Its
	// fields are named as the kind's canonical paths are.
	Kind, Key string
}

// KindSpec describes a record kind: what a flow may write under find, set and
// new. Check, schema and reference come from it.
type KindSpec struct {
	Name   string // "Patient"; in flows "openmrs/Patient"
	About  string
	Finds  []FieldSpec // what find may name, each or inside by
	Fields []FieldSpec // what set and new may name
	// Open: set and new may also name fields that are not in Fields; they are
	// fields of this type (case properties).
	Open Type
	// OpenUnder is where those fields stand in canonical paths: "properties" makes
	// phone properties/phone. Empty: as they are named.
	OpenUnder string
	// Person: records of this kind are people; the crosswalk links them.
	Person bool
	// ServerChooses: the system chooses the id of a new record, whatever id we
	// derive for it; the output "id" of the call that makes it tells.
	ServerChooses bool
	// IDName is a further name under which flows know the id, besides uuid:
	// ${record.case_id}.
	IDName string
	// Lasts: a record, once there, can be read by its id until somebody removes it
	// for good; one that is voided or deleted still shows that it was there. Find
	// with nothing but Made is that read. So one that is not there at all was
	// purged, or its system was restored from a backup.
	Lasts bool
	// ByDefault says in words how the record is found when a flow has no find.
	ByDefault string
	// Gives are the fields that ${record.x} may use, besides Fields.
	Gives []FieldSpec
}

// Path gives the canonical path of a field as flows name it.
func (k *KindSpec) Path(name string) string {
	if k.OpenUnder == "" {
		return name
	}
	first, _, _ := strings.Cut(name, "/")
	for _, list := range [][]FieldSpec{k.Fields, k.Gives} {
		for _, f := range list {
			if f.Name == first {
				return name
			}
		}
	}
	return k.OpenUnder + "/" + name
}

// FieldSpec is one field of a record kind.
type FieldSpec struct {
	Name     string
	Type     Type
	About    string
	Required bool // when the record is made
	// Ref names the kind that a reference must have ("openmrs/Patient").
	Ref string
	// Fields of an object, or of a list's rows.
	Fields []FieldSpec
	// List: rows; Key names the fields by which rows are told apart.
	List bool
	Key  []string
	// Open: any names are allowed below, each of type Type (attributes by type name).
	Open bool
}

// Type is the type of a field's value.
type Type string

const (
	Text   Type = "text"
	Number Type = "number"
	Bool   Type = "yes or no"
	Day    Type = "day"    // YYYY-MM-DD
	Moment Type = "moment" // with a zone
	RefTo  Type = "reference"
	Object Type = "object"
	Any    Type = "any"
)

// Kind plans for one record kind of one system. Its methods read through the
// Doer they are given and change nothing.
type Kind interface {
	Spec() *KindSpec

	// Find looks a record up where it lives. It must compare what a search
	// returns exactly, follow pages, and read voided.
	Find(ctx context.Context, do call.Doer, q Query) (Found, error)

	// Canon turns what a flow wants, nested as the flow wrote it, into
	// canonical fields, and checks the values as the system would. Problems are
	// the values that the system would refuse; an error is a failed read.
	// Values may be record.Ref, record.Clear, record.Later.
	Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []Problem, error)

	// Calls lists the calls, in order, that make the change.
	Calls(ctx context.Context, do call.Doer, c Change) ([]call.Call, error)

	// Observe reads the answer to a Check of this kind; it makes no request.
	Observe(c call.Check, a call.Answer) (call.Observed, error)
}

// Query is what Find looks for.
type Query struct {
	// Made is the id under which this delivery's document made or used the
	// record before; empty if never. Asked first.
	Made string
	// Linked is the id that the crosswalk knows for the person, if any.
	Linked string
	// ID is the derived id of this generation: what a crashed try may have made.
	ID string
	// By is find's list of criteria, in the flow's order; each an object of the
	// KindSpec's Finds. Absent or blank values were taken out.
	By []map[string]any
	// Wanted are the canonical fields wanted (set and new).
	Wanted record.Fields
	// At is the event time, Zone-less.
	At time.Time
	// New names the fields of Wanted whose reference is to a record that this
	// same plan makes (record.Ref.New): nothing can be found below those. The
	// references inside By say it themselves.
	New map[string]bool
	// Base is what this document wrote before, if it did (the snapshot): rows of
	// a list keep the names they have there.
	Base record.Fields
}

// Found is what Find found.
type Found struct {
	Exists bool
	ID     string
	Fields record.Fields // canonical, all that could be read
	// Voided: the record that By or Made names is there but voided (merged,
	// archived); Exists is then false. ByUs: our own user did it.
	Voided, ByUs bool
	// MergedInto is the id of the record that the voided one was merged into, if
	// the system tells.
	MergedInto string
	// Absent are ids that were read on the way (Made, Linked, of By) and are not
	// there at all. It may be left out.
	Absent []string
	// Several: more than one record fits equally; their ids. Exists is false.
	Several []string
	// How says by which criterion it was found: "uuid", "identifier OpenMRS ID".
	How string
	// Changed is when the system says it last changed, if it says so.
	Changed time.Time
	// Rows are the system's ids of the rows inside the record, by field path,
	// for the kind's own Calls. Never compared, journaled or remembered; a kind
	// reads again where they are missing.
	Rows map[string]string
}

// InUse is the answer of Kind.Calls when a record that is to be removed now
// carries things that others added: it stays, and is listed.
type InUse struct{ Text string }

func (e *InUse) Error() string { return e.Text }

// Change is what Calls is to bring about.
type Change struct {
	Record string // the flow's record name: call names begin with it
	ID     string // id of the found record, or the derived id to create under
	Found  *Found // nil: create
	// Write holds only what differs: value or Clear per path. For a create it
	// holds everything wanted.
	Write record.Fields
	// Wanted is everything that is wanted, written or not: for parents and keys.
	Wanted record.Fields
	// Remove withdraws the record (void) because its document was withdrawn or
	// no longer wants it. Write is empty.
	Remove bool
	// Going are the ids of records that this same plan removes before this one:
	// they do not count as things that others added.
	Going  map[string]bool
	Reason string // for void reasons: "kiungo delivery 123"
	// Reserved are outputs of calls that an earlier try of this delivery made
	// for this record and that stay when undone (an identifier drawn from a
	// pool), by "call.output": to be used again instead of drawing anew.
	Reserved map[string]string
	At       time.Time
}

// Matcher is a Kind whose records are people and that can look for those who
// might be the person meant. It is asked only where nothing was found by id.
type Matcher interface {
	// Person gives what the canonical fields say about who it is.
	Person(f record.Fields) people.Person
	// Candidates lists people who share something with the wanted one (a part of
	// a name, a phone, a birth date, an identifier): a superset, at most 200, each
	// read whole; voided ones are left out. It asks by each clue in turn.
	Candidates(ctx context.Context, do call.Doer, wanted people.Person) ([]Found, error)
}

// Problem is a wanted value that the system would refuse, or that has no
// meaning there.
type Problem struct {
	Field string // path in the KindSpec's names
	Text  string // what is wrong and what is allowed, without the patient's data
	Rule  string // short code of the rule: "numeric-bounds"
	// Remark: the value is taken otherwise than it was written, and the system
	// would refuse nothing (a zero that DHIS2 does not store). The delivery goes
	// on, and its end says so.
	Remark bool
}

// ShortKind gives a kind's name as its system knows it: "Patient" of "openmrs/Patient".
func ShortKind(kind string) string { return kind[strings.IndexByte(kind, '/')+1:] }

// Registry is the list of connectors that this binary has.
type Registry map[string]*Connector
