package plan

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
)

// canon gives the canonical fields of set and of new, or stops with the values
// that the system would refuse.
func (p *planner) canon(ctx context.Context, rec *flow.Record, kind connector.Kind, t Target, want *flow.Wanted) (set, fresh record.Fields, err error) {
	var problems []connector.Problem
	for _, part := range []struct {
		nested map[string]any
		into   *record.Fields
	}{{want.Set, &set}, {givenOnce(kind.Spec(), want), &fresh}} {
		if len(part.nested) == 0 {
			continue
		}
		fields, found, err := kind.Canon(ctx, t.Do, part.nested)
		if err != nil {
			return nil, nil, fmt.Errorf("check %s for %s: %w", rec.Name, t.System.Name(), err)
		}
		*part.into = fields
		for _, pr := range found {
			if pr.Remark {
				p.remark("%s.%s: %s", rec.Name, pr.Field, pr.Text)
				continue
			}
			problems = append(problems, pr)
		}
	}
	if len(problems) == 0 {
		return set, fresh, nil
	}
	var texts []string
	for _, pr := range problems {
		texts = append(texts, fmt.Sprintf("%s.%s: %s", rec.Name, pr.Field, pr.Text))
	}
	first := problems[0]
	return nil, nil, &Stop{State: ledger.Held, Code: "value", Field: rec.Name + "." + first.Field,
		Cause:  fmt.Sprintf("%s: %s.%s (%s)", p.Flow.Name, rec.Name, first.Field, first.Rule),
		Reason: t.System.Name() + " would refuse this: " + strings.Join(texts, "; ")}
}

// givenOnce is what a record is given when it is made: what the flow lists
// under new, and those of find's criteria that are fields too (a visit's
// patient is whose visit is looked for, and whose is made).
func givenOnce(spec *connector.KindSpec, want *flow.Wanted) map[string]any {
	if want.Lookup || len(want.Find.Top) == 0 {
		return want.New
	}
	out := maps.Clone(want.New)
	for _, f := range spec.Fields {
		v, ok := want.Find.Top[f.Name]
		_, set := want.Set[f.Name]
		_, fresh := want.New[f.Name]
		if !ok || set || fresh {
			continue
		}
		if out == nil {
			out = map[string]any{}
		}
		out[f.Name] = v
	}
	return out
}
