package store

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

const (
	// usualLease is how long a node may run its lanes after its last heartbeat.
	usualLease = 30 * time.Second
	// beatsPerLease is how often a node gives a heartbeat.
	beatsPerLease = 6
	// marginPart of a lease goes by after its end before a node is taken for dead:
	// what it sent at the last moment was cut off by then.
	marginPart = 6
)

// qKeepTime remembers ledger time, should the database's clock be put back.
const qKeepTime = `UPDATE clock SET at = GREATEST(at, ?) WHERE id = 1`

// registerNode makes this process known as a node, and gives out again what
// nodes had that are surely dead: this one's folder at an earlier start (the
// folder is locked), those that stopped, those whose lease is over.
func (s *Store) registerNode(ctx context.Context, w *pgWriter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	sent := time.Now()
	s.pg.until.Store(&leaseEnd{sent.Add(s.pg.lease), sent.Round(0), sent})
	t, err := w.begin(true, need{})
	if err == nil {
		err = s.addNode(t, host)
	}
	if err != nil {
		w.rollback()
		return err
	}
	if err := w.commit(); err != nil {
		return err
	}
	s.committed(t)
	return nil
}

func (s *Store) addNode(t *tx, host string) error {
	var has int64
	found, err := one(t, qNumbers, func(r row) {
		s.found = r.int(0)
		s.reached(s.found)
		s.incarn.Store(r.int(7))
		s.restored.Store(r.int(9))
		has = r.int(8)
	})
	if err != nil {
		return err
	}
	if err := checkCodec(found, has); err != nil {
		return err
	}
	t.now = max(t.now, s.last.Load())
	if _, err := one(t, `INSERT INTO node (id, host, pid, started, heartbeat, stopped, name, lease, version) SELECT COALESCE(MAX(id), 0) + 1, ?, ?, ?, ?, 0, ?, ?, CAST(? AS TEXT) FROM node RETURNING id`,
		func(r row) { s.node = r.int(0) }, host, int64(os.Getpid()), t.now, t.now, s.pg.name, (s.pg.lease + s.pg.lease/marginPart).Microseconds(), program()); err != nil {
		return err
	}
	if err := t.must(qGiveUp, t.now, s.node, t.now); err != nil {
		return err
	}
	var dead []int64
	if err := t.each(`SELECT id FROM node WHERE id <> ? AND stopped = 0 AND name = ? AND host = ?`, func(r row) (bool, error) {
		dead = append(dead, r.int(0))
		return true, nil
	}, s.node, s.pg.name, host); err != nil {
		return err
	}
	for _, id := range dead {
		if err := t.must(qStopNode, t.now, id); err != nil {
			return err
		}
	}
	r, err := s.displaced(t, s.pg.dir)
	if err == nil {
		err = t.arrive(r)
	}
	if err != nil {
		return err
	}
	return t.takeOver(true)
}

// takeOver gives out again the lanes of nodes that have stopped.
func (t *tx) takeOver(crashed bool) error {
	var all []takenLane
	if err := t.each(`SELECT l.id, l.running FROM lane l JOIN node n ON n.id = l.owner WHERE l.owner <> 0 AND n.stopped <> 0 ORDER BY l.id`, func(r row) (bool, error) {
		all = append(all, takenLane{r.int(0), r.int(1)})
		return true, nil
	}); err != nil || len(all) == 0 {
		return err
	}
	return t.giveOut(all, crashed)
}

// heartbeat says at intervals that this node lives, takes over from nodes that
// do not, and gives out again what this one lost.
func (s *Store) heartbeat(ctx context.Context) {
	tick := time.NewTicker(s.pg.lease / beatsPerLease)
	defer tick.Stop()
	lost := map[orphan]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.pg.dead.Load() {
			return
		}
		var err error
		if lost, err = s.beatOnce(ctx, lost); err != nil && ctx.Err() == nil {
			s.log("the database took no heartbeat: %v", err)
		}
	}
}

// Beat does what is done at each heartbeat, now: for tests.
func (s *Store) Beat(ctx context.Context) error {
	_, err := s.beatOnce(ctx, nil)
	return err
}

// orphan is a lane that this node has taken and does not run: the commit that
// took it, or gave it back, was answered as of unknown outcome.
type orphan struct{ lane, delivery, epoch int64 }

const (
	// A node that was given up by mistake lives again: its lanes are gone, and
	// what it still runs is fenced.
	qBeat  = `UPDATE node n SET heartbeat = GREATEST(n.heartbeat, ?), stopped = 0 FROM (SELECT id, stopped FROM node WHERE id = ? FOR UPDATE) o WHERE n.id = o.id RETURNING o.stopped`
	qDBNow = `SELECT ` + pgNow
	// lease holds the margin too.
	qDeadNodes = `SELECT 1 FROM node n WHERE n.id <> ? AND (n.stopped = 0 AND n.heartbeat + n.lease < ? OR n.stopped <> 0 AND EXISTS (SELECT 1 FROM lane l WHERE l.owner = n.id AND l.owner <> 0)) LIMIT 1`
	qGiveUp    = `UPDATE node SET stopped = ? WHERE id <> ? AND stopped = 0 AND heartbeat + lease < ?`
	qMine      = `SELECT id, running, epoch FROM lane WHERE owner = ? AND owner <> 0`
	qMineStill = `SELECT 1 FROM lane WHERE id = ? AND running = ? AND epoch = ? AND owner = ?`
)

// beatOnce gives a heartbeat; known are the orphans of the one before.
func (s *Store) beatOnce(ctx context.Context, known map[orphan]bool) (orphans map[orphan]bool, err error) {
	sent := time.Now()
	orphans = map[orphan]bool{}
	var dead bool
	var here standing
	kept := s.last.Load()
	short, cancel := context.WithTimeout(ctx, s.pg.lease/beatsPerLease)
	defer cancel()
	err = s.pg.beat.do(short, func(c *pgConn) error {
		clear(orphans)
		var now int64
		place := s.pg.where(c)
		if err := c.every(first(qDBNow, func(r row) { now = r.int(0) }), first(qStands, func(r row) { here = scanStanding(r) })); err != nil {
			return err
		}
		here.place = place
		s.pg.saw(now)
		now = s.nodeTime(now)
		if err := c.later(qKeepTime, kept); err != nil {
			return err
		}
		err := c.every(first(qBeat, func(r row) {
			if r.int(0) != 0 {
				s.pg.tenure.Add(1)
			}
		}, now, s.node))
		if err != nil {
			return err
		}
		return c.every(first(qDeadNodes, func(row) { dead = true }, s.node, now),
			all(qMine, func(r row) { orphans[orphan{r.int(0), r.int(1), r.int(2)}] = true }, s.node))
	})
	if err != nil {
		return known, err
	}
	s.pg.until.Store(&leaseEnd{sent.Add(s.pg.lease), sent.Round(0), sent})
	if err := s.watchPlace(ctx, here, kept); err != nil {
		return known, err
	}
	s.keepMark(s.pg.dir, false)
	if dead {
		if err := s.takeOverDead(ctx); err != nil {
			return known, err
		}
	}
	var lost []takenLane
	for o := range orphans {
		if s.runs(o.delivery) {
			delete(orphans, o)
		} else if known[o] {
			lost = append(lost, takenLane{o.lane, o.delivery})
		}
	}
	if len(lost) == 0 {
		return orphans, nil
	}
	_, err = do(ctx, s, lanes, func(t *tx) (struct{}, error) { return struct{}{}, t.giveOutMine(known, lost) })
	return map[orphan]bool{}, err
}

// nodeTime is what heartbeats go by: the database's time, or that of a test.
func (s *Store) nodeTime(db int64) int64 {
	if s.opts.Clock != nil {
		return s.nowMicro()
	}
	return db
}

// takeOverDead gives out again what nodes had whose lease is over (law 5).
func (s *Store) takeOverDead(ctx context.Context) error {
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		if err := t.must(qGiveUp, t.now, s.node, t.now); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.takeOver(true)
	})
	if err != nil {
		return fmt.Errorf("take over from a dead node: %w", err)
	}
	return nil
}

// giveOutMine gives out lanes of this node that it does not run.
func (t *tx) giveOutMine(known map[orphan]bool, lost []takenLane) error {
	var still []takenLane
	for o := range known {
		mine, err := one(t, qMineStill, func(row) {}, o.lane, o.delivery, o.epoch, t.s.node)
		if err != nil {
			return err
		}
		if l := (takenLane{o.lane, o.delivery}); mine && slices.Contains(lost, l) && !t.s.runs(o.delivery) {
			still = append(still, l)
		}
	}
	return t.giveOut(still, false)
}

// leaseEnd is until when this node may do something.
type leaseEnd struct {
	at         time.Time // by the monotonic clock
	wall, mono time.Time // when the heartbeat was sent, by both clocks
}

const (
	// suspended is how far the clocks may part before the database is asked: a
	// machine that was asleep has a monotonic clock that was, too.
	suspended = 2 * time.Second
)

// Lease gives until when this node may send something; zero if there is no
// limit. It gives false when it may not: the node has not reached the database
// for so long that others may run its lanes (laws 5, 11).
func (s *Store) Lease(ctx context.Context) (until time.Time, ok bool) {
	if s.pg == nil {
		return time.Time{}, true
	}
	l := s.pg.until.Load()
	if gap := time.Now().Round(0).Sub(l.wall) - time.Since(l.mono); gap > suspended || gap < -suspended {
		if s.Beat(ctx) != nil {
			return time.Time{}, false
		}
		l = s.pg.until.Load()
	}
	return l.at, time.Now().Before(l.at)
}

// MaySend gives ledger.ErrFenced when nothing may be sent under a context that
// Hold gave: the lease is over, or the node was given up since the delivery was
// started, so that another may run it. It is asked right before a write; where
// the clocks have parted it asks the database first (law 11).
func (s *Store) MaySend(ctx context.Context) error {
	if s.pg == nil {
		return nil
	}
	if _, ok := s.Lease(ctx); !ok {
		return fmt.Errorf("the database was not reached for the length of the lease: %w", ledger.ErrFenced)
	}
	return s.stillMine(ctx)
}

// stillMine gives ledger.ErrFenced if the delivery that a context is for was
// started before this node was last given up.
func (s *Store) stillMine(ctx context.Context) error {
	w := ledger.RunningOf(ctx)
	if w == nil {
		return nil
	}
	if run := s.runningOf(w); run == nil || run.tenure != s.pg.tenure.Load() {
		return fmt.Errorf("delivery %d: this node was taken for dead meanwhile: %w", w.Delivery.ID, ledger.ErrFenced)
	}
	return nil
}

// Hold gives a context that ends when this node may not send any more: what is
// sent under it is cut off then. Heartbeats keep it going. The error is
// ledger.ErrFenced: nothing may be sent now.
func (s *Store) Hold(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if s.pg == nil {
		return ctx, func() {}, nil
	}
	until, ok := s.Lease(ctx)
	over := fmt.Errorf("the database was not reached for the length of the lease: %w", ledger.ErrFenced)
	if !ok {
		return nil, nil, over
	}
	if err := s.stillMine(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var timer *time.Timer
	armed := make(chan struct{})
	timer = time.AfterFunc(time.Until(until), func() {
		<-armed
		if at := s.pg.until.Load().at; time.Now().Before(at) && s.stillMine(ctx) == nil {
			timer.Reset(time.Until(at))
			return
		}
		cancel(over)
	})
	close(armed)
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}, nil
}

// Drop says that this process runs a delivery no more, though the ledger could
// not be told. What others have not taken over is given out again.
func (s *Store) Drop(w *ledger.Work) {
	if s.pg != nil {
		s.forget(w)
	}
}

const qLead = `INSERT INTO leader (name, node, until) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET node = excluded.node, until = excluded.until
WHERE leader.node = excluded.node OR leader.until <= ? OR EXISTS (SELECT 1 FROM node n WHERE n.id = leader.node AND n.stopped <> 0)`

// Lead tells whether this node is the one that does what is named, and makes it
// so, for a time, if none does. It saves work done twice and is no lock: what is
// done must bear two at once, as a position that is compared and set does. Who
// asks again in time goes on. On SQLite there is one node.
func (s *Store) Lead(ctx context.Context, name string, length time.Duration) (leads bool, err error) {
	if s.pg == nil {
		return true, nil
	}
	err = s.pg.beat.do(ctx, func(c *pgConn) error {
		var now int64
		if _, err := one(c, qDBNow, func(r row) { now = r.int(0) }); err != nil {
			return err
		}
		now = s.nodeTime(now)
		n, err := c.exec(qLead, name, s.node, now+length.Microseconds(), now)
		leads = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask who does %s: %w", name, err)
	}
	return leads, nil
}
