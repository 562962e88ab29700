package openmrs

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

var (
	aRead     = read("/patient/x")
	aWrite    = call.Request{Method: "POST", Path: "/encounter"}
	aDelete   = call.Request{Method: "DELETE", Path: "/visit/x"}
	subWrite  = call.Request{Method: "POST", Path: "/patient/x/identifier"}
	plainRead = read("/session")
)

// TestEverySampleErrorHasItsClass reads the samples of contracts/openmrs/errors:
// class for a write, and the reason, which never holds a value of the patient.
func TestEverySampleErrorHasItsClass(t *testing.T) {
	r := newRig(t, "", "")
	want := map[string]struct {
		class  call.Class
		reason string
	}{
		"400-bad-date.json":                     {call.Refusal, "OpenMRS cannot read the date of encounterDatetime"},
		"400-birthdate-future.json":             {call.Refusal, "birthdate is in the future"},
		"400-check-digit.json":                  {call.Refusal, "the check digit of an identifier is wrong"},
		"400-duplicate-identifier.json":         {call.Refusal, "an identifier of this patient is already in use by another patient in OpenMRS"},
		"400-encounter-future.json":             {call.RetryLater, "at is later than the server's clock: sent again in a moment"},
		"400-encounter-outside-visit.json":      {call.Refusal, "at is outside the visit"},
		"400-identifier-format.json":            {call.Refusal, "an identifier does not have the format that its type asks for"},
		"400-identifier-location-required.json": {call.Refusal, "an identifier needs a location: set the option location of the system"},
		"400-invalid-search.json":               {call.Refusal, "OpenMRS does not know this search"},
		"400-malformed-json.json":               {call.Refusal, "OpenMRS could not read the request"},
		"400-missing-required-property.json":    {call.Refusal, "OpenMRS says that these properties are missing: gender"},
		"400-name-required.json":                {call.Refusal, "name/given must be given"},
		"400-not-supported.json":                {call.Refusal, "OpenMRS does not support this operation on this kind of record"},
		"400-obs-bad-number.json":               {call.Refusal, "a number is expected, with no unit or with the unit of its concept"},
		"400-obs-null-value.json":               {call.Refusal, "an observation has no value"},
		"400-obs-out-of-range.json":             {call.Refusal, "obs is above the highest value that the concept allows"},
		"400-obs-unknown-coded-answer.json":     {call.Refusal, "OpenMRS cannot take the value of an observation: a coded answer that it does not know, or a value of another kind"},
		"400-obs-unknown-concept.json":          {call.Refusal, "OpenMRS does not know the concept of an observation"},
		"400-property-not-allowed.json":         {call.Refusal, "OpenMRS says that these properties are not allowed: bogus"},
		"400-required-address-field.json":       {call.Refusal, "the server's address template asks for an address field that is blank"},
		"400-visit-overlap.json":                {call.Refusal, "start overlaps another visit of the same patient"},
		"401-not-logged-in.json":                {call.NotAuthorised, "OpenMRS does not accept the user name or password"},
		"403-missing-privilege.json":            {call.NotAuthorised, "the OpenMRS user lacks a privilege: Add Patients"},
		"404-object-not-found.json":             {call.Conflicting, "the record is no longer in OpenMRS: it is read and planned again"},
		"404-unknown-resource.json":             {call.Refusal, "this OpenMRS does not offer encounter: a module is missing or too old"},
		"405-method.json":                       {call.Refusal, "OpenMRS does not support this method"},
		"500-core-validation-old.json":          {call.RetryLater, "at is later than the server's clock: sent again in a moment"},
		"500-duplicate-uuid.json":               {call.Uncertain, "OpenMRS says the record is there already; whether it is ours is looked up"},
		"500-empty-identifier-pool.json":        {call.RetryLater, "the pool of identifiers has run dry: an administrator must add identifiers to it"},
		"500-limit-too-large.json":              {call.Refusal, "more rows were asked for than the administrator allows (webservices.rest.maxResultsAbsolute)"},
		"500-start-index-beyond-end.json":       {call.Refusal, "a page after the last was asked for"},
		"legacy-2.24-object-not-found.json":     {call.Conflicting, "the record is no longer in OpenMRS: it is read and planned again"},
		"mid-2.41-object-not-found.json":        {call.Conflicting, "the record is no longer in OpenMRS: it is read and planned again"},
	}
	files, err := filepath.Glob("testdata/contract/errors/*.json")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d samples, %d expectations, %v", len(files), len(want), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v := r.sys.Classify(aWrite, call.Answer{Status: statusOf(name), Body: b}, nil)
		if v.Class != want[name].class || v.Reason != want[name].reason {
			t.Errorf("%s: %q %q\nwant %q %q", name, v.Class, v.Reason, want[name].class, want[name].reason)
		}
		if taken := map[bool]string{true: "100DWN"}[name == "400-duplicate-identifier.json"]; v.Taken != taken {
			t.Errorf("%s: it names %q as taken, want %q", name, v.Taken, taken)
		}
		for _, secret := range []string{"100DWN", "100DWX", "12-A", "23456789", "heavy", "03/06", "7a1a19c2"} {
			if strings.Contains(v.Reason, secret) {
				t.Errorf("%s: the reason holds %q", name, secret)
			}
		}
	}
}

func statusOf(name string) int {
	switch {
	case strings.HasPrefix(name, "legacy"), strings.HasPrefix(name, "mid"):
		return 404
	}
	var n int
	_ = json.Unmarshal([]byte(name[:3]), &n)
	return n
}

func TestAnswersAreClassified(t *testing.T) {
	r := newRig(t, "", "")
	html := func(text string) []byte { return []byte("<html><body>" + text + "</body></html>") }
	for _, c := range []struct {
		name   string
		r      call.Request
		a      call.Answer
		err    error
		class  call.Class
		down   bool
		traces bool
	}{
		{"created", aWrite, call.Answer{Status: 201, Body: []byte(`{"uuid":"x"}`)}, nil, call.Done, false, false},
		{"voided", aDelete, call.Answer{Status: 204}, nil, call.Done, false, false},
		{"not there is an answer to a read", aRead, call.Answer{Status: 404, Body: []byte(`{"error":{"message":"Object with given uuid doesn't exist [null]"}}`)}, nil, call.Done, false, false},
		{"not there any more needs no void", aDelete, call.Answer{Status: 404, Body: []byte(`{"error":{"message":"Object with given uuid doesn't exist"}}`)}, nil, call.Done, false, false},
		{"wrong address", aRead, call.Answer{Status: 404, Body: html("404")}, nil, call.Refusal, false, false},
		{"redirect", aRead, call.Answer{Status: 302}, nil, call.Refusal, false, false},
		{"login page, read", aRead, call.Answer{Status: 200, Body: html("login")}, nil, call.RetryLater, true, false},
		{"login page, write", aWrite, call.Answer{Status: 200, Body: html("login")}, nil, call.Uncertain, true, false},
		{"cut JSON, read", aRead, call.Answer{Status: 200, Body: []byte(`{"uuid":`)}, nil, call.RetryLater, false, false},
		{"cut JSON, write", aWrite, call.Answer{Status: 201, Body: []byte(`{"uuid":`)}, nil, call.Uncertain, false, false},
		{"empty, write", aWrite, call.Answer{Status: 201}, nil, call.Uncertain, false, false},
		{"session of nobody", plainRead, call.Answer{Status: 200, Body: []byte(`{"authenticated":false}`)}, nil, call.NotAuthorised, false, false},
		{"session of us", plainRead, call.Answer{Status: 200, Body: []byte(`{"authenticated":true}`)}, nil, call.Done, false, false},
		{"401", aWrite, call.Answer{Status: 401, Body: html("Unauthorized")}, nil, call.NotAuthorised, false, false},
		{"401 but executed", aWrite, call.Answer{Status: 401, Body: html("Session timed out")}, nil, call.Uncertain, false, false},
		{"403 of old modules, executed", aWrite, call.Answer{Status: 403, Body: html("Session timed out")}, nil, call.Uncertain, false, false},
		{"401 with a cookie", call.Request{Method: "POST", Path: "/visit", Header: map[string]string{"Cookie": "JSESSIONID=x"}}, call.Answer{Status: 401}, nil, call.Uncertain, false, false},
		{"session timed out, read", aRead, call.Answer{Status: 401, Body: html("Session timed out")}, nil, call.RetryLater, false, false},
		{"address not allowed", aRead, call.Answer{Status: 403, Body: html("IP")}, nil, call.NotAuthorised, false, false},
		{"conflict", aWrite, call.Answer{Status: 409}, nil, call.Conflicting, false, false},
		{"too many", aWrite, call.Answer{Status: 429}, nil, call.RetryLater, false, false},
		{"500, read", aRead, call.Answer{Status: 500, Body: html("500")}, nil, call.RetryLater, false, false},
		{"500, write", aWrite, call.Answer{Status: 500, Body: []byte(`{"error":{"message":"[null]","code":"java.lang.X:1"}}`)}, nil, call.Uncertain, false, false},
		{"502, write", aWrite, call.Answer{Status: 502, Body: html("Bad Gateway")}, nil, call.Uncertain, true, false},
		{"503, read", aRead, call.Answer{Status: 503, Body: html("x")}, nil, call.RetryLater, true, false},
		{"duplicate identifier may be stored", subWrite, call.Answer{Status: 500, Body: []byte(`{"error":{"message":"[Identifier 100DWN already in use by another patient]"}}`)}, nil, call.Refusal, false, true},
		{"duplicate identifier of a new patient is not", call.Request{Method: "POST", Path: "/patient"}, call.Answer{Status: 400, Body: []byte(`{"error":{"message":"[Identifier 100DWN already in use by another patient]"}}`)}, nil, call.Refusal, false, false},
		{"an empty object, write", aWrite, call.Answer{Status: 200, Body: []byte("{}")}, nil, call.Uncertain, false, false},
		{"a removal that answers a page", aDelete, call.Answer{Status: 200, Body: []byte(`{"ok":true}`)}, nil, call.Uncertain, false, false},
		{"a removal that answers nothing, but not 204", aDelete, call.Answer{Status: 201}, nil, call.Uncertain, false, false},
		{"a removal", aDelete, call.Answer{Status: 204}, nil, call.Done, false, false},
		{"refused connection, write", aWrite, call.Answer{}, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, call.RetryLater, true, false},
		{"unknown host", aWrite, call.Answer{}, &net.DNSError{}, call.RetryLater, true, false},
		{"reset, write", aWrite, call.Answer{}, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, call.Uncertain, true, false},
		{"time-out, read", aRead, call.Answer{}, errors.New("timeout"), call.RetryLater, true, false},
		{"too large, read", aRead, call.Answer{}, errTooLarge, call.RetryLater, false, false},
	} {
		v := r.sys.Classify(c.r, c.a, c.err)
		if v.Class != c.class || v.Down != c.down || v.Traces != c.traces || v.Class != call.Done && v.Reason == "" {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	v := r.sys.Classify(aRead, call.Answer{Status: 429, Header: map[string]string{"Retry-After": "7"}}, nil)
	if v.RetryAfter != 7*time.Second {
		t.Errorf("Retry-After: %v", v.RetryAfter)
	}
}

// TestFaultsOfTheLine goes through the simulator's faults: what may have been
// written is unknown, and the check then tells.
func TestFaultsOfTheLine(t *testing.T) {
	for kind, want := range map[simulate.Kind]struct {
		class   call.Class
		written call.Happened
	}{
		simulate.Down:          {call.Uncertain, call.NotYet},
		simulate.LostResponse:  {call.Uncertain, call.Yes},
		simulate.Error500:      {call.Uncertain, call.NotYet},
		simulate.Error500After: {call.Uncertain, call.Yes},
		simulate.Error503:      {call.Uncertain, call.NotYet},
		simulate.TooMany:       {call.RetryLater, call.NotYet},
		simulate.Unauthorised:  {call.NotAuthorised, call.NotYet},
		simulate.Executed401:   {call.Uncertain, call.Yes},
		simulate.HTMLPage:      {call.Uncertain, call.NotYet},
		simulate.Refuse:        {call.Refusal, call.NotYet},
	} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t, "", people)
			c := encounterCalls(r)[0]
			r.sim.Traffic().Switch(simulate.Fault{Kind: kind, Match: "POST /openmrs/ws/rest/v1/encounter", Call: 1})
			_, err := r.do(t.Context(), "try", c.Request)
			if got := call.ClassOf(err); got != want.class {
				t.Errorf("class %q, want %q: %v", got, want.class, err)
			}
			if got := c.Check.Judge(r.observe(c), nil); got != want.written {
				t.Errorf("the check says %q, want %q", got, want.written)
			}
			if want.written == call.Yes {
				// The repeat is refused by the server itself.
				if _, err := r.do(t.Context(), "repeat", c.Request); call.ClassOf(err) != call.Uncertain {
					t.Errorf("repeat: %v", err)
				}
			}
		})
	}
}

func FuzzClassify(f *testing.F) {
	files, _ := filepath.Glob("testdata/contract/errors/*.json")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		f.Add(500, b)
	}
	f.Add(200, []byte("<html>"))
	s := newRig(f, "", "").sys
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, r := range []call.Request{aRead, aWrite, aDelete, plainRead} {
			v := s.Classify(r, call.Answer{Status: status, Body: body}, nil)
			if v.Class == "" || v.Class != call.Done && v.Reason == "" {
				t.Errorf("HTTP %d: %+v", status, v)
			}
		}
	})
}
