package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

const (
	report1  = "11111111-2222-4333-8444-555566667777"
	dataSet1 = "22222222-3333-4444-8555-666677778888"
	design1  = "49cf7248-d27c-11ef-a287-0242ac120002"
)

var nairobi = time.FixedZone("EAT", 3*3600)

// aRun is a weekly run of a report.
func aRun(with ...string) connector.Run {
	r := connector.Run{Kind: "report", Keys: map[string]string{"report": report1}, With: map[string]string{},
		At: time.Date(2026, 11, 2, 4, 0, 0, 0, nairobi), Period: "202610",
		Start: time.Date(2026, 10, 1, 0, 0, 0, 0, nairobi), End: time.Date(2026, 10, 31, 0, 0, 0, 0, nairobi)}
	for i := 0; i+1 < len(with); i += 2 {
		r.With[with[i]] = with[i+1]
	}
	return r
}

// pages lists a run to its end, with a restart before each page for which
// restart says so.
func (r *rig) pages(run connector.Run, restart func(page int)) (all []connector.Incoming, pages int) {
	r.t.Helper()
	var cursor []byte
	for pages = 0; pages < 1000; pages++ {
		if restart != nil {
			restart(pages)
		}
		p, err := r.sys.List(r.t.Context(), r, run, cursor)
		if err != nil {
			r.t.Fatalf("page %d: %v", pages, err)
		}
		if p.Wait > 0 {
			if len(p.Messages) > 0 || p.Done {
				r.t.Fatalf("page %d waits and has messages", pages)
			}
			time.Sleep(p.Wait)
			cursor = p.Cursor
			continue
		}
		if len(p.Messages) > 500 {
			r.t.Fatalf("page %d has %d messages", pages, len(p.Messages))
		}
		all = append(all, p.Messages...)
		if cursor = p.Cursor; p.Done {
			return all, pages + 1
		}
	}
	r.t.Fatal("the run does not end")
	return nil, 0
}

func (r *rig) restart() { r.sys.reports = spools{} }

func rowOf(t testing.TB, in connector.Incoming) map[string]any {
	t.Helper()
	var c struct {
		Row    map[string]any `json:"row"`
		Report map[string]any `json:"report"`
		Server map[string]any `json:"server"`
	}
	if err := json.Unmarshal(in.Content, &c); err != nil {
		t.Fatal(err)
	}
	if c.Server["name"] != "emr" || c.Report["key"] == nil {
		t.Errorf("report %v of server %v", c.Report, c.Server)
	}
	return c.Row
}

func generate(rows, bad int, more string) string {
	return fmt.Sprintf(`{"reports":[{"uuid":"%s","name":"Participants","dataSets":[{"uuid":"%s","name":"patients","generate":%d,"bad":%d}]%s}]}`, report1, dataSet1, rows, bad, more)
}

func TestABigReportIsPagedWholeAndOnlyItsBadRowsHaveAProblem(t *testing.T) {
	r := newRig(t, "", generate(20000, 100, ""))
	all, pages := r.pages(aRun(), nil)
	if len(all) != 20000 || pages != 40 {
		t.Fatalf("%d rows on %d pages", len(all), pages)
	}
	docs, versions := map[string]bool{}, map[string]bool{}
	for i, m := range all {
		if bad := (i+1)%100 == 0; bad != (m.Problem != "") {
			t.Fatalf("row %d: problem %q", i+1, m.Problem)
		}
		if strings.Contains(m.Problem, "Family") || m.Kind != "report" || m.Version == "" || docs[m.Doc] {
			t.Fatalf("row %d: %q %q %q", i+1, m.Doc, m.Version, m.Problem)
		}
		docs[m.Doc] = true
		versions[m.Version] = true
	}
	if want := "report/" + report1 + "/00000000-0000-4000-8000-000000000001"; all[0].Doc != want {
		t.Errorf("doc %s, want %s", all[0].Doc, want)
	}
	if len(versions) < 19800 {
		t.Errorf("%d versions", len(versions))
	}
	if n := r.sim.Evaluations(report1); n != 1 {
		t.Errorf("the report was evaluated %d times", n)
	}
	if len(r.sys.reports.kept) != 0 {
		t.Error("a report that was read is still kept")
	}
}

func TestARunGoesOnAfterARestart(t *testing.T) {
	r := newRig(t, "", generate(1200, 0, ""))
	all, _ := r.pages(aRun(), func(page int) {
		if page == 2 {
			r.restart()
		}
	})
	if len(all) != 1200 || r.sim.Evaluations(report1) != 2 {
		t.Errorf("%d rows, %d evaluations", len(all), r.sim.Evaluations(report1))
	}
}

func TestARunBeginsAgainIfTheReportFetchedAgainIsAnother(t *testing.T) {
	for name, other := range map[string]string{"longer": generate(1201, 0, ""), "of the same length": generate(1200, 900, "")} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "", generate(1200, 0, ""))
			all, _ := r.pages(aRun(), func(page int) {
				if page == 2 {
					r.restart()
					if err := r.sim.Seed([]byte(other)); err != nil {
						t.Fatal(err)
					}
				}
			})
			// A thousand were given before; the second time all are.
			if want := 1000 + len(all[1000:]); len(all) != want || len(all) < 2200 {
				t.Errorf("%d rows", len(all))
			}
			if all[0].Doc != all[1000].Doc || all[0].Version != all[1000].Version {
				t.Error("a row that did not change has another version")
			}
		})
	}
}

// TestAnotherDataSetMayChangeBetweenPages: only the one that is read counts.
func TestAnotherDataSetMayChangeBetweenPages(t *testing.T) {
	seed := func(first int) string {
		return fmt.Sprintf(`{"reports":[{"uuid":"%s","name":"P","dataSets":[{"uuid":"%s","name":"first","generate":%d},{"uuid":"%s","name":"second","generate":700}]}]}`, report1, dataSet1, first, design1)
	}
	r := newRig(t, "", seed(3))
	run := aRun()
	run.Keys["dataset"] = "second"
	all, pages := r.pages(run, func(page int) {
		if page == 1 {
			r.restart()
			if err := r.sim.Seed([]byte(seed(77))); err != nil {
				t.Fatal(err)
			}
		}
	})
	if len(all) != 700 || pages != 2 || !strings.HasSuffix(all[699].Doc, "000700") {
		t.Errorf("%d rows on %d pages, last %s", len(all), pages, all[len(all)-1].Doc)
	}
}

func TestAReportThatIsAnotherEachTimeIsRefused(t *testing.T) {
	r := newRig(t, "", generate(1200, 0, ""))
	var cursor []byte
	for i := range 100 {
		p, err := r.sys.List(t.Context(), r, aRun(), cursor)
		if err != nil {
			if call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "changes faster") {
				t.Fatal(err)
			}
			return
		}
		cursor = p.Cursor
		r.restart()
		if err := r.sim.Seed([]byte(generate(1201+i, 0, ""))); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("it goes on for ever")
}

// cutAt serves a recorded or derived answer for the report.
type fixed struct {
	status int
	body   []byte
}

func (f fixed) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(f.status)
	_, _ = w.Write(f.body)
}

func fixedRig(t testing.TB, f fixed, zone string) *rig {
	t.Helper()
	z, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := Open(connector.Config{Name: "emr", Values: map[string]string{"url": "http://emr.example.org/openmrs", "username": "admin", "password": "x"}, Zone: z,
		HTTP: &http.Client{Transport: simulate.Network{"emr.example.org": f}}})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, sys: sys}
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/contract/reporting", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestATruncatedReportIsNeverAllOfIt cuts a report all over.
func TestATruncatedReportIsNeverAllOfIt(t *testing.T) {
	whole := golden(t, "reportdata.response.json")
	for n := 0; n < len(strings.TrimSpace(string(whole))); n += 3 {
		r := fixedRig(t, fixed{200, whole[:n]}, "Africa/Maputo")
		p, err := r.sys.List(t.Context(), r, aRun(), nil)
		if err == nil || call.ClassOf(err) != call.RetryLater || p.Done {
			t.Fatalf("cut at %d: %v, %v", n, p, err)
		}
	}
}

func TestTheSimulatorsBrokenAnswersAreErrors(t *testing.T) {
	for name, c := range map[string]struct {
		more  string
		class call.Class
		says  string
	}{
		"cut":      {`,"cut":9000`, call.RetryLater, "cut off"},
		"web page": {`,"page":true`, call.RetryLater, "web page"},
		"fails":    {`,"fails":true`, call.RetryLater, "failed inside"},
	} {
		r := newRig(t, "", generate(100, 0, c.more))
		_, err := r.sys.List(t.Context(), r, aRun(), nil)
		if err == nil || call.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if len(r.sys.reports.kept) != 0 {
			t.Errorf("%s: a broken report is kept", name)
		}
	}
}

// TestBothWaysOfWritingDatesGiveTheSameRow: an upgrade of the server must not
// make every row a changed one.
func TestBothWaysOfWritingDatesGiveTheSameRow(t *testing.T) {
	seed := func(more string) string {
		return `{"reports":[{"uuid":"` + report1 + `","name":"P","dataSets":[{"uuid":"` + dataSet1 + `","name":"d","columns":[
		 {"name":"uuid","label":"uuid","datatype":"java.lang.String"},{"name":"born","label":"born","datatype":"java.util.Date"},
		 {"name":"seen","label":"seen","datatype":"java.sql.Timestamp"},{"name":"kids","label":"kids","datatype":"java.lang.Integer"}],
		 "rows":[{"uuid":"` + jane + `","born":"1931-03-08","seen":"2026-10-31T09:30:00","kids":3}]}]` + more + `}]}`
	}
	versions := map[string]bool{}
	for _, more := range []string{"", `,"epoch":true`, `,"noZone":true`} {
		r := newRig(t, "", seed(more))
		all, _ := r.pages(aRun(), nil)
		row := rowOf(t, all[0])
		// A day is a day in every zone; a time keeps the server's offset.
		if row["born"] != "1931-03-08" || row["seen"] != "2026-10-31T09:30:00+03:00" || row["kids"] != 3.0 {
			t.Errorf("%s: %v", more, row)
		}
		versions[all[0].Version] = true
	}
	if len(versions) != 1 {
		t.Errorf("%d versions of one row", len(versions))
	}
}

func TestReportsOfTheContract(t *testing.T) {
	for name, want := range map[string]string{
		"reportdata.response.json":             `birthdate:1976-07-04 familyName:Hornblower gender:M givenName:Horatio middleName: personId:2 | birthdate:<nil> familyName:Patient gender:M givenName:John middleName:<nil> personId:3`,
		"reportdata-epoch-dates.response.json": `birthdate:1976-07-04 familyName:Hornblower gender:M givenName:Horatio middleName: personId:2`,
		"reportdata-empty.response.json":       ``,
	} {
		r := fixedRig(t, fixed{200, golden(t, name)}, "Africa/Maputo")
		all, pages := r.pages(aRun(), nil)
		if pages != 1 {
			t.Errorf("%s: %d pages", name, pages)
		}
		var got []string
		for _, m := range all {
			row := rowOf(t, m)
			if m.Problem != "" || m.Doc != "report/"+report1+"/"+fmt.Sprint(row["uuid"]) {
				t.Errorf("%s: %s %s", name, m.Doc, m.Problem)
			}
			delete(row, "uuid")
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(row), "map["), "]"))
		}
		if strings.Join(got, " | ") != want {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, " | "), want)
		}
	}
}

func TestAnIndicatorReportIsOneRowByItsOwnKey(t *testing.T) {
	r := fixedRig(t, fixed{200, golden(t, "reportdata-indicators.response.json")}, "Africa/Nairobi")
	_, err := r.sys.List(t.Context(), r, aRun(), nil)
	if call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), `no column "uuid"`) || !strings.Contains(err.Error(), "malaria_u5, malaria_o5, anc1") {
		t.Errorf("without a key column: %v", err)
	}
	run := aRun()
	run.Keys["key"] = "malaria_u5, malaria_o5"
	all, _ := r.pages(run, nil)
	row := rowOf(t, all[0])
	if len(all) != 1 || all[0].Doc != "report/"+report1+"/14/9" || fmt.Sprint(row["anc1"]) != "map[memberIds:[12 15 99] size:3]" {
		t.Errorf("%v %v", all[0], row)
	}
}

// TestRowsOfTheOldMozambiqueServer: no metadata at all, epoch dates, a number
// with a needless fraction, and rows without the key column.
func TestRowsOfTheOldMozambiqueServer(t *testing.T) {
	r := fixedRig(t, fixed{200, golden(t, "report-data.response.shape.json")}, "Africa/Maputo")
	run := aRun()
	run.Keys["key"] = "NID"
	all, _ := r.pages(run, nil)
	if len(all) != 3 {
		t.Fatalf("%d rows", len(all))
	}
	row := rowOf(t, all[0])
	if all[0].Doc != "report/"+report1+"/01234567%2F12%2F01234" || row["filhos"] != 3.0 || row["data_proxima_consulta"] != 1551564000000.0 || row["data_do_nacimento"] != "1981-10-31" {
		t.Errorf("%s: %v", all[0].Doc, row)
	}
	for i, m := range all[1:] {
		if m.Problem == "" || m.Doc != fmt.Sprintf("report/%s/run 20261102T010000Z/row %d", report1, i+2) {
			t.Errorf("row %d: %q %q", i+2, m.Doc, m.Problem)
		}
	}
}

func TestAMissingParameterIsNamed(t *testing.T) {
	r := fixedRig(t, fixed{500, golden(t, "500-missing-parameter.json")}, "UTC")
	_, err := r.sys.List(t.Context(), r, aRun(), nil)
	if call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "startDate") {
		t.Error(err)
	}
}

func TestParametersStandInTheAddressUnlessRESTUsesTheirName(t *testing.T) {
	seed := `{"reports":[{"uuid":"` + report1 + `","name":"P","parameters":[{"name":"startDate","type":"date","required":true},{"name":"limit","column":"place"},{"name":"place","column":"place"}],
	 "dataSets":[{"uuid":"` + dataSet1 + `","name":"d","columns":[{"name":"uuid","label":"uuid","datatype":"java.lang.String"},{"name":"place","label":"place","datatype":"java.lang.String"}],
	 "rows":[{"uuid":"` + jane + `","place":"north"},{"uuid":"` + john + `","place":"south"}]}]}]}`
	for name, c := range map[string]struct {
		with    []string
		rows    int
		request string
	}{
		"in the address":       {[]string{"startDate", "{start}", "place", "south"}, 1, "GET /reportingrest/reportdata/" + report1 + "?place=south&startDate=2026-10-01"},
		"all":                  {[]string{"startDate", "{end}"}, 2, "GET /reportingrest/reportdata/" + report1 + "?startDate=2026-10-31"},
		"a name that clashes":  {[]string{"startDate", "{at}", "limit", "north"}, 1, "POST /reportingrest/reportdata/" + report1 + "?"},
		"of nothing in report": {[]string{"startDate", "2026-01-01", "other", "x"}, 2, "GET /reportingrest/reportdata/" + report1 + "?other=x&startDate=2026-01-01"},
	} {
		r := newRig(t, "", seed)
		all, _ := r.pages(aRun(c.with...), nil)
		if len(all) != c.rows || len(r.log) != 1 || r.log[0] != c.request {
			t.Errorf("%s: %d rows by %v", name, len(all), r.log)
		}
	}
}

func TestWhatAFlowAsksWronglyIsRefusedBeforeAnythingIsSent(t *testing.T) {
	r := newRig(t, "", "")
	for name, c := range map[string]struct {
		change func(*connector.Run)
		says   string
	}{
		"no report":       {func(x *connector.Run) { delete(x.Keys, "report") }, "must name a report"},
		"two things":      {func(x *connector.Run) { x.Keys["cohort"] = report1 }, "must name a report"},
		"a path":          {func(x *connector.Run) { x.Keys["report"] = "../session" }, "no uuid"},
		"another kind":    {func(x *connector.Run) { x.Kind = "form" }, "no list"},
		"via":             {func(x *connector.Run) { x.Keys["via"] = "pigeon" }, "via must be"},
		"unknown key":     {func(x *connector.Run) { x.Keys["keys"] = "a" }, `no key "keys"`},
		"unknown brace":   {func(x *connector.Run) { x.With["a"] = "{today}" }, "not known"},
		"no period":       {func(x *connector.Run) { x.Period, x.With["a"] = "", "{period}" }, "no period"},
		"cohort, request": {func(x *connector.Run) { delete(x.Keys, "report"); x.Keys["cohort"], x.Keys["via"] = report1, "request" }, "only a report"},
	} {
		run := aRun()
		c.change(&run)
		if _, err := r.sys.List(t.Context(), r, run, nil); call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r.reads != 0 {
		t.Errorf("%d requests", r.reads)
	}
	if _, err := r.sys.List(t.Context(), r, aRun(), nil); call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "no report") {
		t.Errorf("an unknown report: %v", err)
	}
}

func TestRowsThatRepeatAKey(t *testing.T) {
	seed := `{"reports":[{"uuid":"` + report1 + `","name":"P","dataSets":[{"uuid":"` + dataSet1 + `","name":"d","columns":[{"name":"uuid"},{"name":"missed"}],
	 "rows":[{"uuid":"` + jane + `","missed":"2026-10-01"},{"uuid":"` + john + `","missed":"2026-10-02"},{"uuid":"` + john + `","missed":"2026-10-02"},{"uuid":"` + jane + `","missed":"2026-10-09"}]}]}]}`
	r := newRig(t, "", seed)
	all, _ := r.pages(aRun(), nil)
	if len(all) != 3 || all[0].Problem == "" || all[1].Problem != "" || all[2].Problem == "" || all[0].Doc != all[2].Doc {
		t.Errorf("by uuid: %v", all)
	}
	run := aRun()
	run.Keys["key"] = "uuid,missed"
	all, _ = r.pages(run, nil)
	if len(all) != 3 || all[0].Problem+all[1].Problem+all[2].Problem != "" || all[2].Doc != "report/"+report1+"/"+jane+"/2026-10-09" {
		t.Errorf("by uuid and day: %v", all)
	}
}

func TestOneOfSeveralDataSetsIsNamed(t *testing.T) {
	seed := `{"reports":[{"uuid":"` + report1 + `","name":"P","dataSets":[{"uuid":"` + dataSet1 + `","name":"seen","columns":[{"name":"uuid"}],"rows":[{"uuid":"` + jane + `"}]},
	 {"uuid":"` + design1 + `","name":"missed","columns":[{"name":"UUID"}],"rows":[{"UUID":"` + john + `"}]}]}]}`
	r := newRig(t, "", seed)
	if _, err := r.sys.List(t.Context(), r, aRun(), nil); call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "seen, missed") {
		t.Error(err)
	}
	for _, name := range []string{"missed", design1} {
		run := aRun()
		run.Keys["dataset"] = name
		if all, _ := r.pages(run, nil); len(all) != 1 || !strings.HasSuffix(all[0].Doc, john) {
			t.Errorf("%s: %v", name, all)
		}
	}
	run := aRun()
	run.Keys = map[string]string{"dataset": dataSet1}
	if all, _ := r.pages(run, nil); len(all) != 1 || all[0].Doc != "report/"+dataSet1+"/"+jane {
		t.Errorf("a data set by itself: %v", all)
	}
}

func TestTheMembersOfACohortAreRows(t *testing.T) {
	r := newRig(t, "", strings.TrimSuffix(people, "}")+`,"reports":[{"uuid":"`+report1+`","name":"Active"}]}`)
	run := aRun()
	run.Keys = map[string]string{"cohort": report1}
	all, _ := r.pages(run, nil)
	if len(all) != 2 || all[0].Doc != "report/"+report1+"/"+jane || all[1].Doc != "report/"+report1+"/"+john {
		t.Errorf("%v", all)
	}
}

const slowReport = `,"slow":"1h","designs":[{"uuid":"` + design1 + `","name":"CSV","rendererType":"org.openmrs.module.reporting.report.renderer.CsvReportRenderer"},
 {"uuid":"` + dataSet1 + `","name":"Excel","rendererType":"org.openmrs.module.reporting.report.renderer.XlsReportRenderer"}]`

func viaRequest(with ...string) connector.Run {
	r := aRun(with...)
	r.Keys["via"] = "request"
	return r
}

func TestAReportOfAnHourIsRequestedAndAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "", generate(1200, 0, slowReport))
		began := time.Now()
		all, _ := r.pages(viaRequest("startDate", "{start}"), nil)
		if took := time.Since(began); took < time.Hour || took > 80*time.Minute {
			t.Errorf("it took %v", took)
		}
		if len(all) != 1200 || all[0].Problem != "" {
			t.Errorf("%d rows, %s", len(all), all[0].Problem)
		}
		// Java writes its Timestamp without a zone: the server's is meant.
		if row := rowOf(t, all[99]); row["givenName"] != "Given11" || row["middleName"] != nil || row["personId"] != "100" || row["birthdate"] != "1900-05-17" {
			t.Errorf("%v", row)
		}
		looks := 0
		for _, l := range r.log {
			if strings.HasPrefix(l, "GET /reportingrest/reportRequest/") {
				looks++
			}
		}
		if looks > 40 || r.sim.Evaluations(report1) != 1 {
			t.Errorf("%d looks, %d evaluations", looks, r.sim.Evaluations(report1))
		}
	})
}

// TestARequestWhoseAnswerWasLostIsFoundAgain: the module gives a request its
// uuid, so a repeat would make the hour's work twice.
func TestARequestWhoseAnswerWasLostIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := strings.Replace(generate(3, 0, slowReport), `"name":"Participants",`, `"name":"Participants","parameters":[{"name":"startDate","type":"date"}],`, 1)
		r := newRig(t, "", seed)
		r.sim.Traffic().Switch(simulate.Fault{Kind: simulate.LostResponse, Match: "POST /openmrs/ws/rest/v1/reportingrest/reportRequest", Call: 1})
		var cursor []byte
		lost := 0
		for {
			p, err := r.sys.List(t.Context(), r, viaRequest("startDate", "{start}"), cursor)
			if err != nil {
				lost++
				time.Sleep(time.Minute)
				continue
			}
			if cursor = p.Cursor; p.Done {
				break
			}
			time.Sleep(p.Wait)
		}
		if lost != 1 || r.sim.Evaluations(report1) != 1 {
			t.Errorf("%d lost, %d evaluations", lost, r.sim.Evaluations(report1))
		}
	})
}

// TestAPurgedReportRequestIsMadeAgain: the module removes them after three days.
func TestAPurgedReportRequestIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "", generate(700, 0, slowReport))
		purged := false
		all, _ := r.pages(viaRequest(), func(int) {
			done := slices.ContainsFunc(r.log, func(l string) bool { return strings.Contains(l, "downloadReport") })
			if !done || purged {
				return
			}
			purged = true
			r.restart()
			if _, err := r.do(t.Context(), "purge", call.Request{Method: "DELETE", Path: "/reportingrest/reportRequest/00000000-7e90-4000-8000-000000000001"}); err != nil {
				t.Fatal(err)
			}
		})
		if len(all) != 1200 || r.sim.Evaluations(report1) != 2 || all[0].Doc != all[500].Doc {
			t.Errorf("%d rows, %d evaluations", len(all), r.sim.Evaluations(report1))
		}
	})
}

func TestAFailedReportRequestIsAnErrorInWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "", generate(3, 0, slowReport+`,"fails":true`))
		var cursor []byte
		for range 100 {
			p, err := r.sys.List(t.Context(), r, viaRequest(), cursor)
			if err != nil {
				if call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "FAILED") {
					t.Error(err)
				}
				return
			}
			if p.Done {
				break
			}
			cursor = p.Cursor
			time.Sleep(p.Wait)
		}
		t.Error("no error")
	})
}

func TestATruncatedFileIsNeverAllOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "", generate(50, 0, slowReport+`,"cut":900`))
		var cursor []byte
		for range 100 {
			p, err := r.sys.List(t.Context(), r, viaRequest(), cursor)
			if err != nil {
				if call.ClassOf(err) != call.RetryLater || !strings.Contains(err.Error(), "cut off") {
					t.Error(err)
				}
				return
			}
			if p.Done || len(p.Messages) > 0 {
				t.Fatal("rows of a file that was cut off")
			}
			cursor = p.Cursor
			time.Sleep(p.Wait)
		}
		t.Error("no error")
	})
}

func TestAReportThatTakesLongerThanTheTimeoutSaysWhatToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "", generate(3, 0, slowReport))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := r.sys.List(ctx, r, aRun(), nil)
		if call.ClassOf(err) != call.RetryLater || !strings.Contains(err.Error(), "via request") {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour) // the simulator's evaluation ends
	})
}

func TestASampleIsAnAnswerARowOrAContent(t *testing.T) {
	for name, want := range map[string]int{"reportdata.response.json": 2, "report-row.json": 1, "report-data.response.shape.json": 3} {
		contents, err := sampleReport(golden(t, name))
		if err != nil || len(contents) != want {
			t.Fatalf("%s: %d contents, %v", name, len(contents), err)
		}
		var first struct{ Row map[string]any }
		if err := json.Unmarshal(contents[0], &first); err != nil || first.Row["familyName"] == nil && first.Row["NID"] == nil {
			t.Errorf("%s: %s", name, contents[0])
		}
		again, err := sampleReport(contents[0])
		if err != nil || len(again) != 1 || string(again[0]) != string(contents[0]) {
			t.Errorf("%s: a content is no sample: %v", name, err)
		}
	}
	if _, err := sampleReport([]byte("[")); err == nil {
		t.Error("no error")
	}
}

func FuzzReport(f *testing.F) {
	for _, name := range []string{"reportdata.response.json", "reportdata-indicators.response.json", "report-data.response.shape.json"} {
		f.Add(golden(f, name))
	}
	f.Add([]byte(`{"dataSets":[{"rows":[null,{"uuid":7},[1]]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := fixedRig(t, fixed{200, b}, "Africa/Nairobi")
		p, err := r.sys.List(t.Context(), r, aRun(), nil)
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Errorf("taken though it is no JSON")
		}
		for _, m := range p.Messages {
			if !json.Valid(m.Content) || m.Doc == "" || m.Version == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

func FuzzReportFile(f *testing.F) {
	f.Add([]byte(`{"filename":"a.csv","contentType":"text/csv","fileContent":"InV1aWQiDQoiYSINCg=="}`))
	f.Add([]byte(`{"fileContent":null,"filename":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := fixedRig(t, fixed{200, b}, "UTC")
		run := viaRequest()
		_, _ = r.sys.List(t.Context(), r, run, encode(reportCursor{Begun: time.Now(), Request: "x", Ready: true}))
	})
}
