//go:build unix

package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

const (
	// restWithin bounds how long everything may take to end once nothing is
	// broken any more. It guards against a hang and measures nothing.
	restWithin = 2 * time.Minute
	// mostRetries is how often an operator tries one delivery again.
	mostRetries = 6
)

const ended = `('done', 'skipped', 'superseded', 'refused', 'undone')`

// rest waits until every delivery has ended. What was run at two crashes is held
// as their possible cause (law 25): an operator has it tried again; so with all
// that is held if asks says that the trial makes people decide.
func (w *world) rest(asks bool) {
	w.Helper()
	w.calm.Store(true)
	retried := map[int64]int{}
	for began := time.Now(); ; time.Sleep(15 * time.Millisecond) {
		open := w.tend(asks, retried)
		if len(open) == 0 {
			return
		}
		if time.Since(began) > restWithin {
			var list []string
			for _, row := range open[:min(5, len(open))] {
				list = append(list, fmt.Sprintf("%d is %s (%s) %s", row[0], text(row[1]), text(row[2]), w.reason(row[0].(int64))))
			}
			w.Fatalf("%d deliveries do not end: %s\n%v", len(open), strings.Join(list, "; "), w.rows(`SELECT id, due_at, owner, epoch, running, merging, recovering FROM lane WHERE due_at IS NOT NULL OR owner <> 0`))
		}
	}
}

// tend gives the deliveries that have not ended, and has those that are held
// tried again.
func (w *world) tend(asks bool, retried map[int64]int) (open [][]any) {
	w.Helper()
	open = w.rows(`SELECT id, state, code FROM delivery WHERE state NOT IN ` + ended)
	for _, row := range open {
		id, state, code := row[0].(int64), text(row[1]), text(row[2])
		if state != string(ledger.Held) && state != string(ledger.HalfUndone) {
			continue
		}
		if code == "unknown" && w.board != nil {
			w.say(id)
			continue
		}
		if code != "poison" && !asks || retried[id] == mostRetries {
			w.Fatalf("delivery %d is %s (%s): %s", id, state, code, w.reason(id))
		}
		if w.retry(id) {
			retried[id]++
			if code != "poison" {
				w.tally.asked++
			}
		}
	}
	return open
}

// reason says why a delivery is as it is; in the ledger's file that is sealed.
func (w *world) reason(id int64) string {
	for _, d := range w.deliveries() {
		if d.ID == id {
			return d.Reason
		}
	}
	return "it is not there"
}

func text(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

// retry has a delivery tried again, as an operator does.
func (w *world) retry(id int64) bool {
	m := w.someone(int(id))
	if m == nil {
		return false
	}
	answer, err := http.Post(fmt.Sprintf("%s/retry/%d", m.at(), id), "", nil)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// deliveries lists what the ledger has.
func (w *world) deliveries() (list []ledger.Delivery) {
	w.Helper()
	answer, err := http.Get(w.someone(0).at() + "/deliveries")
	w.must(err)
	defer answer.Body.Close()
	w.must(json.NewDecoder(answer.Body).Decode(&list))
	return list
}

// balance balances the books of a round at rest.
func (w *world) balance() {
	w.Helper()
	list := w.deliveries()
	w.accounts(list)
	w.nothingTaken()
	w.intents()
	w.order(list)
	w.epochs()
	w.takeovers()
	found := compare(w.load.wanted(), w.held())
	w.tally.lost += len(found.lost)
	w.tally.doubled += len(found.doubled)
	w.tally.disordered += len(found.disordered)
	w.tally.half += len(found.half)
	for i, x := range found.all() {
		if i == 10 {
			w.Errorf("… and %d more", len(found.all())-10)
			break
		}
		w.Error(x)
	}
	if len(found.all()) > 0 {
		w.explain(found.all()[0])
	}
}

// explain tells of the first fault all that was sent by deliveries about that
// patient, and what became of them. All of it was made up by the seed.
func (w *world) explain(found string) {
	w.Helper()
	lanes := map[int64]bool{}
	for _, name := range []string{clinictest.ServerA, clinictest.ServerB} {
		state, err := w.sims[name].State()
		w.must(err)
		var s clinicState
		w.must(json.Unmarshal(state, &s))
		for _, p := range s.Patients {
			if !strings.Contains(found, p.id("Old Identification Number")) {
				continue
			}
			for _, q := range w.sims[name].Traffic().Requests() {
				id, ours := clinictest.ParseCall(q.CallID)
				if ours && strings.Contains(q.Path+q.Body, p.UUID) {
					lanes[w.lane(id.Delivery)] = true
				}
			}
		}
	}
	about := map[int64]bool{}
	for _, d := range w.deliveries() {
		if lanes[d.Lane] {
			about[d.ID] = true
			w.Logf("delivery %d (place %d) of %s %s version %s: %s, try %d, plan %d: %s", d.ID, d.Seq, d.Flow, d.Doc, d.Version, d.State, d.Attempts, d.PlanNo, d.Reason)
		}
	}
	for name, sim := range w.sims {
		for _, q := range sim.Traffic().Requests() {
			if id, ours := clinictest.ParseCall(q.CallID); ours && about[id.Delivery] && q.Changes() {
				path, _, _ := strings.Cut(q.Path, "?")
				w.Logf("%s to %s at %s: %s %s %s -> %d %s, executed %t (%s)", q.From.Format("15:04:05.000"), q.To.Format("05.000"), name, q.Method, path, q.Body, q.Status, q.Fault, q.Executed, q.CallID)
			}
		}
	}
	for _, a := range w.gate.arrivals() {
		if about[a.Delivery] {
			w.Logf("%s to %s at the gate of %s: %s %s of delivery %d plan %d call %s epoch %d, left %t", a.from.Format("15:04:05.000"), a.to.Format("05.000"), a.system, a.method, a.path, a.Delivery, a.Plan, a.Call, a.Epoch, a.left)
		}
	}
}

func (w *world) lane(delivery int64) int64 {
	for _, d := range w.deliveries() {
		if d.ID == delivery {
			return d.Lane
		}
	}
	return 0
}

// accounts checks that every acknowledged message has its deliveries, one for
// each version of a document, and that the sums that the ledger keeps are right.
func (w *world) accounts(list []ledger.Delivery) {
	w.Helper()
	docs := map[string]int{}
	states := map[string]int64{}
	for _, d := range list {
		docs[d.Doc]++
		states[string(d.State)]++
		if d.State != ledger.Done && d.State != ledger.Superseded {
			w.Errorf("delivery %d is %s (%s): %s", d.ID, d.State, d.Code, d.Reason)
		}
	}
	for _, s := range w.load.people {
		for _, f := range s.forms[:s.acked.Load()] {
			docs[f.ID]--
		}
	}
	for _, doc := range w.load.polled {
		docs[doc]--
	}
	for doc, n := range docs {
		switch {
		case n < 0:
			w.tally.lost -= n
			w.Errorf("document %s: %d versions that were acknowledged have no delivery", doc, -n)
		case n > 0:
			w.tally.doubled += n
			w.Errorf("document %s: %d deliveries more than versions", doc, n)
		}
	}
	for _, row := range w.rows(`SELECT state, CAST(SUM(n) AS BIGINT) FROM tally WHERE flow <> '' GROUP BY state`) {
		if s := text(row[0]); s != string(ledger.NotRouted) {
			states[s] -= row[1].(int64)
		}
	}
	for s, n := range states {
		if n != 0 {
			w.Errorf("%d deliveries are %s beyond those counted", n, s)
		}
	}
}

// nothingTaken checks that at rest no lane is owned, due, merging or recovering,
// nothing is claimed or waited for, and no question is open.
func (w *world) nothingTaken() {
	w.Helper()
	for _, c := range []struct{ what, query string }{
		{"lanes are owned, running, merging or recovering", `SELECT COUNT(*) FROM lane WHERE owner <> 0 OR running <> 0 OR merging <> 0 OR recovering <> 0`},
		{"lanes have something in them", `SELECT COUNT(*) FROM delivery_lane`},
		{"records are claimed", `SELECT COUNT(*) FROM claim`},
		{"deliveries wait for claims", `SELECT COUNT(*) FROM claim_wait`},
		{"questions are open", `SELECT COUNT(*) FROM question WHERE state = 'open'`},
		{"links are pending", `SELECT COUNT(*) FROM link WHERE state = 'pending'`},
	} {
		// The commit that ends the last delivery frees its lane; a doorbell that is
		// late still looks at it for a moment.
		n := int64(-1)
		for range 200 {
			if n = w.rows(c.query)[0][0].(int64); n == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n != 0 {
			w.Errorf("at rest %d %s", n, c.what)
		}
	}
}

// intents checks that the journal has an intent of every changing request, and
// had it when the request came, where it could be asked then.
func (w *world) intents() {
	w.Helper()
	known := map[clinictest.CallID]bool{}
	for _, row := range w.rows(`SELECT plan, call, intent FROM journal`) {
		plan := row[0].(int64)
		for _, name := range append(strings.Fields(text(row[2])), text(row[1])) {
			known[clinictest.CallID{Delivery: plan / planNumbers, Plan: plan % planNumbers, Call: name}] = true
		}
	}
	for _, a := range w.gate.arrivals() {
		id := a.CallID
		id.Epoch = 0
		switch {
		case a.wrong != "":
			w.Errorf("call %s: %s", a, a.wrong)
		case !known[id]:
			w.Errorf("call %s is not in the journal", a)
		}
	}
	if n, all := w.gate.unasked, w.gate.count(); n > all/2 && all > 20 {
		w.Errorf("%d of %d calls could not be looked up when they came: the trial proves little", n, all)
	}
}

// order checks each lane's requests: one delivery after the other by receive
// number, none while another is under way, none of an epoch that has passed but
// for what a paused or dying node had already sent.
func (w *world) order(list []ledger.Delivery) {
	w.Helper()
	by := map[int64]ledger.Delivery{}
	for _, d := range list {
		by[d.ID] = d
	}
	type place struct {
		epoch, seq int64
		doc        string
		began      map[int64]bool
		before     []*arrival
	}
	lanes := map[int64]*place{}
	came := w.gate.arrivals()
	slices.SortStableFunc(came, func(a, b *arrival) int { return a.from.Compare(b.from) })
	for _, a := range came {
		d, ok := by[a.Delivery]
		if !ok {
			w.Errorf("call %s is of a delivery that is not there", a)
			continue
		}
		l := lanes[d.Lane]
		if l == nil {
			l = &place{began: map[int64]bool{}}
			lanes[d.Lane] = l
		}
		if a.late || a.Epoch < l.epoch {
			w.tally.late++
			continue
		}
		l.epoch = a.Epoch
		if !l.began[d.ID] {
			l.began[d.ID] = true
			if d.Seq < l.seq || d.Seq == l.seq && d.Doc != l.doc {
				w.tally.disordered++
				w.Errorf("call %s, the first of receive number %d, came after number %d of its lane", a, d.Seq, l.seq)
			}
			l.seq, l.doc = d.Seq, d.Doc
		}
		for _, b := range l.before {
			// That a node left is noticed here a moment later.
			if b.to.After(a.from) && b.Epoch == a.Epoch && !(b.left && b.to.Sub(a.from) < noticed) {
				w.tally.disordered++
				w.Errorf("call %s came while %s was under way", a, b)
			}
		}
		l.before = append(l.before[max(0, len(l.before)-4):], a)
	}
	if w.tally.late > w.mayBeLate {
		w.Errorf("%d calls came of an epoch that had passed, at most %d can", w.tally.late, w.mayBeLate)
	}
}

// noticed is how much later a server may notice that a client has left.
const noticed = time.Second

// epochs checks that no line was added to a journal by a worker whose lane had
// been taken over.
func (w *world) epochs() {
	w.Helper()
	last := map[int64]int64{}
	for _, row := range w.rows(`SELECT plan, epoch FROM journal ORDER BY plan, n`) {
		plan, epoch := row[0].(int64), row[1].(int64)
		if epoch < last[plan] {
			w.Errorf("delivery %d: a line of epoch %d was accepted after epoch %d", plan/planNumbers, epoch, last[plan])
		}
		last[plan] = epoch
	}
}

// orphan is a lane that a node had when it was killed or paused.
type orphan struct {
	delivery, epoch, at int64
}

// orphaned notes what a node has in hand, now that it does nothing any more.
func (w *world) orphaned(node int64) {
	w.Helper()
	now := w.rows(`SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)`)[0][0].(int64)
	for _, row := range w.rows(fmt.Sprintf(`SELECT running, epoch FROM lane WHERE owner = %d AND running <> 0`, node)) {
		w.orphans = append(w.orphans, orphan{row[0].(int64), row[1].(int64), now})
	}
}

// takeovers works out, from the ledger's own times, how long it took until
// another node went on with what a dead one had in hand.
func (w *world) takeovers() {
	w.Helper()
	for _, o := range w.orphans {
		rows := w.rows(fmt.Sprintf(`SELECT COALESCE((SELECT MIN(at) FROM journal WHERE plan >= %d AND plan < %d AND epoch > %d), (SELECT ended FROM delivery WHERE id = %d), 0)`,
			o.delivery*planNumbers, (o.delivery+1)*planNumbers, o.epoch, o.delivery))
		at := rows[0][0].(int64)
		if at < o.at {
			continue // it had come to its end
		}
		w.tally.takeover = max(w.tally.takeover, time.Duration(at-o.at)*time.Microsecond)
	}
}

// nodeNumber gives the ledger's number of a member's process.
func (w *world) nodeNumber(m *member) int64 {
	w.Helper()
	rows := w.rows(fmt.Sprintf(`SELECT MAX(id) FROM node WHERE pid = %d`, m.cmd.Process.Pid))
	if len(rows) == 0 || rows[0][0] == nil {
		w.Fatalf("node %d is not in the ledger", m.n)
	}
	return rows[0][0].(int64)
}
