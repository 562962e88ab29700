package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// RunModel drives a ledger by random orders, crashes and decisions, and checks
// after each that nothing is lost (invariant 1), that a lane is alone and in
// order (4), and that no wake is lost (8).
func RunModel(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "model")
		if err != nil {
			rt.Fatal(err)
		}
		m := &model{T: rt, open: func(c Config) ledger.Ledger { return open(attempt{t, rt}, dir, c) }, now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC),
			running: map[int64]*ledger.Work{}, lanes: map[int64][]string{}, claims: map[string]int64{}, pending: map[int64][]ledger.Link{}, planned: map[int64]bool{}}
		m.reopen()
		rt.Cleanup(func() { m.l.Close() })
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			m.step()
			m.check()
		}
		m.drain()
	})
}

// attempt is one of the test's many runs: what is put off to the end of the
// test is put off to the end of the run.
type attempt struct {
	*testing.T
	run *rapid.T
}

func (a attempt) Cleanup(f func()) { a.run.Cleanup(f) }
func (a attempt) Failed() bool     { return a.run.Failed() }

type model struct {
	*rapid.T
	open func(Config) ledger.Ledger
	l    ledger.Ledger
	now  time.Time
	kill int // commits until the process is killed, 0 never

	docs    int
	running map[int64]*ledger.Work // by delivery
	lanes   map[int64][]string     // keys of the lanes of each accepted delivery
	claims  map[string]int64
	pending map[int64][]ledger.Link
	planned map[int64]bool
	merged  bool
}

var bg = context.Background()

func (m *model) reopen() {
	if m.l != nil {
		m.l.Close()
	}
	m.kill = 0
	clear(m.running)
	m.l = m.open(Config{Clock: func() time.Time { return m.now }, Fault: func(string) error {
		if m.kill > 0 {
			if m.kill--; m.kill == 0 {
				return errKill
			}
		}
		return nil
	}})
}

// did handles the outcome of an order: a killed ledger is opened again.
func (m *model) did(err error, allowed ...error) bool {
	switch {
	case err == nil:
		return true
	case errors.Is(err, ledger.ErrClosed):
		m.reopen()
		return false
	case slices.ContainsFunc(allowed, func(a error) bool { return errors.Is(err, a) }):
		return false
	}
	m.Fatal(err)
	return false
}

func (m *model) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(m.T, label) }

func (m *model) step() {
	switch m.pick("order", 14) {
	case 0, 1, 2:
		m.accept()
	case 3, 4, 5:
		m.start()
	case 6:
		m.journal()
	case 7, 8, 9:
		m.end()
	case 10:
		m.decide()
	case 11:
		m.now = m.now.Add(time.Duration(m.pick("minutes", 30)) * time.Minute)
		_, err := m.l.Unblock(bg, ledger.BlockCircuit, "openmrs", 1+m.pick("limit", 3))
		m.did(err)
	case 12:
		switch m.pick("fault", 3) {
		case 0:
			m.kill = 1 + m.pick("kill", 6)
		case 1:
			m.reopen()
		default:
			m.release()
		}
	case 13:
		if m.pick("merge", 4) == 0 {
			m.merged = true
			m.tie()
		}
	}
}

// tie changes who is whom: lanes are joined and parted, also of what is being run.
func (m *model) tie() {
	a, b := m.person(), m.person()
	switch m.pick("tie", 5) {
	case 0:
		if a != b {
			m.did(m.l.Merge(bg, a, b, "amina"))
		}
	case 1, 2:
		m.did(m.l.Relink(bg, m.link(), "amina", ""), ledger.ErrNotFound)
	case 3:
		l := m.link()
		l.Person = ""
		m.did(m.l.Unlink(bg, l, "amina", ""), ledger.ErrNotFound)
	case 4:
		m.did(m.l.MergePeople(bg, strings.TrimPrefix(a, "person:"), strings.TrimPrefix(b, "person:"), "amina", ""), ledger.ErrState)
	}
}

// link is a link of somebody to one of two records.
func (m *model) link() ledger.Link {
	who, err := m.l.Person(bg, strings.TrimPrefix(m.person(), "person:"))
	if err != nil {
		m.Fatal(err)
	}
	return patient(who, fmt.Sprintf("R%d", m.pick("record", 2)))
}

// person is the lane of one of three people, or that of a record by itself.
func (m *model) person() string {
	if n := m.pick("person", 5); n > 2 {
		return fmt.Sprintf("person:openmrs/R%d", n-3)
	} else {
		return fmt.Sprintf("person:%d", n)
	}
}

func (m *model) accept() {
	version := "v1"
	doc := m.docs
	if doc > 0 && m.pick("again", 3) == 0 {
		doc, version = m.pick("doc", doc), fmt.Sprintf("v%d", 1+m.pick("version", 3))
	} else {
		m.docs++
	}
	a := msg(fmt.Sprintf("f%d", doc), version, m.person(), []string{"openmrs", "dhis2", "rapidpro"}[m.pick("system", 3)])
	if m.pick("two lanes", 4) == 0 {
		a.Routes[0].Lanes = append(a.Routes[0].Lanes, m.person())
	}
	if m.pick("two systems", 4) == 0 {
		a.Routes[0].Systems = append(a.Routes[0].Systems, "openmrs")
	}
	for {
		got, err := m.l.Accept(bg, []ledger.Arrival{a}, nil)
		if m.did(err) {
			for _, id := range got[0].Deliveries {
				if m.lanes[id] == nil {
					m.lanes[id] = a.Routes[0].Lanes
				}
			}
			return
		}
		// The sender was not answered, so it sends again.
	}
}

func (m *model) due() []int64 {
	lanes, _, err := m.l.Due(bg, m.now, 1000)
	if err != nil {
		m.Fatal(err)
	}
	return lanes
}

func (m *model) start() {
	due := m.due()
	if len(due) == 0 {
		return
	}
	w, err := m.l.Start(bg, due[m.pick("lane", len(due))], m.now)
	if m.did(err) && w != nil {
		m.started(w)
	}
}

// started checks that a delivery may run: alone in its lanes, and only behind
// those it shares no system with, or that wait for what it has claimed.
func (m *model) started(w *ledger.Work) {
	d := w.Delivery
	if m.lanes[d.ID] == nil {
		m.Fatalf("delivery %d runs, but was never acknowledged", d.ID)
	}
	for _, r := range m.running {
		if r.LaneID == w.LaneID || !m.merged && m.share(m.lanes[r.Delivery.ID], m.lanes[d.ID]) {
			m.Fatalf("deliveries %d and %d run in one lane at once", r.Delivery.ID, d.ID)
		}
	}
	for _, o := range m.all() {
		if o.ID != d.ID && !o.State.Ended() && o.BlockedOn != ledger.BlockClaim && o.Seq < d.Seq && m.share(o.Systems, d.Systems) && m.share(m.lanes[o.ID], m.lanes[d.ID]) {
			m.Fatalf("delivery %d (%s) was passed by %d, which shares a system", o.ID, o.State, d.ID)
		}
	}
	if w.Delivery.State == ledger.Applying != (w.Plan != nil) {
		m.Fatalf("delivery %d is %s with plan %q", d.ID, d.State, w.Plan)
	}
	m.running[d.ID] = w
}

func (m *model) share(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

func (m *model) all() []ledger.Delivery {
	all, err := m.l.Deliveries(bg, ledger.Filter{Limit: 1000})
	if err != nil {
		m.Fatal(err)
	}
	return all
}

// one of the running works, nil if there is none.
func (m *model) one() *ledger.Work {
	if len(m.running) == 0 {
		return nil
	}
	ids := make([]int64, 0, len(m.running))
	for id := range m.running {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return m.running[ids[m.pick("running", len(ids))]]
}

func (m *model) journal() {
	w := m.one()
	if w == nil {
		return
	}
	id := w.Delivery.ID
	claims := []string{fmt.Sprintf("openmrs|Patient|%d", m.pick("claim", 2)), fmt.Sprintf("openmrs|Visit|%d", m.pick("claim", 2))}
	p := ledger.Plan{Body: []byte("p"), Claims: claims, Intent: "c1"}
	if who, ok := strings.CutPrefix(w.LaneKey, "person:"); ok && m.pick("links", 4) == 0 {
		m.merged = true
		p.Pending = []ledger.Link{patient(who, fmt.Sprintf("R%d", m.pick("record", 2)))}
	}
	err := m.l.Journal(bg, w, p)
	if errors.Is(err, ledger.ErrClaimed) {
		delete(m.running, id)
		m.unclaim(id)
	}
	if !m.did(err, ledger.ErrClaimed, ledger.ErrLinked) {
		return
	}
	if len(p.Pending) > 0 {
		m.pending[id] = p.Pending
	}
	m.unclaim(id)
	for _, c := range claims {
		if by := m.claims[c]; by != 0 && by != id {
			m.Fatalf("deliveries %d and %d both claim %s", by, id, c)
		}
		m.claims[c] = id
	}
}

func (m *model) unclaim(id int64) {
	for c, by := range m.claims {
		if by == id {
			delete(m.claims, c)
		}
	}
}

func (m *model) end() {
	w := m.one()
	if w == nil {
		return
	}
	ends := []ledger.End{{State: ledger.Done}, {State: ledger.Done}, {State: ledger.Held}, {State: ledger.HalfUndone, KeepClaims: true}, {State: ledger.Undone},
		{State: ledger.Waiting, Due: m.now.Add(10 * time.Minute)}, {State: ledger.Waiting, BlockedOn: ledger.BlockCircuit, BlockedBy: "openmrs"},
		{State: ledger.Received, Forget: true}}
	e := ends[m.pick("end", len(ends))]
	m.finish(w, e)
}

func (m *model) finish(w *ledger.Work, e ledger.End) {
	switch e.State {
	case ledger.Done:
		e.Links = m.pending[w.Delivery.ID]
	case ledger.Undone:
		e.Unlink = m.pending[w.Delivery.ID]
	}
	delete(m.pending, w.Delivery.ID)
	next, err := m.l.End(bg, w, e, m.now)
	if errors.Is(err, ledger.ErrLinked) {
		// A person gave it to somebody else meanwhile: it is taken up again.
		e.Links = nil
		next, err = m.l.End(bg, w, e, m.now)
	}
	if !e.KeepClaims {
		m.unclaim(w.Delivery.ID) // a killed one may hold them still: checked less strictly then
	}
	if !m.did(err) {
		return
	}
	delete(m.running, w.Delivery.ID)
	if next != nil {
		m.started(next)
	}
}

func (m *model) release() {
	if w := m.one(); w != nil {
		delete(m.running, w.Delivery.ID)
		m.did(m.l.Release(bg, w))
	}
}

// decide retries or skips a delivery at random.
func (m *model) decide() {
	if len(m.lanes) == 0 {
		return
	}
	id := m.all()[m.pick("decide", len(m.all()))].ID
	f := m.l.Retry
	if m.pick("skip", 2) == 0 {
		f = m.l.Skip
	}
	_, err := f(bg, id, "amina", "")
	if m.did(err, ledger.ErrState) {
		m.unclaim(id)
	}
}

// check compares the ledger with the model.
func (m *model) check() {
	all := m.all()
	if len(all) != len(m.lanes) {
		m.Fatalf("%d deliveries are there, %d were acknowledged", len(all), len(m.lanes))
	}
	counts, err := m.l.Counts(bg)
	if err != nil {
		m.Fatal(err)
	}
	sum := map[ledger.State]int64{}
	for _, c := range counts {
		sum[c.State] += c.N
	}
	for _, d := range all {
		sum[d.State]--
	}
	for state, n := range sum {
		if n != 0 {
			m.Fatalf("the counts of %q are off by %d", state, n)
		}
	}
	if !m.merged && len(m.running) == 0 {
		m.checkWakes(all)
	}
}

// checkWakes: with nothing running, a lane whose first delivery may run is due
// (or waits for another lane that was in flight at a crash).
func (m *model) checkWakes(all []ledger.Delivery) {
	due := m.due()
	if len(due) > 0 {
		return // something goes on, and what it ends is checked then
	}
	slices.SortFunc(all, func(a, b ledger.Delivery) int { return int(a.Seq - b.Seq) })
	for i, d := range all {
		if d.State.Ended() || d.State == ledger.Held || d.State == ledger.HalfUndone || d.BlockedOn != "" || d.Due.After(m.now) {
			continue
		}
		if !slices.ContainsFunc(all[:i], func(o ledger.Delivery) bool {
			return !o.State.Ended() && m.share(o.Systems, d.Systems) && m.share(m.lanes[o.ID], m.lanes[d.ID])
		}) {
			m.Fatalf("delivery %d (%s) may run, but no lane is due", d.ID, d.State)
		}
	}
}

// drain lets everything come to an end, by decisions where it must, and fails
// if something does not.
func (m *model) drain() {
	m.kill = 0
	for range 1000 {
		for id, w := range m.running {
			delete(m.running, id)
			m.finish(w, ledger.End{State: ledger.Done})
		}
		if len(m.running) > 0 {
			continue
		}
		due := m.due()
		for _, lane := range due {
			w, err := m.l.Start(bg, lane, m.now)
			if m.did(err) && w != nil {
				m.started(w)
			}
		}
		if len(m.running) > 0 || len(due) > 0 {
			continue
		}
		left := 0
		for _, d := range m.all() {
			if d.State.Ended() {
				continue
			}
			left++
			if d.State == ledger.Held || d.State == ledger.HalfUndone {
				_, err := m.l.Skip(bg, d.ID, "amina", "")
				m.did(err)
			}
		}
		if left == 0 {
			m.check()
			return
		}
		m.now = m.now.Add(time.Hour)
		_, err := m.l.Unblock(bg, ledger.BlockCircuit, "openmrs", 100)
		m.did(err)
	}
	for _, d := range m.all() {
		if !d.State.Ended() {
			m.Fatalf("delivery %d never ends: %s, blocked on %q by %q", d.ID, d.State, d.BlockedOn, d.BlockedBy)
		}
	}
}
