package record

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func anyValue(t *rapid.T, name string) any {
	return rapid.SampledFrom([]any{nil, "", "a", "b", "c", true, false, 1.0, 2.5, Clear{}}).Draw(t, name)
}

// Invariant 7, merge laws.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, x := anyValue(t, "base"), anyValue(t, "other")
		rule := rapid.SampledFrom([]Rule{"", "commcare", "openmrs", Latest, Both, Ask}).Draw(t, "rule")
		s := Side{Base: &Agreed{Value: b}, OursOf: "commcare", TheirOf: "openmrs", Rule: rule}

		if got := MergeField(b, x, s); x != nil && !Same(b, x) && got != Write {
			t.Fatalf("m(b,b,o)=o: got %s for base %v ours %v", got, b, x)
		}
		if got := MergeField(x, b, s); got.Writes() {
			t.Fatalf("m(b,t,b)=t: got %s for base %v theirs %v", got, b, x)
		}
		if got := MergeField(x, x, s); got.Writes() {
			t.Fatalf("m(b,x,x)=x: got %s for %v", got, x)
		}
		if got := MergeField(x, nil, s); got.Writes() {
			t.Fatalf("no opinion wrote: %s", got)
		}
		if got := MergeField(Unreadable{}, x, s); got.Writes() {
			t.Fatalf("unreadable was overwritten: %s", got)
		}
	})
}

func TestMergeFieldDecidesByBaseThenRule(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 1, d, 0, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		theirs, ours any
		side         Side
		want         Outcome
	}{
		"no base, other side empty":           {nil, "x", Side{}, Write},
		"no base, difference, default":        {"y", "x", Side{}, Won},
		"no base, difference, target wins":    {"y", "x", Side{Rule: "openmrs", TheirOf: "openmrs"}, Lost},
		"no base, difference, named system":   {"y", "x", Side{Rule: "openmrs-a", Their: "openmrs-a"}, Lost},
		"both changed, ask":                   {"y", "x", Side{Base: &Agreed{Value: "b"}, Rule: Ask}, Question},
		"both changed, both kept":             {"y", "x", Side{Base: &Agreed{Value: "b"}, Rule: Both}, Beside},
		"latest, target changed later":        {"y", "x", Side{Base: &Agreed{Value: "b"}, Rule: Latest, Event: day(1), Changed: day(2)}, Lost},
		"latest, ours later":                  {"y", "x", Side{Base: &Agreed{Value: "b"}, Rule: Latest, Event: day(3), Changed: day(2)}, Won},
		"older message leaves newer field":    {"b", "x", Side{Base: &Agreed{Value: "b", At: day(5)}, Event: day(1)}, Older},
		"same time, received earlier":         {"b", "x", Side{Base: &Agreed{Value: "b", At: day(5), Seq: 9}, Event: day(5), Seq: 3}, Older},
		"same time, received later":           {"b", "x", Side{Base: &Agreed{Value: "b", At: day(5), Seq: 3}, Event: day(5), Seq: 9}, Write},
		"clear empties what is there":         {"b", Clear{}, Side{Base: &Agreed{Value: "b"}}, Write},
		"clear of nothing is equal":           {nil, Clear{}, Side{}, Equal},
		"unknown rule asks rather than risks": {"y", "x", Side{Rule: "furthest steps"}, Question},
	} {
		if got := MergeField(c.theirs, c.ours, c.side); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestFieldsSurviveJSON(t *testing.T) {
	in := Fields{"a": "x", "b": true, "c": 2.5, "d": Clear{}, "e": Later{"patient.idgen", "identifier"}, "f": Unreadable{}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Fields
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, out); d != "" {
		t.Fatal(d)
	}
}

func TestWithinOneSecondWhatWasReceivedLaterIsNewer(t *testing.T) {
	form := time.Date(2026, 11, 22, 8, 15, 0, 400_000_000, time.UTC)
	base := &Agreed{Value: "sent", At: form, Seq: 7}
	back := Side{Base: base, Event: form.Truncate(time.Second), Seq: 9}
	if got := MergeField("sent", "stored", back); got != Write {
		t.Errorf("the answer, in whole seconds, is %s", got)
	}
	back.Seq = 3
	if got := MergeField("sent", "stored", back); got != Older {
		t.Errorf("received before, in the same second, is %s", got)
	}
}
