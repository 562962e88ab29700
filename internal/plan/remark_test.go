package plan

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/record"
)

// named is a system of which only the name is asked.
type named struct{ connector.System }

func (named) Name() string { return "hmis" }

// checker is a kind of which only Canon is asked.
type checker struct {
	connector.Kind
	problems []connector.Problem
}

func (c checker) Spec() *connector.KindSpec { return &connector.KindSpec{} }

func (c checker) Canon(context.Context, call.Doer, map[string]any) (record.Fields, []connector.Problem, error) {
	return record.Fields{"a": "1"}, c.problems, nil
}

func TestARemarkIsSaidAndHoldsNothing(t *testing.T) {
	remark := connector.Problem{Field: "values", Rule: "zero", Text: "no zero is stored", Remark: true}
	refusal := connector.Problem{Field: "period", Rule: "locked", Text: "is locked"}
	for name, c := range map[string]struct {
		problems []connector.Problem
		held     bool
	}{
		"a remark":               {[]connector.Problem{remark}, false},
		"a remark and a refusal": {[]connector.Problem{remark, refusal}, true},
	} {
		p := &planner{Input: Input{Flow: &flow.Flow{Name: "f"}}, plan: &Plan{}}
		k := checker{problems: c.problems}
		set, _, err := p.canon(t.Context(), &flow.Record{Name: "report"}, k, Target{System: named{}}, &flow.Wanted{Set: map[string]any{"a": 1}})
		var stop *Stop
		if errors.As(err, &stop) != c.held || !c.held && (err != nil || set["a"] != "1") {
			t.Errorf("%s: %v %v", name, set, err)
		}
		if c.held && (strings.Contains(stop.Reason, "zero") || !strings.Contains(stop.Reason, "locked")) {
			t.Errorf("%s: %s", name, stop.Reason)
		}
		if len(p.plan.Remarks) != 1 || p.plan.Remarks[0] != "report.values: no zero is stored" {
			t.Errorf("%s: %q", name, p.plan.Remarks)
		}
	}
}
