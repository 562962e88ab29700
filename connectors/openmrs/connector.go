// Package openmrs connects OpenMRS servers through the REST web services module
// (ws/rest/v1): patients, visits, encounters and observations.
//
// Facts about the server were read in the source of openmrs-module-webservices.rest
// (tags 2.24 to 4.0.0-SNAPSHOT), openmrs-core and idgen; a version is named where a
// behaviour depends on it.
package openmrs

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/openmrs/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Metadata that every OpenMRS has after installation (core-data of openmrs-core).
const (
	unknownRole     = "a0b03050-c99b-11e0-9572-0800200c9a66"
	unknownLocation = "8d6c993e-c2cc-11de-8d13-0010c6dffd0f"
)

// Connector describes OpenMRS to the core.
func Connector() *connector.Connector {
	return &connector.Connector{
		Name:  "openmrs",
		Title: "OpenMRS",
		About: "An OpenMRS server (reference application, O3, Bahmni, KenyaEMR) with the REST web services module 2.23 or later.",
		Options: slices.Concat([]connector.Option{
			{Name: "url", Required: true, About: "Address with the context path, without /ws/rest: https://emr.example.org/openmrs"},
			{Name: "username", Required: true, About: "User of the integration. Give it an account of its own with a fixed English locale: seven wrong passwords lock an account."},
			{Name: "password", Required: true, Secret: true, About: "Its password. OpenMRS cannot read a password that holds a colon."},
			{Name: "location", Default: unknownLocation, About: "Location, by name or uuid, of identifiers, visits and encounters for which a flow gives none. Bahmni refuses an encounter without one."},
			{Name: "version", Default: "2.44", About: "Version of the REST web services module. From 2.49 on it shows the answer to a date question as a day, before as a moment."},
			{Name: "true", About: "Uuid of the concept that this server uses for yes (global property concept.true). Known without it: CIEL 1065."},
			{Name: "false", About: "Uuid of the concept that this server uses for no (global property concept.false). Known without it: CIEL 1066."},
		}, feedOptions, matchOptions),
		Kinds:    []connector.KindSpec{patientSpec, visitSpec, encounterSpec, obsSpec, providerSpec},
		Messages: append(feedMessages(), reportMessage),
		Open:     func(c connector.Config) (connector.System, error) { return Open(c) },
		Sample:   sampleContents,
		Simulate: func(options []byte) (simulate.Simulator, error) {
			return sim.New(options)
		},
	}
}

// System is one configured OpenMRS server.
type System struct {
	name      string
	base      string // with /ws/rest/v1, without a slash at the end
	username  string
	header    http.Header // of every request: the user, who we are
	location  string      // name or uuid, as configured
	our       string
	zone      *time.Location
	http      *http.Client
	booleans  map[string]bool // concept uuid -> meaning
	unhurried *http.Client    // without a time-out of its own: for reports
	reports   spools
	clues     clues
	meta      *metadata
	feeds     feedConfig
	swept     sweepMemory
	kinds     map[string]connector.Kind

	skew call.Skew // of the server's clock
	now  func() time.Time
}

// Open makes a configured instance; it makes no request. Errors name the option
// that is wrong.
func Open(c connector.Config) (*System, error) {
	u, err := url.Parse(c.Values["url"])
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("system %s: option url must be an http or https address such as https://emr.example.org/openmrs", c.Name)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("system %s: option url must hold no user, query or fragment; user and password are options of their own", c.Name)
	}
	if strings.Contains(u.Path, "/ws/rest") {
		return nil, fmt.Errorf("system %s: option url must end before /ws/rest", c.Name)
	}
	if c.Values["username"] == "" {
		return nil, fmt.Errorf("system %s: option username is missing", c.Name)
	}
	if strings.Contains(c.Values["password"], ":") {
		return nil, fmt.Errorf("system %s: the password holds a colon, and OpenMRS cannot read such a password: choose another", c.Name)
	}
	s := &System{
		name: c.Name, username: c.Values["username"],
		base:     strings.TrimRight(u.String(), "/") + restPath,
		location: c.Values["location"], our: c.Our, zone: c.Zone, http: c.HTTP,
		booleans: map[string]bool{
			"1065AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA": true, "1066AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA": false,
		},
		now: time.Now,
	}
	if s.location == "" {
		s.location = unknownLocation
	}
	if s.our == "" {
		s.our = "kiungo"
	}
	if s.zone == nil {
		s.zone = time.UTC
	}
	always := http.Request{Header: http.Header{}}
	always.SetBasicAuth(s.username, c.Values["password"])
	always.Header.Set("User-Agent", s.our)
	always.Header.Set("Disable-WWW-Authenticate", "true")
	s.header = always.Header
	client := http.Client{Timeout: 60 * time.Second}
	if s.http != nil {
		client = *s.http
	}
	// No cookies and no redirects: see Send.
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.http = &client
	unhurried := client
	unhurried.Timeout = 0
	s.unhurried = &unhurried
	for option, meaning := range map[string]bool{"true": true, "false": false} {
		if v := c.Values[option]; v != "" {
			s.booleans[v] = meaning
		}
	}
	if s.feeds, err = openFeeds(c); err != nil {
		return nil, err
	}
	s.clues = newClues(c.Values)
	s.meta = newMetadata(s)
	s.kinds = map[string]connector.Kind{
		"Patient": &patientKind{s}, "Visit": &visitKind{s}, "Encounter": &encounterKind{s}, "Obs": &obsKind{s},
		"Provider": &providerKind{s},
	}
	return s, nil
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
