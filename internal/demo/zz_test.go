package demo

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

func seed() uint64 {
	n, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	return n
}

func TestZZ(t *testing.T) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	_ = log
	d, err := Start(context.Background(), Options{Only: []string{os.Getenv("ZZ")}, Registry: connectors.All(), Faults: true, Seed: seed(), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	if err := d.Feed(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	t.Log(d.Settle(t.Context(), time.Minute))
	w := d.Worlds[0]
	list, _ := w.Ledger.Deliveries(t.Context(), ledger.Filter{Limit: 1000, States: []ledger.State{ledger.Planning, ledger.Waiting, ledger.Received}})
	for _, x := range list {
		if x.Attempts > 8 {
			work, err := w.Ledger.Delivery(t.Context(), x.ID)
			if err != nil {
				t.Fatal(err)
			}
			p, err := w.Engine.Runner.Plan(t.Context(), work)
			b, _ := json.Marshal(p)
			t.Logf("%d %s attempts %d %s blocked %s/%s: plan %.600s, err %v", x.ID, x.Flow, x.Attempts, x.Doc, x.BlockedOn, x.BlockedBy, b, err)
			time.Sleep(300 * time.Millisecond)
			work, _ = w.Ledger.Delivery(t.Context(), x.ID)
			t.Logf("   then %d %s %s", work.Delivery.Attempts, work.Delivery.State, work.Delivery.Reason)
		}
	}
	rows, err := d.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, after, err := d.Answer(t.Context(), rows)
	t.Log(err, Balanced(after))
	if len(after) > 0 {
		p := after[0].People
		t.Logf("%+v", p)
	}
}
