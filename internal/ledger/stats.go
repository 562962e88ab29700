package ledger

import "time"

// Stats is how much waits in a ledger, of whom, and since when: for metrics.
// Numbers that are counted in an index stop at StatsMost.
type Stats struct {
	Now       time.Time   // ledger time
	Open      []OpenCount // what has not ended
	Systems   []SystemQueue
	Waiting   map[Block]int64 // deliveries that wait, by what for; BlockNone: for a time
	Held      int64           // held, and half undone: they need a person
	Questions int64           // open
	Live      LaneQueue       // lanes that could be run now
	Bulk      LaneQueue       // those of them that have only what came in bulk
	Streams   []StreamAge
	Nodes     []NodeAge // that have not stopped; on SQLite this process
	Restored  time.Time // when the incarnation was last raised
}

// StatsMost is the most that is counted of one thing.
const StatsMost = 1_000_000

// LaneQueue is lanes that could be run now.
type LaneQueue struct {
	N     int64
	Since time.Time // when the first of them became due; zero: there is none
}

// OpenCount is the deliveries of a flow that are in a state and have not ended.
type OpenCount struct {
	Flow   string
	State  State
	N      int64
	Oldest time.Time // when the first of them was made
}

// SystemQueue is what waits for a system that is down.
type SystemQueue struct {
	System string
	N      int64
	Oldest time.Time // when the first of them was received
}

// StreamAge is when a stream, or a list, was last read with success.
type StreamAge struct {
	System, Stream string
	At             time.Time
}

// NodeAge is when a node last gave a heartbeat.
type NodeAge struct {
	Node      int64
	Heartbeat time.Time
	Lease     time.Duration
}
