package commcare

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

func TestAnswersMeanWhatCommCareMeansByThem(t *testing.T) {
	read := call.Request{Method: "GET", Path: "/a/demo/api/case/v2/x"}
	write := call.Request{Method: "PUT", Path: "/a/demo/api/case/v2/x"}
	submit := call.Request{Method: "POST", Path: "/a/demo/receiver/"}
	answer := func(status int, body string) call.Answer { return call.Answer{Status: status, Body: []byte(body)} }
	later := func(status int, retry string) call.Answer {
		return call.Answer{Status: status, Header: map[string]string{"Retry-After": retry}}
	}
	tests := []struct {
		name  string
		r     call.Request
		a     call.Answer
		err   error
		class call.Class
		down  bool
		wait  time.Duration
	}{
		{"read", read, answer(200, `{"case_id":"x"}`), nil, call.Done, false, 0},
		{"not there", read, answer(404, `{"error":"Case 'x' not found"}`), nil, call.Done, false, 0},
		{"not there, tastypie", read, answer(404, ""), nil, call.Done, false, 0},
		{"no such project space", read, answer(404, "<html>404</html>"), nil, call.Refusal, false, 0},
		{"written to what is gone", write, answer(404, `{"error":"Case 'x' not found"}`), nil, call.Conflicting, false, 0},
		{"wrong key", read, answer(401, ""), nil, call.NotAuthorised, false, 0},
		{"no permission", write, answer(403, ""), nil, call.NotAuthorised, false, 0},
		{"sent to the login page", read, call.Answer{Status: 302, Header: map[string]string{"Location": "/a/demo/login/?next=/"}}, nil, call.NotAuthorised, false, 0},
		{"redirected", read, call.Answer{Status: 301, Header: map[string]string{"Location": "https://elsewhere.example/"}}, nil, call.Refusal, false, 0},
		{"too many, in a fraction of a second", write, later(429, "0.4"), nil, call.RetryLater, false, time.Second},
		{"too many, in 30.2 seconds", read, later(429, "30.2"), nil, call.RetryLater, false, 31 * time.Second},
		{"too many, no word when", read, later(429, ""), nil, call.RetryLater, false, 0},
		{"too many, nonsense", read, later(429, "soon"), nil, call.RetryLater, false, 0},
		{"broken while reading", read, answer(500, "oops"), nil, call.RetryLater, false, 0},
		{"broken while writing", write, answer(500, "oops"), nil, call.Uncertain, false, 0},
		{"unavailable while reading", read, answer(503, ""), nil, call.RetryLater, true, 0},
		{"gateway timeout while writing", write, answer(504, ""), nil, call.Uncertain, true, 0},
		{"project space blocked", submit, answer(509, ""), nil, call.NotAuthorised, false, 0},
		{"a proxy's page", read, answer(200, "<html>hello</html>"), nil, call.RetryLater, true, 0},
		{"a proxy's page for a write", write, answer(200, "<html>hello</html>"), nil, call.Uncertain, true, 0},
		{"connection refused", write, call.Answer{}, &net.OpError{Op: "dial", Err: errors.New("refused")}, call.RetryLater, true, 0},
		{"no such host", write, call.Answer{}, &net.DNSError{}, call.RetryLater, true, 0},
		{"time-out of a read", read, call.Answer{}, context.DeadlineExceeded, call.RetryLater, true, 0},
		{"time-out of a write", write, call.Answer{}, context.DeadlineExceeded, call.Uncertain, true, 0},
		{"stopped during a write", write, call.Answer{}, context.Canceled, call.Uncertain, false, 0},
		{"form taken", submit, answer(201, string(file(t, "submission/openrosa.success.response.xml"))), nil, call.Done, false, 0},
		{"form refused with 201", submit, answer(201, string(file(t, "submission/openrosa.invalid-case-index.response.xml"))), nil, call.Refusal, false, 0},
		{"form ignored", submit, answer(201, string(file(t, "submission/openrosa.ignored.response.xml"))), nil, call.Refusal, false, 0},
		{"form refused by OpenRosa 3", submit, answer(422, `<OpenRosaResponse xmlns="http://openrosa.org/http/response"><message nature="processing_failure">x</message></OpenRosaResponse>`), nil, call.Refusal, false, 0},
		{"form stored, the rest later", submit, answer(422, `<OpenRosaResponse xmlns="http://openrosa.org/http/response"><message nature="post_processing_failure">x</message></OpenRosaResponse>`), nil, call.Done, false, 0},
		{"receiver answers something else", submit, answer(201, "hello"), nil, call.Uncertain, false, 0},
		{"receiver is locked", submit, answer(503, ""), nil, call.Uncertain, true, 0},
	}
	s := open(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := s.Classify(test.r, test.a, test.err)
			if v.Class != test.class || v.Down != test.down || v.RetryAfter != test.wait {
				t.Errorf("got %+v, want %s down %v after %s", v, test.class, test.down, test.wait)
			}
			if v.Class != call.Done && v.Reason == "" {
				t.Error("no reason is given")
			}
		})
	}
}

func TestRetryAfterMayBeADate(t *testing.T) {
	s := open(t, nil)
	at := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return at }
	a := call.Answer{Status: 429, Header: map[string]string{"Retry-After": at.Add(90 * time.Second).Format(http.TimeFormat)}}
	if v := s.Classify(call.Request{Method: "GET"}, a, nil); v.RetryAfter != 90*time.Second {
		t.Errorf("waits %s", v.RetryAfter)
	}
}

func TestTheCaseAPIsComplaintsNameTheFieldAndNoValue(t *testing.T) {
	var errs []struct {
		Status int    `json:"status"`
		Error  string `json:"error"`
	}
	if err := json.Unmarshal(file(t, "case-api-v2/errors.json"), &errs); err != nil {
		t.Fatal(err)
	}
	fill := regexp.MustCompile(`\{(\w+)\}`)
	names := map[string]string{"attr": "colour", "k": "weight", "prop": "case_type", "i": "1"}
	fields := map[string]string{"'colour' is not": "colour", "Error with case property": "properties/weight", "Error with index": "indices/weight",
		"Indices must": "indices", "Property case_type": "indices", "There are multiple": "external_id"}
	s := open(t, nil)
	for _, e := range errs {
		text := fill.ReplaceAllStringFunc(e.Error, func(m string) string {
			if n := names[m[1:len(m)-1]]; n != "" {
				return n
			}
			return "Wanjiru-O'Brien 0712"
		})
		body, err := json.Marshal(map[string]string{"error": text})
		if err != nil {
			t.Fatal(err)
		}
		v := s.Classify(call.Request{Method: "PUT"}, call.Answer{Status: e.Status, Body: body}, nil)
		if v.Class != call.Refusal && v.Class != call.Conflicting {
			t.Errorf("%q is %s", text, v.Class)
		}
		for _, secret := range []string{"Wanjiru", "Brien", "0712"} {
			if strings.Contains(v.Reason, secret) {
				t.Errorf("the reason for %q tells a value: %s", text, v.Reason)
			}
		}
		for start, field := range fields {
			if strings.HasPrefix(text, start) && v.Field != field {
				t.Errorf("%q concerns %q, want %q", text, v.Field, field)
			}
		}
	}
}
