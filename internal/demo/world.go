package demo

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// worlds makes the worlds that a demo can have, each from a seed.
var worlds = []func(seed uint64) *World{
	visitsBothWays("i01", "i01-commcare-openmrs"),
	events,
	dataSets,
	visitsBothWays("i04", "i04-commcare-openmrs-reports"),
	visitsBothWays("i05", "i05-commcare-openmrs-feed"),
	totals,
}

// World is one integration with systems, site, ledger and engine of its own:
// two integrations that both follow one feed would each make what it tells of.
type World struct {
	ID, Folder string
	Engine     *engine.Engine
	Ledger     ledger.Ledger

	story    story
	dir      string // of its site; the ledger is below it
	zone     string
	region   string
	systems  []*system
	values   map[string]any
	tables   map[string]string // rows of the site's own, as CSV, by table
	commcare *ccsim.Sim        // nil where there is none
	account  account
	truth    *truth
	closing  context.CancelFunc
}

// story is what happens in a world.
type story interface {
	// prepare adds the systems with what they hold before anything runs, and the
	// site's values and tables.
	prepare(w *World, reg connector.Registry) error
	// begin is called when the engine runs and every stream has its place.
	begin(ctx context.Context, w *World) error
	turns(messages int) int
	// turn is one form from the field, and what a clerk does beside it.
	turn(ctx context.Context, w *World, n int) error
	end(ctx context.Context, w *World) error
}

// system is one simulated system of a world.
type system struct {
	name, connector string
	sim             simulate.Simulator
	places          []string
	options         map[string]string // besides those that the simulator names
	url             string
	off             bool // the site has switched it off: nothing is asked of it
}

func (w *World) start(ctx context.Context, d *Demo, folder string) error {
	w.values, w.tables, w.truth = map[string]any{}, map[string]string{}, newTruth()
	w.dir = filepath.Join(d.dir, w.ID)
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return err
	}
	if err := w.story.prepare(w, d.Registry); err != nil {
		return err
	}
	for _, s := range w.systems {
		// What simulators see is kept only as long as a look back needs.
		s.sim.Traffic().Keep = 500
		var err error
		if s.url, err = d.listen(fmt.Sprintf("%s %s (simulated)", w.ID, s.name), s.sim); err != nil {
			return err
		}
	}
	if err := w.startEngine(ctx, d, folder); err != nil {
		return err
	}
	mux := http.NewServeMux()
	var in http.Handler = w.Engine.Intake
	if d.nodes != nil {
		in = d.nodes.balancer(w.ID)
	}
	mux.Handle("/in/{system}", in)
	address, err := d.listen(w.ID+" Kiungo takes messages", mux)
	if err != nil {
		return err
	}
	w.forward(address + "/in/commcare")
	if err := w.placeStreams(ctx); err != nil {
		return err
	}
	if d.Faults {
		w.switchFaults()
	}
	if d.nodes != nil {
		w.slowDown()
	}
	return nil
}

// placeStreams polls every stream once, so that all that happens from now on,
// and nothing before, comes in.
func (w *World) placeStreams(ctx context.Context) error {
	for _, s := range w.systems {
		poller, ok := w.poller(s)
		if !ok {
			continue
		}
		for _, stream := range poller.Streams() {
			if err := w.Engine.Poll(ctx, s.name, stream.Name); err != nil {
				return fmt.Errorf("poll %s/%s: %w", s.name, stream.Name, err)
			}
		}
	}
	w.account.begin(w)
	return nil
}

func (w *World) startEngine(ctx context.Context, d *Demo, folder string) error {
	file, err := w.writeSite(d.Registry)
	if err != nil {
		return err
	}
	site, problems := flow.LoadSite(file, d.Registry)
	if err := problems.Err(); err != nil {
		return err
	}
	active, problems := flow.LoadAll(folder, d.Registry, site)
	if err := problems.Err(); err != nil {
		return err
	}
	if d.nodes != nil {
		w.Ledger, err = d.nodes.open(ctx, w)
	} else {
		w.Ledger, err = store.OpenSQLite(ctx, w.Data(), store.Options{})
	}
	if err != nil {
		return err
	}
	o := engineOptions(d.Registry, d.Log.With("world", w.ID))
	o.Ledger, o.Site, o.Integrations, o.Watch = w.Ledger, site, active, d.Watch
	o.Concurrency = max(2, d.Workers/len(d.Worlds))
	if w.Engine, err = engine.New(o); err != nil || d.nodes != nil {
		return err // the nodes run it; here it is looked at
	}
	return w.Engine.Start(ctx)
}

// begin lets CommCare forward, and the story begin.
func (w *World) begin(ctx context.Context) error {
	if w.commcare != nil {
		var running context.Context
		running, w.closing = context.WithCancel(ctx)
		go w.commcare.Run(running, &http.Client{Timeout: 30 * time.Second}, 4)
	}
	return w.story.begin(ctx, w)
}

func (w *World) stop() {
	if w.closing != nil {
		w.closing()
	}
	if w.Engine != nil {
		w.Engine.Stop()
	}
}
