package connector

import (
	"context"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Identified is a System that can tell which one it is: what stays the same as
// long as it is the same database behind the address, and is another in every
// other one.
type Identified interface {
	// Identity reads it. "" says that this system does not tell.
	Identity(ctx context.Context, do call.Doer) (string, error)
}
