//go:build unix

package chaos

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// cable is a node's way to the database: it can be pulled out, so that both
// ends notice, and clamped, so that neither does.
type cable struct {
	url string
	to  string
	l   net.Listener

	mu      sync.Mutex
	mended  sync.Cond
	conns   map[net.Conn]bool
	pulled  bool
	clamped bool
}

func newCable(t *testing.T, database string) *cable {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{to: u.Host, conns: map[net.Conn]bool{}}
	c.mended.L = &c.mu
	if c.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = c.l.Addr().String()
	c.url = u.String()
	t.Cleanup(func() {
		c.l.Close()
		c.pull()
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

func (c *cable) connect(in net.Conn) {
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
	back := make(chan struct{})
	go func() {
		c.carry(in, out)
		in.Close()
		close(back)
	}()
	c.carry(out, in)
	out.Close()
	<-back
	c.mu.Lock()
	delete(c.conns, in)
	delete(c.conns, out)
	c.mu.Unlock()
}

// whole waits until the cable is not clamped; false if it is pulled.
func (c *cable) whole() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.clamped && !c.pulled {
		c.mended.Wait()
	}
	return !c.pulled
}

func (c *cable) carry(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !c.whole() {
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

// pull cuts all connections, and lets none be made.
func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled, c.clamped = true, false
	for conn := range c.conns {
		conn.Close()
	}
	c.mended.Broadcast()
}

// clamp lets nothing through, and says so to nobody.
func (c *cable) clamp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clamped = true
}

// mend lets everything through again, also what was on its way.
func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled, c.clamped = false, false
	c.mended.Broadcast()
}
