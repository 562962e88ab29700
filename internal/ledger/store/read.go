package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

func limited(n, standard, most int) int64 {
	if n <= 0 {
		n = standard
	}
	return int64(min(n, most))
}

func below(after int64) int64 {
	if after <= 0 {
		return math.MaxInt64
	}
	return after
}

// Due lists lanes to run now, oldest first, and when the next one is due.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) (out []int64, next time.Time, err error) {
	at := micro(now)
	err = s.read(ctx, func(c conn) error {
		out, next = nil, time.Time{}
		if s.pg != nil || s.recovering.Load() > 0 {
			lane, err := nextRecovering(c)
			if err != nil {
				return err
			}
			if lane != 0 {
				out = append(out, lane)
			}
		}
		if err := c.each(qDue, func(r row) (bool, error) {
			out = append(out, r.int(0))
			return true, nil
		}, at, limited(limit, 500, 100_000)); err != nil {
			return err
		}
		_, err := one(c, qNextDue, func(r row) { next = fromMicro(r.int(0)) }, at)
		return err
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read due lanes: %w", err)
	}
	return out, next, nil
}

// nextRecovering gives the first lane that was in flight at the crash, none
// while another of them is being run (law 25).
func nextRecovering(c conn) (lane int64, err error) {
	err = c.each(qRecovering, func(r row) (bool, error) {
		if r.int(1) != 0 {
			lane = 0
			return false, nil
		}
		if lane == 0 {
			lane = r.int(0)
		}
		return true, nil
	})
	return lane, err
}

// Position gives a poll position.
func (s *Store) Position(ctx context.Context, system, stream string) (pos []byte, err error) {
	err = s.read(ctx, func(c conn) error {
		_, err := one(c, qPosition, func(r row) { pos = r.blob(0) }, system, stream)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read position of %s, stream %s: %w", system, stream, err)
	}
	return pos, nil
}

// Deliveries lists deliveries, newest first.
func (s *Store) Deliveries(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error) {
	q := `SELECT ` + deliveryCols + ` FROM delivery d JOIN message m ON m.id = d.message WHERE d.id < ?`
	args := []any{below(f.After)}
	if len(f.States) > 0 {
		// The states stand in the text, so that the index by state can be used.
		quoted := make([]string, len(f.States))
		for i, st := range f.States {
			if strings.ContainsAny(string(st), `'\`) {
				return nil, fmt.Errorf("%q is no state: %w", st, ledger.ErrState)
			}
			quoted[i] = "'" + string(st) + "'"
		}
		q += ` AND d.state IN (` + strings.Join(slices.Compact(slices.Sorted(slices.Values(quoted))), ", ") + `)`
	}
	for _, c := range []struct{ col, val string }{{"d.flow", f.Flow}, {"m.system", f.System}, {"d.cause", f.Cause}} {
		if c.val != "" {
			q += ` AND ` + c.col + ` = ?`
			args = append(args, c.val)
		}
	}
	if f.Message != 0 {
		q += ` AND d.message = ?`
		args = append(args, f.Message)
	}
	q += ` ORDER BY d.id DESC LIMIT ?`
	args = append(args, limited(f.Limit, 50, 1000))
	return s.deliveries(ctx, q, args...)
}

// Document lists the deliveries of all versions of a document, oldest first.
func (s *Store) Document(ctx context.Context, system, doc string) ([]ledger.Delivery, error) {
	return s.deliveries(ctx, qDeliveriesOfDoc, s.ring.Mac("doc", system, doc))
}

func (s *Store) deliveries(ctx context.Context, q string, args ...any) ([]ledger.Delivery, error) {
	var rows []workRow
	err := s.read(ctx, func(c conn) error {
		rows = nil
		return c.each(q, func(r row) (bool, error) {
			rows = append(rows, scanDelivery(r))
			return true, nil
		}, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	out := make([]ledger.Delivery, len(rows))
	for i := range rows {
		if out[i], err = rows[i].delivery(s.ring.Box(rows[i].salt)); err != nil {
			return nil, fmt.Errorf("delivery %d: %w", rows[i].d.ID, err)
		}
	}
	return out, nil
}

// Delivery gives all of a delivery, for reading: its Epoch is 0.
func (s *Store) Delivery(ctx context.Context, id int64) (*ledger.Work, error) {
	var sw *sealedWork
	err := s.readAll(ctx, func(c conn) error {
		sw = &sealedWork{}
		found, err := one(c, qWork, func(r row) { sw.row = scanWork(r) }, id)
		if err != nil {
			return err
		}
		if !found {
			return ledger.ErrNotFound
		}
		if _, err := one(c, qLane, func(r row) { sw.lane = scanLane(r) }, sw.row.d.Lane); err != nil {
			return err
		}
		d := &sw.row.d
		return c.every(append(restOf(sw, d.ID, sw.row.planned, int64(d.PlanNo)), questionsOf(sw, d.ID))...)
	})
	if err != nil {
		return nil, fmt.Errorf("delivery %d: %w", id, err)
	}
	if sw.lane == nil {
		return nil, fmt.Errorf("lane %d of delivery %d: %w", sw.row.d.Lane, id, ledger.ErrNotFound)
	}
	sw.lane.epoch = 0
	return s.open(sw)
}

// Counts counts deliveries by flow and state.
func (s *Store) Counts(ctx context.Context) ([]ledger.Count, error) {
	var out []ledger.Count
	err := s.readAll(ctx, func(c conn) error {
		out = nil
		for _, q := range []string{qTallies, qOpenCounts} {
			if err := c.each(q, func(r row) (bool, error) {
				out = append(out, ledger.Count{Flow: r.text(0), State: ledger.State(r.text(1)), N: r.int(2), Calls: r.int(3), First: fromMicro(r.int(4)), Last: fromMicro(r.int(5))})
				return true, nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	return out, nil
}

// Message gives a message with its content.
func (s *Store) Message(ctx context.Context, id int64) (*connector.Message, error) {
	out, err := s.messages(ctx, qMessage, true, id)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("message %d: %w", id, ledger.ErrNotFound)
	}
	return &out[0], nil
}

// Messages lists messages, newest first, without their content.
func (s *Store) Messages(ctx context.Context, system string, after int64, limit int) ([]connector.Message, error) {
	n := limited(limit, 50, 1000)
	if system == "" {
		return s.messages(ctx, qMessages, false, below(after), n)
	}
	return s.messages(ctx, qMessagesFrom, false, below(after), system, n)
}

func (s *Store) messages(ctx context.Context, q string, content bool, args ...any) ([]connector.Message, error) {
	var rows []workRow
	err := s.read(ctx, func(c conn) error {
		rows = nil
		return c.each(q, func(r row) (bool, error) {
			w := workRow{seq: r.int(1), received: r.int(4), withdrawn: r.int(5) != 0, salt: r.blob(6), head: r.blob(7)}
			w.d.Message, w.d.System, w.d.Kind = r.int(0), r.text(2), r.text(3)
			if content {
				w.body = r.blob(8)
			}
			rows = append(rows, w)
			return true, nil
		}, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	out := make([]connector.Message, len(rows))
	for i := range rows {
		if out[i], err = rows[i].message(s.ring.Box(rows[i].salt)); err != nil {
			return nil, fmt.Errorf("message %d: %w", rows[i].d.Message, err)
		}
	}
	return out, nil
}

// Questions lists questions in the order they were asked; state "" is all.
func (s *Store) Questions(ctx context.Context, state string, after int64, limit int) ([]ledger.Question, error) {
	q, args := qQuestions, []any{state, after, limited(limit, 50, 1000)}
	if state == "" {
		q, args = qAllQuestions, args[1:]
	}
	var rows []sealedQuestion
	err := s.read(ctx, func(c conn) error {
		rows = nil
		return c.each(q, func(r row) (bool, error) {
			rows = append(rows, scanQuestion(r))
			return true, nil
		}, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("list questions: %w", err)
	}
	out := make([]ledger.Question, len(rows))
	for i := range rows {
		if out[i], err = rows[i].open(s.ring); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Circuit gives the state of a system, closed if nothing is known.
func (s *Store) Circuit(ctx context.Context, system string) (ledger.Circuit, error) {
	out, err := s.circuits(ctx, qCircuit, system)
	if err != nil || len(out) == 0 {
		return ledger.Circuit{System: system, State: "closed"}, err
	}
	return out[0], nil
}

// Circuits lists the systems whose state was ever set.
func (s *Store) Circuits(ctx context.Context) ([]ledger.Circuit, error) {
	return s.circuits(ctx, qCircuits)
}

func (s *Store) circuits(ctx context.Context, q string, args ...any) (out []ledger.Circuit, err error) {
	err = s.read(ctx, func(c conn) error {
		out = nil
		return c.each(q, func(r row) (bool, error) {
			out = append(out, ledger.Circuit{System: r.text(0), State: r.text(1), Since: fromMicro(r.int(2)), Retry: fromMicro(r.int(3)), Failures: int(r.int(4)), Reason: r.text(5)})
			return true, nil
		}, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("read circuits: %w", err)
	}
	return out, nil
}

// Audits lists the audit trail, newest first; delivery 0 is all.
func (s *Store) Audits(ctx context.Context, delivery, after int64, limit int) ([]ledger.Audit, error) {
	q, args := qAudits, []any{below(after), limited(limit, 50, 1000)}
	if delivery != 0 {
		q, args = qAuditsOf, []any{below(after), delivery, limited(limit, 50, 1000)}
	}
	var out []ledger.Audit
	var notes [][]byte
	err := s.read(ctx, func(c conn) error {
		out, notes = nil, nil
		return c.each(q, func(r row) (bool, error) {
			out = append(out, ledger.Audit{ID: r.int(0), At: fromMicro(r.int(1)), Who: r.text(2), Act: r.text(3), Delivery: r.int(4)})
			notes = append(notes, r.blob(5))
			return true, nil
		}, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("read audit trail: %w", err)
	}
	for i := range out {
		note, err := s.ring.Main().Open(seal.Row("audit", out[i].ID, "note"), notes[i])
		if err != nil {
			return nil, fmt.Errorf("audit line %d: %w", out[i].ID, err)
		}
		out[i].Note = string(note)
	}
	return out, nil
}
