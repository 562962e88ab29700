package flow

import (
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

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
	r.approval(sc)
}

// approval reads approve, which is asked once the records are planned.
func (r *flowReader) approval(sc *scope) {
	n := r.doc.get("approve")
	if n == nil || !r.keys(n, "approve", approveKeys) {
		return
	}
	a := &Approval{}
	if s := n.get("say"); s != nil {
		a.say, _ = r.template(s, sc, "say")
	}
	if w := n.get("when"); w != nil {
		a.when = r.bare(w, sc, "when")
	}
	r.flow.Approve = a
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
		rec.origins = r.originsOf(s)
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
			word := r.siteText(p.value, r.integ)
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
	if !slices.Contains([]None{Create, SkipNone, AskNone, Absent}, f.none) {
		r.errorf(n, CodeValue, "none cannot be %q%s", word, suggest(word, []string{"create", "skip", "ask", "absent", "wait 2 days"}))
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
