package simulate

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
)

// Network is an http.RoundTripper that leads to simulators in this process,
// by host name, without a socket. What a simulator cuts off arrives as a
// transport error, as on a real line.
type Network map[string]http.Handler

// errCut is what a cut connection looks like to the client.
var errCut = errors.New("connection reset by the simulator")

// RoundTrip serves the request by the host's handler.
func (n Network) RoundTrip(r *http.Request) (*http.Response, error) {
	handler, ok := n[r.URL.Host]
	if !ok {
		return nil, fmt.Errorf("no simulator for host %s", r.URL.Host)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	// A client may stop waiting while the handler still works: as on a real
	// line, what the handler does then happens all the same.
	type outcome struct {
		answer *http.Response
		cut    bool
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- outcome{cut: true}
			}
		}()
		in := r.Clone(r.Context())
		in.RequestURI = r.URL.RequestURI()
		in.RemoteAddr = "127.0.0.1:1"
		out := httptest.NewRecorder()
		handler.ServeHTTP(out, in)
		done <- outcome{answer: out.Result()}
	}()
	select {
	case o := <-done:
		if o.cut {
			return nil, fmt.Errorf("%w: %w", errCut, io.ErrUnexpectedEOF)
		}
		o.answer.Request = r
		return o.answer, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}
