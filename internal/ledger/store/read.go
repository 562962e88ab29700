package store

import (
	"context"
	"errors"
	"fmt"
	"math"
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

// Due lists lanes to run now, those with today's work first, then bulk, each
// oldest first; and when the next one is due. See DueByClass.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) (out []int64, next time.Time, err error) {
	out, bulk, next, err := s.DueByClass(ctx, now, limit)
	if err != nil {
		return nil, time.Time{}, err
	}
	room := max(int(limited(limit, 500, 100_000))-len(out), 0)
	return append(out, bulk[:min(room, len(bulk))]...), next, nil
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

// Delivery gives all of a delivery, for reading, also from the archive: its
// Epoch is 0.
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
		return c.every(append(append(restOf(sw, d.ID, sw.row.planned, int64(d.PlanNo)), earlierQuestions(sw)...), questionsOf(sw, d.ID))...)
	})
	if errors.Is(err, ledger.ErrNotFound) {
		if sw, err = s.archived(ctx, id); err == nil && sw == nil {
			err = ledger.ErrNotFound
		}
	}
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

// Message gives a message with its content, also from the archive. The content
// of one that was wiped is nil.
func (s *Store) Message(ctx context.Context, id int64) (*connector.Message, error) {
	out, err := s.messages(ctx, qMessage, true, id)
	if err != nil {
		return nil, err
	}
	if len(out) > 0 {
		return &out[0], nil
	}
	m, err := s.archivedMessage(id)
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", id, err)
	}
	return m, nil
}

// scanMessage reads qMessage, or without content a listing of messages.
func scanMessage(r row, content bool) workRow {
	w := workRow{seq: r.int(1), received: r.int(4), withdrawn: r.int(5) != 0, salt: r.blob(6), head: r.blob(7)}
	w.d.Message, w.d.System, w.d.Kind = r.int(0), r.text(2), r.text(3)
	if content {
		w.body = r.blob(8)
	}
	return w
}

func (s *Store) messages(ctx context.Context, q string, content bool, args ...any) ([]connector.Message, error) {
	var rows []workRow
	err := s.read(ctx, func(c conn) error {
		rows = nil
		return c.each(q, func(r row) (bool, error) {
			rows = append(rows, scanMessage(r, content))
			return true, nil
		}, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	out := make([]connector.Message, len(rows))
	for i := range rows {
		if out[i], err = rows[i].message(s, s.ring.Box(rows[i].salt)); err != nil {
			return nil, fmt.Errorf("message %d: %w", rows[i].d.Message, err)
		}
	}
	return out, nil
}

// Questions lists questions in the order they were asked; state "" is all.
func (s *Store) Questions(ctx context.Context, state string, after int64, limit int) ([]ledger.Question, error) {
	q, args := qQuestions, []any{state, after, limited(limit, 50, 1000)}
	switch state {
	case "":
		q, args = qAllQuestions, args[1:]
	case "open":
		q, args = qOpenQuestions, args[1:]
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
			out = append(out, scanCircuit(r))
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
	take := func(r row) (bool, error) {
		out = append(out, ledger.Audit{ID: r.int(0), At: fromMicro(r.int(1)), Who: r.text(2), Act: r.text(3), Delivery: r.int(4)})
		notes = append(notes, r.blob(5))
		return true, nil
	}
	err := s.read(ctx, func(c conn) error {
		out, notes = nil, nil
		return c.each(q, take, args...)
	})
	if err == nil && delivery != 0 && len(out) == 0 {
		err = s.archivedAudits(delivery, q, take, args)
	}
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
