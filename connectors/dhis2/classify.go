package dhis2

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Classify says what an answer, or its absence, means. The body is read first
// and the status second: DHIS2 answers 409 although values were saved, and 200
// although an event was refused.
//
// Reasons never repeat values; they name identifiers of metadata only.
func (s *System) Classify(r call.Request, a call.Answer, err error) call.Verdict {
	if err != nil {
		return transport(r, err)
	}
	switch {
	case a.Status == http.StatusNotModified && r.Header["If-None-Match"] != "":
		return call.Verdict{Class: call.Done}
	case a.Status >= 300 && a.Status < 400:
		return redirected(a)
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return unauthorised(a)
	case a.Status == http.StatusTooManyRequests:
		return call.Verdict{Class: call.RetryLater, Reason: "a proxy before DHIS2 asks for fewer requests", RetryAfter: retryAfter(a)}
	case a.Status == http.StatusRequestTimeout:
		return lost(r, "the request did not reach DHIS2 in time", false)
	case a.Status >= 500:
		return serverError(r, a)
	}
	body := bytes.TrimSpace(a.Body)
	if a.Status == http.StatusNoContent || len(body) == 0 && a.Status < 300 && r.Method == http.MethodDelete {
		return call.Verdict{Class: call.Done}
	}
	if a.Status == http.StatusOK && r.Path == pingPath && string(body) == "pong" {
		return call.Verdict{Class: call.Done}
	}
	if len(body) == 0 && a.Status == http.StatusOK && strings.HasPrefix(r.Path, summariesPath) {
		return call.Verdict{Class: call.Done} // the job has not ended
	}
	if v, ok := notJSON(r, a, body); !ok {
		return v
	}
	if v, ok := s.imported(r, a.Status, body); ok {
		return v
	}
	return plain(r, a.Status, body)
}

// plain reads an answer that is no import's verdict.
func plain(r call.Request, status int, body []byte) call.Verdict {
	switch {
	case status < 300 && !r.Changes():
		return call.Verdict{Class: call.Done}
	case status < 300:
		return lost(r, "DHIS2 answered in a form that this version of Kiungo does not know", false)
	case status == http.StatusNotFound && !r.Changes():
		return call.Verdict{Class: call.Done} // not there: the reader sees it by the status
	}
	m := decodeMessage(body)
	switch {
	case status == http.StatusBadRequest && aboutToken(m.Message):
		return call.Verdict{Class: call.NotAuthorised, Reason: "DHIS2 cannot read the access token: copy it again, whole, into the option token"}
	case m.ErrorCode != "":
		return ruleOf(m.ErrorCode).verdict(m.ErrorCode, "")
	case status == http.StatusNotFound:
		return call.Verdict{Class: call.Refusal, Reason: "DHIS2 has no such address or record: check url, and that the server is 2.38 or later"}
	case status == http.StatusUnsupportedMediaType, status == http.StatusMethodNotAllowed, status == http.StatusNotAcceptable:
		return call.Verdict{Class: call.Refusal, Reason: "DHIS2, or a proxy before it, does not take this kind of request (" + strconv.Itoa(status) + "): check url and the proxy's rules"}
	case strings.Contains(m.Message, "UID must be"):
		return call.Verdict{Class: call.Refusal, Reason: "DHIS2 says that an identifier is not a UID (11 letters and digits)"}
	}
	return call.Verdict{Class: call.Refusal, Reason: "DHIS2 refused the request with status " + strconv.Itoa(status) + " and gave no code: its log says more"}
}

// transport reads the absence of an answer.
func transport(r call.Request, err error) call.Verdict {
	var dns *net.DNSError
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return call.Verdict{Class: call.RetryLater, Reason: "the certificate of DHIS2 is not trusted, or for another name: check url and the server's certificate", Down: true}
	case errors.Is(err, errTooLarge):
		return lost(r, "DHIS2 sent more than 16 MB", false)
	case errors.Is(err, context.Canceled):
		return lost(r, "the request was stopped before an answer came", false)
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		// Nothing was sent.
		return call.Verdict{Class: call.RetryLater, Reason: "DHIS2 cannot be reached", Down: true}
	}
	return lost(r, "the connection to DHIS2 broke, or it did not answer in time", true)
}

// lost is the verdict when no usable answer came: a read can be repeated, a
// write may have been executed.
func lost(r call.Request, reason string, down bool) call.Verdict {
	if !r.Changes() {
		return call.Verdict{Class: call.RetryLater, Reason: reason, Down: down}
	}
	return call.Verdict{Class: call.Uncertain, Reason: reason + "; whether it was written is looked up", Down: down}
}

// redirected reads a redirect. Without credentials DHIS2 sends to its login page.
func redirected(a call.Answer) call.Verdict {
	to := a.Header["Location"]
	if strings.Contains(to, "login") || strings.Contains(to, "dhis-web-commons") {
		return call.Verdict{Class: call.NotAuthorised, Reason: "DHIS2 sends to its login page: it did not take the token, or the user name and password. Look at this system's options in the site's file, at the user in DHIS2, and whether a proxy before it lets the field Authorization through"}
	}
	return call.Verdict{Class: call.Refusal, Reason: "DHIS2 answers with a redirect: set url to the final address, with https and the context path"}
}

// unauthorised says what an administrator must do about a 401 or 403.
func unauthorised(a call.Answer) call.Verdict {
	text := strings.ToLower(decodeMessage(a.Body).Message)
	reason := "DHIS2 does not accept the user name and password, or the access token"
	switch {
	case a.Status == http.StatusForbidden:
		reason = "the user may not do this in DHIS2: give its role the authority F_DATAVALUE_ADD, and data-write sharing on the data set or program"
	case strings.Contains(text, "expired"):
		reason = "the access token of the user has expired: make a new one in DHIS2 and put it into the option token"
	case strings.Contains(text, "ip address"):
		reason = "the access token is not allowed from this server's IP address: change its list of addresses in DHIS2"
	case strings.Contains(text, "http method"):
		// The token is taken, and reads go on: this request alone is refused.
		return call.Verdict{Class: call.Refusal, Reason: "the access token may not be used to write: let it be used with GET, POST and DELETE in DHIS2, then retry"}
	case strings.Contains(text, "referer"), strings.Contains(text, "referrer"):
		reason = "the access token is only allowed for web pages: make one for a server"
	case strings.Contains(text, "2fa"), strings.Contains(text, "disabled"):
		reason = "the DHIS2 user is disabled or locked, or uses two-factor login, with which no access token works"
	case strings.Contains(text, "locked"):
		reason = "the DHIS2 user is locked: an administrator must unlock it"
	case strings.Contains(text, "does not exist"):
		reason = "DHIS2 does not know the access token: it was deleted, or belongs to another server"
	}
	return call.Verdict{Class: call.NotAuthorised, Reason: reason}
}

func aboutToken(message string) bool {
	return strings.Contains(message, "Api token") || strings.Contains(message, "Checksum validation")
}

// serverError reads a 5xx: whether anything was written is not known, and an
// import is not one transaction.
func serverError(r call.Request, a call.Answer) call.Verdict {
	down := a.Status >= http.StatusBadGateway && a.Status <= http.StatusGatewayTimeout
	v := lost(r, "DHIS2, or a proxy before it, failed ("+strconv.Itoa(a.Status)+")", down)
	v.RetryAfter = retryAfter(a)
	return v
}

// notJSON tells whether the body is a whole JSON document, and what it means
// where it is not.
func notJSON(r call.Request, a call.Answer, body []byte) (call.Verdict, bool) {
	switch {
	case len(body) == 0:
		return lost(r, "DHIS2 answered without content", false), false
	case body[0] == '<' && a.Status == http.StatusNotFound:
		return call.Verdict{Class: call.Refusal, Reason: "a web page says that the address is not there: check url, with its context path"}, false
	case body[0] == '<':
		return lost(r, "a web page came instead of data: check url, and any proxy or login page before DHIS2", true), false
	case !json.Valid(body):
		return lost(r, "the answer of DHIS2 is cut off or not JSON", false), false
	}
	return call.Verdict{}, true
}

// retryAfter is how long the answer asks to wait.
func retryAfter(a call.Answer) time.Duration {
	v := a.Header["Retry-After"]
	if seconds, err := strconv.ParseFloat(v, 64); err == nil && seconds >= 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil && at.After(a.At) {
		return at.Sub(a.At)
	}
	return 0
}

// message is the envelope of DHIS2's answers (WebMessage).
type message struct {
	Status    string          `json:"status"`
	Message   string          `json:"message"`
	ErrorCode string          `json:"errorCode"`
	Response  json.RawMessage `json:"response"`
}

// decodeMessage reads an envelope; what is none gives an empty one.
func decodeMessage(body []byte) message {
	var m message
	if json.Unmarshal(body, &m) != nil {
		return message{}
	}
	return m
}
