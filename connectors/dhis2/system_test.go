package dhis2

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

func TestOptionsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		values map[string]string
		says   string
	}{
		"token":             {map[string]string{"url": "https://x.example/dhis", "token": "d2p_x"}, ""},
		"password":          {map[string]string{"url": "https://x.example", "username": "u", "password": "p:q"}, ""},
		"no url":            {map[string]string{"token": "x"}, "option url"},
		"no scheme":         {map[string]string{"url": "x.example", "token": "x"}, "option url"},
		"with /api":         {map[string]string{"url": "https://x.example/api/", "token": "x"}, "before /api"},
		"with api version":  {map[string]string{"url": "https://x.example/api/40", "token": "x"}, "before /api"},
		"user in url":       {map[string]string{"url": "https://u:p@x.example", "token": "x"}, "option url"},
		"no credentials":    {map[string]string{"url": "https://x.example"}, "option token"},
		"no password":       {map[string]string{"url": "https://x.example", "username": "u"}, "option password"},
		"both":              {map[string]string{"url": "https://x.example", "token": "x", "username": "u", "password": "p"}, "not both"},
		"word in token":     {map[string]string{"url": "https://x.example", "token": "ApiToken x"}, "the word ApiToken"},
		"version":           {map[string]string{"url": "https://x.example", "token": "x", "version": "2.x"}, "option version"},
		"version too old":   {map[string]string{"url": "https://x.example", "token": "x", "version": "2.36"}, "older than 2.38"},
		"values":            {map[string]string{"url": "https://x.example", "token": "x", "values": "0"}, "option values"},
		"values not number": {map[string]string{"url": "https://x.example", "token": "x", "values": "all"}, "option values"},
	} {
		s, err := Open(connector.Config{Name: "hmis", Values: c.values})
		if c.says == "" != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "p:q")) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (s.Name() != "hmis" || s.Kind("Event") == nil || s.Kind("Patient") != nil) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestTheConnectorIsWhole(t *testing.T) {
	c := Connector()
	s, err := c.Open(connector.Config{Name: "x", Values: map[string]string{"url": "https://x.example", "token": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range c.Kinds {
		if s.Kind(k.Name) == nil || s.Kind(k.Name).Spec().Name != k.Name {
			t.Errorf("%s has no kind", k.Name)
		}
	}
	for _, o := range c.Options {
		if secret := o.Name == "token" || o.Name == "password"; o.Secret != secret || o.About == "" {
			t.Errorf("option %s: %+v", o.Name, o)
		}
	}
}

// One request: with the token in the form that every version reads, without the
// cookie of the one before, and without following a redirect.
func TestRequestsCarryTheTokenAndNoCookie(t *testing.T) {
	var seen []*http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r)
		http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "x"})
		if r.URL.Path == "/dhis/api/me" {
			w.Header().Set("Location", "/dhis-web-login/")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("ETag", `"e"`)
		_, _ = w.Write([]byte(`{}`))
	}))
	defer server.Close()
	for _, c := range []struct {
		values map[string]string
		auth   string
	}{
		{map[string]string{"token": "d2pat_abc"}, "ApiToken d2pat_abc"},
		{map[string]string{"username": "u", "password": "p"}, "Basic dTpw"},
	} {
		seen = nil
		c.values["url"] = server.URL + "/dhis/"
		s, err := Open(connector.Config{Name: "hmis", Values: c.values, Our: "kiungo/1", HTTP: server.Client()})
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Send(t.Context(), read("/dataSets", "filter", "id:in:[a,b]"))
		if err != nil || a.Status != 200 || a.Header["ETag"] != `"e"` {
			t.Fatalf("%+v %v", a, err)
		}
		if a, err = s.Send(t.Context(), read("/me")); err != nil || a.Status != http.StatusFound || a.Header["Location"] != "/dhis-web-login/" {
			t.Fatalf("%+v %v", a, err)
		}
		for _, r := range seen {
			h := r.Header
			if h.Get("Authorization") != c.auth || h.Get("Cookie") != "" || h.Get("X-Requested-With") != "XMLHttpRequest" || h.Get("Accept") != "application/json" || h.Get("User-Agent") != "kiungo/1" {
				t.Errorf("%s: %v", r.URL, h)
			}
		}
		if len(seen) != 2 || seen[0].URL.Query().Get("filter") != "id:in:[a,b]" {
			t.Errorf("%d requests", len(seen))
		}
	}
}

func TestAnAnswerThatIsTooLargeIsATransportError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b := make([]byte, 1<<20)
		for range 17 {
			_, _ = w.Write(b)
		}
	}))
	defer server.Close()
	s := opened(t, map[string]string{"url": server.URL})
	_, err := s.Send(t.Context(), read("/dataElements"))
	if !errors.Is(err, errTooLarge) || s.Classify(read("/x"), call.Answer{}, err).Class != call.RetryLater {
		t.Errorf("%v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := s.Send(ctx, read("/me")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAnotherDatabaseBehindTheSameAddressIsRefused(t *testing.T) {
	r := newRig(t, "")
	r.sys.database = "eed3d451-4ff5-4193-b951-ffcc68954299"
	if _, err := r.sys.meta.info(t.Context(), r); err != nil {
		t.Error(err)
	}
	r = newRig(t, `{"systemId":"00000000-4ff5-4193-b951-ffcc68954299"}`)
	r.sys.database = "eed3d451-4ff5-4193-b951-ffcc68954299"
	if _, _, err := r.sys.Kind("DataValueSet").Canon(t.Context(), r, monthOf(row(deaths, "", 1))); call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "another database") {
		t.Errorf("%v", err)
	}
}

func TestAServerWithAWrongCertificateIsDown(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s := opened(t, map[string]string{"url": server.URL})
	r := sent(t, valuesPath, "")
	_, err := s.Send(t.Context(), r)
	if v := s.Classify(r, call.Answer{}, err); v.Class != call.RetryLater || !v.Down || !strings.Contains(v.Reason, "certificate") {
		t.Errorf("%+v (%v)", v, err)
	}
}

func TestWrongCredentialsAndOtherWaysInAreTold(t *testing.T) {
	token := newRig(t, `{"token":true}`)
	if _, err := token.sys.meta.me(t.Context(), token); err != nil {
		t.Errorf("a token: %v", err)
	}
	if token.sys.userName() != "kiungo" {
		t.Errorf("the token's user is %q", token.sys.userName())
	}
	token.sys.token = "d2pat_5xVA12xyUbWNedQxy4ohH77WlxRGVvZZ1151814092"
	if _, err := token.do(t.Context(), "me", read("/me")); call.ClassOf(err) != call.NotAuthorised {
		t.Errorf("another token: %v", err)
	}
	basic := newRig(t, "")
	basic.sys.password = "wrong"
	if _, err := basic.do(t.Context(), "me", read("/me")); call.ClassOf(err) != call.NotAuthorised {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := newRig(t, "").do(t.Context(), "probe", token.sys.Probe()); err != nil {
		t.Errorf("probe: %v", err)
	}
}
