package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
