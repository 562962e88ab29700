package ledger

import "time"

// Common is what nodes that share a ledger know together: each reads it every
// second.
type Common struct {
	Circuits []Circuit
	// Failing are systems that deliveries of some node have met down since their
	// last success; fewer than open a circuit.
	Failing []string
	// Nodes is how many are alive, this one included.
	Nodes int
	// Taught changes whenever a lesson is taught or taken back.
	Taught string
}

// Node is a process that has the ledger open, or had.
type Node struct {
	ID      int64
	Host    string
	PID     int64
	Version string // of its program
	Started time.Time
	// Heard is when it gave its last heartbeat; by Until, others take its lanes.
	Heard, Until time.Time
	Stopped      bool
	Lanes        int // it runs now
}

// HeldLane is a lane that a node runs.
type HeldLane struct{ Lane, Delivery int64 }
