package flow

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

var (
	integrationKeys = []key{
		{name: "title", about: "what people call it", shape: "text", required: true},
		{name: "about", about: "what it does", shape: "text"},
		{name: "systems", about: "the connectors, or names of systems, that it uses", shape: "text list", required: true},
		{name: "zone", about: "time zone of days and of moments without one, if the site says none", shape: "text"},
		{name: "site", about: "the values that a site fills in", shape: "site map"},
		{name: "people", about: "how people are matched", shape: "people"},
		{name: "wins", about: "who wins in both directions: {default: commcare, birthdate: openmrs, phone: latest}", shape: "text map"},
	}
	siteValueKeys = []key{
		{name: "about", about: "what it is and where to find it", shape: "text", required: true},
		{name: "default", about: "used when the site says nothing", shape: "any"},
		{name: "example", about: "a value as it could be", shape: "any"},
		{name: "type", about: "text, number or yes or no; text if not said", shape: "text", values: []string{"text", "number", "yes or no"}},
		{name: "optional", about: "true: may be left out, and is absent then", shape: "bool"},
	}
	peopleKeys = []key{
		{name: "match", about: "how people are matched: standard, or a profile of the site's own", shape: "any"},
		{name: "near", about: "what to do with a near match: create, ask or skip", shape: "text", values: []string{"create", "ask", "skip"}},
		{name: "several", about: "what to do when several fit: ask or skip", shape: "text", values: []string{"ask", "skip"}},
	}
)

func (r *reader) integration(i *Integration, docs []*node, l *Loader) {
	d := docs[0]
	if len(docs) > 1 {
		r.errorf(docs[1], CodeShape, "integration.yaml is one document; take the --- out")
	}
	if !r.keys(d, "integration.yaml", integrationKeys) {
		return
	}
	i.Title, i.About = r.text(d.get("title")), r.text(d.get("about"))
	for _, n := range r.list(d.get("systems")) {
		name := r.text(n)
		i.Systems = append(i.Systems, name)
		if l.Registry[name] == nil && (l.Site == nil || l.Site.Systems[name] == nil) {
			r.errorf(n, CodeMessage, "there is no connector and no system %q%s", name, suggest(name, slices.Collect(maps.Keys(l.Registry))))
		}
	}
	i.Zone = r.zone(d.get("zone"))
	if l.Site != nil && l.Site.Zone != nil {
		i.Zone = l.Site.Zone
	}
	if i.Zone == nil {
		i.Zone = time.UTC
		if d.get("zone") == nil {
			r.warnf(d, CodeMissingKey, "no zone is said here or in site.yaml; UTC is used. Write zone: Africa/Nairobi")
		}
	}
	r.siteValues(i, d, l)
	r.people(i, d.get("people"))
	for _, p := range r.object(d.get("wins")) {
		if w, ok := r.win(p.value, i, l.Registry, l.Site); ok {
			i.Wins[strings.ReplaceAll(p.key.text, ".", "/")] = w
		}
	}
}

func (r *reader) people(i *Integration, n *node) {
	if n == nil || !r.keys(n, "people", peopleKeys) {
		return
	}
	if v := n.get("match"); v != nil {
		r.profile(i, v)
	}
	if v := n.get("near"); v != nil {
		i.People.Near = r.word(v, i, "create", "ask", "skip")
	}
	if v := n.get("several"); v != nil {
		i.People.Several = r.word(v, i, "ask", "skip")
	}
}

// siteText is text, or a value of the site alone: '${site.near}'.
func (r *reader) siteText(n *node, i *Integration) string {
	text := r.text(n)
	name, ok := strings.CutPrefix(text, "${site.")
	if !ok {
		return text
	}
	v, ok := asText(i.values[strings.TrimSuffix(name, "}")])
	if !ok {
		r.errorf(n, CodeValue, "%s is no site value of this integration, or is not filled in", text)
	}
	return v
}

// word is one of a few words, written out or the site's.
func (r *reader) word(n *node, i *Integration, allowed ...string) string {
	word := r.siteText(n, i)
	if !slices.Contains(allowed, word) {
		r.errorf(n, CodeValue, "this cannot be %q%s", word, suggest(word, allowed))
	}
	return word
}

// win reads one rule of wins.
func (r *reader) win(n *node, i *Integration, reg connector.Registry, site *Site) (Win, bool) {
	word := r.siteText(n, i)
	switch word {
	case "latest", "both", "ask":
		return Win{Rule: WinRule(word)}, true
	}
	if name, ok := strings.CutPrefix(word, "furthest"); ok {
		t := i.Tables[strings.TrimSpace(name)]
		if t == nil {
			r.errorf(n, CodeTable, "furthest needs a table of allowed steps; there is no table %q%s", strings.TrimSpace(name), suggest(strings.TrimSpace(name), slices.Collect(maps.Keys(i.Tables))))
			return Win{}, false
		}
		if !slices.Contains(t.Columns, "from") || !slices.Contains(t.Columns, "to") {
			r.errorf(n, CodeTable, "table %q needs the columns from and to; it has %s", t.Name, strings.Join(t.Columns, ", "))
			return Win{}, false
		}
		return Win{Rule: WinFurthest, Table: t}, true
	}
	if reg[word] != nil || site != nil && site.Systems[word] != nil {
		return Win{Rule: WinSystem, System: word}, true
	}
	r.errorf(n, CodeValue, "%q cannot win%s", word, suggest(word, slices.Concat([]string{"latest", "both", "ask", "furthest TABLE"}, slices.Collect(maps.Keys(reg)))))
	return Win{}, false
}

// winsKnown warns of rules for fields that nothing has: a slip of the pen there
// would let the default decide in silence.
func (r *reader) winsKnown(i *Integration, n *node, l *Loader) {
	names := map[string]bool{"default": true}
	for _, name := range i.Systems {
		if l.Site != nil && l.Site.Systems[name] != nil {
			name = l.Site.Systems[name].Connector
		}
		if c := l.Registry[name]; c != nil {
			for _, k := range c.Kinds {
				fieldNames(slices.Concat(k.Fields, k.Gives), names)
			}
		}
	}
	for _, f := range i.Flows {
		for _, rec := range f.Records {
			rec.set.names(names)
			rec.new.names(names)
		}
	}
	check := func(k *node) {
		path := strings.ReplaceAll(k.text, ".", "/")
		if last := path[lastSlash(path)+1:]; !names[last] {
			r.warnf(k, CodeField, "no record has a field %q%s", last, suggest(last, slices.Collect(maps.Keys(names))))
		}
	}
	for _, p := range r.objectOrNil(n) {
		check(p.key)
	}
	for _, f := range i.Flows {
		for _, rec := range f.Records {
			for _, k := range rec.winKeys {
				check(k)
			}
		}
	}
}

func (r *reader) objectOrNil(n *node) []pair {
	if n == nil || n.kind != mapNode {
		return nil
	}
	return n.pairs
}

func fieldNames(specs []connector.FieldSpec, into map[string]bool) {
	for _, f := range specs {
		into[f.Name] = true
		fieldNames(f.Fields, into)
	}
}

// names collects the names that an object's fields have, at any depth.
func (o *object) names(into map[string]bool) {
	if o == nil {
		return
	}
	for _, f := range o.fields {
		into[f.name] = true
		if inner, ok := f.v.(*object); ok {
			inner.names(into)
		}
	}
}

// siteValues reads what the integration asks its site for, and what it says.
func (r *reader) siteValues(i *Integration, d *node, l *Loader) {
	var use *SiteIntegration
	if l.Site != nil {
		use = l.Site.Integrations[i.ID]
	}
	declared := map[string]bool{}
	for _, p := range r.object(d.get("site")) {
		declared[p.key.text] = true
		if !identifier(p.key.text) {
			r.errorf(p.key, CodeValue, "%q cannot be a name in expressions; use letters, digits and _", p.key.text)
			continue
		}
		if !r.keys(p.value, "site value "+p.key.text, siteValueKeys) {
			continue
		}
		v := SiteValue{Name: p.key.text, About: r.text(p.value.get("about")), Type: connector.Text}
		if t := p.value.get("type"); t != nil {
			v.Type = connector.Type(r.text(t))
		}
		if o := p.value.get("optional"); o != nil {
			v.Optional = r.boolean(o)
		}
		if e := p.value.get("example"); e != nil {
			v.Example = r.text(e)
		}
		if n := p.value.get("default"); n != nil {
			v.Default = r.siteValue(n, v)
		}
		i.Declared = append(i.Declared, v)
		i.values[v.Name] = r.siteChoice(i, v, use, l)
	}
	if use == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(use.values)) {
		if !declared[name] {
			r.errorf(use.values[name], CodeSite, "integration %s asks for no site value %q%s", i.ID, name, suggest(name, slices.Collect(maps.Keys(declared))))
		}
	}
}

func (r *reader) siteChoice(i *Integration, v SiteValue, use *SiteIntegration, l *Loader) any {
	switch {
	case use != nil && use.values[v.Name] != nil:
		return r.siteValue(use.values[v.Name], v)
	case v.Default != nil:
		return v.Default
	case v.Optional:
		return nil
	case !i.asks(v.Name):
		return "site:" + v.Name // only flows that are off use it
	case l.Site == nil:
		if v.Example != "" {
			return v.Example
		}
		return "site:" + v.Name
	}
	at := &node{src: &source{path: "site.yaml"}, line: 1, col: 1}
	if use != nil && use.at != nil {
		at = use.at
	}
	example := v.Example
	if example == "" {
		example = "…"
	}
	r.errorf(at, CodeSite, "integration %s needs the site value %s: %s; write integrations: {%s: {site: {%s: '%s'}}}", i.ID, v.Name, v.About, i.ID, v.Name, example)
	return "site:" + v.Name
}

func (r *reader) siteValue(n *node, v SiteValue) any {
	t := r.text(n)
	switch v.Type {
	case connector.Number:
		f, ok := parseNumber(t)
		if !ok {
			r.errorf(n, CodeType, "%s is a number; %q is none", v.Name, t)
		}
		return f
	case connector.Bool:
		if n.kind != boolNode {
			r.errorf(n, CodeType, "%s is yes or no; write true or false", v.Name)
		}
		return t == "true"
	}
	if n.kind != textNode {
		r.errorf(n, CodeType, "%s is text; quote it: '%s'", v.Name, t)
	}
	return t
}

// declared checks that integration.yaml lists the systems that a flow uses.
func (r *reader) declared(i *Integration, f *Flow, doc *node, l *Loader) {
	listed := func(connectorName string) bool {
		return slices.ContainsFunc(i.Systems, func(s string) bool {
			return s == connectorName || l.Site != nil && l.Site.Systems[s] != nil && l.Site.Systems[s].Connector == connectorName
		})
	}
	for _, s := range f.From {
		if !listed(s.Connector) {
			r.errorf(s.at, CodeSystem, "integration.yaml does not list %s under systems:; add it", s.Connector)
		}
	}
	for _, rec := range f.Records {
		if !listed(rec.Connector) {
			r.errorf(rec.at, CodeSystem, "integration.yaml does not list %s under systems:; add it", rec.Connector)
		}
	}
}
