package commcare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

const reportID = "c0febabe"

var nairobi = time.FixedZone("EAT", 3*60*60)

// runOf asks for the report over a period.
func runOf(name string, keys, with map[string]string) connector.Run {
	all := map[string]string{"report": reportID}
	for k, v := range keys {
		all[k] = v
	}
	run := connector.Run{Kind: "report", Keys: all, With: with}
	if p, err := period.Parse(name); err == nil {
		run.Period, run.Start, run.End = p.Name(), p.Start().In(nairobi), p.End().In(nairobi)
	}
	return run
}

// seedReport seeds a report over given rows: clinic_id, births and, if dated, a
// filter on opened and one on form_date.
func (b *bench) seedReport(rows []map[string]any, change func(*sim.Report)) {
	b.Helper()
	r := sim.Report{ID: reportID, Title: "Activity", Rows: rows,
		Columns: []sim.ReportColumn{{ID: "clinic_id", Display: "Clinic"}, {ID: "births", Display: "Live births"}},
		Filters: []sim.ReportFilter{{Slug: "form_date", Type: "date", Datatype: "date"}, {Slug: "state", Type: "choice_list", Datatype: "string"},
			{Slug: "age", Type: "numeric", Datatype: "integer"}}}
	if change != nil {
		change(&r)
	}
	doc, err := json.Marshal(map[string]any{"reports": []any{r}})
	if err != nil {
		b.Fatal(err)
	}
	if err := b.sim.Seed(doc); err != nil {
		b.Fatal(err)
	}
}

func clinics(n int, day string) []map[string]any {
	var out []map[string]any
	for i := range n {
		out = append(out, map[string]any{"clinic_id": fmt.Sprintf("clinic-%04d", i), "births": i, "form_date": day, "state": []string{"north", "south"}[i%2], "age": i})
	}
	return out
}

// list reads a run to its end. Waits are noted, not waited.
func (b *bench) list(run connector.Run) (got []connector.Incoming, waits []time.Duration) {
	b.Helper()
	var cursor []byte
	for range 60 {
		p, err := b.sys.List(context.Background(), b, run, cursor)
		if err != nil {
			b.Fatal(err)
		}
		if len(p.Messages) > 500 {
			b.Errorf("a chunk of %d rows", len(p.Messages))
		}
		got, cursor = append(got, p.Messages...), p.Cursor
		if p.Wait > 0 {
			waits = append(waits, p.Wait)
			if len(p.Messages) > 0 || p.Done {
				b.Errorf("a page to wait for has %d messages, done %v", len(p.Messages), p.Done)
			}
		}
		if p.Done {
			return got, waits
		}
	}
	b.Fatal("the run does not end")
	return nil, nil
}

func (b *bench) listError(run connector.Run) error {
	b.Helper()
	p, err := b.sys.List(context.Background(), b, run, nil)
	if err == nil {
		b.Fatalf("no error, but %d rows", len(p.Messages))
	}
	return err
}

func content(t testing.TB, m connector.Incoming) map[string]any {
	t.Helper()
	return decode(t, m.Content)
}

func row(t testing.TB, m connector.Incoming) map[string]any {
	t.Helper()
	r, ok := content(t, m)["row"].(map[string]any)
	if !ok {
		t.Fatalf("no row in %s", m.Content)
	}
	return r
}

func TestTheDocumentedAnswerGivesRowsBySlugAndHeader(t *testing.T) {
	contents, err := sample("report", file(t, "reports/configurable-report.response.json"))
	if err != nil || len(contents) != 2 {
		t.Fatalf("%d rows, %v", len(contents), err)
	}
	want := map[string]any{"report": map[string]any{"id": "9aab0eeb88555a7b4568676883e7379a", "title": "",
		"columns": []any{"district", "number_of_children_visited", "gender-male", "gender-female"}}, "row": map[string]any{
		"district": "Middlesex", "District": "Middlesex", "number_of_children_visited": 46.0, "Num Children Visited": 46.0,
		"gender-male": 10.0, "Gender-male": 10.0, "gender-female": 35.0, "Gender-female": 35.0}}
	if d := cmp.Diff(want, decode(t, contents[0])); d != "" {
		t.Error(d)
	}
}

func TestARowIsAMessageOfItsReportPeriodAndKey(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport([]map[string]any{{"clinic_id": "a/1", "births": 0, "form_date": "2026-10-31"}, {"clinic_id": "b", "births": nil, "form_date": "2026-10-01"}}, nil)
	got, _ := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, nil))
	if len(got) != 2 || got[0].Kind != "report" || got[0].Doc != "report/c0febabe/202610/a%2F1" || got[1].Doc != "report/c0febabe/202610/b" || got[0].Problem != "" {
		t.Fatalf("rows %+v", got)
	}
	want := map[string]any{"row": map[string]any{"clinic_id": "a/1", "Clinic": "a/1", "births": 0.0, "Live births": 0.0},
		"report": map[string]any{"id": "c0febabe", "title": "Activity", "key": "clinic_id", "columns": []any{"clinic_id", "births"}},
		"period": map[string]any{"name": "202610", "start": "2026-10-01", "end": "2026-10-31"}}
	if d := cmp.Diff(want, content(t, got[0])); d != "" {
		t.Error(d)
	}
	if v, ok := row(t, got[1])["births"]; !ok || v != nil {
		t.Errorf("what was not counted is %v; want null, which is not 0", v)
	}
}

func TestACorrectedRowIsANewVersionOfTheSameDocument(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(3, "2026-10-05"), nil)
	run := runOf("202610", map[string]string{"key": "clinic_id"}, nil)
	first, _ := b.list(run)
	if err := b.sim.ChangeReport(reportID, func(r *sim.Report) { r.Rows[1]["births"] = 12 }); err != nil {
		t.Fatal(err)
	}
	second, _ := b.list(run)
	for i := range first {
		if first[i].Doc != second[i].Doc || (first[i].Version == second[i].Version) != (i != 1) {
			t.Errorf("row %d: %s %s, then %s %s", i, first[i].Doc, first[i].Version, second[i].Doc, second[i].Version)
		}
	}
}

func TestTheCompletedPeriodGoesToTheFirstDateFilter(t *testing.T) {
	b := newBench(t, nil)
	rows := append(clinics(2, "2026-09-30"), append(clinics(3, "2026-10-01"), clinics(1, "2026-11-01")...)...)
	b.seedReport(rows, nil)
	got, _ := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, nil))
	if len(got) != 3 {
		t.Errorf("%d rows, want the 3 of October", len(got))
	}
	last := b.sent[len(b.sent)-1]
	if q := url.Values(last.Query); q.Get("form_date-start") != "2026-10-01" || q.Get("form_date-end") != "2026-10-31" || q.Get("limit") != "50" {
		t.Errorf("asked with %v", last.Query)
	}
	for _, name := range []string{"2026W44", "2026Q3", "2026NovQ4"} {
		p, err := period.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		b.list(runOf(name, map[string]string{"key": "clinic_id"}, nil))
		q := url.Values(b.sent[len(b.sent)-1].Query)
		if q.Get("form_date-start") != p.Start().String() || q.Get("form_date-end") != p.End().String() {
			t.Errorf("%s: asked with %v", name, q)
		}
	}
}

func TestFiltersGoOutAsTheFlowGivesThem(t *testing.T) {
	two := func(r *sim.Report) {
		r.Filters = append(r.Filters, sim.ReportFilter{Slug: "opened_on", Type: "date", Datatype: "date"})
	}
	for _, v := range []struct {
		name   string
		period string
		with   map[string]string
		want   url.Values
	}{
		{"a choice", "202610", map[string]string{"state": "north"}, url.Values{"state": {"north"}, "form_date-start": {"2026-10-01"}, "form_date-end": {"2026-10-31"}}},
		{"a number", "202610", map[string]string{"age-operator": ">=", "age-operand": "1"}, url.Values{"age-operator": {">="}, "age-operand": {"1"}, "form_date-start": {"2026-10-01"}, "form_date-end": {"2026-10-31"}}},
		{"another date filter", "202610", map[string]string{"opened_on": "period"}, url.Values{"opened_on-start": {"2026-10-01"}, "opened_on-end": {"2026-10-31"}}},
		{"dates by hand", "202610", map[string]string{"opened_on-start": "2026-01-01", "opened_on-end": "2026-01-31"}, url.Values{"opened_on-start": {"2026-01-01"}, "opened_on-end": {"2026-01-31"}}},
		{"no dates", "202610", map[string]string{"period": "none"}, url.Values{}},
		{"no period", "", map[string]string{"state": "north"}, url.Values{"state": {"north"}}},
	} {
		b := newBench(t, nil)
		b.seedReport(clinics(4, "2026-10-05"), two)
		b.list(runOf(v.period, map[string]string{"key": "clinic_id"}, v.with))
		q := url.Values(b.sent[len(b.sent)-1].Query)
		for _, ours := range []string{"limit", "offset", "format"} {
			delete(q, ours)
		}
		if d := cmp.Diff(v.want, q); d != "" {
			t.Errorf("%s: %s", v.name, d)
		}
	}
}

// CommCare ignores what is no filter, and answers the totals of all time.
func TestAFilterThatTheReportDoesNotHaveIsAnError(t *testing.T) {
	noDates := func(r *sim.Report) { r.Filters = r.Filters[1:] }
	for _, v := range []struct {
		name, period string
		with         map[string]string
		change       func(*sim.Report)
		say          string
	}{
		{"a name", "202610", map[string]string{"stat": "north"}, nil, "form_date, state, age"},
		{"a name that begins like one", "202610", map[string]string{"state_id": "x"}, nil, "no filter state_id"},
		{"a date without end", "202610", map[string]string{"form_date-start": "2026-01-01"}, nil, "form_date-end"},
		{"a date as one day", "202610", map[string]string{"form_date": "2026-01-01"}, nil, "form_date: period"},
		{"no date filter", "202610", nil, noDates, "no date filter"},
		{"a period without one", "", map[string]string{"form_date": "period"}, nil, "schedule"},
	} {
		b := newBench(t, nil)
		b.seedReport(clinics(4, "2026-10-05"), v.change)
		if err := b.listError(runOf(v.period, nil, v.with)); !strings.Contains(err.Error(), v.say) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

func TestRunsWithOtherFiltersHaveOtherDocuments(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport([]map[string]any{{"clinic_id": "a", "births": 1, "form_date": "2026-10-05", "state": "north"}, {"clinic_id": "a", "births": 2, "form_date": "2026-10-05", "state": "south"}}, nil)
	docs := map[string]bool{}
	for _, state := range []string{"north", "south"} {
		got, _ := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, map[string]string{"state": state}))
		if len(got) != 1 || got[0].Problem != "" {
			t.Fatalf("%s: %+v", state, got)
		}
		docs[got[0].Doc] = true
	}
	if len(docs) != 2 {
		t.Errorf("both states' rows are the documents %v", docs)
	}
	got, _ := b.list(runOf("", map[string]string{"key": "clinic_id"}, map[string]string{"state": "north"}))
	if strings.Count(got[0].Doc, "/") != 2 {
		t.Errorf("without a period the document is %s", got[0].Doc)
	}
}

func TestReportsThatAreNotThereAreErrors(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(1, "2026-10-05"), func(r *sim.Report) { r.ID = "other" })
	if err := b.listError(runOf("202610", nil, nil)); !strings.Contains(err.Error(), "no such report") {
		t.Error(err)
	}
	if err := b.listError(connector.Run{Kind: "report"}); !strings.Contains(err.Error(), "names no report") {
		t.Error(err)
	}
	if _, err := b.sys.List(t.Context(), b, connector.Run{Kind: "form"}, nil); err == nil {
		t.Error("forms are listed")
	}
	if _, err := b.sys.List(t.Context(), b, runOf("202610", nil, nil), []byte(`{"seen":"?"}`)); err == nil {
		t.Error("a damaged cursor is taken")
	}
}

func TestAStaticReportIsFoundInTheList(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(3, "2026-10-05"), func(r *sim.Report) { r.Static = true })
	if got, _ := b.list(runOf("202610", map[string]string{"key": "Clinic"}, nil)); len(got) != 3 {
		t.Errorf("%d rows", len(got))
	}
}

func TestExpandedColumnsKeepTheirNamesWhenValuesAppear(t *testing.T) {
	b := newBench(t, nil)
	rows := []map[string]any{{"clinic_id": "a", "sex": "male", "form_date": "2026-10-05"}}
	b.seedReport(rows, func(r *sim.Report) {
		r.Columns = []sim.ReportColumn{{ID: "clinic_id"}, {ID: "sex", Display: "Sex", Expand: "sex"}}
	})
	run := runOf("202610", map[string]string{"key": "clinic_id"}, nil)
	before, _ := b.list(run)
	if err := b.sim.ChangeReport(reportID, func(r *sim.Report) {
		r.Rows = append(r.Rows, map[string]any{"clinic_id": "a", "sex": "female", "form_date": "2026-10-05"})
	}); err != nil {
		t.Fatal(err)
	}
	after, _ := b.list(run)
	x, y := row(t, before[0]), row(t, after[0])
	if x["sex-male"] != 1.0 || y["sex-male"] != 1.0 || y["sex-female"] != 1.0 || y["Sex-female"] != 1.0 {
		t.Errorf("before %v, after %v", x, y)
	}
	for name := range y {
		if strings.HasSuffix(name, "-0") {
			t.Errorf("the row has %s, which means another value each time", name)
		}
	}
}

func TestHeadersThatTwoColumnsShareAreNoNames(t *testing.T) {
	r, err := newRowReader([]reportColumn{{slug: "a", header: "Same"}, {slug: "b", header: "Same"}, {slug: "c", header: "a"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "a", "b": "b", "c": "c"}, r.names); d != "" {
		t.Error(d)
	}
}

func TestARowWithoutKeyIsHeldAndTheOthersGoOn(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport([]map[string]any{{"clinic_id": "a", "births": 1, "form_date": "2026-10-05"}, {"clinic_id": nil, "births": 7, "form_date": "2026-10-05"},
		{"clinic_id": "", "births": 8, "form_date": "2026-10-05"}}, nil)
	for _, key := range []string{"clinic_id", ""} {
		got, _ := b.list(runOf("202610", map[string]string{"key": key}, nil))
		if len(got) != 3 || got[0].Problem != "" || got[1].Problem == "" || got[2].Problem == "" || got[1].Doc == got[2].Doc {
			t.Errorf("key %q: %+v", key, got)
		}
	}
	if err := b.listError(runOf("202610", map[string]string{"key": "clinic"}, nil)); !strings.Contains(err.Error(), "no column clinic,") || !strings.Contains(err.Error(), "clinic_id, births") {
		t.Error(err)
	}
}

func TestAKeyMayBeANumber(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport([]map[string]any{{"clinic_id": 1045, "births": 1, "form_date": "2026-10-05"}, {"clinic_id": "1046", "births": 1, "form_date": "2026-10-05"}}, nil)
	got, _ := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, nil))
	if len(got) != 2 || got[0].Doc != "report/c0febabe/202610/1045" || got[1].Doc != "report/c0febabe/202610/1046" || got[0].Problem != "" {
		t.Errorf("%+v", got)
	}
}

func TestRowsThatShareAKeyAreHeldAllOfThem(t *testing.T) {
	b := newBench(t, nil)
	rows := []map[string]any{{"clinic_id": "a", "births": 1, "sex": "f", "form_date": "2026-10-05"}, {"clinic_id": "a", "births": 2, "sex": "m", "form_date": "2026-10-05"},
		{"clinic_id": "b", "births": 3, "sex": "m", "form_date": "2026-10-05"}}
	b.seedReport(rows, func(r *sim.Report) { r.Columns = append(r.Columns, sim.ReportColumn{ID: "sex"}) })
	got, waits := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, nil))
	if len(got) != 3 || got[0].Problem == "" || got[1].Problem == "" || got[2].Problem != "" || got[0].Doc == got[1].Doc || len(waits) > 0 {
		t.Errorf("%+v, waited %v", got, waits)
	}
	for _, key := range []string{"clinic_id, sex", ""} {
		got, _ = b.list(runOf("202610", map[string]string{"key": key}, nil))
		if len(docs(got)) != 3 || got[0].Problem+got[1].Problem+got[2].Problem != "" {
			t.Errorf("key %q: %+v", key, got)
		}
	}
}

// Rows of one key on different pages look like a report that changed; after
// two new beginnings it is sure that they are not.
func TestRowsThatShareAKeyOverPagesAreHeldInTheEnd(t *testing.T) {
	b := newBench(t, nil)
	rows := clinics(80, "2026-10-05")
	rows[70]["clinic_id"] = "clinic-0003"
	b.seedReport(rows, nil)
	got, waits := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, nil))
	held := 0
	for _, m := range got {
		if m.Problem != "" {
			held++
		}
	}
	if len(got) != 80 || held != 1 || len(waits) != 2 {
		t.Errorf("%d rows, %d held, waited %v", len(got), held, waits)
	}
}

func TestAKeyOfWordsIsNotInClear(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport([]map[string]any{{"clinic_id": "Jane Doe", "births": 1, "form_date": "2026-10-05"}}, nil)
	got, _ := b.list(runOf("202610", nil, nil))
	if len(got) != 1 || strings.Contains(got[0].Doc, "Jane") {
		t.Errorf("%+v", got)
	}
	if err := b.sim.ChangeReport(reportID, func(r *sim.Report) { r.Rows[0]["births"] = 2 }); err != nil {
		t.Fatal(err)
	}
	again, _ := b.list(runOf("202610", nil, nil))
	if again[0].Doc != got[0].Doc || again[0].Version == got[0].Version {
		t.Errorf("a new count makes %s %s of %s %s", again[0].Doc, again[0].Version, got[0].Doc, got[0].Version)
	}
}

func TestNumbersAreTheSameHoweverWritten(t *testing.T) {
	for written, want := range map[string]json.Number{"3": "3", "3.0": "3", "1e3": "1000", "-0.50": "-0.5", "0.0": "0", "-0.0": "0", "12345678901234567890": "12345678901234567890"} {
		if got := cell(json.Number(written)); got != want {
			t.Errorf("%s is %v, want %v", written, got, want)
		}
	}
	if cell("2026-10-05T08:00:00.000000Z") != cell("2026-10-05T08:00:00Z") || cell(" x ") != "x" || cell(nil) != nil || cell(true) != true {
		t.Error("texts are not written in one way")
	}
}

func TestAReportOfManyPagesIsReadInChunks(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(1234, "2026-10-05"), nil)
	got, waits := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, nil))
	if len(got) != 1234 || len(docs(got)) != 1234 || len(waits) != 0 {
		t.Errorf("%d messages of %d rows, waited %v", len(got), len(docs(got)), waits)
	}
}

func TestAChunkIsNoLargerThanItsBytes(t *testing.T) {
	b := newBench(t, nil)
	rows := clinics(120, "2026-10-05")
	b.seedReport(rows, func(r *sim.Report) {
		r.Columns = append(r.Columns, sim.ReportColumn{ID: "note"})
		for _, row := range rows {
			row["note"] = strings.Repeat("x", 400)
		}
	})
	b.sys.batchBytes = 10_000
	var cursor []byte
	seen := map[string]bool{}
	for done := false; !done; {
		p, err := b.sys.List(t.Context(), b, runOf("202610", map[string]string{"key": "clinic_id"}, nil), cursor)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, m := range p.Messages {
			size += len(m.Content)
			seen[m.Doc] = true
		}
		if size > 10_000 || len(p.Messages) == 0 {
			t.Fatalf("a chunk of %d bytes in %d rows", size, len(p.Messages))
		}
		cursor, done = p.Cursor, p.Done
	}
	if len(seen) != 120 {
		t.Errorf("%d rows of 120", len(seen))
	}
}

func TestAnEmptyReportIsDoneAtOnce(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(nil, nil)
	if got, waits := b.list(runOf("202610", nil, nil)); len(got) != 0 || len(waits) != 0 {
		t.Errorf("%d rows, waited %v", len(got), waits)
	}
}

func TestReadingGoesOnWhereItWasStoppedByALimit(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(180, "2026-10-05"), nil)
	b.sim.Traffic().Switch(simulate.Fault{Kind: simulate.TooMany, Match: "GET /a/demo/api/v0.5/configurablereportdata/" + reportID + "/", Call: 3})
	run := runOf("202610", map[string]string{"key": "clinic_id"}, nil)
	p, err := b.sys.List(t.Context(), b, run, nil)
	if err != nil || len(p.Messages) != 100 || p.Done {
		t.Fatalf("%d rows, done %v, %v; want the 100 that were read", len(p.Messages), p.Done, err)
	}
	rest, err := b.sys.List(t.Context(), b, run, p.Cursor)
	if err != nil || len(rest.Messages) != 80 || !rest.Done {
		t.Errorf("then %d rows, done %v, %v", len(rest.Messages), rest.Done, err)
	}
}

func TestALimitAtTheFirstPageIsTriedAgainLater(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(3, "2026-10-05"), nil)
	b.sim.Throttle(1, "0.4")
	run := runOf("202610", nil, nil)
	if err := b.listError(run); call.ClassOf(err) != call.RetryLater {
		t.Errorf("throttled: %v", err)
	}
	if got, _ := b.list(run); len(got) != 3 {
		t.Errorf("%d rows", len(got))
	}
}

func TestATruncatedAnswerIsReadAgain(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(60, "2026-10-05"), nil)
	b.sim.TruncateReports(1)
	run := runOf("202610", map[string]string{"key": "clinic_id"}, nil)
	if err := b.listError(run); !strings.Contains(err.Error(), "too early") && !strings.Contains(err.Error(), "not JSON") {
		t.Error(err)
	}
	if got, _ := b.list(run); len(docs(got)) != 60 {
		t.Errorf("%d rows", len(docs(got)))
	}
}

func TestAfterEachFaultTheRunIsWholeAllTheSame(t *testing.T) {
	for _, fault := range []simulate.Kind{simulate.Down, simulate.LostResponse, simulate.Error500, simulate.Error503, simulate.HTMLPage, simulate.TooMany} {
		for _, path := range []string{"simplereportconfiguration", "configurablereportdata"} {
			b := newBench(t, nil)
			b.seedReport(clinics(70, "2026-10-05"), nil)
			b.sim.Traffic().Switch(simulate.Fault{Kind: fault, Match: "GET /a/demo/api/v0.5/" + path + "/" + reportID + "/", Call: 1})
			run := runOf("202610", map[string]string{"key": "clinic_id"}, nil)
			// Go's client sends a GET again by itself when a kept connection is cut.
			mended := fault == simulate.Down || fault == simulate.LostResponse
			if _, err := b.sys.List(t.Context(), b, run, nil); call.ClassOf(err) != call.RetryLater && !(mended && err == nil) {
				t.Errorf("%s at %s: %v", fault, path, err)
			}
			if got, waits := b.list(run); len(got) != 70 || len(docs(got)) != 70 || len(waits) != 0 {
				t.Errorf("%s at %s: then %d rows, waited %v", fault, path, len(got), waits)
			}
		}
	}
}

func TestARunThatIsCancelledLeavesNothingBehind(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(3, "2026-10-05"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.sys.List(ctx, b, runOf("202610", nil, nil), nil); err == nil || b.sim.Traffic().Count() != 0 {
		t.Errorf("cancelled: %v, %d requests", err, b.sim.Traffic().Count())
	}
}

func TestAReportThatChangesBetweenPagesIsReadAnew(t *testing.T) {
	changes := map[string]func(*sim.Report){
		"a row more": func(r *sim.Report) {
			r.Rows = append(clinics(1, "2026-10-06"), r.Rows...)
			r.Rows[0]["clinic_id"] = "aaa"
		},
		"a row less":    func(r *sim.Report) { r.Rows = r.Rows[1:] },
		"a column more": func(r *sim.Report) { r.Columns = append(r.Columns, sim.ReportColumn{ID: "state"}) },
		"another order": func(r *sim.Report) { r.Rows = append(r.Rows[60:], r.Rows[:60]...) },
		"one by another": func(r *sim.Report) {
			r.Rows = append(clinics(1, "2026-10-06"), r.Rows[:len(r.Rows)-1]...)
			r.Rows[0]["clinic_id"] = "aaa"
		},
	}
	for name, change := range changes {
		b := newBench(t, nil)
		b.seedReport(clinics(120, "2026-10-05"), nil)
		b.sim.OnReportPage(func(id string, offset int) {
			b.sim.OnReportPage(nil)
			if err := b.sim.ChangeReport(id, change); err != nil {
				t.Error(err)
			}
		})
		got, waits := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, nil))
		b.sim.OnReportPage(nil)
		again, _ := b.list(runOf("202610", map[string]string{"key": "clinic_id"}, nil))
		if d := cmp.Diff(docs(again), docs(got)); d != "" || len(waits) != 1 || len(got) != len(again) {
			t.Errorf("%s: waited %v, %d rows, want %d: %s", name, waits, len(got), len(again), d)
		}
	}
}

// shortened drops the last row of the first page of data that passes.
type shortened struct {
	*bench
	done bool
}

func (d *shortened) Do(ctx context.Context, about string, r call.Request) (call.Answer, error) {
	a, err := d.bench.Do(ctx, about, r)
	if err != nil || d.done || !strings.Contains(r.Path, "configurablereportdata") {
		return a, err
	}
	d.done = true
	doc := decode(d, a.Body)
	rows := doc["data"].([]any)
	doc["data"] = rows[:len(rows)-1]
	a.Body, err = json.Marshal(doc)
	return a, err
}

func TestAPageWithFewerRowsThanItSaysIsNotTaken(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(60, "2026-10-05"), nil)
	run := runOf("202610", map[string]string{"key": "clinic_id"}, nil)
	p, err := b.sys.List(t.Context(), &shortened{bench: b}, run, nil)
	if err != nil || len(p.Messages) > 0 || p.Done || p.Wait != restartWait {
		t.Fatalf("%d rows, done %v, wait %v, %v", len(p.Messages), p.Done, p.Wait, err)
	}
	if p, err = b.sys.List(t.Context(), b, run, p.Cursor); err != nil || len(p.Messages) != 60 || !p.Done {
		t.Errorf("then %d rows, done %v, %v", len(p.Messages), p.Done, err)
	}
}

func TestAReportThatNeverStandsStillIsAnError(t *testing.T) {
	b := newBench(t, nil)
	b.seedReport(clinics(120, "2026-10-05"), func(r *sim.Report) { r.Unsorted = true })
	n := 0
	b.sim.OnReportPage(func(id string, _ int) {
		n++
		if err := b.sim.ChangeReport(id, func(r *sim.Report) {
			r.Rows = append(r.Rows, map[string]any{"clinic_id": fmt.Sprint("new-", n), "form_date": "2026-10-07"})
		}); err != nil {
			t.Error(err)
		}
	})
	run := runOf("202610", map[string]string{"key": "clinic_id"}, nil)
	var cursor []byte
	var waited time.Duration
	for range maxRestarts {
		p, err := b.sys.List(t.Context(), b, run, cursor)
		if err != nil || p.Wait <= waited || len(p.Messages) > 0 {
			t.Fatalf("wait %v after %v, %d rows, %v", p.Wait, waited, len(p.Messages), err)
		}
		cursor, waited = p.Cursor, p.Wait
	}
	if _, err := b.sys.List(t.Context(), b, run, cursor); err == nil || !strings.Contains(err.Error(), "changes each time") {
		t.Fatalf("after %d tries: %v", maxRestarts, err)
	}
	b.sim.OnReportPage(nil)
	if err := b.sim.ChangeReport(reportID, func(r *sim.Report) { r.Unsorted = false }); err != nil {
		t.Fatal(err)
	}
	if p, err := b.sys.List(t.Context(), b, run, cursor); err != nil || !p.Done {
		t.Errorf("once it stands still: done %v, %v", p.Done, err)
	}
}

func FuzzReportPage(f *testing.F) {
	f.Add(file(f, "reports/configurable-report.response.json"), "district")
	f.Add([]byte(`{"columns":[{"slug":"a-0","header":"A","expand_column_value":null}],"data":[{"a-0":1.50},7,null],"total_records":2}`), "")
	f.Add([]byte(`{"columns":[{}],"data":[{"":[{}]}],"total_records":"1","next_page":null}`), "a,b")
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		p, err := readReportPage(body)
		if err != nil {
			return
		}
		b, err := newRowReader(p.columns, key)
		if err != nil {
			return
		}
		r := &reportRun{id: "x", c: &reportCursor{}, run: connector.Run{Keys: map[string]string{"key": key}}}
		for _, raw := range p.rows {
			row, err := b.row(raw)
			if err != nil {
				t.Fatal(err)
			}
			if (row.key == "") != (row.problem != "") {
				t.Fatalf("key %q, problem %q", row.key, row.problem)
			}
			m, err := r.message(row, false)
			if err != nil || !json.Valid(m.Content) || m.Version == "" || m.Doc == "" {
				t.Fatalf("%+v, %v", m, err)
			}
		}
	})
}
