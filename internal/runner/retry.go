package runner

import (
	"math/rand/v2"
	"time"
)

// Policy is how long a delivery goes on trying by itself.
type Policy struct {
	First  time.Duration // pause before the second try; default 2 s
	Most   time.Duration // longest pause; default 1 h
	GiveUp time.Duration // after that long it is held for a person; default 7 days
	// Jitter gives a number in [0,1); nil uses a random one.
	Jitter func() float64
}

func (p Policy) withDefaults() Policy {
	if p.First <= 0 {
		p.First = 2 * time.Second
	}
	if p.Most <= 0 {
		p.Most = time.Hour
	}
	if p.GiveUp <= 0 {
		p.GiveUp = 7 * 24 * time.Hour
	}
	if p.Jitter == nil {
		p.Jitter = rand.Float64
	}
	return p
}

// giveUpTries is how often a delivery was tried at the least before it is given
// up: age alone may be a clock that jumped.
const giveUpTries = 20

// past tells whether a time has gone by since then. While the clock is not
// believed nothing is past (law 22).
func (r *Runner) past(since time.Time, limit time.Duration, now time.Time) bool {
	if now.Sub(since) <= limit {
		return false
	}
	return r.Sane == nil || r.Sane()
}

// Pause is how long to wait before try number n+1, when n tries were made
// (from 1): exponential, a quarter of it at random, never sooner than what the
// system asked for.
func (p Policy) Pause(n int, asked time.Duration) time.Duration {
	p = p.withDefaults()
	pause := p.Most
	if n < 30 {
		if d := p.First << (n - 1); d > 0 && d < p.Most {
			pause = d
		}
	}
	pause = pause*3/4 + time.Duration(float64(pause/4)*p.Jitter())
	return max(pause, asked)
}
