// Package bench measures how many deliveries a second the whole way from
// intake to the ledger's last commit carries, beside a bare loop of the same
// requests in the same run. The method stands in docs/performance.md.
package bench

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

//go:embed files
var files embed.FS

// Options of a run.
type Options struct {
	Deliveries  int
	Concurrency int
	Call        time.Duration // latency of each request at the target
	Waiting     int           // deliveries that wait, meanwhile, for a system that is down; 0: none
	Lanes       int           // that the forms stand in; 0: each in that of its patient
	Rounds      int           // how often to measure; 0: once
	FormKB      int           // answers in each form that no flow reads, in kB
	Nodes       int           // that share the database; 0: one
	Dir         string        // of the ledger; empty: a temporary one
	Registry    connector.Registry
	Database    string // URL of a PostgreSQL; empty: SQLite
	Began       func() // called when what is measured of Kiungo begins
}

// Run is one measured run.
type Run struct {
	DeliveriesPerSecond float64 `json:"deliveries_per_second"`
	LoopPerSecond       float64 `json:"loop_per_second"`
	Ratio               float64 `json:"ratio"`
	CPUMillis           float64 `json:"cpu_ms_per_delivery"`
	LoopCPUMillis       float64 `json:"loop_cpu_ms_per_delivery"`
	PeakMB              float64 `json:"peak_mb"`
	Concurrency         int     `json:"concurrency"`
	CallMillis          float64 `json:"call_ms"`
	Store               string  `json:"store"`
	Deliveries          int     `json:"deliveries"`
	Calls               int     `json:"calls_per_delivery"`
	Requests            int     `json:"requests_per_delivery"`
	Waiting             int     `json:"waiting"`
	FormKB              int     `json:"form_kb"`
	Lanes               int     `json:"lanes"`
	Nodes               int     `json:"nodes"`
}

const samplePatient = "11111111-2222-4333-8444-555555555555"

// Measure measures in rounds: the bare loop, then Kiungo on a ledger of its own.
// With Waiting, each round also measures a second ledger, in which so many wait,
// right after the first: what the machine does meanwhile hits both.
func Measure(ctx context.Context, o Options) ([]*Run, error) {
	rig, err := newRig(o)
	if err != nil {
		return nil, err
	}
	defer rig.close()
	exchanges, keep, calls, err := rig.record(ctx)
	if err != nil {
		return nil, fmt.Errorf("record one delivery: %w", err)
	}
	target := newStub(exchanges, samplePatient, keep, rig.sim, o.Call)
	if err := target.listen(); err != nil {
		return nil, err
	}
	defer target.close()
	books, err := rig.books(ctx, target)
	if err != nil {
		return nil, err
	}
	var runs []*Run
	for range max(o.Rounds, 1) {
		loop := Run{Concurrency: o.Concurrency, CallMillis: float64(o.Call.Microseconds()) / 1000, Store: storeName(o.Database),
			Deliveries: o.Deliveries, Calls: calls, Requests: len(exchanges), FormKB: o.FormKB, Lanes: cmp.Or(o.Lanes, o.Deliveries), Nodes: max(o.Nodes, 1)}
		if err := rig.loop(ctx, target, exchanges, &loop); err != nil {
			return nil, fmt.Errorf("bare loop: %w", err)
		}
		for _, b := range books {
			run := loop
			run.Waiting = b.waiting
			if err := rig.kiungo(ctx, target, b, &run); err != nil {
				return nil, err
			}
			run.Ratio = run.DeliveriesPerSecond / run.LoopPerSecond
			runs = append(runs, &run)
		}
	}
	return runs, nil
}

// book is a ledger that is measured, round after round.
type book struct {
	name     string
	database string
	waiting  int
	pushed   int // forms, so far
	want     int // deliveries that are to be done, so far
}

// books makes the ledgers to be measured, and fills the one that is to be full.
func (r *rig) books(ctx context.Context, target *stub) ([]*book, error) {
	out := []*book{{name: "run"}}
	if r.Waiting > 0 {
		out = append(out, &book{name: "waiting", waiting: r.Waiting})
	}
	for _, b := range out {
		var err error
		if b.database, err = r.schema(b.name); err != nil {
			return nil, err
		}
		if b.waiting == 0 {
			continue
		}
		nodes, err := r.nodes(ctx, target, b)
		if err == nil {
			err = fillBacklog(ctx, nodes[0].Engine, nodes[0].ledger, r)
		}
		closeAll(nodes)
		if err == nil {
			b.waiting, err = r.multiply(ctx, b.database)
		}
		if err == nil {
			err = settle(ctx, b.database)
		}
		if err != nil {
			return nil, fmt.Errorf("fill the ledger: %w", err)
		}
	}
	return out, nil
}

// rig is what a run needs: the bench integration, and a simulator to record from.
type rig struct {
	Options
	dir    string
	temp   bool
	sim    simulate.Simulator
	sample string
	ring   *seal.Ring
	// schemas were made in the database and are dropped.
	schemas []string
}

func newRig(o Options) (*rig, error) {
	r := &rig{Options: o, dir: o.Dir}
	if r.dir == "" {
		dir, err := os.MkdirTemp("", "kiungo-bench-")
		if err != nil {
			return nil, err
		}
		r.dir, r.temp = dir, true
	}
	if err := r.integration(filepath.Join(r.dir, "integrations", "b00-bench")); err != nil {
		return nil, err
	}
	text, err := files.ReadFile("files/samples/form.json")
	if err != nil {
		return nil, err
	}
	r.sample, r.ring = strings.Replace(string(text), `"notes":`, padding(o.FormKB)+`"notes":`, 1), seal.Temporary()
	return r, nil
}

// integration writes the bench's integration, with lanes that are not the
// patients' if so many are to be measured.
func (r *rig) integration(dir string) error {
	sub, err := fs.Sub(files, "files")
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, sub); err != nil || r.Lanes == 0 {
		return err
	}
	path := filepath.Join("flows", "bench.yaml")
	text, err := fs.ReadFile(sub, filepath.ToSlash(path))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, path), append(text, "lane: {group: '${form.lane}'}\n"...), 0o644)
}

func (r *rig) close() {
	r.dropSchemas()
	if r.temp {
		_ = os.RemoveAll(r.dir)
	}
}

// node is one Kiungo of the bench.
type node struct {
	*engine.Engine
	ledger ledger.Ledger
}

func (n *node) close() {
	n.Stop()
	_ = n.ledger.Close()
}

// open starts an engine on a new ledger, with OpenMRS at that address.
func (r *rig) open(ctx context.Context, name, url string, transport http.RoundTripper) (*node, error) {
	database, err := r.schema(name)
	if err != nil {
		return nil, err
	}
	return r.join(ctx, name, database, url, transport)
}

// join starts an engine on a ledger that may be there already.
func (r *rig) join(ctx context.Context, name, database, url string, transport http.RoundTripper) (*node, error) {
	dir := filepath.Join(r.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("simulated"), 0o600); err != nil {
		return nil, err
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("Admin123"), 0o600); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`zone: Africa/Nairobi
systems:
  commcare: {connector: commcare, options: {url: 'http://127.0.0.1:1', domain: bench, username: bench, api_key: 'file:%s', inbound_username: bench, inbound_password: 'file:%s'}}
  openmrs: {connector: openmrs, options: {url: '%s', username: admin, password: 'file:%s', limit: '%d', timeout: 30s}}
  openmrs-down: {connector: openmrs, options: {url: 'http://127.0.0.1:1', username: admin, password: 'file:%s'}}
integrations:
  b00-bench: {}
`, secret, secret, url, password, max(r.Concurrency, 1), password)
	file := filepath.Join(dir, "site.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	site, problems := flow.LoadSite(file, r.Registry)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	active, problems := flow.LoadAll(filepath.Join(r.dir, "integrations"), r.Registry, site)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	l, err := store.Open(ctx, database, filepath.Join(dir, "ledger"), store.Options{MinFree: -1, Ring: r.ring})
	if err != nil {
		return nil, err
	}
	e, err := engine.New(engine.Options{Ledger: l, Registry: r.Registry, Site: site, Integrations: active, Dispatcher: dispatcher(ctx, l, database),
		Concurrency: r.Concurrency, NoPolls: true, Transport: transport, Probe: time.Hour})
	if err == nil {
		err = e.Start(ctx)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return &node{e, l}, nil
}

// push gives a form to intake as CommCare's forwarding would.
func push(ctx context.Context, e *engine.Engine, body []byte) error {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/in/commcare", bytes.NewReader(body))
	req.SetPathValue("system", "commcare")
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("bench", "simulated")
	w := httptest.NewRecorder()
	e.Intake.ServeHTTP(w, req)
	if w.Code != http.StatusAccepted {
		return fmt.Errorf("intake answered %d: %s", w.Code, w.Body)
	}
	return nil
}

// loop sends the same requests with nothing around them.
func (r *rig) loop(ctx context.Context, target *stub, exchanges []exchange, run *Run) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = max(64, r.Concurrency)
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	once := func() error {
		for _, x := range exchanges {
			req, err := http.NewRequestWithContext(ctx, x.method, target.url+x.path, bytes.NewReader(x.body))
			if err != nil {
				return err
			}
			req.Header.Set("Content-Type", "application/json")
			req.SetBasicAuth("admin", "Admin123")
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return err
			}
			_ = resp.Body.Close()
			if resp.StatusCode >= 300 {
				return fmt.Errorf("%s %s: %d", x.method, x.path, resp.StatusCode)
			}
		}
		return nil
	}
	cpu, began := cpuTime(), time.Now()
	if err := parallel(r.Concurrency, r.Deliveries, func(int) error { return once() }); err != nil {
		return err
	}
	run.LoopPerSecond = float64(r.Deliveries) / time.Since(began).Seconds()
	run.LoopCPUMillis = float64((cpuTime() - cpu).Microseconds()) / 1000 / float64(r.Deliveries)
	return nil
}

// parallel does n things with c workers.
func parallel(c, n int, do func(i int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make(chan error, c)
	for range c {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	return <-errs
}

// ahead is how many forms intake is ahead of the deliveries.
const ahead = 500

// kiungo pushes the forms through intake and waits until all are done.
func (r *rig) kiungo(ctx context.Context, target *stub, b *book, run *Run) error {
	nodes, err := r.nodes(ctx, target, b)
	defer closeAll(nodes)
	if err != nil {
		return err
	}
	// What recording, loop and backlog left behind is not the run's.
	debug.FreeOSMemory()
	peak := watchPeak()
	before := target.seen.Load()
	if r.Began != nil {
		r.Began()
	}
	cpu, began := cpuTime(), time.Now()
	// Forms come in as they are worked off: some hundreds wait at any time, and
	// intake is not one burst at the start.
	feed := func(i int) error {
		for int64(i)-(target.seen.Load()-before)/int64(run.Requests) > ahead && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		return push(ctx, nodes[i%len(nodes)].Engine, r.form(b.pushed+i))
	}
	if err := parallel(r.Concurrency, r.Deliveries, feed); err != nil {
		return err
	}
	// The last request tells when to look into the ledger: asking it all the
	// time would be measured too.
	for target.seen.Load()-before < int64(r.Deliveries*run.Requests) && ctx.Err() == nil && time.Since(began) < 10*time.Minute {
		time.Sleep(2 * time.Millisecond)
	}
	if err := nothingMoves(ctx, nodes[0].ledger); err != nil {
		return err
	}
	took := time.Since(began)
	run.DeliveriesPerSecond = float64(r.Deliveries) / took.Seconds()
	run.CPUMillis = float64((cpuTime() - cpu).Microseconds()) / 1000 / float64(r.Deliveries)
	run.PeakMB = peak()
	b.pushed += r.Deliveries
	b.want += r.Deliveries
	if err := allDone(ctx, nodes[0].ledger, b.want); err != nil {
		return err
	}
	if sent := int(target.seen.Load() - before); sent != r.Deliveries*run.Requests {
		return fmt.Errorf("%d requests were sent for %d deliveries, not %d each: the runs are not alike", sent, r.Deliveries, run.Requests)
	}
	return nil
}

func closeAll(nodes []*node) {
	for _, n := range nodes {
		n.close()
	}
}

// nodes opens the engines that are measured, each warm: metadata is read once,
// connections are there.
func (r *rig) nodes(ctx context.Context, target *stub, b *book) (nodes []*node, err error) {
	for i := range max(r.Nodes, 1) {
		n, err := r.join(ctx, fmt.Sprintf("%s%d", b.name, i), b.database, target.url, nil)
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
		warm := 1_000_000_000 + b.want
		b.want++
		if err := push(ctx, n.Engine, r.form(warm)); err != nil {
			return nodes, err
		}
		if err := nothingMoves(ctx, n.ledger); err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// nothingMoves waits for the last delivery's end. What waits for the system that
// is down does not move; to count it would take longer than the rest.
func nothingMoves(ctx context.Context, l ledger.Ledger) error {
	for {
		moving, err := l.Deliveries(ctx, ledger.Filter{States: []ledger.State{ledger.Received, ledger.Planning, ledger.Applying, ledger.Undoing}, Limit: 1})
		if err != nil || len(moving) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// allDone checks that so many deliveries are done, and none ended otherwise.
func allDone(ctx context.Context, l ledger.Ledger, want int) error {
	counts, err := l.Counts(ctx)
	if err != nil {
		return err
	}
	var done, other int64
	for _, c := range counts {
		switch c.State {
		case ledger.Done:
			done += c.N
		case ledger.Held, ledger.HalfUndone, ledger.Undone, ledger.Refused, ledger.Skipped:
			other += c.N
		}
	}
	if other > 0 {
		list, err := l.Deliveries(ctx, ledger.Filter{States: []ledger.State{ledger.Held, ledger.HalfUndone, ledger.Undone, ledger.Refused, ledger.Skipped}, Limit: 1})
		if err != nil {
			return err
		}
		return fmt.Errorf("a delivery is %s: %s", list[0].State, list[0].Reason)
	}
	if done < int64(want) {
		return fmt.Errorf("%d deliveries of %d are done, and nothing moves", done, want)
	}
	return nil
}
