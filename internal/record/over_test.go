package record

import "testing"

// TestWhatStoodInARecordIsKnownAgain: values that were agreed or written over
// are known when a restored system says them again; what is agreed now, nothing,
// and what cannot be read are not.
func TestWhatStoodInARecordIsKnownAgain(t *testing.T) {
	a := Agreed{Value: "A"}.Covers(nil, "")
	b := Agreed{Value: "B"}.Covers(&a, "clerk's")
	c := Agreed{Value: "C"}.Covers(&b, "B")
	for v, want := range map[any]bool{"A": true, "B": true, "clerk's": true, "C": false, "D": false, "": false} {
		if c.Stood(v) != want {
			t.Errorf("%v stood there: %v", v, !want)
		}
	}
	if c.Stood(nil) || a.Stood("A") || len(Agreed{Value: "A"}.Covers(&a, Unreadable{}).Over) > 0 {
		t.Error("what never stood there is known")
	}
	if back := (Agreed{Value: "A"}).Covers(&c, "C"); back.Stood("A") || !back.Stood("C") {
		t.Errorf("what is agreed again is no former value: %v", back.Over)
	}
	for n := range 3 * most {
		c = Agreed{Value: float64(n)}.Covers(&c, nil)
	}
	if len(c.Over) != most || !c.Stood(float64(3*most-2)) {
		t.Errorf("%d values are remembered: %v", len(c.Over), c.Over)
	}
}
