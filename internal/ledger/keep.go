package ledger

import (
	"errors"
	"time"
)

// Keep says how long things are kept. What is open, held or half undone stays
// whatever its age; what documents and versions were accepted, what was made of
// them, snapshots, the crosswalk, lists and counts stay for ever.
type Keep struct {
	// Content: after that time the content of messages whose deliveries have all
	// ended is wiped: its key is destroyed, and with it plans, journals and
	// questions. 0: never.
	Content time.Duration
	// Deliveries: after that time such messages go into the archive with all that
	// belongs to them. 0: never.
	Deliveries time.Duration
}

// Kept is what was done to keep the ledger small.
type Kept struct {
	Wiped    int64 `json:"wiped"`    // messages
	Archived int64 `json:"archived"` // messages
	Freed    int64 `json:"freed"`    // bytes given back to the disk
}

// ArchiveFile is a month in the archive.
type ArchiveFile struct {
	Path       string `json:"path"`
	Deliveries int64  `json:"deliveries"`
	Bytes      int64  `json:"bytes"`
}

// ErrWiped: the content of the message is no longer kept (Keep.Content), so
// that it cannot be planned again. Trying again does not help.
var ErrWiped = errors.New("the content of its message was wiped, because it is kept for a limited time only")
