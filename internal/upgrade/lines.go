// Package upgrade shows what another version of Kiungo, or of its integrations,
// would do differently: both plan the last messages against the same answers of
// the systems, and what they plan is compared. Nothing is sent but reads.
package upgrade

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
)

// Line is what one version plans for one message, flow and each-key. Values,
// and ids that may tell who it is, are digests: equal ones are equal in both
// versions' lines, and tell nothing more.
type Line struct {
	Message int64  `json:"message"`
	Flow    string `json:"flow"`
	Each    string `json:"each,omitempty"`
	// State is "planned", or in what the delivery would end or pause instead, with
	// Code and Cause; Reason is for people.
	State   string   `json:"state"`
	Code    string   `json:"code,omitempty"`
	Cause   string   `json:"cause,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Records []Record `json:"records,omitempty"`
	Calls   []Call   `json:"calls,omitempty"`
}

// Record is what is to become of one record of the flow.
type Record struct {
	Name   string            `json:"name"`
	Kind   string            `json:"kind"`
	System string            `json:"system"`
	ID     string            `json:"id,omitempty"`
	What   string            `json:"what"` // made, changed, removed, same
	Write  map[string]string `json:"write,omitempty"`
}

// Call is one request of the plan.
type Call struct {
	Name    string `json:"name"`
	Record  string `json:"record"`
	Kind    string `json:"kind"`
	System  string `json:"system"`
	Method  string `json:"method"`
	Request string `json:"request"` // of all of it
}

// Planned is the State of a line that has a plan.
const Planned = "planned"

// digester makes digests under a salt that both versions are given.
type digester []byte

func (d digester) of(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		b = fmt.Append(nil, v)
	}
	m := hmac.New(sha256.New, d)
	m.Write(b)
	return hex.EncodeToString(m.Sum(nil)[:9])
}

// Print plans the last messages, at most so many, and writes a line for each
// delivery that they would give, newest message first. tell is told how many
// messages are done.
func Print(ctx context.Context, e *engine.Engine, last int, salt []byte, to io.Writer, tell func(done int)) error {
	ids, err := newest(ctx, e.Ledger, last)
	if err != nil {
		return err
	}
	d := digester(salt)
	out := json.NewEncoder(to)
	for n, id := range ids {
		works, err := worksOf(ctx, e, id)
		if err != nil {
			return fmt.Errorf("message %d: %w", id, err)
		}
		for _, w := range works {
			if err := out.Encode(line(ctx, e, w, d)); err != nil {
				return err
			}
		}
		if tell != nil {
			tell(n + 1)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// newest are the messages of the last deliveries, the newest first.
func newest(ctx context.Context, l ledger.Ledger, last int) ([]int64, error) {
	var ids []int64
	seen := map[int64]bool{}
	after := int64(0)
	for len(ids) < last {
		page, err := l.Deliveries(ctx, ledger.Filter{After: after, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, d := range page {
			after = d.ID
			if !seen[d.Message] && len(ids) < last {
				seen[d.Message] = true
				ids = append(ids, d.Message)
			}
		}
		if len(page) < 1000 {
			break
		}
	}
	return ids, nil
}

// worksOf are the deliveries of a message as this version routes it: with what
// they made before, if they ran, and as new ones otherwise.
func worksOf(ctx context.Context, e *engine.Engine, id int64) ([]*ledger.Work, error) {
	m, err := e.Ledger.Message(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(m.Content) == 0 {
		return nil, nil // wiped
	}
	known := map[string]*ledger.Work{}
	list, err := e.Ledger.Deliveries(ctx, ledger.Filter{Message: id, Limit: 1000})
	if err != nil {
		return nil, err
	}
	for _, d := range list { // newest first: the oldest stays, which repeats none
		w, err := e.Ledger.Delivery(ctx, d.ID)
		if err != nil {
			return nil, err
		}
		w.Plan, w.Journal, w.Delivery.Replay = nil, nil, nil
		known[d.Flow+"\x1f"+d.Each] = w
	}
	var content any
	if err := json.Unmarshal(m.Content, &content); err != nil {
		return nil, err
	}
	var out []*ledger.Work
	for _, f := range e.Intake.Flows {
		items, err := f.Route(m, content)
		if err != nil {
			out = append(out, &ledger.Work{Message: *m, Delivery: ledger.Delivery{Flow: f.Name, Message: id, System: m.System, Reason: err.Error()}})
			continue
		}
		for _, item := range items {
			w := known[f.Name+"\x1f"+item.Each]
			if w == nil {
				w = &ledger.Work{Message: *m, Delivery: ledger.Delivery{Message: id, Flow: f.Name, Each: item.Each, System: m.System, State: ledger.Received}}
				if len(item.Lanes) > 0 {
					w.LaneKey = item.Lanes[0]
				}
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// line plans one delivery.
func line(ctx context.Context, e *engine.Engine, w *ledger.Work, d digester) Line {
	l := Line{Message: w.Message.ID, Flow: w.Delivery.Flow, State: Planned}
	if w.Delivery.Each != "" {
		l.Each = d.of(w.Delivery.Each)
	}
	if w.Delivery.ID == 0 && w.Delivery.State == "" {
		l.State, l.Code, l.Reason = string(ledger.Held), "route", w.Delivery.Reason
		return l
	}
	p, err := e.Runner.Plan(ctx, w)
	var s *plan.Stop
	switch {
	case errors.As(err, &s):
		l.State, l.Code, l.Cause, l.Reason = string(s.State), s.Code, s.Cause, s.Reason
		return l
	case err != nil:
		l.State, l.Reason = "not planned", err.Error()
		return l
	}
	for _, r := range p.Records {
		one := Record{Name: r.Name, Kind: r.Kind, System: r.System, What: what(&r)}
		if r.ID != "" {
			one.ID = d.of(r.ID)
		}
		for path, v := range r.Write {
			if one.Write == nil {
				one.Write = map[string]string{}
			}
			one.Write[path] = d.of(v)
		}
		l.Records = append(l.Records, one)
	}
	for _, c := range p.Calls {
		l.Calls = append(l.Calls, Call{Name: c.Name, Record: c.Record, Kind: c.Kind, System: c.System, Method: c.Request.Method, Request: d.of(c.Request)})
	}
	return l
}

func what(r *plan.Record) string {
	switch {
	case r.Removed:
		return "removed"
	case !r.Exists && r.Created:
		return "made"
	case len(r.Write) > 0:
		return "changed"
	}
	return "same"
}
