package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/record"
)

// digest stands for what a person saw when asked: an answer counts only while
// it is still so (law 41).
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x1f")))
	return hex.EncodeToString(sum[:6])
}

func conflictKey(r *Record, path string, theirs, ours any) string {
	return "conflict/" + r.Name + "/" + path + "/" + digest(fmt.Sprint(theirs), fmt.Sprint(ours))
}

// decided is what a person said of one field that both sides changed. The
// answer to a conflict names a system, for all its fields or field by field
// ("phone=commcare, birthdate=openmrs").
func (p *planner) decided(r *Record, path string, theirs, ours any) record.Outcome {
	for _, q := range question.Under(p.Work.Questions, "conflict/"+r.Name+"/") {
		if !slices.Contains(strings.Split(q.Key, "\n"), conflictKey(r, path, theirs, ours)) {
			continue
		}
		for part := range strings.SplitSeq(q.Answer, ",") {
			field, side, one := strings.Cut(strings.TrimSpace(part), "=")
			if !one {
				side = field
			} else if field != path {
				continue
			}
			switch side {
			case p.Work.Message.System:
				return record.Won
			case r.System:
				return record.Lost
			}
		}
	}
	return record.Question
}

// conflict asks about the fields that both sides changed, with both values side
// by side.
func (p *planner) conflict(r *Record, asks []string, found connector.Found, set record.Fields) error {
	ours, theirs := question.Side{Name: p.Work.Message.System}, question.Side{Name: r.System}
	var keys []string
	for _, path := range asks {
		ours.Fields = append(ours.Fields, question.Field{Name: path, Value: shown(set[path])})
		theirs.Fields = append(theirs.Fields, question.Field{Name: path, Value: shown(found.Fields[path])})
		keys = append(keys, conflictKey(r, path, found.Fields[path], set[path]))
	}
	o := question.Offer{Sides: []question.Side{ours, theirs}, Choices: []question.Choice{
		{Value: p.Work.Message.System, Text: "what the message says is right"},
		{Value: r.System, Text: "what stands in " + r.System + " is right"}}}
	if len(asks) > 1 {
		o.Other = fmt.Sprintf("field by field: %s=%s, %s=%s", asks[0], p.Work.Message.System, asks[1], r.System)
	}
	return hold("conflict", fmt.Sprintf("%s: %s differs from %s", p.Flow.Name, r.Name+"."+asks[0], r.System),
		"%s was changed in both systems (%s): say which value is right, or mend it and retry", r.Name, strings.Join(asks, ", ")).
		asks(strings.Join(keys, "\n"), o)
}

func shown(v any) string {
	switch v := v.(type) {
	case nil, record.Clear:
		return "(nothing)"
	case record.Later:
		return "(known after the call)"
	case record.Ref:
		return v.ID
	}
	return fmt.Sprint(v)
}

// Leave is the answer that lets stand what others changed.
const Leave = "leave"

func leaveKey(name string, paths []string, fields record.Fields) string {
	var keys []string
	for _, path := range paths {
		keys = append(keys, "leave/"+name+"/"+path+"/"+digest(fmt.Sprint(fields[path])))
	}
	return strings.Join(keys, "\n")
}

func leaveOffer(system string) question.Offer {
	return question.Offer{Choices: append([]question.Choice{{Value: Leave, Text: "leave it as it is in " + system}}, question.Usual()...)}
}

// leaves tells whether a person said to leave what others made of a field.
func (p *planner) leaves(name, path string, now any) bool {
	want := "leave/" + name + "/" + path + "/" + digest(fmt.Sprint(now))
	for _, q := range question.Under(p.Work.Questions, "leave/"+name+"/") {
		if q.Answer == Leave && slices.Contains(strings.Split(q.Key, "\n"), want) {
			return true
		}
	}
	return false
}

// nameIn names what was made in a system that is not its record's any more.
// Names of calls begin with it, and the journal parts those by blanks.
func nameIn(record, system string) string { return record + "@" + system }

// formerly is what the document made and took back in a system before it moved
// away from there: its id is used up (law 9).
func (p *planner) formerly(rec *flow.Record, system string) *ledger.Made {
	for i, m := range p.Work.Made {
		if m.Record == nameIn(rec.Name, system) && m.Gone {
			return &p.Work.Made[i]
		}
	}
	return nil
}

// nameOf names a record that is taken back: one that moved to another system
// keeps its name for the new place.
func (p *planner) nameOf(m ledger.Made) string {
	if slices.ContainsFunc(p.moved, func(o ledger.Made) bool { return o.Record == m.Record && o.System == m.System }) {
		return nameIn(m.Record, m.System)
	}
	return m.Record
}

// carried notes what a field of set was worked out from: once done, both sides
// agree on it (law 17). over is what it is written over, if it is written.
func (p *planner) carried(rec *flow.Record, path string, at time.Time, over ...any) {
	for _, o := range p.origins(rec, path) {
		v, ok := p.Run.Value(o)
		if !ok {
			continue
		}
		if p.seen == nil {
			p.seen = map[flow.Origin]record.Agreed{}
		}
		a := record.Agreed{Value: v, At: at, Seq: p.Work.Message.Seq, By: p.Work.Message.System}
		for _, was := range over {
			if record.Empty(was) {
				was = nil
			}
			a.Before = append(a.Before, record.Before{Value: was})
		}
		p.seen[o] = a
	}
}

// differs notes that a field stays different from what it is worked out from:
// the two sides do not agree on that, whatever other fields it was carried to.
func (p *planner) differs(rec *flow.Record, path string) {
	for _, o := range p.origins(rec, path) {
		if p.apartIn == nil {
			p.apartIn = map[flow.Origin]bool{}
		}
		p.apartIn[o] = true
	}
}

// origins are those of a canonical path of the record that is being planned.
func (p *planner) origins(rec *flow.Record, path string) []flow.Origin {
	out := rec.Origins(path)
	if under := p.spec.OpenUnder; len(out) == 0 && under != "" {
		out = rec.Origins(strings.TrimPrefix(path, under+"/")) // as a flow may also name it
	}
	return out
}

// sources gathers what was carried over, by the record that it stands on.
func (p *planner) sources(ctx context.Context) error {
	if len(p.seen) == 0 {
		return nil
	}
	for _, s := range p.Run.Subjects() {
		spec := &connector.KindSpec{}
		if t, err := p.Targets(p.Work.Message.System); err == nil {
			if kind := t.System.Kind(connector.ShortKind(s.Kind)); kind != nil {
				spec = kind.Spec()
			}
		}
		src := Source{System: p.Work.Message.System, Kind: s.Kind, ID: s.ID, Fields: map[string]record.Agreed{}}
		for o, v := range p.seen {
			if o.Name == s.Name && !p.apartIn[o] {
				src.Fields[spec.Path(o.Path)] = v
			}
		}
		if len(src.Fields) == 0 {
			continue
		}
		snap, err := p.Memory.Snapshot(ctx, src.System, src.Kind, src.ID)
		if err != nil {
			return err
		}
		if snap != nil {
			src.Agreed = snap.Fields
		}
		p.plan.Sources = append(p.plan.Sources, src)
	}
	return nil
}
