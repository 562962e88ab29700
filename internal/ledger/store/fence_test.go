package store

import (
	"errors"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// TestTheSameNodesOlderEpochIsFenced: node and delivery are as they were, only
// the lane was given back and taken again meanwhile. What the earlier worker had
// under way when that was committed is refused by the epoch alone, on both
// databases, in a transaction that is shared and in one that is not.
func TestTheSameNodesOlderEpochIsFenced(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) *Store{
		"SQLite":   func(t *testing.T) *Store { return openAt(t, t.TempDir(), Options{}) },
		"Postgres": func(t *testing.T) *Store { return pgAt(t, postgrestest.URL(t), t.TempDir(), Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			got, err := s.Accept(t.Context(), arrival1("f1"), nil)
			if err != nil {
				t.Fatal(err)
			}
			lane := got[0].Lanes[0]
			old, err := s.Start(t.Context(), lane, s.Now())
			if err != nil || old == nil {
				t.Fatal(old, err)
			}
			if err := s.Release(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			now, err := s.Start(t.Context(), lane, s.Now())
			if err != nil || now == nil || now.Epoch <= old.Epoch {
				t.Fatal(now, err)
			}
			for _, n := range []need{{alone: true}, {fences: []int64{lane}}, {ids: []int64{lane}}} {
				fence := func(w *ledger.Work) error {
					_, err := doWith(t.Context(), s, lanes, n, func(t *tx) (struct{}, error) {
						_, _, err := t.fence(w)
						return struct{}{}, err
					})
					return err
				}
				if err := fence(now); err != nil {
					t.Errorf("%+v: the newer one is fenced: %v", n, err)
				}
				if err := fence(old); !errors.Is(err, ledger.ErrFenced) {
					t.Errorf("%+v: the older one may write: %v", n, err)
				}
			}
		})
	}
}
