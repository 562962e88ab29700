// Package simulate is what every system's simulator shares: a record of the
// requests it saw and faults that can be switched on. What a system does is in
// its own folder.
package simulate

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Simulator is a stateful stand-in for a system, true to its reference page.
type Simulator interface {
	http.Handler
	// Seed adds content from a JSON document in the simulator's own words.
	Seed(doc []byte) error
	// State is the live content as canonical JSON: voided rows, server times
	// and server-made row numbers left out, so that two states can be compared
	// byte for byte.
	State() ([]byte, error)
	// Settings are the option values of a system that points at this
	// simulator, but for the URL.
	Settings() map[string]string
	// Traffic gives the recorder and the fault switches.
	Traffic() *Traffic
}

// Kind of a fault.
type Kind string

const (
	Down          Kind = "down"           // connection cut before anything happens
	TimeoutBefore Kind = "timeout before" // nothing is written, no answer comes
	TimeoutAfter  Kind = "timeout after"  // written, but no answer comes
	LostResponse  Kind = "lost response"  // written, then the connection is cut
	Error500      Kind = "500"            // not written, answered 500
	Error500After Kind = "500 after"      // written, answered 500
	Error503      Kind = "503"
	TooMany       Kind = "429" // with Retry-After: 1
	Unauthorised  Kind = "401" // not executed
	Executed401   Kind = "401 but executed"
	HTMLPage      Kind = "html"   // a proxy's error page, status 502
	Refuse        Kind = "refuse" // in the system's own words, see Refusal
	Slow          Kind = "slow"   // answered after Delay
)

// Fault is one fault that is switched on.
type Fault struct {
	Kind Kind `json:"kind"`
	// Match chooses requests: "POST /ws/rest/v1/encounter", with path.Match
	// patterns in the path and * for any method; "" is every changing request,
	// "*" every request.
	Match string `json:"match,omitempty"`
	// Call is the how-manieth matching request from now is hit, from 1; 0 means from
	// the first on.
	Call int `json:"call,omitempty"`
	// Times is how many are hit; 0 means one when Call is set, else all.
	Times int `json:"times,omitempty"`
	// Share hits that share of the matching requests at random (0 to 1).
	Share float64       `json:"share,omitempty"`
	Delay time.Duration `json:"delay,omitempty"`

	seen, hits int
}

// Recorded is a request that a simulator saw.
type Recorded struct {
	N        int       `json:"n"`
	Method   string    `json:"method"`
	Path     string    `json:"path"` // with the query
	Body     string    `json:"body,omitempty"`
	CallID   string    `json:"call,omitempty"` // header call.IDHeader
	Status   int       `json:"status"`         // 0: no answer was given
	Executed bool      `json:"executed"`
	Fault    Kind      `json:"fault,omitempty"`
	From, To time.Time `json:"-"`
}

// Changes tells whether the request may change something, by its method.
func (r Recorded) Changes() bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// Traffic records requests and applies faults around a simulator's handler.
type Traffic struct {
	// Refusal writes the system's own refusal; nil answers 400.
	Refusal func(http.ResponseWriter, *http.Request)
	// Keep is how many requests are kept; 0 keeps all, negative none.
	Keep int

	mu     sync.Mutex
	faults []*Fault
	log    []Recorded
	n      int
	rng    *rand.Rand
}

// NewTraffic makes a recorder without faults; seed drives Share.
func NewTraffic(seed uint64) *Traffic {
	return &Traffic{rng: rand.New(rand.NewPCG(seed, seed))}
}

// Switch adds a fault.
func (t *Traffic) Switch(f Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, &f)
}

// Calm removes all faults.
func (t *Traffic) Calm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = nil
}

// Requests gives what was recorded, in order of arrival.
func (t *Traffic) Requests() []Recorded {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Recorded(nil), t.log...)
}

// Count is how many requests were seen, kept or not.
func (t *Traffic) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// Forget drops the record of requests.
func (t *Traffic) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = nil
}

func (f *Fault) matches(r *http.Request) bool {
	switch f.Match {
	case "*":
		return true
	case "":
		return r.Method != http.MethodGet && r.Method != http.MethodHead
	}
	method, pattern, ok := strings.Cut(f.Match, " ")
	if !ok {
		method, pattern = "*", f.Match
	}
	if method != "*" && method != r.Method {
		return false
	}
	hit, err := path.Match(pattern, r.URL.Path)
	return err == nil && hit
}

// pick gives the fault that hits this request, if any.
func (t *Traffic) pick(r *http.Request) Fault {
	for _, f := range t.faults {
		if !f.matches(r) {
			continue
		}
		f.seen++
		times := f.Times
		if times == 0 && f.Call > 0 {
			times = 1
		}
		if times > 0 && f.hits >= times {
			continue
		}
		if f.Call > 0 && f.seen < f.Call {
			continue
		}
		if f.Share > 0 && t.rng.Float64() >= f.Share {
			continue
		}
		f.hits++
		return *f
	}
	return Fault{}
}

// Wrap puts the recorder and the faults around a simulator's handler.
func (t *Traffic) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "cannot read the body", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		t.mu.Lock()
		fault := t.pick(r)
		t.n++
		rec := Recorded{N: t.n, Method: r.Method, Path: r.URL.RequestURI(), Body: string(body),
			CallID: r.Header.Get(call.IDHeader), Fault: fault.Kind, From: time.Now()}
		t.mu.Unlock()

		// The entry is written before the answer leaves: whoever has the answer
		// finds its request in the record.
		keep := func(status int, executed bool) {
			rec.Status, rec.Executed, rec.To = status, executed, time.Now()
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.Keep < 0 {
				return
			}
			t.log = append(t.log, rec)
			if t.Keep > 0 && len(t.log) > t.Keep {
				t.log = append(t.log[:0], t.log[len(t.log)-t.Keep:]...)
			}
		}
		execute := func() *httptest.ResponseRecorder {
			out := httptest.NewRecorder()
			next.ServeHTTP(out, r)
			return out
		}
		give := func(out *httptest.ResponseRecorder) {
			for k, v := range out.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(out.Code)
			_, _ = w.Write(out.Body.Bytes())
		}
		hang := func() {
			// The client's patience decides; a minute at the most.
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
			panic(http.ErrAbortHandler)
		}
		switch fault.Kind {
		case Down:
			keep(0, false)
			panic(http.ErrAbortHandler)
		case TimeoutBefore:
			keep(0, false)
			hang()
		case TimeoutAfter:
			execute()
			keep(0, true)
			hang()
		case LostResponse:
			execute()
			keep(0, true)
			panic(http.ErrAbortHandler)
		case Error500:
			keep(http.StatusInternalServerError, false)
			http.Error(w, `{"error":{"message":"[simulated failure]"}}`, http.StatusInternalServerError)
		case Error500After:
			execute()
			keep(http.StatusInternalServerError, true)
			http.Error(w, `{"error":{"message":"[simulated failure]"}}`, http.StatusInternalServerError)
		case Error503:
			keep(http.StatusServiceUnavailable, false)
			http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		case TooMany:
			keep(http.StatusTooManyRequests, false)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests", http.StatusTooManyRequests)
		case Unauthorised:
			keep(http.StatusUnauthorized, false)
			http.Error(w, "", http.StatusUnauthorized)
		case Executed401:
			execute()
			keep(http.StatusUnauthorized, true)
			http.Error(w, "Session timed out", http.StatusUnauthorized)
		case HTMLPage:
			keep(http.StatusBadGateway, false)
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html><body><h1>502 Bad Gateway</h1></body></html>")
		case Refuse:
			keep(http.StatusBadRequest, false)
			if t.Refusal != nil {
				t.Refusal(w, r)
				return
			}
			http.Error(w, "refused", http.StatusBadRequest)
		default:
			if fault.Kind == Slow {
				time.Sleep(fault.Delay)
			}
			out := execute()
			keep(out.Code, out.Code < http.StatusBadRequest)
			give(out)
		}
	})
}
