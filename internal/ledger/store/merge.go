package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/kiungo-health/kiungo/internal/seal"
)

// Merge makes one lane an alias of another; see ledger.Ledger.
func (s *Store) Merge(ctx context.Context, loser, winner, who string) error {
	if loser == winner {
		return fmt.Errorf("a lane cannot be merged with itself")
	}
	a, b := s.laneKey(loser), s.laneKey(winner)
	note := s.auditRow(who, "merge lanes", 0, "")
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		return struct{}{}, t.merge(a, b, note)
	})
	return err
}

func (s *Store) laneKey(key string) laneKey {
	mac := s.ring.Mac("lane", key)
	return laneKey{mac, s.ring.Main().Seal(seal.RowKey("lane", mac, "name"), []byte(key))}
}

func (t *tx) merge(loser, winner laneKey, note auditRow) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	l, err := t.lockLane(loser)
	if err != nil {
		return err
	}
	w, err := t.lockLane(winner)
	if err != nil {
		return err
	}
	if l.id == w.id {
		return nil // merged before, this way or the other
	}
	if err := t.must(qAddMerge, l.id, w.id, t.now); err != nil {
		return err
	}
	for _, id := range []int64{l.id, w.id} {
		if err := t.must(qSetMerging, int64(1), id); err != nil {
			return err
		}
	}
	if err := t.audit(note); err != nil {
		return err
	}
	return t.finishMerges(l.id)
}

// finishMerges does the merges of a lane that have no delivery in flight on
// either side (law 14), and lets lanes go on that wait for no merge any more.
func (t *tx) finishMerges(lane int64) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	touched := []int64{lane}
	for {
		var pairs [][2]int64
		err := t.each(qMerges, func(r row) (bool, error) {
			pairs = append(pairs, [2]int64{r.int(0), r.int(1)})
			return true, nil
		}, lane, lane)
		if err != nil {
			return err
		}
		merged := false
		for _, p := range pairs {
			into, done, err := t.finishMerge(p[0], p[1])
			if err != nil {
				return err
			}
			if !done {
				continue
			}
			touched = append(touched, p[0], p[1], into)
			lane, merged = into, true
			break
		}
		if !merged {
			break
		}
	}
	slices.Sort(touched)
	for _, id := range slices.Compact(touched) {
		if err := t.mergeEnded(id); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) finishMerge(loser, winner int64) (into int64, done bool, err error) {
	l, err := t.lane(loser)
	if err != nil {
		return 0, false, err
	}
	w, err := t.lane(winner)
	if err != nil {
		return 0, false, err
	}
	if l.owner != 0 || w.owner != 0 {
		return 0, false, nil
	}
	if err := t.must(qDropMerge, loser, winner); err != nil {
		return 0, false, err
	}
	if l.id == w.id {
		return w.id, true, nil
	}
	type place struct{ seq, delivery int64 }
	var open []place
	err = t.each(qOpenInLane, func(r row) (bool, error) {
		open = append(open, place{r.int(0), r.int(1)})
		return true, nil
	}, l.id)
	if err != nil {
		return 0, false, err
	}
	for _, p := range open {
		if err := t.must(qEnterLane, w.id, p.seq, p.delivery); err != nil {
			return 0, false, err
		}
		if err := t.must(qMoveDelivery, w.id, p.delivery, l.id); err != nil {
			return 0, false, err
		}
	}
	if err := t.must(qEmptyLane, l.id); err != nil {
		return 0, false, err
	}
	if l.recovering {
		if err := t.must(qClearRecov, l.id); err != nil {
			return 0, false, err
		}
		if err := t.must(qSetRecov, w.id); err != nil {
			return 0, false, err
		}
	}
	if err := t.must(qSetAlias, w.id, l.id); err != nil {
		return 0, false, err
	}
	return w.id, true, t.renameMerges(l.id, w.id)
}

// renameMerges makes the merges that name a lane name the one it went into.
func (t *tx) renameMerges(from, to int64) error {
	var pairs [][2]int64
	err := t.each(qMerges, func(r row) (bool, error) {
		pairs = append(pairs, [2]int64{r.int(0), r.int(1)})
		return true, nil
	}, from, from)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if err := t.must(qDropMerge, p[0], p[1]); err != nil {
			return err
		}
		for i := range p {
			if p[i] == from {
				p[i] = to
			}
		}
		if p[0] == p[1] {
			continue
		}
		if err := t.must(qAddMerge, p[0], p[1], t.now); err != nil {
			return err
		}
	}
	return nil
}

// mergeEnded clears the mark of a lane that no merge waits for, and wakes it.
func (t *tx) mergeEnded(id int64) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	waits, err := one(t, qMerges, func(row) {}, id, id)
	if err != nil || waits {
		return err
	}
	if err := t.must(qSetMerging, int64(0), id); err != nil {
		return err
	}
	l, err := t.lane(id)
	if err != nil || l.id != id {
		return err
	}
	return t.wakeLane(id, t.now)
}
