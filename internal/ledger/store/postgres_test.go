package store

import (
	"context"
	goflag "flag"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/ledgertest"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// openPostgres opens the ledger of a folder.
func openPostgres(t testing.TB, dir string, c ledgertest.Config) ledger.Ledger {
	t.Helper()
	s, err := OpenPostgres(context.Background(), folderSchema(t, dir), dir,
		Options{Ring: testRing, Clock: c.Clock, Fault: c.Fault, Gather: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContractOnPostgres(t *testing.T) { ledgertest.Run(t, openPostgres) }

// TestModelOnPostgres makes fewer runs than on SQLite, unless it is told how
// many: each opens its connections first.
func TestModelOnPostgres(t *testing.T) {
	const checks = "rapid.checks"
	if f := goflag.Lookup(checks); f != nil && f.Value.String() == f.DefValue {
		if err := goflag.Set(checks, "25"); err != nil {
			t.Fatal(err)
		}
		defer goflag.Set(checks, f.DefValue)
	}
	ledgertest.RunModel(t, openPostgres)
}

func TestNodesOnPostgres(t *testing.T) {
	ledgertest.RunNodes(t, func(t testing.TB, dir string, node int, c ledgertest.Config) ledgertest.Node {
		t.Helper()
		s, err := OpenPostgres(context.Background(), folderSchema(t, dir), filepath.Join(dir, strconv.Itoa(node)),
			Options{Ring: testRing, Clock: c.Clock, Fault: c.Fault, Lease: ledgertest.TestLease})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
