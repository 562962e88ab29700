package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

// Report is a configurable report (UCR), over forms or over given records. It
// is seeded in these words.
//
// Columns that only show a field group the records, one row a group, if any
// other column counts or sums; else each record is a row.
type Report struct {
	ID      string         `json:"id"`
	Title   string         `json:"title"`
	Columns []ReportColumn `json:"columns"`
	Filters []ReportFilter `json:"filters"`
	// Forms is the xmlns of the forms that the report is over. A record has a
	// form's answers by their paths ("vitals.weight"), meta ("meta.userID"),
	// received_on, and the worker's place: location.id, location.site_code,
	// location.name, location.data.NAME.
	Forms string `json:"forms"`
	// Rows are the records themselves, instead of Forms.
	Rows []map[string]any `json:"rows"`
	// Static reports stand in the list of reports only, not under their own id.
	Static bool `json:"static"`
	// Unsorted: rows come in another order at each request, as they may where a
	// report names no order.
	Unsorted bool `json:"unsorted"`
}

// ReportColumn is one column of a report. At most one of Count, Sum, First,
// Last and Expand is given; without, it shows Field, or the field of its id.
type ReportColumn struct {
	ID      string `json:"column_id"`
	Display string `json:"display"`
	Field   string `json:"field"`
	// Where limits what is counted or summed to records with these values.
	Where map[string]string `json:"where"`
	Count bool              `json:"count"`
	Sum   string            `json:"sum"`   // a field
	First string            `json:"first"` // of the group, by the records' order
	Last  string            `json:"last"`
	// Expand counts the records by the values of a field: one column for each
	// value that is there, numbered in the order of the values.
	Expand string `json:"expand"`
}

// ReportFilter is a filter of a report on Field, or the field of its slug.
type ReportFilter struct {
	Slug     string `json:"slug"`
	Type     string `json:"type"`     // date, choice_list, dynamic_choice_list, numeric
	Datatype string `json:"datatype"` // date, string, integer, decimal
	Field    string `json:"field"`
}

func (c ReportColumn) aggregates() bool {
	return c.Count || c.Sum != "" || c.First != "" || c.Last != "" || c.Expand != ""
}

func (c ReportColumn) field() string { return or(c.Field, c.ID) }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// seedReport adds a report, or replaces the one of its id. The lock is held.
func (s *Sim) seedReport(raw json.RawMessage) error {
	var r Report
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&r); err != nil {
		return fmt.Errorf("read a report: %w", err)
	}
	if r.ID == "" || len(r.Columns) == 0 {
		return fmt.Errorf("a report needs an id and columns")
	}
	s.reports[r.ID] = &r
	return nil
}

// ChangeReport changes a report's definition or rows.
func (s *Sim) ChangeReport(id string, change func(*Report)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reports[id]
	if r == nil {
		return fmt.Errorf("there is no report %s", id)
	}
	change(r)
	return nil
}

// OnReportPage calls a function after each page of a report that was answered,
// to change things while a report is read. nil switches it off.
func (s *Sim) OnReportPage(f func(report string, offset int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onPage = f
}

// TruncateReports cuts the next times pages of reports off in the middle.
func (s *Sim) TruncateReports(times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.truncate = times
}

// shown is a column as it is answered; of an expanded one, for one value.
type shown struct {
	ReportColumn
	slug, header string
	value        string // of an expanded column
}

// table computes a report: its columns and rows. The lock is held.
func (s *Sim) table(r *Report, query map[string][]string) ([]shown, []map[string]any, error) {
	records, err := s.filtered(r, query)
	if err != nil {
		return nil, nil, err
	}
	columns := r.shown(s.underlying(r)) // CommCare expands by all there is, filtered or not
	groups, order := r.group(records)
	rows := make([]map[string]any, 0, len(order))
	for _, key := range order {
		row := map[string]any{}
		for _, c := range columns {
			row[c.slug] = c.of(groups[key])
		}
		rows = append(rows, row)
	}
	if r.Unsorted && len(rows) > 0 {
		s.turn++
		by := s.turn % len(rows)
		rows = append(slices.Clone(rows[by:]), rows[:by]...)
	}
	return columns, rows, nil
}

// shown lists the columns with those of each value of an expanded one.
func (r *Report) shown(records []map[string]any) []shown {
	var out []shown
	for _, c := range r.Columns {
		if c.Expand == "" {
			out = append(out, shown{ReportColumn: c, slug: c.ID, header: or(c.Display, c.ID)})
			continue
		}
		values := map[string]bool{}
		for _, rec := range records {
			if v := text(rec[c.Expand]); v != "" {
				values[v] = true
			}
		}
		for i, v := range slices.Sorted(maps.Keys(values)) {
			out = append(out, shown{ReportColumn: c, slug: fmt.Sprintf("%s-%d", c.ID, i), header: or(c.Display, c.ID) + "-" + v, value: v})
		}
	}
	return out
}

// group puts records together that the plain columns show alike, in the order
// of what they show.
func (r *Report) group(records []map[string]any) (map[string][]map[string]any, []string) {
	groups, order := map[string][]map[string]any{}, []string{}
	whole := !slices.ContainsFunc(r.Columns, ReportColumn.aggregates)
	for i, rec := range records {
		var key strings.Builder
		for _, c := range r.Columns {
			if !c.aggregates() {
				key.WriteString(text(rec[c.field()]) + "\x00")
			}
		}
		if whole {
			fmt.Fprintf(&key, "%09d", i)
		}
		k := key.String()
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], rec)
	}
	if !whole {
		slices.Sort(order)
	}
	return groups, order
}

// of is the column's value for a group of records.
func (c shown) of(records []map[string]any) any {
	kept := slices.DeleteFunc(slices.Clone(records), func(rec map[string]any) bool {
		for field, want := range c.Where {
			if text(rec[field]) != want {
				return true
			}
		}
		return c.Expand != "" && text(rec[c.Expand]) != c.value
	})
	switch {
	case c.Count, c.Expand != "":
		return len(kept)
	case c.Sum != "":
		return sum(kept, c.Sum)
	case c.First != "" && len(kept) > 0:
		return kept[0][c.First]
	case c.Last != "" && len(kept) > 0:
		return kept[len(kept)-1][c.Last]
	case c.First != "", c.Last != "":
		return nil
	}
	return records[0][c.field()]
}

// text is a value of a record as text; rows changed by a test may hold Go's
// numbers.
func text(v any) string {
	switch v := v.(type) {
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return xform.Text(v)
}

// sum is null where no record has a number, as SQL's is.
func sum(records []map[string]any, field string) any {
	total, some := 0.0, false
	for _, rec := range records {
		if f, err := strconv.ParseFloat(text(rec[field]), 64); err == nil {
			total, some = total+f, true
		}
	}
	if !some {
		return nil
	}
	return json.Number(strconv.FormatFloat(total, 'f', -1, 64))
}

// underlying are the records that the report is over, oldest form first.
func (s *Sim) underlying(r *Report) []map[string]any {
	if r.Forms == "" {
		return r.Rows
	}
	var forms []*form
	for _, id := range sorted(s.forms) {
		if f := s.forms[id]; f.xmlns == r.Forms && !f.archived && !f.held {
			forms = append(forms, f)
		}
	}
	slices.SortStableFunc(forms, func(a, b *form) int { return a.received.Compare(b.received) })
	var out []map[string]any
	for _, f := range forms {
		rec := map[string]any{"received_on": f.received.Format(iso)}
		flatten(rec, "", f.tree())
		s.place(rec, text(rec["meta.userID"]))
		out = append(out, rec)
	}
	return out
}

func flatten(into map[string]any, at string, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		into[at] = v
		return
	}
	for name, inner := range m {
		if strings.HasPrefix(name, "@") || name == "case" {
			continue
		}
		path := name
		if at != "" {
			path = at + "." + name
		}
		flatten(into, path, inner)
	}
}

// place adds what a report knows of the worker's place.
func (s *Sim) place(rec map[string]any, worker string) {
	l := s.locations[xform.Text(s.users[worker]["primary_location"])]
	if l == nil {
		return
	}
	rec["location.id"], rec["location.site_code"], rec["location.name"] = l["location_id"], l["site_code"], l["name"]
	data, _ := l["location_data"].(map[string]any)
	for name, v := range data {
		rec["location.data."+name] = v
	}
}
