//go:build unix

// Package chaos is the fault suite: whole Kiungos in processes of their own,
// against stateful simulators in this one, which survives. They are killed at
// random and at every commit, paused, cut off, given wrong clocks and bad disks,
// and targets that hang, lie and go down. After every round the books are
// balanced: what was acknowledged against what the systems hold and what the
// ledger and the record of requests say.
//
// go test runs a short form; make chaos the whole, which writes its results into
// docs/reliability.md.
package chaos

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

var (
	flagSeed  = flag.Uint64("chaos.seed", 0, "seed of the first round; 0: by the clock")
	flagTime  = flag.Duration("chaos.time", 0, "how long all trials together go on; 0: one small round each")
	flagOnly  = flag.String("chaos.only", "", "run trials whose name matches this expression")
	flagTable = flag.String("chaos.table", "", "file whose table between the markers is written after a whole run")
)

func TestMain(m *testing.M) {
	if text := os.Getenv(ordersEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	postgrestest.Main(m)
}

// whole tells whether this is the long form.
func whole() bool { return *flagTime > 0 }

// TestChaos runs the trials one after the other.
func TestChaos(t *testing.T) {
	seed := *flagSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano() / 1000)
	}
	only, err := regexp.Compile(*flagOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: run again with -chaos.seed=%d", seed, seed)
	var chosen []trial
	weights := 0
	for _, x := range trials {
		if only.MatchString(x.name) {
			chosen = append(chosen, x)
			weights += x.weight
		}
	}
	results := &results{seed: seed, began: time.Now()}
	t.Cleanup(func() { results.end(t, len(chosen) == len(trials)) })
	left := *flagTime
	for _, x := range chosen {
		began := time.Now()
		share := left * time.Duration(x.weight) / time.Duration(max(weights, 1))
		t.Run(x.name, func(t *testing.T) { results.add(x.run(t, seed, share)) })
		// What a trial leaves of its share goes to those that follow.
		left -= time.Since(began)
		weights -= x.weight
	}
}
