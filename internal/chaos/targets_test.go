//go:build unix

package chaos

import (
	"math/rand/v2"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// targets has the systems hang, lie, lose answers, be slow and go down, while
// forms come. What a lie makes a person decide, an operator has tried again.
func targets(r *round) {
	database := ""
	if r.seed%2 == 1 {
		database = postgrestest.Shared(r).URL(schema())
	}
	w := r.world(database, 1)
	m := w.members[0]
	m.start()
	w.traffic()
	w.while(func() {
		w.trouble()
		w.pause(200*time.Millisecond, 900*time.Millisecond)
		if w.rng.IntN(3) == 0 {
			// One goes down for a while: its circuit opens, and it is probed.
			name := pick(w.rng, clinictest.Source, clinictest.ServerA, clinictest.ServerB)
			w.gate.dark(name)
			w.tally.faults++
			w.pause(200*time.Millisecond, 1500*time.Millisecond)
			w.gate.dark("")
		}
	})
	w.wait()
	w.pause(callTimeout, 2*callTimeout) // what waited longest for an answer meets a trouble too
	w.calmly()
	w.settle(true)
	for _, sim := range w.sims {
		for _, q := range sim.Traffic().Requests() {
			if q.Fault != "" {
				w.tally.faults++
			}
		}
	}
	w.tally.faults += w.gate.told
}

// troubles of a system, each for some of its requests.
var troubles = []simulate.Kind{simulate.LostResponse, simulate.TimeoutAfter, simulate.TimeoutBefore, simulate.Error500After, simulate.Error500,
	simulate.Down, simulate.Error503, simulate.HTMLPage, simulate.TooMany, simulate.Slow}

// trouble gives every system other troubles than it had.
func (w *world) trouble() {
	var told []*lie
	for name, sim := range w.sims {
		t := sim.Traffic()
		t.Calm()
		for range 3 {
			f := simulate.Fault{Kind: pick(w.rng, troubles...), Share: 0.02 + 0.08*w.rng.Float64()}
			if w.rng.IntN(3) == 0 {
				f.Match = "*" // reads too
			}
			if f.Kind == simulate.Slow {
				// Some are done after we have stopped to wait for them, within the settling time.
				f.Delay = time.Duration(w.rng.Int64N(int64(callTimeout + callSettle/2)))
			}
			t.Switch(f)
		}
		if name != clinictest.Source && w.rng.IntN(4) == 0 {
			t.Switch(simulate.Fault{Kind: simulate.Executed401, Call: 1 + w.rng.IntN(20)}) // an OpenMRS session that ends
		}
		told = append(told, &lie{kind: pick(w.rng, lies...), system: name, share: 0.05})
	}
	w.gate.lie(told...)
}

func pick[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }
