package store

import (
	"errors"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// TestHoldLastsAsLongAsHeartbeatsAreTaken: the context outlives the lease while
// the database is reached, and ends with the lease when it is not.
func TestHoldLastsAsLongAsHeartbeatsAreTaken(t *testing.T) {
	const lease = 600 * time.Millisecond
	s := pgAt(t, postgrestest.URL(t), t.TempDir(), Options{Lease: lease})
	first := s.pg.until.Load().at
	ctx, end, err := s.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	for until := first; until.Sub(first) < 2*lease; { // heartbeats are taken meanwhile
		now := s.pg.until.Load().at
		if until = now; ctx.Err() != nil {
			t.Fatalf("it ended with its heartbeats taken: %v", ctx.Err())
		}
		time.Sleep(time.Millisecond) // gives the heartbeat a turn
	}
	s.pg.stop() // no more heartbeats, as when the database is away
	s.pg.beating.Wait()
	last := s.pg.until.Load().at
	select {
	case <-ctx.Done():
	case <-time.After(20 * lease): // guards against a hang, and measures nothing
		t.Fatal("it does not end with the lease")
	}
	if time.Now().Before(last) {
		t.Error("it ended before the lease")
	}
	if _, _, err := s.Hold(t.Context()); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("after the lease: %v", err)
	}
	if _, ok := s.Lease(t.Context()); ok {
		t.Error("the lease is not over")
	}
	// What waited in its socket may be old.
	if _, err := s.Accept(t.Context(), arrival1("f1"), nil); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("after the lease it took a message: %v", err)
	}
}
