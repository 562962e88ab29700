// Package invariants holds the property tests of the core's promises: each is
// named after an invariant of the design, and runs the whole of Kiungo (intake,
// ledger, runner, connectors) against the recording simulators, with a fault
// at every commit and at every call.
package invariants

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/runner"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

const (
	shipped = "../../integrations/i05-commcare-openmrs-feed"
	serverA = clinictest.ServerA
	serverB = clinictest.ServerB
	source  = clinictest.Source
)

// patience is in the bubble's own time: what has not come to rest by then never does.
const patience = 10 * time.Minute

var registry = connectors.All()

// ring seals all ledgers of this package's tests: making one costs time.
var ring = sync.OnceValues(func() (*seal.Ring, error) {
	dir, err := os.MkdirTemp("", "kiungo-ring-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return seal.Create(filepath.Join(dir, "keyring"))
})

// world is one Kiungo with its simulators.
type world struct {
	t       testing.TB
	dir     string
	folder  string // of the integration
	workers int
	fault   func(point string) error // of the ledger's commits
	// outside stands between Kiungo and the simulators.
	outside func(host string, r *http.Request)

	sims     map[string]simulate.Simulator
	net      simulate.Network
	site     *flow.Site
	in       *flow.Integration
	ledger   *store.Store
	engine   *engine.Engine
	log      clinictest.Log
	witness  *witness
	restarts int
}

// bubble runs f in a bubble of its own time, where waiting costs nothing, with
// a new world that is stopped and checked at the end.
func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	bubbleOf(t, shipped, f)
}

func bubbleOf(t *testing.T, folder string, f func(w *world)) {
	t.Helper()
	if _, err := ring(); err != nil { // made outside of any bubble
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, folder)
		defer w.end()
		f(w)
	})
}

func newWorld(t testing.TB, folder string) *world {
	t.Helper()
	w := &world{t: t, dir: tempDir(t), folder: folder, workers: 4, sims: map[string]simulate.Simulator{}, net: simulate.Network{}}
	w.witness = newWitness(w)
	dictionary, err := os.ReadFile(filepath.Join(shipped, "scenarios", "openmrs.json"))
	w.must(err)
	w.sims, err = clinictest.Simulators(registry, dictionary)
	w.must(err)
	for name, sim := range w.sims {
		w.net[name+".sim"] = w.witness.wrap(name, sim)
	}
	w.must(writeSite(w.dir, w.sims, func(name string) string { return "http://" + name + ".sim" }))
	w.site, w.in, err = loadSite(w.dir, folder)
	w.must(err)
	return w
}

// tempDir is a folder in memory where there is one: an fsync there costs nothing.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := clinictest.TempDir("invariants")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func writeSite(dir string, sims map[string]simulate.Simulator, url func(name string) string) error {
	return clinictest.WriteSite(dir, registry, sims, url, nil, filepath.Base(shipped), "twofold")
}

func loadSite(dir, folder string) (*flow.Site, *flow.Integration, error) {
	return clinictest.LoadSite(dir, folder, registry)
}

// open opens the ledger and starts the engine.
func (w *world) open() error {
	keys, err := ring()
	if err != nil {
		return err
	}
	if w.ledger, err = store.OpenSQLite(context.Background(), filepath.Join(w.dir, "ledger"), store.Options{Ring: keys, Fault: w.fault, MinFree: -1, Gather: -1,
		Log: func(text string) { fmt.Fprintln(&w.log, text) }}); err != nil {
		return err
	}
	w.engine, err = engine.New(engine.Options{Ledger: w.ledger, Registry: registry, Site: w.site,
		Integrations: []*flow.Integration{w.in}, Concurrency: w.workers, Transport: w.transport(), NoPolls: true,
		Log:   slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Probe: 100 * time.Millisecond, Soon: 2 * time.Millisecond,
		Policy: runner.Policy{First: 20 * time.Millisecond, Most: time.Second, Jitter: func() float64 { return 0 }}})
	if err != nil {
		return err
	}
	return w.engine.Start(context.Background())
}

func (w *world) start() {
	w.t.Helper()
	w.must(w.open())
}

// transport is the network as Kiungo sees it.
func (w *world) transport() http.RoundTripper { return roundTrip{w} }

type roundTrip struct{ w *world }

func (x roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	if x.w.outside != nil {
		x.w.outside(strings.TrimSuffix(r.URL.Host, ".sim"), r)
	}
	return x.w.net.RoundTrip(r)
}

// stop stops engine and ledger, whether they live or were killed.
func (w *world) stop() {
	if w.engine != nil {
		w.engine.Stop()
	}
	if w.ledger != nil {
		_ = w.ledger.Close() // a killed one says so
	}
	w.engine, w.ledger = nil, nil
}

// end stops the world, and reports what the witness saw.
func (w *world) end() {
	w.t.Helper()
	w.stop()
	time.Sleep(2 * time.Minute) // a slow server is still at what nobody waits for
	for _, f := range w.witness.faults() {
		w.t.Error(f)
	}
	if n := w.witness.unasked; n > 0 && w.restarts == 0 {
		w.t.Errorf("%d of %d calls could not be looked up in the journal", n, w.witness.seen)
	}
}

// push sends a form as CommCare forwards it, and tells whether it was acknowledged.
func (w *world) push(body []byte) bool {
	w.t.Helper()
	code := push(w.engine.Intake, w.sims[source], body)
	if code == http.StatusServiceUnavailable {
		return false
	}
	if code != http.StatusAccepted {
		w.t.Fatalf("intake answered %d to a form", code)
	}
	return true
}

func push(intake http.Handler, sim simulate.Simulator, body []byte) int {
	r := httptest.NewRequest(http.MethodPost, "/in/"+source, bytes.NewReader(body))
	r.SetPathValue("system", source)
	r.Header.Set("Content-Type", "application/json")
	s := sim.Settings()
	r.SetBasicAuth(s["inbound_username"], s["inbound_password"])
	out := httptest.NewRecorder()
	intake.ServeHTTP(out, r)
	return out.Code
}

// submit submits forms to CommCare, which then has their cases.
func (w *world) submit(forms ...form) {
	w.t.Helper()
	for _, f := range forms {
		w.must(submit(w.sims[source], f))
	}
}

func submit(sim simulate.Simulator, f form) error {
	_, err := sim.(interface {
		Submit(body []byte) (string, error)
	}).Submit(f.Body())
	return err
}

// run submits forms, has them forwarded in this order, and waits until nothing moves.
func (w *world) run(forms ...form) {
	w.t.Helper()
	for _, f := range forms {
		w.submit(f)
		if !w.push(f.Body()) {
			w.t.Fatal("intake did not take a form")
		}
	}
	w.settle()
}

// forward has forms that CommCare has sent, one after the other has come to rest.
func (w *world) forward(forms ...form) {
	w.t.Helper()
	for _, f := range forms {
		if !w.push(f.Body()) {
			w.t.Fatal("intake did not take a form")
		}
		w.settle()
	}
}

func (w *world) settle() {
	w.t.Helper()
	w.must(w.rest(w.t.Context()))
}

// rest waits until nothing moves, and looks ever more rarely: the bubble's time
// is free, a look is not.
func (w *world) rest(ctx context.Context) error {
	const atOnce = -1
	for began, pause := time.Now(), 2*time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		time.Sleep(pause)
		err := w.engine.Settle(ctx, atOnce)
		if err == nil || ctx.Err() != nil || time.Since(began) > patience {
			return err
		}
	}
}

// deliveries lists all deliveries, oldest first.
func (w *world) deliveries() []ledger.Delivery {
	w.t.Helper()
	list, err := w.ledger.Deliveries(context.Background(), ledger.Filter{Limit: 1000})
	w.must(err)
	slices.Reverse(list)
	return list
}

// allDone fails the test unless every delivery is done, and there are that many.
func (w *world) allDone(n int) {
	w.t.Helper()
	list := w.deliveries()
	if len(list) != n {
		w.t.Errorf("%d deliveries, want %d", len(list), n)
	}
	for _, d := range list {
		if d.State != ledger.Done {
			w.t.Errorf("delivery %d (%s) is %s %s %s: %s", d.ID, d.Flow, d.State, d.BlockedOn, d.BlockedBy, d.Reason)
		}
	}
}

func (w *world) retryHeld() int {
	w.t.Helper()
	n := 0
	for _, d := range w.deliveries() {
		if d.State == ledger.Held || d.State == ledger.HalfUndone {
			lane, err := w.ledger.Retry(context.Background(), d.ID, "test", "")
			w.must(err)
			w.engine.Ring(lane)
			n++
		}
	}
	w.settle()
	return n
}

// state is what all systems hold, byte for byte.
func (w *world) state() map[string]string {
	w.t.Helper()
	out, err := states(w.sims)
	w.must(err)
	return out
}

func states(sims map[string]simulate.Simulator) (map[string]string, error) {
	out := map[string]string{}
	for name, sim := range sims {
		b, err := sim.State()
		if err != nil {
			return nil, err
		}
		out[name] = string(b)
	}
	return out, nil
}

func (w *world) calm() {
	for _, s := range w.sims {
		s.Traffic().Calm()
	}
}

// changes lists the changing requests that a system saw.
func (w *world) changes(name string) []simulate.Recorded {
	var out []simulate.Recorded
	for _, r := range w.sims[name].Traffic().Requests() {
		if r.CallID != "" {
			out = append(out, r)
		}
	}
	return out
}

func (w *world) allChanges() int {
	n := 0
	for name := range w.sims {
		n += len(w.changes(name))
	}
	return n
}

// same fails the test if two states differ.
func (w *world) same(what string, want, got map[string]string) {
	w.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if want[name] != got[name] {
			w.t.Errorf("%s: %s is not as it should be:\n%s", what, name, difference(want[name], got[name]))
		}
	}
}

func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out []string
	for _, l := range a {
		if !slices.Contains(b, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			out = append(out, "+ "+l)
		}
	}
	if len(out) == 0 {
		return fmt.Sprintf("other order, or something twice: %d lines, want %d", len(b), len(a))
	}
	return strings.Join(out, "\n")
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain maps
	}
	return b
}

// poisonous makes Kiungo itself fail on one person, until that is mended.
func poisonous(p person, mended *atomic.Bool) func(host string, r *http.Request) {
	return func(_ string, r *http.Request) {
		if !mended.Load() && strings.Contains(r.URL.RawQuery, p.NationalID()) {
			panic("a bug met this person")
		}
	}
}
