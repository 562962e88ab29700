// Package control is how commands talk to a running server: HTTP over a Unix
// socket in the data folder. One process writes the ledger (law 37); without a
// running server a command opens the ledger itself, through the same Service.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Service is what commands need of a ledger, wherever it is.
type Service interface {
	Deliveries(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error)
	Show(ctx context.Context, id int64) (*ledger.Work, error)
	Counts(ctx context.Context) ([]ledger.Count, error)
	Retry(ctx context.Context, id int64, who, note string) error
	Skip(ctx context.Context, id int64, who, note string) error
	Clock(ctx context.Context, confirmedBy string) (Clock, error)
	Desk
	Growth
	Backups
	Restored
	Exports
}

// Local serves from a ledger of this process; Ring wakes its lanes.
type Local struct {
	Ledger ledger.Ledger
	Ring   func(lanes ...int64)
	// Of a running server or an opened site; nil elsewhere.
	Learned func(ledger.Lesson)
	Forgot  func(ledger.Lesson) // a lesson that a person took back
	Plan    desk.Planner
	Lists   func(ctx context.Context, flow, system, period string) (int, error)
	// Restored is engine.Replay of a running server or an opened site.
	Restored func(ctx context.Context, o ledger.ReplayOrder) (*ledger.ReplayReport, error)
	// Of a running server: the clock that schedules go by.
	Today        func() (time.Time, error)
	KeepNow      func(ctx context.Context) (ledger.Kept, error)
	ConfirmClock func(ctx context.Context, who string) error
}

// Deliveries lists deliveries, newest first.
func (l Local) Deliveries(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error) {
	return l.Ledger.Deliveries(ctx, f)
}

// Show gives one delivery with its plan and journal.
func (l Local) Show(ctx context.Context, id int64) (*ledger.Work, error) {
	return l.Ledger.Delivery(ctx, id)
}

// Counts counts deliveries by flow and state.
func (l Local) Counts(ctx context.Context) ([]ledger.Count, error) { return l.Ledger.Counts(ctx) }

// Retry makes a held delivery due again.
func (l Local) Retry(ctx context.Context, id int64, who, note string) error {
	return l.decide(ctx, l.Ledger.Retry, id, who, note)
}

// Skip ends a held delivery; its lane goes on.
func (l Local) Skip(ctx context.Context, id int64, who, note string) error {
	return l.decide(ctx, l.Ledger.Skip, id, who, note)
}

func (l Local) decide(ctx context.Context, do func(context.Context, int64, string, string) (int64, error), id int64, who, note string) error {
	lane, err := do(ctx, id, who, note)
	if err != nil {
		return err
	}
	if l.Ring != nil {
		l.Ring(lane)
	}
	return nil
}

// Socket is where a server with that data folder listens for commands.
func Socket(dataDir string) string { return filepath.Join(dataDir, "kiungo.sock") }

// Serve answers commands until ctx ends.
func Serve(ctx context.Context, dataDir string, s Service) error {
	path := Socket(dataDir)
	// The ledger's lock is ours, so a socket that is there is a dead server's.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	server := &http.Server{Handler: handler(s), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type decision struct {
	Who  string `json:"who"`
	Note string `json:"note"`
}

func handler(s Service) http.Handler {
	mux := http.NewServeMux()
	handleDesk(mux, s)
	handleGrowth(mux, s)
	handleClock(mux, s)
	handleBackup(mux, s)
	handleRestored(mux, s)
	handleExported(mux, s)
	mux.HandleFunc("POST /deliveries", func(w http.ResponseWriter, r *http.Request) {
		var f ledger.Filter
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			reply(w, nil, err)
			return
		}
		list, err := s.Deliveries(r.Context(), f)
		reply(w, list, err)
	})
	mux.HandleFunc("GET /deliveries/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil {
			reply(w, nil, err)
			return
		}
		work, err := s.Show(r.Context(), id)
		reply(w, work, err)
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, r *http.Request) {
		counts, err := s.Counts(r.Context())
		reply(w, counts, err)
	})
	for verb, do := range map[string]func(context.Context, int64, string, string) error{"retry": s.Retry, "skip": s.Skip} {
		mux.HandleFunc("POST /deliveries/{id}/"+verb, func(w http.ResponseWriter, r *http.Request) {
			id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
			var d decision
			if err == nil {
				err = json.NewDecoder(r.Body).Decode(&d)
			}
			if err == nil {
				err = do(r.Context(), id, d.Who, d.Note)
			}
			reply(w, struct{}{}, err)
		})
	}
	return mux
}

// kinds are the errors that a command tells apart.
var kinds = []struct {
	name   string
	status int
	err    error
}{
	{"nobody", http.StatusNotFound, desk.ErrNobody},
	{"not found", http.StatusNotFound, ledger.ErrNotFound},
	{"state", http.StatusConflict, ledger.ErrState},
	{"apiece", http.StatusConflict, desk.ErrApiece},
}

// kindHeader names the kind of an error.
const kindHeader = "Kiungo-Error"

// told is an error of the running server, in its words.
type told struct {
	text string
	kind error
}

func (e *told) Error() string { return e.text }
func (e *told) Unwrap() error { return e.kind }

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		status := http.StatusInternalServerError
		for _, k := range kinds {
			if errors.Is(err, k.err) {
				status = k.status
				w.Header().Set(kindHeader, k.name)
				break
			}
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Remote talks to the running server of a data folder.
type Remote struct{ client *http.Client }

// Dial gives the running server of a data folder; ok is false when none runs.
func Dial(dataDir string) (Remote, bool) {
	path := Socket(dataDir)
	conn, err := net.Dial("unix", path)
	if err != nil {
		return Remote{}, false
	}
	_ = conn.Close()
	return Remote{&http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}}, true
}

func (c Remote) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = strings.NewReader(string(b))
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://kiungo"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		err := &told{text: strings.TrimSpace(string(text))}
		for _, k := range kinds {
			if k.name == resp.Header.Get(kindHeader) {
				err.kind = k.err
			}
		}
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// Deliveries lists deliveries, newest first.
func (c Remote) Deliveries(ctx context.Context, f ledger.Filter) (out []ledger.Delivery, err error) {
	err = c.do(ctx, http.MethodPost, "/deliveries", f, &out)
	return out, err
}

// Show gives one delivery with its plan and journal.
func (c Remote) Show(ctx context.Context, id int64) (*ledger.Work, error) {
	var out ledger.Work
	if err := c.do(ctx, http.MethodGet, fmt.Sprintf("/deliveries/%d", id), nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Counts counts deliveries by flow and state.
func (c Remote) Counts(ctx context.Context) (out []ledger.Count, err error) {
	err = c.do(ctx, http.MethodGet, "/counts", nil, &out)
	return out, err
}

// Retry makes a held delivery due again.
func (c Remote) Retry(ctx context.Context, id int64, who, note string) error {
	return c.do(ctx, http.MethodPost, fmt.Sprintf("/deliveries/%d/retry", id), decision{who, note}, &struct{}{})
}

// Skip ends a held delivery; its lane goes on.
func (c Remote) Skip(ctx context.Context, id int64, who, note string) error {
	return c.do(ctx, http.MethodPost, fmt.Sprintf("/deliveries/%d/skip", id), decision{who, note}, &struct{}{})
}
