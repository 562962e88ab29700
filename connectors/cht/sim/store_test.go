package sim

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func do(t *testing.T, s *Sim, method, path, body string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.SetBasicAuth(s.o.User, s.o.Password)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		out = nil
	}
	return w.Code, out
}

func fresh(t *testing.T, options string) *Sim {
	t.Helper()
	s, err := New([]byte(options))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAWriteAgainstAnotherRevisionConflicts(t *testing.T) {
	s := fresh(t, "{}")
	code, first := do(t, s, "PUT", "/medic/a", `{"type":"person","name":"x"}`)
	if code != 201 {
		t.Fatal(code, first)
	}
	rev := first["rev"].(string)
	for body, want := range map[string]int{`{"name":"y"}`: 409, `{"name":"y","_rev":"1-0"}`: 409} {
		if code, got := do(t, s, "PUT", "/medic/a", body); code != want {
			t.Errorf("%s: %d %v", body, code, got)
		}
	}
	code, second := do(t, s, "PUT", "/medic/a", `{"name":"y","_rev":"`+rev+`"}`)
	if code != 201 || !strings.HasPrefix(second["rev"].(string), "2-") {
		t.Fatal(code, second)
	}
	if code, _ := do(t, s, "DELETE", "/medic/a?rev="+rev, ""); code != 409 {
		t.Errorf("deleted with an old revision: %d", code)
	}
	if code, _ := do(t, s, "DELETE", "/medic/a?rev="+second["rev"].(string), ""); code != 200 {
		t.Errorf("not deleted: %d", code)
	}
	if code, got := do(t, s, "GET", "/medic/a", ""); code != 404 || got["reason"] != "deleted" {
		t.Errorf("a deleted document: %d %v", code, got)
	}
	if code, got := do(t, s, "PUT", "/medic/a", `{"name":"again"}`); code != 201 || !strings.HasPrefix(got["rev"].(string), "4-") {
		t.Errorf("made again after deletion: %d %v", code, got)
	}
}

func TestChangesAreReadOnFromAnOpaqueSequence(t *testing.T) {
	s := fresh(t, "{}")
	for i := range 5 {
		do(t, s, "PUT", fmt.Sprintf("/medic/d%d", i), `{"a":1}`)
	}
	_, page := do(t, s, "GET", "/medic/_changes?limit=3&include_docs=true", "")
	var recorded map[string]any
	load(t, "changes_couchdb_sequences.json", &recorded)
	for k := range recorded {
		if _, ok := page[k]; !ok {
			t.Errorf("the answer has no %s", k)
		}
	}
	if len(page["results"].([]any)) != 3 || page["pending"] != 2.0 {
		t.Fatal(page)
	}
	last := page["last_seq"].(string)
	if err := s.Delete("d0"); err != nil {
		t.Fatal(err)
	}
	_, rest := do(t, s, "GET", "/medic/_changes?include_docs=true&since="+url.QueryEscape(last), "")
	var got []string
	for _, r := range rest["results"].([]any) {
		row := r.(map[string]any)
		got = append(got, fmt.Sprint(row["id"], " ", row["deleted"] == true, " ", row["doc"].(map[string]any)["_deleted"] == true))
	}
	if d := cmp.Diff([]string{"d3 false false", "d4 false false", "d0 true true"}, got); d != "" {
		t.Error(d)
	}
	// A place of another database is no place here: everything comes again.
	_, all := do(t, s, "GET", "/medic/_changes?since=900-g1AAAAother", "")
	if len(all["results"].([]any)) != 5 {
		t.Errorf("from a foreign sequence: %v", all)
	}
	if code, _ := do(t, s, "GET", "/medic/_changes?since=nonsense", ""); code != 400 {
		t.Errorf("nonsense as sequence: %d", code)
	}
}

func TestTheTypeOfABodyIsExact(t *testing.T) {
	s := fresh(t, "{}")
	for contentType, want := range map[string]int{"application/json": 400 /* no dataSet */, "application/json; charset=utf-8": 400, "": 400} {
		r := httptest.NewRequest("POST", "/api/v2/export/dhis", strings.NewReader(`{"filters":{}}`))
		r.SetBasicAuth(s.o.User, s.o.Password)
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		refused := strings.Contains(w.Body.String(), "Content-Type must be application/json")
		if w.Code != want || refused != (contentType != "application/json") {
			t.Errorf("%q: %d %s", contentType, w.Code, w.Body)
		}
	}
}

func TestTheMonthOfAnExportIsTakenInTheServersZone(t *testing.T) {
	edge := time.Date(2026, 9, 30, 22, 0, 0, 0, time.UTC) // the first of October in Nairobi
	for zone, want := range map[string]string{"UTC": "202609", "Africa/Nairobi": "202610"} {
		s := fresh(t, `{"zone":"`+zone+`","default":"2026-10"}`)
		_, got := do(t, s, "GET", fmt.Sprintf("/api/v2/export/dhis?filters[dataSet]=%s&filters[date][from]=%d", DataSet, edge.UnixMilli()), "")
		if got["period"] != want {
			t.Errorf("%s: %v, want %s", zone, got["period"], want)
		}
	}
}

func TestStateForgetsRevisionsOnly(t *testing.T) {
	a, b := fresh(t, `{"default":"2026-10"}`), fresh(t, `{"default":"2026-10"}`)
	doc := a.Get(ContactID(41))
	for range 2 { // another revision of the same content
		if err := a.Put(doc); err != nil {
			t.Fatal(err)
		}
	}
	x, err := a.State()
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.State()
	if err != nil || string(x) != string(y) {
		t.Fatalf("states of the same content differ: %v", err)
	}
	if err := a.Sync("rose", "2026-10", time.Unix(0, 0), Count{ID: "fever-2-11-months", Total: 1}); err != nil {
		t.Fatal(err)
	}
	if x, err = a.State(); err != nil || string(x) == string(y) {
		t.Fatalf("a new document is not in the state: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("GET", "/medic/_all_docs?startkey=%22a%22", "")
	f.Add("POST", "/medic/_find", `{"selector":{"a.b":{"$in":[1]}}}`)
	f.Add("POST", "/medic/_bulk_docs", `{"docs":[1,{"_id":"x"}],"new_edits":false}`)
	f.Add("PUT", "/medic/x", `{"dhis":[1],"type":"person","parent":"x"}`)
	f.Add("GET", "/api/v2/export/dhis?filters[dataSet]=VMuFODsyWaO&filters[date][from]=1", "")
	f.Add("GET", "/api/v1/target?contact_ids=,&reporting_period=2026-10", "")
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if u, err := url.ParseRequestURI(path); err != nil || u.Host != "" || !strings.HasPrefix(path, "/") || strings.ContainsAny(method+path, " \r\n\t") || method == "" {
			t.Skip()
		}
		s := fresh(t, `{"default":"2026-10"}`)
		defer func() {
			if p := recover(); p != nil && !strings.HasPrefix(fmt.Sprint(p), "invalid NewRequest arguments") {
				t.Fatalf("%s %s %s: %v", method, path, body, p)
			}
		}()
		do(t, s, method, path, body)
		do(t, s, "GET", "/api/v2/export/dhis?filters[dataSet]="+DataSet+"&filters[date][from]=1791000000000", "")
	})
}

func TestASeedReplacesWhateverRevisionIsThere(t *testing.T) {
	s := fresh(t, `{"default":"2026-10"}`)
	for i, name := range []string{"one", "two", "three"} {
		if err := s.Seed([]byte(`{"docs":[{"_id":"` + ContactID(41) + `","type":"person","name":"` + name + `"}]}`)); err != nil {
			t.Fatal(err)
		}
		if doc := s.Get(ContactID(41)); doc["name"] != name || generation(text(doc["_rev"])) != i+2 {
			t.Fatal(doc)
		}
	}
	if err := s.Seed([]byte(`{"remove":["` + ContactID(41) + `","officer"]}`)); err != nil || s.Get(ContactID(41)) != nil || s.users["officer"] != nil {
		t.Fatal("not removed", err)
	}
}
