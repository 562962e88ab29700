package cht

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/connectors/cht/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const (
	nyangoma = "dhis/" + sim.DataSet + "/202610/" + sim.NyangomaUnit
	usigu    = "dhis/" + sim.DataSet + "/202610/" + sim.UsiguUnit
)

func TestTheExportGivesARowPerOrgUnitWithEveryWorkersPart(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	list, rows := r.all(t, october(t, kindExport, ourDataSet, nil))
	if len(list) != 2 {
		t.Fatalf("%d rows, want one per org unit: %v", len(list), rows)
	}
	row := rows[nyangoma].Row
	// sim.DefaultSeed: with n = 51, 52, 53 for the three workers, fever counts are
	// 1+n%4 and n%5, those of diarrhoea 2+n%3 and 1+n%2.
	want := map[combo]float64{{sim.Fever, sim.Infants, ""}: 4 + 1 + 2, {sim.Fever, sim.Children, ""}: 1 + 2 + 3,
		{sim.Diarrhoea, sim.Infants, ""}: 2 + 3 + 4, {sim.Diarrhoea, sim.Children, ""}: 2 + 1 + 2}
	if d := cmp.Diff(want, row.values(), cmp.AllowUnexported(combo{})); d != "" {
		t.Error(d)
	}
	if !*row.Agrees || !row.Complete || row.Expected != 3 || row.Reported != 3 || row.Final != 3 || !row.ByUsers {
		t.Errorf("completeness: %+v", row)
	}
	if row.Supervisor == nil || row.Supervisor.Name != "Grace Wanjiru" || row.Name != "Nyangoma community unit" || rows[nyangoma].OrgUnit != sim.NyangomaUnit ||
		rows[nyangoma].Place.Type != "health_center" || rows[nyangoma].Period != "202610" {
		t.Errorf("whose row it is: %+v", row)
	}
	var names []string
	for _, w := range row.Workers {
		names = append(names, fmt.Sprint(w.Name, " ", w.User, " ", w.State, " ", w.Targets["fever-2-11-months"].Total))
	}
	if d := cmp.Diff([]string{"Jane Akinyi jane final 4", "Mary Atieno mary final 2", "Peter Ouma peter final 1"}, names); d != "" {
		t.Error(d)
	}
}

func TestWhoIsLateOrMissingIsNamed(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	_, rows := r.all(t, october(t, kindExport, ourDataSet, nil))
	row := rows[usigu].Row
	if row.Complete || row.Expected != 3 || row.Reported != 2 || row.Final != 1 ||
		!slices.Equal(row.Late, []string{"David Ochieng"}) || !slices.Equal(row.Missing, []string{"Rose Adhiambo"}) {
		t.Fatalf("%+v", row)
	}
	at := time.Date(2026, 11, 1, 9, 0, 0, 0, nairobi(t))
	for _, user := range []string{"rose", "david"} {
		if err := r.sim.Sync(user, "2026-10", at, sim.Count{ID: "fever-2-11-months", Total: 7, Pass: 7}); err != nil {
			t.Fatal(err)
		}
	}
	_, rows = r.all(t, october(t, kindExport, ourDataSet, nil))
	if row = rows[usigu].Row; !row.Complete || row.Final != 3 || len(row.Late)+len(row.Missing) != 0 {
		t.Fatalf("after both synced: %+v", row)
	}
}

func TestWithoutLeaveToListUsersTheMonthBeforeSaysWhoIsExpected(t *testing.T) {
	r := newRig(t, `{"default":"2026-10","missing":["can_view_users"]}`)
	_, rows := r.all(t, october(t, kindExport, ourDataSet, nil))
	row := rows[usigu].Row
	if row.ByUsers || row.Expected != 3 || !slices.Equal(row.Missing, []string{"Rose Adhiambo"}) {
		t.Fatalf("%+v", row)
	}
}

func TestTheVersionOfARowChangesWithItsContentOnly(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	first, _ := r.all(t, october(t, kindExport, ourDataSet, nil))
	r.sim.SetClock(func() time.Time { return time.Now().AddDate(0, 0, 3) }) // completeDate moves
	second, _ := r.all(t, october(t, kindExport, ourDataSet, nil))
	if d := cmp.Diff(first, second); d != "" {
		t.Fatalf("the same month reads differently: %s", d)
	}
	if err := r.sim.Sync("rose", "2026-10", time.Date(2026, 11, 2, 9, 0, 0, 0, nairobi(t)), sim.Count{ID: "fever-2-11-months", Total: 1}); err != nil {
		t.Fatal(err)
	}
	third, _ := r.all(t, october(t, kindExport, ourDataSet, nil))
	for i, m := range third {
		if changed := m.Version != first[i].Version; changed != (m.Doc == usigu) {
			t.Errorf("%s: changed %v", m.Doc, changed)
		}
	}
}

func TestAListGoesOnBehindTheLastRowAfterARestart(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	whole, _ := r.all(t, october(t, kindExport, ourDataSet, nil))
	var got []connector.Incoming
	var cursor []byte
	for done := false; !done; {
		fresh := rigOf(t, r.sim) // a process that knows nothing
		fresh.pageRows, fresh.pageSize = 1, 2
		page, err := fresh.List(context.Background(), fresh, october(t, kindExport, ourDataSet, nil), cursor)
		if err != nil {
			t.Fatal(err)
		}
		got, cursor, done = append(got, page.Messages...), page.Cursor, page.Done
	}
	if d := cmp.Diff(whole, got); d != "" {
		t.Fatal(d)
	}
	// In one process the month is read once.
	r.pageRows = 1
	r.sim.Traffic().Forget()
	r.all(t, october(t, kindExport, ourDataSet, nil))
	exports := 0
	for _, q := range r.sim.Traffic().Requests() {
		if strings.HasPrefix(q.Path, exportPath) {
			exports++
		}
		if q.Method != "GET" && !strings.HasPrefix(q.Path, allDocs) {
			t.Errorf("a list changes something: %s %s", q.Method, q.Path)
		}
	}
	if exports != 1 {
		t.Errorf("the month was exported %d times", exports)
	}
}

func TestAWorkerWhoSyncsBetweenOurReadsIsCounted(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	synced := false
	r.before = func(q call.Request) *call.Answer {
		if q.Path == exportPath && !synced {
			synced = true
			if err := r.sim.Sync("rose", "2026-10", time.Date(2026, 11, 3, 6, 0, 0, 0, nairobi(t)), sim.Count{ID: "fever-2-11-months", Total: 40}); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	}
	_, rows := r.all(t, october(t, kindExport, ourDataSet, nil))
	row := rows[usigu].Row
	if !*row.Agrees || row.values()[combo{sim.Fever, sim.Infants, ""}] < 40 || len(row.Missing) != 0 {
		t.Fatalf("%+v", row)
	}
}

func TestAnExportThatIsNotTheSumOfItsWorkersIsSaidSo(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	r.after = func(q call.Request, a *call.Answer) {
		if q.Path != exportPath {
			return
		}
		var doc map[string]any
		if err := json.Unmarshal(a.Body, &doc); err != nil {
			t.Fatal(err)
		}
		first := doc["dataValues"].([]any)[0].(map[string]any)
		first["value"] = first["value"].(float64) + 1
		a.Body, _ = json.Marshal(doc)
	}
	_, rows := r.all(t, october(t, kindExport, ourDataSet, nil))
	// Where combinations share the element, the workers' own figures are given.
	if row := rows[nyangoma].Row; *row.Agrees || !slices.Equal(row.Differs, []string{sim.Fever}) || row.values()[combo{sim.Fever, sim.Infants, ""}] != 7 {
		t.Errorf("%+v", row)
	}
	if row := rows[usigu].Row; !*row.Agrees {
		t.Errorf("the other org unit: %+v", row)
	}
	// Elsewhere what the CHT exports: 10+51%7, 10+52%7 and 10+53%7, and the one.
	_, rows = r.all(t, october(t, kindExport, map[string]string{"dataSet": sim.MonthlySet}, nil))
	row := rows["dhis/"+sim.MonthlySet+"/202610/"+sim.NyangomaUnit].Row
	if *row.Agrees || !slices.Equal(row.Differs, []string{sim.Households}) || row.values()[combo{sim.Households, "", ""}] != 12+13+14+1 {
		t.Errorf("%+v", row)
	}
}

func TestWorkersBelowNoOrgUnitAreHeldAndNamed(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	doc := map[string]any{"_id": "target~2026-10~gone~org.couchdb.user:ghost", "type": "target", "owner": "gone", "user": "org.couchdb.user:ghost",
		"updated_date": 1.0, "targets": []any{map[string]any{"id": "fever-2-11-months", "value": map[string]any{"pass": 1.0, "total": 50.0}}}}
	if err := r.sim.Put(doc); err != nil {
		t.Fatal(err)
	}
	list, rows := r.all(t, october(t, kindExport, ourDataSet, nil))
	if len(list) != 3 || list[0].Doc != "dhis/"+sim.DataSet+"/202610/" || !strings.Contains(list[0].Problem, "1 worker has") || strings.Contains(list[0].Problem, "ghost") {
		t.Fatalf("%+v", list[0])
	}
	if w := rows[list[0].Doc].Row.Workers; len(w) != 1 || w[0].Name != "ghost" {
		t.Errorf("%+v", w)
	}
	list, _ = r.all(t, october(t, kindExport, ourDataSet, map[string]string{"unplaced": "ignore"}))
	if len(list) != 2 {
		t.Errorf("%d rows although they are to be ignored", len(list))
	}
}

func TestATargetWithoutTotalHoldsItsRow(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	doc := r.sim.Get("target~2026-10~" + sim.ContactID(41) + "~org.couchdb.user:jane")
	doc["targets"] = []any{map[string]any{"id": "fever-2-11-months", "value": map[string]any{"pass": 1.0}}}
	if err := r.sim.Put(doc); err != nil {
		t.Fatal(err)
	}
	list, _ := r.all(t, october(t, kindExport, ourDataSet, nil))
	for _, m := range list {
		if (m.Problem != "") != (m.Doc == nyangoma) || strings.Contains(m.Problem, "Jane") {
			t.Errorf("%s: problem %q", m.Doc, m.Problem)
		}
	}
}

func TestAPlaceOrOrgUnitCanBeChosen(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	for _, keys := range []map[string]string{{"dataSet": sim.DataSet, "orgUnit": sim.UsiguUnit}, {"dataSet": sim.DataSet, "place": sim.ContactID(12)}} {
		if list, _ := r.all(t, october(t, kindExport, keys, nil)); len(list) != 1 || list[0].Doc != usigu {
			t.Errorf("%v: %d rows", keys, len(list))
		}
	}
	list, _ := r.all(t, october(t, kindTargets, map[string]string{"orgUnit": sim.UsiguUnit}, nil))
	if len(list) != 1 || list[0].Doc != "targets/202610/"+sim.ContactID(12) {
		t.Errorf("targets: %v", list)
	}
}

func TestTargetsAreAddedUpPerPlaceOfALevel(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	for level, want := range map[string]int{"": 2, "health_center": 2, "district_hospital": 1, "chw_area": 5 + 1} {
		list, rows := r.all(t, october(t, kindTargets, nil, map[string]string{"level": level}))
		if len(list) != want {
			t.Errorf("level %q: %d rows, want %d", level, len(list), want)
		}
		births, workers := 0.0, 0
		for _, c := range rows {
			births += c.Row.Targets["fever-2-11-months"].Total
			workers += c.Row.Expected
			own := 0.0
			for _, w := range c.Row.Workers {
				own += w.Targets["fever-2-11-months"].Total
			}
			if own != c.Row.Targets["fever-2-11-months"].Total {
				t.Errorf("level %q: %s: workers' parts are %v, the total %v", level, c.Row.Name, own, c.Row.Targets["fever-2-11-months"].Total)
			}
		}
		if births != 4+1+2+3+1 || workers != 6 {
			t.Errorf("level %q: %v births of %d workers", level, births, workers)
		}
	}
	for _, with := range []map[string]string{{"level": "province"}, {"unplaced": "yes"}} {
		if _, err := r.List(context.Background(), r, october(t, kindTargets, nil, with), nil); err == nil {
			t.Errorf("%v: no error", with)
		}
	}
}

func TestWithoutTheViewPlacesAreFoundAboveTheWorkers(t *testing.T) {
	with, without := newRig(t, `{"default":"2026-10"}`), newRig(t, `{"default":"2026-10","noOrgUnitView":true,"version":"3.11.0"}`)
	a, _ := with.all(t, october(t, kindTargets, nil, nil))
	b, _ := without.all(t, october(t, kindTargets, nil, nil))
	if d := cmp.Diff(a, b); d != "" || len(a) == 0 {
		t.Error(d)
	}
}

func TestOrgUnitsOnTwoLevelsSayThatTheyHaveTheSameFigures(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	county := r.sim.Get(sim.ContactID(1))
	county["dhis"] = []any{map[string]any{"orgUnit": "countyUnit1"}, map[string]any{"orgUnit": "otherUnit01", "dataSet": "another"}}
	if err := r.sim.Put(county); err != nil {
		t.Fatal(err)
	}
	list, rows := r.all(t, october(t, kindExport, ourDataSet, nil))
	top := rows["dhis/"+sim.DataSet+"/202610/countyUnit1"].Row
	if len(list) != 3 || !slices.Equal(top.Below, []string{sim.NyangomaUnit, sim.UsiguUnit}) || len(rows[nyangoma].Row.Below) != 0 || !*top.Agrees || top.Expected != 6 {
		t.Errorf("%d rows, the county's: %+v", len(list), top)
	}
}

func TestListSaysWhatIsWrongWithItsQuestion(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	for want, run := range map[string]connector.Run{
		"must name the dataSet":                {Kind: kindExport, Period: "202610"},
		"no data set zzz":                      {Kind: kindExport, Period: "202610", Keys: map[string]string{"dataSet": "zzz"}},
		"must be monthly":                      {Kind: kindExport, Period: "2026W44", Keys: ourDataSet},
		"has no list \"forms\"":                {Kind: "forms", Period: "202610"},
		"unplaced is hold or ignore":           {Kind: kindExport, Period: "202610", Keys: ourDataSet, With: map[string]string{"unplaced": "x"}},
		"period \"202613\" is not a month":     {Kind: kindTargets, Period: "202613"},
		"no worker is below a place of the ty": {Kind: kindTargets, Period: "202610", With: map[string]string{"level": "ward"}},
	} {
		if _, err := r.List(context.Background(), r, run, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", run, err, want)
		}
	}
	if _, err := r.List(context.Background(), r, october(t, kindExport, ourDataSet, nil), []byte("?")); err == nil {
		t.Error("a foreign cursor is taken")
	}
}

func TestWithoutAPeriodTheMonthBeforeTheScheduleIsMeant(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	run := connector.Run{Kind: kindExport, Keys: ourDataSet, At: time.Date(2026, 10, 31, 22, 0, 0, 0, time.UTC)} // November in Nairobi
	if _, rows := r.all(t, run); rows[nyangoma].Period != "202610" {
		t.Errorf("%v", rows)
	}
}

func TestAMonthMayBeginOnAnotherDay(t *testing.T) {
	zone := nairobi(t)
	for in, want := range map[string]time.Time{
		`{}`: time.Date(2026, 11, 1, 0, 0, 0, 0, zone),
		`{"uhc":{"visit_count":{"month_start_date":26}}}`:     time.Date(2026, 10, 26, 0, 0, 0, 0, zone),
		`{"uhc":{"month_start_date":"26"}}`:                   time.Date(2026, 10, 26, 0, 0, 0, 0, zone),
		`{"uhc":{"visit_count":{"month_start_date":"soon"}}}`: time.Date(2026, 11, 1, 0, 0, 0, 0, zone),
	} {
		var c settings
		if err := json.Unmarshal([]byte(in), &c); err != nil {
			t.Fatal(err)
		}
		if got := c.end(month{2026, 10}, zone); !got.Equal(want) {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
}

// A site that does not use a list asks the CHT nothing for it.
func TestAListThatIsNotAskedForIsEmpty(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	r.before = func(req call.Request) *call.Answer {
		t.Errorf("%s is asked", req.Path)
		return nil
	}
	for _, kind := range []string{kindExport, kindTargets} {
		page, err := r.List(t.Context(), r, october(t, kind, ourDataSet, map[string]string{"ask": "no"}), nil)
		if err != nil || !page.Done || len(page.Messages) != 0 {
			t.Errorf("%s: %+v %v", kind, page, err)
		}
		if _, err := r.List(t.Context(), r, october(t, kind, ourDataSet, map[string]string{"ask": "perhaps"}), nil); err == nil {
			t.Errorf("%s takes ask: perhaps", kind)
		}
	}
}
