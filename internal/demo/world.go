package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/runner"
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
	mux.Handle("/in/{system}", w.Engine.Intake)
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
	if w.Ledger, err = store.OpenSQLite(ctx, w.Data(), store.Options{}); err != nil {
		return err
	}
	w.Engine, err = engine.New(engine.Options{Ledger: w.Ledger, Registry: d.Registry, Site: site, Integrations: active,
		Concurrency: max(2, d.Workers/len(d.Worlds)), Log: d.Log.With("world", w.ID), Probe: 200 * time.Millisecond,
		Policy: runner.Policy{First: 200 * time.Millisecond, Most: 2 * time.Second}})
	if err != nil {
		return err
	}
	return w.Engine.Start(ctx)
}

// Data is the folder of the world's ledger, as --data takes it.
func (w *World) Data() string { return filepath.Join(w.dir, "ledger") }

// Site is the world's site file, as --site takes it.
func (w *World) Site() string { return filepath.Join(w.dir, "site.yaml") }

// writeSite writes the world's site.yaml and its tables, with secrets in files,
// as a real site would have it.
func (w *World) writeSite(reg connector.Registry) (string, error) {
	systems := map[string]any{}
	for _, s := range w.systems {
		options := map[string]any{"url": s.url, "limit": "16", "timeout": "2s", "settle": "500ms"}
		for k, v := range s.sim.Settings() {
			options[k] = v
		}
		for k, v := range s.options {
			options[k] = v
		}
		for _, o := range reg[s.connector].Options {
			if v, ok := options[o.Name].(string); ok && o.Secret {
				path := filepath.Join(w.dir, s.name+"."+o.Name)
				if err := os.WriteFile(path, []byte(v), 0o600); err != nil {
					return "", err
				}
				options[o.Name] = "file:" + path
			}
		}
		systems[s.name] = map[string]any{"connector": s.connector, "options": options}
		if s.off {
			systems[s.name].(map[string]any)["active"] = false
		}
		if len(s.places) > 0 {
			systems[s.name].(map[string]any)["places"] = s.places
		}
	}
	text, err := yaml.Marshal(map[string]any{"zone": w.zone, "region": w.region, "systems": systems,
		"integrations": map[string]any{w.Folder: map[string]any{"site": w.values}}})
	if err != nil {
		return "", err
	}
	folder := filepath.Join(w.dir, "tables", w.Folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	for name, rows := range w.tables {
		if err := os.WriteFile(filepath.Join(folder, name+".csv"), []byte(rows), 0o600); err != nil {
			return "", err
		}
	}
	return w.Site(), os.WriteFile(w.Site(), text, 0o600)
}

// forward has CommCare send what the story wants sent.
func (w *World) forward(intake string) {
	if w.commcare == nil {
		return
	}
	f, ok := w.story.(interface{ forwarded() []ccsim.Repeater })
	if !ok {
		return
	}
	for _, r := range f.forwarded() {
		r.URL, r.Credentials = intake, w.commcare.Credentials()
		w.commcare.AddRepeater(&r)
	}
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

// settle waits until CommCare has forwarded everything, the feeds are read to
// their end, and nothing moves by itself any more: what moved may have made an
// entry of a feed, so that it is looked at again.
func (w *World) settle(ctx context.Context, deadline time.Time) error {
	for quiet := 0; quiet < 2; {
		if err := w.forwardAll(ctx, deadline); err != nil {
			return err
		}
		if err := w.Engine.Settle(ctx, time.Until(deadline)); err != nil {
			return err
		}
		before, err := w.count(ctx)
		if err != nil {
			return err
		}
		if err := w.catchUp(ctx, deadline); err != nil {
			return err
		}
		after, err := w.count(ctx)
		if err != nil {
			return err
		}
		if quiet++; after != before {
			quiet = 0
		}
	}
	return nil
}

func (w *World) forwardAll(ctx context.Context, deadline time.Time) error {
	for w.commcare != nil && len(w.commcare.Pending()) > 0 {
		if time.Now().After(deadline) {
			return errors.New("CommCare has not forwarded everything in time")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// catchUp reads every stream and every list to its end. A system that stumbles
// is asked again, as the engine would.
func (w *World) catchUp(ctx context.Context, deadline time.Time) error {
	for _, s := range w.systems {
		poller, ok := w.poller(s)
		if !ok {
			continue
		}
		for _, stream := range poller.Streams() {
			if err := again(ctx, deadline, func() error { return w.Engine.Poll(ctx, s.name, stream.Name) }); err != nil {
				return fmt.Errorf("poll %s/%s: %w", s.name, stream.Name, err)
			}
		}
	}
	for _, name := range w.lists() {
		if err := again(ctx, deadline, func() error { return w.Engine.Fetch(ctx, name, "") }); err != nil {
			return fmt.Errorf("list of %s: %w", name, err)
		}
	}
	return nil
}

// poller is a system as one that is polled, if it is.
func (w *World) poller(s *system) (connector.Poller, bool) {
	port := w.Engine.Systems[s.name]
	if port == nil { // switched off
		return nil, false
	}
	p, ok := port.System.(connector.Poller)
	return p, ok
}

// again does something until it succeeds or time is up.
func again(ctx context.Context, deadline time.Time, do func() error) error {
	for {
		err := do()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lists names the flows that ask for a list.
func (w *World) lists() []string {
	var out []string
	for _, in := range w.Engine.Integrations {
		for _, f := range in.Flows {
			if slices.ContainsFunc(f.From, func(s *flow.Source) bool { return s.Message != nil && s.Message.List != "" }) {
				out = append(out, f.Name)
			}
		}
	}
	return out
}

// ask asks for the lists of flows now, before their time.
func (w *World) ask(ctx context.Context) error {
	for _, name := range w.lists() {
		if _, err := w.Engine.Ask(ctx, name, "", ""); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) count(ctx context.Context) (int64, error) {
	counts, err := w.Ledger.Counts(ctx)
	n := int64(0)
	for _, c := range counts {
		n += c.N
	}
	return n, err
}

func (w *World) stop() {
	if w.closing != nil {
		w.closing()
	}
	if w.Engine != nil {
		w.Engine.Stop()
	}
}

// switchFaults: a little of what happens in the field, all the time. The
// clinic's own people use other addresses (/openmrs/…), which none of it hits.
func (w *World) switchFaults() {
	for _, s := range w.systems {
		t := s.sim.Traffic()
		switch s.connector {
		case "openmrs":
			for _, path := range []string{"/ws/rest/v1/*", "/ws/rest/v1/*/*", "/ws/rest/v1/*/*/*", "/ws/rest/v1/*/*/*/*"} {
				for _, method := range []string{"POST ", "DELETE "} {
					t.Switch(simulate.Fault{Kind: simulate.LostResponse, Match: method + path, Share: 0.01})
					t.Switch(simulate.Fault{Kind: simulate.Error500After, Match: method + path, Share: 0.005})
					t.Switch(simulate.Fault{Kind: simulate.Error503, Match: method + path, Share: 0.01})
				}
				t.Switch(simulate.Fault{Kind: simulate.HTMLPage, Match: "* " + path, Share: 0.002})
				t.Switch(simulate.Fault{Kind: simulate.Slow, Match: "* " + path, Share: 0.02, Delay: 50 * time.Millisecond})
			}
			t.Switch(simulate.Fault{Kind: simulate.Refuse, Match: "POST /ws/rest/v1/encounter", Share: 0.01})
		case "commcare":
			t.Switch(simulate.Fault{Kind: simulate.TooMany, Match: "*", Share: 0.002})
		case "dhis2":
			t.Switch(simulate.Fault{Kind: simulate.LostResponse, Share: 0.02})
			t.Switch(simulate.Fault{Kind: simulate.Error503, Share: 0.01})
			t.Switch(simulate.Fault{Kind: simulate.Slow, Match: "*", Share: 0.02, Delay: 50 * time.Millisecond})
		case "cht":
			t.Switch(simulate.Fault{Kind: simulate.Error503, Match: "*", Share: 0.01})
		}
	}
}
