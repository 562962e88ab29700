package dhis2

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// byAttender is a data set that is broken down by an attribute category
// combination of its own.
const byAttender = `{"dataSets":[{"id":"AoDsMonth01","code":"BY_ATTENDER","name":"By attender","periodType":"Monthly","categoryCombo":{"id":"LbComboGA08"},
	"dataSetElements":[{"dataElement":{"id":"ChDeDeath03"}}],"organisationUnits":[{"id":"OuVilYal001"}]}]}`

func TestAttributeOptionCombinationsAreKeptApart(t *testing.T) {
	r := newRig(t, "", byAttender)
	of := func(aoc string, v any) map[string]any {
		return map[string]any{"dataSet": "BY_ATTENDER", "period": "202401", "orgUnit": yala, "attributeOptionCombo": aoc, "values": []any{row(deaths, "", v)}}
	}
	r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, of(maleDoc, 3))[0])
	r.roundTrip("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, of(femTBA, 5)))
	if again := r.plan("DataValueSet", "", connector.Query{}, of(maleDoc, 3)); again != nil {
		t.Errorf("the one is taken for the other: %+v", again)
	}
	// Completeness is registered, and taken back, of the one alone.
	place := func(aoc string) map[string]any {
		return map[string]any{"of": "AoDsMonth01.202401." + yala + "." + aoc}
	}
	r.apply("Completion", r.plan("Completion", "", connector.Query{}, place(maleDoc))[0])
	other := r.plan("Completion", "", connector.Query{}, place(femTBA))
	r.apply("Completion", other[0])
	// The request names the options; the simulator does not read them (DELETE
	// ?ds&pe&ou&cc&cp of CompleteDataSetRegistrationController does).
	undo := other[0].Undo.Request
	if undo.Query["cc"][0] != "LbComboGA08" || undo.Query["cp"][0] != "LbGenFema02;LbAttTba005" {
		t.Errorf("%v", undo.Query)
	}
	if again := r.plan("Completion", "", connector.Query{}, place(maleDoc)); again != nil {
		t.Errorf("the one's registration is taken for the other's: %+v", again)
	}
}

func TestDataThatTheUserMayNotWriteIsRefused(t *testing.T) {
	r := newRig(t, "", `{"dataSets":[{"id":"`+monthly+`","sharing":{"public":"rw------"}}],"programs":[{"id":"`+fever+`","sharing":{"public":"rw------"}}]}`)
	if got := r.problems("DataValueSet", monthOf()); got != "dataSet sharing" {
		t.Error(got)
	}
	if got := r.problems("Event", fever12()); got != "program sharing" {
		t.Error(got)
	}
}

// with answers the reads of one path by itself, and gives the rest to the rig.
type with struct {
	*rig
	path, body string
	status     int
}

func (w with) Do(ctx context.Context, about string, r call.Request) (call.Answer, error) {
	if r.Path != w.path {
		return w.rig.Do(ctx, about, r)
	}
	a := call.Answer{Status: w.status, Body: []byte(w.body)}
	if v := w.sys.Classify(r, a, nil); v.Class != call.Done {
		return a, &call.Error{System: "hmis", About: about, Verdict: v}
	}
	return a, nil
}

func TestALockExceptionOpensALockedPeriod(t *testing.T) {
	r := newRig(t, "", `{"dataSets":[{"id":"`+monthly+`","expiryDays":15}]}`)
	wanted := monthOf(row(deaths, "", 1))
	wanted["period"] = "202312"
	exception := func(ds, unit, pe string) string {
		return `{"lockExceptions":[{"dataSet":{"id":"` + ds + `"},"organisationUnit":{"id":"` + unit + `"},"period":{"id":"` + pe + `"}}]}`
	}
	for name, c := range map[string]struct {
		status int
		body   string
		locked bool
	}{
		"made":                  {200, exception(monthly, yala, "202312"), false},
		"for another period":    {200, exception(monthly, yala, "202311"), true},
		"for another unit":      {200, exception(monthly, "OuVilYal002", "202312"), true},
		"for another set":       {200, exception("ImDsMonth01", yala, "202312"), true},
		"none":                  {200, `{}`, true},
		"not to be seen by us":  {403, `{"status":"ERROR"}`, true},
		"an address not there":  {404, `{"status":"ERROR"}`, true},
		"refused for a reason":  {409, `{"status":"ERROR","errorCode":"E2010"}`, true},
		"a period by its name":  {200, strings.Replace(exception(monthly, yala, "202312"), `"id":"202312"`, `"id":"abcdefghijk","name":"202312"`, 1), false},
		"not this one's period": {200, strings.Replace(exception(monthly, yala, "202312"), `"id":"202312"`, `"id":"abcdefghijk"`, 1), true},
	} {
		_, problems, err := r.sys.Kind("DataValueSet").Canon(t.Context(), with{r, "/lockExceptions", c.body, c.status}, wanted)
		if err != nil || c.locked != (len(problems) == 1) || c.locked && (problems[0].Rule != "locked" || !strings.Contains(problems[0].Text, "2024-01-16")) {
			t.Errorf("%s: %v %v", name, problems, err)
		}
	}
	// A server that is down is no reason to call the period locked.
	if _, _, err := r.sys.Kind("DataValueSet").Canon(t.Context(), with{r, "/lockExceptions", "<html>", 502}, wanted); call.ClassOf(err) != call.RetryLater {
		t.Errorf("%v", err)
	}
}

// Where rows are refused although the dry run took them, what was saved is
// neither taken for all nor forgotten.
func TestRowsThatWereSavedNextToRefusedOnesAreTraces(t *testing.T) {
	r := newRig(t, "")
	c := r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 3), row(houses, "", 7)))[0]
	// The data element goes between the dry run and the import.
	c.Request.Body = json.RawMessage(strings.Replace(string(c.Request.Body), houses, "GoneElemen1", 1))
	_, err := r.do(t.Context(), c.About, c.Request)
	var e *call.Error
	if !errors.As(err, &e) || e.Class != call.Refusal || !e.Traces || !holds(e.Reason, "E7610", "GoneElemen1", "were saved: 1") {
		t.Fatalf("%v", err)
	}
	o := r.look("DataValueSet", *c.Check)
	if got := c.Check.Judge(o, nil); got != call.CannotTell {
		t.Errorf("%s: %v", got, o.Fields)
	}
	// Its undo gives back what stood there, whichever rows were saved.
	if sent, rev := r.undo("DataValueSet", c); !sent {
		t.Fatalf("%+v", rev)
	}
	if strings.Contains(r.state(), "LIVE_BIRTHS") {
		t.Errorf("%s", r.state())
	}
}

func TestAPlaceForDataIsNeverRemoved(t *testing.T) {
	k := opened(t, nil).Kind("DataValueSet")
	_, err := k.Calls(t.Context(), nobody{}, connector.Change{ID: jan, Found: &connector.Found{Exists: true, ID: jan}, Remove: true})
	var used *connector.InUse
	if !errors.As(err, &used) {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "x", "a.b.c", "a.b.c.", "6f3c2f0e-6a55-5b6c-9c4e-3a9d1d1f7c10"} {
		for _, kind := range []string{"DataValueSet", "Completion"} {
			k := opened(t, nil).Kind(kind)
			if _, err := k.Calls(t.Context(), nobody{}, connector.Change{ID: bad, Found: &connector.Found{Exists: true}}); call.ClassOf(err) != call.Refusal {
				t.Errorf("%s %q: %v", kind, bad, err)
			}
			if _, err := k.Find(t.Context(), nobody{}, connector.Query{Made: cmp.Or(bad, "x")}); call.ClassOf(err) != call.Refusal {
				t.Errorf("find %s %q: %v", kind, bad, err)
			}
		}
	}
	if _, err := k.Find(t.Context(), nobody{}, connector.Query{Wanted: record.Fields{"dataSet": monthly}}); call.ClassOf(err) != call.Refusal {
		t.Errorf("%v", err)
	}
}

// A withdrawn document gives back what stood there before it: the core takes the
// values that it wrote, and this kind needs nothing but the id.
func TestAPlaceIsReadByItsIDAlone(t *testing.T) {
	r := newRig(t, "")
	r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, monthOf(row(houses, "", 7)))[0])
	f, err := r.sys.Kind("DataValueSet").Find(t.Context(), r, connector.Query{Made: jan})
	if err != nil || !f.Exists || f.ID != jan || f.Fields[cell(houses, coc)] != "7" || f.Fields["period"] != "202401" {
		t.Fatalf("%+v %v", f, err)
	}
	back := record.Fields{cell(houses, coc): record.Clear{}}
	calls, err := r.sys.Kind("DataValueSet").Calls(t.Context(), r, connector.Change{Record: "report", ID: f.ID, Found: &f, Write: back, Wanted: back})
	if err != nil {
		t.Fatal(err)
	}
	r.roundTrip("DataValueSet", calls)
}

// A DHIS2 in another calendar takes values of any period; 202401 is a month of
// 2031 there.
func TestAPeriodOfAnotherCalendarThatIsToComeIsRefused(t *testing.T) {
	r := newRig(t, `{"calendar":"ethiopian"}`)
	for name, want := range map[string]string{"202401": "period calendar", "201604": ""} {
		wanted := monthOf(row(deaths, "", 1))
		wanted["period"] = name
		if got := r.problems("DataValueSet", wanted); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
