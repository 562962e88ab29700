package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

type madeRow struct {
	ledger.Made
	target, sealed []byte
}

type snapshotRow struct {
	ledger.Snapshot
	target, sealed []byte
}

func (s *Store) target(system, kind, id string) []byte {
	return s.ring.Mac("target", system, kind, id)
}

func (s *Store) sealMade(maker []byte, in []ledger.Made) ([]madeRow, error) {
	out := make([]madeRow, len(in))
	for i, m := range in {
		b, err := json.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("encode what was made for %s: %w", m.Record, err)
		}
		out[i] = madeRow{Made: m, target: s.target(m.System, m.Kind, m.ID),
			sealed: s.ring.Main().Seal(seal.RowKey("made", maker, m.Record), b)}
	}
	return out, nil
}

func (s *Store) sealSnapshots(in []ledger.Snapshot) ([]snapshotRow, error) {
	out := make([]snapshotRow, len(in))
	for i, n := range in {
		b, err := json.Marshal(n)
		if err != nil {
			return nil, fmt.Errorf("encode snapshot of %s %s: %w", n.System, n.Kind, err)
		}
		out[i] = snapshotRow{Snapshot: n, target: s.target(n.System, n.Kind, n.ID)}
		out[i].sealed = s.ring.Main().Seal(seal.RowKey("snapshot", out[i].target, "sealed"), b)
	}
	return out, nil
}

func (t *tx) writeMade(e *ending) error {
	for i := range e.made {
		m := &e.made[i]
		if err := t.must(qSetMade, e.maker, m.Record, m.System, m.Kind, m.target, int64(m.Generation), flag(m.Created), flag(m.Gone), m.sealed); err != nil {
			return err
		}
	}
	for i := range e.snapshots {
		n := &e.snapshots[i]
		if err := t.must(qSetSnap, n.target, n.System, n.Kind, t.now, n.sealed); err != nil {
			return err
		}
	}
	return nil
}

// Snapshot gives the last agreed content of a record, nil if there is none.
func (s *Store) Snapshot(ctx context.Context, system, kind, id string) (*ledger.Snapshot, error) {
	target := s.target(system, kind, id)
	var sealed []byte
	err := s.read(ctx, func(c conn) error {
		_, err := one(c, qSnapshot, func(r row) { sealed = r.blob(0) }, target)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read snapshot of %s %s: %w", system, kind, err)
	}
	if sealed == nil {
		return nil, nil
	}
	b, err := s.ring.Main().Open(seal.RowKey("snapshot", target, "sealed"), sealed)
	if err != nil {
		return nil, fmt.Errorf("snapshot of %s %s: %w", system, kind, err)
	}
	var out ledger.Snapshot
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("decode snapshot of %s %s: %w", system, kind, err)
	}
	return &out, nil
}
