package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// lived makes a ledger with something in most tables, and closes it. marker is
// in everything that comes from a message.
func lived(t *testing.T, database, dir, marker string) {
	t.Helper()
	s := opened(t, database, dir)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 12 {
		a := numbered1(i)
		a[0].Doc, a[0].Content = fmt.Sprintf("%s-%d", marker, i), []byte(marker+strings.Repeat("y", 100*i))
		if i == 11 {
			a[0].Content = noise(marker, 300<<10) // a file of its own on SQLite
		}
		a[0].Routes[0].Lanes = []string{fmt.Sprintf("person:%s/%d", marker, i)}
		var advance *ledger.Advance
		if i == 5 {
			advance = &ledger.Advance{System: "openmrs", Stream: "patient", New: []byte(marker)}
		}
		got, err := s.Accept(ctx, a, advance)
		must(err)
		if i > 8 {
			continue // not begun
		}
		w, err := s.Start(ctx, got[0].Lanes[0], s.Now())
		must(err)
		link := ledger.Link{Person: marker, System: "openmrs", Kind: "Patient", ID: fmt.Sprint(i)}
		must(s.Journal(ctx, w, ledger.Plan{Body: []byte(marker), Claims: []string{fmt.Sprint("r", i)}, Pending: []ledger.Link{link}, Intent: "c1"}))
		if i > 6 {
			continue // in flight
		}
		must(s.Step(ctx, w, ledger.Step{Kind: ledger.StepAnswer, Call: "c1", Data: json.RawMessage(`"` + marker + `"`)}))
		end := ledger.End{State: ledger.Done, Calls: 1, Links: []ledger.Link{link}, Made: []ledger.Made{{Record: "patient", System: "openmrs", Kind: "Patient", ID: fmt.Sprint(i)}}}
		if i > 4 {
			end = ledger.End{State: ledger.Held, Reason: "why", Code: "c", Cause: "cause", Question: &ledger.Question{Kind: "match", Text: marker}}
		}
		_, err = s.End(ctx, w, end, s.Now())
		must(err)
	}
	must(s.Teach(ctx, ledger.Lesson{Integration: "i", Table: "t", Codes: []string{marker}, Value: marker, Who: "amina"}))
	must(s.Audit(ctx, ledger.Audit{Who: "amina", Act: "looked", Note: marker}))
	must(s.SetCircuit(ctx, ledger.Circuit{System: "openmrs", State: "open", Reason: "down", Since: s.Now()}))
	s.Close()
}

// told is what a ledger says of itself, to be compared with another's.
func told(t *testing.T, s *Store) string {
	t.Helper()
	ctx := t.Context()
	out := map[string]any{}
	keep := func(name string, v any, err error) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = v
	}
	list, err := s.Deliveries(ctx, ledger.Filter{Limit: 100})
	for i := range list {
		list[i].Due = list[i].Created // it is made due by opening it
		list[i].Starts = 0
	}
	keep("deliveries", list, err)
	for _, d := range list {
		w, err := s.Delivery(ctx, d.ID)
		keep(fmt.Sprint("journal ", d.ID), w.Journal, err)
		keep(fmt.Sprint("plan ", d.ID), string(w.Plan), nil)
		m, err := s.Message(ctx, d.Message)
		keep(fmt.Sprint("message ", d.ID), m, err)
	}
	counts, err := s.Counts(ctx)
	keep("counts", counts, err)
	questions, err := s.Questions(ctx, "", 0, 100)
	keep("questions", questions, err)
	lessons, err := s.Lessons(ctx)
	keep("lessons", lessons, err)
	circuits, err := s.Circuits(ctx)
	keep("circuits", circuits, err)
	pos, err := s.Position(ctx, "openmrs", "patient")
	keep("position", pos, err)
	links, err := s.Links(ctx, "Wanjiku")
	keep("links", links, err)
	audits, err := s.Audits(ctx, 0, 0, 100)
	var before []ledger.Audit
	for _, a := range audits {
		if a.Act != "raise incarnation" && a.Act != "backup" {
			before = append(before, a)
		}
	}
	keep("audits", before, err)
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func same(t *testing.T, what, a, b string) {
	t.Helper()
	if a == b {
		return
	}
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			t.Errorf("%s, line %d:\n%s\n%s", what, i, strings.Join(x[max(0, i-3):i+1], "\n"), y[i])
			return
		}
	}
	t.Errorf("%s: %d lines, %d", what, len(x), len(y))
}

var errStop = errors.New("stopped by the test")

// TestAMoveIsResumedWhereverItWasKilled moves to PostgreSQL and is stopped after
// each chunk in turn; then it is moved back to a folder.
func TestAMoveIsResumedWhereverItWasKilled(t *testing.T) {
	dir, want := livedAndTold(t)
	database := postgrestest.URL(t)
	var moved *Moved
	stops := 0
	for ; ; stops++ {
		var err error
		moved, err = Move(t.Context(), "", dir, database, MoveOptions{Who: "amina", rows: 5, Options: Options{Gather: -1}, fault: func() error { return errStop }})
		if err == nil {
			break
		}
		if !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		if stops == 7 {
			if _, err := OpenPostgres(t.Context(), database, t.TempDir(), Options{Ring: testRing}); err == nil || !strings.Contains(err.Error(), "not all of the ledger") {
				t.Fatalf("half a ledger was opened: %v", err)
			}
		}
		if _, err := OpenSQLite(t.Context(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "being moved to database postgres") {
			t.Fatalf("opened while it is moved: %v", err)
		}
	}
	// The last stop was when all was there, and only the seal was missing.
	if stops < 30 || moved.Restarted || moved.Incarnation != 2 {
		t.Errorf("%d stops, %+v", stops, moved)
	}
	if _, err := OpenSQLite(t.Context(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "was moved to database postgres on 127.0.0.1") {
		t.Errorf("a moved ledger was opened: %v", err)
	}
	s := opened(t, database, dir)
	same(t, "moved to PostgreSQL", want, told(t, s))
	if err := s.read(t.Context(), func(c conn) error { consistent(t, c); return nil }); err != nil {
		t.Fatal(err)
	}
	if s.Incarnation() != 2 || !s.Restored().IsZero() {
		t.Errorf("incarnation %d, restored at %s: a move loses nothing", s.Incarnation(), s.Restored())
	}
	got, err := s.Accept(t.Context(), numbered1(77), nil)
	if err != nil || got[0].Message != 13 || got[0].Deliveries[0] != 13 {
		t.Errorf("the numbers do not go on: %+v, %v", got, err)
	}
	want = told(t, s)
	if _, err := Move(t.Context(), database, t.TempDir(), FolderScheme+t.TempDir(), MoveOptions{}); err == nil || !strings.Contains(err.Error(), "stop kiungo") {
		t.Errorf("moved while it runs: %v", err)
	}
	s.Close()

	if _, err := UndoMove(t.Context(), "", dir, database, MoveOptions{}); err == nil || !strings.Contains(err.Error(), "something ran") {
		t.Errorf("taken back though something ran: %v", err)
	}
	back := t.TempDir()
	if moved, err = Move(t.Context(), database, dir, FolderScheme+back, MoveOptions{Who: "amina", Options: Options{MinFree: -1}}); err != nil || moved.Incarnation != 3 {
		t.Fatal(moved, err)
	}
	if _, err := OpenPostgres(t.Context(), database, dir, Options{}); err == nil || !strings.Contains(err.Error(), "was moved to the folder "+back) {
		t.Errorf("a moved ledger was opened: %v", err)
	}
	s = opened(t, "", back)
	same(t, "moved back", want, told(t, s))
	if err := s.read(t.Context(), func(c conn) error { consistent(t, c); return nil }); err != nil {
		t.Fatal(err)
	}
}

// livedAndTold gives the folder of a ledger in which much happened, closed, and
// what it tells.
func livedAndTold(t *testing.T) (dir, want string) {
	t.Helper()
	dir = keyed(t)
	lived(t, "", dir, "Wanjiku")
	s := opened1(t, dir)
	defer s.Close()
	return dir, told(t, s)
}

// opened1 is opened; the first opening gives out what was in flight.
func opened1(t *testing.T, dir string) *Store {
	t.Helper()
	for range 2 {
		opened(t, "", dir).Close()
	}
	return opened(t, "", dir)
}

// TestAMoveIsTakenBackWhileNothingRanThere also sees that the target is closed
// then, and that a move to a ledger that holds something leaves all as it was.
func TestAMoveIsTakenBackWhileNothingRanThere(t *testing.T) {
	dir := keyed(t)
	lived(t, "", dir, "Wanjiku")
	database, full := postgrestest.URL(t), t.TempDir()
	lived(t, "", full, "Achieng")
	if _, err := Move(t.Context(), "", dir, FolderScheme+full, MoveOptions{}); err == nil || !strings.Contains(err.Error(), "a ledger in it already") {
		t.Fatalf("moved over a ledger: %v", err)
	}
	opened(t, "", dir).Close() // as it was
	if _, err := UndoMove(t.Context(), "", dir, "", MoveOptions{}); err == nil || !strings.Contains(err.Error(), "was not moved") {
		t.Errorf("took back what was not: %v", err)
	}
	if _, err := Move(t.Context(), "", dir, database, MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := UndoMove(t.Context(), "", dir, "", MoveOptions{}); err == nil || !strings.Contains(err.Error(), "--to") {
		t.Errorf("taken back without a look at the target: %v", err)
	}
	if _, err := UndoMove(t.Context(), "", dir, database, MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := opened(t, "", dir); s.Incarnation() != 1 {
		t.Errorf("incarnation %d after a move that was taken back", s.Incarnation())
	} else {
		s.Close()
	}
	if _, err := OpenPostgres(t.Context(), database, dir, Options{}); err == nil || !strings.Contains(err.Error(), "was moved to the folder") {
		t.Errorf("the target was opened: %v", err)
	}
}

// TestNothingFromAMessageIsInAManifestOrALog plants a name and looks for it in
// the manifest, and in all that a backup, a restore and a move log and tell.
func TestNothingFromAMessageIsInAManifestOrALog(t *testing.T) {
	const marker = "Wanjiku"
	dir, to := keyed(t), t.TempDir()
	lived(t, "", dir, marker)
	var said bytes.Buffer
	progress := func(p Progress) { fmt.Fprintln(&said, p.Doing, p.Done, p.Of) }
	o := Options{MinFree: -1, Log: func(l string) { fmt.Fprintln(&said, l) }}
	s, err := OpenSQLite(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	folder, m, err := s.Backup(t.Context(), to, BackupOptions{Progress: progress, Keyring: true})
	if err != nil {
		t.Fatal(err)
	}
	if m.file("files/0/12") == nil {
		t.Errorf("the large content is not in the backup: %+v", m.Files)
	}
	s.Close()
	restored, err := Restore(t.Context(), folder, "", t.TempDir(), RestoreOptions{Options: o, Progress: progress})
	if err != nil {
		t.Fatal(err)
	}
	database := postgrestest.URL(t)
	moved, err := Move(t.Context(), "", dir, database, MoveOptions{Options: o, Progress: progress})
	if err != nil {
		t.Fatal(err)
	}
	_, again := Move(t.Context(), "", dir, database, MoveOptions{Options: o, Progress: progress})
	b, err := os.ReadFile(filepath.Join(folder, manifestFile))
	if err != nil {
		t.Fatal(err)
	}
	mark, err := os.ReadFile(markPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	progressRow, err := postgrestest.Column(t.Context(), database, `SELECT encode(value, 'escape') FROM setting`)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprint(said.String(), string(b), string(mark), restored, moved, again, progressRow)
	if strings.Contains(all, marker) {
		t.Errorf("it holds %s:\n%s", marker, all)
	}
	if !strings.Contains(all, "incarnation") || !strings.Contains(said.String(), "copy message") {
		t.Errorf("nothing was logged or told:\n%s", all)
	}
}

// TestABackupOfPostgresIsRestoredToEither makes it under load.
func TestABackupOfPostgresIsRestoredToEither(t *testing.T) {
	dir, to, database := keyed(t), t.TempDir(), postgrestest.URL(t)
	lived(t, database, dir, "Wanjiku")
	s := opened(t, database, dir)
	stop := make(chan struct{})
	wait := work(t, s, 1000, stop)
	folder, m, err := s.Backup(t.Context(), to, BackupOptions{})
	close(stop)
	wait()
	if err != nil {
		t.Fatal(err)
	}
	if m.Of != "postgres" || m.Messages < 12 {
		t.Errorf("%+v", m)
	}
	c, err := openCopy(filepath.Join(folder, ledgerFile))
	if err != nil {
		t.Fatal(err)
	}
	consistent(t, c)
	c.close()
	// Once more, when all is quiet: then all of it comes back.
	quiet := told(t, s)
	if _, _, err := s.Backup(t.Context(), to, BackupOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	folderOf := func() string {
		fresh := t.TempDir()
		if _, _, err := copyFile(seal.Path(dir), seal.Path(fresh)); err != nil {
			t.Fatal(err)
		}
		return fresh
	}
	for name, database := range map[string]string{"SQLite": "", "PostgreSQL": postgrestest.URL(t)} {
		fresh := folderOf()
		r, err := Restore(t.Context(), to, database, fresh, RestoreOptions{Options: Options{MinFree: -1}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Incarnation != 2 || len(r.Open) == 0 || len(r.Sources) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
		got := opened(t, database, fresh)
		same(t, name, quiet, told(t, got))
		got.Close()
		if _, err := Restore(t.Context(), to, database, folderOf(), RestoreOptions{}); database != "" && (err == nil || !strings.Contains(err.Error(), "a ledger in it already")) {
			t.Errorf("%s: restored over a ledger: %v", name, err)
		}
	}
}

// TestABackupOfSQLiteIsRestoredToPostgres also takes the way of a backup of an
// older schema, which is brought up to date in a copy.
func TestABackupOfSQLiteIsRestoredToPostgres(t *testing.T) {
	dir, to := keyed(t), t.TempDir()
	lived(t, "", dir, "Wanjiku")
	s := opened1(t, dir)
	folder, m, err := s.Backup(t.Context(), to, BackupOptions{Keyring: true})
	if err != nil {
		t.Fatal(err)
	}
	want := told(t, s)
	s.Close()
	for _, older := range []int64{0, 1} {
		m.Schema -= older
		if err := m.write(folder); err != nil {
			t.Fatal(err)
		}
		database, fresh := postgrestest.URL(t), t.TempDir()
		if _, err := Restore(t.Context(), folder, database, fresh, RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
		if exists(filepath.Join(fresh, "restore.db")) {
			t.Error("the copy is left")
		}
		r := opened(t, database, fresh)
		same(t, "restored", want, told(t, r))
		if r.Incarnation() != 2 || r.Restored().IsZero() {
			t.Errorf("incarnation %d, restored at %s", r.Incarnation(), r.Restored())
		}
		r.Close()
	}
	m.Schema += 100
	if err := m.write(folder); err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	if _, err := Restore(t.Context(), folder, postgrestest.URL(t), fresh, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("restored what it does not know: %v", err)
	}
}

// TestADumpReadInBehindOurBackIsNoticed puts an older dump in the place of the
// tables, once while nothing runs and once under a running node.
func TestADumpReadInBehindOurBackIsNoticed(t *testing.T) {
	dump, err := exec.LookPath("pg_dump")
	if err != nil {
		t.Skip("pg_dump is not there")
	}
	dir, database := keyed(t), postgrestest.URL(t)
	lived(t, database, dir, "Wanjiku")
	schema := database[strings.LastIndex(database, "=")+1:]
	plain := database[:strings.LastIndex(database, "&")]
	out, err := exec.Command(dump, "--schema="+schema, plain).Output()
	if err != nil {
		t.Fatal(err)
	}
	readIn := func() {
		t.Helper()
		if _, err := postgrestest.Column(t.Context(), plain, "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("psql", "-q", "-v", "ON_ERROR_STOP=1", plain)
		cmd.Stdin = bytes.NewReader(out)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
	if s := opened(t, database, dir); s.Incarnation() != 1 {
		t.Fatalf("raised for nothing: %d", s.Incarnation())
	} else {
		s.Close()
	}
	readIn()
	var logged []string
	s, err := OpenPostgres(t.Context(), database, dir, Options{Log: func(l string) { logged = append(logged, l) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Incarnation() != 2 || s.Restored().IsZero() || !strings.Contains(strings.Join(logged, "\n"), "failed over or was restored: table") {
		t.Errorf("incarnation %d, %q", s.Incarnation(), logged)
	}
	other := opened2(t, database, dir)
	late := arrival1("late")
	late[0].Routes[0].Lanes = []string{"person:late"}
	w := begun(t, s, late)
	if err := s.Raise(t.Context(), "by hand", "amina"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.End(t.Context(), w, ledger.End{State: ledger.Done}, s.Now()); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("what ran is not fenced: %v", err)
	}
	if err := other.Beat(context.Background()); err != nil {
		t.Fatal(err)
	}
	if other.Incarnation() != 3 || other.Restored().IsZero() {
		t.Errorf("the other node knows of incarnation %d", other.Incarnation())
	}
	readIn() // under both
	for _, node := range []*Store{s, other} {
		if err := node.Beat(context.Background()); err != nil {
			t.Fatal(err)
		}
		if node.Incarnation() != 4 {
			t.Errorf("after a dump was read in under it a node knows of incarnation %d", node.Incarnation())
		}
	}
}

// opened2 opens a second node.
func opened2(t *testing.T, database, dir string) *Store {
	t.Helper()
	fresh := t.TempDir()
	if _, _, err := copyFile(seal.Path(dir), seal.Path(fresh)); err != nil {
		t.Fatal(err)
	}
	return opened(t, database, fresh)
}
