// Package ledgertest is the contract of ledger.Ledger as tests. Every store
// runs it.
package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Config is how a store under test is opened.
type Config struct {
	// Clock is the wall clock the store must use.
	Clock func() time.Time
	// Fault is asked at "before commit" and "after commit"; after an error the
	// store does nothing more, as if the process was killed.
	Fault func(point string) error
}

// Open opens the store of a folder, for the first time or again. Closing is
// the test's business.
type Open func(t testing.TB, dir string, c Config) ledger.Ledger

// Run runs the contract.
func Run(t *testing.T, open Open) {
	for name, f := range map[string]func(*testing.T, Open){
		"Intake": testIntake, "Lanes": testLanes, "Running": testRunning, "Claims": testClaims,
		"Versions": testVersions, "Crosswalk": testCrosswalk, "People": testPeople,
		"Crash": testCrash, "Merge": testMerge, "Isolation": testIsolation, "Clock": testClock,
		"Links": testLinks, "MergePeople": testMergePeople, "History": testHistory, "Lessons": testLessons, "Lists": testLists,
		"Questions": testQuestions, "Alongside": testAlongside, "Raise": testRaise, "Classes": testClasses, "Replays": testReplays,
	} {
		t.Run(name, func(t *testing.T) { f(t, open) })
	}
}

// epoch is when every test begins.
var epoch = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// bench is a ledger under test with a clock that only the test moves.
type bench struct {
	*testing.T
	ledger.Ledger
	open  Open
	dir   string
	now   time.Time
	fault func(string) error
}

func newBench(t *testing.T, open Open) *bench {
	b := &bench{T: t, open: open, dir: t.TempDir(), now: epoch}
	b.reopen()
	t.Cleanup(func() { b.Ledger.Close() })
	return b
}

func (b *bench) reopen() {
	b.Helper()
	if b.Ledger != nil {
		b.Ledger.Close()
	}
	b.Ledger = b.open(b.T, b.dir, Config{Clock: func() time.Time { return b.now }, Fault: func(p string) error {
		if b.fault != nil {
			return b.fault(p)
		}
		return nil
	}})
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) is(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("error is %v, not %v", err, want)
	}
}

// msg is an arrival in one lane by one flow.
func msg(doc, version, lane string, systems ...string) ledger.Arrival {
	if len(systems) == 0 {
		systems = []string{"openmrs"}
	}
	return ledger.Arrival{System: "commcare",
		Incoming: connector.Incoming{Kind: "form", Doc: doc, Version: version, Content: []byte(`{"doc":"` + doc + `"}`)},
		Routes:   []ledger.Route{{Flow: "visit", Each: "case-1", Lanes: []string{lane}, Systems: systems}}}
}

func (b *bench) accept(a ...ledger.Arrival) []ledger.Accepted {
	b.Helper()
	got, err := b.Accept(b.Context(), a, nil)
	b.must(err)
	return got
}

func (b *bench) due() []int64 {
	b.Helper()
	lanes, _, err := b.Due(b.Context(), b.now, 1000)
	b.must(err)
	return lanes
}

func (b *bench) start(lane int64) *ledger.Work {
	b.Helper()
	w, err := b.Start(b.Context(), lane, b.now)
	b.must(err)
	return w
}

// mustStart starts a lane and checks which document runs.
func (b *bench) mustStart(lane int64, doc string) *ledger.Work {
	b.Helper()
	w := b.start(lane)
	b.runs(w, doc)
	return w
}

func (b *bench) runs(w *ledger.Work, doc string) {
	b.Helper()
	got := "nothing"
	if w != nil {
		got = w.Message.Doc
	}
	if got != doc {
		b.Fatalf("%s runs, not %s", got, doc)
	}
}

func (b *bench) idle(lane int64) {
	b.Helper()
	if w := b.start(lane); w != nil {
		b.Fatalf("%s runs, though nothing may", w.Message.Doc)
	}
}

func (b *bench) end(w *ledger.Work, e ledger.End) *ledger.Work {
	b.Helper()
	next, err := b.End(b.Context(), w, e, b.now)
	b.must(err)
	return next
}

func (b *bench) done(w *ledger.Work) *ledger.Work {
	b.Helper()
	return b.end(w, ledger.End{State: ledger.Done})
}

func (b *bench) plan(w *ledger.Work, claims ...string) {
	b.Helper()
	b.must(b.Journal(b.Context(), w, ledger.Plan{Body: []byte("plan"), Hash: "h", FlowHash: "f1", Claims: claims, Intent: "c1"}))
}

func (b *bench) state(id int64, want ledger.State) ledger.Delivery {
	b.Helper()
	w, err := b.Delivery(b.Context(), id)
	b.must(err)
	if w.Delivery.State != want {
		b.Fatalf("delivery %d is %s, not %s", id, w.Delivery.State, want)
	}
	return w.Delivery
}

func (b *bench) isDue(lane int64, want bool) {
	b.Helper()
	if slices.Contains(b.due(), lane) != want {
		b.Fatalf("lane %d due: %t, want %t", lane, !want, want)
	}
}

// total checks that every delivery is counted once (invariant 1).
func (b *bench) total(want int) {
	b.Helper()
	counts, err := b.Counts(b.Context())
	b.must(err)
	n := int64(0)
	for _, c := range counts {
		n += c.N
	}
	if n != int64(want) {
		b.Fatalf("%d deliveries are counted, not %d: %s", n, want, fmt.Sprint(counts))
	}
}
