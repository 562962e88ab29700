package commcare

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, b []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return doc
}

// open makes a system of the options given over working ones.
func open(t testing.TB, options map[string]string) *System {
	t.Helper()
	values := map[string]string{"url": "https://commcare.example", "domain": "demo", "username": "u@example.org", "api_key": "k",
		"inbound_username": "commcare", "inbound_password": "p"}
	for k, v := range options {
		values[k] = v
	}
	s, err := Open(connector.Config{Name: "commcare-demo", Values: values, Our: "kiungo/test",
		HTTP: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*System)
}

// bench is a simulator and a system that points at it.
type bench struct {
	*testing.T
	sim  *sim.Sim
	sys  *System
	sent []call.Request
}

func newBench(t *testing.T, options map[string]string) *bench {
	t.Helper()
	hq, err := sim.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(hq)
	t.Cleanup(server.Close)
	values := hq.Settings()
	values["url"] = server.URL
	for k, v := range options {
		values[k] = v
	}
	b := &bench{T: t, sim: hq}
	b.sys = open(t, values)
	return b
}

// Do sends like the runner does: what is not done is an error.
func (b *bench) Do(ctx context.Context, about string, r call.Request) (call.Answer, error) {
	b.sent = append(b.sent, r)
	a, err := b.sys.Send(ctx, r)
	v := b.sys.Classify(r, a, err)
	if v.Class != call.Done {
		return a, &call.Error{System: b.sys.Name(), About: about, Verdict: v, Err: err}
	}
	return a, nil
}

var _ call.Doer = (*bench)(nil)

func (b *bench) submit(body []byte) string {
	b.Helper()
	id, err := b.sim.Submit(body)
	if err != nil && !errors.Is(err, sim.ErrIgnored) && !errors.Is(err, sim.ErrDuplicate) {
		b.Fatal(err)
	}
	return id
}

func (b *bench) poll(stream string, position []byte) connector.Batch {
	b.Helper()
	batch, err := b.sys.Poll(context.Background(), b, stream, position)
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

// clock is a clock for the simulator that stands until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) forward(d time.Duration) { c.at = c.at.Add(d) }
func newClock() *clock                   { return &clock{time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)} }
