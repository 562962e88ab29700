package xform

import (
	"bytes"
	"encoding/xml"
	"maps"
	"slices"
	"strings"
)

// Render writes a form as XML from the JSON that HQ made of it. Elements come
// in the order of their names, since JSON keeps none; a null is left out.
func Render(form map[string]any) []byte {
	name := Text(form["#type"])
	if name == "" {
		name = "data"
	}
	var b bytes.Buffer
	b.WriteString("<?xml version='1.0' ?>\n")
	render(&b, name, form)
	return b.Bytes()
}

func render(b *bytes.Buffer, name string, v any) {
	switch v := v.(type) {
	case nil:
		return
	case []any:
		for _, item := range v {
			render(b, name, item)
		}
		return
	case map[string]any:
		b.WriteString("<" + name)
		keys := slices.Sorted(maps.Keys(v))
		for _, k := range keys {
			if attr, ok := strings.CutPrefix(k, "@"); ok && v[k] != nil {
				b.WriteString(" " + attr + `="`)
				escape(b, Text(v[k]))
				b.WriteString(`"`)
			}
		}
		b.WriteString(">")
		escape(b, Text(v["#text"]))
		for _, k := range keys {
			if k != "" && k[0] != '@' && k[0] != '#' {
				render(b, k, v[k])
			}
		}
		b.WriteString("</" + name + ">")
		return
	}
	b.WriteString("<" + name + ">")
	escape(b, Text(v))
	b.WriteString("</" + name + ">")
}

func escape(b *bytes.Buffer, s string) {
	// EscapeText fails only when its writer does, which a Buffer never does.
	_ = xml.EscapeText(b, []byte(s))
}
