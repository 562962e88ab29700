package flow

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
)

// switchedOff reads which flows of the integration the site has switched off.
// They are not loaded: they get no deliveries and their lists are not asked for.
// Site values that only they use need not be given.
func (r *reader) switchedOff(i *Integration, d *node, l *Loader) {
	if l.Site == nil || l.Site.Integrations[i.ID] == nil || len(l.Site.Integrations[i.ID].off) == 0 {
		return
	}
	use := l.Site.Integrations[i.ID]
	off := map[string]bool{}
	for _, n := range use.off {
		off[n.text] = true
	}
	known := map[string]bool{}
	i.mentioned = map[string]bool{}
	quiet := &reader{} // flows reads the files once more, and says what is wrong
	for _, path := range flowFiles(i.Dir) {
		for _, doc := range quiet.file(path, filepath.Base(path)) {
			name := ""
			if n := doc.get("flow"); n != nil {
				name = n.text
			}
			known[name] = true
			if !off[name] {
				doc.mentions(i.mentioned)
			}
		}
	}
	for _, k := range []string{"people", "wins"} {
		if n := d.get(k); n != nil {
			n.mentions(i.mentioned)
		}
	}
	for _, n := range use.off {
		if !known[n.text] {
			r.errorf(n, CodeSite, "integration %s has no flow %q%s", i.ID, n.text, suggest(n.text, slices.Collect(maps.Keys(known))))
		}
	}
	i.Off = slices.Sorted(maps.Keys(off))
	if len(known) > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(known)), func(name string) bool { return !off[name] }) {
		r.errorf(use.off[0], CodeSite, "every flow of %s is off; write active: false instead", i.ID)
	}
}

func flowFiles(dir string) []string {
	paths, _ := filepath.Glob(filepath.Join(dir, "flows", "*.y*ml")) // the pattern is ours: no error possible
	return paths
}

// siteName finds the site values that a text uses: site.report, site["report"].
var siteName = regexp.MustCompile(`\bsite\s*(?:\.\s*|\[\s*["'])([A-Za-z_][A-Za-z0-9_]*)`)

// siteAny finds a site value whose name is worked out.
var siteAny = regexp.MustCompile(`\bsite\s*\[\s*[^"'\s]`)

// anyName stands for all of them.
const anyName = "*"

// mentions collects the names of the site values that a document uses, at any depth.
func (n *node) mentions(into map[string]bool) {
	for _, m := range siteName.FindAllStringSubmatch(n.text, -1) {
		into[m[1]] = true
	}
	if siteAny.MatchString(n.text) {
		into[anyName] = true
	}
	for _, p := range n.pairs {
		p.value.mentions(into)
	}
	for _, item := range n.items {
		item.mentions(into)
	}
}

// asks tells whether a flow that is on may use the site value.
func (i *Integration) asks(name string) bool {
	return i.mentioned == nil || i.mentioned[name] || i.mentioned[anyName]
}
