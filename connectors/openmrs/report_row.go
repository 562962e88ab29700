package openmrs

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// chosen is the section of a report that a run wants, and how its rows are read.
type chosen struct {
	*section
	keys  []string        // the key columns, as the report writes them
	dates map[string]bool // columns of dates
	zone  *time.Location
}

// choose finds the section and the key columns. A report that lacks them would
// hold every row; it is refused whole, in words.
func (s *System) choose(p *spool, src *source) (*chosen, error) {
	x, err := pickSection(p.sections, src)
	if err != nil {
		return nil, s.refused("fetch report", "%v", err)
	}
	c := &chosen{section: x, zone: s.zone, dates: datesOf(x.columns)}
	var names []string
	for _, col := range x.columns {
		names = append(names, col.Name)
	}
	for _, key := range src.Keys {
		if len(names) == 0 { // an old server that sends no metadata
			c.keys = append(c.keys, key)
			continue
		}
		i := slices.Index(names, key)
		if i < 0 { // some databases write names in capitals
			i = slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, key) })
		}
		if i < 0 {
			return nil, s.refused("fetch report", "the report has no column %q to tell its rows apart by; it has %s: name the columns under key", key, strings.Join(names, ", "))
		}
		c.keys = append(c.keys, names[i])
	}
	return c, nil
}

// datesOf are the columns that hold dates: java.util.Date, java.sql.Timestamp.
func datesOf(columns []column) map[string]bool {
	out := map[string]bool{}
	for _, c := range columns {
		if strings.HasSuffix(c.Datatype, "Date") || strings.HasSuffix(c.Datatype, "Timestamp") {
			out[c.Name] = true
		}
	}
	return out
}

// pickSection chooses a data set: the only one, or the one that dataset names.
func pickSection(all []*section, src *source) (*section, error) {
	if src.Report == "" || src.Dataset == "" {
		if len(all) == 1 {
			return all[0], nil
		}
		return nil, fmt.Errorf("the report has %d data sets (%s): name one under dataset", len(all), sectionNames(all))
	}
	var fit []*section
	for _, x := range all {
		if x.uuid == src.Dataset || x.name == src.Dataset {
			fit = append(fit, x)
		}
	}
	if len(fit) != 1 {
		return nil, fmt.Errorf("%d of the report's data sets are called %q; it has %s", len(fit), src.Dataset, sectionNames(all))
	}
	return fit[0], nil
}

func sectionNames(all []*section) string {
	var names []string
	for _, x := range all {
		names = append(names, cmp.Or(x.name, x.uuid))
	}
	return strings.Join(names, ", ")
}

// rowRead is a row as it is understood.
type rowRead struct {
	fields  map[string]any
	key     string // path escaped, "" where it has none
	version string
	problem string
}

// read understands one line of a spool.
func (c *chosen) read(raw []byte) rowRead {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return rowRead{problem: "the row cannot be read", version: digest(raw)}
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return rowRead{problem: "the row is no object with a value for each column", version: digest(raw)}
	}
	r := rowRead{fields: fields}
	for name, value := range fields {
		fields[name] = c.canon(name, value)
	}
	r.version = digest(encode(fields))
	var parts []string
	for _, name := range c.keys {
		part, ok := text(fields[name])
		if _, isBool := fields[name].(bool); isBool || !ok || part == "" {
			r.problem = fmt.Sprintf("the row has no value in its key column %s", name)
			return r
		}
		if strings.EqualFold(name, "uuid") && !looksLikeUUID(part) {
			r.problem = fmt.Sprintf("the row has no uuid in its key column %s", name)
			return r
		}
		parts = append(parts, seg(part))
	}
	r.key = strings.Join(parts, "/")
	return r
}

// canon makes the values equal that different versions of a server write
// differently: dates are moments in the server's zone, or days if they are its
// midnight; numbers have no needless fraction.
func (c *chosen) canon(name string, v any) any {
	switch v := v.(type) {
	case string:
		if t, ok := reportMoment(v, c.zone); ok {
			return t
		}
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return v
		}
		if whole := math.Trunc(f); whole == f && math.Abs(f) < 1<<53 {
			if c.dates[name] {
				return writeMoment(time.UnixMilli(int64(f)).In(c.zone))
			}
			return json.Number(strconv.FormatInt(int64(f), 10))
		}
	case []any:
		for i := range v {
			v[i] = c.canon("", v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = c.canon("", v[k])
		}
	}
	return v
}

// dateText is how OpenMRS writes a moment in JSON (2024-05-01T00:00:00.000+0300),
// older servers without a zone, and Java's Timestamp in CSV (2024-05-01 00:00:00.0).
var dateText = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?( ?(?:[+-]\d\d:?\d\d|Z))?$`)

// reportMoment writes a date of a row as RFC 3339 with the offset that it had in
// the server's zone, so that its day is read from its first ten characters.
// Text without a zone is meant in the server's.
func reportMoment(v string, zone *time.Location) (string, bool) {
	m := dateText.FindStringSubmatch(v)
	if m == nil {
		return "", false
	}
	clock := strings.Replace(v[:19], " ", "T", 1)
	if m[1] == "" {
		t, err := time.ParseInLocation("2006-01-02T15:04:05", clock, zone)
		if err != nil {
			return "", false
		}
		return writeMoment(t), true
	}
	layout := "2006-01-02T15:04:05Z0700"
	if strings.Contains(m[1], ":") {
		layout = time.RFC3339
	}
	t, err := time.Parse(layout, clock+strings.TrimSpace(m[1]))
	if err != nil {
		return "", false
	}
	return writeMoment(t), true
}

// writeMoment keeps the offset; UTC is written +00:00, whichever way it came.
// Midnight is how the server writes a day (java.util.Date has no other way), and
// a day has no zone: as a moment, a birth date would be the day before wherever
// the integration's zone is west of the server's.
func writeMoment(t time.Time) string {
	if h, m, s := t.Clock(); h+m+s == 0 {
		return t.Format(time.DateOnly)
	}
	return t.Format("2006-01-02T15:04:05-07:00")
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// rowDigest is enough of a digest to tell the rows of one report apart.
func rowDigest(text string) [8]byte {
	sum := sha256.Sum256([]byte(text))
	return [8]byte(sum[:8])
}

// marks are the rows of a section that its other rows say something about.
type marks struct {
	again map[int]bool // the same as an earlier row: left out
	clash map[int]bool // another row has the same key and says something else
}

// mark reads a section through once, to find rows that repeat a key. It holds
// sixteen bytes a row while it does, of at most maxReportRows.
func (p *spool) mark(c *chosen) (*marks, error) {
	id := strings.Join(c.keys, "\x00") + "\x00" + strconv.FormatInt(c.from, 10)
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.marks[id]; m != nil {
		return m, nil
	}
	m := &marks{again: map[int]bool{}, clash: map[int]bool{}}
	type first struct {
		row     int32
		content [8]byte
	}
	seen := make(map[[8]byte]first, c.rows)
	in := p.at(c.from)
	for n := range c.rows {
		b, err := spoolLine(in)
		if err != nil {
			return nil, err
		}
		r := c.read(b)
		if r.key == "" {
			continue
		}
		key, content := rowDigest(r.key), rowDigest(r.version)
		f, twice := seen[key]
		switch {
		case !twice:
			seen[key] = first{int32(n), content}
		case f.content == content:
			m.again[n] = true
		default:
			m.clash[n], m.clash[int(f.row)] = true, true
		}
	}
	p.marks[id] = m
	return m, nil
}

// incoming makes the message of a row. A row that has a key keeps its Doc even
// if it cannot be used, so that whoever it stands for has not left the list.
func (s *System) incoming(src *source, r rowRead, n int, name string) connector.Incoming {
	row := r.fields
	if row == nil {
		row = map[string]any{}
	}
	doc := "report/" + src.uuid() + "/" + r.key
	if r.key == "" {
		doc = "report/" + src.uuid() + "/run " + src.run.At.UTC().Format("20060102T150405Z") + "/row " + strconv.Itoa(n+1)
	}
	return connector.Incoming{Kind: reportMessage.Name, Doc: doc, Version: r.version, Problem: r.problem, Stray: r.key == "",
		Content: encode(map[string]any{"row": row, "report": src.shown(name), "server": map[string]any{"name": s.name}})}
}
