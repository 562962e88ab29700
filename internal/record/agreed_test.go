package record

import (
	"testing"
	"time"
)

// TestAMessageThatDidNotKnowIsNoAnswer: what a system said before Kiungo told it
// of the agreed value is no change of that value: it is no change at all where
// it is what stood there, and a change on both sides where it is not.
func TestAMessageThatDidNotKnowIsNoAnswer(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 8, minute, 0, 0, time.UTC) }
	// The clerk changed m to f at 8:34, then to u at 8:50; CommCare was told at 9:00
	// and at 9:10.
	first := Agreed{Value: "m", At: at(0), By: "commcare"}
	second := Agreed{Value: "f", At: at(34), By: "openmrs-a", Before: []Before{{Value: "m"}}}.Follows(&first, at(60))
	third := Agreed{Value: "u", At: at(50), By: "openmrs-a", Before: []Before{{Value: "f"}}}.Follows(&second, at(70))
	for name, c := range map[string]struct {
		base   Agreed
		theirs any
		ours   any
		event  int
		rule   Rule
		live   bool
		want   Outcome
	}{
		"stale, what stood there":                      {second, "f", "m", 39, "commcare", false, Keep},
		"stale, what stood there before two changes":   {third, "u", "m", 55, "commcare", false, Keep},
		"stale, what stood there between two changes":  {third, "u", "f", 65, "commcare", false, Keep},
		"stale, and the target changed again":          {second, "x", "m", 39, "commcare", false, Keep},
		"back to it after it was told":                 {second, "f", "m", 61, "commcare", false, Write},
		"a change of its own before it was told, wins": {second, "f", "x", 39, "commcare", false, Won},
		"a change of its own before it was told, lost": {second, "f", "x", 39, "openmrs", false, Lost},
		"a change of its own before it was told, ask":  {second, "f", "x", 39, Ask, false, Question},
		"said before the other side changed":           {second, "f", "x", 20, "commcare", false, Older},
		"old, and what a clerk happens to have set":    {second, "x", "x", 20, "commcare", false, Older},
		"old, and what was agreed":                     {second, "f", "f", 20, "commcare", false, Equal},
		"read just now":                                {second, "f", "m", 39, "commcare", true, Write},
		"its own agreement":                            {first, "m", "x", 10, "openmrs", false, Write},
	} {
		s := Side{Base: &c.base, Ours: "commcare", OursOf: "commcare", Their: "openmrs-a", TheirOf: "openmrs", Event: at(c.event), Rule: c.rule, Live: c.live}
		if got := MergeField(c.theirs, c.ours, s); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// TestWhatStoodBeforeIsRememberedInOrderAndBounded: what was only found equal
// adds nothing, and what both sides called differently is remembered as both.
func TestWhatStoodBeforeIsRememberedInOrderAndBounded(t *testing.T) {
	at := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	a := Agreed{Value: "M"}
	equal := Agreed{Value: "F"}.Follows(&a, at)
	if len(equal.Before) != 0 {
		t.Errorf("found equal, and yet %v was written over", equal.Before)
	}
	coded := Agreed{Value: "F", Before: []Before{{Value: "m"}}}.Follows(&a, at)
	if len(coded.Before) != 2 || coded.Before[0].Value != "M" || coded.Before[1].Value != "m" || !coded.Before[1].Told.Equal(at) {
		t.Errorf("remembered %v, want M and m", coded.Before)
	}
	if kept := (Agreed{Value: "F"}).Follows(&coded, at.Add(time.Hour)); len(kept.Before) != 2 || !kept.Before[1].Told.Equal(at) {
		t.Errorf("an agreement that was only confirmed remembers %v", kept.Before)
	}
	for n := range 3 * most {
		next := Agreed{Value: float64(n), Before: []Before{{Value: a.Value}}}
		a = next.Follows(&a, at.Add(time.Duration(n)*time.Minute))
	}
	if len(a.Before) != most || a.Before[most-1].Value != float64(3*most-2) {
		t.Errorf("%d values are remembered, the last %v", len(a.Before), a.Before[len(a.Before)-1])
	}
}
