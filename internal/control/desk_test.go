package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/seal"
)

var ring = seal.Temporary()

// site is a ledger with its Local service and a Remote one that asks it.
type site struct {
	ledger.Ledger
	local  Local
	remote Remote
	forgot []ledger.Lesson
}

func newSite(t *testing.T) *site {
	t.Helper()
	l, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{Ring: ring, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &site{Ledger: l}
	s.local = Local{Ledger: l, Forgot: func(l ledger.Lesson) { s.forgot = append(s.forgot, l) },
		Plan: func(_ context.Context, w *ledger.Work) (*plan.Plan, error) {
			return &plan.Plan{Flow: w.Delivery.Flow, Records: []plan.Record{{Name: "patient", System: "openmrs", ID: "P1",
				Write: record.Fields{"phone": record.Clear{}, "name": "Elsa", "dead": false}}}}, nil
		},
		Lists: func(_ context.Context, flow, system, period string) (int, error) {
			if flow == "" {
				return 0, errors.New("no such flow")
			}
			return len(system) + len(period), nil
		}}
	server := httptest.NewServer(handler(s.local))
	t.Cleanup(server.Close)
	s.remote = Remote{&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}}}}
	return s
}

// hold takes a form in and holds it with a question.
func (s *site) hold(t *testing.T, doc, kind string, o question.Offer) (delivery, asked int64) {
	t.Helper()
	w := s.begin(t, doc)
	options, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.end(t, w, ledger.End{State: ledger.Held, Code: kind, Cause: "cause of " + kind, Reason: "why",
		Question: &ledger.Question{Kind: kind, Key: kind + "/x", Cause: "cause of " + kind, Text: "what?", Options: options}})
	open, err := s.Ledger.Questions(t.Context(), "open", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return w.Delivery.ID, open[len(open)-1].ID
}

func (s *site) begin(t *testing.T, doc string) *ledger.Work {
	t.Helper()
	got, err := s.Accept(t.Context(), []ledger.Arrival{{System: "commcare", Incoming: connector.Incoming{Kind: "form", Doc: doc, Version: "v1", Content: []byte("{}")},
		Routes: []ledger.Route{{Flow: "i01/visit", Each: "e", Lanes: []string{"person:commcare/" + doc}, Systems: []string{"openmrs"}}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Start(t.Context(), got[0].Lanes[0], s.Now())
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	return w
}

func (s *site) end(t *testing.T, w *ledger.Work, e ledger.End) {
	t.Helper()
	if _, err := s.End(t.Context(), w, e, s.Now()); err != nil {
		t.Fatal(err)
	}
}

func patient(person, id string) ledger.Link {
	return ledger.Link{Person: person, System: "openmrs", Kind: "openmrs/Patient", ID: id}
}

var ignore = cmp.Options{cmpopts.IgnoreUnexported(desk.Redo{}), cmpopts.EquateEmpty()}

// TestEachDeskRequestIsAnsweredAlike asks what changes nothing here and there.
func TestEachDeskRequestIsAnsweredAlike(t *testing.T) {
	s := newSite(t)
	_, q := s.hold(t, "a", "match", question.Offer{Choices: []question.Choice{{Value: "P1", Text: "her"}}, Sides: []question.Side{{Name: "m", Fields: []question.Field{{Name: "name", Value: "Elsa"}}}}})
	s.hold(t, "b", "unmapped", question.Offer{Teach: &question.Teach{Integration: "i01", Table: "g", Codes: []string{"w"}}, Other: "a value"})
	w := s.begin(t, "c")
	s.end(t, w, ledger.End{State: ledger.Done, Made: []ledger.Made{{Record: "patient", System: "openmrs", Kind: "openmrs/Patient", ID: "P1", Fields: record.Fields{"name": "Elsa"}}}})
	if err := s.Relink(t.Context(), patient("commcare/c", "P1"), "ben", "her card"); err != nil {
		t.Fatal(err)
	}
	if err := s.KeepApart(t.Context(), patient("commcare/c", "P2"), "ben", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Teach(t.Context(), ledger.Lesson{Integration: "i01", Table: "g", Codes: []string{"a", "b"}, Value: "X", Who: "ben"}); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	type ask func(d Desk) (any, error)
	for name, f := range map[string]ask{
		"questions":       func(d Desk) (any, error) { return d.Questions(ctx, 0, 10) },
		"questions after": func(d Desk) (any, error) { return d.Questions(ctx, q, 1) },
		"a question":      func(d Desk) (any, error) { return d.Question(ctx, q) },
		"no question":     func(d Desk) (any, error) { return d.Question(ctx, 99) },
		"held":            func(d Desk) (any, error) { return d.Held(ctx) },
		"lessons":         func(d Desk) (any, error) { return d.Lessons(ctx) },
		"no lesson": func(d Desk) (any, error) {
			return nil, d.Unteach(ctx, ledger.Lesson{Integration: "i", Table: "t", Codes: []string{"c"}})
		},
		"a person": func(d Desk) (any, error) { return d.Person(ctx, "openmrs/P1", 10) },
		"nobody":   func(d Desk) (any, error) { return d.Person(ctx, "openmrs/P7", 10) },
		"no id":    func(d Desk) (any, error) { return d.Person(ctx, "P7", 10) },
		"a split": func(d Desk) (any, error) {
			return d.Split(ctx, Decision{Person: "commcare/c", Link: patient("", "P1")})
		},
		"a split of nobody": func(d Desk) (any, error) {
			return d.Split(ctx, Decision{Person: "commcare/z", Link: patient("", "P1")})
		},
		"no act": func(d Desk) (any, error) { return nil, d.Decide(ctx, Decision{Act: "sing", Person: "commcare/c"}) },
		"an unlink of nobody": func(d Desk) (any, error) {
			return nil, d.Decide(ctx, Decision{Act: "unlink", Person: "commcare/c", Link: patient("", "P9")})
		},
		"a merge with oneself": func(d Desk) (any, error) {
			return nil, d.Decide(ctx, Decision{Act: "merge", Person: "commcare/c", With: "openmrs/P1"})
		},
		"no answer":             func(d Desk) (any, error) { return d.Answer(ctx, desk.Answer{Question: q, Answer: "nonsense"}) },
		"an answer to none":     func(d Desk) (any, error) { return d.Answer(ctx, desk.Answer{Question: 99, Answer: "P1"}) },
		"one answer for people": func(d Desk) (any, error) { return d.Answer(ctx, desk.Answer{Question: q, Answer: "P1", All: true}) },
		"a list": func(d Desk) (any, error) {
			return d.Ask(ctx, ListRequest{Flow: "rows", System: "books", Period: "202602"})
		},
		"no list": func(d Desk) (any, error) { return d.Ask(ctx, ListRequest{}) },
	} {
		t.Run(name, func(t *testing.T) {
			want, wantErr := f(s.local)
			got, gotErr := f(s.remote)
			if (wantErr == nil) != (gotErr == nil) {
				t.Fatalf("here %v, there %v", wantErr, gotErr)
			}
			if wantErr != nil {
				if wantErr.Error() != gotErr.Error() {
					t.Errorf("here %q, there %q", wantErr, gotErr)
				}
				for _, kind := range []error{ledger.ErrNotFound, ledger.ErrState, desk.ErrNobody, desk.ErrApiece} {
					if errors.Is(wantErr, kind) != errors.Is(gotErr, kind) {
						t.Errorf("%q is told apart here and not there", kind)
					}
				}
				return
			}
			if diff := cmp.Diff(want, got, ignore); diff != "" {
				t.Errorf("here, there:\n%s", diff)
			}
		})
	}
}

// TestEachDecisionDoesTheSameFromAfar makes each decision on a ledger of its own,
// here and from afar, and compares what is then known.
func TestEachDecisionDoesTheSameFromAfar(t *testing.T) {
	for name, decide := range map[string]func(ctx context.Context, d Desk) error{
		"an answer": func(ctx context.Context, d Desk) error {
			n, err := d.Answer(ctx, desk.Answer{Question: 1, Answer: "1", Who: "amina", Note: "n"})
			return errors.Join(err, expect(n == 1, "answers"))
		},
		"an answer that teaches": func(ctx context.Context, d Desk) error {
			n, err := d.Answer(ctx, desk.Answer{Question: 2, Answer: "F", Who: "amina"})
			return errors.Join(err, expect(n == 2, "answers"))
		},
		"a skip for all": func(ctx context.Context, d Desk) error {
			n, err := d.Answer(ctx, desk.Answer{Question: 3, Answer: "skip", Who: "amina", All: true})
			return errors.Join(err, expect(n == 2, "answers"))
		},
		"unteach": func(ctx context.Context, d Desk) error {
			return d.Unteach(ctx, ledger.Lesson{Integration: "i01", Table: "g", Codes: []string{"a"}, Who: "amina"})
		},
		"link": func(ctx context.Context, d Desk) error {
			return d.Decide(ctx, Decision{Act: "link", Person: "commcare/a", Link: patient("", "P7"), Who: "amina", Note: "n"})
		},
		"unlink": func(ctx context.Context, d Desk) error {
			return d.Decide(ctx, Decision{Act: "unlink", Person: "commcare/d", Link: patient("", "P1"), Who: "amina", Note: "n"})
		},
		"merge": func(ctx context.Context, d Desk) error {
			return d.Decide(ctx, Decision{Act: "merge", Person: "openmrs/P1", With: "commcare/a", Who: "amina", Note: "n"})
		},
		"split": func(ctx context.Context, d Desk) error {
			to := patient("", "P8")
			return d.Decide(ctx, Decision{Act: "split", Person: "commcare/d", Link: patient("", "P1"), To: &to, Who: "amina", Note: "n"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var known [2]map[string]any
			for i := range known {
				s := newSite(t)
				s.hold(t, "a", "match", question.Offer{Choices: []question.Choice{{Value: "P1"}}})
				for _, doc := range []string{"b", "c"} {
					s.hold(t, doc, "unmapped", question.Offer{Teach: &question.Teach{Integration: "i01", Table: "g", Codes: []string{"w"}}, Choices: []question.Choice{{Value: "F"}, {Value: "skip"}}})
				}
				w := s.begin(t, "d")
				s.end(t, w, ledger.End{State: ledger.Done, Made: []ledger.Made{{Record: "patient", System: "openmrs", Kind: "openmrs/Patient", ID: "P1"}},
					Links: []ledger.Link{patient("commcare/d", "P1")}})
				if err := s.Teach(t.Context(), ledger.Lesson{Integration: "i01", Table: "g", Codes: []string{"a"}, Value: "X", Who: "ben"}); err != nil {
					t.Fatal(err)
				}
				var d Desk = s.local
				if i == 1 {
					d = s.remote
				}
				if err := decide(t.Context(), d); err != nil {
					t.Fatal(err)
				}
				known[i] = s.known(t)
			}
			if diff := cmp.Diff(known[0], known[1], ignore, cmpopts.IgnoreTypes(s0.At)); diff != "" {
				t.Errorf("here, there:\n%s", diff)
			}
		})
	}
}

var s0 ledger.Step // for the type of its time

func expect(ok bool, what string) error {
	if !ok {
		return errors.New("another number of " + what)
	}
	return nil
}

// known is all that a decision may have changed.
func (s *site) known(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{"forgot": s.forgot}
	keep := func(name string, v any, err error) {
		if err != nil {
			out[name] = err.Error()
			return
		}
		out[name] = v
	}
	ctx := t.Context()
	audits, err := s.Audits(ctx, 0, 0, 100)
	keep("audits", audits, err)
	lessons, err := s.Lessons(ctx)
	keep("lessons", lessons, err)
	questions, err := s.Ledger.Questions(ctx, "", 0, 100)
	keep("questions", questions, err)
	list, err := s.Deliveries(ctx, ledger.Filter{})
	keep("deliveries", list, err)
	for _, id := range []string{"commcare/a", "commcare/d", "openmrs/P1", "openmrs/P7", "openmrs/P8"} {
		p, err := s.local.Person(ctx, id, 10)
		keep(id, p, err)
	}
	return out
}

func TestAForgottenLessonIsForgottenAtOnce(t *testing.T) {
	s := newSite(t)
	l := ledger.Lesson{Integration: "i01", Table: "g", Codes: []string{"a"}, Value: "X", Who: "ben"}
	if err := s.Teach(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := s.remote.Unteach(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if len(s.forgot) != 1 || s.forgot[0].Table != "g" {
		t.Errorf("the running server still knows it: %v", s.forgot)
	}
	if err := s.remote.Unteach(t.Context(), l); !errors.Is(err, ledger.ErrNotFound) || len(s.forgot) != 1 {
		t.Error(err, s.forgot)
	}
}

func TestWithoutTheSitesSystemsASplitAndAListAreRefused(t *testing.T) {
	s := newSite(t)
	s.begin(t, "a")
	l := Local{Ledger: s.Ledger}
	if _, err := l.Split(t.Context(), Decision{Person: "commcare/a"}); err == nil {
		t.Error("split")
	}
	if err := l.Decide(t.Context(), Decision{Act: "split", Person: "commcare/a"}); err == nil {
		t.Error("decided")
	}
	if _, err := l.Ask(t.Context(), ListRequest{Flow: "x"}); err == nil {
		t.Error("asked")
	}
}
