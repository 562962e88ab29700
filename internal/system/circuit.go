package system

import (
	"net/http"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// LanesToOpen is how many lanes must fail one after the other, with no success between, before a
// circuit opens: one bad delivery alone never does it.
const LanesToOpen = 3

// circuit tells whether a system is worth asking. Only the system's own
// failures open it (connection errors, time-outs, 502 to 504, from several
// lanes; credentials that are not taken at once), and only its probe closes it (law 27).
type circuit struct {
	mu     sync.Mutex
	open   bool
	reason string
	since  time.Time
	login  bool           // opened by wrong credentials
	untold bool           // opened here, and not yet written where others see it
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
	case v.Class == call.NotAuthorised && atTheDoor(status):
		// Wrong credentials: every further try may lock the account.
		c.login, c.untold = true, true
		return c.openFor(v.Reason, now)
	case v.Down:
		if c.lanes == nil {
			c.lanes = map[int64]bool{}
		}
		c.lanes[lane] = true
		if len(c.lanes) >= LanesToOpen {
			c.untold = true
			return c.openFor(v.Reason, now)
		}
	default:
		clear(c.lanes)
	}
	return false
}

// atTheDoor tells whether an answer says that the credentials were not taken at
// all: 401, a redirect to a login page, a token that cannot be read. A 403 is
// about one thing that the user may not do.
func atTheDoor(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusBadRequest || status/100 == 3
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
	c.open, c.reason, c.login, c.untold = false, "", false, false
	clear(c.lanes)
}

// follow takes over what is known elsewhere, and tells whether it is news. What
// was opened here stays open until that was told.
func (c *circuit) follow(open, login bool, reason string, now time.Time) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case open && !c.open:
		c.login = login
		return c.openFor(reason, now)
	case !open && c.open && !c.untold:
		c.open, c.reason, c.login = false, "", false
		clear(c.lanes)
		return true
	}
	return false
}
