package runner

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPausesGrowToTheLongestAndHonourWhatWasAsked(t *testing.T) {
	p := Policy{First: time.Second, Most: time.Hour}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(t, "try")
		asked := time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "asked"))
		got := p.Pause(n, asked)
		if got < asked {
			t.Fatalf("pause %s is shorter than the system asked for (%s)", got, asked)
		}
		if most := max(time.Hour, asked); got > most {
			t.Fatalf("pause %s is longer than %s", got, most)
		}
		if n > 13 && got < 45*time.Minute {
			t.Fatalf("try %d pauses only %s", n, got)
		}
	})
}
