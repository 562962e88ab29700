// Package sim is a stateful stand-in for an OpenMRS server with the REST web
// services module and idgen, in memory. What it does was read in the source of
// openmrs-module-webservices.rest, openmrs-core and idgen; recorded and derived
// samples of the same answers are in its tests.
//
// It serves any context path: /openmrs/ws/rest/v1 and /ws/rest/v1 are the same.
// The atom feed is in feed.go, reports in report.go. FHIR is not here yet.
package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Options choose the server that is simulated.
type Options struct {
	// Version of the REST module: decides error bodies (2.37, 2.41, 3.0), the
	// status of core's validation (3.2), dates of observations (2.49), client
	// uuids (2.23) and whether a duplicate identifier is stored (up to 2.44).
	Version string `json:"version"`
	// Zone of the server: all moments are sent in it.
	Zone     string `json:"zone"`
	Username string `json:"username"`
	Password string `json:"password"`
	// Clerk is the name of a second user, with password Clerk123: a person of the
	// clinic, who is never locked and lacks no privilege. Default: clerk.
	Clerk string `json:"clerk"`
	// Inner is the scheme, host and context that links are made of, as a server
	// behind a proxy sees itself. Empty: as the request says.
	Inner string `json:"inner"`
	// NoOverlap is visits.allowOverlappingVisits=false.
	NoOverlap bool `json:"noOverlap"`
	// NoVisitAssignment switches ExistingVisitAssignmentHandler off.
	NoVisitAssignment bool `json:"noVisitAssignment"`
	// RequiredAddress are the required fields of the address template.
	RequiredAddress []string `json:"requiredAddress"`
	// Ahead is how far the server's clock is from ours ("-30s").
	Ahead string `json:"ahead"`
	// RoundUp makes the database round fractions of seconds instead of cutting them.
	RoundUp bool `json:"roundUp"`
	// Pool is how many identifiers can be drawn before the pool is dry; 0: no end.
	Pool int `json:"pool"`
	// Missing are privileges that the user lacks ("Add Patients").
	Missing []string `json:"missing"`
	// Allowed are the only addresses let in (webservices.rest.allowedips).
	Allowed []string `json:"allowed"`
	// MaxResults and MaxAbsolute are the paging limits; 0: 50 and 100.
	MaxResults  int `json:"maxResults"`
	MaxAbsolute int `json:"maxAbsolute"`
	// MinSearch is minSearchCharacters; 0: 2.
	MinSearch int `json:"minSearch"`
	// Feed is the atom feed module that is installed: bahmni, ict4h (the same
	// with emrapi's address of encounters), openmrs; none by default.
	Feed string `json:"feed"`
	// FeedPage is how many entries a page of a feed has; 0: 5.
	FeedPage int `json:"feedPage"`
	// FeedDelay is how long an event waits in the queue ("2s").
	FeedDelay string `json:"feedDelay"`
}

// Server is the simulator.
type Server struct {
	opt     Options
	version [3]int
	zone    *time.Location
	ahead   time.Duration
	traffic *simulate.Traffic
	handler http.Handler

	mu       sync.RWMutex
	seq      int
	data     store
	feed     *feeds
	reports  reports
	made     thing  // by the create that is going on
	actor    string // whose change is being made
	failures int
	locked   time.Time
	drawn    int
	sessions atomic.Int64
	ended    map[string]bool
	formats  map[string]*regexp.Regexp
	backups  map[string]*database // see Mark
}

// New makes a server with the metadata of the reference application. Options
// are a JSON object, nil for the defaults; an unknown option is an error.
func New(options []byte) (*Server, error) {
	opt := Options{Version: "2.44.0", Zone: "Africa/Nairobi", Username: "admin", Password: "Admin123", Clerk: "clerk", MaxResults: 50, MaxAbsolute: 100}
	if len(options) > 0 {
		dec := json.NewDecoder(bytes.NewReader(options))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&opt); err != nil {
			return nil, fmt.Errorf("read the simulator's options: %w", err)
		}
	}
	s := &Server{opt: opt, traffic: simulate.NewTraffic(1), ended: map[string]bool{}, formats: map[string]*regexp.Regexp{}}
	var err error
	if s.zone, err = time.LoadLocation(opt.Zone); err != nil {
		return nil, fmt.Errorf("read the simulator's options: zone: %w", err)
	}
	if opt.Ahead != "" {
		if s.ahead, err = time.ParseDuration(opt.Ahead); err != nil {
			return nil, fmt.Errorf("read the simulator's options: ahead: %w", err)
		}
	}
	if n, _ := fmt.Sscanf(opt.Version, "%d.%d.%d", &s.version[0], &s.version[1], &s.version[2]); n < 2 {
		return nil, fmt.Errorf("read the simulator's options: version must be like 2.44.0")
	}
	if s.feed, err = newFeeds(opt); err != nil {
		return nil, err
	}
	s.data = newStore()
	if err := s.loadMetadata(); err != nil {
		return nil, err
	}
	s.traffic.Refusal = func(w http.ResponseWriter, _ *http.Request) {
		s.fail(w, invalid(map[string][2]string{"encounterDatetime": {"Encounter.datetimeShouldBeInVisitDatesRange",
			"The encounter datetime should be between the visit start and stop dates."}}))
	}
	s.handler = s.traffic.Wrap(http.HandlerFunc(s.serve))
	return s, nil
}

// since tells whether the module is of that version or newer.
func (s *Server) since(major, minor int) bool {
	return s.version[0] > major || s.version[0] == major && s.version[1] >= minor
}

// ServeHTTP serves one request, with the faults that are switched on.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Traffic gives the recorder and the fault switches.
func (s *Server) Traffic() *simulate.Traffic { return s.traffic }

// Settings are the options of a system that points here, but for the url.
func (s *Server) Settings() map[string]string {
	return map[string]string{"username": s.opt.Username, "password": s.opt.Password, "version": s.opt.Version}
}

func (s *Server) now() time.Time { return time.Now().Add(s.ahead) }

// stored is a moment as MySQL keeps it: whole seconds.
func (s *Server) stored(t time.Time) time.Time {
	if s.opt.RoundUp {
		return t.Round(time.Second)
	}
	return t.Truncate(time.Second)
}

// request is what a handler needs.
type request struct {
	*http.Request
	path  []string
	body  map[string]any
	rep   *rep
	user  string
	inner string // of links
}

const marker = "/ws/rest/v1/"

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	if at := strings.Index(r.URL.EscapedPath(), feedMarker); at >= 0 {
		s.serveFeed(w, r, at)
		return
	}
	if strings.HasSuffix(r.URL.Path, mergeForm) {
		s.serveMerge(w, r)
		return
	}
	i := strings.Index(r.URL.EscapedPath(), marker)
	if i < 0 {
		page(w, http.StatusNotFound, "Not Found")
		return
	}
	if len(s.opt.Allowed) > 0 && !allowed(s.opt.Allowed, r.RemoteAddr) {
		page(w, http.StatusForbidden, "IP address is not authorized")
		return
	}
	req := &request{Request: r, inner: s.opt.Inner}
	if req.inner == "" {
		req.inner = "http://" + r.Host + r.URL.EscapedPath()[:i]
	}
	rest := strings.Trim(r.URL.EscapedPath()[i+len(marker):], "/")
	for _, part := range strings.Split(rest, "/") {
		p, err := unescape(part)
		if err != nil {
			page(w, http.StatusBadRequest, "Bad Request")
			return
		}
		req.path = append(req.path, p)
	}
	user, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	req.user = user
	out := &answer{ResponseWriter: w}
	if timedOut := s.session(out, r); timedOut {
		// sendError does not return: the request is executed, its answer lost.
		page(w, s.timedOutStatus(), "Session timed out")
		s.dispatch(&discard{header: http.Header{}}, req)
		return
	}
	s.dispatch(out, req)
}

func allowed(list []string, addr string) bool {
	for _, a := range list {
		if strings.HasPrefix(addr, a) {
			return true
		}
	}
	return false
}

type answer struct{ http.ResponseWriter }

// discard takes the answer that nobody gets.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// dispatch does one request in one transaction: all that a handler changes, it
// changes after everything was checked.
func (s *Server) dispatch(w http.ResponseWriter, req *request) {
	if f := s.prepare(req); f != nil {
		s.fail(w, f)
		return
	}
	var out *result
	var f *failure
	if req.path[0] == reporting {
		out, f = s.reportsOf(req)
	} else if req.Method == http.MethodGet {
		s.mu.RLock()
		out, f = s.get(req)
		s.mu.RUnlock()
	} else {
		s.mu.Lock()
		s.actor = req.user
		was := s.watch(req)
		if out, f = s.change(req); f == nil {
			s.announce(req, was)
		}
		s.mu.Unlock()
	}
	if f != nil {
		s.fail(w, f)
		return
	}
	if out.status == http.StatusNoContent {
		w.WriteHeader(out.status)
		return
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body)
}

// result is an answer: rendered while the lock is held.
type result struct {
	status int
	body   []byte
}

// prepare reads body and representation.
func (s *Server) prepare(req *request) *failure {
	if req.path[0] != "session" && req.user == "" {
		return &failure{status: 401, reason: "User is not logged in", text: "Privileges required: " + privilege(req), code: "org.openmrs.aop.AuthorizationAdvice:109"}
	}
	for _, p := range s.opt.Missing {
		if p == privilege(req) && req.user != s.otherUser() {
			return &failure{status: 403, reason: "User is logged in but doesn't have the relevant privilege",
				text: "Privileges required: " + p, code: "org.openmrs.aop.AuthorizationAdvice:109"}
		}
	}
	switch req.Method {
	case http.MethodGet, http.MethodPost, http.MethodDelete:
	default:
		return &failure{status: 405, text: "Request method '" + req.Method + "' not supported",
			code: "org.springframework.web.servlet.mvc.method.annotation.RequestMappingInfoHandlerMapping:206"}
	}
	if req.Method == http.MethodPost {
		if ct := req.Header.Get("Content-Type"); ct != "" && !strings.Contains(ct, "json") {
			return &failure{status: 415, text: "Content type '" + ct + "' not supported", code: "org.springframework.web.HttpMediaTypeNotSupportedException:1"}
		}
		dec := json.NewDecoder(req.Body)
		dec.UseNumber()
		if err := dec.Decode(&req.body); err != nil || req.body == nil {
			return &failure{status: 400, text: "Could not read JSON: Unexpected character ('}' (code 125))",
				code: "org.springframework.http.converter.json.MappingJacksonHttpMessageConverter:126"}
		}
	}
	var f *failure
	req.rep, f = representation(req.URL.Query(), isList(req))
	return f
}

func isList(req *request) bool {
	return req.Method == http.MethodGet && len(req.path) == 1 || req.Method == http.MethodGet && len(req.path) == 3 && req.path[0] != reporting || req.Method == http.MethodGet && req.path[0] == "idgen" && len(req.path) == 2
}

var privileges = map[string]string{"patient": "Patients", "person": "People", "visit": "Visits", "encounter": "Encounters", "obs": "Observations",
	"concept": "Concepts", "location": "Locations", "provider": "Providers", "form": "Forms"}

func privilege(req *request) string {
	what, ok := privileges[req.path[0]]
	if !ok {
		what = "Metadata"
	}
	switch {
	case req.Method == http.MethodDelete:
		return "Delete " + what
	case req.Method == http.MethodPost && len(req.path) == 1:
		return "Add " + what
	case req.Method == http.MethodPost:
		return "Edit " + what
	}
	return "Get " + what
}
