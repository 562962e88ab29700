package cht

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors/cht/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

func TestAnAnswerMeansWhatTheCHTMeansByIt(t *testing.T) {
	s := newRig(t, "{}").System
	readOne, write := get("/medic/x"), call.Request{Method: "PUT", Path: "/medic/x"}
	records := call.Request{Method: "POST", Path: "/api/v2/records"}
	for name, c := range map[string]struct {
		r      call.Request
		status int
		body   string
		err    error
		class  call.Class
		down   bool
	}{
		"done":                         {write, 201, `{"ok":true,"id":"x","rev":"1-a"}`, nil, call.Done, false},
		"not there":                    {readOne, 404, `{"error":"not_found","reason":"missing"}`, nil, call.Done, false},
		"data API, not there":          {get("/api/v1/person/x"), 404, `{"code":404,"error":"Person not found"}`, nil, call.Done, false},
		"another server's page":        {readOne, 404, `<html>Not Found</html>`, nil, call.Refusal, false},
		"no such parent":               {records, 404, `{"code":404,"error":"Failed to find place."}`, nil, call.Refusal, false},
		"conflict":                     {write, 409, `{"error":"conflict","reason":"Document update conflict"}`, nil, call.Conflicting, false},
		"stale revision, data API":     {call.Request{Method: "PUT", Path: "/api/v1/person/x"}, 400, `{"code":400,"error":"The [_rev] fields must not be changed."}`, nil, call.Conflicting, false},
		"bulk, one conflict":           {call.Request{Method: "POST", Path: "/medic/_bulk_docs"}, 201, `[{"ok":true},{"id":"a","error":"conflict"}]`, nil, call.Conflicting, false},
		"bulk, all written":            {call.Request{Method: "POST", Path: "/medic/_bulk_docs"}, 201, `[{"ok":true}]`, nil, call.Done, false},
		"bulk, one forbidden":          {call.Request{Method: "POST", Path: "/medic/_bulk_docs"}, 201, `[{"id":"a","error":"forbidden"}]`, nil, call.Uncertain, false},
		"wrong password":               {readOne, 401, `{"code":401,"error":"unauthorized"}`, nil, call.NotAuthorised, false},
		"wrong password, text":         {readOne, 401, `not logged in`, nil, call.NotAuthorised, false},
		"nobody's session":             {s.Probe(), 200, `{"ok":true,"userCtx":{"name":null,"roles":[]}}`, nil, call.NotAuthorised, false},
		"session":                      {s.Probe(), 200, `{"ok":true,"userCtx":{"name":"kiungo","roles":[]}}`, nil, call.Done, false},
		"no permission":                {readOne, 403, `{"code":403,"error":"Insufficient privileges"}`, nil, call.NotAuthorised, false},
		"offline user":                 {readOne, 403, `{"code":403,"error":"forbidden","details":"Offline users are not allowed access to this endpoint"}`, nil, call.NotAuthorised, false},
		"may not list users":           {get(usersPath), 403, `{"code":403,"error":"Insufficient privileges"}`, nil, call.Done, false},
		"too many refused logins":      {readOne, 429, `{"code":429,"error":"Too Many Requests"}`, nil, call.RetryLater, false},
		"login page":                   {readOne, 302, ``, nil, call.NotAuthorised, false},
		"form not found":               {records, 500, `{"code":500,"error":"Server error","details":"Form not found: X"}`, nil, call.Refusal, false},
		"no form named":                {records, 500, `{"code":500,"error":"Server error","details":"Missing required field: form"}`, nil, call.Refusal, false},
		"failed inside, write":         {records, 500, `{"code":500,"error":"Server error"}`, nil, call.Uncertain, false},
		"failed inside, read":          {readOne, 500, `{"code":500,"error":"Server error"}`, nil, call.RetryLater, false},
		"export without permission":    {get(exportPath), 500, `{"code":500,"error":"Server error"}`, nil, call.RetryLater, false},
		"upgrading, read":              {readOne, 503, `<html>503</html>`, nil, call.RetryLater, true},
		"upgrading, write":             {write, 503, `<html>503</html>`, nil, call.Uncertain, true},
		"proxy":                        {readOne, 502, `<html>502 Bad Gateway</html>`, nil, call.RetryLater, true},
		"page instead of data, read":   {readOne, 200, `<html>Log in</html>`, nil, call.RetryLater, true},
		"page instead of data, write":  {write, 200, `<html>Log in</html>`, nil, call.Uncertain, true},
		"cut off":                      {readOne, 200, `{"rows":[`, nil, call.RetryLater, false},
		"empty":                        {write, 201, ``, nil, call.Uncertain, false},
		"refused":                      {records, 400, `{"code":400,"error":"The [contact] field must have a [string] value."}`, nil, call.Refusal, false},
		"users API":                    {records, 400, `{"code":400,"error":{"message":"Username \"mediator\" already taken."}}`, nil, call.Refusal, false},
		"cannot connect":               {write, 0, ``, &net.OpError{Op: "dial", Err: errors.New("refused")}, call.RetryLater, true},
		"line broke, write":            {write, 0, ``, errors.New("EOF"), call.Uncertain, true},
		"line broke, read":             {readOne, 0, ``, errors.New("EOF"), call.RetryLater, true},
		"stopped":                      {readOne, 0, ``, context.Canceled, call.RetryLater, false},
		"too large":                    {readOne, 0, ``, errTooLarge, call.RetryLater, false},
		"read by POST, line broke":     {call.Request{Method: "POST", Path: allDocs, Read: true}, 0, ``, errors.New("EOF"), call.RetryLater, true},
		"moved":                        {readOne, 301, ``, nil, call.Refusal, false},
		"timed out before our request": {write, 408, ``, nil, call.Uncertain, false},
	} {
		a := call.Answer{Status: c.status, Body: []byte(c.body), Header: map[string]string{}}
		if name == "login page" {
			a.Header["Location"] = "/medic/login?redirect=x"
		}
		v := s.Classify(c.r, a, c.err)
		if v.Class != c.class || v.Down != c.down || v.Class != call.Done && v.Reason == "" {
			t.Errorf("%s: %+v, want %s, down %v", name, v, c.class, c.down)
		}
	}
}

func TestReasonsDoNotRepeatWhatTheServerQuotes(t *testing.T) {
	s := newRig(t, "{}").System
	for body, want := range map[string]string{
		`{"code":400,"error":"Parent contact [5fc28e5b] not found."}`:                "the CHT answered 400: Parent contact … not found.",
		`{"code":400,"error":"The [contact] field must have a [string] value."}`:     "the CHT answered 400: The contact field must have a string value.",
		`{"code":400,"error":{"message":"Phone '+254712345602' of \"Jane\" taken"}}`: "the CHT answered 400: Phone … of … taken",
		`{"code":400,"error":"filter \"dataSet\" is required"}`:                      "the CHT answered 400: filter dataSet is required",
		`<html>`: "the CHT answered 400",
	} {
		v := s.Classify(call.Request{Method: "POST"}, call.Answer{Status: 400, Body: []byte(body)}, nil)
		if v.Reason != want {
			t.Errorf("%s: %q, want %q", body, v.Reason, want)
		}
	}
}

func TestARefusedLoginIsNotTriedAgainWithinTheCHTsWindow(t *testing.T) {
	s := newRig(t, "{}").System
	if v := s.Classify(get("/x"), call.Answer{Status: 429}, nil); v.RetryAfter < 10*time.Second {
		t.Errorf("again after %s", v.RetryAfter)
	}
	if v := s.Classify(get("/x"), call.Answer{Status: 429, Header: map[string]string{"Retry-After": "60"}}, nil); v.RetryAfter != time.Minute {
		t.Errorf("again after %s", v.RetryAfter)
	}
}

func TestFaultsOfTheServerAreSeenForWhatTheyAre(t *testing.T) {
	for fault, want := range map[simulate.Kind]call.Class{simulate.Error500: call.RetryLater, simulate.Error503: call.RetryLater, simulate.HTMLPage: call.RetryLater,
		simulate.Unauthorised: call.NotAuthorised, simulate.TooMany: call.RetryLater, simulate.Down: call.RetryLater, simulate.Refuse: call.Refusal} {
		r := newRig(t, `{"default":"2026-10"}`)
		r.sim.Traffic().Switch(simulate.Fault{Kind: fault, Match: "* " + exportPath})
		_, err := r.List(t.Context(), r, october(t, kindExport, ourDataSet, nil), nil)
		if call.ClassOf(err) != want {
			t.Errorf("%s: %v, want %s", fault, err, want)
		}
		r.sim.Traffic().Calm()
		if page, err := r.List(t.Context(), r, october(t, kindExport, ourDataSet, nil), nil); err != nil || len(page.Messages) != 2 {
			t.Errorf("%s: after it: %v", fault, err)
		}
	}
	r := newRig(t, `{"default":"2026-10"}`)
	r.sim.Upgrade(true)
	if _, err := r.Do(t.Context(), "probe", r.Probe()); call.ClassOf(err) != call.RetryLater {
		t.Errorf("while upgrading: %v", err)
	}
	r.sim.Upgrade(false)
	if _, err := r.Do(t.Context(), "probe", r.Probe()); err != nil {
		t.Errorf("after the upgrade: %v", err)
	}
}

func TestTheUserWhoMayOnlyExportForDHIS2IsToldWhy(t *testing.T) {
	r := newRig(t, `{"default":"2026-10","missing":["can_export_all"]}`)
	_, err := r.List(t.Context(), r, october(t, kindExport, ourDataSet, nil), nil)
	if err == nil || !strings.Contains(err.Error(), "can_export_all") {
		t.Fatal(err)
	}
}

func TestAnOfflineUserIsToldSo(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	r.user, r.password = "jane", "Simulated-jane"
	_, err := r.Do(t.Context(), "read", get(allDocs))
	if err == nil || !strings.Contains(err.Error(), "offline role") {
		t.Fatal(err)
	}
	r.password = "wrong"
	if _, err := r.Do(t.Context(), "probe", r.Probe()); call.ClassOf(err) != call.NotAuthorised {
		t.Fatal(err)
	}
}

func TestARequestIsWrittenAsTheCHTReadsIt(t *testing.T) {
	server, err := sim.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var seen *http.Request
	spy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		server.ServeHTTP(w, r)
	})
	values := server.Settings()
	values["url"] = "http://cht.example/"
	s, err := Open(connector.Config{Name: "cht", Values: values, HTTP: &http.Client{Transport: simulate.Network{"cht.example": spy}}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ask(allDocs, map[string]any{"keys": []string{"a"}}, "include_docs", "true")
	if err != nil || r.Changes() {
		t.Fatal(err, r.Changes())
	}
	if _, err := s.Send(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "kiungo"} {
		if got := seen.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if seen.URL.RequestURI() != "/medic/_all_docs?include_docs=true" {
		t.Error(seen.URL.RequestURI())
	}
}

func TestEveryWrongOptionIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		values map[string]string
		want   []string
	}{
		"nothing":      {map[string]string{}, []string{"url is not", "user is missing", "password is missing"}},
		"a path":       {map[string]string{"url": "https://cht.example.org/medic", "user": "a", "password": "b"}, []string{"must end before"}},
		"user in url":  {map[string]string{"url": "https://a:b@cht.example.org", "user": "a", "password": "b"}, []string{"options of their own"}},
		"colon":        {map[string]string{"url": "https://cht.example.org", "user": "a:b", "password": "b"}, []string{"colon"}},
		"version":      {map[string]string{"url": "https://cht.example.org", "user": "a", "password": "b", "version": "five"}, []string{"version"}},
		"all is right": {map[string]string{"url": "https://cht.example.org", "user": "a", "password": "b", "version": "4.22.0"}, nil},
	} {
		_, err := Open(connector.Config{Name: "cht", Values: c.values})
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not say %q", name, err, w)
			}
		}
	}
}
