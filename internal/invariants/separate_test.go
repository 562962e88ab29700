package invariants

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// both registers two people of two clinics in one form.
func both(p, q person) form {
	f := p.Register(day(1))
	one := f.Doc["case"]
	other := q.Register(day(1)).Doc["case"]
	f = f.With(map[string]any{"people": []any{map[string]any{"case": one}, map[string]any{"case": other}}})
	delete(f.Doc, "case")
	return f
}

// TestSeparate sends a form about two people of two clinics: each server sees
// its own only, and one that fails does not repeat the other.
func TestSeparate(t *testing.T) {
	for _, kind := range []simulate.Kind{"", simulate.Refuse, simulate.LostResponse, simulate.Unauthorised, simulate.Error500} {
		t.Run(string("fault "+kind), func(t *testing.T) {
			t.Parallel()
			bubbleOf(t, "testdata/twofold", func(w *world) {
				p, q := somebody(1, "a"), somebody(2, "b")
				f := both(p, q)
				w.submit(f)
				if kind != "" {
					w.sims[serverB].Traffic().Switch(simulate.Fault{Kind: kind, Match: "POST /ws/rest/v1/patient", Call: 1})
				}
				w.start()
				w.forward(f)
				states := map[string]ledger.State{}
				for _, d := range w.deliveries() {
					states[d.Each] = d.State
				}
				if len(states) != 2 || states[p.CaseID()] != ledger.Done {
					t.Errorf("deliveries are %v", states)
				}
				if held := kind == simulate.Refuse; held != (states[q.CaseID()] == ledger.Held) {
					t.Errorf("deliveries are %v", states)
				}
				before := len(w.changes(serverA))
				w.calm()
				time.Sleep(30 * time.Minute) // a wrong password is probed rarely
				w.retryHeld()
				w.allDone(2)
				if n := len(w.changes(serverA)); n != before || n != 2 {
					t.Errorf("%s got %d calls, %d before the other was retried, want 2", serverA, n, before)
				}
				w.mustContain(serverA, p)
				w.mustContain(serverB, q)
				w.keepsApart(map[string][]person{serverA: {p}, serverB: {q}})
			})
		})
	}
}

func (w *world) mustContain(server string, p person) {
	w.t.Helper()
	s := w.state()[server]
	for _, m := range []string{p.Given, p.Family, p.Phone, p.NationalID()} {
		if strings.Count(s, m) != 1 {
			w.t.Errorf("%s has %q %d times, want once", server, m, strings.Count(s, m))
		}
	}
}

// keepsApart checks that no request to a server, read or write, names a person
// of another one.
func (w *world) keepsApart(served map[string][]person) {
	w.t.Helper()
	for server := range served {
		for other, people := range served {
			if other == server {
				continue
			}
			for _, r := range w.sims[server].Traffic().Requests() {
				for _, p := range people {
					for _, m := range p.Markers() {
						if strings.Contains(r.Path, m) || strings.Contains(r.Body, m) {
							w.t.Errorf("%s got %s %s, which names %q of %s", server, r.Method, r.Path, m, other)
						}
					}
				}
			}
		}
	}
}

// TestSealedSeparate runs a workload with all that makes texts (refusals, odd
// codes, lost answers, bad values, a panic), and looks for the people's names
// and numbers where they must not be.
func TestSealedSeparate(t *testing.T) {
	bubble(t, func(w *world) {
		var forms []form
		served := map[string][]person{}
		var everybody []person
		for n := range 8 {
			clinic, server := "a", serverA
			if n%2 == 1 {
				clinic, server = "b", serverB
			}
			p := somebody(n+1, clinic)
			everybody = append(everybody, p)
			served[server] = append(served[server], p)
			visit := p.Visit(day(2), "50").With(map[string]any{"notes": "asks after " + p.Given})
			switch n {
			case 1:
				visit = visit.With(map[string]any{"malaria_test": "borrowed"}) // a code that nobody mapped
			case 2:
				visit = visit.With(map[string]any{"vitals": map[string]any{"weight": p.Family, "temperature": "", "height": ""}})
			case 3:
				p.Sex = "other"
			case 4:
				p.Phone = p.Phone + "-" + p.Given
			}
			forms = append(forms, p.Register(day(1)), visit, visit.Edited("51"))
		}
		t := w.sims[serverA].Traffic()
		t.Switch(simulate.Fault{Kind: simulate.Refuse, Match: "POST /ws/rest/v1/encounter", Call: 1})
		t.Switch(simulate.Fault{Kind: simulate.LostResponse, Match: "POST /ws/rest/v1/visit", Call: 1})
		t.Switch(simulate.Fault{Kind: simulate.Error500, Match: "POST /ws/rest/v1/patient", Call: 2})
		w.sims[source].Traffic().Switch(simulate.Fault{Kind: simulate.Refuse, Call: 1})
		panicked := false
		w.outside = func(host string, r *http.Request) {
			if host == serverB && !panicked && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/visit") {
				panicked = true
				panic("the connector failed on " + everybody[1].Given)
			}
		}
		w.start()
		for _, f := range forms {
			w.run(f)
		}
		states := map[ledger.State]int{}
		for _, d := range w.deliveries() {
			states[d.State]++
		}
		if states[ledger.Done] == 0 || states[ledger.Held] < 4 || !panicked {
			w.t.Errorf("deliveries are %v, panicked %v: the workload makes too few texts", states, panicked)
		}
		w.keepsApart(served)
		w.nowhere(everybody)
	})
}

// nowhere looks for people in the log and in every byte of the ledger's folder.
func (w *world) nowhere(people []person) {
	w.t.Helper()
	if w.log.String() == "" {
		w.t.Error("nothing was logged: the search proves nothing")
	}
	texts := map[string]string{"the log": w.log.String()}
	for _, d := range w.deliveries() {
		texts["the delivery's texts"] += strings.Join(append([]string{d.Reason, d.Cause, d.Code, d.BlockedBy}, d.Remarks...), "\n")
	}
	total := 0
	w.must(filepath.WalkDir(filepath.Join(w.dir, "ledger"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		texts[filepath.Base(path)] = string(b)
		total += len(b)
		return err
	}))
	if !strings.Contains(texts["ledger.db"]+texts["ledger.db-wal"], "visit-to-openmrs") {
		w.t.Errorf("the ledger's files (%d bytes) do not even hold the flows' names: the search proves nothing", total)
	}
	for where, text := range texts {
		for _, p := range people {
			for _, m := range append(p.Markers(), p.CaseID()) {
				if i := strings.Index(text, m); i >= 0 {
					w.t.Errorf("%s holds %q: …%q…", where, m, text[max(0, i-80):min(len(text), i+80)])
				}
			}
		}
	}
}
