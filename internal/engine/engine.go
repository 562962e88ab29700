// Package engine puts a site together: its systems, integrations, ledger,
// intake, polls and workers. Commands and the demo start it; tests too.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/calendar"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/gate"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/runner"
	"github.com/kiungo-health/kiungo/internal/system"
)

// Options say how to run a site.
type Options struct {
	Ledger       ledger.Ledger
	Registry     connector.Registry
	Site         *flow.Site
	Integrations []*flow.Integration
	Concurrency  int // deliveries at a time; default 32
	Policy       runner.Policy
	Log          *slog.Logger
	// Transport replaces the HTTP transport (tests and simulators).
	Transport http.RoundTripper
	// NoPolls leaves the polls out (scenarios drive them).
	NoPolls bool
	// Probe is the first pause between probes of a system that is down; 0 is
	// the usual second.
	Probe time.Duration
	// Soon is how late a short wait may be noticed; 0 is the dispatcher's usual.
	Soon time.Duration
	// Grace is how long a stop waits for what runs; 0 is the dispatcher's usual.
	Grace time.Duration
	// Watch is told what happens, for metrics and traces.
	Watch Watch
	// Dispatcher makes another dispatcher than the one in process: river.New
	// where several nodes share the ledger.
	Dispatcher func(run lane.Run, o lane.Options) (Dispatcher, error)
}

// Engine is a running site.
type Engine struct {
	Options
	Systems map[string]*system.Port
	Intake  *intake.Intake
	Runner  *runner.Runner

	dispatcher Dispatcher
	pollers    map[string]*intake.Poller
	lists      []*intake.List
	calendar   *calendar.Calendar
	backups    backups
	put        put
	background sync.WaitGroup
	cancel     context.CancelFunc
	ctx        context.Context
	common     common
	restored   restored
}

// New opens the systems and wires the parts together; nothing is sent yet.
func New(o Options) (*Engine, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = 32
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{Options: o, Systems: map[string]*system.Port{}, pollers: map[string]*intake.Poller{}, ctx: context.Background()}
	if err := e.openSystems(); err != nil {
		return nil, err
	}
	e.watchSystems()
	e.share()
	var flows []*flow.Flow
	byName := map[string]*flow.Flow{}
	for _, in := range o.Integrations {
		if err := e.learn(in); err != nil {
			return nil, err
		}
		for _, f := range in.Flows {
			flows = append(flows, f)
			byName[f.Name] = f
		}
	}
	e.Runner = &runner.Runner{Ledger: o.Ledger, Systems: e.Systems, Policy: o.Policy, Log: o.Log,
		Sane: e.sane, Observe: o.Watch.Ended, Flows: func(name string) *flow.Flow { return byName[name] }}
	e.restored.ledger, _ = o.Ledger.(ledger.Replayer)
	e.Runner.Lost = e.gone
	var err error
	if e.dispatcher, err = e.dispatch(e.run); err != nil {
		return nil, err
	}
	o.Ledger.OnDue(func(lanes []int64) { e.Ring(lanes...) })
	e.onBulk()
	e.Intake = &intake.Intake{Ledger: o.Ledger, Flows: flows, Systems: e.Systems, Registry: o.Registry, Wake: e.wake, Log: o.Log, Observe: o.Watch.Taken, Lost: e.feedLost}
	e.makePollers()
	e.makeCalendar()
	return e, e.makeLists(flows)
}

// run runs one delivery. When the ledger cannot take its outcome the lane is
// given back, as if it had not been run: the journal knows how far it came.
func (e *Engine) run(ctx context.Context, w *ledger.Work) *ledger.Work {
	e.upToDate(ctx, w)
	ctx = ledger.Running(ctx, w)
	if w.Bulk {
		ctx = gate.AsBulk(ctx) // its requests let others go first too
	}
	next, err := e.watched(ctx, w)
	if err == nil {
		return next
	}
	if errors.Is(err, ledger.ErrFenced) || errors.Is(err, ledger.ErrClosed) || errors.Is(err, ledger.ErrUncertain) {
		if n, ok := e.Ledger.(node); ok {
			n.Drop(w)
		}
		return nil
	}
	if errors.Is(err, ledger.ErrAway) {
		// It is taken up again at once: not too often.
		select {
		case <-ctx.Done():
		case <-time.After(awayPause):
		}
	} else {
		e.Log.Error("a delivery could not be written down and will be taken up again", "delivery", w.Delivery.ID, "error", err)
	}
	if err := e.Ledger.Release(context.WithoutCancel(ctx), w); err != nil && !errors.Is(err, ledger.ErrFenced) {
		e.Log.Error("a lane could not be given back", "delivery", w.Delivery.ID, "error", err)
		if n, ok := e.Ledger.(node); ok {
			n.Drop(w)
		}
	}
	return nil
}

// awayPause is how long a lane rests when the ledger could not be read.
const awayPause = time.Second

// Ring tells the dispatcher that lanes became due.
func (e *Engine) Ring(lanes ...int64) { e.dispatcher.Ring(lanes...) }

func (e *Engine) openSystems() error {
	var problems []error
	for name, s := range e.Site.Systems {
		if !s.Active {
			continue
		}
		c, ok := e.Registry[s.Connector]
		if !ok {
			problems = append(problems, fmt.Errorf("system %s: there is no connector %q", name, s.Connector))
			continue
		}
		limits, options, err := limitsOf(s.Options)
		if err != nil {
			problems = append(problems, fmt.Errorf("system %s: %w", name, err))
			continue
		}
		limits.Probe = e.Probe
		values, err := resolve(options)
		if err != nil {
			problems = append(problems, fmt.Errorf("system %s: %w", name, err))
			continue
		}
		opened, err := c.Open(connector.Config{Name: name, Values: values, Zone: zoneOf(s, e.Site), HTTP: e.client(), Our: "kiungo"})
		if err != nil {
			problems = append(problems, fmt.Errorf("system %s: %w", name, err))
			continue
		}
		port := system.New(opened, s.Connector, limits)
		if i := slices.IndexFunc(c.Kinds, func(k connector.KindSpec) bool { return k.Person }); i >= 0 {
			port.PersonKind = s.Connector + "/" + connector.ShortKind(c.Kinds[i].Name)
		}
		port.Hold = e.hold()
		port.OnChange = func(open bool, reason string) { e.circuit(port, open, reason) }
		e.Systems[name] = port
	}
	return errors.Join(problems...)
}

func (e *Engine) client() *http.Client {
	transport := e.Transport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 64
		t.Proxy = http.ProxyFromEnvironment
		transport = t
		if e.Dispatcher != nil {
			transport = system.Guarded(t)
		}
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func zoneOf(s *flow.System, site *flow.Site) *time.Location {
	switch {
	case s.Zone != nil:
		return s.Zone
	case site.Zone != nil:
		return site.Zone
	}
	return time.UTC
}

// limitsOf takes the options that every system has (connector.CommonOptions)
// from those of its connector.
func limitsOf(options map[string]string) (system.Limits, map[string]string, error) {
	var l system.Limits
	rest := map[string]string{}
	for k, v := range options {
		var err error
		switch k {
		case "limit":
			l.InFlight, err = strconv.Atoi(v)
		case "rate":
			l.Rate, err = strconv.ParseFloat(v, 64)
		case "timeout":
			l.Timeout, err = time.ParseDuration(v)
		case "settle":
			l.Settle, err = time.ParseDuration(v)
		case "traceparent":
			l.Traceparent, err = yes(v)
		default:
			rest[k] = v
		}
		if err != nil {
			return l, nil, fmt.Errorf("option %s: %q is not what it takes", k, v)
		}
	}
	return l, rest, nil
}

// resolve reads secrets from where the site says they are. They are never
// written in clear in a site's files.
func resolve(options map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(options))
	for k, v := range options {
		switch kind, where, _ := strings.Cut(v, ":"); kind {
		case "env":
			value, ok := os.LookupEnv(where)
			if !ok {
				return nil, fmt.Errorf("option %s: the environment has no %s; set it before starting", k, where)
			}
			v = value
		case "file":
			b, err := os.ReadFile(where)
			if err != nil {
				return nil, fmt.Errorf("option %s: %w", k, err)
			}
			v = strings.TrimSpace(string(b))
		}
		out[k] = v
	}
	return out, nil
}

func (e *Engine) makePollers() {
	for name, port := range e.Systems {
		source, ok := port.System.(connector.Poller)
		if !ok {
			continue
		}
		for _, s := range source.Streams() {
			e.pollers[name+"/"+s.Name] = &intake.Poller{In: e.Intake, System: port, Stream: s, Now: make(chan struct{}, 1)}
		}
	}
}

func (e *Engine) wake(systemName, stream string) {
	if p, ok := e.pollers[systemName+"/"+stream]; ok {
		select {
		case p.Now <- struct{}{}:
		default:
		}
		if e.common.ledger != nil && e.cancel != nil && e.ctx.Err() == nil && !e.NoPolls {
			e.background.Go(func() { e.pollHere(p) })
		}
	}
}

// Poll polls one stream once, now.
func (e *Engine) Poll(ctx context.Context, systemName, stream string) error {
	p, ok := e.pollers[systemName+"/"+stream]
	if !ok {
		return fmt.Errorf("system %s has no stream %q", systemName, stream)
	}
	return p.Once(ctx)
}

// Start begins to work: circuits that were open are probed, lanes run, streams
// are polled.
func (e *Engine) Start(ctx context.Context) error {
	e.ctx, e.cancel = context.WithCancel(ctx)
	circuits, err := e.Ledger.Circuits(ctx)
	if err != nil {
		return fmt.Errorf("read which systems were down: %w", err)
	}
	for _, c := range circuits {
		if port, ok := e.Systems[c.System]; ok && c.State == circuitOpen {
			port.Follow(true, c.Login, c.Reason)
			e.heal(port)
		}
	}
	if err := e.followStops(ctx); err != nil {
		return err
	}
	if !e.NoPolls {
		e.background.Go(func() { e.Identify(e.ctx) })
	}
	if e.common.ledger == nil {
		e.background.Go(func() { e.wakeLeftOvers(e.ctx) })
	}
	e.background.Go(func() {
		if err := e.dispatcher.Run(e.ctx); err != nil {
			e.Log.Warn("some lanes could not be given back; they are taken up at the next start", "error", err)
		}
	})
	if e.common.ledger != nil {
		e.background.Go(func() { e.followCommon(e.ctx) })
		e.background.Go(func() { e.elected(e.ctx, "circuits", e.watchCircuits) })
	}
	if e.NoPolls {
		return nil
	}
	e.background.Go(func() { e.elected(e.ctx, "archive", e.keep) })
	if e.Site.Backup != nil {
		e.background.Go(func() { e.elected(e.ctx, "backup", e.keepBackups) })
	}
	for _, p := range e.pollers {
		e.background.Go(func() { e.elected(e.ctx, "poll "+p.System.Name()+"/"+p.Stream.Name, p.Run) })
	}
	for _, l := range e.lists {
		e.background.Go(func() { e.elected(e.ctx, "list "+l.System.Name()+"/"+l.Source.Message.Name+" "+l.Flow.Name, l.Run) })
	}
	return nil
}

// Stop lets the calls under way end, and stops. What is left goes on at the
// next start.
func (e *Engine) Stop() {
	if e.cancel == nil {
		return
	}
	e.cancel()
	e.background.Wait()
}

// States of a circuit, as the ledger keeps them.
const (
	circuitOpen   = "open"
	circuitClosed = "closed"
)

// circuit remembers that a system went down or came back.
func (e *Engine) circuit(port *system.Port, open bool, reason string) {
	if e.common.ledger != nil && e.cancel != nil {
		e.tell(e.ctx, port) // the elected node closes it
		return
	}
	name, state := port.Name(), circuitClosed
	if open {
		state = circuitOpen
	}
	if err := e.Ledger.SetCircuit(context.WithoutCancel(e.ctx), ledger.Circuit{System: name, State: state, Reason: reason, Since: e.Ledger.Now(), Login: port.ByLogin()}); err != nil {
		e.Log.Error("could not store a system's state", "system", name, "error", err)
	}
	if open {
		e.Log.Warn("a system is down; its deliveries wait", "system", name, "reason", reason)
		e.heal(port)
		return
	}
	e.Log.Info("a system is back; its deliveries go on", "system", name)
	e.background.Go(func() { e.unblock(port) })
}

func (e *Engine) heal(port *system.Port) {
	if e.cancel == nil || e.common.ledger != nil {
		return // only opened, to plan or to look; or the elected node does it
	}
	e.background.Go(func() { _ = port.Heal(e.ctx) })
}

// unblock wakes the lanes that waited for a system, in receive order, some at
// a time, so that catching up does not drown what comes in.
func (e *Engine) unblock(port *system.Port) {
	const chunk = 500
	if !e.NoPolls {
		e.identify(e.ctx, port)
	}
	for e.ctx.Err() == nil {
		if open, _ := port.Open(); open {
			return
		}
		lanes, err := e.Ledger.Unblock(e.ctx, ledger.BlockCircuit, port.Name(), chunk)
		if err != nil {
			if e.ctx.Err() == nil {
				e.Log.Error("could not wake the lanes that waited", "system", port.Name(), "error", err)
				time.Sleep(time.Second)
				continue
			}
			return
		}
		if len(lanes) < chunk {
			return
		}
	}
}
