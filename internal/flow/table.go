package flow

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxRows is how many rows a table may have: 300 cells in a real data set, some
// ten thousand facilities in a country.
const maxRows = 200_000

// Table is a CSV of an integration, with a site's rows put over it. Cells are
// always text.
//
// The first column is the code that lookup finds; a second code, if lookup is
// given two, is in the second column. The target is the column that lookup
// names, else the first column after the codes.
type Table struct {
	Name    string // "gender", of tables/gender.csv
	Columns []string
	Rows    []Row

	file  string
	lines []int // line of each row
	index map[string]int
	two   map[[2]string]int
	list  []any // rows as expressions see them
}

// Row is one line of a table by column. Cells are trimmed.
type Row map[string]string

// readTable reads CSV: a header, then rows. Comma or semicolon, as spreadsheets
// of different languages save it; lines that begin with # are remarks.
func (r *reader) table(path, show string) *Table {
	b, err := os.ReadFile(path)
	src := &source{path: filepath.ToSlash(show)}
	if err != nil {
		r.add(SeverityError, CodeTableFile, src, 1, 1, "cannot be read: "+plainError(err))
		return nil
	}
	return r.parseTable(b, src)
}

func (r *reader) parseTable(b []byte, src *source) *Table {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	bad := func(line int, format string, args ...any) {
		r.add(SeverityError, CodeTableFile, src, line, 1, fmt.Sprintf(format, args...))
	}
	if !utf8.Valid(b) {
		bad(1, "the table is not UTF-8 text; save it as CSV UTF-8")
		return nil
	}
	src.lines = strings.Split(string(b), "\n")
	base := filepath.Base(src.path)
	t := &Table{Name: strings.TrimSuffix(base, filepath.Ext(base)), file: src.path}
	c := csv.NewReader(bytes.NewReader(b))
	c.Comment = '#'
	c.FieldsPerRecord = -1
	c.TrimLeadingSpace = true
	if h := src.line(1); strings.Count(h, ";") > strings.Count(h, ",") {
		c.Comma = ';'
	}
	for {
		cells, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var pe *csv.ParseError
		if errors.As(err, &pe) {
			bad(pe.Line, "the table cannot be read: %v; check the quotes", pe.Err)
			return nil
		}
		if err != nil {
			bad(1, "the table cannot be read: %v", err)
			return nil
		}
		line, _ := c.FieldPos(0)
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if !t.add(cells, line, bad) {
			return nil
		}
	}
	if t.Columns == nil {
		bad(1, "the table is empty; its first line names the columns")
		return nil
	}
	t.build()
	return t
}

// add takes one line of the file; false stops reading.
func (t *Table) add(cells []string, line int, bad func(int, string, ...any)) bool {
	if t.Columns == nil {
		seen := map[string]bool{}
		for _, c := range cells {
			if c == "" || seen[c] {
				bad(line, "every column needs a name of its own in the first line")
				return false
			}
			seen[c] = true
		}
		t.Columns = cells
		return true
	}
	if !slices.ContainsFunc(cells, func(c string) bool { return c != "" }) {
		return true
	}
	if len(cells) > len(t.Columns) {
		bad(line, "the row has %d cells for %d columns; quote a cell that has a comma", len(cells), len(t.Columns))
		return true
	}
	if len(t.Rows) >= maxRows {
		bad(line, "more than %d rows", maxRows)
		return false
	}
	row := make(Row, len(t.Columns))
	for i, name := range t.Columns {
		row[name] = ""
		if i < len(cells) {
			row[name] = cells[i]
		}
	}
	t.Rows = append(t.Rows, row)
	t.lines = append(t.lines, line)
	return true
}

func (t *Table) build() {
	t.index = make(map[string]int, len(t.Rows))
	t.two = map[[2]string]int{}
	t.list = make([]any, len(t.Rows))
	for i, row := range t.Rows {
		code := row[t.Columns[0]]
		if _, ok := t.index[code]; !ok {
			t.index[code] = i
		}
		if len(t.Columns) > 1 {
			key := [2]string{code, row[t.Columns[1]]}
			if _, ok := t.two[key]; !ok {
				t.two[key] = i
			}
		}
		m := make(map[string]any, len(row))
		for k, v := range row {
			m[k] = v
		}
		t.list[i] = m
	}
}

// over puts a site's rows over the table: a row with the same first cell takes
// the place of all rows with it, others are added.
func (t *Table) over(site *Table) *Table {
	out := &Table{Name: t.Name, file: t.file, Columns: slices.Clone(t.Columns)}
	for _, c := range site.Columns {
		if !slices.Contains(out.Columns, c) {
			out.Columns = append(out.Columns, c)
		}
	}
	replaced := map[string]bool{}
	for _, row := range site.Rows {
		replaced[row[site.Columns[0]]] = true
	}
	fill := func(row Row, line int) {
		full := make(Row, len(out.Columns))
		for _, c := range out.Columns {
			full[c] = row[c]
		}
		out.Rows, out.lines = append(out.Rows, full), append(out.lines, line)
	}
	for i, row := range t.Rows {
		if !replaced[row[t.Columns[0]]] {
			fill(row, t.lines[i])
		}
	}
	for _, row := range site.Rows {
		fill(row, 0)
	}
	out.build()
	return out
}

// Lookup finds the row of a code, or of two codes; the row * stands for all
// others.
func (t *Table) Lookup(codes ...string) (Row, bool) {
	if len(codes) == 2 {
		for _, key := range [][2]string{{codes[0], codes[1]}, {codes[0], "*"}, {"*", codes[1]}, {"*", "*"}} {
			if i, ok := t.two[key]; ok {
				return t.Rows[i], true
			}
		}
		return nil, false
	}
	if i, ok := t.index[codes[0]]; ok {
		return t.Rows[i], true
	}
	i, ok := t.index["*"]
	if !ok {
		return nil, false
	}
	return t.Rows[i], true
}

// target is the column that a lookup of n codes gives when none is named.
func (t *Table) target(n int) string {
	if len(t.Columns) > n {
		return t.Columns[n]
	}
	return t.Columns[len(t.Columns)-1]
}

// hash is over the content, not over spaces and remarks.
func (t *Table) hash() []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q", t.Columns)
	for _, row := range t.Rows {
		for _, c := range t.Columns {
			fmt.Fprintf(h, "%q,", row[c])
		}
		h.Write([]byte{'\n'})
	}
	return h.Sum(nil)
}
