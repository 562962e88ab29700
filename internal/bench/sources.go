package bench

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/openmrs/checkdigit"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

//go:embed sources
var sources embed.FS

// SourceOptions say what a run of Feed, Report or Values measures. Everything
// is in this process: the simulators' work is in the figures too.
type SourceOptions struct {
	Registry    connector.Registry
	Concurrency int
	Entries     int // of the feed
	Patients    int // that the entries are about
	Rows        int // of the report; one in a hundred is bad
	OrgUnits    int
	Elements    int // data values of each org unit
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
	BaseMB float64          `json:"base_mb"` // before the run, simulators included
}

// bed is a site of simulators.
type bed struct {
	dir    string
	sims   map[string]simulate.Simulator
	engine *engine.Engine
	ledger ledger.Ledger
}

func newBed(ctx context.Context, o SourceOptions, options map[string]string, table string) (*bed, error) {
	dir, err := os.MkdirTemp("", "kiungo-bench-")
	if err != nil {
		return nil, err
	}
	b := &bed{dir: dir, sims: map[string]simulate.Simulator{}}
	if err := b.open(ctx, o, options, table); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bed) open(ctx context.Context, o SourceOptions, options map[string]string, table string) error {
	sub, err := fs.Sub(sources, "sources")
	if err != nil {
		return err
	}
	folder := filepath.Join(b.dir, "integrations", "b01-sources")
	if err := os.CopyFS(folder, sub); err != nil {
		return err
	}
	if table != "" {
		if err := os.WriteFile(filepath.Join(folder, "tables", "cells.csv"), []byte(table), 0o600); err != nil {
			return err
		}
	}
	network := simulate.Network{}
	text := "zone: Africa/Nairobi\nintegrations: {b01-sources: {}}\nsystems:\n"
	for _, name := range []string{"commcare", "openmrs", "dhis2"} {
		line, err := b.system(name, options[name], o)
		if err != nil {
			return err
		}
		network[name+".sim"] = b.sims[name]
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

// system makes a simulator and the lines of site.yaml that point at it.
func (b *bed) system(name, options string, o SourceOptions) (string, error) {
	sim, err := o.Registry[name].Simulate([]byte(options))
	if err != nil {
		return "", fmt.Errorf("simulator of %s: %w", name, err)
	}
	sim.Traffic().Keep = -1
	b.sims[name] = sim
	secret := map[string]bool{}
	for _, opt := range o.Registry[name].Options {
		secret[opt.Name] = opt.Secret
	}
	lines := []string{fmt.Sprintf("url: 'http://%s.sim'", name), fmt.Sprintf("limit: '%d'", o.Concurrency)}
	if name == "openmrs" {
		lines = append(lines, "feeds: patient", "feed_from: start")
	}
	for k, v := range sim.Settings() {
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
	_ = os.RemoveAll(b.dir)
}

// measure reads a source and waits until all that came of it has ended or is held.
func (b *bed) measure(ctx context.Context, what string, n int, read func() error) (*SourceRun, error) {
	debug.FreeOSMemory()
	run := &SourceRun{What: what, N: n, States: map[string]int64{}, BaseMB: resident()}
	peak := watchPeak()
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
	run.PeakMB = peak()
	return run, nil
}

func (b *bed) seed(system string, doc any) error {
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return b.sims[system].Seed(text)
}

type object = map[string]any

// Feed reads a feed of Entries about Patients: each entry is a message, and the
// patients become cases.
func Feed(ctx context.Context, o SourceOptions) (*SourceRun, error) {
	b, err := newBed(ctx, o, map[string]string{"openmrs": `{"feed":"bahmni","feedPage":20}`}, "")
	if err != nil {
		return nil, err
	}
	defer b.close()
	uuid := func(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
	var patients []any
	for i := range o.Patients {
		patients = append(patients, object{"person": object{"uuid": uuid(i), "gender": []string{"F", "M"}[i%2], "birthdate": fmt.Sprintf("19%02d-%02d-%02d", i%90+10, i%12+1, i%28+1),
			"names":     []any{object{"givenName": fmt.Sprintf("Given%d", i), "familyName": fmt.Sprintf("Family%d", i%997)}},
			"addresses": []any{}},
			"identifiers": []any{object{"identifier": openmrsID(i), "identifierType": "05a29f94-c0ed-11e2-94be-8c13b969e334", "location": "8d6c993e-c2cc-11de-8d13-0010c6dffd0f", "preferred": true}}})
		if len(patients) == 1000 || i == o.Patients-1 {
			if err := b.seed("openmrs", object{"patients": patients}); err != nil {
				return nil, err
			}
			patients = patients[:0]
		}
	}
	// The seed has announced each patient; what is wanted is this many entries.
	var entries []any
	for i := range o.Entries {
		entries = append(entries, object{"title": "Patient", "content": "/openmrs/ws/rest/v1/patient/" + uuid(i%o.Patients) + "?v=full"})
	}
	if err := b.seed("openmrs", object{"feeds": []any{object{"category": "patient", "reset": true, "entries": entries}}}); err != nil {
		return nil, err
	}
	return b.measure(ctx, "feed entries", o.Entries, func() error { return b.engine.Poll(ctx, "openmrs", "patient") })
}

// Report reads a report of Rows, of which one in a hundred is bad: each becomes
// a case, but the bad ones, which are held.
func Report(ctx context.Context, o SourceOptions) (*SourceRun, error) {
	b, err := newBed(ctx, o, nil, "")
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := b.seed("openmrs", object{"reports": []any{object{"uuid": "bench-report", "name": "Bench",
		"dataSets": []any{object{"name": "people", "generate": o.Rows, "bad": 100}}}}}); err != nil {
		return nil, err
	}
	return b.measure(ctx, "report rows", o.Rows, func() error {
		if _, err := b.engine.Ask(ctx, "report-to-case", "", ""); err != nil {
			return err
		}
		return b.engine.Fetch(ctx, "report-to-case", "")
	})
}

// Values sends Elements data values of each of OrgUnits for one month.
func Values(ctx context.Context, o SourceOptions) (*SourceRun, error) {
	table, row, elements, of := "column,element\n", []any{}, []any{}, []any{}
	columns := []any{object{"column_id": "clinic", "display": "Clinic"}}
	for i := range o.Elements {
		id, column := fmt.Sprintf("BenchDe%04d", i), fmt.Sprintf("c%d", i)
		table += column + "," + id + "\n"
		columns = append(columns, object{"column_id": column, "display": column})
		elements = append(elements, object{"id": id, "code": "BENCH_" + fmt.Sprint(i), "name": "Bench " + fmt.Sprint(i), "shortName": "Bench " + fmt.Sprint(i),
			"valueType": "INTEGER_ZERO_OR_POSITIVE", "domainType": "AGGREGATE", "aggregationType": "SUM", "zeroIsSignificant": true, "categoryCombo": object{"id": "bjDvmb4bfuf"}})
		of = append(of, object{"dataElement": object{"id": id}})
	}
	var units []any
	for u := range o.OrgUnits {
		unit := fmt.Sprintf("GenOu%06d", u+1)
		units = append(units, object{"id": unit})
		r := object{"clinic": unit}
		for i := range o.Elements {
			r[fmt.Sprintf("c%d", i)] = (u+i)%97 + 1
		}
		row = append(row, r)
	}
	b, err := newBed(ctx, o, map[string]string{"dhis2": fmt.Sprintf(`{"facilities":%d}`, o.OrgUnits)}, table)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := b.seed("dhis2", object{"dataElements": elements, "dataSets": []any{object{"id": "BenchDsSet1", "code": "BENCH", "name": "Bench", "shortName": "Bench",
		"periodType": "Monthly", "openFuturePeriods": 0, "expiryDays": 0, "categoryCombo": object{"id": "bjDvmb4bfuf"}, "dataSetElements": of, "organisationUnits": units}}}); err != nil {
		return nil, err
	}
	if err := b.seed("commcare", object{"reports": []any{object{"id": "bench-values", "title": "Bench", "columns": columns, "rows": row}}}); err != nil {
		return nil, err
	}
	return b.measure(ctx, "data values", o.OrgUnits*o.Elements, func() error {
		if _, err := b.engine.Ask(ctx, "report-to-values", "", "202610"); err != nil {
			return err
		}
		return b.engine.Fetch(ctx, "report-to-values", "")
	})
}

// openmrsID is an OpenMRS ID with its check character.
func openmrsID(i int) string {
	base := fmt.Sprintf("%06d", 100_000+i)
	check, _ := checkdigit.ModN(base, checkdigit.Mod30) // digits are in the alphabet
	return base + string(check)
}
