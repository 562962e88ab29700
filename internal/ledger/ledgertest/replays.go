package ledgertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
)

// replayer is the ledger under test, if it is a ledger.Replayer: every store is.
func (b *bench) replayer() ledger.Replayer {
	b.Helper()
	r, ok := b.Ledger.(ledger.Replayer)
	if !ok {
		b.Fatal("it is no ledger.Replayer")
	}
	return r
}

// wrote ends a work as one that made an encounter in a system.
func (b *bench) wrote(w *ledger.Work, system string) *ledger.Work {
	b.Helper()
	return b.end(w, ledger.End{State: ledger.Done, Calls: 1, Made: []ledger.Made{{Record: "encounter", System: system, Kind: "openmrs/Encounter",
		ID: "of " + w.Message.Doc + " " + w.Message.Version, Created: true, Fields: record.Fields{"at": "x"}}}})
}

func (b *bench) repeat(of ...int64) []int64 {
	b.Helper()
	var replays []ledger.Replay
	for _, id := range of {
		replays = append(replays, ledger.Replay{Of: id, System: "openmrs", Again: []string{"sms", "note"}})
	}
	ids, err := b.replayer().Repeat(b.Context(), replays)
	b.must(err)
	return ids
}

func (b *bench) unblock(system string) []int64 {
	b.Helper()
	lanes, err := b.Unblock(b.Context(), ledger.BlockCircuit, system, 100)
	b.must(err)
	return lanes
}

func testReplays(t *testing.T, open Open) {
	t.Run("WritingsAreOfOneSystemSinceATime", func(t *testing.T) {
		b := newBench(t, open)
		for i, system := range []string{"openmrs", "openmrs", "dhis2", "openmrs"} {
			b.now = epoch.Add(time.Duration(i) * time.Hour)
			got := b.accept(msg(fmt.Sprint("f", i), "v1", fmt.Sprint("person:", i), "openmrs", "dhis2"))[0]
			b.wrote(b.mustStart(got.Lanes[0], fmt.Sprint("f", i)), system)
		}
		b.accept(msg("open", "v1", "person:9"))
		var docs []string
		for after := int64(0); ; {
			list, next, err := b.replayer().Writings(b.Context(), "openmrs", epoch.Add(time.Minute), after)
			b.must(err)
			for _, w := range list {
				docs = append(docs, w.Delivery.Doc+" "+w.Made[0].ID)
				if len(w.Made) != 1 || w.Maker == "" || w.Wiped || w.Delivery.Calls != 1 {
					t.Errorf("%+v", w)
				}
			}
			if after = next; next == 0 {
				break
			}
		}
		if want := []string{"f1 of f1 v1", "f3 of f3 v1"}; !slices.Equal(docs, want) {
			t.Errorf("%q, want %q", docs, want)
		}
		list, next, err := b.replayer().Latest(b.Context(), "openmrs", 0)
		b.must(err)
		if len(list) != 3 || next != 0 || list[0].Delivery.Doc != "f3" || list[2].Delivery.Doc != "f0" {
			t.Errorf("%d are the latest, next %d", len(list), next)
		}
		if list, _, err = b.replayer().Latest(b.Context(), "openmrs", list[0].Delivery.ID); err != nil || len(list) != 2 || list[0].Delivery.Doc != "f1" {
			t.Errorf("%v %d below the newest", err, len(list))
		}
	})
	t.Run("AReplayStandsBeforeWhatWaits", func(t *testing.T) {
		b := newBench(t, open)
		first, second := b.accept(msg("f1", "v1", "person:1"))[0], b.accept(msg("f2", "v1", "person:1"))[0]
		lane := first.Lanes[0]
		b.wrote(b.wrote(b.mustStart(lane, "f1"), "openmrs"), "openmrs")
		b.accept(msg("f3", "v1", "person:1"))
		ids := b.repeat(first.Deliveries[0], second.Deliveries[0])
		if len(ids) != 2 || ids[0] >= ids[1] {
			t.Fatalf("%v", ids)
		}
		if again := b.repeat(first.Deliveries[0], second.Deliveries[0]); len(again) != 0 {
			t.Errorf("%v wait already, and were made again", again)
		}
		d := b.state(ids[0], ledger.Waiting)
		if d.BlockedOn != ledger.BlockCircuit || d.BlockedBy != "openmrs" || d.Replay == nil || d.Replay.Of != first.Deliveries[0] ||
			d.Replay.System != "openmrs" || strings.Join(d.Replay.Again, " ") != "sms note" || d.Doc != "f1" || d.Each != "case-1" {
			t.Errorf("%+v %+v", d, d.Replay)
		}
		b.idle(lane) // it shares its system with what waits for it
		b.isDue(lane, false)
		if lanes := b.unblock("openmrs"); !slices.Equal(lanes, []int64{lane}) {
			t.Errorf("lanes %v are woken", lanes)
		}
		w := b.mustStart(lane, "f1")
		if w.Delivery.ID != ids[0] || len(w.Made) != 1 || w.Made[0].ID != "of f1 v1" || string(w.Message.Content) != `{"doc":"f1"}` || w.Message.Seq != d.Seq-1 {
			t.Errorf("%+v, message number %d", w.Delivery, w.Message.Seq)
		}
		for _, doc := range []string{"f2", "f3", "nothing"} {
			w = b.done(w)
			b.runs(w, doc)
		}
		b.accounted(5)
	})
	t.Run("AReplayStandsBehindWhatHasWritten", func(t *testing.T) {
		b := newBench(t, open)
		first := b.accept(msg("f1", "v1", "person:1"))[0]
		lane := first.Lanes[0]
		b.wrote(b.mustStart(lane, "f1"), "openmrs")
		half := b.accept(msg("f2", "v1", "person:1"))[0]
		b.accept(msg("f3", "v1", "person:1"))
		w := b.mustStart(lane, "f2")
		b.plan(w, "openmrs|openmrs/Encounter|x")
		b.must(b.Step(b.Context(), w, ledger.Step{N: 2, Call: "c1", Kind: ledger.StepAnswer, Epoch: w.Epoch}))
		b.end(w, ledger.End{State: ledger.Applying, BlockedOn: ledger.BlockCircuit, BlockedBy: "openmrs", KeepClaims: true})
		b.repeat(first.Deliveries[0])
		b.unblock("openmrs")
		w = b.mustStart(lane, "f2")
		for _, doc := range []string{"f1", "f3", "nothing"} {
			w = b.done(w)
			b.runs(w, doc)
		}
		b.state(half.Deliveries[0], ledger.Done)
	})
	t.Run("ANewVersionTakesThePlaceOfAReplay", func(t *testing.T) {
		b := newBench(t, open)
		first := b.accept(msg("f1", "v1", "person:1"))[0]
		b.wrote(b.mustStart(first.Lanes[0], "f1"), "openmrs")
		ids := b.repeat(first.Deliveries[0])
		b.accept(msg("f1", "v2", "person:1"))
		b.state(ids[0], ledger.Superseded)
	})
	t.Run("AReplayKnowsWhatPeopleAnswered", func(t *testing.T) {
		b := newBench(t, open)
		first := b.accept(msg("f1", "v1", "person:1"))[0]
		lane := first.Lanes[0]
		b.end(b.mustStart(lane, "f1"), ledger.End{State: ledger.Held, Question: &ledger.Question{Kind: "match", Key: "match/patient/1", Text: "who"}})
		open, err := b.Questions(b.Context(), "open", 0, 10)
		b.must(err)
		_, err = b.Answer(b.Context(), open[0].ID, "new", "clerk")
		b.must(err)
		b.wrote(b.mustStart(lane, "f1"), "openmrs")
		ids := b.repeat(first.Deliveries[0])
		b.unblock("openmrs")
		w := b.mustStart(lane, "f1")
		if w.Delivery.ID != ids[0] || len(w.Questions) != 1 || w.Questions[0].Answer != "new" {
			t.Errorf("%+v", w.Questions)
		}
	})
	t.Run("AReplayOfNothing", func(t *testing.T) {
		b := newBench(t, open)
		_, err := b.replayer().Repeat(b.Context(), []ledger.Replay{{Of: 4711, System: "openmrs"}})
		b.is(err, ledger.ErrNotFound)
	})
	t.Run("AStoppedSystemIsRemembered", func(t *testing.T) {
		b := newBench(t, open)
		first := ledger.Stopped{System: "openmrs", Since: epoch, Moment: epoch.Add(-time.Hour), Kept: epoch.Add(-2 * time.Hour), Lost: 37, Reason: "restored"}
		b.must(b.replayer().Stop(b.Context(), first))
		b.must(b.replayer().Stop(b.Context(), ledger.Stopped{System: "openmrs", Reason: "later"}))
		b.must(b.replayer().Stop(b.Context(), ledger.Stopped{System: "dhis2", Reason: "another"}))
		b.reopen()
		list, err := b.replayer().Stops(b.Context())
		b.must(err)
		if len(list) != 2 || list[1] != first || list[0].System != "dhis2" {
			t.Errorf("%+v", list)
		}
		b.must(b.replayer().Resume(b.Context(), "openmrs", "clerk", "put back"))
		b.is(b.replayer().Resume(b.Context(), "openmrs", "clerk", ""), ledger.ErrNotFound)
		if list, err = b.replayer().Stops(b.Context()); err != nil || len(list) != 1 {
			t.Errorf("%v %+v", err, list)
		}
		audits, err := b.Audits(b.Context(), 0, 0, 10)
		b.must(err)
		if len(audits) != 3 || audits[0].Act != "resume openmrs" || audits[0].Who != "clerk" || audits[0].Note != "put back" {
			t.Errorf("%+v", audits)
		}
	})
	t.Run("Settings", func(t *testing.T) {
		b := newBench(t, open)
		for _, want := range []string{"", "a", "b", ""} {
			var value []byte
			if want != "" {
				value = []byte(want)
			}
			b.must(b.replayer().Set(b.Context(), "identity/openmrs", value))
			got, err := b.replayer().Setting(b.Context(), "identity/openmrs")
			b.must(err)
			if string(got) != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	})
}
