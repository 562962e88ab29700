package system

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/kiungo-health/kiungo/internal/call"
)

// note takes a verdict into account, here and where other nodes see it.
func (p *Port) note(ctx context.Context, lane int64, v call.Verdict, status int) {
	if p.circuit.note(lane, v, status, time.Now()) {
		if p.OnChange != nil {
			p.OnChange(true, v.Reason)
		}
		return
	}
	switch {
	case p.Noted == nil, v.Class == call.NotAuthorised: // wrong credentials open it at once
	case v.Down:
		p.Noted(ctx, lane, true, v.Reason)
	case p.onRecord.Swap(false):
		p.Noted(ctx, lane, false, "")
	}
}

// OnRecord says that failures of the system are on record for all nodes: the
// next success is to clear them.
func (p *Port) OnRecord(yes bool) { p.onRecord.Store(yes) }

// Trip opens the circuit; nobody is told.
func (p *Port) Trip(reason string) { p.Follow(true, false, reason) }

// FoundDown opens the circuit here, for failures that several nodes have met
// together, and tells OnChange.
func (p *Port) FoundDown(reason string) {
	p.circuit.mu.Lock()
	opened := !p.circuit.open
	if opened {
		p.circuit.untold = true
		p.circuit.openFor(reason, time.Now())
	}
	p.circuit.mu.Unlock()
	if opened && p.OnChange != nil {
		p.OnChange(true, reason)
	}
}

// Told says that what opened the circuit here is known to all nodes.
func (p *Port) Told() {
	p.circuit.mu.Lock()
	p.circuit.untold = false
	p.circuit.mu.Unlock()
}

// Untold tells whether the circuit was opened here and nobody knows; and why,
// and whether by wrong credentials.
func (p *Port) Untold() (untold, login bool, reason string) {
	p.circuit.mu.Lock()
	defer p.circuit.mu.Unlock()
	return p.circuit.open && p.circuit.untold, p.circuit.login, p.circuit.reason
}

// Share leaves this node its share of what the system bears, among so many: an
// equal part of the requests at a time, at least one, and of the requests a
// second. A node that has nothing to do leaves its share unused.
func (p *Port) Share(nodes int) {
	nodes = max(nodes, 1)
	if n := max(p.Limits.InFlight/nodes, 1); n != p.slots.Limit() {
		p.slots.Set(n)
	}
	if p.limiter == nil {
		return
	}
	if r := rate.Limit(p.Limits.Rate) / rate.Limit(nodes); r != p.limiter.Limit() {
		p.limiter.SetLimit(r)
		p.limiter.SetBurst(max(1, int(r)))
	}
}

// Ask probes the system once, whatever its circuit says, and tells whether it
// answered as it should; if not, why.
func (p *Port) Ask(ctx context.Context) (ok bool, reason string) {
	_, verdict, _ := p.send(ctx, p.System.Probe(), true)
	return verdict.Class == call.Done, verdict.Reason
}

// ProbePause is how long to wait before a probe of an open circuit, after so
// many that failed. The pauses double up to a minute; after wrong credentials
// they are sixty times as long, because OpenMRS locks an account after seven
// failed logins.
func (p *Port) ProbePause(failed int, login bool) time.Duration {
	pause, most := p.Limits.Probe, time.Minute
	if login {
		pause, most = 60*pause, time.Hour
	}
	for range min(failed, 32) {
		if pause >= most {
			break
		}
		pause *= 2
	}
	return min(pause, most)
}

// ByLogin tells whether wrong credentials opened the circuit.
func (p *Port) ByLogin() bool { return p.circuit.byLogin() }

// MostInFlight is how many requests this node may send at a time: see Share.
func (p *Port) MostInFlight() int { return p.slots.Limit() }
