package flow

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/schedule"
)

var (
	flowKeys = []key{
		{name: "flow", about: "name of the flow, once in the folder", shape: "text", required: true},
		{name: "about", about: "what it does, in a sentence", shape: "text"},
		{name: "from", about: "on which messages it runs: system and message kind, or a list of them", shape: "source", required: true},
		{name: "let", about: "named values", shape: "expr map"},
		{name: "each", about: "one delivery per item: {name: list}", shape: "expr map"},
		{name: "lane", about: "the order it stands in, if it is not the message's person", shape: "lane"},
		{name: "where", about: "asked when planning; false = skipped with the reason", shape: "expr"},
		{name: "to", about: "which system of a connector: {openmrs: '${serverFor(worker.place)}'}", shape: "any map"},
		{name: "require", about: "what must hold; the first that does not ends the delivery", shape: "require list"},
		{name: "records", about: "the records that should exist", shape: "record map", required: true},
		{name: "refused", about: "what a refusal does to the lane: hold or pass", shape: "text", values: []string{"hold", "pass"}},
		{name: "finish_within", about: "how long a delivery may stay half applied: 2 hours", shape: "text"},
		{name: "expect", about: "a message that should come", shape: "any"},
		{name: "fulfil", about: "expectations that this message meets", shape: "any"},
		{name: "approve", about: "a person approves the plan first: {say: what is approved, when: a condition}", shape: "approve"},
		{name: "reply", about: "what the sender is answered", shape: "any"},
	}
	sourceKeys = []key{
		{name: "where", about: "a condition on the message alone", shape: "expr"},
		{name: "let", about: "named values of this source", shape: "expr map"},
		{name: "sample", about: "files that show the message: samples/visit-*.json", shape: "text list"},
		{name: "every", about: "when a list is asked for: Monday 04:00, day 06:00, 15 minutes; or for each period just completed: week, month, quarter, year, or a period type of DHIS2", shape: "text"},
		{name: "day", about: "how many days after the period's end: 3 is the third of the month", shape: "number"},
		{name: "at", about: "time of day: '06:00'", shape: "text"},
		{name: "servers", about: "which systems are asked: active", shape: "text", values: []string{"active"}},
		{name: "calendar", about: "of the periods, if it is not iso8601: ethiopian or nepali", shape: "text"},
		{name: "again", about: "how many earlier periods are asked for again each time, for late corrections", shape: "number"},
		{name: "with", about: "what a list is asked with, by name: the parameters of a report; period, start, end and at may be used", shape: "text map"},
		{name: "leavers", about: "the share of a list, in percent, that may leave at once without a question; 20 if not said", shape: "number"},
	}
	approveKeys = []key{
		{name: "say", about: "what is approved, in words for the person who does", shape: "text", required: true},
		{name: "when", about: "a condition; false = goes without", shape: "expr"},
	}
	requireKeys = []key{
		{name: "that", about: "the condition", shape: "expr", required: true},
		{name: "else", about: "refuse, ask or hold; refuse if not said", shape: "text", values: []string{"refuse", "ask", "hold"}},
		{name: "say", about: "in words, or a key of texts.csv", shape: "text", required: true},
	}
	recordKeys = []key{
		{name: "kind", about: "connector/Kind: openmrs/Patient", shape: "text", required: true},
		{name: "was", about: "the record's name before it was renamed", shape: "text"},
		{name: "when", about: "a condition; false = left alone", shape: "expr"},
		{name: "key", about: "same key, same record", shape: "text"},
		{name: "find", about: "how it is found", shape: "find"},
		{name: "set", about: "fields that are kept so", shape: "fields"},
		{name: "new", about: "fields that are given once, when it is made", shape: "fields"},
		{name: "wins", about: "who wins, field by field", shape: "text map"},
		{name: "refused", about: "what its refusal does to the delivery: undo, keep or ask", shape: "text", values: []string{"undo", "keep", "ask"}},
	}
	findKeys = []key{
		{name: "by", about: "criteria, the first that finds wins", shape: "find list"},
		{name: "none", about: "what if it is not there: create, skip, ask, wait 2 days, or absent (go on without it)", shape: "text"},
		{name: "near", about: "a near match of a person: create, ask or skip", shape: "text", values: []string{"create", "ask", "skip"}},
		{name: "several", about: "more than one fits: ask or skip", shape: "text", values: []string{"ask", "skip"}},
	}
)

// notYet are the words of the language that this version does not run. A flow
// that used one would silently do less than it says.
var notYet = map[string]string{
	"expect": "expectations are not run yet", "fulfil": "expectations are not run yet",
	"reply": "replies are not run yet",
}

// fromNotYet are the sources that this version does not run.
var fromNotYet = map[string]string{"done": "flows on other flows are not run yet", "missed": "expectations are not run yet"}

// flowReader reads one flow.
type flowReader struct {
	*reader
	flow  *Flow
	integ *Integration
	reg   connector.Registry
	load  *Loader
	doc   *node
	pure  *scope // message only
	full  *scope // when planning
}

func (r *reader) flow(doc *node, integ *Integration, l *Loader) *Flow {
	f := &Flow{integ: integ, File: doc.src.path, Line: doc.line, OnRefused: Hold, to: map[string]value{}}
	fr := &flowReader{reader: r, flow: f, integ: integ, reg: l.Registry, load: l, doc: doc}
	if !r.keys(doc, "a flow", flowKeys) {
		return nil
	}
	f.Short = r.fixed(doc.get("flow"))
	if n := doc.get("flow"); n != nil && !flowName.MatchString(f.Short) {
		r.errorf(n, CodeValue, "%q is no name for a flow; use small letters, digits and -: visit-to-openmrs", f.Short)
	}
	f.Name = shortID(integ.ID) + "/" + f.Short
	f.About = r.text(doc.get("about"))
	for _, k := range slices.Sorted(maps.Keys(notYet)) {
		if n := doc.get(k); n != nil {
			r.errorf(n, CodeNotYet, "%s is not supported yet: %s", k, notYet[k])
		}
	}
	if n := doc.get("refused"); n != nil {
		f.OnRefused = OnRefused(r.text(n))
	}
	if n := doc.get("finish_within"); n != nil {
		f.Finish = r.span(n)
	}
	fr.from()
	fr.routing()
	fr.planning()
	fr.records()
	fr.collect()
	return f
}

var flowName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

var shortCode = regexp.MustCompile(`^i\d+`)

// shortID is the part of a folder's name that flow names carry: i05 of
// i05-commcare-openmrs-feed.
func shortID(id string) string {
	if s := shortCode.FindString(id); s != "" {
		return s
	}
	return id
}

// from reads the sources and makes the scopes.
func (r *flowReader) from() {
	sc := &scope{names: map[string]*binding{}, hidden: map[string]string{}, integ: r.integ}
	site := &shape{fields: map[string]*shape{}, from: "integration.yaml, site"}
	for _, v := range r.integ.Declared {
		site.fields[v.Name] = leaf
	}
	sc.names["site"] = &binding{shape: site}
	sc.names["received"] = &binding{shape: leaf}
	sc.names["message"] = &binding{shape: shapeOf(messageValue(&connector.Message{}))}
	for _, n := range r.list(r.doc.get("from")) {
		if s := r.source(n, sc); s != nil {
			r.flow.From = append(r.flow.From, s)
		}
	}
	r.pure = sc
	for _, s := range r.flow.From {
		for _, name := range s.Message.Names {
			b := &binding{remote: name.Remote, shape: s.nameShape(name)}
			if old := sc.names[name.Name]; old != nil && name.Name != "message" && name.Name != "received" {
				b.shape = merge(old.shape, b.shape)
				if old.shape == nil || s.nameShape(name) == nil {
					b.shape = nil
				}
			}
			sc.names[name.Name] = b
		}
	}
	for _, s := range r.flow.From {
		r.sourceExprs(s, sc)
	}
	for _, s := range r.flow.From {
		for _, l := range s.lets {
			if sc.names[l.name] == nil || sc.names[l.name].let == nil {
				shape := (*shape)(nil)
				if l.expr != nil {
					shape = l.expr.shape
				}
				sc.names[l.name] = &binding{shape: shape} // its value differs by source
			}
		}
	}
}

// nameShape is what is known of a name of a message kind.
func (s *Source) nameShape(n connector.NameSpec) *shape {
	var out *shape
	if len(n.Fields) > 0 {
		out = spelled(n.Fields)
	}
	if n.Sampled {
		if s.shape == nil {
			return nil // no sample: anything
		}
		out = complete(s.shape.fields[n.Name], out)
		if out == nil {
			return nil
		}
	}
	if out == nil {
		if n.Open || n.Remote {
			return nil
		}
		return leaf
	}
	if n.Open {
		c := *out
		c.open = true
		return &c
	}
	return out
}

func (r *flowReader) source(n *node, sc *scope) *Source {
	if n.kind != mapNode || len(n.pairs) == 0 {
		r.errorf(n, CodeShape, "from is %s; write the system and the message kind: from: {commcare: form}", n.kind)
		return nil
	}
	first := n.pairs[0]
	if why, ok := fromNotYet[first.key.text]; ok {
		r.errorf(first.key, CodeNotYet, "from: {%s: …} is not supported yet: %s", first.key.text, why)
		return nil
	}
	s := &Source{System: first.key.text, Filter: map[string][]string{}, at: n}
	c := r.connectorOf(first.key)
	if c == nil {
		return nil
	}
	s.Connector = c.Name
	kind := r.fixed(first.value)
	i := slices.IndexFunc(c.Messages, func(m connector.MessageSpec) bool { return m.Name == kind })
	if i < 0 {
		var names []string
		for _, m := range c.Messages {
			names = append(names, m.Name)
		}
		r.errorf(first.value, CodeMessage, "%s sends no message %q%s", c.Name, kind, suggest(kind, names))
		return nil
	}
	s.Message = &c.Messages[i]
	r.filters(n, s, sc)
	r.with(n, s, sc)
	if !r.samples(n, s) {
		s.shape = nil
	}
	r.schedule(n, s, sc)
	return s
}

// connectorOf finds the connector of a key that names a connector or a system.
func (r *flowReader) connectorOf(k *node) *connector.Connector {
	if c := r.reg[k.text]; c != nil {
		return c
	}
	if r.load.Site != nil {
		if s := r.load.Site.Systems[k.text]; s != nil {
			return r.reg[s.Connector]
		}
	}
	names := slices.Collect(maps.Keys(r.reg))
	if r.load.Site != nil {
		names = slices.AppendSeq(names, maps.Keys(r.load.Site.Systems))
	}
	r.errorf(k, CodeMessage, "there is no connector and no system %q%s", k.text, suggest(k.text, names))
	return nil
}

func (r *flowReader) filters(n *node, s *Source, sc *scope) {
	allowed := slices.Concat(keyNames(sourceKeys), slices.Collect(maps.Keys(s.Message.From)))
	for _, p := range n.pairs[1:] {
		if slices.ContainsFunc(sourceKeys, func(k key) bool { return k.name == p.key.text }) && s.Message.From[p.key.text] == "" {
			if p.key.text == "servers" && p.value.text != "active" {
				r.errorf(p.value, CodeValue, "servers can only be active")
			}
			continue
		}
		path, ok := s.Message.From[p.key.text]
		if !ok {
			r.errorf(p.key, CodeUnknownKey, "%s %s cannot be filtered by %q%s", s.Connector, s.Message.Name, p.key.text, suggest(p.key.text, allowed))
			continue
		}
		for _, item := range r.list(p.value) {
			v, ok := r.constant(item, sc)
			if !ok {
				continue
			}
			if strings.ContainsAny(v, " \t\n") && p.key.text == "xmlns" {
				r.errorf(item, CodeValue, "an xmlns has no spaces; copy it from the app's form settings")
			}
			s.Filter[path] = append(s.Filter[path], v)
			if s.Schedule.Keys == nil {
				s.Schedule.Keys = map[string]string{}
			}
			s.Schedule.Keys[p.key.text] = v
			if !strings.Contains(item.text, "${") {
				s.literal = append(s.literal, literalFilter{path, item})
			}
		}
	}
}

// constant is a value that only the site decides.
func (r *flowReader) constant(n *node, sc *scope) (string, bool) {
	v, _ := r.template(n, &scope{names: map[string]*binding{"site": sc.names["site"]}, integ: r.integ}, "the filter")
	run := &Run{flow: r.flow, env: map[string]any{"site": r.integ.values}, state: state{integ: r.integ, site: r.integ.site, zone: time.UTC}}
	run.env[stateName] = &run.state
	x, err := v.eval(run)
	if err != nil {
		r.errorf(n, CodeExpression, "%v", err)
		return "", false
	}
	t, ok := asText(x)
	return t, ok && t != ""
}

var timeOfDay = regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d$`)

func (r *flowReader) schedule(n *node, s *Source, sc *scope) {
	if e := n.get("every"); e != nil && s.Message.From["every"] == "" {
		s.Schedule.Every, _ = r.constant(e, sc)
	}
	if d := n.get("day"); d != nil && s.Message.From["day"] == "" {
		s.Schedule.Day = r.dayAfter(d, sc)
	}
	if a := n.get("at"); a != nil && s.Message.From["at"] == "" {
		s.Schedule.At, _ = r.constant(a, sc)
		if !timeOfDay.MatchString(s.Schedule.At) {
			r.errorf(a, CodeValue, "%q is no time of day; write it quoted: '06:00'", s.Schedule.At)
		}
	}
	if v := n.get("servers"); v != nil && s.Message.From["servers"] == "" {
		s.Schedule.Servers = r.text(v)
	}
	if c := n.get("calendar"); c != nil && s.Message.From["calendar"] == "" {
		s.Schedule.Calendar, _ = r.constant(c, sc)
	}
	if a := n.get("again"); a != nil && s.Message.From["again"] == "" {
		s.Schedule.Again = r.integer(a, 0, 24)
	}
	if e := n.get("every"); e != nil && s.Schedule.Every != "" {
		when, err := schedule.Parse(schedule.Text{Every: s.Schedule.Every, Day: s.Schedule.Day, At: s.Schedule.At, Calendar: s.Schedule.Calendar})
		if err != nil {
			r.errorf(e, CodeValue, "%v", err)
		}
		s.Schedule.When = when
		if s.Schedule.Again > 0 && err == nil && !when.ByPeriod() {
			r.errorf(n.get("again"), CodeValue, "again is for periods; %q has none", s.Schedule.Every)
		}
	}
	s.Schedule.Leavers = 20
	if l := n.get("leavers"); l != nil && s.Message.From["leavers"] == "" {
		s.Schedule.Leavers = r.integer(l, 0, 100)
	}
	if s.Message.List != "" && s.Schedule.Every == "" {
		r.errorf(n, CodeMissingKey, "%s %s is a list that is asked for; say how often: every: 'Monday 04:00'", s.Connector, s.Message.Name)
	}
	if s.Message.List == "" && s.Schedule.Every != "" {
		r.errorf(n.get("every"), CodeUnknownKey, "%s %s is no list; it comes by itself. Take every: out", s.Connector, s.Message.Name)
	}
}

// dayAfter reads a number of days from 1 to 28, written out or the site's.
func (r *flowReader) dayAfter(n *node, sc *scope) int {
	text, _ := r.constant(n, sc)
	day, err := strconv.Atoi(text)
	if err != nil || day < 1 || day > 28 {
		r.errorf(n, CodeType, "this must be a whole number from 1 to 28")
		return 1
	}
	return day
}

// with reads what a list is asked with.
func (r *flowReader) with(n *node, s *Source, sc *scope) {
	w := n.get("with")
	if w == nil || s.Message.From["with"] != "" {
		return
	}
	names := map[string]*binding{"site": sc.names["site"]}
	for _, name := range runNames {
		names[name] = &binding{shape: leaf, text: true}
	}
	for _, p := range r.object(w) {
		v, _ := r.template(p.value, &scope{names: names, integ: r.integ}, "with")
		s.Schedule.with = append(s.Schedule.with, field{name: p.key.text, v: v})
	}
}

// sourceExprs compiles what a source says: let, then where.
func (r *flowReader) sourceExprs(s *Source, sc *scope) {
	inner := sc
	s.lets, inner = r.lets(s.at.get("let"), sc)
	for _, l := range s.lets {
		r.messageOnly(l.expr, "let of from")
	}
	if n := s.at.get("where"); n != nil {
		s.where = r.bare(n, inner, "where")
		r.messageOnly(s.where, "where of from")
	}
}

// messageOnly refuses what needs a read: routing answers in milliseconds (law 2).
func (r *flowReader) messageOnly(e *Expr, what string) {
	if e == nil || len(e.remote) == 0 {
		return
	}
	line, col := e.at.place(e.from)
	r.add(SeverityError, CodeRemote, e.at.src, line, col, fmt.Sprintf("%s may use the message and tables only; %s needs a read from the system. Ask it in the flow's where, which is asked when planning", what, strings.Join(e.remote, ", ")))
}

// lets reads named values; they may use each other in any order.
func (r *flowReader) lets(n *node, sc *scope) ([]*namedExpr, *scope) {
	var out []*namedExpr
	pairs := r.object(n)
	byName := map[string]*namedExpr{}
	for _, p := range pairs {
		if !r.newName(p.key, sc) {
			continue
		}
		l := &namedExpr{name: p.key.text, at: p.value}
		byName[l.name] = l
		out = append(out, l)
	}
	state := map[string]int{}
	var visit func(l *namedExpr, chain []string)
	compiled := sc
	visit = func(l *namedExpr, chain []string) {
		chain = append(chain, l.name)
		if state[l.name] == 2 {
			return
		}
		if state[l.name] == 1 {
			r.errorf(l.at, CodeLoop, "the named values need each other: %s", strings.Join(chain, " -> "))
			return
		}
		state[l.name] = 1
		for _, name := range words(l.at.text) {
			if o := byName[name]; o != nil {
				visit(o, chain)
			}
		}
		if state[l.name] == 1 {
			state[l.name] = 2
			l.expr = r.bare(l.at, compiled, "let")
			b := &binding{let: l}
			if l.expr != nil {
				b.shape = l.expr.shape
			}
			compiled = compiled.with(l.name, b)
		}
	}
	for _, l := range out {
		visit(l, nil)
	}
	for _, l := range out {
		if compiled.names[l.name] == nil {
			compiled = compiled.with(l.name, &binding{local: true})
		}
	}
	return out, compiled
}

var wordPattern = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\.?\s*[A-Za-z_][A-Za-z0-9_]*`)

// words lists the names in an expression, without fields and quoted text.
func words(text string) []string {
	var out []string
	for _, w := range wordPattern.FindAllString(text, -1) {
		if w[0] != '"' && w[0] != '\'' && w[0] != '.' {
			out = append(out, strings.TrimSpace(w))
		}
	}
	return out
}
