package call

import (
	"encoding/json"
	"fmt"
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

// without takes out of a JSON body those of the given pointers that drop names.
func without(body json.RawMessage, drop func(pointer string) bool, pointers map[string]string) (json.RawMessage, error) {
	var doc any
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	for p := range pointers {
		if !drop(p) {
			continue
		}
		parts := pointerParts(p)
		parent, ok := getPointer(doc, Pointer(parts[:len(parts)-1]...))
		if !ok {
			continue
		}
		object, ok := parent.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("cannot take %s out of a list", p)
		}
		delete(object, parts[len(parts)-1])
	}
	return json.Marshal(doc)
}
