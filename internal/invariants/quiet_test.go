package invariants

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestConvergence: what was said before changes nothing: a form that comes
// again, by the same ledger or by a fresh one, sends no changing request.
func TestConvergence(t *testing.T) {
	bubble(t, func(w *world) {
		w.start()
		for _, f := range few() {
			w.run(f)
		}
		want, calls := w.state(), w.allChanges()
		n := len(w.deliveries())
		newest := slices.Delete(few(), 2, 3) // the visit that was edited later
		for range 2 {
			w.forward(newest...)
			slices.Reverse(newest)
		}
		if len(w.deliveries()) != n {
			t.Errorf("%d deliveries, %d before the forms came again", len(w.deliveries()), n)
		}
		w.same("forms come again", want, w.state())
		if got := w.allChanges(); got != calls {
			t.Errorf("%d changing requests for forms that came again", got-calls)
		}

		// What Kiungo itself wrote comes back as changed cases.
		for _, p := range []person{somebody(1, "a"), somebody(2, "b")} {
			body := w.caseOf(p)
			if !w.push(body) {
				t.Fatal("a case was not taken")
			}
			w.settle()
		}
		w.check(append(few(), form{ID: somebody(1, "a").CaseID()}, form{ID: somebody(2, "b").CaseID()}))
		if got := w.allChanges(); got != calls {
			t.Errorf("%d changing requests for the echo of what Kiungo wrote", got-calls)
		}

		// Another Kiungo, which knows nothing, finds everything as it should be. It
		// is not told of the first registration: what that says is no more so.
		w.stop()
		w.must(os.RemoveAll(filepath.Join(w.dir, "ledger")))
		w.witness.forget()
		w.start()
		w.forward(newest[1:]...)
		w.check(newest[1:])
		w.same("a fresh ledger", want, w.state())
		if got := w.allChanges(); got != calls {
			t.Errorf("%d changing requests by a fresh ledger", got-calls)
		}
	})
}

// caseOf is a case as CommCare forwards it.
func (w *world) caseOf(p person) []byte {
	w.t.Helper()
	f := p.Known()
	props := f["properties"].(map[string]any)
	props["case_name"], props["case_type"], props["owner_id"], props["date_opened"] = f["case_name"], "patient", f["owner_id"], day(1).Format(iso)
	state := w.state()[serverA] + w.state()[serverB]
	at := strings.Index(w.state()[source], p.CaseID())
	external := after(w.state()[source][at:], `"external_id": "`)
	if external == "" || !strings.Contains(state, external) {
		w.t.Fatalf("the case has no external id of a patient: %q", external)
	}
	props["external_id"] = external
	if strings.Contains(w.state()[source], "+254711900777") && p.N == 1 {
		props["phone"] = "+254711900777"
	}
	if p.N == 2 {
		props["sex"] = "m"
	}
	return asJSON(map[string]any{"domain": "demo", "case_id": p.CaseID(), "user_id": f["owner_id"], "closed": false, "date_closed": nil,
		"date_modified": day(5).Format(iso), "server_date_modified": day(5).Format(iso), "server_date_opened": day(1).Format(iso),
		"version": "2.0", "indices": map[string]any{}, "xform_ids": []any{}, "properties": props})
}

// after gives what follows a text up to the next quote.
func after(s, text string) string {
	_, rest, _ := strings.Cut(s, text)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// TestNewestWins sends corrections of one person in any order, some twice and
// one by one or all at once: the newest by event decides each field.
func TestNewestWins(t *testing.T) {
	checks(t, 25, func(rt *rapid.T) func(w *world) {
		type correction struct {
			day     int
			phone   int
			village int // 0: not asked
		}
		n := rapid.IntRange(2, 5).Draw(rt, "corrections")
		days := rapid.Permutation([]int{1, 2, 3, 4, 5, 6}[:n]).Draw(rt, "order of arrival")
		var list []correction
		for i, d := range days {
			list = append(list, correction{d, rapid.IntRange(1, 3).Draw(rt, fmt.Sprint("phone", i)), rapid.IntRange(1, 3).Draw(rt, fmt.Sprint("village", i))})
		}
		again := rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(rt, "again")
		burst := rapid.Bool().Draw(rt, "all at once")
		return func(w *world) {
			p := somebody(1, "a")
			w.must(w.sims[source].Seed(asJSON(map[string]any{"cases": []any{p.Known()}})))
			w.start()
			var newest correction
			for i := range len(list) + len(again) {
				k := i
				if i >= len(list) {
					k = again[i-len(list)]
				}
				c := list[k]
				if c.day > newest.day {
					newest = c
				}
				x := p
				x.Phone = fmt.Sprintf("+25471190080%d", c.phone)
				f := x.Register(day(c.day))
				f.Doc["case"].(map[string]any)["update"].(map[string]any)["village"] = fmt.Sprintf("Village %d", c.village)
				w.push(f.Body())
				if !burst {
					w.settle()
				}
			}
			w.settle()
			w.allDone(len(list))
			s := w.state()[serverA]
			for _, want := range []string{fmt.Sprintf("+25471190080%d", newest.phone), fmt.Sprintf("Village %d", newest.village)} {
				if !strings.Contains(s, `"`+want+`"`) {
					w.t.Errorf("arrival %v: the patient does not have %s of the newest form:\n%s", list, want, s)
				}
			}
		}
	})
}
