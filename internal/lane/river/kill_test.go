package river

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// childEnv names the database for the process that is to be killed.
const childEnv = "KIUNGO_TEST_CHILD"

// TestChild is no test: it is the node that TestAKilledProcessIsTakenOver kills.
// It says which lane it runs, and never ends it.
func TestChild(t *testing.T) {
	url := os.Getenv(childEnv)
	if url == "" {
		return // run as a test among others, it has nothing to do
	}
	l, err := store.Open(t.Context(), url, os.Getenv(childEnv+"_DIR"), store.Options{Lease: testLease})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(t.Context(), l, func(ctx context.Context, w *ledger.Work) *ledger.Work {
		if err := l.Journal(ctx, w, ledger.Plan{Body: []byte("plan"), Claims: []string{"openmrs|Visit|1"}, Intent: "send"}); err != nil {
			t.Error(err)
		}
		fmt.Printf("runs %d\n", w.LaneID)
		<-ctx.Done()
		return nil
	}, Options{Database: url, Options: lane.Options{Workers: 6, Sweep: 100 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAKilledProcessIsTakenOver kills a node with SIGKILL while it runs a lane;
// another node runs it, with its plan, once the lease is over: in production
// that is within 45 seconds.
func TestAKilledProcessIsTakenOver(t *testing.T) {
	s := newSite(t)
	keys := filepath.Join(t.TempDir(), "keys.json")
	t.Setenv(seal.EnvKeyFile, keys)
	var err error
	if s.ring, err = seal.Create(keys); err != nil {
		t.Fatal(err)
	}
	// A ledger that takes messages in and runs nothing.
	in, err := store.Open(t.Context(), s.url, t.TempDir(), store.Options{Ring: s.ring, Lease: testLease})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	child := exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), childEnv+"="+s.url, childEnv+"_DIR="+t.TempDir())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait() // it was killed: its error says so
	defer child.Process.Kill()
	s.accept(&member{Store: in}, "f1", "1")
	s.accept(&member{Store: in}, "f2", "1")
	late := time.AfterFunc(patience, func() { child.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "runs ") {
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	m := s.start(1, s.url, nil)
	s.done(m, 2)
	t.Logf("taken over and done %s after the kill, with a lease of %s", time.Since(killed).Round(time.Millisecond), testLease)
	if strings.Join(s.sent, " ") != "f1 f2" {
		t.Errorf("sent %v", s.sent)
	}
	w, err := m.Delivery(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if w.Delivery.PlanNo != 1 || w.Delivery.Attempts != 2 {
		t.Errorf("plan %d, attempt %d: the plan of the killed node was not taken up", w.Delivery.PlanNo, w.Delivery.Attempts)
	}
}

// TestJobsTellNothing looks at what River stores (law 34).
func TestJobsTellNothing(t *testing.T) {
	s := newSite(t)
	m := s.start(0, s.url, nil)
	s.accept(m, "Wanjiku", "Wanjiku")
	s.done(m, 1)
	jobs, err := postgrestest.Column(t.Context(), s.url, `SELECT river_job::text FROM river_job`)
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) == 0 {
		t.Fatal("River stores no job")
	}
	for _, text := range jobs {
		if strings.Contains(text, "Wanjiku") {
			t.Errorf("a job tells of a person: %s", text)
		}
	}
}
