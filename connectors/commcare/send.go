package commcare

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/call"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// kept are the header fields of an answer that this connector reads.
var kept = []string{"Date", "Retry-After", "Content-Type", "Location"}

// Send sends one request and reads the whole answer, 64 MB at the most. The
// User-Agent is distinctive on purpose: CommCare stores it as the device id of
// every form that the case API writes.
func (s *System) Send(ctx context.Context, r call.Request) (call.Answer, error) {
	u, err := url.Parse(s.base.String() + r.Path)
	if err != nil {
		return call.Answer{}, fmt.Errorf("build the address of %s: %w", s.name, err)
	}
	if len(r.Query) > 0 {
		u.RawQuery = url.Values(r.Query).Encode()
	}
	payload, err := wire(r)
	if err != nil {
		return call.Answer{}, fmt.Errorf("build a request to %s: %w", s.name, err)
	}
	var body io.Reader
	if len(payload) > 0 {
		body = bytes.NewReader(payload)
	}
	q, err := http.NewRequestWithContext(ctx, r.Method, u.String(), body)
	if err != nil {
		return call.Answer{}, fmt.Errorf("build a request to %s: %w", s.name, err)
	}
	q.Header.Set("Accept", "application/json")
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	for k, v := range r.Header {
		q.Header.Set(k, v)
	}
	q.Header.Set("Authorization", s.auth)
	q.Header.Set("User-Agent", s.agent)
	return s.do(q)
}

// xmlType is the content type of submissions. A request's body is always JSON;
// with this type it is a form, and goes out as XML.
const xmlType = "text/xml; charset=utf-8"

func wire(r call.Request) ([]byte, error) {
	if r.Header["Content-Type"] != xmlType {
		return r.Body, nil
	}
	form, err := object(r.Body)
	if err != nil {
		return nil, err
	}
	return xform.Render(form), nil
}

func (s *System) do(q *http.Request) (call.Answer, error) {
	res, err := s.client.Do(q)
	if err != nil {
		return call.Answer{}, err
	}
	defer res.Body.Close()
	read, err := call.ReadBody(res.Body, s.maxAnswer)
	if err != nil {
		return call.Answer{}, fmt.Errorf("read the answer of %s: %w", s.name, err)
	}
	if int64(len(read)) > s.maxAnswer {
		return call.Answer{}, fmt.Errorf("the answer of %s is larger than %d MB", s.name, s.maxAnswer>>20)
	}
	a := call.Answer{Status: res.StatusCode, Body: read, At: time.Now(), Header: map[string]string{}}
	for _, k := range kept {
		if v := res.Header.Get(k); v != "" {
			a.Header[k] = v
		}
	}
	return a, nil
}

// Probe lists one case: it needs the same credentials as everything else, and
// answers from the index in one query.
func (s *System) Probe() call.Request {
	return call.Request{Method: http.MethodGet, Path: s.path("api/case/v2/"),
		Query: map[string][]string{"limit": {"1"}, "fields": {"case_id"}}}
}
