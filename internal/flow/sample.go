package flow

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// samples reads the sample files of a source and learns their shape.
func (r *flowReader) samples(n *node, s *Source) bool {
	globs := r.list(n.get("sample"))
	if len(globs) == 0 {
		if slices.ContainsFunc(s.Message.Names, func(m connector.NameSpec) bool { return m.Sampled }) {
			r.warnf(n, CodeSample, "without sample: the names of questions cannot be checked; add sample: samples/*.json")
		}
		return false
	}
	var contents []any
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
		// A site adds samples of its own forms beside site.yaml.
		if site := r.load.Site; site != nil {
			more, _ := filepath.Glob(filepath.Join(site.Dir, "samples", r.integ.ID, filepath.Base(filepath.FromSlash(pattern)))) // the pattern was good above
			paths = append(paths, more...)
		}
		for _, p := range paths {
			contents = append(contents, r.sampleFile(g, s, p)...)
		}
	}
	for _, v := range contents {
		s.shape = merge(s.shape, shapeOf(v))
	}
	r.filtersInSamples(s, contents)
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

// filtersInSamples reports a filter that no sample passes: the flow would
// never run.
func (r *flowReader) filtersInSamples(s *Source, contents []any) {
	for _, l := range s.literal {
		passes := slices.ContainsFunc(contents, func(c any) bool {
			v, err := at(l.path, c, strings.Split(l.path, "/"))
			t, ok := asText(v)
			return err == nil && ok && slices.Contains(s.Filter[l.path], t)
		})
		if !passes && len(contents) > 0 {
			r.warnf(l.at, CodeSample, "no sample has %s = %s; the flow may never run", strings.ReplaceAll(l.path, "/", "."), l.at.text)
		}
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
