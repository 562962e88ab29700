package plan

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/call"
)

func TestWhatCannotBeUndoneComesAsLateAsReferencesAllow(t *testing.T) {
	calls := []call.Call{
		{Name: "sms", Record: "sms", Reversal: call.Final},
		{Name: "patient.draw", Record: "patient", Reversal: call.Leftover},
		{Name: "patient.create", Record: "patient", Reversal: call.Exact},
		{Name: "visit.create", Record: "visit", Reversal: call.Exact},
		{Name: "copy.update", Record: "copy", Reversal: call.Exact},
	}
	got, err := Order(calls, map[string][]string{"visit": {"patient"}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got {
		names = append(names, c.Name)
	}
	want := []string{"copy.update", "patient.draw", "patient.create", "visit.create", "sms"}
	if !slices.Equal(names, want) {
		t.Fatalf("order %v, want %v", names, want)
	}
}

func TestOrderKeepsReferencesAndTheOrderWithinARecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "records")
		needs := map[string][]string{}
		var calls []call.Call
		for i := range n {
			name := fmt.Sprintf("r%d", i)
			for j := range i {
				if rapid.Bool().Draw(t, "needs") {
					needs[name] = append(needs[name], fmt.Sprintf("r%d", j))
				}
			}
			for k := range rapid.IntRange(1, 3).Draw(t, "calls") {
				calls = append(calls, call.Call{Name: fmt.Sprintf("%s.%d", name, k), Record: name,
					Reversal: rapid.SampledFrom([]call.Reversal{call.Exact, call.Final, call.Leftover}).Draw(t, "reversal")})
			}
		}
		got, err := Order(slices.Clone(calls), needs)
		if err != nil || len(got) != len(calls) {
			t.Fatalf("%d of %d calls, %v", len(got), len(calls), err)
		}
		at := map[string]int{}
		for i, c := range got {
			at[c.Name] = i
		}
		for _, c := range calls {
			for _, d := range calls {
				before := d.Record == c.Record && d.Name < c.Name || slices.Contains(needs[c.Record], d.Record)
				if before && at[d.Name] > at[c.Name] {
					t.Fatalf("%s came before %s", c.Name, d.Name)
				}
			}
		}
	})
}

func TestALoopOfReferencesIsAnError(t *testing.T) {
	_, err := Order([]call.Call{{Name: "a", Record: "a"}, {Name: "b", Record: "b"}}, map[string][]string{"a": {"b"}, "b": {"a"}})
	if err == nil {
		t.Fatal("a loop was ordered")
	}
}

// Derived ids must never change: an upgrade that changed them would make every
// record a second time.
func TestDerivedIDsNeverChange(t *testing.T) {
	if got, want := DerivedID("commcare", "form-1", "i05/visit-to-openmrs", "case-1", "visit", 0), "a21c8308-bef3-5475-92f7-fc8629347468"; got != want {
		t.Errorf("DerivedID gives %s, want %s", got, want)
	}
	if DerivedID("a", "b", "c", "d", "e", 0) == DerivedID("a", "b", "c", "d", "e", 1) {
		t.Error("generations share an id")
	}
	if DerivedID("a", "b", "", "c", "e", 0) == DerivedID("a", "b", "c", "", "e", 0) {
		t.Error("parts run into each other")
	}
}
