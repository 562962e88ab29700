package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// What metrics ask. None reads more than an index has of what is counted; the
// conditions of partial indexes are said word for word, for SQLite proves none.
const (
	qStatFlow   = `SELECT flow, state FROM delivery WHERE ended = 0 AND (flow, state) > (?, ?) ORDER BY flow, state LIMIT 1`
	qStatOpen   = `SELECT COUNT(*) FROM (SELECT 1 AS one FROM delivery WHERE ended = 0 AND flow = ? AND state = ? LIMIT ?) AS q`
	qStatFirst  = `SELECT created FROM delivery WHERE ended = 0 AND flow = ? AND state = ? ORDER BY id LIMIT 1`
	qStatSystem = `SELECT blocked_by FROM delivery WHERE blocked_on = 'circuit' AND blocked_on <> '' AND blocked_by > ? ORDER BY blocked_by LIMIT 1`
	qStatQueue  = `SELECT COUNT(*) FROM (SELECT 1 AS one FROM delivery WHERE blocked_on = 'circuit' AND blocked_on <> '' AND blocked_by = ? LIMIT ?) AS q`
	qStatOldest = `SELECT created FROM delivery WHERE blocked_on = 'circuit' AND blocked_on <> '' AND blocked_by = ? ORDER BY seq LIMIT 1`
	qStatBlock  = `SELECT COUNT(*) FROM (SELECT 1 AS one FROM delivery WHERE blocked_on = ? AND blocked_on <> '' LIMIT ?) AS q`
	qStatState  = `SELECT COUNT(*) FROM (SELECT 1 AS one FROM delivery WHERE state = ? AND state IN ('waiting', 'held', 'half undone', 'undoing', 'undone', 'refused') LIMIT ?) AS q`
	qStatAsked  = `SELECT COUNT(*) FROM (SELECT 1 AS one FROM question WHERE state = 'open' LIMIT ?) AS q`
	qStatDue    = `SELECT COUNT(*) FROM (SELECT 1 AS one FROM lane WHERE due_at > ? AND due_at <= ? AND owner = 0 AND merging = 0 AND recovering = 0 LIMIT ?) AS q`
	qStatDueAt  = `SELECT due_at FROM lane WHERE due_at > ? AND due_at <= ? AND owner = 0 AND merging = 0 AND recovering = 0 ORDER BY due_at, id LIMIT 1`
	qStatStream = `SELECT system, stream, at FROM poll_position ORDER BY system, stream`
	qStatNodes  = `SELECT id, heartbeat, lease FROM node WHERE stopped = 0 ORDER BY id`
	qLook       = `SELECT at FROM clock WHERE id = 1`
)

// bulkShift is by how much earlier the time of a lane is written that has only
// what came in bulk: the index has those apart, and behind.
const bulkShift = 1 << 62

// Stats tells how much waits. It costs some milliseconds, and a tenth of a
// second for each million that waits for one thing.
func (s *Store) Stats(ctx context.Context) (*ledger.Stats, error) {
	out := &ledger.Stats{Now: s.Now(), Restored: s.Restored(), Waiting: map[ledger.Block]int64{}}
	for _, part := range []func(context.Context, *ledger.Stats) error{s.statOpen, s.statSystems, s.statWaiting, s.statLanes, s.statRows} {
		if err := part(ctx, out); err != nil {
			return nil, fmt.Errorf("count what waits: %w", err)
		}
	}
	return out, nil
}

func (s *Store) statOpen(ctx context.Context, out *ledger.Stats) error {
	for at := (ledger.OpenCount{}); ; {
		n := ledger.OpenCount{}
		err := s.read(ctx, func(c conn) error {
			n = ledger.OpenCount{}
			if found, err := one(c, qStatFlow, func(r row) { n.Flow, n.State = r.text(0), ledger.State(r.text(1)) }, at.Flow, string(at.State)); err != nil || !found {
				return err
			}
			if _, err := one(c, qStatOpen, func(r row) { n.N = r.int(0) }, n.Flow, string(n.State), int64(ledger.StatsMost)); err != nil {
				return err
			}
			_, err := one(c, qStatFirst, func(r row) { n.Oldest = fromMicro(r.int(0)) }, n.Flow, string(n.State))
			return err
		})
		if err != nil || n.Flow == "" {
			return err
		}
		if n.N > 0 {
			out.Open = append(out.Open, n)
		}
		at = n
	}
}

func (s *Store) statSystems(ctx context.Context, out *ledger.Stats) error {
	for after := ""; ; {
		q := ledger.SystemQueue{}
		err := s.read(ctx, func(c conn) error {
			q = ledger.SystemQueue{}
			if found, err := one(c, qStatSystem, func(r row) { q.System = r.text(0) }, after); err != nil || !found {
				return err
			}
			if _, err := one(c, qStatQueue, func(r row) { q.N = r.int(0) }, q.System, int64(ledger.StatsMost)); err != nil {
				return err
			}
			_, err := one(c, qStatOldest, func(r row) { q.Oldest = fromMicro(r.int(0)) }, q.System)
			return err
		})
		if err != nil || q.System == "" {
			return err
		}
		out.Systems = append(out.Systems, q)
		after = q.System
	}
}

func (s *Store) statWaiting(ctx context.Context, out *ledger.Stats) error {
	count := func(q string, args ...any) (n int64, err error) {
		err = s.read(ctx, func(c conn) error {
			_, err := one(c, q, func(r row) { n = r.int(0) }, append(args, int64(ledger.StatsMost))...)
			return err
		})
		return n, err
	}
	blocked := int64(0)
	for _, b := range []ledger.Block{ledger.BlockCircuit, ledger.BlockClaim, ledger.BlockQuestion, ledger.BlockMerge} {
		n, err := count(qStatBlock, string(b))
		if err != nil {
			return err
		}
		out.Waiting[b] = n
		blocked += n
	}
	for _, state := range []ledger.State{ledger.Waiting, ledger.Held, ledger.HalfUndone} {
		n, err := count(qStatState, string(state))
		if err != nil {
			return err
		}
		if state == ledger.Waiting {
			out.Waiting[ledger.BlockNone] = max(0, n-blocked)
		} else {
			out.Held += n
		}
	}
	var err error
	out.Questions, err = count(qStatAsked)
	return err
}

func (s *Store) statLanes(ctx context.Context, out *ledger.Stats) error {
	now := micro(out.Now)
	return s.read(ctx, func(c conn) error {
		for _, class := range []struct {
			q     *ledger.LaneQueue
			shift int64
		}{{&out.Live, 0}, {&out.Bulk, bulkShift}} {
			after, until := -class.shift, now-class.shift
			if _, err := one(c, qStatDue, func(r row) { class.q.N = r.int(0) }, after, until, int64(ledger.StatsMost)); err != nil {
				return err
			}
			if _, err := one(c, qStatDueAt, func(r row) { class.q.Since = fromMicro(r.int(0) + class.shift) }, after, until); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) statRows(ctx context.Context, out *ledger.Stats) error {
	return s.read(ctx, func(c conn) error {
		out.Streams, out.Nodes = nil, nil
		return c.every(
			all(qStatStream, func(r row) {
				out.Streams = append(out.Streams, ledger.StreamAge{System: r.text(0), Stream: r.text(1), At: fromMicro(r.int(2))})
			}),
			all(qStatNodes, func(r row) {
				out.Nodes = append(out.Nodes, ledger.NodeAge{Node: r.int(0), Heartbeat: fromMicro(r.int(1)), Lease: time.Duration(r.int(2)) * time.Microsecond})
			}))
	})
}

// Ready tells whether the ledger can take messages and be worked on now, with
// what stands in the way. It writes nothing.
func (s *Store) Ready(ctx context.Context) error {
	if s.queue.isShut() {
		return ledger.ErrClosed
	}
	if err := s.checkDisk(); err != nil {
		return err
	}
	if err := s.read(ctx, func(c conn) error {
		found, err := one(c, qLook, func(row) {})
		if err == nil && !found {
			err = errors.New("the ledger has no clock")
		}
		return err
	}); err != nil {
		return fmt.Errorf("the ledger does not answer: %w", err)
	}
	if _, ok := s.Lease(ctx); !ok {
		return fmt.Errorf("the node's lease is over, the database was not reached: %w", ledger.ErrFenced)
	}
	return nil
}

// Disk gives the size of the ledger's write-ahead log and the space that is
// free on its disk, in bytes. On PostgreSQL ok is false: its disk is its own.
func (s *Store) Disk() (wal, free int64, ok bool) {
	if s.pg != nil {
		return 0, 0, false
	}
	if info, err := os.Stat(s.files.path + "-wal"); err == nil {
		wal = info.Size()
	}
	free, err := s.freeSpace(s.files.dir)
	return wal, free, err == nil
}

// Floor is how much must be free on the disk for messages to be taken, in
// bytes; 0: nothing is asked.
func (s *Store) Floor() int64 {
	switch {
	case s.pg != nil || s.opts.MinFree < 0:
		return 0
	case s.opts.MinFree == 0:
		return 256 << 20
	}
	return s.opts.MinFree
}

// Node is this process's number among the nodes of its ledger.
func (s *Store) Node() int64 { return s.node }

// Mark gives bytes that are the same on every node of this ledger, and nobody
// knows who has not its keyring: what ids that leave it are made from.
func (s *Store) Mark(purpose string) []byte { return s.ring.Mac("mark", purpose) }

func (s *Store) observe(units int, began time.Time) {
	if s.opts.Observe != nil {
		s.opts.Observe(units, time.Since(began))
	}
}
