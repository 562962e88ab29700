package plan

import (
	"context"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/record"
)

// underNew names the wanted fields that refer to records made by this plan.
func underNew(want *flow.Wanted) map[string]bool {
	var out map[string]bool
	for _, part := range []map[string]any{want.Set, want.New, want.Find.Top} {
		for name, v := range part {
			if ref, ok := v.(record.Ref); ok && ref.New {
				if out == nil {
					out = map[string]bool{}
				}
				out[name] = true
			}
		}
	}
	return out
}

func (p *planner) madeOf(rec *flow.Record) *ledger.Made {
	for i, m := range p.Work.Made {
		if m.Record == rec.Name || (rec.Was != "" && m.Record == rec.Was) {
			return &p.Work.Made[i]
		}
	}
	return nil
}

// find looks the record up, and decides what it means that it is not there.
func (p *planner) find(ctx context.Context, rec *flow.Record, kind connector.Kind, t Target, want *flow.Wanted,
	made *ledger.Made, set, fresh record.Fields) (connector.Found, string, error) {
	generation := p.generation(made)
	name := rec.Name
	if rec.Was != "" && made != nil && made.Record == rec.Was {
		name = rec.Was
	}
	m := p.Work.Message
	derived := DerivedID(m.System, m.Doc, p.Flow.Name, p.Work.Delivery.Each, name, generation)
	if want.Key != "" {
		derived = KeyedID(t.System.Name(), rec.Kind, want.Key, generation)
	}
	q := connector.Query{ID: derived, By: want.Find.Criteria(), Wanted: union(fresh, set), At: p.plan.Event}
	q.New = underNew(want)
	if made != nil && !made.Gone {
		q.Made, q.Base = made.ID, made.Fields
		if p.replays(t.System.Name()) && len(made.Took) > 0 {
			snap, err := p.Memory.Snapshot(ctx, made.System, made.Kind, made.ID)
			if err != nil {
				return connector.Found{}, "", err
			}
			q.Base = Base(snap, made)
		}
	}
	if kind.Spec().Person && p.person != "" {
		if err := p.crosswalk(ctx); err != nil {
			return connector.Found{}, "", err
		}
		q.Linked = p.linked(t, rec.Kind)
		if id, ok := p.chosen(rec.Name, "several/"); ok {
			q.Linked = id
		}
		// What a person said is somebody else is not looked for by old knowledge.
		if p.keptApart(t, rec, q.Made) {
			q.Made, q.Base = "", nil
		}
		if p.keptApart(t, rec, q.Linked) {
			q.Linked = ""
		}
	}
	found, err := kind.Find(ctx, t.Do, q)
	if err != nil {
		return found, "", fmt.Errorf("find %s in %s: %w", rec.Name, t.System.Name(), err)
	}
	lost, err := p.lost(ctx, kind, t, rec.Kind, q, found)
	if err != nil {
		return found, "", err
	}
	if lost != "" && p.replays(t.System.Name()) {
		derived = lost // it comes back under the id by which it is known
	}
	if kind.Spec().Person && p.person != "" {
		if found, err = p.identify(ctx, rec, kind, t, want, q, found); err != nil {
			return found, "", err
		}
	}
	if found.Exists {
		if lost != "" && lost != found.ID && kind.Spec().Person && p.replaces == "" {
			p.replaces = lost
			p.remark("%s is not in %s any more and was found there under another id (%s); it is linked to that one now", rec.Name, t.System.Name(), found.How)
		}
		return found, derived, nil
	}
	return found, derived, p.notFound(rec, t, want, found, q)
}

func (p *planner) keptApart(t Target, rec *flow.Record, id string) bool {
	return id != "" && p.apart[ClaimKey(t.System.Name(), rec.Kind, id)]
}

// generation of the derived id: raised by every undo and withdrawal that left a
// voided row behind.
func (p *planner) generation(made *ledger.Made) int {
	if made == nil {
		return p.Work.Delivery.Generation
	}
	return max(p.Work.Delivery.Generation, made.Generation)
}

func (p *planner) notFound(rec *flow.Record, t Target, want *flow.Wanted, found connector.Found, q connector.Query) error {
	system := t.System.Name()
	if len(found.Several) > 0 {
		if want.Find.Several == "skip" {
			return &Stop{State: ledger.Skipped, Code: "several", Cause: p.Flow.Name + ": several records fit " + rec.Name,
				Reason: fmt.Sprintf("%d records of %s fit %s equally, and this flow leaves such alone", len(found.Several), system, rec.Name)}
		}
		var o question.Offer
		for _, id := range found.Several {
			o.Choices = append(o.Choices, question.Choice{Value: id, Text: "this one of " + system})
		}
		o.Choices = append(o.Choices, question.Usual()...)
		return hold("several", fmt.Sprintf("%s: several records fit %s", p.Flow.Name, rec.Name),
			"%d records of %s fit %s equally; say which is meant, or merge them there, then retry", len(found.Several), system, rec.Name).
			asks("several/"+rec.Name+"/"+digest(found.Several...), o)
	}
	if found.Voided && !found.ByUs {
		return hold("voided", fmt.Sprintf("%s: %s was voided in %s", p.Flow.Name, rec.Name, system),
			"the record that %s means was voided or merged in %s by a person; decide which record is right, then retry", rec.Name, system)
	}
	switch want.Find.None {
	case flow.SkipNone:
		return &Stop{State: ledger.Skipped, Code: "not-there", Cause: p.Flow.Name + ": " + rec.Name + " is not there",
			Reason: fmt.Sprintf("%s has no %s for this message, and this flow makes none", system, rec.Name)}
	case flow.AskNone:
		return hold("no-patient", fmt.Sprintf("%s: no %s in %s", p.Flow.Name, rec.Name, system),
			"no %s was found in %s, and this flow makes none: name the record there, or register it there and retry", rec.Name, system).
			asks("match/"+rec.Name+"/none", question.Offer{Choices: question.Usual(), Other: "the id of the record in " + system})
	case flow.Wait:
		return &Stop{State: ledger.Waiting, Code: "not-there-yet", Cause: p.Flow.Name + ": waits for " + rec.Name,
			Reason: fmt.Sprintf("%s has no %s yet; looking again until it comes", system, rec.Name), Wait: want.Find.Wait}
	}
	return nil
}
