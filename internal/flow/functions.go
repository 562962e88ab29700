package flow

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// list is the static type of a list; the others are connector.Type.
const listType connector.Type = "list"

// function is a function of the flow language. It has no clock, no I/O and no
// chance: the same message gives the same plan.
type function struct {
	name, about, example string
	min, max             int // arguments
	result               connector.Type
	// call gets where: the source text of the first argument, for messages.
	call func(s *state, where string, args []any) (any, error)
}

// functions are all functions of the language by name.
var functions = map[string]*function{}

func init() {
	for _, f := range slices.Concat(tableFunctions, valueFunctions, timeFunctions, textFunctions, listFunctions) {
		functions[f.name] = f
	}
}

// FunctionNames lists the functions of the language.
func FunctionNames() []string { return slices.Sorted(maps.Keys(functions)) }

// each1 makes a function of a value that may be absent or blank: both are
// passed on as they are, so that clear() can tell them apart.
func each1(f func(s *state, where string, v any, rest []any) (any, error)) func(*state, string, []any) (any, error) {
	return func(s *state, where string, args []any) (any, error) {
		v := plain(args[0])
		if absent(v) {
			return v, nil
		}
		if _, ok := v.(record.Later); ok {
			return nil, &NotYet{where}
		}
		return f(s, where, v, args[1:])
	}
}

func text1(f func(s *state, t string, rest []any) (any, error)) func(*state, string, []any) (any, error) {
	return each1(func(s *state, where string, v any, rest []any) (any, error) {
		t, ok := asText(v)
		if !ok {
			return nil, notA(where, v, "text")
		}
		return f(s, t, rest)
	})
}

func argText(args []any, i int) string {
	if i >= len(args) {
		return ""
	}
	t, _ := asText(args[i])
	return t
}

var tableFunctions = []*function{
	{name: "lookup", min: 2, max: 3, about: "the target of a code, or of two codes, in a table; a code without a row is a question",
		example: `lookup("gender", case.sex)`, result: connector.Text,
		call: func(s *state, where string, args []any) (any, error) {
			return s.lookup(argText(args, 0), where, args[1:])
		}},
	{name: "table", min: 1, max: 1, about: "all rows of a table, each with its cells by column", example: `table("visit-obs")`, result: listType,
		call: func(s *state, _ string, args []any) (any, error) {
			t := s.integ.Tables[argText(args, 0)]
			if t == nil {
				return nil, &BadValue{Field: "table " + argText(args, 0), Text: "is not there"}
			}
			return t.list, nil
		}},
	{name: "answer", min: 2, max: 2, about: "the answer to the question that a table row names (columns question, type, unit, codes): a code mapped, a number, a day, choices or text",
		example: `answer(form, q)`, result: connector.Any,
		call: func(s *state, where string, args []any) (any, error) { return s.answer(where, args[0], args[1]) }},
	{name: "say", min: 1, max: 9, about: "a text of texts.csv in the site's language; {1}, {2} stand for the other arguments", example: `say("thanks", sender.name)`, result: connector.Text,
		call: func(s *state, _ string, args []any) (any, error) { return s.say(argText(args, 0), args[1:]), nil }},
	{name: "serverFor", min: 1, max: 2, about: "the system that serves a place, or its nearest ancestor that has one; none is a question", example: `serverFor(worker.place)`, result: connector.Text,
		call: func(s *state, _ string, args []any) (any, error) { return s.serverFor(args[0], argText(args, 1)) }},
	{name: "supervisorOf", min: 1, max: 1, about: "who new cases of a place belong to: the table supervisors, by the place or its nearest ancestor in it", example: `supervisorOf(server.place)`, result: connector.Text,
		call: func(s *state, where string, args []any) (any, error) { return s.supervisor(where, args[0]) }},
}

func (s *state) lookup(name, where string, codes []any) (any, error) {
	t := s.integ.Tables[name]
	if t == nil {
		return nil, &BadValue{Field: "table " + name, Text: "is not there"}
	}
	keys := make([]string, len(codes))
	for i, c := range codes {
		if absent(c) {
			if i == 0 {
				return plain(c), nil
			}
			continue
		}
		k, ok := asText(c)
		if !ok {
			return nil, notA(where, c, "a code; for several use map(choices(…), lookup(…))")
		}
		keys[i] = strings.TrimSpace(k)
	}
	row, ok := t.Lookup(keys...)
	if !ok {
		if v, taught := s.integ.lesson(name, keys); taught {
			return given(v), nil
		}
		return nil, &Unmapped{Table: name, Codes: keys, Column: t.target(len(keys)), Field: where, Known: t.known(t.target(len(keys)))}
	}
	if target := row[t.target(len(keys))]; target != "" {
		return target, nil
	}
	return nil, nil
}

// answer finds the question that a row names and turns its answer into what the
// row says.
func (s *state) answer(where string, form, q any) (any, error) {
	row, ok := q.(map[string]any)
	if !ok {
		return nil, &BadValue{Field: where, Text: "needs a row of a table"}
	}
	path := argText([]any{row["question"]}, 0)
	field := where + "." + strings.ReplaceAll(path, "/", ".")
	v, err := at(field, form, questionPath(path))
	if err != nil || absent(v) {
		return plain(v), err
	}
	typ, codes, unit := argText([]any{row["type"]}, 0), argText([]any{row["codes"]}, 0), argText([]any{row["unit"]}, 0)
	switch {
	case typ == "choices":
		list := choicesOf(v)
		for i, c := range list {
			if codes == "" {
				break
			}
			if list[i], err = s.lookup(codes, field, []any{c}); err != nil {
				return nil, err
			}
		}
		return slices.DeleteFunc(list, absent), nil
	case codes != "":
		return s.lookup(codes, field, []any{v})
	case typ == "" && unit != "":
		typ = "number"
	case typ == "":
		typ = "text"
	}
	return s.cast(field, v, typ)
}

// questionPath splits "vitals/weight", "vitals.weight" or "/data/vitals/weight".
func questionPath(path string) []string {
	path = strings.TrimPrefix(path, "/data/")
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '.' })
}

func at(field string, v any, path []string) (any, error) {
	for _, p := range path {
		if l, ok := v.([]any); ok {
			if len(l) > 1 {
				return nil, &BadValue{Field: field, Text: "is in a repeat with several rows; give it a row list of its own with each"}
			}
			v = nil
			if len(l) == 1 {
				v = l[0]
			}
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, nil
		}
		v = m[p]
	}
	return v, nil
}

func (s *state) say(key string, args []any) any {
	text := key
	if t := s.integ.Tables["texts"]; t != nil {
		if row, ok := t.Lookup(key); ok {
			text = row[t.target(1)]
			if s.site != nil && row[s.site.Language] != "" {
				text = row[s.site.Language]
			}
		}
	}
	for i, a := range args {
		t, _ := asText(a)
		text = strings.ReplaceAll(text, fmt.Sprintf("{%d}", i+1), t)
	}
	return text
}

var valueFunctions = []*function{
	{name: "number", min: 1, max: 1, about: `a number; "68,5" is 68.5, "abc" a question`, example: "number(form.weight)", result: connector.Number,
		call: each1(func(s *state, where string, v any, _ []any) (any, error) { return s.cast(where, v, "number") })},
	{name: "text", min: 1, max: 1, about: "a value as text", example: "text(form.count)", result: connector.Text,
		call: each1(func(s *state, where string, v any, _ []any) (any, error) { return s.cast(where, v, "text") })},
	{name: "cast", min: 2, max: 2, about: "a value as the type that a table names: text, number, day, moment, yes or no, choices", example: "cast(row[c.column], c.type)", result: connector.Any,
		call: each1(func(s *state, where string, v any, rest []any) (any, error) {
			return s.cast(where, v, argText(rest, 0))
		})},
	{name: "clear", min: 1, max: 1, about: "lets a blank answer empty the field there; without it a blank leaves the field alone", example: "clear(case.phone)", result: connector.Any,
		call: func(_ *state, _ string, args []any) (any, error) {
			if v := plain(args[0]); v == nil || !absent(v) {
				return v, nil
			}
			return record.Clear{}, nil
		}},
	{name: "phone", min: 1, max: 1, about: "a phone number in international form (+254…), read in the site's region; what is none is a question", example: "phone(case.phone)", result: connector.Text,
		call: each1(func(s *state, where string, v any, _ []any) (any, error) { return s.phone(where, v) })},
	{name: "convert", min: 3, max: 3, about: "a number in another unit", example: `convert(form.weight, "g", "kg")`, result: connector.Number,
		call: each1(func(s *state, where string, v any, rest []any) (any, error) {
			n, ok := asNumber(v)
			if !ok {
				return nil, notA(where, v, "a number")
			}
			return convertUnits(n, argText(rest, 0), argText(rest, 1))
		})},
	{name: "round", min: 1, max: 2, about: "a number with so many decimals, none if not said", example: "round(form.weight, 1)", result: connector.Number,
		call: each1(func(_ *state, where string, v any, rest []any) (any, error) {
			n, ok := asNumber(v)
			if !ok {
				return nil, notA(where, v, "a number")
			}
			scale := 1.0
			if len(rest) > 0 {
				d, _ := asNumber(rest[0])
				scale = math.Pow(10, min(max(math.Trunc(d), -12), 12))
			}
			return math.Round(n*scale) / scale, nil
		})},
}

// castTypes are the types that cast and a table's column type may name.
var castTypes = []string{"text", "number", "day", "moment", "yes or no", "choices"}

func (s *state) cast(where string, v any, typ string) (any, error) {
	switch typ {
	case "", "text":
		if l, ok := v.([]any); ok {
			return strings.Join(texts(l), " "), nil
		}
		t, ok := asText(v)
		if !ok {
			return nil, notA(where, v, "text")
		}
		return t, nil
	case "number":
		n, ok := asNumber(v)
		if !ok {
			return nil, notA(where, v, "a number")
		}
		return n, nil
	case "day":
		return s.day(where, v)
	case "moment":
		return s.asMoment(where, v)
	case "yes or no":
		switch t, _ := asText(v); strings.ToLower(t) {
		case "true", "yes", "1":
			return true, nil
		case "false", "no", "0":
			return false, nil
		}
		return nil, notA(where, v, "yes or no")
	case "choices":
		return choicesOf(v), nil
	}
	return nil, &BadValue{Field: where, Text: fmt.Sprintf("is to be of type %q; types are %s", typ, strings.Join(castTypes, ", "))}
}

func (s *state) phone(where string, v any) (any, error) {
	t, ok := asText(v)
	if !ok {
		return nil, notA(where, v, "a phone number")
	}
	region := ""
	if s.site != nil {
		region = s.site.Region
	}
	n, err := phonenumbers.Parse(t, region)
	if err != nil || !phonenumbers.IsValidNumber(n) {
		in := ""
		if region != "" {
			in = " in " + region
		}
		return nil, &BadValue{Field: where, Text: "is not a phone number" + in + "; write it as +, country code, number"}
	}
	return phonenumbers.Format(n, phonenumbers.E164), nil
}

// units are factors to the base of their kind; temperatures are apart.
var units = map[string]struct {
	kind   string
	factor float64
}{
	"mg": {"mass", 1e-6}, "g": {"mass", 1e-3}, "kg": {"mass", 1}, "lb": {"mass", 0.45359237}, "oz": {"mass", 0.028349523125},
	"mm": {"length", 1e-3}, "cm": {"length", 1e-2}, "m": {"length", 1}, "km": {"length", 1e3}, "in": {"length", 0.0254}, "ft": {"length", 0.3048},
	"ml": {"volume", 1e-3}, "l": {"volume", 1}, "dl": {"volume", 0.1},
	"minutes": {"time", 60}, "hours": {"time", 3600}, "days": {"time", 86400}, "weeks": {"time", 7 * 86400},
	"C": {"temperature", 0}, "F": {"temperature", 0},
}

func convertUnits(n float64, from, to string) (any, error) {
	a, okA := units[from]
	b, okB := units[to]
	if !okA || !okB || a.kind != b.kind {
		return nil, &BadValue{Field: "convert", Text: fmt.Sprintf("cannot turn %q into %q; units are %s", from, to, strings.Join(slices.Sorted(maps.Keys(units)), ", "))}
	}
	switch {
	case from == to:
		return n, nil
	case from == "C":
		return tidy(n*9/5 + 32), nil
	case from == "F":
		return tidy((n - 32) * 5 / 9), nil
	}
	return tidy(n * a.factor / b.factor), nil
}

// tidy drops what binary fractions add: 3500 g are 3.5 kg.
func tidy(n float64) float64 { return math.Round(n*1e9) / 1e9 }
