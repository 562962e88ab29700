package bench

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

//go:embed sources
var sources embed.FS

// SourceOptions say what a run of Feed, Report or Values measures.
type SourceOptions struct {
	Registry    connector.Registry `json:"-"`
	Concurrency int                `json:"concurrency"`
	Entries     int                `json:"entries"`  // of the feed
	Patients    int                `json:"patients"` // that the entries are about
	Rows        int                `json:"rows"`     // of the report; one in a hundred is bad
	OrgUnits    int                `json:"org_units"`
	Elements    int                `json:"elements"` // data values of each org unit
	// Apart starts the simulators in a process of their own, with these words of
	// this program's command line, so that memory is Kiungo's alone. Empty: they
	// are in this process, and their work is in the figures too.
	Apart []string `json:"-"`
}

// SourceRun is one measured run.
type SourceRun struct {
	What      string  `json:"what"`
	N         int     `json:"n"`
	PerSecond float64 `json:"per_second"`
	Seconds   float64 `json:"seconds"`
	// Read is how long the source alone took: all is stored, not yet carried on.
	Read   float64          `json:"read_seconds"`
	States map[string]int64 `json:"states"`
	PeakMB float64          `json:"peak_mb"`
	BaseMB float64          `json:"base_mb"` // before the run
	HeapMB float64          `json:"heap_mb"` // of what was in use at the most, seen every 10 ms
	// Apart: the simulators' memory is not in the figures.
	Apart bool `json:"apart"`
}

// bed is a site of simulators.
type bed struct {
	dir    string
	apart  *apart
	engine *engine.Engine
	ledger ledger.Ledger
}

func newBed(ctx context.Context, o SourceOptions, w world) (*bed, error) {
	dir, err := os.MkdirTemp("", "kiungo-bench-")
	if err != nil {
		return nil, err
	}
	b := &bed{dir: dir}
	if err := b.open(ctx, o, w); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bed) open(ctx context.Context, o SourceOptions, w world) error {
	sub, err := fs.Sub(sources, "sources")
	if err != nil {
		return err
	}
	folder := filepath.Join(b.dir, "integrations", "b01-sources")
	if err := os.CopyFS(folder, sub); err != nil {
		return err
	}
	if w.table != nil {
		if err := os.WriteFile(filepath.Join(folder, "tables", "cells.csv"), []byte(w.table(o)), 0o600); err != nil {
			return err
		}
	}
	var there map[string]standing
	var network http.RoundTripper
	if len(o.Apart) > 0 {
		if b.apart, there, err = startApart(ctx, o, w.name); err != nil {
			return err
		}
	} else {
		sims, err := w.simulators(o)
		if err != nil {
			return err
		}
		net := simulate.Network{}
		there, network = map[string]standing{}, net
		for name, sim := range sims {
			net[name+".sim"] = sim
			there[name] = standing{URL: "http://" + name + ".sim", Settings: sim.Settings()}
		}
	}
	text := "zone: Africa/Nairobi\nintegrations: {b01-sources: {}}\nsystems:\n"
	for _, name := range worldSystems {
		line, err := b.system(name, there[name], o)
		if err != nil {
			return err
		}
		text += line
	}
	file := filepath.Join(b.dir, "site.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	site, problems := flow.LoadSite(file, o.Registry)
	if err := problems.Err(); err != nil {
		return err
	}
	active, problems := flow.LoadAll(filepath.Join(b.dir, "integrations"), o.Registry, site)
	if err := problems.Err(); err != nil {
		return err
	}
	if b.ledger, err = store.Open(ctx, "", filepath.Join(b.dir, "ledger"), store.Options{MinFree: -1}); err != nil {
		return err
	}
	b.engine, err = engine.New(engine.Options{Ledger: b.ledger, Registry: o.Registry, Site: site, Integrations: active,
		Concurrency: o.Concurrency, NoPolls: true, Transport: network})
	if err != nil {
		return err
	}
	return b.engine.Start(ctx)
}

// system gives the lines of site.yaml that point at a simulator.
func (b *bed) system(name string, at standing, o SourceOptions) (string, error) {
	secret := map[string]bool{}
	for _, opt := range o.Registry[name].Options {
		secret[opt.Name] = opt.Secret
	}
	lines := []string{fmt.Sprintf("url: '%s'", at.URL), fmt.Sprintf("limit: '%d'", o.Concurrency)}
	if name == "openmrs" {
		lines = append(lines, "feeds: patient", "feed_from: start")
	}
	for k, v := range at.Settings {
		if secret[k] {
			file := filepath.Join(b.dir, name+"."+k)
			if err := os.WriteFile(file, []byte(v), 0o600); err != nil {
				return "", err
			}
			v = "file:" + file
		}
		lines = append(lines, fmt.Sprintf("%s: '%s'", k, v))
	}
	return fmt.Sprintf("  %s: {connector: %s, options: {%s}}\n", name, name, strings.Join(lines, ", ")), nil
}

func (b *bed) close() {
	if b.engine != nil {
		b.engine.Stop()
	}
	if b.ledger != nil {
		_ = b.ledger.Close()
	}
	if b.apart != nil {
		b.apart.stop()
	}
	_ = os.RemoveAll(b.dir)
}

// measure reads a source and waits until all that came of it has ended or is held.
func (b *bed) measure(ctx context.Context, what string, n int, read func() error) (*SourceRun, error) {
	debug.FreeOSMemory()
	run := &SourceRun{What: what, N: n, States: map[string]int64{}, BaseMB: resident(), Apart: b.apart != nil}
	peak, heap := watchPeak(), watch(inUse)
	began := time.Now()
	if err := read(); err != nil {
		return nil, err
	}
	run.Read = time.Since(began).Seconds()
	for {
		counts, err := b.ledger.Counts(ctx)
		if err != nil {
			return nil, err
		}
		open := int64(0)
		clear(run.States)
		for _, c := range counts {
			run.States[string(c.State)] += c.N
			if !c.State.Ended() && c.State != ledger.Held && c.State != ledger.NotRouted {
				open += c.N
			}
		}
		if open == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	run.Seconds = time.Since(began).Seconds()
	run.PerSecond = float64(n) / run.Seconds
	run.PeakMB, run.HeapMB = peak(), heap()
	return run, nil
}

// Feed reads a feed of Entries about Patients: each entry is a message, and the
// patients become cases.
func Feed(ctx context.Context, o SourceOptions) (*SourceRun, error) {
	b, err := newBed(ctx, o, worlds["feed"])
	if err != nil {
		return nil, err
	}
	defer b.close()
	return b.measure(ctx, "feed entries", o.Entries, func() error { return b.engine.Poll(ctx, "openmrs", "patient") })
}

// Report reads a report of Rows, of which one in a hundred is bad: each becomes
// a case, but the bad ones, which are held.
func Report(ctx context.Context, o SourceOptions) (*SourceRun, error) {
	b, err := newBed(ctx, o, worlds["report"])
	if err != nil {
		return nil, err
	}
	defer b.close()
	return b.measure(ctx, "report rows", o.Rows, func() error { return b.fetch(ctx, "report-to-case", "") })
}

// Values sends Elements data values of each of OrgUnits for one month.
func Values(ctx context.Context, o SourceOptions) (*SourceRun, error) {
	b, err := newBed(ctx, o, worlds["values"])
	if err != nil {
		return nil, err
	}
	defer b.close()
	return b.measure(ctx, "data values", o.OrgUnits*o.Elements, func() error { return b.fetch(ctx, "report-to-values", "202610") })
}

func (b *bed) fetch(ctx context.Context, flow, period string) error {
	if _, err := b.engine.Ask(ctx, flow, "", period); err != nil {
		return err
	}
	return b.engine.Fetch(ctx, flow, "")
}
