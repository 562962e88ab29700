package system

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// meter counts the bytes that reach a server.
type meter struct {
	net.Listener
	bytes atomic.Int64
}

func (m *meter) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	return &metered{c, m}, err
}

type metered struct {
	net.Conn
	m *meter
}

func (c *metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.bytes.Add(int64(n))
	return n, err
}

func target(t *testing.T, secure bool) (*meter, *http.Client, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	m := &meter{Listener: server.Listener}
	server.Listener = m
	transport := &http.Transport{}
	if secure {
		server.StartTLS()
		transport = server.Client().Transport.(*http.Transport).Clone()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	t.Cleanup(transport.CloseIdleConnections)
	return m, &http.Client{Transport: Guarded(transport)}, server.URL
}

func send(ctx context.Context, c *http.Client, method, url string, body io.Reader) error {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// The process is paused after it was told that it may send: the check right
// before the write says no. On a connection that is warm, and on a fresh one.
func TestAPausedProcessWritesNotOneByte(t *testing.T) {
	lost := errors.New("the lease is over")
	for _, warm := range []bool{false, true} {
		m, client, url := target(t, false)
		if err := send(t.Context(), client, "GET", url, nil); err != nil {
			t.Fatal(err)
		}
		before := m.bytes.Load() // of one read
		if !warm {
			client.CloseIdleConnections()
		}
		err := send(WithGuard(t.Context(), func() error { return lost }), client, "POST", url, strings.NewReader("a visit"))
		if !errors.Is(err, lost) {
			t.Errorf("warm %v: %v", warm, err)
		}
		if err := send(t.Context(), client, "GET", url, nil); err != nil {
			t.Fatal(err)
		}
		client.CloseIdleConnections()
		if got := m.bytes.Load(); got != 2*before {
			t.Errorf("warm %v: %d bytes besides those of two reads arrived", warm, got-2*before)
		}
	}
}

func TestARequestIsCutOffInTheMiddleWhenTheLeaseEnds(t *testing.T) {
	lost := errors.New("the lease is over")
	m, client, url := target(t, false)
	writes := 0
	body := bytes.Repeat([]byte("x"), 1<<20)
	err := send(WithGuard(t.Context(), func() error {
		if writes++; writes > 3 {
			return lost
		}
		return nil
	}), client, "POST", url, bytes.NewReader(body))
	if !errors.Is(err, lost) || m.bytes.Load() >= int64(len(body)) {
		t.Errorf("%v after %d bytes", err, m.bytes.Load())
	}
}

// The guard is of the request, not of the connection: the read that follows on
// it has none.
func TestAReadIsNotGuarded(t *testing.T) {
	for _, secure := range []bool{false, true} {
		_, client, url := target(t, secure)
		asked := 0
		guarded := WithGuard(t.Context(), func() error { asked++; return nil })
		if err := send(guarded, client, "POST", url, strings.NewReader("a visit")); err != nil {
			t.Fatal(err)
		}
		if asked == 0 {
			t.Errorf("TLS %v: a changing request is written unasked", secure)
		}
		asked = 0
		if err := send(t.Context(), client, "GET", url, nil); err != nil || asked > 0 {
			t.Errorf("TLS %v: %v, asked %d times", secure, err, asked)
		}
	}
}

func TestALostLeaseIsToldOverTLS(t *testing.T) {
	lost := errors.New("the lease is over")
	_, client, url := target(t, true)
	if err := send(t.Context(), client, "GET", url, nil); err != nil {
		t.Fatal(err)
	}
	if err := send(WithGuard(t.Context(), func() error { return lost }), client, "POST", url, strings.NewReader("a visit")); !errors.Is(err, lost) {
		t.Error(err)
	}
}
