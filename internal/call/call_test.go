package call

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/record"
)

type fields = record.Fields

func TestJudgeTellsWhetherACallHappened(t *testing.T) {
	create := Check{Want: fields{"name": "a"}}
	update := Check{Want: fields{"name": "new"}, Pre: fields{"name": "old"}}
	remove := Check{Pre: fields{"name": "old"}}
	for name, c := range map[string]struct {
		check Check
		seen  Observed
		want  Happened
	}{
		"made, and there":                       {create, Observed{Exists: true, Fields: fields{"name": "a"}}, Yes},
		"made, and changed by a person since":   {create, Observed{Exists: true, Fields: fields{"name": "b"}}, Yes},
		"made, not there":                       {create, Observed{}, NotYet},
		"made, voided by our own undo":          {create, Observed{Voided: true, ByUs: true}, NotYet},
		"made, voided by a person":              {create, Observed{Voided: true}, CannotTell},
		"changed, equals wanted":                {update, Observed{Exists: true, Fields: fields{"name": "new"}}, Yes},
		"changed, equals before":                {update, Observed{Exists: true, Fields: fields{"name": "old"}}, NotYet},
		"changed, equals neither":               {update, Observed{Exists: true, Fields: fields{"name": "x"}}, CannotTell},
		"changed, but the record is gone":       {update, Observed{}, CannotTell},
		"removed, gone":                         {remove, Observed{}, Yes},
		"removed, still there":                  {remove, Observed{Exists: true, Fields: fields{"name": "old"}}, NotYet},
		"changed, a field that cannot be read":  {Check{Want: fields{"a": "1"}, Pre: fields{"a": "0"}}, Observed{Exists: true, Fields: fields{"a": record.Unreadable{}}}, Yes},
		"emptied, and nothing there":            {Check{Want: fields{"a": record.Clear{}}, Pre: fields{"a": "0"}}, Observed{Exists: true, Fields: fields{}}, Yes},
		"filled where nothing was, still empty": {Check{Want: fields{"a": "1"}, Pre: fields{"a": nil}}, Observed{Exists: true, Fields: fields{}}, NotYet},
	} {
		if got := c.check.Judge(c.seen, nil); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAnUndoRestoresOnlyWhatStillHoldsWhatWeWrote(t *testing.T) {
	body := json.RawMessage(`{"gender":"F","birthdate":"1990-01-01"}`)
	update := Call{About: "change details", Reversal: Exact,
		Check: &Check{Want: fields{"gender": "M", "birthdate": "1991-01-01"}, Pre: fields{"gender": "F", "birthdate": "1990-01-01"}},
		Undo:  &Undo{Request: Request{Method: "POST", Body: body}, Restore: map[string]string{"/gender": "gender", "/birthdate": "birthdate"}}}
	create := Call{About: "make", Check: &Check{Want: fields{"a": "1"}}, Undo: &Undo{Request: Request{Method: "DELETE"}}}
	remove := Call{About: "remove", Check: &Check{Pre: fields{"a": "1"}}, Undo: &Undo{Request: Request{Method: "POST"}}}
	for name, c := range map[string]struct {
		call   Call
		seen   Observed
		send   bool
		body   string
		left   int
		theirs []string
	}{
		"untouched":                      {update, Observed{Exists: true, Fields: fields{"gender": "M", "birthdate": "1991-01-01"}}, true, string(body), 0, nil},
		"a person changed one field":     {update, Observed{Exists: true, Fields: fields{"gender": "O", "birthdate": "1991-01-01"}}, true, `{"birthdate":"1990-01-01"}`, 0, []string{"gender"}},
		"a person changed all":           {update, Observed{Exists: true, Fields: fields{"gender": "O", "birthdate": "2000-01-01"}}, false, "", 0, []string{"birthdate", "gender"}},
		"one field was never written":    {update, Observed{Exists: true, Fields: fields{"gender": "M", "birthdate": "1990-01-01"}}, true, `{"gender":"F"}`, 0, nil},
		"undone already":                 {update, Observed{Exists: true, Fields: fields{"gender": "F", "birthdate": "1990-01-01"}}, false, "", 0, nil},
		"gone":                           {update, Observed{}, false, "", 0, nil},
		"made and untouched":             {create, Observed{Exists: true, Fields: fields{"a": "1"}}, true, "", 0, nil},
		"made and changed by a person":   {create, Observed{Exists: true, Fields: fields{"a": "2"}}, false, "", 1, nil},
		"made and gone already":          {create, Observed{}, false, "", 0, nil},
		"removed":                        {remove, Observed{}, true, "", 0, nil},
		"removed and put back by people": {remove, Observed{Exists: true, Fields: fields{"a": "9"}}, false, "", 0, nil},
	} {
		got := c.call.Reversed(c.seen, nil)
		if got.Send != c.send || len(got.LeftOver) != c.left || cmp.Diff(got.Kept, c.theirs) != "" {
			t.Errorf("%s: %+v", name, got)
		}
		if c.send && c.body != "" && string(got.Request.Body) != c.body {
			t.Errorf("%s: body %s, want %s", name, got.Request.Body, c.body)
		}
	}
}

// Invariant 5 on the deciding code: whatever a person changed meanwhile, the
// undo gives what the person's changes alone would have made.
func TestUndoGivesWhatPeoplesEditsAloneWouldHaveMade(t *testing.T) {
	names := []string{"a", "b", "c"}
	value := rapid.SampledFrom([]string{"1", "2", "3", "4"})
	rapid.Check(t, func(t *rapid.T) {
		pre, want, person := fields{}, fields{}, fields{}
		restore, old := map[string]string{}, map[string]any{}
		for _, n := range names {
			pre[n], want[n] = value.Draw(t, "before"), value.Draw(t, "ours")
			restore["/"+n], old[n] = n, pre[n]
			if rapid.Bool().Draw(t, "edited") {
				person[n] = value.Draw(t, "theirs")
			}
		}
		now := want.Clone()
		for n, v := range person {
			now[n] = v
		}
		body, _ := json.Marshal(old)
		c := Call{Check: &Check{Want: want, Pre: pre}, Undo: &Undo{Request: Request{Body: body}, Restore: restore}}
		r := c.Reversed(Observed{Exists: true, Fields: now}, nil)
		if len(r.LeftOver) > 0 {
			t.Fatalf("left over: %v", r.LeftOver)
		}
		end := now.Clone()
		if r.Send {
			var sent map[string]string
			if err := json.Unmarshal(r.Request.Body, &sent); err != nil {
				t.Fatal(err)
			}
			for n, v := range sent {
				end[n] = v
			}
		}
		for _, n := range names {
			alone := pre[n]
			if v, ok := person[n]; ok {
				alone = v
			}
			// What a person set to the very value that we wrote cannot be told from ours.
			if end[n] != alone && person[n] != want[n] {
				t.Fatalf("%s is %v, without us it would be %v", n, end[n], alone)
			}
		}
	})
}

func known(l record.Later) (string, bool) {
	if l.Call == "draw" && l.Output == "id" {
		return "10/5 {x.y}", true
	}
	return "", false
}

func TestOutputsAreBoundAsDataNeverAsText(t *testing.T) {
	r := Request{Path: "/patient/{draw.id}/name", Query: map[string][]string{"q": {"{draw.id}"}},
		Body: json.RawMessage(`{"ids":[{"id":null}],"note":"{draw.id}"}`), Bind: []Bind{{At: "/ids/0/id", Call: "draw", Output: "id"}}}
	got, err := r.Bound(known)
	if err != nil {
		t.Fatal(err)
	}
	if got.Path != "/patient/10%2F5%20%7Bx.y%7D/name" {
		t.Errorf("path %s", got.Path)
	}
	if got.Query["q"][0] != "10/5 {x.y}" || r.Query["q"][0] != "{draw.id}" {
		t.Errorf("query %v, the template's %v", got.Query, r.Query)
	}
	// Text of a patient that looks like a placeholder stays text.
	if string(got.Body) != `{"ids":[{"id":"10/5 {x.y}"}],"note":"{draw.id}"}` {
		t.Errorf("body %s", got.Body)
	}
	for _, bad := range []Request{{Path: "/a/{other.id}"}, {Body: json.RawMessage(`{}`), Bind: []Bind{{At: "/a/b", Call: "draw", Output: "id"}}},
		{Body: json.RawMessage(`{"a":1}`), Bind: []Bind{{At: "/a", Call: "other", Output: "id"}}}} {
		if _, err := bad.Bound(known); err == nil {
			t.Errorf("%+v was bound although it cannot be", bad)
		}
	}
}

func TestCollectReadsOutputsByPointer(t *testing.T) {
	c := Call{Name: "make", Outputs: map[string]string{"id": "/uuid", "n": "/list/1/n"}}
	got, err := c.Collect(Answer{Body: []byte(`{"uuid":"u","list":[{},{"n":7}]}`)})
	if err != nil || cmp.Diff(got, Outputs{"id": "u", "n": "7"}) != "" {
		t.Fatalf("%v %v", got, err)
	}
	for _, body := range []string{`<html>`, `{}`, `{"uuid":"u","list":[]}`} {
		if _, err := c.Collect(Answer{Body: []byte(body)}); err == nil {
			t.Errorf("%s: outputs read that are not there", body)
		}
	}
}

func FuzzBound(f *testing.F) {
	f.Add("/a/{draw.id}/b", `{"a":null}`, "/a")
	f.Add("/{.}", `[]`, "")
	f.Fuzz(func(t *testing.T, path, body, at string) {
		r := Request{Path: path, Body: json.RawMessage(body), Bind: []Bind{{At: at, Call: "draw", Output: "id"}}}
		_, _ = r.Bound(known)
	})
}
