package flow

import (
	"regexp"
	"strings"
)

// Origin is a field that a wanted field was worked out from: path of a name of
// the message ("case", phone).
type Origin struct {
	Name string
	Path string // with slashes, as canonical fields are named
}

// Origins gives the fields that a field of set was worked out from, as far as
// they stand in its expression; path is the field's, or that of a part of it.
func (rec *Record) Origins(path string) []Origin {
	for p := path; p != ""; p = p[:max(lastSlash(p), 0)] {
		if o, ok := rec.origins[p]; ok {
			return o
		}
	}
	return nil
}

// originsOf collects the origins of the fields of an object. Rows of lists have
// none: their fields come from tables.
func (r *reader) originsOf(n *node) map[string][]Origin {
	out := map[string][]Origin{}
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		switch n.kind {
		case mapNode:
			for _, p := range n.pairs {
				walk(p.value, strings.TrimPrefix(path+"/"+p.key.text, "/"))
			}
		case textNode:
			if o := originsIn(n.text); len(o) > 0 {
				out[path] = o
			}
		}
	}
	walk(n, "")
	return out
}

var chainPattern = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\b[A-Za-z_]\w*(?:\??\.[A-Za-z_]\w*|\["[^"]*"\]|\['[^']*'\])+`)
var linkPattern = regexp.MustCompile(`^[A-Za-z_]\w*|\.[A-Za-z_]\w*|\["[^"]*"\]|\['[^']*'\]`)

// originsIn lists the chains of names in a template: case.phone is phone of case.
func originsIn(text string) []Origin {
	if !strings.Contains(text, "${") {
		return nil
	}
	var out []Origin
	for _, chain := range chainPattern.FindAllString(text, -1) {
		if chain[0] == '"' || chain[0] == '\'' {
			continue
		}
		var parts []string
		for _, link := range linkPattern.FindAllString(chain, -1) {
			parts = append(parts, strings.Trim(link, `.[]"'`))
		}
		if len(parts) > 1 {
			out = append(out, Origin{parts[0], strings.Join(parts[1:], "/")})
		}
	}
	return out
}

// Subject is a record of the message's own system that a name of the message
// stands for.
type Subject struct {
	Name string // "case"
	Kind string // "commcare/Case"
	ID   string
}

// Subjects lists the records that the message's names stand for.
func (r *Run) Subjects() []Subject {
	s := r.flow.From[r.source]
	var out []Subject
	for _, n := range s.Message.Names {
		if n.Kind == "" {
			continue
		}
		m, ok := r.env[n.Name].(map[string]any)
		if !ok {
			continue
		}
		if id, ok := asText(m[n.Key]); ok && !absent(m[n.Key]) {
			out = append(out, Subject{n.Name, s.Connector + "/" + n.Kind, id})
		}
	}
	return out
}

// Live tells whether what the message is about is read when planning.
func (r *Run) Live() bool { return r.flow.From[r.source].Message.Live }

// Value gives what the message's system says of an origin: text, number or
// yes or no; ok is false for what is absent, a list or an object.
func (r *Run) Value(o Origin) (v any, ok bool) {
	var at any = r.env[o.Name]
	for part := range strings.SplitSeq(o.Path, "/") {
		m, isMap := at.(map[string]any)
		if !isMap {
			return nil, false
		}
		at = m[part]
	}
	switch at.(type) {
	case string, float64, bool, int64, int:
		return at, true
	}
	return nil, false
}
