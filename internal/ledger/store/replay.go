package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

var _ ledger.Replayer = (*Store)(nil)

const (
	// idWindow is how many numbers of deliveries one page of Writings looks at: no
	// read may last (law 26).
	idWindow = 20_000
	// repeatsAtOnce are made in one transaction.
	repeatsAtOnce = 200

	qSince     = `SELECT ` + deliveryCols + ` FROM delivery d JOIN message m ON m.id = d.message WHERE d.id > ? AND d.id <= ? AND d.ended >= ? AND d.state = 'done' AND EXISTS (SELECT 1 FROM made x WHERE x.maker = d.maker AND x.system = ?) ORDER BY d.id`
	qBefore    = `SELECT ` + deliveryCols + ` FROM delivery d JOIN message m ON m.id = d.message WHERE d.id < ? AND d.id >= ? AND d.state = 'done' AND EXISTS (SELECT 1 FROM made x WHERE x.maker = d.maker AND x.system = ?) ORDER BY d.id DESC LIMIT 100`
	qEdges     = `SELECT COALESCE((SELECT MIN(id) FROM delivery), 0), COALESCE((SELECT MAX(id) FROM delivery), 0)`
	qMadeThere = `SELECT name, sealed FROM made WHERE maker = ? AND system = ? ORDER BY name`

	qRepeated   = `SELECT d.message, d.flow, d.mac, d.lanes, d.seq, m.system FROM delivery d JOIN message m ON m.id = d.message WHERE d.id = ?`
	qRepeatOpen = `SELECT 1 FROM delivery WHERE message = ? AND flow = ? AND mac = ? AND replay <> 0 AND ended = 0 LIMIT 1`
	qRepeat     = `INSERT INTO delivery (id, message, flow, mac, sealed, maker, lane, lanes, seq, state, reason, code, cause, blocked_on, blocked_by, attempts, starts, calls, flow_hash, plan_no, planned, generation, systems, due, created, ended, asked, remarks, replay, lost)
SELECT CAST(? AS BIGINT), message, flow, mac, sealed, maker, CAST(? AS BIGINT), lanes, CAST(? AS BIGINT), 'waiting', 'it is put back when its system goes on', 'stopped', '', 'circuit', CAST(? AS TEXT), 0, 0, 0, '', 0, 0, generation, systems, 0, CAST(? AS BIGINT), 0, asked, '', id, CAST(? AS TEXT) FROM delivery WHERE id = ?`

	qKnownCircuit = `INSERT INTO circuit (system, state, since, retry, failures, reason) VALUES (?, 'closed', ?, 0, 0, '') ON CONFLICT (system) DO NOTHING`

	qSetting    = `SELECT value FROM setting WHERE name = ?`
	qSet        = `INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	qDropSet    = `DELETE FROM setting WHERE name = ?`
	qStops      = `SELECT value FROM setting WHERE name >= 'stopped/' AND name < 'stopped0' ORDER BY name`
	stopSetting = "stopped/"
)

// replayOf reads the columns replay and lost.
func replayOf(id int64, lost string) *ledger.Replay {
	if id == 0 {
		return nil
	}
	lines := strings.Split(lost, "\n")
	return &ledger.Replay{Of: id, System: lines[0], Again: lines[1:]}
}

// earlierQuestions reads those of the delivery that a replay repeats: what a
// person has answered is not asked again.
func earlierQuestions(sw *sealedWork) []reading {
	if sw.row.d.Replay == nil {
		return nil
	}
	return []reading{questionsOf(sw, sw.row.d.Replay.Of)}
}

// Writings lists what was left in a system; see ledger.Replayer.
func (s *Store) Writings(ctx context.Context, system string, since time.Time, after int64) (list []ledger.Writing, next int64, err error) {
	var rows []workRow
	var made [][]sealedMade
	err = s.readAll(ctx, func(c conn) error {
		rows, made, next = nil, nil, 0
		var low, high int64
		if _, err := one(c, qEdges, func(r row) { low, high = r.int(0), r.int(1) }); err != nil || high <= after {
			return err
		}
		from := max(after, low-1)
		to := from + idWindow
		if err := c.each(qSince, func(r row) (bool, error) {
			rows = append(rows, scanDelivery(r))
			return true, nil
		}, from, to, micro(since), system); err != nil {
			return err
		}
		if to < high {
			next = to
		}
		made, err = madeThere(c, rows, system)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read what was written in %s: %w", system, err)
	}
	list, err = s.writings(rows, made)
	return list, next, err
}

// Latest lists what was left last in a system; see ledger.Replayer.
func (s *Store) Latest(ctx context.Context, system string, before int64) (list []ledger.Writing, next int64, err error) {
	var rows []workRow
	var made [][]sealedMade
	err = s.readAll(ctx, func(c conn) error {
		rows, made, next = nil, nil, 0
		var low, high int64
		if _, err := one(c, qEdges, func(r row) { low, high = r.int(0), r.int(1) }); err != nil {
			return err
		}
		if before <= 0 || before > high+1 {
			before = high + 1
		}
		down := max(before-idWindow, low)
		if err := c.each(qBefore, func(r row) (bool, error) {
			rows = append(rows, scanDelivery(r))
			return true, nil
		}, before, down, system); err != nil {
			return err
		}
		switch {
		case len(rows) == 100:
			next = rows[99].d.ID
		case down > low:
			next = down
		}
		made, err = madeThere(c, rows, system)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read what was written last in %s: %w", system, err)
	}
	list, err = s.writings(rows, made)
	return list, next, err
}

func madeThere(c conn, rows []workRow, system string) ([][]sealedMade, error) {
	out := make([][]sealedMade, len(rows))
	reads := make([]reading, len(rows))
	for i := range rows {
		reads[i] = all(qMadeThere, func(r row) { out[i] = append(out[i], scanMade(r)) }, rows[i].maker, system)
	}
	if len(reads) == 0 {
		return out, nil
	}
	return out, c.every(reads...)
}

func (s *Store) writings(rows []workRow, made [][]sealedMade) ([]ledger.Writing, error) {
	out := make([]ledger.Writing, len(rows))
	for i := range rows {
		w := &out[i]
		w.Maker, w.Wiped = hex.EncodeToString(rows[i].maker), rows[i].salt == nil
		var err error
		if w.Delivery, err = rows[i].delivery(s.ring.Box(rows[i].salt)); err != nil {
			return nil, fmt.Errorf("delivery %d: %w", rows[i].d.ID, err)
		}
		for j := range made[i] {
			m, err := made[i][j].open(s.ring, rows[i].maker)
			if err != nil {
				return nil, fmt.Errorf("what delivery %d made: %w", rows[i].d.ID, err)
			}
			w.Made = append(w.Made, m)
		}
	}
	return out, nil
}

// Repeat makes deliveries that repeat others; see ledger.Replayer.
func (s *Store) Repeat(ctx context.Context, replays []ledger.Replay) (deliveries []int64, err error) {
	for chunk := range slices.Chunk(replays, repeatsAtOnce) {
		some, err := do(ctx, s, lanes, func(t *tx) ([]int64, error) {
			var out []int64
			for _, r := range chunk {
				id, err := t.repeat(r)
				if err != nil {
					return nil, fmt.Errorf("repeat delivery %d: %w", r.Of, err)
				}
				if id != 0 {
					out = append(out, id)
				}
			}
			return out, nil
		})
		if err != nil {
			return deliveries, err
		}
		deliveries = append(deliveries, some...)
	}
	return deliveries, nil
}

func (t *tx) repeat(r ledger.Replay) (id int64, err error) {
	if strings.ContainsAny(r.System+strings.Join(r.Again, ""), "\n") {
		return 0, fmt.Errorf("a name with a line break: %w", ledger.ErrState)
	}
	var message, seq int64
	var flow, via, from string
	var mac []byte
	found, err := one(t, qRepeated, func(r row) {
		message, flow, mac, via, seq, from = r.int(0), r.text(1), r.blob(2), r.text(3), r.int(4), r.text(5)
	}, r.Of)
	if err == nil && !found {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	if open, err := one(t, qRepeatOpen, func(row) {}, message, flow, mac); err != nil || open {
		return 0, err
	}
	in, err := t.lanesOf(splitIDs(via))
	if err != nil {
		return 0, err
	}
	if len(in) == 0 {
		return 0, fmt.Errorf("it stands in no lane: %w", ledger.ErrState)
	}
	for _, lane := range in {
		after, err := t.written(lane)
		if err != nil {
			return 0, err
		}
		seq = max(seq, after)
	}
	id = draw(&t.s.numbers.delivery)
	lost := strings.Join(append([]string{r.System}, r.Again...), "\n")
	if err := t.must(qRepeat, id, in[0], seq, r.System, t.now, lost, r.Of); err != nil {
		return 0, err
	}
	t.zone(zoneFrom, flow, from, id)
	for _, lane := range in {
		if err := t.must(qEnterLane, lane, seq, id); err != nil {
			return 0, err
		}
	}
	return id, nil
}

// written gives the place of the last delivery of a lane that has written
// something and goes on: it holds its records, so what stood before it and
// comes back now must wait until it ends.
func (t *tx) written(lane int64) (seq int64, err error) {
	var q []brief
	if err := t.each(qQueue, func(r row) (bool, error) {
		q = append(q, scanBrief(r))
		return true, nil
	}, lane, int64(math.MaxInt32)); err != nil {
		return 0, err
	}
	for i := range q {
		wrote, err := t.hasWritten(&q[i])
		if err != nil {
			return 0, err
		}
		if wrote {
			seq = max(seq, q[i].seq)
		}
	}
	return seq, nil
}

// Setting gives a value kept under a name.
func (s *Store) Setting(ctx context.Context, name string) (value []byte, err error) {
	err = s.read(ctx, func(c conn) error {
		value = nil
		_, err := one(c, qSetting, func(r row) { value = r.blob(0) }, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read setting %s: %w", name, err)
	}
	return value, nil
}

// Set keeps a value under a name; nil forgets it.
func (s *Store) Set(ctx context.Context, name string, value []byte) error {
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) { return struct{}{}, t.set(name, value) })
	return err
}

func (t *tx) set(name string, value []byte) error {
	if value == nil {
		return t.must(qDropSet, name)
	}
	return t.must(qSet, name, value)
}

// Stops lists the systems that are stopped.
func (s *Store) Stops(ctx context.Context) (out []ledger.Stopped, err error) {
	err = s.read(ctx, func(c conn) error {
		out = nil
		return c.each(qStops, func(r row) (bool, error) {
			var one ledger.Stopped
			if err := json.Unmarshal(r.blob(0), &one); err != nil {
				return false, err
			}
			out = append(out, one)
			return true, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read which systems are stopped: %w", err)
	}
	return out, nil
}

// Stop stops a system for all nodes, until Resume. One that is stopped already
// keeps its first reason.
func (s *Store) Stop(ctx context.Context, stop ledger.Stopped) error {
	value, err := json.Marshal(stop)
	if err != nil {
		return err
	}
	line := s.auditRow("kiungo", "stop "+stop.System, 0, stop.Reason)
	_, err = do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		name := stopSetting + stop.System
		if found, err := one(t, qSetting, func(row) {}, name); err != nil || found {
			return struct{}{}, err
		}
		if err := t.set(name, value); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.audit(line)
	})
	return err
}

// Resume lets a system go on that was stopped.
func (s *Store) Resume(ctx context.Context, system, who, note string) error {
	line := s.auditRow(who, "resume "+system, 0, note)
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		found, err := one(t, qSetting, func(row) {}, stopSetting+system)
		if err == nil && !found {
			err = fmt.Errorf("%s is not stopped: %w", system, ledger.ErrNotFound)
		}
		if err != nil {
			return struct{}{}, err
		}
		if err := t.set(stopSetting+system, nil); err != nil {
			return struct{}{}, err
		}
		// What waits for it is woken again after a crash, as for a circuit that closed.
		if err := t.must(qKnownCircuit, system, t.now); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.audit(line)
	})
	return err
}
