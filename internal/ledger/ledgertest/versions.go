package ledgertest

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// testVersions: a newer version of a document takes the place of an older one
// that has written nothing (law 19).
func testVersions(t *testing.T, open Open) {
	t.Run("SupersedesWhatHasWrittenNothing", func(t *testing.T) {
		for name, pause := range map[string]func(b *bench, w *ledger.Work){
			"received": nil,
			"held":     func(b *bench, w *ledger.Work) { b.end(w, ledger.End{State: ledger.Held}) },
			"planned, its only intent absent": func(b *bench, w *ledger.Work) {
				b.plan(w)
				b.end(w, ledger.End{State: ledger.Held, Last: &ledger.Step{Kind: ledger.StepAbsent, Call: "c1"}})
			},
			"undone but held": func(b *bench, w *ledger.Work) {
				b.plan(w)
				b.must(b.Step(b.Context(), w, ledger.Step{Kind: ledger.StepAnswer, Call: "c1"}))
				b.must(b.Step(b.Context(), w, ledger.Step{Kind: ledger.StepUndo, Call: "c1"}))
				b.end(w, ledger.End{State: ledger.Held, Last: &ledger.Step{Kind: ledger.StepUndone, Call: "c1"}})
			},
		} {
			b := newBench(t, open)
			old := b.accept(msg("f1", "v1", "person:1"))[0]
			b.accept(msg("f2", "v1", "person:1"))
			if pause != nil {
				pause(b, b.mustStart(old.Lanes[0], "f1"))
			}
			got := b.accept(msg("f1", "v2", "person:1"))[0]
			b.state(old.Deliveries[0], ledger.Superseded)
			w := b.start(old.Lanes[0])
			if w == nil || w.Delivery.ID != got.Deliveries[0] {
				t.Errorf("%s: the new version did not take the old one's place", name)
				continue
			}
			b.runs(b.done(w), "f2")
			b.total(3)
		}
	})
	t.Run("QueuesBehindWhatHasWritten", func(t *testing.T) {
		for name, pause := range map[string]func(b *bench, w *ledger.Work){
			"running": func(b *bench, w *ledger.Work) {},
			"applied in part": func(b *bench, w *ledger.Work) {
				b.plan(w)
				b.end(w, ledger.End{State: ledger.Held, Last: &ledger.Step{Kind: ledger.StepAnswer, Call: "c1"}})
			},
			"of unknown outcome": func(b *bench, w *ledger.Work) { b.plan(w); b.end(w, ledger.End{State: ledger.Held}) },
			"half undone":        func(b *bench, w *ledger.Work) { b.end(w, ledger.End{State: ledger.HalfUndone}) },
		} {
			b := newBench(t, open)
			old := b.accept(msg("f1", "v1", "person:1"))[0]
			w := b.mustStart(old.Lanes[0], "f1")
			pause(b, w)
			got := b.accept(msg("f1", "v2", "person:1"))[0]
			b.idle(old.Lanes[0])
			if name == "running" {
				b.done(w)
			} else {
				_, err := b.Skip(t.Context(), old.Deliveries[0], "amina", "")
				b.must(err)
			}
			if d := b.state(old.Deliveries[0], map[bool]ledger.State{true: ledger.Done, false: ledger.Skipped}[name == "running"]); d.Version != "v1" {
				t.Error(d)
			}
			if w := b.start(old.Lanes[0]); name != "running" && (w == nil || w.Delivery.ID != got.Deliveries[0]) {
				t.Errorf("%s: the new version does not run", name)
			}
		}
	})
	t.Run("GoingBackToAnOlderVersionIsNews", func(t *testing.T) {
		b := newBench(t, open)
		for _, v := range []string{"v1", "v2", "v1"} {
			got := b.accept(msg("f1", v, "person:1"))[0]
			if got.Duplicate {
				t.Fatalf("%s was taken for a duplicate", v)
			}
			b.done(b.mustStart(got.Lanes[0], "f1"))
		}
		if got := b.accept(msg("f1", "v1", "person:1"))[0]; !got.Duplicate {
			t.Fatal("the newest version, sent again, was not known")
		}
	})
	t.Run("OtherFlowsAndDocumentsAreLeftAlone", func(t *testing.T) {
		b := newBench(t, open)
		a := msg("f1", "v1", "person:1")
		a.Routes = append(a.Routes, ledger.Route{Flow: "sms", Each: "case-1", Lanes: []string{"person:1"}, Systems: []string{"rapidpro"}})
		old := b.accept(a)[0]
		next := a
		next.Version = "v2"
		b.accept(next, msg("f9", "v1", "person:1"))
		for _, id := range old.Deliveries {
			b.state(id, ledger.Superseded)
		}
		all, err := b.Document(t.Context(), "commcare", "f1")
		b.must(err)
		if len(all) != 4 || all[3].Version != "v2" || all[0].Flow != "visit" {
			t.Errorf("%+v", all)
		}
		b.total(5)
	})
	t.Run("WhatIsNotRoutedAnyMoreIsNotWritten", func(t *testing.T) {
		b := newBench(t, open)
		old := b.accept(msg("f1", "v1", "person:1"))[0]
		next := msg("f1", "v2", "person:2")
		next.Routes[0].Each = "case-2"
		b.accept(next)
		b.state(old.Deliveries[0], ledger.Superseded)
		b.idle(old.Lanes[0])
	})
	t.Run("QuestionsAndClaimsOfTheOldOneGoWithIt", func(t *testing.T) {
		b := newBench(t, open)
		old := b.accept(msg("f1", "v1", "person:1"))[0]
		b.end(b.start(old.Lanes[0]), ledger.End{State: ledger.Held, Question: &ledger.Question{Kind: "match", Text: "who?"}})
		b.accept(msg("f1", "v2", "person:1"))
		qs, err := b.Questions(t.Context(), "", 0, 10)
		b.must(err)
		if len(qs) != 1 || qs[0].State != "withdrawn" {
			t.Errorf("%+v", qs)
		}
	})
}
