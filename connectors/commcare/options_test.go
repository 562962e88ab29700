package commcare

import (
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

func TestEveryWrongOptionIsNamedAtOnce(t *testing.T) {
	_, err := Open(connector.Config{Name: "cc", Values: map[string]string{"url": "ftp://x", "domain": "a/b", "api_key": "k", "password": "p",
		"inbound_username": "u", "sweep_every": "1s", "overlap": "x", "sweep_from": "yesterday", "sweep_cases": "maybe", "page_size": "501", "cache_for": "-1m"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"url", "domain", "username is missing", "api_key and password", "inbound_username", "sweep_every", "overlap",
		"sweep_from", "sweep_cases", "page_size", "cache_for"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}

func TestRequestsCarryCredentialsAndOurName(t *testing.T) {
	for options, want := range map[string]string{"api_key": "ApiKey kiungo@demo.example:simulated-api-key", "password": "Basic "} {
		b := newBench(t, nil)
		if options == "password" {
			b = newBench(t, map[string]string{"api_key": "", "password": "simulated-password"})
		}
		if _, err := b.Do(t.Context(), "probe", b.sys.Probe()); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(b.sys.auth, want) {
			t.Errorf("authorised by %q", b.sys.auth)
		}
	}
	b := newBench(t, map[string]string{"api_key": "wrong"})
	if _, err := b.Do(t.Context(), "probe", b.sys.Probe()); call.ClassOf(err) != call.NotAuthorised {
		t.Errorf("with a wrong key: %v", err)
	}
}

// CommCare forwards the form that our own write makes; it is told by its xmlns
// and by our name, and changes nothing that a snapshot does not know.
func TestOurOwnWritesAreRecognisable(t *testing.T) {
	b := caseBench(t)
	f := b.find(connector.Query{By: []map[string]any{{"id": "c1"}}})
	_, position := b.sweep("forms", nil)
	b.apply(connector.Change{Record: "case", Found: &f, Write: map[string]any{"properties/phone": "1"}, Wanted: map[string]any{"properties/phone": "1"}})
	got, _ := b.sweep("forms", position)
	if len(got) != 1 {
		t.Fatalf("%d forms", len(got))
	}
	form := decode(t, got[0].Content)["form"].(map[string]any)
	if form["xmlns"] != "http://commcarehq.org/case_api" || form["meta"].(map[string]any)["deviceID"] != "kiungo/test" {
		t.Errorf("the echo is %s", got[0].Content)
	}
}

func TestConnectorIsComplete(t *testing.T) {
	c := Connector()
	s := open(t, nil)
	for _, k := range c.Kinds {
		if s.Kind(k.Name) == nil {
			t.Errorf("kind %s is described but not there", k.Name)
		}
	}
	if s.Kind("Nothing") != nil {
		t.Error("an unknown kind is there")
	}
	hq, err := c.Simulate([]byte(`{"domain":"other"}`))
	if err != nil || hq.Settings()["domain"] != "other" {
		t.Errorf("simulator: %v", err)
	}
	if _, err := c.Simulate([]byte(`{"hour":"x"}`)); err == nil {
		t.Error("a wrong option of the simulator was taken")
	}
	var _ *sim.Sim = hq.(*sim.Sim)
}

func TestSamplesAreRealPayloads(t *testing.T) {
	for name, kind := range map[string]string{"forms/form-json.followup.json": "form", "forms/xform.form-with-case.xml": "form", "repeaters/case-json.body.json": "case"} {
		got, err := sample(kind, file(t, name))
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %d contents, %v", name, len(got), err)
		}
	}
	if _, err := sample("case", file(t, "forms/form-json.followup.json")); err == nil {
		t.Error("a form was taken for a case")
	}
	for _, name := range []string{"repeaters/location.body.json", "repeaters/user.body.json"} {
		if got, err := sample("form", file(t, name)); err != nil || len(got) != 0 {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}
