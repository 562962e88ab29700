package commcare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/call"
)

// Classify reads an answer of CommCare HQ.
//
// A 404 with a JSON or empty body answers a read: the thing is not there. A
// page in HTML never comes from an API: it is a proxy's, the login's, or the
// sign of a wrong address. Seen: docs/api 2025-26; receiver answers from
// form-submission.rst.
func (s *System) Classify(r call.Request, a call.Answer, err error) call.Verdict {
	if err != nil {
		return lost(r, err)
	}
	switch {
	case a.Status >= 200 && a.Status < 300:
		return s.accepted(r, a)
	case a.Status >= 300 && a.Status < 400:
		return moved(a)
	case a.Status >= 500:
		return s.broken(r, a)
	}
	return s.refused(r, a)
}

// lost is the verdict on a transport error: only a connection that was never
// made is sure to have changed nothing.
func lost(r call.Request, err error) call.Verdict {
	v := call.Verdict{Class: call.RetryLater, Down: true, Reason: "no answer came; it is tried again when CommCare answers"}
	var op *net.OpError
	var dns *net.DNSError
	neverSent := errors.As(err, &dns) || (errors.As(err, &op) && op.Op == "dial")
	switch {
	case neverSent:
		v.Reason = "cannot connect to CommCare; check the address and the network"
	case r.Changes():
		v.Class = call.Uncertain
		v.Reason = "no answer came, so the change may have been made; it is looked up first"
	}
	if errors.Is(err, context.Canceled) {
		v.Down = false
	}
	return v
}

func (s *System) accepted(r call.Request, a call.Answer) call.Verdict {
	if strings.Contains(r.Path, "/receiver/") {
		return submitted(a)
	}
	if a.Status != http.StatusNoContent && looksLikeHTML(a) {
		v := call.Verdict{Class: call.RetryLater, Down: true, Reason: "a web page was answered where JSON was expected; check the url option, or a proxy in between"}
		if r.Changes() {
			v.Class = call.Uncertain
		}
		return v
	}
	return call.Verdict{Class: call.Done}
}

// submitted reads the receiver's answer: 201 may hold a refusal.
func submitted(a call.Answer) call.Verdict {
	root, err := xform.ParseXML(a.Body)
	if err != nil || root.Name != "OpenRosaResponse" {
		return call.Verdict{Class: call.Uncertain, Reason: "the receiver's answer is not an OpenRosa response; the form is looked up first"}
	}
	message, _ := root.JSON["message"].(map[string]any)
	text := xform.Text(message)
	switch nature := xform.Text(message["@nature"]); {
	case nature == "submit_success" && strings.Contains(text, "ignored"):
		return call.Verdict{Class: call.Refusal, Reason: "CommCare ignored the form; its settings exclude it"}
	case nature == "submit_success", nature == "post_processing_failure":
		return call.Verdict{Class: call.Done}
	case strings.HasPrefix(text, "InvalidCaseIndex"):
		return call.Verdict{Class: call.Refusal, Field: "indices", Reason: "the form refers to a case that does not exist"}
	}
	return call.Verdict{Class: call.Refusal, Reason: "CommCare could not process the form: " + withoutValues(text)}
}

func moved(a call.Answer) call.Verdict {
	if strings.Contains(a.Header["Location"], "login") {
		return call.Verdict{Class: call.NotAuthorised, Reason: "CommCare asks to log in; check username and api_key"}
	}
	return call.Verdict{Class: call.Refusal, Reason: fmt.Sprintf("CommCare answered %d, a redirect, which is not followed; check the url and domain options", a.Status)}
}

func (s *System) broken(r call.Request, a call.Answer) call.Verdict {
	if a.Status == 509 { // seen in receiverwrapper/views.py
		return call.Verdict{Class: call.NotAuthorised, Reason: "CommCare blocked this project space; ask its administrator"}
	}
	v := call.Verdict{Class: call.RetryLater, RetryAfter: s.retryAfter(a), Down: a.Status >= 502 && a.Status <= 504,
		Reason: fmt.Sprintf("CommCare answered %d; it is tried again", a.Status)}
	if r.Changes() {
		v.Class = call.Uncertain
		v.Reason = fmt.Sprintf("CommCare answered %d, so the change may have been made; it is looked up first", a.Status)
	}
	return v
}

func (s *System) refused(r call.Request, a call.Answer) call.Verdict {
	if strings.Contains(r.Path, "/receiver/") && a.Status == http.StatusUnprocessableEntity {
		return submitted(a)
	}
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return call.Verdict{Class: call.NotAuthorised,
			Reason: fmt.Sprintf("CommCare answered %d; check username, api_key, and the role permissions Access APIs and Edit Data", a.Status)}
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusLocked, http.StatusTooEarly:
		return call.Verdict{Class: call.RetryLater, RetryAfter: s.retryAfter(a),
			Reason: fmt.Sprintf("CommCare answered %d, asking to wait", a.Status)}
	case http.StatusNotFound:
		if !r.Changes() && !looksLikeHTML(a) {
			return call.Verdict{Class: call.Done}
		}
		if looksLikeHTML(a) {
			return call.Verdict{Class: call.Refusal, Reason: "no such page at CommCare; check the url and domain options"}
		}
	}
	return complaint(a)
}

// retryAfter reads Retry-After: seconds, which CommCare may give as a fraction
// and which are rounded up, or a date.
func (s *System) retryAfter(a call.Answer) time.Duration {
	v := a.Header["Retry-After"]
	if v == "" {
		return 0
	}
	if f, err := strconv.ParseFloat(v, 64); err == nil {
		if f <= 0 || math.IsNaN(f) {
			return 0
		}
		return time.Duration(min(math.Ceil(f), 86400)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, min(t.Sub(s.now()).Round(time.Second), 24*time.Hour))
	}
	return 0
}

// complaints are the texts of hqcase/api/updates.py (0367a7da) and what they
// mean. The texts hold patient's values, so that they are never passed on.
var complaints = []struct {
	text   *regexp.Regexp
	class  call.Class
	field  string // $1 is the first group
	reason string
}{
	{regexp.MustCompile(`^There are multiple cases with external_id`), call.Conflicting, "external_id", "several cases have this external_id; close or change all but one"},
	{regexp.MustCompile(`^Error with case property '([^']*)'\. Case property names`), call.Refusal, "properties/$1", "property $1 is not a valid name: letters, digits and _, not starting with a digit or xml"},
	{regexp.MustCompile(`^Error with case property '([^']*)'\. Values must be strings`), call.Refusal, "properties/$1", "property $1 is not text"},
	{regexp.MustCompile(`^Error with index '([^']*)'`), call.Refusal, "indices/$1", "index $1 is not a valid name"},
	{regexp.MustCompile(`^'([^']*)' is not a valid field`), call.Refusal, "$1", "the case API has no field $1"},
	{regexp.MustCompile(`^Property (\w+) is required when creating or updating case indices`), call.Refusal, "indices", "an index needs $1"},
	{regexp.MustCompile(`^Property (\w+) is required`), call.Refusal, "$1", "$1 is required"},
	{regexp.MustCompile(`^Indices must specify`), call.Refusal, "indices", "an index needs a case_id or an external_id, and only one"},
	{regexp.MustCompile(`^You cannot specify case_id`), call.Refusal, "case_id", "CommCare chooses the id of a new case"},
	{regexp.MustCompile(`^Case updates must provide`), call.Refusal, "external_id", "an update names the case by case_id or external_id"},
	{regexp.MustCompile(`^No case found with ID|^Could not find a case|^Case '.*' not found`), call.Conflicting, "", "the case is not there any more"},
}

// complaint reads a 4xx answer in the case API's words.
func complaint(a call.Answer) call.Verdict {
	text := errorText(a.Body)
	for _, c := range complaints {
		m := c.text.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		said := ""
		if len(m) > 1 {
			said = m[1]
		}
		return call.Verdict{Class: c.class, Field: strings.ReplaceAll(c.field, "$1", said), Reason: strings.ReplaceAll(c.reason, "$1", said)}
	}
	reason := fmt.Sprintf("CommCare answered %d", a.Status)
	if text != "" {
		reason += ": " + withoutValues(text)
	}
	return call.Verdict{Class: call.Refusal, Reason: reason}
}

func errorText(body []byte) string {
	var doc struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return ""
	}
	if doc.Error != "" {
		return doc.Error
	}
	return doc.Message
}

var quoted = regexp.MustCompile(`'[^']*'|"[^"]*"|\d{3,}`)

// withoutValues keeps a server's own words, without what it quotes and without
// numbers, which may be a patient's.
func withoutValues(text string) string {
	text = quoted.ReplaceAllString(text, "…")
	if i := strings.IndexAny(text, "'\"\n"); i >= 0 {
		text = text[:i] + "…"
	}
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

func looksLikeHTML(a call.Answer) bool {
	if strings.Contains(a.Header["Content-Type"], "json") {
		return false
	}
	body := bytes.TrimSpace(a.Body)
	return len(body) > 0 && body[0] == '<'
}
