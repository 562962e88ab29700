package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// routing reads each, let and lane.
func (r *flowReader) routing() {
	f := r.flow
	eachNode, letNode := r.doc.get("each"), r.doc.get("let")
	early, late := splitLets(letNode, eachNode)
	sc := r.pure
	f.lets, sc = r.lets(early, sc)
	if eachNode != nil {
		inner := sc
		f.each, inner = r.eachOf(eachNode, sc)
		for _, v := range f.each {
			r.messageOnly(v.expr, "each")
			b := inner.names[v.name]
			if old := r.pure.names[v.name]; old != nil && old.remote {
				// the item, and when planning what the system says of it
				b = &binding{remote: true, item: true, shape: merge(b.shape, old.shape)}
				if b.shape != nil && old.shape == nil {
					b.shape = nil
				}
			} else {
				b = &binding{shape: b.shape}
			}
			inner = inner.with(v.name, b)
		}
		sc = inner
	}
	more, sc := r.lets(late, sc)
	f.lets = append(f.lets, more...)
	r.full = sc
	r.lanes(sc)
}

// splitLets parts the named values that each may use from those that use each.
func splitLets(lets, each *node) (early, late *node) {
	if lets == nil || each == nil || lets.kind != mapNode {
		return nil, lets
	}
	late1, early1 := *lets, *lets
	early, late = &early1, &late1
	early.pairs, late.pairs = nil, nil
	isLate := map[string]bool{}
	for _, p := range each.pairs {
		isLate[p.key.text] = true
	}
	for range lets.pairs { // until nothing more becomes late
		for _, p := range lets.pairs {
			if slices.ContainsFunc(words(p.value.text), func(w string) bool { return isLate[w] }) {
				isLate[p.key.text] = true
			}
		}
	}
	for _, p := range lets.pairs {
		if isLate[p.key.text] {
			late.pairs = append(late.pairs, p)
		} else {
			early.pairs = append(early.pairs, p)
		}
	}
	return early, late
}

// lanes reads lane: an object, or a list of them for a delivery of several people.
func (r *flowReader) lanes(sc *scope) {
	for _, n := range r.list(r.doc.get("lane")) {
		var lane []laneKey
		var u use
		if len(r.object(n)) == 0 {
			r.errorf(n, CodeShape, "lane is %s; write lane: {person: '${…}'}", n.kind)
			continue
		}
		for _, p := range r.object(n) {
			if p.key.text != "person" && !identifier(p.key.text) {
				r.errorf(p.key, CodeValue, "%q is no name for a part of a lane", p.key.text)
			}
			v, i := r.template(p.value, sc, "lane")
			if i.record != "" {
				r.errorf(p.value, CodeRemote, "a lane is known before any record is planned; use the message")
			}
			lane = append(lane, laneKey{p.key.text, v, p.value})
			v.uses(&u)
		}
		if len(u.remote) > 0 {
			r.errorf(n, CodeRemote, "lane may use the message and tables only; %s needs a read from the system", strings.Join(u.remote, ", "))
		}
		if len(u.names) == 0 && !slices.ContainsFunc(u.lets, func(l *namedExpr) bool { return l.expr == nil }) {
			r.warnf(n, CodeConstantLane, "this lane is the same for every message: one delivery at a time for the whole country; use the person, or leave lane out")
		}
		r.flow.lanes = append(r.flow.lanes, lane)
	}
}

// planning reads where, to and require.
func (r *flowReader) planning() {
	f := r.flow
	if n := r.doc.get("where"); n != nil {
		f.where = r.bare(n, r.full, "where")
	}
	for _, p := range r.object(r.doc.get("to")) {
		c := r.connectorOf(p.key)
		if c == nil {
			continue
		}
		sc := *r.full
		sc.connector = c.Name
		v, i := r.template(p.value, &sc, "to")
		if l, ok := v.(literal); ok && r.load.Site != nil && i.text {
			if s := r.load.Site.Systems[fmt.Sprint(l.v)]; s == nil || s.Connector != c.Name {
				r.errorf(p.value, CodeSystem, "site.yaml has no %s system %q", c.Name, fmt.Sprint(l.v))
			}
		}
		f.to[c.Name] = v
	}
	for _, n := range r.list(r.doc.get("require")) {
		if !r.keys(n, "require", requireKeys) {
			continue
		}
		q := requirement{els: "refuse"}
		if e := n.get("else"); e != nil {
			q.els = r.text(e)
		}
		if t := n.get("that"); t != nil {
			q.that = r.bare(t, r.full, "that")
		}
		if s := n.get("say"); s != nil {
			q.say, _ = r.template(s, r.full, "say")
		}
		f.require = append(f.require, q)
	}
}

// records reads the records in the order of their references.
func (r *flowReader) records() {
	n := r.doc.get("records")
	if n == nil {
		return
	}
	pairs := r.object(n)
	if len(pairs) == 0 && n.kind == mapNode {
		r.errorf(n, CodeMissingKey, "records is empty; a flow wants at least one record")
	}
	sc := r.full
	var list []*Record
	nodes := map[string]*node{}
	for _, p := range pairs {
		if !r.newName(p.key, r.full) {
			continue
		}
		rec := r.recordHead(p)
		if rec == nil {
			sc = sc.with(p.key.text, &binding{local: true})
			continue
		}
		list = append(list, rec)
		nodes[rec.Name] = p.value
		sc = sc.with(rec.Name, &binding{record: rec, shape: recordShape(rec.Spec, rec.Kind)})
	}
	for _, rec := range list {
		r.recordBody(rec, nodes[rec.Name], sc)
	}
	r.order(list)
}

func (r *flowReader) recordHead(p pair) *Record {
	if !r.keys(p.value, "record "+p.key.text, recordKeys) {
		return nil
	}
	rec := &Record{Name: p.key.text, Refused: Undo, at: p.key, Wins: Wins{}}
	rec.Was = r.fixed(p.value.get("was"))
	if n := p.value.get("refused"); n != nil {
		rec.Refused = Refused(r.text(n))
	}
	k := p.value.get("kind")
	if k == nil {
		return nil
	}
	rec.Kind = r.fixed(k)
	c, spec := kindOfRecord(r.reg, rec.Kind)
	switch {
	case c == nil:
		var kinds []string
		for name, c := range r.reg {
			for _, s := range c.Kinds {
				kinds = append(kinds, name+"/"+s.Name)
			}
		}
		r.errorf(k, CodeKind, "there is no record kind %q%s", rec.Kind, suggest(rec.Kind, kinds))
		return nil
	case spec == nil:
		var kinds []string
		for _, s := range c.Kinds {
			kinds = append(kinds, c.Name+"/"+s.Name)
		}
		r.errorf(k, CodeKind, "%s has no record kind %q%s", c.Name, rec.Kind, suggest(rec.Kind, kinds))
		return nil
	}
	rec.Connector, rec.Spec = c.Name, spec
	for _, w := range r.object(p.value.get("wins")) {
		if win, ok := r.win(w.value, r.integ, r.reg, r.load.Site); ok {
			rec.Wins[strings.ReplaceAll(w.key.text, ".", "/")] = win
			rec.winKeys = append(rec.winKeys, w.key)
		}
	}
	return rec
}

func (r *flowReader) recordBody(rec *Record, n *node, sc *scope) {
	inner := *sc
	inner.connector = rec.Connector
	if w := n.get("when"); w != nil {
		rec.when = r.bare(w, &inner, "when")
	}
	if k := n.get("key"); k != nil {
		rec.key, _ = r.template(k, &inner, "key")
	}
	rec.find = r.finder(rec, n.get("find"), &inner)
	if s := n.get("set"); s != nil {
		rec.set = r.fieldsOf(s, writable(rec.Spec), &inner, rec.Kind, "")
	}
	if s := n.get("new"); s != nil {
		rec.new = r.fieldsOf(s, writable(rec.Spec), &inner, rec.Kind, "")
	}
	rec.mayCreate = (rec.set != nil || rec.new != nil) && rec.find.none == Create
	if rec.find.given && rec.find.none == Create && rec.set == nil && rec.new == nil {
		r.errorf(n.get("find"), CodeRequired, "none: create makes the record, but there is nothing to make it with; add set: or new:")
	}
	if !rec.find.given && rec.set == nil && rec.new == nil {
		r.errorf(rec.at, CodeRequired, "record %s has neither find: nor set: nor new:; say at least one", rec.Name)
	}
	r.requiredFields(rec, n)
	r.twice(rec, n)
}

func (r *flowReader) requiredFields(rec *Record, n *node) {
	if !rec.mayCreate {
		return
	}
	for _, f := range rec.Spec.Fields {
		if f.Required && n.get("set").get(f.Name) == nil && n.get("new").get(f.Name) == nil {
			r.errorf(rec.at, CodeRequired, "%s cannot be made without %s: %s; give it under set: or new:", rec.Kind, f.Name, about(f))
		}
	}
}

func (r *flowReader) twice(rec *Record, n *node) {
	for _, p := range r.objectOrNil(n.get("new")) {
		if s := n.get("set").get(p.key.text); s != nil && (s.kind != mapNode || p.value.kind != mapNode) {
			r.errorf(p.key, CodeDuplicate, "%s is under set: and under new:; keep set: if it is to stay so, new: if it is given once", p.key.text)
		}
	}
}

// finder is find:, compiled.
type finder struct {
	given   bool
	by      []*object
	top     *object
	none    None
	wait    time.Duration
	near    string
	several string
}

func (r *flowReader) finder(rec *Record, n *node, sc *scope) *finder {
	f := &finder{none: Create, near: r.integ.People.Near, several: r.integ.People.Several}
	if n == nil {
		return f
	}
	f.given, f.none = true, AskNone
	if n.kind != mapNode {
		r.errorf(n, CodeShape, "find is %s; it must be an object: find: {by: [{uuid: '${…}'}], none: create}", n.kind)
		return f
	}
	specs := rec.Spec.Finds
	what := "find of " + rec.Kind
	var top []pair
	for _, p := range n.pairs {
		switch p.key.text {
		case "by":
			for _, item := range r.list(p.value) {
				if o := r.fieldsOf(item, specs, sc, what, "find/"); o != nil {
					if len(item.pairs) == 0 {
						r.errorf(item, CodeMissingKey, "an empty criterion would find anything; name a field")
					}
					f.by = append(f.by, o)
				}
			}
		case "none":
			r.none(f, p.value)
		case "near", "several":
			word := r.text(p.value)
			k := findKeys[slices.IndexFunc(findKeys, func(k key) bool { return k.name == p.key.text })]
			if !slices.Contains(k.values, word) {
				r.errorf(p.value, CodeValue, "%s cannot be %q%s", p.key.text, word, suggest(word, k.values))
			}
			if p.key.text == "near" {
				f.near = word
			} else {
				f.several = word
			}
		default:
			top = append(top, p)
		}
	}
	if len(top) > 0 {
		t := *n
		t.pairs = top
		before := len(r.problems)
		f.top = r.fieldsOf(&t, specs, sc, what, "find/")
		r.hintFind(before, specs)
	}
	if len(f.by) == 0 && f.top == nil && !slices.ContainsFunc(n.pairs, func(p pair) bool { return p.key.text == "by" }) && rec.Spec.ByDefault == "" {
		r.errorf(n, CodeMissingKey, "find names nothing to look for; add by: or a criterion: %s", strings.Join(specNames(specs), ", "))
	}
	return f
}

// hintFind adds find's own words to the choices of an unknown one.
func (r *flowReader) hintFind(from int, specs []connector.FieldSpec) {
	for i := from; i < len(r.problems); i++ {
		p := &r.problems[i]
		if p.Code != CodeField || strings.Contains(p.Text, "did you mean") {
			continue
		}
		if q := strings.SplitN(p.Text, `"`, 3); len(q) == 3 {
			p.Text = strings.SplitN(p.Text, ";", 2)[0] + suggest(q[1], slices.Concat(specNames(specs), keyNames(findKeys)))
		}
	}
}

func (r *flowReader) none(f *finder, n *node) {
	word := r.text(n)
	if rest, ok := strings.CutPrefix(word, "wait"); ok {
		s, good := parseSpan(rest)
		if !good || s.Duration() <= 0 {
			r.errorf(n, CodeValue, "%q does not say how long to wait; write none: wait 2 days", word)
		}
		f.none, f.wait = Wait, s.Duration()
		return
	}
	f.none = None(word)
	if !slices.Contains([]None{Create, SkipNone, AskNone}, f.none) {
		r.errorf(n, CodeValue, "none cannot be %q%s", word, suggest(word, []string{"create", "skip", "ask", "wait 2 days"}))
	}
}

// order sorts the records by their references, else as they are written.
func (r *flowReader) order(list []*Record) {
	byName := map[string]*Record{}
	for _, rec := range list {
		byName[rec.Name] = rec
		u := rec.allUse()
		for _, name := range u.records {
			if !slices.Contains(rec.Needs, name) {
				rec.Needs = append(rec.Needs, name)
			}
		}
	}
	state := map[*Record]int{}
	var visit func(rec *Record, chain []string) bool
	visit = func(rec *Record, chain []string) bool {
		chain = append(chain, rec.Name)
		switch state[rec] {
		case 2:
			return true
		case 1:
			from := slices.Index(chain, rec.Name)
			r.errorf(rec.at, CodeLoop, "the records need each other: %s; one of them must be known without the other", strings.Join(chain[from:], " -> "))
			return false
		}
		state[rec] = 1
		ok := true
		for _, name := range rec.Needs {
			if needed := byName[name]; needed != nil {
				ok = ok && visit(needed, chain)
			}
		}
		state[rec] = 2
		r.flow.Records = append(r.flow.Records, rec)
		return ok
	}
	for _, rec := range list {
		if !visit(rec, nil) {
			return
		}
	}
}

func (rec *Record) allUse() *use {
	u := &use{}
	if rec.when != nil {
		u.add(&rec.when.use)
	}
	if rec.key != nil {
		rec.key.uses(u)
	}
	for _, o := range rec.find.by {
		o.uses(u)
	}
	rec.find.top.uses(u)
	rec.set.uses(u)
	rec.new.uses(u)
	return u
}

// collect notes what the whole flow uses, for Surround, lanes and the hash.
func (r *flowReader) collect() {
	f := r.flow
	u := f.allUse()
	f.asks = slices.Compact(slices.Sorted(slices.Values(u.asks)))
	seen := map[string]bool{}
	for _, rec := range f.Records {
		seen[rec.Connector] = true
	}
	f.uses = slices.Sorted(maps.Keys(seen))
	f.Hash = f.hash(u, r.doc)
}

func (f *Flow) allUse() *use {
	u := &use{}
	for _, s := range f.From {
		for _, l := range s.lets {
			u.through(l)
		}
		if s.where != nil {
			u.add(&s.where.use)
		}
	}
	for _, v := range f.each {
		u.add(&v.expr.use)
	}
	for _, l := range f.lets {
		u.through(l)
	}
	for _, lane := range f.lanes {
		for _, k := range lane {
			k.value.uses(u)
		}
	}
	if f.where != nil {
		u.add(&f.where.use)
	}
	for _, v := range f.to {
		v.uses(u)
	}
	for _, q := range f.require {
		if q.that != nil {
			u.add(&q.that.use)
		}
		if q.say != nil {
			q.say.uses(u)
		}
	}
	for _, rec := range f.Records {
		u.add(rec.allUse())
	}
	return u
}
