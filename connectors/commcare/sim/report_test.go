package sim

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	birthXMLNS = "http://openrosa.org/formdesigner/birth"
	stockXMLNS = "http://openrosa.org/formdesigner/stock"
)

// births is the data set of the brief: live births by sex of the child and by
// who attended, 2 x 3 columns, a row a facility.
func births() Report {
	r := Report{ID: "births", Title: "Live births", Forms: birthXMLNS,
		Columns: []ReportColumn{{ID: "clinic_id", Field: "location.site_code", Display: "Clinic"}},
		Filters: []ReportFilter{{Slug: "born_on", Type: "date", Datatype: "date", Field: "birth.on"}}}
	for _, sex := range []string{"male", "female"} {
		for _, by := range []string{"doctor", "midwife", "tba"} {
			r.Columns = append(r.Columns, ReportColumn{ID: sex + "_" + by, Display: sex + ", " + by, Count: true, Where: map[string]string{"birth.sex": sex, "birth.attendant": by}})
		}
	}
	return r
}

// project seeds two facilities with a worker each, and the reports.
func project(t testing.TB, reports ...Report) *Sim {
	t.Helper()
	s := newSim(t, "")
	doc := map[string]any{"reports": reports}
	for _, place := range []string{"kisumu", "siaya"} {
		doc["users"] = append(list(doc["users"]), map[string]any{"id": "chw-" + place, "primary_location": place})
		doc["locations"] = append(list(doc["locations"]), map[string]any{"location_id": place, "site_code": "site_" + place, "name": place, "location_data": map[string]any{"dhis_id": "dhis-" + place}})
	}
	seed(t, s, string(encode(doc)))
	return s
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func submitAt(t testing.TB, s *Sim, xmlns, place string, answers map[string]any) string {
	t.Helper()
	form := map[string]any{"@xmlns": xmlns, "meta": map[string]any{"instanceID": fmt.Sprintf("form-%d", len(s.forms)), "userID": "chw-" + place}}
	for k, v := range answers {
		form[k] = v
	}
	id, err := s.Submit(encode(map[string]any{"form": form}))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func birth(sex, by, on string) map[string]any {
	return map[string]any{"birth": map[string]any{"sex": sex, "attendant": by, "on": on}}
}

func data(t testing.TB, s *Sim, path string) []any {
	t.Helper()
	status, doc := ask(t, s, "GET", "api/v0.5/configurablereportdata/"+path, "")
	if status != 200 {
		t.Fatalf("%s: %d", path, status)
	}
	return list(doc["data"])
}

func TestAReportCountsTheFormsOfItsPeriod(t *testing.T) {
	s := project(t, births())
	for _, b := range []struct{ place, sex, by, on string }{{"kisumu", "male", "doctor", "2026-10-01"}, {"kisumu", "male", "doctor", "2026-10-31"},
		{"kisumu", "female", "tba", "2026-10-15"}, {"kisumu", "male", "tba", "2026-09-30"}, {"siaya", "female", "midwife", "2026-10-02"}} {
		submitAt(t, s, birthXMLNS, b.place, birth(b.sex, b.by, b.on))
	}
	gone := submitAt(t, s, birthXMLNS, "siaya", birth("male", "doctor", "2026-10-03"))
	if err := s.Archive(gone); err != nil {
		t.Fatal(err)
	}
	want := []any{
		map[string]any{"clinic_id": "site_kisumu", "male_doctor": 2.0, "male_midwife": 0.0, "male_tba": 0.0, "female_doctor": 0.0, "female_midwife": 0.0, "female_tba": 1.0},
		map[string]any{"clinic_id": "site_siaya", "male_doctor": 0.0, "male_midwife": 0.0, "male_tba": 0.0, "female_doctor": 0.0, "female_midwife": 1.0, "female_tba": 0.0}}
	if d := cmp.Diff(want, data(t, s, "births/?born_on-start=2026-10-01&born_on-end=2026-10-31")); d != "" {
		t.Error(d)
	}
	if got := data(t, s, "births/?born_on-start=2026-08-01&born_on-end=2026-08-31"); len(got) != 0 {
		t.Errorf("a month without forms has %v", got)
	}
	all := data(t, s, "births/?born-start=2026-10-01&born-end=2026-10-31")
	if all[0].(map[string]any)["male_tba"] != 1.0 {
		t.Error("a filter that does not exist limits the rows; CommCare ignores it")
	}
}

// Stock: received is summed, opening and closing are taken.
func TestAReportSumsAndTakesFirstAndLast(t *testing.T) {
	s := project(t, Report{ID: "stock", Forms: stockXMLNS, Columns: []ReportColumn{{ID: "org_unit_id", Field: "location.data.dhis_id"},
		{ID: "opening", First: "opening"}, {ID: "received", Sum: "received"}, {ID: "closing", Last: "closing"}, {ID: "lost", Sum: "lost"}}})
	submitAt(t, s, stockXMLNS, "siaya", map[string]any{"opening": "40", "received": "10", "closing": "25"})
	submitAt(t, s, stockXMLNS, "siaya", map[string]any{"opening": "25", "received": "2.5", "closing": "0"})
	want := []any{map[string]any{"org_unit_id": "dhis-siaya", "opening": "40", "received": 12.5, "closing": "0", "lost": nil}}
	if d := cmp.Diff(want, data(t, s, "stock/")); d != "" {
		t.Error(d)
	}
}

func TestAnExpandedColumnIsNumberedByTheValuesThereAre(t *testing.T) {
	s := project(t, Report{ID: "x", Columns: []ReportColumn{{ID: "clinic"}, {ID: "sex", Display: "Sex", Expand: "sex"}},
		Rows: []map[string]any{{"clinic": "a", "sex": "male"}, {"clinic": "a", "sex": "female"}, {"clinic": "a", "sex": "male"}}})
	_, doc := ask(t, s, "GET", "api/v0.5/configurablereportdata/x/", "")
	want := []any{map[string]any{"slug": "clinic", "header": "clinic"}, map[string]any{"slug": "sex-0", "header": "Sex-female", "expand_column_value": "female"},
		map[string]any{"slug": "sex-1", "header": "Sex-male", "expand_column_value": "male"}}
	if d := cmp.Diff(want, doc["columns"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{map[string]any{"clinic": "a", "sex-0": 1.0, "sex-1": 2.0}}, doc["data"]); d != "" {
		t.Error(d)
	}
}

func TestReportsAreAnsweredInPagesOfFiftyAtTheMost(t *testing.T) {
	r := Report{ID: "long", Columns: []ReportColumn{{ID: "n"}}}
	for i := range 120 {
		r.Rows = append(r.Rows, map[string]any{"n": i})
	}
	s := project(t, r)
	next, rows := "/a/demo/api/v0.5/configurablereportdata/long/", 0
	for pages := 0; next != ""; pages++ {
		_, doc := ask(t, s, "GET", strings.TrimPrefix(next, "/a/demo/"), "")
		if doc["total_records"] != 120.0 || pages > 3 {
			t.Fatalf("page %d: %v", pages, doc["total_records"])
		}
		rows += len(list(doc["data"]))
		next, _ = doc["next_page"].(string)
	}
	if rows != 120 {
		t.Errorf("%d rows over all pages", rows)
	}
	for _, bad := range []string{"limit=51", "limit=x", "offset=-1"} {
		if status, _ := ask(t, s, "GET", "api/v0.5/configurablereportdata/long/?"+bad, ""); status != 400 {
			t.Errorf("%s is answered %d", bad, status)
		}
	}
	if status, _ := ask(t, s, "GET", "api/v0.5/configurablereportdata/none/", ""); status != 404 {
		t.Errorf("a report that does not exist is answered %d", status)
	}
}

func TestFiltersChooseRecords(t *testing.T) {
	s := project(t, Report{ID: "f", Columns: []ReportColumn{{ID: "n"}}, Rows: []map[string]any{{"n": 1, "s": "a"}, {"n": 2, "s": "b"}, {"n": 3, "s": "c"}, {"n": nil, "s": ""}},
		Filters: []ReportFilter{{Slug: "s", Type: "choice_list", Datatype: "string"}, {Slug: "n", Type: "numeric", Datatype: "integer"}}})
	for query, want := range map[string]int{"": 4, "s=a": 1, "s=a%1Fb": 2, "s=_all": 4, "s=x": 0, "n-operator=%3E&n-operand=1": 2, "n-operator=%3C%3D&n-operand=1": 1,
		"n-operator=%3D&n-operand=3": 1, "n-operator=%21%3D&n-operand=3": 2, "n-operator=%3E%3D&n-operand=2&s=b": 1, "n-operator=%3C&n-operand=0": 0} {
		if got := data(t, s, "f/?"+query); len(got) != want {
			t.Errorf("%s: %d rows, want %d", query, len(got), want)
		}
	}
	for _, bad := range []string{"n-operator=%3E&n-operand=x", "n-operator=~&n-operand=1"} {
		if status, _ := ask(t, s, "GET", "api/v0.5/configurablereportdata/f/?"+bad, ""); status != 400 {
			t.Errorf("%s is answered %d", bad, status)
		}
	}
}

func TestReportsAreListedWithTheirFilters(t *testing.T) {
	static := Report{ID: "static-1", Static: true, Columns: []ReportColumn{{ID: "a", Expand: "a"}}}
	s := project(t, births(), static)
	_, doc := ask(t, s, "GET", "api/v0.5/simplereportconfiguration/", "")
	if len(list(doc["objects"])) != 2 {
		t.Errorf("listed %v", doc)
	}
	_, one := ask(t, s, "GET", "api/v0.5/simplereportconfiguration/births/", "")
	if d := cmp.Diff([]any{map[string]any{"slug": "born_on", "type": "date", "datatype": "date"}}, one["filters"]); d != "" || one["title"] != "Live births" {
		t.Error(d, one["title"])
	}
	if status, _ := ask(t, s, "GET", "api/v0.5/simplereportconfiguration/static-1/", ""); status != 404 {
		t.Errorf("a static report under its own id is answered %d", status)
	}
}

func TestBadReportsAreNotSeeded(t *testing.T) {
	s := newSim(t, "")
	for _, bad := range []string{`{"reports":[{"title":"x"}]}`, `{"reports":[{"id":"x"}]}`, `{"reports":[7]}`} {
		if err := s.Seed([]byte(bad)); err == nil {
			t.Errorf("%s is seeded", bad)
		}
	}
	if err := s.ChangeReport("x", func(*Report) {}); err == nil {
		t.Error("a report that does not exist is changed")
	}
}

func TestReportsCanBeTruncatedAndChangedBetweenPages(t *testing.T) {
	s := project(t, births())
	s.TruncateReports(1)
	for i, whole := range []bool{false, true} {
		r := httptest.NewRequest("GET", "/a/demo/api/v0.5/configurablereportdata/births/", nil)
		r.Header.Set("Authorization", "ApiKey "+s.o.Username+":"+s.o.APIKey)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if json.Valid(w.Body.Bytes()) != whole {
			t.Errorf("answer %d: %s", i+1, w.Body)
		}
	}
	s.OnReportPage(func(id string, offset int) {
		s.OnReportPage(nil)
		if err := s.ChangeReport(id, func(r *Report) { r.Title = fmt.Sprint("changed at ", offset) }); err != nil {
			t.Error(err)
		}
	})
	data(t, s, "births/")
	if s.reports["births"].Title != "changed at 0" {
		t.Errorf("the title is %q", s.reports["births"].Title)
	}
}
