package openmrs

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOptionsAreChecked(t *testing.T) {
	good := map[string]string{"url": "https://emr.example.org/openmrs/", "username": "kiungo", "password": "secret"}
	if s, err := Open(connector.Config{Name: "emr", Values: good}); err != nil || s.base != "https://emr.example.org/openmrs/ws/rest/v1" {
		t.Fatalf("%v %v", s, err)
	}
	for name, bad := range map[string]string{"url": "emr.example.org", "username": "", "password": "a:b"} {
		values := map[string]string{}
		for k, v := range good {
			values[k] = v
		}
		values[name] = bad
		if _, err := Open(connector.Config{Name: "emr", Values: values}); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "a:b") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, url := range []string{"https://u:p@emr.example.org", "https://emr.example.org/openmrs/ws/rest/v1", "ftp://emr.example.org", "https://emr.example.org/?x=1"} {
		values := map[string]string{"url": url, "username": "u"}
		if _, err := Open(connector.Config{Name: "emr", Values: values}); err == nil {
			t.Errorf("%s was taken", url)
		}
	}
}

// TestSendCarriesBasicAndNothingElse: no cookie, no redirect, a limited body.
func TestSendCarriesBasicAndNothingElse(t *testing.T) {
	var seen []*http.Request
	answer := &http.Response{StatusCode: 302, Header: http.Header{"Location": {"https://other.example.org/"}, "Set-Cookie": {"JSESSIONID=x; Path=/"}, "Date": {"Tue, 08 Apr 2025 12:09:34 GMT"}}}
	var body io.Reader = strings.NewReader("")
	s, err := Open(connector.Config{Name: "emr", Our: "kiungo", Values: map[string]string{"url": "https://emr.example.org/openmrs", "username": "u", "password": "p"},
		HTTP: &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			seen = append(seen, r)
			a := *answer
			a.Body, a.Request = io.NopCloser(body), r
			return &a, nil
		})}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		a, err := s.Send(t.Context(), call.Request{Method: "POST", Path: "/visit/" + seg("a b/c"), Query: map[string][]string{"v": {"full"}}, Body: []byte("{}"), Header: map[string]string{"Kiungo-Call": "1/1/1/1"}})
		if err != nil || a.Status != 302 || a.Header["Location"] == "" || a.Header["Set-Cookie"] != "" || a.At.IsZero() {
			t.Fatalf("%+v %v", a, err)
		}
	}
	r := seen[1]
	if user, pass, ok := r.BasicAuth(); len(seen) != 2 || !ok || user != "u" || pass != "p" || r.Header.Get("Cookie") != "" || r.Header.Get("Kiungo-Call") == "" ||
		r.URL.String() != "https://emr.example.org/openmrs/ws/rest/v1/visit/a%20b%2Fc?v=full" || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.Errorf("%d requests; %v %v", len(seen), r.URL, r.Header)
	}
	answer.StatusCode, body = 200, bytes.NewReader(make([]byte, maxBody+1))
	if _, err := s.Send(t.Context(), read("/patient")); !errors.Is(err, errTooLarge) {
		t.Errorf("a large body: %v", err)
	}
}

// TestTheSpecSaysWhatCanonTakes: check, schema and reference are made from it.
func TestTheSpecSaysWhatCanonTakes(t *testing.T) {
	r := newRig(t, "", "")
	for _, spec := range Connector().Kinds {
		k := r.sys.Kind(spec.Name)
		if k == nil || k.Spec().Name != spec.Name || spec.About == "" || spec.ByDefault == "" {
			t.Fatalf("%s: %+v", spec.Name, spec)
		}
		for _, list := range [][]connector.FieldSpec{spec.Fields, spec.Finds, spec.Gives} {
			for _, f := range list {
				described(t, spec.Name, f)
			}
		}
		for _, f := range spec.Fields {
			if _, problems, err := k.Canon(t.Context(), r, map[string]any{f.Name: nil}); err != nil || len(problems) > 0 {
				t.Errorf("%s.%s: %v %v", spec.Name, f.Name, problems, err)
			}
			for _, sub := range f.Fields {
				if f.List {
					continue
				}
				if _, problems, err := k.Canon(t.Context(), r, map[string]any{f.Name: map[string]any{sub.Name: ""}}); err != nil || len(problems) > 0 {
					t.Errorf("%s.%s.%s: %v %v", spec.Name, f.Name, sub.Name, problems, err)
				}
			}
		}
		if _, problems, _ := k.Canon(t.Context(), r, map[string]any{"nosuch": 1}); len(problems) != 1 {
			t.Errorf("%s takes a field that it does not have", spec.Name)
		}
	}
	if r.sys.Kind("Nosuch") != nil {
		t.Error("an unknown kind is not nil")
	}
	for _, o := range Connector().Options {
		if o.About == "" {
			t.Errorf("option %s says nothing", o.Name)
		}
	}
}

func described(t *testing.T, at string, f connector.FieldSpec) {
	t.Helper()
	if f.About == "" || f.Type == "" || f.Type == connector.RefTo && f.Ref == "" {
		t.Errorf("%s.%s: %+v", at, f.Name, f)
	}
	for _, sub := range f.Fields {
		described(t, at+"."+f.Name, sub)
	}
}

// TestUndoLeavesWhatOthersChanged: only the fields that still hold what we wrote
// are restored (law 8).
func TestUndoLeavesWhatOthersChanged(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.plan("Patient", newPatient, by(map[string]any{"uuid": jane}), map[string]any{"name": map[string]any{"given": "Janet", "middle": "Wanjiku"}})
	r.apply(calls[0])
	clerk := newBody()
	clerk.set("givenName", "Joan")
	if _, err := r.do(t.Context(), "a clerk corrects", clerk.post(calls[0].Request.Path)); err != nil {
		t.Fatal(err)
	}
	r.undo(calls[0])
	f, err := r.sys.Kind("Patient").Find(t.Context(), r, connector.Query{Made: jane})
	if err != nil || f.Fields["name/given"] != "Joan" || !record.Empty(f.Fields["name/middle"]) {
		t.Errorf("%v %v %v", f.Fields["name/given"], f.Fields["name/middle"], err)
	}
	// A changed observation that a clinician changed again stays hers.
	r.apply(encounterCalls(r)[0])
	want := encounterWanted()
	want["obs"].([]any)[0] = map[string]any{"concept": weight, "value": 60}
	calls = r.plan("Encounter", newEncounter, connector.Query{Made: newEncounter}, want)
	r.apply(calls[0])
	again := newBody()
	again.set("value", 61)
	if _, err := r.do(t.Context(), "a clinician corrects", again.post("/obs/"+r.known[record.Later{Call: calls[0].Name, Output: "uuid"}])); err != nil {
		t.Fatal(err)
	}
	if r.undo(calls[0]) {
		t.Error("a clinician's value was overwritten")
	}
}

// TestAStoredDuplicateIsFoundAndUndone: up to module 2.44 the refused identifier
// is there (O3-3586); its check tells, with the uuid that its undo needs.
func TestAStoredDuplicateIsFoundAndUndone(t *testing.T) {
	r := newRig(t, `{"version":"2.44.0"}`, people)
	start := r.state()
	calls := r.plan("Patient", newPatient, by(map[string]any{"uuid": jane}), map[string]any{"identifiers": map[string]any{"National ID": "87654321"}})
	// Between plan and call another patient gets it.
	c := calls[0]
	c.Request.Body = bytes.Replace(c.Request.Body, []byte("87654321"), []byte("23456789"), 1)
	c.Check.Want["identifiers/National ID"] = "23456789"
	a, err := r.sys.Send(t.Context(), c.Request)
	if v := r.sys.Classify(c.Request, a, err); v.Class != call.Refusal || !v.Traces {
		t.Fatalf("%+v", v)
	}
	o := r.observe(c)
	if c.Check.Judge(o, nil) != call.Yes || o.Outputs["uuid"] == "" {
		t.Fatalf("%+v", o)
	}
	r.known[record.Later{Call: c.Name, Output: "uuid"}] = o.Outputs["uuid"]
	if !r.undo(c) || r.state() != start {
		t.Error("the duplicate stayed")
	}
}

func TestTheSimulatorOpensAsASystem(t *testing.T) {
	c := Connector()
	s, err := c.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	values := s.Settings()
	values["url"] = "http://emr.example.org"
	for name := range values {
		known := false
		for _, o := range c.Options {
			known = known || o.Name == name
		}
		if !known {
			t.Errorf("setting %s is no option", name)
		}
	}
	if _, err := c.Open(connector.Config{Name: "emr", Values: values}); err != nil {
		t.Error(err)
	}
}
