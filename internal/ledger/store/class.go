package store

import (
	"context"
	"fmt"
	"time"
)

// Today's work goes before what came in bulk (law 27). A lane is bulk if all
// its work that may run is; then its due_at is less by bulkBase, and negative:
// one index holds both kinds, each in the order of its time.
const bulkBase = int64(1) << 62

const (
	qWakeBulk = `UPDATE lane SET due_at = CASE WHEN due_at >= 0 THEN CAST(? AS BIGINT) ELSE CAST(? AS BIGINT) END, gen = gen + 1 WHERE id = ? AND owner = 0 AND (due_at IS NULL OR due_at > ? OR due_at < 0 AND due_at > ?)`
	qDueBulk  = `SELECT id FROM lane WHERE due_at <= ? AND owner = 0 AND merging = 0 AND recovering = 0 ORDER BY due_at, id LIMIT ?`
	qNextBulk = `SELECT MIN(due_at) FROM lane WHERE due_at > ? AND due_at < 0 AND owner = 0 AND merging = 0 AND recovering = 0`
)

// dueAt gives a lane's due_at for a time, 0 for none.
func dueAt(at int64, bulk bool) int64 {
	if bulk && at != 0 {
		return at - bulkBase
	}
	return at
}

// dueTime gives the time of a due_at, and the class.
func dueTime(due int64) (at int64, bulk bool) {
	if due < 0 {
		return due + bulkBase, true
	}
	return due, false
}

// allBulk tells whether everything in a lane's queue that may run is bulk.
func allBulk(q []brief) bool {
	any := false
	for i := range q {
		if !q[i].mayRun() {
			continue
		}
		if !q[i].bulk {
			return false
		}
		any = true
	}
	return any
}

// wake is wakeLane for work of either class. A lane that is due for today's
// work stays so; one that was due for bulk alone is due for today's now.
func (t *tx) wake(id, at int64, bulk bool) error {
	if !bulk {
		return t.wakeLane(id, at)
	}
	if t.shared != nil {
		return t.wakeBulkShared(id, at)
	}
	n, err := t.exec(qWakeBulk, at, dueAt(at, true), id, at, dueAt(at, true))
	if err == nil && n > 0 && at <= t.now {
		t.ringBulk()
	}
	return err
}

func (t *tx) wakeBulkShared(id, at int64) error {
	l := t.shared.lanes[id]
	if l == nil || !l.locked {
		return errAlone
	}
	was, wasBulk := dueTime(l.due)
	if l.owner != 0 || !l.sleeping && was <= at {
		return nil
	}
	due := dueAt(at, l.sleeping || wasBulk)
	if at <= t.now {
		t.ringDue(id, due)
	}
	return t.setLane(id, func(l *lane) { l.due, l.sleeping = due, false }, qWakeBulk, at, dueAt(at, true), id, at, dueAt(at, true))
}

// ringDue rings a lane that is due now, by its due_at. Lanes of bulk are not
// rung one by one: the dispatcher takes some when it has room.
func (t *tx) ringDue(id, due int64) {
	if due < 0 {
		t.ringBulk()
		return
	}
	t.ring(id)
}

func (t *tx) ringBulk() {
	if t.bulkRung {
		return
	}
	t.bulkRung = true
	t.then(func() {
		t.s.mu.Lock()
		ring := t.s.onBulk
		t.s.mu.Unlock()
		if ring != nil {
			ring()
		}
	})
}

// OnBulk registers who is told, after a commit, that it made lanes of bulk due.
// It is called by the writer: it must not block nor call the ledger.
func (s *Store) OnBulk(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onBulk = f
}

// DueByClass lists, as Due does, lanes that are due: those with today's work,
// and apart from them those whose work came all in bulk, at most limit of each.
func (s *Store) DueByClass(ctx context.Context, now time.Time, limit int) (live, bulk []int64, next time.Time, err error) {
	at := micro(now)
	n := limited(limit, 500, 100_000)
	err = s.read(ctx, func(c conn) error {
		live, bulk, next = nil, nil, time.Time{}
		if s.pg != nil || s.recovering.Load() > 0 {
			lane, err := nextRecovering(c)
			if err != nil {
				return err
			}
			if lane != 0 {
				live = append(live, lane)
			}
		}
		return c.every(
			all(qDue, func(r row) { live = append(live, r.int(0)) }, at, n),
			all(qDueBulk, func(r row) { bulk = append(bulk, r.int(0)) }, at-bulkBase, n),
			first(qNextDue, func(r row) { next = earliest(next, r) }, at),
			first(qNextBulk, func(r row) { next = earliest(next, r) }, at-bulkBase))
	})
	if err != nil {
		return nil, nil, time.Time{}, fmt.Errorf("read due lanes: %w", err)
	}
	return live, bulk, next, nil
}

// earliest gives the earlier of a time, zero if none, and that of a due_at.
func earliest(t time.Time, r row) time.Time {
	at, _ := dueTime(r.int(0))
	if due := fromMicro(at); t.IsZero() || !due.IsZero() && due.Before(t) {
		return due
	}
	return t
}
