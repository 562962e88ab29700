package invariants

import (
	"fmt"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// TestOnce loses the outcome of every call of every scene, in every way: the
// end is the same as if nothing had been lost, and nothing is there twice.
func TestOnce(t *testing.T) {
	kinds := []simulate.Kind{simulate.LostResponse, simulate.TimeoutAfter, simulate.TimeoutBefore, simulate.Error500After, simulate.Error500,
		simulate.Down, simulate.Error503, simulate.HTMLPage, simulate.TooMany, simulate.Executed401}
	if testing.Short() {
		kinds = kinds[:2]
	}
	for _, s := range scenes {
		n, end := s.calls(t)
		for _, system := range []string{serverA, source} {
			for k := 1; k <= n[system]; k++ {
				for _, kind := range kinds {
					if kind == simulate.Executed401 && system == source {
						continue // only OpenMRS executes what it answers with 401
					}
					t.Run(fmt.Sprintf("%s, %s of %s at %d", s.name, kind, system, k), func(t *testing.T) {
						t.Parallel()
						s.play(t, func(w *world) {
							w.sims[system].Traffic().Switch(simulate.Fault{Kind: kind, Call: k})
						}, func(w *world, _ map[string]string) {
							w.lastIs(ledger.Done)
							if n := w.struck(kind); n != 1 {
								t.Errorf("the fault struck %d times, want once", n)
							}
							got, err := unnamed(w.state())
							w.must(err)
							w.same("at rest", end, got)
						})
					})
				}
			}
		}
	}
}

// struck counts the requests that a kind of fault hit.
func (w *world) struck(kind simulate.Kind) (n int) {
	for _, sim := range w.sims {
		for _, r := range sim.Traffic().Requests() {
			if r.Fault == kind {
				n++
			}
		}
	}
	return n
}
