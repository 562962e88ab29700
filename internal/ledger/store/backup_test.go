package store

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// keyed makes a data folder with a keyring of its own.
func keyed(t *testing.T) (dir string) {
	t.Helper()
	t.Setenv(seal.EnvKeyFile, "")
	return t.TempDir()
}

// opened opens the ledger of a folder with the folder's own keyring.
func opened(t *testing.T, database, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), database, dir, Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func numbered1(n int) []ledger.Arrival {
	return []ledger.Arrival{{System: "commcare", Incoming: connector.Incoming{Kind: "form", Doc: fmt.Sprintf("f%d", n), Version: "1", Content: []byte(strings.Repeat("x", 200+n%3000))},
		Routes: []ledger.Route{{Flow: "visit", Lanes: []string{fmt.Sprintf("person:%d", n%50)}, Systems: []string{"openmrs"}}}}}
}

// work accepts messages and carries them on, from several sides, until stop;
// it gives how many were accepted.
func work(t *testing.T, s *Store, from int, stop <-chan struct{}) func() int64 {
	var group sync.WaitGroup
	var n atomic.Int64
	n.Store(int64(from))
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := s.Accept(t.Context(), numbered1(int(n.Add(1))), nil)
				if err != nil {
					t.Error(err)
					return
				}
				w, err := s.Start(t.Context(), got[0].Lanes[0], s.Now())
				for w != nil && err == nil {
					if err = s.Journal(t.Context(), w, ledger.Plan{Body: []byte("plan"), Intent: "c1"}); err != nil {
						break
					}
					if err = s.Step(t.Context(), w, ledger.Step{Kind: ledger.StepAnswer, Call: "c1"}); err != nil {
						break
					}
					w, err = s.End(t.Context(), w, ledger.End{State: ledger.Done, Calls: 1}, s.Now())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() int64 {
		group.Wait()
		return n.Load()
	}
}

// consistent checks that a copy is a prefix of history: all that belongs
// together is there together, and nothing is between.
func consistent(t *testing.T, c conn) (messages int64) {
	t.Helper()
	for name, q := range map[string]string{
		"deliveries without their message":    `SELECT COUNT(*) FROM delivery WHERE message NOT IN (SELECT id FROM message)`,
		"messages without their delivery":     `SELECT COUNT(*) FROM message WHERE id NOT IN (SELECT message FROM delivery)`,
		"messages without their version":      `SELECT COUNT(*) FROM message WHERE id NOT IN (SELECT message FROM version)`,
		"open deliveries in no lane":          `SELECT COUNT(*) FROM delivery WHERE ended = 0 AND id NOT IN (SELECT delivery FROM delivery_lane)`,
		"ended deliveries in a lane":          `SELECT COUNT(*) FROM delivery WHERE ended <> 0 AND id IN (SELECT delivery FROM delivery_lane)`,
		"planned deliveries without a plan":   `SELECT COUNT(*) FROM delivery WHERE planned <> 0 AND id * 1024 + plan_no NOT IN (SELECT id FROM plan)`,
		"done deliveries without a journal":   `SELECT COUNT(*) FROM delivery WHERE state = 'done' AND id * 1024 + plan_no NOT IN (SELECT plan FROM journal)`,
		"counted otherwise than they are":     `SELECT (SELECT COALESCE(SUM(n), 0) FROM tally WHERE state = 'done') - (SELECT COUNT(*) FROM delivery WHERE state = 'done')`,
		"lost receive numbers":                `SELECT COUNT(*) - COUNT(DISTINCT seq) FROM message`,
		"messages beyond the last number":     `SELECT COUNT(*) FROM message WHERE id > (SELECT message FROM clock)`,
		"lanes that are run without anything": `SELECT COUNT(*) FROM lane WHERE owner <> 0 AND running NOT IN (SELECT id FROM delivery WHERE ended = 0)`,
	} {
		if _, ok := c.(*pgConn); ok && strings.Contains(q, "clock") {
			continue // its numbers are sequences
		}
		var n int64
		if _, err := one(c, q, func(r row) { n = r.int(0) }); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n != 0 {
			t.Errorf("%d %s", n, name)
		}
	}
	if _, err := one(c, `SELECT COUNT(*) FROM message`, func(r row) { messages = r.int(0) }); err != nil {
		t.Fatal(err)
	}
	return messages
}

// TestABackupUnderLoadIsAPrefixOfHistory makes backups while messages come in
// and are carried on, and restores one.
func TestABackupUnderLoadIsAPrefixOfHistory(t *testing.T) {
	dir, to := keyed(t), t.TempDir()
	s := opened(t, "", dir)
	stop := make(chan struct{})
	wait := work(t, s, 0, stop)
	var last string
	var before int64
	for i := range 3 {
		for s.Now(); before < int64(100*(i+1)); { // some work between them
			c, err := s.Counts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			before = 0
			for _, n := range c {
				before += n.N
			}
		}
		folder, m, err := s.Backup(t.Context(), to, BackupOptions{Who: "amina"})
		if err != nil {
			t.Fatal(err)
		}
		if m.Messages < before {
			t.Errorf("backup %d ends at message %d, %d deliveries were there when it began", i, m.Messages, before)
		}
		last = folder
		c, err := openCopy(filepath.Join(folder, ledgerFile))
		if err != nil {
			t.Fatal(err)
		}
		if n := consistent(t, c); n < before {
			t.Errorf("backup %d has %d messages of %d", i, n, before)
		}
		c.close()
	}
	close(stop)
	wait()
	old := s.Incarnation()
	s.Close()

	fresh := t.TempDir()
	if _, err := Restore(t.Context(), last, "", fresh, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "keyring") {
		t.Fatalf("restored without the keyring: %v", err)
	}
	if _, _, err := copyFile(seal.Path(dir), seal.Path(fresh)); err != nil {
		t.Fatal(err)
	}
	got, err := Restore(t.Context(), to, "", fresh, RestoreOptions{Who: "amina", Options: Options{MinFree: -1}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Folder != last || got.Incarnation != old+1 {
		t.Errorf("restored %s, incarnation %d after %d", got.Folder, got.Incarnation, old)
	}
	r := opened(t, "", fresh)
	if r.Restored().IsZero() || r.Incarnation() != old+1 {
		t.Errorf("restored at %s, incarnation %d", r.Restored(), r.Incarnation())
	}
	audits, err := r.Audits(t.Context(), 0, 0, 5)
	if err != nil || len(audits) == 0 || audits[0].Act != "raise incarnation" || audits[0].Who != "amina" {
		t.Errorf("%v, %v", audits, err)
	}
	list, err := r.Messages(t.Context(), "", 0, 1)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if _, err := r.Message(t.Context(), list[0].ID); err != nil {
		t.Error(err)
	}
	// It takes messages, with numbers that nobody had in the lost time.
	acc, err := r.Accept(t.Context(), numbered1(1_000_000), nil)
	if err != nil || acc[0].Message <= list[0].ID+lostNumbers/2 {
		t.Errorf("message %d after %d: %v", acc[0].Message, list[0].ID, err)
	}
	if _, err := Restore(t.Context(), to, "", fresh, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("restored under a running ledger: %v", err)
	}
	r.Close()
	if _, err := Restore(t.Context(), to, "", fresh, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "has a ledger already") {
		t.Errorf("restored over a ledger: %v", err)
	}
}

// TestADamagedBackupIsNotRestored changes one byte, and takes one file away.
func TestADamagedBackupIsNotRestored(t *testing.T) {
	dir, to := keyed(t), t.TempDir()
	s := opened(t, "", dir)
	if _, err := s.Accept(t.Context(), numbered1(1), nil); err != nil {
		t.Fatal(err)
	}
	folder, _, err := s.Backup(t.Context(), to, BackupOptions{Keyring: true})
	if err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(folder, ledgerFile)
	b, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(b)
	bad[len(bad)/2] ^= 1
	if err := os.WriteFile(db, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	if _, err := Restore(t.Context(), folder, "", fresh, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "is not what was written") {
		t.Errorf("a changed byte: %v", err)
	}
	if err := os.WriteFile(db, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, manifestFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), to, "", fresh, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "no complete backup") {
		t.Errorf("without its manifest: %v", err)
	}
}

// TestFilesAndArchivesAreInABackup also sees that what has not changed takes no
// room the second time, and that all comes back.
func TestFilesAndArchivesAreInABackup(t *testing.T) {
	dir, to := keyed(t), t.TempDir()
	s := opened(t, "", dir)
	if _, err := s.Accept(t.Context(), numbered1(1), nil); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"files/00/1", "files/00/2", "files/00/3.part"} {
		if err := os.MkdirAll(filepath.Join(dir, "files/00"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "archive"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := openWriter(filepath.Join(dir, "archive/2025.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{`CREATE TABLE x (a)`, `INSERT INTO x VALUES (7)`} {
		if _, err := c.exec(q); err != nil {
			t.Fatal(err)
		}
	}
	first, m, err := s.Backup(t.Context(), to, BackupOptions{Keyring: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"files/00/1", "files/00/2", "archive/2025.db", "keys.json"} {
		if m.file(name) == nil {
			t.Errorf("%s is not in the backup", name)
		}
	}
	if m.file("files/00/3.part") != nil {
		t.Error("half a file is in the backup")
	}
	c.close()
	second, _, err := s.Backup(t.Context(), to, BackupOptions{Keyring: true})
	if err != nil {
		t.Fatal(err)
	}
	same := func(name string) bool {
		a, err1 := os.Stat(filepath.Join(first, name))
		b, err2 := os.Stat(filepath.Join(second, name))
		return err1 == nil && err2 == nil && os.SameFile(a, b)
	}
	if !same("files/00/1") || same("ledger.db") {
		t.Error("a file that did not change was copied again, or the ledger was not")
	}
	fresh := t.TempDir()
	if _, err := Restore(t.Context(), second, "", fresh, RestoreOptions{Options: Options{MinFree: -1}}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(fresh, "files/00/2"))
	if err != nil || string(b) != "files/00/2" {
		t.Error(string(b), err)
	}
	a, err := openCopy(filepath.Join(fresh, "archive/2025.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	var n int64
	if _, err := one(a, `SELECT a FROM x`, func(r row) { n = r.int(0) }); err != nil || n != 7 {
		t.Error(n, err)
	}
}

// TestAnOlderCopyPutInPlaceIsNoticed copies the file by hand, as people do.
func TestAnOlderCopyPutInPlaceIsNoticed(t *testing.T) {
	dir := keyed(t)
	s := opened(t, "", dir)
	if _, err := s.Accept(t.Context(), numbered1(1), nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	db := filepath.Join(dir, ledgerFile)
	old, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	s = opened(t, "", dir)
	if !s.Restored().IsZero() {
		t.Fatal("raised for nothing")
	}
	if _, err := s.Accept(t.Context(), numbered1(2), nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.WriteFile(db, old, 0o600); err != nil {
		t.Fatal(err)
	}
	var logged []string
	s, err = OpenSQLite(t.Context(), dir, Options{Log: func(l string) { logged = append(logged, l) }})
	if err != nil {
		t.Fatal(err)
	}
	if s.Restored().IsZero() || s.Incarnation() != 2 || len(logged) == 0 || !strings.Contains(logged[0], "older copy") {
		t.Errorf("%s, incarnation %d, log %q", s.Restored(), s.Incarnation(), logged)
	}
	s.Close()
	s = opened(t, "", dir)
	if s.Incarnation() != 2 {
		t.Errorf("raised again: %d", s.Incarnation())
	}
	s.Close()
	// The file is gone: a new ledger in its place is no new beginning.
	for _, f := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(db + f); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if s = opened(t, "", dir); s.Incarnation() != 2 || s.Restored().IsZero() {
		t.Errorf("a new ledger in the old one's folder: incarnation %d", s.Incarnation())
	}
}

// TestABackupThatIsStoppedLeavesNothing ends one in the middle, and closes the
// ledger under another.
func TestABackupThatIsStoppedLeavesNothing(t *testing.T) {
	dir, to := keyed(t), t.TempDir()
	s := opened(t, "", dir)
	for i := range 400 {
		if _, err := s.Accept(t.Context(), numbered1(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := s.Backup(ctx, to, BackupOptions{Progress: func(Progress) { cancel() }})
	if err == nil {
		t.Error("a stopped backup was made")
	}
	var closing sync.WaitGroup
	var once sync.Once
	_, _, err = s.Backup(t.Context(), to, BackupOptions{Progress: func(Progress) {
		once.Do(func() {
			closing.Go(func() { s.Close() })
			<-s.stopped
		})
	}})
	if err == nil {
		t.Log("it was over before the ledger was closed")
	}
	closing.Wait()
	err = filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, partSuffix) {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
