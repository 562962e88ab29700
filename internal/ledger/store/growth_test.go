package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/ledgertest"
)

func TestGrowthOnSQLite(t *testing.T) { ledgertest.RunGrowth(t, openTest) }

func TestGrowthOnPostgres(t *testing.T) { ledgertest.RunGrowth(t, openPostgres) }

const testYear = 365 * 24 * time.Hour

// TestRoomIsGivenBackInBites: the file gets smaller without a VACUUM of it all.
func TestRoomIsGivenBackInBites(t *testing.T) {
	dir := t.TempDir()
	history(t, dir, 3000, 0, func(string) {})
	s := openAt(t, dir, Options{MinFree: -1, KeepFree: 1})
	size := func() int64 {
		t.Helper()
		if _, err := do(t.Context(), s, lanes, func(t *tx) (struct{}, error) { return struct{}{}, t.must(qStopNode, int64(0), int64(0)) }); err != nil {
			t.Fatal(err)
		}
		var pages int64
		if err := s.read(t.Context(), func(c conn) error {
			_, err := one(c, "PRAGMA page_count", func(r row) { pages = r.int(0) })
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return pages
	}
	before := size()
	kept, err := s.Keep(t.Context(), s.Now(), ledger.Keep{Deliveries: testYear}, -1)
	if err != nil {
		t.Fatal(err)
	}
	if kept.Archived != 2997 { // three are held
		t.Errorf("%+v", kept)
	}
	if after := size(); kept.Freed == 0 || after > before*3/4 {
		t.Errorf("%d pages of %d, %d bytes given back", after, before, kept.Freed)
	}
	var check string
	if err := s.read(t.Context(), func(c conn) error {
		_, err := one(c, "PRAGMA integrity_check", func(r row) { check = r.text(0) })
		return err
	}); err != nil || check != "ok" {
		t.Errorf("%s, %v", check, err)
	}
	files, err := s.Archives(t.Context())
	if err != nil || len(files) != 1 || files[0].Deliveries != 2997 || filepath.Base(files[0].Path) != "ledger-2023-11.db" {
		t.Errorf("%+v, %v", files, err)
	}
}

// TestARetryWhileItIsArchivedWins: what a person takes up again between the
// copy and the deletion stays, and is archived anew when it has ended again.
func TestARetryWhileItIsArchivedWins(t *testing.T) {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	var s *Store
	var taken int64
	s = openAt(t, t.TempDir(), Options{MinFree: -1, Clock: func() time.Time { return now }, Fault: func(p string) error {
		if p == "archived" && taken != 0 {
			_, err := s.Retry(t.Context(), taken, "amina", "")
			taken = 0
			return err
		}
		return nil
	}})
	ctx := t.Context()
	end := func(state ledger.State) {
		t.Helper()
		lanes, _, err := s.Due(ctx, s.Now(), 1)
		if err != nil || len(lanes) != 1 {
			t.Fatal(lanes, err)
		}
		w, err := s.Start(ctx, lanes[0], s.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.End(ctx, w, ledger.End{State: state}, s.Now()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Accept(ctx, arrival1("f1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := got[0].Deliveries[0]
	end(ledger.Refused)
	now = now.Add(2 * testYear)
	taken = id
	if _, err := s.Keep(ctx, now, ledger.Keep{Deliveries: testYear}, -1); err != nil {
		t.Fatal(err)
	}
	w, err := s.Delivery(ctx, id)
	if err != nil || w.Delivery.Archived || w.Delivery.State != ledger.Received {
		t.Fatalf("%+v, %v", w, err)
	}
	end(ledger.Done)
	now = now.Add(2 * testYear)
	if kept, err := s.Keep(ctx, now, ledger.Keep{Deliveries: testYear}, -1); err != nil || kept.Archived != 1 {
		t.Fatalf("%+v, %v", kept, err)
	}
	list, err := s.Archived(ctx, ledger.Filter{})
	if err != nil || len(list) != 1 || list[0].State != ledger.Done {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestOpeningReadsNoHistory counts the steps that SQLite makes at the opening:
// they are the same in a large ledger.
func TestOpeningReadsNoHistory(t *testing.T) {
	reads := func(rows int) int64 {
		t.Helper()
		dir := t.TempDir()
		history(t, dir, rows, 0, func(string) {})
		openAt(t, dir, Options{MinFree: -1}).Close() // what is done once after an upgrade
		s := openAt(t, dir, Options{MinFree: -1})
		return stepsOf(s.writer.(*sqliteConn))
	}
	small, large := reads(1_000), reads(8_000)
	if small == 0 || large > small+100 {
		t.Errorf("%d steps to open a large ledger, %d a small one", large, small)
	}
}

// TestAMonthFileOfAnOlderSchemaIsRead: columns that the ledger got since have
// their default.
func TestAMonthFileOfAnOlderSchemaIsRead(t *testing.T) {
	dir := t.TempDir()
	history(t, dir, 20, 0, func(string) {})
	s := openAt(t, dir, Options{MinFree: -1})
	if _, err := s.Keep(t.Context(), s.Now(), ledger.Keep{Deliveries: testYear}, -1); err != nil {
		t.Fatal(err)
	}
	s.Close()
	path := filepath.Join(dir, "archive", "ledger-2023-11.db")
	c, err := openSQLiteConn(path, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, col := range []string{"bulk", "replay", "lost"} {
		if _, err := c.exec(fmt.Sprintf("ALTER TABLE delivery DROP COLUMN %s", col)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir, Options{MinFree: -1})
	list, err := s.Archived(t.Context(), ledger.Filter{Limit: 100})
	if err != nil || len(list) != 19 { // one is held
		t.Errorf("%d deliveries, %v", len(list), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
}
