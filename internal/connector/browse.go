package connector

import (
	"context"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Browser is a System whose metadata people look through when they write a
// mapping.
type Browser interface {
	// Resources names the lists that Browse knows, as the system does: "dataSets".
	Resources() []string
	// Browse lists at most limit pieces of metadata whose name or code holds every
	// word; without a resource, what a flow can be mapped to.
	Browse(ctx context.Context, do call.Doer, resource, words string, limit int) ([]Metadata, error)
	// Mapping gives the lines of a mapping table for one thing of a resource, by
	// id, code or name. An error says which things a name could mean.
	Mapping(ctx context.Context, do call.Doer, resource, ref string) (*Mapping, error)
}

// Metadata is one piece of a system's metadata.
type Metadata struct {
	Resource string `json:"resource"`
	ID       string `json:"id"`
	Code     string `json:"code,omitempty"`
	Name     string `json:"name"`
	About    string `json:"about,omitempty"` // "Monthly", "INTEGER_ZERO_OR_POSITIVE"
}

// Mapping is a table for a flow: a line for each thing that can be written.
type Mapping struct {
	Of      Metadata   `json:"of"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}
