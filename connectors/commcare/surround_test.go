package commcare

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
)

const surroundings = `{
 "locations": [
  {"location_id":"country","name":"Country","site_code":"country","location_type_code":"country","parent_location_id":null,"location_data":{}},
  {"location_id":"county","name":"County","site_code":"county","location_type_code":"county","parent_location_id":"country","location_data":{"openmrs_uuid":"u1"}},
  {"location_id":"clinic","name":"Clinic","site_code":"clinic","location_type_code":"clinic","parent_location_id":"county","location_data":{}},
  {"location_id":"loop1","name":"L1","site_code":"l1","parent_location_id":"loop2"},
  {"location_id":"loop2","name":"L2","site_code":"l2","parent_location_id":"loop1"}],
 "users": [{"id":"chw","username":"chw.one@demo.commcarehq.org","first_name":"Faith","last_name":"Moyo","default_phone_number":"254700000000",
  "user_data":{"commcare_location_id":"clinic","commcare_location_ids":"clinic county","role":"chw"}}],
 "web_users": [{"id":"boss","username":"boss@example.org","first_name":"","last_name":""}],
 "cases": [{"case_id":"65e55473-e83b-4d78-9dde-eaf949758997","case_type":"paciente","case_name":"Elsa","owner_id":"clinic","external_id":"ext-1",
  "properties":{"estado_tarv":"9","village":"Umoja"},"indices":{"parent":{"case_id":"p","case_type":"household","relationship":"child"}}}]}`

func surroundBench(t *testing.T) (*bench, *connector.Message) {
	b := newBench(t, nil)
	if err := b.sim.Seed([]byte(surroundings)); err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(file(t, "forms/form-json.followup.json"), &doc); err != nil {
		t.Fatal(err)
	}
	doc["form"].(map[string]any)["meta"].(map[string]any)["userID"] = "chw"
	in, err := formMessage(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b, &connector.Message{ID: 1, Incoming: *in}
}

func (b *bench) surround(m *connector.Message, item any, names ...string) map[string]any {
	b.Helper()
	var content any
	if err := json.Unmarshal(m.Content, &content); err != nil {
		b.Fatal(err)
	}
	out, err := b.sys.Surround(context.Background(), b, m, content, item, names)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// Vector 2 of case-updates-from-form: what the form does not say comes from the
// stored case, and what it says stands over it.
func TestTheStoredCaseIsReadWithTheFormsOwnUpdateOverIt(t *testing.T) {
	b, m := surroundBench(t)
	form := decode(t, m.Content)["form"].(map[string]any)
	c := b.surround(m, form["cases"].([]any)[0], "case")["case"].(map[string]any)
	want := map[string]any{"case_id": "65e55473-e83b-4d78-9dde-eaf949758997", "id": "65e55473-e83b-4d78-9dde-eaf949758997", "type": "paciente",
		"case_type": "paciente", "name": "Elsa", "case_name": "Elsa", "owner_id": "clinic", "external_id": "ext-1", "closed": false,
		"estado_tarv": "1", "tb": "1", "village": "Umoja"}
	for name, v := range want {
		if c[name] != v {
			t.Errorf("case.%s is %v, want %v", name, c[name], v)
		}
	}
	if _, has := c["bandersnatch"]; has {
		t.Error("a property that nobody set is there")
	}
	if d := cmp.Diff(map[string]any{"estado_tarv": "1", "tb": "1", "village": "Umoja"}, c["properties"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(c, b.surround(m, nil, "case")["case"]); d != "" {
		t.Errorf("the form's only case, without an item: %s", d)
	}
}

func TestCaseUpdatesFromFormVectors(t *testing.T) {
	var vectors []struct {
		Form     string `json:"form"`
		Expected []struct {
			CaseID  string            `json:"case_id"`
			Updates map[string]string `json:"updates"`
			Created bool              `json:"created"`
			Closed  bool              `json:"closed"`
		} `json:"expected"`
	}
	if err := json.Unmarshal(file(t, "forms/case-updates-from-form.vectors.json"), &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		in, err := formMessage(decode(t, file(t, "forms/"+v.Form)))
		if err != nil {
			t.Fatal(err)
		}
		cases := decode(t, in.Content)["form"].(map[string]any)["cases"].([]any)
		if len(cases) != len(v.Expected) {
			t.Fatalf("%s has %d cases", v.Form, len(cases))
		}
		for i, want := range v.Expected {
			c := cases[i].(map[string]any)
			_, created := c["create"]
			if c["case_id"] != want.CaseID || created != want.Created || c["close"] != want.Closed {
				t.Errorf("%s: %v", v.Form, c)
			}
			for name, value := range want.Updates {
				if c[name] != value {
					t.Errorf("%s: %s is %v, want %s", v.Form, name, c[name], value)
				}
			}
		}
	}
}

func TestTheWorkerHasTheirPlaceWithItsAncestors(t *testing.T) {
	b, m := surroundBench(t)
	got := b.surround(m, nil, "worker", "place", "owner")
	w := got["worker"].(map[string]any)
	if w["name"] != "Faith Moyo" || w["username"] != "chw.one" || w["data"].(map[string]any)["role"] != "chw" || w["phone"] != "254700000000" {
		t.Errorf("worker is %v", w)
	}
	place := w["place"].(map[string]any)
	var chain []any
	for _, p := range place["ancestors"].([]any) {
		chain = append(chain, p.(map[string]any)["id"])
	}
	if d := cmp.Diff([]any{"county", "country"}, chain); place["id"] != "clinic" || d != "" {
		t.Errorf("place %v: %s", place["id"], d)
	}
	if up := place["ancestors"].([]any)[0].(map[string]any); up["data"].(map[string]any)["openmrs_uuid"] != "u1" {
		t.Errorf("the county is %v", up)
	}
	if d := cmp.Diff(place, got["place"]); d != "" {
		t.Error(d)
	}
	if o := got["owner"].(map[string]any); o["kind"] != "place" || o["place"].(map[string]any)["id"] != "clinic" {
		t.Errorf("owner is %v", o)
	}
}

func TestPlacesAndWorkersAreRemembered(t *testing.T) {
	b, m := surroundBench(t)
	at := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	b.sys.now = func() time.Time { return at }
	b.surround(m, nil, "worker", "place")
	first := len(b.sent)
	if first != 4 { // the worker, and three places
		t.Errorf("%d reads at first", first)
	}
	b.surround(m, nil, "worker", "place")
	if len(b.sent) != first {
		t.Errorf("%d more reads", len(b.sent)-first)
	}
	at = at.Add(11 * time.Minute)
	b.surround(m, nil, "worker", "place")
	if len(b.sent) != 2*first {
		t.Errorf("%d reads after ten minutes, want %d", len(b.sent)-first, first)
	}
}

func TestOwnersOfEveryKind(t *testing.T) {
	b, _ := surroundBench(t)
	for owner, want := range map[string]any{"chw": "worker", "boss": "worker", "county": "place", "loop1": "place", "some-group": "group", "": nil, "-": nil, "..": "group"} {
		l := &looker{s: b.sys, do: b, stored: map[string]any{"owner_id": owner}}
		o, err := l.owner(context.Background())
		if err != nil || o["kind"] != want {
			t.Errorf("owner %q is a %v, %v", owner, o["kind"], err)
		}
	}
}

func TestOnlyTheNamesAskedForAreRead(t *testing.T) {
	b, m := surroundBench(t)
	if got := b.surround(m, nil); len(got) != 0 || len(b.sent) != 0 {
		t.Errorf("%v after %d reads", got, len(b.sent))
	}
	if got := b.surround(m, map[string]any{"case_id": "not-there", "update": map[string]any{"a": "1"}}, "case"); got["case"].(map[string]any)["a"] != "1" {
		t.Errorf("a case that is not stored gives %v", got)
	}
	if got := b.surround(m, map[string]any{"case_id": "a,b"}, "case"); len(b.sent) != 1 || got["case"] == nil {
		t.Errorf("an id with a comma was asked for: %v", b.sent)
	}
}
