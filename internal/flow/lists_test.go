package flow

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
)

func TestOriginsAreTheFieldsThatStandInAnExpression(t *testing.T) {
	for text, want := range map[string][]Origin{
		"plain text":                                 nil,
		"case.phone":                                 nil, // no expression
		"${case.phone}":                              {{"case", "phone"}},
		"${clear(phone(case.phone))}":                {{"case", "phone"}},
		"${case?.address?.village}":                  {{"case", "address/village"}},
		`${case["first name"]}`:                      {{"case", "first name"}},
		`${case['a'].b}`:                             {{"case", "a/b"}},
		"${case.first} ${case.last}":                 {{"case", "first"}, {"case", "last"}},
		`${lookup("case.sex", case.sex)}`:            {{"case", "sex"}}, // what is quoted is text
		`${case.a ?? "say \"case.b\""}`:              {{"case", "a"}},
		"${patient}":                                 nil,
		"${case.sex == 'case.no' ? row.a : row.b_2}": {{"case", "sex"}, {"row", "a"}, {"row", "b_2"}},
	} {
		if diff := cmp.Diff(want, originsIn(text)); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

func TestTheServerIsTheMessagesOwnWithItsPlace(t *testing.T) {
	site := &Site{Systems: map[string]*System{"a": {Places: []string{"p1", "p2"}}, "b": {}}}
	for name, c := range map[string]struct {
		system string
		said   any
		site   *Site
		want   map[string]any
	}{
		"its first place":       {"a", nil, site, map[string]any{"name": "a", "places": []any{"p1", "p2"}, "place": "p1"}},
		"what the message says": {"a", map[string]any{"place": "p9", "x": 1}, site, map[string]any{"name": "a", "places": []any{"p1", "p2"}, "place": "p9", "x": 1}},
		"a blank place":         {"a", map[string]any{"place": ""}, site, map[string]any{"name": "a", "places": []any{"p1", "p2"}, "place": "p1"}},
		"never another's name":  {"a", map[string]any{"name": "b"}, nil, map[string]any{"name": "a"}},
		"no places":             {"b", nil, site, map[string]any{"name": "b", "places": []any{}}},
		"not in the site":       {"c", nil, site, map[string]any{"name": "c"}},
		"no object":             {"c", "text", nil, map[string]any{"name": "c"}},
	} {
		if diff := cmp.Diff(c.want, serverValue(c.system, c.said, c.site)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

const listRecords = "\nlane: {person: '${row.id}'}\nrecords:\n  case: {kind: commcare/Case, find: {by: [{id: '${row.id}'}]}, set: {case_name: '${row.id}'}}\n"

// listed loads a flow with a list; more is what its from says besides.
func listed(t *testing.T, more string) (*Flow, Problems) {
	t.Helper()
	in, problems := snippet(t, "flow: a\nabout: x\nfrom: {commcare: report, report: r1, sample: samples/row.json, "+more+"}"+listRecords, "samples/row.json", `{"row": {"id": "1"}, "period": "202602"}`)
	if in == nil || len(in.Flows) == 0 {
		return nil, problems
	}
	return in.Flows[0], problems
}

func TestAListIsAskedWithWhatTheFlowSays(t *testing.T) {
	f, problems := listed(t, "every: month, with: {from: '${start}', to: '${end}', month: '${period}', asked: '${at}', visit: '${site.visitType}', n: '${2 + 1}', none: '${nothing(period)}', fixed: yes}")
	_ = f
	if problems.Errors() == 0 {
		t.Error("an unknown function was taken")
	}
	f, problems = listed(t, "every: month, with: {from: '${start}', to: '${end}', month: '${period}', asked: '${at}', n: '${2 + 1}', fixed: 'x'}")
	if f == nil || problems.Errors() > 0 {
		t.Fatal(problems)
	}
	zone := time.FixedZone("EAT", 3*3600)
	run := connector.Run{Period: "202602", Start: time.Date(2026, 2, 1, 0, 0, 0, 0, zone), End: time.Date(2026, 2, 28, 0, 0, 0, 0, zone), At: time.Date(2026, 3, 2, 22, 30, 0, 0, time.UTC)}
	got, err := f.With(f.From[0], run)
	if err != nil {
		t.Fatal(err)
	}
	// Days are the programme's: 22:30 in UTC is the next day in Nairobi.
	want := map[string]string{"from": "2026-02-01", "to": "2026-02-28", "month": "202602", "asked": "2026-03-03", "n": "3", "fixed": "x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Without a period, what hangs on it is left out.
	if got, err = f.With(f.From[0], connector.Run{At: run.At}); err != nil || cmp.Diff(map[string]string{"asked": "2026-03-03", "n": "3", "fixed": "x"}, got) != "" {
		t.Error(got, err)
	}
}

func TestWhatIsWrongWithAListIsSaid(t *testing.T) {
	for more, text := range map[string]string{
		"every: sometimes":                    `"sometimes" is no schedule`,
		"every: Monday, again: 2":             "again is for periods",
		"every: month, again: 25":             "0 to 24",
		"every: month, leavers: 101":          "0 to 100",
		"every: month, at: '25:00'":           "25:00",
		"every: month, calendar: klingon":     "klingon",
		"leavers: 10":                         "every",
		"every: month, with: {x: '${row.a}'}": "row",
	} {
		if _, problems := listed(t, more); problems.Errors() == 0 || !hasText(problems, text) {
			t.Errorf("%s: %v", more, problems)
		}
	}
	if _, problems := snippet(t, "flow: a\nabout: x\nfrom: {commcare: form, every: month, xmlns: '${site.visitForm}', sample: samples/visit.json}\nrecords:\n  entry: {kind: commcare/Case, find: {by: [{id: x}]}, set: {case_name: '${form.note}'}}\n"); problems.Errors() == 0 {
		t.Error("a form was asked for on a schedule")
	}
}

func hasText(ps Problems, text string) bool {
	for _, p := range ps {
		if hasProblem(Problems{p}, p.Code, text) {
			return true
		}
	}
	return false
}

func TestASchedulesDefaults(t *testing.T) {
	f, problems := listed(t, "every: month")
	if f == nil || problems.Errors() > 0 {
		t.Fatal(problems)
	}
	if s := f.From[0].Schedule; s.Leavers != 20 || s.Again != 0 || !s.When.ByPeriod() || s.Keys["report"] != "r1" {
		t.Errorf("%+v", s)
	}
}

func TestAProfileOfAnIntegration(t *testing.T) {
	for text, c := range map[string]struct {
		name     string
		definite float64
		problem  string
	}{
		"match: standard":                                              {"standard", 11.5, ""},
		"match: {from: standard, definite: 14}":                        {"standard, changed", 14, ""},
		"match: magic":                                                 {"", 0, `no profile "magic"`},
		"match: {from: standard, near: 20}":                            {"", 0, "near"},
		"match: {definite: 10, near: 5}":                               {"", 0, "clue"},
		"match: {from: standard, clew: 3}":                             {"", 0, "clew"},
		"match: {from: standard, definite: much}":                      {"", 0, "definite"},
		"match: {from: standard, clues: {birthdate: {same: 7}}, x: 1}": {"", 0, "x"},
	} {
		in, problems := snippet(t, "flow: a\nabout: x\nfrom: {commcare: form, xmlns: '${site.visitForm}', sample: samples/visit.json}\nrecords:\n  entry: {kind: commcare/Case, find: {by: [{id: x}]}, set: {case_name: '${form.note}'}}\n",
			"integration.yaml", minimalIntegration+"people: {"+text+"}\n")
		if c.problem != "" {
			if !hasText(problems, c.problem) {
				t.Errorf("%s: %v", text, problems)
			}
			continue
		}
		if problems.Errors() > 0 || in.People.Profile == nil {
			t.Errorf("%s: %v", text, problems)
			continue
		}
		if p := in.People.Profile; p.Name != c.name || p.Definite != c.definite || in.People.Match != c.name {
			t.Errorf("%s: %s, %v", text, p.Name, p.Definite)
		}
	}
}
