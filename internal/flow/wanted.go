package flow

import (
	"maps"
	"time"

	"github.com/kiungo-health/kiungo/internal/record"
)

// None says what to do when a record is not found.
type None string

// What None may be.
const (
	Create   None = "create"
	SkipNone None = "skip"
	AskNone  None = "ask"
	Wait     None = "wait"
	Absent   None = "absent" // goes on without it: the record's values are absent
)

// Find is how a record is to be looked for.
type Find struct {
	Given bool // the flow has a find; else the kind's own way
	// By are the criteria in the flow's order. One with an absent value is left
	// out whole: without it a search would match too much.
	By []map[string]any
	// Top are criteria directly under find: each of By is meant with them. nil
	// when there are none, or when one is absent; then Incomplete is set and
	// nothing can be found.
	Top        map[string]any
	Incomplete bool
	None       None
	Wait       time.Duration // for None Wait
	Near       string        // create, ask or skip: from the record or integration.yaml
	Several    string        // ask or skip
}

// Criteria gives what to search by: each of By with Top, or Top alone.
func (f Find) Criteria() []map[string]any {
	if f.Incomplete {
		return nil
	}
	if len(f.By) == 0 {
		if f.Top == nil {
			return nil
		}
		return []map[string]any{f.Top}
	}
	out := make([]map[string]any, len(f.By))
	for i, by := range f.By {
		out[i] = maps.Clone(by)
		maps.Copy(out[i], f.Top)
	}
	return out
}

// Wanted is what a flow wants of one record. Values are as connectors take
// them: text, bool, float64, days YYYY-MM-DD, moments RFC 3339 in UTC,
// record.Ref, record.Clear, record.Later, and lists and objects of these.
type Wanted struct {
	Record *Record
	Skip   bool // when: is false; the record is left alone
	Why    string
	Find   Find
	Set    map[string]any // kept so; nil when nothing is to be set
	New    map[string]any // given once, when it is made
	// NewErr is why New could not be worked out; it counts only where the record
	// is to be made.
	NewErr error
	Key    string // same key, same record; "" without key:
	// Lookup: neither set nor new is written in the flow; looked up only.
	Lookup  bool
	Refused Refused
}

// Win gives who wins for a field: by the record's rules, else the integration's.
func (w *Wanted) Win(path string) Win {
	own := w.Record.Wins.For(path)
	if own.Rule != WinReceived {
		return own
	}
	return w.Record.integWins.For(path)
}

// Eval works out what is wanted of a record. The records that it Needs must
// have been Set before.
func (r *Run) Eval(rec *Record) (*Wanted, error) {
	r.record = rec.Name
	defer func() { r.record = "" }()
	w := &Wanted{Record: rec, Refused: rec.Refused, Lookup: rec.set == nil && rec.new == nil}
	if rec.when != nil {
		ok, err := r.condition(rec.when)
		if err != nil {
			return nil, err
		}
		if !ok {
			w.Skip, w.Why = true, "not wanted: "+rec.when.Text
			return w, nil
		}
	}
	var err error
	if w.Find, err = r.find(rec.find); err != nil {
		return nil, err
	}
	if rec.key != nil {
		v, err := rec.key.eval(r)
		if err != nil {
			return nil, err
		}
		t, ok := asText(v)
		if !ok || absent(v) {
			return nil, r.fail(rec.at, 0, &NoKey{"key: is absent for this message; without it a repeat would make a second record"})
		}
		w.Key = t
	}
	if w.Set, err = rec.set.evalMap(r); err != nil {
		return nil, err
	}
	w.New, w.NewErr = rec.new.evalMap(r)
	return w, nil
}

func (r *Run) find(f *finder) (Find, error) {
	out := Find{Given: f.given, None: f.none, Wait: f.wait, Near: f.near, Several: f.several}
	for _, by := range f.by {
		m, err := by.strict(r)
		if err != nil {
			return out, err
		}
		if m != nil {
			out.By = append(out.By, m)
		}
	}
	if f.top == nil {
		return out, nil
	}
	var err error
	out.Top, err = f.top.strict(r)
	out.Incomplete = out.Top == nil
	return out, err
}

// Result is what became of a record in this plan.
type Result struct {
	Ref record.Ref
	// Fields are its content after the plan, nested as the kind names it, with
	// what the kind gives besides ("uuid"). Values may be record.Later.
	Fields map[string]any
	// Found is its content as it was found, nested; nil when it is to be made.
	Found map[string]any
}

// Set tells what became of a record, so that later ones see it: ${patient},
// ${patient.uuid}, ${patient.found.phone}. A nil result: there is none (skipped,
// not found); all of it is absent.
func (r *Run) Set(rec *Record, res *Result) {
	if res == nil {
		delete(r.env, rec.Name)
		delete(r.env, refName(rec.Name))
		return
	}
	m := make(map[string]any, len(res.Fields)+2)
	maps.Copy(m, res.Fields)
	if m["id"] == nil {
		switch {
		case res.Ref.ID != "":
			m["id"] = res.Ref.ID
		case res.Ref.Later != (record.Later{}):
			m["id"] = res.Ref.Later
		}
	}
	if res.Found != nil {
		m["found"] = res.Found
	}
	r.env[rec.Name] = m
	r.env[refName(rec.Name)] = res.Ref
}
