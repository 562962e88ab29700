package call

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func pointerParts(p string) []string {
	if p == "" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, s := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	return parts
}

// Pointer writes a JSON pointer (RFC 6901) from its parts.
func Pointer(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(p, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// rawAt gives the part of a document that a pointer names as it is written, nil
// if there is none. Only what stands on the way is decoded: answers are large,
// and of most of them one id is wanted.
func rawAt(doc json.RawMessage, p string) (json.RawMessage, error) {
	for _, part := range pointerParts(p) {
		doc = bytes.TrimSpace(doc)
		switch {
		case len(doc) > 0 && doc[0] == '[':
			var list []json.RawMessage
			if err := json.Unmarshal(doc, &list); err != nil {
				return nil, err
			}
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(list) {
				return nil, nil
			}
			doc = list[i]
		case len(doc) > 0 && doc[0] == '{':
			var object map[string]json.RawMessage
			if err := json.Unmarshal(doc, &object); err != nil {
				return nil, err
			}
			var ok bool
			if doc, ok = object[part]; !ok {
				return nil, nil
			}
		default:
			return nil, json.Unmarshal(doc, new(any))
		}
	}
	return bytes.TrimSpace(doc), nil
}

func getPointer(doc any, p string) (any, bool) {
	for _, part := range pointerParts(p) {
		switch d := doc.(type) {
		case map[string]any:
			v, ok := d[part]
			if !ok {
				return nil, false
			}
			doc = v
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(d) {
				return nil, false
			}
			doc = d[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

func setPointer(doc any, p string, v any) (any, error) {
	parts := pointerParts(p)
	if len(parts) == 0 {
		return v, nil
	}
	parent, ok := getPointer(doc, Pointer(parts[:len(parts)-1]...))
	if !ok {
		return nil, fmt.Errorf("the body has nothing at %s", p)
	}
	last := parts[len(parts)-1]
	switch d := parent.(type) {
	case map[string]any:
		d[last] = v
	case []any:
		i, err := strconv.Atoi(last)
		if err != nil || i < 0 || i >= len(d) {
			return nil, fmt.Errorf("the body has no row at %s", p)
		}
		d[i] = v
	default:
		return nil, fmt.Errorf("the body has no object at %s", p)
	}
	return doc, nil
}

// without takes out of a JSON body those of the given pointers that drop names:
// properties of objects, and rows of lists, which then close up.
func without(body json.RawMessage, drop func(pointer string) bool, pointers map[string]string) (json.RawMessage, error) {
	var doc any
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	rows := map[string][]int{} // list -> what goes
	for p := range pointers {
		if !drop(p) {
			continue
		}
		parts := pointerParts(p)
		if len(parts) == 0 {
			return nil, fmt.Errorf("cannot take the whole body out")
		}
		above, last := Pointer(parts[:len(parts)-1]...), parts[len(parts)-1]
		parent, ok := getPointer(doc, above)
		if !ok {
			continue
		}
		switch parent := parent.(type) {
		case map[string]any:
			delete(parent, last)
		case []any:
			i, err := strconv.Atoi(last)
			if err != nil || i < 0 || i >= len(parent) {
				return nil, fmt.Errorf("the body has no row at %s", p)
			}
			rows[above] = append(rows[above], i)
		default:
			return nil, fmt.Errorf("the body has no object or list at %s", above)
		}
	}
	// The innermost list first: what is taken out of an outer one moves it.
	lists := slices.SortedFunc(maps.Keys(rows), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, at := range lists {
		list, _ := getPointer(doc, at)
		var stay []any
		for i, row := range list.([]any) {
			if !slices.Contains(rows[at], i) {
				stay = append(stay, row)
			}
		}
		var err error
		if doc, err = setPointer(doc, at, stay); err != nil {
			return nil, err
		}
	}
	return json.Marshal(doc)
}
