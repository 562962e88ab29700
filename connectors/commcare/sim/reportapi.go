package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// most is how many rows a page of a report may have (LIMIT_MAX in
// corehq/apps/api/resources/v0_5.py, seen 2025).
const most = 50

// separator stands between several values of a filter.
const separator = "\x1f"

// listReports is GET api/v0.5/simplereportconfiguration/.
func (s *Sim) listReports(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := []any{}
	for _, id := range sorted(s.reports) {
		objects = append(objects, s.configuration(s.reports[id]))
	}
	answer(w, http.StatusOK, map[string]any{"meta": map[string]any{"total_count": len(objects)}, "objects": objects})
}

// getReport is GET api/v0.5/simplereportconfiguration/ID/; a static report is
// not found there.
func (s *Sim) getReport(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	report := s.reports[r.PathValue("id")]
	if report == nil || report.Static {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	answer(w, http.StatusOK, s.configuration(report))
}

func (s *Sim) configuration(r *Report) map[string]any {
	columns, filters := []any{}, []any{}
	for _, c := range r.Columns {
		kind := "field"
		if c.Expand != "" {
			kind = "expanded"
		}
		columns = append(columns, map[string]any{"column_id": c.ID, "display": or(c.Display, c.ID), "type": kind})
	}
	for _, f := range r.Filters {
		filters = append(filters, map[string]any{"slug": f.Slug, "type": f.Type, "datatype": f.Datatype})
	}
	return map[string]any{"id": r.ID, "title": r.Title, "columns": columns, "filters": filters,
		"resource_uri": "/a/" + s.o.Domain + "/api/v0.5/simplereportconfiguration/" + r.ID + "/"}
}

// reportData is GET api/v0.5/configurablereportdata/ID/. As in CommCare, a
// parameter that is no filter of the report is ignored without a word.
func (s *Sim) reportData(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	offset, err := positive(q.Get("offset"), 0)
	if err != nil {
		plain(w, "start must be a positive integer.")
		return
	}
	limit, err := positive(q.Get("limit"), most)
	switch {
	case err != nil:
		plain(w, "limit must be a positive integer.")
		return
	case limit > most:
		plain(w, fmt.Sprintf("Limit may not exceed %d.", most))
		return
	}
	id := r.PathValue("id")
	body, found, err := s.reportPage(id, r.URL.Path, q, offset, limit)
	switch {
	case err != nil:
		plain(w, err.Error())
		return
	case !found:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
	s.mu.Lock()
	after := s.onPage
	s.mu.Unlock()
	if after != nil {
		after(id, offset)
	}
}

func (s *Sim) reportPage(id, path string, q map[string][]string, offset, limit int) (body []byte, found bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	report := s.reports[id]
	if report == nil {
		return nil, false, nil
	}
	columns, rows, err := s.table(report, q)
	if err != nil {
		return nil, true, err
	}
	heads := []any{}
	for _, c := range columns {
		head := map[string]any{"header": c.header, "slug": c.slug}
		if c.Expand != "" {
			head["expand_column_value"] = c.value
		}
		heads = append(heads, head)
	}
	next := ""
	if len(rows) > offset+limit {
		values := map[string][]string{}
		for k, v := range q {
			values[k] = v
		}
		values["offset"], values["limit"] = []string{strconv.Itoa(offset + limit)}, []string{strconv.Itoa(limit)}
		next = path + "?" + url.Values(values).Encode()
	}
	body = encode(map[string]any{"columns": heads, "data": rows[min(offset, len(rows)):min(offset+limit, len(rows))], "next_page": next, "total_records": len(rows)})
	if s.truncate > 0 {
		s.truncate--
		body = body[:len(body)/2]
	}
	return body, true, nil
}

// filtered gives the records that pass the filters that are asked for.
func (s *Sim) filtered(r *Report, q map[string][]string) ([]map[string]any, error) {
	get := func(name string) string {
		if v := q[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	var out []map[string]any
	for _, rec := range s.underlying(r) {
		passes := true
		for _, f := range r.Filters {
			ok, err := f.passes(text(rec[or(f.Field, f.Slug)]), get)
			if err != nil {
				return nil, err
			}
			passes = passes && ok
		}
		if passes {
			out = append(out, rec)
		}
	}
	return out, nil
}

func (f ReportFilter) passes(value string, get func(string) string) (bool, error) {
	switch f.Type {
	case "date":
		from, to := get(f.Slug+"-start"), get(f.Slug+"-end")
		if from == "" && to == "" {
			return true, nil
		}
		day := value[:min(len(value), len("2006-01-02"))]
		return day != "" && (from == "" || day >= from) && (to == "" || day <= to), nil
	case "numeric":
		operator, operand := get(f.Slug+"-operator"), get(f.Slug+"-operand")
		if operator == "" {
			return true, nil
		}
		return compare(value, operator, operand)
	}
	want := get(f.Slug)
	if want == "" || want == "_all" {
		return true, nil
	}
	for one := range strings.SplitSeq(want, separator) {
		if one == value {
			return true, nil
		}
	}
	return false, nil
}

func compare(value, operator, operand string) (bool, error) {
	want, err := strconv.ParseFloat(operand, 64)
	if err != nil {
		return false, fmt.Errorf("the operand is not a number")
	}
	is, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return false, nil // as NULL compares
	}
	switch operator {
	case "=":
		return is == want, nil
	case "!=":
		return is != want, nil
	case ">":
		return is > want, nil
	case ">=":
		return is >= want, nil
	case "<":
		return is < want, nil
	case "<=":
		return is <= want, nil
	}
	return false, fmt.Errorf("the operator is not known")
}

func positive(v string, unset int) (int, error) {
	if v == "" {
		return unset, nil
	}
	n, err := strconv.Atoi(v)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return n, err
}

// plain is a refusal in the words of tastypie: text, not JSON.
func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write([]byte(text))
}
