package dhis2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// maxBody is the largest answer that is read: a national data set with its
// thousands of organisation units is a few hundred kilobytes.
const maxBody = 16 << 20

// errTooLarge is the transport error of an answer above maxBody.
var errTooLarge = errors.New("the answer is larger than 16 MB")

// kept are the fields of an answer's header that Classify, the clock and the
// metadata read.
var kept = []string{"Date", "Retry-After", "Content-Type", "Location", "ETag"}

// Send sends one request and reads the whole answer.
//
// No cookie is kept: DHIS2 remembers a user's organisation units per session, so
// that a change of them would stay invisible. Redirects are not followed: without
// credentials DHIS2 redirects to its login page, which then answers 200. The
// error is a transport error only.
func (s *System) Send(ctx context.Context, r call.Request) (call.Answer, error) {
	target := s.base + r.Path
	if len(r.Query) > 0 {
		target += "?" + url.Values(r.Query).Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(r.Body))
	if err != nil {
		return call.Answer{}, fmt.Errorf("make request: %w", err)
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	if s.token != "" {
		req.Header.Set("Authorization", "ApiToken "+s.token)
	} else {
		req.SetBasicAuth(s.username, s.password)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", s.our)
	// With it a failed login is 401, not a redirect to the login page.
	req.Header.Set("X-Requested-With", "XMLHttpRequest")
	if len(r.Body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return call.Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := call.ReadBody(resp.Body, maxBody)
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

// serverNow is the server's time as far as we know it.
func (s *System) serverNow() time.Time {
	return s.now().Add(s.skew.By())
}

// Probe is the cheapest request there is; it is answered "pong".
func (s *System) Probe() call.Request { return read(pingPath) }

const pingPath = "/system/ping"

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

// seg escapes one segment of a path.
func seg(s string) string { return url.PathEscape(s) }
