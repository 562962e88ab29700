//go:build unix

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// boardName is both the connector and the system of the trial of polls. No
// connector that is shipped sends what cannot be looked up; a broadcast of
// RapidPro is such a call, and a repeat reaches every phone again.
const boardName = "board"

var registry = func() connector.Registry {
	r := connectors.All()
	r[boardName] = boardConnector()
	return r
}()

func boardConnector() *connector.Connector {
	text := func(names ...string) (out []connector.FieldSpec) {
		for _, n := range names {
			out = append(out, connector.FieldSpec{Name: n, Type: connector.Text})
		}
		return out
	}
	return &connector.Connector{Name: boardName, Title: "A notice board", About: "Polled, asked for lists, and told to broadcast.",
		Options: []connector.Option{{Name: "url", About: "address", Required: true}},
		Kinds:   []connector.KindSpec{{Name: "Broadcast", About: "a message to phones", Fields: text("of", "text"), ByDefault: "never: it cannot be looked up"}},
		Messages: []connector.MessageSpec{
			{Name: "notice", About: "an entry of the feed", Names: []connector.NameSpec{{Name: "notice", Fields: []string{"id", "group", "text"}}}},
			{Name: "roster", About: "a row of the list", List: "row", Names: []connector.NameSpec{{Name: "row", Fields: []string{"id", "text", "change"}}}}},
		Open: func(c connector.Config) (connector.System, error) {
			return &boardSystem{name: c.Name, url: c.Values["url"], http: c.HTTP}, nil
		},
		Simulate: func([]byte) (simulate.Simulator, error) { return newBoard(), nil }}
}

// boardSystem is the connector's side.
type boardSystem struct {
	name, url string
	http      *http.Client
}

func (s *boardSystem) Name() string        { return s.name }
func (s *boardSystem) Probe() call.Request { return call.Request{Method: http.MethodGet, Path: "/"} }

func (s *boardSystem) Kind(name string) connector.Kind {
	if name != "Broadcast" {
		return nil
	}
	return broadcast{}
}

func (s *boardSystem) Send(ctx context.Context, r call.Request) (call.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, s.url+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return call.Answer{}, err
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	answer, err := s.http.Do(req)
	if err != nil {
		return call.Answer{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return call.Answer{Status: answer.StatusCode, Body: body, At: time.Now()}, err
}

func (s *boardSystem) Classify(_ call.Request, a call.Answer, err error) call.Verdict {
	switch {
	case err != nil || a.Status == http.StatusInternalServerError:
		return call.Verdict{Class: call.Uncertain, Reason: "no answer came"}
	case a.Status == http.StatusServiceUnavailable:
		return call.Verdict{Class: call.RetryLater, Reason: "it is busy"}
	case a.Status >= 300:
		return call.Verdict{Class: call.Refusal, Reason: "it is refused"}
	}
	return call.Verdict{Class: call.Done}
}

func (s *boardSystem) Streams() []connector.Stream {
	return []connector.Stream{{Name: "notices", Every: 200 * time.Millisecond}}
}

// overlap is how many entries a poll reads again, as of a source that shows
// late what it dated early (law 35).
const overlap = 2

func (s *boardSystem) Poll(ctx context.Context, do call.Doer, _ string, position []byte) (connector.Batch, error) {
	after := 0
	if position != nil {
		var err error
		if after, err = strconv.Atoi(string(position)); err != nil {
			return connector.Batch{}, err
		}
	}
	entries, more, err := s.read(ctx, do, "/notices/", max(0, after-overlap))
	b := connector.Batch{More: more, Position: strconv.AppendInt(nil, int64(after), 10)}
	for _, e := range entries {
		b.Messages = append(b.Messages, e.message("notice"))
		b.Position = []byte(e.ID)
	}
	return b, err
}

func (s *boardSystem) List(ctx context.Context, do call.Doer, _ connector.Run, cursor []byte) (connector.Page, error) {
	after, _ := strconv.Atoi(string(cursor))
	entries, more, err := s.read(ctx, do, "/roster/", after)
	p := connector.Page{Done: !more}
	for _, e := range entries {
		p.Messages = append(p.Messages, e.message("roster"))
		p.Cursor = []byte(e.ID)
	}
	return p, err
}

func (s *boardSystem) read(ctx context.Context, do call.Doer, path string, after int) (entries []entry, more bool, err error) {
	a, err := do.Do(ctx, "read "+path, call.Request{Method: http.MethodGet, Path: path + strconv.Itoa(after)})
	if err != nil {
		return nil, false, err
	}
	var got struct {
		Entries []entry
		More    bool
	}
	err = json.Unmarshal(a.Body, &got)
	return got.Entries, got.More, err
}

// entry is a notice, or a row of the roster.
type entry struct{ ID, Group, Text string }

func (e entry) message(kind string) connector.Incoming {
	name := map[string]string{"notice": "notice", "roster": "row"}[kind]
	content, err := json.Marshal(map[string]any{name: map[string]string{"id": e.ID, "group": e.Group, "text": e.Text}})
	if err != nil {
		panic(err) // plain texts
	}
	return connector.Incoming{Kind: kind, Doc: kind + "/" + e.ID, Version: "1", Content: content}
}

// broadcast is the kind whose calls cannot be looked up, nor taken back.
type broadcast struct{}

func (broadcast) Spec() *connector.KindSpec { return &boardConnector().Kinds[0] }

func (broadcast) Find(context.Context, call.Doer, connector.Query) (connector.Found, error) {
	return connector.Found{}, nil
}

func (broadcast) Canon(_ context.Context, _ call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	out := record.Fields{}
	maps.Copy(out, wanted)
	return out, nil, nil
}

func (broadcast) Calls(_ context.Context, _ call.Doer, c connector.Change) ([]call.Call, error) {
	body, err := json.Marshal(map[string]any{"of": c.Write["of"], "text": c.Write["text"]})
	return []call.Call{{Name: c.Record, About: "broadcast a notice", Repeat: call.Blind, Reversal: call.Final,
		Request: call.Request{Method: http.MethodPost, Path: "/broadcast", Body: body}}}, err
}

func (broadcast) Observe(call.Check, call.Answer) (call.Observed, error) {
	return call.Observed{}, fmt.Errorf("a broadcast cannot be looked up")
}

// board is the system itself, which survives.
type board struct {
	traffic *simulate.Traffic
	handler http.Handler

	mu      sync.Mutex
	notices []entry
	roster  []entry
	sent    map[string]int // broadcasts, by what they are of
}

func newBoard() *board {
	b := &board{traffic: simulate.NewTraffic(1), sent: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /{list}/{after}", b.list)
	mux.HandleFunc("POST /broadcast", b.take)
	b.handler = b.traffic.Wrap(mux)
	return b
}

func (b *board) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.handler.ServeHTTP(w, r) }
func (b *board) Settings() map[string]string                      { return map[string]string{} }
func (b *board) Traffic() *simulate.Traffic                       { return b.traffic }

// Seed is not used: notices come while the nodes run.
func (b *board) Seed([]byte) error { return nil }

// State is how often each broadcast was sent.
func (b *board) State() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return json.Marshal(b.sent)
}

// pageOf is how many entries an answer has.
const pageOf = 4

func (b *board) list(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.Atoi(r.PathValue("after"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	all := b.notices
	if r.PathValue("list") == "roster" {
		all = b.roster
	}
	from := min(after, len(all))
	to := min(from+pageOf, len(all))
	page := slices.Clone(all[from:to])
	b.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"entries": page, "more": to < len(all)})
}

func (b *board) take(w http.ResponseWriter, r *http.Request) {
	var in struct{ Of, Text string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Of == "" {
		http.Error(w, "no broadcast", http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.sent[in.Of]++
	b.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

// publish puts a notice into the feed.
func (b *board) publish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.notices) + 1
	b.notices = append(b.notices, entry{strconv.Itoa(n), fmt.Sprint("group ", n%6), fmt.Sprint("notice ", n)})
}

func (b *board) count(of string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent[of]
}
