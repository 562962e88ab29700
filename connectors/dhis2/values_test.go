package dhis2

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

const jan = monthly + ".202401." + yala + "." + coc

func TestADataValueSetIsWrittenAndTakenBackOnEveryVersion(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			r := newRig(t, `{"version":"`+v+`"}`)
			calls := r.plan("DataValueSet", "", connector.Query{}, monthOf(row("LIVE_BIRTHS", maleDoc, 3.0), row(births, femTBA, "2"), row(deaths, "", 0)))
			if len(calls) != 1 || calls[0].Name != "datavalueset.values" || calls[0].Target != jan {
				t.Fatalf("%+v", calls)
			}
			r.roundTrip("DataValueSet", calls)
			// Over what stood there before: its undo gives that back.
			r.apply("DataValueSet", calls[0])
			r.roundTrip("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 30), row(births, femTBA, 2), row(houses, "", 12), row(deaths, "", 1))))
		})
	}
}

func TestEqualValuesAreNotSentAgain(t *testing.T) {
	r := newRig(t, "")
	wanted := monthOf(row(births, maleDoc, 3), row(births, femTBA, 2))
	r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, wanted)[0])
	if again := r.plan("DataValueSet", "", connector.Query{}, wanted); again != nil {
		t.Fatalf("%+v", again)
	}
	wanted = monthOf(row(births, maleDoc, 4), row(births, femTBA, 2))
	var sent valueSet
	if err := json.Unmarshal(r.plan("DataValueSet", "", connector.Query{}, wanted)[0].Request.Body, &sent); err != nil {
		t.Fatal(err)
	}
	if len(sent.Values) != 1 || sent.Values[0].Value != "4" || sent.Values[0].Combo != maleDoc || sent.Attribute != coc {
		t.Errorf("%+v", sent)
	}
}

// What a new version of the document no longer says is deleted, and its undo
// brings it back.
func TestAValueThatIsNoLongerWantedIsDeleted(t *testing.T) {
	r := newRig(t, "")
	first := monthOf(row(births, maleDoc, 3), row(remarks, "", "late"))
	r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, first)[0])
	base := r.canon("DataValueSet", first)
	calls := r.plan("DataValueSet", "", connector.Query{Made: jan, Base: base}, monthOf(row(births, maleDoc, 3)))
	r.roundTrip("DataValueSet", calls)
	r.apply("DataValueSet", calls[0])
	if strings.Contains(r.state(), "late") {
		t.Error("the value is still there")
	}
}

func TestAZeroThatDHIS2DropsIsSaidAndNotSent(t *testing.T) {
	r := newRig(t, "")
	f, problems, err := r.sys.Kind("DataValueSet").Canon(t.Context(), r, monthOf(row(births, maleDoc, 0), row(births, femTBA, "0.0"), row(deaths, "", 0)))
	if err != nil || len(problems) != 1 || !problems[0].Remark || !holds(problems[0].Text, "Live births", "zeroIsSignificant") {
		t.Fatalf("%v %v", problems, err)
	}
	if f[cell(births, maleDoc)] != (record.Clear{}) || f[cell(deaths, coc)] != "0" {
		t.Errorf("%v", f)
	}
	if calls := r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 0))); calls != nil {
		t.Errorf("a zero where nothing stands is sent: %+v", calls)
	}
	// Where something else stands, the correction to zero takes it away.
	r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 5)))[0])
	calls := r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 0)))
	r.roundTrip("DataValueSet", calls)
	r.apply("DataValueSet", calls[0])
	if again := r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 0))); again != nil {
		t.Errorf("the zero is sent for ever: %+v", again)
	}
}

func TestABigReportIsSentInParts(t *testing.T) {
	r := newRig(t, "")
	r.sys.chunk = 2
	wanted := monthOf(row(births, maleDoc, 3), row(births, femTBA, 2), row(houses, "", 7), row(deaths, "", 0), row(remarks, "", "all seen"))
	calls := r.plan("DataValueSet", "", connector.Query{}, wanted)
	if len(calls) != 3 || calls[0].Name != "datavalueset.values-1" || calls[2].Name != "datavalueset.values-3" {
		t.Fatalf("%+v", calls)
	}
	r.roundTrip("DataValueSet", calls)
}

// A person's edit made after ours stays, and the rest is given back.
func TestAnUndoLeavesWhatAPersonChangedSince(t *testing.T) {
	r := newRig(t, "")
	r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 3), row(houses, "", 7)))[0])
	calls := r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 4), row(houses, "", 8), row(remarks, "", "ours")))
	r.apply("DataValueSet", calls[0])
	r.person("POST", valuesPath, valueSet{DataSet: monthly, Period: "202401", OrgUnit: yala, Values: []wireValue{{DataElement: houses, Combo: coc, Value: "99"}}})
	sent, rev := r.undo("DataValueSet", calls[0])
	if !sent || len(rev.Kept) != 1 || rev.Kept[0] != cell(houses, coc) {
		t.Fatalf("%v %+v", sent, rev)
	}
	p, _ := placeOf(jan)
	a, err := r.do(t.Context(), "read", p.read())
	if err != nil {
		t.Fatal(err)
	}
	now, err := decodeValues(a, coc)
	if err != nil {
		t.Fatal(err)
	}
	if now[cell(births, maleDoc)].Value != "3" || now[cell(houses, coc)].Value != "99" || len(now) != 2 {
		t.Errorf("%+v", now)
	}
}

// A comment and a mark that a person put there outlive our change and its undo.
func TestAPersonsCommentStays(t *testing.T) {
	r := newRig(t, "")
	r.person("POST", valuesPath, valueSet{DataSet: monthly, Period: "202401", OrgUnit: yala,
		Values: []wireValue{{DataElement: houses, Combo: coc, Value: "5", Comment: "counted twice", Followup: true}}})
	calls := r.plan("DataValueSet", "", connector.Query{}, monthOf(row(houses, "", 8)))
	r.roundTrip("DataValueSet", calls)
	r.apply("DataValueSet", calls[0])
	if !holds(r.state(), "counted twice", `"followup": true`, `"8"`) {
		t.Errorf("%s", r.state())
	}
}

func TestWhatDHIS2WouldStoreInAWrongPlaceIsRefused(t *testing.T) {
	r := newRig(t, "", `{"dataElements":[{"id":"OpDeResul01","name":"Result","valueType":"TEXT","domainType":"AGGREGATE","aggregationType":"NONE","optionSet":{"id":"OsRdtResu01"},"categoryCombo":{"id":"bjDvmb4bfuf"}}],
		"dataSets":[{"id":"OpDsMonth01","code":"OPTIONS","name":"With options","periodType":"Monthly","categoryCombo":{"id":"LbComboGA08"},"dataSetElements":[{"dataElement":{"id":"OpDeResul01"}}],"organisationUnits":[{"id":"`+yala+`"}]}]}`)
	with := func(m map[string]any, name string, v any) map[string]any { m[name] = v; return m }
	for name, c := range map[string]struct {
		wanted map[string]any
		want   string
	}{
		"another data element":   {monthOf(row("ImDeFever01", "", 1)), "values[1]/dataElement data-element"},
		"no combination":         {monthOf(row(births, "", 1)), "values[1]/categoryOptionCombo required"},
		"default combination":    {monthOf(row(births, coc, 1)), "values[1]/categoryOptionCombo combination"},
		"combination of another": {monthOf(row(houses, maleDoc, 1)), "values[1]/categoryOptionCombo combination"},
		"value type":             {monthOf(row(houses, "", "many")), cell(houses, coc) + " value-type"},
		"said twice":             {monthOf(row(houses, "", 1), row("HOUSEHOLDS_VISITED", coc, 2)), cell(houses, coc) + " twice"},
		"week for a month":       {with(monthOf(), "period", "2024W3"), "period period-type"},
		"no period":              {with(monthOf(), "period", "202413"), "period period"},
		"period missing":         {with(monthOf(), "period", nil), "period required"},
		"unknown data set":       {with(monthOf(), "dataSet", "NOPE"), "dataSet metadata"},
		"unknown org unit":       {with(monthOf(), "orgUnit", "NOPE"), "orgUnit metadata"},
		"not assigned":           {with(monthOf(), "orgUnit", "KE-SIAYA"), "orgUnit assignment"},
		"closed":                 {with(monthOf(), "orgUnit", "13998"), "orgUnit assignment, orgUnit closed"},
		"not a field":            {with(monthOf(), "completeDate", "2024-02-01"), "completeDate field"},
		"not a row's field":      {monthOf(map[string]any{"dataElement": houses, "value": 1, "storedBy": "x"}), "values[1]/storedBy field"},
		"attribute combination":  {with(monthOf(), "attributeOptionCombo", maleDoc), "attributeOptionCombo combination"},
		"attribute missing":      {with(monthOf(), "dataSet", "OPTIONS"), "attributeOptionCombo required"},
		"not an option":          {with(with(monthOf(row("OpDeResul01", "", "Maybe")), "dataSet", "OPTIONS"), "attributeOptionCombo", maleDoc), cell("OpDeResul01", coc) + " option"},
	} {
		if got := r.problems("DataValueSet", c.wanted); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// The problems name the field and the rule, and never the value.
func TestProblemsDoNotRepeatTheValue(t *testing.T) {
	r := newRig(t, "")
	_, problems, err := r.sys.Kind("DataValueSet").Canon(t.Context(), r, monthOf(row(houses, "", "Wanjiku")))
	if err != nil || len(problems) != 1 || strings.Contains(problems[0].Text, "Wanjiku") || !strings.Contains(problems[0].Text, "whole number") {
		t.Errorf("%+v %v", problems, err)
	}
}

func TestAnOrgUnitOutsideTheUsersTreeIsRefused(t *testing.T) {
	r := newRig(t, `{"orgUnits":["OuFacBondo1"]}`)
	if got := r.problems("DataValueSet", monthOf()); got != "orgUnit capture" {
		t.Error(got)
	}
	if got := r.problems("DataValueSet", map[string]any{"dataSet": monthly, "period": "202401", "orgUnit": "CU-BON-1"}); got != "" {
		t.Error(got)
	}
}

func TestARunningPeriodIsWaitedFor(t *testing.T) {
	r := newRig(t, "")
	wanted := monthOf(row(houses, "", 1))
	wanted["period"] = "202402"
	_, _, err := r.sys.Kind("DataValueSet").Canon(t.Context(), r, wanted)
	var e *call.Error
	if !errors.As(err, &e) || e.Class != call.RetryLater || e.Field != "period" || e.RetryAfter != 24*time.Hour || !strings.Contains(e.Reason, "2024-03-01") {
		t.Fatalf("%+v", err)
	}
	// DHIS2 says the same, in its own words, where it was not checked here.
	open := newRig(t, "", `{"dataSets":[{"id":"`+monthly+`","openFuturePeriods":1}]}`)
	if got := open.problems("DataValueSet", wanted); got != "" {
		t.Errorf("a data set that takes the running period: %s", got)
	}
	wanted["period"] = "202403"
	if _, _, err := open.sys.Kind("DataValueSet").Canon(t.Context(), open, wanted); call.ClassOf(err) != call.RetryLater {
		t.Errorf("the period after it: %v", err)
	}
}

func TestALockedPeriodNeedsAPerson(t *testing.T) {
	locked := `{"dataSets":[{"id":"` + monthly + `","expiryDays":15}]}`
	r := newRig(t, "", locked)
	wanted := monthOf(row(houses, "", 1))
	if got := r.problems("DataValueSet", wanted); got != "" {
		t.Errorf("within the days of grace: %s", got)
	}
	wanted["period"] = "202312"
	if got := r.problems("DataValueSet", wanted); got != "period locked" {
		t.Errorf("after them: %s", got)
	}
	if may := newRig(t, `{"authorities":["F_DATAVALUE_ADD","F_EDIT_EXPIRED"]}`, locked); may.problems("DataValueSet", wanted) != "" {
		t.Error("a user who may edit expired periods is refused")
	}
}

// The import is not one transaction: DHIS2 is asked first, and nothing is sent of
// a report of which it would refuse a row.
func TestNothingIsSentOfAReportThatWouldBeTakenInPart(t *testing.T) {
	r := newRig(t, `{"settings":{"keyDataImportStrictDataSetApproval":true}}`)
	before := r.state()
	// The data set is known here with a data element that the server just lost.
	wanted := monthOf(row(births, maleDoc, 3), row(houses, "", 7))
	r.canon("DataValueSet", wanted)
	ds, err := r.sys.meta.dataSet(t.Context(), r, "CHW_MONTHLY")
	if err != nil {
		t.Fatal(err)
	}
	for i := range ds.Elements {
		if ds.Elements[i].Element.ID == houses {
			ds.Elements[i].Element.ID = "GoneElemen1"
		}
	}
	_, err = r.try("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 3), row("HOUSEHOLDS_VISITED", "", 7)))
	var e *call.Error
	if !errors.As(err, &e) || e.Class != call.Refusal || e.Field != cell("GoneElemen1", coc) || !strings.Contains(e.Reason, "E7610") {
		t.Fatalf("%v", err)
	}
	if r.state() != before {
		t.Error("something was saved")
	}
}

func TestADocumentThatNamesAnotherPlaceIsAQuestion(t *testing.T) {
	r := newRig(t, "")
	wanted := monthOf(row(houses, "", 1))
	wanted["period"] = "202312"
	_, err := r.try("DataValueSet", "", connector.Query{Made: jan}, wanted)
	if call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "202312") {
		t.Errorf("%v", err)
	}
}

func TestCompletenessIsRegisteredAfterTheValuesAndTakenBack(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			r := newRig(t, `{"version":"`+v+`"}`)
			r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, monthOf(row(houses, "", 7)))[0])
			of := map[string]any{"of": record.Ref{Record: "report", Kind: "dhis2/DataValueSet", ID: jan}}
			calls := r.plan("Completion", "", connector.Query{}, of)
			r.roundTrip("Completion", calls)
			r.apply("Completion", calls[0])
			if again := r.plan("Completion", "", connector.Query{}, of); again != nil {
				t.Errorf("registered again: %+v", again)
			}
			of["completed"] = false
			r.roundTrip("Completion", r.plan("Completion", "", connector.Query{}, of))
		})
	}
}

func TestACompletionIsNamedByItsPartsToo(t *testing.T) {
	r := newRig(t, "")
	wanted := map[string]any{"dataSet": "CHW_MONTHLY", "period": "202401", "orgUnit": "CU-YAL-1", "date": "2024-02-02"}
	calls := r.plan("Completion", "", connector.Query{}, wanted)
	r.roundTrip("Completion", calls)
	r.apply("Completion", calls[0])
	wanted["date"] = "2024-02-01"
	earlier := r.plan("Completion", "", connector.Query{}, wanted)[0]
	r.apply("Completion", earlier)
	if sent, rev := r.undo("Completion", earlier); !sent {
		t.Fatalf("%+v", rev)
	}
	if o := r.look("Completion", *earlier.Check); o.Fields["date"] != "2024-02-02" {
		t.Errorf("the day of completion after undo: %v", o.Fields)
	}
	for name, c := range map[string]struct {
		wanted map[string]any
		want   string
	}{
		"no data set":     {map[string]any{"of": "x"}, "of reference"},
		"another kind":    {map[string]any{"of": record.Ref{Kind: "dhis2/Event", ID: "x"}}, "of reference"},
		"not yes or no":   {map[string]any{"of": jan, "completed": "maybe"}, "completed boolean"},
		"not a day":       {map[string]any{"of": jan, "date": "soon"}, "date day"},
		"no org unit":     {map[string]any{"dataSet": monthly, "period": "202401"}, "orgUnit required"},
		"a field unknown": {map[string]any{"of": jan, "storedBy": "x"}, "storedBy field"},
	} {
		if got := r.problems("Completion", c.wanted); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Whatever the size of the parts, they carry each change once, and their undo
// each value that stood there.
func TestPartsTogetherAreTheWholeChange(t *testing.T) {
	k := &valuesKind{opened(t, nil)}
	p, _ := placeOf(jan)
	rapid.Check(t, func(t *rapid.T) {
		k.chunk = rapid.IntRange(1, 7).Draw(t, "part")
		found := &connector.Found{Exists: true, ID: jan, Fields: p.fields(), Rows: map[string]string{}}
		write := record.Fields{}
		wantThere, wantBack := map[string]string{}, map[string]string{}
		for i := range rapid.IntRange(0, 20).Draw(t, "values") {
			path := cell("DataElem"+string(rune('a'+i))+"01", coc)
			before := rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "before")
			to := rapid.SampledFrom([]any{"3", "4", record.Clear{}}).Draw(t, "to")
			found.Fields[path], write[path] = before, to
			if record.Empty(to) && before == "" {
				continue // nothing to do
			}
			wantThere[path], _ = to.(string)
			wantBack[path] = before
		}
		calls, err := k.Calls(t.Context(), nobody{}, connector.Change{Record: "report", ID: jan, Found: found, Write: write})
		if err != nil {
			t.Fatal(err)
		}
		there, back, restored := map[string]string{}, map[string]string{}, 0
		for _, c := range calls {
			rows := collect(t, c.Request, there)
			if rows > k.chunk || rows != collect(t, c.Undo.Request, back) || len(c.Check.Want) != rows || len(c.Check.Pre) != rows {
				t.Fatalf("%s: %d values, check %v", c.Name, rows, c.Check)
			}
			restored += len(c.Undo.Restore)
		}
		if !same(there, wantThere) || !same(back, wantBack) || restored != len(wantThere) {
			t.Fatalf("there %v, want %v; back %v, want %v", there, wantThere, back, wantBack)
		}
	})
}

// collect puts what a request makes stand there into a map; a value twice fails.
func collect(t *rapid.T, r call.Request, into map[string]string) int {
	var body valueSet
	if err := json.Unmarshal(r.Body, &body); err != nil {
		t.Fatal(err)
	}
	for _, v := range body.Values {
		path := cell(v.DataElement, v.Combo)
		if _, twice := into[path]; twice {
			t.Fatalf("%s is sent twice", path)
		}
		if into[path] = v.Value; v.Deleted {
			into[path] = ""
		}
	}
	return len(body.Values)
}

func same(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func FuzzObserveValues(f *testing.F) {
	f.Add(golden(f, "data_value_sets/response_get_dataset.json"))
	f.Add(golden(f, "complete_registrations/response_get.json"))
	f.Add(golden(f, "complete_registrations/response_get_empty.json"))
	f.Add(golden(f, "tracker/response_get_events_2.41plus.json"))
	f.Add(golden(f, "tracker/response_get_events_le_2.40.json"))
	f.Add([]byte(`{"dataValues":[{"value":null},{"value":3}],"events":[null],"completeDataSetRegistrations":[{"completed":false}]}`))
	s := opened(f, nil)
	want := record.Fields{cell(births, maleDoc): "3", "completed": true, "at": "2024-01-15"}
	f.Fuzz(func(t *testing.T, body []byte) {
		for kind, key := range map[string]string{"DataValueSet": coc, "Completion": jan, "Event": "A7rzcnZTe2T"} {
			for _, as := range []string{"", "ours"} {
				o, err := s.Kind(kind).Observe(call.Check{As: as, Key: key, Want: want}, call.Answer{Status: 200, Body: body})
				if err == nil && o.Exists && o.Fields == nil {
					t.Fatalf("%s: there, without fields", kind)
				}
			}
		}
	})
}
