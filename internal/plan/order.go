package plan

import (
	"fmt"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Order sorts calls so that references come first and calls that cannot be
// undone come as late as the references allow; otherwise the given order
// stays. Calls of one record keep their order. needs maps a record to the
// records that it refers to.
func Order(calls []call.Call, needs map[string][]string) ([]call.Call, error) {
	left := make([]int, len(calls)) // indexes not yet placed, in given order
	for i := range calls {
		left[i] = i
	}
	open := map[string]int{} // calls of a record not yet placed
	for _, c := range calls {
		open[c.Record]++
	}
	ready := func(i int) bool {
		c := calls[i]
		for _, j := range left {
			if j == i {
				break
			}
			if calls[j].Record == c.Record {
				return false // an earlier call of the same record waits
			}
		}
		for _, r := range needs[c.Record] {
			if r != c.Record && open[r] > 0 {
				return false
			}
		}
		return true
	}
	out := make([]call.Call, 0, len(calls))
	for len(left) > 0 {
		pick := -1
		for pos, i := range left {
			if ready(i) && (pick < 0 || lateness(calls[i]) < lateness(calls[left[pick]])) {
				pick = pos
			}
		}
		if pick < 0 {
			return nil, fmt.Errorf("the records %q refer to each other in a loop", calls[left[0]].Record)
		}
		i := left[pick]
		left = append(left[:pick], left[pick+1:]...)
		open[calls[i].Record]--
		out = append(out, calls[i])
	}
	return out, nil
}

// lateness ranks calls: what can be undone, what leaves something harmless
// behind, what is final.
func lateness(c call.Call) int {
	switch c.Reversal {
	case call.Final:
		return 2
	case call.Leftover:
		return 1
	}
	return 0
}
