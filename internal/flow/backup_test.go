package flow

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBackupOfASite reads what a site says of its backups, and what is wrong.
func TestBackupOfASite(t *testing.T) {
	load := func(text string) (*Site, Problems) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "site.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadSite(path, nil)
	}
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		text  string
		keep  int
		alarm time.Duration
		next  time.Time
	}{
		{"backup: {to: /mnt/backup}", 14, 30 * time.Hour, at.Add(18 * time.Hour)},
		{"backup: {to: /mnt/backup, every: '04:30', keep: 3, alarm: 50h}", 3, 50 * time.Hour, at.Add(20*time.Hour + 30*time.Minute)},
		{"backup: {to: /mnt/backup, every: 6 hours}", 14, 30 * time.Hour, at.Add(6 * time.Hour)},
	} {
		s, problems := load(c.text + "\nsystems: {}\n")
		if problems.Errors() > 0 || s.Backup == nil {
			t.Fatalf("%s: %v", c.text, problems)
		}
		next, err := s.Backup.Every.Next(at, time.UTC)
		if b := s.Backup; b.To != "/mnt/backup" || b.Keep != c.keep || b.Alarm != c.alarm || !next.Equal(c.next) || err != nil {
			t.Errorf("%s: %+v, next %s", c.text, b, next)
		}
	}
	for text, want := range map[string]string{
		"backup: {every: '02:00'}":          "needs to:",
		"backup: {to: /b, every: nightly}":  "no schedule",
		"backup: {to: /b, keep: 0}":         "whole number from 1",
		"backup: {to: /b, alarm: two days}": "no length of time",
		"backup: {to: /b, alarm: -3h}":      "no length of time",
		"backup: {to: /b, folder: /mnt}":    "folder",
		"backup: {to: /b, every: '25:00'}":  "no time of day",
		"backup: /mnt/backup":               "must be an object",
	} {
		if _, problems := load(text + "\nsystems: {}\n"); problems.Errors() == 0 || !strings.Contains(fmt.Sprint(problems), want) {
			t.Errorf("%s: %v", text, problems)
		}
	}
}
