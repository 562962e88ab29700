package desk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
)

// Person is what is known of one person across systems.
type Person struct {
	Key   string // "commcare/ID": what she goes by
	Links []ledger.Link
	Apart []ledger.Link
	Ties  []ledger.Tie
	// Deliveries that stood in her lane, newest first.
	Deliveries []ledger.Delivery
}

// ErrNobody: nothing is known under that id.
var ErrNobody = errors.New("nobody is known under that id")

// Person finds a person by an id in a system ("openmrs-a/UUID"), with at most
// limit deliveries.
func (d *Desk) Person(ctx context.Context, id string, limit int) (*Person, error) {
	system, _, ok := strings.Cut(id, "/")
	if !ok || system == "" {
		return nil, fmt.Errorf("%q is not an id in a system; write SYSTEM/ID", id)
	}
	key, err := d.Ledger.Person(ctx, id)
	if err != nil {
		return nil, err
	}
	p := &Person{Key: key}
	if p.Links, err = d.Ledger.Links(ctx, key); err != nil {
		return nil, err
	}
	if p.Apart, err = d.Ledger.Apart(ctx, key); err != nil {
		return nil, err
	}
	if p.Ties, err = d.Ledger.Ties(ctx, key); err != nil {
		return nil, err
	}
	if p.Deliveries, err = d.Ledger.OfLane(ctx, "person:"+key, 0, limit); err != nil {
		return nil, err
	}
	if len(p.Links)+len(p.Ties)+len(p.Deliveries) == 0 {
		return nil, fmt.Errorf("%s: %w", id, ErrNobody)
	}
	return p, nil
}

// Link gives an identifier to a person; Unlink takes it from her.
func (d *Desk) Link(ctx context.Context, l ledger.Link, who, note string) error {
	return d.Ledger.Relink(ctx, l, who, note)
}

// Unlink takes an identifier from its person. What was sent under it stays; see
// Split.
func (d *Desk) Unlink(ctx context.Context, l ledger.Link, who, note string) error {
	return d.Ledger.Unlink(ctx, l, who, note)
}

// Merge makes two people one.
func (d *Desk) Merge(ctx context.Context, loser, winner, who, note string) error {
	return d.Ledger.MergePeople(ctx, loser, winner, who, note)
}

// Redo is what a split takes back and sends again: one document through one flow.
type Redo struct {
	Delivery ledger.Delivery
	// Plan is how it would be taken back; nil, with Why, if that needs a person.
	Plan *plan.Plan
	Why  string

	work *ledger.Work
}

// Planner plans a delivery against the live systems, and changes nothing.
type Planner func(ctx context.Context, w *ledger.Work) (*plan.Plan, error)

// Split shows what was sent while a record was wrongly linked to a person: each
// document that wrote there, with the plan that takes it back.
func (d *Desk) Split(ctx context.Context, p *Person, l ledger.Link, planner Planner) ([]Redo, error) {
	var out []Redo
	seen := map[string]bool{}
	after := int64(0)
	for {
		list, err := d.Ledger.OfLane(ctx, "person:"+p.Key, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, del := range list {
			after = del.ID
			key := del.System + "\x1f" + del.Doc + "\x1f" + del.Flow + "\x1f" + del.Each
			if strings.HasPrefix(del.Version, splitVersion) && !del.State.Ended() {
				seen[key] = true // it is being sent again already
			}
			if del.State != ledger.Done || seen[key] || del.Doc == "" {
				continue
			}
			w, err := d.Ledger.Delivery(ctx, del.ID)
			if err != nil {
				return nil, err
			}
			if !under(w, l) {
				continue
			}
			seen[key] = true
			out = append(out, d.redo(ctx, w, planner))
		}
		if len(list) < 1000 {
			slices.Reverse(out) // in the order in which they came
			return out, nil
		}
	}
}

// under tells whether a delivery wrote under a link: on the linked record, or
// on another one by what the linked record's system said of it.
func under(w *ledger.Work, l ledger.Link) bool {
	return slices.ContainsFunc(w.Made, func(m ledger.Made) bool {
		if m.Gone {
			return false
		}
		if w.Message.System == l.System {
			return m.System != l.System && strings.HasSuffix(w.Message.Doc, l.ID)
		}
		return m.System == l.System && m.Kind == l.Kind && m.ID == l.ID
	})
}

func (d *Desk) redo(ctx context.Context, w *ledger.Work, planner Planner) Redo {
	r := Redo{Delivery: w.Delivery, work: w}
	if w.Message.Wiped {
		r.Why = ledger.ErrWiped.Error() + "; look at the records it made and correct them by hand"
		return r
	}
	back := *w
	back.Message.Withdrawn, back.Plan, back.Journal, back.Questions = true, nil, nil, nil
	p, err := planner(ctx, &back)
	if err != nil {
		r.Why = err.Error()
		return r
	}
	r.Plan = p
	return r
}

// DoSplit takes the record from the person, so that no match links them again,
// has what was sent under the link taken back, and sent again to whoever is
// right: to, if it is named, else as the flow finds her.
func (d *Desk) DoSplit(ctx context.Context, p *Person, l ledger.Link, redos []Redo, to *ledger.Link, who, note string) error {
	l.Person = p.Key
	if err := d.Ledger.KeepApart(ctx, l, who, note); err != nil {
		return err
	}
	if err := d.Ledger.Unlink(ctx, l, who, note); err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	if to != nil {
		to.Person = p.Key
		if err := d.Ledger.Relink(ctx, *to, who, note); err != nil {
			return err
		}
	}
	for _, r := range redos {
		if r.work.Message.Wiped {
			continue // its Why says what to do
		}
		if err := d.again(ctx, p, l, r); err != nil {
			return fmt.Errorf("take back delivery %d: %w", r.Delivery.ID, err)
		}
	}
	return nil
}

// splitVersion begins the versions of documents that a split takes back and
// sends again.
const splitVersion = "split "

// again has one document taken back and sent anew: two versions of it, the
// first withdrawn.
func (d *Desk) again(ctx context.Context, p *Person, l ledger.Link, r Redo) error {
	m := r.work.Message
	number := fmt.Sprintf("%s%d", splitVersion, r.Delivery.ID)
	own := "person:" + p.Key
	lanes := []string{own}
	if m.System == l.System {
		lanes = append(lanes, "person:"+l.System+"/"+l.ID)
		own = lanes[1]
	}
	former, err := d.Ledger.Document(ctx, m.System, m.Doc)
	if err != nil {
		return err
	}
	var routes []ledger.Route
	for _, f := range former {
		same := func(o ledger.Route) bool { return o.Flow == f.Flow && o.Each == f.Each }
		if !slices.ContainsFunc(routes, same) {
			routes = append(routes, ledger.Route{Flow: f.Flow, Each: f.Each, Lanes: []string{own}, Systems: f.Systems})
		}
	}
	back := connector.Incoming{Kind: m.Kind, Doc: m.Doc, Version: number + " withdrawn", Withdrawn: true, Event: m.Event, Content: m.Content}
	anew := connector.Incoming{Kind: m.Kind, Doc: m.Doc, Version: number + " again", Event: m.Event, Content: m.Content}
	_, err = d.Ledger.Accept(ctx, []ledger.Arrival{
		{System: m.System, Incoming: back, Alongside: true, Routes: []ledger.Route{{Flow: r.Delivery.Flow, Each: r.Delivery.Each, Lanes: lanes, Systems: r.Delivery.Systems}}}}, nil)
	if err != nil {
		return err
	}
	accepted, err := d.Ledger.Accept(ctx, []ledger.Arrival{{System: m.System, Incoming: anew, Routes: routes, Alongside: true}}, nil)
	if err == nil {
		for _, a := range accepted {
			d.ring(a.Lanes...)
		}
	}
	return err
}
