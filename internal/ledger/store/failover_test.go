package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// TestAPromotedStandbyIsNoticedByARunningNode has the server come back as a
// standby that is promoted: its timeline is another one.
func TestAPromotedStandbyIsNoticedByARunningNode(t *testing.T) {
	postgrestest.Shared(t) // or it says that there is none
	cluster, err := postgrestest.Start("wal_retrieve_retry_interval=50ms", "checkpoint_timeout=1h")
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	dir, database := keyed(t), cluster.URL("kiungo")
	s := opened(t, database, dir)
	if err := s.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := begun(t, s, numbered1(1))
	data, err := postgrestest.Column(t.Context(), database, "SHOW data_directory")
	if err != nil {
		t.Fatal(err)
	}
	cluster.Crash()
	if err := os.WriteFile(filepath.Join(data[0], "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Restart(); err != nil {
		t.Fatal(err)
	}
	if out, err := postgrestest.Column(t.Context(), database, "SELECT CAST(pg_promote() AS text)"); err != nil || out[0] != "true" {
		t.Fatal(out, err)
	}
	if err := s.Beat(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s.Incarnation() != 2 || s.Restored().IsZero() {
		t.Errorf("incarnation %d, restored at %s", s.Incarnation(), s.Restored())
	}
	audits, err := s.Audits(t.Context(), 0, 0, 1)
	if err != nil || len(audits) != 1 || !strings.Contains(audits[0].Note, "timeline 00000002, before timeline 00000001") {
		t.Errorf("%+v, %v", audits, err)
	}
	if _, err := s.End(t.Context(), w, ledger.End{State: ledger.Done}, s.Now()); err == nil {
		t.Error("what ran before was not fenced")
	}
	s.Close()
	if s = opened(t, database, dir); s.Incarnation() != 2 {
		t.Errorf("raised again: %d", s.Incarnation())
	}
}
