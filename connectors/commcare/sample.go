package commcare

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

// sample decodes a form or a case, as CommCare forwards it, or a page of a
// report, for check: a flow's sample files are real payloads.
func sample(kind string, raw []byte) ([][]byte, error) {
	if kind == kindReport {
		return sampleReport(raw)
	}
	s := &System{users: newCache(0, time.Now), places: newCache(0, time.Now)}
	messages, err := s.Receive(&http.Request{Method: http.MethodPost, URL: &url.URL{}, Header: http.Header{}}, raw)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, m := range messages {
		if m.Kind != kind {
			return nil, fmt.Errorf("it is a %s, not a %s", m.Kind, kind)
		}
		out = append(out, m.Content)
	}
	return out, nil
}

// sampleReport decodes an answer of the report API. Beside it the file may have
// what a message has besides the row: report (id, title, key) and period (name,
// start, end). Without report the id is taken from the address of the next page.
func sampleReport(raw []byte) ([][]byte, error) {
	p, err := readReportPage(raw)
	if err != nil {
		return nil, err
	}
	doc, err := object(raw)
	if err != nil {
		return nil, err
	}
	about := asMap(doc["report"])
	if about == nil {
		about = map[string]any{"id": reportInPath(xform.Text(doc["next_page"])), "title": ""}
	}
	b, err := newRowReader(p.columns, xform.Text(about["key"]))
	if err != nil {
		return nil, err
	}
	about["columns"] = b.columns
	var out [][]byte
	for _, item := range p.rows {
		row, err := b.row(item)
		if err != nil {
			return nil, err
		}
		content := map[string]any{"row": row.doc, "report": about}
		if period := asMap(doc["period"]); period != nil {
			content["period"] = period
		}
		one, err := encode(content)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// reportInPath finds the id in /a/DOMAIN/api/v0.5/configurablereportdata/ID/?….
func reportInPath(path string) string {
	_, rest, _ := strings.Cut(path, "/configurablereportdata/")
	id, _, _ := strings.Cut(rest, "/")
	return id
}
