package lane_test

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/lane/lanetest"
)

func TestContractInProcess(t *testing.T) {
	lanetest.Run(t, 1, func(_ *testing.T, c lanetest.Config) lanetest.Dispatcher {
		return lane.New(c.Ledger, c.Run, c.Options)
	})
}
