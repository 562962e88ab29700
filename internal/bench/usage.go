package bench

import (
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"
)

// watchPeak samples the resident memory until the returned function is called,
// which gives the largest, in MB.
func watchPeak() func() float64 { return watch(resident) }

// watch samples a figure every 10 ms until the returned function is called, which
// gives the largest.
func watch(figure func() float64) func() float64 {
	stop, done := make(chan struct{}), make(chan float64)
	go func() {
		peak := figure()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				done <- max(peak, figure())
				return
			case <-tick.C:
				peak = max(peak, figure())
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-done
	}
}

// inUse is the memory in MB that live and not yet collected objects of the heap take.
func inUse() float64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return float64(sample[0].Value.Uint64()) / (1 << 20)
}

// statm is opened once: to open it every 10 ms took a hundredth of a run.
var statm = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/statm") })

// resident is this process's resident memory in MB, from /proc.
func resident() float64 {
	f, err := statm()
	if err != nil {
		return 0
	}
	text := make([]byte, 128)
	n, _ := f.ReadAt(text, 0) // it ends before: io.EOF
	fields := strings.Fields(string(text[:n]))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize()) / (1 << 20)
}
