package desk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/seal"
)

var ring = seal.Temporary()

// room is a desk on a ledger of its own.
type room struct {
	*testing.T
	*desk.Desk
	l       ledger.Ledger
	rung    []int64
	learned []ledger.Lesson
}

func newRoom(t *testing.T) *room {
	t.Helper()
	l, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{Ring: ring, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r := &room{T: t, l: l}
	r.Desk = &desk.Desk{Ledger: l, Ring: func(lanes ...int64) { r.rung = append(r.rung, lanes...) },
		Learned: func(l ledger.Lesson) { r.learned = append(r.learned, l) }}
	return r
}

func (r *room) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func arrival(system, doc, lane string) ledger.Arrival {
	return ledger.Arrival{System: system, Incoming: connector.Incoming{Kind: "form", Doc: doc, Version: "v1", Content: []byte("{}")},
		Routes: []ledger.Route{{Flow: "i01/visit", Each: "e", Lanes: []string{"person:" + lane}, Systems: []string{"commcare", "openmrs"}}}}
}

// run takes a message in and starts its delivery.
func (r *room) run(a ledger.Arrival) *ledger.Work {
	r.Helper()
	got, err := r.l.Accept(r.Context(), []ledger.Arrival{a}, nil)
	r.must(err)
	w, err := r.l.Start(r.Context(), got[0].Lanes[0], r.l.Now())
	r.must(err)
	if w == nil {
		r.Fatal("nothing runs")
	}
	return w
}

func (r *room) end(w *ledger.Work, e ledger.End) *ledger.Work {
	r.Helper()
	next, err := r.l.End(r.Context(), w, e, r.l.Now())
	r.must(err)
	return next
}

// ask holds a delivery with a question, and gives its id.
func (r *room) ask(doc, kind, cause string, o question.Offer) int64 {
	r.Helper()
	b, err := o.Encode()
	r.must(err)
	w := r.run(arrival("commcare", doc, "commcare/"+doc))
	r.end(w, ledger.End{State: ledger.Held, Code: kind, Cause: cause, Reason: "why",
		Question: &ledger.Question{Kind: kind, Key: kind + "/" + doc, Cause: cause, Text: "what?", Options: b}})
	open, err := r.l.Questions(r.Context(), "open", 0, 1000)
	r.must(err)
	return open[len(open)-1].ID
}

func (r *room) answered(id int64, want string) {
	r.Helper()
	q, err := r.l.Question(r.Context(), id)
	r.must(err)
	got := q.State
	if q.State == "answered" {
		got = q.Answer
	}
	if got != want {
		r.Errorf("question %d is %q, not %q", id, got, want)
	}
}

func gender(code string) question.Offer {
	return question.Offer{Teach: &question.Teach{Integration: "i01", Table: "gender", Codes: []string{code}, Column: "target"}, Other: "a value",
		Choices: []question.Choice{{Value: "F"}, {Value: plan.NotSent}, {Value: question.Skip}}}
}

func TestAnAnswerThatTeachesServesAllThatAskTheSame(t *testing.T) {
	for name, c := range map[string]struct{ answer, stored, taught string }{
		"a choice":         {"F", "F", "F"},
		"its number":       {"1", "F", "F"},
		"a value":          {"X", "X", "X"},
		"known, not sent":  {plan.NotSent, plan.NotSent, ""},
		"in capitals, too": {"f", "F", "F"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			a, b, other := r.ask("a", "unmapped", "sex = w", gender("w")), r.ask("b", "unmapped", "sex = w", gender("w")), r.ask("c", "unmapped", "sex = q", gender("q"))
			list, err := r.Questions(t.Context(), 0, 10)
			r.must(err)
			if len(list) != 3 || list[0].Alike != 2 || list[2].Alike != 1 || list[0].Job != question.Programme {
				t.Errorf("%+v", list)
			}
			n, err := r.Answer(t.Context(), desk.Answer{Question: b, Answer: c.answer, Who: "amina"})
			r.must(err)
			if n != 2 || len(r.rung) != 2 {
				t.Errorf("%d answered, %d lanes rung", n, len(r.rung))
			}
			r.answered(a, c.stored)
			r.answered(b, c.stored)
			r.answered(other, "open")
			l, err := r.l.Lesson(t.Context(), "i01", "gender", []string{"w"})
			r.must(err)
			if l == nil || l.Value != c.taught || l.Who != "amina" || len(r.learned) != 1 || r.learned[0].Value != c.taught {
				t.Errorf("taught %+v, learned %+v", l, r.learned)
			}
		})
	}
}

func TestSkipTeachesNothingAndEndsItsDeliveryAlone(t *testing.T) {
	for all, want := range map[bool]int{false: 1, true: 2} {
		r := newRoom(t)
		a, b := r.ask("a", "unmapped", "sex = w", gender("w")), r.ask("b", "unmapped", "sex = w", gender("w"))
		n, err := r.Answer(t.Context(), desk.Answer{Question: a, Answer: "skip", Who: "amina", Note: "not ours", All: all})
		r.must(err)
		if n != want || len(r.learned) > 0 {
			t.Errorf("all=%t: %d skipped, learned %v", all, n, r.learned)
		}
		r.answered(a, "withdrawn")
		if !all {
			r.answered(b, "open")
		}
		held, err := r.Held(t.Context())
		r.must(err)
		if len(held) != 2-want {
			t.Errorf("all=%t: %+v is held", all, held)
		}
	}
}

func TestQuestionsAboutOnePersonAreAnsweredOneByOne(t *testing.T) {
	for _, kind := range []string{"match", "several", "conflict", "approval", "linked-elsewhere", "no-patient", "voided", "apart"} {
		r := newRoom(t)
		o := question.Offer{Choices: []question.Choice{{Value: "x"}, {Value: "y"}}}
		a, b := r.ask("a", kind, "the same cause", o), r.ask("b", kind, "the same cause", o)
		if _, err := r.Answer(t.Context(), desk.Answer{Question: a, Answer: "x", All: true}); !errors.Is(err, desk.ErrApiece) {
			t.Errorf("%s: %v", kind, err)
		}
		list, err := r.Questions(t.Context(), 0, 10)
		r.must(err)
		if list[0].Alike != 1 {
			t.Errorf("%s: one answer is said to serve %d", kind, list[0].Alike)
		}
		if n, err := r.Answer(t.Context(), desk.Answer{Question: a, Answer: "x"}); err != nil || n != 1 {
			t.Errorf("%s: %d, %v", kind, n, err)
		}
		r.answered(a, "x")
		r.answered(b, "open")
	}
}

func TestOneAnswerServesAllAlikeWhenAskedTo(t *testing.T) {
	r := newRoom(t)
	o := question.Offer{}
	var ids []int64
	for i := range 5 {
		ids = append(ids, r.ask(fmt.Sprint("d", i), "refused", "a cause", o))
	}
	other := r.ask("o", "value", "a cause", o)
	n, err := r.Answer(t.Context(), desk.Answer{Question: ids[2], Answer: question.Retry, All: true})
	r.must(err)
	if n != 5 || len(r.rung) != 5 {
		t.Errorf("%d answered, %d rung", n, len(r.rung))
	}
	for _, id := range ids {
		r.answered(id, question.Retry)
	}
	r.answered(other, "open")
}

func TestWhatIsNoAnswerIsRefusedAndChangesNothing(t *testing.T) {
	r := newRoom(t)
	a := r.ask("a", "approval", "c", question.Offer{Choices: []question.Choice{{Value: "yes"}, {Value: "no"}}})
	for _, bad := range []string{"", "maybe", "3", "0", "-1"} {
		if _, err := r.Answer(t.Context(), desk.Answer{Question: a, Answer: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	r.answered(a, "open")
	if _, err := r.Answer(t.Context(), desk.Answer{Question: 999, Answer: "yes"}); !errors.Is(err, ledger.ErrNotFound) {
		t.Error(err)
	}
	_, err := r.Answer(t.Context(), desk.Answer{Question: a, Answer: "no"})
	r.must(err)
	if _, err := r.Answer(t.Context(), desk.Answer{Question: a, Answer: "yes"}); !errors.Is(err, ledger.ErrState) {
		t.Errorf("answered twice: %v", err)
	}
}

func patient(person, id string) ledger.Link {
	return ledger.Link{Person: person, System: "openmrs", Kind: "openmrs/Patient", ID: id}
}

func TestAnAnswerMergesPeopleBeforeAnythingGoesOn(t *testing.T) {
	for name, before := range map[string]func(r *room){
		"as asked": func(*room) {},
		"the other was merged into a third": func(r *room) {
			r.must(r.Merge(r.Context(), "commcare/w", "commcare/third", "ben", ""))
		},
		"they were merged meanwhile": func(r *room) { r.must(r.Merge(r.Context(), "commcare/a", "commcare/w", "ben", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.must(r.Link(t.Context(), patient("commcare/w", "P1"), "ben", ""))
			id := r.ask("a", "match", "c", question.Offer{Choices: []question.Choice{{Value: "P1"}, {Value: plan.New}},
				Merge: map[string]question.Merge{"P1": {Loser: "commcare/a", Winner: "commcare/w"}}})
			before(r)
			n, err := r.Answer(t.Context(), desk.Answer{Question: id, Answer: "P1", Who: "amina", Note: "one card"})
			r.must(err)
			if n != 1 {
				t.Errorf("%d answered", n)
			}
			p, err := r.Person(t.Context(), "commcare/a", 10)
			r.must(err)
			if len(p.Links) != 1 || p.Links[0].ID != "P1" || len(p.Deliveries) != 1 {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestAnAnswerThatMergesNobodyLeavesThemTwo(t *testing.T) {
	r := newRoom(t)
	r.must(r.Link(t.Context(), patient("commcare/w", "P1"), "ben", ""))
	id := r.ask("a", "match", "c", question.Offer{Choices: []question.Choice{{Value: "P1"}, {Value: plan.New}},
		Merge: map[string]question.Merge{"P1": {Loser: "commcare/a", Winner: "commcare/w"}}})
	_, err := r.Answer(t.Context(), desk.Answer{Question: id, Answer: plan.New})
	r.must(err)
	if p, err := r.l.Person(t.Context(), "commcare/a"); err != nil || p != "commcare/a" {
		t.Error(p, err)
	}
}

func TestAPersonIsFoundByAnyOfHerIDs(t *testing.T) {
	r := newRoom(t)
	r.end(r.run(arrival("commcare", "a", "commcare/a")), ledger.End{State: ledger.Done})
	r.must(r.Link(t.Context(), patient("commcare/a", "P1"), "ben", "her card"))
	for _, id := range []string{"commcare/a", "openmrs/P1"} {
		p, err := r.Person(t.Context(), id, 10)
		r.must(err)
		if p.Key != "commcare/a" || len(p.Links) != 1 || len(p.Ties) != 1 || len(p.Deliveries) != 1 {
			t.Errorf("%s: %+v", id, p)
		}
	}
	for _, id := range []string{"openmrs/P2", "commcare/b"} {
		if _, err := r.Person(t.Context(), id, 10); !errors.Is(err, desk.ErrNobody) {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []string{"P1", "/P1", ""} {
		if _, err := r.Person(t.Context(), id, 10); err == nil || errors.Is(err, desk.ErrNobody) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// made is what a delivery made on a patient.
func made(id string, gone bool) []ledger.Made {
	return []ledger.Made{{Record: "patient", System: "openmrs", Kind: "openmrs/Patient", ID: id, Gone: gone},
		{Record: "encounter", System: "openmrs", Kind: "openmrs/Encounter", ID: "E" + id, Created: true, Gone: gone}}
}

// wrong is a ledger in which a's forms were written on patient P1 of somebody
// else: f1 and f2, then f3 on P2 and f4 that was taken back.
func wrong(t *testing.T) (*room, *desk.Person) {
	t.Helper()
	r := newRoom(t)
	r.must(r.Link(t.Context(), patient("commcare/a", "P1"), "ben", ""))
	for _, f := range []struct {
		doc string
		m   []ledger.Made
		e   ledger.State
	}{{"f1", made("P1", false), ledger.Done}, {"f2", made("P1", false), ledger.Done}, {"f3", made("P2", false), ledger.Done},
		{"f4", made("P1", true), ledger.Done}, {"f5", made("P1", false), ledger.Skipped}} {
		r.end(r.run(arrival("commcare", f.doc, "commcare/a")), ledger.End{State: f.e, Made: f.m})
	}
	v2 := arrival("commcare", "f1", "commcare/a")
	v2.Version = "v2" // f1 was edited
	r.end(r.run(v2), ledger.End{State: ledger.Done, Made: made("P1", false)})
	r.end(r.run(arrival("openmrs", "Patient/P1", "openmrs/P1")), ledger.End{State: ledger.Done,
		Made: []ledger.Made{{Record: "case", System: "commcare", Kind: "commcare/Case", ID: "a"}}})
	p, err := r.Person(t.Context(), "commcare/a", 100)
	r.must(err)
	return r, p
}

// planned is a planner that notes what it was asked.
func planned(asked *[]string) desk.Planner {
	return func(_ context.Context, w *ledger.Work) (*plan.Plan, error) {
		*asked = append(*asked, fmt.Sprint(w.Message.Doc, " ", w.Message.Withdrawn, " ", w.Plan == nil, " ", len(w.Made)))
		if w.Message.Doc == "f2" {
			return nil, errors.New("others changed it since")
		}
		return &plan.Plan{Flow: w.Delivery.Flow}, nil
	}
}

func TestASplitShowsEachDocumentThatWroteUnderTheLinkOnce(t *testing.T) {
	r, p := wrong(t)
	var asked []string
	redos, err := r.Split(t.Context(), p, patient("", "P1"), planned(&asked))
	r.must(err)
	var got []string
	for _, x := range redos {
		got = append(got, fmt.Sprint(x.Delivery.Doc, " ", x.Delivery.Version, " ", x.Plan != nil, " ", x.Why))
	}
	want := []string{"f2 v1 false others changed it since", "f1 v2 true ", "Patient/P1 v1 true "}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if want := []string{"Patient/P1 true true 1", "f1 true true 2", "f2 true true 2"}; !slices.Equal(asked, want) {
		t.Errorf("the planner was asked for %q", asked)
	}
	if l, err := r.l.LinkOf(t.Context(), "openmrs", "openmrs/Patient", "P1"); err != nil || l == nil {
		t.Error("a preview changed something")
	}
}

// drain runs what is due to its end, and gives it in the order in which it ran.
func (r *room) drain() (out []string) {
	r.Helper()
	for range 100 {
		due, _, err := r.l.Due(r.Context(), r.l.Now(), 100)
		r.must(err)
		if len(due) == 0 {
			return out
		}
		for _, lane := range due {
			w, err := r.l.Start(r.Context(), lane, r.l.Now())
			r.must(err)
			for w != nil {
				what := "sent"
				if w.Message.Withdrawn {
					what = "taken back"
				}
				out = append(out, w.Message.Doc+" "+what+" for "+w.LaneKey)
				w = r.end(w, ledger.End{State: ledger.Done})
			}
		}
	}
	r.Fatal("no end")
	return nil
}

func TestASplitTakesBackThenSendsAgainInOrder(t *testing.T) {
	for name, to := range map[string]*ledger.Link{"to whom the flow finds": nil, "to the one named": new(patient("", "P9"))} {
		t.Run(name, func(t *testing.T) {
			r, p := wrong(t)
			var asked []string
			redos, err := r.Split(t.Context(), p, patient("", "P1"), planned(&asked))
			r.must(err)
			r.must(r.DoSplit(t.Context(), p, patient("", "P1"), redos, to, "amina", "two women"))
			if len(r.rung) == 0 {
				t.Error("no lane was rung")
			}
			if l, err := r.l.LinkOf(t.Context(), "openmrs", "openmrs/Patient", "P1"); err != nil || l != nil {
				t.Errorf("%+v, %v", l, err)
			}
			if who, err := r.l.Person(t.Context(), "openmrs/P1"); err != nil || who != "openmrs/P1" {
				t.Errorf("%s goes by %s, %v", "P1", who, err)
			}
			now, err := r.Person(t.Context(), "commcare/a", 100)
			r.must(err)
			if len(now.Apart) != 1 || now.Apart[0].ID != "P1" {
				t.Errorf("%+v is kept apart", now.Apart)
			}
			if linked := len(now.Links) == 1 && now.Links[0].ID == "P9"; linked != (to != nil) {
				t.Errorf("%+v", now.Links)
			}
			ran := r.drain()
			for doc, lane := range map[string]string{"f1": "commcare/a", "f2": "commcare/a", "Patient/P1": ""} {
				back := slices.IndexFunc(ran, func(s string) bool { return len(s) > len(doc) && s[:len(doc)+6] == doc+" taken" })
				sent := slices.IndexFunc(ran, func(s string) bool { return s[:min(len(s), len(doc)+5)] == doc+" sent" })
				if back < 0 || sent < back {
					t.Errorf("%s: %q", doc, ran)
				} else if lane != "" && ran[sent] != doc+" sent for person:"+lane {
					t.Errorf("%q", ran[sent])
				}
			}
			if !slices.Contains(ran, "Patient/P1 sent for person:openmrs/P1") {
				t.Errorf("what the record's own system said is not sent for itself: %q", ran)
			}
			if len(ran) != 6 {
				t.Errorf("%q", ran)
			}
		})
	}
}

func TestASplitThatWasCutShortIsDoneAgainWithoutHarm(t *testing.T) {
	r, p := wrong(t)
	var asked []string
	for range 2 {
		redos, err := r.Split(t.Context(), p, patient("", "P1"), planned(&asked))
		r.must(err)
		r.must(r.DoSplit(t.Context(), p, patient("", "P1"), redos, nil, "amina", ""))
	}
	if ran := r.drain(); len(ran) != 6 {
		t.Errorf("%q", ran)
	}
}

func TestWhatIsHeldIsShownByCauseAndWithWhoseJobItIs(t *testing.T) {
	r := newRoom(t)
	r.ask("a", "unmapped", "sex = w", gender("w"))
	r.ask("b", "unmapped", "sex = w", gender("w"))
	r.ask("c", "match", "who", question.Offer{})
	r.ask("d", "down", "it is down", question.Offer{})
	held, err := r.Held(t.Context())
	r.must(err)
	var got []string
	for _, h := range held {
		got = append(got, fmt.Sprint(h.N, " ", h.Code, " ", h.Job))
	}
	if want := []string{"2 unmapped " + question.Programme, "1 match " + question.Clerk, "1 down " + question.Administrator}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
