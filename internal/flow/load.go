package flow

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
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
	r.switchedOff(i, docs[0], l)
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

// flows reads flows/*.yaml.
func (r *reader) flows(i *Integration, l *Loader) {
	paths := flowFiles(i.Dir)
	if len(paths) == 0 {
		r.add(SeverityError, CodeMissingKey, &source{path: "flows"}, 1, 1, "the folder has no flows/*.yaml")
	}
	names := map[string]*Flow{}
	for _, p := range paths {
		for _, doc := range r.file(p, "flows/"+filepath.Base(p)) {
			if n := doc.get("flow"); n != nil && slices.Contains(i.Off, n.text) {
				continue
			}
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
