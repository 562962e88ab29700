package engine

import (
	"context"
	"errors"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// keeper is a ledger that can be kept small.
type keeper interface {
	// Keep wipes contents and archives deliveries older than k says, as of now.
	Keep(ctx context.Context, now time.Time, k ledger.Keep, pace float64) (ledger.Kept, error)
}

const (
	// keptFirst is how long after the start the first look is, and keptEvery how
	// often there is one: a little and often disturbs nobody.
	keptFirst = 2 * time.Minute
	keptEvery = 15 * time.Minute
)

// errNoKeeper: the ledger of this engine is not kept small.
var errNoKeeper = errors.New("this ledger has no archive")

// Keep wipes and archives what the site no longer keeps, now; see
// ledger.Keep. It goes by the calendar, and stands still with it: a machine
// whose clock is years ahead wipes nothing (law 22).
func (e *Engine) Keep(ctx context.Context, pace float64) (ledger.Kept, error) {
	k, ok := e.Ledger.(keeper)
	if !ok {
		return ledger.Kept{}, errNoKeeper
	}
	now, err := e.Today()
	if err != nil {
		return ledger.Kept{}, err
	}
	return k.Keep(ctx, now, ledger.Keep(e.Site.Keep), pace)
}

// keep keeps the ledger small until ctx ends, at a low rate; on one node.
func (e *Engine) keep(ctx context.Context) {
	timer := time.NewTimer(keptFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		kept, err := e.Keep(ctx, 0)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errNoKeeper):
			return
		case err != nil:
			e.Log.Warn("old contents and deliveries could not be put away; it is tried again", "error", err)
		case kept != ledger.Kept{}:
			e.Log.Info("old contents and deliveries were put away", "wiped", kept.Wiped, "archived", kept.Archived, "freed", kept.Freed)
		}
		timer.Reset(keptEvery)
	}
}
