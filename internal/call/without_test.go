package call

import (
	"encoding/json"
	"testing"
)

// A row of a list that a person changed since is taken out of the undo, and the
// other rows are given back.
func TestAnUndoLeavesOutTheRowsThatOthersChanged(t *testing.T) {
	body := json.RawMessage(`{"values":[{"id":"a","value":"1"},{"id":"b","value":"2"},{"id":"c","value":"3"}],"set":"x"}`)
	c := Call{About: "write", Check: &Check{Want: fields{"a": "10", "b": "20", "c": "30"}, Pre: fields{"a": "1", "b": "2", "c": "3"}},
		Undo: &Undo{Request: Request{Body: body}, Restore: map[string]string{"/values/0": "a", "/values/1": "b", "/values/2": "c"}}}
	for name, x := range map[string]struct {
		now  fields
		want string
	}{
		"none":      {fields{"a": "10", "b": "20", "c": "30"}, string(body)},
		"the first": {fields{"a": "9", "b": "20", "c": "30"}, `{"set":"x","values":[{"id":"b","value":"2"},{"id":"c","value":"3"}]}`},
		"two":       {fields{"a": "9", "b": "9", "c": "30"}, `{"set":"x","values":[{"id":"c","value":"3"}]}`},
	} {
		r := c.Reversed(Observed{Exists: true, Fields: x.now}, nil)
		if !r.Send || string(r.Request.Body) != x.want || len(r.LeftOver) > 0 {
			t.Errorf("%s: %+v %s", name, r, r.Request.Body)
		}
	}
}

func TestRowsThatAreNotThereCannotBeTakenOut(t *testing.T) {
	all := func(string) bool { return true }
	for _, pointer := range []string{"", "/values/7", "/values/x", "/set/a"} {
		if got, err := without(json.RawMessage(`{"values":[1],"set":"x"}`), all, map[string]string{pointer: "f"}); err == nil {
			t.Errorf("%q: took out, giving %s", pointer, got)
		}
	}
}
