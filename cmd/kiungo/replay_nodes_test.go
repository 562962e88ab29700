package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/lane/river"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/simulate"
	"github.com/kiungo-health/kiungo/internal/system"
)

// clinicNode is a node of the clinic's site.
type clinicNode struct {
	*engine.Engine
	said *lines

	mu   sync.Mutex
	sent []string // hosts and methods
}

// lines is a log that a test reads while it is written.
type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

// RoundTrip notes what this node sends.
func (n *clinicNode) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent = append(n.sent, r.URL.Host+" "+r.Method)
	return resp, err
}

func (n *clinicNode) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent = nil
}

// requests are those that were sent to a system.
func (n *clinicNode) requests(url string) (all, changes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	host := strings.TrimPrefix(url, "http://")
	for _, s := range n.sent {
		if strings.HasPrefix(s, host+" ") {
			all++
			if !strings.HasSuffix(s, " GET") {
				changes++
			}
		}
	}
	return all, changes
}

// nodes starts nodes on one PostgreSQL ledger, as kiungo serve does.
func (c *clinic) nodes(n int, database string, ring *seal.Ring) (out []*clinicNode) {
	c.Helper()
	reg := connectors.All()
	for i := range n {
		site, in, err := clinictest.LoadSite(c.dir, filepath.Join(c.dir, "integrations", filepath.Base(feedIntegration)), reg)
		c.must(err)
		l, err := store.Open(c.Context(), database, filepath.Join(c.data, fmt.Sprint(i)), store.Options{Ring: ring})
		c.must(err)
		node := &clinicNode{said: &lines{}}
		node.Engine, err = engine.New(engine.Options{Ledger: l, Registry: reg, Site: site, Integrations: []*flow.Integration{in}, NoPolls: true, Concurrency: 4,
			Log: slog.New(slog.NewTextHandler(node.said, nil)), Transport: node,
			Dispatcher: func(run lane.Run, o lane.Options) (engine.Dispatcher, error) {
				o.Sweep = 100 * time.Millisecond
				return river.New(c.Context(), l, run, river.Options{Options: o, Database: database})
			}})
		c.must(err)
		c.must(node.Start(c.Context()))
		c.Cleanup(func() {
			node.Stop()
			_ = l.Close()
		})
		out = append(out, node)
	}
	return out
}

// until waits for something that takes a node a second or so.
func (c *clinic) until(what string, done func() bool) {
	c.Helper()
	for began := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			c.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestNodesStopTogetherBeforeARestoredSystemAndGoOnTogether: one node meets what
// is gone; the other sends no more either, takes messages, and puts back what
// was lost when it is told to; then both go on, and nobody has two records.
func TestNodesStopTogetherBeforeARestoredSystemAndGoOnTogether(t *testing.T) {
	c := newClinic(t)
	database, ring := postgrestest.URL(t), seal.Temporary()
	list := c.nodes(2, database, ring)
	a := c.sims[clinictest.ServerA].(simulate.Restorer)
	url := c.urls[clinictest.ServerA]
	var people []clinictest.Person
	for n := range 4 {
		people = append(people, clinictest.Somebody(n+1, "a"))
	}
	a.Mark("night")
	for i, p := range people {
		c.push(list[i%2].Engine, p.Register(clinictest.Day(1)))
		c.push(list[1-i%2].Engine, p.Visit(clinictest.Day(2), "51"))
	}
	c.must(list[0].Settle(t.Context(), time.Minute))
	c.must(a.Restore("night"))
	for _, n := range list {
		n.forget()
	}

	stopped := func(n *clinicNode) bool { _, is := n.Systems[clinictest.ServerA].Stopped(); return is }
	began := time.Now()
	c.push(list[0].Engine, people[0].Visit(clinictest.Day(2), "51").Edited("52"))
	c.until("both nodes are stopped", func() bool { return stopped(list[0]) && stopped(list[1]) })
	t.Logf("both nodes had stopped %s after the form", time.Since(began).Round(10*time.Millisecond))
	finder, other := list[0], list[1]
	if strings.Contains(other.said.all(), "a system is stopped") {
		finder, other = other, finder
	}
	if !strings.Contains(finder.said.all(), "a system is stopped") || strings.Contains(other.said.all(), "a system is stopped") {
		t.Fatalf("one node finds it, and the other follows; they say:\n%s\n%s", finder.said.all(), other.said.all())
	}
	seen := 0
	for _, n := range list {
		all, changes := n.requests(url)
		if seen += all; changes > 0 {
			t.Errorf("%d changes were sent to a restored system", changes)
		}
	}
	for i, p := range people {
		c.push(list[i%2].Engine, p.Visit(clinictest.Day(3), "53")) // taken, and waiting
	}
	c.must(list[0].Settle(t.Context(), time.Minute))
	get := call.Request{Method: http.MethodGet, Path: "/session"}
	for i, n := range list {
		_, err := n.Systems[clinictest.ServerA].Reader(int64(i)).Do(t.Context(), "read", get)
		if open := (*system.OpenError)(nil); !errors.As(err, &open) || !open.Stopped {
			t.Errorf("node %d reads it all the same: %v", i, err)
		}
		all, _ := n.requests(url)
		seen -= all
	}
	if seen != 0 {
		t.Errorf("%d requests were sent after both had stopped", -seen)
	}
	waiting, err := list[0].Ledger.Deliveries(t.Context(), ledger.Filter{States: []ledger.State{ledger.Received, ledger.Waiting}, Limit: 100})
	c.must(err)
	if len(waiting) != 5 {
		t.Errorf("%d deliveries wait, of 5", len(waiting))
	}

	r, err := other.Replay(t.Context(), ledger.ReplayOrder{System: clinictest.ServerA, Who: "clerk"})
	c.must(err)
	if len(r.Missing) != 8 || len(r.Repeated) != 8 || !r.Resumed {
		t.Errorf("of 8 documents %d were missing and %d are repeated; resumed: %v", len(r.Missing), len(r.Repeated), r.Resumed)
	}
	c.until("both nodes go on", func() bool { return !stopped(list[0]) && !stopped(list[1]) })
	c.allDone(list[0])
	for i, n := range list {
		if _, err := n.Systems[clinictest.ServerA].Reader(int64(i)).Do(t.Context(), "read", get); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
	if stops, err := other.Engine.Stopped(t.Context()); err != nil || len(stops) > 0 {
		t.Errorf("%v, %v", stops, err)
	}

	// As if it had never been restored.
	calm := newClinic(t)
	var forms []clinictest.Form
	for _, p := range people {
		forms = append(forms, p.Register(clinictest.Day(1)), p.Visit(clinictest.Day(2), "51"))
	}
	forms = append(forms, people[0].Visit(clinictest.Day(2), "51").Edited("52"))
	for _, p := range people {
		forms = append(forms, p.Visit(clinictest.Day(3), "53"))
	}
	calm.run(forms...)
	for _, word := range []string{`"uuid"`, `"voided":true`, `"voided": true`, people[0].Family, people[3].Family, people[0].NationalID()} {
		if got, want := strings.Count(c.state(), word), strings.Count(calm.state(), word); got != want {
			t.Errorf("%s is there %d times, want %d", word, got, want)
		}
	}
}

// allDone waits until every delivery has ended well.
func (c *clinic) allDone(n *clinicNode) {
	c.Helper()
	var last []ledger.Delivery
	c.until("every delivery has ended", func() bool {
		list, err := n.Ledger.Deliveries(context.Background(), ledger.Filter{Limit: 1000})
		c.must(err)
		last = list
		for _, d := range list {
			if !d.State.Ended() {
				return false
			}
		}
		return true
	})
	for _, d := range last {
		if d.State != ledger.Done && d.State != ledger.Superseded && d.State != ledger.Skipped {
			c.Errorf("delivery %d is %s: %s", d.ID, d.State, d.Reason)
		}
	}
}
