package invariants

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/connectors/openmrs/checkdigit"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// clerk changes something in OpenMRS, as a person at the clinic does.
func (w *world) clerk(path string, body map[string]any) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/ws/rest/v1/"+path, bytes.NewReader(asJSON(body)))
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("clerk", "Clerk123")
	out := httptest.NewRecorder()
	w.sims[serverA].ServeHTTP(out, r)
	if out.Code >= 300 {
		w.t.Errorf("the clerk's change of %s was answered %d: %s", path, out.Code, out.Body)
	}
}

// patient is the id of the one patient of the first server, "" if there is none.
func (w *world) patient() string {
	w.t.Helper()
	b, err := w.sims[serverA].State()
	w.must(err)
	var doc struct{ Patients []struct{ UUID string } }
	w.must(json.Unmarshal(b, &doc))
	if len(doc.Patients) == 0 {
		return ""
	}
	return doc.Patients[0].UUID
}

const vitals = "67a71486-1a54-468f-ac3e-7091a9a79584"

var numbered = regexp.MustCompile(`00000000-5157-4000-8000-[0-9a-f]{12}`)

// edit is what the clerk does.
type edit struct {
	name  string
	after bool // only after all that Kiungo writes before the refusal
	do    func(w *world, patient string)
}

var edits = []edit{
	{"another birthdate", false, func(w *world, id string) { w.clerk("person/"+id, map[string]any{"birthdate": "1990-02-03"}) }},
	{"an encounter on another day", false, func(w *world, id string) {
		w.clerk("encounter", map[string]any{"patient": id, "encounterType": vitals, "encounterDatetime": "1999-11-20T10:00:00.000+0300"})
	}},
	{"an encounter the same day", false, func(w *world, id string) {
		w.clerk("encounter", map[string]any{"patient": id, "encounterType": vitals, "encounterDatetime": "1999-11-23T12:00:00.000+0300"})
	}},
	{"the gender that Kiungo changed", true, func(w *world, id string) { w.clerk("person/"+id, map[string]any{"gender": "U"}) }},
	{"half of the name that Kiungo changed", true, func(w *world, id string) {
		w.clerk("person/"+id+"/name/"+w.nameID(id), map[string]any{"familyName": "Othername"})
	}},
}

// nameID is the id of a person's name, as OpenMRS says it.
func (w *world) nameID(id string) string {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/ws/rest/v1/person/"+id+"?v=full", nil)
	r.SetBasicAuth("clerk", "Clerk123")
	out := httptest.NewRecorder()
	w.sims[serverA].ServeHTTP(out, r)
	var doc struct{ PreferredName struct{ UUID string } }
	w.must(json.Unmarshal(out.Body.Bytes(), &doc))
	return doc.PreferredName.UUID
}

// TestExactUndoBesidePeople has a clerk change the same patient before each of
// Kiungo's calls, and the last refused: what is left is what her changes alone
// would have made, or the rest is listed and hers stands.
func TestExactUndoBesidePeople(t *testing.T) {
	for _, s := range scenes[1:3] {
		n, _ := s.calls(t)
		last := n[serverA]
		for _, e := range edits {
			for at := 1; at <= last; at++ {
				if e.after && at < last {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s before call %d", s.name, e.name, at), func(t *testing.T) {
					t.Parallel()
					alone := map[string]string{} // what the clerk alone makes of it
					if s.before != nil {
						bubble(t, func(w *world) {
							w.start()
							w.run(s.before()...)
							e.do(w, w.patient())
							alone = w.state()
						})
					}
					edited := false
					s.play(t, func(w *world) {
						calls := 0
						w.witness.before = func(host string, _ *http.Request) {
							if host != serverA {
								return
							}
							if calls++; calls == at && w.patient() != "" {
								e.do(w, w.patient())
								edited = true
							}
							if calls == last {
								w.sims[serverA].Traffic().Switch(simulate.Fault{Kind: simulate.Refuse, Call: 1})
							}
						}
					}, func(w *world, _ map[string]string) {
						d := w.deliveries()[len(w.deliveries())-1]
						state := w.state()[serverA]
						switch {
						case d.State == ledger.Held && alone[serverA] != "":
							// The server numbers what the clerk makes.
							want, got := numbered.ReplaceAllString(alone[serverA], ""), numbered.ReplaceAllString(state, "")
							if want != got {
								t.Errorf("not what the clerk alone would have made:\n%s", difference(want, got))
							}
						case d.State == ledger.Held:
							if w.patient() != "" {
								t.Errorf("everything was taken back, it says, and the patient is there")
							}
							if edited {
								t.Errorf("what the clerk did went with Kiungo's patient")
							}
						case d.State == ledger.HalfUndone:
							if len(d.Remarks) == 0 {
								t.Error("half undone, and nothing is listed")
							}
							if mark := map[bool]string{true: "1990-02-03", false: `"type": "Vitals"`}[strings.Contains(e.name, "birthdate")]; !e.after && !strings.Contains(state, mark) {
								t.Errorf("the clerk's change is gone:\n%s", state)
							}
							if e.after && !strings.Contains(state, `"gender": "U"`) && !strings.Contains(state, "Othername") {
								t.Errorf("the clerk's change is gone:\n%s", state)
							}
						default:
							t.Errorf("the delivery is %s: %s", d.State, d.Reason)
						}
					})
				})
			}
		}
	}
}

// TestRefusedButWritten: an OpenMRS that stores a number that another patient
// has, and answers with an error, is left as it was.
func TestRefusedButWritten(t *testing.T) {
	const taken = "93777777"
	withNumber := func(f form, number string) form {
		f.Doc["case"].(map[string]any)["update"].(map[string]any)["national_id"] = number
		return f
	}
	before := func() []form { return []form{withNumber(somebody(1, "a").Register(day(1)), "")} }
	last := func() form { return withNumber(somebody(1, "a").Register(day(2)), taken) }
	var beside map[string]string // what the clinic's own patient makes of it
	made := false
	scene{"", shipped, nil, before, last}.play(t, func(w *world) {
		w.witness.before = func(host string, r *http.Request) {
			if host != serverA || !strings.Contains(r.URL.Path, "/identifier") || made {
				return
			}
			made = true
			// The clinic registers another one with that number just now.
			check, _ := checkdigit.ModN("71234", "0123456789ACDEFGHJKLMNPRTUVWXY")
			w.must(w.sims[serverA].Seed(asJSON(map[string]any{"patients": []any{map[string]any{
				"person": map[string]any{"gender": "F", "birthdate": "1988-05-17", "names": []any{map[string]any{"givenName": "Clinic", "familyName": "Made", "preferred": true}}},
				"identifiers": []any{map[string]any{"identifier": "71234" + string(check), "identifierType": "05a29f94-c0ed-11e2-94be-8c13b969e334", "location": someplace},
					map[string]any{"identifier": taken, "identifierType": "8d79403a-c2cc-11de-8d13-0010c6dffd0f", "location": someplace, "preferred": true}}}}})))
			beside = w.state()
		}
	}, func(w *world, _ map[string]string) {
		if !made {
			t.Fatal("no identifier was written")
		}
		w.lastIs(ledger.Held)
		w.same("refused", beside, w.state())
	})
}

const someplace = "8d6c993e-c2cc-11de-8d13-0010c6dffd0f"
