package system

import (
	"net/http"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Lanes that must fail one after the other, with no success between, before a
// circuit opens: one bad delivery alone never does it.
const lanesToOpen = 3

// circuit tells whether a system is worth asking. Only the system's own
// failures open it (connection errors, time-outs, 502 to 504, from several
// lanes; one 401 at once), and only its probe closes it (law 27).
type circuit struct {
	mu     sync.Mutex
	open   bool
	reason string
	since  time.Time
	login  bool           // opened by wrong credentials
	lanes  map[int64]bool // lanes that met it down since the last success
}

// note takes a verdict into account and tells whether the circuit opened now.
func (c *circuit) note(lane int64, v call.Verdict, status int, now time.Time) (opened bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		return false
	}
	switch {
	case v.Class == call.NotAuthorised && status == http.StatusUnauthorized:
		// Wrong credentials: every further try may lock the account.
		c.login = true
		return c.openFor(v.Reason, now)
	case v.Down:
		if c.lanes == nil {
			c.lanes = map[int64]bool{}
		}
		c.lanes[lane] = true
		if len(c.lanes) >= lanesToOpen {
			return c.openFor(v.Reason, now)
		}
	default:
		clear(c.lanes)
	}
	return false
}

func (c *circuit) openFor(reason string, now time.Time) bool {
	c.open, c.reason, c.since = true, reason, now
	clear(c.lanes)
	return true
}

func (c *circuit) isOpen() (bool, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.reason
}

func (c *circuit) byLogin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.login
}

func (c *circuit) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open, c.reason, c.login = false, "", false
	clear(c.lanes)
}
