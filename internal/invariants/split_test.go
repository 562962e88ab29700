package invariants

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// encounters lists the patients that encounters stand on, but for voided ones.
func (w *world) encounters() (out []string) {
	w.t.Helper()
	b, err := w.sims[serverA].State()
	w.must(err)
	var doc struct {
		Encounters []struct {
			Patient string
			Voided  bool
		}
	}
	w.must(json.Unmarshal(b, &doc))
	for _, e := range doc.Encounters {
		if !e.Voided {
			out = append(out, e.Patient)
		}
	}
	slices.Sort(out)
	return out
}

// TestSplit has a visit written on the record of somebody else, as a wrong link
// says: once a person splits them it is voided there and made where it belongs,
// and what the clinic itself wrote there stays.
func TestSplit(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		ctx := context.Background() // the test's own is not of the bubble
		right, wrong := somebody(1, "a"), somebody(2, "a")
		w.start()
		w.run(wrong.Register(day(1)))
		other := w.patient()
		if other == "" {
			t.Fatal("nobody was made")
		}
		w.clerk("encounter", map[string]any{"patient": other, "encounterType": vitals, "encounterDatetime": "1999-11-20T10:00:00.000+0300"})
		// A clerk links her by mistake to the other's record.
		link := ledger.Link{Person: source + "/" + right.CaseID(), System: serverA, Kind: "openmrs/Patient", ID: other}
		d := &desk.Desk{Ledger: w.ledger, Ring: w.engine.Ring}
		w.must(d.Link(ctx, link, "ben", "by mistake"))
		w.run(right.Register(day(2)), right.Visit(day(3), "61"))
		before := w.encounters()
		if n := len(before); n != 2 || before[0] != other || before[1] != other {
			t.Fatalf("encounters stand on %v", before)
		}
		p, err := d.Person(ctx, source+"/"+right.CaseID(), 100)
		w.must(err)
		link.Person = p.Key
		redos, err := d.Split(ctx, p, link, w.engine.Runner.Plan)
		w.must(err)
		if len(redos) == 0 {
			t.Fatal("nothing was sent under the link")
		}
		w.must(d.DoSplit(ctx, p, link, redos, nil, "amina", "two women"))
		time.Sleep(time.Second)
		w.settle()
		after := w.encounters()
		after = slices.DeleteFunc(after, func(on string) bool { return on == other })
		if len(after) != 1 {
			t.Fatalf("encounters stand on %v; the other is %s", w.encounters(), other)
		}
		if clinic := len(w.encounters()) - len(after); clinic != 1 {
			t.Errorf("%d encounters stand on the other's record: hers is one", clinic)
		}
		w.mustContain(serverA, wrong)
		w.mustContain(serverA, right)
		hers, err := w.ledger.LinkOf(ctx, serverA, "openmrs/Patient", after[0])
		w.must(err)
		if hers == nil || hers.Person != p.Key {
			t.Errorf("her own record is linked as %+v", hers)
		}
		if l, err := w.ledger.LinkOf(ctx, serverA, "openmrs/Patient", other); err != nil || l != nil && l.Person == p.Key {
			t.Errorf("the other's record is linked as %+v, %v", l, err)
		}
		if n := strings.Count(w.state()[source], after[0]); n != 1 {
			t.Errorf("CommCare names her own record %d times", n)
		}
		for _, x := range w.deliveries() {
			if x.State != ledger.Done {
				t.Errorf("delivery %d (%s %s) is %s: %s", x.ID, x.Flow, x.Version, x.State, x.Reason)
			}
		}
	})
}
