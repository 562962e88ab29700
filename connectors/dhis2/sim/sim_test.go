package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

func TestEveryUIDOfTheSeedIsValidAndResolves(t *testing.T) {
	s := newServer(t, `{"facilities":500,"programs":30}`)
	if got := len(s.meta["organisationUnits"].ids); got != 523 {
		t.Errorf("%d org units", got)
	}
	if got := len(s.meta["programs"].ids); got != 33 {
		t.Errorf("%d programs", got)
	}
	for name, c := range s.meta {
		for id, r := range c.byID {
			if !uidPattern.MatchString(id) {
				t.Errorf("%s %s is no uid", name, id)
			}
			walk(t, s, name+" "+id, r)
		}
	}
	for _, d := range s.model.sets.id {
		if len(d.units) < 515 || len(d.elements) < 5 {
			t.Errorf("data set %s: %d org units, %d elements", d.code, len(d.units), len(d.elements))
		}
	}
	for _, p := range s.model.programs.id {
		if len(p.stages) != 1 || len(s.model.stages.id[p.stages[0]].elements) != 6 {
			t.Errorf("program %s: stages %v", p.code, p.stages)
		}
	}
}

// walk checks that each reference leads somewhere.
func walk(t *testing.T, s *Server, at string, r record) {
	t.Helper()
	for k, v := range r {
		all, isList := v.([]any)
		if !isList {
			all = []any{v}
		}
		for _, e := range all {
			inner, isRecord := e.(record)
			if !isRecord {
				continue
			}
			if home := s.meta.home(k); home != "" && s.meta.get(home, text(inner, "id")) == nil {
				t.Errorf("%s: %s %v leads nowhere", at, k, inner["id"])
			}
		}
	}
}

func TestMetadataIsFilteredOrderedAndCached(t *testing.T) {
	s := newServer(t, "")
	count := func(path string) int {
		w := ask(t, s, "GET", path, nil)
		m := must(t, w, 200)
		for k, v := range m {
			if k != "pager" {
				return len(v.([]any))
			}
		}
		return -1
	}
	for path, want := range map[string]int{
		"/api/organisationUnits?level=4&paging=false":                                                         7,
		"/api/organisationUnits?filter=level:eq:4&filter=code:!null&paging=false":                             6,
		"/api/organisationUnits?filter=parent.code:eq:KE-SIAYA-GEM&paging=false":                              3,
		"/api/organisationUnits?filter=name:ilike:bondo&filter=code:eq:14175&rootJunction=OR&paging=false":    3,
		"/api/organisationUnits/OuSubGem003?includeDescendants=true&paging=false":                             8,
		"/api/organisationUnits?query=yala&paging=false":                                                      1,
		"/api/dataElements?filter=dataSetElements.dataSet.id:eq:LbDsMonth10&paging=false":                     5,
		"/api/dataElements?filter=categoryCombo.name:like:Commodity&filter=valueType:in:[INTEGER]":            1,
		"/api/categoryOptionCombos?filter=categoryCombo.id:eq:LbComboGA08&filter=name:!like:TBA&paging=false": 4,
		"/api/categoryOptionCombos?filter=name:eq:default":                                                    1,
		"/api/programs?filter=programType:eq:WITHOUT_REGISTRATION":                                            3,
		"/api/dataSets?filter=identifiable:token:weekly":                                                      1,
		"/api/organisationUnits?filter=closedDate:!null":                                                      1,
		"/api/organisationUnits?page=2&pageSize=20":                                                           3,
	} {
		if got := count(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	first := must(t, ask(t, s, "GET", "/api/dataElements?order=code:desc&fields=code&pageSize=1&filter=domainType:eq:AGGREGATE", nil), 200)
	if dig(first, "dataElements", 0, "code") != "SUPERVISION_VISITS" {
		t.Errorf("the last code: %v", first)
	}
	shown := must(t, ask(t, s, "GET", "/api/categoryCombos/LbComboGA08?fields=name~rename(title),categories~size,categoryOptionCombos[name],access[data[write]]", nil), 200)
	if shown["title"] != "Gender and birth attendant" || shown["categories"] != 2.0 || dig(shown, "categoryOptionCombos", 5, "name") != "Female, TBA" || dig(shown, "access", "data", "write") != true {
		t.Errorf("fields: %v", shown)
	}
	w := ask(t, s, "GET", "/api/dataSets", nil)
	tag := w.Header().Get("ETag")
	if again := ask(t, s, "GET", "/api/dataSets", nil, "If-None-Match", tag); tag == "" || again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("with the tag %s: HTTP %d", tag, again.Code)
	}
	if w := ask(t, s, "GET", "/api/dataValueSets?dataSet=LbDsMonth10&period=202401&orgUnit=OuFacYala01", nil); w.Header().Get("ETag") != "" {
		t.Error("data has an ETag")
	}
}

func TestVersionsWriteDaysAsTheyDo(t *testing.T) {
	for version, want := range map[string]string{"2.41.0": `"expiryDays":15`, "2.42.0": `"expiryDays":15.0`} {
		s := newServer(t, `{"version":"`+version+`"}`, `{"dataSets":[{"id":"LbDsMonth10","expiryDays":15}]}`)
		if b := ask(t, s, "GET", "/api/dataSets/LbDsMonth10?fields=expiryDays", nil).Body.String(); b != "{"+want+"}" {
			t.Errorf("%s: %s", version, b)
		}
	}
}

func TestSystemInfoAndIDs(t *testing.T) {
	s := newServer(t, `{"version":"2.40.4.1"}`)
	m := must(t, ask(t, s, "GET", "/api/system/info", nil), 200)
	for _, k := range sorted(parse(t, sample(t, "system/info_user_2.42.json")).(map[string]any)) {
		if m[k] == nil {
			t.Errorf("system info lacks %s", k)
		}
	}
	if m["version"] != "2.40.4.1" || m["databaseInfo"] != nil {
		t.Errorf("system info %v", m)
	}
	if b := ask(t, s, "GET", "/api/system/ping", nil).Body.String(); b != "pong" {
		t.Errorf("ping: %s", b)
	}
	ids := must(t, ask(t, s, "GET", "/api/system/id?limit=3", nil), 200)["codes"].([]any)
	if len(ids) != 3 || ids[0] == ids[1] || !uidPattern.MatchString(ids[0].(string)) {
		t.Errorf("ids %v", ids)
	}
	for _, row := range rows(t, "system/version_strings.csv") {
		if _, err := New([]byte(`{"empty":true,"version":"` + row[0] + `"}`)); err != nil {
			t.Errorf("version %s: %v", row[0], err)
		}
	}
	for _, bad := range []string{`{"version":"2.37.1"}`, `{"version":"x"}`, `{"calendar":"coptic"}`, `{"zone":"Nowhere"}`, `{"now":"today"}`, `{"unknown":1}`} {
		if _, err := New([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestStateHoldsWhatIsLiveAndNoTimes(t *testing.T) {
	s := january(t, "", `{"dataValues":[{"dataElement":"LbDeLiveB09","categoryOptionCombo":"LbCoc000011","period":"202401","orgUnit":"OuFacYala01","value":"3"}],
		"events":[{"event":"FeverEvent1","program":"EvPrFever01","orgUnit":"OuVilYal001","occurredAt":"2024-01-15","dataValues":[{"dataElement":"EvDeAgeMo01","value":"14"},{"dataElement":"EvDeRdtRe04","value":"POS"}]}],
		"completeDataSetRegistrations":[{"dataSet":"LbDsMonth10","period":"202401","organisationUnit":"OuFacYala01"}]}`)
	before, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"completeDataSetRegistrations":[{"dataSet":"CHW_MONTHLY","orgUnit":"14175","period":"202401"}],` +
		`"dataValues":[{"categoryOptionCombo":"Male, Doctor","dataElement":"LIVE_BIRTHS","orgUnit":"14175","period":"202401","value":"3"}],` +
		`"events":[{"dataValues":{"FC_AGE_MONTHS":"14","FC_RDT":"POS"},"event":"FeverEvent1","occurredAt":"2024-01-15T00:00:00.000","orgUnit":"CU-YAL-1","program":"FEVER_CASE","status":"ACTIVE"}]}`
	var flat bytes.Buffer
	if err := json.Compact(&flat, before); err != nil || flat.String() != want {
		t.Errorf("state %s\nwant  %s", flat.String(), want)
	}
	other := strings.Replace(fever("FeverEvent2", ""), "OuVilYal001", "OuVilYal002", 1)
	must(t, ask(t, s, "POST", tracker, other), 200)
	must(t, post(t, s, "", month(`{"dataElement":"ChDeHouse01","value":"3"}`)), 200)
	must(t, ask(t, s, "POST", tracker+"DELETE", `{"events":[{"event":"FeverEvent2"}]}`), 200)
	must(t, post(t, s, "?importStrategy=DELETE", month(`{"dataElement":"ChDeHouse01","value":"3"}`)), 200)
	if after, _ := s.State(); !bytes.Equal(before, after) {
		t.Errorf("made and deleted, the state is not as before:\n%s", after)
	}
	if n := len(s.Traffic().Requests()); n != 4 {
		t.Errorf("%d requests in the record, want 4: a seed is no traffic", n)
	}
}

func TestARefusalIsInTheServersWords(t *testing.T) {
	s := newServer(t, "")
	s.Traffic().Switch(simulate.Fault{Kind: simulate.Refuse})
	if m := must(t, post(t, s, "", month("")), 409); dig(m, "response", "conflicts", 0, "errorCode") != "E7601" {
		t.Errorf("data values: %v", m)
	}
	if w := ask(t, s, "POST", tracker, fever("FeverEvent1", "")); w.Code != 409 || errorsOf(t, w.Body.Bytes()) != "E1000" {
		t.Errorf("tracker: HTTP %d %s", w.Code, w.Body)
	}
}

func TestTheServerIsUsedByManyAtOnce(t *testing.T) {
	s := january(t, `"facilities":20`)
	var wg sync.WaitGroup
	for n := 1; n <= 8; n++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			unit := fmt.Sprintf("GenOu%06d", n)
			for k := range 10 {
				body := fmt.Sprintf(`{"dataSet":"LbDsMonth10","period":"202401","orgUnit":%q,"completeDate":"2024-02-01","dataValues":[{"dataElement":"ChDeHouse01","value":"%d"}]}`, unit, k+1)
				if w := post(t, s, "", body); w.Code != 200 {
					t.Errorf("HTTP %d %s", w.Code, w.Body)
				}
				uid := fmt.Sprintf("Many%05d%02d", n, k)
				ask(t, s, "POST", tracker, strings.Replace(fever(uid, ""), "OuVilYal001", unit, 1))
				ask(t, s, "GET", "/api/organisationUnits?fields=*&paging=false", nil)
				ask(t, s, "GET", "/api/me", nil)
				ask(t, s, "GET", "/api/dataValueSets?dataSet=LbDsMonth10&period=202401&children=true&orgUnit=OuNation001", nil)
				if k == 5 {
					if err := s.Seed([]byte(`{"users":[{"username":"kiungo","authorities":["ALL"]}],"dataSets":[{"id":"LbDsMonth10","version":2}]}`)); err != nil {
						t.Error(err)
					}
				}
				if _, err := s.State(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	if got := len(s.data.events); got != 80 {
		t.Errorf("%d events, want 80", got)
	}
	if got := len(s.data.complete); got != 8 {
		t.Errorf("%d registrations, want 8", got)
	}
}

func FuzzBodiesNeverBreakTheServer(f *testing.F) {
	f.Add("application/json", month(`{"dataElement":"ChDeHouse01","value":"5"}`))
	f.Add("application/xml", `<dataValueSet dataSet="LbDsMonth10"><dataValue value="1"/></dataValueSet>`)
	f.Add("application/adx+xml", string(sample(f, "adx/docs_sample.xml")))
	f.Add("application/csv", string(sample(f, "data_value_sets/request_bulk.csv")))
	f.Add("tracker", fever("FeverEvent1", ""))
	f.Add("legacy", string(sample(f, "events_legacy/request_many.json")))
	f.Add("complete", string(sample(f, "complete_registrations/request.json")))
	s := january(f, `"version":"2.41.0"`)
	f.Fuzz(func(t *testing.T, kind, body string) {
		path := map[string]string{"tracker": tracker, "legacy": "/api/events", "complete": "/api/completeDataSetRegistrations"}[kind]
		if path == "" {
			path = "/api/dataValueSets"
		}
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if strings.HasPrefix(kind, "application/") {
			r.Header["Content-Type"] = []string{kind}
		}
		r.SetBasicAuth(s.opt.Username, s.opt.Password)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("HTTP %d %s", w.Code, w.Body)
		}
	})
}

func TestAnEmptyServerTakesASetUpAndItsData(t *testing.T) {
	s := newServer(t, `{"empty":true}`, `{"organisationUnits":[{"id":"OuOnlyOne01","code":"1","name":"One"}],"dataElements":[{"id":"DeOnlyOne01","code":"A","name":"A","valueType":"NUMBER"}],
		"dataValues":[{"dataElement":"DeOnlyOne01","orgUnit":"OuOnlyOne01","period":"202001","value":"1.5"}]}`)
	w := ask(t, s, "POST", "/api/dataValueSets", `{"dataValues":[{"dataElement":"DeOnlyOne01","orgUnit":"OuOnlyOne01","period":"202002","value":"2"}]}`)
	if w.Code != 200 || len(s.data.values) != 2 {
		t.Errorf("HTTP %d %s; %d places", w.Code, w.Body, len(s.data.values))
	}
	for _, bad := range []string{`[]`, `{"dataElements":[{"id":"short"}]}`, `{"dataElements":{}}`, `{"users":[{}]}`, `{"dataApprovals":[{"period":"never"}]}`, `{"dataValues":[{"dataElement":"x"}]}`} {
		if err := s.Seed([]byte(bad)); err == nil {
			t.Errorf("the seed %s was taken", bad)
		}
	}
}

func TestTheREADMENamesOnlyWhatTheSeedHas(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, `{"facilities":500,"programs":30}`)
	known := map[string]bool{}
	for _, c := range s.meta {
		for id := range c.byID {
			known[id] = true
		}
	}
	named := 0
	for _, m := range regexp.MustCompile(`(?:\(|\| |= |`+"`"+`)([A-Z][a-z][A-Za-z0-9]{9})(?:\)| \||;|`+"`"+`)`).FindAllStringSubmatch(string(text), -1) {
		if named++; !known[m[1]] {
			t.Errorf("the README names %s", m[1])
		}
	}
	if named < 80 {
		t.Errorf("only %d uids were found in the README", named)
	}
}
