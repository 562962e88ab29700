package sim

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// metadataGet answers a list of metadata objects, or one of them.
func (s *Server) metadataGet(r *request) answer {
	name := strings.TrimSuffix(r.path[0], ".json")
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.meta[name] == nil {
		return notFound("HTTP 404 Not Found")
	}
	if len(r.path) == 1 {
		return s.metadataList(r, name, s.meta[name].ids)
	}
	id := strings.TrimSuffix(r.path[1], ".json")
	one := s.meta.get(name, id)
	if one == nil {
		a := notFound(fmt.Sprintf("%s with id %s could not be found.", className(name), id))
		if s.since(39) {
			m := a.body.(webMessage)
			m.ErrorCode = "E1005"
			a.body = m
		}
		return a
	}
	if len(r.path) == 3 && r.path[2] == "version" {
		return ok(record{"version": one["version"]})
	}
	if name == "organisationUnits" && (r.is("includeDescendants") || r.is("includeChildren")) {
		return s.metadataList(r, name, s.below(id, r.is("includeDescendants")))
	}
	fields := parseFields(strings.Join(r.query["fields"], ","))
	if len(fields) == 0 {
		fields = []field{{name: "*"}}
	}
	return ok(s.show(one, fields, r.user))
}

func className(plural string) string {
	if c := classes[plural]; c != "" {
		return c
	}
	return strings.ToUpper(plural[:1]) + strings.TrimSuffix(plural[1:], "s")
}

// below is a unit with its children, or with all that is under it.
func (s *Server) below(id string, all bool) []string {
	out := []string{id}
	for _, child := range idsOf(s.meta.get("organisationUnits", id), "children") {
		if all {
			out = append(out, s.below(child, true)...)
		} else {
			out = append(out, child)
		}
	}
	return out
}

func (s *Server) metadataList(r *request, name string, ids []string) answer {
	tests, problem := s.filters(r)
	if problem != "" {
		return coded(http.StatusBadRequest, "E1003", problem)
	}
	or := r.get("rootJunction") == "OR"
	var hits []record
	for _, id := range ids {
		one := s.meta.get(name, id)
		if s.unitWanted(r, name, one) && queried(one, r.get("query")) && passes(tests, one, or) {
			hits = append(hits, one)
		}
	}
	for _, o := range slices.Backward(r.query["order"]) {
		for _, part := range slices.Backward(strings.Split(o, ",")) {
			property, way, _ := strings.Cut(part, ":")
			sort.SliceStable(hits, func(i, j int) bool {
				if strings.HasSuffix(way, "desc") {
					i, j = j, i
				}
				return less(hits[i][property], hits[j][property])
			})
		}
	}
	out := record{}
	if r.get("paging") != "false" && !r.is("skipPaging") {
		hits = paged(r, name, hits, out)
	}
	fields := parseFields(strings.Join(r.query["fields"], ","))
	if len(fields) == 0 {
		fields = []field{{name: "id"}, {name: "displayName"}}
	}
	shown := make([]any, 0, len(hits))
	for _, h := range hits {
		shown = append(shown, s.show(h, fields, r.user))
	}
	out[name] = shown
	return ok(out)
}

// unitWanted applies the parameters that only organisationUnits has.
func (s *Server) unitWanted(r *request, name string, one record) bool {
	if name != "organisationUnits" {
		return true
	}
	if level := r.get("level"); level != "" && fmt.Sprint(one["level"]) != level {
		return false
	}
	if most, err := strconv.Atoi(r.get("maxLevel")); err == nil && int(number(one, "level")) > most {
		return false
	}
	path := text(one, "path")
	switch {
	case r.is("userOnly"):
		return slices.Contains(r.scope, text(one, "id"))
	case r.is("withinUserHierarchy"):
		return slices.ContainsFunc(r.scope, func(id string) bool { return strings.Contains(path+"/", "/"+id+"/") })
	}
	return true
}

func queried(one record, query string) bool {
	return query == "" || text(one, "id") == query || text(one, "code") == query ||
		strings.Contains(strings.ToLower(text(one, "displayName")), strings.ToLower(query))
}

// paged cuts a page out and adds the pager.
func paged(r *request, name string, hits []record, out record) []record {
	page, size := 1, 50
	if n, err := strconv.Atoi(r.get("page")); err == nil && n > 0 {
		page = n
	}
	if n, err := strconv.Atoi(r.get("pageSize")); err == nil && n > 0 {
		size = n
	}
	pages := max((len(hits)+size-1)/size, 1)
	pager := record{"page": page, "total": len(hits), "pageSize": size, "pageCount": pages}
	link := func(n int) string {
		q := url.Values{}
		for k, v := range r.query {
			q[k] = v
		}
		q.Set("page", strconv.Itoa(n))
		q.Set("pageSize", strconv.Itoa(size))
		return "http://" + r.Host + "/api/" + name + "?" + q.Encode()
	}
	if page < pages {
		pager["nextPage"] = link(page + 1)
	}
	if page > 1 {
		pager["prevPage"] = link(page - 1)
	}
	out["pager"] = pager
	from := min((page-1)*size, len(hits))
	return hits[from:min(from+size, len(hits))]
}

// test is one filter.
type test struct {
	path []string
	op   string
	arg  string
	s    *Server
}

func (s *Server) filters(r *request) ([]test, string) {
	var out []test
	for _, f := range r.query["filter"] {
		parts := strings.SplitN(f, ":", 3)
		if len(parts) < 2 {
			return nil, "Invalid filter: " + f
		}
		t := test{path: strings.Split(parts[0], "."), op: parts[1], s: s}
		if len(parts) == 3 {
			t.arg = parts[2]
		} else if t.op != "null" && t.op != "!null" && t.op != "empty" {
			return nil, "Invalid filter: " + f
		}
		out = append(out, t)
	}
	return out, ""
}

func passes(tests []test, one record, or bool) bool {
	if len(tests) == 0 {
		return true
	}
	for _, t := range tests {
		if t.holds(one) == or {
			return or
		}
	}
	return !or
}

func (t test) holds(one record) bool {
	if len(t.path) == 1 && t.path[0] == "identifiable" {
		for _, p := range []string{"id", "code", "name"} {
			if compare(t.op, text(one, p), t.arg) {
				return true
			}
		}
		return false
	}
	values := t.s.values(one, t.path)
	op, negated := strings.CutPrefix(t.op, "!")
	switch op {
	case "null":
		return (len(values) == 0) != negated
	case "empty":
		return (len(values) == 0) != negated
	}
	return slices.ContainsFunc(values, func(v string) bool { return compare(op, v, t.arg) }) != negated
}

// values are all that a path leads to, as text.
func (s *Server) values(one record, path []string) []string {
	v, found := one[path[0]]
	if !found || v == nil {
		return nil
	}
	all, isList := v.([]any)
	if !isList {
		all = []any{v}
	}
	var out []string
	for _, e := range all {
		r, isRecord := e.(record)
		switch {
		case isRecord && len(path) > 1:
			out = append(out, s.values(s.resolve(path[0], r), path[1:])...)
		case isRecord:
			out = append(out, text(r, "id"))
		default:
			out = append(out, fmt.Sprint(e))
		}
	}
	return out
}

func compare(op, v, arg string) bool {
	lv, la := strings.ToLower(v), strings.ToLower(arg)
	switch op {
	case "eq":
		return v == arg
	case "ieq":
		return lv == la
	case "ne", "neq":
		return v != arg
	case "like":
		return strings.Contains(v, arg)
	case "ilike":
		return strings.Contains(lv, la)
	case "$like", "startsWith":
		return strings.HasPrefix(v, arg)
	case "$ilike":
		return strings.HasPrefix(lv, la)
	case "like$", "endsWith":
		return strings.HasSuffix(v, arg)
	case "ilike$":
		return strings.HasSuffix(lv, la)
	case "in":
		return slices.Contains(strings.Split(strings.Trim(arg, "[]"), ","), v)
	case "token":
		for _, word := range strings.Fields(la) {
			if !strings.Contains(lv, word) {
				return false
			}
		}
		return true
	case "gt":
		return less(arg, v)
	case "ge":
		return !less(v, arg)
	case "lt":
		return less(v, arg)
	case "le":
		return !less(arg, v)
	}
	return false
}

// less orders numbers as numbers and all else as text.
func less(a, b any) bool {
	x, y := fmt.Sprint(a), fmt.Sprint(b)
	m, errA := strconv.ParseFloat(x, 64)
	n, errB := strconv.ParseFloat(y, 64)
	if errA == nil && errB == nil {
		return m < n
	}
	return strings.ToLower(x) < strings.ToLower(y)
}

// cached adds the ETag that a filter puts on every answer to a GET but those of
// data (ExcludableShallowEtagHeaderFilter.java): it saves bytes, not work.
func (s *Server) cached(r *request, a answer) answer {
	switch {
	case len(r.path) == 0, strings.HasPrefix(r.path[0], "dataValue"), r.path[0] == "fileResources", r.path[0] == "dataEntry":
		return a
	}
	b, isRaw := a.body.([]byte)
	if !isRaw {
		var err error
		if b, err = json.Marshal(a.body); err != nil {
			return a
		}
		a.body, a.kind = b, jsonType
	}
	tag := fmt.Sprintf(`"0%x"`, md5.Sum(b))
	if a.header == nil {
		a.header = map[string]string{}
	}
	a.header["ETag"], a.header["Cache-Control"] = tag, "max-age=60, private"
	if match := r.Header.Get("If-None-Match"); match == tag || match == "W/"+tag {
		return answer{status: http.StatusNotModified, header: a.header}
	}
	return a
}
