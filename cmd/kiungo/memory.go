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
	// memoryAim is what Go's part of the memory may come to, stacks and what is not
	// yet given back included, before garbage is collected earlier than that: many
	// deliveries at a time have large stacks.
	memoryAim = 96 << 20
	// beside is how much memory there may be beside twice what is in use, if that
	// is more: a limit near what is in use would collect without end.
	beside = 48 << 20
	// aimed is how often that is worked out anew.
	aimed = time.Second
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
	debug.SetMemoryLimit(memoryAim)
	go func() {
		now, most := mostGrowth, int64(memoryAim)
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		for range time.Tick(aimed) {
			metrics.Read(sample)
			live := sample[0].Value.Uint64()
			if next := growth(live); next != now {
				debug.SetGCPercent(next)
				now = next
			}
			if next := limit(live); next != most {
				debug.SetMemoryLimit(next)
				most = next
			}
		}
	}()
}

// limit is what Go's part of the memory may come to, with so much in use.
func limit(live uint64) int64 {
	return max(memoryAim, int64(2*live)+beside)
}

// growth is by how many percent of what is in use the heap may grow.
func growth(live uint64) int {
	if live == 0 {
		return mostGrowth
	}
	p := (float64(heapAim)/float64(live) - 1) * 100
	return int(min(max(p, leastGrowth), mostGrowth)) / 25 * 25
}
