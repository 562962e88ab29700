// Package gate lets a number of users in at a time: those with today's work
// before those with work that came in bulk, and of the latter enough that it
// does not starve (law 27).
package gate

import (
	"context"
	"sync"
	"time"
)

// Share is how many turns there are to one that bulk is sure of.
const Share = 8

// Turns says whose turn it is where both kinds wait. The zero value is ready;
// it is used under its owner's lock.
type Turns struct{ n int }

// Bulk tells whether the next turn is bulk's, if live and bulk wait: every
// eighth is when both do.
func (t *Turns) Bulk(live, bulk bool) bool {
	if !live || !bulk {
		t.n = 0
		return bulk
	}
	t.n = (t.n + 1) % Share
	return t.n == 0
}

// Gate lets users in, as many at a time as it is set to. Those who wait are let
// in in the order they came, each kind by itself.
type Gate struct {
	mu    sync.Mutex
	limit int
	used  int
	turns Turns
	live  []*wait
	bulk  []*wait
}

type wait struct{ in chan struct{} }

// New makes a gate for so many at a time.
func New(limit int) *Gate { return &Gate{limit: limit} }

// Enter waits to be let in, and tells how long that took. The error is the
// context's; then there is nothing to leave.
func (g *Gate) Enter(ctx context.Context, bulk bool) (waited time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	g.mu.Lock()
	if g.used < g.limit && len(g.live)+len(g.bulk) == 0 {
		g.used++
		g.mu.Unlock()
		return 0, nil
	}
	began := time.Now()
	w := &wait{make(chan struct{})}
	line := g.line(bulk)
	*line = append(*line, w)
	g.mu.Unlock()
	select {
	case <-w.in:
		return time.Since(began), nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.in: // let in at the same moment
		g.used--
		g.open()
	default:
		line := g.line(bulk)
		for i, x := range *line {
			if x == w {
				*line = append((*line)[:i], (*line)[i+1:]...)
				break
			}
		}
	}
	return time.Since(began), ctx.Err()
}

func (g *Gate) line(bulk bool) *[]*wait {
	if bulk {
		return &g.bulk
	}
	return &g.live
}

// Leave makes room for the next.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used--
	g.open()
}

// open lets in whoever there is room for.
func (g *Gate) open() {
	for g.used < g.limit && len(g.live)+len(g.bulk) > 0 {
		line := g.line(g.turns.Bulk(len(g.live) > 0, len(g.bulk) > 0))
		w := (*line)[0]
		(*line)[0] = nil
		*line = (*line)[1:]
		g.used++
		close(w.in)
	}
}

// Set changes how many may be in at a time, at least one. Who is in stays in.
func (g *Gate) Set(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = max(limit, 1)
	g.open()
}

// Limit gives how many may be in at a time.
func (g *Gate) Limit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}

// Used gives how many are in.
func (g *Gate) Used() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used
}

// LiveWaits tells whether somebody with today's work waits.
func (g *Gate) LiveWaits() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.live) > 0
}

type bulkKey struct{}

// AsBulk marks what is done under a context as work that came in bulk.
func AsBulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// IsBulk tells whether a context is so marked.
func IsBulk(ctx context.Context) bool { return ctx.Value(bulkKey{}) != nil }
