// Package cht connects Community Health Toolkit servers: reports come in from
// CouchDB's changes; the monthly targets of community health workers and the
// built-in DHIS2 export by a flow's schedule.
//
// What the CHT does was read in medic/cht-core 5.2.0 and seen by running it; the
// recorded answers are under testdata, whose README names their sources.
package cht

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/cht/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Connector describes the CHT to the core.
func Connector() *connector.Connector {
	return &connector.Connector{
		Name:     "cht",
		Title:    "Community Health Toolkit",
		About:    "A Community Health Toolkit server (cht-core 3.11 to 5.x): reports as they come in, monthly targets, and the DHIS2 export.",
		Options:  options(),
		Kinds:    []connector.KindSpec{personSpec, reportSpec},
		Messages: messages(),
		Open:     func(c connector.Config) (connector.System, error) { return Open(c) },
		Sample:   sample,
		Simulate: func(o []byte) (simulate.Simulator, error) { return sim.New(o) },
	}
}

func options() []connector.Option {
	return []connector.Option{
		{Name: "url", Required: true, About: "Address of the server, without /api or /medic: https://cht.example.org"},
		{Name: "user", Required: true, About: "User of the integration: an online one, with can_export_all for the DHIS2 export and can_view_users to know who should report."},
		{Name: "password", Required: true, Secret: true, About: "Its password. Ten wrong answers within ten seconds and the CHT lets nobody in from this address."},
		{Name: "version", Default: "5.2", About: "Version of cht-core, as GET /api/info gives it."},
		{Name: "worker_roles", Default: "chw", About: "Roles of the users who should have targets each month, with commas between."},
		{Name: "person_types", Default: "person", About: "Contact types that are persons, with commas between, if the app has others than person."},
		{Name: "poll_every", Default: "1m", About: "How often the changes are read for new reports."},
		{Name: "poll_from", Default: "now", About: "Where the changes are read from at the very first time: now, or 0 for everything there is."},
	}
}

// System is one configured CHT server.
type System struct {
	name, base     string
	user, password string
	our            string
	roles          []string // of workers
	persons        []string // contact types of persons
	zone           *time.Location
	http           *http.Client
	now            func() time.Time
	maxAnswer      int64
	pageSize       int // documents in one read of CouchDB
	pageRows       int // rows in one Page
	pageBytes      int
	pollEvery      time.Duration
	pollFrom       string
	runs           runCache
}

var (
	_ connector.System     = (*System)(nil)
	_ connector.Lister     = (*System)(nil)
	_ connector.Poller     = (*System)(nil)
	_ connector.Surrounder = (*System)(nil)
)

var versionText = regexp.MustCompile(`^\d+\.\d+(\.\d+)?([.-].*)?$`)

// Open makes a configured instance; it makes no request. Its error lists every
// wrong option.
func Open(c connector.Config) (*System, error) {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	get := func(name string) string {
		if v := strings.TrimSpace(c.Values[name]); v != "" {
			return v
		}
		for _, o := range options() {
			if o.Name == name {
				return o.Default
			}
		}
		return ""
	}
	s := &System{name: c.Name, user: get("user"), password: c.Values["password"], our: c.Our, zone: c.Zone, now: time.Now,
		maxAnswer: 64 << 20, pageSize: 500, pageRows: 500, pageBytes: 1 << 20}
	u, err := url.Parse(strings.TrimRight(get("url"), "/"))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "":
		wrong("url is not an address like https://cht.example.org")
	case u.User != nil:
		wrong("url holds a user or a password; they are options of their own")
	case strings.Contains(u.Path, "/api") || strings.Contains(u.Path, "/medic"):
		wrong("url must end before /api or /medic")
	default:
		s.base = u.String()
	}
	if s.user == "" || strings.Contains(s.user, ":") {
		wrong("user is missing, or holds a colon")
	}
	if s.password == "" {
		wrong("password is missing")
	}
	if !versionText.MatchString(get("version")) {
		wrong("version is not like 5.2 or 4.22.0")
	}
	if s.pollEvery, err = time.ParseDuration(get("poll_every")); err != nil || s.pollEvery < time.Second {
		wrong("poll_every is not a duration of at least 1s, like 1m")
	}
	if s.pollFrom = get("poll_from"); s.pollFrom != "now" && s.pollFrom != "0" {
		wrong("poll_from is now or 0")
	}
	s.roles, s.persons = listed(get("worker_roles")), listed(get("person_types"))
	if len(problems) > 0 {
		return nil, fmt.Errorf("system %s: %w", c.Name, errors.Join(problems...))
	}
	if s.our == "" {
		s.our = "kiungo"
	}
	if s.zone == nil {
		s.zone = time.UTC
	}
	client := http.Client{Timeout: 60 * time.Second}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.http = &client
	return s, nil
}

// listed reads an option that is a list with commas.
func listed(option string) []string {
	var out []string
	for _, item := range strings.Split(option, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// Name is the configured name.
func (s *System) Name() string { return s.name }

// Kind gives the kind Person or Report, or nil.
func (s *System) Kind(name string) connector.Kind {
	switch name {
	case "Person":
		return &personKind{&docKind{s, &personSpec, personShape{s}}}
	case "Report":
		return &docKind{s, &reportSpec, reportShape{s}}
	}
	return nil
}
