package sim

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// exchange is a recorded request and its answer (testdata/README.md).
type exchange struct {
	Name    string `json:"name"`
	Request struct {
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
	} `json:"request"`
	Response struct {
		Status  int            `json:"status"`
		Headers map[string]any `json:"headers"`
		Body    any            `json:"body"`
	} `json:"response"`
}

func load(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

type vectors struct {
	Settings struct {
		DataSets []any `json:"dhis_data_sets"`
		Items    []any `json:"tasks.targets.items"`
	} `json:"settings"`
	Targets []any `json:"target_documents"`
	Places  []any `json:"org_unit_places"`
	Owners  []any `json:"owners"`
	Cases   []struct {
		Name    string `json:"name"`
		Filters struct {
			DataSet string `json:"dataSet"`
			OrgUnit string `json:"orgUnit"`
			Date    struct {
				From int64 `json:"from"`
			} `json:"date"`
		} `json:"filters"`
		Options struct {
			Readable bool `json:"humanReadable"`
		} `json:"options"`
		Response map[string]any `json:"response"`
		Error    string         `json:"error"`
	} `json:"cases"`
}

// recorded is the server that the recordings were made of.
func recorded(t *testing.T) *Sim {
	t.Helper()
	s, err := New([]byte(`{"zone":"UTC"}`))
	if err != nil {
		t.Fatal(err)
	}
	var docs []any
	var v vectors
	load(t, "stored_docs.json", &docs)
	load(t, "export_vectors.json", &v)
	docs = append(append(append(docs, v.Targets...), v.Owners...), v.Places...)
	// The recordings have their own first revisions.
	for _, d := range docs {
		m := d.(map[string]any)
		_, sum, _ := strings.Cut(m["_rev"].(string), "-")
		m["_rev"] = "1-" + strings.Repeat(sum, 32/len(sum))
	}
	seed, err := json.Marshal(map[string]any{"docs": docs,
		"settings": map[string]any{"dhis_data_sets": v.Settings.DataSets, "tasks": map[string]any{"targets": map[string]any{"items": v.Settings.Items}},
			"permissions": map[string]any{"can_export_dhis": []string{"dhisonly"}}, "roles": map[string]any{"dhisonly": map[string]any{}}},
		"users": []map[string]any{
			{"username": "interop", "password": "correct password", "roles": []string{"gateway", "mm-online"}},
			{"username": "crfo", "password": "correct password", "roles": []string{"crfo", "mm-online"}},
			{"username": "officer", "password": "correct password", "roles": []string{"program_officer", "mm-online"}},
			{"username": "dhisonly", "password": "correct password", "roles": []string{"dhisonly", "mm-online"}},
			{"username": "admin", "password": "correct password", "roles": []string{"_admin"}},
			{"username": "jane", "password": "correct password", "roles": []string{"chw"}, "contact": "4eb17d4a-7b4c-4e9c-9b6a-5bae7a4d5005"},
		}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Seed(seed); err != nil {
		t.Fatal(err)
	}
	return s
}

var basicText = regexp.MustCompile(`^Basic <([^:]*):(.*)>$`)

func (e *exchange) send(s *Sim) *httptest.ResponseRecorder {
	r := httptest.NewRequest(e.Request.Method, e.Request.Path, strings.NewReader(string(e.Request.Body)))
	for k, v := range e.Request.Headers {
		r.Header.Set(k, v)
	}
	if m := basicText.FindStringSubmatch(e.Request.Headers["Authorization"]); m != nil {
		r.SetBasicAuth(m[1], m[2])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// elsewhere are exchanges with parts of the CHT that the simulator does not have.
var elsewhere = map[string]string{
	"cookie login":                    "only basic authentication is simulated",
	"request with the session cookie": "only basic authentication is simulated",
	"CouchDB session":                 "only basic authentication is simulated",
	"CouchDB session, form encoded":   "only basic authentication is simulated",
	"reports CSV":                     "only the DHIS2 export is simulated",
	"contacts CSV":                    "only the DHIS2 export is simulated",
	"contact uuids by type":           "the recording has contacts that other recordings made",
	"changes":                         "the recording has design documents and integer sequences",
	"create a report (the form must exist as an app form document form:<code>)": "the data API is simulated for reading",
	"create a report: JSON (SMS) forms are not accepted here":                   "the data API is simulated for reading",
	"create a report: contact missing":                                          "the data API is simulated for reading",
	"create a report: contact not found":                                        "the data API is simulated for reading",
	"create a report: bad date":                                                 "the data API is simulated for reading",
	"update a report":                                                           "the data API is simulated for reading",
}

// varies takes out what differs from run to run: revisions made here, days of
// the export, row counts of the database.
func varies(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if k == "_rev" || k == "rev" || k == "completeDate" || k == "total_rows" || k == "bookmark" {
				continue
			}
			out[k] = varies(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = varies(x)
		}
		return out
	}
	return v
}

func TestAnswersAreThoseRecordedFromTheCHT(t *testing.T) {
	for _, file := range []string{"auth.json", "export.json", "couchdb_proxy.json", "data_access_contact_report_target.json"} {
		s := recorded(t)
		var list []exchange
		load(t, file, &list)
		ran := 0
		for _, e := range list {
			if elsewhere[e.Name] != "" {
				continue
			}
			ran++
			w := e.send(s)
			if w.Code != e.Response.Status {
				t.Errorf("%s: %s: status %d, recorded %d: %s", file, e.Name, w.Code, e.Response.Status, w.Body)
				continue
			}
			for _, name := range []string{"content-type", "www-authenticate", "logout-authorization"} {
				want, ok := e.Response.Headers[name].(string)
				if strings.HasPrefix(e.Request.Path, "/medic/") || strings.HasPrefix(e.Request.Path, "/_session") || w.Code == http.StatusFound {
					continue // of the stand-in for CouchDB behind the api, or of a page
				}
				if ok && w.Header().Get(name) != want {
					t.Errorf("%s: %s: header %s is %q, recorded %q", file, e.Name, name, w.Header().Get(name), want)
				}
			}
			if w.Code == http.StatusFound {
				continue
			}
			var got any
			if json.Unmarshal(w.Body.Bytes(), &got) != nil {
				got = w.Body.String()
			}
			if d := cmp.Diff(varies(e.Response.Body), varies(got)); d != "" {
				t.Errorf("%s: %s (-recorded +simulated):\n%s", file, e.Name, d)
			}
		}
		if ran == 0 {
			t.Errorf("%s: nothing was compared", file)
		}
	}
}

func TestTenRefusedLoginsCloseTheDoorForTenSeconds(t *testing.T) {
	s := recorded(t)
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	s.SetClock(func() time.Time { return at })
	var list []exchange
	load(t, "rate_limit.json", &list)
	// Six refused logins came before the recording.
	for i := 0; i < 6; i++ {
		list[0].send(s)
	}
	for _, e := range list {
		w := e.send(s)
		var got any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(e.Response.Body, got); w.Code != e.Response.Status || d != "" {
			t.Fatalf("%s: %d, recorded %d\n%s", e.Name, w.Code, e.Response.Status, d)
		}
	}
	good := exchange{}
	good.Request.Method, good.Request.Path = "GET", "/api/v1/settings"
	good.Request.Headers = map[string]string{"Authorization": "Basic <interop:correct password>"}
	if w := good.send(s); w.Code != http.StatusTooManyRequests {
		t.Fatalf("the right password from the same address: %d", w.Code)
	}
	// Whoever asks again at once is counted again, and stays out.
	at = at.Add(9 * time.Second)
	good.send(s)
	at = at.Add(11 * time.Second)
	if w := good.send(s); w.Code != http.StatusOK {
		t.Fatalf("after the window: %d", w.Code)
	}
}

func TestExportFollowsTheVectorsOfTheCHT(t *testing.T) {
	var v vectors
	load(t, "export_vectors.json", &v)
	for _, c := range v.Cases {
		s := recorded(t)
		if strings.HasPrefix(c.Name, "two targets on one dataElement") {
			if err := s.Seed([]byte(sharedElement)); err != nil {
				t.Fatal(err)
			}
		}
		got, problem := s.dhis(filters{dataSet: c.Filters.DataSet, orgUnit: c.Filters.OrgUnit, from: c.Filters.Date.From, readable: c.Options.Readable})
		if problem != c.Error {
			t.Errorf("%s: %q, want %q", c.Name, problem, c.Error)
			continue
		}
		if problem != "" {
			continue
		}
		raw, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(raw, &plain); err != nil {
			t.Fatal(err)
		}
		plain["completeDate"] = "<today YYYY-MM-DD>"
		// The vectors were made without the view, whose keys order the org units.
		for _, doc := range []map[string]any{c.Response, plain} {
			values := doc["dataValues"].([]any)
			slices.SortStableFunc(values, func(a, b any) int {
				return strings.Compare(text(a.(map[string]any)["orgUnit"]), text(b.(map[string]any)["orgUnit"]))
			})
		}
		if d := cmp.Diff(c.Response, plain); d != "" {
			t.Errorf("%s (-vector +simulated):\n%s", c.Name, d)
		}
	}
}

// sharedElement is the configuration of the vector with two targets on one data
// element: facility deliveries count 6, births 5.
const sharedElement = `{"settings":{"tasks":{"targets":{"items":[
 {"id":"births-this-month","type":"count","dhis":{"dataElement":"kB0ZBFisE0e","categoryOptionCombo":"male000coc1"}},
 {"id":"facility-deliveries","type":"percent","dhis":{"dataElement":"kB0ZBFisE0e","categoryOptionCombo":"fem0000coc2"}}]}}}}`
