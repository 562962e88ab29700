package intake

import (
	"testing"
	"time"
)

func TestWhatGoesOnHappeningIsSaidOnceAMinuteWithHowOften(t *testing.T) {
	var s seldom
	now := time.Unix(1000, 0)
	for _, x := range []struct {
		after time.Duration
		times int
		say   bool
	}{{0, 1, true}, {time.Second, 0, false}, {30 * time.Second, 0, false}, {29 * time.Second, 3, true}, {time.Second, 0, false}} {
		now = now.Add(x.after)
		if times, say := s.say(now); times != x.times || say != x.say {
			t.Errorf("after %s: %d, %t; want %d, %t", x.after, times, say, x.times, x.say)
		}
	}
}
