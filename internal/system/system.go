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
	"github.com/kiungo-health/kiungo/internal/gate"
)

// OpenError: the system's circuit is open; nothing was sent. The delivery waits
// until the system's probe closes it.
type OpenError struct {
	System, Reason string
	Stopped        bool // no probe closes it: see Port.Stop
}

func (e *OpenError) Error() string {
	if e.Stopped {
		return e.Reason
	}
	return fmt.Sprintf("%s is down (%s); waiting for it to come back", e.System, e.Reason)
}

// Limits are what one system bears.
type Limits struct {
	InFlight int           // requests at a time; default 8
	Rate     float64       // requests a second; 0 = no limit
	Timeout  time.Duration // of one request; default 60 s
	Settle   time.Duration // how long after its time-out a request may still be under way; 0: what the call says
	// Traceparent has it told the trace that a request belongs to, if there is one.
	Traceparent bool
	Probe       time.Duration // first pause between probes of an open circuit; default 1 s, doubling to 1 min
}

// Port is one configured system.
type Port struct {
	connector.System
	Connector string
	Limits    Limits
	// PersonKind is the kind of its records that are people ("openmrs/Patient"),
	// "" if none are.
	PersonKind string

	slots   *gate.Gate
	limiter *rate.Limiter
	circuit circuit
	sent    atomic.Int64
	stop    atomic.Pointer[string] // see Stop
	// onRecord: see OnRecord.
	onRecord atomic.Bool
	waited   atomic.Int64 // nanoseconds

	// OnChange is told when the circuit opens (with a reason) or closes ("").
	// Set it before the first request.
	OnChange func(open bool, reason string)
	// Noted is told where several nodes share the system: of every failure that
	// may be the system's (down), with the lane that met it, and of a success
	// while failures are on record (see OnRecord). Nil: this is the only node.
	Noted func(ctx context.Context, lane int64, down bool, reason string)
	// Hold bounds a request that changes something by how long this node may
	// still act for its lanes (law 11): the context ends then. Its error says
	// that nothing may be sent. Nil: no bound.
	Hold func(ctx context.Context) (context.Context, context.CancelFunc, error)
	// Sending is told before a request is sent, and gives the context it is sent
	// under; it may add headers. Observe is told of each request that was sent,
	// with that context. Both are for metrics and traces; nil: nobody.
	Sending func(ctx context.Context, r *call.Request) context.Context
	Observe func(ctx context.Context, s Sent)
}

// Sent is a request that was sent.
type Sent struct {
	Port    *Port
	Request *call.Request
	Probe   bool // asked whether the system is back
	Began   time.Time
	Took    time.Duration
	Verdict call.Verdict
	Status  int // HTTP status, 0 without an answer
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
	p := &Port{System: s, Connector: connectorName, Limits: l, slots: gate.New(l.InFlight)}
	if l.Rate > 0 {
		p.limiter = rate.NewLimiter(rate.Limit(l.Rate), max(1, int(l.Rate)))
	}
	return p
}

// Open tells whether the circuit is open, or the system stopped, and why.
func (p *Port) Open() (bool, string) {
	if reason, stopped := p.Stopped(); stopped {
		return true, reason
	}
	return p.circuit.isOpen()
}

// Follow opens or closes the circuit as it was found in the ledger: at start,
// and where another node opened or closed it. It tells whether that is news.
// Nobody is told of it again.
func (p *Port) Follow(open, login bool, reason string) (news bool) {
	return p.circuit.follow(open, login, reason, time.Now())
}

// Sent is how many requests were sent, reads included.
func (p *Port) Sent() int64 { return p.sent.Load() }

// InFlight is how many requests are under way or wait for the rate.
func (p *Port) InFlight() int { return p.slots.Used() }

// Waited is how long requests have waited, in all, for a slot or for the rate.
func (p *Port) Waited() time.Duration { return time.Duration(p.waited.Load()) }

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
	if reason, stopped := d.port.Stopped(); stopped {
		return call.Answer{}, &OpenError{d.port.Name(), reason, true}
	}
	if open, reason := d.port.circuit.isOpen(); open {
		return call.Answer{}, &OpenError{d.port.Name(), reason, false}
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
	answer, verdict, sendErr := d.port.send(ctx, r, false)
	d.port.note(ctx, d.lane, verdict, answer.Status)
	if verdict.Class == call.Done {
		return answer, nil
	}
	return answer, &call.Error{System: d.port.Name(), About: about, Verdict: verdict, Err: sendErr}
}

func (p *Port) slot(ctx context.Context) (release func(), err error) {
	waited, err := p.slots.Enter(ctx, gate.IsBulk(ctx))
	p.waited.Add(int64(waited))
	if err != nil {
		return nil, err
	}
	if p.limiter != nil {
		began := time.Now()
		if err := p.limiter.Wait(ctx); err != nil {
			p.slots.Leave()
			return nil, err
		}
		p.waited.Add(int64(time.Since(began)))
	}
	return p.slots.Leave, nil
}

func (p *Port) send(ctx context.Context, r call.Request, probe bool) (call.Answer, call.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Limits.Timeout)
	defer cancel()
	p.sent.Add(1)
	if p.Sending != nil {
		ctx = p.Sending(ctx, &r)
	}
	began := time.Now()
	answer, err := p.System.Send(ctx, r)
	verdict := p.System.Classify(r, answer, err)
	if p.Observe != nil {
		p.Observe(ctx, Sent{p, &r, probe, began, time.Since(began), verdict, answer.Status})
	}
	return answer, verdict, err
}

// Heal probes an open circuit until the system answers, then closes it: see
// ProbePause. It returns when closed or when ctx ends.
func (p *Port) Heal(ctx context.Context) error {
	login := p.circuit.byLogin()
	for failed := 0; ; failed++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(p.ProbePause(failed, login)):
		}
		if ok, _ := p.Ask(ctx); ok {
			p.circuit.close()
			if p.OnChange != nil {
				p.OnChange(false, "")
			}
			return nil
		}
	}
}
