package system

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

var post = call.Request{Method: "POST", Path: "/"}

// TestNothingIsChangedByANodeThatLostItsLease: reads may go on, they do no harm.
func TestNothingIsChangedByANodeThatLostItsLease(t *testing.T) {
	lost := errors.New("lost")
	f := &fake{verdict: call.Verdict{Class: call.Done}}
	p := New(f, "x", Limits{})
	p.Hold = func(context.Context) (context.Context, context.CancelFunc, error) { return nil, nil, lost }
	if _, err := p.Writer(1).Do(t.Context(), "write", post); !errors.Is(err, lost) || f.sent != 0 {
		t.Errorf("%v; %d requests were sent", err, f.sent)
	}
	if _, err := p.Writer(1).Do(t.Context(), "read", get); err != nil || f.sent != 1 {
		t.Errorf("%v; %d requests were sent", err, f.sent)
	}
	if p.slots.Used() != 0 {
		t.Error("a slot was kept")
	}
}

func TestACallIsCutOffWhenTheLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hang: time.Minute}
		p := New(f, "x", Limits{})
		p.Hold = func(ctx context.Context) (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			return ctx, cancel, nil
		}
		began := time.Now()
		_, err := p.Writer(1).Do(t.Context(), "write", post)
		var unclear *call.Error
		if !errors.As(err, &unclear) || unclear.Class != call.Uncertain || time.Since(began) != 3*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}
