package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const (
	pageRows  = 500
	pageBytes = 1 << 20
	// maxAgain is how often a run is begun again because the report, fetched once
	// more after a restart, was another.
	maxAgain = 5
)

// reportCursor is where a run stands.
type reportCursor struct {
	// Begun is when an asynchronous run began, by the server's clock; Request the
	// uuid of its report request.
	Begun   time.Time `json:"begun,omitzero"`
	Request string    `json:"request,omitempty"`
	// Ready: the request has been rendered.
	Ready bool `json:"ready,omitempty"`
	// Row and At are how many rows were given, and where the next one is in its
	// section of the spool; Rows and Hash the whole of what they are from.
	Row  int    `json:"row,omitempty"`
	At   int64  `json:"at,omitempty"`
	Rows int    `json:"rows,omitempty"`
	Hash string `json:"hash,omitempty"`
	// Again counts how often the run was begun again.
	Again int `json:"again,omitempty"`
}

// List gives the rows of a report, at most 500 a page. The report is fetched
// once and kept in a spool while it is paged. Where the spool is gone (a
// restart, another node, an hour without a page) it is fetched again; if it then
// differs from what the earlier pages were cut from, the run begins again: rows
// that were given already are known by their Doc and Version.
//
// Errors are *call.Error: a refusal is the flow's fault or the report's (a column
// or parameter that is missing, a request that failed) and comes back with each
// repeat; the others pass. A report that is cut off is an error, never the end of
// the list.
func (s *System) List(ctx context.Context, do call.Doer, run connector.Run, cursor []byte) (connector.Page, error) {
	src, err := s.newSource(run)
	if err != nil {
		return connector.Page{}, err
	}
	var c reportCursor
	if len(cursor) > 0 {
		if err := json.Unmarshal(cursor, &c); err != nil {
			return connector.Page{}, fmt.Errorf("system %s: read where the report run stands: %w", s.name, err)
		}
	}
	if src.Async && !c.Ready {
		return s.await(ctx, do, src, c)
	}
	p, err := s.fetched(ctx, do, src, c)
	if err != nil {
		if src.Async && isGone(err) { // purged since it was rendered
			return again(c, time.Second), nil
		}
		return connector.Page{}, err
	}
	from, err := s.choose(p, src)
	if err != nil {
		return connector.Page{}, err
	}
	if c.Hash != "" && (c.Hash != from.hash() || c.Rows != from.rows) {
		if c.Again >= maxAgain {
			return connector.Page{}, s.refused("fetch report", "the report was another each of %d times that it was fetched: it changes faster than it is read", maxAgain+1)
		}
		c = reportCursor{Request: c.Request, Begun: c.Begun, Ready: c.Ready, Again: c.Again + 1}
	}
	return s.cut(p, src, from, c)
}

// again begins an asynchronous run again, with a request of its own.
func again(c reportCursor, wait time.Duration) connector.Page {
	return connector.Page{Cursor: encode(reportCursor{Again: c.Again + 1}), Wait: wait}
}

// cut gives the page that begins at the cursor.
func (s *System) cut(p *spool, src *source, from *chosen, c reportCursor) (connector.Page, error) {
	m, err := p.mark(from)
	if err != nil {
		return connector.Page{}, err
	}
	c.Rows, c.Hash = from.rows, from.hash()
	var page connector.Page
	in, size := p.at(from.from+c.At), 0
	for c.Row < from.rows && len(page.Messages) < pageRows && size < pageBytes {
		b, err := spoolLine(in)
		if err != nil {
			return connector.Page{}, err
		}
		n := c.Row
		c.Row, c.At = c.Row+1, c.At+int64(len(b))+1
		if m.again[n] {
			continue
		}
		r := from.read(b)
		if m.clash[n] {
			r.problem = "another row of the report has the same key and says something else: name more columns under key, or mend the report"
		}
		in := s.incoming(src, r, n, p.name)
		page.Messages = append(page.Messages, in)
		size += len(in.Content)
	}
	page.Cursor, page.Done = encode(c), c.Row >= from.rows
	if page.Done {
		s.reports.end(src.id())
	}
	return page, nil
}

// fetched gives the report of a run from the spools, or fetches it.
func (s *System) fetched(ctx context.Context, do call.Doer, src *source, c reportCursor) (*spool, error) {
	if p := s.reports.get(src.id(), s.now()); p != nil {
		return p, nil
	}
	r := src.request()
	if src.Async {
		r = read(reportFile, "reportRequestUuid", c.Request)
	}
	a, err := do.Do(ctx, "fetch report", r)
	if err != nil {
		return nil, err
	}
	var got spooled
	if err := json.Unmarshal(a.Body, &got); err != nil {
		return nil, fmt.Errorf("system %s: fetch report: %w", s.name, err)
	}
	p := s.reports.take(got.Spool)
	if p == nil {
		// A read may answer 404 as Done: what is not there is an answer.
		if a.Status == 404 {
			return nil, s.refused("fetch report", "OpenMRS has no report, data set or cohort definition with this uuid, or the user may not see it")
		}
		return nil, &call.Error{System: s.name, About: "fetch report",
			Verdict: call.Verdict{Class: call.RetryLater, Reason: "the report that was fetched is no longer kept: it is fetched again"}}
	}
	s.reports.put(src.id(), p, s.now())
	return p, nil
}
