package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Restored is when the incarnation was last raised because commits may have
// been lost, in ledger time; zero if it never was. What was accepted before that may have been carried on in a time
// that this ledger has forgotten.
func (s *Store) Restored() time.Time { return fromMicro(s.restored.Load()) }

// lostNumbers is by how much numbers jump when some may have been given out in
// a time that was lost: a delivery's number never means two deliveries.
const lostNumbers = 1_000_000

const (
	qRaise = `UPDATE clock SET incarnation = ?, restored = ? WHERE id = 1`
	// What runs now is fenced at its next write.
	qFenceAll    = `UPDATE lane SET epoch = epoch + 1 WHERE owner <> 0`
	qDropLeaders = `DELETE FROM leader`
	qSurelyMine  = `SELECT id, running FROM lane WHERE owner <> 0 AND (owner = ? OR owner NOT IN (SELECT n.id FROM node n WHERE n.stopped = 0 AND n.heartbeat + n.lease >= ?))`
)

// raising says why the incarnation is raised.
type raising struct {
	why, who string
	lost     bool  // commits were lost: numbers jump
	above    int64 // an incarnation that was there before
}

// Raise raises the incarnation: the ledger was put back, or another one took
// its place (law 24). All lanes are given out again, under epochs that fence
// what still runs; other nodes do so with theirs when they notice. Circuits
// that are open stay so until their system is probed, as at any start. Poll
// positions are committed with their messages, so that what was lost is read
// again by itself. why, without patient data, and who are audited.
func (s *Store) Raise(ctx context.Context, why, who string) error {
	r := raising{why: why, who: who, lost: true}
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) { return struct{}{}, t.raise(r) })
	if err != nil {
		return fmt.Errorf("raise the incarnation: %w", err)
	}
	s.log("%s: systems are asked before each write for what may have been done since", why)
	return nil
}

func (t *tx) raise(r raising) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	if r.lost {
		if err := t.jump(); err != nil {
			return err
		}
	}
	for _, q := range []string{qFenceAll, qDropLeaders} {
		if err := t.must(q); err != nil {
			return err
		}
	}
	var incarnation, restored int64
	if _, err := one(t, qStands, func(row row) { incarnation, restored = max(row.int(1), r.above)+1, row.int(2) }); err != nil {
		return err
	}
	if r.lost {
		restored = t.now
	}
	if err := t.must(qRaise, incarnation, restored); err != nil {
		return err
	}
	q, args := qOwned, []any{}
	if t.s.pg != nil {
		q, args = qSurelyMine, []any{t.s.node, t.now}
	}
	var all []takenLane
	if err := t.each(q, func(r row) (bool, error) {
		all = append(all, takenLane{r.int(0), r.int(1)})
		return true, nil
	}, args...); err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b takenLane) int { return cmp.Compare(a.lane, b.lane) })
	if err := t.giveOut(all, false); err != nil {
		return err
	}
	if err := t.audit(t.s.auditRow(r.who, "raise incarnation", 0, r.why)); err != nil {
		return err
	}
	t.then(func() { t.s.raised(incarnation, restored) })
	return nil
}

// jump leaves out the numbers that may have been given out in the lost time.
func (t *tx) jump() error {
	n := &t.s.numbers
	if t.s.pg == nil {
		for _, of := range []*number{&n.message, &n.seq, &n.delivery, &n.lane, &n.question, &n.audit} {
			of.Add(lostNumbers)
		}
		return nil // written with the commit
	}
	for _, name := range sequences {
		if err := t.each(`SELECT setval('`+name+`', (SELECT last_value FROM `+name+`) + ?)`, func(row) (bool, error) { return true, nil }, int64(lostNumbers)); err != nil {
			return err
		}
	}
	n.dropDrawn()
	return nil
}

// sequences are PostgreSQL's, in the order of the columns of clock.
var sequences = []string{"message_number", "receive_number", "delivery_number", "lane_number", "question_number", "audit_number"}

// dropDrawn forgets numbers that were drawn from the database before.
func (n *numbers) dropDrawn() {
	for _, of := range []*number{&n.message, &n.delivery, &n.lane, &n.question, &n.audit} {
		of.mu.Lock()
		of.free = nil
		of.mu.Unlock()
	}
}

// raised takes note of another incarnation: what this process runs it runs no
// more.
func (s *Store) raised(incarnation, at int64) {
	s.incarn.Store(incarnation)
	s.restored.Store(at)
	if s.pg != nil {
		s.pg.tenure.Add(1) // nothing more is sent for it
		s.numbers.dropDrawn()
	}
	s.mu.Lock()
	s.running = map[int64]*running{}
	s.mu.Unlock()
}
