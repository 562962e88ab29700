package cht

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// world draws a hierarchy, workers and targets, as a seed of the simulator.
type world struct {
	docs  []map[string]any
	items []any
}

func draw(t *rapid.T) world {
	w := world{}
	// Two data elements, each with up to three combinations, and targets that
	// are in no data set.
	combos := []string{"", "comboA", "comboB"}
	for i := range rapid.IntRange(1, 5).Draw(t, "targets") {
		item := map[string]any{"id": fmt.Sprintf("target-%d", i)}
		if element := rapid.SampledFrom([]string{"", "element1", "element2"}).Draw(t, "element"); element != "" {
			dhis := map[string]any{"dataElement": element}
			if c := rapid.SampledFrom(combos).Draw(t, "combo"); c != "" {
				dhis["categoryOptionCombo"] = c
			}
			if ds := rapid.SampledFrom([]string{"", "set", "other"}).Draw(t, "of set"); ds != "" {
				dhis["dataSet"] = ds
			}
			item["dhis"] = dhis
		}
		w.items = append(w.items, item)
	}
	w.items = append(w.items, map[string]any{"id": "always", "dhis": map[string]any{"dataElement": "element1"}})
	units := rapid.SampledFrom([]any{nil, map[string]any{"orgUnit": "unit1"}, map[string]any{"orgUnit": "unit2", "dataSet": "set"},
		map[string]any{"orgUnit": "unit3", "dataSet": "other"}, []any{map[string]any{"orgUnit": "unit4"}, map[string]any{"orgUnit": "unit1", "dataSet": "set"}}})
	parents := []map[string]any{nil}
	for i := range rapid.IntRange(1, 5).Draw(t, "places") {
		id := fmt.Sprintf("place-%d", i)
		parent := parents[rapid.IntRange(0, len(parents)-1).Draw(t, "parent")]
		doc := map[string]any{"_id": id, "type": "health_center", "name": id}
		ref := map[string]any{"_id": id}
		if parent != nil {
			doc["parent"], ref["parent"] = parent, parent
		}
		if u := units.Draw(t, "unit"); u != nil {
			doc["dhis"] = u
		}
		parents = append(parents, ref)
		w.docs = append(w.docs, doc)
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "workers") {
		id := fmt.Sprintf("worker-%d", i)
		if rapid.IntRange(0, 9).Draw(t, "gone") > 0 {
			doc := map[string]any{"_id": id, "type": "person", "name": id}
			if p := parents[rapid.IntRange(0, len(parents)-1).Draw(t, "home")]; p != nil {
				doc["parent"] = p
			}
			w.docs = append(w.docs, doc)
		}
		for d := range rapid.IntRange(0, 2).Draw(t, "documents") {
			list := []any{}
			for j := range w.items {
				if rapid.Bool().Draw(t, "counted") {
					total := rapid.IntRange(0, 1000).Draw(t, "total")
					list = append(list, map[string]any{"id": w.items[j].(map[string]any)["id"], "value": map[string]any{"pass": total / 2, "total": total}})
				}
			}
			w.docs = append(w.docs, map[string]any{"_id": fmt.Sprintf("target~2026-10~%s~org.couchdb.user:u%d", id, d), "type": "target", "owner": id,
				"updated_date": rapid.IntRange(1, 2000000000).Draw(t, "at") * 1000, "targets": list})
		}
	}
	return w
}

func (w world) rig(t *testing.T, order []int) *rig {
	docs := make([]map[string]any, len(order))
	for i, at := range order {
		docs[i] = w.docs[at]
	}
	seed, err := json.Marshal(map[string]any{"docs": docs, "settings": map[string]any{"dhis_data_sets": []any{map[string]any{"id": "set"}},
		"tasks": map[string]any{"targets": map[string]any{"items": w.items}}}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, `{"missing":["can_view_users"]}`)
	if err := r.sim.Seed(seed); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestContributionsAddUpToWhatIsExportedInWhateverOrderWorkersCome(t *testing.T) {
	run := connector.Run{Kind: kindExport, Period: "202610", Keys: map[string]string{"dataSet": "set"}}
	rapid.Check(t, func(rt *rapid.T) {
		w := draw(rt)
		order := make([]int, len(w.docs))
		for i := range order {
			order[i] = i
		}
		r := w.rig(t, order)
		list, rows := r.all(t, run)

		rand.New(rand.NewSource(rapid.Int64().Draw(rt, "shuffle"))).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		other, _ := w.rig(t, order).all(t, run)
		if d := cmp.Diff(list, other); d != "" {
			rt.Fatalf("another order of documents gives other rows: %s", d)
		}

		e, err := r.export(t.Context(), r, "set", "", month{2026, 10})
		if err != nil {
			rt.Fatal(err)
		}
		want, got := map[string]map[string]float64{}, map[string]map[string]float64{}
		for _, v := range e.Values {
			if want[v.OrgUnit] == nil {
				want[v.OrgUnit] = map[string]float64{}
			}
			want[v.OrgUnit][v.DataElement] += *v.Value
		}
		for _, c := range rows {
			if c.OrgUnit == "" {
				continue
			}
			got[c.OrgUnit] = map[string]float64{}
			if !*c.Row.Agrees {
				rt.Fatalf("%s does not agree: %v", c.OrgUnit, c.Row.Differs)
			}
			seen := map[combo]bool{}
			for _, v := range c.Row.Values {
				key := combo{v.DataElement, v.CategoryOptionCombo, v.AttributeOptionCombo}
				if seen[key] {
					rt.Fatalf("%s has %v twice", c.OrgUnit, key)
				}
				seen[key] = true
				sum := 0.0
				for _, s := range v.Workers {
					sum += s.Value
				}
				if sum != v.Value {
					rt.Fatalf("%s %v: the workers' parts are %v, the value %v", c.OrgUnit, key, sum, v.Value)
				}
				got[c.OrgUnit][v.DataElement] += v.Value
			}
			w.apart(rt, c.Row, seen)
		}
		if d := cmp.Diff(want, got); d != "" {
			rt.Fatalf("(-exported +rows) %s", d)
		}
	})
}

// apart checks that every combination that the settings name has a value of its own.
func (w world) apart(t *rapid.T, r row, seen map[combo]bool) {
	for _, item := range w.items {
		dhis, ok := item.(map[string]any)["dhis"].(map[string]any)
		if !ok || dhis["dataSet"] == "other" {
			continue
		}
		category, _ := dhis["categoryOptionCombo"].(string)
		if !seen[combo{dhis["dataElement"].(string), category, ""}] {
			t.Fatalf("%s has no value of its own for %v", r.OrgUnit, dhis)
		}
	}
}

func FuzzForeignDocuments(f *testing.F) {
	f.Add(`{"_id":"target~2026-10~x~y","owner":"x","targets":[{"id":"always","value":{"total":"5"}}]}`, `{"_id":"x","type":"person","parent":""}`, `{"tasks":{"targets":{"items":[{"id":"always","dhis":[{"dataElement":"e"}]}]}}}`)
	f.Add(`{"_id":"target~2026-10~x~y","targets":{}}`, `{"_id":"x","type":"person","dhis":"no","contact":7}`, `{"dhis_data_sets":{}}`)
	f.Add(`null`, `[]`, `{"uhc":{"month_start_date":[1]}}`)
	f.Fuzz(func(t *testing.T, target, contact, app string) {
		r := newRig(t, `{"default":"2026-10"}`)
		rows := func(doc string) []byte {
			b, err := json.Marshal(map[string]any{"rows": []any{map[string]any{"id": "target~2026-10~x~y", "doc": json.RawMessage(doc)}}})
			if err != nil {
				return nil
			}
			return b
		}
		r.after = foreign(rows(target), rows(contact), []byte(app))
		for _, run := range []connector.Run{october(t, kindExport, ourDataSet, nil), october(t, kindTargets, nil, map[string]string{"level": "person"})} {
			page, err := r.List(t.Context(), r, run, nil)
			if err == nil && !page.Done {
				t.Errorf("not done: %+v", page)
			}
		}
	})
}

// foreign puts documents of somebody else's making in place of what the server has.
func foreign(targets, contacts, app []byte) func(call.Request, *call.Answer) {
	return func(q call.Request, a *call.Answer) {
		switch {
		case q.Path == allDocs && q.Method == "GET" && targets != nil:
			a.Body = targets
		case q.Path == allDocs && contacts != nil:
			a.Body = contacts
		case q.Path == "/api/v1/settings" && json.Valid(app):
			a.Body = app
		}
	}
}
