// Package commcare connects CommCare HQ: forms and cases come in by data
// forwarding and by a sweep over the form API; rows of configurable reports on a
// flow's schedule; cases are read and written through case API v2.
//
// What CommCare does is described in docs/api of dimagi/commcare-hq (seen
// 2025-26); the payloads under testdata are from there and from its tests.
package commcare

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Names of message kinds and streams.
const (
	kindForm       = "form"
	kindCase       = "case"
	kindUnreadable = "unreadable"
	kindReport     = "report"
	streamForms    = "forms"
	streamCases    = "cases"
)

// Connector describes CommCare HQ.
func Connector() *connector.Connector {
	return &connector.Connector{
		Name:     "commcare",
		Title:    "CommCare HQ",
		About:    "Forms, cases and reports of one CommCare project space.",
		Options:  options(),
		Kinds:    []connector.KindSpec{*caseSpec, *childCaseSpec, *formSpec},
		Messages: messages(),
		Open:     Open,
		Sample:   sample,
		Simulate: func(o []byte) (simulate.Simulator, error) { return sim.New(o) },
	}
}

func options() []connector.Option {
	return []connector.Option{
		{Name: "url", About: "Address of CommCare HQ.", Default: "https://www.commcarehq.org", Required: true},
		{Name: "domain", About: "Name of the project space, as in /a/NAME/.", Required: true},
		{Name: "username", About: "User that reads and writes; needs the role permissions Access APIs and Edit Data.", Required: true},
		{Name: "api_key", About: "That user's API key (My Account, API Keys).", Secret: true},
		{Name: "password", About: "That user's password, if there is no API key.", Secret: true},
		{Name: "inbound_username", About: "User name that CommCare sends with data forwarding (basic authentication)."},
		{Name: "inbound_password", About: "Password that goes with inbound_username.", Secret: true},
		{Name: "inbound_header", About: "Header in which CommCare sends an API key with data forwarding.", Default: "X-API-Key"},
		{Name: "inbound_key", About: "That API key.", Secret: true},
		{Name: "sweep_every", About: "How often the form API is read for forms that forwarding lost.", Default: "10m"},
		{Name: "overlap", About: "How far each sweep reads back, for forms that CommCare indexed late.", Default: "30m"},
		{Name: "sweep_from", About: "Forms indexed from this moment on are swept (2026-01-31 or 2026-01-31T08:00:00Z); empty: from the first sweep on."},
		{Name: "sweep_cases", About: "Also read changed cases: yes or no.", Default: "no"},
		{Name: "page_size", About: "Forms in one page of a sweep, 1 to 500.", Default: "100"},
		{Name: "cache_for", About: "How long workers and places are remembered.", Default: "10m"},
	}
}

// System is one project space.
type System struct {
	name, domain      string
	base              *url.URL
	auth              string // value of the Authorization header
	agent             string
	client            *http.Client
	inbound           inbound
	zone              *time.Location
	sweepEvery        time.Duration
	overlap           time.Duration
	sweepFrom         time.Time
	sweepCases        bool
	pageSize          int
	users, places     *cache
	cases, childCases *caseKind
	forms             *formKind
	now               func() time.Time
	maxAnswer         int64
	batchBytes        int
}

var (
	_ connector.System     = (*System)(nil)
	_ connector.Receiver   = (*System)(nil)
	_ connector.Poller     = (*System)(nil)
	_ connector.Surrounder = (*System)(nil)
	_ connector.Lister     = (*System)(nil)
)

// Open makes a configured instance; it makes no request. Its error lists
// every wrong option.
func Open(c connector.Config) (connector.System, error) {
	r := &reader{values: c.Values}
	s := &System{name: c.Name, domain: r.required("domain"), agent: c.Our, client: c.HTTP, zone: c.Zone,
		base: r.url("url"), now: time.Now, maxAnswer: 64 << 20, batchBytes: 1 << 20,
		sweepEvery: r.duration("sweep_every", time.Minute), overlap: r.duration("overlap", 0),
		sweepFrom: r.moment("sweep_from"), sweepCases: r.yes("sweep_cases"), pageSize: r.number("page_size", 1, 500)}
	s.auth = r.credentials()
	s.inbound = r.inbound()
	ttl := r.duration("cache_for", 0)
	if strings.ContainsAny(s.domain, "/?#% ") {
		r.wrong("domain is the name of the project space as in /a/NAME/, without slashes or spaces")
	}
	if len(r.problems) > 0 {
		return nil, fmt.Errorf("system %s: %w", c.Name, errors.Join(r.problems...))
	}
	if s.agent == "" {
		s.agent = "kiungo"
	}
	if s.client == nil {
		s.client = &http.Client{Timeout: time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if s.zone == nil {
		s.zone = time.UTC
	}
	clock := func() time.Time { return s.now() }
	s.users, s.places = newCache(ttl, clock), newCache(ttl, clock)
	s.cases, s.forms = &caseKind{s, caseSpec}, &formKind{s: s}
	s.childCases = &caseKind{s, childCaseSpec}
	return s, nil
}

// Name is the configured name.
func (s *System) Name() string { return s.name }

// Kind gives the kind Case or Form, or nil.
func (s *System) Kind(name string) connector.Kind {
	switch name {
	case "Case":
		return s.cases
	case "ChildCase":
		return s.childCases
	case "Form":
		return s.forms
	}
	return nil
}

// path builds a path under the project space from escaped segments.
func (s *System) path(segments string) string {
	return "/a/" + url.PathEscape(s.domain) + "/" + segments
}

// reader reads options and keeps every problem.
type reader struct {
	values   map[string]string
	problems []error
}

func (r *reader) wrong(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

func (r *reader) get(name string) string {
	if v := strings.TrimSpace(r.values[name]); v != "" {
		return v
	}
	for _, o := range options() {
		if o.Name == name {
			return o.Default
		}
	}
	return ""
}

func (r *reader) required(name string) string {
	v := r.get(name)
	if v == "" {
		r.wrong("%s is missing", name)
	}
	return v
}

func (r *reader) url(name string) *url.URL {
	u, err := url.Parse(strings.TrimRight(r.get(name), "/"))
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" {
		r.wrong("%s is not an address like https://www.commcarehq.org", name)
		return &url.URL{}
	}
	return u
}

func (r *reader) duration(name string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(r.get(name))
	if err != nil || d < least {
		r.wrong("%s is not a duration of at least %s, like 10m or 1h30m", name, least)
	}
	return d
}

func (r *reader) number(name string, least, most int) int {
	n, err := strconv.Atoi(r.get(name))
	if err != nil || n < least || n > most {
		r.wrong("%s is not a whole number from %d to %d", name, least, most)
	}
	return n
}

func (r *reader) yes(name string) bool {
	switch strings.ToLower(r.get(name)) {
	case "yes", "true":
		return true
	case "no", "false":
		return false
	}
	r.wrong("%s is yes or no", name)
	return false
}

func (r *reader) moment(name string) time.Time {
	v := r.get(name)
	if v == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, v); err == nil {
			return t.UTC()
		}
	}
	r.wrong("%s is not a day or a moment like 2026-01-31 or 2026-01-31T08:00:00Z", name)
	return time.Time{}
}

func (r *reader) credentials() string {
	user, key, password := r.required("username"), r.get("api_key"), r.get("password")
	switch {
	case key != "" && password != "":
		r.wrong("api_key and password are both given; give one")
	case key != "":
		return "ApiKey " + user + ":" + key
	case password != "":
		return basic(user, password)
	default:
		r.wrong("api_key is missing (or password)")
	}
	return ""
}

func (r *reader) inbound() inbound {
	in := inbound{user: r.get("inbound_username"), password: r.get("inbound_password"),
		header: r.get("inbound_header"), key: r.get("inbound_key")}
	if (in.user == "") != (in.password == "") {
		r.wrong("inbound_username and inbound_password go together")
	}
	return in
}
