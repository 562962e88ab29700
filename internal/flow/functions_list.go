package flow

import (
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
)

var textFunctions = []*function{
	{name: "upper", min: 1, max: 1, about: "text in capitals", example: "upper(case.code)", result: connector.Text,
		call: text1(func(_ *state, t string, _ []any) (any, error) { return strings.ToUpper(t), nil })},
	{name: "lower", min: 1, max: 1, about: "text in small letters", example: "lower(case.code)", result: connector.Text,
		call: text1(func(_ *state, t string, _ []any) (any, error) { return strings.ToLower(t), nil })},
	{name: "trim", min: 1, max: 1, about: "text without spaces around it", example: "trim(case.first_name)", result: connector.Text,
		call: text1(func(_ *state, t string, _ []any) (any, error) { return strings.TrimSpace(t), nil })},
	{name: "replace", min: 3, max: 3, about: "text with one part put for another", example: `replace(case.code, "-", "")`, result: connector.Text,
		call: text1(func(s *state, t string, rest []any) (any, error) {
			from, to := argText(rest, 0), argText(rest, 1)
			if from == "" {
				return t, nil
			}
			if err := s.grow(strings.Count(t, from)*len(to) + len(t)); err != nil {
				return nil, err
			}
			return strings.ReplaceAll(t, from, to), nil
		})},
	{name: "split", min: 2, max: 2, about: "text cut into a list", example: `split(case.name, " ")`, result: listType,
		call: func(s *state, where string, args []any) (any, error) {
			if absent(args[0]) {
				return []any{}, nil
			}
			t, ok := asText(args[0])
			if !ok {
				return nil, notA(where, args[0], "text")
			}
			if err := s.grow(16 * len(t)); err != nil {
				return nil, err
			}
			var out []any
			for part := range strings.SplitSeq(t, argText(args, 1)) {
				out = append(out, strings.TrimSpace(part))
			}
			return out, nil
		}},
	{name: "join", min: 2, max: 2, about: "a list as one text", example: `join(choices(form.signs), ", ")`, result: connector.Text,
		call: func(s *state, _ string, args []any) (any, error) {
			out := strings.Join(texts(listOf(args[0])), argText(args, 1))
			return out, s.grow(len(out))
		}},
}

func texts(list []any) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		if t, ok := asText(v); ok && !absent(v) {
			out = append(out, t)
		}
	}
	return out
}

var listFunctions = []*function{
	{name: "choices", min: 1, max: 1, about: "the codes of a select-multiple answer as a list of whole codes", example: `"fever" in choices(form.signs)`, result: listType,
		call: func(_ *state, _ string, args []any) (any, error) { return choicesOf(args[0]), nil }},
	{name: "rows", min: 1, max: 1, about: "a repeat as a list: one row is a list of one, none is empty", example: "rows(form.children)", result: listType,
		call: func(_ *state, _ string, args []any) (any, error) { return listOf(args[0]), nil }},
	{name: "len", min: 1, max: 1, about: "how many rows a list has, or letters a text; nothing has 0", example: "len(form.children)", result: connector.Number,
		call: func(_ *state, _ string, args []any) (any, error) {
			if t, ok := plain(args[0]).(string); ok {
				return float64(len([]rune(t))), nil
			}
			return float64(len(listOf(args[0]))), nil
		}},
	{name: "first", min: 1, max: 1, about: "the first row of a list", example: "first(form.children)", result: connector.Any,
		call: func(_ *state, _ string, args []any) (any, error) {
			if l := listOf(args[0]); len(l) > 0 {
				return l[0], nil
			}
			return nil, nil
		}},
	{name: "last", min: 1, max: 1, about: "the last row of a list", example: "last(form.children)", result: connector.Any,
		call: func(_ *state, _ string, args []any) (any, error) {
			if l := listOf(args[0]); len(l) > 0 {
				return l[len(l)-1], nil
			}
			return nil, nil
		}},
	{name: "sum", min: 1, max: 1, about: "the sum of a list's numbers, absent ones left out; nothing if there is none", example: "sum(form.children, .doses)", result: connector.Number, call: sumOf},
	{name: "min", min: 1, max: 9, about: "the least of the numbers, absent ones left out", example: "min(form.a, form.b)", result: connector.Number, call: extreme(func(a, b float64) bool { return a < b })},
	{name: "max", min: 1, max: 9, about: "the greatest of the numbers, absent ones left out", example: "max(form.a, form.b)", result: connector.Number, call: extreme(func(a, b float64) bool { return a > b })},
}

func choicesOf(v any) []any {
	out := []any{}
	for _, x := range listOf(v) {
		t, ok := asText(x)
		if !ok {
			continue
		}
		for code := range strings.FieldsSeq(t) {
			out = append(out, code)
		}
	}
	return out
}

func sumOf(_ *state, where string, args []any) (any, error) {
	var total any
	for _, v := range listOf(args[0]) {
		if absent(v) {
			continue
		}
		n, ok := asNumber(v)
		if !ok {
			return nil, notA(where, v, "a number")
		}
		t, _ := total.(float64)
		total = t + n
	}
	return total, nil
}

func extreme(better func(a, b float64) bool) func(*state, string, []any) (any, error) {
	return func(_ *state, where string, args []any) (any, error) {
		var best any
		for _, v := range args {
			for _, x := range listOf(v) {
				if absent(x) {
					continue
				}
				n, ok := asNumber(x)
				if !ok {
					return nil, notA(where, x, "a number")
				}
				if b, has := best.(float64); !has || better(n, b) {
					best = n
				}
			}
		}
		return best, nil
	}
}
