package invariants

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

func traced() bool { return os.Getenv(pingTrace) != "" }

// checkAll looks at everybody when nothing moves. Answered: no question is left
// that could excuse a difference.
func (w *walk) checkAll(answered bool) {
	w.t.Helper()
	if w.t.Failed() {
		return
	}
	held := w.held(answered)
	cases, patients := w.cases(), w.patients()
	for _, p := range w.people {
		var wrong []string
		blame := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
		w.check(p, held[p.n], cases, patients, blame)
		if len(wrong) > 0 {
			w.tell(p)
			w.history(p)
			w.t.Errorf("seed %d, step %d, person %d (%s):\n  %s", w.seed, w.drawn, p.n, p.loose, strings.Join(wrong, "\n  "))
		}
	}
	w.strangers(cases, patients)
}

// held are what keeps people from agreeing, by person; a delivery that does
// anything else than to be over or to wait for a person is an error.
func (w *walk) held(answered bool) map[int][]string {
	w.t.Helper()
	out := map[int][]string{}
	for _, d := range w.deliveries() {
		switch d.State {
		case ledger.Done, ledger.Skipped, ledger.Superseded, ledger.Undone, ledger.Refused:
			continue
		}
		if d.Reason == "" && d.State == ledger.Held {
			w.t.Errorf("delivery %d is held without a reason", d.ID)
		}
		n := w.whose(d.ID)
		out[n] = append(out[n], fmt.Sprintf("delivery %d (%s) is %s %s %s: %s", d.ID, d.Flow, d.State, d.Code, d.BlockedOn, d.Reason))
	}
	for n, list := range out {
		waits := slices.ContainsFunc(list, func(s string) bool {
			return strings.Contains(s, "is held") || strings.Contains(s, "is half undone") || strings.Contains(s, "is half_undone")
		})
		if n < 0 || !waits || answered {
			if n > 0 {
				w.tell(w.people[n-1])
			}
			w.t.Errorf("seed %d, person %d: nothing more comes, no question is open, and yet:\n  %s", w.seed, n, strings.Join(list, "\n  "))
		}
	}
	return out
}

// check looks at one person.
func (w *walk) check(p *one, held []string, cases []caseDoc, patients []patientDoc, blame func(string, ...any)) {
	var cs []caseDoc
	for _, c := range cases {
		if c.Properties["national_id"] == p.nationalID() && !c.Closed {
			cs = append(cs, c)
		}
	}
	var ps []patientDoc
	for _, d := range patients {
		if d.number() == p.nationalID() {
			ps = append(ps, d)
		}
	}
	if len(cs) > 1 {
		blame("%d cases of one person: %s, %s", len(cs), cs[0].ID, cs[1].ID)
	}
	if len(ps) > 1 {
		blame("%d patients of one person: %s, %s", len(ps), ps[0].UUID, ps[1].UUID)
	}
	if len(held) > 0 || p.loose != "" {
		return
	}
	if len(cs) == 0 || len(ps) == 0 {
		blame("she has %d cases and %d patients", len(cs), len(ps))
		return
	}
	if cs[0].External != ps[0].UUID {
		blame("her case is linked to %q, her patient is %s", cs[0].External, ps[0].UUID)
	}
	inCase, inPatient := cs[0].fields(), ps[0].fields()
	for _, f := range fields {
		w.agree(p, f.name, inCase[f.name], inPatient[f.name], cs[0].Properties["openmrs_village"], blame)
	}
}

// agree compares one field with what people last said of it.
func (w *walk) agree(p *one, name, inCase, inPatient, beside string, blame func(string, ...any)) {
	s := p.said[name]
	c, saidC := s.by[source]
	o, saidO := s.by[serverA]
	if inCase != inPatient {
		if name == "village" && saidC && saidO && inCase == c && inPatient == o && beside == o {
			return // both keep theirs, the other's stands beside; and so it stays until they are the same
		}
		blame("%s is %q in the case and %q in the patient; agreed was %q, said were %v", name, inCase, inPatient, s.base, s.by)
		return
	}
	var may []string
	switch {
	case saidC && saidO:
		may = []string{c, o}
	case saidC:
		may = []string{c}
	case saidO:
		may = []string{o}
	default:
		may = []string{s.base}
	}
	if !slices.Contains(may, inCase) {
		blame("%s is %q on both sides, want one of %q", name, inCase, may)
	}
	s.base = inCase
	clear(s.by)
	clear(s.at)
}

// strangers looks for anything of one person on another.
func (w *walk) strangers(cases []caseDoc, patients []patientDoc) {
	w.t.Helper()
	for _, p := range w.people {
		if slices.ContainsFunc(w.merged, func(m [2]int) bool { return m[0] == p.n || m[1] == p.n }) {
			continue
		}
		look := func(what, id string, values map[string]string) {
			for _, f := range fields {
				if v, mark := values[f.name], p.mark(f.name); v != "" && !strings.HasPrefix(v, mark) {
					w.tell(p)
					w.t.Errorf("seed %d: %s %s of person %d has %s %q", w.seed, what, id, p.n, f.name, v)
				}
			}
		}
		for _, c := range cases {
			if c.Properties["national_id"] == p.nationalID() {
				look("case", c.ID, c.fields())
			}
		}
		for _, d := range patients {
			if d.number() == p.nationalID() {
				look("patient", d.UUID, d.fields())
			}
		}
	}
}

// history prints what became of her deliveries.
func (w *walk) history(p *one) {
	w.t.Helper()
	text := ""
	for _, d := range w.deliveries() {
		if w.whose(d.ID) == p.n {
			text += fmt.Sprintf("  %s delivery %d %s %s %s %s %s: %s %q\n", d.Created.Format("15:04:05"), d.ID, d.Flow, d.Doc[max(0, len(d.Doc)-12):], d.State, d.Code, d.BlockedOn, d.Reason, d.Remarks)
		}
	}
	w.t.Logf("her deliveries:\n%s", text)
}

// noteCall adds to the trace what Kiungo sends.
func (w *walk) noteCall(host string, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf("    call %s: %s %s %s %s", r.Header.Get(call.IDHeader), host, r.Method, r.URL.Path, body))
}

// noteAgreed adds to the trace what became agreed of the people's records.
func (w *walk) noteAgreed() {
	if !traced() {
		return
	}
	if w.agreed == nil {
		w.agreed = map[string]string{}
	}
	w.mu.Lock()
	calls := w.calls
	w.calls = nil
	w.mu.Unlock()
	for _, c := range calls {
		w.note(w.about(c), "%s", c)
	}
	for _, p := range w.people {
		for _, id := range append([]string{p.caseID, p.patient}, p.ids...) {
			for system, kind := range map[string]string{source: "commcare/Case", serverA: "openmrs/Patient"} {
				s, err := w.ledger.Snapshot(w.t.Context(), system, kind, id)
				if err != nil || s == nil {
					continue
				}
				for path, a := range s.Fields {
					key := system + " " + path + " " + id
					now := fmt.Sprintf("%v at %s seq %d by %s", a.Value, a.At.Format("15:04:05.0"), a.Seq, a.By)
					if w.agreed[key] != now {
						w.agreed[key] = now
						w.note(p.n, "    agreed: %s %s = %s", system, path, now)
					}
				}
			}
		}
	}
}
