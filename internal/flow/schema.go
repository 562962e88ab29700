package flow

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// js is a piece of JSON Schema; json.Marshal sorts its keys, so that the file
// is the same every time.
type js = map[string]any

// Schema gives the JSON Schema (draft 2020-12) of the files that people write:
// flows, integration.yaml and site.yaml, for editors that complete and check
// while one types. The document is one of the three; each is also under $defs
// ("flow", "integration", "site"). It is made from the same lists that Load
// reads by and from the connectors' own descriptions.
func Schema(reg connector.Registry) []byte {
	defs := js{
		"expr":        js{"type": []string{"string", "boolean"}, "description": "an expression by itself, without ${ }"},
		"value":       js{"description": "a literal, or text with ${expressions}", "type": []string{"string", "number", "boolean", "array", "object"}},
		"text":        js{"type": []string{"string", "number", "boolean"}},
		"each":        js{"type": "object", "minProperties": 1, "additionalProperties": js{"$ref": "#/$defs/expr"}, "description": "one for each item: {name: list}; several are loops in each other"},
		"source":      sourceSchema(reg),
		"require":     closed(requireKeys, nil),
		"approve":     closed(approveKeys, nil),
		"flow":        closed(flowKeys, reg),
		"integration": closed(integrationKeys, nil),
		"siteValue":   closed(siteValueKeys, nil),
		"people":      closed(peopleKeys, nil),
		"site":        closed(siteKeys, nil),
		"use":         closed(useKeys, nil),
		"backup":      closed(backupKeys, nil),
		"keep":        closed(keepKeys, nil),
		"system":      systemSchema(reg),
	}
	var kinds []any
	for _, name := range slices.Sorted(maps.Keys(reg)) {
		for i := range reg[name].Kinds {
			k := &reg[name].Kinds[i]
			full := kindName(name, k)
			defs[full] = recordSchema(full, k)
			kinds = append(kinds, js{"if": js{"properties": js{"kind": js{"const": full}}, "required": []string{"kind"}}, "then": js{"$ref": "#/$defs/" + strings.ReplaceAll(full, "/", "~1")}})
		}
	}
	record := js{"type": "object", "required": []string{"kind"}, "properties": js{"kind": js{"enum": kindNames(reg), "description": "connector/Kind"}}}
	if len(kinds) > 0 {
		record["allOf"] = kinds
	}
	defs["record"] = record
	doc := js{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     "https://kiungo.health/flow.schema.json",
		"title":   "Kiungo: flows, integration.yaml and site.yaml",
		"anyOf":   []any{js{"$ref": "#/$defs/flow"}, js{"$ref": "#/$defs/integration"}, js{"$ref": "#/$defs/site"}},
		"$defs":   defs,
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err) // only maps, slices and text are inside
	}
	return append(b, '\n')
}

func kindName(connectorName string, k *connector.KindSpec) string {
	if strings.HasPrefix(k.Name, connectorName+"/") {
		return k.Name
	}
	return connectorName + "/" + k.Name
}

func kindNames(reg connector.Registry) []string {
	out := []string{}
	for name, c := range reg {
		for i := range c.Kinds {
			out = append(out, kindName(name, &c.Kinds[i]))
		}
	}
	slices.Sort(out)
	return out
}

// closed is an object with just these keys.
func closed(keys []key, reg connector.Registry) js {
	props, required := js{}, []string{}
	for _, k := range keys {
		if why, ok := notYet[k.name]; ok && reg != nil {
			props[k.name] = js{"not": js{}, "description": k.about + " (not supported yet: " + why + ")"}
			continue
		}
		p := shapeSchema(k)
		p["description"] = k.about
		props[k.name] = p
		if k.required {
			required = append(required, k.name)
		}
	}
	out := js{"type": "object", "additionalProperties": false, "properties": props}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func ref(name string) js    { return js{"$ref": "#/$defs/" + name} }
func mapOf(item js) js      { return js{"type": "object", "additionalProperties": item} }
func oneOrMore(item js) js  { return js{"anyOf": []any{item, js{"type": "array", "items": item}}} }
func listOfText(item js) js { return oneOrMore(item) }
func enumOf(v []string) js  { return js{"enum": v} }
func typeOf(name string) js { return js{"type": name} }
func withText(v js, t string) js {
	if t != "" {
		v["description"] = t
	}
	return v
}

// shapeSchema turns the shape of a key into JSON Schema.
func shapeSchema(k key) js {
	if len(k.values) > 0 {
		return enumOf(k.values)
	}
	switch k.shape {
	case "bool":
		return typeOf("boolean")
	case "number":
		return typeOf("integer")
	case "text":
		return ref("text")
	case "text list":
		return listOfText(ref("text"))
	case "text map":
		return mapOf(ref("text"))
	case "any map", "fields":
		return mapOf(js{})
	case "expr":
		return ref("expr")
	case "expr map":
		return mapOf(ref("expr"))
	case "source":
		return oneOrMore(ref("source"))
	case "lane":
		return oneOrMore(js{"type": "object", "minProperties": 1, "additionalProperties": ref("text")})
	case "approve":
		return ref("approve")
	case "require list":
		return oneOrMore(ref("require"))
	case "record map":
		return js{"type": "object", "minProperties": 1, "additionalProperties": ref("record")}
	case "site map":
		return mapOf(ref("siteValue"))
	case "people":
		return ref("people")
	case "keep":
		return ref("keep")
	case "system map":
		return mapOf(ref("system"))
	case "backup":
		return ref("backup")
	case "use map":
		return mapOf(js{"anyOf": []any{ref("use"), typeOf("null")}})
	}
	return js{}
}

func sourceSchema(reg connector.Registry) js {
	props := js{}
	for _, k := range sourceKeys {
		p := shapeSchema(k)
		p["description"] = k.about
		props[k.name] = p
	}
	for _, name := range slices.Sorted(maps.Keys(reg)) {
		var kinds []string
		for _, m := range reg[name].Messages {
			kinds = append(kinds, m.Name)
			for filter, path := range m.From {
				props[filter] = js{"anyOf": []any{ref("text"), js{"type": "array", "items": ref("text")}}, "description": "compared with " + path}
			}
		}
		if len(kinds) > 0 {
			props[name] = withText(enumOf(kinds), "message kind of "+reg[name].Title)
		}
	}
	return js{"type": "object", "minProperties": 1, "properties": props, "description": "system and message kind, filters, and the sample that shows the message"}
}

func systemSchema(reg connector.Registry) js {
	out := closed(systemKeys, nil)
	props, _ := out["properties"].(js)
	props["connector"] = withText(enumOf(slices.Sorted(maps.Keys(reg))), "the kind of system")
	var each []any
	for _, name := range slices.Sorted(maps.Keys(reg)) {
		options, required := js{}, []string{}
		for _, o := range slices.Concat(reg[name].Options, connector.CommonOptions) {
			p := ref("text")
			if o.Secret {
				p = js{"type": "string", "pattern": "^(env|file):"}
			}
			options[o.Name] = withText(p, o.About)
			if o.Required && o.Default == "" {
				required = append(required, o.Name)
			}
		}
		each = append(each, js{"if": js{"properties": js{"connector": js{"const": name}}, "required": []string{"connector"}},
			"then": js{"properties": js{"options": js{"type": "object", "additionalProperties": false, "properties": options, "required": required}}}})
	}
	if len(each) > 0 {
		out["allOf"] = each
	}
	return out
}

// recordSchema is a record of one kind.
func recordSchema(full string, k *connector.KindSpec) js {
	out := closed(recordKeys, nil)
	props, _ := out["properties"].(js)
	props["kind"] = js{"const": full}
	fields := fieldsSchema(writable(k), false)
	props["set"] = withText(maps.Clone(fields), "fields that are kept so")
	props["new"] = withText(maps.Clone(fields), "fields that are given once, when it is made")
	criteria := fieldsSchema(k.Finds, false)
	find := closed(findKeys, nil)
	findProps, _ := find["properties"].(js)
	if c, ok := criteria["properties"].(js); ok {
		for name, p := range c {
			if findProps[name] == nil {
				findProps[name] = p
			}
		}
	}
	findProps["by"] = js{"description": "criteria, the first that finds wins", "anyOf": []any{criteria, js{"type": "array", "items": criteria}}}
	findProps["none"] = js{"description": "create, skip, ask, or wait 2 days", "type": "string", "pattern": "^(create|skip|ask|wait .+)$"}
	props["find"] = find
	out["description"] = k.About
	return out
}

func fieldsSchema(specs []connector.FieldSpec, row bool) js {
	props := js{}
	out := js{"type": "object", "properties": props, "additionalProperties": false}
	for _, f := range specs {
		if f.Name == AnyField {
			out["additionalProperties"] = fieldSchema(f)
			continue
		}
		props[f.Name] = withText(fieldSchema(f), f.About)
	}
	if row {
		if props["each"] == nil {
			props["each"] = ref("each")
		}
		if props["when"] == nil {
			props["when"] = ref("expr")
		}
	}
	return out
}

// fieldSchema: any field may also be an expression, which is text.
func fieldSchema(f connector.FieldSpec) js {
	text := js{"type": "string"}
	if f.List {
		row := js{}
		if len(f.Fields) > 0 {
			row = fieldsSchema(f.Fields, true)
		}
		choices := []any{js{"type": "array", "items": js{"anyOf": []any{row, text}}}, text}
		if f.Open {
			choices = append(choices, mapOf(ref("value")))
		} else {
			choices = append(choices, row)
		}
		return js{"anyOf": choices}
	}
	switch {
	case f.Open && len(f.Fields) > 0:
		return js{"anyOf": []any{mapOf(fieldsSchema(f.Fields, false)), text}}
	case f.Open:
		return js{"anyOf": []any{mapOf(ref("value")), text}}
	case len(f.Fields) > 0:
		return js{"anyOf": []any{fieldsSchema(f.Fields, false), text}}
	}
	switch f.Type {
	case connector.Number:
		return js{"type": []string{"number", "string"}}
	case connector.Bool:
		return js{"type": []string{"boolean", "string"}}
	case connector.Any, connector.Object:
		return ref("value")
	}
	return text
}
