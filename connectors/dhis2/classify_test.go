package dhis2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// rowsSent is an import of n values.
func rowsSent(n int) call.Request {
	body := valueSet{Values: make([]wireValue, n)}
	b, _ := json.Marshal(body)
	return call.Request{Method: "POST", Path: valuesPath, Body: b}
}

func TestAnImportIsJudgedByItsRowsAndNotByItsStatus(t *testing.T) {
	s := opened(t, nil)
	values := sent(t, valuesPath, "data_value_sets/iccm_request_uid.json")
	partial := sent(t, valuesPath, "data_value_sets/partial_request.json")
	event := sent(t, trackerPath, "tracker/event_program_request.json")
	remove := sent(t, trackerPath, "", "importStrategy", "DELETE")
	complete := sent(t, completionPath, "complete_registrations/request.json")
	for _, c := range []struct {
		name   string
		r      call.Request
		status int
		answer string
		class  call.Class
		field  string
		traces bool
		says   []string
	}{
		{"all saved", values, 200, "data_value_sets/iccm_response_success.json", call.Done, "", false, nil},
		{"sent again: ignored, and nothing is wrong", values, 200, "data_value_sets/iccm_response_resend_unchanged.json", call.Done, "", false, nil},
		{"a zero that it was thought to store, counted nowhere", rowsSent(1), 200, "data_value_sets/response_zero_not_significant.json", call.Refusal, "", false, []string{"1 of 1 values", "zeroIsSignificant"}},
		{"rows that are counted nowhere", rowsSent(9), 200, "data_value_sets/iccm_response_success.json", call.Refusal, "", true, []string{"2 of 9 values", "were saved: 7"}},
		{"409 although one was saved", partial, 409, "data_value_sets/partial_response_409.json", call.Refusal, "values/xxxxxxxxxxx/HllvX50cXC0", true,
			[]string{"E7610", "E7612", "E7611", "E7613", "E7619", "E7618", "the other rows were saved: 1", "values/Xdj53a05QDb/HllvX50cXC0"}},
		{"the same on 2.38, without rejected indexes", partial, 409, "data_value_sets/partial_response_409_v38.json", call.Refusal, "values/xxxxxxxxxxx/HllvX50cXC0", true, []string{"E7619"}},
		{"200 in an old API version, yet refused", partial, 200, "data_value_sets/partial_response_409.json", call.Refusal, "values/xxxxxxxxxxx/HllvX50cXC0", true, nil},
		{"data set unknown: aborted", values, 409, "data_value_sets/error_dataset_not_found_409.json", call.Refusal, "dataSet", false, []string{"E7600", "aaaaaaaaaaa"}},
		{"org unit unknown: aborted", values, 409, "data_value_sets/error_outer_orgunit_not_found_409.json", call.Refusal, "orgUnit", false, []string{"E7603"}},
		{"unreadable", values, 409, "data_value_sets/error_malformed_json_409.json", call.Refusal, "", false, []string{"could not read"}},
		{"before 2.38", rowsSent(3), 200, "data_value_sets/response_success_legacy.json", call.Done, "", false, nil},
		{"before 2.38, refused", values, 409, "data_value_sets/response_warning_legacy.json", call.Refusal, "", false, nil},
		{"409 although all values were saved", values, 409, "cht/dhis2_response_to_export.json", call.Refusal, "", true, nil},
		{"the plain summary of a job", values, 200, "jobs/task_summary.json", call.Done, "", false, nil},
		{"in the background", values, 200, "data_value_sets/response_async_initiated.json", call.Queued, "", false, nil},
		{"in the background, older words", values, 200, "data_value_sets/response_async_initiated_legacy.json", call.Queued, "", false, nil},

		{"registered", complete, 200, "complete_registrations/response_success.json", call.Done, "", false, nil},
		{"not registered; conflict without code", complete, 409, "complete_registrations/response_all_ignored_409.json", call.Refusal, "dataSet", false, []string{"E7600"}},

		{"event made", event, 200, "tracker/event_program_response_created.json", call.Done, "", false, nil},
		{"event changed", event, 200, "tracker/event_program_response_updated.json", call.Done, "", false, nil},
		{"event made, 2.40", event, 200, "tracker/response_ok_v40.json", call.Done, "", false, nil},
		{"200 and OK, yet refused", event, 200, "tracker/event_program_response_partial_200.json", call.Refusal, "", false, nil},
		{"deleted for ever: is read back", event, 409, "tracker/event_program_response_deleted_409.json", call.Uncertain, "", false, []string{"E1082"}},
		{"there already", event, 409, "tracker/event_program_response_exists_409.json", call.Uncertain, "", false, []string{"E1030"}},
		{"wrong value", event, 409, "tracker/event_program_response_valuetype_409.json", call.Refusal, "dataValues", false, []string{"E1302"}},
		{"not assigned, 2.40", event, 409, "tracker/response_conflict_v40.json", call.Refusal, "orgUnit", false, []string{"E1029", "assign"}},
		{"job report with an error", event, 200, "tracker/jobreport_error.json", call.Refusal, "", false, []string{"E1033"}},
		{"event in the background", event, 200, "tracker/job_response.json", call.Queued, "", false, nil},
		{"event in the background, from the docs", event, 200, "tracker/response_async_docs.json", call.Queued, "", false, nil},
		{"to be deleted, and gone already", remove, 409, "tracker/event_program_response_deleted_409.json", call.Done, "", false, nil},
		{"bad UID, 2.42", event, 400, "tracker/response_invalid_uid_400.json", call.Refusal, "", false, []string{"UID"}},
		{"bad parameter", event, 400, "tracker/response_invalid_parameter_400.json", call.Refusal, "", false, nil},
	} {
		v := s.Classify(c.r, call.Answer{Status: c.status, Body: golden(t, c.answer)}, nil)
		if v.Class != c.class || v.Traces != c.traces || c.field != "" && v.Field != c.field || !holds(v.Reason, c.says...) {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

// Law of the reasons: identifiers of metadata, never values or names of people.
func TestReasonsNeverRepeatValues(t *testing.T) {
	s := opened(t, nil)
	v := s.Classify(sent(t, trackerPath, "tracker/event_program_request.json"),
		call.Answer{Status: 409, Body: golden(t, "tracker/event_program_response_valuetype_409.json")}, nil)
	if strings.Contains(v.Reason, "1.5") {
		t.Errorf("the reason repeats the value: %s", v.Reason)
	}
}

func TestADryRunLeavesNoTraces(t *testing.T) {
	r := sent(t, valuesPath, "data_value_sets/partial_request.json", "dryRun", "true")
	r.Read = true
	v := opened(t, nil).Classify(r, call.Answer{Status: 409, Body: golden(t, "data_value_sets/partial_response_409.json")}, nil)
	if v.Class != call.Refusal || v.Traces {
		t.Errorf("%+v", v)
	}
}

func TestRowsRejectedWithoutAConflictAreRefusedUnlessTheyWereToGo(t *testing.T) {
	s := opened(t, nil)
	r := call.Request{Method: "POST", Path: valuesPath, Body: []byte(`{"dataValues":[{"dataElement":"a","value":"1"},{"dataElement":"b","value":"2","deleted":true}]}`)}
	for indexes, class := range map[string]call.Class{"[]": call.Done, "[1]": call.Done, "[0]": call.Refusal, "[0,1]": call.Refusal, "[7]": call.Refusal} {
		body := `{"response":{"responseType":"ImportSummary","status":"SUCCESS","importCount":{"ignored":2},"conflicts":[],"rejectedIndexes":` + indexes + `}}`
		if v := s.Classify(r, call.Answer{Status: 200, Body: []byte(body)}, nil); v.Class != class {
			t.Errorf("%s: %+v", indexes, v)
		}
	}
}

func TestAPeriodThatIsNotOverIsTriedAgainByItself(t *testing.T) {
	body := fmt.Sprintf(`{"status":"WARNING","response":{"responseType":"ImportSummary","status":"WARNING","importCount":{"imported":0,"ignored":1},"conflicts":[%s],"rejectedIndexes":[0]}}`,
		golden(t, "data_value_sets/conflict_future_period_E7641.json"))
	v := opened(t, nil).Classify(sent(t, valuesPath, ""), call.Answer{Status: 409, Body: []byte(body)}, nil)
	if v.Class != call.RetryLater || v.Field != "period" || v.Down {
		t.Errorf("%+v", v)
	}
	for file, field := range map[string]string{"conflict_expired_E7640.json": "period", "conflict_not_in_hierarchy_E7617.json": "orgUnit",
		"conflict_orgunit_not_assigned_E7636.json": "orgUnit"} {
		body := fmt.Sprintf(`{"response":{"responseType":"ImportSummary","status":"WARNING","conflicts":[%s]}}`, golden(t, "data_value_sets/"+file))
		v := opened(t, nil).Classify(sent(t, valuesPath, ""), call.Answer{Status: 409, Body: []byte(body)}, nil)
		if v.Class != call.Refusal || v.Field != field {
			t.Errorf("%s: %+v", file, v)
		}
	}
}

func TestWhoIsNotLetInIsToldWhatToDo(t *testing.T) {
	s := opened(t, nil)
	get := read("/me")
	for file, says := range map[string]string{
		"auth/basic_account_disabled_401.json": "disabled", "auth/basic_account_locked_401.json": "unlock", "auth/basic_bad_password_401.json": "does not accept",
		"auth/no_authority_403.json": "F_DATAVALUE_ADD", "auth/pat_disabled_or_2fa_401.json": "two-factor", "auth/pat_expired_401.json": "expired",
		"auth/pat_ip_401.json": "IP address", "auth/pat_method_401.json": "GET, POST and DELETE", "auth/pat_unknown_401.json": "does not know",
		"auth/pat_malformed_400.json": "copy it again", "auth/pat_checksum_400.json": "copy it again",
	} {
		status := 0
		if _, err := fmt.Sscanf(file[len(file)-8:], "%d.json", &status); err != nil {
			t.Fatal(err)
		}
		v := s.Classify(get, call.Answer{Status: status, Body: golden(t, file)}, nil)
		class := call.NotAuthorised
		if file == "auth/pat_method_401.json" {
			class = call.Refusal // the login is good
		}
		if v.Class != class || !strings.Contains(v.Reason, says) {
			t.Errorf("%s: %+v", file, v)
		}
	}
	v := s.Classify(get, call.Answer{Status: 302, Header: map[string]string{"Location": "/dhis-web-login/"}}, nil)
	if v.Class != call.NotAuthorised || !strings.Contains(v.Reason, "login page") {
		t.Errorf("redirect to the login page: %+v", v)
	}
	v = s.Classify(get, call.Answer{Status: 301, Header: map[string]string{"Location": "https://dhis2.example.org/"}}, nil)
	if v.Class != call.Refusal {
		t.Errorf("another redirect: %+v", v)
	}
}

func TestAWriteWithoutAUsableAnswerIsUnknown(t *testing.T) {
	s := opened(t, nil)
	write, dry, get := sent(t, valuesPath, ""), sent(t, valuesPath, ""), read("/dataValueSets")
	dry.Read = true
	lostErr := &net.OpError{Op: "read", Err: io.ErrUnexpectedEOF}
	for name, c := range map[string]struct {
		a    call.Answer
		err  error
		down bool
	}{
		"gateway":        {call.Answer{Status: 502, Body: []byte("<html>")}, nil, true},
		"gateway timing": {call.Answer{Status: 504}, nil, true},
		"server error":   {call.Answer{Status: 500, Body: []byte(`{"httpStatusCode":500}`)}, nil, false},
		"a page":         {call.Answer{Status: 200, Body: []byte("<!DOCTYPE html><title>DHIS2 login</title>")}, nil, true},
		"cut off":        {call.Answer{Status: 200, Body: []byte(`{"status":"OK","resp`)}, nil, false},
		"nothing":        {call.Answer{Status: 200}, nil, false},
		"broken":         {call.Answer{}, lostErr, true},
		"time-out":       {call.Answer{}, context.DeadlineExceeded, true},
		"another form":   {call.Answer{Status: 200, Body: []byte(`{"pong":true}`)}, nil, false},
	} {
		if v := s.Classify(write, c.a, c.err); v.Class != call.Uncertain || v.Down != c.down {
			t.Errorf("%s: a write: %+v", name, v)
		}
		if name == "another form" {
			continue
		}
		for _, r := range []call.Request{dry, get} {
			if v := s.Classify(r, c.a, c.err); v.Class != call.RetryLater || v.Down != c.down {
				t.Errorf("%s: a read: %+v", name, v)
			}
		}
	}
	for _, err := range []error{&net.OpError{Op: "dial", Err: errors.New("no route")}, syscall.ECONNREFUSED, &net.DNSError{}} {
		if v := s.Classify(write, call.Answer{}, err); v.Class != call.RetryLater || !v.Down {
			t.Errorf("nothing was sent (%v): %+v", err, v)
		}
	}
}

func TestOtherAnswers(t *testing.T) {
	s := opened(t, nil)
	missing := golden(t, "metadata/response_not_found_404.json")
	at := time.Date(2024, 2, 3, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		r     call.Request
		a     call.Answer
		class call.Class
		after time.Duration
	}{
		"pong":                     {s.Probe(), call.Answer{Status: 200, Body: []byte("pong")}, call.Done, 0},
		"a page instead of pong":   {s.Probe(), call.Answer{Status: 200, Body: []byte("<html>")}, call.RetryLater, 0},
		"not there, read":          {read("/dataSets/x"), call.Answer{Status: 404, Body: missing}, call.Done, 0},
		"not there, written":       {sent(t, trackerPath, ""), call.Answer{Status: 404, Body: missing}, call.Refusal, 0},
		"no such address":          {read("/me"), call.Answer{Status: 404, Body: []byte("<html>404")}, call.Refusal, 0},
		"not changed":              {call.Request{Method: "GET", Path: "/me", Header: map[string]string{"If-None-Match": "x"}}, call.Answer{Status: 304}, call.Done, 0},
		"not changed, never asked": {read("/me"), call.Answer{Status: 304}, call.Refusal, 0},
		"too many":                 {read("/me"), call.Answer{Status: 429, Header: map[string]string{"Retry-After": "7"}}, call.RetryLater, 7 * time.Second},
		"maintenance":              {read("/me"), call.Answer{Status: 503, At: at, Header: map[string]string{"Retry-After": at.Add(time.Minute).Format(http.TimeFormat)}}, call.RetryLater, time.Minute},
		"values not readable":      {read("/dataValueSets"), call.Answer{Status: 409, Body: []byte(`{"status":"ERROR","errorCode":"E2010","message":"x"}`)}, call.Refusal, 0},
		"a proxy's rule":           {sent(t, valuesPath, ""), call.Answer{Status: 415, Body: []byte(`{"status":"ERROR"}`)}, call.Refusal, 0},
		"registration gone":        {call.Request{Method: "DELETE", Path: completionPath}, call.Answer{Status: 204}, call.Done, 0},
		"registration locked":      {call.Request{Method: "DELETE", Path: completionPath}, call.Answer{Status: 409, Body: []byte(`{"message":"Locked Data set(s) : abc"}`)}, call.Refusal, 0},
	} {
		if v := s.Classify(c.r, c.a, nil); v.Class != c.class || v.RetryAfter != c.after || v.Class != call.Done && v.Reason == "" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// Every code of data value imports and of events without registration has a
// sentence, and none of them is DHIS2's own.
func TestEveryCodeSaysWhatToDo(t *testing.T) {
	theirs := regexp.MustCompile("[`{}]")
	for _, row := range table(t, "rules/datavalue_error_codes.csv") {
		if code := row[0]; strings.HasPrefix(code, "E76") {
			if _, ok := rules[code]; !ok {
				t.Errorf("%s has no sentence", code)
			}
		}
	}
	people := []string{"TrackedEntity", "Enrollment", "Relationship", "Attribute", "Referral", "tracked entity", "enrollment", "relationship", "File resource", "Note", "user", "User", "N/A", "repeatable", "stage"}
	for _, row := range table(t, "rules/tracker_validation_codes.csv") {
		other := false
		for _, p := range people {
			other = other || strings.Contains(row[2], p)
		}
		if _, ok := rules[row[0]]; !ok && !other && strings.HasPrefix(row[0], "E1") && strings.Contains(row[2], "vent") {
			t.Errorf("%s has no sentence: %s", row[0], row[2])
		}
	}
	for code, r := range rules {
		if r.text == "" || theirs.MatchString(r.text) || r.until == "" {
			t.Errorf("%s: %+v", code, r)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, name := range []string{"data_value_sets/partial_response_409.json", "tracker/response_partial_v40.json", "tracker/job_response.json",
		"complete_registrations/response_all_ignored_409.json", "data_value_sets/error_malformed_json_409.json"} {
		f.Add(200, golden(f, name))
		f.Add(409, golden(f, name))
	}
	f.Add(200, []byte(`{"status":"OK","stats":null,"validationReport":{"errorReports":[{}]}}`))
	s := opened(f, nil)
	body := golden(f, "data_value_sets/partial_request.json")
	f.Fuzz(func(t *testing.T, status int, answer []byte) {
		for _, path := range []string{trackerPath, valuesPath, completionPath} {
			r := call.Request{Method: "POST", Path: path, Body: body}
			v := s.Classify(r, call.Answer{Status: status, Body: answer}, nil)
			if v.Class == "" || v.Class != call.Done && v.Class != call.Queued && v.Reason == "" {
				t.Fatalf("%s: %+v", path, v)
			}
			// Only an answer in a known form counts as done.
			if v.Class == call.Done && len(answer) == 0 && status != 204 {
				t.Fatalf("%s: an empty answer %d is taken as done", path, status)
			}
		}
	})
}
