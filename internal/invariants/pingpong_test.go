package invariants

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goccy/go-yaml"

	commcaresim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
	openmrssim "github.com/kiungo-health/kiungo/connectors/openmrs/sim"
	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

const (
	pingpong = "testdata/pingpong"
	// pingSeed is a walk's seed, to play it again: KIUNGO_PINGPONG_SEED=17.
	pingSeed = "KIUNGO_PINGPONG_SEED"
	// pingTrace, if set, prints the trace also of a walk that passes.
	pingTrace = "KIUNGO_PINGPONG_TRACE"
	// walkSteps is how long one walk is; many walks find more than a long one,
	// and a short one can be read.
	walkSteps = 125
)

var pingSteps = flag.Int("pingpong.steps", 1000, "how many steps the ping-pong test takes in all")

// pingMerges: a walk in which the clinic merges patients may not come to its end yet.
var pingMerges = flag.Bool("pingpong.merges", false, "also merge patients in the ping-pong test")

// TestPingPong changes both sides at random, with faults, restarts and
// reordered feeds, then leaves them quiet: both sides agree field by field
// under the rules, nobody is there twice, every disagreement is a question, and
// no call is made any more.
func TestPingPong(t *testing.T) {
	if _, err := ring(); err != nil { // made outside of any bubble
		t.Fatal(err)
	}
	first, walks := uint64(1), max(1, *pingSteps/walkSteps)
	if text := os.Getenv(pingSeed); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", pingSeed, err)
		}
		first, walks = n, 1
	}
	for i := range walks {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWalk(t, seed)
				defer w.end()
				w.play(walkSteps)
			})
		})
	}
}

// walk is a world with one CommCare and one OpenMRS, changed at random.
type walk struct {
	*world
	seed     uint64
	rng      *rand.Rand
	commcare *commcaresim.Sim
	openmrs  *openmrssim.Server
	// lines are what stands between Kiungo and each system; the people at the
	// systems come to them without.
	lines  map[string]*simulate.Traffic
	kill   atomic.Pointer[killer]
	mu     sync.Mutex // of calls
	calls  []string
	agreed map[string]string
	merged [][2]int // numbers of winners and losers
	people []*one
	// post is what CommCare has sent and not yet delivered; sent what was.
	post, sent []letter
	newest     map[string]int // by document, the newest letter delivered
	written    int
	trace      []event
	forms      int
	drawn      int
}

// letter is a forwarded request, as it was when CommCare made it.
type letter struct {
	about  string // the document
	n      int    // in the order in which they were written
	header http.Header
	body   []byte
}

// event is a line of the trace; n is whom it is about, -1 for all.
type event struct {
	step, n int
	text    string
}

func newWalk(t *testing.T, seed uint64) *walk {
	t.Helper()
	base := &world{t: t, dir: tempDir(t), folder: pingpong, workers: 4, sims: map[string]simulate.Simulator{}, net: simulate.Network{}}
	if seed%2 == 1 {
		base.workers = 1 // such a walk is the same whenever it is played
	}
	base.witness = newWitness(base)
	base.witness.merges = true
	w := &walk{world: base, seed: seed, rng: rand.New(rand.NewPCG(seed, 0x70696e67)), lines: map[string]*simulate.Traffic{}, newest: map[string]int{}}
	var err error
	w.commcare, err = commcaresim.New(nil)
	w.must(err)
	module := pick(w.rng, "openmrs", "openmrs", "bahmni")
	w.openmrs, err = openmrssim.New(fmt.Appendf(nil, `{"feed":%q}`, module))
	w.must(err)
	w.sims[source], w.sims[serverA] = w.commcare, w.openmrs
	for name, sim := range w.sims {
		sim.Traffic().Keep = -1
		line := simulate.NewTraffic(seed)
		line.Keep, line.Refusal = -1, sim.Traffic().Refusal
		w.lines[name] = line
		w.net[name+".sim"] = w.witness.wrap(name, line.Wrap(sim))
	}
	dictionary, err := os.ReadFile(filepath.Join(shipped, "scenarios", "openmrs.json"))
	w.must(err)
	w.must(w.openmrs.Seed(dictionary))
	w.must(w.commcare.Seed(clinictest.Places()))
	w.must(w.writeSite())
	w.site, w.in, err = loadSite(w.dir, pingpong)
	w.must(err)
	for _, f := range []commcaresim.Format{commcaresim.FormJSON, commcaresim.CaseJSON} {
		w.commcare.Forward("http://kiungo.sim/in/"+source, f, w.commcare.Credentials())
	}
	w.note(-1, "OpenMRS has the feed of module %s", module)
	return w
}

func (w *walk) writeSite() error {
	systems := map[string]any{}
	for name, sim := range w.sims {
		options := map[string]any{"url": "http://" + name + ".sim", "timeout": "2s"}
		kind := "openmrs"
		if name == source {
			kind = "commcare"
			options["sweep_from"] = "1999-12-31"
		} else {
			options["feeds"], options["feed_from"], options["sweep"], options["sweep_every"], options["sweep_pause"] = "patient", "start", "patient", "0s", "1s"
		}
		secret := map[string]bool{}
		for _, o := range registry[kind].Options {
			secret[o.Name] = o.Secret
		}
		for k, v := range sim.Settings() {
			if secret[k] {
				path := filepath.Join(w.dir, name+"."+k)
				if err := os.WriteFile(path, []byte(v), 0o600); err != nil {
					return err
				}
				v = "file:" + path
			}
			options[k] = v
		}
		systems[name] = map[string]any{"connector": kind, "options": options}
	}
	text, err := yaml.Marshal(map[string]any{"zone": "Africa/Nairobi", "region": "KE", "systems": systems,
		"integrations": map[string]any{"pingpong": map[string]any{}}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, "site.yaml"), text, 0o600)
}

func (w *walk) note(n int, format string, args ...any) {
	if os.Getenv(pingTrace) == "live" { // for a walk that does not end
		fmt.Fprintf(os.Stderr, "%d person %d: %s %s\n", w.drawn, n, time.Now().Format("15:04:05.0"), fmt.Sprintf(format, args...))
	}
	w.trace = append(w.trace, event{w.drawn, n, time.Now().Format("15:04:05.0 ") + fmt.Sprintf(format, args...)})
}

// tell prints what happened to the people given, and to all.
func (w *walk) tell(who ...*one) {
	w.t.Helper()
	about := map[int]bool{-1: true}
	for _, p := range who {
		about[p.n] = true
	}
	text := ""
	for _, e := range w.trace {
		if about[e.n] {
			who := "all"
			if e.n >= 0 {
				who = fmt.Sprintf("person %d", e.n)
			}
			text += fmt.Sprintf("  %3d %s: %s\n", e.step, who, e.text)
		}
	}
	w.t.Logf("the walk of seed %d, play it again with %s=%d:\n%s", w.seed, pingSeed, w.seed, text)
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
