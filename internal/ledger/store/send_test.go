package store

import (
	"errors"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// TestAfterASuspendTheDatabaseIsAskedBeforeAByteIsSent: the machine was asleep,
// its monotonic clock too, so that by that clock the lease is good. The wall
// clock tells, the database is asked, and it knows that the node was given up.
func TestAfterASuspendTheDatabaseIsAskedBeforeAByteIsSent(t *testing.T) {
	for _, given := range []bool{false, true} {
		url := postgrestest.URL(t)
		asleep := pgAt(t, url, t.TempDir(), Options{Lease: time.Hour})
		w := begun(t, asleep, arrival1("f1"))
		held, end, err := asleep.Hold(ledger.Running(t.Context(), w))
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		if given {
			// Another node takes it for dead, as it does when the lease is over.
			other := pgAt(t, url, t.TempDir(), Options{Lease: time.Hour})
			if _, err := do(t.Context(), other, lanes, func(tx *tx) (struct{}, error) {
				if err := tx.must(qStopNode, tx.now, asleep.node); err != nil {
					return struct{}{}, err
				}
				return struct{}{}, tx.takeOver(true)
			}); err != nil {
				t.Fatal(err)
			}
		}
		before := asleep.pg.until.Load()
		if err := asleep.MaySend(held); err != nil {
			t.Fatalf("given up %v: while awake: %v", given, err) // nobody has told it
		}
		asleep.pg.until.Store(&leaseEnd{before.at, before.wall.Add(-2 * suspended), before.mono})
		err = asleep.MaySend(held)
		if given != errors.Is(err, ledger.ErrFenced) || !given && err != nil {
			t.Errorf("given up %v: %v", given, err)
		}
		if asleep.pg.until.Load() == before {
			t.Errorf("given up %v: the database was not asked", given)
		}
	}
}

// TestASuspendedNodeWithoutItsDatabaseSendsNothing.
func TestASuspendedNodeWithoutItsDatabaseSendsNothing(t *testing.T) {
	s := pgAt(t, postgrestest.URL(t), t.TempDir(), Options{Lease: time.Hour})
	l := s.pg.until.Load()
	s.pg.until.Store(&leaseEnd{l.at, l.wall.Add(-2 * suspended), l.mono})
	s.pg.conf.Port = 1 // nobody listens there
	s.pg.beat.close()
	if err := s.MaySend(t.Context()); !errors.Is(err, ledger.ErrFenced) {
		t.Error(err)
	}
}
