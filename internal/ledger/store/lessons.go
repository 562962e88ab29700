package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

type lessonBody struct {
	Integration string   `json:"integration"`
	Table       string   `json:"table"`
	Codes       []string `json:"codes"`
	Value       string   `json:"value"`
}

type lessonRow struct {
	mac, sealed []byte
	at          int64
	who         string
}

func scanLesson(r row) lessonRow {
	return lessonRow{mac: r.blob(0), at: r.int(1), who: r.text(2), sealed: r.blob(3)}
}

func (s *Store) lessonKey(integration, table string, codes []string) []byte {
	return s.ring.Mac("lesson", append([]string{integration, table}, codes...)...)
}

func (s *Store) openLesson(l *lessonRow) (ledger.Lesson, error) {
	b, err := s.ring.Main().Open(seal.RowKey("lesson", l.mac, "sealed"), l.sealed)
	if err != nil {
		return ledger.Lesson{}, fmt.Errorf("open a lesson: %w", err)
	}
	var body lessonBody
	if err := json.Unmarshal(b, &body); err != nil {
		return ledger.Lesson{}, fmt.Errorf("decode a lesson: %w", err)
	}
	return ledger.Lesson{Integration: body.Integration, Table: body.Table, Codes: body.Codes, Value: body.Value, Who: l.who, At: fromMicro(l.at)}, nil
}

// Teach keeps a lesson; see ledger.Ledger.
func (s *Store) Teach(ctx context.Context, l ledger.Lesson) error {
	if l.Integration == "" || l.Table == "" || len(l.Codes) == 0 {
		return fmt.Errorf("a lesson needs its integration, table and code")
	}
	b, err := json.Marshal(lessonBody{l.Integration, l.Table, l.Codes, l.Value})
	if err != nil {
		return fmt.Errorf("encode a lesson: %w", err)
	}
	mac := s.lessonKey(l.Integration, l.Table, l.Codes)
	sealed := s.ring.Main().Seal(seal.RowKey("lesson", mac, "sealed"), b)
	line := s.auditRow(l.Who, "teach "+l.Integration+" "+l.Table, 0, string(b))
	_, err = do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		if err := t.must(qSetLesson, mac, t.now, l.Who, sealed); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.audit(line)
	})
	return err
}

// Unteach forgets a lesson; see ledger.Ledger.
func (s *Store) Unteach(ctx context.Context, integration, table string, codes []string, who string) error {
	mac := s.lessonKey(integration, table, codes)
	line := s.auditRow(who, "unteach "+integration+" "+table, 0, "")
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		n, err := t.exec(qDropLesson, mac)
		if err != nil {
			return struct{}{}, err
		}
		if n == 0 {
			return struct{}{}, fmt.Errorf("nothing was taught for that code of %s: %w", table, ledger.ErrNotFound)
		}
		return struct{}{}, t.audit(line)
	})
	return err
}

// Lesson gives one lesson, nil if there is none; see ledger.Ledger.
func (s *Store) Lesson(ctx context.Context, integration, table string, codes []string) (*ledger.Lesson, error) {
	out, err := s.lessons(ctx, qLesson, s.lessonKey(integration, table, codes))
	if err != nil || len(out) == 0 {
		return nil, err
	}
	return &out[0], nil
}

// Lessons lists what was taught, oldest first.
func (s *Store) Lessons(ctx context.Context) ([]ledger.Lesson, error) {
	return s.lessons(ctx, qLessons)
}

func (s *Store) lessons(ctx context.Context, q string, args ...any) ([]ledger.Lesson, error) {
	var rows []lessonRow
	err := s.read(ctx, func(c conn) error {
		rows = nil
		return c.each(q, func(r row) (bool, error) {
			rows = append(rows, scanLesson(r))
			return true, nil
		}, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("read lessons: %w", err)
	}
	out := make([]ledger.Lesson, len(rows))
	for i := range rows {
		if out[i], err = s.openLesson(&rows[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
