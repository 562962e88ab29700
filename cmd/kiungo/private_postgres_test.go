package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// TestNothingOfAPatientIsReadableInThePostgresDatabase has a system answer with
// what it was sent, as systems do in their errors, and looks at every column of
// every table as text: River's jobs with their errors, deliveries with their
// reasons, audit.
func TestNothingOfAPatientIsReadableInThePostgresDatabase(t *testing.T) {
	database := postgrestest.URL(t)
	openmrs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		code := []int{http.StatusBadRequest, http.StatusInternalServerError, http.StatusNotFound, http.StatusServiceUnavailable}[len(r.URL.Path)%4]
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"error":{"message":"Amina Wekesa of Kabondo, 20000001, is not what %s takes","code":"Amina:20000001","detail":"Wekesa"}}`, r.URL)
	}))
	defer openmrs.Close()
	s := serveBench(t, openmrs.URL, "--database", database)
	const forms = 4
	for n := range forms {
		if resp := s.push(n + 1); resp.StatusCode != http.StatusAccepted {
			t.Fatal(resp.Status)
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for tried := 0; tried < forms; <-tick.C {
		out, code := run(t, "deliveries", "--json", "--data", filepath.Join(s.dir, "data"), "--database", database)
		if code != 0 {
			t.Fatal(out)
		}
		var list []struct{ Reason string }
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		tried = 0
		for _, d := range list {
			if d.Reason != "" {
				tried++
			}
		}
	}
	db, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	rows, err := db.Query(t.Context(), `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	markers := []string{"Amina", "Wekesa", "Kabondo", "20000001", "Feels well", "c0000000-0000-4000-8000", "a0000000-0000-4000-8000", "f0000000-0000-4000-8000"}
	for _, m := range markers[:8] {
		markers = append(markers, hex.EncodeToString([]byte(m))) // as a column of bytes is shown
	}
	filled := map[string]bool{}
	for _, table := range tables {
		rows, err := db.Query(t.Context(), `SELECT t::text FROM `+pgx.Identifier{table}.Sanitize()+` t`)
		if err != nil {
			t.Fatal(err)
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			filled[table] = true
			for _, m := range markers {
				if strings.Contains(text, m) {
					t.Errorf("%s holds %q: %s", table, m, text)
				}
			}
		}
	}
	for _, table := range []string{"river_job", "delivery", "message", "lane"} {
		if !filled[table] {
			t.Errorf("%s is empty: the search proves nothing", table)
		}
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
}
