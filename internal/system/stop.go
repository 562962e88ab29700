package system

import (
	"context"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/call"
)

// A system is stopped when something is wrong that no probe can tell is mended:
// it was restored from a backup. Nothing is sent to it, and nothing read but by
// Looker, until a person says so.

// Stop stops the system on this node. It tells whether that is news.
func (p *Port) Stop(reason string) (news bool) { return p.stop.Swap(&reason) == nil }

// Resume lets it go on. It tells whether it was stopped.
func (p *Port) Resume() (news bool) { return p.stop.Swap(nil) != nil }

// Stopped tells whether the system is stopped, and why.
func (p *Port) Stopped() (reason string, stopped bool) {
	if r := p.stop.Load(); r != nil {
		return *r, true
	}
	return "", false
}

// Looker is a Doer for finding out what is there: it refuses requests that
// change something, and reads also from a system that is stopped.
func (p *Port) Looker() call.Doer { return looker{p} }

type looker struct{ port *Port }

func (l looker) Do(ctx context.Context, about string, r call.Request) (call.Answer, error) {
	p := l.port
	if r.Changes() {
		return call.Answer{}, fmt.Errorf("%s: looking tried to send %s, which changes something", p.Name(), r.Method)
	}
	if open, reason := p.circuit.isOpen(); open {
		return call.Answer{}, &OpenError{p.Name(), reason, false}
	}
	release, err := p.slot(ctx)
	if err != nil {
		return call.Answer{}, err
	}
	defer release()
	answer, verdict, sendErr := p.send(ctx, r, false)
	p.note(ctx, 0, verdict, answer.Status)
	if verdict.Class == call.Done {
		return answer, nil
	}
	return answer, &call.Error{System: p.Name(), About: about, Verdict: verdict, Err: sendErr}
}
