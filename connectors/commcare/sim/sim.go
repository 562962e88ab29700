// Package sim is a stateful stand-in for one project space of CommCare HQ:
// submissions, the form API, case API v2, users, locations, configurable
// reports, and data forwarding with CommCare's own rules of retry.
//
// It follows shared/contracts/commcare (docs/api 2025-26, motech/repeaters
// 008873c0) and says in comments where CommCare is not documented.
package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Options of a simulator; all have defaults.
type Options struct {
	Domain   string `json:"domain"`
	Username string `json:"username"`
	APIKey   string `json:"api_key"`
	Password string `json:"password"`
	// Hour is how long an hour of CommCare's retry rules takes here ("2s"), so
	// that a demo need not wait 5 days. Default: an hour.
	Hour string `json:"hour"`
}

// Sim is a simulated project space.
type Sim struct {
	o       Options
	hour    time.Duration
	traffic *simulate.Traffic
	handler http.Handler

	mu        sync.Mutex
	now       func() time.Time
	last      time.Time
	cases     map[string]*caze
	indexed   map[string]*caze    // what lists see
	externals map[string][]string // ids of cases that have, or once had, an external_id
	lagging   bool
	forms     map[string]*form
	holding   bool // forms submitted now become visible later
	users     map[string]map[string]any
	webUsers  map[string]map[string]any
	locations map[string]map[string]any
	made      map[string]int // how often each case was made by the API, for ids
	throttle  int
	wait      string
	out       outbox
	reports   map[string]*Report
	onPage    func(report string, offset int)
	truncate  int // pages of reports to cut
	turn      int // of the rows of unsorted reports
}

var _ simulate.Simulator = (*Sim)(nil)

// New makes an empty project space. options is an Options document, or nil.
func New(options []byte) (*Sim, error) {
	o := Options{Domain: "demo", Username: "kiungo@demo.example", APIKey: "simulated-api-key", Password: "simulated-password", Hour: "1h"}
	if len(options) > 0 {
		if err := json.Unmarshal(options, &o); err != nil {
			return nil, fmt.Errorf("read the simulator's options: %w", err)
		}
	}
	hour, err := time.ParseDuration(o.Hour)
	if err != nil || hour <= 0 {
		return nil, fmt.Errorf("option hour of the simulator is not a duration like 2s")
	}
	s := &Sim{o: o, hour: hour, traffic: simulate.NewTraffic(1), cases: map[string]*caze{}, indexed: map[string]*caze{}, externals: map[string][]string{},
		forms: map[string]*form{}, users: map[string]map[string]any{}, webUsers: map[string]map[string]any{},
		locations: map[string]map[string]any{}, made: map[string]int{}, reports: map[string]*Report{}}
	s.out.init()
	s.traffic.Refusal = func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusBadRequest, "'refused' is not a valid field.")
	}
	s.handler = s.traffic.Wrap(s.routes())
	return s, nil
}

// ServeHTTP answers as CommCare HQ would.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Traffic gives the recorder and the fault switches.
func (s *Sim) Traffic() *simulate.Traffic { return s.traffic }

// Settings are the options of a system that points here, but for its URL.
func (s *Sim) Settings() map[string]string {
	c := s.Credentials()
	return map[string]string{"domain": s.o.Domain, "username": s.o.Username, "api_key": s.o.APIKey,
		"inbound_username": c.Username, "inbound_password": c.Password}
}

// Credentials are what forwarding sends to a system with the Settings.
func (s *Sim) Credentials() Credentials {
	return Credentials{Username: "commcare", Password: "simulated-forwarding"}
}

// SetClock replaces the clock. Stamps are then exactly what it says, and may
// be equal; with the machine's clock they are made to differ.
func (s *Sim) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// stamp is the time now, in the microseconds that CommCare keeps. Called with
// the lock held.
func (s *Sim) stamp() time.Time {
	if s.now != nil {
		return s.now().UTC().Truncate(time.Microsecond)
	}
	t := time.Now().UTC().Truncate(time.Microsecond)
	if !t.After(s.last) {
		t = s.last.Add(time.Microsecond)
	}
	s.last = t
	return t
}

// Throttle makes the next times requests answer 429 with the Retry-After given;
// CommCare writes fractions of seconds there ("0.4").
func (s *Sim) Throttle(times int, retryAfter string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.throttle, s.wait = times, retryAfter
}

// LagIndex makes lists and searches of cases show what was until CatchUp.
func (s *Sim) LagIndex() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lagging = true
}

// HoldForms makes the forms submitted while it is on invisible in the form API
// until CatchUp; they then appear with the indexed_on of their submission, behind
// what was read meanwhile.
func (s *Sim) HoldForms(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = on
}

// CatchUp ends LagIndex and HoldForms.
func (s *Sim) CatchUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lagging, s.holding = false, false
	for id, c := range s.cases {
		s.indexed[id] = c.clone()
	}
	for id := range s.indexed {
		if s.cases[id] == nil {
			delete(s.indexed, id)
		}
	}
	for _, f := range s.forms {
		f.held = false
	}
}

// Seed adds users, web_users, locations, cases (in the words of case API v2),
// reports (see Report) and forms (form JSON, in the order given).
func (s *Sim) Seed(doc []byte) error {
	var seed struct {
		Users     []map[string]any  `json:"users"`
		WebUsers  []map[string]any  `json:"web_users"`
		Locations []map[string]any  `json:"locations"`
		Cases     []map[string]any  `json:"cases"`
		Reports   []json.RawMessage `json:"reports"`
		Forms     []json.RawMessage `json:"forms"`
	}
	if err := json.Unmarshal(doc, &seed); err != nil {
		return fmt.Errorf("read the seed: %w", err)
	}
	s.mu.Lock()
	for _, u := range seed.Users {
		s.users[xform.Text(u["id"])] = u
	}
	for _, u := range seed.WebUsers {
		s.webUsers[xform.Text(u["id"])] = u
	}
	for _, l := range seed.Locations {
		s.locations[xform.Text(l["location_id"])] = l
	}
	for _, c := range seed.Cases {
		s.seedCase(c)
	}
	var err error
	for _, r := range seed.Reports {
		err = errors.Join(err, s.seedReport(r))
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("seed the reports: %w", err)
	}
	for i, f := range seed.Forms {
		if _, err := s.Submit(f); err != nil {
			return fmt.Errorf("seed form %d: %w", i+1, err)
		}
	}
	return nil
}

// State is the open and closed cases as canonical JSON, in order. Left out are
// times, blank properties (which read as absent) and cases that the API both
// made and closed: they were taken back.
func (s *Sim) State() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []any{}
	for _, id := range sorted(s.cases) {
		c := s.cases[id]
		if c.apiMade && c.apiClosed {
			continue
		}
		out = append(out, c.state())
	}
	return json.MarshalIndent(map[string]any{"cases": out}, "", " ")
}
