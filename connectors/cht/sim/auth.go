package sim

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// integrationRole is the role of the integration's own user.
const integrationRole = "kiungo"

// clerk is somebody of the programme who works in the CHT beside the integration.
const (
	clerkName     = "clerk"
	clerkPassword = "Clerk123"
)

// user is an account. Place and Contact are ids of contacts.
type user struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	Roles    []string `json:"roles"`
	Place    string   `json:"place"`
	Contact  string   `json:"contact"`

	missing []string
}

// counter counts refused logins of one address, name or password.
type counter struct {
	n     int
	until time.Time
}

const (
	loginsAllowed = 10
	loginsWindow  = 10 * time.Second
)

// credentials of a request; given is false without any.
func credentials(r *http.Request) (name, password string, given bool) {
	return r.BasicAuth()
}

// limitKeys are the counters that a request belongs to.
func limitKeys(r *http.Request) []string {
	ip, _, _ := strings.Cut(r.RemoteAddr, ":")
	keys := []string{"ip " + ip}
	if name, password, ok := credentials(r); ok {
		keys = append(keys, "user "+name, "password "+password)
	}
	return keys
}

// blocked tells whether a request that carries credentials is turned away:
// ten answers of 401 or 429 within ten seconds, by any counter. Called with the
// lock held.
func (s *Sim) blocked(r *http.Request) bool {
	if _, _, ok := credentials(r); !ok {
		return false
	}
	now := s.now()
	for _, key := range limitKeys(r) {
		if c := s.limits[key]; c != nil && now.Before(c.until) && c.n >= loginsAllowed {
			return true
		}
	}
	return false
}

// count notes a refused login. Called with the lock held.
func (s *Sim) count(r *http.Request) {
	now := s.now()
	for _, key := range limitKeys(r) {
		c := s.limits[key]
		if c == nil || !now.Before(c.until) {
			c = &counter{until: now.Add(loginsWindow)}
			s.limits[key] = c
		}
		c.n++
	}
}

// login gives the user of a request, or answers 401 or 429 and gives nil.
// Called with the lock held.
func (s *Sim) login(w http.ResponseWriter, r *http.Request) *user {
	if s.blocked(r) {
		s.count(r)
		fail(w, http.StatusTooManyRequests, "Too Many Requests")
		return nil
	}
	name, password, given := credentials(r)
	if u := s.users[name]; given && u != nil && u.Password == password {
		return u
	}
	s.count(r)
	w.Header().Set("Logout-Authorization", "CHT-Core API")
	if !given && strings.HasPrefix(r.UserAgent(), "Mozilla/") {
		w.Header().Set("Location", "/medic/login?redirect="+r.URL.Path)
		w.WriteHeader(http.StatusFound)
		return nil
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") && r.URL.Path != "/api/v1/settings" {
		fail(w, http.StatusUnauthorized, "unauthorized")
		return nil
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("WWW-Authenticate", `Basic realm="Medic Web Services"`)
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte("not logged in"))
	return nil
}

func (u *user) admin() bool {
	return slices.Contains(u.Roles, "_admin") || slices.Contains(u.Roles, "admin")
}

// offline tells whether one of the user's roles is one of a phone.
func (s *Sim) offline(u *user) bool {
	roles, _ := s.settings["roles"].(map[string]any)
	for _, role := range u.Roles {
		if r, _ := roles[role].(map[string]any); r != nil && r["offline"] == true {
			return true
		}
	}
	return false
}

// may tells whether the user has any of the permissions.
func (s *Sim) may(u *user, permissions ...string) bool {
	if u.admin() {
		return true
	}
	all, _ := s.settings["permissions"].(map[string]any)
	for _, p := range permissions {
		if slices.Contains(u.missing, p) {
			continue
		}
		roles, _ := all[p].([]any)
		for _, role := range roles {
			if name, _ := role.(string); slices.Contains(u.Roles, name) {
				return true
			}
		}
	}
	return false
}

// allowed answers 403 to an offline user, and to one with none of the
// permissions. Without permissions every online user is let in.
func (s *Sim) allowed(w http.ResponseWriter, u *user, permissions ...string) bool {
	if s.offline(u) || len(permissions) > 0 && !s.may(u, permissions...) {
		fail(w, http.StatusForbidden, "Insufficient privileges")
		return false
	}
	return true
}

// online is the older refusal of offline users: of the database and of look-ups.
func (s *Sim) online(w http.ResponseWriter, u *user) bool {
	if !s.offline(u) {
		return true
	}
	answer(w, http.StatusForbidden, map[string]any{"code": 403, "error": "forbidden", "details": "Offline users are not allowed access to this endpoint"})
	return false
}
