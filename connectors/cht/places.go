package cht

import (
	"context"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// targetRows makes one message per place, with the totals of the workers below
// it, for sites whose CHT has no dhis configuration.
//
// The places are those of the contact type that level names; without it, those
// that carry an org unit.
func (s *System) targetRows(ctx context.Context, do call.Doer, m month, keys, with map[string]string) ([]connector.Incoming, error) {
	ignore, err := unplacedIgnored(with)
	if err != nil {
		return nil, fmt.Errorf("%s: with: %w", s.name, err)
	}
	f, err := s.figures(ctx, do, m)
	if err != nil {
		return nil, err
	}
	level := with["level"]
	below, nowhere := f.placed(level)
	if len(below) == 0 && len(f.workers) > 0 {
		if level == "" {
			return nil, fmt.Errorf("%s: no place above the workers has an org unit; give level under with: the contact type of the places that get a row", s.name)
		}
		return nil, fmt.Errorf("%s: no worker is below a place of the type %s", s.name, level)
	}
	var rows []*exportRow
	for id, workers := range below {
		place := f.contacts[id]
		if keys["place"] != "" && keys["place"] != id {
			continue
		}
		r := &exportRow{row: row{Period: m.period(), Targets: sums(f.settings.Tasks.Targets.Items, workers)}, at: place, problem: unreadable(workers)}
		if units := place.units(""); len(units) > 0 {
			r.OrgUnit = units[0]
		}
		if keys["orgUnit"] != "" && keys["orgUnit"] != r.OrgUnit {
			continue
		}
		r.report(f, workers)
		rows = append(rows, r)
	}
	if err := s.supervisors(ctx, do, f, rows); err != nil {
		return nil, err
	}
	var out []connector.Incoming
	for _, r := range rows {
		place := r.describe(f, r.at)
		in, err := message(kindTargets, docID("targets", m.period(), r.at.ID), f.end,
			content{Row: r.row, Period: m.period(), OrgUnit: r.OrgUnit, Place: place}, r.problem)
		if err != nil {
			return nil, err
		}
		out = append(out, in)
	}
	if ignore || keys["orgUnit"] != "" || keys["place"] != "" {
		return out, nil
	}
	return f.unplaced(out, kindTargets, docID("targets", m.period(), ""), "", nowhere)
}

// placed lists the workers below each place of a level.
func (f *figures) placed(level string) (below map[string][]*worker, nowhere []*worker) {
	below = map[string][]*worker{}
	counts := func(c *contact) bool {
		if level != "" {
			return c.kind() == level
		}
		return len(c.units("")) > 0
	}
	for id, c := range f.contacts {
		if level == "" && counts(c) {
			below[id] = []*worker{}
		}
	}
	for _, w := range f.workers {
		found := false
		for _, id := range w.line {
			if c := f.contacts[id]; c != nil && counts(c) {
				below[id] = append(below[id], w)
				found = true
			}
		}
		if !found && w.documents > 0 {
			nowhere = append(nowhere, w)
		}
	}
	return below, nowhere
}

// unplaced adds a message, held at once, for the workers whose figures are in no
// row: the CHT leaves them out of its export without a word.
func (f *figures) unplaced(out []connector.Incoming, kind, doc, dataSet string, workers []*worker) ([]connector.Incoming, error) {
	if len(workers) == 0 {
		return out, nil
	}
	r := row{DataSet: dataSet, Period: f.month.period()}
	r.report(f, workers)
	m, err := message(kind, doc, f.end, content{Row: r, Period: f.month.period()}, fmt.Sprintf(
		"%s for %s, but no place with an organisation unit is above them in the CHT, so that they are in no total: give their place its org unit, or write unplaced: ignore under with",
		haveTargets(len(workers)), f.month.period()))
	if err != nil {
		return nil, err
	}
	return append(out, m), nil
}

func haveTargets(n int) string {
	if n == 1 {
		return "1 worker has targets"
	}
	return fmt.Sprintf("%d workers have targets", n)
}
