package openmrs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

const (
	restPath = "/ws/rest/v1"
	// maxBody is the largest answer that is read. A patient with all her
	// encounters is far below it.
	maxBody = 8 << 20
)

// errTooLarge is the transport error of an answer above maxBody.
var errTooLarge = errors.New("the answer is larger than 8 MB")

// kept are the fields of an answer's header that Classify and the clock read.
var kept = []string{"Date", "Retry-After", "Content-Type", "Location", "ETag"}

// Send sends one request with HTTP Basic and reads the whole answer.
//
// No cookie is ever sent: a session that the server has forgotten makes its
// filter answer 401 and execute the request all the same (AuthorizationFilter,
// seen up to 4.0.0-SNAPSHOT). Redirects are not followed: a POST would become a
// GET. The error is a transport error only.
func (s *System) Send(ctx context.Context, r call.Request) (call.Answer, error) {
	target, accept := s.base+r.Path, "application/json"
	if isFeed(r) {
		target, accept = strings.TrimSuffix(s.base, restPath)+r.Path, "*/*"
	}
	if len(r.Query) > 0 {
		target += "?" + encodeQuery(r.Query)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(r.Body))
	if err != nil {
		return call.Answer{}, fmt.Errorf("make request: %w", err)
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	maps.Copy(req.Header, s.header)
	req.Header.Set("Accept", accept)
	if len(r.Body) > 0 {
		req.Header.Set("Content-Type", "application/json; charset=UTF-8")
	}
	client := s.http
	if streams(r) {
		client = s.unhurried // the caller's context bounds it
	}
	resp, err := client.Do(req)
	if err != nil {
		return call.Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	var body []byte
	if streams(r) {
		body, err = s.spoolReport(r, resp)
	} else {
		body, err = call.ReadBody(resp.Body, maxBody)
	}
	if err != nil {
		return call.Answer{}, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxBody {
		return call.Answer{}, errTooLarge
	}
	a := call.Answer{Status: resp.StatusCode, Header: map[string]string{}, Body: body, At: s.now()}
	for _, k := range kept {
		if v := resp.Header.Get(k); v != "" {
			a.Header[k] = v
		}
	}
	s.skew.Learn(a)
	return a, nil
}

// escaped are the representations as they stand in an address: each read has one,
// and they are long.
var escaped = func() map[string]string {
	out := map[string]string{}
	for _, rep := range []string{patientRep, mergeRep, providerRep, personRep, visitRep, encounterRep, rowRep, obsRep} {
		out[rep] = url.QueryEscape(rep)
	}
	return out
}()

// encodeQuery writes a query, sorted by name.
func encodeQuery(q map[string][]string) string {
	var b strings.Builder
	for _, name := range keysOf(q) {
		for _, v := range q[name] {
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(url.QueryEscape(name))
			b.WriteByte('=')
			text, ok := escaped[v]
			if !ok {
				text = url.QueryEscape(v)
			}
			b.WriteString(text)
		}
	}
	return b.String()
}

// serverNow is the server's time as far as we know it, in whole seconds.
func (s *System) serverNow() time.Time {
	return s.now().Add(s.skew.By()).Truncate(time.Second)
}

// Probe reads the session: the cheapest request, and the one that tells wrong
// credentials from a server that is down.
func (s *System) Probe() call.Request {
	return call.Request{Method: http.MethodGet, Path: "/session"}
}

// read makes the request that reads a resource.
func read(path string, query ...string) call.Request {
	r := call.Request{Method: http.MethodGet, Path: path}
	for i := 0; i+1 < len(query); i += 2 {
		if r.Query == nil {
			r.Query = map[string][]string{}
		}
		r.Query[query[i]] = append(r.Query[query[i]], query[i+1])
	}
	return r
}

// seg escapes one segment of a path; braces stay free for outputs of calls.
func seg(s string) string { return url.PathEscape(s) }

// out names, in a path, an output of an earlier call.
func out(callName, output string) string { return "{" + callName + "." + output + "}" }

// void makes the request that voids a record, with the reason that names the run.
func void(path, reason string) call.Request {
	return call.Request{Method: http.MethodDelete, Path: path, Query: map[string][]string{"reason": {reason}}}
}

// unvoid makes the request that brings a voided record back. Only whole
// resources have it; names, attributes and identifiers do not
// (MainSubResourceController, seen up to 4.0.0-SNAPSHOT).
func unvoid(path string) call.Request {
	return call.Request{Method: http.MethodPost, Path: path, Body: []byte(`{"deleted":"false"}`)}
}
