package system

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// TestAStoppedSystemIsNeitherSentNorReadAndNoProbeResumesIt: only who looks what
// is there gets an answer, and only a person ends it.
func TestAStoppedSystemIsNeitherSentNorReadAndNoProbeResumesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{verdict: call.Verdict{Class: call.Done}}
		p := New(f, "x", Limits{})
		if !p.Stop("restored") || p.Stop("again") {
			t.Error("the first stop is the news")
		}
		var down *OpenError
		if _, err := p.Reader(1).Do(t.Context(), "read", get); !errors.As(err, &down) || !down.Stopped || down.Error() != "again" {
			t.Errorf("a read: %v", err)
		}
		if _, err := p.Writer(1).Do(t.Context(), "write", call.Request{Method: "POST"}); !errors.As(err, &down) || f.sent != 0 {
			t.Errorf("a write: %v, %d requests", err, f.sent)
		}
		p.Follow(true, false, "503")
		if _, err := p.Looker().Do(t.Context(), "look", get); !errors.As(err, &down) || down.Stopped || f.sent != 0 {
			t.Errorf("looking at a system that is down: %v", err)
		}
		go func() { _ = p.Heal(t.Context()) }()
		time.Sleep(time.Hour)
		if open, reason := p.Open(); !open || reason != "again" {
			t.Errorf("after the probe: open %v (%s)", open, reason)
		}
		if _, err := p.Looker().Do(t.Context(), "look", get); err != nil {
			t.Error(err)
		}
		if _, err := p.Looker().Do(t.Context(), "look", call.Request{Method: "DELETE"}); err == nil {
			t.Error("looking changed something")
		}
		if !p.Resume() || p.Resume() {
			t.Error("the first resume is the news")
		}
		if _, err := p.Reader(1).Do(t.Context(), "read", get); err != nil {
			t.Error(err)
		}
	})
}
