package flow

import (
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// AnyField is the name of a FieldSpec that stands for every name that is not
// listed beside it: case properties.
const AnyField = "*"

func specNamed(specs []connector.FieldSpec, name string) *connector.FieldSpec {
	var any *connector.FieldSpec
	for i := range specs {
		switch specs[i].Name {
		case name:
			return &specs[i]
		case AnyField:
			any = &specs[i]
		}
	}
	return any
}

func specNames(specs []connector.FieldSpec) []string {
	var out []string
	for _, s := range specs {
		if s.Name != AnyField {
			out = append(out, s.Name)
		}
	}
	return out
}

// fieldsOf reads an object of fields of a kind: set, new, a criterion of find.
// skip are keys that are not fields.
func (r *reader) fieldsOf(n *node, specs []connector.FieldSpec, sc *scope, what, path string, skip ...string) *object {
	if n.kind != mapNode {
		r.errorf(n, CodeShape, "%s is %s; it must be an object: field: value", what, n.kind)
		return nil
	}
	out := &object{}
	for i, p := range n.pairs {
		name := p.key.text
		if slices.Contains(skip, name) {
			continue
		}
		spec := specNamed(specs, name)
		if spec == nil {
			if n.inline && p.value.kind == nullNode && i > 0 && (strings.ContainsAny(name, `()"'=<>[]`) || open(n.pairs[i-1].value.text)) {
				b := n.pairs[i-1]
				r.errorf(b.value, CodeCut, "YAML cuts the value of %s at the comma; put the whole value in single quotes: %s: '%s, %s'", b.key.text, b.key.text, b.value.text, name)
				continue
			}
			r.errorf(p.key, CodeField, "%s has no field %q%s", what, name, suggest(name, specNames(specs)))
			continue
		}
		out.fields = append(out.fields, field{name: name, v: r.fieldValue(p.value, spec, sc, path+name)})
	}
	return out
}

// fieldValue reads the value of one field.
func (r *reader) fieldValue(n *node, spec *connector.FieldSpec, sc *scope, path string) value {
	if spec.List && (n.kind == listNode || n.kind == mapNode && !spec.Open) {
		return r.rowsOf(n, spec, sc, path)
	}
	switch n.kind {
	case mapNode:
		return r.objectOf(n, spec, sc, path)
	case listNode:
		if spec.Type == connector.Any {
			return r.rowsOf(n, spec, sc, path)
		}
		r.errorf(n, CodeShape, "%s is one value, not a list", path)
		return literal{}
	}
	v, i := r.template(n, sc, path)
	r.fits(n, spec, v, i, sc, path)
	if spec.Open || len(spec.Fields) > 0 || spec.Type == connector.Object {
		return v // an object made by an expression: its kind checks it
	}
	return typed{v: v, typ: spec.Type, at: n, label: path}
}

func (r *reader) objectOf(n *node, spec *connector.FieldSpec, sc *scope, path string) value {
	switch {
	case spec.Open && len(spec.Fields) > 0 && !spec.List: // names of its own, each an object of the fields
		inner := connector.FieldSpec{Name: AnyField, Type: connector.Object, Fields: spec.Fields}
		return r.fieldsOf(n, []connector.FieldSpec{inner}, sc, path, path+"/")
	case len(spec.Fields) > 0 && !spec.Open:
		return r.fieldsOf(n, spec.Fields, sc, path, path+"/")
	case spec.Open || spec.Type == connector.Any || spec.Type == connector.Object:
		inner := &connector.FieldSpec{Name: AnyField, Type: spec.Type, Ref: spec.Ref}
		if spec.Type == connector.Object || spec.Type == connector.Any {
			inner.Type, inner.Open = connector.Any, false
		}
		return r.fieldsOf(n, []connector.FieldSpec{*inner}, sc, path, path+"/")
	}
	r.errorf(n, CodeShape, "%s is one value (%s), not an object", path, spec.Type)
	return literal{}
}

var rowWords = []string{"each", "when"}

// rowsOf reads a list; a row that has each stands for one row per item.
func (r *reader) rowsOf(n *node, spec *connector.FieldSpec, sc *scope, path string) value {
	out := &rowList{}
	one := *spec
	one.List, one.Key = false, nil
	for _, item := range r.list(n) {
		row := listRow{}
		inner := sc
		if item.kind != mapNode {
			row.v = r.fieldValue(item, &one, sc, path)
			out.rows = append(out.rows, row)
			continue
		}
		if e := item.get("each"); e != nil && specNamed(spec.Fields, "each") == nil {
			row.each, inner = r.eachOf(e, sc)
		}
		if w := item.get("when"); w != nil && specNamed(spec.Fields, "when") == nil {
			row.when = r.bare(w, inner, "when")
		}
		if len(spec.Fields) == 0 {
			row.v = r.looseRow(item, spec, inner, path)
		} else {
			o := r.fieldsOf(item, spec.Fields, inner, "a row of "+path, path+"/", rowWords...)
			r.requiredInRow(item, spec, o, path)
			row.v = o
		}
		out.rows = append(out.rows, row)
	}
	return out
}

// looseRow is a row of a list whose fields the kind does not name; with each
// and value alone it is a list of plain values.
func (r *reader) looseRow(item *node, spec *connector.FieldSpec, sc *scope, path string) value {
	rest := slices.DeleteFunc(slices.Clone(item.pairs), func(p pair) bool { return slices.Contains(rowWords, p.key.text) })
	if len(rest) == 1 && rest[0].key.text == "value" && spec.Type != connector.Object && spec.Type != connector.Any {
		one := *spec
		one.List, one.Key = false, nil
		return r.fieldValue(rest[0].value, &one, sc, path)
	}
	inner := connector.FieldSpec{Name: AnyField, Type: connector.Any}
	o := r.fieldsOf(item, []connector.FieldSpec{inner}, sc, "a row of "+path, path+"/", rowWords...)
	if o == nil {
		return literal{}
	}
	for i := range o.fields {
		o.fields[i].must = true
	}
	return o
}

// requiredInRow marks what a row cannot be without: its value, the fields that
// the kind requires and those by which rows are told apart; where the kind
// requires none, all of them. Absent, the row is left out.
func (r *reader) requiredInRow(n *node, spec *connector.FieldSpec, o *object, path string) {
	if o == nil {
		return
	}
	requires := slices.ContainsFunc(spec.Fields, func(f connector.FieldSpec) bool { return f.Required })
	for i := range o.fields {
		f := specNamed(spec.Fields, o.fields[i].name)
		// A part of the key that need not be given (the combination of what is not
		// broken down) leaves only itself out.
		key := slices.Contains(spec.Key, f.Name) && (f.Required || len(spec.Key) == 1)
		o.fields[i].must = !requires || f.Required || f.Name == "value" || key
	}
	for _, f := range spec.Fields {
		if f.Required && n.get(f.Name) == nil {
			r.errorf(n, CodeRequired, "a row of %s needs %s: %s", path, f.Name, about(f))
		}
	}
}

// writable are the fields that set and new may name.
func writable(k *connector.KindSpec) []connector.FieldSpec {
	if k.Open == "" || specNamed(k.Fields, AnyField) != nil {
		return k.Fields
	}
	return append(slices.Clone(k.Fields), connector.FieldSpec{Name: AnyField, Type: k.Open})
}

func about(f connector.FieldSpec) string {
	if f.About != "" {
		return f.About
	}
	return string(f.Type)
}

// fits compares what is known of a value with its field.
func (r *reader) fits(n *node, spec *connector.FieldSpec, v value, i info, sc *scope, path string) {
	if i.record != "" {
		b := sc.names[i.record]
		switch {
		case b == nil || b.record == nil:
		case spec.Ref != "" && b.record.Kind != spec.Ref:
			r.errorf(n, CodeType, "%s refers to %s; %s is %s", path, spec.Ref, i.record, b.record.Kind)
		case spec.Type != connector.RefTo && spec.Type != connector.Any && spec.Type != "":
			r.errorf(n, CodeType, "%s is %s, not a reference; write a field of the record: ${%s.uuid}", path, spec.Type, i.record)
		}
		return
	}
	if l, ok := v.(literal); ok {
		r.literalFits(n, spec, l.v, path)
		return
	}
	if i.typ == "" || compatible(i.typ, spec) {
		return
	}
	r.errorf(n, CodeType, "%s is %s, but the value is %s%s", path, spec.Type, i.typ, remedy(spec.Type))
}

func remedy(t connector.Type) string {
	switch t {
	case connector.Day:
		return "; use day(…)"
	case connector.Moment:
		return "; use moment(…)"
	case connector.Number:
		return "; use number(…)"
	}
	return ""
}

func compatible(got connector.Type, spec *connector.FieldSpec) bool {
	if got == listType {
		return spec.List || spec.Type == connector.Any
	}
	switch spec.Type {
	case connector.Number:
		return got != connector.Day && got != connector.Moment && got != connector.Bool && got != connector.Object
	case connector.Bool:
		return got == connector.Bool || got == connector.Text
	case connector.Day, connector.Moment:
		return got == connector.Day || got == connector.Moment || got == connector.Text
	case connector.RefTo:
		return got == connector.Text
	case connector.Text:
		return got != connector.Object
	}
	return true
}

func (r *reader) literalFits(n *node, spec *connector.FieldSpec, v any, path string) {
	if v == nil || v == "" {
		if v == "" {
			r.errorf(n, CodeType, "%s is empty text, which counts as absent; write ${clear('')} to empty the field, or leave the line out", path)
		}
		return
	}
	t, _ := asText(v)
	_, isText := v.(string)
	switch spec.Type {
	case connector.Number:
		if _, ok := asNumber(v); !ok {
			r.errorf(n, CodeType, "%s is a number; %q is none", path, t)
		}
	case connector.Bool:
		if _, ok := v.(bool); !ok {
			r.errorf(n, CodeType, "%s is yes or no; write true or false", path)
		}
	case connector.Day:
		if _, ok := parseDay(t); !ok || !isText {
			r.errorf(n, CodeType, "%s is a day; write it quoted, '2026-01-31'", path)
		}
	case connector.Moment:
		if _, ok := parseMoment(t, nil2utc); !ok || !isText {
			r.errorf(n, CodeType, "%s is a moment; write it quoted, '2026-01-31T08:00:00+03:00'", path)
		}
	case connector.Text, connector.RefTo:
		if !isText {
			r.errorf(n, CodeType, "%s is text; quote it: '%s'", path, t)
		}
	case connector.Object:
		r.errorf(n, CodeType, "%s is an object: %s", path, strings.Join(specNames(spec.Fields), ", "))
	}
}
