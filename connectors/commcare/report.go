package commcare

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// Limits of one chunk of a report, and of patience with one that changes while
// it is read.
const (
	reportPage  = 50  // rows; CommCare refuses more (docs/api/download-report-data, 2025)
	reportChunk = 500 // rows
	// maxRestarts is how often a run begins again by itself. Rows that still
	// share a key after sureTwice of them do so for good.
	maxRestarts = 4
	sureTwice   = 2
	restartWait = 30 * time.Second
)

// List reads the rows of a configurable report (UCR), GET
// api/v0.5/configurablereportdata/ID/.
//
// Pages are cut by row number, so a form that arrives between two of them can
// shift rows: one is then missed, another comes twice. What the pages say is
// therefore compared (total, columns, full pages, keys), and on any difference
// the run begins again after a wait. Rows given before are the same messages.
//
// Errors: call.Error of the Doer, tried again where its class says so; anything
// else is a report or filter that is not there, which a person must mend, or an
// answer that cannot be read.
func (s *System) List(ctx context.Context, do call.Doer, run connector.Run, from []byte) (connector.Page, error) {
	if run.Kind != kindReport {
		return connector.Page{}, fmt.Errorf("%s has no list of kind %q", s.name, run.Kind)
	}
	c := &reportCursor{}
	if err := c.read(from); err != nil {
		return connector.Page{}, fmt.Errorf("%s: go on with report %s: %w", s.name, run.Keys["report"], err)
	}
	r := &reportRun{s: s, do: do, run: run, id: run.Keys["report"], c: c}
	if !c.Begun {
		if err := r.begin(ctx); err != nil {
			return connector.Page{}, fmt.Errorf("%s: report %s: %w", s.name, r.id, err)
		}
	}
	return r.chunk(ctx, c.Offset == 0)
}

// reportRun is one chunk of one run.
type reportRun struct {
	s    *System
	do   call.Doer
	run  connector.Run
	id   string
	c    *reportCursor
	out  []connector.Incoming
	size int
}

// chunk reads pages until the report ends or the chunk is full. first: it
// begins at row 0.
func (r *reportRun) chunk(ctx context.Context, first bool) (connector.Page, error) {
	for {
		p, err := r.page(ctx)
		if err != nil {
			if len(r.out) > 0 { // what was read is kept; the error comes again by itself
				return r.give(false)
			}
			return connector.Page{}, err
		}
		why := r.c.differs(p)
		full := false
		if why == "" {
			full, why, err = r.take(p)
		}
		switch {
		case err != nil:
			return connector.Page{}, err
		case why != "":
			return r.again(first, why)
		case r.c.Offset >= r.c.Total:
			return r.give(true)
		case full || len(r.out)+reportPage > reportChunk:
			return r.give(false)
		}
	}
}

func (r *reportRun) give(done bool) (connector.Page, error) {
	cursor, err := r.c.write()
	return connector.Page{Messages: r.out, Cursor: cursor, Done: done}, err
}

// again begins the run anew after a wait that doubles each time. When that was
// in vain too often, a person is told; the run still begins anew with each try.
func (r *reportRun) again(first bool, why string) (connector.Page, error) {
	if first && r.c.Restarts >= maxRestarts {
		return connector.Page{}, fmt.Errorf("%s: report %s changes each time it is read (%s), also after %d tries; read it when nobody syncs, or give it a sort order in CommCare",
			r.s.name, r.id, why, r.c.Restarts)
	}
	wait := restartWait << min(r.c.Restarts, maxRestarts)
	r.c.restart()
	cursor, err := r.c.write()
	return connector.Page{Cursor: cursor, Wait: wait}, err
}

// page asks for the rows from the cursor on.
func (r *reportRun) page(ctx context.Context) (*reportPageDoc, error) {
	q := url.Values{"offset": {strconv.Itoa(r.c.Offset)}, "limit": {strconv.Itoa(reportPage)}, "format": {"json"}}
	for name, v := range r.c.Query {
		q.Set(name, v)
	}
	about := "read report " + r.id
	a, err := r.do.Do(ctx, about, call.Request{Method: http.MethodGet,
		Path: r.s.path("api/v0.5/configurablereportdata/" + url.PathEscape(r.id) + "/"), Query: q})
	if err != nil {
		return nil, err
	}
	if a.Status == http.StatusNotFound {
		return nil, fmt.Errorf("%s: there is no report %s any more; see Reports in CommCare", r.s.name, r.id)
	}
	p, err := readReportPage(a.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", r.s.name, about, err)
	}
	return p, nil
}

// take makes messages of a page's rows, as far as the chunk holds them. why is
// set where a row shows that the report changed meanwhile.
func (r *reportRun) take(p *reportPageDoc) (full bool, why string, err error) {
	b, err := newRowReader(p.columns, r.run.Keys["key"])
	if err != nil {
		return false, "", fmt.Errorf("%s: report %s: %w", r.s.name, r.id, err)
	}
	rows := make([]*reportRow, len(p.rows))
	count := map[string]int{}
	for i, raw := range p.rows {
		if rows[i], err = b.row(raw); err != nil {
			return false, "", err
		}
		count[rows[i].key]++
	}
	for _, row := range rows {
		twice := row.key != "" && count[row.key] > 1
		if row.key != "" && !twice && r.c.saw(row.key) {
			if r.c.Restarts < sureTwice {
				return false, "a row came twice", nil
			}
			twice = true
		}
		m, err := r.message(row, twice)
		if err != nil {
			return false, "", err
		}
		if len(r.out) > 0 && r.size+len(m.Content) > r.s.batchBytes {
			return true, "", nil
		}
		r.out, r.size = append(r.out, *m), r.size+len(m.Content)
		r.c.taken(row.key)
	}
	return false, "", nil
}

// begin reads what the report is, and decides what is asked of it.
func (r *reportRun) begin(ctx context.Context) error {
	if r.id == "" {
		return fmt.Errorf("the flow's from names no report; add report: with the id from the report's address in CommCare")
	}
	doc, err := r.configuration(ctx)
	if err != nil {
		return err
	}
	query, err := reportQuery(readFilters(doc), r.run)
	if err != nil {
		return err
	}
	r.c.Begun, r.c.Title, r.c.Query = true, xform.Text(doc["title"]), query
	return nil
}

// configuration finds the report's title and filters. Static reports, which
// come with CommCare or a custom module, stand only in the list.
func (r *reportRun) configuration(ctx context.Context) (map[string]any, error) {
	ask := func(path string) (call.Answer, error) {
		return r.do.Do(ctx, "look up report "+r.id, call.Request{Method: http.MethodGet,
			Path: r.s.path("api/v0.5/simplereportconfiguration/" + path), Query: map[string][]string{"format": {"json"}}})
	}
	a, err := ask(url.PathEscape(r.id) + "/")
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusNotFound {
		return object(a.Body)
	}
	if a, err = ask(""); err != nil {
		return nil, err
	}
	var all []any
	if a.Status != http.StatusNotFound {
		doc, err := xform.DecodePage(a.Body)
		if err != nil {
			return nil, err
		}
		if all, _ = doc.([]any); all == nil {
			all, _ = asMap(doc)["objects"].([]any)
		}
	}
	i := slices.IndexFunc(all, func(v any) bool { return xform.Text(asMap(v)["id"]) == r.id })
	if i < 0 {
		return nil, fmt.Errorf("there is no such report in project space %s; take the id from the report's address in CommCare, and check that the user may view reports", r.s.domain)
	}
	return asMap(all[i]), nil
}
