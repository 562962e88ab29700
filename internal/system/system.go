// Package system holds the configured systems: how many requests each bears,
// whether it is up, and the only way to send it anything.
package system

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// OpenError: the system's circuit is open; nothing was sent. The delivery waits
// until the system's probe closes it.
type OpenError struct{ System, Reason string }

func (e *OpenError) Error() string {
	return fmt.Sprintf("%s is down (%s); waiting for it to come back", e.System, e.Reason)
}

// Limits are what one system bears.
type Limits struct {
	InFlight int           // requests at a time; default 8
	Rate     float64       // requests a second; 0 = no limit
	Timeout  time.Duration // of one request; default 60 s
	Settle   time.Duration // how long after its time-out a request may still be under way; 0: what the call says
	Probe    time.Duration // first pause between probes of an open circuit; default 1 s, doubling to 1 min
}

// Port is one configured system.
type Port struct {
	connector.System
	Connector string
	Limits    Limits
	// PersonKind is the kind of its records that are people ("openmrs/Patient"),
	// "" if none are.
	PersonKind string

	slots   chan struct{}
	limiter *rate.Limiter
	circuit circuit
	sent    atomic.Int64

	// OnChange is told when the circuit opens (with a reason) or closes ("").
	// Set it before the first request.
	OnChange func(open bool, reason string)
	// Hold bounds a request that changes something by how long this node may
	// still act for its lanes (law 11): the context ends then. Its error says
	// that nothing may be sent. Nil: no bound.
	Hold func(ctx context.Context) (context.Context, context.CancelFunc, error)
}

// New makes a port for a system.
func New(s connector.System, connectorName string, l Limits) *Port {
	if l.InFlight <= 0 {
		l.InFlight = 8
	}
	if l.Timeout <= 0 {
		l.Timeout = time.Minute
	}
	if l.Probe <= 0 {
		l.Probe = time.Second
	}
	p := &Port{System: s, Connector: connectorName, Limits: l, slots: make(chan struct{}, l.InFlight)}
	if l.Rate > 0 {
		p.limiter = rate.NewLimiter(rate.Limit(l.Rate), max(1, int(l.Rate)))
	}
	return p
}

// Open tells whether the circuit is open, and why.
func (p *Port) Open() (bool, string) { return p.circuit.isOpen() }

// Trip opens the circuit, as found open in the ledger at start.
func (p *Port) Trip(reason string) {
	p.circuit.mu.Lock()
	p.circuit.openFor(reason, time.Now())
	p.circuit.mu.Unlock()
}

// Sent is how many requests were sent, reads included.
func (p *Port) Sent() int64 { return p.sent.Load() }

// Reader is a Doer for planning: it refuses requests that change something.
func (p *Port) Reader(lane int64) call.Doer { return door{p, lane, false} }

// Writer is a Doer for the runner.
func (p *Port) Writer(lane int64) call.Doer { return door{p, lane, true} }

type door struct {
	port  *Port
	lane  int64
	write bool
}

// Do sends one request. The error is a *call.Error, an *OpenError, or the
// context's error when nothing was sent yet.
func (d door) Do(ctx context.Context, about string, r call.Request) (call.Answer, error) {
	if r.Changes() && !d.write {
		return call.Answer{}, fmt.Errorf("%s: planning tried to send %s, which changes something", d.port.Name(), r.Method)
	}
	if open, reason := d.port.circuit.isOpen(); open {
		return call.Answer{}, &OpenError{d.port.Name(), reason}
	}
	release, err := d.port.slot(ctx)
	if err != nil {
		return call.Answer{}, err
	}
	defer release()
	if r.Changes() && d.port.Hold != nil {
		held, end, err := d.port.Hold(ctx)
		if err != nil {
			return call.Answer{}, fmt.Errorf("%s: nothing is sent: %w", d.port.Name(), err)
		}
		defer end()
		ctx = held
	}
	answer, verdict, sendErr := d.port.send(ctx, r)
	opened := d.port.circuit.note(d.lane, verdict, answer.Status, time.Now())
	if opened && d.port.OnChange != nil {
		d.port.OnChange(true, verdict.Reason)
	}
	if verdict.Class == call.Done {
		return answer, nil
	}
	return answer, &call.Error{System: d.port.Name(), About: about, Verdict: verdict, Err: sendErr}
}

func (p *Port) slot(ctx context.Context) (release func(), err error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.limiter != nil {
		if err := p.limiter.Wait(ctx); err != nil {
			<-p.slots
			return nil, err
		}
	}
	return func() { <-p.slots }, nil
}

func (p *Port) send(ctx context.Context, r call.Request) (call.Answer, call.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Limits.Timeout)
	defer cancel()
	p.sent.Add(1)
	answer, err := p.System.Send(ctx, r)
	return answer, p.System.Classify(r, answer, err), err
}

// Heal probes an open circuit until the system answers, then closes it. The
// pauses double up to a minute; after wrong credentials they are sixty times as
// long, because OpenMRS locks an account after seven failed logins. It returns
// when closed or when ctx ends.
func (p *Port) Heal(ctx context.Context) error {
	pause, most := p.Limits.Probe, time.Minute
	if p.circuit.byLogin() {
		pause, most = 60*pause, time.Hour
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		_, verdict, _ := p.send(ctx, p.System.Probe())
		if verdict.Class == call.Done {
			p.circuit.close()
			if p.OnChange != nil {
				p.OnChange(false, "")
			}
			return nil
		}
		pause = min(pause*2, most)
	}
}
