package flow

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

const testSite = `zone: Africa/Nairobi
region: KE
language: en
systems:
  commcare-test: {connector: commcare, options: {url: 'https://cc.example', password: 'env:CC'}}
  openmrs-siaya: {connector: openmrs, places: [siaya], options: {url: 'https://a.example'}}
  openmrs-kisumu: {connector: openmrs, places: [kisumu, kis-2], options: {url: 'https://b.example'}}
  openmrs-off: {connector: openmrs, places: [bondo], active: false, options: {url: 'https://c.example'}}
integrations:
  i05-feed:
    site: {visitForm: 'http://openrosa.org/formdesigner/visit', visitType: vt, encounterType: et}
`

func writeSite(t testing.TB, text string, more ...string) *Site {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "site.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(more); i += 2 {
		p := filepath.Join(dir, more[i])
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(more[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, problems := LoadSite(path, fake())
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

func content(t testing.TB, text string) any {
	t.Helper()
	v, err := decodeJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const visitContent = `{"form": {"xmlns": "http://openrosa.org/formdesigner/visit", "weight": "63,5", "temperature": "", "signs": "fever none", "next_visit": "2026-04-01",
  "meta": {"timeEnd": "2026-03-04T21:30:00.123000Z", "timeStart": "2026-03-04T09:40:00Z", "userID": "u1", "username": "chw.one"},
  "cases": [{"case_id": "c-1", "first_name": "Elsa"}, {"case_id": "c-2"}]}}`

func visitMessage() *connector.Message {
	return &connector.Message{ID: 7, System: "commcare-test", Seq: 1, Received: time.Date(2026, 3, 4, 22, 0, 0, 0, time.UTC),
		Incoming: connector.Incoming{Kind: "form", Doc: "d-1", Version: "1", Event: time.Date(2026, 3, 4, 21, 30, 0, 123e6, time.UTC)}}
}

func visitFlow(t testing.TB) *Flow {
	t.Helper()
	i, problems := Load("testdata/i05-feed", fake(), writeSite(t, testSite))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return i.Flows[0]
}

func visitSurround() map[string]any {
	return map[string]any{
		"case": map[string]any{"case_id": "c-1", "type": "patient", "first_name": "Elsa", "last_name": "Otieno", "sex": "female", "dob": "1990-01-02", "phone": "0712 345678",
			"external_id": "", "openmrs_id": "1003EY"},
		"worker": map[string]any{"id": "w-1", "name": "CHW One", "place": map[string]any{"id": "p-9", "parent": map[string]any{"id": "x", "site_code": "kis-2"}}},
	}
}

func TestAVisitFormWantsItsRecords(t *testing.T) {
	f := visitFlow(t)
	m, c := visitMessage(), content(t, visitContent)
	items, err := f.Route(m, c)
	if err != nil {
		t.Fatal(err)
	}
	var routed []string
	for _, it := range items {
		routed = append(routed, it.Each+" "+strings.Join(it.Lanes, ",")+" "+strings.Join(it.Systems, ","))
	}
	want := []string{"c-1 person:commcare-test/c-1 commcare,commcare-test,openmrs", "c-2 person:commcare-test/c-2 commcare,commcare-test,openmrs"}
	if d := cmp.Diff(want, routed); d != "" {
		t.Fatal(d)
	}
	run, err := f.Begin(m, c, "c-1")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"case", "worker"}, run.Names()); d != "" {
		t.Fatal(d)
	}
	run.Surround(visitSurround())
	if ok, why, err := run.Where(); !ok || err != nil {
		t.Fatal(ok, why, err)
	}
	if s, err := run.System("openmrs"); s != "openmrs-kisumu" || err != nil {
		t.Fatal(s, err)
	}
	var order []string
	got := map[string]*Wanted{}
	for _, rec := range f.Records {
		order = append(order, rec.Name)
		w, err := run.Eval(rec)
		if err != nil {
			t.Fatal(rec.Name, err)
		}
		got[rec.Name] = w
		run.Set(rec, &Result{Ref: record.Ref{Record: rec.Name, Kind: rec.Kind, ID: "id-" + rec.Name},
			Fields: map[string]any{"uuid": "id-" + rec.Name}, Found: map[string]any{"phone": "0711"}})
	}
	if d := cmp.Diff([]string{"patient", "visit", "encounter", "copy"}, order); d != "" {
		t.Fatal(d)
	}
	patient, visit := record.Ref{Record: "patient", Kind: "openmrs/Patient", ID: "id-patient"}, record.Ref{Record: "visit", Kind: "openmrs/Visit", ID: "id-visit"}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"patient find", got["patient"].Find.Criteria(), []map[string]any{{"identifier": map[string]any{"OpenMRS ID": "1003EY"}}}},
		{"patient set", got["patient"].Set, map[string]any{"name": map[string]any{"given": "Elsa", "family": "Otieno"}, "gender": "F", "birthdate": "1990-01-02",
			"attributes": map[string]any{"Telephone Number": "+254712345678"}}},
		{"visit find", got["visit"].Find.Criteria(), []map[string]any{{"patient": patient, "openAt": "2026-03-04T21:30:00Z"}}},
		{"visit new", got["visit"].New, map[string]any{"type": "vt", "start": "2026-03-04T21:30:00Z", "stop": "2026-03-05T20:59:59Z"}},
		{"encounter", got["encounter"].Set, map[string]any{"patient": patient, "visit": visit, "type": "et", "at": "2026-03-04T21:30:00Z",
			"provider": map[string]any{"id": "w-1", "name": "CHW One", "place": map[string]any{"id": "p-9", "parent": map[string]any{"id": "x", "site_code": "kis-2"}}},
			"obs": []any{
				map[string]any{"concept": "CIEL:5089", "value": 63.5},
				map[string]any{"concept": "CIEL:1728", "value": []any{"CIEL:140238"}},
				map[string]any{"concept": "CIEL:5096", "value": "2026-04-01"}}}},
		{"copy", got["copy"].Set, map[string]any{"external_id": "id-patient", "openmrs_phone": "0711"}},
		{"copy refused", got["copy"].Refused, Keep},
		{"copy none", got["copy"].Find.None, AskNone},
		{"near", got["patient"].Find.Near, "create"},
		{"wins birthdate", got["patient"].Win("birthdate"), Win{Rule: WinSystem, System: "openmrs"}},
		{"wins phone", got["patient"].Win("attributes/phone"), Win{Rule: WinLatest}},
		{"wins default", got["patient"].Win("name/given"), Win{Rule: WinSystem, System: "commcare"}},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestAnUnmappedCodeIsAQuestionAtItsLine(t *testing.T) {
	f := visitFlow(t)
	run, err := f.Begin(visitMessage(), content(t, visitContent), "c-1")
	if err != nil {
		t.Fatal(err)
	}
	s := visitSurround()
	s["case"].(map[string]any)["sex"] = "other"
	run.Surround(s)
	_, err = run.Eval(f.Record("patient"))
	var u *Unmapped
	var e *Error
	if !errors.As(err, &u) || !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	if u.Cause() != "case.sex = other is not in gender.csv" || e.File != "flows/visit.yaml" || e.Line != 11 || e.Record != "patient" {
		t.Errorf("%q at %s, record %s", u.Cause(), e.Position, e.Record)
	}
	if lines := strings.Split(e.Excerpt(), "\n"); len(lines) != 2 || lines[1][strings.Index(lines[0], `lookup("gender"`)] != '^' {
		t.Errorf("the caret is not at the call:\n%s", e.Excerpt())
	}
}

func BenchmarkEvalOfAThirtyFieldFlow(b *testing.B) {
	var flow strings.Builder
	flow.WriteString("flow: big\nfrom: {commcare: form, sample: samples/visit.json}\neach: {case: form.cases}\nrecords:\n  c:\n    kind: commcare/Case\n    set:\n      properties:\n")
	for i := range 30 {
		flow.WriteString("        - {name: p" + string(rune('a'+i%26)) + ", value: '${form.weight > 5 ? upper(case.first_name) : \"none\"} kg'}\n")
	}
	i, problems := snippet(b, flow.String())
	if err := problems.Err(); err != nil {
		b.Fatal(err)
	}
	f := i.Flows[0]
	m := visitMessage()
	m.System = "commcare"
	var c any
	if err := json.Unmarshal([]byte(sampleForm), &c); err != nil {
		b.Fatal(err)
	}
	run, err := f.Begin(m, c, "case-1")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		run.state.steps, run.state.bytes = 0, 0
		if _, err := run.Eval(f.Records[0]); err != nil {
			b.Fatal(err)
		}
	}
}
