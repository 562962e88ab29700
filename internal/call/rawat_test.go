package call

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// TestWhatAPointerNamesIsTheSameDecodedOrNot: rawAt against getPointer.
func TestWhatAPointerNamesIsTheSameDecodedOrNot(t *testing.T) {
	for doc, want := range map[string]string{
		`{"uuid":"a"}`:                  `"a"`,
		` {"uuid": 12345678901234567 }`: `12345678901234567`,
		`{"uuid":{"b":[1, 2]}}`:         `{"b":[1, 2]}`,
		`{"other":1}`:                   ``,
		`[1]`:                           ``,
		`"text"`:                        ``,
	} {
		if got, err := rawAt(json.RawMessage(doc), "/uuid"); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", doc, got, err, want)
		}
	}
	for _, bad := range []string{``, `{"uuid"`, `<html>`, `{"uuid":1`} {
		if got, err := rawAt(json.RawMessage(bad), "/uuid"); err == nil {
			t.Errorf("%q gave %q and no error", bad, got)
		}
	}
	var gen func(depth int) *rapid.Generator[any]
	gen = func(depth int) *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.Map(rapid.StringMatching(`[a-z"/~é]{0,4}`), toAny[string]), rapid.Map(rapid.Float64Range(-9, 9), toAny[float64]), rapid.Just[any](nil))
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf, rapid.Map(rapid.SliceOfN(gen(depth-1), 0, 3), toAny[[]any]),
			rapid.Map(rapid.MapOfN(rapid.StringMatching(`[ab/~]{1,2}`), gen(depth-1), 0, 3), toAny[map[string]any]))
	}
	rapid.Check(t, func(t *rapid.T) {
		doc := gen(3).Draw(t, "doc")
		p := Pointer(rapid.SliceOfN(rapid.OneOf(rapid.StringMatching(`[ab/~]{1,2}`), rapid.StringMatching(`[0-3]`)), 0, 3).Draw(t, "path")...)
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := rawAt(b, p)
		if err != nil {
			t.Fatal(err)
		}
		v, ok := getPointer(doc, p)
		if ok != (raw != nil) {
			t.Fatalf("%s at %s: there is %v, and %q was found", b, p, ok, raw)
		}
		if want, _ := json.Marshal(v); ok && string(want) != string(raw) {
			t.Fatalf("%s at %s: %s, not %s", b, p, raw, want)
		}
	})
}

func toAny[T any](v T) any { return v }
