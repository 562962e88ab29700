package cht

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// count is what one worker, or many, reached of one target: how many were
// counted (total) and how many of these were as they should be (pass).
type count struct {
	Total float64 `json:"total"`
	Pass  float64 `json:"pass"`
}

// worker is somebody who should have targets, or has.
type worker struct {
	id, name, user string
	line           []string // ids: the worker, then what is above, nearest first
	gone           bool     // the contact is no longer in the CHT
	expected       bool
	documents      int
	updated        time.Time // of the oldest of the documents
	unreadable     bool
	counts         map[string]count // by target
}

// targetDoc is target~YYYY-MM~CONTACT~org.couchdb.user:NAME, which a device
// writes at most once a day, and once more in the next month.
type targetDoc struct {
	ID      string   `json:"_id"`
	User    string   `json:"user"`
	Owner   string   `json:"owner"`
	Updated *float64 `json:"updated_date"` // Unix milliseconds
	Targets []struct {
		ID    string `json:"id"`
		Value struct {
			Pass  *float64 `json:"pass"`
			Total *float64 `json:"total"`
		} `json:"value"`
	} `json:"targets"`
}

const userPrefix = "org.couchdb.user:"

// add counts one document to its worker. A worker with two accounts has two
// documents, and the CHT adds both.
func (w *worker) add(doc *targetDoc) {
	w.documents++
	if w.user == "" {
		w.user = strings.TrimPrefix(doc.User, userPrefix)
	}
	at := time.Time{}
	if doc.Updated != nil {
		at = time.UnixMilli(int64(*doc.Updated)).UTC()
	}
	if w.documents == 1 || at.Before(w.updated) {
		w.updated = at
	}
	for _, t := range doc.Targets {
		if t.Value.Total == nil {
			w.unreadable = true
			continue
		}
		c := w.counts[t.ID]
		c.Total += *t.Value.Total
		if t.Value.Pass != nil {
			c.Pass += *t.Value.Pass
		}
		w.counts[t.ID] = c
	}
}

// figures is all that is known of one month.
type figures struct {
	month    month
	settings *settings
	end      time.Time // first moment after the month
	workers  []*worker // by id
	contacts map[string]*contact
	// byUsers tells that who should report is known from the list of users; else
	// it is who reported in this month or the one before.
	byUsers bool
}

// figures reads the month. With 100,000 workers that is some 400 requests, once
// a month; only sums stay in memory.
func (s *System) figures(ctx context.Context, do call.Doer, m month) (*figures, error) {
	config, err := s.settings(ctx, do)
	if err != nil {
		return nil, err
	}
	f := &figures{month: m, settings: config, end: config.end(m, s.zone), contacts: map[string]*contact{}}
	workers, err := s.workers(ctx, do, f)
	if err != nil {
		return nil, err
	}
	if err := s.contacts(ctx, do, slices.Collect(maps.Keys(workers)), f.contacts); err != nil {
		return nil, err
	}
	if err := s.withOrgUnit(ctx, do, f.contacts); err != nil {
		return nil, err
	}
	var above []string
	for _, id := range slices.Sorted(maps.Keys(workers)) {
		w := workers[id]
		if c := f.contacts[id]; c != nil {
			w.name, w.line = c.Name, c.line()
			above = append(above, w.line[1:]...)
		} else {
			w.gone, w.line = true, []string{id}
		}
		f.workers = append(f.workers, w)
	}
	return f, s.contacts(ctx, do, above, f.contacts)
}

func (s *System) workers(ctx context.Context, do call.Doer, f *figures) (map[string]*worker, error) {
	workers := map[string]*worker{}
	of := func(id string) *worker {
		w := workers[id]
		if w == nil {
			w = &worker{id: id, counts: map[string]count{}}
			workers[id] = w
		}
		return w
	}
	expected, byUsers, err := s.expected(ctx, do)
	if err != nil {
		return nil, err
	}
	f.byUsers = byUsers
	for id, name := range expected {
		w := of(id)
		w.user, w.expected = name, true
	}
	err = s.prefixed(ctx, do, "read the targets of the month", "target~"+f.month.tag()+"~", true, func(row docRow) error {
		if row.absent() {
			return nil
		}
		var doc targetDoc
		bad := json.Unmarshal(row.Doc, &doc) != nil
		if bad || doc.Owner == "" {
			doc.Owner = ownerOf(row.ID)
		}
		if doc.Owner == "" {
			return nil
		}
		w := of(doc.Owner)
		w.add(&doc)
		w.unreadable = w.unreadable || bad
		w.expected = w.expected || !byUsers
		return nil
	})
	if err != nil || byUsers {
		return workers, err
	}
	err = s.prefixed(ctx, do, "read who had targets the month before", "target~"+f.month.before().tag()+"~", false, func(row docRow) error {
		if owner := ownerOf(row.ID); owner != "" {
			of(owner).expected = true
		}
		return nil
	})
	return workers, err
}

// ownerOf reads whose targets a document holds from its id, as the phone made it
// up (shared-libs/rules-engine, 5.2.0).
func ownerOf(id string) string {
	parts := strings.SplitN(id, "~", 4)
	if len(parts) != 4 {
		return ""
	}
	return parts[2]
}

// State of a worker's report for a month.
const (
	stateFinal   = "final"   // written after the month's end: nothing is missing
	stateEarly   = "early"   // not written since the month ended: the last days may be missing
	stateMissing = "missing" // nothing came
)

func (w *worker) state(end time.Time) string {
	switch {
	case w.documents == 0:
		return stateMissing
	case w.updated.Before(end):
		return stateEarly
	}
	return stateFinal
}

// called names a worker for a person: by name, or by what else is known.
func (w *worker) called() string {
	switch {
	case w.name != "":
		return w.name
	case w.user != "":
		return w.user
	}
	return fmt.Sprintf("contact %s", w.id)
}
