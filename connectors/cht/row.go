package cht

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// content is what a message of a monthly list holds.
type content struct {
	Row     row    `json:"row"`
	Period  string `json:"period"` // 202610
	OrgUnit string `json:"orgUnit,omitempty"`
	Place   *named `json:"place,omitempty"`
}

// row is one org unit, or place, of one month.
type row struct {
	DataSet    string           `json:"dataSet,omitempty"`
	Period     string           `json:"period"`
	OrgUnit    string           `json:"orgUnit,omitempty"`
	PlaceID    string           `json:"place_id,omitempty"`
	Name       string           `json:"place_name,omitempty"`
	Supervisor *named           `json:"supervisor,omitempty"`
	Values     []cell           `json:"values,omitempty"`
	Targets    map[string]count `json:"targets,omitempty"`
	Workers    []workerRow      `json:"workers"`
	Expected   int              `json:"workers_expected"`
	Reported   int              `json:"workers_reported"`
	Final      int              `json:"workers_final"`
	Complete   bool             `json:"complete"`
	Late       []string         `json:"late"`
	Missing    []string         `json:"missing"`
	ByUsers    bool             `json:"expected_by_users"`
	Agrees     *bool            `json:"agrees,omitempty"`
	Differs    []string         `json:"differs,omitempty"`
	Below      []string         `json:"below,omitempty"`
}

type named struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
}

// cell is one value for DHIS2.
type cell struct {
	DataElement          string  `json:"dataElement"`
	CategoryOptionCombo  string  `json:"categoryOptionCombo,omitempty"`
	AttributeOptionCombo string  `json:"attributeOptionCombo,omitempty"`
	Value                float64 `json:"value"`
	// Targets are the CHT's targets that add to it, Workers who added what.
	Targets []string    `json:"targets"`
	Workers []shareCell `json:"workers"`
}

type shareCell struct {
	ID    string  `json:"id"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// workerRow is one worker's part in a row.
type workerRow struct {
	ID       string           `json:"id"`
	Name     string           `json:"name"`
	User     string           `json:"user,omitempty"`
	State    string           `json:"state"` // final, early or missing
	Expected bool             `json:"expected"`
	Updated  string           `json:"updated,omitempty"` // moment the device counted
	Targets  map[string]count `json:"targets,omitempty"`
}

func newCell(c combo, t *tally) cell {
	out := cell{DataElement: c.element, CategoryOptionCombo: c.category, AttributeOptionCombo: c.attribute, Targets: []string{}, Workers: []shareCell{}}
	if t == nil {
		return out
	}
	out.Value, out.Targets = t.value, t.targets
	for _, s := range t.shares {
		out.Workers = append(out.Workers, shareCell{s.worker.id, s.worker.called(), s.value})
	}
	return out
}

// report fills in who reported, and who did not.
func (r *row) report(f *figures, workers []*worker) {
	r.Workers, r.Late, r.Missing, r.ByUsers = []workerRow{}, []string{}, []string{}, f.byUsers
	for _, w := range workers {
		state := w.state(f.end)
		out := workerRow{ID: w.id, Name: w.called(), User: w.user, State: state, Expected: w.expected, Targets: w.counts}
		if w.documents > 0 && !w.updated.IsZero() {
			out.Updated = w.updated.Format(time.RFC3339)
		}
		r.Workers = append(r.Workers, out)
		if !w.expected {
			continue
		}
		r.Expected++
		switch state {
		case stateFinal:
			r.Reported++
			r.Final++
		case stateEarly:
			r.Reported++
			r.Late = append(r.Late, w.called())
		case stateMissing:
			r.Missing = append(r.Missing, w.called())
		}
	}
	r.Complete = r.Final == r.Expected
	slices.SortStableFunc(r.Workers, func(a, b workerRow) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	slices.Sort(r.Late)
	slices.Sort(r.Missing)
}

// unreadable is the problem of a row with documents that could not be counted.
func unreadable(workers []*worker) string {
	n := 0
	for _, w := range workers {
		if w.unreadable {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("the targets of %d of the workers are not numbers, so that the totals cannot be right: look at their target documents in the CHT", n)
}

// describe names the place of a row and who supervises it: its primary contact.
func (r *row) describe(f *figures, place *contact) *named {
	if place == nil {
		return nil
	}
	r.PlaceID, r.Name = place.ID, place.Name
	if id := string(place.Contact); id != "" {
		r.Supervisor = &named{ID: id}
		if c := f.contacts[id]; c != nil {
			r.Supervisor.Name = c.Name
		}
	}
	return &named{ID: place.ID, Name: place.Name, Type: place.kind()}
}

// message makes a message of a row. Its version is the hash of its content, so
// that asking again for a month that did not change gives nothing new.
func message(kind, doc string, at time.Time, c content, problem string) (connector.Incoming, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return connector.Incoming{}, fmt.Errorf("write the row %s: %w", doc, err)
	}
	sum := sha256.Sum256(raw)
	return connector.Incoming{Kind: kind, Doc: doc, Version: hex.EncodeToString(sum[:16]), Event: at, Content: raw, Problem: problem}, nil
}

// docID joins parts to the id of a row; ids of the CHT and of DHIS2 hold no slash.
func docID(parts ...string) string { return strings.Join(parts, "/") }
