package flow

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// Site is what one place of use adds to the shipped integrations: which are
// active, the systems, and the values that flows call site:. It lives in
// site.yaml outside the shipped folders, with rows for their tables in
// tables/<integration>/<table>.csv beside it.
type Site struct {
	Zone         *time.Location // nil if not said
	Region       string         // for phone numbers without a country code: "KE"
	Language     string         // column of texts.csv: "en"
	Systems      map[string]*System
	Integrations map[string]*SiteIntegration
	Keep         Retention
	Backup       *Backup // nil: none is made by schedule
	Dir          string

	src *source
}

// Retention says how long things are kept, 0 for ever: contents of messages after
// their deliveries ended, and ended deliveries before they are archived.
type Retention struct{ Content, Deliveries time.Duration }

// System is a configured instance of a connector.
type System struct {
	Name      string
	Connector string
	Options   map[string]string // secrets as "env:NAME" or "file:PATH"
	Places    []string          // ids or site codes of the places it serves
	Active    bool
	Zone      *time.Location // nil: the site's
	at        *node
}

// SiteIntegration is how a site uses an integration.
type SiteIntegration struct {
	Active bool
	Values map[string]any // as they are written
	at     *node
	values map[string]*node
	off    []*node // names of flows
}

// Keys of site.yaml.
var (
	siteKeys = []key{
		{name: "zone", about: "time zone of days and of moments without one: Africa/Nairobi", shape: "text"},
		{name: "region", about: "two letters of the country for phone numbers written without its code: KE", shape: "text"},
		{name: "language", about: "the column of texts.csv that is used: en", shape: "text"},
		{name: "keep", about: "how long contents and deliveries are kept", shape: "keep"},
		{name: "systems", about: "the systems by name", shape: "system map"},
		{name: "integrations", about: "the integrations that are used, by the name of their folder", shape: "use map"},
		{name: "backup", about: "backups of the ledger that are made by themselves", shape: "backup"},
	}
	systemKeys = []key{
		{name: "connector", about: "the kind of system: openmrs", shape: "text", required: true},
		{name: "options", about: "its settings; secrets as env:NAME or file:PATH", shape: "text map"},
		{name: "places", about: "ids or site codes of the places it serves", shape: "text list"},
		{name: "active", about: "false: it is neither asked nor written", shape: "bool"},
		{name: "zone", about: "its time zone, if it is not the site's", shape: "text"},
	}
	keepKeys = []key{
		{name: "content", about: "how long after its deliveries ended the content of a message is kept: 90 days (if it is not said); or ever", shape: "text"},
		{name: "deliveries", about: "how long ended deliveries stay in the ledger before they go into the archive: 365 days (if it is not said); or ever", shape: "text"},
	}
	useKeys = []key{
		{name: "active", about: "false: its flows do not run", shape: "bool"},
		{name: "off", about: "names of its flows that do not run here: they get no deliveries and ask for no lists, and site values that only they use need not be given", shape: "text list"},
		{name: "site", about: "the values that integration.yaml asks for", shape: "any map"},
	}
)

// LoadSite reads a site.yaml. The Site is never nil; with errors it is not to
// be used.
func LoadSite(path string, reg connector.Registry) (*Site, Problems) {
	r := &reader{}
	s := &Site{Dir: filepath.Dir(path), Systems: map[string]*System{}, Integrations: map[string]*SiteIntegration{}}
	docs := r.file(path, filepath.Base(path))
	if len(docs) > 1 {
		r.errorf(docs[1], CodeShape, "a site is one document; take the --- out")
	}
	if len(docs) == 0 {
		if len(r.problems) == 0 {
			r.add(SeverityError, CodeMissingKey, &source{path: filepath.Base(path)}, 1, 1, "the file is empty; it needs systems: and integrations:")
		}
		return s, r.problems.sorted()
	}
	d := docs[0]
	s.src = d.src
	if !r.keys(d, "site.yaml", siteKeys) {
		return s, r.problems.sorted()
	}
	s.Zone = r.zone(d.get("zone"))
	s.Language = r.text(d.get("language"))
	if n := d.get("region"); n != nil {
		s.Region = strings.ToUpper(r.text(n))
		if phonenumbers.GetCountryCodeForRegion(s.Region) == 0 {
			r.errorf(n, CodeValue, "%q is not a country of the phone network; write its two letters: KE", s.Region)
		}
	}
	s.Keep = r.keep(d.get("keep"))
	s.Backup = r.backup(d.get("backup"))
	for _, p := range r.object(d.get("systems")) {
		s.Systems[p.key.text] = r.system(p, reg)
	}
	for _, p := range r.object(d.get("integrations")) {
		s.Integrations[p.key.text] = r.use(p)
	}
	return s, r.problems.sorted()
}

// usualKeep is how long things are kept if the site does not say.
var usualKeep = Retention{Content: 90 * 24 * time.Hour, Deliveries: 365 * 24 * time.Hour}

// leastKeep is the shortest time that things are kept.
const leastKeep = 24 * time.Hour

func (r *reader) keep(n *node) Retention {
	k := usualKeep
	if n == nil || !r.keys(n, "keep", keepKeys) {
		return k
	}
	k.Content = r.kept(n.get("content"), k.Content)
	k.Deliveries = r.kept(n.get("deliveries"), k.Deliveries)
	if k.Deliveries > 0 && k.Content > k.Deliveries {
		r.errorf(n, CodeValue, "content cannot be kept longer than deliveries: what is in the archive is not wiped later; write content: ever to keep it there")
	}
	return k
}

func (r *reader) kept(n *node, usual time.Duration) time.Duration {
	if n == nil {
		return usual
	}
	if r.text(n) == "ever" {
		return 0
	}
	d := r.span(n)
	if d > 0 && d < leastKeep {
		r.errorf(n, CodeValue, "%q is too short; keep it a day at least", n.text)
	}
	return d
}

func (r *reader) system(p pair, reg connector.Registry) *System {
	sys := &System{Name: p.key.text, Options: map[string]string{}, Active: true, at: p.key}
	if !r.keys(p.value, "system "+p.key.text, systemKeys) {
		return sys
	}
	sys.Connector = r.text(p.value.get("connector"))
	sys.Zone = r.zone(p.value.get("zone"))
	if n := p.value.get("active"); n != nil {
		sys.Active = r.boolean(n)
	}
	for _, n := range r.list(p.value.get("places")) {
		sys.Places = append(sys.Places, r.text(n))
	}
	c := reg[sys.Connector]
	if c == nil {
		if n := p.value.get("connector"); n != nil {
			r.errorf(n, CodeMessage, "there is no connector %q%s", sys.Connector, suggest(sys.Connector, slices.Collect(maps.Keys(reg))))
		}
		return sys
	}
	r.options(p, sys, c)
	return sys
}

func (r *reader) options(p pair, sys *System, c *connector.Connector) {
	specs, names := map[string]connector.Option{}, []string{}
	for _, o := range slices.Concat(c.Options, connector.CommonOptions) {
		if _, own := specs[o.Name]; own {
			continue
		}
		specs[o.Name] = o
		names = append(names, o.Name)
		if o.Default != "" {
			sys.Options[o.Name] = o.Default
		}
	}
	given := p.value.get("options")
	for _, o := range r.object(given) {
		spec, ok := specs[o.key.text]
		if !ok {
			r.errorf(o.key, CodeUnknownKey, "%q is not an option of %s%s", o.key.text, c.Name, suggest(o.key.text, names))
			continue
		}
		v := r.text(o.value)
		if spec.Secret && !strings.HasPrefix(v, "env:") && !strings.HasPrefix(v, "file:") {
			r.add(SeverityError, CodeSecret, &source{path: o.value.src.path}, o.value.line, o.value.col,
				o.key.text+" is a secret and must not stand in a file that is shown and copied; write env:NAME or file:PATH")
			continue
		}
		sys.Options[o.key.text] = v
	}
	for _, o := range c.Options {
		if o.Required && sys.Options[o.Name] == "" {
			r.errorf(p.key, CodeMissingKey, "system %s needs the option %s: %s", sys.Name, o.Name, o.About)
		}
	}
}

func (r *reader) use(p pair) *SiteIntegration {
	u := &SiteIntegration{Active: true, Values: map[string]any{}, values: map[string]*node{}, at: p.key}
	if p.value.kind == nullNode {
		return u
	}
	if !r.keys(p.value, "integration "+p.key.text, useKeys) {
		return u
	}
	if n := p.value.get("active"); n != nil {
		u.Active = r.boolean(n)
	}
	for _, n := range r.list(p.value.get("off")) {
		if r.text(n) != "" {
			u.off = append(u.off, n)
		}
	}
	for _, v := range r.object(p.value.get("site")) {
		u.values[v.key.text] = v.value
		u.Values[v.key.text] = r.text(v.value)
	}
	return u
}

// Serving lists the systems of a connector, active ones first, by name.
func (s *Site) Serving(connectorName string) []*System {
	if s == nil {
		return nil
	}
	var out []*System
	for _, name := range slices.Sorted(maps.Keys(s.Systems)) {
		if sys := s.Systems[name]; sys.Connector == connectorName {
			out = append(out, sys)
		}
	}
	slices.SortStableFunc(out, func(a, b *System) int {
		switch {
		case a.Active == b.Active:
			return 0
		case a.Active:
			return -1
		}
		return 1
	})
	return out
}

// Active lists the ids of the integrations that the site runs.
func (s *Site) Active() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(s.Integrations)) {
		if s.Integrations[id].Active {
			out = append(out, id)
		}
	}
	return out
}

// tables reads the site's rows for an integration.
func (r *reader) siteTables(s *Site, id string) map[string]*Table {
	out := map[string]*Table{}
	if s == nil {
		return out
	}
	dir := filepath.Join(s.Dir, "tables", id)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return out // a site need not have any
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".csv" {
			if t := r.table(filepath.Join(dir, e.Name()), filepath.Join("tables", id, e.Name())); t != nil {
				out[t.Name] = t
			}
		}
	}
	return out
}
