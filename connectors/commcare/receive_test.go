package commcare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// forwarded is a request as one of the contract's *.request.json says.
func forwarded(t testing.TB, name string) (*http.Request, []byte) {
	t.Helper()
	var doc struct {
		Query   map[string]string `json:"query"`
		Headers map[string]string `json:"headers"`
		File    string            `json:"body_file"`
		Text    string            `json:"body_text"`
	}
	if err := json.Unmarshal(file(t, "repeaters/"+name+".request.json"), &doc); err != nil {
		t.Fatal(err)
	}
	body := []byte(doc.Text)
	if doc.File == "" && doc.Text == "" {
		doc.File = name + ".body.json"
	}
	if doc.File != "" {
		body = file(t, "repeaters/"+doc.File)
	}
	r := httptest.NewRequest("POST", "/in/commcare-demo", bytes.NewReader(body))
	q := r.URL.Query()
	for k, v := range doc.Query {
		q.Set(k, v)
	}
	r.URL.RawQuery = q.Encode()
	for k, v := range doc.Headers {
		r.Header.Set(k, v)
	}
	return r, body
}

func receiveOne(t testing.TB, s *System, r *http.Request, body []byte) connector.Incoming {
	t.Helper()
	in, err := s.Receive(r, body)
	if err != nil {
		t.Fatal(err)
	}
	if len(in) != 1 {
		t.Fatalf("%d messages, want 1", len(in))
	}
	return in[0]
}

func receiveXML(t testing.TB, s *System, body []byte) connector.Incoming {
	t.Helper()
	return receiveOne(t, s, httptest.NewRequest("POST", "/", nil), body)
}

func TestForwardedFormsAreReadInBothFormats(t *testing.T) {
	s := open(t, nil)
	r, body := forwarded(t, "form-json")
	in := receiveOne(t, s, r, body)
	if in.Kind != "form" || in.Doc != "1fede691-1f54-4bbc-9648-9ca8372f01e1" || !in.Event.Equal(time.Date(2017, 5, 25, 21, 6, 27, 12e6, time.UTC)) {
		t.Errorf("form JSON: %s %s at %s", in.Kind, in.Doc, in.Event)
	}
	want := map[string]any{"form": map[string]any{
		"@name": "Register", "@uiVersion": "1", "@version": "11", "app_id": "9393007a6921eecd4a9f20eefb7b97f4",
		"cases": []any{map[string]any{"case_id": "65e55473-e83b-4d78-9dde-eaf949758997", "case_name": "Elsa", "case_type": "paciente", "close": false,
			"create":        map[string]any{"case_name": "Elsa", "case_type": "paciente", "owner_id": "9393007a6921eecd4a9f20eefb5c7a8e"},
			"date_modified": "2017-05-25T21:06:27.012Z", "estado_tarv": "1", "index": map[string]any{}, "owner_id": "9393007a6921eecd4a9f20eefb5c7a8e",
			"tb": "0", "update": map[string]any{"estado_tarv": "1", "tb": "0"}, "user_id": "9393007a6921eecd4a9f20eefb5c7a8e"}},
		"estado_tarv": "1", "id": "1fede691-1f54-4bbc-9648-9ca8372f01e1",
		"meta": map[string]any{"appVersion": "Formplayer Version: 2.33", "deviceID": "Formplayer", "instanceID": "1fede691-1f54-4bbc-9648-9ca8372f01e1",
			"timeEnd": "2017-05-25T21:06:27.012Z", "timeStart": "2017-05-25T21:06:17.739Z", "userID": "9393007a6921eecd4a9f20eefb5c7a8e",
			"username": "chw.one@openmrs-test.commcarehq.org"},
		"nome": "Elsa", "received_on": "2017-05-25T21:06:27.275256Z", "tb": "0", "xmlns": "http://openrosa.org/formdesigner/0F961E26-3BE6-4D39-9FF1-E41D405346DD"}}
	if d := cmp.Diff(want, decode(t, in.Content)); d != "" {
		t.Error(d)
	}

	r, body = forwarded(t, "form-xml")
	in = receiveOne(t, s, r, body)
	form := decode(t, in.Content)["form"].(map[string]any)
	if in.Doc != "afcb3026-c4b3-463f-85ec-0cb9a2737fc5" || !in.Event.Equal(time.Date(2015, 4, 17, 20, 4, 54, 95e7, time.UTC)) ||
		form["question1"] != "Trees" || form["app_id"] != "db9f874f0219444ee7848ddd023e292e" || form["received_on"] != "2015-04-17T20:14:34.046462Z" {
		t.Errorf("form XML: %s at %s: %s", in.Doc, in.Event, in.Content)
	}
}

func TestForwardedCasesAreReadInBothFormats(t *testing.T) {
	s := open(t, nil)
	for _, name := range []string{"case-json", "case-xml"} {
		r, body := forwarded(t, name)
		in := receiveOne(t, s, r, body)
		c := decode(t, in.Content)["case"].(map[string]any)
		if in.Kind != "case" || in.Doc != "b0916685-7247-4c44-b712-633d3d64e0c0" || in.Version != "2015-04-17T20:14:34.139959Z" ||
			c["type"] != "mscase" || c["case_name"] != "Trees" || c["closed"] != false || c["last_modified"] != "2015-04-17T16:04:54.95Z" {
			t.Errorf("%s: %+v %s", name, in, in.Content)
		}
	}
}

func TestAFormStubWakesTheSweep(t *testing.T) {
	s := open(t, nil)
	r, body := forwarded(t, "form-stub")
	if d := cmp.Diff(connector.Incoming{Wake: "forms"}, receiveOne(t, s, r, body)); d != "" {
		t.Error(d)
	}
}

func TestOtherForwardingIsAcknowledgedAndKeepsNothing(t *testing.T) {
	s := open(t, nil)
	s.users.put("3d1a8a7c2f2f4a6c9a5e5d1f7a5b0c11", map[string]any{})
	s.places.put("68e65fbc2dc840ff8bf03849e57aca88", map[string]any{})
	r, body := forwarded(t, "app-structure")
	for name, b := range map[string][]byte{"user": file(t, "repeaters/user.body.json"), "location": file(t, "repeaters/location.body.json"),
		"app": body, "device log": file(t, "forms/xform.device-log.xml"),
		"superseded": []byte(`{"doc_type":"XFormDeprecated","id":"a","form":{"@xmlns":"x"}}`)} {
		in, err := s.Receive(r, b)
		if err != nil || len(in) != 0 {
			t.Errorf("%s: %v %v", name, in, err)
		}
	}
	if _, ok := s.users.get("3d1a8a7c2f2f4a6c9a5e5d1f7a5b0c11"); ok {
		t.Error("the changed user is still remembered")
	}
	if _, ok := s.places.get("68e65fbc2dc840ff8bf03849e57aca88"); ok {
		t.Error("the changed location is still remembered")
	}
}

func TestAnEditedFormKeepsItsDocumentAndChangesItsVersion(t *testing.T) {
	s := open(t, nil)
	first, edited := receiveXML(t, s, file(t, "forms/xform.simple.xml")), receiveXML(t, s, file(t, "forms/xform.simple-edited.xml"))
	if first.Doc != "ad38211be256653bceac8e2156475664" || edited.Doc != first.Doc || edited.Version == first.Version {
		t.Errorf("%s %s, then %s %s", first.Doc, first.Version, edited.Doc, edited.Version)
	}
	if again := receiveXML(t, s, file(t, "forms/xform.simple.xml")); again.Version != first.Version {
		t.Error("the same form twice has two versions")
	}
}

func TestFormIDsOfOlderPhones(t *testing.T) {
	s := open(t, nil)
	in := receiveXML(t, s, file(t, "forms/case-v2.prefixed-namespace.xml"))
	if in.Doc != "05f9c90f-8e2e-4e3f-b392-002058c46b00" || !in.Event.Equal(time.Date(2011, 12, 27, 21, 7, 51, 85e6, time.UTC)) {
		t.Errorf("<Meta> with <uid>: %s at %s", in.Doc, in.Event)
	}
	meta := decode(t, in.Content)["form"].(map[string]any)["meta"].(map[string]any)
	if meta["userID"] != "d5ce3a980b5b69e793445ec0e3b2138e" || meta["timeStart"] != "2011-12-27T21:07:34.445Z" || meta["deviceID"] != "ZQKXWCOE9S4C9K3BTENGJFWTJ" {
		t.Errorf("meta is %v", meta)
	}
	in = receiveXML(t, s, file(t, "forms/case-v2.create.xml"))
	if again := receiveXML(t, s, file(t, "forms/case-v2.create.xml")); !strings.HasPrefix(in.Doc, "content-") || again.Doc != in.Doc {
		t.Errorf("a form without an id: %q, then %q", in.Doc, again.Doc)
	}
}

func TestArchivedFormsAreWithdrawn(t *testing.T) {
	s := open(t, nil)
	r, body := forwarded(t, "form-json")
	live := receiveOne(t, s, r, body)
	for _, b := range [][]byte{bytes.Replace(body, []byte(`"archived": false`), []byte(`"archived": true`), 1),
		bytes.Replace(body, []byte(`"archived": false`), []byte(`"doc_type": "XFormArchived"`), 1)} {
		in := receiveOne(t, s, r, b)
		if !in.Withdrawn || in.Doc != live.Doc || in.Version == live.Version {
			t.Errorf("%s %s withdrawn %v", in.Doc, in.Version, in.Withdrawn)
		}
	}
}

// TestOneFormIsTheSameByEveryChannel sends every sample form through a
// simulated CommCare that forwards it as JSON and XML, and sweeps it (law 19).
func TestOneFormIsTheSameByEveryChannel(t *testing.T) {
	names := []string{"forms/form-json.registration.json", "forms/form-json.followup.json", "forms/case-v1.cases-in-repeats.xml",
		"forms/case-v1.parallel-cases.xml", "forms/case-v2.prefixed-namespace.xml", "forms/xform.case-and-ledger.xml", "forms/xform.form-with-case.xml",
		"forms/xform.gps-location.xml", "forms/xform.simple.xml", "forms/xml-to-json/meta.xml", "forms/xml-to-json/namespaces.xml",
		"forms/xml-to-json/unicode.xml", "repeaters/form-xml.body.xml", "repeaters/form-xml.test-template.body.xml",
		"submission/xform.register-case.request.xml", "submission/system-form.case-blocks.request.xml"}
	bodies := map[string][]byte{}
	for _, name := range names {
		bodies[name] = file(t, name)
	}
	g := sim.NewGenerator(3, 5, 2)
	for range 30 {
		f := g.Next()
		bodies["generated "+f.ID] = f.Body
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]string{"sweep_from": "2020-01-01"})
			got := channels(b, body)
			first := got["sweep"]
			withoutID := strings.HasPrefix(got["form_xml"].Doc, "content-")
			for channel, in := range got {
				if in.Version != first.Version || !in.Event.Equal(first.Event) || (in.Doc != first.Doc && !withoutID) {
					t.Errorf("%s gives %s %s %s, the sweep %s %s %s", channel, in.Doc, in.Version, in.Event, first.Doc, first.Version, first.Event)
				}
				if d := cmp.Diff(string(first.Content), string(in.Content)); d != "" && !withoutID {
					t.Errorf("%s: %s", channel, d)
				}
			}
		})
	}
}

// channels submits a form and gives it as each channel brings it.
func channels(b *bench, body []byte) map[string]connector.Incoming {
	got := map[string]connector.Incoming{}
	for _, f := range []sim.Format{sim.FormJSON, sim.FormXML} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !b.sys.Authorised(r) {
				b.Errorf("%s came without its credentials", f)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				b.Error(err)
			}
			got[string(f)] = receiveOne(b, b.sys, r, body)
			w.WriteHeader(http.StatusAccepted)
		}))
		b.Cleanup(server.Close)
		b.sim.Forward(server.URL, f, b.sim.Credentials())
	}
	b.submit(body)
	if n := b.sim.Deliver(context.Background(), http.DefaultClient); n != 2 {
		b.Fatalf("%d forwarded, want 2", n)
	}
	batch := b.poll("forms", nil)
	if len(batch.Messages) != 1 {
		b.Fatalf("the sweep found %d forms", len(batch.Messages))
	}
	got["sweep"] = batch.Messages[0]
	return got
}

func TestAnswersAreReachableByTheirPaths(t *testing.T) {
	var vectors []struct {
		Form     map[string]any    `json:"form_json"`
		Expected map[string]string `json:"expected"`
	}
	if err := json.Unmarshal(file(t, "forms/form-question-values.vectors.json"), &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		in, err := formMessage(v.Form)
		if err != nil {
			t.Fatal(err)
		}
		form := decode(t, in.Content)["form"].(map[string]any)
		for path, want := range v.Expected {
			at := strings.Split(strings.Trim(path, "/"), "/")
			var got any = form
			switch {
			case at[0] == "data":
				for _, p := range at[1:] {
					got = got.(map[string]any)[p]
				}
			case at[1] == "xmlns", at[1] == "received_on":
				got = form[at[1]]
			default:
				got = form["meta"].(map[string]any)[at[1]]
			}
			if got != xform.Plain(want) {
				t.Errorf("%s is %v, want %v", path, got, want)
			}
		}
	}
}

func TestAnswersNamedLikeOurNamesStandApart(t *testing.T) {
	s := open(t, nil)
	in := receiveXML(t, s, []byte(`<data xmlns="x"><id>patient 7</id><cases>12</cases><weight>60</weight><case>none</case>
		<visit><case xmlns="http://commcarehq.org/case/transaction/v2" case_id="c1"/><note/></visit>
		<meta><instanceID>i</instanceID></meta></data>`))
	want := map[string]any{"form": map[string]any{"xmlns": "x", "id": "i", "weight": "60", "case": "none", "meta": map[string]any{"instanceID": "i"},
		"answers": map[string]any{"id": "patient 7", "cases": "12"},
		"visit":   map[string]any{"case": map[string]any{"case_id": "c1"}, "note": ""},
		"cases": []any{map[string]any{"case_id": "c1", "close": false, "date_modified": "", "user_id": "", "update": map[string]any{},
			"index": map[string]any{}}}}}
	if d := cmp.Diff(want, decode(t, in.Content)); d != "" {
		t.Error(d)
	}
}

func TestBadInputIsAnsweredInPlainWords(t *testing.T) {
	s := open(t, nil)
	for body, want := range map[string]string{
		"":                       "the body is empty",
		"hello":                  "not JSON: error at byte 1 of 5",
		`["a"]`:                  "not a JSON object",
		`{"hello": 1}`:           "none of what CommCare forwards",
		`<a/>`:                   "no xmlns",
		`<a xmlns="x">`:          "ends too early",
		`{"form": "x"}`:          "has no form",
		`{"case_id": ""}`:        "no case_id",
		`{"form": {"a": "b"}} x`: "more follows",
	} {
		_, err := s.Receive(httptest.NewRequest("POST", "/", nil), []byte(body))
		var bad *connector.BadInput
		if !errors.As(err, &bad) || !strings.Contains(bad.Text, want) {
			t.Errorf("%q: %v, want %q", body, err, want)
		}
	}
}

func TestOnlyTheConfiguredCredentialsMayPush(t *testing.T) {
	basicAuth := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	header := func(name, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(name, v) } }
	both := map[string]string{"inbound_key": "secret", "inbound_header": "X-CommCare"}
	none := map[string]string{"inbound_username": "", "inbound_password": ""}
	tests := []struct {
		name    string
		options map[string]string
		request func(*http.Request)
		want    bool
	}{
		{"right password", nil, basicAuth("commcare", "p"), true},
		{"wrong password", nil, basicAuth("commcare", "q"), false},
		{"no credentials", nil, func(*http.Request) {}, false},
		{"right key", both, header("X-CommCare", "secret"), true},
		{"wrong key", both, header("X-CommCare", "secreT"), false},
		{"key in another header", both, header("X-API-Key", "secret"), false},
		{"password beside a key", both, basicAuth("commcare", "p"), true},
		{"nothing configured, nothing sent", none, func(*http.Request) {}, false},
		{"nothing configured, empty password", none, basicAuth("", ""), false},
	}
	for _, test := range tests {
		r := httptest.NewRequest("POST", "/", nil)
		test.request(r)
		if got := open(t, test.options).Authorised(r); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func FuzzReceive(f *testing.F) {
	for _, name := range []string{"forms/form-json.registration.json", "repeaters/case-json.body.json", "repeaters/case-xml.body.xml",
		"repeaters/form-stub.body.json", "repeaters/user.body.json", "repeaters/form-xml.body.xml", "forms/xform.case-and-ledger.xml"} {
		f.Add(file(f, name))
	}
	s := open(f, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := s.Receive(httptest.NewRequest("POST", "/", nil), body)
		var bad *connector.BadInput
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("error of another kind: %v", err)
		}
		for _, m := range in {
			if m.Wake == "" && (m.Doc == "" || m.Version == "" || !json.Valid(m.Content)) {
				t.Fatalf("incomplete message %+v", m)
			}
		}
	})
}
