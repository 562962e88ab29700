package sim

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	loginPage = "/dhis-web-login/"
	lockTime  = 15 * time.Minute
)

// user is an account.
type user struct {
	id, name, password string
	first, last        string
	authorities        []string
	scopes             [][]string // capture org units, the newest last: sessions keep theirs
	everywhere         bool       // the scope is the whole tree, however it grows
	groups             []string
	disabled, twoFA    bool
	failures           int
	until              time.Time // locked until
	locked             bool      // by an administrator
}

func (u *user) may(authority string) bool {
	return slices.Contains(u.authorities, "ALL") || slices.Contains(u.authorities, authority)
}

func (u *user) isLocked(now time.Time) bool { return u.locked || now.Before(u.until) }

// token is a personal access token.
type token struct {
	user             string
	expires          time.Time // zero: never
	ips, methods, to []string
}

// authenticate finds the request's user, or says what is answered instead.
// Access rules: dhis-web-api security/apikey and FormLoginBasicAuthenticationEntryPoint.java.
func (s *Server) authenticate(w http.ResponseWriter, r *request) *answer {
	head := r.Header.Get("Authorization")
	word, _, _ := strings.Cut(head, " ")
	var refused *answer
	switch {
	case strings.EqualFold(word, "Basic"):
		refused = s.basic(r)
	case strings.EqualFold(word, "ApiToken") && !s.opt.NoTokens:
		refused = s.byToken(r, head)
	case s.resumed(r):
	default:
		refused = anonymous(r)
	}
	if refused == nil && r.user != nil {
		s.session(w, r)
	}
	return refused
}

func anonymous(r *request) *answer {
	if r.Header.Get("X-Requested-With") == "XMLHttpRequest" {
		a := unauthorised(r, "Unauthorized")
		return &a
	}
	return &answer{status: http.StatusFound, kind: "text/html", body: []byte{}, header: map[string]string{"Location": loginPage}}
}

func unauthorised(r *request, text string) answer {
	a := message(http.StatusUnauthorized, text)
	if strings.Contains(r.Header.Get("Accept"), "application/xml") {
		a.kind = "application/xml"
		a.body = []byte(`<webMessage xmlns="http://dhis2.org/schema/dxf/2.0" httpStatus="Unauthorized" httpStatusCode="401" status="ERROR"><message>` + text + `</message></webMessage>`)
	}
	return a
}

// basic checks a password. Wrong ones lock the account; each of them also costs
// a lock that is already there its end.
func (s *Server) basic(r *request) *answer {
	name, password, _ := r.BasicAuth()
	s.mu.RLock()
	u := s.users[name]
	good := u != nil && u.password != "" && u.password == password
	clean := good && u.failures == 0 && !u.disabled && !u.isLocked(s.now())
	if clean {
		r.user, r.scope = u, u.scopes[len(u.scopes)-1]
	}
	s.mu.RUnlock()
	if clean {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text := "Unauthorized"
	switch {
	case u == nil:
	case u.disabled:
		text = "Account disabled"
	case u.isLocked(s.now()):
		text = "Account locked"
	case good:
		u.failures = 0
		r.user, r.scope = u, u.scopes[len(u.scopes)-1]
		return nil
	default:
		if u.failures++; s.opt.Lock > 0 && u.failures >= s.opt.Lock {
			u.until, u.failures = s.now().Add(lockTime), 0
		}
	}
	a := unauthorised(r, text)
	return &a
}

func (s *Server) byToken(r *request, head string) *answer {
	refuse := func(status int, text string) *answer {
		a := message(status, text)
		a.header = map[string]string{"WWW-Authenticate": "ApiToken"}
		return &a
	}
	m := tokenHeader.FindStringSubmatch(head)
	if m == nil {
		return refuse(http.StatusBadRequest, "Api token is malformed")
	}
	if !validToken(m[1]) {
		return refuse(http.StatusBadRequest, "Checksum validation failed")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tokens[m[1]]
	if t == nil {
		return refuse(http.StatusUnauthorized, "The API token does not exists")
	}
	u := s.users[t.user]
	const failed = "Failed to authenticate API token, "
	switch {
	case u == nil || u.disabled || u.twoFA || u.isLocked(s.now()):
		return refuse(http.StatusUnauthorized, "The API token is disabled, locked or 2FA is enabled.")
	case !t.expires.IsZero() && s.now().After(t.expires):
		return refuse(http.StatusUnauthorized, failed+"token has expired.")
	case len(t.ips) > 0 && !slices.Contains(t.ips, remote(r)):
		return refuse(http.StatusUnauthorized, failed+"request ip address is not allowed.")
	case len(t.methods) > 0 && !slices.Contains(t.methods, r.Method):
		return refuse(http.StatusUnauthorized, failed+"request http method is not allowed.")
	case len(t.to) > 0 && !slices.Contains(t.to, r.Referer()):
		return refuse(http.StatusUnauthorized, failed+"request http referrer is not allowed.")
	}
	r.user, r.scope = u, u.scopes[len(u.scopes)-1]
	return nil
}

func remote(r *request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

const sessionName = "JSESSIONID"

// session gives a cookie that stands for the login and, as the server caches
// it, for the org units that the user had at that time.
func (s *Server) session(w http.ResponseWriter, r *request) {
	if _, err := r.Cookie(sessionName); err == nil {
		return
	}
	s.mu.RLock()
	value := fmt.Sprintf("%s-%d", r.user.id, len(r.user.scopes)-1)
	s.mu.RUnlock()
	http.SetCookie(w, &http.Cookie{Name: sessionName, Value: value, Path: "/", HttpOnly: true})
}

// resumed finds the user of a session cookie.
func (s *Server) resumed(r *request) bool {
	c, err := r.Cookie(sessionName)
	if err != nil {
		return false
	}
	id, number, _ := strings.Cut(c.Value, "-")
	n, err := strconv.Atoi(number)
	if err != nil {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, u := range s.users {
		if u.id == id && n >= 0 && n < len(u.scopes) && !u.disabled {
			r.user, r.scope = u, u.scopes[n]
			return true
		}
	}
	return false
}
