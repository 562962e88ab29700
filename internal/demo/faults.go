package demo

import (
	"time"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

// slowDown lets every request take as long as one over a district's line, so
// that a node that is killed is in the middle of something.
func (w *World) slowDown() {
	for _, s := range w.systems {
		s.sim.Traffic().Switch(simulate.Fault{Kind: simulate.Slow, Match: "*", Share: 1, Delay: 20 * time.Millisecond})
	}
}

// switchFaults: a little of what happens in the field, all the time. The
// clinic's own people use other addresses (/openmrs/…), which none of it hits.
func (w *World) switchFaults() {
	for _, s := range w.systems {
		t := s.sim.Traffic()
		switch s.connector {
		case "openmrs":
			for _, path := range []string{"/ws/rest/v1/*", "/ws/rest/v1/*/*", "/ws/rest/v1/*/*/*", "/ws/rest/v1/*/*/*/*"} {
				for _, method := range []string{"POST ", "DELETE "} {
					t.Switch(simulate.Fault{Kind: simulate.LostResponse, Match: method + path, Share: 0.01})
					t.Switch(simulate.Fault{Kind: simulate.Error500After, Match: method + path, Share: 0.005})
					t.Switch(simulate.Fault{Kind: simulate.Error503, Match: method + path, Share: 0.01})
				}
				t.Switch(simulate.Fault{Kind: simulate.HTMLPage, Match: "* " + path, Share: 0.002})
				t.Switch(simulate.Fault{Kind: simulate.Slow, Match: "* " + path, Share: 0.02, Delay: 50 * time.Millisecond})
			}
			t.Switch(simulate.Fault{Kind: simulate.Refuse, Match: "POST /ws/rest/v1/encounter", Share: 0.01})
		case "commcare":
			t.Switch(simulate.Fault{Kind: simulate.TooMany, Match: "*", Share: 0.002})
		case "dhis2":
			t.Switch(simulate.Fault{Kind: simulate.LostResponse, Share: 0.02})
			t.Switch(simulate.Fault{Kind: simulate.Error503, Share: 0.01})
			t.Switch(simulate.Fault{Kind: simulate.Slow, Match: "*", Share: 0.02, Delay: 50 * time.Millisecond})
		case "cht":
			t.Switch(simulate.Fault{Kind: simulate.Error503, Match: "*", Share: 0.01})
		}
	}
}
