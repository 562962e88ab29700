package flow

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// shape is what is known of a value before there is one: which fields it has,
// and whether it is a list. nil is anything.
type shape struct {
	open   bool // fields that are not named here may be asked for, too
	list   bool
	items  *shape
	fields map[string]*shape
	table  *Table // rows of this table
	from   string // where the names come from, for messages
}

// leaf is a value without fields: text, a number.
var leaf = &shape{fields: map[string]*shape{}}

// field gives the shape of a field; false when there is surely none.
func (s *shape) field(name string) (*shape, bool) {
	if s == nil {
		return nil, true
	}
	if f, ok := s.fields[name]; ok {
		return f, true
	}
	return nil, s.open
}

func (s *shape) names() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.fields))
}

// row gives the shape of a list's rows.
func (s *shape) row() *shape {
	if s == nil || !s.list {
		return s
	}
	return s.items
}

// shapeOf learns the shape of a JSON value; null tells nothing.
func shapeOf(v any) *shape {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		s := &shape{fields: make(map[string]*shape, len(v))}
		for k, x := range v {
			s.fields[k] = shapeOf(x)
		}
		if _, ok := v["#text"]; ok {
			s.open = true
		}
		return s
	case []any:
		s := &shape{list: true}
		for _, x := range v {
			s.items = merge(s.items, shapeOf(x))
		}
		return s
	}
	return leaf
}

// merge joins what two samples show. A list in one is a list: a repeat with one
// row looks like a group.
func merge(a, b *shape) *shape {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	if a.list || b.list {
		return &shape{list: true, items: merge(a.row(), b.row()), open: a.open || b.open}
	}
	out := &shape{open: a.open || b.open, fields: maps.Clone(a.fields), from: cmp.Or(a.from, b.from), table: a.table}
	if out.fields == nil {
		out.fields = map[string]*shape{}
	}
	for k, x := range b.fields {
		out.fields[k] = merge(out.fields[k], x)
	}
	return out
}

// spelled makes a shape from a NameSpec's Fields: "meta.timeEnd", "cases[].case_id".
// A field without named parts may have any.
func spelled(fields []string) *shape {
	root := &shape{fields: map[string]*shape{}}
	for _, f := range fields {
		at := root
		for part := range strings.SplitSeq(f, ".") {
			name, isList := strings.CutSuffix(part, "[]")
			next := at.fields[name]
			if next == nil {
				next = &shape{fields: map[string]*shape{}}
				if isList {
					next = &shape{list: true, items: &shape{fields: map[string]*shape{}}}
				}
				at.fields[name] = next
			}
			at = next
			if at.list {
				at = at.items
			}
		}
	}
	root.loosen()
	return root
}

// loosen opens what no part is named of.
func (s *shape) loosen() {
	if s.list && s.items != nil {
		s.items.loosen()
	}
	if len(s.fields) == 0 && !s.list {
		s.open = true
	}
	for _, f := range s.fields {
		f.loosen()
	}
}

// complete adds to what samples show what is spelled out elsewhere. Where both
// say something, a sample knows more than a name without parts.
func complete(sample, spelled *shape) *shape {
	switch {
	case sample == nil:
		return spelled
	case spelled == nil || sample.list != spelled.list || sample.list:
		return sample
	}
	out := *sample
	out.fields = maps.Clone(sample.fields)
	if out.fields == nil {
		out.fields = map[string]*shape{}
	}
	for name, f := range spelled.fields {
		if have, ok := out.fields[name]; ok {
			out.fields[name] = complete(have, f)
		} else {
			out.fields[name] = f
		}
	}
	return &out
}

// lists gives the paths at which a sample has a list.
func (s *shape) lists(prefix []string, out [][]string) [][]string {
	if s == nil {
		return out
	}
	if s.list {
		out = append(out, slices.Clone(prefix))
		return s.items.lists(append(slices.Clone(prefix), "*"), out)
	}
	for _, name := range s.names() {
		out = s.fields[name].lists(append(slices.Clone(prefix), name), out)
	}
	return out
}

// asLists makes what is a list in some sample a list in this content: a repeat
// with one row arrives as a group, one without rows not at all. What is changed
// is copied.
func asLists(v any, paths [][]string) any {
	for _, p := range paths {
		v = asList(v, p)
	}
	return v
}

func asList(v any, path []string) any {
	if len(path) == 0 {
		switch v := v.(type) {
		case []any:
			return v
		case nil:
			return []any{}
		case string:
			if absent(v) {
				return []any{}
			}
		}
		return []any{v}
	}
	switch v := v.(type) {
	case map[string]any:
		if path[0] == "*" {
			return v
		}
		child, has := v[path[0]]
		if !has && len(path) > 1 {
			return v
		}
		if _, ok := child.([]any); ok && len(path) == 1 {
			return v
		}
		out := maps.Clone(v)
		out[path[0]] = asList(child, path[1:])
		return out
	case []any:
		if path[0] != "*" {
			return v
		}
		out := slices.Clone(v)
		for i := range out {
			out[i] = asList(out[i], path[1:])
		}
		return out
	}
	return v
}

// tableShape is the shape of table(name).
func tableShape(t *Table) *shape {
	row := &shape{fields: map[string]*shape{}, table: t, from: t.file}
	for _, c := range t.Columns {
		row.fields[c] = leaf
	}
	return &shape{list: true, items: row, table: t}
}

// recordShape is what ${record.x} may use.
func recordShape(k *connector.KindSpec, kind string) *shape {
	if k == nil {
		return nil
	}
	s := fieldsShape(slices.Concat(k.Fields, k.Gives))
	s.fields["id"] = leaf
	s.open = k.Open != ""
	found := fieldsShape(slices.Concat(k.Fields, k.Gives))
	found.open = s.open
	found.from = kind
	s.fields["found"] = found
	s.from = kind
	return s
}

func fieldsShape(specs []connector.FieldSpec) *shape {
	s := &shape{fields: map[string]*shape{}}
	for _, f := range specs {
		var c *shape
		switch {
		case f.Open || f.Type == connector.Any:
			c = nil
		case len(f.Fields) > 0:
			c = fieldsShape(f.Fields)
		default:
			c = leaf
		}
		if f.List {
			c = &shape{list: true, items: c}
		}
		s.fields[f.Name] = c
	}
	return s
}

// decodeJSON decodes one JSON document with numbers as they are written.
func decodeJSON(b []byte) (any, error) {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("more than one JSON document")
	}
	return v, nil
}
