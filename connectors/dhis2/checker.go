package dhis2

import (
	"context"
	"slices"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
)

var _ connector.Checker = (*System)(nil)

// CheckLive asks the server about all that flows say literally (Live).
func (s *System) CheckLive(ctx context.Context, do call.Doer, uses []connector.Use) ([]connector.Finding, error) {
	var asked []Use
	for _, u := range uses {
		asked = append(asked, usesOf(u)...)
	}
	found, err := s.Live(ctx, do, asked)
	if err != nil {
		return nil, err
	}
	out := make([]connector.Finding, len(found))
	for i, f := range found {
		out[i] = connector.Finding(f)
	}
	return out, nil
}

// usesOf reads what a record says as Live asks about it. A data set or a program
// that is one of several makes one Use for each.
func usesOf(u connector.Use) []Use {
	one := Use{Where: u.Where, Attribute: only(u.Values["attributeOptionCombo"]), Units: u.Values["orgUnit"], Day: u.Day}
	for _, row := range append(slices.Clone(u.Rows["values"]), u.Rows["dataValues"]...) {
		if row["dataElement"] != "" {
			one.Values = append(one.Values, UseValue{Element: row["dataElement"], Combo: row["categoryOptionCombo"]})
		} else {
			one.Open = true
		}
	}
	var out []Use
	for _, ref := range u.Values["dataSet"] {
		d := one
		d.DataSet, d.PeriodType = ref, period.Type(u.Period)
		out = append(out, d)
	}
	for _, ref := range u.Values["program"] {
		p := one
		p.Program, p.Stage = ref, only(u.Values["programStage"])
		out = append(out, p)
	}
	if len(out) == 0 && len(one.Units) > 0 {
		out = append(out, one)
	}
	return out
}

// only gives the value of a field that has one.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
