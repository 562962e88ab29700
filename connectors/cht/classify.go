package cht

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// calm is how long the CHT's counters of failed logins look back; whoever asks
// sooner is counted again (api/src/services/rate-limit.js, 5.2.0). Twice that
// lets several of our nodes fall silent together.
const calm = 20 * time.Second

// Classify says what an answer, or its absence, means.
//
// Errors have four shapes: {code,error}, {code,error,details}, CouchDB's
// {error,reason}, and {code,error:{message}} of the users API. Reasons never
// repeat what the server quotes: it may be a patient's.
func (s *System) Classify(r call.Request, a call.Answer, err error) call.Verdict {
	if err != nil {
		return transport(r, err)
	}
	switch {
	case a.Status >= 200 && a.Status < 300:
		return accepted(r, a)
	case a.Status >= 300 && a.Status < 400:
		if strings.Contains(a.Header["Location"], "/login") {
			return call.Verdict{Class: call.NotAuthorised, Reason: "the CHT asks to log in: check user and password"}
		}
		return call.Verdict{Class: call.Refusal, Reason: "the CHT answers with a redirect: set url to the final address, with https"}
	case a.Status == http.StatusUnauthorized:
		return call.Verdict{Class: call.NotAuthorised, Reason: "the CHT does not accept the user name or password"}
	case a.Status == http.StatusForbidden:
		return forbidden(r, a)
	case a.Status == http.StatusTooManyRequests:
		return call.Verdict{Class: call.RetryLater, RetryAfter: max(calm, retryAfter(a)),
			Reason: "the CHT lets nobody in for a while after ten refused logins within ten seconds: check user and password of everything that uses it"}
	case a.Status == http.StatusConflict:
		return call.Verdict{Class: call.Conflicting, Reason: "someone else changed the document at the same time: it is read and planned again"}
	case a.Status == http.StatusNotFound:
		return notFound(r, a)
	case a.Status >= 500:
		return serverError(r, a)
	case a.Status == http.StatusRequestTimeout:
		return lost(r, "the request did not reach the CHT in time", false)
	}
	return refused(a)
}

func transport(r call.Request, err error) call.Verdict {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, errTooLarge):
		return lost(r, "the CHT sent more than 64 MB", false)
	case errors.Is(err, context.Canceled):
		return lost(r, "the request was stopped before an answer came", false)
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		return call.Verdict{Class: call.RetryLater, Reason: "the CHT cannot be reached", Down: true}
	}
	return lost(r, "the connection to the CHT broke, or it did not answer in time", true)
}

// lost is the verdict when no usable answer came.
func lost(r call.Request, reason string, down bool) call.Verdict {
	if !r.Changes() {
		return call.Verdict{Class: call.RetryLater, Reason: reason, Down: down}
	}
	return call.Verdict{Class: call.Uncertain, Reason: reason + "; whether it was written is looked up", Down: down}
}

func accepted(r call.Request, a call.Answer) call.Verdict {
	body := bytes.TrimSpace(a.Body)
	switch {
	case len(body) == 0:
		return lost(r, "the CHT answered without content", false)
	case body[0] == '<':
		return lost(r, "a web page came instead of data: check url, and any proxy or login page before the CHT", true)
	case body[0] != '{' && body[0] != '[' || body[len(body)-1] != '}' && body[len(body)-1] != ']':
		return lost(r, "the answer of the CHT is cut off or not JSON", false)
	}
	if r.Path == sessionPath {
		var session struct {
			UserCtx struct {
				Name *string `json:"name"`
			} `json:"userCtx"`
		}
		if json.Unmarshal(body, &session) == nil && session.UserCtx.Name == nil {
			return call.Verdict{Class: call.NotAuthorised, Reason: "the CHT does not accept the user name or password"}
		}
	}
	if strings.HasSuffix(r.Path, "/_bulk_docs") || r.Path == bulkDeletePath {
		return bulk(r, body)
	}
	return call.Verdict{Class: call.Done}
}

const bulkDeletePath = "/api/v1/bulk-delete"

// bulk reads the rows of a bulk write, which is 201 even if every row failed. A
// bulk deletion has them in lists of lists, as it was sent in parts.
func bulk(r call.Request, body []byte) call.Verdict {
	type written struct {
		Error string `json:"error"`
	}
	var rows []written
	var parts [][]written
	if json.Unmarshal(body, &parts) == nil {
		rows = slices.Concat(parts...)
	} else if json.Unmarshal(body, &rows) != nil {
		return lost(r, "the answer of the CHT to a bulk write is not a list", false)
	}
	for _, row := range rows {
		switch row.Error {
		case "":
		case "conflict":
			return call.Verdict{Class: call.Conflicting, Reason: "someone else changed one of the documents at the same time"}
		default:
			return call.Verdict{Class: call.Uncertain, Reason: "the CHT refused one of the documents of a bulk write; the others are looked up"}
		}
	}
	return call.Verdict{Class: call.Done}
}

func forbidden(r call.Request, a call.Answer) call.Verdict {
	if r.Path == usersPath && decodeError(a.Body).text == "Insufficient privileges" {
		// Who may not list users is told so, and does without: no reason to stop
		// the whole system.
		return call.Verdict{Class: call.Done}
	}
	v := call.Verdict{Class: call.NotAuthorised, Reason: "the CHT user lacks a permission for this"}
	if strings.Contains(decodeError(a.Body).details, "Offline users") {
		v.Reason = "the CHT user has an offline role (chw, supervisor): give the integration an online user of its own"
	}
	return v
}

// notFound reads a 404: for a read it says that the thing is not there.
func notFound(r call.Request, a call.Answer) call.Verdict {
	e := decodeError(a.Body)
	switch {
	case e.text == "":
		return call.Verdict{Class: call.Refusal, Reason: "there is no CHT at this address: check url"}
	case !r.Changes() || r.Method == http.MethodDelete:
		return call.Verdict{Class: call.Done}
	}
	return call.Verdict{Class: call.Refusal, Reason: "something that the document refers to is not in the CHT: " + withoutValues(e.text)}
}

// permanent are the 500 answers of POST /api/v2/records that are the caller's
// fault (api/src/services/records.js, 5.2.0).
var permanent = regexp.MustCompile(`^(Form not found|Missing _meta property|Missing required (field|value))`)

func serverError(r call.Request, a call.Answer) call.Verdict {
	e := decodeError(a.Body)
	switch {
	case permanent.MatchString(e.details):
		field, _, _ := strings.Cut(e.details, ":")
		return call.Verdict{Class: call.Refusal, Field: "form", Reason: "the CHT cannot take the record: " + field}
	case a.Status == http.StatusServiceUnavailable:
		v := lost(r, "the CHT is starting, upgrading or overloaded (HTTP 503)", true)
		v.RetryAfter = retryAfter(a)
		return v
	case a.Status == http.StatusBadGateway || a.Status == http.StatusGatewayTimeout:
		v := lost(r, fmt.Sprintf("the CHT is not available behind its proxy (HTTP %d)", a.Status), true)
		v.RetryAfter = retryAfter(a)
		return v
	case r.Path == exportPath:
		// The route asks for a permission by a name that the map does not have
		// (seen on 5.2.0).
		return lost(r, "the CHT failed inside while exporting; a user with can_export_dhis but without can_export_all gets this answer always: give it can_export_all", false)
	}
	return lost(r, fmt.Sprintf("the CHT failed inside (HTTP %d)", a.Status), false)
}

func refused(a call.Answer) call.Verdict {
	e := decodeError(a.Body)
	if strings.Contains(e.text, "[_rev] fields must not be changed") {
		// The data API's words for a stale revision, status 400 (5.2.0).
		return call.Verdict{Class: call.Conflicting, Reason: "someone else changed the document at the same time: it is read and planned again"}
	}
	reason := fmt.Sprintf("the CHT answered %d", a.Status)
	if e.text != "" {
		reason += ": " + withoutValues(e.text)
	}
	return call.Verdict{Class: call.Refusal, Reason: reason}
}

// failure is an error answer in whatever shape it came; empty if it is none.
type failure struct{ text, details string }

func decodeError(body []byte) failure {
	var doc struct {
		Error   json.RawMessage `json:"error"`
		Details json.RawMessage `json:"details"`
		Reason  string          `json:"reason"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return failure{}
	}
	var f failure
	if json.Unmarshal(doc.Error, &f.text) != nil {
		var inner struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(doc.Error, &inner) == nil {
			f.text = inner.Message
		}
	}
	if json.Unmarshal(doc.Details, &f.details) != nil {
		f.details = ""
	}
	if doc.Reason != "" {
		f.text += ": " + doc.Reason
	}
	return f
}

var quoted = regexp.MustCompile(`\[[^\]]*\]|'[^']*'|"[^"]*"|\d{3,}`)

// names are what the CHT quotes that is never a patient's: its own field names.
var names = regexp.MustCompile(`^[\["'](_?[a-zA-Z]+(_[a-z]+)*)[\]"']$`)

// withoutValues keeps a server's own words, without what it quotes and without
// numbers; the name of a field stays.
func withoutValues(text string) string {
	text = quoted.ReplaceAllStringFunc(text, func(q string) string {
		if m := names.FindStringSubmatch(q); m != nil && fieldNames[m[1]] {
			return m[1]
		}
		return "…"
	})
	if i := strings.IndexAny(text, "'\"\n"); i >= 0 {
		text = text[:i] + "…"
	}
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

var fieldNames = map[string]bool{"name": true, "type": true, "parent": true, "contact": true, "form": true, "fields": true, "reported_date": true,
	"_id": true, "_rev": true, "phone": true, "string": true, "place": true, "dataSet": true, "from": true}

func retryAfter(a call.Answer) time.Duration {
	n, err := strconv.Atoi(a.Header["Retry-After"])
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 24*3600)) * time.Second
}
