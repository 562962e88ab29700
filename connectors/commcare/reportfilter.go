package commcare

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// reportFilter is a filter of a report, as the report's configuration has it.
type reportFilter struct {
	slug string
	date bool
}

func readFilters(doc map[string]any) []reportFilter {
	list, _ := doc["filters"].([]any)
	var out []reportFilter
	for _, v := range list {
		f := asMap(v)
		// docs/api/list-reports (2025) has type in its words and datatype in its example.
		date := xform.Text(f["type"]) == "date" || xform.Text(f["datatype"]) == "date"
		if slug := xform.Text(f["slug"]); slug != "" {
			out = append(out, reportFilter{slug, date})
		}
	}
	return out
}

// suffixes of parameters that belong to a filter.
var suffixes = []string{"-start", "-end", "-operator", "-operand", "-year", "-quarter"}

// reportQuery makes the parameters of a run from the flow's with and the
// period.
//
// CommCare ignores a parameter that is no filter of the report and then answers
// the rows of all time, so every name is looked up first. The completed period
// goes to the report's first date filter (as in CommCare's own data set maps),
// or to the one that with names: form_date: period. A report that needs none
// says period: none.
func reportQuery(filters []reportFilter, run connector.Run) (map[string]string, error) {
	out := map[string]string{}
	dated, dateless := "", false
	byHand := false // the flow gives the dates itself
	for name, value := range run.With {
		if name == "period" && value == "none" {
			dateless = true
			continue
		}
		f, err := filterOf(filters, name)
		switch {
		case err != nil:
			return nil, err
		case f.date && f.slug == name && value == "period":
			if dated != "" {
				return nil, fmt.Errorf("with gives the period to two date filters; give it to one, and dates to the other")
			}
			dated = f.slug
		case f.date && f.slug == name:
			return nil, fmt.Errorf("%s is a date filter; give %s-start and %s-end, or %s: period", name, name, name, name)
		default:
			byHand = byHand || f.date
			out[name] = value
		}
	}
	if err := pairs(filters, out); err != nil {
		return nil, err
	}
	if run.Start.IsZero() {
		if dated != "" {
			return nil, fmt.Errorf("with gives a period to %s, but the flow's schedule has none; use every: month, week or quarter", dated)
		}
		return out, nil
	}
	if dated == "" && (dateless || byHand) {
		return out, nil
	}
	if dated == "" {
		i := slices.IndexFunc(filters, func(f reportFilter) bool { return f.date })
		if i < 0 {
			return nil, fmt.Errorf("it has no date filter, so its rows are not those of %s; add one in CommCare, or say with: {period: none} if it needs none", run.Period)
		}
		dated = filters[i].slug
	}
	out[dated+"-start"], out[dated+"-end"] = run.Start.Format(time.DateOnly), run.End.Format(time.DateOnly)
	return out, nil
}

func filterOf(filters []reportFilter, name string) (reportFilter, error) {
	for _, f := range filters {
		if rest, ok := strings.CutPrefix(name, f.slug); ok && (rest == "" || slices.Contains(suffixes, rest)) {
			return f, nil
		}
	}
	var names []string
	for _, f := range filters {
		names = append(names, f.slug)
	}
	if len(names) == 0 {
		return reportFilter{}, fmt.Errorf("it has no filters, so with cannot give %s", name)
	}
	return reportFilter{}, fmt.Errorf("it has no filter %s; it has %s", name, strings.Join(names, ", "))
}

// pairs asks for both ends of a date range, which CommCare requires.
func pairs(filters []reportFilter, query map[string]string) error {
	for _, f := range filters {
		_, start := query[f.slug+"-start"]
		_, end := query[f.slug+"-end"]
		if start != end {
			return fmt.Errorf("give both %s-start and %s-end", f.slug, f.slug)
		}
	}
	return nil
}
