package ledgertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
)

// Keeper is a ledger that can be kept small.
type Keeper interface {
	ledger.Ledger
	Keep(ctx context.Context, now time.Time, k ledger.Keep, pace float64) (ledger.Kept, error)
	Archived(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error)
}

// RunGrowth is the contract of retention and the archive.
func RunGrowth(t *testing.T, open Open) {
	for name, f := range map[string]func(*testing.T, Open){
		"Wipe": testWipe, "Archive": testArchive, "ArchiveKilled": testArchiveKilled, "Find": testFind,
	} {
		t.Run(name, func(t *testing.T) { f(t, open) })
	}
}

const day = 24 * time.Hour

// keep does what a night does.
func (b *bench) keep(content, deliveries time.Duration) ledger.Kept {
	b.Helper()
	got, err := b.Ledger.(Keeper).Keep(b.Context(), b.now, ledger.Keep{Content: content, Deliveries: deliveries}, -1)
	b.must(err)
	return got
}

// run takes a document through its whole way, and ends it so.
func (b *bench) run(a ledger.Arrival, end ledger.End) *ledger.Work {
	b.Helper()
	got := b.accept(a)[0]
	w := b.mustStart(got.Lanes[0], a.Doc)
	b.plan(w, "openmrs|Patient|"+a.Doc)
	b.must(b.Step(b.Context(), w, ledger.Step{Call: "c1", Kind: ledger.StepAnswer, Data: json.RawMessage(`{"uuid":"u-` + a.Doc + `"}`), Epoch: w.Epoch}))
	if next := b.end(w, end); next != nil {
		b.must(b.Release(b.Context(), next))
	}
	return w
}

func madeOf(doc string) []ledger.Made {
	return []ledger.Made{{Record: "patient", System: "openmrs", Kind: "openmrs/Patient", ID: "u-" + doc, Created: true, Fields: record.Fields{"gender": "F"}}}
}

func done(doc string) ledger.End { return ledger.End{State: ledger.Done, Calls: 1, Made: madeOf(doc)} }

func (b *bench) counts() map[string]int64 {
	b.Helper()
	counts, err := b.Counts(b.Context())
	b.must(err)
	out := map[string]int64{}
	for _, c := range counts {
		out[c.Flow+" "+string(c.State)] += c.N
	}
	return out
}

func testWipe(t *testing.T, open Open) {
	b := newBench(t, open)
	w := b.run(msg("f1", "v1", "person:1"), done("f1"))
	refused := b.run(msg("f2", "v1", "person:2"), ledger.End{State: ledger.Refused, Code: "refused", Reason: "no"})
	held := b.run(msg("f3", "v1", "person:3"), ledger.End{State: ledger.Held, Code: "x", Cause: "x"})
	half := b.run(msg("f4", "v1", "person:4"), ledger.End{State: ledger.HalfUndone, KeepClaims: true})
	open1 := b.accept(msg("f5", "v1", "person:5"))[0]
	asked := b.accept(msg("f6", "v1", "person:6"))[0]
	b.end(b.mustStart(asked.Lanes[0], "f6"), ledger.End{State: ledger.Held, Question: &ledger.Question{Kind: "match", Text: "is this Wanjiku?"}})
	_, err := b.Skip(b.Context(), asked.Deliveries[0], "amina", "")
	b.must(err)
	b.now = b.now.Add(89 * day)
	if got := b.keep(90*day, 0); got.Wiped != 0 {
		t.Fatalf("wiped too early: %+v", got)
	}
	b.now = b.now.Add(2 * day)
	fresh := b.run(msg("f7", "v1", "person:7"), done("f7"))
	if got := b.keep(90*day, 0); got.Wiped != 3 {
		t.Fatalf("%+v", got)
	}
	b.reopen()
	for _, id := range []int64{w.Delivery.ID, refused.Delivery.ID, asked.Deliveries[0]} {
		got, err := b.Delivery(b.Context(), id)
		b.must(err)
		if !got.Message.Wiped || got.Message.Content != nil || got.Plan != nil {
			t.Errorf("delivery %d: content %q, plan %q", id, got.Message.Content, got.Plan)
		}
		for _, s := range got.Journal {
			if s.Data != nil {
				t.Errorf("delivery %d: journal line %d says %s", id, s.N, s.Data)
			}
		}
		for _, q := range got.Questions {
			if strings.Contains(q.Text, "Wanjiku") {
				t.Errorf("the question is there: %s", q.Text)
			}
		}
		// What it is routed by stays.
		if got.Message.Doc == "" || got.Delivery.Each != "case-1" {
			t.Errorf("delivery %d: document %q, each-key %q", id, got.Message.Doc, got.Delivery.Each)
		}
	}
	for _, id := range []int64{held.Delivery.ID, half.Delivery.ID, open1.Deliveries[0], fresh.Delivery.ID} {
		got, err := b.Delivery(b.Context(), id)
		b.must(err)
		if got.Message.Wiped || got.Message.Content == nil {
			t.Errorf("delivery %d (%s) was wiped", id, got.Delivery.State)
		}
	}
	_, err = b.Retry(b.Context(), refused.Delivery.ID, "amina", "")
	if !errors.Is(err, ledger.ErrWiped) || !errors.Is(err, ledger.ErrState) || !strings.Contains(err.Error(), "wiped") {
		t.Errorf("a wiped one was tried again: %v", err)
	}
	if !b.accept(msg("f1", "v1", "person:1"))[0].Duplicate {
		t.Error("old content is new")
	}
	again := b.accept(msg("f1", "v2", "person:1"))[0]
	if w := b.mustStart(again.Lanes[0], "f1"); cmp.Diff(madeOf("f1"), w.Made) != "" {
		t.Error(cmp.Diff(madeOf("f1"), w.Made))
	}
	// What was held and ended since is looked at again the next day.
	_, err = b.Skip(b.Context(), held.Delivery.ID, "amina", "")
	b.must(err)
	b.now = b.now.Add(91 * day)
	if got := b.keep(90*day, 0); got.Wiped != 2 { // f3 and f7
		t.Errorf("%+v", got)
	}
}

func testArchive(t *testing.T, open Open) {
	b := newBench(t, open)
	w := b.run(msg("f1", "v1", "person:1"), done("f1"))
	two := b.run(msg("f1", "v2", "person:1"), done("f1"))
	skipped := b.run(msg("f2", "v1", "person:2"), ledger.End{State: ledger.Skipped, Reason: "not for it"})
	held := b.run(msg("f3", "v1", "person:3"), ledger.End{State: ledger.Held, Code: "x", Cause: "x"})
	noDoc := msg("", "", "person:4")
	nd := b.run(noDoc, done("nd"))
	nobody := msg("f9", "v1", "person:9")
	nobody.Routes, nobody.About = nil, "form nobody wants"
	none := b.accept(nobody)[0]
	b.must(b.Audit(b.Context(), ledger.Audit{Who: "amina", Act: "looked", Delivery: w.Delivery.ID, Note: "why"}))
	listing := &ledger.Advance{System: "commcare", Stream: "report", New: []byte("1"), List: &ledger.Listing{List: "defaulters", Run: 1, Docs: []string{"f8"}}}
	on := msg("f8", "v1", "person:8")
	got, err := b.Accept(b.Context(), []ledger.Arrival{on}, listing)
	b.must(err)
	b.done(b.mustStart(got[0].Lanes[0], "f8"))
	before := b.counts()
	full, err := b.Delivery(b.Context(), two.Delivery.ID)
	b.must(err)

	b.now = b.now.Add(366 * day)
	late := b.run(msg("f7", "v1", "person:7"), done("f7"))
	before["visit done"]++
	if got := b.keep(0, 365*day); got.Archived != 5 {
		t.Fatalf("%+v", got)
	}
	b.reopen()
	k := b.Ledger.(Keeper)
	if diff := cmp.Diff(before, b.counts()); diff != "" {
		t.Error("counts: " + diff)
	}
	ids := func(list []ledger.Delivery) (out []int64) {
		for _, d := range list {
			out = append(out, d.ID)
		}
		return out
	}
	live, err := b.Deliveries(b.Context(), ledger.Filter{})
	b.must(err)
	if diff := cmp.Diff([]int64{late.Delivery.ID, got[0].Deliveries[0], held.Delivery.ID}, ids(live)); diff != "" {
		t.Error("live: " + diff)
	}
	there, err := k.Archived(b.Context(), ledger.Filter{})
	b.must(err)
	if diff := cmp.Diff([]int64{nd.Delivery.ID, skipped.Delivery.ID, two.Delivery.ID, w.Delivery.ID}, ids(there)); diff != "" {
		t.Error("archived: " + diff)
	}
	there, err = k.Archived(b.Context(), ledger.Filter{States: []ledger.State{ledger.Skipped}, Flow: "visit"})
	b.must(err)
	if diff := cmp.Diff([]int64{skipped.Delivery.ID}, ids(there)); diff != "" {
		t.Error("archived and skipped: " + diff)
	}
	// One is shown as it was, with its content, plan, journal, and what it made.
	shown, err := b.Delivery(b.Context(), two.Delivery.ID)
	b.must(err)
	if !shown.Delivery.Archived {
		t.Error("it does not say that it is archived")
	}
	shown.Delivery.Archived = false
	if diff := cmp.Diff(full, shown); diff != "" {
		t.Error(diff)
	}
	m, err := b.Message(b.Context(), none.Message)
	b.must(err)
	if m.Doc != "f9" || m.Content == nil {
		t.Errorf("%+v", m)
	}
	if audits, err := b.Audits(b.Context(), w.Delivery.ID, 0, 10); err != nil || len(audits) != 1 || audits[0].Note != "why" {
		t.Errorf("audit of an archived delivery: %+v, %v", audits, err)
	}
	// Old versions are known; a withdrawal still goes where they went.
	if d := b.accept(msg("f1", "v2", "person:1"))[0]; !d.Duplicate || d.Message != two.Message.ID {
		t.Errorf("%+v", d)
	}
	doc, err := b.Document(b.Context(), "commcare", "f1")
	b.must(err)
	if len(doc) != 1 || doc[0].ID != two.Delivery.ID || doc[0].Flow != "visit" || doc[0].Each != "case-1" || !slices.Equal(doc[0].Systems, []string{"openmrs"}) || doc[0].Version != "v2" || !doc[0].Archived {
		t.Errorf("%+v", doc)
	}
	if w, err := b.Delivery(b.Context(), doc[0].ID); err != nil || w.LaneKey != "person:1" {
		t.Errorf("%+v, %v", w, err)
	}
	lane, err := b.OfLane(b.Context(), "person:1", 0, 10)
	b.must(err)
	if len(lane) != 1 || lane[0].ID != two.Delivery.ID || lane[0].Doc != "f1" || lane[0].State != ledger.Done {
		t.Errorf("%+v", lane)
	}
	// Who leaves a list is told with what the list said.
	left, err := b.Unlisted(b.Context(), "commcare", "defaulters", 2, 10)
	b.must(err)
	if len(left) != 1 || left[0].Doc != "f8" {
		t.Errorf("%+v", left)
	} else if m, err := b.Message(b.Context(), left[0].Message); err != nil || m.Content == nil {
		t.Errorf("%+v, %v", m, err)
	}
	_, err = b.Retry(b.Context(), skipped.Delivery.ID, "amina", "")
	if !errors.Is(err, ledger.ErrState) || !strings.Contains(err.Error(), "archive") {
		t.Errorf("retry: %v", err)
	}
	_, err = b.Retry(b.Context(), 1<<40, "amina", "")
	b.is(err, ledger.ErrNotFound)
	// A new version knows what was made, and lists beside the old one.
	next := b.mustStart(b.accept(msg("f1", "v3", "person:1"))[0].Lanes[0], "f1")
	if diff := cmp.Diff(madeOf("f1"), next.Made); diff != "" {
		t.Error(diff)
	}
	if doc, err = b.Document(b.Context(), "commcare", "f1"); err != nil || len(doc) != 2 || doc[1].ID != next.Delivery.ID {
		t.Errorf("%+v, %v", doc, err)
	}
	b.done(next)
	// Its turn comes too, and the newest is kept for routing.
	b.now = b.now.Add(366 * day)
	if got := b.keep(0, 365*day); got.Archived != 2 { // f7 and f1 v3
		t.Errorf("%+v", got)
	}
	if doc, err = b.Document(b.Context(), "commcare", "f1"); err != nil || len(doc) != 1 || doc[0].ID != next.Delivery.ID {
		t.Errorf("%+v, %v", doc, err)
	}
	if got := b.keep(0, 365*day); got.Archived != 0 {
		t.Errorf("again: %+v", got)
	}
	// Wiped first, then archived: nothing of it is lost that is needed.
	b.run(msg("f6", "v1", "person:6"), done("f6"))
	b.now = b.now.Add(366 * day)
	if got := b.keep(90*day, 365*day); got.Wiped != 1 || got.Archived != 1 {
		t.Errorf("%+v", got)
	}
	if doc, err = b.Document(b.Context(), "commcare", "f6"); err != nil || len(doc) != 1 || doc[0].Each != "case-1" {
		t.Errorf("%+v, %v", doc, err)
	} else if w, err := b.Delivery(b.Context(), doc[0].ID); err != nil || !w.Message.Wiped || w.Message.Doc != "f6" {
		t.Errorf("%+v, %v", w, err)
	}
}

// errStop stops the store where a test says so.
var errStop = errors.New("stop here")

// testArchiveKilled kills the process at every point of archiving and wiping,
// and goes on: in the end each delivery is in one place, whole.
func testArchiveKilled(t *testing.T, open Open) {
	b := newBench(t, open)
	const n = 12
	var ids []int64
	want := map[int64]*ledger.Work{}
	for i := range n {
		w := b.run(msg(fmt.Sprintf("f%d", i), "v1", fmt.Sprintf("person:%d", i)), done(fmt.Sprintf("f%d", i)))
		ids = append(ids, w.Delivery.ID)
		b.now = b.now.Add(7 * day) // over three months
	}
	for _, id := range ids {
		w, err := b.Delivery(b.Context(), id)
		b.must(err)
		w.Delivery.Archived = true
		want[id] = w
	}
	before := b.counts()
	b.now = b.now.Add(400 * day)
	for at := 0; ; at++ {
		point := 0
		b.fault = func(string) error {
			if point++; point > at {
				return errStop
			}
			return nil
		}
		_, err := b.Ledger.(Keeper).Keep(b.Context(), b.now, ledger.Keep{Deliveries: 365 * day}, -1)
		b.fault = nil
		b.reopen()
		if err == nil {
			break
		}
		b.is(err, errStop)
		for _, id := range ids {
			w, err := b.Delivery(b.Context(), id)
			b.must(err)
			w.Delivery.Archived = true
			if diff := cmp.Diff(want[id], w); diff != "" {
				t.Fatalf("killed at point %d, delivery %d: %s", at, id, diff)
			}
		}
		if diff := cmp.Diff(before, b.counts()); diff != "" {
			t.Fatalf("killed at point %d: %s", at, diff)
		}
	}
	live, err := b.Deliveries(b.Context(), ledger.Filter{Limit: 1000})
	b.must(err)
	there, err := b.Ledger.(Keeper).Archived(b.Context(), ledger.Filter{Limit: 1000})
	b.must(err)
	if len(live) != 0 || len(there) != n {
		t.Errorf("%d live, %d archived", len(live), len(there))
	}
}

// testFind lists by every filter, as a plain look at all would.
func testFind(t *testing.T, open Open) {
	b := newBench(t, open)
	ends := []ledger.End{{State: ledger.Done}, {State: ledger.Held, Code: "a", Cause: "one"}, {State: ledger.Refused, Code: "a", Cause: "two"},
		{State: ledger.HalfUndone, Cause: "one"}, {State: ledger.Waiting, BlockedOn: ledger.BlockCircuit, BlockedBy: "openmrs", Cause: "three"}, {State: ledger.Skipped}}
	for i := range 30 {
		a := msg(fmt.Sprintf("f%d", i), "v1", fmt.Sprintf("person:%d", i))
		a.Routes[0].Flow, a.System = fmt.Sprintf("flow-%d", i%4), fmt.Sprintf("source-%d", i%3)
		got := b.accept(a)[0]
		if i%7 == 6 {
			continue
		}
		b.end(b.start(got.Lanes[0]), ends[i%len(ends)])
	}
	all, err := b.Deliveries(b.Context(), ledger.Filter{Limit: 1000})
	b.must(err)
	if len(all) != 30 {
		t.Fatalf("%d deliveries", len(all))
	}
	states := [][]ledger.State{nil, {ledger.Held}, {ledger.Done}, {ledger.Received}, {ledger.Skipped, ledger.Refused}, {ledger.Held, ledger.HalfUndone, ledger.Done}, {ledger.Superseded}}
	for _, st := range states {
		for _, flow := range []string{"", "flow-1", "flow-9"} {
			for _, system := range []string{"", "source-2", "source-9"} {
				for _, cause := range []string{"", "one", "nine"} {
					for _, after := range []int64{0, all[9].ID} {
						f := ledger.Filter{States: st, Flow: flow, System: system, Cause: cause, After: after, Limit: 4}
						var want []int64
						for _, d := range all {
							if (st == nil || slices.Contains(st, d.State)) && (flow == "" || d.Flow == flow) && (system == "" || d.System == system) &&
								(cause == "" || d.Cause == cause) && (after == 0 || d.ID < after) && len(want) < 4 {
								want = append(want, d.ID)
							}
						}
						got, err := b.Deliveries(b.Context(), f)
						b.must(err)
						var ids []int64
						for _, d := range got {
							ids = append(ids, d.ID)
						}
						if diff := cmp.Diff(want, ids); diff != "" {
							t.Errorf("%+v: %s", f, diff)
						}
					}
				}
			}
		}
	}
	for _, system := range []string{"source-1", "source-9"} {
		list, err := b.Messages(b.Context(), system, 0, 100)
		b.must(err)
		if want := map[string]int{"source-1": 10}[system]; len(list) != want {
			t.Errorf("%d messages of %s, not %d", len(list), system, want)
		}
	}
	if _, err := b.Deliveries(b.Context(), ledger.Filter{States: []ledger.State{"ajar"}}); !errors.Is(err, ledger.ErrState) {
		t.Errorf("an unknown state: %v", err)
	}
}
