package connector

import (
	"context"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
)

// Exporter is a System whose people upload files by hand, and that can write
// such a file of what a plan would send.
type Exporter interface {
	// Formats are the formats that Export writes, the usual one first: "json".
	Formats() []string
	// Export writes one file of what people have confirmed. It may read, for
	// codes; it changes nothing. Records of kinds that no file holds are left out;
	// an error says what the format cannot hold, and what to do.
	Export(ctx context.Context, do call.Doer, format string, list []Confirmed) ([]byte, error)
	// Exported is how many values of a record stand in such a file; 0 where no file
	// holds its kind.
	Exported(c Confirmed) int
}

// Confirmed is a record of a plan that a person has confirmed.
type Confirmed struct {
	Kind string // "DataValueSet"
	ID   string
	// Write is what is to be written, Was what stands there.
	Write, Was record.Fields
	// By confirmed it, at At, as the answer to delivery Delivery.
	By       string
	At       time.Time
	Delivery int64
}
