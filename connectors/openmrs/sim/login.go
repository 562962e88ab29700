package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

func unescape(s string) (string, error) { return url.PathUnescape(s) }

// page writes an error page of the container: HTML, never JSON.
func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html><html lang=\"en\"><head><title>HTTP Status %d</title></head><body><h1>HTTP Status %d</h1><p><b>Message</b> %s</p></body></html>", status, status, text)
}

const (
	failuresAllowed = 7
	lockTime        = 5 * time.Minute
)

// authenticate gives the user, or "" for nobody: the filter never rejects wrong
// credentials. It splits at every colon, so that a password that holds one
// cannot log in. After seven failures the user is locked for five minutes, and
// each try starts the five minutes again.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (string, bool) {
	basic, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Basic ")
	if !ok {
		return "", true
	}
	raw, err := base64.StdEncoding.DecodeString(basic)
	parts := strings.Split(string(raw), ":")
	if err != nil || len(parts) < 2 {
		page(w, http.StatusBadRequest, "Malformed authorization")
		return "", false
	}
	if c := s.otherUser(); c != "" && parts[0] == c {
		if parts[1] == clerkPassword {
			return c, true
		}
		return "", true
	}
	s.mu.RLock()
	clean := s.failures == 0
	s.mu.RUnlock()
	good := parts[0] == s.opt.Username && parts[1] == s.opt.Password
	if good && clean {
		return parts[0], true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > failuresAllowed && s.now().Before(s.locked.Add(lockTime)) {
		s.locked = s.now()
		return "", true
	}
	if good {
		s.failures = 0
		return parts[0], true
	}
	if parts[0] == s.opt.Username {
		s.failures++
		s.locked = s.now()
	}
	return "", true
}

const (
	clerkPassword = "Clerk123"
	clerkUUID     = "c1e70000-5157-4000-8000-000000000001"
)

// otherUser is the clerk's name, "" where the integration's own user has it.
func (s *Server) otherUser() string {
	if s.opt.Clerk == s.opt.Username {
		return ""
	}
	return s.opt.Clerk
}

// userUUID is the id of a user, as audit information names it.
func (s *Server) userUUID(name string) string {
	if name == s.otherUser() {
		return clerkUUID
	}
	return adminUUID
}

// touch notes who changed a record last, and when.
func (s *Server) touch(t thing) {
	b := t.about()
	b.changed, b.changedBy = s.stored(s.now()), s.actor
}

const sessionPrefix = "5E55"

// session gives a cookie to a request without one. A cookie that this server
// does not know is answered "Session timed out".
func (s *Server) session(w http.ResponseWriter, r *http.Request) (timedOut bool) {
	c, err := r.Cookie("JSESSIONID")
	if err != nil {
		http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: fmt.Sprintf("%s%028X", sessionPrefix, s.sessions.Add(1)), Path: "/openmrs", HttpOnly: true})
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !strings.HasPrefix(c.Value, sessionPrefix) || s.ended[c.Value]
}

func (s *Server) timedOutStatus() int {
	if s.since(2, 25) {
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

var locales = []string{"en", "en_GB", "es", "fr", "it", "pt"}

func (s *Server) sessionBody(req *request) (*result, *failure) {
	body := map[string]any{"authenticated": req.user != "", "locale": "en_GB", "allowedLocales": locales}
	if req.user != "" {
		body["sessionLocation"] = nil
		body["currentProvider"] = nil
		body["user"] = map[string]any{"uuid": s.userUUID(req.user), "display": req.user, "username": req.user, "systemId": req.user,
			"userProperties": map[string]any{"loginAttempts": "0"}, "person": map[string]any{"uuid": "24252571-dd5a-11e6-9d9c-0242ac150002", "display": "Super User"},
			"privileges": []any{}, "roles": []any{map[string]any{"uuid": "8d94f852-c2cc-11de-8d13-0010c6dffd0f", "display": "System Developer", "name": "System Developer"}}}
	}
	b, _ := json.Marshal(body)
	return &result{status: 200, body: b}, nil
}
