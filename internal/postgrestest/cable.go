package postgrestest

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Tap looks at what goes through one connection of a cable, to the database and
// back; when it gives false, the connection is cut before that is passed on.
type Tap func() (there, back func(part []byte) bool)

// Cable is a node's way to the database: it can be pulled out, so that both
// ends notice, and clamped, so that neither does.
type Cable struct {
	URL string // of the database, by this way
	to  string
	l   net.Listener
	tap Tap

	mu      sync.Mutex
	mended  sync.Cond
	conns   map[net.Conn]bool
	pulled  bool
	clamped bool
}

// NewCable lays one, with a tap or nil; it is gone with the test.
func NewCable(t testing.TB, database string, tap Tap) *Cable {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cable{to: u.Host, tap: tap, conns: map[net.Conn]bool{}}
	c.mended.L = &c.mu
	if c.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = c.l.Addr().String()
	c.URL = u.String()
	t.Cleanup(func() {
		c.l.Close()
		c.Pull()
	})
	go func() {
		for {
			in, err := c.l.Accept()
			if err != nil {
				return
			}
			go c.connect(in)
		}
	}()
	return c
}

func (c *Cable) connect(in net.Conn) {
	defer in.Close()
	if !c.whole() {
		return
	}
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer out.Close()
	c.mu.Lock()
	if c.pulled {
		c.mu.Unlock()
		return
	}
	c.conns[in], c.conns[out] = true, true
	c.mu.Unlock()
	there, back := pass, pass
	if c.tap != nil {
		there, back = c.tap()
	}
	ended := make(chan struct{})
	go func() {
		c.carry(in, out, back)
		in.Close()
		close(ended)
	}()
	c.carry(out, in, there)
	out.Close()
	<-ended
	c.mu.Lock()
	delete(c.conns, in)
	delete(c.conns, out)
	c.mu.Unlock()
}

// whole waits until the cable is not clamped; false if it is pulled.
func (c *Cable) whole() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.clamped && !c.pulled {
		c.mended.Wait()
	}
	return !c.pulled
}

func pass([]byte) bool { return true }

func (c *Cable) carry(to, from net.Conn, tap func([]byte) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !c.whole() || !tap(buf[:n]) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Pull cuts all connections, and lets none be made.
func (c *Cable) Pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled, c.clamped = true, false
	for conn := range c.conns {
		conn.Close()
	}
	c.mended.Broadcast()
}

// Clamp lets nothing through, and says so to nobody.
func (c *Cable) Clamp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clamped = true
}

// Mend lets everything through again, also what was on its way.
func (c *Cable) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled, c.clamped = false, false
	c.mended.Broadcast()
}
