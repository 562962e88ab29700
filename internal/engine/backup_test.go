package engine

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/schedule"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// TestBackupsAreMadeKeptAndAlarmedAbout goes through a week: one a night, of
// which two are kept; then the disk is gone, and the age is alarmed about.
func TestBackupsAreMadeKeptAndAlarmedAbout(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	ring := seal.Temporary()
	synctest.Test(t, func(t *testing.T) {
		l, err := store.OpenSQLite(t.Context(), dir, store.Options{Ring: ring, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		nightly, err := schedule.Parse(schedule.Text{Every: "day 02:00"})
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		e, err := New(Options{Ledger: l, Registry: connector.Registry{}, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Site: &flow.Site{Zone: time.UTC, Backup: &flow.Backup{To: to, Every: nightly, Keep: 2, Alarm: 30 * time.Hour}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := e.BackupAge(); ok {
			t.Error("an age before anything was looked at")
		}
		if err := e.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer e.Stop()
		there := func(want int, newest time.Time) {
			t.Helper()
			synctest.Wait()
			list, err := store.Backups(to)
			if err != nil || len(list) != want {
				t.Fatalf("%d backups, %v", len(list), err)
			}
			if at := list[len(list)-1].Manifest.Ended; at.Before(newest) || at.After(newest.Add(2*time.Minute)) {
				t.Errorf("the newest is of %s, not %s", at, newest)
			}
			if age, ok := e.BackupAge(); !ok || age > time.Since(newest) {
				t.Errorf("its age is %s, %t", age, ok)
			}
		}
		began := time.Now() // midnight
		there(1, began)     // there was none
		time.Sleep(time.Hour)
		there(1, began)
		time.Sleep(time.Hour + 2*time.Minute)
		there(2, began.Add(2*time.Hour))
		time.Sleep(3 * 24 * time.Hour)
		there(2, began.Add(3*24*time.Hour+2*time.Hour)) // the oldest went

		good, err := store.Backups(to)
		if err != nil {
			t.Fatal(err)
		}
		away := to + " away"
		if err := os.Rename(to, away); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(29 * time.Hour)
		synctest.Wait()
		if strings.Contains(log.String(), "the alarm is at") || !strings.Contains(log.String(), "no backup could be made") {
			t.Errorf("alarmed too early, or not a word:\n%s", log.String()[max(0, log.Len()-500):])
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		audits, err := l.Audits(t.Context(), 0, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		alarms := 0
		for _, a := range audits {
			if a.Act == "alarm backup" {
				alarms++
			}
		}
		if age, _ := e.BackupAge(); alarms != 1 || age < 30*time.Hour || !strings.Contains(log.String(), "the alarm is at 30h0m0s") {
			t.Errorf("%d alarms at an age of %s", alarms, age)
		}
		// The disk is back: what is there is found, and the missed one is made.
		if err := os.Remove(to); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(away, to); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		list, err := store.Backups(to)
		if err != nil || len(list) != 2 || list[0].Folder != good[1].Folder || list[1].Manifest.Ended.Before(back) {
			t.Errorf("after the disk came back: %v, %v", list, err)
		}
		if age, ok := e.BackupAge(); !ok || age > time.Hour {
			t.Errorf("its age is %s", age)
		}
	})
}
