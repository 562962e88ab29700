// Package sim is a stateful stand-in for a DHIS2 server, 2.38 to 2.43, in
// memory: metadata, data value sets, completeness, event programs, jobs and
// logins. What it does was read in the source of dhis2-core by branch; the
// answers that it is checked against are in testdata, whose sources the
// contract's README names. What it has from the start is in README.md.
//
// Of 2.43 only what changes for a client that sends one data set at a time is
// here: values must be strings, CSV columns go by their names, and the scheme
// of attribute option combos counts.
//
// It serves any context path: /hmis/api and /api are the same.
package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Options choose the server that is simulated.
type Options struct {
	// Version as /api/system/info gives it: 2.42.3, 2.40.4.1, 2.43-SNAPSHOT.
	Version string `json:"version"`
	// Calendar is keyCalendar: iso8601, gregorian, ethiopian or nepali.
	Calendar string `json:"calendar"`
	// Zone of the server: all moments are sent in it.
	Zone string `json:"zone"`
	// Now is the server's clock at the start (2024-02-03T09:00:00, in Zone); it
	// then runs. Empty: the machine's clock.
	Now string `json:"now"`
	// Username and Password are the integration's. Its authorities and capture
	// org units are those of the default seed, but for what follows.
	Username    string   `json:"username"`
	Password    string   `json:"password"`
	Authorities []string `json:"authorities"`
	OrgUnits    []string `json:"orgUnits"`
	// Token gives the integration a personal access token instead of a password.
	Token bool `json:"token"`
	// NoTokens is enable.api_token.authentication=off: a token is no login.
	NoTokens bool `json:"noTokens"`
	// Lock is how many wrong passwords lock an account for 15 minutes; negative: never.
	Lock int `json:"lock"`
	// Settings are system settings (keyDataImportStrictPeriods: true).
	Settings map[string]any `json:"settings"`
	// SystemID is the database's; another one means another database.
	SystemID string `json:"systemId"`
	// DefaultCOC is the uid of the default category option combo: old databases
	// have another than the usual one.
	DefaultCOC string `json:"defaultCOC"`
	// Polls is how often a job is asked for before it has ended.
	Polls int `json:"polls"`
	// Empty starts without the national set-up.
	Empty bool `json:"empty"`
	// Facilities and Programs are generated on top of it, for load.
	Facilities int `json:"facilities"`
	Programs   int `json:"programs"`
}

// Server is the simulator.
type Server struct {
	opt      Options
	minor    int
	zone     *time.Location
	calendar calendar
	traffic  *simulate.Traffic
	handler  http.Handler
	periods  sync.Map // name -> *period

	mu       sync.RWMutex
	clock    func() time.Time
	seq      int
	meta     metadata
	model    *model
	users    map[string]*user
	tokens   map[string]*token
	settings map[string]any
	data     store
	backups  map[string]*store // see Mark
	jobs     map[string]*job
	proxy    *proxy
	later    []record // seeds, each for after a dry run
}

var _ simulate.Simulator = (*Server)(nil)

// New makes a server. Options are a JSON object, nil for the defaults; an
// unknown option is an error.
func New(options []byte) (*Server, error) {
	opt := Options{Version: "2.42.3", Calendar: "iso8601", Zone: "Africa/Nairobi", Username: "kiungo", Password: "Kiungo-123",
		Lock: 5, SystemID: "eed3d451-4ff5-4193-b951-ffcc68954299", Polls: 1, DefaultCOC: usualCOC}
	if len(options) > 0 {
		dec := json.NewDecoder(bytes.NewReader(options))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&opt); err != nil {
			return nil, fmt.Errorf("read the simulator's options: %w", err)
		}
	}
	s := &Server{opt: opt, traffic: simulate.NewTraffic(1), minor: minorOf(opt.Version), meta: newMetadata(opt.DefaultCOC), data: newStore(),
		users: map[string]*user{}, tokens: map[string]*token{}, jobs: map[string]*job{}, settings: defaultSettings()}
	if s.minor < 38 || s.minor > 43 {
		return nil, fmt.Errorf("read the simulator's options: version %q is not simulated: 2.38 to 2.43", opt.Version)
	}
	if !uidPattern.MatchString(opt.DefaultCOC) {
		return nil, fmt.Errorf("read the simulator's options: defaultCOC %q is no uid", opt.DefaultCOC)
	}
	var err error
	if s.zone, err = time.LoadLocation(opt.Zone); err != nil {
		return nil, fmt.Errorf("read the simulator's options: zone: %w", err)
	}
	if s.calendar, err = calendarNamed(opt.Calendar); err != nil {
		return nil, err
	}
	s.clock = time.Now
	if opt.Now != "" {
		at, err := time.ParseInLocation("2006-01-02T15:04:05", opt.Now, s.zone)
		if err != nil {
			return nil, fmt.Errorf("read the simulator's options: now: %w", err)
		}
		started := time.Now()
		s.clock = func() time.Time { return at.Add(time.Since(started)) }
	}
	for k, v := range opt.Settings {
		s.settings[k] = v
	}
	s.traffic.Refusal = s.refuse
	s.handler = s.traffic.Wrap(http.HandlerFunc(s.serve))
	return s, s.begin()
}

// defaultSettings are those of api/setting/SystemSettings.java that imports heed.
func defaultSettings() map[string]any {
	m := map[string]any{"keyCacheStrategy": "CACHE_1_MINUTE"}
	for _, k := range []string{"Periods", "DataElements", "CategoryOptionCombos", "OrganisationUnits", "AttributeOptionCombos"} {
		m["keyDataImportStrict"+k] = false
	}
	m["keyDataImportRequireCategoryOptionCombo"], m["keyDataImportRequireAttributeOptionCombo"] = false, false
	for _, k := range []string{"DataSetApproval", "DataSetLocking", "DataSetInputPeriods"} {
		m["keyDataImportStrict"+k] = true
	}
	return m
}

// SetClock replaces the server's clock.
func (s *Server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = now
}

// since tells whether the server is 2.minor or newer.
func (s *Server) since(minor int) bool { return s.minor >= minor }

// now and today are in the server's zone. The lock must be held.
func (s *Server) now() time.Time { return s.clock().In(s.zone) }

func (s *Server) today() time.Time {
	n := s.now()
	return isoDay(n.Year(), int(n.Month()), n.Day())
}

// stamp is how the server writes a moment: its own zone, without naming it.
func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000") }

// ServeHTTP serves one request, with the faults that are switched on. Every
// answer is dated by the server's own clock, as Tomcat does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	now := s.now()
	s.mu.RUnlock()
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	s.handler.ServeHTTP(w, r)
}

// Traffic gives the recorder and the fault switches.
func (s *Server) Traffic() *simulate.Traffic { return s.traffic }

// Settings are the options of a system that points here, but for the url.
func (s *Server) Settings() map[string]string {
	if s.opt.Token {
		return map[string]string{"token": s.Token()}
	}
	return map[string]string{"username": s.opt.Username, "password": s.opt.Password}
}

// Token is the integration's personal access token.
func (s *Server) Token() string { return s.newToken(1) }

// refuse is the fault "refuse": a refusal in the server's words, of what was asked.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "/tracker") {
		report := s.newReport()
		report.fail(s, "EVENT", "", "E1000", "User (KiungoUser1)", "OrganisationUnit (unknown)")
		report.Stats.Ignored, report.Stats.Total = 1, 1
		answer{status: http.StatusConflict, body: report.finished("ERROR", nil)}.write(w)
		return
	}
	sum := s.newSummary(nil)
	sum.abort(s.conflict("E7601", object{kind: "dataSet", id: "unknown"}))
	s.summaryAnswer(sum, false).write(w)
}

// request is what a handler needs.
type request struct {
	*http.Request
	path  []string // after /api and its number
	query map[string][]string
	plain bool // /api/37 and older, on servers that still tell
	user  *user
	scope []string // capture org units, as of the session
}

func (r *request) get(name string) string {
	if v := r.query[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// all gives every value of a parameter.
func (r *request) all(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, r.query[n]...)
	}
	return out
}

func (r *request) is(name string) bool { return strings.EqualFold(r.get(name), "true") }

const marker = "/api"

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	before := s.proxy
	s.mu.RUnlock()
	s.answer(w, before.pass(r))
}

// answer serves what has come through to the server.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	i := strings.Index(path+"/", marker+"/")
	if i < 0 {
		page(w, path)
		return
	}
	req := &request{Request: r, query: r.URL.Query()}
	rest := strings.Trim(path[i+len(marker):], "/")
	if rest != "" {
		req.path = strings.Split(rest, "/")
	}
	if len(req.path) > 0 {
		if n, err := strconv.Atoi(req.path[0]); err == nil {
			if n < 28 || n > 43 {
				notFound("API version " + req.path[0] + " is not supported").write(w)
				return
			}
			req.path, req.plain = req.path[1:], n < 38 && !s.since(42)
		}
	}
	if refused := s.authenticate(w, req); refused != nil {
		refused.write(w)
		return
	}
	a := s.route(req)
	if r.Method == http.MethodGet && a.status == http.StatusOK {
		a = s.cached(req, a)
	}
	a.write(w)
}

// page is the HTML that everything outside the API gets.
func page(w http.ResponseWriter, path string) {
	w.Header().Set("Content-Type", "text/html;charset=UTF-8")
	if !strings.Contains(path, "/dhis-web-") {
		w.Header().Set("Location", loginPage)
		w.WriteHeader(http.StatusFound)
		return
	}
	_, _ = w.Write([]byte("<!DOCTYPE html><html><head><title>DHIS2</title></head><body><form action=\"/dhis-web-commons-security/login.action\"></form></body></html>"))
}
