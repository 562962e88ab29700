package ledgertest

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

func testMergePeople(t *testing.T, open Open) {
	t.Run("AllThatTheLoserHadIsTheWinners", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(asked("f1", "c1"), asked("f2", "c2"))
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", "first"))
		b.must(b.Relink(t.Context(), patient("c2", "P2"), "amina", ""))
		b.must(b.MergePeople(t.Context(), "c1", "c2", "ben", "one card"))
		for _, id := range []string{"P1", "P2"} {
			b.link(patient("", id), &ledger.Link{Person: "c2", State: "linked"})
			b.together("openmrs/"+id, "c2")
		}
		b.together("c1", "c2")
		if p := b.who("c1"); p != "c2" {
			t.Errorf("they go by %s", p)
		}
		links, err := b.Links(t.Context(), "c2")
		b.must(err)
		if left, err := b.Links(t.Context(), "c1"); err != nil || len(left) > 0 || len(links) != 2 {
			t.Errorf("%d links, and %d left, %v", len(links), len(left), err)
		}
		ties, err := b.Ties(t.Context(), "c2")
		b.must(err)
		acts := map[string]int{}
		for _, tie := range ties {
			acts[tie.Act]++
			if tie.Act == "merged" && (tie.Link.Person != "c1" || tie.Who != "ben" || tie.Note != "one card") {
				t.Errorf("%+v", tie)
			}
		}
		if acts["linked"] != 2 || acts["merged"] != 1 {
			t.Errorf("%v", acts)
		}
		if docs := b.runAll(); len(docs) != 2 || docs[0] != "f1" {
			t.Errorf("%v ran", docs)
		}
		b.accounted(2)
	})
	t.Run("TheSamePersonIsNotMerged", func(t *testing.T) {
		b := newBench(t, open)
		b.is(b.MergePeople(t.Context(), "c1", "c1", "ben", ""), ledger.ErrState)
	})
	t.Run("AMergeByFormerNamesMeansThoseWhoTheyAreNow", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.must(b.Relink(t.Context(), patient("c2", "P2"), "amina", ""))
		b.must(b.Relink(t.Context(), patient("c3", "P3"), "amina", ""))
		b.must(b.MergePeople(t.Context(), "c2", "c3", "ben", ""))
		b.must(b.MergePeople(t.Context(), "c1", "c2", "ben", "")) // asked before the other merge
		for _, id := range []string{"P1", "P2", "P3"} {
			b.link(patient("", id), &ledger.Link{Person: "c3"})
		}
		b.is(b.MergePeople(t.Context(), "c1", "c2", "ben", ""), ledger.ErrState)
	})
	t.Run("ThoseKeptApartStaySoAfterAMerge", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.KeepApart(t.Context(), patient("c1", "P9"), "amina", "a namesake"))
		b.must(b.MergePeople(t.Context(), "c1", "c2", "ben", ""))
		b.apartAre("c2", "P9")
	})
	t.Run("AMergeEndsWhatKeptTheTwoApart", func(t *testing.T) {
		for name, who := range map[string][2]string{"the winner was kept from it": {"c2", "P1"}, "the loser was kept from it": {"c1", "P2"}} {
			b := newBench(t, open)
			b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
			b.must(b.Relink(t.Context(), patient("c2", "P2"), "amina", ""))
			b.must(b.KeepApart(t.Context(), patient(who[0], who[1]), "amina", ""))
			b.must(b.MergePeople(t.Context(), "c1", "c2", "ben", "after all"))
			b.Log(name)
			b.apartAre("c2")
		}
	})
	t.Run("BothRunningAreMergedOnceIdle", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(asked("f1", "c1"), asked("f2", "c2"), asked("f3", "c1"))
		w1, w2 := b.mustStart(got[0].Lanes[0], "f1"), b.mustStart(got[1].Lanes[0], "f2")
		b.must(b.MergePeople(t.Context(), "c1", "c2", "ben", ""))
		b.runs(b.done(w1), "nothing")
		b.apartNow("c1", "c2")
		b.runs(b.done(w2), "nothing")
		b.together("c1", "c2")
		b.done(b.mustStart(got[1].Lanes[0], "f3"))
		b.accounted(3)
	})
	t.Run("WhatALoserEndsWithIsTheWinners", func(t *testing.T) {
		b := newBench(t, open)
		w := b.mustStart(b.accept(asked("f1", "c1"))[0].Lanes[0], "f1")
		b.must(b.Journal(t.Context(), w, ledger.Plan{Body: []byte("p"), Intent: "c1", Pending: []ledger.Link{patient("c1", "P1")}}))
		b.must(b.MergePeople(t.Context(), "c1", "c2", "ben", ""))
		b.end(w, ledger.End{State: ledger.Done, Links: []ledger.Link{patient("c1", "P1")}})
		b.link(patient("", "P1"), &ledger.Link{Person: "c2", State: "linked"})
		b.together("openmrs/P1", "c2")
	})
	t.Run("WhatALoserUndoesIsNotLinked", func(t *testing.T) {
		b := newBench(t, open)
		w := b.mustStart(b.accept(asked("f1", "c1"))[0].Lanes[0], "f1")
		b.must(b.Journal(t.Context(), w, ledger.Plan{Body: []byte("p"), Intent: "c1", Pending: []ledger.Link{patient("c1", "P1")}}))
		b.must(b.MergePeople(t.Context(), "c1", "c2", "ben", ""))
		b.end(w, ledger.End{State: ledger.Undone, Unlink: []ledger.Link{patient("c1", "P1")}})
		b.link(patient("", "P1"), nil)
		b.apartNow("openmrs/P1", "c2")
	})
}

// apartAre checks which records are kept apart from a person.
func (b *bench) apartAre(person string, ids ...string) {
	b.Helper()
	got, err := b.Apart(b.Context(), person)
	b.must(err)
	if len(got) != len(ids) {
		b.Fatalf("%d records are kept apart from %s, not %d", len(got), person, len(ids))
	}
	for i, id := range ids {
		if got[i].ID != id || got[i].Person != person {
			b.Fatalf("%+v is kept apart from %s", got[i], person)
		}
	}
}

func testHistory(t *testing.T, open Open) {
	t.Run("KeptApartUntilAPersonLinksThem", func(t *testing.T) {
		b := newBench(t, open)
		b.apartAre("c1")
		b.must(b.KeepApart(t.Context(), patient("c1", "P1"), "amina", "a namesake"))
		b.must(b.KeepApart(t.Context(), patient("c1", "P1"), "amina", "again"))
		b.reopen()
		b.apartAre("c1", "P1")
		b.apartAre("c2")
		ties, err := b.Ties(t.Context(), "c1")
		b.must(err)
		if len(ties) != 2 || ties[1].Act != "apart" || ties[1].Note != "a namesake" {
			t.Errorf("%+v", ties)
		}
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", "the same after all"))
		b.apartAre("c1")
	})
	t.Run("TiesOfOthersAreNotShown", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		ties, err := b.Ties(t.Context(), "c2")
		b.must(err)
		if len(ties) > 0 {
			t.Errorf("%+v", ties)
		}
	})
	t.Run("ADeliverysLaneIsListedNewestFirst", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(asked("f1", "c1"), asked("f2", "c1"), asked("g1", "c2"), asked("f3", "c1"))
		first, err := b.OfLane(t.Context(), "person:c1", 0, 2)
		b.must(err)
		if len(first) != 2 || first[0].Doc != "f3" || first[1].Doc != "f2" {
			t.Fatalf("%+v", first)
		}
		rest, err := b.OfLane(t.Context(), "person:c1", first[1].ID, 2)
		b.must(err)
		if len(rest) != 1 || rest[0].Doc != "f1" {
			t.Fatalf("%+v", rest)
		}
		if none, err := b.OfLane(t.Context(), "person:nobody", 0, 2); err != nil || len(none) > 0 {
			t.Errorf("%v, %v", none, err)
		}
	})
	t.Run("ALaneListsWhatItsFormerNamesBrought", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(asked("f1", "c1"), asked("g1", "c2"))
		b.runAll() // both have ended before they are merged
		b.must(b.MergePeople(t.Context(), "c1", "c2", "ben", ""))
		b.accept(asked("f2", "c1"))
		for _, name := range []string{"person:c1", "person:c2"} {
			list, err := b.OfLane(t.Context(), name, 0, 10)
			b.must(err)
			if len(list) != 3 || list[0].Doc != "f2" || list[1].Doc != "g1" || list[2].Doc != "f1" {
				t.Errorf("%s: %+v", name, list)
			}
		}
	})
	t.Run("APersonWhomNobodyKnowsGoesByHerOwnName", func(t *testing.T) {
		b := newBench(t, open)
		if p := b.who("openmrs/P1"); p != "openmrs/P1" {
			t.Error(p)
		}
	})
}
