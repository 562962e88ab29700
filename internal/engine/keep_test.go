package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// keptLedger puts away so much at each time, or cannot.
type keptLedger struct {
	*store.Store
	kept ledger.Kept
	err  error
}

func (k *keptLedger) Keep(context.Context, time.Time, ledger.Keep, float64) (ledger.Kept, error) {
	return k.kept, k.err
}

// TestWhatWasPutAwayIsCountedAndItsAgeTold: the age falls to nothing each time
// that all was put away that was due, and rises while that cannot be done; what
// was put away until the failure counts all the same. On a node that does not do
// it there is no age.
func TestWhatWasPutAwayIsCountedAndItsAgeTold(t *testing.T) {
	dir, ring := t.TempDir(), seal.Temporary()
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenSQLite(t.Context(), dir, store.Options{Ring: ring, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l := &keptLedger{s, ledger.Kept{Wiped: 3, Archived: 2, Freed: 4096}, nil}
		e, err := New(Options{Ledger: l, Registry: connector.Registry{}, Site: &flow.Site{Zone: time.UTC}})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := e.KeptAge(); ok {
			t.Error("an age on a node that does not do it")
		}
		if err := e.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		is := func(times int64, age time.Duration) {
			t.Helper()
			synctest.Wait()
			if k := e.Kept(); k != (ledger.Kept{Wiped: 3 * times, Archived: 2 * times, Freed: 4096 * times}) {
				t.Errorf("it was put away %d times, and counted %+v", times, k)
			}
			if got, ok := e.KeptAge(); !ok || got != age {
				t.Errorf("its age is %s, %t; want %s", got, ok, age)
			}
		}
		time.Sleep(time.Minute)
		is(0, time.Minute) // it has not been done yet, since this node began
		time.Sleep(keptFirst - time.Minute + time.Second)
		is(1, time.Second)
		l.err = errors.New("the archive's disk is full")
		time.Sleep(keptEvery)
		is(2, keptEvery+time.Second)
		time.Sleep(keptEvery)
		is(3, 2*keptEvery+time.Second)
		l.err = nil
		time.Sleep(keptEvery)
		is(4, time.Second)
		if kept, err := e.Keep(t.Context(), 0); err != nil || kept != l.kept { // by hand
			t.Errorf("%+v, %v", kept, err)
		}
		is(5, 0)
		e.Stop()
		if _, ok := e.KeptAge(); ok {
			t.Error("an age on a node that does it no more")
		}
	})
}
