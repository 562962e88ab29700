package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// tx is one transaction of the writer, shared by the units of a batch.
type tx struct {
	conn
	s   *Store
	now int64 // ledger time of this transaction, microseconds
	// alone: nobody else writes while this transaction lasts. So it always is on
	// SQLite; on PostgreSQL see shared.
	alone   bool
	shared  *shared
	shard   int64 // of the tally
	wrote   bool  // the unit being run has written
	changed bool  // some unit has written
	rung    []int64
	after   []func() // run once committed
	tallies map[tallyKey]*tallySum
	zones   map[zone]struct{}

	bulkRung bool // lanes of bulk became due
}

type tallyKey struct {
	flow  string
	state ledger.State
}

type tallySum struct{ n, calls int64 }

func (s *Store) newTx() *tx {
	return &tx{conn: s.writer, s: s, now: s.nowMicro(), alone: true}
}

func (t *tx) exec(q string, args ...any) (int64, error) {
	t.wrote, t.changed = true, true
	return t.conn.exec(q, args...)
}

// must runs a statement whose number of changed rows does not matter.
func (t *tx) must(q string, args ...any) error {
	t.wrote, t.changed = true, true
	return t.conn.later(q, args...)
}

// then runs f once the transaction is committed.
func (t *tx) then(f func()) { t.after = append(t.after, f) }

// tally counts deliveries that end, or that a person takes back.
func (t *tx) tally(flow string, state ledger.State, n, calls int64) {
	if t.tallies == nil {
		t.tallies = map[tallyKey]*tallySum{}
	}
	k := tallyKey{flow, state}
	sum := t.tallies[k]
	if sum == nil {
		sum = &tallySum{}
		t.tallies[k] = sum
	}
	sum.n += n
	sum.calls += calls
}

// finish writes what the units share.
func (t *tx) finish() error {
	if err := t.writeZones(); err != nil {
		return err
	}
	keys := slices.SortedFunc(maps.Keys(t.tallies), func(a, b tallyKey) int {
		return cmp.Or(cmp.Compare(a.flow, b.flow), cmp.Compare(a.state, b.state))
	})
	for _, k := range keys {
		sum := t.tallies[k]
		if err := t.must(qTally, k.flow, string(k.state), t.shard, sum.n, sum.calls, t.now, t.now); err != nil {
			return err
		}
	}
	if t.s.pg != nil {
		return nil // its numbers are sequences, its time is the database's
	}
	n := &t.s.numbers
	return t.must(qClock, t.now, n.message.Load(), n.seq.Load(), n.delivery.Load(), n.lane.Load(), n.question.Load(), n.audit.Load())
}

// number is a kind of numbers to be given out.
type number struct {
	atomic.Int64 // the last one, where one process gives them out
	// more, where several do, draws some from the database.
	more  func(n int) ([]int64, error)
	mu    sync.Mutex
	free  []int64
	drawn time.Time
}

const (
	// numbersAtOnce are drawn together from the database.
	numbersAtOnce = 64
	// numbersFor is how long they are used: numbers of several nodes then rise
	// together, but for a second.
	numbersFor = time.Second
)

// draw gives the next number of a kind. Numbers of a transaction that is
// rolled back are not used again by this process: they rise, with gaps. When
// the database gives none it is 0, which no table takes.
func draw(n *number) int64 {
	if n.more == nil {
		return n.Add(1)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.free) == 0 || time.Since(n.drawn) > numbersFor {
		free, err := n.more(numbersAtOnce)
		if err != nil {
			return 0
		}
		n.free, n.drawn = free, time.Now()
	}
	next := n.free[0]
	n.free = n.free[1:]
	return next
}
