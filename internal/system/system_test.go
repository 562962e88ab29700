package system

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// fake is a system whose verdicts the test decides.
type fake struct {
	verdict call.Verdict
	sent    int
	status  int
	hang    time.Duration
}

func (f *fake) Name() string               { return "target" }
func (f *fake) Kind(string) connector.Kind { return nil }
func (f *fake) Probe() call.Request        { return call.Request{Method: "GET", Path: "/probe"} }
func (f *fake) Send(ctx context.Context, _ call.Request) (call.Answer, error) {
	f.sent++
	select {
	case <-time.After(f.hang):
		return call.Answer{Status: f.status}, nil
	case <-ctx.Done():
		return call.Answer{}, ctx.Err()
	}
}
func (f *fake) Classify(_ call.Request, _ call.Answer, err error) call.Verdict {
	if err != nil {
		return call.Verdict{Class: call.Uncertain, Reason: "time-out", Down: true}
	}
	return f.verdict
}

var get = call.Request{Method: "GET", Path: "/"}

func TestACircuitOpensForSeveralLanesAndNeverForOne(t *testing.T) {
	f := &fake{verdict: call.Verdict{Class: call.RetryLater, Down: true, Reason: "503"}}
	p := New(f, "x", Limits{})
	for range 20 {
		_, _ = p.Reader(1).Do(t.Context(), "read", get)
	}
	if open, _ := p.Open(); open {
		t.Fatal("one lane opened the circuit")
	}
	_, _ = p.Reader(2).Do(t.Context(), "read", get)
	_, _ = p.Reader(3).Do(t.Context(), "read", get)
	if open, reason := p.Open(); !open || reason != "503" {
		t.Fatalf("open %v (%s) after three lanes met it down", open, reason)
	}
	sent := f.sent
	var down *OpenError
	if _, err := p.Reader(4).Do(t.Context(), "read", get); !errors.As(err, &down) || f.sent != sent {
		t.Fatalf("%v; %d requests were sent to an open circuit", err, f.sent-sent)
	}
}

func TestASuccessBetweenForgetsFailures(t *testing.T) {
	f := &fake{}
	p := New(f, "x", Limits{})
	for lane := range int64(20) {
		f.verdict = call.Verdict{Class: call.RetryLater, Down: true}
		_, _ = p.Reader(lane).Do(t.Context(), "read", get)
		f.verdict = call.Verdict{Class: call.Done}
		_, _ = p.Reader(lane).Do(t.Context(), "read", get)
	}
	if open, _ := p.Open(); open {
		t.Fatal("failures with successes between them opened the circuit")
	}
}

func TestOneWrongPasswordOpensTheCircuitAndIsProbedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{verdict: call.Verdict{Class: call.NotAuthorised, Reason: "wrong password"}, status: 401}
		p := New(f, "x", Limits{Probe: time.Second})
		_, _ = p.Reader(1).Do(t.Context(), "read", get)
		if open, _ := p.Open(); !open {
			t.Fatal("a wrong password did not open the circuit")
		}
		before := f.sent
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_ = p.Heal(ctx)
		if probes := f.sent - before; probes > 6 {
			t.Fatalf("%d probes in an hour lock the account", probes)
		}
	})
}

// A missing privilege concerns one kind of call, not the system.
func TestAMissingPrivilegeLeavesTheCircuitClosed(t *testing.T) {
	p := New(&fake{verdict: call.Verdict{Class: call.NotAuthorised}, status: 403}, "x", Limits{})
	for lane := range int64(9) {
		_, _ = p.Reader(lane).Do(t.Context(), "read", get)
	}
	if open, _ := p.Open(); open {
		t.Fatal("a missing privilege opened the circuit")
	}
}

// A refusal is the caller's fault: it tells nothing about the system.
func TestRefusalsNeverOpenACircuit(t *testing.T) {
	p := New(&fake{verdict: call.Verdict{Class: call.Refusal}}, "x", Limits{})
	for lane := range int64(50) {
		_, _ = p.Writer(lane).Do(t.Context(), "write", call.Request{Method: "POST"})
	}
	if open, _ := p.Open(); open {
		t.Fatal("refusals opened the circuit")
	}
}

func TestPlanningCannotChangeAnything(t *testing.T) {
	f := &fake{verdict: call.Verdict{Class: call.Done}}
	p := New(f, "x", Limits{})
	if _, err := p.Reader(1).Do(t.Context(), "plan", call.Request{Method: "POST"}); err == nil || f.sent != 0 {
		t.Fatalf("a changing request was sent while planning: %v", err)
	}
	if _, err := p.Reader(1).Do(t.Context(), "plan", call.Request{Method: "POST", Read: true}); err != nil {
		t.Fatalf("a read by POST was refused: %v", err)
	}
}

func TestHealProbesWithGrowingPausesUntilTheSystemIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{verdict: call.Verdict{Class: call.RetryLater, Down: true}}
		p := New(f, "x", Limits{Probe: time.Second})
		changes := []bool{}
		p.OnChange = func(open bool, _ string) { changes = append(changes, open) }
		for lane := range int64(3) {
			_, _ = p.Reader(lane).Do(t.Context(), "read", get)
		}
		before := f.sent
		healed := make(chan error, 1)
		go func() { healed <- p.Heal(t.Context()) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		// 1+2+4+8+16+32+60+60… : 6 within the first minute, then one a minute.
		if probes := f.sent - before; probes < 60 || probes > 70 {
			t.Fatalf("%d probes in an hour", probes)
		}
		f.verdict = call.Verdict{Class: call.Done}
		if err := <-healed; err != nil {
			t.Fatal(err)
		}
		if open, _ := p.Open(); open || len(changes) != 2 || !changes[0] || changes[1] {
			t.Fatalf("open %v, told %v", open, changes)
		}
	})
}

func TestNoMoreRequestsAtATimeThanTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{verdict: call.Verdict{Class: call.Done}, hang: time.Second}
		p := New(f, "x", Limits{InFlight: 4})
		began := time.Now()
		done := make(chan struct{}, 12)
		for range 12 {
			go func() {
				_, _ = p.Reader(1).Do(t.Context(), "read", get)
				done <- struct{}{}
			}()
		}
		for range 12 {
			<-done
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Fatalf("12 requests of a second, 4 at a time, took %s", took)
		}
	})
}

func TestARequestEndsAtItsTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(&fake{hang: time.Hour}, "x", Limits{Timeout: 5 * time.Second})
		began := time.Now()
		_, err := p.Writer(1).Do(t.Context(), "write", call.Request{Method: "POST"})
		if call.ClassOf(err) != call.Uncertain || time.Since(began) != 5*time.Second {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
	})
}
