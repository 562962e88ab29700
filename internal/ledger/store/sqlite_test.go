package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	lite "modernc.org/sqlite/lib"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/seal"
)

func openAt(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	if o.Ring == nil {
		o.Ring = testRing
	}
	s, err := OpenSQLite(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func arrival1(doc string) []ledger.Arrival {
	return []ledger.Arrival{{System: "commcare", Incoming: connector.Incoming{Kind: "form", Doc: doc, Version: "1", Content: []byte("{}")},
		Routes: []ledger.Route{{Flow: "visit", Lanes: []string{"person:1"}, Systems: []string{"openmrs"}}}}}
}

// begun takes messages in, and starts the first one's lane.
func begun(t *testing.T, s *Store, a []ledger.Arrival) *ledger.Work {
	t.Helper()
	got, err := s.Accept(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Start(t.Context(), got[0].Lanes[0], s.Now())
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	return w
}

// TestNothingFromAMessageIsInClear plants names in everything that comes from
// a message, an answer or a person, and looks for them in all files (law 34).
func TestNothingFromAMessageIsInClear(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, Options{})
	ctx := t.Context()
	const marker = "Wanjiku"
	m := func(n int) string { return fmt.Sprintf("%s-%d", marker, n) }
	a := arrival1(m(1))
	a[0].Version, a[0].Content = m(2), []byte(m(3))
	a[0].Routes[0].Each, a[0].Routes[0].Lanes = m(4), []string{"person:" + m(5)}
	w := begun(t, s, a)
	link := ledger.Link{Person: m(6), System: "openmrs", Kind: "Patient", ID: m(7), How: m(8)}
	steps := []error{
		s.Journal(ctx, w, ledger.Plan{Body: []byte(m(9)), Claims: []string{"openmrs|Patient|" + m(10)}, Pending: []ledger.Link{link}}),
		s.Step(ctx, w, ledger.Step{Kind: ledger.StepAnswer, Call: "c", Data: json.RawMessage(`"` + m(11) + `"`)}),
	}
	_, err := s.End(ctx, w, ledger.End{State: ledger.Held, Links: []ledger.Link{link},
		Made:      []ledger.Made{{Record: "patient", System: "openmrs", Kind: "Patient", ID: m(12), Fields: record.Fields{"name": m(13)}}},
		Snapshots: []ledger.Snapshot{{System: "openmrs", Kind: "Patient", ID: m(14), Fields: map[string]record.Agreed{"name": {Value: m(15)}}}},
		Question:  &ledger.Question{Kind: "match", Text: m(16), Options: json.RawMessage(`"` + m(17) + `"`)}}, s.Now())
	steps = append(steps, err)
	qs, err := s.Questions(ctx, "open", 0, 1)
	if err != nil || len(qs) != 1 || qs[0].Text != m(16) {
		t.Fatalf("%v, %v", qs, err)
	}
	_, err = s.Answer(ctx, qs[0].ID, m(18), "amina")
	steps = append(steps, err, s.Audit(ctx, ledger.Audit{Who: "amina", Act: "looked", Note: m(19)}), s.Merge(ctx, "person:"+m(20), "person:"+m(21), "amina"))
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	look := func() (size int) {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			size += len(b)
			if i := bytes.Index(b, []byte(marker)); i >= 0 {
				t.Errorf("%s holds %q in clear", filepath.Base(f), b[i:i+len(marker)+3])
			}
		}
		return size
	}
	if look() < 50_000 {
		t.Error("the files are too small to hold the ledger")
	}
	s.Close() // the log goes into the database
	look()
}

func TestFolderIsOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, Options{})
	if _, err := OpenSQLite(t.Context(), dir, Options{Ring: testRing}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one was opened: %v", err)
	}
	s.Close()
	openAt(t, dir, Options{})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	openAt(t, dir, Options{}).Close()
	c, err := openSQLiteConn(filepath.Join(dir, "ledger.db"), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.exec(`INSERT INTO schema_version (version) VALUES (99)`); err != nil {
		t.Fatal(err)
	}
	c.close()
	if _, err := OpenSQLite(t.Context(), dir, Options{Ring: testRing}); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("opened: %v", err)
	}
}

func TestKeyringIsMadeOnceAndMissedLater(t *testing.T) {
	t.Setenv(seal.EnvKeyFile, "")
	dir := t.TempDir()
	s, err := OpenSQLite(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	keys := filepath.Join(dir, "keys.json")
	if err := os.Rename(keys, keys+".bak"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSQLite(t.Context(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "keyring") {
		t.Errorf("opened without its keyring: %v", err)
	}
}

// TestUnitThatFailsAfterWritingIsUndoneAlone: the batch is run again unit by
// unit, and only the bad one fails (law 23).
func TestUnitThatFailsAfterWritingIsUndoneAlone(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	bad := errors.New("bad")
	var wg sync.WaitGroup
	var failed, stored atomic.Int64
	began, hold := make(chan struct{}), make(chan struct{})
	// The first unit keeps the writer busy, so that the others share a batch.
	wg.Go(func() {
		_, _ = do(t.Context(), s, lanes, func(*tx) (int, error) { close(began); <-hold; return 0, nil })
	})
	<-began
	for i := range 30 {
		wg.Go(func() {
			_, err := do(t.Context(), s, lanes, func(x *tx) (int, error) {
				if err := x.must(qSetPosition, "s", fmt.Sprint(i), int64(0), []byte("x")); err != nil {
					return 0, err
				}
				switch {
				case i%10 == 0:
					return 0, bad
				case i == 11: // a constraint
					return 0, x.must(qAddVersion, []byte("d"), nil, int64(1))
				case i == 12: // the transaction ends early
					_, err := x.conn.exec("ROLLBACK")
					return 0, err
				}
				return 0, nil
			})
			if err == nil {
				stored.Add(1)
			} else {
				failed.Add(1)
			}
		})
	}
	for {
		s.queue.mu.Lock()
		n := len(s.queue.lanes)
		s.queue.mu.Unlock()
		if n >= 30 {
			break
		}
		runtime.Gosched()
	}
	close(hold)
	wg.Wait()
	if failed.Load() != 5 || stored.Load() != 25 {
		t.Errorf("%d failed, %d stored", failed.Load(), stored.Load())
	}
	for i := range 30 {
		pos, err := s.Position(t.Context(), "s", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if want := i%10 != 0 && i != 11 && i != 12; (pos != nil) != want {
			t.Errorf("unit %d: stored %t, want %t", i, pos != nil, want)
		}
	}
}

func TestDiskErrorAtCommitReopens(t *testing.T) {
	var broken atomic.Bool
	s := openAt(t, t.TempDir(), Options{Fault: func(p string) error {
		if p == "before commit" && broken.Swap(false) {
			return &sqliteError{Code: lite.SQLITE_IOERR_FSYNC, Text: "disk I/O error"}
		}
		return nil
	}})
	ctx := t.Context()
	w := begun(t, s, arrival1("f1"))
	broken.Store(true)
	if err := s.Journal(ctx, w, ledger.Plan{Body: []byte("p")}); !errors.Is(err, ledger.ErrUncertain) {
		t.Fatalf("journal: %v", err)
	}
	// It waits for the reopening, and finds the lane taken back.
	if err := s.Audit(ctx, ledger.Audit{Who: "t", Act: "wait"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.End(ctx, w, ledger.End{State: ledger.Done}, s.Now()); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("end: %v", err)
	}
	again, err := s.Start(ctx, w.Delivery.Lane, s.Now())
	if err != nil || again == nil || again.Plan != nil || again.Epoch <= w.Epoch || again.Delivery.Starts != 1 {
		t.Fatalf("%+v, %v", again, err)
	}
	if _, err := s.Accept(ctx, arrival1("f2"), nil); err != nil {
		t.Errorf("intake is still closed: %v", err)
	}
}

func TestIntakeIsRefusedBelowTheDiskFloor(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{MinFree: 1 << 60})
	if _, err := s.Accept(t.Context(), arrival1("f1"), nil); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("accepted: %v", err)
	}
}

func TestRingsWhatACommitMadeDue(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	rung := make(chan int64, 10)
	s.OnDue(func(lanes []int64) {
		for _, l := range lanes {
			rung <- l
		}
	})
	got, err := s.Accept(t.Context(), arrival1("f1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := <-rung; l != got[0].Lanes[0] {
		t.Errorf("lane %d was rung, not %d", l, got[0].Lanes[0])
	}
}

func TestLongReadIsEnded(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.read(ctx, func(c conn) error {
		cancel()
		return c.each(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n`, func(row) (bool, error) { return true, nil })
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := s.Counts(t.Context()); err != nil {
		t.Errorf("the next read fails: %v", err)
	}
}

func TestClosedLedgerSaysSo(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	s.Close()
	if _, err := s.Accept(t.Context(), arrival1("f1"), nil); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := s.Counts(t.Context()); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("counts: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func TestLargeMessagesComeBack(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	a := arrival1("f1")
	a[0].Content = bytes.Repeat([]byte("0123456789"), 500_000)
	got, err := s.Accept(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Message(t.Context(), got[0].Message)
	if err != nil || !bytes.Equal(m.Content, a[0].Content) {
		t.Errorf("%d bytes came back, %v", len(m.Content), err)
	}
}

func TestWhatCannotBeReadIsHeldAndItsLaneGoesOn(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	var lane int64
	for _, doc := range []string{"f1", "f2", "f3"} {
		got, err := s.Accept(t.Context(), arrival1(doc), nil)
		if err != nil {
			t.Fatal(err)
		}
		lane = got[0].Lanes[0]
	}
	_, err := do(t.Context(), s, lanes, func(x *tx) (struct{}, error) {
		return struct{}{}, x.must(`UPDATE message SET body = x'00' WHERE id <> (SELECT MAX(id) FROM message)`)
	})
	if err != nil {
		t.Fatal(err)
	}
	// The first is held when it is begun, the second shares its system and waits
	// behind it; skipped, the second is held in turn.
	for i, want := range []bool{false, false, true} {
		w, err := s.Start(t.Context(), lane, s.Now())
		if err != nil || (w != nil) != want {
			t.Fatalf("%d: %v, %v", i, w, err)
		}
		held, err := s.Deliveries(t.Context(), ledger.Filter{States: []ledger.State{ledger.Held}})
		if err != nil {
			t.Fatal(err)
		}
		if want {
			if len(held) != 0 {
				t.Errorf("held: %+v", held)
			}
			continue
		}
		if len(held) != 1 || held[0].Code != "damaged" {
			t.Fatalf("%d: held: %+v", i, held)
		}
		if _, err := s.Skip(t.Context(), held[0].ID, "amina", ""); err != nil {
			t.Fatal(err)
		}
	}
}
