package sim

import (
	"maps"
	"slices"
	"strings"
)

// field is one member of a fields parameter: name~transform(arg)[children].
type field struct {
	name     string
	exclude  bool
	rename   string
	how      string // size, isEmpty, isNotEmpty, pluck
	arg      string
	children []field
}

// parseFields reads fields=id,name,categories[id,code]; what cannot be read is
// left out, as the server does.
func parseFields(text string) []field {
	out, _ := fieldsUntil(text, 0)
	return out
}

func fieldsUntil(text string, at int) ([]field, int) {
	var out []field
	begin := at
	flush := func(end int) {
		if name := strings.TrimSpace(text[begin:end]); name != "" {
			out = append(out, oneField(name))
		}
	}
	depth := 0
	for at < len(text) {
		switch c := text[at]; {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth > 0:
		case c == ',':
			flush(at)
			begin = at + 1
		case c == '[':
			flush(at)
			var children []field
			children, at = fieldsUntil(text, at+1)
			if len(out) > 0 {
				out[len(out)-1].children = children
			}
			begin = min(at+1, len(text))
		case c == ']':
			flush(at)
			return out, at
		}
		at++
	}
	if begin < len(text) {
		flush(len(text))
	}
	return out, at
}

func oneField(s string) field {
	var f field
	s, f.exclude = strings.CutPrefix(s, "!")
	s = strings.ReplaceAll(s, "|", "~")
	if !strings.HasPrefix(s, ":") {
		s = strings.ReplaceAll(s, "::", "~")
	}
	parts := strings.Split(s, "~")
	f.name = parts[0]
	for _, t := range parts[1:] {
		how, arg, _ := strings.Cut(strings.TrimSuffix(t, ")"), "(")
		if how == "rename" {
			f.rename = arg
			continue
		}
		f.how, f.arg = how, arg
	}
	return f
}

var presets = map[string][]string{
	":identifiable": {"id", "code", "name", "displayName", "created", "lastUpdated"},
	":nameable":     {"id", "code", "name", "displayName", "shortName", "description", "created", "lastUpdated"},
}

// show renders a record with the fields asked for, as a user may see it.
func (s *Server) show(r record, fields []field, u *user) record {
	out := record{}
	for _, f := range fields {
		switch {
		case f.exclude:
		case f.name == "*", f.name == ":all", f.name == ":owner", f.name == ":persisted":
			for k, v := range r {
				out[k] = s.plain(k, v)
			}
			if f.name == "*" || f.name == ":all" {
				out["access"] = access(r, u)
			}
		case f.name == ":simple":
			for k, v := range r {
				if !nested(v) {
					out[k] = v
				}
			}
		case presets[f.name] != nil:
			for _, k := range presets[f.name] {
				if v, found := r[k]; found {
					out[k] = v
				}
			}
		default:
			s.member(out, r, f, u)
		}
	}
	for _, f := range fields {
		if f.exclude {
			delete(out, f.name)
		}
	}
	return out
}

func nested(v any) bool {
	switch v.(type) {
	case record, []any:
		return true
	}
	return false
}

func (s *Server) member(out, r record, f field, u *user) {
	v, found := r[f.name]
	if f.name == "access" {
		v, found = access(r, u), true
	}
	if !found {
		return
	}
	name := f.name
	if f.rename != "" {
		name = f.rename
	}
	all, isList := v.([]any)
	switch {
	case f.how == "size" && isList:
		out[name] = len(all)
	case f.how == "isEmpty" && isList:
		out[name] = len(all) == 0
	case f.how == "isNotEmpty" && isList:
		out[name] = len(all) > 0
	case f.how == "pluck" && isList:
		key := f.arg
		if key == "" {
			key = "id"
		}
		plucked := []any{}
		for _, e := range all {
			plucked = append(plucked, s.resolve(f.name, e)[key])
		}
		out[name] = plucked
	case f.children == nil:
		out[name] = s.plain(f.name, v)
	case isList:
		shown := []any{}
		for _, e := range all {
			if inner := s.resolve(f.name, e); inner != nil {
				shown = append(shown, s.show(inner, f.children, u))
			}
		}
		out[name] = shown
	default:
		if inner := s.resolve(f.name, v); inner != nil {
			out[name] = s.show(inner, f.children, u)
		}
	}
}

// resolve gives the whole object that a reference names.
func (s *Server) resolve(property string, v any) record {
	r, _ := v.(record)
	if home := s.meta.home(property); home != "" {
		if full := s.meta.get(home, text(r, "id")); full != nil {
			return full
		}
	}
	return r
}

// plain is a value for which no inner fields were asked: references shrink to
// their id.
func (s *Server) plain(property string, v any) any {
	switch v := v.(type) {
	case record:
		if id := text(v, "id"); id != "" && s.meta.home(property) != "" {
			return ref(id)
		}
		out := record{}
		for _, k := range slices.Collect(maps.Keys(v)) {
			out[k] = s.plain(k, v[k])
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, s.plain(property, e))
		}
		return out
	}
	return v
}

// access is what a user may do with an object, by its sharing.
func access(r record, u *user) record {
	read, write, dataRead, dataWrite := rights(r, u)
	return record{"read": read, "update": write, "write": write, "delete": write, "externalize": false, "manage": write,
		"data": record{"read": dataRead, "write": dataWrite}}
}

// rights reads sharing: "rwrw----" is metadata read and write, data read and
// write. An object of the seed without sharing is open to everyone.
func rights(r record, u *user) (read, write, dataRead, dataWrite bool) {
	sharing, shared := r["sharing"].(record)
	if !shared || u.may("ALL") {
		return true, true, true, true
	}
	add := func(v any) {
		a, _ := v.(string)
		if inner, isRecord := v.(record); isRecord {
			a = text(inner, "access")
		}
		if len(a) < 4 {
			return
		}
		read, write = read || a[0] == 'r', write || a[1] == 'w'
		dataRead, dataWrite = dataRead || a[2] == 'r', dataWrite || a[3] == 'w'
	}
	add(sharing["public"])
	if groups, has := sharing["userGroups"].(record); has {
		for _, g := range u.groups {
			add(groups[g])
		}
	}
	if users, has := sharing["users"].(record); has {
		add(users[u.id])
	}
	return read, write, dataRead, dataWrite
}

func mayRead(r record, u *user) bool {
	read, _, _, _ := rights(r, u)
	return read
}

// mayWrite tells whether a user may write data of an object.
func mayWrite(r record, u *user) bool {
	_, _, _, w := rights(r, u)
	return w
}
