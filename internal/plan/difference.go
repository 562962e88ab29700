package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
)

// merge compares what is wanted with what was found, field by field, and fills
// r.Write with what is to change.
func (p *planner) merge(ctx context.Context, r *Record, rec *flow.Record, set record.Fields, found connector.Found,
	made *ledger.Made, want *flow.Wanted, t Target) error {
	snap, err := p.Memory.Snapshot(ctx, r.System, r.Kind, r.ID)
	if err != nil {
		return err
	}
	r.Write, r.Was, r.Mine, r.Agreed = record.Fields{}, record.Fields{}, record.Fields{}, map[string]record.Agreed{}
	if snap != nil {
		r.Agreed = snap.Fields
	}
	var asks []string
	for _, path := range set.Paths() {
		side := record.Side{Ours: p.Work.Message.System, OursOf: p.Source, Their: r.System, TheirOf: t.Connector,
			Event: p.plan.Event, Live: p.Run.Live(), Seq: p.Work.Message.Seq, Changed: found.Changed, Rule: ruleOf(want, path, found.Fields[path], set[path], r.System, p.Work.Message.System)}
		if a, ok := r.Agreed[path]; ok {
			side.Base = &a
		}
		// What this very document wrote before is its own to change, in
		// whichever order its versions come.
		if side.Base == nil && made != nil && made.ID == r.ID {
			if v, ok := made.Fields[path]; ok {
				side.Base = &record.Agreed{Value: v}
			}
		}
		ours := set[path]
		if p.putBack(r, made, path, ours, found.Fields[path]) {
			continue
		}
		outcome := record.MergeField(found.Fields[path], ours, side)
		if outcome == record.Question {
			if outcome = p.decided(r, path, found.Fields[path], ours); outcome == record.Lost {
				// Judged once: only another value is asked about again.
				if r.Settled == nil {
					r.Settled = record.Fields{}
				}
				r.Settled[path] = ours
			}
		}
		switch outcome {
		case record.Equal:
			p.carried(rec, path, p.plan.Event)
		case record.Write, record.Won:
			p.carried(rec, path, p.plan.Event, found.Fields[path])
		case record.Lost:
			p.carried(rec, path, time.Time{}) // what won may be older than this message
		default:
			p.differs(rec, path)
		}
		switch outcome {
		case record.Equal:
			if !record.Empty(ours) {
				r.Mine[path] = ours
			}
		case record.Write, record.Won:
			r.Write[path], r.Mine[path] = ours, ours
			r.Was[path] = found.Fields[path]
		case record.Older:
			p.remark("%s: %s left as it is: something newer set it", r.Name, path)
		case record.Lost, record.Beside:
			p.remark("%s: %s differs; %s keeps its value", r.Name, path, r.System)
		case record.Question:
			asks = append(asks, path)
		case record.Hidden:
			p.remark("%s: %s cannot be read in %s, so it was not written", r.Name, path, r.System)
		}
	}
	if len(asks) > 0 {
		return p.conflict(r, asks, found, set)
	}
	return p.noLongerWanted(r, rec, set, found, made)
}

// ruleOf gives who wins for a field. "furthest" is decided here, by its table
// of allowed steps: never backwards.
func ruleOf(want *flow.Wanted, path string, theirs, ours any, their, our string) record.Rule {
	win := want.Win(path)
	switch win.Rule {
	case flow.WinSystem:
		return record.Rule(win.System)
	case flow.WinLatest:
		return record.Latest
	case flow.WinBoth:
		return record.Both
	case flow.WinAsk:
		return record.Ask
	case flow.WinFurthest:
		from, _ := theirs.(string)
		to, _ := ours.(string)
		if _, ok := win.Table.Lookup(from, to); ok {
			return record.Rule(our)
		}
		return record.Rule(their)
	}
	return ""
}

// noLongerWanted takes back what an earlier version of the same document wrote
// into this record and this version does not want any more (law 19), unless
// others changed it since (law 8).
func (p *planner) noLongerWanted(r *Record, rec *flow.Record, set record.Fields, found connector.Found, made *ledger.Made) error {
	if made == nil || made.ID != r.ID || made.Gone {
		return nil
	}
	p.tookBefore(r, set, found, made)
	var theirs []string
	for _, path := range made.Fields.Paths() {
		if _, still := set[path]; still || slices.Contains(madeNew(made), path) {
			continue
		}
		if _, wrote := made.Before[path]; !wrote && !made.Created {
			continue // found as wanted; we never wrote it
		}
		now := found.Fields[path]
		if record.Empty(now) {
			continue
		}
		if !record.Same(now, made.Fields[path]) && !record.Unknown(made.Fields[path]) {
			if !p.leaves(r.Name, path, now) {
				theirs = append(theirs, path)
			}
			continue
		}
		r.Was[path] = now
		if before, ok := made.Before[path]; ok && !record.Empty(before) {
			r.Write[path] = before
		} else {
			r.Write[path] = record.Clear{}
		}
		if r.Took == nil {
			r.Took = record.Fields{}
		}
		r.Took[path] = r.Write[path]
	}
	if len(theirs) > 0 {
		return hold("conflict", fmt.Sprintf("%s: %s.%s was changed by others since", p.Flow.Name, r.Name, theirs[0]),
			"the new version of the document no longer has %s of %s, but others changed it in %s since: leave it as it is there, or mend it there and retry",
			strings.Join(theirs, ", "), r.Name, r.System).asks(leaveKey(r.Name, theirs, found.Fields), leaveOffer(r.System))
	}
	return nil
}

// madeNew lists the fields that were given only when the record was made.
func madeNew(m *ledger.Made) []string { return m.Once }

// unwanted are the records that this document made and no longer wants, in the
// order to take them back: what refers to others first.
func (p *planner) unwanted() []ledger.Made {
	place := map[string]int{}
	for i, rec := range p.Flow.Records {
		place[rec.Name] = i + 1
		if rec.Was != "" {
			place[rec.Was] = i + 1
		}
	}
	var out []ledger.Made
	for _, m := range p.Work.Made {
		if !p.done[m.Record] && (!m.Gone || p.cameBack(m)) {
			out = append(out, m)
		}
	}
	out = append(out, p.moved...)
	slices.SortStableFunc(out, func(a, b ledger.Made) int { return place[b.Record] - place[a.Record] })
	return out
}

// withdraw takes back the records that this document made and no longer wants:
// all of them when it was archived.
func (p *planner) withdraw(ctx context.Context) error {
	before := ""
	p.going = map[string]bool{}
	for _, m := range p.unwanted() {
		target, err := p.Targets(m.System)
		if err != nil {
			return err
		}
		kind := target.System.Kind(connector.ShortKind(m.Kind))
		if kind == nil {
			return fmt.Errorf("system %s has no record kind %s", m.System, m.Kind)
		}
		found, err := kind.Find(ctx, target.Do, connector.Query{Made: m.ID, Base: m.Fields, At: p.plan.Event})
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", m.Record, m.System, err)
		}
		if !found.Exists {
			continue // gone already
		}
		calls, r, err := p.takeBack(ctx, m, kind, target, found)
		if err != nil {
			return err
		}
		for j := range calls {
			calls[j].Record, calls[j].System, calls[j].Kind = r.Name, m.System, m.Kind
			if calls[j].Target == "" {
				calls[j].Target = m.ID
			}
		}
		if before != "" {
			p.needs[r.Name] = append(p.needs[r.Name], before)
		}
		before = r.Name
		if r.Removed {
			p.going[m.ID] = true
		}
		p.calls = append(p.calls, calls...)
		p.plan.Records = append(p.plan.Records, r)
	}
	return nil
}

func (p *planner) takeBack(ctx context.Context, m ledger.Made, kind connector.Kind, t Target, found connector.Found) ([]call.Call, Record, error) {
	r := Record{Name: p.nameOf(m), System: m.System, Kind: m.Kind, ID: m.ID, Exists: true, Created: m.Created, Generation: m.Generation,
		Person: kind.Spec().Person, Was: record.Fields{}, Write: record.Fields{}, Mine: record.Fields{}}
	var err error
	change := connector.Change{Record: r.Name, ID: m.ID, Found: &found,
		Reason: fmt.Sprintf("kiungo delivery %d: document withdrawn", p.Work.Delivery.ID), At: p.plan.Event, Going: p.going}
	if m.Created {
		path, changed := changedSince(m, found)
		if m.Gone { // and there again
			r.Generation--
			if path, changed, err = p.changedThere(ctx, m, found); err != nil {
				return nil, r, err
			}
		}
		if changed {
			if p.leaves(m.Record, path, found.Fields[path]) {
				p.remark("%s stays in %s: others changed it, and a person said to leave it", m.Record, m.System)
				return nil, r, nil
			}
			return nil, r, hold("conflict", fmt.Sprintf("%s: withdrawn %s was changed by others", p.Flow.Name, m.Record),
				"the document was withdrawn, but %s was changed in %s by others since (%s): leave it as it is there, or void it there and retry", m.Record, m.System, path).
				asks(leaveKey(m.Record, []string{path}, found.Fields), leaveOffer(m.System))
		}
		r.Removed, change.Remove = true, true
	} else {
		r.GivenBack = true
		snap, err := p.Memory.Snapshot(ctx, m.System, m.Kind, m.ID)
		if err != nil {
			return nil, r, err
		}
		if snap != nil {
			r.Agreed = snap.Fields
		}
		for path, wrote := range m.Fields {
			before, ours := m.Before[path]
			if !ours || !record.Same(found.Fields[path], wrote) || record.Same(wrote, before) {
				continue // never ours, theirs now, or nothing to give back
			}
			r.Was[path] = wrote
			if !record.Empty(before) {
				r.Write[path] = before
			} else {
				r.Write[path] = record.Clear{}
			}
		}
		if len(r.Write) == 0 {
			return nil, r, nil
		}
		change.Write, change.Wanted = r.Write, r.Write
	}
	calls, err := kind.Calls(ctx, t.Do, change)
	var used *connector.InUse
	if errors.As(err, &used) {
		p.remark("%s stays in %s: %s", m.Record, m.System, used.Text)
		r.Removed = false
		return nil, r, nil
	}
	if err != nil {
		return nil, r, fmt.Errorf("withdraw %s from %s: %w", m.Record, m.System, err)
	}
	return calls, r, nil
}

func changedSince(m ledger.Made, found connector.Found) (string, bool) {
	for _, path := range m.Fields.Paths() {
		wrote := m.Fields[path]
		if record.Unknown(wrote) {
			continue
		}
		if _, hidden := found.Fields[path].(record.Unreadable); hidden {
			continue
		}
		if !record.Same(found.Fields[path], wrote) {
			return path, true
		}
	}
	return "", false
}
