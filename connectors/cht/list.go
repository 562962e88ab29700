package cht

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// Names of message kinds.
const (
	kindExport  = "dhis_export"
	kindTargets = "targets"
)

// List gives the rows of one month: one message per org unit, or per place.
//
// The month is read as a whole at the first chunk and kept in memory for the
// next ones; after a restart it is read anew, and the run goes on behind the
// last row that was given.
func (s *System) List(ctx context.Context, do call.Doer, run connector.Run, cursor []byte) (connector.Page, error) {
	var after struct {
		After string `json:"after"`
	}
	if len(cursor) > 0 {
		if err := json.Unmarshal(cursor, &after); err != nil {
			return connector.Page{}, fmt.Errorf("%s: the cursor of the list is not ours: %w", s.name, err)
		}
	}
	name, err := json.Marshal([]any{run.Kind, run.Keys, run.With, run.Period, run.At.UnixMilli()})
	if err != nil {
		return connector.Page{}, fmt.Errorf("%s: name the run: %w", s.name, err)
	}
	rows, ok := s.runs.get(string(name))
	if !ok || len(cursor) == 0 {
		if rows, err = s.rows(ctx, do, run); err != nil {
			return connector.Page{}, err
		}
	}
	page, last := s.cut(rows, after.After)
	if page.Done {
		s.runs.drop(string(name))
		return page, nil
	}
	s.runs.put(string(name), rows)
	after.After = last
	if page.Cursor, err = json.Marshal(after); err != nil {
		return connector.Page{}, fmt.Errorf("%s: write the cursor: %w", s.name, err)
	}
	return page, nil
}

// rows makes all messages of a run, in the order of their documents' ids.
func (s *System) rows(ctx context.Context, do call.Doer, run connector.Run) ([]connector.Incoming, error) {
	period := run.Period
	if period == "" {
		at := run.At
		if at.IsZero() {
			at = s.now()
		}
		at = at.In(s.zone)
		period = month{at.Year(), at.Month()}.before().period()
	}
	m, err := parseMonth(period)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	switch run.With["ask"] {
	case "", "yes":
	case "no":
		return nil, nil
	default:
		return nil, fmt.Errorf("%s: with: ask is yes or no", s.name)
	}
	var rows []connector.Incoming
	switch run.Kind {
	case kindExport:
		rows, err = s.exportRows(ctx, do, m, run.Keys, run.With)
	case kindTargets:
		rows, err = s.targetRows(ctx, do, m, run.Keys, run.With)
	default:
		return nil, fmt.Errorf("%s has no list %q; it has %s and %s", s.name, run.Kind, kindExport, kindTargets)
	}
	slices.SortFunc(rows, func(a, b connector.Incoming) int { return strings.Compare(a.Doc, b.Doc) })
	return rows, err
}

// cut takes the next chunk: at most pageRows rows, or pageBytes if more than one.
func (s *System) cut(rows []connector.Incoming, after string) (page connector.Page, last string) {
	size := 0
	for _, m := range rows {
		if after != "" && m.Doc <= after {
			continue
		}
		size += len(m.Content)
		if len(page.Messages) == s.pageRows || len(page.Messages) > 0 && size > s.pageBytes {
			return page, last
		}
		page.Messages, last = append(page.Messages, m), m.Doc
	}
	page.Done = true
	return page, last
}

// without reports whether the flow wants silence about workers below no org unit.
func unplacedIgnored(with map[string]string) (bool, error) {
	switch with["unplaced"] {
	case "", "hold":
		return false, nil
	case "ignore":
		return true, nil
	}
	return false, errors.New("unplaced is hold or ignore")
}

// runCache remembers the rows of the run that is being read page by page. More
// than one is seldom under way; what was forgotten is read again.
type runCache struct {
	mu   sync.Mutex
	runs map[string]heldRun
}

type heldRun struct {
	rows []connector.Incoming
	at   time.Time
}

const heldRuns = 4

func (c *runCache) get(name string) ([]connector.Incoming, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.runs[name]
	return r.rows, ok
}

func (c *runCache) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runs, name)
}

func (c *runCache) put(name string, rows []connector.Incoming) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs = map[string]heldRun{}
	}
	if _, ok := c.runs[name]; !ok && len(c.runs) >= heldRuns {
		oldest := ""
		for n, r := range c.runs {
			if oldest == "" || r.at.Before(c.runs[oldest].at) {
				oldest = n
			}
		}
		delete(c.runs, oldest)
	}
	c.runs[name] = heldRun{rows, time.Now()}
}
