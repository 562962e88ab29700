package openmrs

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
)

// reportError is why the answer to a report could not be used: a transport
// error in words, which Classify knows.
type reportError struct {
	text  string
	final bool // asking again would give the same
	err   error
}

func (e *reportError) Error() string { return e.text }
func (e *reportError) Unwrap() error { return e.err }

// verdict is a retry: a report is only read.
func (e *reportError) verdict() call.Verdict {
	if e.final {
		return call.Verdict{Class: call.Refusal, Reason: e.text}
	}
	return call.Verdict{Class: call.RetryLater, Reason: e.text}
}

func tooLarge(format string, args ...any) error {
	return &reportError{text: fmt.Sprintf(format, args...), final: true}
}

func cutOff(err error) error {
	var known *reportError
	if errors.As(err, &known) {
		return err
	}
	return &reportError{text: "the report was cut off, or is not what OpenMRS says it is: it is fetched again", err: err}
}

// streams tells whether the answer to a request is a report, whose rows are
// spooled while they arrive.
func streams(r call.Request) bool {
	for _, prefix := range []string{reportData, reportDataSet, reportCohort} {
		if strings.HasPrefix(r.Path, prefix) {
			return true
		}
	}
	return r.Path == reportFile
}

// spooled is the body of an Answer whose report was put into the spools.
type spooled struct {
	Spool string `json:"spool"`
}

// spoolReport reads an answer into a spool and gives the name of it as the
// answer's body. What is no report is given as it is, for Classify to judge: a
// login page, an error.
func (s *System) spoolReport(r call.Request, resp *http.Response) ([]byte, error) {
	in := bufio.NewReaderSize(resp.Body, 1<<16)
	if first := firstByte(in); resp.StatusCode != http.StatusOK || first != '{' {
		body, err := io.ReadAll(io.LimitReader(in, 1<<20))
		if err == nil && resp.StatusCode == http.StatusOK && first != '<' {
			return nil, cutOff(nil)
		}
		return body, err
	}
	p, err := newSpool()
	if err != nil {
		return nil, err
	}
	if r.Path == reportFile {
		err = p.readFile(in)
	} else {
		err = p.readJSON(in, r.Path)
	}
	if err == nil {
		err = p.out.Flush()
	}
	if err != nil {
		p.close()
		return nil, cutOff(err)
	}
	id := s.reports.number()
	s.reports.put(id, p, s.now())
	return encode(spooled{id}), nil
}

// firstByte looks at the first byte that is no blank, 0 where there is none.
func firstByte(in *bufio.Reader) byte {
	for {
		b, err := in.Peek(1)
		if err != nil {
			return 0
		}
		if !strings.ContainsRune(" \t\r\n", rune(b[0])) {
			return b[0]
		}
		_, _ = in.Discard(1)
	}
}

// meter lets a decoder read only so far: one row must not fill the memory.
type meter struct {
	in         io.Reader
	read, most int64
}

func (m *meter) Read(b []byte) (int, error) {
	if m.read >= m.most {
		return 0, tooLarge("a row of the report is larger than %d MB", maxRow>>20)
	}
	n, err := m.in.Read(b)
	m.read += int64(n)
	return n, err
}

// reportReader decodes the JSON of a report as a stream of rows.
type reportReader struct {
	*json.Decoder
	m *meter
	p *spool
}

// decode reads one value of bounded size.
func (d *reportReader) decode(into any) error {
	d.m.most = d.InputOffset() + 2*maxRow // the decoder reads ahead as much again
	return d.Decode(into)
}

// object walks the properties of an object; each reads its value.
func (d *reportReader) object(each func(name string) error) error {
	if err := d.open('{'); err != nil {
		return err
	}
	for d.More() {
		t, err := d.token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if err := each(name); err != nil {
			return err
		}
	}
	_, err := d.token()
	return err
}

// list walks a list; null is an empty one.
func (d *reportReader) list(each func() error) error {
	t, err := d.token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return fmt.Errorf("not a list")
	}
	for d.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = d.token()
	return err
}

func (d *reportReader) token() (json.Token, error) {
	d.m.most = d.InputOffset() + 2*maxRow
	return d.Token()
}

func (d *reportReader) open(delim json.Delim) error {
	t, err := d.token()
	if err == nil && t != delim {
		err = fmt.Errorf("not a %v", delim)
	}
	return err
}

// definition is what names a report or data set.
type definition struct {
	UUID    string `json:"uuid"`
	Name    string `json:"name"`
	Display string `json:"display"`
}

// readJSON reads the answer of reportdata, dataSet or cohort to its very end: an
// answer that stops before is not complete, whatever rows it had.
func (p *spool) readJSON(in io.Reader, path string) error {
	m := &meter{in: in}
	d := &reportReader{Decoder: json.NewDecoder(m), m: m, p: p}
	m.most = 2 * maxRow
	var err error
	switch {
	case strings.HasPrefix(path, reportDataSet):
		err = d.dataSet()
	case strings.HasPrefix(path, reportCohort):
		err = d.cohort()
	default:
		err = d.reportData()
	}
	if err != nil {
		return err
	}
	if _, err := d.token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows the report")
	}
	if len(p.sections) == 0 {
		return &reportError{text: "the answer holds no data set", final: true}
	}
	return nil
}

func (d *reportReader) skip() error {
	var ignored json.RawMessage
	return d.decode(&ignored)
}

func (d *reportReader) reportData() error {
	return d.object(func(name string) error {
		switch name {
		case "dataSets":
			return d.list(d.dataSet)
		case "definition":
			var def definition
			err := d.decode(&def)
			d.p.name = cmp.Or(def.Name, def.Display)
			return err
		}
		return d.skip()
	})
}

func (d *reportReader) dataSet() error {
	x := d.p.begin()
	return d.object(func(name string) error {
		switch name {
		case "uuid":
			return d.decode(&x.uuid)
		case "metadata":
			var meta struct {
				Columns []column `json:"columns"`
			}
			err := d.decode(&meta)
			x.columns = meta.Columns
			return err
		case "definition":
			var def definition
			err := d.decode(&def)
			x.name = cmp.Or(def.Name, def.Display)
			return err
		case "rows":
			return d.list(func() error { return d.row(x) })
		}
		return d.skip()
	})
}

// cohort reads the members of a cohort, which are references to patients with an
// empty display (EvaluatedCohortResource.getMembers).
func (d *reportReader) cohort() error {
	x := d.p.begin()
	x.columns = []column{{Name: "uuid"}}
	return d.object(func(name string) error {
		switch name {
		case "definition":
			var def definition
			err := d.decode(&def)
			d.p.name = cmp.Or(def.Name, def.Display)
			return err
		case "members":
			return d.list(func() error {
				var member struct {
					UUID string `json:"uuid"`
				}
				if err := d.decode(&member); err != nil {
					return err
				}
				return d.p.add(x, encode(map[string]any{"uuid": member.UUID}))
			})
		}
		return d.skip()
	})
}

// row keeps one row, its columns in the order of their names: the server keeps
// them in a hash map, in any order.
func (d *reportReader) row(x *section) error {
	var raw json.RawMessage
	if err := d.decode(&raw); err != nil {
		return err
	}
	if len(raw) > maxRow {
		return tooLarge("a row of the report is larger than %d MB", maxRow>>20)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return err
	}
	return d.p.add(x, encode(v))
}

// readFile reads the answer of downloadReport, {filename, contentType,
// fileContent} with the content in base64, without holding the content.
func (p *spool) readFile(in *bufio.Reader) error {
	file := ""
	read := false
	err := flatObject(in, func(name string, value io.Reader) error {
		if name != "fileContent" {
			b, err := io.ReadAll(io.LimitReader(value, 1<<10))
			if name == "filename" {
				file = string(b)
			}
			return err
		}
		read = true
		return p.readTable(base64.NewDecoder(base64.StdEncoding, value))
	})
	if err != nil {
		return err
	}
	if !read {
		return &reportError{text: "the answer holds no file", final: true}
	}
	p.name = strings.TrimSuffix(strings.TrimSuffix(file, ".csv"), ".tsv")
	return nil
}

// readTable reads a table with a header line, as DelimitedTextReportRenderer of
// the reporting module writes it: UTF-8, commas or tabs, each value between
// quotes, a quote doubled. The header holds the labels of the columns. An empty
// value is null.
func (p *spool) readTable(in io.Reader) error {
	m := &meter{in: in, most: 2 * maxRow}
	buffered := bufio.NewReaderSize(m, 1<<12)
	start, _ := buffered.Peek(1 << 10)
	if bytes.HasPrefix(start, []byte("PK\x03\x04")) {
		return &reportError{text: "the report has several data sets, and its design packs them into a ZIP file: fetch it via data, or make a report of one data set", final: true}
	}
	if bytes.HasPrefix(start, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3)
	}
	r := csv.NewReader(buffered)
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	if head, _, _ := bytes.Cut(start, []byte("\n")); bytes.Count(head, []byte("\t")) > bytes.Count(head, []byte(",")) {
		r.Comma = '\t'
	}
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return &reportError{text: "the design of the report writes no table with a header line: choose one that writes CSV", final: true}
	}
	if err != nil {
		return err
	}
	x := p.begin()
	for _, label := range head {
		x.columns = append(x.columns, column{Name: label, Label: label})
	}
	for {
		m.most = r.InputOffset() + 2*maxRow
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.add(x, tableRow(head, cells)); err != nil {
			return err
		}
	}
}

// tableRow is a line of a table as a row; one with too few or too many cells is
// no row, and kept as the list it is.
func tableRow(head, cells []string) []byte {
	if len(head) != len(cells) {
		return encode(cells)
	}
	row := make(map[string]any, len(head))
	for i, label := range head {
		row[label] = nil
		if cells[i] != "" {
			row[label] = cells[i]
		}
	}
	return encode(row)
}

// flatObject reads an object of strings as a stream: each value is given as a
// reader, to be read to its end. Escapes other than those of quotes, slashes and
// backslashes do not occur in base64 and are left as they are.
func flatObject(in *bufio.Reader, each func(name string, value io.Reader) error) error {
	next := func() (byte, error) {
		firstByte(in)
		return in.ReadByte()
	}
	if b, err := next(); err != nil || b != '{' {
		return fmt.Errorf("not an object")
	}
	for {
		b, err := next()
		if err != nil || b != '"' {
			return fmt.Errorf("not a name")
		}
		name, err := io.ReadAll(io.LimitReader(&quoted{in: in}, 1<<10))
		if err != nil {
			return err
		}
		if b, err := next(); err != nil || b != ':' {
			return fmt.Errorf("no value")
		}
		switch firstByte(in) {
		case '"':
			_, _ = in.ReadByte()
			q := &quoted{in: in}
			if err := each(string(name), q); err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, q); err != nil {
				return err
			}
		default: // null, a number: up to the next comma or brace
			for b := firstByte(in); b != ',' && b != '}'; b = firstByte(in) {
				if _, err := in.ReadByte(); err != nil {
					return err
				}
			}
		}
		switch b, err := next(); {
		case err != nil:
			return io.ErrUnexpectedEOF
		case b == '}':
			if firstByte(in) != 0 {
				return fmt.Errorf("something follows")
			}
			return nil
		case b != ',':
			return fmt.Errorf("no comma")
		}
	}
}

// quoted reads a JSON string up to its closing quote. A string that is not
// closed is an error, never an end.
type quoted struct {
	in   *bufio.Reader
	done bool
}

func (q *quoted) Read(out []byte) (int, error) {
	if q.done {
		return 0, io.EOF
	}
	for n := range out {
		b, err := q.in.ReadByte()
		if err == nil && b == '\\' {
			b, err = q.in.ReadByte()
		} else if err == nil && b == '"' {
			q.done = true
			return n, io.EOF
		}
		if err != nil {
			return n, io.ErrUnexpectedEOF
		}
		out[n] = b
	}
	return len(out), nil
}
