package store

import (
	"fmt"
	"slices"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// lane is a row of lane.
type lane struct {
	id         int64
	via        int64 // the lane that was asked for; id is after aliases
	due        int64
	sleeping   bool // due is NULL
	owner      int64
	epoch      int64
	running    int64
	alias      int64
	merging    bool
	recovering bool
	name, mac  []byte
	locked     bool // its row, in a shared transaction
}

func scanLane(r row) *lane {
	return &lane{id: r.int(0), via: r.int(0), due: r.int(1), sleeping: r.null(1), owner: r.int(2), epoch: r.int(3),
		running: r.int(4), alias: r.int(5), merging: r.int(6) != 0, recovering: r.int(7) != 0, name: r.blob(8), mac: r.blob(9)}
}

// lockLane finds or makes a lane by its key, and follows its aliases.
func (t *tx) lockLane(k laneKey) (*lane, error) {
	if t.shared != nil {
		return t.shared.laneOf(k.mac)
	}
	var l *lane
	if _, err := one(t, qLaneByMac, func(r row) { l = scanLane(r) }, k.mac); err != nil {
		return nil, err
	}
	if l == nil {
		id := draw(&t.s.numbers.lane)
		if err := t.must(qAddLane, id, k.mac, k.name, nil); err != nil {
			return nil, err
		}
		return &lane{id: id, via: id, sleeping: true, name: k.name, mac: k.mac}, nil
	}
	return t.follow(l)
}

// lane reads a lane by its number and follows its aliases.
func (t *tx) lane(id int64) (*lane, error) {
	if t.shared != nil {
		return t.shared.lane(id)
	}
	var l *lane
	if _, err := one(t, qLane, func(r row) { l = scanLane(r) }, id); err != nil {
		return nil, err
	}
	if l == nil {
		return nil, fmt.Errorf("lane %d: %w", id, ledger.ErrNotFound)
	}
	return t.follow(l)
}

func (t *tx) follow(l *lane) (*lane, error) {
	via := l.id
	for l.alias != 0 {
		next := l.alias
		found, err := one(t, qLane, func(r row) { l = scanLane(r) }, next)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("lane %d, an alias of lane %d: %w", next, via, ledger.ErrNotFound)
		}
	}
	l.via = via
	return l, nil
}

// lanesOf follows the aliases of the lanes that a delivery came by.
func (t *tx) lanesOf(via []int64) ([]int64, error) {
	var in []int64
	for _, id := range via {
		for {
			var alias int64
			if _, err := one(t, qLaneFollowed, func(r row) { alias = r.int(0) }, id); err != nil {
				return nil, err
			}
			if alias == 0 {
				break
			}
			id = alias
		}
		if !slices.Contains(in, id) {
			in = append(in, id)
		}
	}
	return in, nil
}

// wakeLane makes a lane due at a time, if it is not earlier anyway. A lane that
// is being run looks at its queue when it ends.
func (t *tx) wakeLane(id, at int64) error {
	if t.shared != nil {
		l := t.shared.lanes[id]
		if l == nil || !l.locked {
			return errAlone
		}
		if l.owner != 0 || !l.sleeping && l.due >= 0 && l.due <= at {
			return nil
		}
		if at <= t.now {
			t.ring(id)
		}
		return t.setLane(id, func(l *lane) { l.due, l.sleeping = at, false }, qWakeLane, at, id, at)
	}
	n, err := t.exec(qWakeLane, at, id, at)
	if err == nil && n > 0 && at <= t.now {
		t.ring(id)
	}
	return err
}

func (t *tx) ring(lane int64) {
	if !slices.Contains(t.rung, lane) {
		t.rung = append(t.rung, lane)
	}
}

// leave ends a delivery's place in its lanes: the lanes go on, its claims and
// questions are given up, and it is counted.
func (t *tx) leave(d *brief, end ledger.State) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	for _, id := range d.in {
		if err := t.must(qLeaveLane, id, d.seq, d.id); err != nil {
			return err
		}
		if err := t.wakeLane(id, t.now); err != nil {
			return err
		}
	}
	if err := t.unclaim(d.id); err != nil {
		return err
	}
	if err := t.must(qWithdraw, t.now, d.id); err != nil {
		return err
	}
	t.tally(d.flow, end, 1, d.calls)
	t.zone(zoneEnd, d.flow, string(end), d.id)
	return nil
}
