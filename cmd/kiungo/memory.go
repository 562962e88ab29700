package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// heapAim is how large the heap may grow before garbage is collected, while
	// little of it is in use.
	heapAim = 72 << 20
	// The collector runs when the heap has grown by so much of what is in use.
	mostGrowth, leastGrowth = 400, 100
	// aimed is how often that is worked out anew.
	aimed = 2 * time.Second
)

// collectRarely lets garbage grow to heapAim before it is collected: with the
// few MB that Kiungo keeps, Go's own rule (twice what is in use) would collect
// many times a second. Measured with kiungo bench: a tenth of the CPU. What
// GOGC or GOMEMLIMIT say is left alone.
func collectRarely() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(mostGrowth)
	go func() {
		now := mostGrowth
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		for range time.Tick(aimed) {
			metrics.Read(live)
			if next := growth(live[0].Value.Uint64()); next != now {
				debug.SetGCPercent(next)
				now = next
			}
		}
	}()
}

// growth is by how many percent of what is in use the heap may grow.
func growth(live uint64) int {
	if live == 0 {
		return mostGrowth
	}
	p := (float64(heapAim)/float64(live) - 1) * 100
	return int(min(max(p, leastGrowth), mostGrowth)) / 25 * 25
}
