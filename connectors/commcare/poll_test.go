package commcare

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
)

func simpleForm(id string, answer int) []byte {
	return fmt.Appendf(nil, `{"form":{"#type":"data","@xmlns":"x","q":"%d","meta":{"instanceID":"%s","timeEnd":"2026-03-02T07:00:00.000000Z"}}}`, answer, id)
}

// sweep polls until there is no more, and checks that it ends.
func (b *bench) sweep(stream string, position []byte) ([]connector.Incoming, []byte) {
	b.Helper()
	var all []connector.Incoming
	for range 1000 {
		batch := b.poll(stream, position)
		all, position = append(all, batch.Messages...), batch.Position
		if !batch.More {
			return all, position
		}
	}
	b.Fatal("the sweep does not end")
	return nil, nil
}

func docs(in []connector.Incoming) map[string]int {
	out := map[string]int{}
	for _, m := range in {
		out[m.Doc]++
	}
	return out
}

func TestTheFirstSweepStartsNowAndNotWithTheHistory(t *testing.T) {
	b := newBench(t, nil)
	old := newClock()
	b.sim.SetClock(old.now)
	b.submit(simpleForm("before", 1))
	b.sim.SetClock(nil)
	got, position := b.sweep("forms", nil)
	if len(got) != 0 {
		t.Errorf("swept %d old forms", len(got))
	}
	b.submit(simpleForm("after", 1))
	// The clock of the position has whole seconds, rounded down: the form is after it.
	if got, _ = b.sweep("forms", position); len(got) != 1 || got[0].Doc != "after" {
		t.Errorf("swept %v", docs(got))
	}
}

func TestASweepFindsEachFormOnceOverManyPages(t *testing.T) {
	b := newBench(t, map[string]string{"sweep_from": "2026-01-01", "page_size": "7"})
	c := newClock()
	b.sim.SetClock(c.now)
	for i := range 60 {
		b.submit(simpleForm(fmt.Sprintf("f%02d", i), 1))
		if i%3 == 0 { // some share a moment across page ends
			c.forward(time.Minute)
		}
	}
	got, position := b.sweep("forms", nil)
	if len(got) != 60 || len(docs(got)) != 60 {
		t.Errorf("swept %d messages of %d forms", len(got), len(docs(got)))
	}
	if got, _ = b.sweep("forms", position); len(got) != 0 {
		t.Errorf("the next sweep found %d again", len(got))
	}
}

func TestAPageFullOfOneMomentDoesNotLoop(t *testing.T) {
	b := newBench(t, map[string]string{"sweep_from": "2026-01-01", "page_size": "5"})
	c := newClock()
	b.sim.SetClock(c.now)
	for i := range 33 {
		b.submit(simpleForm(fmt.Sprintf("f%02d", i), 1))
	}
	c.forward(time.Hour)
	b.submit(simpleForm("later", 1))
	if got, _ := b.sweep("forms", nil); len(docs(got)) != 34 || len(got) != 34 {
		t.Errorf("swept %d messages of %d forms", len(got), len(docs(got)))
	}
}

func TestAFormIndexedBehindThePositionIsStillFound(t *testing.T) {
	b := newBench(t, map[string]string{"sweep_from": "2026-01-01", "overlap": "30m"})
	c := newClock()
	b.sim.SetClock(c.now)
	b.sim.HoldForms(true)
	b.submit(simpleForm("late", 1)) // indexed now, visible later
	b.sim.HoldForms(false)
	c.forward(20 * time.Minute)
	b.submit(simpleForm("fast", 1))
	got, position := b.sweep("forms", nil)
	if len(got) != 1 || got[0].Doc != "fast" {
		t.Fatalf("swept %v", docs(got))
	}
	b.sim.CatchUp()
	if got, position = b.sweep("forms", position); len(got) != 1 || got[0].Doc != "late" {
		t.Fatalf("after the index caught up, swept %v", docs(got))
	}
	if got, _ = b.sweep("forms", position); len(got) != 0 {
		t.Errorf("swept %v again", docs(got))
	}
}

func TestEditedAndArchivedFormsAreSweptAgain(t *testing.T) {
	b := newBench(t, map[string]string{"sweep_from": "2026-01-01"})
	id := b.submit(simpleForm("f", 1))
	first, position := b.sweep("forms", nil)
	if err := b.sim.Edit(id, map[string]any{"q": "2"}); err != nil {
		t.Fatal(err)
	}
	edited, position := b.sweep("forms", position)
	if len(edited) != 1 || edited[0].Doc != first[0].Doc || edited[0].Version == first[0].Version {
		t.Fatalf("after the edit: %+v", edited)
	}
	if err := b.sim.Archive(id); err != nil {
		t.Fatal(err)
	}
	archived, _ := b.sweep("forms", position)
	if len(archived) != 1 || !archived[0].Withdrawn || archived[0].Doc != "f" {
		t.Errorf("after archiving: %+v", archived)
	}
}

func TestABatchStaysUnderAMegabyte(t *testing.T) {
	b := newBench(t, map[string]string{"sweep_from": "2026-01-01", "page_size": "50"})
	b.sys.batchBytes = 4000
	c := newClock()
	b.sim.SetClock(c.now)
	for i := range 40 {
		b.submit(fmt.Appendf(nil, `{"form":{"@xmlns":"x","note":"%s","meta":{"instanceID":"f%02d"}}}`, bytes.Repeat([]byte("n"), 900), i))
	}
	seen, position := 0, []byte(nil)
	for range 100 {
		batch := b.poll("forms", position)
		size := 0
		for _, m := range batch.Messages {
			size += len(m.Content)
		}
		if size > 4000 || (len(batch.Messages) == 0 && batch.More) {
			t.Fatalf("a batch of %d bytes, %d messages", size, len(batch.Messages))
		}
		seen, position = seen+len(batch.Messages), batch.Position
		if !batch.More {
			break
		}
	}
	if seen != 40 {
		t.Errorf("%d forms, want 40", seen)
	}
}

func TestThePositionStaysSmall(t *testing.T) {
	p := &position{known: map[uint64]bool{}, High: time.Unix(1e9, 0)}
	for i := range 50_000 {
		at := time.Unix(1e9, int64(i)*1000)
		p.remember(fmt.Sprint(i), at)
		p.newest(at)
	}
	p.advance(p.High, 100, "", true, time.Hour)
	raw, err := p.write()
	if err != nil || len(raw) > 64_000 {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	var back position
	if err := back.read(raw); err != nil || len(back.seen) != maxSeen || !back.saw("49999", time.Unix(1e9, 49999*1000)) {
		t.Errorf("read back %d sightings, %v", len(back.seen), err)
	}
}

func TestADamagedPositionIsAnError(t *testing.T) {
	b := newBench(t, nil)
	for _, position := range []string{"x", `{"seen":"***"}`, `{"seen":"AAAA"}`} {
		if _, err := b.sys.Poll(context.Background(), b, "forms", []byte(position)); err == nil {
			t.Errorf("position %s was taken", position)
		}
	}
	if _, err := b.sys.Poll(context.Background(), b, "nothing", nil); err == nil {
		t.Error("an unknown stream was polled")
	}
}

func TestCasesAreSweptByCursor(t *testing.T) {
	b := newBench(t, map[string]string{"sweep_from": "2026-01-01", "page_size": "10", "sweep_cases": "yes"})
	if n := len(b.sys.Streams()); n != 2 {
		t.Fatalf("%d streams", n)
	}
	g := sim.NewGenerator(1, 25, 1)
	for range 60 {
		b.submit(g.Next().Body)
	}
	got, position := b.sweep("cases", nil)
	if n := len(docs(got)); n != 25 && n != len(got) {
		t.Errorf("%d messages of %d cases", len(got), n)
	}
	got, _ = b.sweep("cases", position)
	if len(got) != 0 {
		t.Errorf("the next sweep found %d again", len(got))
	}
}

func TestADocumentThatCannotBeReadDoesNotStopTheSweep(t *testing.T) {
	b := newBench(t, nil)
	body := []byte(`{"meta":{"next":null},"objects":[{"id":"bad","indexed_on":"2026-03-02T08:00:00Z"},{"id":"good","form":{"@xmlns":"x"}},7]}`)
	items, _, _, err := formSource{b.sys}.items(body)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, item := range items {
		if m := b.sys.itemMessage(formSource{b.sys}, "id", item); m != nil {
			kinds = append(kinds, m.Kind)
		}
	}
	if fmt.Sprint(kinds) != "[unreadable form unreadable]" {
		t.Errorf("kinds %v", kinds)
	}
}

func TestTheDocumentedPageIsRead(t *testing.T) {
	s := open(t, nil)
	items, _, more, err := formSource{s}.items(file(t, "forms/form-list-v1.response.json"))
	if err != nil || len(items) != 1 || !more {
		t.Fatalf("%d items, more %v, %v", len(items), more, err)
	}
	m := s.itemMessage(formSource{s}, "", items[0])
	if m.Kind != "form" || m.Doc != "f959449c-8776-42ac-b776-3f564fafc331" || !m.Event.Equal(time.Date(2016, 11, 29, 14, 50, 41, 156e6, time.UTC)) {
		t.Errorf("%+v", m)
	}
	if at := indexedOn(items[0]); !at.Equal(time.Date(2016, 11, 29, 14, 50, 43, 1e8, time.UTC)) {
		t.Errorf("indexed on %s", at)
	}
}

func FuzzPage(f *testing.F) {
	f.Add(file(f, "forms/form-list-v1.response.json"))
	f.Add(file(f, "case-api-v2/list-page-with-cursor.response.shape.json"))
	s := open(f, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, src := range []source{formSource{s}, caseSource{s}} {
			items, _, _, err := src.items(body)
			if err != nil {
				continue
			}
			for _, item := range items {
				indexedOn(item)
				if m := s.itemMessage(src, "id", item); m != nil && !json.Valid(m.Content) {
					t.Fatalf("content %q", m.Content)
				}
			}
		}
	})
}

func TestALargePageIsRead(t *testing.T) {
	b := newBench(t, map[string]string{"sweep_from": "2026-01-01", "page_size": "500"})
	b.sys.batchBytes = 100 << 20
	for i := range 500 {
		answers := bytes.Repeat([]byte(`"a",`), 450) // together more values than one document may have
		b.submit(fmt.Appendf(nil, `{"form":{"@xmlns":"x","r":[%s"z"],"meta":{"instanceID":"f%d"}}}`, answers, i))
	}
	if got, _ := b.sweep("forms", nil); len(got) != 500 {
		t.Errorf("swept %d forms", len(got))
	}
}
