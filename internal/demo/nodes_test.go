package demo

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// nodeEnv makes this test program a node of the demo.
const nodeEnv = "KIUNGO_TEST_DEMO_NODE"

func TestMain(m *testing.M) {
	if os.Getenv(nodeEnv) == "" {
		postgrestest.Main(m)
		return
	}
	number, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = RunNode(context.Background(), connectors.All(), slog.New(slog.DiscardHandler), os.Args[1], number, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A node is killed with SIGKILL in the middle of its work: the other takes its
// lanes over, it is started again, and every message is accounted for.
func TestANodeThatIsKilledIsTakenOver(t *testing.T) {
	t.Setenv(nodeEnv, "yes")
	var said []string
	d, err := Start(t.Context(), Options{Registry: connectors.All(), Only: []string{"i05"}, Messages: 40, Rate: 60, Faults: true, Seed: 2,
		Nodes: 2, Database: postgrestest.Shared(t).Database(), Lease: time.Second, Child: []string{os.Args[0]},
		Say: func(text string) { said = append(said, text) }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	if err := d.Feed(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	k := d.Killed
	if k == nil || k.Lanes == 0 || !k.Restored || k.Freed <= 0 || k.Ended < k.Freed {
		t.Errorf("%+v", k)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, "SIGKILL") || !strings.Contains(all, "started again") {
		t.Errorf("it said %q", all)
	}
	rows, err := d.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if rows[0].Messages == 0 || rows[0].Done == 0 {
		t.Errorf("%+v", rows[0])
	}
	if err := Balanced(rows); err != nil {
		t.Error(err)
	}
	if n, err := d.Worlds[0].Ledger.(crowd).Nodes(t.Context()); err != nil || len(n) < 3 {
		t.Errorf("two nodes and the demo itself are to be there: %+v, %v", n, err)
	}
}

func TestOneNodeIsNoDemoOfSeveral(t *testing.T) {
	if _, err := Start(t.Context(), Options{Registry: connectors.All(), Nodes: 1}); err == nil {
		t.Error("a demo of one node was started")
	}
	_, err := Start(t.Context(), Options{Registry: connectors.All(), Only: []string{"i05"}, Nodes: 2, Database: "mysql://x"})
	if err == nil || !strings.Contains(err.Error(), "postgres://") {
		t.Error(err)
	}
}
