package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/connectors"

	"github.com/kiungo-health/kiungo/internal/demo"
)

// run runs a command line and gives its output and exit code.
func run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := root()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		return out.String() + err.Error(), exitCode(err)
	}
	return out.String(), 0
}

func TestExitCodesTellFailureFromWrongUse(t *testing.T) {
	empty := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"version":               {[]string{"version"}, 0, "kiungo"},
		"unknown flag":          {[]string{"version", "--loud"}, 2, "unknown flag"},
		"no site":               {[]string{"serve", "--site", filepath.Join(empty, "site.yaml")}, 2, "site.example.yaml"},
		"no ledger":             {[]string{"deliveries", "--data", empty}, 2, "--data"},
		"no integration":        {[]string{"check", "--integrations", empty}, 2, "--integrations"},
		"not an integration":    {[]string{"check", empty}, 2, "integration.yaml"},
		"retry of nothing":      {[]string{"retry", "--data", empty}, 2, "--cause"},
		"plan of nothing":       {[]string{"plan"}, 2, "--message"},
		"no such simulator":     {[]string{"sim", "sap"}, 2, strings.Join(slices.Sorted(maps.Keys(connectors.All())), ", ")},
		"simulator to outside":  {[]string{"sim", "openmrs", "--listen", "0.0.0.0:0"}, 2, "this machine only"},
		"send without a system": {[]string{"send", "x.json"}, 2, "--system"},
		"password in clear":     {[]string{"send", "x.json", "--system", "commcare", "--password", "hunter2"}, 2, "env:NAME"},
	} {
		out, code := run(t, c.args...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, %q; want %d with %q", name, code, out, c.code, c.says)
		}
		if strings.Contains(out, "hunter2") {
			t.Errorf("%s: the password is in the output", name)
		}
	}
}

func TestCheckReportsEveryProblemAtItsPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "i99-broken")
	if err := os.CopyFS(dir, os.DirFS("../../integrations/i05-commcare-openmrs-feed")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "flows", "registration-to-openmrs.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.NewReplacer("gender:", "gendre:", `lookup("gender"`, `lookup("genders"`).Replace(string(text))
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := run(t, "check", dir, "--json")
	var rows []problemRow
	if err := json.Unmarshal([]byte(out[:strings.LastIndex(out, "]")+1]), &rows); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if code != 2 || len(rows) < 2 {
		t.Fatalf("exit %d with %d problems: %s", code, len(rows), out)
	}
	for _, r := range rows {
		if r.File == "" || r.Line == 0 || r.Col == 0 || r.Text == "" || r.Code == "" {
			t.Errorf("a problem without its place or words: %+v", r)
		}
	}
}

// The main job: everything runs on one machine, both ways, with faults, and every
// message that was accepted is accounted for: else the command fails.
func TestDemoAccountsForEveryMessage(t *testing.T) {
	out, code := run(t, "demo", "--exit", "--json", "--messages", "30", "--rate", "600")
	var got struct {
		Integrations, After []demo.Row
		Answered            []demo.Answered
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	if len(got.Integrations) != 6 || len(got.After) != 6 || len(got.Answered) != 6 {
		t.Fatalf("%d integrations, %d answered", len(got.Integrations), len(got.Answered))
	}
	for _, r := range got.After {
		if r.Messages == 0 || r.Done+r.Left < r.Messages/2 {
			t.Errorf("%s: only %d of %d done", r.ID, r.Done, r.Messages)
		}
	}
}
