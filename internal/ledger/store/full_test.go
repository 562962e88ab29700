package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// TestOnlyIntakeStopsAtTheDiskFloor: messages are refused and polls keep their
// position, what runs is written down to its end, and intake goes on by itself.
func TestOnlyIntakeStopsAtTheDiskFloor(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 40)
	dir := t.TempDir()
	s := openAt(t, dir, Options{Free: func(string) (int64, error) { return free.Load(), nil }})
	ctx := t.Context()
	w := begun(t, s, arrival1("f1"))
	free.Store(100 << 20)
	s.mu.Lock()
	s.files.looked = time.Time{} // it looks once a second
	s.mu.Unlock()
	poll := &ledger.Advance{System: "commcare", Stream: "forms", New: []byte("9")}
	for _, adv := range []*ledger.Advance{nil, poll} {
		if _, err := s.Accept(ctx, arrival1("f2"), adv); !errors.Is(err, ledger.ErrFull) || !strings.Contains(err.Error(), "100 MB are free") {
			t.Errorf("accepted: %v", err)
		}
	}
	if pos, err := s.Position(ctx, "commcare", "forms"); err != nil || pos != nil {
		t.Errorf("the position moved to %q, %v", pos, err)
	}
	if err := s.Journal(ctx, w, ledger.Plan{Body: []byte("p"), Intent: "c1"}); err != nil {
		t.Error(err)
	}
	if err := s.Step(ctx, w, ledger.Step{Call: "c1", Kind: ledger.StepAnswer}); err != nil {
		t.Error(err)
	}
	if _, err := s.End(ctx, w, ledger.End{State: ledger.Done}, s.Now()); err != nil {
		t.Error(err)
	}
	if _, err := s.Keep(ctx, s.Now(), ledger.Keep{Deliveries: time.Hour}, -1); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("the archive was written: %v", err)
	}
	free.Store(1 << 40)
	if got, err := s.Accept(ctx, arrival1("f2"), poll); err != nil || got[0].Duplicate {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAFullFileReopensAndGoesOn: SQLITE_FULL in a commit loses what was not
// answered, and nothing else.
func TestAFullFileReopensAndGoesOn(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{MinFree: -1})
	ctx := t.Context()
	w := begun(t, s, arrival1("f0"))
	// The file may not grow any more, until it is opened again.
	if _, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		_, err := t.conn.exec("PRAGMA max_page_count = 1")
		return struct{}{}, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Journal(ctx, w, ledger.Plan{Body: noise("p", 100<<10)}); !errors.Is(err, ledger.ErrUncertain) {
		t.Fatalf("journal: %v", err)
	}
	again, err := s.Start(ctx, w.Delivery.Lane, s.Now())
	for ; err == nil && again == nil; again, err = s.Start(ctx, w.Delivery.Lane, s.Now()) {
	}
	if err != nil || again.Delivery.ID != w.Delivery.ID || again.Plan != nil || again.Epoch <= w.Epoch {
		t.Fatalf("%+v, %v", again, err)
	}
	if _, err := s.Accept(ctx, arrival1("f1"), nil); err != nil {
		t.Error(err)
	}
	if got, err := s.Accept(ctx, arrival1("f0"), nil); err != nil || !got[0].Duplicate {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPostgresDiskFull: 53100 from the database is a full disk: the message is
// refused, and taken once there is room.
func TestPostgresDiskFull(t *testing.T) {
	s := pgAt(t, postgrestest.URL(t), t.TempDir(), Options{Gather: -1})
	ctx := t.Context()
	c, err := openPg(ctx, s.pg.conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	w := begun(t, s, arrival1("f0"))
	if err := c.script(`CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_message BEFORE INSERT ON message FOR EACH ROW EXECUTE FUNCTION no_room();
CREATE TRIGGER full_plan BEFORE INSERT ON plan FOR EACH ROW EXECUTE FUNCTION no_room();`); err != nil {
		t.Fatal(err)
	}
	adv := &ledger.Advance{System: "commcare", Stream: "forms", New: []byte("9")}
	if _, err := s.Accept(ctx, arrival1("f1"), adv); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("accepted: %v", err)
	}
	if pos, err := s.Position(ctx, "commcare", "forms"); err != nil || pos != nil {
		t.Errorf("the position moved to %q, %v", pos, err)
	}
	if err := s.Journal(ctx, w, ledger.Plan{Body: []byte("p")}); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("journal: %v", err)
	}
	// The delivery is given back, and begins again.
	if err := s.Release(ctx, w); err != nil {
		t.Fatal(err)
	}
	if err := c.script(`DROP TRIGGER full_message ON message; DROP TRIGGER full_plan ON plan;`); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Accept(ctx, arrival1("f1"), adv); err != nil || got[0].Duplicate {
		t.Errorf("%+v, %v", got, err)
	}
	again, err := s.Start(ctx, w.Delivery.Lane, s.Now())
	if err != nil || again == nil || again.Delivery.ID != w.Delivery.ID {
		t.Fatalf("%+v, %v", again, err)
	}
	if err := s.Journal(ctx, again, ledger.Plan{Body: []byte("p")}); err != nil {
		t.Error(err)
	}
}

// smallDisk names the folder of TestOnASmallDisk's child.
const smallDisk = "KIUNGO_TEST_SMALL_DISK"

// TestOnASmallDisk fills a real disk of 24 MB to its last byte, in a child
// process with a mount of its own.
func TestOnASmallDisk(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		onASmallDisk(t, dir)
		return
	}
	cmd := exec.Command("unshare", "--map-root-user", "--mount", os.Args[0], "-test.run=^TestOnASmallDisk$", "-test.v")
	cmd.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if bytes.Contains(out, []byte("cannot mount")) || errors.Is(err, exec.ErrNotFound) || bytes.HasPrefix(out, []byte("unshare:")) {
		t.Skipf("this machine lets nobody mount a small disk: %s", out)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestOnASmallDisk")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func onASmallDisk(t *testing.T, dir string) {
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "none", dir).CombinedOutput(); err != nil {
		t.Fatalf("cannot mount: %v: %s", err, out)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, filepath.Join(dir, "data"), Options{MinFree: -1})
	ctx := t.Context()
	var accepted []int64
	var full error
	for i := 0; full == nil; i++ {
		size := 20 << 10
		if i%5 == 4 {
			size = largeBody // a file
		}
		in := largeArrival(fmt.Sprintf("f%d", i), size)
		in[0].Routes[0].Lanes = []string{fmt.Sprintf("person:%d", i)}
		got, err := s.Accept(ctx, in, nil)
		if err != nil {
			full = err
			break
		}
		accepted = append(accepted, got[0].Message)
	}
	if !errors.Is(full, ledger.ErrFull) && !errors.Is(full, ledger.ErrUncertain) {
		t.Fatalf("after %d messages: %v", len(accepted), full)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	// It goes on by itself; the sender tries again until it is answered.
	in := largeArrival("after", 20<<10)
	for began := time.Now(); ; {
		_, err := s.Accept(ctx, in, nil)
		if err == nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("it does not go on: %v", err)
		}
	}
	for _, id := range accepted {
		if m, err := s.Message(ctx, id); err != nil || len(m.Content) == 0 {
			t.Fatalf("message %d was accepted and is lost: %v", id, err)
		}
	}
	if lanes, _, err := s.Due(ctx, s.Now(), 10_000); err != nil || len(lanes) < len(accepted) {
		t.Errorf("%d of %d lanes are due, %v", len(lanes), len(accepted), err)
	}
	s.Close()
	if n := len(bodyFiles(t, filepath.Join(dir, "data"))); n != len(accepted)/5 {
		openAt(t, filepath.Join(dir, "data"), Options{MinFree: -1})
		if n = len(bodyFiles(t, filepath.Join(dir, "data"))); n != len(accepted)/5 {
			t.Errorf("%d files of %d", n, len(accepted)/5)
		}
	}
}
