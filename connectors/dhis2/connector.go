// Package dhis2 connects DHIS2 servers, 2.38 to 2.43, through their Web API:
// events of programs without registration, data value sets, and the
// registration that a data set is complete.
//
// Facts about the server were read in the source of dhis2-core (branches 2.38 to
// 2.43); a version is named where a behaviour depends on it. No version number
// is put into addresses: /api/37 and older answer 200 whatever happens
// (WebMessageControllerAdvice, 2.41), and 2.42 ignores the number.
package dhis2

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/connectors/dhis2/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// defaultChunk is how many data values one request carries; a proxy before DHIS2
// cuts a request at 60 seconds typically.
const defaultChunk = 1000

// Connector describes DHIS2 to the core.
func Connector() *connector.Connector {
	return &connector.Connector{
		Name:  "dhis2",
		Title: "DHIS2",
		About: "A DHIS2 server, 2.38 to 2.43: anonymous events and aggregate data. Its user needs data-write sharing on the data sets and programs, and the organisation units among its data capture units.",
		Options: []connector.Option{
			{Name: "url", Required: true, About: "Address with the context path, without /api: https://dhis2.example.org"},
			{Name: "token", Secret: true, About: "Personal access token (d2pat_… or d2p_…) of the integration's user; it lives 30 days unless made to live longer. Or give username and password."},
			{Name: "username", About: "User of the integration, where there is no token. Repeated wrong passwords lock an account."},
			{Name: "password", Secret: true, About: "Its password."},
			{Name: "version", About: "Version of the server (2.42); left out, it is asked."},
			{Name: "database", About: "The systemId that the server's database has (/api/system/info). With it, another database behind the same address, as after a restore of a demonstration or a copy for training, is refused."},
			{Name: "values", Default: strconv.Itoa(defaultChunk), About: "How many data values one request carries at most."},
			{Name: "background", Default: strconv.Itoa(defaultBackground), About: "From how many data values in one request on DHIS2 is to import them in the background and to be asked for the verdict, so that no proxy's time limit cuts it; 0 for never."},
		},
		Kinds: []connector.KindSpec{eventSpec, valuesSpec, completionSpec},
		Open:  func(c connector.Config) (connector.System, error) { return Open(c) },
		Simulate: func(options []byte) (simulate.Simulator, error) {
			return sim.New(options)
		},
	}
}

// System is one configured DHIS2 server.
type System struct {
	name     string
	base     string // with /api, without a slash at the end
	token    string
	username string
	password string
	our      string
	zone     *time.Location
	http     *http.Client
	chunk    int
	// background is from how many values in one request on DHIS2 imports them in
	// the background; 0: never.
	background int
	version    Version // zero: asked
	database   string  // systemId that is expected, if any
	meta       *metadata
	kinds      map[string]connector.Kind

	mu   sync.Mutex
	skew call.Skew // of the server's clock
	user string    // our user name there, once it is known
	now  func() time.Time
}

// Open makes a configured instance; it makes no request. Errors name the option
// that is wrong.
func Open(c connector.Config) (*System, error) {
	u, err := url.Parse(c.Values["url"])
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("system %s: option url must be an http or https address such as https://dhis2.example.org", c.Name)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("system %s: option url must hold no user, query or fragment; token, or username and password, are options of their own", c.Name)
	}
	path := strings.TrimRight(u.Path, "/")
	if strings.HasSuffix(path, "/api") || strings.Contains(path, "/api/") {
		return nil, fmt.Errorf("system %s: option url must end before /api", c.Name)
	}
	s := &System{
		name: c.Name, base: strings.TrimRight(u.String(), "/") + "/api", our: c.Our, zone: c.Zone, http: c.HTTP,
		token: strings.TrimSpace(c.Values["token"]), username: c.Values["username"], password: c.Values["password"],
		database: strings.TrimSpace(c.Values["database"]), chunk: defaultChunk, background: defaultBackground, now: time.Now,
	}
	if err := s.credentials(); err != nil {
		return nil, err
	}
	if v := c.Values["version"]; v != "" {
		if s.version, err = ParseVersion(v); err != nil {
			return nil, fmt.Errorf("system %s: option version: %w", c.Name, err)
		}
		if err := s.version.supported(); err != nil {
			return nil, fmt.Errorf("system %s: option version: %w", c.Name, err)
		}
	}
	if v := c.Values["values"]; v != "" {
		if s.chunk, err = strconv.Atoi(v); err != nil || s.chunk < 1 || s.chunk > 50000 {
			return nil, fmt.Errorf("system %s: option values must be a whole number from 1 to 50000", c.Name)
		}
	}
	if v := c.Values["background"]; v != "" {
		if s.background, err = strconv.Atoi(v); err != nil || s.background < 0 {
			return nil, fmt.Errorf("system %s: option background must be a whole number, 0 for never", c.Name)
		}
	}
	if s.our == "" {
		s.our = "kiungo"
	}
	if s.zone == nil {
		s.zone = time.UTC
	}
	client := http.Client{Timeout: 120 * time.Second}
	if s.http != nil {
		client = *s.http
	}
	// No cookies and no redirects: see Send.
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.http = &client
	s.meta = newMetadata(s)
	s.kinds = map[string]connector.Kind{"Event": &eventKind{s}, "DataValueSet": &valuesKind{s}, "Completion": &completionKind{s}}
	return s, nil
}

// credentials checks that there is a token, or a user and password, and not both.
func (s *System) credentials() error {
	switch {
	case s.token != "" && (s.username != "" || s.password != ""):
		return fmt.Errorf("system %s: give either option token or username and password, not both", s.name)
	case s.token == "" && s.username == "":
		return fmt.Errorf("system %s: option token is missing (or username and password)", s.name)
	case s.token == "" && s.password == "":
		return fmt.Errorf("system %s: option password is missing", s.name)
	case strings.ContainsAny(s.token, " \t\r\n"):
		return fmt.Errorf("system %s: option token holds a blank: give the token alone, without the word ApiToken", s.name)
	}
	s.user = s.username
	return nil
}

// Name is the configured name.
func (s *System) Name() string { return s.name }

// Kind gives a record kind by its short name, or nil.
func (s *System) Kind(name string) connector.Kind {
	k, ok := s.kinds[name]
	if !ok {
		return nil
	}
	return k
}

// userName is our user name on the server, or "" while it is not known.
func (s *System) userName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user
}

func (s *System) learnUser(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != "" {
		s.user = name
	}
}
