package main

import "testing"

// TestTheHeapMayGrowToAFixedSizeOrTwiceWhatIsInUse: garbage is left alone while
// little is in use, and collecting never goes on without end when much is.
func TestTheHeapMayGrowToAFixedSizeOrTwiceWhatIsInUse(t *testing.T) {
	const mb = 1 << 20
	for _, x := range []struct {
		live   uint64
		growth int   // percent
		limit  int64 // MB
	}{
		{0, 400, 96},
		{10 * mb, 400, 96},
		{18 * mb, 300, 96},
		{24 * mb, 200, 96},
		{36 * mb, 100, 120},
		{250 * mb, 100, 548},
	} {
		if got := growth(x.live); got != x.growth {
			t.Errorf("%d MB in use may grow by %d %%, not %d", x.live/mb, got, x.growth)
		}
		if got := limit(x.live) / mb; got != x.limit {
			t.Errorf("with %d MB in use the limit is %d MB, not %d", x.live/mb, got, x.limit)
		}
	}
}
