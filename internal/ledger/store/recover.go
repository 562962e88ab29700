package store

import (
	"context"
	"fmt"
	"os"
)

// register reads the last numbers, adds this process to the nodes, and gives
// out again what dead ones had taken.
func (s *Store) register(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var has int64
	found, err := one(s.writer, qNumbers, func(r row) {
		s.found = r.int(0)
		s.reached(s.found)
		n := &s.numbers
		n.message.Store(r.int(1))
		n.seq.Store(r.int(2))
		n.delivery.Store(r.int(3))
		n.lane.Store(r.int(4))
		n.question.Store(r.int(5))
		n.audit.Store(r.int(6))
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
	if s.id, err = nameLedger(s.writer); err != nil {
		return err
	}
	r, err := s.displaced(s.writer, s.files.dir)
	if err != nil {
		return err
	}
	return s.takeBack(true, r)
}

func checkCodec(found bool, has int64) error {
	if !found {
		return fmt.Errorf("the ledger has no clock row: it was damaged, restore it")
	}
	if has > codec {
		return fmt.Errorf("the ledger's records are written in version %d, this program knows %d: run the newer program", has, codec)
	}
	return nil
}

// takeBack takes all lanes from whoever had them: on SQLite no other process
// can be alive. After a crash the deliveries in flight are marked, to be
// restarted one at a time (law 25). r: the incarnation is to be raised, too.
func (s *Store) takeBack(crashed bool, r *raising) error {
	if _, err := s.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	t := s.newTx()
	err := t.arrive(r)
	if err == nil {
		err = t.takeBack(crashed)
	}
	if err == nil {
		err = t.finish()
	}
	if err != nil {
		s.rollback()
		return err
	}
	if _, err := s.writer.exec("COMMIT"); err != nil {
		s.rollback()
		return err
	}
	s.mu.Lock()
	s.running = map[int64]*running{}
	s.mu.Unlock()
	s.committed(t)
	return nil
}

func (t *tx) takeBack(crashed bool) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if crashed {
		if err := t.must(qAddNode, host, int64(os.Getpid()), t.now, t.now); err != nil {
			return err
		}
		if _, err := one(t, qLastNode, func(r row) { t.s.node = r.int(0) }); err != nil {
			return err
		}
	}
	var all []takenLane
	err = t.each(qOwned, func(r row) (bool, error) {
		all = append(all, takenLane{r.int(0), r.int(1)})
		return true, nil
	})
	if err != nil {
		return err
	}
	return t.giveOut(all, crashed)
}

// takenLane is a lane with the delivery that it was taken for.
type takenLane struct{ lane, delivery int64 }

// giveOut frees lanes that were taken, under their next epoch.
func (t *tx) giveOut(all []takenLane, crashed bool) error {
	marked := map[int64]bool{}
	for _, l := range all {
		// A delivery in several lanes is marked on one of them.
		mark := crashed && !marked[l.delivery]
		if !marked[l.delivery] {
			q := qInterrupted
			if !crashed {
				q = qUncount
			}
			if err := t.must(q, t.now, l.delivery); err != nil {
				return err
			}
		}
		marked[l.delivery] = true
		if err := t.must(qTakeBack, flag(mark), t.now, l.lane); err != nil {
			return err
		}
		t.ring(l.lane)
	}
	if err := t.finishAllMerges(); err != nil {
		return err
	}
	return t.countRecovering()
}

// finishAllMerges does the merges that waited for deliveries in flight.
func (t *tx) finishAllMerges() error {
	var losers []int64
	err := t.each(qAllMerges, func(r row) (bool, error) {
		losers = append(losers, r.int(0))
		return true, nil
	})
	for _, id := range losers {
		if err == nil {
			err = t.finishMerges(id)
		}
	}
	return err
}

// recovered lets the next delivery that was in flight at the crash start.
func (t *tx) recovered(lane int64) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	if err := t.must(qClearRecov, lane); err != nil {
		return err
	}
	err := t.each(qRecovering, func(r row) (bool, error) {
		t.ring(r.int(0))
		return false, nil
	})
	if err != nil {
		return err
	}
	return t.countRecovering()
}

func (t *tx) countRecovering() error {
	var n int64
	if _, err := one(t, qCountRecov, func(r row) { n = r.int(0) }); err != nil {
		return err
	}
	t.then(func() { t.s.recovering.Store(n) })
	return nil
}
