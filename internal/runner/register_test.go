package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/people"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// register is a system of people and notes that is kept in memory: a real one
// to the core, with the smallest of interfaces.
type register struct {
	name string
	mu   sync.Mutex
	rows map[string]*row // by "Person/ID"
	sent []string        // changing requests
	// before is told of each request that changes something; an answer of its
	// own is given instead.
	before func(r call.Request) int
	// unclear is the status of answers that leave open what happened.
	unclear int
}

type row struct {
	Fields  map[string]any `json:"fields"`
	Voided  bool           `json:"voided,omitempty"`
	ByUs    bool           `json:"by_us,omitempty"`
	Into    string         `json:"into,omitempty"`
	Changed time.Time      `json:"changed,omitzero"`
}

var fieldNames = map[string][]string{"Person": {"nid", "given", "family", "phone", "born", "sex"}, "Note": {"person", "text"}, "Text": {"person", "text"}}

func newRegister(name string) *register {
	return &register{name: name, rows: map[string]*row{}}
}

// put registers or changes a person, as its own clerk would: "given=Elsa …".
func (g *register) put(id string, fields ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.rows["Person/"+id]
	if r == nil {
		r = &row{Fields: map[string]any{}}
		g.rows["Person/"+id] = r
	}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		r.Fields[k] = v
	}
}

// changed sets when a person was last changed.
func (g *register) changed(id string, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rows["Person/"+id].Changed = at
}

// into voids a person as merged into another one.
func (g *register) into(id, other string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rows["Person/"+id].Voided, g.rows["Person/"+id].Into = true, other
}

// people lists those who are there: id, given and family name, phone.
func (g *register) people() (out []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, r := range g.rows {
		if id, ok := strings.CutPrefix(key, "Person/"); ok && !r.Voided {
			out = append(out, strings.TrimSpace(fmt.Sprint(id, " ", r.Fields["given"], " ", r.Fields["phone"])))
		}
	}
	slices.Sort(out)
	return out
}

// notes lists the notes by person: "P1 hello".
func (g *register) notes() (out []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, r := range g.rows {
		if strings.HasPrefix(key, "Note/") && !r.Voided {
			out = append(out, fmt.Sprint(r.Fields["person"], " ", r.Fields["text"]))
		}
	}
	slices.Sort(out)
	return out
}

func (g *register) get(id, field string) any {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rows["Person/"+id].Fields[field]
}

func (g *register) Name() string        { return g.name }
func (g *register) Probe() call.Request { return call.Request{Method: http.MethodGet, Path: "/"} }

func (g *register) Kind(name string) connector.Kind {
	if fieldNames[name] == nil {
		return nil
	}
	return &kind{g, name}
}

func (g *register) Classify(_ call.Request, a call.Answer, err error) call.Verdict {
	switch {
	case err != nil || a.Status == g.unclear && g.unclear != 0:
		return call.Verdict{Class: call.Uncertain, Reason: "no answer"}
	case a.Status < 300:
		return call.Verdict{Class: call.Done}
	case a.Status == http.StatusConflict:
		return call.Verdict{Class: call.Conflicting, Reason: "it is there already"}
	}
	return call.Verdict{Class: call.Refusal, Reason: "it is refused"}
}

func (g *register) Send(_ context.Context, r call.Request) (call.Answer, error) {
	if r.Changes() && g.before != nil {
		if status := g.before(r); status != 0 {
			return call.Answer{Status: status}, nil
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Changes() {
		g.sent = append(g.sent, r.Method+" "+r.Path)
	}
	answer := func(status int, v any) (call.Answer, error) {
		b, err := json.Marshal(v)
		return call.Answer{Status: status, Body: b, At: time.Now()}, err
	}
	key := strings.TrimPrefix(r.Path, "/")
	at := g.rows[key]
	var body map[string]any
	if len(r.Body) > 0 {
		if err := json.Unmarshal(r.Body, &body); err != nil {
			return call.Answer{}, err
		}
	}
	switch r.Method {
	case http.MethodGet:
		if !strings.Contains(key, "/") { // all of a kind
			all := map[string]*row{}
			for k, v := range g.rows {
				if strings.HasPrefix(k, key+"/") {
					all[strings.TrimPrefix(k, key+"/")] = v
				}
			}
			return answer(200, all)
		}
	case http.MethodPost:
		if at != nil && !strings.HasPrefix(key, "Text/") {
			return answer(409, nil)
		}
		at = &row{Fields: body}
		g.rows[key] = at
	case http.MethodPatch:
		for k, v := range body {
			at.Fields[k] = v
			if v == nil {
				delete(at.Fields, k)
			}
		}
	case http.MethodDelete:
		at.Voided, at.ByUs = true, true
	}
	if at == nil {
		return answer(404, nil)
	}
	return answer(200, at)
}

// kind plans for the rows of one kind.
type kind struct {
	g    *register
	name string
}

func (k *kind) Spec() *connector.KindSpec {
	s := specOf(k.name)
	return &s
}

func specOf(name string) connector.KindSpec {
	s := connector.KindSpec{Name: name, Person: name == "Person", ByDefault: "by id", Gives: []connector.FieldSpec{{Name: "uuid", Type: connector.Text}}}
	for _, f := range fieldNames[name] {
		spec := connector.FieldSpec{Name: f, Type: connector.Text}
		if f == "person" {
			spec = connector.FieldSpec{Name: f, Type: connector.RefTo, Ref: "reg/Person"}
		}
		s.Fields = append(s.Fields, spec)
	}
	s.Finds = []connector.FieldSpec{{Name: "id", Type: connector.Text}, {Name: "nid", Type: connector.Text}}
	return s
}

// registerOf is the connector: its messages are what its records say.
func registerOf(name string) *connector.Connector {
	return &connector.Connector{Name: name, Title: name, Kinds: []connector.KindSpec{specOf("Person"), specOf("Note"), specOf("Text")},
		Messages: []connector.MessageSpec{{Name: "record", About: "a record", Names: []connector.NameSpec{{Name: "rec", Sampled: true, Kind: "Person", Key: "id"}}}},
		Open:     func(c connector.Config) (connector.System, error) { return newRegister(c.Name), nil },
		Simulate: func([]byte) (simulate.Simulator, error) { return nil, nil }}
}

func canonical(r *row) record.Fields {
	out := record.Fields{}
	for f, v := range r.Fields {
		if v != nil && v != "" {
			out[f] = v
		}
	}
	return out
}

func (k *kind) read(ctx context.Context, do call.Doer, id string) (*row, error) {
	a, err := do.Do(ctx, "read", k.reads(id))
	if a.Status == 404 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r row
	return &r, json.Unmarshal(a.Body, &r)
}

func (k *kind) reads(id string) call.Request {
	return call.Request{Method: http.MethodGet, Path: "/" + k.name + "/" + id}
}

func (k *kind) all(ctx context.Context, do call.Doer) (map[string]*row, error) {
	a, err := do.Do(ctx, "search", call.Request{Method: http.MethodGet, Path: "/" + k.name})
	if err != nil {
		return nil, err
	}
	var all map[string]*row
	return all, json.Unmarshal(a.Body, &all)
}

func (k *kind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	if k.name == "Text" {
		return connector.Found{}, nil // a message to a phone cannot be looked up
	}
	ids := []string{q.Made, q.Linked, q.ID}
	var several []string
	for _, by := range q.By {
		if id, ok := by["id"].(string); ok {
			ids = append(ids, id)
		}
		if nid, ok := by["nid"].(string); ok {
			all, err := k.all(ctx, do)
			if err != nil {
				return connector.Found{}, err
			}
			for _, id := range slices.Sorted(maps.Keys(all)) {
				if all[id].Fields["nid"] == nid && !all[id].Voided {
					several = append(several, id)
				}
			}
		}
	}
	if len(several) == 1 {
		ids = append(ids, several[0])
	}
	var last connector.Found
	for _, id := range ids {
		if id == "" {
			continue
		}
		r, err := k.read(ctx, do, id)
		if err != nil {
			return connector.Found{}, err
		}
		if r == nil {
			continue
		}
		f := connector.Found{Exists: !r.Voided, ID: id, Fields: canonical(r), Voided: r.Voided, ByUs: r.ByUs, MergedInto: r.Into, How: "id", Changed: r.Changed}
		if f.Exists {
			return f, nil
		}
		last = f
	}
	if len(several) > 1 && last.ID == "" {
		last.Several = several
	}
	return last, nil
}

func (k *kind) Canon(_ context.Context, _ call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	out := record.Fields{}
	for f, v := range wanted {
		if ref, ok := v.(record.Ref); ok {
			v = ref.ID
		}
		out[f] = v
	}
	return out, nil, nil
}

func (k *kind) body(f record.Fields) json.RawMessage {
	out := map[string]any{}
	for path, v := range f {
		switch v := v.(type) {
		case record.Clear, nil:
			out[path] = nil
		default:
			out[path] = v
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return b
}

func (k *kind) Calls(_ context.Context, _ call.Doer, c connector.Change) ([]call.Call, error) {
	path := "/" + k.name + "/" + c.ID
	out := call.Call{Name: c.Record, Repeat: call.Safe, Reversal: call.Exact, ReadBack: true, About: "write " + c.Record,
		Check: &call.Check{Read: k.reads(c.ID), As: k.name}}
	switch {
	case k.name == "Text":
		out.Request = call.Request{Method: http.MethodPost, Path: path, Body: k.body(c.Write)}
		out.Check, out.ReadBack, out.Repeat, out.Reversal = nil, false, call.Blind, call.Final
	case c.Remove:
		out.Request = call.Request{Method: http.MethodDelete, Path: path}
		out.Check.Pre, out.Reversal = c.Found.Fields, call.Leftover
	case c.Found == nil:
		out.Request = call.Request{Method: http.MethodPost, Path: path, Body: k.body(c.Write)}
		out.Check.Want = c.Write
		out.Undo = &call.Undo{Request: call.Request{Method: http.MethodDelete, Path: path}, Voids: true}
	default:
		pre := record.Fields{}
		for f := range c.Write {
			pre[f] = c.Found.Fields[f]
		}
		out.Request = call.Request{Method: http.MethodPatch, Path: path, Body: k.body(c.Write)}
		out.Check.Want, out.Check.Pre = c.Write, pre
		out.Undo = &call.Undo{Request: call.Request{Method: http.MethodPatch, Path: path, Body: k.body(pre)}}
	}
	return []call.Call{out}, nil
}

func (k *kind) Observe(_ call.Check, a call.Answer) (call.Observed, error) {
	if a.Status == 404 {
		return call.Observed{}, nil
	}
	var r row
	if err := json.Unmarshal(a.Body, &r); err != nil {
		return call.Observed{}, err
	}
	return call.Observed{Exists: !r.Voided, Voided: r.Voided, ByUs: r.ByUs, Fields: canonical(&r)}, nil
}

func (k *kind) Person(f record.Fields) people.Person {
	text := func(name string) string { s, _ := f[name].(string); return s }
	p := people.Person{Born: text("born"), Sex: text("sex")}
	if text("given")+text("family") != "" {
		p.Names = []people.Name{{Given: text("given"), Family: text("family")}}
	}
	if text("nid") != "" {
		p.Identifiers = []people.Identifier{{Type: "National ID", Value: text("nid")}}
	}
	if text("phone") != "" {
		p.Phones = []string{text("phone")}
	}
	return p
}

func (k *kind) Candidates(ctx context.Context, do call.Doer, _ people.Person) ([]connector.Found, error) {
	all, err := k.all(ctx, do)
	if err != nil {
		return nil, err
	}
	var out []connector.Found
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if !all[id].Voided {
			out = append(out, connector.Found{Exists: true, ID: id, Fields: canonical(all[id])})
		}
	}
	return out, nil
}
