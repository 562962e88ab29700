package invariants

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// mostPeople of one walk: few, so that much happens to each.
const mostPeople = 5

// move is something that happens, with how often it does.
type move struct {
	weight int
	do     func(w *walk)
}

var moves = []move{
	{4, (*walk).somebodyComes},
	{14, func(w *walk) { w.changeInCommCare(w.anybody(), w.some()...) }},
	{14, func(w *walk) { w.changeInOpenMRS(w.anybody(), w.some()...) }},
	{6, (*walk).clash},
	{3, (*walk).backAndForth},
	{18, func(w *walk) { w.deliver(1 + w.rng.IntN(4)) }},
	{4, (*walk).deliverAgain},
	{10, func(w *walk) { w.poll(serverA, "patient") }},
	{4, func(w *walk) { w.poll(serverA, "sweep") }},
	{4, func(w *walk) { w.poll(source, "forms") }},
	{2, (*walk).repeatEntry},
	{4, (*walk).trouble},
	{3, (*walk).calmDown},
	{1, (*walk).goDown},
	{1, func(w *walk) { w.note(-1, "Kiungo is restarted"); w.stop(); w.revive() }},
	{2, (*walk).killSoon},
	{1, (*walk).lag},
	{4, (*walk).answerOne},
	{10, (*walk).quietly},
	{1, (*walk).void},
	{1, (*walk).archive},
	{1, (*walk).closeCase},
	{1, (*walk).mergeTwice},
}

// play walks, and looks twice, in the middle and at the end, whether all is as
// it should be when nothing moves any more.
func (w *walk) play(steps int) {
	w.t.Helper()
	w.fault = w.strike
	if traced() {
		w.witness.before = w.noteCall
	}
	w.revive()
	w.somebodyComes()
	total := 0
	for _, m := range moves {
		total += m.weight
	}
	middle := steps/3 + w.rng.IntN(steps/3)
	for w.drawn = 1; w.drawn <= steps && !w.t.Failed(); w.drawn++ {
		at := w.rng.IntN(total)
		for _, m := range moves {
			if at -= m.weight; at < 0 {
				m.do(w)
				break
			}
		}
		w.collect()
		time.Sleep(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
		w.reviveIfKilled()
		w.noteAgreed()
		if w.drawn == middle {
			w.comeToRest()
			w.checkAll(false)
		}
	}
	w.comeToRest()
	w.checkAll(false)
	w.answerAll()
	w.checkAll(true)
	w.staysQuiet()
	if testing := w.t.Failed(); !testing && traced() {
		w.tell(w.people...)
	}
}

func (w *walk) anybody() *one { return pick(w.rng, w.people...) }

// some are one to three fields.
func (w *walk) some() []string {
	var out []string
	for range 1 + w.rng.IntN(3) {
		name := pick(w.rng, fields...).name
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// somebodyComes is registered in one system, or in both.
func (w *walk) somebodyComes() {
	if len(w.people) >= mostPeople {
		return
	}
	p := w.somebodyNew()
	where := w.rng.IntN(5)
	if where != 0 && where != 1 {
		w.registerInCommCare(p)
		w.note(p.n, "a worker registers her as case %s", p.caseID)
	}
	if where == 4 {
		w.commcare.CatchUp() // a case that its search does not show yet cannot be found: she would be made twice, and asked about
		time.Sleep(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
	}
	if where == 0 || where == 1 || where == 4 {
		w.registerInOpenMRS(p)
	}
}

// clash changes one field on both sides before either is told.
func (w *walk) clash() {
	p, name := w.anybody(), pick(w.rng, fields...).name
	if w.rng.IntN(2) == 0 {
		w.changeInCommCare(p, name)
		time.Sleep(3 * time.Second)
		w.changeInOpenMRS(p, name)
		return
	}
	w.changeInOpenMRS(p, name)
	time.Sleep(3 * time.Second)
	w.changeInCommCare(p, name)
}

// backAndForth changes a field and changes it back.
func (w *walk) backAndForth() {
	p, name := w.anybody(), pick(w.rng, fields...).name
	for range 2 {
		if w.rng.IntN(2) == 0 {
			w.changeInCommCare(p, name)
		} else {
			w.changeInOpenMRS(p, name)
		}
		time.Sleep(2 * time.Second)
	}
}

// collect has CommCare hand over what it forwards, as it is now.
func (w *walk) collect() {
	w.remember()
	w.commcare.Deliver(w.t.Context(), &http.Client{Transport: postbag{w}})
}

// postbag takes what CommCare sends, to be delivered late, twice, or in another order.
type postbag struct{ w *walk }

func (x postbag) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var doc struct {
		ID     string `json:"id"`
		CaseID string `json:"case_id"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	about := "form " + doc.ID
	if doc.ID == "" {
		about = "case " + doc.CaseID
	}
	x.w.written++
	x.w.post = append(x.w.post, letter{about, x.w.written, r.Header, body})
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

// deliver delivers some letters, any of those that wait.
func (w *walk) deliver(n int) {
	for range n {
		if len(w.post) == 0 {
			return
		}
		i := 0
		if w.rng.IntN(3) == 0 {
			i = w.rng.IntN(len(w.post))
		}
		l := w.post[i]
		if !w.hand(l) {
			return // it stays in the bag: it was not acknowledged
		}
		w.post = slices.Delete(w.post, i, i+1)
		if w.newest[l.about] <= l.n {
			w.newest[l.about] = l.n
			w.sent = append(w.sent, l)
		}
	}
}

func (w *walk) deliverAgain() {
	if again := w.again(); len(again) > 0 {
		w.hand(pick(w.rng, again...))
	}
}

// again are the letters that CommCare may send once more: the newest of each
// document. An older one, once known, is news when it comes again (a form that
// is no longer archived has the version that it had before).
func (w *walk) again() []letter {
	return slices.DeleteFunc(slices.Clone(w.sent), func(l letter) bool { return w.newest[l.about] != l.n })
}

// hand gives a letter to Kiungo, and tells whether it was acknowledged.
func (w *walk) hand(l letter) bool {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/in/"+source, bytes.NewReader(l.body))
	r.SetPathValue("system", source)
	r.Header = l.header.Clone()
	out := httptest.NewRecorder()
	w.engine.Intake.ServeHTTP(out, r)
	w.note(w.about(string(l.body)), "%s is delivered: %d", l.about, out.Code)
	if out.Code != http.StatusAccepted && out.Code != http.StatusServiceUnavailable {
		w.t.Fatalf("intake answered %d to %s: %s", out.Code, l.about, out.Body)
	}
	return out.Code == http.StatusAccepted
}

// about is the number of the person whom a text names by an id, or -1.
func (w *walk) about(text string) int {
	for _, p := range w.people {
		for _, id := range append([]string{p.caseID, p.patient, p.nationalID()}, p.ids...) {
			if id != "" && strings.Contains(text, id) {
				return p.n
			}
		}
	}
	return -1
}

// remember keeps the ids under which each person is known by now.
func (w *walk) remember() {
	keep := func(number string, ids ...string) {
		for _, p := range w.people {
			if p.nationalID() != number {
				continue
			}
			for _, id := range ids {
				if id != "" && !slices.Contains(p.ids, id) {
					p.ids = append(p.ids, id)
				}
			}
		}
	}
	for _, c := range w.cases() {
		keep(c.Properties["national_id"], c.ID, c.External)
	}
	for _, d := range w.patients() {
		keep(d.number(), d.UUID)
	}
}

func (w *walk) poll(system, stream string) {
	err := w.engine.Poll(w.t.Context(), system, stream)
	w.note(-1, "%s/%s is polled: %v", system, stream, err)
}

// repeatEntry has the newest entry of the feed appear once more, or change
// places with the one before it.
func (w *walk) repeatEntry() {
	if w.rng.IntN(2) == 0 {
		w.must(w.openmrs.Seed([]byte(`{"feeds":[{"category":"patient","swapLast":true}]}`)))
		w.note(-1, "the two newest entries of the feed change places")
		return
	}
	w.must(w.openmrs.Seed([]byte(`{"feeds":[{"category":"patient","repeatLast":true}]}`)))
	w.note(-1, "the newest entry of the feed is repeated")
}

// trouble switches a fault of one system on.
func (w *walk) trouble() {
	name := pick(w.rng, source, serverA)
	f := simulate.Fault{Kind: pick(w.rng, simulate.LostResponse, simulate.LostResponse, simulate.TimeoutAfter, simulate.TimeoutAfter, simulate.TimeoutBefore,
		simulate.Error500After, simulate.Error500, simulate.Error503, simulate.HTMLPage, simulate.TooMany, simulate.Refuse),
		Call: 1 + w.rng.IntN(6), Times: 1 + w.rng.IntN(2)}
	switch f.Kind {
	case simulate.Refuse, simulate.TimeoutAfter, simulate.TimeoutBefore:
		// Connectors read under a lock: a read that takes its time would stop the bubble's.
	default:
		if w.rng.IntN(3) == 0 {
			f.Match = "*"
		}
	}
	w.lines[name].Switch(f)
	w.note(-1, "trouble of %s: %s at %q call %d, %d times", name, f.Kind, f.Match, f.Call, f.Times)
}

func (w *walk) calmDown() {
	for _, l := range w.lines {
		l.Calm()
	}
	w.note(-1, "no trouble any more")
}

func (w *walk) goDown() {
	name := pick(w.rng, source, serverA)
	w.lines[name].Switch(simulate.Fault{Kind: simulate.Down, Match: "*"})
	w.note(-1, "%s is down", name)
}

// lag lets CommCare's search index fall behind, or catch up.
func (w *walk) lag() {
	if w.rng.IntN(2) == 0 {
		w.commcare.LagIndex()
		w.note(-1, "CommCare's index lags")
		return
	}
	w.commcare.CatchUp()
	w.note(-1, "CommCare's index is up to date")
}

// strike is the ledger's fault: the killer's, while there is one.
func (w *walk) strike(point string) error {
	if k := w.kill.Load(); k != nil {
		return k.fault(point)
	}
	return nil
}

// killSoon kills Kiungo at one of the next commits.
func (w *walk) killSoon() {
	k := &killer{at: int64(1 + w.rng.IntN(30)), stop: func() {}}
	w.kill.Store(k)
	w.note(-1, "Kiungo is killed at point %d from now", k.at)
}

func (w *walk) reviveIfKilled() {
	if k := w.kill.Load(); k != nil && k.struck() {
		w.note(-1, "Kiungo was killed, and is started again")
		w.kill.Store(nil)
		w.stop()
		w.revive()
	}
}

// revive starts Kiungo; it may be killed while it starts.
func (w *walk) revive() {
	w.t.Helper()
	w.restarts++
	for range 20 {
		err := w.open()
		if err == nil {
			return
		}
		if !errors.Is(err, errKilled) && !errors.Is(err, ledger.ErrClosed) {
			w.t.Fatal(err)
		}
		w.stop()
		w.kill.Store(nil)
	}
	w.t.Fatal("Kiungo does not start")
}

func (w *walk) quietly() {
	if !w.tryToRest() {
		w.reviveIfKilled()
	}
}

// tryToRest waits until nothing moves by itself; false if Kiungo was killed.
func (w *walk) tryToRest() bool {
	w.t.Helper()
	for pause, began := 2*time.Millisecond, time.Now(); ; pause = min(2*pause, 5*time.Second) {
		time.Sleep(pause)
		if k := w.kill.Load(); k != nil && k.struck() {
			return false
		}
		err := w.engine.Settle(w.t.Context(), -1)
		if err == nil {
			return true
		}
		if k := w.kill.Load(); k != nil && k.struck() {
			return false
		}
		if time.Since(began) > patience {
			w.tell(w.people...)
			w.t.Fatal(err)
		}
	}
}

func (w *walk) desk() *desk.Desk {
	return &desk.Desk{Ledger: w.ledger, Ring: w.engine.Ring, Learned: w.engine.Learned}
}

// answerOne answers any open question in any way.
func (w *walk) answerOne() {
	open, err := w.desk().Questions(w.t.Context(), 0, 100)
	if err == nil && len(open) > 0 {
		w.answer(pick(w.rng, open...), false)
	}
}

// answer answers a question: at random, or so that it is over.
func (w *walk) answer(q desk.Asked, over bool) {
	choices := slices.Clone(q.Offer.Choices)
	if !over {
		choices = slices.DeleteFunc(choices, func(c question.Choice) bool { return c.Value == question.Skip && w.rng.IntN(4) != 0 })
	}
	if len(choices) == 0 {
		return
	}
	c := pick(w.rng, choices...)
	who := w.whose(q.Delivery)
	if q.Kind == "match" || q.Kind == "several" {
		// A clerk knows who it is; what a wrong answer makes is no fault of ours.
		c = w.right(q, who)
	}
	_, err := w.desk().Answer(w.t.Context(), desk.Answer{Question: q.ID, Answer: c.Value, Who: "test"})
	w.note(who, "question %d of delivery %d (%s: %s) is answered %s: %v", q.ID, q.Delivery, q.Kind, q.Text, c.Value, err)
	if c.Value != question.Retry && q.Kind != "conflict" && q.Kind != "match" && who > 0 {
		w.people[who-1].loosen("a person answered " + q.Kind + " with " + c.Value)
	}
}

// right is the true answer to who is meant.
func (w *walk) right(q desk.Asked, who int) question.Choice {
	for _, c := range q.Offer.Choices {
		if len(c.Value) > 20 && w.about(c.Value) == who {
			return c
		}
	}
	for _, c := range q.Offer.Choices {
		if c.Value == "new" {
			return c
		}
	}
	return q.Offer.Choices[len(q.Offer.Choices)-1]
}

func (p *one) loosen(why string) {
	if p.loose == "" {
		p.loose = why
	}
}

// whose is the number of the person whom a delivery is about.
func (w *walk) whose(delivery int64) int {
	d, err := w.ledger.Delivery(w.t.Context(), delivery)
	if err != nil {
		return -1
	}
	text := d.LaneKey + " " + d.Delivery.Doc + " " + d.Delivery.Each + " " + string(d.Message.Content)
	return w.about(text)
}

func (w *walk) void() {
	p := w.anybody()
	id := w.patientOf(p)
	if id == "" {
		return
	}
	p.loosen("voided")
	w.atClinic(httptest.NewRequest(http.MethodDelete, "/ws/rest/v1/patient/"+id+"?reason=mistake", nil))
	w.note(p.n, "a clerk voids her")
}

func (w *walk) archive() {
	p := w.anybody()
	if len(p.forms) == 0 {
		return
	}
	p.loosen("a form was archived")
	f := pick(w.rng, p.forms...)
	w.must(w.commcare.Archive(f.ID))
	w.newest["form "+f.ID] = math.MaxInt
	w.note(p.n, "form %s is archived", f.ID[24:])
}

func (w *walk) closeCase() {
	p := w.anybody()
	if w.caseOf(p) == "" {
		return
	}
	p.loosen("closed")
	f := w.fillIn(p, map[string]any{"close": ""})
	w.note(p.n, "a worker closes her case in form %s", f.ID[24:])
}

// mergeTwice registers her once more at the clinic, under a number of her own,
// and merges both, some time later.
func (w *walk) mergeTwice() {
	if !*pingMerges || len(w.people) >= 2*mostPeople {
		return
	}
	p := w.anybody()
	id := w.patientOf(p)
	if id == "" {
		return
	}
	twin := w.somebodyNew()
	w.registerInOpenMRS(twin)
	for range w.rng.IntN(4) {
		w.poll(serverA, "patient")
		w.quietly()
		w.reviveIfKilled()
	}
	id = w.patientOf(p)
	if id == "" {
		return
	}
	p.loosen("merged")
	twin.loosen("merged")
	r := httptest.NewRequest(http.MethodPost, "/admin/patients/mergePatients.form", bytes.NewReader(asJSON(map[string]any{"preferred": id, "notPreferred": []string{twin.patient}})))
	w.atClinic(r)
	w.note(p.n, "person %d is merged into her", twin.n)
	w.note(twin.n, "she is merged into person %d", p.n)
	w.merged = append(w.merged, [2]int{p.n, twin.n})
}

// comeToRest ends all trouble and has everything delivered and polled until
// nothing moves.
func (w *walk) comeToRest() {
	w.t.Helper()
	w.reviveIfKilled()
	w.kill.Store(nil)
	w.calmDown()
	w.commcare.CatchUp()
	time.Sleep(30 * time.Minute) // what is down is probed, and found up
	last := -1
	for round := 0; ; round++ {
		w.settle()
		w.collect()
		for len(w.post) > 0 {
			w.deliver(len(w.post))
		}
		for _, s := range [][2]string{{serverA, "patient"}, {serverA, "sweep"}, {source, "forms"}} {
			if err := w.engine.Poll(w.t.Context(), s[0], s[1]); err != nil {
				w.t.Fatalf("poll %s/%s when all is quiet: %v", s[0], s[1], err)
			}
		}
		w.settle()
		w.collect()
		w.noteAgreed()
		if n := w.witness.seen; len(w.post) == 0 && n == last {
			return
		} else {
			last = n
		}
		time.Sleep(2 * time.Hour) // longer than the sweeps look back
		if round == 12 {
			w.tell(w.people...)
			w.t.Fatalf("it does not come to rest: %d letters wait, %d calls so far", len(w.post), last)
		}
	}
}

// answerAll answers what is open until nothing is.
func (w *walk) answerAll() {
	w.t.Helper()
	tries := map[string]int{}
	for range 60 {
		open, err := w.desk().Questions(w.t.Context(), 0, 100)
		w.must(err)
		n := 0
		for _, q := range open {
			key := fmt.Sprint(q.Delivery, q.Kind)
			if tries[key]++; tries[key] > 4 {
				continue
			}
			if tries[key] > 2 {
				for _, c := range q.Offer.Choices {
					if c.Value == question.Skip {
						q.Offer.Choices = []question.Choice{c}
						break
					}
				}
			}
			w.answer(q, true)
			n++
		}
		if n == 0 {
			break
		}
		w.comeToRest()
	}
	open, err := w.desk().Questions(w.t.Context(), 0, 100)
	w.must(err)
	for _, q := range open {
		w.tell(w.people...)
		w.t.Fatalf("question %d (%s) comes again and again: %s", q.ID, q.Kind, q.Text)
	}
}

// staysQuiet looks that nothing is called any more, whatever comes again.
func (w *walk) staysQuiet() {
	w.t.Helper()
	if w.t.Failed() {
		return
	}
	calls, requests := w.witness.seen, w.requests()
	before := maps.Clone(w.state())
	for range 2 {
		for _, l := range w.again() {
			w.hand(l)
		}
		for _, s := range [][2]string{{serverA, "patient"}, {serverA, "sweep"}, {source, "forms"}} {
			w.must(w.engine.Poll(w.t.Context(), s[0], s[1]))
		}
		w.settle()
		time.Sleep(24 * time.Hour)
		w.settle()
	}
	if n := w.witness.seen - calls; n != 0 {
		w.tell(w.people...)
		for _, p := range w.people {
			w.history(p)
		}
		w.t.Errorf("%d changing requests after everything was quiet", n)
	}
	w.same("after everything was quiet", before, w.state())
	if n, most := w.requests()-requests, 40*len(w.people)+100; n > most {
		w.t.Errorf("%d requests by polls alone, want %d at most", n, most)
	}
}

func (w *walk) requests() int {
	n := 0
	for _, l := range w.lines {
		n += l.Count()
	}
	return n
}
