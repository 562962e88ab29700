package intake

import (
	"sync"
	"time"
)

// saidAgain is how long nothing is said again of what goes on happening: a full
// disk refuses hundreds of messages a second.
const saidAgain = time.Minute

// seldom says something once a minute, and how often it happened meanwhile.
type seldom struct {
	mu   sync.Mutex
	last time.Time
	n    int
}

func (s *seldom) say(now time.Time) (times int, say bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if !s.last.IsZero() && now.Sub(s.last) < saidAgain {
		return 0, false
	}
	times, s.n, s.last = s.n, 0, now
	return times, true
}
