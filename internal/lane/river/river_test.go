package river

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/lane/lanetest"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func TestContract(t *testing.T) {
	urls := map[*testing.T]string{}
	lanetest.Run(t, 2, func(t *testing.T, c lanetest.Config) lanetest.Dispatcher {
		t.Helper()
		if urls[t] == "" {
			urls[t] = postgrestest.URL(t)
		}
		d, err := New(t.Context(), c.Ledger, c.Run, Options{Options: c.Options, Database: urls[t]})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}
