package sim

import (
	"fmt"
	"testing"
)

func BenchmarkPostEvent(b *testing.B) {
	s := january(b, `"programs":30`)
	s.traffic.Keep = -1
	n := 0
	for b.Loop() {
		n++
		body := fever(fmt.Sprintf("E%010d", n), "")
		if w := ask(b, s, "POST", tracker, body); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
