package dhis2

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// golden reads a payload of the contracts; the simulator keeps the one copy of them.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("sim", "testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// table reads a CSV file without its header.
func table(t testing.TB, path string) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("sim", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatalf("%s: %d rows, %v", path, len(rows), err)
	}
	return rows[1:]
}

// opened is a system that is never asked anything over a network.
func opened(t testing.TB, options map[string]string) *System {
	t.Helper()
	values := map[string]string{"url": "https://dhis2.example.org", "token": "d2pat_x", "version": "2.42"}
	for k, v := range options {
		values[k] = v
	}
	s, err := Open(connector.Config{Name: "hmis", Values: values, Our: "kiungo"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sent is the request that a golden answer is the answer to.
func sent(t testing.TB, path, body string, query ...string) call.Request {
	t.Helper()
	r := call.Request{Method: "POST", Path: path, Query: map[string][]string{"async": {"false"}, "importStrategy": {"CREATE_AND_UPDATE"}}}
	if body != "" {
		r.Body = golden(t, body)
		if !json.Valid(r.Body) {
			t.Fatalf("%s is not JSON", body)
		}
	}
	for i := 0; i+1 < len(query); i += 2 {
		r.Query[query[i]] = []string{query[i+1]}
	}
	return r
}

// holds tells whether the text has all parts.
func holds(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// nobody answers every read with an empty object.
type nobody struct{}

func (nobody) Do(context.Context, string, call.Request) (call.Answer, error) {
	return call.Answer{Status: 200, Body: []byte(`{}`)}, nil
}

// doer answers each read by a function.
type doer func(call.Request) call.Answer

func (d doer) Do(_ context.Context, _ string, r call.Request) (call.Answer, error) { return d(r), nil }
