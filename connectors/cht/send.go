package cht

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/kiungo-health/kiungo/internal/call"
)

// errTooLarge is the transport error of an answer above maxAnswer.
var errTooLarge = errors.New("the answer is larger than 64 MB")

// kept are the fields of an answer's header that are read later.
var kept = []string{"Date", "Retry-After", "Content-Type", "Location", "ETag"}

// Send sends one request with HTTP Basic and reads the whole answer; the error
// is a transport error only.
//
// The type of a body is exactly application/json: with a charset behind it the
// CHT answers 400 (seen on 5.2.0). Without Accept, errors come as text; a
// browser's User-Agent gets a redirect instead of 401. Redirects are not
// followed: a POST would become a GET.
func (s *System) Send(ctx context.Context, r call.Request) (call.Answer, error) {
	target := s.base + r.Path
	if len(r.Query) > 0 {
		target += "?" + url.Values(r.Query).Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(r.Body))
	if err != nil {
		return call.Answer{}, fmt.Errorf("make request: %w", err)
	}
	if len(r.Body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	req.SetBasicAuth(s.user, s.password)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", s.our)
	resp, err := s.http.Do(req)
	if err != nil {
		return call.Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := call.ReadBody(resp.Body, s.maxAnswer)
	if err != nil {
		return call.Answer{}, fmt.Errorf("read answer: %w", err)
	}
	if int64(len(body)) > s.maxAnswer {
		return call.Answer{}, errTooLarge
	}
	a := call.Answer{Status: resp.StatusCode, Header: map[string]string{}, Body: body, At: s.now()}
	for _, k := range kept {
		if v := resp.Header.Get(k); v != "" {
			a.Header[k] = v
		}
	}
	return a, nil
}

const sessionPath = "/_session"

// Probe asks who we are: cheap, and it tells a wrong password from a server
// that is down or upgrading.
func (s *System) Probe() call.Request {
	return call.Request{Method: http.MethodGet, Path: sessionPath}
}

// get makes a read; query is names and values in turn.
func get(path string, query ...string) call.Request {
	r := call.Request{Method: http.MethodGet, Path: path}
	for i := 0; i+1 < len(query); i += 2 {
		if r.Query == nil {
			r.Query = map[string][]string{}
		}
		r.Query[query[i]] = append(r.Query[query[i]], query[i+1])
	}
	return r
}

// ask makes a read that is a POST.
func ask(path string, body any, query ...string) (call.Request, error) {
	r := get(path, query...)
	raw, err := json.Marshal(body)
	if err != nil {
		return r, fmt.Errorf("write the request's body: %w", err)
	}
	r.Method, r.Body, r.Read = http.MethodPost, raw, true
	return r, nil
}

// read does a read and decodes its answer into out. found is false for 404.
func (s *System) read(ctx context.Context, do call.Doer, about string, r call.Request, out any) (found bool, err error) {
	a, err := do.Do(ctx, about, r)
	if err != nil {
		return false, err
	}
	if a.Status == http.StatusNotFound {
		return false, nil
	}
	if err := json.Unmarshal(a.Body, out); err != nil {
		return false, fmt.Errorf("%s: %s: the answer is not as expected: %w", s.name, about, shape(err))
	}
	return true, nil
}

// shape says what is wrong with a JSON document without quoting it.
func shape(err error) error {
	var bad *json.UnmarshalTypeError
	if errors.As(err, &bad) {
		return fmt.Errorf("field %s is a %s", bad.Field, bad.Value)
	}
	return errors.New("it is not whole JSON")
}
