// Package i02 holds the test of the integration's size: thirty kinds of form.
package i02

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/connectors/commcare"
	"github.com/kiungo-health/kiungo/connectors/dhis2"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/scenario"
)

const kinds, indicators = 30, 6

// answers are one answer for each of the six elements of the simulator's
// generated programs: a whole number, a number, a truth value, a date, an
// option, and a yes-only; with the type and the code table of its mapping.
var answers = [indicators]struct{ value, kind, codes string }{
	{"12", "number", ""}, {"36.6", "number", ""}, {"yes", "", "yes-no"}, {"2026-03-01", "day", ""}, {"treated", "", "outcome"}, {"yes", "", "yes-no"},
}

// generate writes an integration of thirty kinds of form with six indicators
// each, with the shipped flows, and a scenario that sends one form of each.
func generate(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "i02-thirty-kinds")
	write := func(name, text string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"integration.yaml", "flows/form-to-event.yaml", "flows/case-form-to-event.yaml", "tables/yes-no.csv", "tables/outcome.csv", "tables/org-units.csv", "scenarios/commcare.json"} {
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		write(name, string(text))
	}
	forms, rows, steps := "form,xmlns,program,stage,place,date,gps\n", "form,question,element,type,codes\n", ""
	for n := 1; n <= kinds; n++ {
		program, xmlns := fmt.Sprintf("PRG%02d", n), fmt.Sprintf("http://openrosa.org/formdesigner/kind-%02d", n)
		id := fmt.Sprintf("00000000-0000-4000-8000-0000000000%02d", n)
		forms += fmt.Sprintf("kind_%02d,%s,%s,,worker,,\n", n, xmlns, program)
		form := map[string]any{"@xmlns": xmlns, "@name": program, "meta": map[string]any{"instanceID": id, "userID": "5f422174-80a0-518b-8036-f0043ff42c24",
			"username": "grace", "timeStart": "2026-03-10T09:05:00Z", "timeEnd": "2026-03-10T09:15:00Z"}}
		for i, a := range answers {
			question := fmt.Sprintf("kind_%02d_question_%d", n, i+1)
			form[question] = a.value
			rows += fmt.Sprintf("kind_%02d,%s,%s_%d,%s,%s\n", n, question, program, i+1, a.kind, a.codes)
		}
		doc, err := json.Marshal(map[string]any{"domain": "demo", "id": id, "form": form})
		if err != nil {
			t.Fatal(err)
		}
		write(fmt.Sprintf("samples/%02d.json", n), string(doc))
		write(fmt.Sprintf("scenarios/%02d.json", n), string(doc))
		steps += fmt.Sprintf("  - {send: %02d.json, wait: false}\n", n)
	}
	write("tables/forms.csv", forms)
	write("tables/indicators.csv", rows)
	write("scenarios/site.yaml", "zone: Africa/Nairobi\nsystems: {commcare: {connector: commcare}, dhis2: {connector: dhis2}}\nintegrations: {i02-thirty-kinds: {}}\n")
	unit := "{organisationUnits: [{id: OuVilYal001}]"
	programs := ""
	for n := 1; n <= kinds; n++ {
		programs += fmt.Sprintf("%s, id: GenPr0000%02d}, ", unit, n)
	}
	write("scenarios/01-thirty-kinds.yaml", "scenario: thirty kinds of form\nsimulators:\n  commcare: {seed: commcare.json}\n  dhis2: {options: {programs: 30}, seed: {programs: ["+
		strings.TrimSuffix(programs, ", ")+"]}}\nsteps:\n"+steps)
	return dir
}

func TestThirtyKindsOfFormWithSixIndicatorsEachBecomeAnEventEach(t *testing.T) {
	reg := connector.Registry{}
	for _, c := range []*connector.Connector{commcare.Connector(), dhis2.Connector()} {
		reg[c.Name] = c
	}
	dir := generate(t)
	all, err := scenario.Load(dir)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d scenarios, %v", len(all), err)
	}
	out, err := scenario.Run(context.Background(), all[0], dir, reg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out, "/form-to-event done, 1 calls\n"); n != kinds {
		t.Errorf("%d deliveries are done with one call, want %d:\n%s", n, kinds, out)
	}
	made := 0
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "POST /api/tracker") {
			made++
			if n := strings.Count(line, `"dataElement"`); n != indicators {
				t.Errorf("an event of %d values, want %d: %s", n, indicators, line)
			}
		}
	}
	if made != kinds {
		t.Errorf("%d payloads were sent, want one a form", made)
	}
}
