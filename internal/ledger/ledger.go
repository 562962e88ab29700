package ledger

import (
	"context"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// Ledger is the store's contract. SQLite implements it in process; PostgreSQL
// follows with the same tables. Every method is one transaction, durable when
// it returns. Methods that take a *Work are conditional on its epoch and give
// ErrFenced when the lane was taken over.
type Ledger interface {
	// Accept stores messages and makes their deliveries. It locks (creates) the
	// lanes first, sorted and with aliases followed, and only then draws the
	// receive number (law 3). A newer version of a document supersedes waiting
	// and held deliveries of older ones that have written nothing (law 19).
	// An Arrival whose document and version are known is answered Duplicate.
	Accept(ctx context.Context, arrivals []Arrival, advance *Advance) ([]Accepted, error)

	// Position gives a poll position, nil if there is none.
	Position(ctx context.Context, system, stream string) ([]byte, error)

	// Due lists lanes that are due at now, have no owner and nothing blocking
	// them, oldest first, at most limit; and when the next one after them is due.
	Due(ctx context.Context, now time.Time, limit int) (lanes []int64, next time.Time, err error)

	// Start takes the lane for this node (epoch + 1), picks its first delivery
	// that may run, counts the start, and gives it with all that is needed to
	// run it. It gives nil when there is nothing to run now; the lane is then
	// released with its next wake time.
	Start(ctx context.Context, lane int64, now time.Time) (*Work, error)

	// Journal stores the plan, takes its claims, writes its pending links and
	// the first intent, all or none. On ErrClaimed the delivery is left waiting
	// on the claim and the lane is released.
	Journal(ctx context.Context, w *Work, p Plan) error

	// Step adds a line to the journal of the current plan.
	Step(ctx context.Context, w *Work, s Step) error

	// End ends or pauses the delivery, releases claims (and wakes who waits for
	// them), and gives the lane's next Work under the same epoch if there is
	// one that may run now, else releases the lane and gives nil, or the Work of
	// the lane that w.Then names.
	End(ctx context.Context, w *Work, e End, now time.Time) (next *Work, err error)

	// Release gives a lane back without a change: this node stops.
	Release(ctx context.Context, w *Work) error

	// Unblock wakes, in receive order, lanes that wait for this block.
	Unblock(ctx context.Context, on Block, by string, limit int) (lanes []int64, err error)

	// Snapshot gives the last agreed content of a record, or nil.
	Snapshot(ctx context.Context, system, kind, id string) (*Snapshot, error)

	// Links gives what the crosswalk knows of a person, for each kind of a system
	// the oldest link first; LinkOf who an identifier belongs to ("" if nobody).
	Links(ctx context.Context, person string) ([]Link, error)
	LinkOf(ctx context.Context, system, kind, id string) (*Link, error)

	// For people: listings and decisions.
	Deliveries(ctx context.Context, f Filter) ([]Delivery, error)
	Delivery(ctx context.Context, id int64) (*Work, error) // read only: Epoch is 0
	Counts(ctx context.Context) ([]Count, error)
	// Retry makes a held (or half undone, undone, refused) delivery due again;
	// Skip ends a held one and lets its lane go on. Both are audited with who
	// and note, and give the lane to ring.
	Retry(ctx context.Context, id int64, who, note string) (lane int64, err error)
	Skip(ctx context.Context, id int64, who, note string) (lane int64, err error)
	Questions(ctx context.Context, state string, after int64, limit int) ([]Question, error)
	// Question gives one question.
	Question(ctx context.Context, id int64) (*Question, error)
	// Causes groups what is held or half undone by what one answer would solve,
	// the most frequent first.
	Causes(ctx context.Context) ([]Cause, error)

	// Teach keeps a lesson; Lesson gives one, nil if there is none; Lessons lists
	// them; Unteach forgets one.
	Teach(ctx context.Context, l Lesson) error
	Lesson(ctx context.Context, integration, table string, codes []string) (*Lesson, error)
	Lessons(ctx context.Context) ([]Lesson, error)
	Unteach(ctx context.Context, integration, table string, codes []string, who string) error

	// Relink gives an identifier to a person by somebody's decision, taking it
	// from whoever had it; Unlink takes it away. The lanes follow: a linked
	// record's lane is the person's, an unlinked one's is its own again. Both are
	// kept in the history.
	Relink(ctx context.Context, l Link, who, note string) error
	Unlink(ctx context.Context, l Link, who, note string) error
	// MergePeople makes two people one: all that the loser had is the winner's.
	MergePeople(ctx context.Context, loser, winner, who, note string) error
	// KeepApart remembers that a record is not that person's, so that no match
	// links them again; Apart lists such records.
	KeepApart(ctx context.Context, l Link, who, note string) error
	Apart(ctx context.Context, person string) ([]Link, error)
	// Ties is the history of a person's links, newest first.
	Ties(ctx context.Context, person string) ([]Tie, error)
	// OfLane lists the deliveries of a lane (its key), newest first, ids below after.
	OfLane(ctx context.Context, lane string, after int64, limit int) ([]Delivery, error)
	// Person follows the aliases of a person's lane: who that is now.
	Person(ctx context.Context, person string) (string, error)

	// Listed says in which run documents were last on a list, 0 if never or since
	// taken off. Unlisted gives members of earlier runs than run, in a steady
	// order, after the document given; Members counts them all.
	Listed(ctx context.Context, system, list string, docs []string) ([]int64, error)
	Unlisted(ctx context.Context, system, list string, run int64, limit int) ([]Member, error)
	Members(ctx context.Context, system, list string) (now, earlier int64, err error)

	// Answer answers an open question and makes its delivery due again, if it
	// waits for it or is held. It gives the lane to ring.
	Answer(ctx context.Context, question int64, answer, who string) (lane int64, err error)

	// Message gives a message with its content; Messages lists them, newest
	// first, ids below after (0 = from the newest), without content.
	Message(ctx context.Context, id int64) (*connector.Message, error)
	Messages(ctx context.Context, system string, after int64, limit int) ([]connector.Message, error)
	// Document lists the deliveries of every version of a document, oldest
	// first: what a withdrawn document or an edit that lost an each-key is to
	// be routed to.
	Document(ctx context.Context, system, doc string) ([]Delivery, error)

	// Circuit gives the state of a system, closed if nothing is known.
	Circuit(ctx context.Context, system string) (Circuit, error)
	Circuits(ctx context.Context) ([]Circuit, error)
	SetCircuit(ctx context.Context, c Circuit) error

	// Merge makes the loser's lane an alias of the winner's. Neither starts a
	// delivery from now on; it is done once neither has one in flight, at once
	// if none has (law 14). A lane that is not there is made.
	Merge(ctx context.Context, loser, winner, who string) error

	// Audit adds to the audit trail; Audits lists it, newest first.
	Audit(ctx context.Context, a Audit) error
	Audits(ctx context.Context, delivery, after int64, limit int) ([]Audit, error)

	// OnDue registers what is told, after each commit, which lanes it made due.
	// It is called by the writer: it must not block nor call the ledger.
	OnDue(func(lanes []int64))

	// Now is ledger time: never behind the last commit (law 22).
	Now() time.Time
	// Incarnation is raised by restore, move and fail-over (law 24); Restored is
	// the ledger time of the last raise for commits that may have been lost, zero
	// if there was none (a move loses none). What was accepted
	// before it may have been carried on in a time that the ledger has forgotten:
	// systems are asked before each write.
	Incarnation() int64
	Restored() time.Time
	// Raise raises the incarnation: the ledger was put back. All lanes are given
	// out again under new epochs. why, without patient data, and who are audited.
	Raise(ctx context.Context, why, who string) error
	Close() error
}
