package ledger

import (
	"context"
	"time"
)

// Replay says that a delivery repeats an earlier one, because a system that was
// restored from a backup lost what that one had made (law 13).
type Replay struct {
	Of     int64  // the delivery that it repeats
	System string // that lost it
	// Again names records of the flow whose calls are made again although they can
	// neither be undone nor looked up.
	Again []string `json:",omitempty"`
}

// Writing is what a delivery left in one system.
type Writing struct {
	Delivery Delivery
	// Maker tells documents, flows and each-keys apart: several deliveries of one
	// share Made.
	Maker string
	Made  []Made // in that system, also what is gone
	// Wiped: its message is not kept any more.
	Wiped bool
}

// Stopped is a system to which nothing is sent until a person says so.
type Stopped struct {
	System string
	Since  time.Time // when it was noticed
	// Moment is when the oldest of what is gone was made, Kept when the newest
	// before it was, which is there: the backup was made between them. Zero: not
	// known.
	Moment, Kept time.Time
	Lost         int    // how many records that we made were found gone
	More         bool   // there may be more than were looked at
	Reason       string // in words, with what to say; without patient data
}

// Replayer is what a ledger offers for systems that were restored from a
// backup. All of it is for rare use by people: nothing is indexed for it.
type Replayer interface {
	// Writings lists deliveries that are done, that ended at or after since, and
	// whose document has made or used records of a system, by rising id above
	// after. next is where to go on, 0 at the end; a page may be empty.
	Writings(ctx context.Context, system string, since time.Time, after int64) (list []Writing, next int64, err error)
	// Latest lists the same from the newest id below before (0: the newest) on,
	// whenever they ended.
	Latest(ctx context.Context, system string, before int64) (list []Writing, next int64, err error)
	// Repeat makes a delivery for each of the replays, in that order: with the
	// message, flow, each-key and lanes of the one that it repeats. It stands in
	// its lanes where that one stood, before all that was received later, but
	// behind what has written something already; and waits for the circuit of the
	// system. One that waits to be run already is left out.
	Repeat(ctx context.Context, replays []Replay) (deliveries []int64, err error)
	// Setting gives a value kept under a name, nil if there is none; Set keeps it,
	// nil forgets it.
	Setting(ctx context.Context, name string) ([]byte, error)
	Set(ctx context.Context, name string, value []byte) error
	// Stops lists the systems that are stopped; Stop stops one, Resume lets it go
	// on; both are audited.
	Stops(ctx context.Context) ([]Stopped, error)
	Stop(ctx context.Context, s Stopped) error
	Resume(ctx context.Context, system, who, note string) error
}

// ReplayOrder asks to put back what a system lost, or to leave it.
type ReplayOrder struct {
	System string
	// Since: what ended before is not looked at. Zero: since the last moment at
	// which a record was made that is there; all, if none is known.
	Since time.Time
	// Again names records of flows whose calls are made again although they can
	// neither be taken back nor looked up (an SMS).
	Again  []string
	DryRun bool // only look
	Accept bool // what is gone may stay so: the system goes on
	Who    string
	Note   string
}

// Missing is a delivery of which something is missing in a system.
type Missing struct {
	Delivery int64 // the newest of its document, flow and each-key
	Flow     string
	Seq      int64     // its place in receive order
	Ended    time.Time // when it was done
	// Gone, Changed and Back are kinds of records: not there any more; there, with
	// what stood in them before; taken back, and there again.
	Gone, Changed, Back []string `json:",omitempty"`
	// Wiped: its message is not kept any more, so it cannot be repeated.
	Wiped bool `json:",omitempty"`
}

// ReplayReport is what was found, and done.
type ReplayReport struct {
	System   string
	Since    time.Time // zero: since ever
	Looked   int       // documents that were compared
	Missing  []Missing // in receive order
	Repeated []int64   // new deliveries
	Resumed  bool      // the system was stopped, and goes on
}
