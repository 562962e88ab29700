package sim

import (
	"fmt"
	"strings"
	"testing"
)

func fever(uid, more string) string {
	return `{"events":[{"event":"` + uid + `","program":"EvPrFever01","orgUnit":"OuVilYal001","occurredAt":"2024-01-15","dataValues":[{"dataElement":"EvDeAgeMo01","value":"14"},{"dataElement":"EvDeRdtRe04","value":"POS"}]` + more + `}]}`
}

// errorsOf lists the codes of a report.
func errorsOf(t testing.TB, body []byte) string {
	t.Helper()
	var out []string
	list, _ := dig(parse(t, body), "validationReport", "errorReports").([]any)
	for _, e := range list {
		out = append(out, fmt.Sprint(dig(e, "errorCode")))
	}
	return strings.Join(out, " ")
}

func TestEachTrackerCheckHasItsCode(t *testing.T) {
	r := strings.NewReplacer
	for _, c := range []struct {
		name, options, seed, query string
		change                     *strings.Replacer
		want                       string
	}{
		{name: "no org unit", change: r(`"orgUnit":"OuVilYal001",`, ""), want: "E1123"},
		{name: "unknown org unit", change: r("OuVilYal001", "yyyyyyyyyyy"), want: "E1011"},
		{name: "unknown program", change: r("EvPrFever01", "yyyyyyyyyyy"), want: "E1010"},
		{name: "unknown stage", change: r(`"program"`, `"programStage":"yyyyyyyyyyy","program"`), want: "E1013"},
		{name: "another program's stage", change: r(`"program"`, `"programStage":"EvStHouse01","program"`), want: "E1089"},
		{name: "program not assigned", change: r("OuVilYal001", "OuFacClosed"), want: "E1029"},
		{name: "outside the scope", options: `"orgUnits":["OuCountyVih"]`, want: "E1000"},
		{name: "program not shared", seed: `{"programs":[{"id":"EvPrFever01","sharing":{"public":"rw------"}}]}`, want: "E1091"},
		{name: "no date", change: r(`"occurredAt":"2024-01-15",`, ""), want: "E1031"},
		{name: "scheduled without a date", change: r(`"program"`, `"status":"SCHEDULE","program"`), want: "E1050"},
		{name: "completed without being so", change: r(`"program"`, `"completedAt":"2024-01-15","program"`), want: "E1051"},
		{name: "expired", seed: `{"programs":[{"id":"EvPrFever01","expiryPeriodType":"Monthly","expiryDays":1}]}`, want: "E1047"},
		{name: "another geometry", change: r(`"program"`, `"geometry":{"type":"Polygon","coordinates":[]},"program"`), want: "E1012"},
		{name: "unknown element", change: r("EvDeAgeMo01", "yyyyyyyyyyy"), want: "E1304"},
		{name: "element of another stage", change: r(`[{"dataElement"`, `[{"dataElement":"HvDeMembe01","value":"2"},{"dataElement"`), want: "E1305"},
		{name: "type", change: r(`"14"`, `"-1"`), want: "E1302"},
		{name: "option", change: r("POS", "Positive"), want: "E1125"},
		{name: "mandatory element absent", change: r(`{"dataElement":"EvDeAgeMo01","value":"14"},`, ""), want: "E1303"},
		{name: "mandatory element empty", change: r(`"14"`, `null`), want: "E1076"},
		{name: "update of nothing", query: "UPDATE", want: "E1032"},
		{name: "delete of nothing", query: "DELETE", want: "E1032"},
		{name: "a bad uid before 2.42", options: `"version":"2.41.0"`, change: r("FeverEvent1", "bad"), want: "E1048"},
		{name: "good", want: ""},
	} {
		s := january(t, c.options)
		if c.seed != "" {
			if err := s.Seed([]byte(c.seed)); err != nil {
				t.Fatal(err)
			}
		}
		body := fever("FeverEvent1", "")
		if c.change != nil {
			body = c.change.Replace(body)
		}
		w := ask(t, s, "POST", tracker+c.query, body)
		got := errorsOf(t, w.Body.Bytes())
		first, _, _ := strings.Cut(got, " ")
		if first != c.want && !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: %q, want %s: %s", c.name, got, c.want, w.Body)
		}
		if (w.Code == 409) != (c.want != "") {
			t.Errorf("%s: HTTP %d", c.name, w.Code)
		}
	}
}

func TestADeletedUIDIsNeverUsedAgain(t *testing.T) {
	s := january(t, "")
	must(t, ask(t, s, "POST", tracker, fever("FeverEvent1", "")), 200)
	must(t, ask(t, s, "POST", tracker+"DELETE", `{"events":[{"event":"FeverEvent1"}]}`), 200)
	if w := ask(t, s, "GET", "/api/tracker/events/FeverEvent1", nil); w.Code != 404 {
		t.Errorf("a deleted event: HTTP %d", w.Code)
	}
	for _, strategy := range []string{"CREATE", "UPDATE", "CREATE_AND_UPDATE", "DELETE"} {
		for _, mode := range []string{"FULL", "SKIP"} {
			w := ask(t, s, "POST", tracker+strategy+"&validationMode="+mode, fever("FeverEvent1", ""))
			if got := errorsOf(t, w.Body.Bytes()); w.Code != 409 || got != "E1082" {
				t.Errorf("%s %s: HTTP %d %s", strategy, mode, w.Code, got)
			}
		}
	}
	list := func(more string) int {
		m := must(t, ask(t, s, "GET", "/api/tracker/events?program=EvPrFever01&paging=false"+more, nil), 200)
		return len(m["events"].([]any))
	}
	if list("") != 0 || list("&includeDeleted=true") != 1 {
		t.Errorf("listed %d, with deleted %d", list(""), list("&includeDeleted=true"))
	}
}

func TestAnUpdateReplacesScalarsAndKeepsUnnamedValues(t *testing.T) {
	s := january(t, "")
	must(t, ask(t, s, "POST", tracker, fever("FeverEvent1", `,"geometry":{"type":"Point","coordinates":[34.5,0.1]}`)), 200)
	must(t, ask(t, s, "POST", tracker, `{"events":[{"event":"FeverEvent1","program":"EvPrFever01","orgUnit":"OuVilYal002","occurredAt":"2024-01-16","dataValues":[{"dataElement":"EvDeTempe02","value":"38.5"}]}]}`), 200)
	m := must(t, ask(t, s, "GET", "/api/tracker/events/FeverEvent1", nil), 200)
	if m["orgUnit"] != "OuVilYal002" || m["occurredAt"] != "2024-01-16T00:00:00.000" || m["geometry"] != nil || len(m["dataValues"].([]any)) != 3 {
		t.Errorf("after the update: %v", m)
	}
	must(t, ask(t, s, "POST", tracker, `{"events":[{"event":"FeverEvent1","program":"EvPrFever01","orgUnit":"OuVilYal002","occurredAt":"2024-01-16","dataValues":[{"dataElement":"EvDeTempe02","value":null}]}]}`), 200)
	m = must(t, ask(t, s, "GET", "/api/tracker/events/FeverEvent1?fields=dataValues[dataElement]", nil), 200)
	if len(m["dataValues"].([]any)) != 2 || len(m) != 1 {
		t.Errorf("a null takes a value away: %v", m)
	}
}

func TestAllOrEachByTheAtomicMode(t *testing.T) {
	body := strings.Replace(fever("FeverEvent1", ""), `]}]}`, `]},{"event":"FeverEvent2","program":"EvPrFever01","orgUnit":"yyyyyyyyyyy","occurredAt":"2024-01-15"}]}`, 1)
	for mode, c := range map[string]struct {
		status, events int
		ignored        float64
	}{"ALL": {409, 0, 2}, "OBJECT": {200, 1, 1}} {
		s := january(t, "")
		m := must(t, ask(t, s, "POST", tracker+"&atomicMode="+mode, body), c.status)
		if dig(m, "stats", "ignored") != c.ignored || len(s.data.events) != c.events {
			t.Errorf("%s: %v, %d events", mode, m["stats"], len(s.data.events))
		}
	}
}

func TestAWarningComesOnlyIfAskedFor(t *testing.T) {
	s := january(t, "")
	with := fever("FeverEvent1", `,"assignedUser":{"username":"clerk"}`)
	for mode, want := range map[string]int{"ERRORS": 0, "FULL": 1} {
		m := must(t, ask(t, s, "POST", tracker+"&reportMode="+mode, with), 200)
		if got := dig(m, "validationReport", "warningReports").([]any); len(got) != want {
			t.Errorf("%s: %v", mode, got)
		}
	}
}

func TestLegacyEventsDuplicateAndAreGoneIn242(t *testing.T) {
	body := `{"program":"EvPrFever01","orgUnit":"OuVilYal001","eventDate":"2024-01-15","status":"COMPLETED","dataValues":[{"dataElement":"EvDeAgeMo01","value":"14"}]}`
	if w := ask(t, january(t, ""), "POST", "/api/events", body); w.Code != 404 {
		t.Errorf("2.42: HTTP %d", w.Code)
	}
	s := january(t, `"version":"2.41.3"`)
	for n := 1; n <= 2; n++ {
		m := must(t, ask(t, s, "POST", "/api/events", body), 200)
		if dig(m, "response", "imported") != 1.0 || len(s.data.events) != n {
			t.Errorf("send %d: %v, %d events", n, m, len(s.data.events))
		}
	}
	m := must(t, ask(t, s, "POST", "/api/events", strings.Replace(body, "OuVilYal001", "OuFacClosed", 1)), 409)
	if got := dig(m, "response", "importSummaries", 0, "description"); got != "Program is not assigned to this Organisation Unit: OuFacClosed" {
		t.Errorf("described as %v", got)
	}
}

func TestEventListsNameTheirPages(t *testing.T) {
	for version, want := range map[string]string{"2.40.1": "instances page pageSize", "2.41.0": "events page pageSize pager", "2.42.3": "events pager"} {
		s := january(t, `"version":"`+version+`"`)
		must(t, ask(t, s, "POST", tracker, fever("FeverEvent1", "")), 200)
		m := must(t, ask(t, s, "GET", "/api/tracker/events?orgUnit=OuNation001&orgUnitMode=DESCENDANTS&occurredAfter=2024-01-15&occurredBefore=2024-01-15", nil), 200)
		if got := strings.Join(sorted(m), " "); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
		list, _ := m["events"].([]any)
		if old, has := m["instances"].([]any); has {
			list = old
		}
		if len(list) != 1 || dig(list, 0, "event") != "FeverEvent1" {
			t.Errorf("%s: %v", version, list)
		}
	}
}
