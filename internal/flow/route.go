package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// Item is one delivery that a message makes of a flow.
type Item struct {
	Each string // the each-key: an id, never a position; "" without each
	// Value is the item itself; of several each names, of the last.
	Value any
	// Lanes are the keys of the lanes to stand in.
	Lanes []string
	// Systems are the connectors that it may touch, with the systems that are
	// already known.
	Systems []string

	source int
	vars   map[string]any
}

// messageNames always may be asked of message.
func messageValue(m *connector.Message) map[string]any {
	v := map[string]any{"system": m.System, "kind": m.Kind, "doc": m.Doc, "version": m.Version, "received": nil, "event": nil, "withdrawn": m.Withdrawn}
	if !m.Received.IsZero() {
		v["received"] = m.Received
	}
	if !m.Event.IsZero() {
		v["event"] = m.Event
	}
	return v
}

// takes tells whether a source takes the message, but for its where.
func (s *Source) takes(m *connector.Message, content any, site *Site) bool {
	if m.Kind != s.Message.Name {
		return false
	}
	if m.System != s.System {
		if site == nil || site.Systems[m.System] == nil || site.Systems[m.System].Connector != s.System {
			return false
		}
	}
	for path, allowed := range s.Filter {
		v, err := at(path, content, strings.Split(path, "/"))
		t, ok := asText(v)
		if err != nil || !ok || !slices.Contains(allowed, t) {
			return false
		}
	}
	return true
}

// Route says which deliveries the message makes of this flow: none, one, or one
// for each item. It uses the message, tables and the site only; it is cheap
// enough for intake. Content is the decoded message; it is not changed. An
// error (*Error) means that the flow would take the message but cannot say
// where it belongs: an item without an id, a lane without a value.
func (f *Flow) Route(m *connector.Message, content any) ([]Item, error) {
	site := f.integ.site
	for i, s := range f.From {
		if !s.takes(m, content, site) {
			continue
		}
		r := f.start(m, content, i)
		if s.where != nil {
			ok, err := r.condition(s.where)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
		}
		if err := r.sourceLets(); err != nil {
			return nil, err
		}
		return f.items(r, m, i)
	}
	return nil, nil
}

func (f *Flow) items(r *Run, m *connector.Message, source int) ([]Item, error) {
	var out []Item
	err := f.expand(r, 0, nil, func(keys []string) error {
		it := Item{Each: strings.Join(keys, "/"), source: source, vars: map[string]any{}}
		for _, v := range f.each {
			it.vars[v.name] = r.env[v.name]
			it.Value = r.env[v.name]
		}
		if len(f.each) > 0 && slices.ContainsFunc(out, func(o Item) bool { return o.Each == it.Each }) {
			e := f.each[0].expr
			return r.fail(e.at, e.from, &NoKey{"two items of each have the same id; a record cannot be told from the other"})
		}
		r.forgetLets()
		lanes, err := f.lanesOf(r, m, it)
		if err != nil {
			return err
		}
		it.Lanes = lanes
		it.Systems = f.systemsOf(r)
		out = append(out, it)
		return nil
	})
	return out, err
}

// expand walks each, loops within loops.
func (f *Flow) expand(r *Run, depth int, keys []string, yield func(keys []string) error) error {
	if depth == len(f.each) {
		return yield(keys)
	}
	e := f.each[depth]
	v, err := r.run(e.expr)
	if err != nil {
		return err
	}
	for _, item := range listOf(v) {
		key := itemKey(item)
		if row, ok := item.(map[string]any); ok && e.expr.shape != nil && e.expr.shape.table != nil {
			key, _ = asText(row[e.expr.shape.table.Columns[0]])
		}
		if key == "" {
			return r.fail(e.expr.at, e.expr.from, &NoKey{"an item of each has no id (id, case_id, _id, uuid or key); a position cannot name it, edits move it"})
		}
		r.env[e.name] = item
		if err := f.expand(r, depth+1, append(slices.Clone(keys), key), yield); err != nil {
			return err
		}
	}
	delete(r.env, e.name)
	return nil
}

var idNames = []string{"case_id", "@case_id", "id", "_id", "uuid", "key"}

// itemKey is the id of an item: its own, or the item where it is a plain value.
func itemKey(item any) string {
	m, ok := item.(map[string]any)
	if !ok {
		t, _ := asText(item)
		return strings.TrimSpace(t)
	}
	for _, n := range idNames {
		if t, ok := asText(m[n]); ok && !absent(m[n]) {
			return t
		}
	}
	return ""
}

// personNames are names of each whose items are people.
var personNames = []string{"case", "person", "patient", "client", "contact", "subject", "child", "mother", "member"}

func (f *Flow) lanesOf(r *Run, m *connector.Message, it Item) ([]string, error) {
	if len(f.lanes) == 0 {
		return []string{f.defaultLane(r, m, it)}, nil
	}
	var out []string
	for _, lane := range f.lanes {
		var parts []string
		for _, k := range lane {
			v, err := k.value.eval(r)
			if err != nil {
				return nil, err
			}
			t, ok := asText(v)
			if !ok || absent(v) {
				return nil, r.fail(k.at, 0, &NoKey{fmt.Sprintf("the lane has no %s in this message", k.name)})
			}
			parts = append(parts, laneName(k.name, m.System, strings.TrimSpace(t)))
		}
		out = append(out, strings.Join(parts, "|"))
	}
	return slices.Compact(slices.Sorted(slices.Values(out))), nil
}

// laneName names a part of a lane. A person is known by an id in a system, or
// by a kind of identifier: NID:….
func laneName(name, system, value string) string {
	if name != "person" {
		return name + ":" + value
	}
	if prefix, rest, ok := strings.Cut(value, ":"); ok && identifier(prefix) && rest != "" {
		return "person:" + prefix + "/" + rest
	}
	return "person:" + system + "/" + value
}

// defaultLane is the message's person: the item of each, the subject that the
// message names, else the message itself.
func (f *Flow) defaultLane(r *Run, m *connector.Message, it Item) string {
	if n := len(f.each); n > 0 {
		item, isMap := it.Value.(map[string]any)
		if slices.Contains(personNames, f.each[n-1].name) || isMap && (!absent(item["case_id"]) || !absent(item["@case_id"])) {
			return laneName("person", m.System, itemKey(it.Value))
		}
	} else {
		for _, name := range []string{"subject", "case", "patient", "person"} {
			if id := itemKey(r.env[name]); id != "" {
				return laneName("person", m.System, id)
			}
		}
	}
	if m.Doc != "" {
		return "message:" + m.System + "/" + m.Doc
	}
	return "message:" + m.System + "/" + m.Kind + "/" + m.Version
}

// systemsOf lists the connectors that the delivery may touch, with systems
// where to: names them already.
func (f *Flow) systemsOf(r *Run) []string {
	out := map[string]bool{}
	for _, c := range f.uses {
		out[c] = true
		v, ok := f.to[c]
		if !ok {
			if name, err := r.state.system(c); err == nil {
				out[name] = true
			}
			continue
		}
		var u use
		v.uses(&u)
		if len(u.asks) > 0 || len(u.remote) > 0 {
			continue // known only when planning
		}
		if x, err := v.eval(r); err == nil && !absent(x) {
			if t, ok := asText(x); ok {
				out[t] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// serverName is the name of the system that a message is from, with the place
// that it serves.
const serverName = "server"

func serverValue(system string, said any, site *Site) map[string]any {
	out := map[string]any{}
	if m, ok := said.(map[string]any); ok {
		maps.Copy(out, m)
	}
	out["name"] = system
	if site != nil && site.Systems[system] != nil {
		places := make([]any, len(site.Systems[system].Places))
		for i, p := range site.Systems[system].Places {
			places[i] = p
		}
		out["places"] = places
		if len(places) > 0 && absent(out["place"]) {
			out["place"] = places[0]
		}
	}
	return out
}

// start makes a Run with what the message says.
func (f *Flow) start(m *connector.Message, content any, source int) *Run {
	s := f.From[source]
	r := &Run{flow: f, source: source, content: content, msg: m, env: make(map[string]any, 24),
		state: state{integ: f.integ, site: f.integ.site, zone: f.integ.Zone, received: m.Received, event: m.Event}}
	if r.state.zone == nil {
		r.state.zone = time.UTC
	}
	doc, _ := asLists(content, s.repeats).(map[string]any)
	r.env[stateName] = &r.state
	r.env["site"] = f.integ.values
	r.env["message"] = messageValue(m)
	if !m.Received.IsZero() {
		r.env["received"] = m.Received
	}
	for _, n := range s.Message.Names {
		if v, ok := doc[n.Name]; ok {
			r.env[n.Name] = v
		}
		if n.Name == serverName {
			r.env[n.Name] = serverValue(m.System, r.env[n.Name], f.integ.site)
		}
	}
	return r
}
