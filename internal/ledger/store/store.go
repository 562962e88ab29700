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
const codec = 2

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
	// Archive is the folder of the archive; "": the folder archive of the data folder.
	Archive string
	// KeepFree is how many free pages stay in a SQLite file when room is given
	// back; 0: 16,384, or an eighth of the file.
	KeepFree int64
	// Free, for tests, gives the space that is free where a folder is; nil: the
	// disk is asked.
	Free func(dir string) (int64, error)
	// Lease, on PostgreSQL, is how long a node may go on after its last
	// heartbeat; 0: 30 s.
	Lease time.Duration
	// Fault, for tests, is asked at "before commit" and "after commit"; an
	// error stops the store as a kill of the process would.
	Fault func(point string) error
	// Observe is told of each commit, with how many units it held and how long it
	// took from its begin, for metrics; nil: nobody. It must not block.
	Observe func(units int, took time.Duration)
	// Log is told of what an operator should know, without patient data; nil: nothing.
	Log func(text string)
}

// Store is a ledger.Ledger in SQL.
type Store struct {
	opts  Options
	ring  *seal.Ring
	node  int64
	id    string // the ledger's name for itself
	files *sqliteFiles
	pg    *postgres // nil on SQLite

	archive *archive

	queue   queue
	writer  conn // owned by the writer's goroutine
	stopped chan struct{}

	readers chan *sqliteConn

	// numbers are drawn before or inside a unit and written with each commit.
	numbers numbers
	zones   zones
	last    atomic.Int64 // ledger time of the last commit, microseconds
	lastAt  atomic.Int64 // that moment by the process's monotonic clock, nanoseconds
	found   int64        // ledger time of the last commit before this start, microseconds
	incarn  atomic.Int64
	// restored is when the incarnation was raised, microseconds.
	restored atomic.Int64
	marked   time.Time  // when the mark was last written
	backing  sync.Mutex // a backup is being made

	mu      sync.Mutex
	running map[int64]*running // by delivery: what this process runs
	onDue   func([]int64)
	onBulk  func()

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
	lane   int64
	epoch  int64
	box    *seal.Box
	plan   int64   // id of the plan in force, 0 for none
	next   int     // next journal line
	in     []int64 // lanes that were taken for it
	maker  []byte
	asked  bool  // it has asked questions before
	claims bool  // it may hold claims
	tenure int64 // see postgres
}

// Now is ledger time: the wall clock, but never behind the last commit. While
// the wall clock is behind (it was put back), ledger time goes on from the last
// commit by the monotonic clock, so that retries and waits end. On PostgreSQL
// the wall clock is the database's.
func (s *Store) Now() time.Time { return fromMicro(s.nowMicro()) }

func (s *Store) nowMicro() int64 {
	last, at := s.last.Load(), s.lastAt.Load()
	wall := s.wallMicro()
	if wall >= last {
		return wall
	}
	return last + max(0, monotonic()-at)/1000
}

// Wall is the time of day as the machine (on PostgreSQL: the database) has it,
// right or wrong; LastCommit is the newest ledger time before this start, zero
// for a new ledger. Schedules go by them (internal/calendar).
func (s *Store) Wall() time.Time { return fromMicro(s.wallMicro()) }

// LastCommit: see Wall.
func (s *Store) LastCommit() time.Time { return fromMicro(s.found) }

func (s *Store) wallMicro() int64 {
	if s.pg != nil && s.opts.Clock == nil {
		return s.pg.time.Load().now()
	}
	return s.clock().UnixMicro()
}

var processStart = time.Now()

// monotonic is how long this process has run, in nanoseconds.
func monotonic() int64 { return int64(time.Since(processStart)) }

// reached notes ledger time that a commit has reached.
func (s *Store) reached(now int64) {
	for last := s.last.Load(); now > last; last = s.last.Load() {
		if s.last.CompareAndSwap(last, now) {
			s.lastAt.Store(monotonic())
			return
		}
	}
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

// runningOf gives what is remembered of a work, nil if this process does not run
// it any more: the delivery may have been started again since.
func (s *Store) runningOf(w *ledger.Work) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[w.Delivery.ID]; r != nil && r.lane == w.LaneID && r.epoch == w.Epoch {
		return r
	}
	return nil
}

func (s *Store) runs(delivery int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[delivery] != nil
}

// forget forgets a work that ended, but not the next one of its delivery, which
// another worker may have started already.
func (s *Store) forget(w *ledger.Work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[w.Delivery.ID]; r != nil && r.lane == w.LaneID && r.epoch == w.Epoch {
		delete(s.running, w.Delivery.ID)
	}
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
