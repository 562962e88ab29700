package openmrs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Classify says what an answer, or its absence, means. OpenMRS answers 500 for
// much that is the caller's fault, and container pages instead of JSON, so the
// text counts as much as the status (RestUtil.wrapErrorResponse, BaseRestController).
//
// Reasons never repeat the server's own text: it holds identifiers and names.
func (s *System) Classify(r call.Request, a call.Answer, err error) call.Verdict {
	if err != nil {
		return transport(r, err)
	}
	if isFeed(r) {
		if v, ok := classifyFeed(r, a); ok {
			return v
		}
	}
	switch {
	case a.Status >= 200 && a.Status < 300:
		return success(r, a)
	case a.Status >= 300 && a.Status < 400:
		return call.Verdict{Class: call.Refusal, Reason: "OpenMRS answers with a redirect: set url to the final address, with https and the context path"}
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		return unauthorised(r, a)
	case a.Status == http.StatusTooManyRequests:
		return call.Verdict{Class: call.RetryLater, Reason: "OpenMRS, or a proxy before it, asks for fewer requests", RetryAfter: retryAfter(a)}
	case a.Status == http.StatusConflict:
		return call.Verdict{Class: call.Conflicting, Reason: "someone else changed the record at the same time: it is read and planned again"}
	case a.Status == http.StatusNotFound:
		return notFound(r, a)
	case a.Status >= 500:
		return serverError(r, a)
	case a.Status == http.StatusRequestTimeout:
		return lost(r, "the request did not reach OpenMRS in time", false)
	}
	return explain(a).refusal(r)
}

// refusal is the verdict of a permanent error. A time that is still in the
// server's future is not one: Canon let through only what is at most seconds
// ahead of the server's clock as we know it.
func (w why) refusal(r call.Request) call.Verdict {
	if w.early {
		return call.Verdict{Class: call.RetryLater, Reason: w.reason + ": sent again in a moment", Field: w.field, RetryAfter: 5 * time.Second}
	}
	return call.Verdict{Class: call.Refusal, Reason: w.reason, Field: w.field, Traces: w.traces(r), Taken: w.taken}
}

// transport reads the absence of an answer.
func transport(r call.Request, err error) call.Verdict {
	var dns *net.DNSError
	var report *reportError
	switch {
	case errors.As(err, &report):
		return report.verdict()
	case streams(r) && (errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err)):
		return lost(r, "the report was not ready in time: raise the system's timeout, or fetch it via request", false)
	case errors.Is(err, errTooLarge):
		return lost(r, "OpenMRS sent more than 8 MB", false)
	case errors.Is(err, context.Canceled):
		return lost(r, "the request was stopped before an answer came", false)
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &dns), dialing(err):
		// Nothing was sent.
		return call.Verdict{Class: call.RetryLater, Reason: "OpenMRS cannot be reached", Down: true}
	}
	return lost(r, "the connection to OpenMRS broke, or it did not answer in time", true)
}

func dialing(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// lost is the verdict when no usable answer came: a read can be repeated, a
// write may have been executed.
func lost(r call.Request, reason string, down bool) call.Verdict {
	if !r.Changes() {
		return call.Verdict{Class: call.RetryLater, Reason: reason, Down: down}
	}
	return call.Verdict{Class: call.Uncertain, Reason: reason + "; whether it was written is looked up", Down: down}
}

// whole tells whether an answer looks like a whole JSON document. That it is
// one is found out where it is read; asking here too would parse every answer
// twice, a tenth of the cost of a delivery.
func whole(body []byte) bool {
	first, last := body[0], body[len(body)-1]
	return first == '{' && last == '}' || first == '[' && last == ']'
}

func success(r call.Request, a call.Answer) call.Verdict {
	body := bytes.TrimSpace(a.Body)
	switch {
	case a.Status == http.StatusNoContent && len(body) == 0:
		return call.Verdict{Class: call.Done}
	case len(body) == 0, r.Changes() && string(body) == "{}":
		return lost(r, "OpenMRS answered without content", false)
	case body[0] == '<':
		return lost(r, "a web page came instead of data: check url, and any proxy or login page before OpenMRS", true)
	case r.Method == http.MethodDelete: // 204 without a body: RestUtil.noContent
		return lost(r, "OpenMRS answered a removal with something else than it does", false)
	}
	if !whole(body) {
		return lost(r, "the answer of OpenMRS is cut off or not JSON", false)
	}
	if r.Path == "/session" {
		var session struct {
			Authenticated *bool `json:"authenticated"`
		}
		// Wrong credentials are answered 200 here: the filter only logs them.
		if json.Unmarshal(body, &session) == nil && session.Authenticated != nil && !*session.Authenticated {
			return call.Verdict{Class: call.NotAuthorised, Reason: "OpenMRS does not accept the user name or password"}
		}
	}
	return call.Verdict{Class: call.Done}
}

func unauthorised(r call.Request, a call.Answer) call.Verdict {
	text := string(a.Body)
	if r.Changes() && (r.Header["Cookie"] != "" || strings.Contains(text, "Session timed out")) {
		// The filter's sendError does not return: the request goes on down the
		// chain and is executed (403 up to module 2.24).
		return lost(r, "OpenMRS forgot the session and may have executed the request all the same", false)
	}
	if strings.Contains(text, "Session timed out") {
		return call.Verdict{Class: call.RetryLater, Reason: "OpenMRS forgot the session"}
	}
	if m := privileges.FindStringSubmatch(text); m != nil && a.Status == http.StatusForbidden {
		return call.Verdict{Class: call.NotAuthorised, Reason: "the OpenMRS user lacks a privilege: " + m[1]}
	}
	if a.Status == http.StatusForbidden && !jsonBody(a) {
		return call.Verdict{Class: call.NotAuthorised, Reason: "OpenMRS, or a proxy before it, refuses this machine: check webservices.rest.allowedips"}
	}
	if a.Status == http.StatusForbidden {
		return call.Verdict{Class: call.NotAuthorised, Reason: "the OpenMRS user lacks a privilege"}
	}
	return call.Verdict{Class: call.NotAuthorised, Reason: "OpenMRS does not accept the user name or password"}
}

// notFound reads a 404. A record that is not there is an answer to a read, and
// nothing left to do for a void; for a change it means that others removed it.
func notFound(r call.Request, a call.Answer) call.Verdict {
	e := decodeError(a)
	switch {
	case strings.Contains(e.text, "Object with given uuid doesn't exist"), strings.Contains(e.text, "ObjectMismatch"),
		strings.Contains(e.text, "doesn't belong to"):
		if !r.Changes() || r.Method == http.MethodDelete {
			return call.Verdict{Class: call.Done}
		}
		return call.Verdict{Class: call.Conflicting, Reason: "the record is no longer in OpenMRS: it is read and planned again"}
	case strings.Contains(e.text, "Unknown resource"):
		return call.Verdict{Class: call.Refusal, Reason: "this OpenMRS does not offer " + resourceOf(r.Path) + ": a module is missing or too old"}
	}
	return call.Verdict{Class: call.Refusal, Reason: "there is no OpenMRS REST service at this address: check url and its context path"}
}

func resourceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if parts[0] == "idgen" {
		return "idgen (identifier generation)"
	}
	return parts[0]
}

func serverError(r call.Request, a call.Answer) call.Verdict {
	why := explain(a)
	switch {
	case a.Status == 502 || a.Status == 503 || a.Status == 504:
		v := lost(r, "OpenMRS is not available behind its proxy (HTTP "+strconv.Itoa(a.Status)+")", true)
		v.RetryAfter = retryAfter(a)
		return v
	case why.empty:
		return call.Verdict{Class: call.RetryLater, Reason: why.reason}
	case why.permanent:
		return why.refusal(r)
	case why.duplicate && r.Changes():
		return call.Verdict{Class: call.Uncertain, Reason: "OpenMRS says the record is there already; whether it is ours is looked up"}
	}
	return lost(r, "OpenMRS failed inside (HTTP "+strconv.Itoa(a.Status)+")"+why.where, false)
}

func retryAfter(a call.Answer) time.Duration {
	text := a.Header["Retry-After"]
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return time.Duration(min(n, 24*3600)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		if d := at.Sub(a.At); d > 0 {
			return min(d, 24*time.Hour)
		}
	}
	return 0
}

var privileges = regexp.MustCompile(`Privileges? required: ([A-Za-z ,]{1,200})`)

func jsonBody(a call.Answer) bool {
	b := bytes.TrimSpace(a.Body)
	return len(b) > 0 && b[0] == '{' && json.Valid(b)
}
