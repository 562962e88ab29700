package flow

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
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
		{name: "match", about: "name of the matching profile: standard", shape: "text"},
		{name: "near", about: "what to do with a near match: create, ask or skip", shape: "text", values: []string{"create", "ask", "skip"}},
		{name: "several", about: "what to do when several fit: ask or skip", shape: "text", values: []string{"ask", "skip"}},
	}
)

// Loader loads integrations.
type Loader struct {
	Registry connector.Registry
	Site     *Site // nil: site: values are not asked for, examples stand in
}

// Load reads one integration's folder and checks it. The Integration is nil
// only when integration.yaml cannot be read; it is to be run only when
// Problems.Err() is nil.
func Load(dir string, reg connector.Registry, site *Site) (*Integration, Problems) {
	return (&Loader{Registry: reg, Site: site}).Load(dir)
}

// LoadAll reads every integration in a folder. With a site, the ones it does
// not name, or has switched off, are left out.
func LoadAll(dir string, reg connector.Registry, site *Site) ([]*Integration, Problems) {
	return (&Loader{Registry: reg, Site: site}).LoadAll(dir)
}

// LoadAll reads every integration in a folder; see the function.
func (l *Loader) LoadAll(dir string) ([]*Integration, Problems) {
	r := &reader{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.add(SeverityError, CodeFile, &source{path: dir}, 1, 1, "cannot be read: "+plainError(err))
		return nil, r.problems
	}
	var out []*Integration
	found := map[string]bool{}
	byName := map[string]*Flow{}
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(sub, "integration.yaml")); err != nil {
			continue
		}
		found[e.Name()] = true
		if l.Site != nil && (l.Site.Integrations[e.Name()] == nil || !l.Site.Integrations[e.Name()].Active) {
			continue
		}
		i, problems := l.Load(sub)
		for _, p := range problems {
			if !strings.HasPrefix(p.File, "site.yaml") && !strings.HasPrefix(p.File, "tables/"+e.Name()) {
				p.File = e.Name() + "/" + p.File
			}
			r.problems = append(r.problems, p)
		}
		if i == nil {
			continue
		}
		for _, f := range i.Flows {
			if o := byName[f.Name]; o != nil {
				r.add(SeverityError, CodeDuplicateID, &source{path: e.Name() + "/" + f.File}, f.Line, 1,
					fmt.Sprintf("the flow %s is also in %s; the folders' short names must differ", f.Name, o.integ.ID))
			}
			byName[f.Name] = f
		}
		out = append(out, i)
	}
	if l.Site != nil {
		for _, id := range slices.Sorted(maps.Keys(l.Site.Integrations)) {
			if u := l.Site.Integrations[id]; !found[id] && u.at != nil {
				r.errorf(u.at, CodeFile, "there is no integration %q in %s%s", id, filepath.Base(dir), suggest(id, slices.Collect(maps.Keys(found))))
			}
		}
	}
	return out, r.problems.sorted()
}

// Load reads one integration's folder; see the function.
func (l *Loader) Load(dir string) (*Integration, Problems) {
	r := &reader{}
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	i := &Integration{ID: filepath.Base(abs), Dir: dir, Tables: map[string]*Table{}, Wins: Wins{}, values: map[string]any{}, site: l.Site,
		People: People{Match: "standard", Near: "ask", Several: "ask"}}
	docs := r.file(filepath.Join(dir, "integration.yaml"), "integration.yaml")
	if len(docs) == 0 {
		if len(r.problems) == 0 {
			r.add(SeverityError, CodeMissingKey, &source{path: "integration.yaml"}, 1, 1, "the file is empty; it needs title: and systems:")
		}
		return nil, r.problems.sorted()
	}
	r.tablesOf(i, l)
	r.integration(i, docs, l)
	r.flows(i, l)
	r.winsKnown(i, docs[0].get("wins"), l)
	i.Hash = i.hash()
	return i, r.problems.sorted()
}

func (r *reader) tablesOf(i *Integration, l *Loader) {
	paths, _ := filepath.Glob(filepath.Join(i.Dir, "tables", "*.csv")) // the pattern is ours: no error possible
	for _, p := range paths {
		if t := r.table(p, "tables/"+filepath.Base(p)); t != nil {
			i.Tables[t.Name] = t
		}
	}
	site := r.siteTables(l.Site, i.ID)
	for _, name := range slices.Sorted(maps.Keys(site)) {
		t := site[name]
		shipped := i.Tables[name]
		if shipped == nil {
			i.Tables[name] = t
			continue
		}
		if t.Columns[0] != shipped.Columns[0] {
			r.add(SeverityError, CodeTableFile, &source{path: t.file}, 1, 1, fmt.Sprintf("the first column must be %s, as in the shipped table", shipped.Columns[0]))
			continue
		}
		for _, c := range t.Columns {
			if !slices.Contains(shipped.Columns, c) {
				r.add(SeverityWarning, CodeTableFile, &source{path: t.file}, 1, 1, fmt.Sprintf("the shipped table has no column %q%s", c, suggest(c, shipped.Columns)))
			}
		}
		i.Tables[name] = shipped.over(t)
	}
}

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
	r.people(i, d.get("people"))
	for _, p := range r.object(d.get("wins")) {
		if w, ok := r.win(p.value, i, l.Registry, l.Site); ok {
			i.Wins[strings.ReplaceAll(p.key.text, ".", "/")] = w
		}
	}
	r.siteValues(i, d, l)
}

func (r *reader) people(i *Integration, n *node) {
	if n == nil || !r.keys(n, "people", peopleKeys) {
		return
	}
	if v := n.get("match"); v != nil {
		i.People.Match = r.text(v)
	}
	if v := n.get("near"); v != nil {
		i.People.Near = r.text(v)
	}
	if v := n.get("several"); v != nil {
		i.People.Several = r.text(v)
	}
}

// win reads one rule of wins.
func (r *reader) win(n *node, i *Integration, reg connector.Registry, site *Site) (Win, bool) {
	word := r.text(n)
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

// flows reads flows/*.yaml.
func (r *reader) flows(i *Integration, l *Loader) {
	paths, _ := filepath.Glob(filepath.Join(i.Dir, "flows", "*.y*ml")) // the pattern is ours: no error possible
	if len(paths) == 0 {
		r.add(SeverityError, CodeMissingKey, &source{path: "flows"}, 1, 1, "the folder has no flows/*.yaml")
	}
	names := map[string]*Flow{}
	for _, p := range paths {
		for _, doc := range r.file(p, "flows/"+filepath.Base(p)) {
			f := r.flow(doc, i, l)
			if f == nil {
				continue
			}
			if o := names[f.Short]; o != nil && f.Short != "" {
				n := doc.get("flow")
				r.errorf(n, CodeDuplicateID, "the flow %q is also in %s:%d; give it another name", f.Short, o.File, o.Line)
			}
			names[f.Short] = f
			i.Flows = append(i.Flows, f)
			r.declared(i, f, doc, l)
		}
	}
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

// samples reads the sample files of a source and learns their shape.
func (r *flowReader) samples(n *node, s *Source) bool {
	globs := r.list(n.get("sample"))
	if len(globs) == 0 {
		if slices.ContainsFunc(s.Message.Names, func(m connector.NameSpec) bool { return m.Sampled }) {
			r.warnf(n, CodeSample, "without sample: the names of questions cannot be checked; add sample: samples/*.json")
		}
		return false
	}
	for _, g := range globs {
		pattern := r.fixed(g)
		if !filepath.IsLocal(pattern) {
			r.errorf(g, CodeSample, "a sample lies inside the folder: samples/visit.json")
			continue
		}
		paths, err := filepath.Glob(filepath.Join(r.integ.Dir, filepath.FromSlash(pattern)))
		if err != nil || len(paths) == 0 {
			r.errorf(g, CodeSample, "no file fits %s", pattern)
			continue
		}
		for _, p := range paths {
			for _, v := range r.sampleFile(g, s, p) {
				s.shape = merge(s.shape, shapeOf(v))
			}
		}
	}
	if s.shape == nil {
		return false
	}
	s.shape.named("the samples")
	s.repeats = s.shape.lists(nil, nil)
	return true
}

// named says, for messages, where the names of a shape come from.
func (s *shape) named(from string) {
	if s == nil || s == leaf {
		return
	}
	s.from = from
	s.items.named(from)
	for _, f := range s.fields {
		f.named(from)
	}
}

const maxSample = 2 << 20

func (r *flowReader) sampleFile(g *node, s *Source, path string) []any {
	rel, err := filepath.Rel(r.integ.Dir, path)
	if err != nil {
		rel = path
	}
	b, err := os.ReadFile(path)
	if err != nil {
		r.errorf(g, CodeSample, "%s cannot be read: %s", rel, plainError(err))
		return nil
	}
	if len(b) > maxSample {
		r.errorf(g, CodeSample, "%s is larger than %d MB; a sample shows the names, cut it", rel, maxSample>>20)
		return nil
	}
	if c := r.load.Registry[s.Connector]; c != nil && c.Sample != nil {
		return r.sampleContents(g, rel, c, s.Message.Name, b)
	}
	v, err := decodeJSON(b)
	if err != nil {
		r.errorf(g, CodeSample, "%s is not JSON: %v", rel, err)
		return nil
	}
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

// sampleContents has the connector read a sample as its system sends it.
func (r *flowReader) sampleContents(g *node, rel string, c *connector.Connector, kind string, raw []byte) []any {
	contents, err := c.Sample(kind, raw)
	if err != nil {
		r.errorf(g, CodeSample, "%s cannot be read as a %s %s: %v", rel, c.Name, kind, err)
		return nil
	}
	var out []any
	for _, content := range contents {
		v, err := decodeJSON(content)
		if err != nil {
			r.errorf(g, CodeSample, "%s: %v", rel, err)
			return nil
		}
		out = append(out, v)
	}
	return out
}

// languageVersion is part of every flow's hash: a change of meaning of the
// language is a change of every flow.
const languageVersion = "1"

// hash is over everything that decides what the flow does: its text as YAML
// reads it, the tables and site values that it uses, the zone, who wins.
func (f *Flow) hash(u *use, doc *node) string {
	h := sha256.New()
	fmt.Fprintf(h, "kiungo flow %s\n%s\n%s\n", languageVersion, f.Name, f.integ.Zone)
	doc.write(h)
	names := slices.Compact(slices.Sorted(slices.Values(u.tables)))
	if u.tablesX {
		names = slices.Sorted(maps.Keys(f.integ.Tables))
	}
	for _, n := range names {
		if t := f.integ.Tables[n]; t != nil {
			fmt.Fprintf(h, "table %q %x\n", n, t.hash())
		}
	}
	for _, s := range f.From {
		for _, p := range s.repeats {
			fmt.Fprintf(h, "list %q\n", p)
		}
	}
	if s := f.integ.site; s != nil {
		fmt.Fprintf(h, "site %q %q\n", s.Region, s.Language)
		for _, name := range slices.Sorted(maps.Keys(s.Systems)) {
			fmt.Fprintf(h, "system %q %q %q %t\n", name, s.Systems[name].Connector, s.Systems[name].Places, s.Systems[name].Active)
		}
	}
	writeJSON(h, f.integ.values)
	writeJSON(h, f.integ.People)
	f.integ.Wins.write(h)
	for _, r := range f.Records {
		r.Wins.write(h)
		r.integWins = f.integ.Wins
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (w Wins) write(h hash.Hash) {
	for _, k := range slices.Sorted(maps.Keys(w)) {
		fmt.Fprintf(h, "%q %s %s", k, w[k].Rule, w[k].System)
		if w[k].Table != nil {
			h.Write(w[k].Table.hash())
		}
	}
}

func writeJSON(w io.Writer, v any) {
	b, err := json.Marshal(v) // maps come sorted; only text, numbers and bools are inside
	if err != nil {
		b = fmt.Append(nil, err)
	}
	_, _ = w.Write(b) // a hash cannot fail
}

// write puts a node into a hash: comments, quotes and layout do not count.
func (n *node) write(w io.Writer) {
	fmt.Fprintf(w, "%d%q", n.kind, n.text)
	for _, p := range n.pairs {
		fmt.Fprintf(w, "{%q", p.key.text)
		p.value.write(w)
	}
	for _, i := range n.items {
		fmt.Fprint(w, "[")
		i.write(w)
	}
	fmt.Fprint(w, ";")
}

func (i *Integration) hash() string {
	h := sha256.New()
	for _, f := range i.Flows {
		fmt.Fprintln(h, f.Name, f.Hash)
	}
	for _, n := range slices.Sorted(maps.Keys(i.Tables)) {
		fmt.Fprintf(h, "%q %x\n", n, i.Tables[n].hash())
	}
	return hex.EncodeToString(h.Sum(nil))
}
