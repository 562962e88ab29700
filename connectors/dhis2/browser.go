package dhis2

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

var _ connector.Browser = (*System)(nil)

// Resources are the lists that Browse looks in.
func (s *System) Resources() []string { return Resources }

// Browse lists metadata; without a resource, data sets and event programs.
func (s *System) Browse(ctx context.Context, do call.Doer, resource, words string, limit int) ([]connector.Metadata, error) {
	if resource != "" {
		list, err := s.Search(ctx, do, resource, words, limit)
		return described(resource, list), err
	}
	o, err := s.Metadata(ctx, do)
	if err != nil {
		return nil, err
	}
	var out []connector.Metadata
	for _, m := range append(described("dataSets", o.DataSets), described("programs", o.Programs)...) {
		if hasWords(m, words) && len(out) < limit {
			out = append(out, m)
		}
	}
	return out, nil
}

func described(resource string, list []Entry) []connector.Metadata {
	out := make([]connector.Metadata, len(list))
	for i, e := range list {
		out[i] = connector.Metadata{Resource: resource, ID: e.ID, Code: e.Code, Name: e.Name, About: cmp.Or(e.PeriodType, cmp.Or(e.ValueType, e.Path))}
	}
	return out
}

func hasWords(m connector.Metadata, words string) bool {
	in := strings.ToLower(m.Name + " " + m.Code)
	return !slices.ContainsFunc(strings.Fields(strings.ToLower(words)), func(w string) bool { return !strings.Contains(in, w) })
}

// Mapping gives the lines of a data set or an event program, by UID, code or name.
func (s *System) Mapping(ctx context.Context, do call.Doer, resource, ref string) (*connector.Mapping, error) {
	of, err := s.named(ctx, do, resource, ref)
	if err != nil {
		return nil, err
	}
	lines, err := s.Lines(ctx, do, of.ID)
	if err != nil {
		return nil, err
	}
	m := &connector.Mapping{Of: *of, Columns: LineHeader, Rows: make([][]string, len(lines))}
	for i, l := range lines {
		m.Rows[i] = l.Record()
	}
	return m, nil
}

// fewNamed is how many candidates an error lists.
const fewNamed = 10

// named finds a data set or program by UID or code, else by its whole name, else
// by words that only one has.
func (s *System) named(ctx context.Context, do call.Doer, resource, ref string) (*connector.Metadata, error) {
	all, err := s.Browse(ctx, do, "", "", 1<<20)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m connector.Metadata) bool { return resource != "" && m.Resource != resource })
	for _, same := range []func(m connector.Metadata) bool{
		func(m connector.Metadata) bool { return m.ID == ref || m.Code == ref },
		func(m connector.Metadata) bool { return strings.EqualFold(m.Name, ref) },
		func(m connector.Metadata) bool { return hasWords(m, ref) },
	} {
		var found []connector.Metadata
		for _, m := range all {
			if same(m) {
				found = append(found, m)
			}
		}
		if len(found) == 1 {
			return &found[0], nil
		}
		if len(found) > 1 {
			return nil, s.refused("list mapping lines", "%q fits %s; give the UID", ref, listed(found))
		}
	}
	return nil, s.refused("list mapping lines", "no data set or event program %q that the user may read; there are %s", ref, listed(all))
}

func listed(list []connector.Metadata) string {
	var out []string
	for _, m := range list[:min(len(list), fewNamed)] {
		out = append(out, fmt.Sprintf("%s (%s)", m.Name, m.ID))
	}
	if more := len(list) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return cmp.Or(strings.Join(out, ", "), "none")
}
