package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
)

// A delivery that repeats another one puts back what a restored system lost,
// and nothing else: what is gone there is made again under its own id, fields
// that say again what stood before are given what was agreed last, and what
// stands, or was changed by people since, is left as in any other delivery.

// replays tells whether this delivery puts back what that system lost.
func (p *planner) replays(system string) bool {
	return p.replay != nil && p.replay.System == system
}

// lost gives the id of the record that this document made, or that the person
// is linked to, if it is not there at all. Where that is a surprise, Lost is
// told.
func (p *planner) lost(ctx context.Context, kind connector.Kind, t Target, name string, q connector.Query, found connector.Found) (string, error) {
	if !kind.Spec().Lasts {
		return "", nil
	}
	id := cmp.Or(q.Made, p.link(t.System.Name(), name, q.Linked))
	if id == "" || found.Voided || found.Exists && found.ID == id {
		return "", nil
	}
	if !slices.Contains(found.Absent, id) {
		if found.Exists && !p.replays(t.System.Name()) {
			return "", nil // found by other means; it was not asked for
		}
		there, err := kind.Find(ctx, t.Do, connector.Query{Made: id, At: q.At})
		if err != nil {
			return "", fmt.Errorf("look for a lost %s in %s: %w", name, t.System.Name(), err)
		}
		if there.Exists || there.Voided {
			return "", nil
		}
	}
	if p.Lost != nil && !p.replays(t.System.Name()) {
		if err := p.Lost(ctx, t.System.Name(), name, id); err != nil {
			return "", err
		}
	}
	return id, nil
}

// link gives an id back if the crosswalk surely has it.
func (p *planner) link(system, kind, id string) string {
	for _, l := range p.links {
		if l.System == system && l.Kind == kind && l.ID == id && l.State == "linked" {
			return id
		}
	}
	return ""
}

// elsewhere tells whether a record of another system than the one that lost
// something is none of a replay's business: it was made when the message was
// first carried on.
func (p *planner) elsewhere(made *ledger.Made, system string) bool {
	return p.replay != nil && !p.replays(system) && made != nil && !made.Gone
}

// stands leaves a record as it was left before.
func (p *planner) stands(ctx context.Context, r *Record, made *ledger.Made) error {
	snap, err := p.Memory.Snapshot(ctx, r.System, r.Kind, made.ID)
	if err != nil {
		return err
	}
	if snap != nil {
		r.Agreed = snap.Fields
	}
	r.ID, r.Later, r.Exists, r.Created = made.ID, nil, true, made.Created
	r.Before, r.Once, r.Took, r.Write, r.Was, r.Mine = made.Before, made.Once, made.Took, nil, nil, made.Fields
	return nil
}

// goneElsewhere stops a replay of a person who belongs to another server now.
func (p *planner) goneElsewhere(rec *flow.Record, made *ledger.Made) error {
	return &Stop{State: ledger.Skipped, Code: "moved", Cause: p.Flow.Name + ": moved to another system",
		Reason: fmt.Sprintf("%s belongs to another system than %s by now, so nothing is put back there", rec.Name, made.System)}
}

// anew gives a record that is made again what was agreed last, where newer
// messages, or people, had changed what this one says (law 13).
func (p *planner) anew(ctx context.Context, r *Record, made *ledger.Made) error {
	if !p.replays(r.System) || made == nil || made.Gone || r.ID == "" {
		return nil
	}
	snap, err := p.Memory.Snapshot(ctx, r.System, r.Kind, r.ID)
	if err != nil || snap == nil {
		return err
	}
	r.Agreed = snap.Fields
	for path, v := range r.Write {
		a, ok := snap.Fields[path]
		switch {
		case !ok || record.Unknown(v) || record.Same(a.Value, v) || p.refers(path):
		case record.Empty(a.Value):
			delete(r.Write, path)
		default:
			r.Write[path] = a.Value
		}
	}
	return nil
}

// putBack gives a field what was agreed last, if it says what stood before
// that: the system forgot it. It is not asked of fields that say something new.
func (p *planner) putBack(r *Record, made *ledger.Made, path string, ours, now any) bool {
	if _, hidden := now.(record.Unreadable); hidden || !p.replays(r.System) || p.refers(path) {
		return false
	}
	base, agreed := r.Agreed[path]
	want := ours
	if agreed {
		want = base.Value
	}
	if record.Same(now, want) || !base.Stood(now) && !stoodBefore(made, r.ID, path, now) {
		return false
	}
	if record.Empty(want) {
		want = record.Clear{}
	}
	r.Write[path], r.Was[path], r.Mine[path] = want, now, ours
	return true
}

// refers tells whether a field of the record that is being planned refers to
// another record, which may have come back under another id.
func (p *planner) refers(path string) bool {
	return slices.ContainsFunc(p.spec.Fields, func(f connector.FieldSpec) bool { return f.Name == path && f.Type == connector.RefTo })
}

func stoodBefore(made *ledger.Made, id, path string, now any) bool {
	if made == nil || made.ID != id {
		return false
	}
	before, wrote := made.Before[path]
	return wrote && record.Same(before, now)
}

// tookBefore remembers what was taken back before, and in a replay takes it back
// again where it is there again.
func (p *planner) tookBefore(r *Record, set record.Fields, found connector.Found, made *ledger.Made) {
	for path, v := range made.Took {
		if _, again := set[path]; again {
			continue
		}
		if r.Took == nil {
			r.Took = record.Fields{}
		}
		r.Took[path] = v
		now := found.Fields[path]
		if base := r.Agreed[path]; p.replays(r.System) && !record.Same(now, v) && (record.Same(now, base.Value) || base.Stood(now)) {
			r.Write[path], r.Was[path] = v, now
		}
	}
}

// keepMine lets the document stand for all that it stood for.
func (p *planner) keepMine(r *Record, made *ledger.Made, wanted record.Fields) {
	if !p.replays(r.System) || made == nil || made.Gone || made.ID != r.ID {
		return
	}
	for path, v := range made.Fields {
		_, mine := r.Mine[path]
		if _, still := wanted[path]; still && !mine {
			r.Mine[path] = v
		}
	}
	if r.Took == nil {
		r.Took = made.Took
	}
}

// notAgain tells whether the calls of a record are left out of a replay, because
// they were made before and can neither be taken back nor looked up.
func (p *planner) notAgain(r *Record, made *ledger.Made, spec *connector.KindSpec, calls []call.Call) bool {
	if p.replay == nil || made == nil || made.Gone || slices.Contains(p.replay.Again, r.Name) {
		return false
	}
	gone := p.replays(r.System) && spec.Lasts // it was looked for, and is as it is
	return slices.ContainsFunc(calls, func(c call.Call) bool {
		return c.Repeat == call.Blind || c.Reversal == call.Final && !gone
	})
}

// cameBack tells whether a record that was taken back may be there again.
func (p *planner) cameBack(m ledger.Made) bool {
	return m.Gone && m.Created && m.ID != "" && p.replays(m.System) && !strings.Contains(m.Record, "@")
}

// changedThere is changedSince for a record of which only the last agreement is
// known.
func (p *planner) changedThere(ctx context.Context, m ledger.Made, found connector.Found) (string, bool, error) {
	snap, err := p.Memory.Snapshot(ctx, m.System, m.Kind, m.ID)
	if err != nil || snap == nil {
		return "", false, err
	}
	for path, now := range found.Fields {
		a, agreed := snap.Fields[path]
		_, hidden := now.(record.Unreadable)
		if agreed && !hidden && !record.Same(now, a.Value) && !a.Stood(now) {
			return path, true, nil
		}
	}
	return "", false, nil
}

// Base is by which names a document knows the fields of what it made: also those
// that it took back, which may be there again.
func Base(snap *ledger.Snapshot, made *ledger.Made) record.Fields {
	if len(made.Took) == 0 || snap == nil {
		return made.Fields
	}
	out := made.Fields.Clone()
	if out == nil {
		out = record.Fields{}
	}
	for path := range made.Took {
		a, ok := snap.Fields[path]
		for _, v := range slices.Concat(a.Over, []any{a.Value}) {
			if ok && !record.Empty(v) {
				out[path] = v // the newest of what stood there
			}
		}
	}
	return out
}

// Forgotten tells whether a field of a record says again what stood there before
// what was agreed last, and so was forgotten by its system. wrote is what the
// document put there.
func Forgotten(snap *ledger.Snapshot, made *ledger.Made, path string, wrote, now any) bool {
	if _, hidden := now.(record.Unreadable); hidden || record.Unknown(wrote) {
		return false
	}
	var base record.Agreed
	want := wrote
	if snap != nil {
		if a, ok := snap.Fields[path]; ok {
			base, want = a, a.Value
		}
	}
	return !record.Same(now, want) && (base.Stood(now) || stoodBefore(made, made.ID, path, now))
}

// CameBack tells whether a field that the document took back says again what it
// was taken back from.
func CameBack(snap *ledger.Snapshot, path string, took, now any) bool {
	if snap == nil || record.Same(now, took) {
		return false
	}
	base := snap.Fields[path]
	return record.Same(now, base.Value) || base.Stood(now)
}
