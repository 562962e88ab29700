package dhis2

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

var _ connector.Identified = (*System)(nil)

// Identity is the systemId of /api/system/info: it is kept in the database, so
// that a restore of the same database has it too, and another database (a
// demonstration, a copy for training) has its own.
func (s *System) Identity(ctx context.Context, do call.Doer) (string, error) {
	a, err := do.Do(ctx, "read the id of the system", read("/system/info"))
	if err != nil {
		return "", err
	}
	var in Info
	if err := json.Unmarshal(a.Body, &in); err != nil {
		return "", fmt.Errorf("read the id of the system: %w", err)
	}
	return in.SystemID, nil
}
