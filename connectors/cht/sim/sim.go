// Package sim is a stateful stand-in for a Community Health Toolkit server: its
// CouchDB database medic with revisions, conflicts, changes and views, logging
// in, users, targets, the data access API for reading, and the DHIS2 export
// computed from targets, contacts and settings as cht-core does.
//
// What it does was read in medic/cht-core 5.2.0 and recorded from it running;
// the recordings are replayed in its tests. Outbound pushes, SMS, the records
// API and long polling are not here yet.
package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Options of a simulator; all have defaults.
type Options struct {
	// Version of cht-core: the target API came with 5.1.
	Version string `json:"version"`
	// Zone of the server: the month of an export is taken in it.
	Zone string `json:"zone"`
	// User and Password of the integration, an online user with every permission
	// that it needs but for those in Missing ("can_view_users").
	User     string   `json:"user"`
	Password string   `json:"password"`
	Missing  []string `json:"missing"`
	// Default fills the server with DefaultSeed for the three months up to this
	// one ("2026-10").
	Default string `json:"default"`
	// NoOrgUnitView leaves out the view contacts_by_dhis_orgunit, as before 3.7.
	NoOrgUnitView bool `json:"noOrgUnitView"`
}

// Sim is a simulated server.
type Sim struct {
	o       Options
	major   int
	minor   int
	zone    *time.Location
	traffic *simulate.Traffic
	handler http.Handler

	mu       sync.Mutex
	now      func() time.Time
	docs     map[string]*stored
	seq      int
	settings map[string]any
	users    map[string]*user
	limits   map[string]*counter
	starting bool
}

var _ simulate.Simulator = (*Sim)(nil)

// New makes a server with the default settings and no content. options is an
// Options document, or nil; an unknown option is an error.
func New(options []byte) (*Sim, error) {
	o := Options{Version: "5.2.0", Zone: "Africa/Nairobi", User: "kiungo", Password: "simulated-password"}
	if len(options) > 0 {
		dec := json.NewDecoder(bytes.NewReader(options))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&o); err != nil {
			return nil, fmt.Errorf("read the simulator's options: %w", err)
		}
	}
	s := &Sim{o: o, traffic: simulate.NewTraffic(1), now: time.Now, docs: map[string]*stored{}, settings: defaultSettings(),
		users: map[string]*user{}, limits: map[string]*counter{}}
	var err error
	if s.zone, err = time.LoadLocation(o.Zone); err != nil {
		return nil, fmt.Errorf("read the simulator's options: zone: %w", err)
	}
	if n, _ := fmt.Sscanf(o.Version, "%d.%d", &s.major, &s.minor); n != 2 {
		return nil, fmt.Errorf("read the simulator's options: version must be like 5.2.0")
	}
	s.users[o.User] = &user{Username: o.User, Password: o.Password, Roles: []string{integrationRole, "mm-online"}, missing: o.Missing}
	s.users[clerkName] = &user{Username: clerkName, Password: clerkPassword, Roles: []string{"program_officer", "mm-online"}}
	s.traffic.Refusal = func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusBadRequest, "Person is missing a \"name\" property.")
	}
	s.handler = s.traffic.Wrap(http.HandlerFunc(s.serve))
	if o.Default != "" {
		last, err := time.ParseInLocation("2006-01", o.Default, s.zone)
		if err != nil {
			return nil, fmt.Errorf("read the simulator's options: default is a month like 2026-10")
		}
		if err := s.Seed(DefaultSeed(last)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// since tells whether the server is of that version or newer.
func (s *Sim) since(major, minor int) bool {
	return s.major > major || s.major == major && s.minor >= minor
}

// ServeHTTP serves one request, with the faults that are switched on.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Traffic gives the recorder and the fault switches.
func (s *Sim) Traffic() *simulate.Traffic { return s.traffic }

// Settings are the options of a system that points here, but for the url.
func (s *Sim) Settings() map[string]string {
	return map[string]string{"user": s.o.User, "password": s.o.Password, "version": s.o.Version}
}

// SetClock replaces the clock.
func (s *Sim) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// Upgrade makes the server answer as while it starts or is upgraded (503), or
// serve again.
func (s *Sim) Upgrade(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = on
}

// answer writes a JSON answer.
func answer(w http.ResponseWriter, status int, doc any) {
	raw, err := json.Marshal(doc)
	if err != nil {
		http.Error(w, "cannot write the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// fail writes an error in the words of the api.
func fail(w http.ResponseWriter, status int, text string) {
	answer(w, status, map[string]any{"code": status, "error": text})
}

// couchFail writes an error in the words of CouchDB.
func couchFail(w http.ResponseWriter, status int, code, reason string) {
	answer(w, status, map[string]any{"error": code, "reason": reason})
}
