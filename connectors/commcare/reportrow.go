package commcare

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// reportColumn is a column of a page of a report.
type reportColumn struct {
	slug, header string
	// expanded columns count the values of a question, a column for each value
	// that is there: value. CommCare numbers their slugs in the order of the
	// values (gender-0, gender-1), so that a slug may mean another value next month.
	expanded bool
	value    string
}

// reportPageDoc is a page of a report.
type reportPageDoc struct {
	columns []reportColumn
	hash    string // of the columns
	rows    []any
	total   int
}

func readReportPage(body []byte) (*reportPageDoc, error) {
	doc, err := object(body)
	if err != nil {
		return nil, err
	}
	heads, ok := doc["columns"].([]any)
	rows, ok2 := doc["data"].([]any)
	total, err := strconv.Atoi(xform.Text(doc["total_records"]))
	if !ok || !ok2 || err != nil || total < 0 {
		return nil, &xform.Bad{Text: "the page lacks columns, data or total_records"}
	}
	p := &reportPageDoc{rows: rows, total: total}
	for _, h := range heads {
		m := asMap(h)
		c := reportColumn{slug: xform.Text(m["slug"]), header: xform.Text(m["header"])}
		var v any
		if v, c.expanded = m["expand_column_value"]; c.expanded {
			if c.value = xform.Text(v); v == nil {
				c.value = "None" // as CommCare has it in the header
			}
		}
		p.columns = append(p.columns, c)
	}
	p.hash, err = hash(heads)
	return p, err
}

// rowReader reads the rows of pages with the same columns.
type rowReader struct {
	names map[string]string // name in the message -> slug in the answer
	// columns are the names of the columns, in order, each once.
	columns []string
	key     []string // names; none: made of the row's words
}

// newRowReader decides by which names a row's values go: its slug and its
// header; an expanded column's SLUG-VALUE (gender-male) and its header. A header
// that two columns share, or that is another column's slug, is no name. key is
// a column, or several with commas between them, or "".
func newRowReader(columns []reportColumn, key string) (*rowReader, error) {
	b := &rowReader{names: map[string]string{}}
	headers := map[string]int{}
	for _, c := range columns {
		if _, twice := b.names[c.name()]; !twice {
			b.columns = append(b.columns, c.name())
		}
		b.names[c.name()] = c.slug
		headers[c.header]++
	}
	for _, c := range columns {
		if _, taken := b.names[c.header]; !taken && c.header != "" && headers[c.header] == 1 {
			b.names[c.header] = c.slug
		}
	}
	key = strings.TrimSpace(key)
	if _, whole := b.names[key]; whole {
		b.key = []string{key}
		return b, nil
	}
	for name := range strings.SplitSeq(key, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if _, ok := b.names[name]; !ok {
			return nil, fmt.Errorf("it has no column %s, which the flow names as key; it has %s", name, columnNames(columns))
		}
		b.key = append(b.key, name)
	}
	return b, nil
}

var numbered = regexp.MustCompile(`-\d+$`)

// name is what a column is called in messages.
func (c reportColumn) name() string {
	if !c.expanded || strings.HasSuffix(c.slug, "-"+c.value) && !numbered.MatchString(c.slug) {
		return c.slug
	}
	return numbered.ReplaceAllString(c.slug, "") + "-" + c.value
}

func columnNames(columns []reportColumn) string {
	var out []string
	for _, c := range columns {
		out = append(out, c.name())
	}
	return strings.Join(out, ", ")
}

// reportRow is one row as the message has it.
type reportRow struct {
	doc     map[string]any
	key     string // "" if it has none
	version string
	problem string
	columns []string // of the report
}

// row reads one row of a page.
func (b *rowReader) row(raw any) (*reportRow, error) {
	m, ok := raw.(map[string]any)
	row := &reportRow{doc: map[string]any{}, columns: b.columns}
	for name, slug := range b.names {
		row.doc[name] = cell(m[slug])
	}
	var err error
	if row.version, err = hash(row.doc); err != nil {
		return nil, err
	}
	switch {
	case !ok:
		row.problem = "the row is not an object"
		row.version, err = hash(raw)
	case len(b.key) == 0:
		row.key = b.words(m)
		if row.key == "" {
			row.problem = "the row has nothing but numbers, so that it cannot be told from others; name its column in the flow's from: key: COLUMN"
		}
	default:
		row.key = b.named(row.doc)
		if row.key == "" {
			row.problem = "the row has no value for its key, " + strings.Join(b.key, ", ") + "; fill it in in CommCare, or leave such rows out of the report"
		}
	}
	return row, err
}

// named is the key by the columns that the flow names; "" if one is blank.
func (b *rowReader) named(doc map[string]any) string {
	var parts []string
	for _, name := range b.key {
		v := xform.Text(doc[name])
		if v == "" {
			return ""
		}
		parts = append(parts, url.PathEscape(v))
	}
	key := strings.Join(parts, ",")
	if len(key) > 120 {
		return digest(key)
	}
	return key
}

// words is the key of a row without a named one: a hash of everything in it
// that is text and not a number. It may hold names, so it is never in clear.
func (b *rowReader) words(m map[string]any) string {
	var parts []string
	for name, slug := range b.names {
		s, text := m[slug].(string)
		_, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if text && err != nil && strings.TrimSpace(s) != "" {
			parts = append(parts, name+"\x00"+strings.TrimSpace(s))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return digest(strings.Join(parts, "\x00"))
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:12])
}

// cell writes a value in one way: 3.0 and 3 are the same number, moments are in
// UTC. null stays: nothing was counted, which is not 0.
func cell(v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case json.Number:
		f, err := v.Float64()
		if err != nil || !strings.ContainsAny(v.String(), ".eE") {
			return v // a whole number, of any length, is written in one way already
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return json.Number(strconv.FormatInt(int64(f), 10))
		}
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
	case string:
		return xform.Plain(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = cell(item)
		}
		return out
	}
	return xform.Plain(xform.Text(v))
}

// message is the message of a row. twice: another row has its key, too.
func (r *reportRun) message(row *reportRow, twice bool) (*connector.Incoming, error) {
	in := &connector.Incoming{Kind: kindReport, Version: row.version, Problem: row.problem, Stray: row.key == "" || twice}
	key := row.key
	switch {
	case key == "":
		key = "~" + row.version
	case twice:
		key += "~" + row.version[:8]
		in.Problem = "another row of the report has the same key; name columns in the flow's from that tell rows apart: key: COLUMN, COLUMN"
	}
	in.Doc = r.docPrefix() + key
	about := r.about()
	about["columns"] = row.columns
	doc := map[string]any{"row": row.doc, "report": about}
	if r.run.Period != "" {
		doc["period"] = map[string]any{"name": r.run.Period, "start": r.run.Start.Format(time.DateOnly), "end": r.run.End.Format(time.DateOnly)}
	}
	var err error
	in.Content, err = encode(doc)
	return in, err
}

func (r *reportRun) about() map[string]any {
	out := map[string]any{"id": r.id, "title": r.c.Title}
	if key := r.run.Keys["key"]; key != "" {
		out["key"] = key
	}
	return out
}

// docPrefix is report/ID/PERIOD/, or report/ID/ without a period. Runs that
// filter one report differently have rows of their own: report/ID~HASH/.
func (r *reportRun) docPrefix() string {
	out := "report/" + url.PathEscape(r.id)
	var with []string
	for name, v := range r.run.With {
		if v != "period" && name != "period" {
			with = append(with, name+"\x00"+v)
		}
	}
	if len(with) > 0 {
		slices.Sort(with)
		out += "~" + digest(strings.Join(with, "\x00"))[:8]
	}
	if r.run.Period != "" {
		out += "/" + url.PathEscape(r.run.Period)
	}
	return out + "/"
}
