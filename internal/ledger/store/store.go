// Package store keeps the ledger in SQL. The rules are written once, as short
// transactions over portable SQL; sqlite*.go run them on SQLite, postgres*.go on
// PostgreSQL.
package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// codec is the version of what is inside sealed columns (law 38).
const codec = 1

// Options of a store. The zero value is right for production.
type Options struct {
	// Ring seals; nil: the keyring of seal.Path(dir), created at first start.
	Ring *seal.Ring
	// Clock gives the wall clock; nil: time.Now.
	Clock func() time.Time
	// MinFree is the disk floor in bytes below which messages are refused with
	// ledger.ErrFull; 0: 256 MB. Negative: none.
	MinFree int64
	// Gather is how long a commit waits for company when others are at work;
	// 0: half a millisecond. Negative: not at all.
	Gather time.Duration
	// Lease, on PostgreSQL, is how long a node may go on after its last
	// heartbeat; 0: 30 s.
	Lease time.Duration
	// Fault, for tests, is asked at "before commit" and "after commit"; an
	// error stops the store as a kill of the process would.
	Fault func(point string) error
	// Log is told of what an operator should know, without patient data; nil: nothing.
	Log func(text string)
}

// Store is a ledger.Ledger in SQL.
type Store struct {
	opts  Options
	ring  *seal.Ring
	node  int64
	files *sqliteFiles
	pg    *postgres // nil on SQLite

	queue   queue
	writer  conn // owned by the writer's goroutine
	stopped chan struct{}

	readers chan *sqliteConn

	// numbers are drawn before or inside a unit and written with each commit.
	numbers numbers
	last    atomic.Int64 // ledger time of the last commit, microseconds
	incarn  atomic.Int64

	mu      sync.Mutex
	running map[int64]*running // by delivery: what this process runs
	onDue   func([]int64)

	recovering atomic.Int64 // lanes still to be restarted one at a time
	full       atomic.Pointer[string]
}

var _ ledger.Ledger = (*Store)(nil)

// numbers are the last ones given out.
type numbers struct {
	message, seq, delivery, lane, question, audit number
}

// running is what is kept in memory of a delivery that this process runs.
type running struct {
	box    *seal.Box
	plan   int64   // id of the plan in force, 0 for none
	next   int     // next journal line
	in     []int64 // lanes that were taken for it
	maker  []byte
	asked  bool // it has asked questions before
	claims bool // it may hold claims
}

// Now is ledger time: the wall clock, but never behind the last commit. On
// PostgreSQL it is the database's.
func (s *Store) Now() time.Time { return fromMicro(s.nowMicro()) }

func (s *Store) nowMicro() int64 {
	if s.pg != nil && s.opts.Clock == nil {
		return max(s.pg.time.Load().now(), s.last.Load())
	}
	return max(s.clock().UnixMicro(), s.last.Load())
}

func (s *Store) clock() time.Time {
	if s.opts.Clock != nil {
		return s.opts.Clock()
	}
	return time.Now()
}

// Incarnation is raised by restore and move.
func (s *Store) Incarnation() int64 { return s.incarn.Load() }

// OnDue registers who is told of lanes that became due.
func (s *Store) OnDue(f func(lanes []int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onDue = f
}

func (s *Store) log(format string, args ...any) {
	if s.opts.Log != nil {
		s.opts.Log(fmt.Sprintf(format, args...))
	}
}

func (s *Store) runningOf(delivery int64) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[delivery]
}

// do runs f as a unit of the writer's next transaction and waits for the
// commit. The caller's context is looked at before only: once queued, a unit
// is not disturbed by the end of the caller (law 23).
func do[T any](ctx context.Context, s *Store, class unitClass, f func(t *tx) (T, error)) (T, error) {
	return doWith(ctx, s, class, need{alone: true}, f)
}

// doWith is do for a unit that can share: it says what it needs. On SQLite it
// is the same.
func doWith[T any](ctx context.Context, s *Store, class unitClass, n need, f func(t *tx) (T, error)) (T, error) {
	var zero, out T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	u := &unit{class: class, need: n, done: make(chan error, 1)}
	u.run = func(t *tx) (err error) {
		out, err = f(t)
		return err
	}
	if err := s.queue.put(u); err != nil {
		return zero, err
	}
	if err := <-u.done; err != nil {
		return zero, err
	}
	return out, nil
}

func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicro(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
