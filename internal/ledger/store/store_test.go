package store

import (
	"context"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/ledgertest"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// testRing is one keyring for all stores of a test run.
var testRing = seal.Temporary()

func openTest(t testing.TB, dir string, c ledgertest.Config) ledger.Ledger {
	t.Helper()
	s, err := OpenSQLite(context.Background(), dir, Options{Ring: testRing, Clock: c.Clock, Fault: c.Fault, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContractOnSQLite(t *testing.T) { ledgertest.Run(t, openTest) }

func TestModelOnSQLite(t *testing.T) { ledgertest.RunModel(t, openTest) }
