package cht

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const exportPath = "/api/v2/export/dhis"

// dhisExport is what the CHT offers for download (GET /api/v2/export/dhis).
type dhisExport struct {
	DataSet string `json:"dataSet"`
	Period  string `json:"period"`
	Values  []struct {
		DataElement          string   `json:"dataElement"`
		CategoryOptionCombo  string   `json:"categoryOptionCombo"`
		AttributeOptionCombo string   `json:"attributeOptionCombo"`
		OrgUnit              string   `json:"orgUnit"`
		Value                *float64 `json:"value"`
	} `json:"dataValues"`
}

// export reads the export of a month. The readable variant, with names in place
// of ids, is never asked for: it cannot be sent.
func (s *System) export(ctx context.Context, do call.Doer, dataSet, orgUnit string, m month) (*dhisExport, error) {
	query := []string{"filters[dataSet]", dataSet, "filters[date][from]", strconv.FormatInt(m.middle().UnixMilli(), 10)}
	if orgUnit != "" {
		query = append(query, "filters[orgUnit]", orgUnit)
	}
	var out dhisExport
	found, err := s.read(ctx, do, "export the month for DHIS2", get(exportPath, query...), &out)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, fmt.Errorf("%s: this CHT has no DHIS2 export (it came with 3.7): use %s instead", s.name, kindTargets)
	case out.Period != m.period() || out.DataSet != dataSet:
		return nil, fmt.Errorf("%s: the export is of data set %s and period %s, not of %s and %s", s.name, out.DataSet, out.Period, dataSet, m.period())
	}
	return &out, nil
}

// exportRows makes one message per org unit of the export.
//
// A worker may sync between our reads. Where the sums of the workers' targets are
// not the exported values, both are therefore read once more.
func (s *System) exportRows(ctx context.Context, do call.Doer, m month, keys, with map[string]string) ([]connector.Incoming, error) {
	dataSet := keys["dataSet"]
	if dataSet == "" {
		return nil, fmt.Errorf("%s: the flow's from must name the dataSet", s.name)
	}
	ignore, err := unplacedIgnored(with)
	if err != nil {
		return nil, fmt.Errorf("%s: with: %w", s.name, err)
	}
	var rows []*exportRow
	var f *figures
	for try := 0; try < 2; try++ {
		if f, err = s.figures(ctx, do, m); err != nil {
			return nil, err
		}
		if !f.settings.hasDataSet(dataSet) {
			return nil, fmt.Errorf("%s: the CHT's settings have no data set %s under dhis_data_sets", s.name, dataSet)
		}
		e, err := s.export(ctx, do, dataSet, keys["orgUnit"], m)
		if err != nil {
			return nil, err
		}
		rows = f.merge(e)
		if !slices.ContainsFunc(rows, func(r *exportRow) bool { return len(r.Differs) > 0 }) {
			break
		}
	}
	var out []connector.Incoming
	if err := s.supervisors(ctx, do, f, rows); err != nil {
		return nil, err
	}
	for _, r := range rows {
		place := r.describe(f, r.at)
		// A place with two org units comes whole for either of them.
		if keys["place"] != "" && keys["place"] != r.PlaceID || keys["orgUnit"] != "" && keys["orgUnit"] != r.OrgUnit {
			continue
		}
		m, err := message(kindExport, docID("dhis", dataSet, m.period(), r.OrgUnit), f.end,
			content{Row: r.row, Period: m.period(), OrgUnit: r.OrgUnit, Place: place}, r.problem)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	if ignore || keys["orgUnit"] != "" || keys["place"] != "" {
		return out, nil
	}
	_, nowhere := f.members(dataSet)
	return f.unplaced(out, kindExport, docID("dhis", dataSet, m.period(), ""), dataSet, nowhere)
}

// exportRow is a row under construction.
type exportRow struct {
	row
	at      *contact
	problem string
}

// merge turns the export into rows: its values, and who added what.
//
// The CHT adds up targets that share a data element and keeps the last one's
// category option combination (5.2.0). Such values are taken from the workers'
// targets instead, each combination by itself.
func (f *figures) merge(e *dhisExport) []*exportRow {
	byUnit, _ := f.members(e.DataSet)
	combos, nested := f.settings.combos(e.DataSet), f.nested(e.DataSet)
	rows, own := map[string]*exportRow{}, map[string]map[combo]*tally{}
	for _, v := range e.Values {
		r := rows[v.OrgUnit]
		if r == nil {
			r = &exportRow{row: row{DataSet: e.DataSet, Period: e.Period, OrgUnit: v.OrgUnit, Below: nested[v.OrgUnit]}, at: f.placeOf(v.OrgUnit, e.DataSet)}
			r.report(f, byUnit[v.OrgUnit])
			r.problem = unreadable(byUnit[v.OrgUnit])
			rows[v.OrgUnit], own[v.OrgUnit] = r, tallies(combos, byUnit[v.OrgUnit])
		}
		if v.Value == nil {
			r.problem = "the CHT exported something that is no number: a target document holds a target without a total"
			continue
		}
		r.take(combo{v.DataElement, v.CategoryOptionCombo, v.AttributeOptionCombo}, *v.Value, own[v.OrgUnit])
	}
	out := make([]*exportRow, 0, len(rows))
	for _, unit := range slices.Sorted(maps.Keys(rows)) {
		r := rows[unit]
		agrees := len(r.Differs) == 0
		r.Agrees = &agrees
		out = append(out, r)
	}
	return out
}

// take adds the exported value of a data element to the row, or, where several
// combinations share it, those of the workers' targets.
func (r *exportRow) take(exported combo, value float64, own map[combo]*tally) {
	var shared []combo
	sum := 0.0
	for c, t := range own {
		if c.element == exported.element {
			shared = append(shared, c)
			sum += t.value
		}
	}
	if sum != value || len(shared) == 0 {
		r.Differs = append(r.Differs, exported.element)
	}
	if len(shared) < 2 {
		c := newCell(exported, own[exported])
		if len(shared) == 1 {
			c = newCell(exported, own[shared[0]])
		}
		c.Value = value
		r.Values = append(r.Values, c)
		return
	}
	slices.SortFunc(shared, compareCombos)
	for _, c := range shared {
		r.Values = append(r.Values, newCell(c, own[c]))
	}
}

func compareCombos(a, b combo) int {
	return slices.Compare([]string{a.element, a.category, a.attribute}, []string{b.element, b.category, b.attribute})
}

// supervisors reads who is the primary contact of the rows' places.
func (s *System) supervisors(ctx context.Context, do call.Doer, f *figures, rows []*exportRow) error {
	var ids []string
	for _, r := range rows {
		if r.at != nil {
			ids = append(ids, string(r.at.Contact))
		}
	}
	return s.contacts(ctx, do, ids, f.contacts)
}
