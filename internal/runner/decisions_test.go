package runner_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/runner"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/system"
)

var testRing = seal.Temporary()

// bench runs flows between registers; nothing moves but by its methods.
type bench struct {
	*testing.T
	l       ledger.Ledger
	in      *intake.Intake
	r       *runner.Runner
	desk    *desk.Desk
	sys     map[string]*register
	dir     string
	folder  string
	now     time.Time
	version int
}

const (
	there = "flow: there\nabout: what the field says goes to the clinic\nfrom: {field: record, sample: samples/rec.json}\nlane: {person: '${rec.id}'}\n"
	toReg = "to: {reg: '${serverFor(rec.place)}'}\n"
	// person is found by her number, and all that is said of her is carried over.
	person = `records:
  person:
    kind: reg/Person
    find: {by: [{nid: '${rec.nid}'}], none: create}
    set: {nid: '${rec.nid}', given: '${rec.given}', family: '${rec.family}', phone: '${rec.phone}', born: '${rec.born}', sex: '${rec.sex}'}
`
	note = `  note:
    kind: reg/Note
    set: {person: '${person}', text: '${rec.text}'}
`
	back = `flow: back
about: what the clinic says goes to the field
from: {reg: record, sample: samples/rec.json}
lane: {person: '${rec.id}'}
records:
  who:
    kind: field/Person
    find: {by: [{id: '${rec.field}'}], none: skip}
    set: {phone: '${rec.phone}', given: '${rec.given}'}
`
)

func newBench(t *testing.T, settings string, flows ...string) *bench {
	t.Helper()
	b := &bench{T: t, sys: map[string]*register{}, dir: t.TempDir(), folder: filepath.Join(t.TempDir(), "i99-people"), now: time.Date(2026, 3, 4, 8, 0, 0, 0, time.UTC)}
	for _, name := range []string{"field", "reg-a", "reg-b"} {
		b.sys[name] = newRegister(name)
	}
	files := map[string]string{"integration.yaml": "title: People\nsystems: [field, reg]\nzone: UTC\n" + settings,
		"samples/rec.json":  `{"rec": {"id": "c1", "nid": "7", "given": "E", "family": "M", "phone": "1", "born": "1990-01-01", "sex": "f", "place": "a", "text": "t", "code": "x", "field": "c1"}}`,
		"tables/gender.csv": "code,target\nf,F\nm,M\n"}
	for i, f := range flows {
		files[fmt.Sprintf("flows/%d.yaml", i)] = f
	}
	for name, body := range files {
		p := filepath.Join(b.folder, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.open()
	t.Cleanup(func() { _ = b.l.Close() })
	return b
}

// open starts Kiungo: again, after a restart.
func (b *bench) open() {
	b.Helper()
	if b.l != nil {
		_ = b.l.Close()
	}
	reg := connector.Registry{"field": registerOf("field"), "reg": registerOf("reg")}
	site := &flow.Site{Zone: time.UTC, Systems: map[string]*flow.System{"field": {Name: "field", Connector: "field", Active: true},
		"reg-a": {Name: "reg-a", Connector: "reg", Active: true, Places: []string{"a"}}, "reg-b": {Name: "reg-b", Connector: "reg", Active: true, Places: []string{"b"}}}}
	in, problems := flow.Load(b.folder, reg, site)
	if in == nil || problems.Errors() > 0 {
		b.Fatal(problems)
	}
	l, err := store.OpenSQLite(b.Context(), b.dir, store.Options{Ring: testRing, Clock: func() time.Time { return b.now }, MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	ports := map[string]*system.Port{}
	for name, s := range b.sys {
		ports[name] = system.New(s, strings.TrimSuffix(strings.TrimSuffix(name, "-a"), "-b"), system.Limits{})
		ports[name].PersonKind = ports[name].Connector + "/Person"
	}
	b.l = l
	b.in = &intake.Intake{Ledger: l, Flows: in.Flows, Systems: ports, Registry: reg}
	b.r = &runner.Runner{Ledger: l, Systems: ports, Flows: func(name string) *flow.Flow {
		if i := slices.IndexFunc(in.Flows, func(f *flow.Flow) bool { return f.Name == name }); i >= 0 {
			return in.Flows[i]
		}
		return nil
	}}
	b.desk = &desk.Desk{Ledger: l}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// rec is a record of the field: "id=c1 given=Elsa …".
func rec(fields string) map[string]any {
	out := map[string]any{}
	for f := range strings.FieldsSeq(fields) {
		k, v, _ := strings.Cut(f, "=")
		out[k] = v
	}
	return out
}

// send has a record of a system taken in, a new version each time; what is said
// of an event in "at=HOURS" happened so many hours before now.
func (b *bench) send(from, fields string) int64 {
	b.Helper()
	id, _ := b.accept(from, fields, "")
	return id
}

func (b *bench) accept(from, fields, problem string) (delivery, lane int64) {
	b.Helper()
	doc := rec(fields)
	content, err := json.Marshal(map[string]any{"rec": doc})
	b.must(err)
	b.version++
	got, err := b.in.Accept(b.Context(), from, []connector.Incoming{{Kind: "record", Doc: from + "/" + fmt.Sprint(doc["id"]), Version: fmt.Sprint("v", b.version),
		Event: b.now, Content: content, Problem: problem}}, nil)
	b.must(err)
	if len(got[0].Deliveries) != 1 {
		b.Fatalf("%d deliveries", len(got[0].Deliveries))
	}
	return got[0].Deliveries[0], got[0].Lanes[0]
}

// run runs all that is due, until nothing is.
func (b *bench) run() {
	b.Helper()
	for range 100 {
		lanes, _, err := b.l.Due(b.Context(), b.l.Now(), 100)
		b.must(err)
		if len(lanes) == 0 {
			b.now = b.now.Add(time.Second)
			return
		}
		for _, lane := range lanes {
			w, err := b.l.Start(b.Context(), lane, b.l.Now())
			b.must(err)
			for w != nil {
				w, err = b.r.Run(b.Context(), w)
				b.must(err)
			}
		}
	}
	b.Fatal("it never comes to rest")
}

// does sends a record and runs what is due.
func (b *bench) does(from, fields string) int64 {
	b.Helper()
	id := b.send(from, fields)
	b.run()
	return id
}

func (b *bench) is(id int64, want ledger.State, code string) ledger.Delivery {
	b.Helper()
	w, err := b.l.Delivery(b.Context(), id)
	b.must(err)
	if d := w.Delivery; d.State != want || d.Code != code {
		b.Fatalf("delivery %d is %s (%s), not %s (%s): %s", id, d.State, d.Code, want, code, d.Reason)
	}
	return w.Delivery
}

// asked is the one open question.
func (b *bench) asked(kind string) desk.Asked {
	b.Helper()
	list, err := b.desk.Questions(b.Context(), 0, 10)
	b.must(err)
	if len(list) != 1 || list[0].Kind != kind {
		b.Fatalf("asked: %+v", list)
	}
	return list[0]
}

// answer answers the one open question and runs what is due.
func (b *bench) answer(kind, answer string) {
	b.Helper()
	_, err := b.desk.Answer(b.Context(), desk.Answer{Question: b.asked(kind).ID, Answer: answer, Who: "amina"})
	b.must(err)
	b.run()
}

func (b *bench) peopleAre(name string, want ...string) {
	b.Helper()
	if diff := cmp.Diff(want, b.sys[name].people()); diff != "" {
		b.Errorf("people of %s (-want +got):\n%s", name, diff)
	}
}

// lots of what people ask and answer.

const elsa = "id=c1 nid=7 given=Elsa family=Mutua phone=0711000001 born=1990-05-01 sex=F place=a"

func TestAPlanIsSentOnceAPersonApproved(t *testing.T) {
	flowText := there + toReg + "approve: {say: 'Register her?'}\n" + person
	t.Run("yes", func(t *testing.T) {
		b := newBench(t, "", flowText)
		id := b.does("field", elsa)
		b.is(id, ledger.Held, "approval")
		if q := b.asked("approval"); q.Text != "Register her?" || len(q.Offer.Plan) == 0 || !strings.Contains(q.Offer.Plan[0], "made") {
			t.Errorf("%+v", q)
		}
		if len(b.sys["reg-a"].sent) > 0 {
			t.Errorf("sent %v", b.sys["reg-a"].sent)
		}
		b.open() // also after a restart
		b.now = b.now.Add(48 * time.Hour)
		b.answer("approval", "yes")
		b.is(id, ledger.Done, "")
		if n := len(b.sys["reg-a"].people()); n != 1 {
			t.Errorf("%d people", n)
		}
	})
	t.Run("no", func(t *testing.T) {
		b := newBench(t, "", flowText)
		id := b.does("field", elsa)
		b.answer("approval", "no")
		b.is(id, ledger.Skipped, "not-approved")
		b.peopleAre("reg-a")
	})
	t.Run("the plan changed meanwhile", func(t *testing.T) {
		b := newBench(t, "", flowText)
		id := b.does("field", elsa)
		b.sys["reg-a"].put("P1", "nid=7", "given=Elsa", "family=Mutua") // a clerk registers her
		b.answer("approval", "yes")
		b.is(id, ledger.Held, "approval")
		if q := b.asked("approval"); !strings.Contains(q.Offer.Plan[0], "changed") {
			t.Errorf("%+v", q.Offer.Plan)
		}
		b.answer("approval", "yes")
		b.is(id, ledger.Done, "")
		b.peopleAre("reg-a", "P1 Elsa 0711000001")
	})
	t.Run("nothing to send needs no approval", func(t *testing.T) {
		b := newBench(t, "", flowText)
		b.sys["reg-a"].put("P1", "nid=7", "given=Elsa", "family=Mutua", "phone=0711000001", "born=1990-05-01", "sex=F")
		b.is(b.does("field", elsa), ledger.Done, "")
	})
	t.Run("only when", func(t *testing.T) {
		b := newBench(t, "", strings.Replace(flowText, "say: 'Register her?'", "say: 'Register her?', when: rec.sex == \"M\"", 1))
		b.is(b.does("field", elsa), ledger.Done, "")
	})
}

func TestARequirementThatFailsIsAskedAbout(t *testing.T) {
	flowText := there + toReg + "require:\n  - that: rec.born != nil\n    else: ask\n    say: No birth date. Go on?\n" + person
	noBirth := strings.Replace(elsa, "born=1990-05-01 ", "", 1)
	t.Run("go on", func(t *testing.T) {
		b := newBench(t, "", flowText)
		id := b.does("field", noBirth)
		b.is(id, ledger.Held, "required")
		b.answer("required", "yes")
		b.is(id, ledger.Done, "")
	})
	t.Run("end it", func(t *testing.T) {
		b := newBench(t, "", flowText)
		id := b.does("field", noBirth)
		b.answer("required", "no")
		b.is(id, ledger.Skipped, "required")
		b.peopleAre("reg-a")
	})
	t.Run("look again asks again", func(t *testing.T) {
		b := newBench(t, "", flowText)
		id := b.does("field", noBirth)
		b.answer("required", "retry")
		b.is(id, ledger.Held, "required")
		b.asked("required")
	})
}

func TestAMessageWithAProblemIsHeldUntilAPersonSaysGoOn(t *testing.T) {
	for answer, want := range map[string]ledger.State{"yes": ledger.Done, "skip": ledger.Skipped} {
		b := newBench(t, "", there+toReg+person)
		id, _ := b.accept("field", elsa, "the list has this twice")
		b.run()
		if d := b.is(id, ledger.Held, "message"); !strings.Contains(d.Reason, "twice") {
			t.Error(d.Reason)
		}
		b.answer("message", answer)
		w, err := b.l.Delivery(t.Context(), id)
		b.must(err)
		if w.Delivery.State != want {
			t.Errorf("%s: %s %s", answer, w.Delivery.State, w.Delivery.Reason)
		}
	}
}

const ask = "wins: {default: ask}\n"

// agreed is a bench on which c1 and P1 agree on everything.
func agreed(t *testing.T, settings string, flows ...string) *bench {
	t.Helper()
	b := newBench(t, settings, flows...)
	b.sys["reg-a"].put("P1", "nid=7")
	b.is(b.does("field", elsa), ledger.Done, "")
	return b
}

func TestAConflictIsAnsweredFieldByField(t *testing.T) {
	both := "id=c1 nid=7 given=Elsie family=Mutua phone=0711000002 born=1990-05-01 sex=F place=a"
	for answer, want := range map[string][2]string{"field": {"Elsie", "0711000002"}, "reg-a": {"Ella", "0799"},
		"given=field, phone=reg-a": {"Elsie", "0799"}, "given=reg-a,phone=field": {"Ella", "0711000002"}} {
		t.Run(answer, func(t *testing.T) {
			b := agreed(t, ask, there+toReg+person)
			b.sys["reg-a"].put("P1", "given=Ella", "phone=0799")
			id := b.does("field", both)
			b.is(id, ledger.Held, "conflict")
			q := b.asked("conflict")
			if len(q.Offer.Sides) != 2 || q.Offer.Sides[0].Name != "field" || q.Offer.Sides[1].Fields[0].Value != "Ella" {
				t.Errorf("%+v", q.Offer.Sides)
			}
			b.answer("conflict", answer)
			b.is(id, ledger.Done, "")
			if got := [2]string{fmt.Sprint(b.sys["reg-a"].get("P1", "given")), fmt.Sprint(b.sys["reg-a"].get("P1", "phone"))}; got != want {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestAnAnswerToAConflictCountsWhileTheValuesAreTheSame(t *testing.T) {
	b := agreed(t, ask, there+toReg+person)
	b.sys["reg-a"].put("P1", "phone=0799")
	id := b.does("field", strings.Replace(elsa, "0711000001", "0711000002", 1))
	b.is(id, ledger.Held, "conflict")
	b.sys["reg-a"].put("P1", "phone=0788") // and again, before the answer
	b.answer("conflict", "field")
	b.is(id, ledger.Held, "conflict")
	if got := b.sys["reg-a"].get("P1", "phone"); got != "0788" {
		t.Errorf("%v was written over what nobody had seen", got)
	}
	b.answer("conflict", "field")
	b.is(id, ledger.Done, "")
	if got := b.sys["reg-a"].get("P1", "phone"); got != "0711000002" {
		t.Error(got)
	}
}

func TestHalfAnAnswerAsksForTheRest(t *testing.T) {
	b := agreed(t, ask, there+toReg+person)
	b.sys["reg-a"].put("P1", "given=Ella", "phone=0799")
	id := b.does("field", "id=c1 nid=7 given=Elsie family=Mutua phone=0711000002 born=1990-05-01 sex=F place=a")
	b.answer("conflict", "given=field")
	b.is(id, ledger.Held, "conflict")
	b.answer("conflict", "reg-a")
	b.is(id, ledger.Done, "")
	if g, p := b.sys["reg-a"].get("P1", "given"), b.sys["reg-a"].get("P1", "phone"); g != "Elsie" || p != "0799" {
		t.Error(g, p)
	}
}

func TestWhatOthersChangedMayBeLeft(t *testing.T) {
	b := newBench(t, "", there+toReg+person+note)
	b.is(b.does("field", elsa+" text=hello"), ledger.Done, "")
	for _, r := range b.sys["reg-a"].rows {
		if r.Fields["text"] == "hello" {
			r.Fields["text"] = "hello, corrected by a clerk"
		}
	}
	w, err := b.in.Accept(t.Context(), "field", []connector.Incoming{{Kind: "record", Doc: "field/c1", Version: "gone", Withdrawn: true, Content: []byte(`{"rec":{}}`)}}, nil)
	b.must(err)
	b.run()
	id := w[0].Deliveries[0]
	b.is(id, ledger.Held, "conflict")
	b.answer("conflict", plan.Leave)
	b.is(id, ledger.Done, "")
	if n := b.sys["reg-a"].notes(); len(n) != 1 {
		t.Errorf("%v", n)
	}
}

const matching = "people: {match: standard, near: ask, several: ask}\n"

// alike is nearly Elsa: who is meant must be asked.
func alike(b *bench, id string) {
	b.sys["reg-a"].put(id, "given=Elza", "family=Mutua", "born=1990", "sex=F")
}

func TestWhoIsMeantIsAskedAndTheAnswerKept(t *testing.T) {
	nobody := strings.Replace(elsa, "nid=7 ", "", 1)
	t.Run("one of them", func(t *testing.T) {
		b := newBench(t, matching, there+toReg+person)
		alike(b, "P1")
		id := b.does("field", nobody)
		b.is(id, ledger.Held, "match")
		q := b.asked("match")
		if len(q.Offer.Sides) != 2 || q.Offer.Sides[1].Name != "P1" || len(q.Offer.Sides[1].Why) == 0 {
			t.Errorf("%+v", q.Offer)
		}
		b.answer("match", "P1")
		b.is(id, ledger.Done, "")
		b.peopleAre("reg-a", "P1 Elsa 0711000001")
		if l, err := b.l.LinkOf(t.Context(), "reg-a", "reg/Person", "P1"); err != nil || l == nil || l.Person != "field/c1" || l.State != "linked" {
			t.Errorf("%+v, %v", l, err)
		}
		b.is(b.does("field", nobody), ledger.Done, "") // not asked again
	})
	t.Run("none of them", func(t *testing.T) {
		b := newBench(t, matching, there+toReg+person)
		alike(b, "P1")
		id := b.does("field", nobody)
		b.answer("match", plan.New)
		b.is(id, ledger.Done, "")
		if n := len(b.sys["reg-a"].people()); n != 2 {
			t.Errorf("%d people", n)
		}
		b.is(b.does("field", nobody), ledger.Done, "")
	})
	t.Run("another candidate came meanwhile", func(t *testing.T) {
		b := newBench(t, matching, there+toReg+person)
		alike(b, "P1")
		id := b.does("field", nobody)
		alike(b, "P2")
		b.answer("match", plan.New)
		b.is(id, ledger.Held, "match")
		b.answer("match", "P2")
		b.is(id, ledger.Done, "")
		b.peopleAre("reg-a", "P1 Elza <nil>", "P2 Elsa 0711000001")
	})
	t.Run("nothing", func(t *testing.T) {
		b := newBench(t, matching, there+toReg+person)
		alike(b, "P1")
		id := b.does("field", nobody)
		b.answer("match", "skip")
		b.is(id, ledger.Skipped, "skipped")
	})
	t.Run("somebody who is linked to another becomes one with her", func(t *testing.T) {
		b := newBench(t, matching, there+toReg+person)
		alike(b, "P1")
		b.must(b.l.Relink(t.Context(), ledger.Link{Person: "field/c9", System: "reg-a", Kind: "reg/Person", ID: "P1"}, "ben", ""))
		id := b.does("field", nobody)
		b.is(id, ledger.Held, "match")
		b.answer("match", "P1")
		b.is(id, ledger.Done, "")
		for _, p := range []string{"field/c1", "field/c9", "reg-a/P1"} {
			if who, err := b.l.Person(t.Context(), p); err != nil || who != "field/c9" {
				t.Errorf("%s goes by %s, %v", p, who, err)
			}
		}
		b.is(b.does("field", strings.Replace(nobody, "id=c1", "id=c9", 1)), ledger.Done, "")
		if n := len(b.sys["reg-a"].people()); n != 1 {
			t.Errorf("%d people", n)
		}
	})
	t.Run("kept apart", func(t *testing.T) {
		b := newBench(t, matching, there+toReg+person)
		alike(b, "P1")
		b.must(b.l.KeepApart(t.Context(), ledger.Link{Person: "field/c1", System: "reg-a", Kind: "reg/Person", ID: "P1"}, "ben", ""))
		b.is(b.does("field", nobody), ledger.Done, "")
		if n := len(b.sys["reg-a"].people()); n != 2 {
			t.Errorf("%d people", n)
		}
	})
}

func TestADefiniteMatchIsUsedUnlessItBelongsToAnother(t *testing.T) {
	other := strings.Replace(elsa, "nid=7 ", "", 1)
	seed := func(b *bench) {
		b.sys["reg-a"].put("P1", "given=Elsa", "family=Mutua", "phone=0711000001", "born=1990-05-01", "sex=F")
	}
	b := newBench(t, matching, there+toReg+person)
	seed(b)
	b.is(b.does("field", other), ledger.Done, "")
	if n := len(b.sys["reg-a"].people()); n != 1 {
		t.Errorf("%d people", n)
	}
	for _, near := range []string{"ask", "create", "skip"} { // none of these is asked: several is
		b = newBench(t, strings.Replace(matching, "near: ask", "near: "+near, 1), there+toReg+person)
		seed(b)
		b.must(b.l.Relink(t.Context(), ledger.Link{Person: "field/c9", System: "reg-a", Kind: "reg/Person", ID: "P1"}, "ben", ""))
		b.is(b.does("field", other), ledger.Held, "match")
	}
}

func TestARecordFoundByItsNumberThatBelongsToAnotherIsAskedAbout(t *testing.T) {
	for answer, people := range map[string]string{"same": "field/c9", "skip": "field/c1"} {
		b := newBench(t, "", there+toReg+person)
		b.sys["reg-a"].put("P1", "nid=7")
		b.must(b.l.Relink(t.Context(), ledger.Link{Person: "field/c9", System: "reg-a", Kind: "reg/Person", ID: "P1"}, "ben", ""))
		id := b.does("field", elsa)
		b.is(id, ledger.Held, "linked-elsewhere")
		b.answer("linked-elsewhere", answer)
		w, err := b.l.Delivery(t.Context(), id)
		b.must(err)
		if want := map[string]ledger.State{"same": ledger.Done, "skip": ledger.Skipped}[answer]; w.Delivery.State != want {
			t.Errorf("%s: %s %s", answer, w.Delivery.State, w.Delivery.Reason)
		}
		if who, err := b.l.Person(t.Context(), "field/c1"); err != nil || who != people {
			t.Errorf("%s: c1 goes by %s, %v", answer, who, err)
		}
	}
}

func TestTheNumberOfSomebodyKeptApartIsNotWrittenOn(t *testing.T) {
	b := newBench(t, "", there+toReg+person)
	b.sys["reg-a"].put("P1", "nid=7", "given=Other")
	b.must(b.l.KeepApart(t.Context(), ledger.Link{Person: "field/c1", System: "reg-a", Kind: "reg/Person", ID: "P1"}, "ben", ""))
	b.is(b.does("field", elsa), ledger.Held, "apart")
	b.peopleAre("reg-a", "P1 Other <nil>")
}

// TestTwoDeliveriesAtOnceMakeOnePerson starts two lanes side by side: the one
// that comes second finds what the first made (law 16).
func TestTwoDeliveriesAtOnceMakeOnePerson(t *testing.T) {
	for name, second := range map[string]string{
		"the same words":   strings.NewReplacer("id=c1", "id=c2", "nid=7 ", "").Replace(elsa),
		"another spelling": "id=c2 given=Elsa family=Mutwa phone=0711000001 born=1990-05-01 sex=F place=a",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, matching, there+toReg+person)
			_, la := b.accept("field", strings.Replace(elsa, "nid=7 ", "", 1), "")
			id, lb := b.accept("field", second, "")
			wb, err := b.l.Start(t.Context(), lb, b.l.Now())
			b.must(err)
			busy := false
			b.sys["reg-a"].before = func(call.Request) int {
				if !busy { // the first is about to write: now the second plans
					busy = true
					if _, err := b.r.Run(t.Context(), wb); err != nil {
						t.Error(err)
					}
					b.is(id, ledger.Waiting, "claim")
				}
				return 0
			}
			wa, err := b.l.Start(t.Context(), la, b.l.Now())
			b.must(err)
			_, err = b.r.Run(t.Context(), wa)
			b.must(err)
			b.run()
			if n := b.sys["reg-a"].people(); len(n) != 1 {
				t.Errorf("%v", n)
			}
			b.is(id, ledger.Held, "match") // and who she is to the other is asked
		})
	}
}

func TestAMergedPatientIsLinkedToTheOneItWentInto(t *testing.T) {
	b := agreed(t, "", there+toReg+person+note)
	b.sys["reg-a"].put("P2", "nid=8", "given=Elsa", "family=Mutua", "phone=0711000001", "born=1990-05-01", "sex=F")
	b.sys["reg-a"].into("P1", "P2")
	b.is(b.does("field", strings.Replace(elsa, "nid=7 ", "", 1)+" text=hello"), ledger.Done, "")
	for id, want := range map[string]bool{"P1": false, "P2": true} {
		l, err := b.l.LinkOf(t.Context(), "reg-a", "reg/Person", id)
		b.must(err)
		if (l != nil && l.Person == "field/c1") != want {
			t.Errorf("%s: %+v", id, l)
		}
	}
	if n := b.sys["reg-a"].notes(); !slices.Equal(n, []string{"P2 hello"}) {
		t.Errorf("%v", n)
	}
}

func TestWhoMovesIsTakenBackThereAndMadeHere(t *testing.T) {
	b := newBench(t, "", there+toReg+person+note)
	b.is(b.does("field", elsa+" text=hello"), ledger.Done, "")
	b.is(b.does("field", strings.Replace(elsa, "place=a", "place=b", 1)+" text=hello"), ledger.Done, "")
	b.peopleAre("reg-a")
	if n := len(b.sys["reg-b"].people()); n != 1 || len(b.sys["reg-a"].notes()) != 0 || len(b.sys["reg-b"].notes()) != 1 {
		t.Errorf("%d people, notes %v and %v", n, b.sys["reg-a"].notes(), b.sys["reg-b"].notes())
	}
	// And back again: what was voided there keeps its id, so a new one is made.
	b.is(b.does("field", elsa+" text=hello"), ledger.Done, "")
	b.peopleAre("reg-b")
	if n := len(b.sys["reg-a"].people()); n != 1 {
		t.Errorf("%d people", n)
	}
}

func TestWhatAPersonTaughtIsKnownAfterARestart(t *testing.T) {
	b := newBench(t, "", there+toReg+strings.Replace(person, "'${rec.sex}'", "'${lookup(\"gender\", rec.sex)}'", 1))
	first := b.does("field", strings.Replace(elsa, "sex=F", "sex=w", 1))
	second := b.does("field", "id=c2 nid=8 given=Ana family=B sex=w place=a")
	b.is(first, ledger.Held, "unmapped")
	b.is(second, ledger.Held, "unmapped")
	list, err := b.desk.Questions(t.Context(), 0, 10)
	b.must(err)
	if list[0].Offer.Teach == nil || list[0].Offer.Teach.Integration == "" || list[0].Alike != 2 {
		t.Fatalf("%+v", list[0])
	}
	n, err := b.desk.Answer(t.Context(), desk.Answer{Question: list[0].ID, Answer: "F", Who: "amina"})
	b.must(err)
	b.open() // another process, whose table was loaded from the file
	b.run()
	b.is(first, ledger.Done, "")
	b.is(second, ledger.Done, "")
	if n != 2 {
		t.Errorf("%d answered", n)
	}
	b.is(b.does("field", "id=c3 nid=9 given=Eva family=C sex=w place=a"), ledger.Done, "")
}

// TestBothSidesRemember lets the field and the clinic change a phone number by
// turns and at once: who changed alone is carried, both at once go by the rule.
func TestBothSidesRemember(t *testing.T) {
	type turn struct {
		field, clinic string // the phone as each has it now; "" as it was
		first         string // whose message comes first
		state         ledger.State
		want          [2]string // field, clinic afterwards
	}
	for name, c := range map[string]struct {
		rule  string
		turns []turn
	}{
		"one side alone is carried, either way": {"ask", []turn{
			{field: "2", first: "field", state: ledger.Done, want: [2]string{"2", "2"}},
			{clinic: "3", first: "reg-a", state: ledger.Done, want: [2]string{"3", "3"}},
			{field: "4", first: "field", state: ledger.Done, want: [2]string{"4", "4"}},
			{clinic: "5", first: "reg-a", state: ledger.Done, want: [2]string{"5", "5"}},
		}},
		"a change on one side is not taken back by the other's old value": {"ask", []turn{
			{clinic: "3", first: "field", state: ledger.Done, want: [2]string{"1", "3"}},
			{first: "reg-a", state: ledger.Done, want: [2]string{"3", "3"}},
		}},
		"both at once are asked about":     {"ask", []turn{{field: "2", clinic: "3", first: "field", state: ledger.Held, want: [2]string{"2", "3"}}}},
		"both at once, the field wins":     {"field", []turn{{field: "2", clinic: "3", first: "field", state: ledger.Done, want: [2]string{"2", "2"}}}},
		"both at once, the clinic wins":    {"reg", []turn{{field: "2", clinic: "3", first: "field", state: ledger.Done, want: [2]string{"2", "3"}}}},
		"and the other way, the clinic":    {"reg", []turn{{field: "2", clinic: "3", first: "reg-a", state: ledger.Done, want: [2]string{"3", "3"}}}},
		"and the other way, the field":     {"field", []turn{{field: "2", clinic: "3", first: "reg-a", state: ledger.Done, want: [2]string{"2", "3"}}}},
		"what lost is taken once it comes": {"reg", []turn{{field: "2", clinic: "3", first: "field", state: ledger.Done, want: [2]string{"2", "3"}}, {first: "reg-a", state: ledger.Done, want: [2]string{"3", "3"}}}},
		"what lost, the field's view":      {"field", []turn{{field: "2", clinic: "3", first: "reg-a", state: ledger.Done, want: [2]string{"2", "3"}}, {first: "field", state: ledger.Done, want: [2]string{"2", "2"}}}},
		"what lost and is sent again is the lost value still": {"reg", []turn{
			{field: "2", clinic: "3", first: "field", state: ledger.Done, want: [2]string{"2", "3"}},
			{first: "field", state: ledger.Done, want: [2]string{"2", "3"}}}},
		"a value that lost is accepted later, when it is written anew": {"reg", []turn{
			{field: "2", clinic: "3", first: "field", state: ledger.Done, want: [2]string{"2", "3"}},
			{first: "reg-a", state: ledger.Done, want: [2]string{"3", "3"}},
			{field: "2", first: "field", state: ledger.Done, want: [2]string{"2", "2"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "wins: {default: "+c.rule+"}\n", there+toReg+person, back)
			b.sys["field"].put("c1", "nid=7", "given=Elsa", "phone=1")
			b.sys["reg-a"].put("P1", "nid=7", "given=Elsa")
			b.is(b.does("field", "id=c1 nid=7 given=Elsa phone=1 place=a"), ledger.Done, "")
			for i, turn := range c.turns {
				b.now = b.now.Add(time.Hour)
				if turn.field != "" {
					b.sys["field"].put("c1", "phone="+turn.field)
				}
				if turn.clinic != "" {
					b.sys["reg-a"].put("P1", "phone="+turn.clinic)
				}
				text := fmt.Sprintf("id=c1 nid=7 given=Elsa phone=%s place=a", b.sys["field"].get("c1", "phone"))
				if turn.first == "reg-a" {
					text = fmt.Sprintf("id=P1 field=c1 given=Elsa phone=%s", b.sys["reg-a"].get("P1", "phone"))
				}
				w, err := b.l.Delivery(t.Context(), b.does(turn.first, text))
				b.must(err)
				if w.Delivery.State != turn.state {
					t.Fatalf("turn %d: %s %s", i, w.Delivery.State, w.Delivery.Reason)
				}
				got := [2]string{fmt.Sprint(b.sys["field"].get("c1", "phone")), fmt.Sprint(b.sys["reg-a"].get("P1", "phone"))}
				if got != turn.want {
					t.Errorf("turn %d: %v, want %v", i, got, turn.want)
				}
			}
		})
	}
}

func TestLatestIsTheSameFromEitherSide(t *testing.T) {
	for name, c := range map[string]struct {
		clinicLater bool
		first       string
		want        [2]string
	}{
		"the clinic's is later, the field tells":  {true, "field", [2]string{"2", "3"}},
		"the field's is later, the field tells":   {false, "field", [2]string{"2", "2"}},
		"the clinic's is later, the clinic tells": {true, "reg-a", [2]string{"3", "3"}},
		"the field's is later, the clinic tells":  {false, "reg-a", [2]string{"2", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "wins: {default: latest}\n", there+toReg+person, back)
			b.sys["field"].put("c1", "nid=7", "given=Elsa", "phone=1")
			b.sys["reg-a"].put("P1", "nid=7", "given=Elsa")
			b.is(b.does("field", "id=c1 nid=7 given=Elsa phone=1 place=a"), ledger.Done, "")
			b.now = b.now.Add(24 * time.Hour)
			sooner, later := b.now.Add(-2*time.Hour), b.now.Add(-time.Hour)
			field, clinic := later, sooner
			if c.clinicLater {
				field, clinic = sooner, later
			}
			b.sys["field"].put("c1", "phone=2")
			b.sys["field"].changed("c1", field)
			b.sys["reg-a"].put("P1", "phone=3")
			b.sys["reg-a"].changed("P1", clinic)
			now := b.now
			text := "id=c1 nid=7 given=Elsa phone=2 place=a"
			b.now = field
			if c.first == "reg-a" {
				text, b.now = "id=P1 field=c1 given=Elsa phone=3", clinic
			}
			at := b.now
			b.now = now
			id := b.sendAt(c.first, text, at)
			b.run()
			b.is(id, ledger.Done, "")
			if got := [2]string{fmt.Sprint(b.sys["field"].get("c1", "phone")), fmt.Sprint(b.sys["reg-a"].get("P1", "phone"))}; got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// sendAt is send, of something that happened then.
func (b *bench) sendAt(from, fields string, at time.Time) int64 {
	b.Helper()
	content, err := json.Marshal(map[string]any{"rec": rec(fields)})
	b.must(err)
	b.version++
	got, err := b.in.Accept(b.Context(), from, []connector.Incoming{{Kind: "record", Doc: from + "/" + fmt.Sprint(rec(fields)["id"]), Version: fmt.Sprint("v", b.version), Event: at, Content: content}}, nil)
	b.must(err)
	return got[0].Deliveries[0]
}
