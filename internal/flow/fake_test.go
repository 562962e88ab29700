package flow

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// fake is a registry of connectors as check needs them: specs, nothing that runs.
func fake() connector.Registry {
	text := func(name string) connector.FieldSpec { return connector.FieldSpec{Name: name, Type: connector.Text} }
	must := func(f connector.FieldSpec) connector.FieldSpec { f.Required = true; return f }
	ref := func(name, kind string) connector.FieldSpec {
		return connector.FieldSpec{Name: name, Type: connector.RefTo, Ref: kind}
	}
	typed := func(name string, t connector.Type) connector.FieldSpec {
		return connector.FieldSpec{Name: name, Type: t}
	}
	open := func(name string, t connector.Type) connector.FieldSpec {
		return connector.FieldSpec{Name: name, Type: t, Open: true}
	}
	return connector.Registry{
		"commcare": {
			Name: "commcare", Title: "CommCare",
			Options: []connector.Option{{Name: "url", Required: true, About: "address"}, {Name: "user"}, {Name: "password", Secret: true, About: "its password"}, {Name: "page", Default: "100"}},
			Messages: []connector.MessageSpec{
				{Name: "form", About: "a form", From: map[string]string{"xmlns": "form/xmlns"}, Names: []connector.NameSpec{
					{Name: "form", About: "the answers", Sampled: true, Fields: []string{"xmlns", "meta.timeEnd", "meta.timeStart", "meta.userID", "cases[].case_id"}},
					{Name: "case", About: "the case", Remote: true, Open: true},
					{Name: "worker", About: "who sent it", Remote: true, Fields: []string{"id", "name", "place"}},
				}},
				{Name: "report", List: "row", About: "a row of a report", From: map[string]string{"report": "report"}, Names: []connector.NameSpec{
					{Name: "row", Sampled: true}, {Name: "period", About: "the month"}}},
			},
			Kinds: []connector.KindSpec{{Name: "Case", ByDefault: "by id", Finds: []connector.FieldSpec{text("id"), text("external_id")},
				Fields: []connector.FieldSpec{text("case_type"), text("case_name"), text("owner_id"), text("external_id"), text("in_programme"), text("openmrs_server"), text("openmrs_phone"),
					{Name: "properties", List: true, Key: []string{"name"}, Fields: []connector.FieldSpec{must(text("name")), typed("value", connector.Any)}}}}},
		},
		"openmrs": {
			Name: "openmrs", Title: "OpenMRS",
			Options: []connector.Option{{Name: "url", Required: true, About: "address"}, {Name: "password", Secret: true}},
			Messages: []connector.MessageSpec{{Name: "report", List: "row", About: "a row", From: map[string]string{"report": "report"}, Names: []connector.NameSpec{
				{Name: "row", Sampled: true, Fields: []string{"change"}}, {Name: "server", Fields: []string{"name", "place"}}}}},
			Kinds: []connector.KindSpec{
				{Name: "Patient", About: "a patient", Finds: []connector.FieldSpec{text("uuid"), open("identifier", connector.Text)},
					Gives: []connector.FieldSpec{text("uuid"), text("phone")},
					Fields: []connector.FieldSpec{must(connector.FieldSpec{Name: "name", Type: connector.Object, Fields: []connector.FieldSpec{must(text("given")), text("family")}}),
						must(text("gender")), typed("birthdate", connector.Day), typed("dead", connector.Bool), open("attributes", connector.Text), open("identifiers", connector.Text)}},
				{Name: "Visit", Finds: []connector.FieldSpec{ref("patient", "openmrs/Patient"), typed("openAt", connector.Moment)}, Gives: []connector.FieldSpec{text("uuid")},
					Fields: []connector.FieldSpec{ref("patient", "openmrs/Patient"), must(text("type")), must(typed("start", connector.Moment)), typed("stop", connector.Moment)}},
				{Name: "Encounter", ByDefault: "by derived id", Gives: []connector.FieldSpec{text("uuid")},
					Fields: []connector.FieldSpec{must(ref("patient", "openmrs/Patient")), ref("visit", "openmrs/Visit"), must(text("type")), must(typed("at", connector.Moment)), typed("provider", connector.Any), typed("weight", connector.Number),
						{Name: "obs", List: true, Key: []string{"concept"}, Fields: []connector.FieldSpec{must(text("concept")), must(typed("value", connector.Any)), text("comment")}}}},
			},
		},
		"dhis2": {
			Name: "dhis2", Title: "DHIS2",
			Kinds: []connector.KindSpec{
				{Name: "DataValueSet", ByDefault: "by its cells", Fields: []connector.FieldSpec{must(text("dataSet")), must(text("period")), must(text("orgUnit")),
					{Name: "values", List: true, Key: []string{"dataElement", "categoryOptionCombo"}, Fields: []connector.FieldSpec{must(text("dataElement")), text("categoryOptionCombo"), must(typed("value", connector.Number))}}}},
				{Name: "Completion", ByDefault: "by its data set", Fields: []connector.FieldSpec{must(ref("of", "dhis2/DataValueSet"))}},
			},
		},
	}
}

// folder writes an integration folder from a txtar-like map of paths.
func folder(t testing.TB, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	for path, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const minimalIntegration = `title: Test
systems: [commcare, openmrs, dhis2]
zone: Africa/Nairobi
site:
  visitForm: {about: xmlns of the visit form, example: 'http://openrosa.org/visit'}
  visitType: {about: uuid of the visit type, example: '7b0f5697'}
wins: {default: openmrs, phone: latest}
`

const sampleForm = `{"form": {"xmlns": "http://openrosa.org/visit", "weight": "63,5", "signs": "fever no_cough", "note": "",
  "vitals": {"pulse": "80"}, "children": [{"id": "c1", "name": "A", "doses": "1"}, {"id": "c2", "name": "B", "doses": ""}],
  "meta": {"timeEnd": "2026-03-04T10:00:00.000000Z", "timeStart": "2026-03-04T09:00:00Z", "userID": "u1"},
  "cases": [{"case_id": "case-1", "first_name": "Elsa"}]}}`

// snippet loads a folder with one flow made of the given lines.
func snippet(t testing.TB, flow string, more ...string) (*Integration, Problems) {
	t.Helper()
	files := map[string]string{
		"integration.yaml": minimalIntegration, "samples/visit.json": sampleForm, "flows/a.yaml": flow,
		"tables/gender.csv":    "code,target\nm,M\nf,F\nu,\n",
		"tables/visit-obs.csv": "question,concept,unit,codes,type\nweight,C1,kg,,\nvitals/pulse,C2,,,number\n",
		"tables/steps.csv":     "from,to\nrequested,accepted\naccepted,completed\n",
	}
	for i := 0; i+1 < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return Load(folder(t, "i05-test", files), fake(), nil)
}

func hasProblem(ps Problems, code Code, text string) bool {
	for _, p := range ps {
		if p.Code == code && strings.Contains(p.Text, text) {
			return true
		}
	}
	return false
}
