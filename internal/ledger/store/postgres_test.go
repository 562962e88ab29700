package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	goflag "flag"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/ledgertest"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// openPostgres opens the ledger of a folder: its schema goes by the folder.
func openPostgres(t testing.TB, dir string, c ledgertest.Config) ledger.Ledger {
	t.Helper()
	name := sha256.Sum256([]byte(dir))
	s, err := OpenPostgres(context.Background(), postgrestest.Shared(t).URL("t"+hex.EncodeToString(name[:8])), dir,
		Options{Ring: testRing, Clock: c.Clock, Fault: c.Fault, Gather: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContractOnPostgres(t *testing.T) { ledgertest.Run(t, openPostgres) }

// TestModelOnPostgres makes fewer runs than on SQLite, unless it is told how
// many: each makes its tables first.
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
		name := sha256.Sum256([]byte(dir))
		s, err := OpenPostgres(context.Background(), postgrestest.Shared(t).URL("t"+hex.EncodeToString(name[:8])), filepath.Join(dir, strconv.Itoa(node)),
			Options{Ring: testRing, Clock: c.Clock, Fault: c.Fault, Lease: ledgertest.TestLease})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
