package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Row is what became of one integration's messages. Every accepted message is
// in one of done, left, undone and held: left alone is what is not for the
// integration; held is also what waits behind a held one.
type Row struct {
	ID       string      `json:"id"`
	Messages int         `json:"messages"`
	Done     int         `json:"done"`
	Left     int         `json:"left"`
	Undone   int         `json:"undone"`
	Held     int         `json:"held"`
	Calls    int         `json:"calls"` // requests sent that change something
	Seconds  float64     `json:"seconds"`
	Data     string      `json:"data"` // the ledger's folder, as --data takes it
	Sources  []Source    `json:"sources"`
	Ways     []Way       `json:"ways"`
	Waiting  []desk.Held `json:"waiting"`
	Asked    []Asked     `json:"asked"`
	People   *People     `json:"people,omitempty"`
}

// Way is what went one way: the deliveries of messages of one connector.
type Way struct {
	From       string `json:"from"`
	Deliveries int    `json:"deliveries"`
	Done       int    `json:"done"`
	Remarked   int    `json:"remarked"` // done, with something said about it
}

// Asked are the open questions of a kind.
type Asked struct {
	Kind    string   `json:"kind"`
	Job     string   `json:"job"`
	N       int      `json:"n"`
	Example int64    `json:"example"`
	Text    string   `json:"text"`
	Answers []string `json:"answers"`
	// Right is what somebody who knows would answer to the example, "" if nobody
	// here does.
	Right string `json:"right"`
}

// fate is what became of a message.
type fate struct{ done, undone, held bool }

// Report counts what became of every message, by integration.
func (d *Demo) Report(ctx context.Context) ([]Row, error) {
	var rows []Row
	for _, w := range d.Worlds {
		r, err := w.report(ctx, d.began)
		if err != nil {
			return nil, err
		}
		rows = append(rows, *r)
	}
	return rows, nil
}

func (w *World) report(ctx context.Context, began time.Time) (*Row, error) {
	r := &Row{ID: w.ID, Data: w.Data()}
	fates := map[int64]*fate{}
	err := w.eachMessage(ctx, func(m *connector.Message) { fates[m.ID] = &fate{} })
	if err != nil {
		return nil, err
	}
	if err := w.fates(ctx, r, fates, began); err != nil {
		return nil, err
	}
	r.Messages = len(fates)
	for _, m := range fates {
		switch {
		case m.held:
			r.Held++
		case m.undone:
			r.Undone++
		case m.done:
			r.Done++
		default:
			r.Left++
		}
	}
	if r.Sources, err = w.sources(ctx); err != nil {
		return nil, err
	}
	s := w.Service()
	if r.Waiting, err = s.Held(ctx); err != nil {
		return nil, err
	}
	if r.Asked, err = w.asked(ctx, s); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(w.systems, func(s *system) bool { return s.connector == "openmrs" }) {
		var asked map[string]bool
		if asked, err = w.whoIsWho(ctx); err == nil {
			r.People, err = w.truth.check(w, asked)
		}
	}
	return r, err
}

// whoIsWho are the people about whom it was asked who is who, or whose records
// cannot be linked before a question is answered.
func (w *World) whoIsWho(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	for _, state := range []string{"open", "answered"} {
		after := int64(0)
		for {
			list, err := w.Ledger.Questions(ctx, state, after, 1000)
			if err != nil {
				return nil, err
			}
			for _, q := range list {
				after = q.ID
				if !slices.Contains([]string{"match", "several", "linked-elsewhere", "conflict"}, q.Kind) {
					continue
				}
				work, err := w.Ledger.Delivery(ctx, q.Delivery)
				if err != nil {
					return nil, err
				}
				out[w.truth.about(&work.Delivery)] = true
			}
			if len(list) < 1000 {
				break
			}
		}
	}
	return out, nil
}

func (w *World) fates(ctx context.Context, r *Row, fates map[int64]*fate, began time.Time) error {
	ways := map[string]*Way{}
	f := ledger.Filter{Limit: 1000}
	for {
		list, err := w.Ledger.Deliveries(ctx, f)
		if err != nil {
			return err
		}
		for _, x := range list {
			m := fates[x.Message]
			if m == nil {
				m = &fate{} // arrived since the messages were listed
				fates[x.Message] = m
			}
			way := w.way(ways, x.System)
			way.Deliveries++
			switch {
			case x.State == ledger.Undone, x.State == ledger.Refused:
				m.undone = true
			case !x.State.Ended():
				m.held = true
			case x.State != ledger.Skipped:
				m.done = true
				way.Done++
				if len(x.Remarks) > 0 {
					way.Remarked++
				}
			}
			r.Calls += x.Calls
			if s := float64(x.Ended.Sub(began).Milliseconds()) / 1000; s > r.Seconds {
				r.Seconds = s
			}
		}
		if len(list) < f.Limit {
			break
		}
		f.After = list[len(list)-1].ID
	}
	for _, name := range []string{"commcare", "openmrs", "cht", "dhis2"} {
		if ways[name] != nil {
			r.Ways = append(r.Ways, *ways[name])
		}
	}
	return nil
}

func (w *World) way(ways map[string]*Way, name string) *Way {
	for _, s := range w.systems {
		if s.name == name {
			name = s.connector
			break
		}
	}
	if ways[name] == nil {
		ways[name] = &Way{From: name}
	}
	return ways[name]
}

// Service is what commands need of the world.
func (w *World) Service() control.Local {
	e := w.Engine
	return control.Local{Ledger: w.Ledger, Ring: e.Ring, Learned: e.Learned, Forgot: e.Forgot, Plan: e.Runner.Plan, Lists: e.Ask}
}

// asked lists the open questions by kind.
func (w *World) asked(ctx context.Context, s control.Service) ([]Asked, error) {
	list, err := openQuestions(ctx, s)
	if err != nil {
		return nil, err
	}
	byKind := map[string]*Asked{}
	for _, q := range list {
		a := byKind[q.Kind]
		if a == nil {
			a = &Asked{Kind: q.Kind, Job: q.Job, Example: q.ID, Text: q.Text}
			for _, c := range q.Offer.Choices {
				a.Answers = append(a.Answers, c.Value)
			}
			if q.Offer.Other != "" {
				a.Answers = append(a.Answers, q.Offer.Other)
			}
			if a.Right, err = w.answerTo(ctx, q); err != nil {
				return nil, err
			}
			byKind[q.Kind] = a
		}
		a.N++
	}
	out := []Asked{}
	for _, a := range byKind {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b Asked) int { return strings.Compare(a.Kind, b.Kind) })
	return out, nil
}

func openQuestions(ctx context.Context, s control.Service) ([]desk.Asked, error) {
	var out []desk.Asked
	for {
		after := int64(0)
		if len(out) > 0 {
			after = out[len(out)-1].ID
		}
		list, err := s.Questions(ctx, after, 500)
		if err != nil {
			return nil, err
		}
		if out = append(out, list...); len(list) < 500 {
			return out, nil
		}
	}
}

// Balanced fails when something that a source told is not in the ledger, when a
// message is not accounted for, or when somebody is there twice.
func Balanced(rows []Row) error {
	var failed []error
	for _, r := range rows {
		if n := r.Done + r.Left + r.Undone + r.Held; n != r.Messages {
			failed = append(failed, fmt.Errorf("%s: %d messages arrived, and %d are accounted for", r.ID, r.Messages, n))
		}
		for _, s := range r.Sources {
			if s.Taken != s.Told {
				failed = append(failed, fmt.Errorf("%s: %s told of %d, and %d arrived", r.ID, s.Name, s.Told, s.Taken))
			}
		}
		if p := r.People; p != nil && len(p.Twice)+len(p.Unknown) > 0 {
			failed = append(failed, fmt.Errorf("%s: records of one person: %v; of nobody: %v", r.ID, p.Twice, p.Unknown))
		}
	}
	return errors.Join(failed...)
}
