package engine

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/system"
)

// patience bounds a test that would otherwise wait for ever.
const patience = 30 * time.Second

// clinic is a target that all nodes of a test have; the test says what it
// answers.
type clinic struct {
	mu      sync.Mutex
	verdict call.Verdict
	status  int
	asked   int
	probes  int
}

func (c *clinic) set(v call.Verdict, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verdict, c.status = v, status
}

func (c *clinic) counts() (asked, probes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.probes
}

// desk is the clinic as one node has it.
type desk struct{ *clinic }

func (desk) Name() string               { return "openmrs" }
func (desk) Kind(string) connector.Kind { return nil }
func (desk) Probe() call.Request        { return call.Request{Method: "GET", Path: "/probe"} }
func (d desk) Send(_ context.Context, r call.Request) (call.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if r.Path == "/probe" {
		d.probes++
	}
	return call.Answer{Status: d.status}, nil
}
func (d desk) Classify(call.Request, call.Answer, error) call.Verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.verdict
}

var (
	fine = call.Verdict{Class: call.Done}
	down = call.Verdict{Class: call.RetryLater, Down: true, Reason: "503"}
)

// nodes starts engines on one PostgreSQL ledger.
func nodes(t *testing.T, n int, c *clinic, options map[string]string) []*Engine {
	t.Helper()
	url, ring, dir := postgrestest.URL(t), seal.Temporary(), t.TempDir()
	reg := connector.Registry{"clinic": &connector.Connector{Name: "clinic", Open: func(connector.Config) (connector.System, error) { return desk{c}, nil }}}
	site := &flow.Site{Systems: map[string]*flow.System{"openmrs": {Name: "openmrs", Connector: "clinic", Active: true, Options: options}}}
	var out []*Engine
	for i := range n {
		l, err := store.Open(t.Context(), url, filepath.Join(dir, strconv.Itoa(i)), store.Options{Ring: ring})
		if err != nil {
			t.Fatal(err)
		}
		e, err := New(Options{Ledger: l, Registry: reg, Site: site, Probe: 20 * time.Millisecond,
			Dispatcher: func(run lane.Run, o lane.Options) (Dispatcher, error) { return lane.New(l, run, o), nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			e.Stop()
			l.Close()
		})
		out = append(out, e)
	}
	return out
}

var get = call.Request{Method: "GET", Path: "/"}

func (e *Engine) ask(t *testing.T, lane int64) error {
	_, err := e.Systems["openmrs"].Reader(lane).Do(t.Context(), "read", get)
	return err
}

// all waits until the circuits of all nodes are open, or closed.
func all(t *testing.T, list []*Engine, open bool) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		n := 0
		for _, e := range list {
			if is, _ := e.Systems["openmrs"].Open(); is == open {
				n++
			}
		}
		if n == len(list) {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("at %d of %d nodes the circuit is open: %v", n, len(list), open)
		}
	}
}

// Three lanes on three nodes open the circuit for all; one node's probe closes
// it for all.
func TestASystemThatIsDownIsDownForAllNodes(t *testing.T) {
	c := &clinic{verdict: down, status: http.StatusServiceUnavailable}
	list := nodes(t, 3, c, nil)
	for i, e := range list {
		if err := e.ask(t, int64(i+1)); err == nil {
			t.Fatal("a system that is down answers")
		}
	}
	if open, reason := list[2].Systems["openmrs"].Open(); !open || reason != "503" {
		t.Fatalf("at the third node: open %v (%s)", open, reason)
	}
	all(t, list, true)
	asked, probes := c.counts()
	for _, e := range list {
		var closed *system.OpenError
		if err := e.ask(t, 9); !errors.As(err, &closed) {
			t.Errorf("it is asked all the same: %v", err)
		}
	}
	if now, more := c.counts(); now-asked > more-probes {
		t.Errorf("%d requests were sent to a system that is down, besides probes", now-asked-(more-probes))
	}
	c.set(fine, http.StatusOK)
	all(t, list, false)
	for _, e := range list {
		if err := e.ask(t, 9); err != nil {
			t.Error(err)
		}
	}
}

// readTwice is a ledger that does something after it was read.
type readTwice struct {
	together
	after func()
}

func (r readTwice) Common(ctx context.Context) (ledger.Common, error) {
	c, err := r.together.Common(ctx)
	r.after()
	return c, err
}

// What was read before a node found a system down does not close its circuit.
func TestAnOlderReadingDoesNotCloseWhatIsFoundDownMeanwhile(t *testing.T) {
	c := &clinic{verdict: down, status: http.StatusServiceUnavailable}
	e := nodes(t, 1, c, nil)[0]
	port := e.Systems["openmrs"]
	e.common.mu.Lock()
	was := e.common.ledger
	e.common.ledger = readTwice{was, func() {
		go port.FoundDown("503")
		for open := false; !open; open, _ = port.Open() {
			time.Sleep(time.Millisecond)
		}
	}}
	e.common.mu.Unlock()
	err := e.look(t.Context())
	e.common.mu.Lock()
	e.common.ledger = was
	e.common.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if open, _ := port.Open(); !open {
		t.Error("it was closed again")
	}
	all(t, []*Engine{e}, true)
}

// A success at one node counts for all: failures do not add up over it.
func TestASuccessAtOneNodeForgetsTheFailuresOfOthers(t *testing.T) {
	c := &clinic{verdict: down, status: http.StatusServiceUnavailable}
	list := nodes(t, 2, c, nil)
	_ = list[0].ask(t, 1)
	_ = list[0].ask(t, 2)
	if err := list[1].look(t.Context()); err != nil { // as it does every second
		t.Fatal(err)
	}
	c.set(fine, http.StatusOK)
	if err := list[1].ask(t, 3); err != nil {
		t.Fatal(err)
	}
	c.set(down, http.StatusServiceUnavailable)
	_ = list[1].ask(t, 4)
	for i, e := range list {
		if err := e.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if open, _ := e.Systems["openmrs"].Open(); open {
			t.Errorf("node %d: failures with a success between them opened the circuit", i)
		}
	}
}

// One wrong password is one probe and not one of each node, and far between.
func TestAWrongPasswordIsTriedByOneNodeAlone(t *testing.T) {
	c := &clinic{verdict: call.Verdict{Class: call.NotAuthorised, Reason: "wrong password"}, status: http.StatusUnauthorized}
	list := nodes(t, 5, c, nil)
	if err := list[3].ask(t, 1); err == nil {
		t.Fatal("a wrong password is taken")
	}
	all(t, list, true)
	if asked, _ := c.counts(); asked > 2 { // the one that found it, and at most one probe
		t.Errorf("the wrong password was sent %d times", asked)
	}
	began := time.Now()
	c.set(fine, http.StatusOK)
	all(t, list, false)
	// The probes are of one node: with five there would be five times as many.
	if _, probes := c.counts(); probes > 2+int(time.Since(began)/(60*20*time.Millisecond)) {
		t.Errorf("%d probes in %s", probes, time.Since(began))
	}
}

func TestNodesShareWhatASystemBears(t *testing.T) {
	c := &clinic{verdict: fine, status: http.StatusOK}
	list := nodes(t, 3, c, map[string]string{"limit": "8"})
	for i, e := range list {
		if err := e.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := e.Systems["openmrs"].MostInFlight(); got != 2 {
			t.Errorf("node %d may send %d at a time, of 8 that three share", i, got)
		}
	}
	list[2].Stop()
	if err := list[2].Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if err := list[0].look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := list[0].Systems["openmrs"].MostInFlight(); got != 4 {
		t.Errorf("with two nodes left each may send %d", got)
	}
}
