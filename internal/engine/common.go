package engine

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// together is what a ledger offers to nodes that share it: whether a system is
// down belongs to the system, not to a node (law 27).
type together interface {
	node
	Common(ctx context.Context) (ledger.Common, error)
	NoteFailure(ctx context.Context, system string, lane int64) (lanes int, err error)
	ForgetFailures(ctx context.Context, system string) error
	OpenCircuit(ctx context.Context, c ledger.Circuit) (opened bool, err error)
	Probed(ctx context.Context, c ledger.Circuit) error
	CloseCircuit(ctx context.Context, system string) (closed bool, err error)
}

const (
	// commonAsked is how often a node reads what all know together: so long a
	// system that another node found down is still asked.
	commonAsked = time.Second
	// listsAsked is after how many looks the lists are looked at: one may have
	// been asked for at a node that does not read it. No oftener than a list that
	// failed is tried again.
	listsAsked = 60
	// commonLimit bounds one look, and one note.
	commonLimit = 5 * time.Second
)

// common is a node's part in what all know together.
type common struct {
	ledger together // nil: this is the only process
	// mu is held while what the ledger says is read and applied, and while it is
	// told of a change: an older reading never undoes a newer change.
	mu      sync.Mutex
	polling sync.Mutex // held by a poll beside those of the elected node
	taught  string
	taken   map[string]ledger.Lesson // lessons that the integrations have
}

// share has the ports tell what they meet to all nodes.
func (e *Engine) share() {
	l, ok := e.Ledger.(together)
	if e.Dispatcher == nil || !ok {
		return
	}
	e.common.ledger = l
	for _, port := range e.Systems {
		port.Noted = func(ctx context.Context, lane int64, down bool, reason string) {
			e.noted(ctx, port, lane, down, reason)
		}
	}
}

// noted puts a failure on record for all nodes, or takes those there were off.
func (e *Engine) noted(ctx context.Context, port *system.Port, lane int64, down bool, reason string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commonLimit)
	defer cancel()
	if !down {
		if err := e.common.ledger.ForgetFailures(ctx, port.Name()); err != nil {
			port.OnRecord(true) // the next success tries again
		}
		return
	}
	lanes, err := e.common.ledger.NoteFailure(ctx, port.Name(), lane)
	if err != nil {
		e.Log.Warn("could not note that a system failed; this node counts by itself", "system", port.Name(), "error", err)
		return
	}
	port.OnRecord(true)
	if lanes >= system.LanesToOpen {
		port.FoundDown(reason)
	}
}

// tell writes down, for all nodes, that a system was found down here.
func (e *Engine) tell(ctx context.Context, port *system.Port) {
	e.common.mu.Lock()
	defer e.common.mu.Unlock()
	e.tellLocked(ctx, port)
}

func (e *Engine) tellLocked(ctx context.Context, port *system.Port) {
	untold, login, reason := port.Untold()
	if !untold {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commonLimit)
	defer cancel()
	now := e.Ledger.Now()
	opened, err := e.common.ledger.OpenCircuit(ctx, ledger.Circuit{System: port.Name(), Since: now, Retry: now.Add(port.ProbePause(0, login)), Reason: reason, Login: login})
	if err != nil {
		e.Log.Error("could not tell the other nodes that a system is down; it is tried again", "system", port.Name(), "error", err)
		return
	}
	port.Told()
	if opened {
		e.Log.Warn("a system is down; its deliveries wait", "system", port.Name(), "reason", reason)
	}
}

// followCommon keeps to what all nodes know together, until ctx ends.
func (e *Engine) followCommon(ctx context.Context) {
	tick := time.NewTicker(commonAsked)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%listsAsked == 0 {
			e.remindLists()
		}
		if err := e.look(ctx); err != nil && ctx.Err() == nil {
			e.Log.Warn("could not read what the other nodes know", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pollHere polls a stream that was woken at a node which may not be the one
// that polls it: the position is compared and set, so that two at once do no
// harm. Whoever polls first takes the wake.
func (e *Engine) pollHere(p *intake.Poller) {
	for len(p.Now) > 0 && e.ctx.Err() == nil && e.common.polling.TryLock() {
		select {
		case <-p.Now:
			if err := p.Once(e.ctx); err != nil && e.ctx.Err() == nil {
				e.Log.Warn("a poll failed and will be tried again", "system", p.System.Name(), "stream", p.Stream.Name, "error", err)
			}
		default:
		}
		e.common.polling.Unlock()
	}
}

// remindLists has the lists look whether they were asked for.
func (e *Engine) remindLists() {
	for _, l := range e.lists {
		select {
		case l.Now <- struct{}{}:
		default:
		}
	}
}

// look reads once what all nodes know together, and keeps to it.
func (e *Engine) look(ctx context.Context) error {
	e.common.mu.Lock()
	defer e.common.mu.Unlock()
	for _, port := range e.Systems {
		e.tellLocked(ctx, port) // first: what is read next is to hold it
	}
	short, cancel := context.WithTimeout(ctx, commonLimit)
	defer cancel()
	c, err := e.common.ledger.Common(short)
	if err != nil {
		return err
	}
	known := map[string]ledger.Circuit{}
	for _, x := range c.Circuits {
		known[x.System] = x
	}
	for name, port := range e.Systems {
		port.Share(c.Nodes)
		port.OnRecord(slices.Contains(c.Failing, name))
		x := known[name]
		open := x.State == circuitOpen
		if !port.Follow(open, x.Login, x.Reason) {
			continue
		}
		if open {
			e.Log.Info("another node found a system down", "system", name, "reason", x.Reason)
			continue
		}
		// Deliveries that met it closed here after the others were woken sleep yet.
		e.background.Go(func() { e.unblock(port) })
	}
	if err := e.followStops(short); err != nil {
		return err
	}
	return e.learnIfTaught(short, c.Taught)
}

// learnIfTaught takes what was taught since it was last looked at.
func (e *Engine) learnIfTaught(ctx context.Context, taught string) error {
	if taught == e.common.taught {
		return nil
	}
	if err := e.learnAgain(ctx); err != nil {
		return err
	}
	e.common.taught = taught
	return nil
}

// upToDate takes what was taught at other nodes before a delivery is planned
// that has asked questions: the answer may be why it runs, and it would be asked
// again.
func (e *Engine) upToDate(ctx context.Context, w *ledger.Work) {
	if e.common.ledger == nil || len(w.Questions) == 0 {
		return
	}
	e.common.mu.Lock()
	defer e.common.mu.Unlock()
	short, cancel := context.WithTimeout(ctx, commonLimit)
	defer cancel()
	c, err := e.common.ledger.Common(short)
	if err == nil {
		err = e.learnIfTaught(short, c.Taught)
	}
	if err != nil && ctx.Err() == nil {
		e.Log.Warn("could not read what was taught at other nodes; an answer may be asked for again", "delivery", w.Delivery.ID, "error", err)
	}
}

// learnAgain gives the integrations the lessons that were taught at other nodes,
// and takes back those that were taken back there.
func (e *Engine) learnAgain(ctx context.Context) error {
	list, err := e.Ledger.Lessons(ctx)
	if err != nil {
		return err
	}
	now := map[string]ledger.Lesson{}
	for _, l := range list {
		key := strings.Join(append([]string{l.Integration, l.Table}, l.Codes...), "\x00")
		now[key] = l
		if had, ok := e.common.taken[key]; !ok || had.Value != l.Value {
			e.Learned(l)
		}
	}
	for key, l := range e.common.taken {
		if _, ok := now[key]; !ok {
			e.Forgot(l)
		}
	}
	e.common.taken = now
	return nil
}

// watchCircuits probes the systems that are down, whichever node found them so:
// it runs on one node, so that a wrong password is tried once and not by each.
// When a probe was and when the next may be is in the ledger: another node goes
// on with the same pauses.
func (e *Engine) watchCircuits(ctx context.Context) {
	e.wakeLeftOvers(ctx)
	var probes sync.WaitGroup
	defer probes.Wait()
	var mu sync.Mutex
	probing := map[string]bool{}
	tick := time.NewTicker(min(commonAsked, e.probePause()))
	defer tick.Stop()
	for {
		circuits, err := e.Ledger.Circuits(ctx)
		if err != nil && ctx.Err() == nil {
			e.Log.Warn("could not read which systems are down", "error", err)
		}
		for _, c := range circuits {
			port, ok := e.Systems[c.System]
			if !ok || c.State != circuitOpen || c.Retry.After(e.Ledger.Now()) {
				continue
			}
			mu.Lock()
			busy := probing[c.System]
			probing[c.System] = true
			mu.Unlock()
			if busy {
				continue
			}
			probes.Go(func() {
				e.probe(ctx, port, c)
				mu.Lock()
				delete(probing, c.System)
				mu.Unlock()
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// probePause is the shortest first pause of any system.
func (e *Engine) probePause() time.Duration {
	least := commonAsked
	for port := range maps.Values(e.Systems) {
		least = min(least, port.ProbePause(0, false))
	}
	return least
}

// probe asks a system once whether it is back, and closes its circuit if so.
func (e *Engine) probe(ctx context.Context, port *system.Port, c ledger.Circuit) {
	ok, reason := port.Ask(ctx)
	if ctx.Err() != nil {
		return
	}
	if !ok {
		c.Failures++
		c.Retry = e.Ledger.Now().Add(port.ProbePause(c.Failures, c.Login))
		if reason != "" {
			c.Reason = reason
		}
		if err := e.common.ledger.Probed(ctx, c); err != nil && ctx.Err() == nil {
			e.Log.Warn("could not store when a system is probed next", "system", c.System, "error", err)
		}
		return
	}
	if e.closeForAll(ctx, port) {
		e.Log.Info("a system is back; its deliveries go on", "system", c.System)
		e.unblock(port)
	}
}

// closeForAll closes a circuit in the ledger and here.
func (e *Engine) closeForAll(ctx context.Context, port *system.Port) bool {
	e.common.mu.Lock()
	defer e.common.mu.Unlock()
	if _, err := e.common.ledger.CloseCircuit(ctx, port.Name()); err != nil {
		if ctx.Err() == nil {
			e.Log.Error("could not store a system's state", "system", port.Name(), "error", err)
		}
		return false // it is probed again
	}
	port.Follow(false, false, "")
	return true
}

// wakeLeftOvers goes on waking what waited for systems that are back: who began
// to may have been killed.
func (e *Engine) wakeLeftOvers(ctx context.Context) {
	circuits, err := e.Ledger.Circuits(ctx)
	if err != nil {
		if ctx.Err() == nil {
			e.Log.Warn("could not read which systems were down", "error", err)
		}
		return
	}
	for _, c := range circuits {
		if port, ok := e.Systems[c.System]; ok && c.State != circuitOpen {
			e.unblock(port)
		}
	}
}
