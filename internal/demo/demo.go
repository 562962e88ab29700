// Package demo runs the whole product on one machine: simulators of CommCare
// and of two OpenMRS servers, the ledger, the engine, and forms that flow at a
// steady rate with some faults switched on.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/integrations"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/runner"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Options of a demo.
type Options struct {
	Only     []string // ids of integrations: i05; empty: all
	Messages int      // forms for each integration; default 200
	Rate     float64  // forms a second over all; default 60
	Dir      string   // of the ledger; empty: a temporary one
	Faults   bool
	Seed     uint64
	Workers  int
	Registry connector.Registry
	Log      *slog.Logger
}

// Demo is a running demo.
type Demo struct {
	Options
	Engine    *engine.Engine
	Ledger    ledger.Ledger
	Addresses [][2]string // what, where
	CommCare  *ccsim.Sim
	OpenMRS   map[string]simulate.Simulator

	stories []*story
	dir     string
	temp    bool
	servers []*http.Server
	began   time.Time
	intake  string
}

// facilities of the demo: the first half belongs to the north server, the rest
// to the south.
const facilities = 4

var servers = []string{"openmrs-north", "openmrs-south"}

// Start makes everything and starts it; no form flows yet.
func Start(ctx context.Context, o Options) (*Demo, error) {
	if o.Messages <= 0 {
		o.Messages = 200
	}
	if o.Rate <= 0 {
		o.Rate = 60
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	d := &Demo{Options: o, dir: o.Dir, OpenMRS: map[string]simulate.Simulator{}}
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "kiungo-demo-")
		if err != nil {
			return nil, err
		}
		d.dir, d.temp = dir, true
	}
	if err := d.start(ctx); err != nil {
		d.Stop()
		return nil, err
	}
	return d, nil
}

func (d *Demo) start(ctx context.Context) error {
	var err error
	if d.stories, err = chooseStories(d.Only, d.Seed); err != nil {
		return err
	}
	if d.CommCare, err = ccsim.New([]byte(`{"hour":"1s"}`)); err != nil {
		return err
	}
	urls := map[string]string{}
	if urls["commcare"], err = d.listen("CommCare (simulated)", d.CommCare); err != nil {
		return err
	}
	for _, name := range servers {
		sim, err := d.Registry["openmrs"].Simulate(nil)
		if err != nil {
			return err
		}
		d.OpenMRS[name] = sim
		if err := sim.Seed(dictionary); err != nil {
			return err
		}
		if urls[name], err = d.listen("OpenMRS "+name+" (simulated)", sim); err != nil {
			return err
		}
	}
	for _, s := range d.stories {
		if err := s.prepare(d); err != nil {
			return fmt.Errorf("%s: %w", s.id, err)
		}
	}
	// The simulators hold what they see in memory only as long as a look back needs.
	for _, sim := range d.simulators() {
		sim.Traffic().Keep = 1000
	}
	if err := d.startEngine(ctx, urls); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/in/{system}", d.Engine.Intake)
	address, err := d.listen("Kiungo takes messages", mux)
	if err != nil {
		return err
	}
	d.intake = address + "/in/commcare"
	for _, s := range d.stories {
		for _, xmlns := range s.forwarded {
			d.CommCare.AddRepeater(&ccsim.Repeater{URL: d.intake, Format: ccsim.FormJSON, Credentials: d.CommCare.Credentials(), XMLNS: xmlns})
		}
	}
	if d.Faults {
		d.switchFaults()
	}
	return nil
}

func (d *Demo) simulators() []simulate.Simulator {
	out := []simulate.Simulator{d.CommCare}
	for _, name := range servers {
		out = append(out, d.OpenMRS[name])
	}
	return out
}

// switchFaults: a little of what happens in the field, all the time.
func (d *Demo) switchFaults() {
	for _, name := range servers {
		t := d.OpenMRS[name].Traffic()
		t.Switch(simulate.Fault{Kind: simulate.LostResponse, Share: 0.01})
		t.Switch(simulate.Fault{Kind: simulate.Error500After, Share: 0.005})
		t.Switch(simulate.Fault{Kind: simulate.Error503, Share: 0.01})
		t.Switch(simulate.Fault{Kind: simulate.HTMLPage, Match: "*", Share: 0.002})
		t.Switch(simulate.Fault{Kind: simulate.Slow, Match: "*", Share: 0.02, Delay: 50 * time.Millisecond})
		t.Switch(simulate.Fault{Kind: simulate.Refuse, Match: "POST /ws/rest/v1/encounter", Share: 0.01})
	}
	d.CommCare.Traffic().Switch(simulate.Fault{Kind: simulate.TooMany, Match: "*", Share: 0.002})
}

// listen serves a handler on a free port of this machine.
func (d *Demo) listen(what string, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	d.servers = append(d.servers, server)
	go func() { _ = server.Serve(l) }()
	address := "http://" + l.Addr().String()
	d.Addresses = append(d.Addresses, [2]string{what, address})
	return address, nil
}

func (d *Demo) startEngine(ctx context.Context, urls map[string]string) error {
	folder := filepath.Join(d.dir, "integrations")
	if err := integrations.Unpack(folder); err != nil {
		return err
	}
	file, err := d.writeSite(urls)
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
	if d.Ledger, err = store.OpenSQLite(ctx, filepath.Join(d.dir, "ledger"), store.Options{}); err != nil {
		return err
	}
	d.Engine, err = engine.New(engine.Options{Ledger: d.Ledger, Registry: d.Registry, Site: site, Integrations: active,
		Concurrency: d.Workers, Log: d.Log, Probe: 200 * time.Millisecond,
		Policy: runner.Policy{First: 200 * time.Millisecond, Most: 2 * time.Second}})
	if err != nil {
		return err
	}
	return d.Engine.Start(ctx)
}

// writeSite writes the demo's site.yaml, with secrets in files, as a real site
// would have it.
func (d *Demo) writeSite(urls map[string]string) (string, error) {
	systems := map[string]any{}
	add := func(name, connectorName string, sim simulate.Simulator, places []string) error {
		options := map[string]any{"url": urls[name], "limit": "16", "timeout": "2s", "settle": "500ms"}
		for k, v := range sim.Settings() {
			options[k] = v
		}
		for _, o := range d.Registry[connectorName].Options {
			if v, ok := options[o.Name].(string); ok && o.Secret {
				path := filepath.Join(d.dir, name+"."+o.Name)
				if err := os.WriteFile(path, []byte(v), 0o600); err != nil {
					return err
				}
				options[o.Name] = "file:" + path
			}
		}
		s := map[string]any{"connector": connectorName, "options": options}
		if len(places) > 0 {
			s["places"] = places
		}
		systems[name] = s
		return nil
	}
	if err := add("commcare", "commcare", d.CommCare, nil); err != nil {
		return "", err
	}
	for i, name := range servers {
		if err := add(name, "openmrs", d.OpenMRS[name], placesOf(d.stories, i)); err != nil {
			return "", err
		}
	}
	use := map[string]any{}
	for _, s := range d.stories {
		use[s.folder] = map[string]any{"site": s.values}
	}
	text, err := yaml.Marshal(map[string]any{"zone": "Africa/Nairobi", "region": "KE", "systems": systems, "integrations": use})
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.dir, "site.yaml")
	return file, os.WriteFile(file, text, 0o600)
}

// Dir is the folder of the demo's site and ledger.
func (d *Demo) Dir() string { return d.dir }

// Stop stops everything, and removes a temporary ledger.
func (d *Demo) Stop() {
	if d.Engine != nil {
		d.Engine.Stop()
	}
	for _, s := range slices.Backward(d.servers) {
		_ = s.Close()
	}
	if d.Ledger != nil {
		_ = d.Ledger.Close()
	}
	if d.temp {
		_ = os.RemoveAll(d.dir)
	}
}

// Feed submits the forms of all stories to CommCare, in turn, at the demo's
// rate; CommCare forwards them. progress is told after each.
func (d *Demo) Feed(ctx context.Context, progress func(sent int)) error {
	d.began = time.Now()
	go d.CommCare.Run(ctx, &http.Client{Timeout: 30 * time.Second}, 8)
	tick := time.NewTicker(time.Duration(float64(time.Second) / d.Rate))
	defer tick.Stop()
	sent := 0
	for i := 0; i < d.Messages; i++ {
		for _, s := range d.stories {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
			if err := s.submit(d); err != nil {
				return fmt.Errorf("%s: submit a form: %w", s.id, err)
			}
			sent++
			if progress != nil {
				progress(sent)
			}
		}
	}
	return nil
}

// Total is how many forms will flow.
func (d *Demo) Total() int { return d.Messages * len(d.stories) }

// Settle waits until CommCare has forwarded everything and nothing moves by
// itself any more.
func (d *Demo) Settle(ctx context.Context, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for len(d.CommCare.Pending()) > 0 {
		if time.Now().After(deadline) {
			return errors.New("CommCare has not forwarded everything in time")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return d.Engine.Settle(ctx, time.Until(deadline))
}
