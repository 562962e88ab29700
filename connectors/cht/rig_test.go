package cht

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors/cht/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// rig is a connector that talks to a simulator in this process. As a Doer it
// does what the runner's does: only an answer classified as done is given.
type rig struct {
	*System
	sim *sim.Sim
	// before, if set, is asked before each request; what it returns, if not nil,
	// is the answer.
	before func(r call.Request) *call.Answer
	// after, if set, may change each answer.
	after func(r call.Request, a *call.Answer)
}

func nairobi(t testing.TB) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Africa/Nairobi")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func newRig(t testing.TB, options string) *rig {
	t.Helper()
	server, err := sim.New([]byte(options))
	if err != nil {
		t.Fatal(err)
	}
	return rigOf(t, server)
}

func rigOf(t testing.TB, server *sim.Sim) *rig {
	t.Helper()
	values := server.Settings()
	values["url"] = "http://cht.example"
	s, err := Open(connector.Config{Name: "cht", Values: values, Zone: nairobi(t), Our: "kiungo/test",
		HTTP: &http.Client{Transport: simulate.Network{"cht.example": server}}})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{System: s, sim: server}
}

func (r *rig) Do(ctx context.Context, about string, req call.Request) (call.Answer, error) {
	if r.before != nil {
		if a := r.before(req); a != nil {
			return *a, nil
		}
	}
	a, err := r.Send(ctx, req)
	if r.after != nil && err == nil {
		r.after(req, &a)
	}
	if v := r.Classify(req, a, err); v.Class != call.Done {
		return a, &call.Error{System: r.Name(), About: about, Verdict: v, Err: err}
	}
	return a, nil
}

// october is the run of a schedule after October 2026.
func october(t testing.TB, kind string, keys, with map[string]string) connector.Run {
	t.Helper()
	zone := nairobi(t)
	return connector.Run{Kind: kind, Keys: keys, With: with, At: time.Date(2026, 11, 3, 6, 0, 0, 0, zone), Period: "202610",
		Start: time.Date(2026, 10, 1, 0, 0, 0, 0, zone), End: time.Date(2026, 10, 31, 0, 0, 0, 0, zone)}
}

var ourDataSet = map[string]string{"dataSet": sim.DataSet}

// all reads a whole run and decodes its rows.
func (r *rig) all(t testing.TB, run connector.Run) ([]connector.Incoming, map[string]content) {
	t.Helper()
	var out []connector.Incoming
	var cursor []byte
	for range 1000 {
		page, err := r.List(context.Background(), r, run, cursor)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page.Messages...)
		if cursor = page.Cursor; page.Done {
			return out, decoded(t, out)
		}
	}
	t.Fatal("the list has no end")
	return nil, nil
}

func decoded(t testing.TB, list []connector.Incoming) map[string]content {
	t.Helper()
	out := map[string]content{}
	for _, m := range list {
		var c content
		if err := json.Unmarshal(m.Content, &c); err != nil {
			t.Fatal(err)
		}
		if _, twice := out[m.Doc]; twice {
			t.Errorf("%s comes twice", m.Doc)
		}
		out[m.Doc] = c
	}
	return out
}

func load(t testing.TB, into any, path ...string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// values gives a row's values as DHIS2 will see them.
func (r row) values() map[combo]float64 {
	out := map[combo]float64{}
	for _, c := range r.Values {
		out[combo{c.DataElement, c.CategoryOptionCombo, c.AttributeOptionCombo}] = c.Value
	}
	return out
}
