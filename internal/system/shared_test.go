package system

import (
	"context"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

func TestANodeTakesItsShareOfLimitAndRate(t *testing.T) {
	p := New(&fake{}, "x", Limits{InFlight: 8, Rate: 10})
	for _, c := range []struct {
		nodes, most int
		rate        float64
	}{{1, 8, 10}, {2, 4, 5}, {3, 2, 10. / 3}, {20, 1, 0.5}, {0, 8, 10}} {
		p.Share(c.nodes)
		if got := p.MostInFlight(); got != c.most || float64(p.limiter.Limit()) != c.rate || p.limiter.Burst() < 1 {
			t.Errorf("%d nodes: %d at a time, %v a second, burst %d", c.nodes, got, p.limiter.Limit(), p.limiter.Burst())
		}
	}
}

func TestFailuresAreNotedForTheOtherNodes(t *testing.T) {
	f := &fake{verdict: call.Verdict{Class: call.RetryLater, Down: true, Reason: "503"}}
	p := New(f, "x", Limits{})
	var noted []int64
	p.Noted = func(_ context.Context, lane int64, down bool, _ string) {
		if !down {
			lane = -lane
		}
		noted = append(noted, lane)
	}
	_, _ = p.Reader(1).Do(t.Context(), "read", get)
	f.verdict = call.Verdict{Class: call.Done}
	_, _ = p.Reader(2).Do(t.Context(), "read", get) // nothing is on record
	p.OnRecord(true)
	_, _ = p.Reader(3).Do(t.Context(), "read", get)
	_, _ = p.Reader(4).Do(t.Context(), "read", get)
	if len(noted) != 2 || noted[0] != 1 || noted[1] != -3 {
		t.Errorf("noted %v", noted)
	}
}

func TestWhatIsOpenedHereStaysOpenUntilItIsTold(t *testing.T) {
	p := New(&fake{}, "x", Limits{})
	told := 0
	p.OnChange = func(open bool, _ string) {
		if open {
			told++
		}
	}
	p.FoundDown("503")
	p.FoundDown("503")
	if untold, _, reason := p.Untold(); !untold || reason != "503" || told != 1 {
		t.Errorf("untold %v (%s), told %d times", untold, reason, told)
	}
	if p.Follow(false, false, "") {
		t.Error("an older reading closes what was opened just now")
	}
	p.Told()
	if !p.Follow(false, false, "") || p.Follow(false, false, "") {
		t.Error("a circuit that was closed elsewhere is not closed here, or is news twice")
	}
	if !p.Follow(true, true, "wrong password") || !p.ByLogin() || told != 1 {
		t.Errorf("another node's finding is told again (%d), or is no wrong login", told)
	}
}

func TestPausesBetweenProbesGrow(t *testing.T) {
	p := New(&fake{}, "x", Limits{Probe: time.Second})
	for _, c := range []struct {
		failed int
		login  bool
		pause  time.Duration
	}{{0, false, time.Second}, {3, false, 8 * time.Second}, {9, false, time.Minute}, {1000, false, time.Minute}, {0, true, time.Minute}, {4, true, 16 * time.Minute}, {99, true, time.Hour}} {
		if got := p.ProbePause(c.failed, c.login); got != c.pause {
			t.Errorf("after %d failed probes (login %v): %s, not %s", c.failed, c.login, got, c.pause)
		}
	}
}
