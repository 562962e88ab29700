package ledgertest

import (
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// patient is a link of a person to a record of openmrs, whose lane by itself is
// "person:openmrs/ID".
func patient(person, id string) ledger.Link {
	return ledger.Link{Person: person, System: "openmrs", Kind: "openmrs/Patient", ID: id, By: "delivery 1", How: "uuid"}
}

// fromClinic is an arrival from openmrs, about one of its records.
func fromClinic(doc, id string) ledger.Arrival {
	a := msg(doc, "v1", "person:openmrs/"+id, "commcare")
	a.System = "openmrs"
	return a
}

// asked is an arrival from commcare about a person that touches commcare too.
func asked(doc, person string) ledger.Arrival {
	return msg(doc, "v1", "person:"+person, "commcare", "openmrs")
}

// together says that two lanes are one now.
func (b *bench) together(a, c string) {
	b.Helper()
	x, y := b.who(a), b.who(c)
	if x != y {
		b.Fatalf("%s goes by %s and %s by %s: they are not one", a, x, c, y)
	}
}

func (b *bench) apartNow(a, c string) {
	b.Helper()
	if x := b.who(a); x == b.who(c) {
		b.Fatalf("%s and %s both go by %s", a, c, x)
	}
}

func (b *bench) who(person string) string {
	b.Helper()
	p, err := b.Person(b.Context(), person)
	b.must(err)
	return p
}

func (b *bench) link(l ledger.Link, want *ledger.Link) {
	b.Helper()
	got, err := b.LinkOf(b.Context(), l.System, l.Kind, l.ID)
	b.must(err)
	if (got == nil) != (want == nil) || got != nil && (got.Person != want.Person || want.State != "" && got.State != want.State) {
		b.Fatalf("%s %s is linked as %+v, not %+v", l.System, l.ID, got, want)
	}
}

// runAll runs everything that may run to its end, and gives the documents in
// the order in which they ran.
func (b *bench) runAll() (docs []string) {
	b.Helper()
	for range 100 {
		due := b.due()
		if len(due) == 0 {
			return docs
		}
		for _, lane := range due {
			for w := b.start(lane); w != nil; w = b.done(w) {
				docs = append(docs, w.Message.Doc)
			}
		}
	}
	b.Fatal("it never comes to an end")
	return nil
}

// accounted fails if a delivery is left that has not ended, or cannot be run.
func (b *bench) accounted(want int) {
	b.Helper()
	b.total(want)
	all, err := b.Deliveries(b.Context(), ledger.Filter{Limit: 1000})
	b.must(err)
	for _, d := range all {
		if !d.State.Ended() {
			b.Errorf("delivery %d (%s) is left %s", d.ID, d.Doc, d.State)
		}
	}
}

func testLinks(t *testing.T, open Open) {
	t.Run("TheOldestLinkOfAKindComesFirst", func(t *testing.T) {
		b := newBench(t, open)
		for _, id := range []string{"P3", "P1", "P2"} {
			b.now = b.now.Add(time.Second)
			b.must(b.Relink(t.Context(), patient("c1", id), "amina", ""))
		}
		links, err := b.Links(t.Context(), "c1")
		b.must(err)
		if len(links) != 3 || links[0].ID != "P3" || links[1].ID != "P1" || links[2].ID != "P2" {
			t.Errorf("%+v", links)
		}
	})
	t.Run("WhatComesOfAPendingRecordWaits", func(t *testing.T) {
		b := newBench(t, open)
		w := b.mustStart(b.accept(asked("f1", "c1"))[0].Lanes[0], "f1")
		b.must(b.Journal(t.Context(), w, ledger.Plan{Body: []byte("p"), Intent: "c1", Pending: []ledger.Link{patient("c1", "P1")}}))
		b.together("openmrs/P1", "c1") // the lane was unused: no merge is needed
		lane := b.accept(fromClinic("e1", "P1"))[0].Lanes[0]
		if lane != w.LaneID {
			t.Fatalf("it stands in lane %d, not in %d with the person", lane, w.LaneID)
		}
		b.idle(lane)
		next := b.end(w, ledger.End{State: ledger.Done, Links: []ledger.Link{patient("c1", "P1")}})
		b.runs(next, "e1")
		if next.LaneKey != "person:c1" {
			t.Errorf("it runs for %s", next.LaneKey)
		}
		b.done(next)
		b.accounted(2)
	})
	t.Run("AUsedLaneIsMergedOnceBothAreIdle", func(t *testing.T) {
		b := newBench(t, open)
		we := b.mustStart(b.accept(fromClinic("e1", "P1"))[0].Lanes[0], "e1")
		w := b.mustStart(b.accept(asked("f1", "c1"))[0].Lanes[0], "f1")
		b.must(b.Journal(t.Context(), w, ledger.Plan{Body: []byte("p"), Pending: []ledger.Link{patient("c1", "P1")}}))
		b.apartNow("openmrs/P1", "c1")
		b.accept(fromClinic("e2", "P1"), asked("f2", "c1"))
		b.runs(b.end(w, ledger.End{State: ledger.Done, Links: []ledger.Link{patient("c1", "P1")}}), "nothing")
		b.idle(w.LaneID)
		b.runs(b.done(we), "nothing")
		b.together("openmrs/P1", "c1")
		b.runs(b.done(b.mustStart(w.LaneID, "e2")), "f2")
	})
	t.Run("APendingLinkDroppedByAnUndoGivesTheLaneBack", func(t *testing.T) {
		for name, during := range map[string]bool{"nothing came meanwhile": false, "an entry came meanwhile": true} {
			b := newBench(t, open)
			w := b.mustStart(b.accept(asked("f1", "c1"))[0].Lanes[0], "f1")
			b.must(b.Journal(t.Context(), w, ledger.Plan{Body: []byte("p"), Intent: "c1", Pending: []ledger.Link{patient("c1", "P1")}}))
			n := 1
			if during {
				n++
				b.accept(fromClinic("e1", "P1"))
			}
			next := b.end(w, ledger.End{State: ledger.Undone, Unlink: []ledger.Link{patient("c1", "P1")}})
			b.runs(next, "nothing")
			b.apartNow("openmrs/P1", "c1")
			b.link(patient("", "P1"), nil)
			if during {
				lanes := b.due()
				if len(lanes) != 1 {
					t.Fatalf("%s: %v are due", name, lanes)
				}
				we := b.mustStart(lanes[0], "e1")
				if we.LaneKey != "person:openmrs/P1" {
					t.Errorf("%s: it runs for %s", name, we.LaneKey)
				}
				b.done(we)
			}
			b.accounted(n)
		}
	})
	t.Run("ADroppedPendingLinkEndsTheMergeThatWaited", func(t *testing.T) {
		b := newBench(t, open)
		we := b.mustStart(b.accept(fromClinic("e1", "P1"))[0].Lanes[0], "e1")
		w := b.mustStart(b.accept(asked("f1", "c1"))[0].Lanes[0], "f1")
		b.must(b.Journal(t.Context(), w, ledger.Plan{Body: []byte("p"), Pending: []ledger.Link{patient("c1", "P1")}}))
		b.accept(fromClinic("e2", "P1"), asked("f2", "c1"))
		b.runs(b.end(w, ledger.End{State: ledger.Undone, Unlink: []ledger.Link{patient("c1", "P1")}}), "f2")
		b.runs(b.done(we), "e2")
		b.apartNow("openmrs/P1", "c1")
	})
	t.Run("ALinkIsMadeAndTakenAwayByAPerson", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(asked("f1", "c1"))
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", "her card"))
		b.link(patient("", "P1"), &ledger.Link{Person: "c1", State: "linked"})
		b.together("openmrs/P1", "c1")
		b.accept(fromClinic("e1", "P1"), asked("f2", "c1"))
		b.must(b.Unlink(t.Context(), patient("c1", "P1"), "ben", "a mistake"))
		b.link(patient("", "P1"), nil)
		b.apartNow("openmrs/P1", "c1")
		ties, err := b.Ties(t.Context(), "c1")
		b.must(err)
		if len(ties) != 2 || ties[0].Act != "unlinked" || ties[0].Who != "ben" || ties[0].Note != "a mistake" || ties[1].Act != "linked" ||
			ties[1].Note != "her card" || ties[1].Link.ID != "P1" || !ties[1].At.Equal(b.now) {
			t.Errorf("%+v", ties)
		}
		b.is(b.Unlink(t.Context(), patient("c1", "P1"), "ben", ""), ledger.ErrNotFound)
		b.runAll()
		b.accounted(3)
	})
	t.Run("AnotherPersonsLinkIsNotTakenAwayByMistake", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.is(b.Unlink(t.Context(), patient("c2", "P1"), "amina", ""), ledger.ErrNotFound)
		b.link(patient("", "P1"), &ledger.Link{Person: "c1"})
	})
	t.Run("RelinkTakesItFromWhoeverHadIt", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(asked("f1", "c1"), asked("f2", "c2"))
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.accept(fromClinic("e1", "P1"))
		b.must(b.Relink(t.Context(), patient("c2", "P1"), "amina", "she is the other"))
		b.link(patient("", "P1"), &ledger.Link{Person: "c2", State: "linked"})
		b.together("openmrs/P1", "c2")
		b.apartNow("c1", "c2")
		for person, act := range map[string]string{"c1": "unlinked", "c2": "linked"} {
			ties, err := b.Ties(t.Context(), person)
			b.must(err)
			if len(ties) == 0 || ties[0].Act != act {
				t.Errorf("%s: %+v", person, ties)
			}
		}
		for _, lane := range b.due() {
			if w := b.start(lane); w.LaneKey == "person:c2" {
				b.runs(w, "f2")
				w = b.done(w)
				b.runs(w, "e1")
				b.done(w)
			} else {
				b.runs(b.done(w), "nothing")
			}
		}
		b.accounted(3)
	})
	t.Run("ALinkThatIsThereAlreadyStays", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", "sure"))
		b.link(patient("", "P1"), &ledger.Link{Person: "c1", State: "linked"})
		b.together("openmrs/P1", "c1")
	})
	t.Run("UnlinkingMovesTheQueueInItsOrder", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.accept(fromClinic("e1", "P1"), asked("f1", "c1"), fromClinic("e2", "P1"))
		b.must(b.Unlink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.accept(fromClinic("e3", "P1"))
		for _, lane := range b.due() {
			w := b.start(lane)
			if w.LaneKey == "person:c1" {
				b.runs(b.done(w), "nothing")
				continue
			}
			b.runs(w, "e1")
			w = b.done(w)
			b.runs(w, "e2")
			w = b.done(w)
			b.runs(w, "e3")
			b.done(w)
		}
		b.accounted(4)
	})
	t.Run("AHeldDeliveryGoesWithItsRecord", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		got := b.accept(fromClinic("e1", "P1"), asked("f1", "c1"))
		b.runs(b.end(b.mustStart(got[0].Lanes[0], "e1"), ledger.End{State: ledger.Held}), "nothing") // f1 shares commcare with it
		b.must(b.Unlink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.runs(b.done(b.mustStart(got[0].Lanes[0], "f1")), "nothing")
		own, err := b.Retry(t.Context(), got[0].Deliveries[0], "amina", "")
		b.must(err)
		b.done(b.mustStart(own, "e1"))
		b.accounted(2)
	})
	t.Run("UnlinkingWhileADeliveryOfTheRecordRuns", func(t *testing.T) {
		ends := map[string]ledger.End{"done": {State: ledger.Done}, "undone": {State: ledger.Undone}, "held": {State: ledger.Held},
			"waiting": {State: ledger.Waiting, Due: epoch.AddDate(0, 0, 1)}, "again": {State: ledger.Received, Forget: true}}
		for name, e := range ends {
			t.Run(name, func(t *testing.T) {
				b := newBench(t, open)
				b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
				w := b.mustStart(b.accept(fromClinic("e1", "P1"))[0].Lanes[0], "e1")
				b.accept(asked("f1", "c1"), fromClinic("e2", "P1"))
				b.must(b.Unlink(t.Context(), patient("c1", "P1"), "amina", ""))
				for _, lane := range b.due() {
					if x := b.start(lane); x != nil && x.Message.Doc == "e1" {
						t.Fatal("it runs twice at once")
					} else if x != nil {
						b.runs(x, "e2")
						b.done(x)
					}
				}
				_, err := b.Skip(t.Context(), w.Delivery.ID, "amina", "")
				b.is(err, ledger.ErrState)
				next := b.end(w, e)
				b.runs(next, "f1")
				b.runs(b.done(next), "nothing")
				own := b.laneOf(w.Delivery.ID)
				if e.State.Ended() != (own == w.LaneID) {
					t.Errorf("it ended in lane %d", own)
				}
				b.now = b.now.AddDate(0, 0, 2)
				if e.State == ledger.Held {
					_, err := b.Retry(t.Context(), w.Delivery.ID, "amina", "")
					b.must(err)
				}
				for _, lane := range b.due() {
					if x := b.start(lane); x != nil {
						b.runs(x, "e1")
						if x.LaneKey != "person:openmrs/P1" {
							t.Errorf("it runs for %s", x.LaneKey)
						}
						b.done(x)
					}
				}
				b.accept(fromClinic("e3", "P1"))
				for _, doc := range b.runAll() {
					if doc != "e3" && doc != "e2" {
						t.Errorf("%s runs", doc)
					}
				}
				if d := b.state(w.Delivery.ID, afterwards(e.State)); d.State == ledger.Held {
					t.Error("it is held still")
				}
			})
		}
	})
	t.Run("UnlinkingWhileTheMergeWaitsLetsBothGoOn", func(t *testing.T) {
		b := newBench(t, open)
		w := b.mustStart(b.accept(fromClinic("e1", "P1"))[0].Lanes[0], "e1")
		f1 := b.accept(asked("f1", "c1"))[0].Lanes[0]
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", "")) // waits for e1
		b.idle(f1)
		b.must(b.Unlink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.runs(b.done(b.mustStart(f1, "f1")), "nothing")
		b.runs(b.done(w), "nothing")
		b.apartNow("openmrs/P1", "c1")
		b.accounted(2)
	})
	t.Run("UnlinkingTheRecordThatAPersonGoesByKeepsHerLane", func(t *testing.T) {
		b := newBench(t, open)
		lane := b.accept(fromClinic("e1", "P1"))[0].Lanes[0]
		b.must(b.Relink(t.Context(), patient("openmrs/P1", "P1"), "amina", ""))
		b.must(b.Unlink(t.Context(), patient("openmrs/P1", "P1"), "amina", ""))
		b.runs(b.done(b.mustStart(lane, "e1")), "nothing")
	})
	t.Run("WhatIsBehindAnUnlinkedRecordGoesWithIt", func(t *testing.T) {
		b := newBench(t, open)
		b.accept(asked("f0", "c1"))
		b.runAll()
		b.must(b.Merge(t.Context(), "person:openmrs/old", "person:openmrs/P1", "amina"))
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		got := b.accept(fromClinic("e1", "old"))
		b.together("openmrs/old", "c1")
		b.must(b.Unlink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.together("openmrs/old", "openmrs/P1")
		b.apartNow("openmrs/old", "c1")
		for _, lane := range b.due() {
			if w := b.start(lane); w != nil {
				b.runs(w, "e1")
				if w.LaneKey != "person:openmrs/P1" {
					t.Errorf("it runs for %s", w.LaneKey)
				}
				b.runs(b.done(w), "nothing")
			}
		}
		b.state(got[0].Deliveries[0], ledger.Done)
		b.accounted(2)
	})
	t.Run("ADeliveryOfBothStaysInBothLanes", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		both := asked("f1", "c1")
		both.Routes[0].Lanes = []string{"person:c1", "person:openmrs/P1"}
		b.accept(both)
		b.must(b.Unlink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.accept(fromClinic("e1", "P1"), asked("f2", "c1"))
		docs := b.runAll()
		if len(docs) != 3 || docs[0] != "f1" {
			t.Errorf("%v ran", docs)
		}
		b.accounted(3)
	})
	t.Run("AMergedRecordGivesWayToTheOneItWentInto", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		w := b.mustStart(b.accept(asked("f1", "c1"))[0].Lanes[0], "f1")
		b.end(w, ledger.End{State: ledger.Done, Links: []ledger.Link{patient("c1", "P2")}, Replaced: []ledger.Link{patient("c1", "P1")}})
		b.link(patient("", "P1"), nil)
		b.link(patient("", "P2"), &ledger.Link{Person: "c1", State: "linked"})
		b.together("openmrs/P2", "c1")
		b.together("openmrs/P1", "c1") // what still comes of it is hers
	})
	t.Run("AnotherPersonsRecordIsNotReplaced", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c2", "P1"), "amina", ""))
		w := b.mustStart(b.accept(asked("f1", "c1"))[0].Lanes[0], "f1")
		_, _ = b.End(t.Context(), w, ledger.End{State: ledger.Done, Links: []ledger.Link{patient("c1", "P2")}, Replaced: []ledger.Link{patient("c1", "P1")}}, b.now)
		b.link(patient("", "P1"), &ledger.Link{Person: "c2", State: "linked"})
	})
	t.Run("LinksSurviveARestart", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Relink(t.Context(), patient("c1", "P1"), "amina", ""))
		b.reopen()
		b.link(patient("", "P1"), &ledger.Link{Person: "c1", State: "linked"})
		b.together("openmrs/P1", "c1")
	})
}

// afterwards is how a delivery of the unlinking test stands at the end.
func afterwards(s ledger.State) ledger.State {
	if s.Ended() {
		return s
	}
	return ledger.Done
}

// laneOf is the lane in which a delivery stands.
func (b *bench) laneOf(id int64) int64 {
	b.Helper()
	w, err := b.Delivery(b.Context(), id)
	b.must(err)
	return w.Delivery.Lane
}
