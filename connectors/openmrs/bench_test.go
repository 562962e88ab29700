package openmrs

import (
	"context"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// canned answers each path with the bytes that a simulator gave once.
type canned map[string]call.Answer

func (c canned) Do(_ context.Context, _ string, r call.Request) (call.Answer, error) {
	return c[r.Path], nil
}

// taping keeps what a rig was answered.
type taping struct {
	*rig
	tape canned
}

func (t taping) Do(ctx context.Context, about string, r call.Request) (call.Answer, error) {
	a, err := t.rig.Do(ctx, about, r)
	t.tape[r.Path] = a
	return a, err
}

// BenchmarkPlanVisit is our own work for one visit form with metadata known: the
// patient is found by an identifier and her telephone number differs, her visit
// and encounter are new, and all answers are read.
func BenchmarkPlanVisit(b *testing.B) {
	r := newRig(b, "", people)
	tape := canned{}
	answers := map[string]call.Answer{}
	deliver := func(do call.Doer, answer func(call.Call) call.Answer) int {
		n := 0
		ref := record.Ref{Kind: "openmrs/Patient", Record: "patient", ID: jane}
		encounter := encounterWanted()
		encounter["patient"], encounter["visit"] = ref, record.Ref{Kind: "openmrs/Visit", Record: "visit", ID: newVisit, New: true}
		for _, rec := range []struct {
			kind, id string
			by       []map[string]any
			wanted   map[string]any
		}{
			{"Patient", newPatient, []map[string]any{{"identifier": map[string]any{"OpenMRS ID": "100DWN"}}},
				map[string]any{"name": map[string]any{"given": "Jane", "family": "Test"}, "gender": "F", "birthdate": "1988-05-17",
					"attributes": map[string]any{"Telephone Number": "+254700999888"}}},
			{"Visit", newVisit, []map[string]any{{"patient": ref, "openAt": "2024-06-03T09:20:00+03:00"}}, visitWanted()},
			{"Encounter", newEncounter, []map[string]any{{"patient": ref}}, encounter},
		} {
			k := r.sys.Kind(rec.kind)
			want, problems, err := k.Canon(b.Context(), do, rec.wanted)
			if err != nil || len(problems) > 0 {
				b.Fatal(err, problems)
			}
			found, err := k.Find(b.Context(), do, connector.Query{ID: rec.id, By: rec.by, Wanted: want})
			if err != nil {
				b.Fatal(err)
			}
			c := connector.Change{Record: rec.kind, ID: rec.id, Write: want, Wanted: want, Reason: "kiungo delivery 7"}
			if found.Exists {
				c.ID, c.Found, c.Write = found.ID, &found, record.Fields{}
				for path, v := range want {
					if !record.Same(found.Fields[path], v) {
						c.Write[path] = v
					}
				}
			}
			calls, err := k.Calls(b.Context(), do, c)
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range calls {
				n++
				if o, err := k.Observe(*c.Check, answer(c)); err != nil || !o.Exists {
					b.Fatal(c.Name, o, err)
				}
			}
		}
		return n
	}
	deliver(taping{r, tape}, func(c call.Call) call.Answer {
		a, err := r.do(b.Context(), c.About, r.bound(c.Request))
		if err != nil {
			b.Fatal(err)
		}
		answers[c.Name] = a
		return a
	})
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if n := deliver(tape, func(c call.Call) call.Answer { return answers[c.Name] }); n != 3 {
			b.Fatal(n, "calls")
		}
	}
}
