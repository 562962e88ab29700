package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/runner"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Patience for one step to settle. A scenario is a few messages; what has not
// settled by then hangs.
const patience = 30 * time.Second

// bench is a running scenario.
type bench struct {
	s       *Scenario
	reg     connector.Registry
	dir     string // of the integration
	work    string // temporary
	sims    map[string]simulate.Simulator
	net     simulate.Network
	engine  *engine.Engine
	ledger  ledger.Ledger
	site    *flow.Site
	in      *flow.Integration
	before  map[string][]byte
	answers []string
	between strings.Builder // how deliveries stood before somebody acted
	log     *slog.Logger
}

// Run runs a scenario and gives its outcome as text, to be compared with the
// golden file.
func Run(ctx context.Context, s *Scenario, integrationDir string, reg connector.Registry, log *slog.Logger) (string, error) {
	work, err := os.MkdirTemp("", "kiungo-scenario-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	b := &bench{s: s, reg: reg, dir: integrationDir, work: work, log: log,
		sims: map[string]simulate.Simulator{}, net: simulate.Network{}, before: map[string][]byte{}}
	if err := b.prepare(); err != nil {
		return "", err
	}
	if err := b.start(ctx); err != nil {
		return "", err
	}
	defer func() { b.stop() }()
	for i, step := range s.Steps {
		if err := b.do(ctx, step); err != nil {
			return "", fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if err := b.settle(ctx); err != nil {
		return "", err
	}
	return b.report(ctx)
}

// prepare makes the simulators and a site that points at them.
func (b *bench) prepare() error {
	base := map[string]any{}
	if text, err := os.ReadFile(filepath.Join(b.s.Dir, "site.yaml")); err == nil {
		if err := yaml.Unmarshal(text, &base); err != nil {
			return fmt.Errorf("site.yaml: %s", yaml.FormatError(err, false, true))
		}
	}
	site := merged(base, b.s.Site)
	systems, _ := site["systems"].(map[string]any)
	for name, v := range systems {
		sys, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("site.yaml: system %s must have keys", name)
		}
		kind, _ := sys["connector"].(string)
		c, ok := b.reg[kind]
		if !ok || c.Simulate == nil {
			return fmt.Errorf("system %s: no simulator for connector %q", name, kind)
		}
		sim, err := b.simulator(name, c)
		if err != nil {
			return fmt.Errorf("simulator of %s: %w", name, err)
		}
		host := name + ".sim"
		b.sims[name], b.net[host] = sim, sim
		options, _ := sys["options"].(map[string]any)
		all, err := b.settings(name, c, sim)
		if err != nil {
			return err
		}
		sys["options"] = merged(all, options)
	}
	text, err := yaml.Marshal(site)
	if err != nil {
		return err
	}
	file := filepath.Join(b.work, "site.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	return b.load()
}

// load reads the site and the integration as they are now.
func (b *bench) load() error {
	var problems flow.Problems
	if b.site, problems = flow.LoadSite(filepath.Join(b.work, "site.yaml"), b.reg); problems.Errors() > 0 {
		return fmt.Errorf("the scenario's site:\n%s", problems)
	}
	if b.in, problems = flow.Load(b.dir, b.reg, b.site); problems.Errors() > 0 {
		return fmt.Errorf("the integration:\n%s", problems)
	}
	return nil
}

// settings are the options of a system that points at its simulator; secrets
// stand in files, as in a real site.
func (b *bench) settings(name string, c *connector.Connector, sim simulate.Simulator) (map[string]any, error) {
	all := map[string]any{"url": "http://" + name + ".sim", "timeout": "500ms"}
	secret := map[string]bool{}
	for _, o := range c.Options {
		secret[o.Name] = o.Secret
	}
	for k, v := range sim.Settings() {
		if secret[k] {
			path := filepath.Join(b.work, name+"."+k)
			if err := os.WriteFile(path, []byte(v), 0o600); err != nil {
				return nil, err
			}
			v = "file:" + path
		}
		all[k] = v
	}
	return all, nil
}

func (b *bench) simulator(name string, c *connector.Connector) (simulate.Simulator, error) {
	setup := b.s.Simulators[name]
	options, err := jsonOf(setup.Options)
	if err != nil {
		return nil, err
	}
	sim, err := c.Simulate(options)
	if err != nil {
		return nil, err
	}
	seeds, several := setup.Seed.([]any)
	if !several && setup.Seed != nil {
		seeds = []any{setup.Seed}
	}
	for _, v := range seeds {
		doc, err := b.seed(v)
		if err != nil {
			return nil, err
		}
		if err := sim.Seed(doc); err != nil {
			return nil, err
		}
	}
	if b.before[name], err = sim.State(); err != nil {
		return nil, err
	}
	return sim, nil
}

func (b *bench) seed(v any) ([]byte, error) {
	if name, ok := v.(string); ok {
		return os.ReadFile(filepath.Join(b.s.Dir, name))
	}
	return json.Marshal(v)
}

func jsonOf(m map[string]any) ([]byte, error) {
	if len(m) == 0 {
		return nil, nil
	}
	return json.Marshal(m)
}

// start opens the ledger and the engine: one worker, short pauses, no polls
// but those the steps ask for.
func (b *bench) start(ctx context.Context) error {
	var err error
	if b.ledger, err = store.OpenSQLite(ctx, filepath.Join(b.work, "ledger"), store.Options{}); err != nil {
		return err
	}
	b.engine, err = engine.New(engine.Options{Ledger: b.ledger, Registry: b.reg, Site: b.site,
		Integrations: []*flow.Integration{b.in}, Concurrency: 1, Transport: b.net, NoPolls: true, Log: b.log,
		Probe: 5 * time.Millisecond, Soon: 2 * time.Millisecond,
		Policy: runner.Policy{First: 20 * time.Millisecond, Most: 100 * time.Millisecond, Jitter: func() float64 { return 0 }}})
	if err != nil {
		return err
	}
	return b.engine.Start(ctx)
}

func (b *bench) stop() {
	if b.engine != nil {
		b.engine.Stop()
	}
	if b.ledger != nil {
		_ = b.ledger.Close()
	}
	b.engine, b.ledger = nil, nil
}

func (b *bench) do(ctx context.Context, s Step) error {
	switch {
	case s.Send != "" || s.Body != "":
		if err := b.send(ctx, s); err != nil {
			return err
		}
		if s.Wait != nil && !*s.Wait {
			return nil
		}
	case s.Fault != nil:
		sim, ok := b.sims[s.Fault.System]
		if !ok {
			return fmt.Errorf("fault: no system %q", s.Fault.System)
		}
		sim.Traffic().Switch(simulate.Fault{Kind: s.Fault.Kind, Match: s.Fault.Match, Call: s.Fault.Call, Times: s.Fault.Times, Delay: s.Fault.Delay})
		return nil
	case s.Calm != "":
		sim, ok := b.sims[s.Calm]
		if !ok {
			return fmt.Errorf("calm: no system %q", s.Calm)
		}
		if err := b.meanwhile(ctx, "calm"); err != nil {
			return err
		}
		sim.Traffic().Calm()
		if err := b.healed(s.Calm); err != nil {
			return err
		}
	case s.Seed != nil:
		sim, ok := b.sims[s.Seed.System]
		if !ok {
			return fmt.Errorf("seed: no system %q", s.Seed.System)
		}
		doc, err := b.seed(s.Seed.Doc)
		if err != nil {
			return err
		}
		return sim.Seed(doc)
	case s.Clerk != nil:
		return b.clerk(ctx, s.Clerk)
	case s.Table != nil:
		if err := b.table(ctx, s.Table); err != nil {
			return err
		}
	case s.Poll != "":
		system, stream, _ := strings.Cut(s.Poll, "/")
		err := b.engine.Poll(ctx, system, stream)
		if (err != nil) != s.Fails {
			return fmt.Errorf("poll: fails: %t, and the error is: %w", s.Fails, err)
		}
		if err != nil {
			b.answers = append(b.answers, "poll "+s.Poll+" -> "+err.Error())
		}
	case s.Fetch != "":
		if _, err := b.engine.Ask(ctx, s.Fetch, s.System, s.Period); err != nil {
			return err
		}
		err := b.engine.Fetch(ctx, s.Fetch, s.System)
		if (err != nil) != s.Fails {
			return fmt.Errorf("fetch: fails: %t, and the error is: %w", s.Fails, err)
		}
		if err != nil {
			b.answers = append(b.answers, "fetch "+s.Fetch+" -> "+err.Error())
		}
	case s.Answer != nil:
		if err := b.meanwhile(ctx, "answer"); err != nil {
			return err
		}
		if err := b.answer(ctx, s.Answer); err != nil {
			return err
		}
	case s.Split != nil:
		if err := b.meanwhile(ctx, "split"); err != nil {
			return err
		}
		if err := b.split(ctx, s.Split); err != nil {
			return err
		}
	case s.Mark != "", s.Restore != "", s.Replace != "":
		return b.backup(ctx, s)
	case s.Replay != nil:
		if err := b.meanwhile(ctx, "replay"); err != nil {
			return err
		}
		if err := b.replay(ctx, s.Replay); err != nil {
			return err
		}
	case s.Restart:
		if err := b.restart(ctx); err != nil {
			return err
		}
	case s.Retry != "":
		if err := b.meanwhile(ctx, "retry"); err != nil {
			return err
		}
		if err := b.decide(ctx, s.Retry, b.ledger.Retry); err != nil {
			return err
		}
	case s.Skip != "":
		if err := b.meanwhile(ctx, "skip"); err != nil {
			return err
		}
		if err := b.decide(ctx, s.Skip, b.ledger.Skip); err != nil {
			return err
		}
	case s.Settle:
	default:
		return errors.New("a step says what happens: send, fault, calm, seed, clerk, table, retry, skip, answer, split, poll, fetch, mark, restore, replace, replay, restart or settle")
	}
	return b.settle(ctx)
}

func (b *bench) decide(ctx context.Context, which string, do func(context.Context, int64, string, string) (int64, error)) error {
	held, err := b.ledger.Deliveries(ctx, ledger.Filter{States: []ledger.State{ledger.Held, ledger.HalfUndone}, Limit: 1000})
	if err != nil {
		return err
	}
	sort.Slice(held, func(i, j int) bool { return held[i].ID < held[j].ID })
	for _, d := range held {
		if which != "all" && d.Flow != which && !strings.HasSuffix(d.Flow, "/"+which) {
			continue
		}
		lane, err := do(ctx, d.ID, "scenario", "")
		if err != nil {
			return err
		}
		b.engine.Ring(lane)
	}
	return nil
}

func (b *bench) send(ctx context.Context, s Step) error {
	body := []byte(s.Body)
	if s.Send != "" {
		var err error
		if body, err = os.ReadFile(filepath.Join(b.s.Dir, s.Send)); err != nil {
			return err
		}
	}
	if len(s.With) > 0 {
		var err error
		if body, err = changed(body, s.With); err != nil {
			return fmt.Errorf("%s: %w", s.Send, err)
		}
	}
	to := s.To
	if to == "" {
		to = b.onlyReceiver()
	}
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/in/"+to, bytes.NewReader(body))
	req.SetPathValue("system", to)
	req.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(s.Send, ".xml") {
		req.Header.Set("Content-Type", "text/xml")
	}
	for k, v := range s.Header {
		req.Header.Set(k, v)
	}
	if sim := b.sims[to]; sim != nil && !s.Anonymous {
		if user := sim.Settings()["inbound_username"]; user != "" {
			req.SetBasicAuth(user, sim.Settings()["inbound_password"])
		}
	}
	out := httptest.NewRecorder()
	b.engine.Intake.ServeHTTP(out, req)
	name := s.Send
	if name == "" {
		name = "a body"
	}
	b.answers = append(b.answers, fmt.Sprintf("%s -> %d %s", name, out.Code, strings.TrimSpace(out.Body.String())))
	return nil
}

func (b *bench) onlyReceiver() string {
	var names []string
	for name, port := range b.engine.Systems {
		if _, ok := port.System.(connector.Receiver); ok {
			names = append(names, name)
		}
	}
	if len(names) == 1 {
		return names[0]
	}
	return ""
}

// changed sets values in a JSON document by slash paths.
func changed(body []byte, with map[string]any) ([]byte, error) {
	var doc any
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	for path, v := range with {
		parts := strings.Split(path, "/")
		at, ok := doc.(map[string]any)
		for _, p := range parts[:len(parts)-1] {
			if !ok {
				break
			}
			at, ok = at[p].(map[string]any)
		}
		if !ok {
			return nil, fmt.Errorf("with: there is no %s", path)
		}
		if v == nil {
			delete(at, parts[len(parts)-1])
			continue
		}
		at[parts[len(parts)-1]] = v
	}
	return json.Marshal(doc)
}

// settle waits until nothing moves by itself any more: every delivery has
// ended, is held, or waits for a system that is down.
func (b *bench) settle(ctx context.Context) error {
	return b.engine.Settle(ctx, patience)
}
