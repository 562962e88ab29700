package openmrs

import (
	"context"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
)

// answers shows observations to flows.
type answers struct {
	s   *System
	ctx context.Context // of the one reading that it serves
	do  call.Doer
}

// list shows observations as rows, groups with members.
func (a *answers) list(all []seenObs) ([]any, error) {
	out := []any{}
	for i := range all {
		if all[i].Voided || all[i].Concept.UUID == "" {
			continue
		}
		row, err := a.one(&all[i])
		if err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, nil
}

// one shows one observation. answer is the coded answer with its name and its
// codes by source.
func (a *answers) one(o *seenObs) (map[string]any, error) {
	at, _ := fromWire(o.At, a.s.zone)
	row := map[string]any{"id": o.UUID, "uuid": o.UUID, "concept": o.Concept.UUID, "name": o.Concept.Display, "at": at, "value": nil, "answer": nil, "comment": deref(o.Comment)}
	if len(o.Members) > 0 {
		var err error
		row["members"], err = a.list(o.Members)
		return row, err
	}
	row["value"] = a.value(o)
	if coded := o.coded(); coded.UUID != "" {
		codes, err := a.s.conceptCodes(a.ctx, a.do, coded.UUID)
		if err != nil {
			return nil, err
		}
		bySource := map[string]any{}
		for _, c := range codes {
			source, code, _ := strings.Cut(c, ":")
			if _, there := bySource[source]; !there {
				bySource[source] = code
			}
		}
		row["answer"] = map[string]any{"id": coded.UUID, "uuid": coded.UUID, "name": coded.Display, "codes": bySource}
	}
	return row, nil
}

func (a *answers) value(o *seenObs) any {
	return a.s.observed(wireObs{Concept: o.Concept.wireConcept, Value: o.Value})
}

// coded is the concept that answers, if one does. A boolean's is not shown: yes
// and no have the same meaning on all servers, their concepts have not.
func (o *seenObs) coded() labelled {
	if o.Concept.Datatype.UUID != typeCoded {
		return labelled{}
	}
	m, _ := o.Value.(map[string]any)
	id, _ := m["uuid"].(string)
	display, _ := m["display"].(string)
	return labelled{UUID: id, Display: display}
}

// tree gives values by the concept asked: under its uuid, and under each of its
// codes as SOURCE:code, where a coded answer is given as a code of that source
// if it has one. A concept asked several times has a list. A group is an object
// of the same shape; what is in it can also be had directly, as long as no
// observation outside of groups has the concept.
func (a *answers) tree(all []seenObs) (map[string]any, error) {
	out, below := map[string]any{}, map[string]any{}
	for i := range all {
		o := &all[i]
		if o.Voided || o.Concept.UUID == "" {
			continue
		}
		codes, err := a.s.conceptCodes(a.ctx, a.do, o.Concept.UUID)
		if err != nil {
			return nil, err
		}
		if len(o.Members) > 0 {
			group, err := a.tree(o.Members)
			if err != nil {
				return nil, err
			}
			for _, name := range append([]string{o.Concept.UUID}, codes...) {
				put(out, name, group)
			}
			for name, v := range group {
				put(below, name, v)
			}
			continue
		}
		v := a.value(o)
		if v == nil {
			continue
		}
		put(out, o.Concept.UUID, v)
		var coded []string
		if c := o.coded(); c.UUID != "" {
			if coded, err = a.s.conceptCodes(a.ctx, a.do, c.UUID); err != nil {
				return nil, err
			}
		}
		for _, name := range codes {
			put(out, name, inSource(name, coded, v))
		}
	}
	for name, v := range below {
		if _, there := out[name]; !there {
			out[name] = v
		}
	}
	return out, nil
}

// inSource gives the answer's code of the same source as the question's.
func inSource(question string, coded []string, v any) any {
	source, _, _ := strings.Cut(question, ":")
	for _, c := range coded {
		if strings.HasPrefix(c, source+":") {
			return c
		}
	}
	return v
}

// put adds a value; a second one makes a list.
func put(out map[string]any, name string, v any) {
	more, isList := v.([]any)
	if !isList {
		more = []any{v}
	}
	switch was := out[name].(type) {
	case nil:
		out[name] = v
	case []any:
		out[name] = append(was[:len(was):len(was)], more...)
	default:
		out[name] = append([]any{was}, more...)
	}
}
