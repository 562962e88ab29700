package store

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

func TestExamineChangesNothing(t *testing.T) {
	dir := t.TempDir()
	f, err := Examine(t.Context(), "", dir)
	if err != nil || f.Exists || f.Known == 0 || f.Free <= 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	url := postgrestest.URL(t)
	for range 2 {
		f, err = Examine(t.Context(), url, dir)
		if err != nil || f.Exists || f.Postgres == nil || f.Postgres.Version < 130000 {
			t.Fatalf("%+v, %v", f, err)
		}
	}
}

func TestExamineBesideARunningServer(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSQLite(t.Context(), dir, Options{Ring: testRing, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := Examine(t.Context(), "", dir)
	if err != nil || !f.Exists || f.Schema != f.Known || f.Size == 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	url := postgrestest.URL(t)
	a, b := pgAt(t, url, t.TempDir(), Options{}), pgAt(t, url, t.TempDir(), Options{})
	f, err = Examine(t.Context(), url, "")
	if err != nil || f.Schema != f.Known || len(f.Nodes) != 2 {
		t.Fatalf("%+v, %v", f, err)
	}
	p := f.Postgres
	if p.Settings["fsync"] != "off" || p.Timeline != "00000001" || p.Opened == "" || p.Used == 0 || p.Most == 0 || p.Ahead.Abs() > time.Minute {
		t.Errorf("%+v", p)
	}
	if !slices.ContainsFunc(p.Tables, func(t TableFacts) bool { return t.Name == "lane" }) {
		t.Errorf("%+v", p.Tables)
	}
	for i, s := range []*Store{a, b} {
		if n := f.Nodes[i]; n.ID != s.node || n.PID != int64(os.Getpid()) || n.Until.Sub(n.Heard) != 35*time.Second || n.Version != program() {
			t.Errorf("%+v", n)
		}
	}
}
