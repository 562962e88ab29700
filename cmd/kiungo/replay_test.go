package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/simulate"
	"github.com/kiungo-health/kiungo/internal/upgrade"
)

const feedIntegration = "../../integrations/i05-commcare-openmrs-feed"

// clinic is a site with its simulators on the loopback, and its ledger.
type clinic struct {
	*testing.T
	dir   string // of site.yaml, with the folder of the integrations
	data  string
	sims  map[string]simulate.Simulator
	urls  map[string]string
	flags []string
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
	t.Setenv(seal.EnvKeyFile, "")
	t.Setenv("KIUNGO_DATABASE", "")
	c := &clinic{T: t, dir: t.TempDir(), data: t.TempDir()}
	reg := connectors.All()
	dictionary, err := os.ReadFile(filepath.Join(feedIntegration, "scenarios", "openmrs.json"))
	c.must(err)
	c.sims, err = clinictest.Simulators(reg, dictionary)
	c.must(err)
	urls := map[string]string{}
	c.urls = urls
	for name, sim := range c.sims {
		server := httptest.NewServer(sim)
		t.Cleanup(server.Close)
		urls[name] = server.URL
	}
	c.must(clinictest.WriteSite(c.dir, reg, c.sims, func(name string) string { return urls[name] }, nil, filepath.Base(feedIntegration)))
	c.must(os.CopyFS(filepath.Join(c.dir, "integrations", filepath.Base(feedIntegration)), os.DirFS(feedIntegration)))
	c.flags = []string{"--site", filepath.Join(c.dir, "site.yaml"), "--integrations", filepath.Join(c.dir, "integrations"), "--data", c.data}
	return c
}

func (c *clinic) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// run carries forms on, as kiungo serve does, and stops.
func (c *clinic) run(forms ...clinictest.Form) {
	c.Helper()
	reg := connectors.All()
	site, in, err := clinictest.LoadSite(c.dir, filepath.Join(c.dir, "integrations", filepath.Base(feedIntegration)), reg)
	c.must(err)
	l, err := store.OpenSQLite(c.Context(), c.data, store.Options{MinFree: -1})
	c.must(err)
	defer l.Close()
	e, err := engine.New(engine.Options{Ledger: l, Registry: reg, Site: site, Integrations: []*flow.Integration{in}, NoPolls: true})
	c.must(err)
	c.must(e.Start(c.Context()))
	defer e.Stop()
	for _, f := range forms {
		c.push(e, f)
		c.must(e.Settle(c.Context(), time.Minute))
	}
	c.must(e.Settle(c.Context(), time.Minute))
}

// push has a worker send a form, which CommCare forwards to a node.
func (c *clinic) push(e *engine.Engine, f clinictest.Form) {
	c.Helper()
	sim := c.sims[clinictest.Source]
	_, err := sim.(interface {
		Submit(body []byte) (string, error)
	}).Submit(f.Body())
	c.must(err)
	r := httptest.NewRequest(http.MethodPost, "/in/commcare", bytes.NewReader(f.Body()))
	r.SetPathValue("system", clinictest.Source)
	s := sim.Settings()
	r.SetBasicAuth(s["inbound_username"], s["inbound_password"])
	out := httptest.NewRecorder()
	e.Intake.ServeHTTP(out, r)
	if out.Code != http.StatusAccepted {
		c.Fatalf("intake answered %d", out.Code)
	}
}

func (c *clinic) command(want int, args ...string) string {
	c.Helper()
	out, code := run(c.T, append(args, c.flags...)...)
	if code != want {
		c.Fatalf("kiungo %s: exit %d, want %d: %s", strings.Join(args, " "), code, want, out)
	}
	return out
}

func (c *clinic) state() string {
	c.Helper()
	b, err := c.sims[clinictest.ServerA].State()
	c.must(err)
	return string(b)
}

// TestWhatWasLostIsPutBackByCommand: held says what to do, and doing it brings
// back what was there, without a running server too.
func TestWhatWasLostIsPutBackByCommand(t *testing.T) {
	c := newClinic(t)
	p := clinictest.Somebody(1, "a")
	server := c.sims[clinictest.ServerA].(simulate.Restorer)
	server.Mark("night")
	c.run(p.Register(clinictest.Day(1)), p.Visit(clinictest.Day(2), "51"))
	had := c.state()
	c.must(server.Restore("night"))
	c.run(p.Visit(clinictest.Day(2), "51").Edited("52"))
	if out := c.command(0, "held"); !strings.Contains(out, "stopped since") || !strings.Contains(out, "kiungo replay --missing openmrs-a") {
		t.Errorf("held says %s", out)
	}
	if out := c.command(0, "deliveries"); !strings.Contains(out, "kiungo replay --missing openmrs-a") {
		t.Errorf("deliveries says %s", out)
	}
	out := c.command(0, "replay", "--missing", "openmrs-a", "--dry-run")
	if !strings.Contains(out, "openmrs/Patient") || !strings.Contains(out, "nothing was done") {
		t.Errorf("a dry run says %s", out)
	}
	for _, word := range p.Markers() {
		if strings.Contains(out, word) {
			t.Errorf("a dry run shows %q", word)
		}
	}
	var r ledger.ReplayReport
	out = c.command(0, "replay", "--missing", "openmrs-a", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Missing) != 2 || len(r.Repeated) != 2 || !r.Resumed {
		t.Errorf("%v: %s", err, out)
	}
	c.run()
	if out := c.command(0, "deliveries"); !strings.Contains(out, "repeats 1") || strings.Contains(out, "waiting") {
		t.Errorf("deliveries says %s", out)
	}
	if got := c.state(); strings.Count(got, `"uuid"`) != strings.Count(had, `"uuid"`) {
		t.Errorf("it has\n%s\nand had\n%s", got, had)
	}
	if out := c.command(0, "replay", "--missing", "openmrs-a"); !strings.Contains(out, "something is missing of 0") {
		t.Errorf("again: %s", out)
	}
	for _, wrong := range [][]string{{"replay", "openmrs-a"}, {"replay", "--missing", "openmrs-a", "--accept", "--dry-run"}, {"replay", "--missing", "openmrs-a", "--since", "yesterday"}} {
		c.command(2, wrong...)
	}
	if out := c.command(1, "replay", "--missing", "openmrs-z"); !strings.Contains(out, "no active system") {
		t.Errorf("an unknown system: %s", out)
	}
}

// TestChangedFlowsShowWhatTheyWouldDo: two versions of an integration plan the
// same messages against the same answers, and nothing is written.
func TestChangedFlowsShowWhatTheyWouldDo(t *testing.T) {
	c := newClinic(t)
	p := clinictest.Somebody(1, "a")
	c.run(p.Register(clinictest.Day(1)), p.Visit(clinictest.Day(2), "51"))
	had := c.state()
	reads := filepath.Join(t.TempDir(), "reads")
	plans := func() []upgrade.Line {
		t.Helper()
		out := c.command(0, "plans", "--reads", reads, "--salt", "00ff", "--last", "10")
		lines, err := upgrade.Read(strings.NewReader(out))
		c.must(err)
		for _, word := range p.Markers() {
			if strings.Contains(out, word) {
				t.Errorf("the plans show %q", word)
			}
		}
		return lines
	}
	old := plans()
	if len(old) != 2 || old[0].State != upgrade.Planned || len(old[0].Calls)+len(old[1].Calls) != 0 {
		t.Fatalf("what was carried on is planned as %+v", old)
	}
	if r := upgrade.Compare(old, plans()); r.Different != 0 || r.Deliveries != 2 {
		t.Errorf("the same version differs: %+v", r)
	}
	file := filepath.Join(c.dir, "integrations", filepath.Base(feedIntegration), "flows", "registration-to-openmrs.yaml")
	text, err := os.ReadFile(file)
	c.must(err)
	changed := strings.Replace(string(text), "cityVillage: '${case.village}'", "cityVillage: '${case.village}', country: Kenya", 1)
	if changed == string(text) {
		t.Fatal("the flow does not set the village that way any more")
	}
	c.must(os.WriteFile(file, []byte(changed), 0o600))
	r := upgrade.Compare(old, plans())
	if r.Different != 1 || len(r.Found) != 2 || r.Found[0].What != "call added" || r.Found[0].Kind != "openmrs/Patient" || r.Found[1].What != "field" || r.Found[1].Name != "address/country" {
		t.Errorf("%+v", r)
	}
	if c.state() != had {
		t.Error("planning changed something")
	}
	c.command(2, "upgrade", "--try")
	c.command(2, "upgrade")
}
