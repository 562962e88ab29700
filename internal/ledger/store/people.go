package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// auditRow is a line of the audit trail, sealed.
type auditRow struct {
	id       int64
	who, act string
	delivery int64
	note     []byte
}

func (s *Store) auditRow(who, act string, delivery int64, note string) auditRow {
	a := auditRow{id: draw(&s.numbers.audit), who: who, act: act, delivery: delivery}
	if note != "" {
		a.note = s.ring.Main().Seal(seal.Row("audit", a.id, "note"), []byte(note))
	}
	return a
}

func (t *tx) audit(a auditRow) error {
	return t.must(qAddAudit, a.id, t.now, a.who, a.act, a.delivery, a.note)
}

// Audit adds to the audit trail.
func (s *Store) Audit(ctx context.Context, a ledger.Audit) error {
	line := s.auditRow(a.Who, a.Act, a.Delivery, a.Note)
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) { return struct{}{}, t.audit(line) })
	return err
}

// idle reads a delivery that a person decides on: it must not be run just now.
func (t *tx) idle(id int64) (*brief, error) {
	if err := t.needAlone(); err != nil {
		return nil, err
	}
	var d brief
	found, err := one(t, qBrief, func(r row) { d = scanBrief(r) }, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, t.errArchived(id)
	}
	if d.in, err = t.lanesOf(d.via); err != nil {
		return nil, err
	}
	if runs, err := t.runs(&d); err != nil {
		return nil, err
	} else if runs {
		return nil, fmt.Errorf("delivery %d is being run: %w", id, ledger.ErrState)
	}
	return &d, nil
}

// runs tells whether a delivery is being run: in one of its lanes, or in the
// one that it stood in before its record was unlinked.
func (t *tx) runs(d *brief) (bool, error) {
	for _, id := range append([]int64{d.lane}, d.in...) {
		l, err := t.lane(id)
		if err != nil {
			return false, err
		}
		if l.running == d.id {
			return true, nil
		}
	}
	return false, nil
}

// Retry makes a held, half undone, undone or refused delivery due again.
func (s *Store) Retry(ctx context.Context, id int64, who, note string) (int64, error) {
	line := s.auditRow(who, "retry", id, note)
	return do(ctx, s, lanes, func(t *tx) (int64, error) {
		d, err := t.idle(id)
		if err != nil {
			return 0, err
		}
		state := ledger.Waiting
		switch d.state {
		case ledger.Held, ledger.HalfUndone, ledger.Waiting:
		case ledger.Undone, ledger.Refused, ledger.Skipped:
			state = ledger.Received
		default:
			return 0, fmt.Errorf("delivery %d is %s: %w", id, d.state, ledger.ErrState)
		}
		if d.state.Ended() {
			if err := t.notWiped(d); err != nil {
				return 0, err
			}
			t.tally(d.flow, d.state, -1, -d.calls)
			if err := t.must(qUnplan, id); err != nil {
				return 0, err
			}
			for _, lane := range d.in {
				if err := t.must(qEnterLane, lane, d.seq, id); err != nil {
					return 0, err
				}
			}
		}
		return t.goAgain(d, state, line)
	})
}

// goAgain makes a delivery due now by a person's decision.
func (t *tx) goAgain(d *brief, state ledger.State, line auditRow) (int64, error) {
	if err := t.must(qSetState, string(state), "", "", "", "", "", t.now, int64(0), int64(0), d.id); err != nil {
		return 0, err
	}
	if err := t.must(qStopWaiting, d.id); err != nil {
		return 0, err
	}
	for _, lane := range d.in {
		if err := t.wakeLane(lane, t.now); err != nil {
			return 0, err
		}
	}
	return d.in[0], t.audit(line)
}

// Skip ends a held or half undone delivery and lets its lane go on.
func (s *Store) Skip(ctx context.Context, id int64, who, note string) (int64, error) {
	line := s.auditRow(who, "skip", id, note)
	return do(ctx, s, lanes, func(t *tx) (int64, error) {
		d, err := t.idle(id)
		if err != nil {
			return 0, err
		}
		switch d.state {
		case ledger.Held, ledger.HalfUndone, ledger.Waiting, ledger.Received:
		default:
			return 0, fmt.Errorf("delivery %d is %s: %w", id, d.state, ledger.ErrState)
		}
		reason := "skipped by a person"
		if d.state == ledger.HalfUndone {
			reason = "skipped by a person, what was left over stays"
		}
		if err := t.must(qSetState, string(ledger.Skipped), reason, "skipped", "", "", "", int64(0), t.now, int64(0), id); err != nil {
			return 0, err
		}
		if err := t.leave(d, ledger.Skipped); err != nil {
			return 0, err
		}
		return d.in[0], t.audit(line)
	})
}

// Answer answers an open question; see ledger.Ledger.
func (s *Store) Answer(ctx context.Context, question int64, answer, who string) (int64, error) {
	sealed := s.ring.Main().Seal(seal.Row("question", question, "answer"), []byte(answer))
	var delivery int64
	line := s.auditRow(who, "answer question "+strconv.FormatInt(question, 10), 0, answer)
	return do(ctx, s, lanes, func(t *tx) (int64, error) {
		var q sealedQuestion
		found, err := one(t, qQuestion, func(r row) { q = scanQuestion(r) }, question)
		if err != nil {
			return 0, err
		}
		if !found {
			return 0, fmt.Errorf("question %d: %w", question, ledger.ErrNotFound)
		}
		if q.State != "open" {
			return 0, fmt.Errorf("question %d is %s: %w", question, q.State, ledger.ErrState)
		}
		delivery = q.Delivery
		d, err := t.idle(delivery)
		if err != nil {
			return 0, err
		}
		if err := t.must(qAnswer, who, t.now, sealed, question); err != nil {
			return 0, err
		}
		l := line
		l.delivery = delivery
		if d.state != ledger.Waiting && d.state != ledger.Held && d.state != ledger.HalfUndone && d.state != ledger.Undoing {
			return d.in[0], t.audit(l)
		}
		state := ledger.Waiting
		if d.state == ledger.Undoing {
			state = ledger.Undoing
		}
		return t.goAgain(d, state, l)
	})
}

// SetCircuit stores the state of a system.
func (s *Store) SetCircuit(ctx context.Context, c ledger.Circuit) error {
	switch c.State {
	case "closed", "open", "half open":
	default:
		return fmt.Errorf("circuit of %s: %q is no state", c.System, c.State)
	}
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		return struct{}{}, t.must(qSetCircuit, c.System, c.State, micro(c.Since), micro(c.Retry), int64(c.Failures), c.Reason, flag(c.Login))
	})
	return err
}

// Unblock wakes the deliveries that wait for a block, in receive order.
func (s *Store) Unblock(ctx context.Context, on ledger.Block, by string, limit int) ([]int64, error) {
	if on == ledger.BlockNone {
		return nil, fmt.Errorf("unblock: no block is named")
	}
	if limit <= 0 {
		limit = 500
	}
	return do(ctx, s, lanes, func(t *tx) ([]int64, error) {
		var ids []int64
		err := t.each(qBlocked, func(r row) (bool, error) {
			ids = append(ids, r.int(0))
			return true, nil
		}, string(on), by, int64(limit))
		if err != nil {
			return nil, err
		}
		before := len(t.rung)
		for _, id := range ids {
			if err := t.unblock(id); err != nil {
				return nil, err
			}
		}
		return append([]int64(nil), t.rung[before:]...), nil
	})
}
