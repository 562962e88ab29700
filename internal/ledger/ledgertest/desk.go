package ledgertest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

func testLessons(t *testing.T, open Open) {
	lesson := func(value string, codes ...string) ledger.Lesson {
		return ledger.Lesson{Integration: "i01", Table: "gender", Codes: codes, Value: value, Who: "amina"}
	}
	t.Run("TaughtIsKnownAfterARestart", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Teach(t.Context(), lesson("F", "female")))
		b.reopen()
		l, err := b.Lesson(t.Context(), "i01", "gender", []string{"female"})
		b.must(err)
		if l == nil || l.Value != "F" || l.Who != "amina" || !l.At.Equal(b.now) || !slices.Equal(l.Codes, []string{"female"}) {
			t.Errorf("%+v", l)
		}
		as, err := b.Audits(t.Context(), 0, 0, 10)
		b.must(err)
		if len(as) != 1 || as[0].Who != "amina" || as[0].Act != "teach i01 gender" {
			t.Errorf("%+v", as)
		}
	})
	t.Run("ALessonIsForItsCodesTableAndIntegrationAlone", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Teach(t.Context(), lesson("x", "a", "b")))
		for _, other := range []struct {
			integration, table string
			codes              []string
		}{{"i02", "gender", []string{"a", "b"}}, {"i01", "sex", []string{"a", "b"}}, {"i01", "gender", []string{"a"}}, {"i01", "gender", []string{"b", "a"}},
			{"i01", "gender", []string{"ab"}}, {"i01", "gendera", []string{"b"}}, {"i01", "gender", []string{"a", "b", ""}}} {
			l, err := b.Lesson(t.Context(), other.integration, other.table, other.codes)
			b.must(err)
			if l != nil {
				t.Errorf("%v knows %+v", other, l)
			}
		}
	})
	t.Run("AnEmptyValueIsKnownAndNotSent", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Teach(t.Context(), lesson("", "other")))
		l, err := b.Lesson(t.Context(), "i01", "gender", []string{"other"})
		b.must(err)
		if l == nil || l.Value != "" {
			t.Errorf("%+v", l)
		}
	})
	t.Run("TheLastLessonCountsAndAllAreListed", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Teach(t.Context(), lesson("F", "female")))
		b.now = b.now.Add(1e9)
		b.must(b.Teach(t.Context(), lesson("M", "male")))
		b.now = b.now.Add(1e9)
		b.must(b.Teach(t.Context(), lesson("W", "female")))
		ls, err := b.Lessons(t.Context())
		b.must(err)
		if len(ls) != 2 || ls[0].Value != "M" || ls[1].Value != "W" {
			t.Errorf("%+v", ls)
		}
	})
	t.Run("AForgottenLessonIsNotThere", func(t *testing.T) {
		b := newBench(t, open)
		b.must(b.Teach(t.Context(), lesson("F", "female")))
		b.must(b.Unteach(t.Context(), "i01", "gender", []string{"female"}, "ben"))
		if l, err := b.Lesson(t.Context(), "i01", "gender", []string{"female"}); err != nil || l != nil {
			t.Errorf("%+v, %v", l, err)
		}
		b.is(b.Unteach(t.Context(), "i01", "gender", []string{"female"}, "ben"), ledger.ErrNotFound)
	})
	t.Run("ALessonIsComplete", func(t *testing.T) {
		b := newBench(t, open)
		for _, l := range []ledger.Lesson{{Table: "t", Codes: []string{"c"}}, {Integration: "i", Codes: []string{"c"}}, {Integration: "i", Table: "t"}} {
			if b.Teach(t.Context(), l) == nil {
				t.Errorf("taught %+v", l)
			}
		}
	})
}

func testLists(t *testing.T, open Open) {
	row := func(doc, version string) ledger.Arrival {
		return ledger.Arrival{System: "openmrs", Incoming: connector.Incoming{Kind: "report", Doc: doc, Version: version, Content: []byte("{}")}, About: "openmrs report"}
	}
	type chunk struct {
		run  int64
		left bool
		docs []string
	}
	put := func(b *bench, old, now string, c chunk) {
		b.Helper()
		var rows []ledger.Arrival
		if !c.left {
			for _, doc := range c.docs {
				rows = append(rows, row(doc, "v"+strconv.FormatInt(c.run, 10)))
			}
		}
		var from []byte
		if old != "" {
			from = []byte(old)
		}
		_, err := b.Accept(b.Context(), rows, &ledger.Advance{System: "openmrs", Stream: "list", Old: from, New: []byte(now),
			List: &ledger.Listing{List: "defaulters", Run: c.run, Docs: c.docs, Left: c.left}})
		b.must(err)
	}
	listed := func(b *bench, docs ...string) string {
		b.Helper()
		runs, err := b.Listed(b.Context(), "openmrs", "defaulters", docs)
		b.must(err)
		return fmt.Sprint(runs)
	}
	unlisted := func(b *bench, run int64, limit int) []ledger.Member {
		b.Helper()
		ms, err := b.Unlisted(b.Context(), "openmrs", "defaulters", run, limit)
		b.must(err)
		return ms
	}
	members := func(b *bench) [2]int64 {
		b.Helper()
		now, earlier, err := b.Members(b.Context(), "openmrs", "defaulters")
		b.must(err)
		return [2]int64{now, earlier}
	}
	t.Run("WhoWasInWhichRun", func(t *testing.T) {
		b := newBench(t, open)
		if got := listed(b, "a"); got != "[0]" {
			t.Error(got)
		}
		put(b, "", "1", chunk{run: 1, docs: []string{"a", "b"}})
		put(b, "1", "2", chunk{run: 2, docs: []string{"b", "c"}})
		b.reopen()
		if got := listed(b, "a", "b", "c", "d"); got != "[1 2 2 0]" {
			t.Error(got)
		}
		if got := members(b); got != [2]int64{2, 1} {
			t.Error(got)
		}
		other, err := b.Listed(t.Context(), "openmrs", "others", []string{"a"})
		if err != nil || other[0] != 0 {
			t.Error(other, err)
		}
	})
	t.Run("WhoLeftIsGivenWithTheirNewestMessage", func(t *testing.T) {
		b := newBench(t, open)
		put(b, "", "1", chunk{run: 1, docs: []string{"a", "b", "c"}})
		put(b, "1", "2", chunk{run: 2, docs: []string{"a", "b", "c"}})
		put(b, "2", "3", chunk{run: 3, docs: []string{"b"}})
		left := unlisted(b, 3, 10)
		if len(left) != 2 {
			t.Fatalf("%+v", left)
		}
		for _, m := range left {
			msg, err := b.Message(t.Context(), m.Message)
			b.must(err)
			if msg.Doc != m.Doc || msg.Version != "v2" || m.Doc == "b" {
				t.Errorf("%+v: %+v", m, msg)
			}
		}
		// Some at a time, in a steady order.
		one := unlisted(b, 3, 1)
		put(b, "3", "4", chunk{run: 3, left: true, docs: []string{one[0].Doc}})
		two := unlisted(b, 3, 1)
		if len(one) != 1 || len(two) != 1 || one[0] != left[0] || two[0] != left[1] {
			t.Errorf("%+v, then %+v", one, two)
		}
		put(b, "4", "5", chunk{run: 3, left: true, docs: []string{two[0].Doc}})
		if rest := unlisted(b, 3, 10); len(rest) > 0 {
			t.Errorf("%+v", rest)
		}
		if got := members(b); got != [2]int64{1, 0} {
			t.Error(got)
		}
		if got := listed(b, "a"); got != "[0]" {
			t.Errorf("who left is listed: %s", got)
		}
	})
	t.Run("AListIsMarkedWithItsMessagesOrNotAtAll", func(t *testing.T) {
		b := newBench(t, open)
		put(b, "", "1", chunk{run: 1, docs: []string{"a"}})
		_, err := b.Accept(t.Context(), []ledger.Arrival{row("b", "v1")}, &ledger.Advance{System: "openmrs", Stream: "list", Old: []byte("0"), New: []byte("2"),
			List: &ledger.Listing{List: "defaulters", Run: 1, Docs: []string{"b"}}})
		b.is(err, ledger.ErrMoved)
		if got := listed(b, "a", "b"); got != "[1 0]" {
			t.Error(got)
		}
	})
	t.Run("AMemberWhoseRowsAreAsBeforeIsMarkedToo", func(t *testing.T) {
		b := newBench(t, open)
		put(b, "", "1", chunk{run: 1, docs: []string{"a"}})
		_, err := b.Accept(t.Context(), []ledger.Arrival{row("a", "v1")}, &ledger.Advance{System: "openmrs", Stream: "list", Old: []byte("1"), New: []byte("2"),
			List: &ledger.Listing{List: "defaulters", Run: 2, Docs: []string{"a"}}})
		b.must(err)
		if got := listed(b, "a"); got != "[2]" {
			t.Error(got)
		}
		if left := unlisted(b, 2, 10); len(left) > 0 {
			t.Errorf("%+v", left)
		}
	})
}

func testQuestions(t *testing.T, open Open) {
	t.Run("OneQuestionIsGiven", func(t *testing.T) {
		b := newBench(t, open)
		_, err := b.Question(t.Context(), 7)
		b.is(err, ledger.ErrNotFound)
		got := b.accept(msg("f1", "v1", "person:1"))[0]
		b.end(b.start(got.Lanes[0]), ledger.End{State: ledger.Held, Question: &ledger.Question{Kind: "match", Key: "match/patient/1", Cause: "k", Text: "who?"}})
		open, err := b.Questions(t.Context(), "open", 0, 10)
		b.must(err)
		q, err := b.Question(t.Context(), open[0].ID)
		b.must(err)
		if q.Key != "match/patient/1" || q.Text != "who?" || q.State != "open" || q.Delivery != got.Deliveries[0] || !q.Asked.Equal(b.now) {
			t.Errorf("%+v", q)
		}
		_, err = b.Answer(t.Context(), q.ID, "P1", "amina")
		b.must(err)
		if q, err = b.Question(t.Context(), q.ID); err != nil || q.State != "answered" || q.Answer != "P1" || q.By != "amina" {
			t.Errorf("%+v, %v", q, err)
		}
	})
	t.Run("AskingAnewTakesTheOldQuestionBack", func(t *testing.T) {
		b := newBench(t, open)
		got := b.accept(msg("f1", "v1", "person:1"))[0]
		ask := func(key string) {
			b.Helper()
			b.end(b.mustStart(got.Lanes[0], "f1"), ledger.End{State: ledger.Held, Question: &ledger.Question{Kind: "conflict", Key: key}})
			_, err := b.Retry(t.Context(), got.Deliveries[0], "amina", "")
			b.must(err)
		}
		ask("a")
		ask("b")
		open, err := b.Questions(t.Context(), "open", 0, 10)
		b.must(err)
		if len(open) != 1 || open[0].Key != "b" {
			t.Fatalf("%+v", open)
		}
		b.done(b.mustStart(got.Lanes[0], "f1"))
		if open, err = b.Questions(t.Context(), "open", 0, 10); err != nil || len(open) > 0 {
			t.Errorf("a delivery that ended still asks: %+v, %v", open, err)
		}
	})
	t.Run("WhatIsHeldIsGroupedByItsCause", func(t *testing.T) {
		b := newBench(t, open)
		hold := func(doc, code, cause string) int64 {
			b.Helper()
			got := b.accept(msg(doc, "v1", "person:"+doc))[0]
			b.end(b.mustStart(got.Lanes[0], doc), ledger.End{State: ledger.Held, Code: code, Cause: cause, Reason: "because of " + cause})
			b.now = b.now.Add(1e9)
			return got.Deliveries[0]
		}
		hold("f1", "unmapped", "sex = x")
		first := hold("f2", "unmapped", "sex = y")
		hold("f3", "unmapped", "sex = y")
		hold("f4", "value", "sex = y")
		last := hold("f5", "unmapped", "sex = z")
		_, err := b.Skip(t.Context(), last, "amina", "")
		b.must(err)
		causes, err := b.Causes(t.Context())
		b.must(err)
		if len(causes) != 3 {
			t.Fatalf("%+v", causes)
		}
		c := causes[0]
		if c.N != 2 || c.Cause != "sex = y" || c.Code != "unmapped" || c.Delivery != first || c.Reason != "because of sex = y" || c.Flow != "visit" || c.Oldest.IsZero() {
			t.Errorf("%+v", c)
		}
		if causes[1].N != 1 || causes[1].Cause != "sex = x" || causes[2].Code != "value" {
			t.Errorf("%+v", causes[1:])
		}
	})
}

func testAlongside(t *testing.T, open Open) {
	t.Run("AlongsideLeavesOlderVersionsToRun", func(t *testing.T) {
		b := newBench(t, open)
		old := b.accept(msg("f1", "v1", "person:1"))[0]
		back, anew := msg("f1", "split 1 withdrawn", "person:1"), msg("f1", "split 1 again", "person:1")
		back.Withdrawn, back.Alongside, anew.Alongside = true, true, true
		got := b.accept(back, anew)
		w := b.mustStart(old.Lanes[0], "f1")
		for i, version := range []string{"v1", "split 1 withdrawn", "split 1 again"} {
			if w == nil || w.Message.Version != version || w.Message.Withdrawn != (i == 1) {
				t.Fatalf("%d: %+v", i, w)
			}
			w = b.done(w)
		}
		b.runs(w, "nothing")
		b.state(got[1].Deliveries[0], ledger.Done)
		b.accounted(3)
	})
	t.Run("AlongsideIsStillTakenOnce", func(t *testing.T) {
		b := newBench(t, open)
		a := msg("f1", "v2", "person:1")
		a.Alongside = true
		b.accept(msg("f1", "v1", "person:1"), a)
		if !b.accept(a)[0].Duplicate {
			t.Error("taken twice")
		}
	})
	t.Run("AlongsideThenAnEditSupersedesAll", func(t *testing.T) {
		b := newBench(t, open)
		a := msg("f1", "v2", "person:1")
		a.Alongside = true
		got := b.accept(msg("f1", "v1", "person:1"), a, msg("f1", "v3", "person:1"))
		b.state(got[0].Deliveries[0], ledger.Superseded)
		b.state(got[1].Deliveries[0], ledger.Superseded)
		w := b.mustStart(got[2].Lanes[0], "f1")
		if w.Message.Version != "v3" {
			t.Error(w.Message.Version)
		}
	})
}
