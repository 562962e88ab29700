package flow

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

func one(t testing.TB, flow string, more ...string) *Flow {
	t.Helper()
	i, problems := snippet(t, flow, more...)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return i.Flows[0]
}

func formMessage() *connector.Message {
	return &connector.Message{System: "commcare", Received: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC), Incoming: connector.Incoming{Kind: "form", Doc: "d1", Version: "v1"}}
}

func TestRoutingSaysWhereADeliveryBelongs(t *testing.T) {
	for _, c := range []struct {
		name, flow string
		want       []string // "each | lanes | systems"
		fails      string
	}{
		{"without each the message is its own lane", head + rec, []string{" | message:commcare/d1 | openmrs"}, ""},
		{"each over cases is a person", head + "each: {case: form.cases}\n" + rec, []string{"case-1 | person:commcare/case-1 | openmrs"}, ""},
		{"each over a repeat of children", head + "each: {child: form.children}\n" + rec, []string{"c1 | person:commcare/c1 | openmrs", "c2 | person:commcare/c2 | openmrs"}, ""},
		{"each over things that are no people", head + "each: {x: form.children}\n" + rec, []string{"c1 | message:commcare/d1 | openmrs", "c2 | message:commcare/d1 | openmrs"}, ""},
		{"each over rows of a table", head + "each: {g: 'table(\"gender\")'}\n" + rec, []string{"m | message:commcare/d1 | openmrs", "f | message:commcare/d1 | openmrs", "u | message:commcare/d1 | openmrs"}, ""},
		{"each in each", head + "each: {child: form.children, g: 'choices(form.signs)'}\n" + rec,
			[]string{"c1/fever | message:commcare/d1 | openmrs", "c1/no_cough | message:commcare/d1 | openmrs", "c2/fever | message:commcare/d1 | openmrs", "c2/no_cough | message:commcare/d1 | openmrs"}, ""},
		{"a person's lane", head + "lane: {person: '${form.meta.userID}'}\n" + rec, []string{" | person:commcare/u1 | openmrs"}, ""},
		{"a person by a kind of identifier", head + "lane: {person: 'NID:${form.meta.userID}'}\n" + rec, []string{" | person:NID/u1 | openmrs"}, ""},
		{"two people", head + "lane: [{person: b}, {person: '${form.meta.userID}'}]\n" + rec, []string{" | person:commcare/b person:commcare/u1 | openmrs"}, ""},
		{"a lane of several parts, by let", head + "let: {u: form.meta.userID}\nlane: {data_set: ds, worker: '${u}'}\n" + rec, []string{" | data_set:ds|worker:u1 | openmrs"}, ""},
		{"a filter that does not fit", "flow: a\nfrom: {commcare: form, xmlns: other, sample: samples/visit.json}\n" + rec, nil, ""},
		{"one of several filters", "flow: a\nfrom: {commcare: form, xmlns: [other, 'http://openrosa.org/visit'], sample: samples/visit.json}\n" + rec, []string{" | message:commcare/d1 | openmrs"}, ""},
		{"where on the message", "flow: a\nfrom: {commcare: form, where: form.weight > 70, sample: samples/visit.json}\n" + rec, nil, ""},
		{"the first source that takes it", "flow: a\nfrom: [{commcare: form, xmlns: other, let: {x: '1'}, sample: samples/visit.json}, {commcare: form, let: {x: form.vitals.pulse}, sample: samples/visit.json}]\nlane: {person: '${x}'}\n" + rec,
			[]string{" | person:commcare/80 | openmrs"}, ""},
		{"an empty repeat makes no delivery", head + "each: {x: 'filter(form.children, .name == \"Z\")'}\n" + rec, nil, ""},
		{"an item without an id", head + "each: {x: '[form.vitals]'}\n" + rec, nil, "a position cannot name it"},
		{"two items with one id", head + "each: {x: '[form.children[1], form.children[1]]'}\n" + rec, nil, "two items of each have the same id"},
		{"a lane without a value", head + "lane: {person: '${form.note}'}\n" + rec, nil, "the lane has no person in this message"},
		{"a target that the message names", head + "to: {openmrs: '${form.meta.userID}'}\n" + rec, []string{" | message:commcare/d1 | openmrs,u1"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := one(t, c.flow)
			items, err := f.Route(formMessage(), content(t, sampleForm))
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("error %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, it := range items {
				got = append(got, it.Each+" | "+strings.Join(it.Lanes, " ")+" | "+strings.Join(it.Systems, ","))
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRoutingDoesNotChangeTheMessage(t *testing.T) {
	f := one(t, head+"each: {child: form.children}\n"+rec)
	c := content(t, `{"form": {"children": {"id": "only"}}}`)
	items, err := f.Route(formMessage(), c)
	if err != nil || len(items) != 1 || items[0].Each != "only" {
		t.Fatalf("%v %v: a repeat with one row is a list of one", items, err)
	}
	if d := cmp.Diff(content(t, `{"form": {"children": {"id": "only"}}}`), c); d != "" {
		t.Error(d)
	}
}

func TestADeliveryThatIsNoLongerInTheMessage(t *testing.T) {
	f := one(t, head+"each: {child: form.children}\n"+rec)
	c := content(t, sampleForm)
	for each, want := range map[string]error{"c1": nil, "c9": ErrGone} {
		if _, err := f.Begin(formMessage(), c, each); !errors.Is(err, want) {
			t.Errorf("%s: %v", each, err)
		}
	}
	if _, err := f.Begin(formMessage(), content(t, `{"form": {"children": []}}`), "c1"); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	m := formMessage()
	m.Kind = "other"
	if _, err := f.Begin(m, c, "c1"); !errors.Is(err, ErrNotForFlow) {
		t.Error(err)
	}
	// kept at intake without its items: it must be held, never skipped in silence
	var nk *NoKey
	if _, err := f.Begin(formMessage(), c, ""); !errors.As(err, &nk) {
		t.Error(err)
	}
}

func begin(t testing.TB, f *Flow, surround map[string]any) *Run {
	t.Helper()
	r, err := f.Begin(formMessage(), content(t, sampleForm), "")
	if err != nil {
		t.Fatal(err)
	}
	r.Surround(surround)
	return r
}

func TestWhereIsFalseWithTheReason(t *testing.T) {
	f := one(t, head+"where: case.type == \"patient\"\n"+rec)
	ok, why, err := begin(t, f, map[string]any{"case": map[string]any{"type": "household"}}).Where()
	if ok || err != nil || why != `not for this flow: case.type == "patient"` {
		t.Error(ok, why, err)
	}
}

func TestTheFirstRequirementThatFailsEndsIt(t *testing.T) {
	f := one(t, head+`require:
  - {that: form.weight > 1, say: never}
  - {that: 'form.vitals.pulse < 50', else: ask, say: 'Pulse is ${form.vitals.pulse}. Right?'}
  - {that: 'false', say: later}
`+rec)
	v, err := begin(t, f, nil).Require(func(string) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Verdict{Else: "ask", Say: "Pulse is 80. Right?", That: "form.vitals.pulse < 50"}, v); d != "" {
		t.Error(d)
	}
	f = one(t, head+"require: {that: form.note != nil, say: noNote}\n"+rec, "tables/texts.csv", "key,en\nnoNote,Write a note\n")
	if v, err := begin(t, f, nil).Require(func(string) bool { return false }); err != nil || v.OK || v.Else != "refuse" || v.Say != "Write a note" {
		t.Error(v, err)
	}
}

func TestWhatIsAbsentIsLeftAloneAndWhatIsClearedIsEmptied(t *testing.T) {
	f := one(t, head+`records:
  p:
    kind: openmrs/Patient
    find: {by: [{uuid: '${case.uuid}'}, {identifier: {A: '${case.a}', B: '${case.b}'}}], none: wait 2 days, near: ask}
    set:
      name: {given: '${case.given}', family: '${case.family}'}
      gender: '${lookup("gender", case.sex)}'
      dead: '${case.dead}'
      attributes: {Phone: '${clear(case.phone)}', Mail: '${case.mail}', Tag: 'x ${case.mail}'}
  v: {kind: openmrs/Visit, when: case.go == "yes", find: {patient: '${p}', openAt: '${case.at}', none: create}, new: {type: T, start: '${received}'}}
  e:
    kind: openmrs/Encounter
    key: '${case.a}/${day(received)}'
    set: {patient: '${p}', visit: '${v}', type: T, at: '${received}', weight: '${form.weight}', provider: '${v.uuid ?? "none"}',
          obs: [{concept: A, value: '${case.height}'}, {concept: B, value: '${form.vitals.pulse}', comment: '${case.height}'}, {each: {c: form.children}, when: c.doses != nil, concept: '${c.id}', value: '${c.doses}'}]}
`)
	r := begin(t, f, map[string]any{"case": map[string]any{"given": "Elsa", "sex": "u", "dead": "no", "phone": "", "a": "7"}})
	p, err := r.Eval(f.Record("p"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]any{"name": map[string]any{"given": "Elsa"}, "dead": false, "attributes": map[string]any{"Phone": record.Clear{}}}, p.Set); d != "" {
		t.Error(d)
	}
	// a criterion with one absent value would find too much
	if len(p.Find.Criteria()) != 0 || p.Find.None != Wait || p.Find.Wait != 48*time.Hour || p.Find.Near != "ask" {
		t.Errorf("%+v", p.Find)
	}
	ref := record.Ref{Record: "p", Kind: "openmrs/Patient", ID: "u-1"}
	r.Set(f.Record("p"), &Result{Ref: ref})
	v, err := r.Eval(f.Record("v"))
	if err != nil || !v.Skip || v.Why != `not wanted: case.go == "yes"` {
		t.Errorf("%+v %v", v, err)
	}
	r.Set(f.Record("v"), nil)
	e, err := r.Eval(f.Record("e"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"patient": ref, "type": "T", "at": "2026-03-04T12:00:00Z", "weight": 63.5, "provider": "none",
		"obs": []any{map[string]any{"concept": "B", "value": "80"}, map[string]any{"concept": "c1", "value": "1"}}}
	if d := cmp.Diff(want, e.Set); d != "" {
		t.Error(d)
	}
	if e.Key != "7/2026-03-04" {
		t.Error(e.Key)
	}
	r.Surround(map[string]any{"case": map[string]any{}})
	var nk *NoKey
	if _, err := r.Eval(f.Record("e")); !errors.As(err, &nk) {
		t.Errorf("an absent key must not become one: %v", err)
	}
	r.Surround(map[string]any{"case": map[string]any{"go": "yes"}})
	v, err = r.Eval(f.Record("v"))
	if err != nil || !v.Find.Incomplete || v.Find.Criteria() != nil {
		t.Errorf("an incomplete criterion must find nothing: %+v %v", v, err)
	}
}

func TestARecordThatIsMadeLaterIsReferredToNow(t *testing.T) {
	f := one(t, head+"records:\n  v: {kind: openmrs/Visit, set: {type: '${p.uuid}', start: '${received}', patient: '${p}'}}\n  p: {kind: openmrs/Patient, find: {by: [{uuid: x}], none: ask}}\n")
	if f.Records[0].Name != "p" || f.Records[1].Name != "v" {
		t.Fatal("records are not in the order of their references")
	}
	r := begin(t, f, nil)
	later := record.Later{Call: "p.create", Output: "uuid"}
	r.Set(f.Record("p"), &Result{Ref: record.Ref{Record: "p", Later: later}, Fields: map[string]any{"uuid": later}})
	w, err := r.Eval(f.Record("v"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]any{"type": later, "start": "2026-03-04T12:00:00Z", "patient": record.Ref{Record: "p", Later: later}}, w.Set); d != "" {
		t.Error(d)
	}
}

func TestTheSystemIsChosenOrAsked(t *testing.T) {
	f := visitFlow(t)
	m, c := visitMessage(), content(t, visitContent)
	for place, want := range map[string]string{"siaya": "openmrs-siaya", "bondo": "", "nowhere": ""} {
		r, err := f.Begin(m, c, "c-1")
		if err != nil {
			t.Fatal(err)
		}
		r.Surround(map[string]any{"worker": map[string]any{"place": map[string]any{"id": place}}})
		got, err := r.System("openmrs")
		var ns *NoServer
		if got != want || want == "" && !errors.As(err, &ns) {
			t.Errorf("%s: %s %v", place, got, err)
		}
		if s, err := r.System("commcare"); s != "commcare-test" || err != nil {
			t.Error("records go back to the message's own system:", s, err)
		}
	}
}

func TestASitePutsItsRowsOverTheShippedTables(t *testing.T) {
	site := writeSite(t, testSite, "tables/i05-feed/gender.csv", "code,target\nunknown,U\nother,O\n")
	i, problems := Load("testdata/i05-feed", fake(), site)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	g := i.Tables["gender"]
	for code, want := range map[string]string{"male": "M", "unknown": "U", "other": "O"} {
		if row, ok := g.Lookup(code); !ok || row["target"] != want {
			t.Errorf("%s: %v", code, row)
		}
	}
}

func TestTheHashChangesWithWhatDecidesAndWithNothingElse(t *testing.T) {
	text := set("weight: '${number(form.weight)}'\n      provider: '${lookup(\"gender\", form.signs)}'")
	base := one(t, text).Hash
	same := map[string]*Flow{
		"a remark":        one(t, "# hello\n"+text),
		"another table":   one(t, text, "tables/steps.csv", "from,to\na,b\n"),
		"quotes":          one(t, strings.Replace(text, "type: T", "type: 'T'", 1)),
		"spaces in a CSV": one(t, text, "tables/gender.csv", "code , target\n m,M\nf, F\nu,\n"),
	}
	for name, f := range same {
		if f.Hash != base {
			t.Errorf("%s changes the hash", name)
		}
	}
	other := map[string]*Flow{
		"a value":     one(t, strings.Replace(text, "type: T", "type: U", 1)),
		"a table":     one(t, text, "tables/gender.csv", "code,target\nm,X\n"),
		"who wins":    one(t, text, "integration.yaml", strings.Replace(minimalIntegration, "phone: latest", "phone: ask", 1)),
		"the zone":    one(t, text, "integration.yaml", strings.Replace(minimalIntegration, "Nairobi", "Maputo", 1)),
		"site values": one(t, text, "integration.yaml", strings.Replace(minimalIntegration, "7b0f5697", "7b0f5698", 1)),
	}
	for name, f := range other {
		if f.Hash == base {
			t.Errorf("%s does not change the hash", name)
		}
	}
}

func TestOneFlowServesManyGoroutines(t *testing.T) {
	f := visitFlow(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				r, err := f.Begin(visitMessage(), content(t, visitContent), "c-1")
				if err != nil {
					t.Error(err)
					return
				}
				r.Surround(visitSurround())
				w, err := r.Eval(f.Record("patient"))
				if err != nil || w.Set["gender"] != "F" {
					t.Error(w, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestWinsAreByPathPartLastPartOrDefault(t *testing.T) {
	w := Wins{"default": {Rule: WinAsk}, "name": {Rule: WinBoth}, "name/given": {Rule: WinLatest}, "phone": {Rule: WinSystem, System: "a"}}
	for path, want := range map[string]WinRule{"name/given": WinLatest, "name/family": WinBoth, "attributes/phone": WinSystem, "gender": WinAsk} {
		if got := w.For(path).Rule; got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	if (Wins{}).For("x").Rule != WinReceived {
		t.Error("without a rule the value received last wins")
	}
}

func TestAWinForAFieldThatNothingHasIsAWarning(t *testing.T) {
	_, problems := snippet(t, head+rec, "integration.yaml", strings.Replace(minimalIntegration, "phone: latest", "birthdat: latest", 1))
	if !hasProblem(problems, CodeField, `no record has a field "birthdat"; did you mean "birthdate"?`) || problems.Err() != nil {
		t.Error(problems)
	}
}

func TestTableFiles(t *testing.T) {
	for _, c := range []struct{ name, text, code, want string }{
		{"semicolons", "code;target\nm;M\n", "m", "M"}, {"BOM", "\ufeffcode,target\nm,M\n", "m", "M"}, {"CRLF", "code,target\r\nm,M\r\n", "m", "M"},
		{"quoted comma", "code,target\n\"a,b\",M\n", "a,b", "M"}, {"remark", "code,target\n# x\nm,M\n", "m", "M"}, {"first row wins", "code,target\nm,M\nm,X\n", "m", "M"}, {"text stays text", "code,target\n0123,1.10\n", "0123", "1.10"},
	} {
		r := &reader{}
		tab := r.parseTable([]byte(c.text), &source{path: "tables/x.csv"})
		if tab == nil {
			t.Errorf("%s: %s", c.name, r.problems)
			continue
		}
		if row, ok := tab.Lookup(c.code); !ok || row[tab.target(1)] != c.want {
			t.Errorf("%s: %v", c.name, row)
		}
	}
}

func TestASampleIsReadAsItsSystemSendsIt(t *testing.T) {
	// a connector that reads real payloads: the sample is what the system sends
	reg := fake()
	reg["commcare"].Sample = func(kind string, raw []byte) ([][]byte, error) {
		return [][]byte{[]byte(strings.Replace(string(raw), `"data"`, `"form"`, 1))}, nil
	}
	dir := folder(t, "i05-test", map[string]string{"integration.yaml": minimalIntegration, "flows/a.yaml": head + "where: form.wieght > 1\n" + rec, "samples/visit.json": strings.Replace(sampleForm, `"form"`, `"data"`, 1)})
	_, problems := Load(dir, reg, nil)
	if !hasProblem(problems, CodeUnknownName, `form has no "wieght"`) {
		t.Error(problems)
	}
}

func TestAClockThatIsAheadIsToldAndCountsAsReceipt(t *testing.T) {
	f := one(t, head+rec)
	for _, c := range []struct {
		event time.Time
		skew  time.Duration
		at    time.Time
	}{
		{time.Time{}, 0, formMessage().Received},
		{formMessage().Received.Add(-time.Hour), 0, formMessage().Received.Add(-time.Hour)},
		{formMessage().Received.Add(30 * time.Hour), 30 * time.Hour, formMessage().Received},
	} {
		m := formMessage()
		m.Event = c.event
		r, err := f.Begin(m, content(t, sampleForm), "")
		if err != nil {
			t.Fatal(err)
		}
		if r.Skew() != c.skew || !r.At().Equal(c.at) {
			t.Errorf("%s: %s %s", c.event, r.Skew(), r.At())
		}
	}
}
