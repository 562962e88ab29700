package runner

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/record"
)

// world is a target of which the test knows everything: how often each call
// took effect and was undone.
type world struct {
	live    []int // effects of each call that stand
	sent    []int // how often each call was sent
	journal []ledger.Step
	p       *plan.Plan
	book    *Book
}

func (w *world) write(t *rapid.T, kind ledger.StepKind, i int, reason string) {
	s := ledger.Step{N: len(w.journal) + 1, Kind: kind, Call: w.p.Calls[i].Name}
	if reason != "" {
		s.Data, _ = json.Marshal(lineData{Reason: reason})
	}
	w.journal = append(w.journal, s)
	if err := w.book.Apply(s); err != nil {
		t.Fatal(err)
	}
}

// crash forgets everything but the journal.
func (w *world) crash(t *rapid.T) {
	book, err := Open(w.p, w.journal)
	if err != nil {
		t.Fatal(err)
	}
	w.book = book
}

func randomPlan(t *rapid.T) *plan.Plan {
	p := &plan.Plan{}
	n := rapid.IntRange(1, 6).Draw(t, "calls")
	for i := range n {
		r := plan.Record{Name: fmt.Sprintf("r%d", i), OnRefused: rapid.SampledFrom([]string{"", "undo", "keep"}).Draw(t, "onRefused")}
		if i > 0 && rapid.Bool().Draw(t, "needs") {
			r.Needs = []string{fmt.Sprintf("r%d", i-1)}
		}
		c := call.Call{Name: r.Name + ".make", Record: r.Name, Check: &call.Check{Want: record.Fields{}},
			Repeat:   rapid.SampledFrom([]call.Repeat{call.Safe, call.Findable, call.Blind}).Draw(t, "repeat"),
			Reversal: rapid.SampledFrom([]call.Reversal{call.Exact, call.Exact, call.Exact, call.Leftover, call.Final}).Draw(t, "reversal")}
		if c.Reversal == call.Exact {
			c.Undo = &call.Undo{}
		}
		if c.Repeat == call.Blind {
			c.Check, c.Reversal, c.Undo = nil, call.Final, nil
		}
		p.Records, p.Calls = append(p.Records, r), append(p.Calls, c)
	}
	return p
}

// Invariants 2 (intent first), 3 (once) and 5 (exact undo), on the deciding
// code: whatever the answers and wherever it crashes, the book ends with every
// effect once, or none.
func TestBookKeepsItsPromisesUnderFaultsAndCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := randomPlan(t)
		w := &world{p: p, live: make([]int, len(p.Calls)), sent: make([]int, len(p.Calls))}
		w.crash(t)
		fuel := 200
		for {
			if fuel--; fuel == 0 {
				t.Fatal("the delivery never ends")
			}
			// Faults stop after a while, as they do in life.
			faulty := fuel > 100
			if faulty && rapid.IntRange(0, 5).Draw(t, "crash") == 0 {
				w.crash(t)
			}
			cmd := w.book.Next()
			if cmd.Do == Finish {
				w.checkEnd(t, cmd.State)
				return
			}
			if cmd.Do == Ask {
				if p.Calls[cmd.Call].Repeat != call.Blind {
					t.Fatalf("asked a person about a call that the target could be asked about")
				}
				return
			}
			w.act(t, cmd, faulty)
		}
	})
}

func (w *world) act(t *rapid.T, cmd Command, faulty bool) {
	i, c := cmd.Call, w.p.Calls[cmd.Call]
	switch cmd.Do {
	case Send:
		w.write(t, ledger.StepIntent, i, "")
		if faulty && rapid.IntRange(0, 9).Draw(t, "crash before sending") == 0 {
			w.crash(t)
			return
		}
		if c.Repeat == call.Blind && w.sent[i] > 0 {
			t.Fatalf("a blind call was sent twice")
		}
		if w.live[i] > 0 {
			t.Fatalf("%s was sent although it had happened", c.Name)
		}
		w.sent[i]++
		w.outcome(t, i, faulty)
	case Verify, Look:
		if c.Repeat == call.Blind {
			t.Fatal("a blind call cannot be verified")
		}
		switch {
		case w.live[i] > 0:
			w.write(t, ledger.StepVerified, i, "")
		case cmd.Do == Look:
			w.write(t, ledger.StepLooked, i, "")
		default:
			w.write(t, ledger.StepAbsent, i, "")
		}
	case Undo:
		if c.Undo == nil {
			t.Fatalf("%s cannot be undone, yet it is", c.Name)
		}
		w.write(t, ledger.StepUndo, i, "")
		if faulty && rapid.Bool().Draw(t, "undo lost") {
			w.live[i] = 0
			w.crash(t)
			return
		}
		w.live[i] = 0
		w.write(t, ledger.StepUndone, i, "")
	}
}

func (w *world) outcome(t *rapid.T, i int, faulty bool) {
	kind := "ok"
	if faulty {
		kind = rapid.SampledFrom([]string{"ok", "ok", "refused", "lost", "timeout", "crash after"}).Draw(t, "outcome")
	}
	switch kind {
	case "ok":
		w.live[i]++
		w.write(t, ledger.StepAnswer, i, "")
	case "refused":
		w.write(t, ledger.StepRefused, i, "no")
	case "lost":
		w.live[i]++
		w.write(t, ledger.StepUnknown, i, "")
	case "timeout":
		w.write(t, ledger.StepUnknown, i, "")
	case "crash after":
		w.live[i]++
		w.crash(t)
	}
}

func (w *world) checkEnd(t *rapid.T, state ledger.State) {
	for i, n := range w.live {
		c := w.p.Calls[i]
		switch state {
		case ledger.Done:
			refused := w.book.Calls[i].Skipped || w.book.Calls[i].State == call.Refused
			if !refused && n != 1 {
				t.Fatalf("done, but %s stands %d times", c.Name, n)
			}
		case ledger.Undone:
			if n != 0 && c.Reversal != call.Leftover {
				t.Fatalf("undone, but %s stands", c.Name)
			}
		case ledger.Held:
			if !w.book.OnlyForward() {
				t.Fatalf("held although everything could have been taken back")
			}
		default:
			t.Fatalf("ended as %s", state)
		}
	}
}

func TestARefusalThatTheFlowKeepsSkipsOnlyWhatNeedsIt(t *testing.T) {
	p := &plan.Plan{
		Records: []plan.Record{{Name: "visit"}, {Name: "copy", OnRefused: "keep"}, {Name: "note", Needs: []string{"copy"}}, {Name: "other"}},
		Calls: []call.Call{{Name: "visit.make", Record: "visit"}, {Name: "copy.make", Record: "copy"},
			{Name: "note.make", Record: "note"}, {Name: "other.make", Record: "other"}},
	}
	book, err := Open(p, []ledger.Step{
		{N: 1, Kind: ledger.StepIntent, Call: "visit.make"},
		{N: 2, Kind: ledger.StepAnswer, Call: "visit.make", Intent: "copy.make"},
		{N: 3, Kind: ledger.StepRefused, Call: "copy.make"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := book.Next(); got.Do != Send || p.Calls[got.Call].Name != "other.make" {
		t.Fatalf("next is %+v, want other.make: the note needs the refused copy", got)
	}
	if len(book.Kept) != 1 {
		t.Fatalf("the refusal must be kept as a remark: %v", book.Kept)
	}
}
