package flow

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// key is one word of the language: the readers, the JSON Schema and the
// reference page are made from these.
type key struct {
	name, about string
	// shape: text, bool, number, any, map, list; "x map" and "x list"; see schema.go.
	shape    string
	required bool
	values   []string // what it may be, if not anything
}

func keyNames(keys []key) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.name
	}
	return out
}

// keys checks that an object has only the given keys and all required ones.
// False: it is no object at all.
func (r *reader) keys(n *node, what string, keys []key) bool {
	if n.kind != mapNode {
		r.errorf(n, CodeShape, "%s is %s; it must be an object: %s: …", what, n.kind, keys[0].name)
		return false
	}
	for i, p := range n.pairs {
		j := slices.IndexFunc(keys, func(k key) bool { return k.name == p.key.text })
		if j < 0 {
			r.unknownKey(n, i, what, keys)
			continue
		}
		if v := keys[j].values; len(v) > 0 && p.value.kind == textNode && !slices.Contains(v, p.value.text) && !strings.HasPrefix(p.value.text, "${site.") {
			r.errorf(p.value, CodeValue, "%s cannot be %q%s", p.key.text, p.value.text, suggest(p.value.text, v))
		}
	}
	for _, k := range keys {
		if k.required && n.get(k.name) == nil {
			r.errorf(n, CodeMissingKey, "%s needs %s: %s", what, k.name, k.about)
		}
	}
	return true
}

// oldWords are words that people write for ours, from other tools or from
// earlier sketches of the language.
var oldWords = map[string]string{
	"on": "from", "yes": "from", "true": "from", "trigger": "from", "source": "from", "if": "when", "foreach": "each", "for_each": "each",
	"steps": "records", "actions": "records", "name": "flow", "description": "about", "vars": "let", "match": "find", "repeat": "expect",
}

func (r *reader) unknownKey(n *node, i int, what string, keys []key) {
	k := n.pairs[i].key
	if n.inline && n.pairs[i].value.kind == nullNode && i > 0 {
		before := n.pairs[i-1]
		if strings.ContainsAny(k.text, `()"'=<>[]`) || open(before.value.text) {
			r.errorf(before.value, CodeCut, "YAML cuts the value of %s at the comma; put the whole value in single quotes: %s: '%s, %s'", before.key.text, before.key.text, before.value.text, k.text)
			return
		}
	}
	if better, ok := oldWords[k.text]; ok && slices.Contains(keyNames(keys), better) {
		why := ""
		if k.text == "on" {
			why = " (YAML reads on as true)"
		}
		r.errorf(k, CodeUnknownKey, "%s has no key %q%s; write %s:", what, k.text, why, better)
		return
	}
	r.errorf(k, CodeUnknownKey, "%s has no key %q%s", what, k.text, suggest(k.text, keyNames(keys)))
}

// open tells whether brackets or quotes are left open in a text.
func open(s string) bool {
	depth := 0
	for _, c := range s {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		}
	}
	return depth > 0 || strings.Count(s, `"`)%2 == 1
}

// object gives the pairs of an object; a problem if it is something else.
func (r *reader) object(n *node) []pair {
	if n == nil || n.kind == nullNode {
		return nil
	}
	if n.kind != mapNode {
		r.errorf(n, CodeShape, "this is %s; it must be an object: name: value", n.kind)
		return nil
	}
	return n.pairs
}

// list gives the items of a list; one thing is a list of one.
func (r *reader) list(n *node) []*node {
	switch {
	case n == nil || n.kind == nullNode:
		return nil
	case n.kind == listNode:
		return n.items
	}
	return []*node{n}
}

// text gives a scalar as text.
func (r *reader) text(n *node) string {
	if n == nil {
		return ""
	}
	if n.kind == mapNode || n.kind == listNode || n.kind == nullNode {
		r.errorf(n, CodeShape, "this is %s; it must be text", n.kind)
		return ""
	}
	return n.text
}

// fixed is text that is no template.
func (r *reader) fixed(n *node) string {
	t := r.text(n)
	if strings.Contains(t, "${") {
		r.errorf(n, CodeBraces, "${…} cannot be used here; write the value out")
	}
	return t
}

func (r *reader) boolean(n *node) bool {
	if n.kind != boolNode {
		r.errorf(n, CodeType, "this is %s; write true or false", n.kind)
	}
	return n.text == "true"
}

func (r *reader) integer(n *node, least, most int) int {
	i, err := strconv.Atoi(n.text)
	if n.kind != numberNode || err != nil || i < least || i > most {
		r.errorf(n, CodeType, "this must be a whole number from %d to %d", least, most)
		return least
	}
	return i
}

func (r *reader) zone(n *node) *time.Location {
	if n == nil {
		return nil
	}
	z, err := time.LoadLocation(r.text(n))
	if err != nil || n.text == "" || n.text == "Local" {
		r.errorf(n, CodeValue, "%q is no time zone; write its name: Africa/Nairobi", n.text)
		return nil
	}
	return z
}

func (r *reader) span(n *node) time.Duration {
	s, ok := parseSpan(r.text(n))
	if !ok || s.Duration() <= 0 {
		r.errorf(n, CodeValue, "%q is no span of time; write a number and minutes, hours or days: 2 hours", n.text)
		return 0
	}
	return s.Duration()
}
