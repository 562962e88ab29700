package system

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// Guarded has an HTTP transport ask, right before each piece of a guarded
// request goes out, whether it still may: a process that was paused between the
// decision to send and the connection's Write sends not one byte (law 11). A
// request is guarded by WithGuard. Requests go by HTTP/1.1, one at a time on a
// connection. Call it before the transport is used.
func Guarded(t *http.Transport) http.RoundTripper {
	dial := t.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &wire{Conn: c}, nil
	}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.ForceAttemptHTTP2 = false
	return &guarded{t}
}

type guarded struct{ *http.Transport }

// RoundTrip sets the guard of the connection that the request is given: of a
// read there is none.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	check, _ := r.Context().Value(guardKey{}).(func() error)
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		c := info.Conn
		if tls, ok := c.(interface{ NetConn() net.Conn }); ok {
			c = tls.NetConn()
		}
		if w, ok := c.(*wire); ok {
			w.check.Store(&check)
		}
	}}
	return g.Transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}

type guardKey struct{}

// WithGuard has check asked before anything of the requests under this context
// is written; its error is theirs, and nothing more is written.
func WithGuard(ctx context.Context, check func() error) context.Context {
	return context.WithValue(ctx, guardKey{}, check)
}

// wire is a connection that asks before it writes.
type wire struct {
	net.Conn
	check atomic.Pointer[func() error]
}

func (w *wire) Write(p []byte) (int, error) {
	if check := w.check.Load(); check != nil && *check != nil {
		if err := (*check)(); err != nil {
			return 0, err
		}
	}
	return w.Conn.Write(p)
}
