package store

import (
	"sync/atomic"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// tx is one transaction of the writer, shared by the units of a batch.
type tx struct {
	conn
	s       *Store
	now     int64 // ledger time of this transaction, microseconds
	wrote   bool  // the unit being run has written
	changed bool  // some unit has written
	rung    []int64
	after   []func() // run once committed
	tallies map[tallyKey]*tallySum
}

type tallyKey struct {
	flow  string
	state ledger.State
}

type tallySum struct{ n, calls int64 }

func (s *Store) newTx() *tx {
	return &tx{conn: s.writer, s: s, now: s.nowMicro()}
}

func (t *tx) exec(q string, args ...any) (int64, error) {
	t.wrote, t.changed = true, true
	return t.conn.exec(q, args...)
}

// must runs a statement whose number of changed rows does not matter.
func (t *tx) must(q string, args ...any) error {
	_, err := t.exec(q, args...)
	return err
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
	for k, sum := range t.tallies {
		if err := t.must(qTally, k.flow, string(k.state), sum.n, sum.calls, t.now, t.now); err != nil {
			return err
		}
	}
	n := &t.s.numbers
	return t.must(qClock, t.now, n.message.Load(), n.seq.Load(), n.delivery.Load(), n.lane.Load(), n.question.Load(), n.audit.Load())
}

// draw gives the next number of a kind. Numbers of a transaction that is
// rolled back are not used again by this process: they rise, with gaps.
func draw(n *atomic.Int64) int64 { return n.Add(1) }
