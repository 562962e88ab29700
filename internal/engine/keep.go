package engine

import (
	"context"
	"errors"
	"sync"
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

// put is what this node has put away since it began.
type put struct {
	mu    sync.Mutex
	kept  ledger.Kept
	here  bool      // this node is the one that does it
	since time.Time // when it became that one
	last  time.Time // the last time that all was put away that was due
}

// Kept is what this node has put away since it began.
func (e *Engine) Kept() ledger.Kept {
	e.put.mu.Lock()
	defer e.put.mu.Unlock()
	return e.put.kept
}

// KeptAge tells how long ago all was put away that was due, or how long this
// node has tried in vain. It gives false on a node that does not do it.
func (e *Engine) KeptAge() (age time.Duration, ok bool) {
	e.put.mu.Lock()
	defer e.put.mu.Unlock()
	from := e.put.since
	if e.put.last.After(from) {
		from = e.put.last
	}
	return max(0, time.Since(from)), e.put.here
}

func (p *put) add(k ledger.Kept, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept.Wiped += k.Wiped
	p.kept.Archived += k.Archived
	p.kept.Freed += k.Freed
	if err == nil {
		p.last = time.Now()
	}
}

func (p *put) begin(here bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here, p.since = here, time.Now()
}

// Keep wipes and archives what the site no longer keeps, now; see
// ledger.Keep. It goes by the calendar, and stands still with it: a machine
// whose clock is years ahead wipes nothing (law 22).
func (e *Engine) Keep(ctx context.Context, pace float64) (kept ledger.Kept, err error) {
	k, ok := e.Ledger.(keeper)
	if !ok {
		return ledger.Kept{}, errNoKeeper
	}
	defer func() { e.put.add(kept, err) }()
	now, err := e.Today()
	if err != nil {
		return ledger.Kept{}, err
	}
	return k.Keep(ctx, now, ledger.Keep(e.Site.Keep), pace)
}

// keep keeps the ledger small until ctx ends, at a low rate; on one node.
func (e *Engine) keep(ctx context.Context) {
	if _, ok := e.Ledger.(keeper); !ok {
		return
	}
	e.put.begin(true)
	defer e.put.begin(false) // another node does it
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
		case err != nil:
			e.Log.Warn("old contents and deliveries could not be put away; it is tried again", "error", err)
		case kept != ledger.Kept{}:
			e.Log.Info("old contents and deliveries were put away", "wiped", kept.Wiped, "archived", kept.Archived, "freed", kept.Freed)
		}
		timer.Reset(keptEvery)
	}
}
