//go:build unix

package chaos

import (
	"net/http"
	"time"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

const tenYears = 10 * 365 * 24 * time.Hour

// clocks moves the machine's clock while forms come and the clinics often say
// that they are busy, so that much waits for a later try: whatever the clock
// says, each is tried again soon, and in order, and no schedule goes by a clock
// that has jumped.
func clocks(r *round) {
	w := r.world("", 1)
	for _, s := range w.sims {
		s.Traffic().Switch(simulate.Fault{Kind: simulate.Error503, Share: 0.2})
		s.Traffic().Switch(simulate.Fault{Kind: simulate.LostResponse, Share: 0.1})
	}
	m := w.members[0]
	m.Clock = true
	m.start()
	w.traffic()
	var was, ahead time.Duration
	w.while(func() {
		was = ahead
		w.pause(50*time.Millisecond, 500*time.Millisecond)
		switch k := w.rng.IntN(6); {
		case k == 0:
			ahead += tenYears
		case k < 3:
			ahead += time.Hour
		case k == 3:
			ahead = 0 // somebody sets it right
		default:
			ahead -= 24 * time.Hour
		}
		w.tally.faults++
		if w.rng.IntN(4) == 0 {
			m.kill()
			w.mayBeLate += m.Workers
			m.Ahead = ahead // it was off for a while, without a battery
			m.start()
			return
		}
		believed := m.believed()
		c := m.conditions
		c.Ahead = ahead
		m.set(c)
		if believed && ahead != was && m.believed() {
			w.Errorf("the clock jumped by %s, and schedules go by it", ahead-was)
		}
	})
	w.wait()
	// It is set right at the end, which is far behind what the ledger has seen.
	c := m.conditions
	c.Ahead = 0
	m.set(c)
	w.calmly()
	w.settle(false)
}

// believed tells whether a node's schedules go by its clock.
func (m *member) believed() bool {
	m.w.Helper()
	answer, err := http.Get(m.at() + "/today")
	m.w.must(err)
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
