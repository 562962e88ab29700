package control

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

// ledgerWith opens a ledger with one held delivery.
func ledgerWith(t *testing.T) (ledger.Ledger, int64) {
	t.Helper()
	l, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	a := ledger.Arrival{System: "commcare", Incoming: connector.Incoming{Kind: "form", Doc: "f1", Version: "v1", Content: []byte("{}")},
		Routes: []ledger.Route{{Flow: "i05/x", Each: "case-1", Lanes: []string{"person:commcare/case-1"}, Systems: []string{"openmrs"}}}}
	got, err := l.Accept(t.Context(), []ledger.Arrival{a}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := l.Start(t.Context(), got[0].Lanes[0], l.Now())
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	if _, err := l.End(t.Context(), w, ledger.End{State: ledger.Held, Code: "value", Cause: "a cause", Reason: "a reason"}, l.Now()); err != nil {
		t.Fatal(err)
	}
	return l, w.Delivery.ID
}

// A command sees and does the same, whether it opens the ledger or asks the
// running server.
func TestARunningServerAnswersAsTheLedgerWould(t *testing.T) {
	l, id := ledgerWith(t)
	var rung []int64
	local := Local{Ledger: l, Ring: func(lanes ...int64) { rung = append(rung, lanes...) }}
	dir, err := os.MkdirTemp("", "k") // a short path: sockets allow some 100 letters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if _, ok := Dial(dir); ok {
		t.Fatal("a server was found where none runs")
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, dir, local) }()
	remote, ok := Dial(dir)
	for range 1000 {
		if ok {
			break
		}
		time.Sleep(time.Millisecond)
		remote, ok = Dial(dir)
	}
	if !ok {
		t.Fatal("the server cannot be reached")
	}

	f := ledger.Filter{States: []ledger.State{ledger.Held}, Cause: "a cause"}
	want, err := local.Deliveries(t.Context(), f)
	if err != nil || len(want) != 1 {
		t.Fatal(want, err)
	}
	got, err := remote.Deliveries(t.Context(), f)
	if err != nil || cmp.Diff(want, got) != "" {
		t.Fatal(cmp.Diff(want, got), err)
	}
	shown, err := remote.Show(t.Context(), id)
	if err != nil || shown.Message.Doc != "f1" {
		t.Fatal(shown, err)
	}
	if _, err := remote.Counts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := remote.Retry(t.Context(), id, "amina", "mended"); err != nil || len(rung) != 1 {
		t.Fatal(err, rung)
	}
	if err := remote.Skip(t.Context(), id, "amina", ""); err != nil {
		t.Fatal(err)
	}
	if err := remote.Skip(t.Context(), id, "amina", ""); !errors.Is(err, ledger.ErrState) {
		t.Fatalf("skipping twice: %v", err)
	}
	if _, err := remote.Show(t.Context(), 999); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("no such delivery: %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if _, ok := Dial(dir); ok {
		t.Fatal("the server answers after it stopped")
	}
}
