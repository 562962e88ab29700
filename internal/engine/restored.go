package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/system"
)

// A system that was restored from a backup has forgotten what was done in it
// since, and says so nowhere. It shows when a record is not there at all that
// the ledger knows; when its feed no longer has what was read from it; when it
// says that it is another database. Then the records that Kiungo made in it are
// looked at, the newest first: if those made since some moment are gone, and
// those made before are there, nothing more is sent to it until a person says
// what to do (docs/decisions/009-a-target-that-was-restored.md).

const (
	// lookedFirst records are looked at on a sign, and on from there as long as
	// some are gone; mostLooked at the most.
	lookedFirst = 20
	mostLooked  = 500
	// mostPages of deliveries are gone through for them.
	mostPages = 100
	// goneToStop is how many must be gone, where the sign was one of them; with
	// another sign besides, one is enough.
	goneToStop = 2
	// lookedAgain is how long after a look that found nothing the next one may be:
	// somebody may be purging old records, one after the other.
	lookedAgain = 10 * time.Minute
)

// Names of settings in the ledger.
const (
	identitySetting = "identity/"
	acceptedSetting = "accepted/" // records made before are not looked at again
)

// restored is what an engine knows of the systems that may be restored.
type restored struct {
	ledger ledger.Replayer // nil: the ledger cannot tell
	mu     sync.Mutex
	looks  map[string]*look
	// stops is held while the ledger and the ports are brought to say the same.
	stops sync.Mutex
}

type look struct {
	mu sync.Mutex
	at time.Time // of the last one that found nothing
}

func (e *Engine) lookOf(name string) *look {
	e.restored.mu.Lock()
	defer e.restored.mu.Unlock()
	if e.restored.looks == nil {
		e.restored.looks = map[string]*look{}
	}
	l := e.restored.looks[name]
	if l == nil {
		l = &look{}
		e.restored.looks[name] = l
	}
	return l
}

// gone is told of a record that the ledger knows and that is not there at all.
// It gives an error if the system was restored, or if that cannot be found out
// now: then nothing is to be written.
func (e *Engine) gone(ctx context.Context, name, kind, _ string) error {
	return e.suspect(ctx, name, goneToStop, fmt.Sprintf("a %s that Kiungo knows is not there any more", kind))
}

// feedLost is told that a feed no longer has what was read from it.
func (e *Engine) feedLost(ctx context.Context, name, what string) error {
	return e.suspect(ctx, name, 1, what)
}

// suspect looks whether a system was restored, and stops it if so.
func (e *Engine) suspect(ctx context.Context, name string, least int, sign string) error {
	port := e.Systems[name]
	if port == nil || e.restored.ledger == nil || e.cancel == nil {
		return nil
	}
	l := e.lookOf(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if reason, stopped := port.Stopped(); stopped {
		return &system.OpenError{System: name, Reason: reason, Stopped: true}
	}
	if least > 1 && !l.at.IsZero() && time.Since(l.at) < lookedAgain {
		return nil
	}
	stop, err := e.examine(ctx, port, least)
	if err != nil {
		return fmt.Errorf("find out whether %s was restored from a backup: %w", name, err)
	}
	if stop == nil {
		l.at = time.Now()
		e.Log.Warn("a system lost something, but was not restored", "system", name, "sign", sign)
		return nil
	}
	return e.halt(ctx, port, *stop)
}

// halt stops a system for all nodes.
func (e *Engine) halt(ctx context.Context, port *system.Port, stop ledger.Stopped) error {
	e.restored.stops.Lock()
	defer e.restored.stops.Unlock()
	stop.System, stop.Since = port.Name(), e.Ledger.Now()
	if err := e.restored.ledger.Stop(context.WithoutCancel(ctx), stop); err != nil {
		return err
	}
	if port.Stop(stop.Reason) {
		e.Log.Error("a system is stopped", "system", stop.System, "reason", stop.Reason)
	}
	return &system.OpenError{System: stop.System, Reason: stop.Reason, Stopped: true}
}

// known is a record that Kiungo made, and whether it is there.
type known struct {
	at   time.Time // when its delivery ended
	gone bool
}

// examine looks at the records that Kiungo made in a system, the newest first.
// It gives nil if they are there, or if what is gone may have been purged.
func (e *Engine) examine(ctx context.Context, port *system.Port, least int) (*ledger.Stopped, error) {
	accepted, err := e.acceptedAt(ctx, port.Name())
	if err != nil {
		return nil, err
	}
	var list []known
	seen := map[string]bool{}
	there := 0 // how many in a row, the last ones looked at
	before, more := int64(0), false
pages:
	for range mostPages {
		page, next, err := e.restored.ledger.Latest(ctx, port.Name(), before)
		if err != nil {
			return nil, err
		}
		for _, w := range page {
			if w.Delivery.Ended.Before(accepted) {
				continue
			}
			made, err := e.madeBy(ctx, w)
			if err != nil {
				return nil, err
			}
			for _, m := range made {
				if seen[m.Kind+" "+m.ID] {
					continue
				}
				seen[m.Kind+" "+m.ID] = true
				gone, err := e.notThere(ctx, port, m)
				if err != nil {
					return nil, err
				}
				list = append(list, known{w.Delivery.Ended, gone})
				if there++; gone {
					there = 0
				}
			}
			if there >= lookedFirst {
				break pages
			}
			if more = len(list) >= mostLooked; more {
				break pages
			}
		}
		if next == 0 {
			break
		}
		before = next
	}
	stop := cut(list, least)
	if stop == nil {
		return nil, nil
	}
	stop.More = more
	stop.Reason = e.reason(port.Name(), stop, "")
	return stop, nil
}

// cut finds the moment from which on what was made is gone: at least so many,
// and at least a third of all that was made since, for some of it may have been
// made after the restore. A single old record that somebody purged does not
// move it.
func cut(list []known, least int) *ledger.Stopped {
	slices.SortStableFunc(list, func(a, b known) int { return a.at.Compare(b.at) })
	gone := 0
	for _, k := range list {
		if k.gone {
			gone++
		}
	}
	for i, k := range list {
		if !k.gone {
			continue
		}
		if gone >= least && 3*gone >= len(list)-i {
			stop := &ledger.Stopped{Lost: gone, Moment: k.at}
			if i > 0 {
				stop.Kept = list[i-1].at
			}
			return stop
		}
		gone--
	}
	return nil
}

// madeBy are the records that a delivery made itself, as its plan says: what an
// earlier version of its document made is older.
func (e *Engine) madeBy(ctx context.Context, w ledger.Writing) ([]ledger.Made, error) {
	work, err := e.Ledger.Delivery(ctx, w.Delivery.ID)
	if err != nil {
		return nil, err
	}
	var p *plan.Plan
	if work.Plan != nil {
		if p, err = plan.Decode(work.Plan); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(w.Made), func(m ledger.Made) bool {
		if m.Gone || !m.Created || m.ID == "" {
			return true
		}
		if p == nil {
			return false
		}
		r := p.Record(m.Record)
		return r == nil || r.Exists || !r.Created
	}), nil
}

// notThere tells whether a record is not there at all, neither voided nor
// deleted. Of kinds that do not last nothing is known.
func (e *Engine) notThere(ctx context.Context, port *system.Port, m ledger.Made) (bool, error) {
	kind := port.Kind(connector.ShortKind(m.Kind))
	if kind == nil || !kind.Spec().Lasts {
		return false, nil
	}
	found, err := kind.Find(ctx, port.Looker(), connector.Query{Made: m.ID})
	return err == nil && !found.Exists && !found.Voided, err
}

// reason says in words that a system was restored, and what to do.
func (e *Engine) reason(name string, s *ledger.Stopped, sign string) string {
	text := name + " was restored from a backup"
	if sign != "" {
		text = sign
	}
	if s.Lost > 0 {
		zone := e.Site.Zone
		if zone == nil {
			zone = time.UTC
		}
		n := fmt.Sprintf("%d records that Kiungo made are gone", s.Lost)
		switch {
		case s.More:
			n = "more than " + n
		case s.Lost == 1:
			n = "one record that Kiungo made is gone"
		}
		if sign == "" {
			text += " of before " + s.Moment.In(zone).Format("2006-01-02 15:04")
		}
		text += ": " + n
	}
	return text + "; nothing is sent to it until somebody says: kiungo replay --missing " + name
}

func (e *Engine) acceptedAt(ctx context.Context, name string) (time.Time, error) {
	value, err := e.restored.ledger.Setting(ctx, acceptedSetting+name)
	if err != nil || value == nil {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, string(value))
	if err != nil {
		return time.Time{}, fmt.Errorf("read setting %s: %w", acceptedSetting+name, err)
	}
	return at, nil
}

// Identify compares which database each system says it is with which it was,
// and stops those that are another one. A system that cannot be asked now is
// asked again when it is back.
func (e *Engine) Identify(ctx context.Context) {
	for _, port := range e.Systems {
		e.identify(ctx, port)
	}
}

func (e *Engine) identify(ctx context.Context, port *system.Port) {
	source, ok := port.System.(connector.Identified)
	if !ok || e.restored.ledger == nil {
		return
	}
	if err := e.compare(ctx, port, source); err != nil && ctx.Err() == nil {
		e.Log.Warn("could not ask a system which one it is", "system", port.Name(), "error", err)
	}
}

func (e *Engine) compare(ctx context.Context, port *system.Port, source connector.Identified) error {
	l := e.lookOf(port.Name())
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, stopped := port.Stopped(); stopped {
		return nil
	}
	now, err := source.Identity(ctx, port.Looker())
	if err != nil || now == "" {
		return err
	}
	was, err := e.restored.ledger.Setting(ctx, identitySetting+port.Name())
	if err != nil {
		return err
	}
	if was == nil {
		return e.restored.ledger.Set(ctx, identitySetting+port.Name(), []byte(now))
	}
	if string(was) == now {
		return nil
	}
	stop, err := e.examine(ctx, port, 1)
	if err != nil {
		return err
	}
	if stop == nil {
		stop = &ledger.Stopped{}
	}
	stop.Reason = e.reason(port.Name(), stop, port.Name()+" is another database than before, by its own id")
	_ = e.halt(ctx, port, *stop) // it says that the system is stopped, which is what we want
	return nil
}

// followStops stops and resumes systems as the ledger says: at start, and where
// another node did so.
func (e *Engine) followStops(ctx context.Context) error {
	if e.restored.ledger == nil {
		return nil
	}
	e.restored.stops.Lock()
	defer e.restored.stops.Unlock()
	list, err := e.restored.ledger.Stops(ctx)
	if err != nil {
		return err
	}
	reasons := map[string]string{}
	for _, s := range list {
		reasons[s.System] = s.Reason
	}
	for name, port := range e.Systems {
		if reason, stopped := reasons[name]; stopped {
			port.Stop(reason)
		} else if port.Resume() {
			e.background.Go(func() { e.unblock(port) })
		}
	}
	return nil
}

// Stopped lists the systems to which nothing is sent until a person says so.
func (e *Engine) Stopped(ctx context.Context) ([]ledger.Stopped, error) {
	if e.restored.ledger == nil {
		return nil, nil
	}
	return e.restored.ledger.Stops(ctx)
}

// resume lets a system go on. What it lost until now is not looked at again.
func (e *Engine) resume(ctx context.Context, port *system.Port, who, note string) error {
	led := e.restored.ledger
	if source, ok := port.System.(connector.Identified); ok {
		now, err := source.Identity(ctx, port.Looker())
		if err != nil {
			return err
		}
		if now != "" {
			if err := led.Set(ctx, identitySetting+port.Name(), []byte(now)); err != nil {
				return err
			}
		}
	}
	if err := led.Set(ctx, acceptedSetting+port.Name(), []byte(e.Ledger.Now().Format(time.RFC3339Nano))); err != nil {
		return err
	}
	if stopped, err := e.goOn(ctx, port, who, note); err != nil || !stopped {
		return err
	}
	if e.cancel != nil {
		e.background.Go(func() { e.unblock(port) })
	} else {
		e.unblock(port) // the server that is started next goes on with them
	}
	return nil
}

// goOn lets a system go on in the ledger and here; false if it was not stopped.
func (e *Engine) goOn(ctx context.Context, port *system.Port, who, note string) (bool, error) {
	e.restored.stops.Lock()
	defer e.restored.stops.Unlock()
	err := e.restored.ledger.Resume(ctx, port.Name(), who, note)
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		port.Resume()
	}
	return err == nil, err
}
