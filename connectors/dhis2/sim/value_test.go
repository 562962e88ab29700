package sim

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// january is a server in February 2024.
func january(t testing.TB, more string, seeds ...string) *Server {
	t.Helper()
	if more != "" {
		more = ", " + more
	}
	return newServer(t, `{"now":"2024-02-03T09:00:00"`+more+`}`, seeds...)
}

func month(values string) string {
	return `{"dataSet":"LbDsMonth10","period":"202401","orgUnit":"OuFacYala01","dataValues":[` + values + `]}`
}

func post(t testing.TB, s *Server, query, body string) *httptest.ResponseRecorder {
	t.Helper()
	return ask(t, s, "POST", "/api/dataValueSets"+query, body)
}

// counts are imported, updated, ignored, deleted.
func counts(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	v := parse(t, w.Body.Bytes())
	if r := dig(v, "response"); r != nil {
		v = r
	}
	c := dig(v, "importCount")
	return fmt.Sprint(dig(c, "imported"), dig(c, "updated"), dig(c, "ignored"), dig(c, "deleted"))
}

func code(t testing.TB, w *httptest.ResponseRecorder) any {
	t.Helper()
	return dig(parse(t, w.Body.Bytes()), "response", "conflicts", 0, "errorCode")
}

// readBack gives element+coc -> value of the month.
func readBack(t testing.TB, s *Server, more string) map[string]string {
	t.Helper()
	m := must(t, ask(t, s, "GET", "/api/dataValueSets?dataSet=LbDsMonth10&period=202401&orgUnit=OuFacYala01"+more, nil), 200)
	out := map[string]string{}
	l, _ := m["dataValues"].([]any)
	for _, v := range l {
		out[fmt.Sprint(dig(v, "dataElement"), " ", dig(v, "categoryOptionCombo"))] = fmt.Sprint(dig(v, "value"))
	}
	return out
}

func TestStrategiesDecideWhatIsWritten(t *testing.T) {
	one := month(`{"dataElement":"ChDeHouse01","value":"5"}`)
	two := month(`{"dataElement":"ChDeHouse01","value":"6"}`)
	s := january(t, "")
	for n, c := range []struct{ query, body, want string }{
		{"?importStrategy=UPDATE", one, "0 0 1 0"},
		{"?importStrategy=DELETE", one, "0 0 1 0"},
		{"?dryRun=true", one, "1 0 0 0"},
		{"?importStrategy=NEW", one, "1 0 0 0"},
		{"?importStrategy=CREATE", two, "0 0 1 0"},
		{"", one, "0 0 1 0"},
		{"?importStrategy=UPDATES", two, "0 1 0 0"},
		{"?importStrategy=DELETE", two, "0 0 0 1"},
		{"?importStrategy=UPDATE", two, "0 0 1 0"},
		{"", two, "1 0 0 0"}, // the deleted row is revived
		{"", month(`{"dataElement":"ChDeHouse01","value":"6","deleted":true}`), "0 0 0 1"},
	} {
		w := post(t, s, c.query, c.body)
		if got := counts(t, w); w.Code != 200 || got != c.want {
			t.Errorf("step %d %s: HTTP %d counts %s, want %s", n, c.query, w.Code, got, c.want)
		}
	}
	if w := post(t, s, "?importStrategy=SOME", one); w.Code != 400 {
		t.Errorf("an unknown strategy: HTTP %d", w.Code)
	}
}

func TestIgnoredRowsAreNamedOnlyIfRefused(t *testing.T) {
	s := january(t, "")
	one := month(`{"dataElement":"ChDeHouse01","value":"5"}`)
	rejected := func(query string) string {
		return fmt.Sprint(dig(parse(t, post(t, s, query, one).Body.Bytes()), "response", "rejectedIndexes"))
	}
	post(t, s, "", one)
	if got := rejected(""); got != "[]" {
		t.Errorf("unchanged: %s", got)
	}
	if got := rejected("?importStrategy=CREATE"); got != "[0]" {
		t.Errorf("CREATE of what is there: %s", got)
	}
}

func TestAnInsignificantZeroTakesAValueAway(t *testing.T) {
	s := january(t, "")
	zero := month(`{"dataElement":"ChDeHouse01","value":"0"},{"dataElement":"ChDeDeath03","value":"0"}`)
	if got := counts(t, post(t, s, "", zero)); got != "1 0 0 0" {
		t.Errorf("new zeros, one of which counts: %s", got)
	}
	post(t, s, "", month(`{"dataElement":"ChDeHouse01","value":"5"}`))
	if got := counts(t, post(t, s, "", zero)); got != "0 0 1 1" {
		t.Errorf("zeros over values: %s", got)
	}
	if got := readBack(t, s, ""); fmt.Sprint(got) != "map[ChDeDeath03 "+usualCOC+":0]" {
		t.Errorf("read back %v", got)
	}
	if got := readBack(t, s, "&includeDeleted=true"); len(got) != 2 {
		t.Errorf("with the deleted: %v", got)
	}
	if got := counts(t, post(t, s, "", zero)); got != "1 0 1 0" {
		t.Errorf("a zero over a row that was deleted: %s, want it stored", got)
	}
}

func TestAValueWithoutItsCategoriesGoesToTheDefault(t *testing.T) {
	s := january(t, "")
	body := month(`{"dataElement":"LbDeLiveB09","value":"5"}`)
	if w := post(t, s, "?strictCategoryOptionCombos=true", body); code(t, w) != "E7634" {
		t.Errorf("strict: %s", w.Body)
	}
	if w := post(t, s, "?requireCategoryOptionCombo=true", body); code(t, w) != "E7630" {
		t.Errorf("required: %s", w.Body)
	}
	if w := post(t, s, "", body); w.Code != 200 {
		t.Errorf("by default: %s", w.Body)
	}
	if got := readBack(t, s, ""); got["LbDeLiveB09 "+usualCOC] != "5" {
		t.Errorf("read back %v", got)
	}
}

func TestStrictSettingsRefuseWhatADefaultServerTakes(t *testing.T) {
	week := `{"period":"2024W3","orgUnit":"OuFacYala01","dataValues":[{"dataElement":"ChDeHouse01","value":"5"}]}`
	elsewhere := strings.Replace(month(`{"dataElement":"SvDeAfp0001","value":"5"}`), "202401", "202312", 1)
	closed := strings.Replace(month(`{"dataElement":"ChDeHouse01","value":"5"}`), "OuFacYala01", "OuFacClosed", 1)
	for _, c := range []struct{ flag, body, want string }{
		{"StrictPeriods", week, "E7632"}, {"StrictDataElements", elsewhere, "E7633"}, {"StrictOrganisationUnits", closed, "E7636"},
	} {
		if w := post(t, january(t, ""), "", c.body); w.Code != 200 {
			t.Errorf("%s off: HTTP %d %s", c.flag, w.Code, w.Body)
		}
		asked := strings.ToLower(c.flag[:1]) + c.flag[1:]
		if w := post(t, january(t, ""), "?"+asked+"=true", c.body); w.Code != 409 || code(t, w) != c.want {
			t.Errorf("%s asked for: HTTP %d %s, want %s", c.flag, w.Code, w.Body, c.want)
		}
		set := january(t, `"settings":{"keyDataImport`+c.flag+`":true}`)
		if w := post(t, set, "", c.body); w.Code != 409 || code(t, w) != c.want {
			t.Errorf("%s set: HTTP %d %s, want %s", c.flag, w.Code, w.Body, c.want)
		}
		if m := must(t, ask(t, set, "GET", "/api/systemSettings", nil), 200); m["keyDataImport"+c.flag] != true {
			t.Errorf("%s is not shown as a setting", c.flag)
		}
	}
}

func TestLockedApprovedAndClosedPeriodsAreRefused(t *testing.T) {
	body := month(`{"dataElement":"ChDeHouse01","value":"5"}`)
	s := january(t, "", `{"dataSets":[{"id":"LbDsMonth10","expiryDays":1}]}`)
	if w := post(t, s, "", body); code(t, w) != "E7640" {
		t.Errorf("past expiry: %s", w.Body)
	}
	asClerk(t, s, "POST", "/api/lockExceptions?ds=LbDsMonth10&pe=202401&ou=OuFacYala01", nil)
	if w := post(t, s, "", body); w.Code != 200 {
		t.Errorf("with a lock exception: %s", w.Body)
	}
	for filter, n := range map[string]int{"dataSet.id:eq:LbDsMonth10": 1, "dataSet.id:eq:ImDsMonth01": 0} {
		m := must(t, ask(t, s, "GET", "/api/lockExceptions?filter="+filter+"&filter=organisationUnit.id:eq:OuFacYala01", nil), 200)
		if l, isList := m["lockExceptions"].([]any); !isList || len(l) != n {
			t.Errorf("%s: %v, want %d", filter, m, n)
		}
	}
	s = january(t, "")
	approval := "/api/dataApprovals?ds=LbDsMonth10&pe=202401&ou=OuFacYala01"
	asClerk(t, s, "POST", approval, nil)
	if w := post(t, s, "", body); code(t, w) != "E7642" {
		t.Errorf("approved: %s", w.Body)
	}
	asClerk(t, s, "DELETE", approval, nil)
	if w := post(t, s, "", body); w.Code != 200 {
		t.Errorf("approval withdrawn: %s", w.Body)
	}
	inputs := `{"dataSets":[{"id":"LbDsMonth10","dataInputPeriods":[{"period":{"id":"202401"},"closingDate":"2024-02-01"}]}]}`
	s = january(t, "", inputs)
	if w := post(t, s, "", body); code(t, w) != "E7643" {
		t.Errorf("input period closed: %s", w.Body)
	}
	if w := post(t, s, "", strings.Replace(body, `"dataSet":"LbDsMonth10",`, "", 1)); code(t, w) != "E7643" {
		t.Errorf("input period closed, no data set named: %s", w.Body)
	}
	if w := post(t, january(t, ""), "", strings.Replace(body, "202401", "202402", 1)); code(t, w) != "E7641" {
		t.Errorf("the running period: %s", w.Body)
	}
	open := january(t, "", `{"dataSets":[{"id":"LbDsMonth10","openFuturePeriods":1}]}`)
	if w := post(t, open, "", strings.Replace(body, "202401", "202402", 1)); w.Code != 200 {
		t.Errorf("the running period, where one future period is open: %s", w.Body)
	}
}

func TestCompletionComesBeforeTheValues(t *testing.T) {
	s := january(t, "")
	body := strings.Replace(month(`{"dataElement":"nothing","value":"5"}`), `"period"`, `"completeDate":"2024-02-02","period"`, 1)
	w := post(t, s, "?dryRun=true", body)
	if w.Code != 409 || dig(parse(t, w.Body.Bytes()), "response", "dataSetComplete") != "2024-02-02" {
		t.Errorf("HTTP %d %s", w.Code, w.Body)
	}
	m := must(t, ask(t, s, "GET", "/api/completeDataSetRegistrations?dataSet=LbDsMonth10&period=202401&orgUnit=OuFacYala01", nil), 200)
	if dig(m, "completeDataSetRegistrations", 0, "date") != "2024-02-02" {
		t.Errorf("a dry run that saves nothing completes the set: %v", m)
	}
	stamped := strings.Replace(body, "2024-02-02", "2024-02-02T00:00:00", 1)
	if w := post(t, s, "", stamped); w.Code != 409 || dig(parse(t, w.Body.Bytes()), "response", "status") != "ERROR" {
		t.Errorf("a moment for a date: HTTP %d %s", w.Code, w.Body)
	}
}

func TestOldAPINumbersAnswerAPlainSummaryWith200(t *testing.T) {
	bad := month(`{"dataElement":"nothing","value":"5"}`)
	for _, c := range []struct {
		version, path string
		status        int
		plain         bool
	}{{"2.41.3", "/api/37", 200, true}, {"2.41.3", "/api/38", 409, false}, {"2.42.3", "/api/37", 409, false}, {"2.41.3", "/hmis/api", 409, false}} {
		s := january(t, `"version":"`+c.version+`"`)
		w := ask(t, s, "POST", c.path+"/dataValueSets", bad)
		m := parse(t, w.Body.Bytes()).(map[string]any)
		if w.Code != c.status || (m["importCount"] != nil) != c.plain {
			t.Errorf("%s %s: HTTP %d %s", c.version, c.path, w.Code, w.Body)
		}
	}
}

func TestBodiesMayBeXMLOrCSVOrPacked(t *testing.T) {
	const path = "/api/dataValueSets"
	body := month(`{"dataElement":"ChDeHouse01","value":5}`)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(body))
	_ = z.Close()
	xml := `<dataValueSet xmlns="http://dhis2.org/schema/dxf/2.0" dataSet="LbDsMonth10" period="202401" orgUnit="OuFacYala01"><dataValue dataElement="ChDeHouse01" value="5"/></dataValueSet>`
	csv := "\"dataelement\",\"period\",\"orgunit\",\"catoptcombo\",\"attroptcombo\",\"value\"\n\"ChDeHouse01\",\"202401\",\"OuFacYala01\",,,\"5\"\n"
	shuffled := "value,dataelement,orgunit,period\n5,ChDeHouse01,OuFacYala01,202401\n"
	for _, c := range []struct {
		name, version, kind string
		body                []byte
		want                string
	}{
		{"gzip", "2.42.3", "application/json", packed.Bytes(), "1 0 0 0"},
		{"xml", "2.42.3", "application/xml", []byte(xml), "1 0 0 0"},
		{"csv by position", "2.42.3", "application/csv", []byte(csv), "1 0 0 0"},
		{"csv by name", "2.43-SNAPSHOT", "application/csv", []byte(shuffled), "1 0 0 0"},
		{"csv by name, before there were names", "2.42.3", "application/csv", []byte(shuffled), "0 0 1 0"},
		{"a number", "2.42.3", "application/json", []byte(body), "1 0 0 0"},
		{"a number, where only strings are read", "2.43-SNAPSHOT", "application/json", []byte(body), "0 0 0 0"},
	} {
		s := january(t, `"version":"`+c.version+`"`)
		w := ask(t, s, "POST", path, c.body, "Content-Type", c.kind)
		if got := counts(t, w); got != c.want {
			t.Errorf("%s: %s, want %s: %s", c.name, got, c.want, w.Body)
		}
	}
	if w := ask(t, january(t, ""), "POST", path, csv, "Content-Type", "text/csv"); w.Code != 415 {
		t.Errorf("text/csv: HTTP %d", w.Code)
	}
}

func TestADXCategoriesAreAttributes(t *testing.T) {
	adx := `<adx xmlns="urn:ihe:qrph:adx:2015" exported="2024-02-03T09:00:00Z"><group dataSet="CHW_MONTHLY" orgUnit="14175" period="2024-01-01/P1M">
		<dataValue dataElement="LIVE_BIRTHS" GENDER="FEMALE" ATTENDANT="TBA" value="4"/><dataValue dataElement="CHW_REMARKS" value="0"><annotation>all well</annotation></dataValue></group></adx>`
	s := january(t, "")
	must(t, ask(t, s, "POST", "/api/dataValueSets", adx, "Content-Type", "application/adx+xml"), 200)
	got := readBack(t, s, "")
	if got["LbDeLiveB09 LbCoc000016"] != "4" || got["ChDeRemar04 "+usualCOC] != "all well" {
		t.Errorf("read back %v", got)
	}
}

func TestWhatIsReadBackMustBeNamed(t *testing.T) {
	s := january(t, "")
	post(t, s, "", month(`{"dataElement":"ChDeHouse01","value":"5"}`))
	for query, want := range map[string]string{
		"period=202401&orgUnit=OuFacYala01":                                        "E2001",
		"dataSet=LbDsMonth10&orgUnit=OuFacYala01":                                  "E2002",
		"dataSet=LbDsMonth10&period=202401":                                        "E2006",
		"dataSet=nothing&period=202401&orgUnit=OuFacYala01":                        "E1105",
		"dataSet=LbDsMonth10&startDate=2024-02-01&endDate=2024-01-01&orgUnit=O":    "E2004",
		"dataSet=LbDsMonth10&period=2024-13&orgUnit=OuFacYala01":                   "E1101",
		"dataSet=LbDsMonth10&period=202401&orgUnit=nowhere":                        "E1102",
		"dataSet=LbDsMonth10&period=202401&startDate=2024-01-01&orgUnit=OuNation1": "E2003",
	} {
		if m := must(t, ask(t, s, "GET", "/api/dataValueSets?"+query, nil), 409); m["errorCode"] != want {
			t.Errorf("%s: %v, want %s", query, m["errorCode"], want)
		}
	}
	m := must(t, ask(t, s, "GET", "/api/dataValueSets?dataSet=LbDsMonth10&startDate=2024-01-01&endDate=2024-01-31&orgUnit=OuNation001&children=true&idScheme=CODE", nil), 200)
	if dig(m, "dataValues", 0, "dataElement") != "HOUSEHOLDS_VISITED" || dig(m, "dataValues", 0, "orgUnit") != "14175" {
		t.Errorf("by code, below the nation: %v", m)
	}
}

func BenchmarkPost200Values(b *testing.B) {
	s := january(b, `"facilities":500`)
	s.traffic.Keep = -1
	var bodies []string
	for n := range 10 {
		var v []string
		for k := range 200 {
			v = append(v, fmt.Sprintf(`{"dataElement":"ChDeHouse01","orgUnit":"GenOu%06d","period":"%d","categoryOptionCombo":"HllvX50cXC0","value":"%d"}`, k+1, 202301+n, k+n))
		}
		bodies = append(bodies, `{"dataValues":[`+strings.Join(v, ",")+`]}`)
	}
	n := 0
	for b.Loop() {
		n++
		w := post(b, s, "", strings.ReplaceAll(bodies[n%10], `"value":"`, `"value":"`+fmt.Sprint(n)))
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n)/200, "us/value")
}

func TestAllThatIsWrongWithTheHeaderIsSaid(t *testing.T) {
	s := january(t, "")
	w := post(t, s, "", `{"dataSet":"nothing","orgUnit":"nowhere","attributeOptionCombo":"none","period":"202401","dataValues":[{"dataElement":"ChDeHouse01","value":"1"}]}`)
	var got []string
	for _, c := range dig(must(t, w, 409), "response", "conflicts").([]any) {
		got = append(got, fmt.Sprint(dig(c, "errorCode")))
	}
	if strings.Join(got, " ") != "E7600 E7603 E7604" || len(s.data.values) != 0 {
		t.Errorf("conflicts %v", got)
	}
	w = post(t, s, "?strictDataElements=true", `{"dataValues":[]}`)
	if m := must(t, w, 409); m["status"] != "ERROR" || code(t, w) != "E7602" {
		t.Errorf("strict data elements without a data set: %s", w.Body)
	}
}

func TestABadOuterPeriodLeavesTheValuesTheirOwn(t *testing.T) {
	s := january(t, "")
	body := `{"period":"2024-13","orgUnit":"OuFacYala01","dataValues":[{"dataElement":"ChDeHouse01","value":"1"},{"dataElement":"ChDeHouse01","period":"202401","value":"1"}]}`
	w := post(t, s, "", body)
	if got := dig(must(t, w, 409), "response", "conflicts", 0, "value"); got != "Period not valid: `null`" || counts(t, w) != "1 0 1 0" {
		t.Errorf("%v: %s", got, w.Body)
	}
}

func TestBooleansAreStoredInOneSpelling(t *testing.T) {
	seed := `{"dataElements":[{"id":"jH26dja2f30","name":"B","valueType":"BOOLEAN"},{"id":"jH26dja2f31","name":"T","valueType":"TRUE_ONLY"}],
		"organisationUnits":[{"id":"DiszpKrYNg8","name":"1"},{"id":"BdfsJfj87js","name":"2"}]}`
	s := january(t, "", seed)
	w := ask(t, s, "POST", "/api/dataValueSets", sample(t, "data_value_sets/it_dataValueSetBooleanTest.csv"), "Content-Type", "application/csv")
	if got := dig(must(t, w, 409), "response", "rejectedIndexes"); fmt.Sprint(got) != "[10 11 16 17]" {
		t.Errorf("rejected %v", got)
	}
	for at, cells := range s.data.values {
		for c, v := range cells {
			if v.text != "true" && v.text != "false" {
				t.Errorf("%v %v is stored as %q", at, c, v.text)
			}
		}
	}
}

// The documentation's requests, against what they name.
const docsSeed = `{"organisationUnits":[{"id":"DiszpKrYNg8","name":"1"},{"id":"FNnj3jKGS7i","name":"2"},{"id":"Jkhdsf8sdf4","name":"3"},{"id":"BdfsJfj87js","name":"4"}],
	"dataElements":[{"id":"f7n9E0hX8qk","name":"A","valueType":"NUMBER"},{"id":"Ix2HsbDMLea","name":"B","valueType":"NUMBER"},{"id":"eY5ehpbEsB7","name":"C","valueType":"NUMBER"}],
	"dataSets":[{"id":"pBOMPrpg1QX","name":"D","dataSetElements":[{"dataElement":{"id":"f7n9E0hX8qk"}},{"dataElement":{"id":"Ix2HsbDMLea"}},{"dataElement":{"id":"eY5ehpbEsB7"}}]}]}`

func TestTheDocumentedRequestsAreTakenInEachFormat(t *testing.T) {
	for name, c := range map[string]struct {
		kind string
		n    int
	}{"request_single_dataset.json": {"json", 3}, "request_single_dataset.xml": {"xml", 3}, "request_bulk.json": {"json", 4}, "request_bulk.xml": {"xml", 4},
		"request_bulk.csv": {"csv", 3}, "it_dataValueSetJ.json": {"json", 1}, "it_dataValueSetWithDataSetHeader.csv": {"csv", 3}} {
		s := newServer(t, `{"empty":true,"now":"2015-02-03T09:00:00","defaultCOC":"bRowv6yZOF2"}`, docsSeed)
		w := ask(t, s, "POST", "/api/dataValueSets", sample(t, "data_value_sets/"+name), "Content-Type", "application/"+c.kind)
		if got := counts(t, w); w.Code != 200 || got != fmt.Sprintf("%d 0 0 0", c.n) {
			t.Errorf("%s: HTTP %d %s %s", name, w.Code, got, w.Body)
		}
	}
	s := newServer(t, `{"empty":true,"now":"2015-02-03T09:00:00","defaultCOC":"bRowv6yZOF2"}`, docsSeed)
	const d = "data_value_sets/"
	for name, want := range map[string]string{"it_dataValueSetJ.json": "1 0 0 0"} {
		if got := counts(t, post(t, s, "", string(sample(t, d+name)))); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if w := post(t, s, "?importStrategy=DELETE", string(sample(t, d+"it_dataValueSetJDeleteNoValue.json"))); code(t, w) != "E7618" {
		t.Errorf("a delete without a value: %s", w.Body)
	}
	if got := counts(t, post(t, s, "?importStrategy=DELETE", string(sample(t, d+"it_dataValueSetJDeleteNewValue.json")))); got != "0 0 0 1" {
		t.Errorf("a delete that names another value: %s", got)
	}
	post(t, s, "", string(sample(t, d+"it_dataValueSetJ.json")))
	if got := counts(t, post(t, s, "?importStrategy=DELETE", string(sample(t, d+"it_dataValueSetJDeleteZeroValue.json")))); got != "0 0 0 1" {
		t.Errorf("a delete that names a zero: %s", got)
	}
}

func TestWhatWasPostedIsReadBackInTheSampledShape(t *testing.T) {
	s := newServer(t, `{"empty":true,"now":"2015-02-03T09:00:00","defaultCOC":"bRowv6yZOF2"}`, docsSeed)
	posted := sample(t, "data_value_sets/response_get_dataset.json")
	must(t, post(t, s, "", string(posted)), 200)
	got := must(t, ask(t, s, "GET", "/api/dataValueSets?dataSet=pBOMPrpg1QX&period=201401&orgUnit=DiszpKrYNg8", nil), 200)
	want := parse(t, posted).(map[string]any)
	for k, v := range want {
		if k != "dataValues" && got[k] != v {
			t.Errorf("%s is %v, want %v", k, got[k], v)
		}
	}
	values := map[string]any{}
	for _, v := range got["dataValues"].([]any) {
		values[dig(v, "dataElement").(string)] = v
	}
	for _, v := range want["dataValues"].([]any) {
		for k, x := range v.(map[string]any) {
			if dig(values[dig(v, "dataElement").(string)], k) != x {
				t.Errorf("%v: %s is not %v", dig(v, "dataElement"), k, x)
			}
		}
	}
	head := strings.SplitN(ask(t, s, "GET", "/api/dataValueSets.csv?dataSet=pBOMPrpg1QX&period=201401&orgUnit=DiszpKrYNg8", nil).Body.String(), "\n", 2)[0]
	if head != strings.SplitN(string(sample(t, "data_value_sets/response_get_dataset.csv")), "\n", 2)[0] {
		t.Errorf("the head of the CSV is %s", head)
	}
	xml := ask(t, s, "GET", "/api/dataValueSets.xml?dataSet=pBOMPrpg1QX&period=201401&orgUnit=DiszpKrYNg8", nil).Body.String()
	if !strings.Contains(xml, `<dataValueSet xmlns="http://dhis2.org/schema/dxf/2.0" dataSet="pBOMPrpg1QX"`) || strings.Count(xml, "<dataValue ") != 3 {
		t.Errorf("the XML: %s", xml)
	}
}
