// Package intake takes messages in: pushed to a web address, or polled. It
// routes each by its content alone and answers only after the commit.
package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// DefaultLimit is the largest body that is taken, in bytes.
const DefaultLimit = 10 << 20

// Intake turns what arrives into deliveries.
type Intake struct {
	Ledger  ledger.Ledger
	Flows   []*flow.Flow // of the active integrations
	Systems map[string]*system.Port
	// Registry names the kinds of messages, for those that no flow wants.
	Registry connector.Registry
	Wake     func(system, stream string) // a stream to poll now
	Limit    int64
	Log      *slog.Logger
	// Observe is told what became of messages, for metrics and traces; nil: nobody.
	Observe func(ctx context.Context, t Taken)
	// Lost is told that a stream no longer has what was read from it
	// (connector.Batch.Lost); its error says that nothing of it is to be taken:
	// the system was restored from a backup. Nil: nobody looks.
	Lost func(ctx context.Context, system, what string) error

	refused seldom
}

// Taken is what became of messages that arrived together, pushed or polled.
type Taken struct {
	System   string
	Accepted []ledger.Accepted
	Began    time.Time
	Err      error // they were not stored
}

// Accept routes and stores messages of one system; advance moves a poll
// position in the same transaction. After it returns they are durable.
func (in *Intake) Accept(ctx context.Context, from string, messages []connector.Incoming, advance *ledger.Advance) ([]ledger.Accepted, error) {
	arrivals := make([]ledger.Arrival, 0, len(messages))
	for _, m := range messages {
		if m.Wake != "" && in.Wake != nil {
			in.Wake(from, m.Wake)
		}
		if m.Kind == "" {
			continue // it only woke a stream
		}
		arrivals = append(arrivals, in.arrival(from, m))
	}
	if len(arrivals) == 0 && advance == nil {
		return nil, nil
	}
	began := time.Now()
	accepted, err := in.store(ctx, arrivals, advance)
	if in.Observe != nil && len(arrivals) > 0 {
		in.Observe(ctx, Taken{from, accepted, began, err})
	}
	return accepted, err
}

func (in *Intake) store(ctx context.Context, arrivals []ledger.Arrival, advance *ledger.Advance) ([]ledger.Accepted, error) {
	for i := range arrivals {
		if err := in.formerRoutes(ctx, &arrivals[i]); err != nil {
			return nil, err
		}
	}
	return in.Ledger.Accept(ctx, arrivals, advance)
}

// formerRoutes routes a new version of a document also to where its older
// versions went and this one does not: what they made there is to be taken
// back (law 19).
func (in *Intake) formerRoutes(ctx context.Context, a *ledger.Arrival) error {
	if a.Doc == "" {
		return nil
	}
	former, err := in.Ledger.Document(ctx, a.System, a.Doc)
	if err != nil {
		return fmt.Errorf("look up older versions of a document: %w", err)
	}
	for _, d := range former {
		same := func(r ledger.Route) bool { return r.Flow == d.Flow && r.Each == d.Each }
		if slices.ContainsFunc(a.Routes, same) {
			continue
		}
		w, err := in.Ledger.Delivery(ctx, d.ID)
		if err != nil {
			return fmt.Errorf("look up delivery %d: %w", d.ID, err)
		}
		a.Routes = append(a.Routes, ledger.Route{Flow: d.Flow, Each: d.Each, Lanes: []string{w.LaneKey}, Systems: d.Systems})
	}
	return nil
}

// arrival routes a message. One that no flow wants is counted by what it is.
func (in *Intake) arrival(from string, m connector.Incoming) ledger.Arrival {
	msg := &connector.Message{System: from, Incoming: m}
	var content any
	if err := json.Unmarshal(m.Content, &content); err != nil {
		in.log().Error("a connector gave content that is not JSON", "system", from, "kind", m.Kind)
	}
	a := ledger.Arrival{System: from, Incoming: m, Routes: in.route(msg, content)}
	if len(a.Routes) == 0 {
		a.About = in.about(from, m.Kind, content)
	}
	return a
}

// about names the kind of a message by what flows filter on: a form's xmlns, a
// case's type.
func (in *Intake) about(from, kind string, content any) string {
	text := from + " " + kind
	port, ok := in.Systems[from]
	if !ok {
		return text
	}
	c, ok := in.Registry[port.Connector]
	if !ok {
		return text
	}
	for _, spec := range c.Messages {
		if spec.Name != kind {
			continue
		}
		for _, filter := range slices.Sorted(maps.Keys(spec.From)) {
			if v := textAt(content, spec.From[filter]); v != "" {
				text += ", " + filter + " " + v
			}
		}
	}
	return text
}

func textAt(content any, path string) string {
	for part := range strings.SplitSeq(path, "/") {
		m, ok := content.(map[string]any)
		if !ok {
			return ""
		}
		content = m[part]
	}
	s, _ := content.(string)
	return s
}

// route asks every flow whether the message is for it. A flow that cannot tell
// gets a delivery all the same, which planning will hold with the reason:
// nothing is lost.
func (in *Intake) route(msg *connector.Message, content any) []ledger.Route {
	from, m := msg.System, msg.Incoming
	var routes []ledger.Route
	for _, f := range in.Flows {
		items, err := f.Route(msg, content)
		if err != nil {
			in.log().Warn("a flow could not be routed; its delivery will be held", "flow", f.Name, "error", err)
			routes = append(routes, ledger.Route{Flow: f.Name, Lanes: []string{"message:" + from + "/" + m.Doc}, Systems: f.Connectors()})
			continue
		}
		for _, item := range items {
			routes = append(routes, ledger.Route{Flow: f.Name, Each: item.Each, Lanes: item.Lanes, Systems: item.Systems})
		}
	}
	return routes
}

func (in *Intake) log() *slog.Logger {
	if in.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return in.Log
}

// ServeHTTP takes what a system pushes to /in/SYSTEM. It answers
//
//	202 stored (also when it was stored before)
//	400 the body cannot be read, with the reason; nothing is kept
//	401 wrong credentials
//	404 no such system, or it pushes nothing
//	413 the body is too large
//	503 try again later: the ledger cannot take it now
func (in *Intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("system")
	port, ok := in.Systems[name]
	var receiver connector.Receiver
	if ok {
		receiver, ok = port.System.(connector.Receiver)
	}
	if !ok {
		answer(w, http.StatusNotFound, fmt.Sprintf("there is no system %q that sends messages here", name), nil)
		return
	}
	if !slices.Contains([]string{http.MethodPost, http.MethodPut}, r.Method) {
		w.Header().Set("Allow", "POST, PUT")
		answer(w, http.StatusMethodNotAllowed, "send messages with POST", nil)
		return
	}
	if !receiver.Authorised(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="kiungo"`)
		answer(w, http.StatusUnauthorized, "wrong user name or password for "+name, nil)
		return
	}
	limit := in.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			answer(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the message is larger than %d MB, the most that is taken", limit>>20), nil)
			return
		}
		answer(w, http.StatusBadRequest, "the message did not arrive whole", nil)
		return
	}
	in.take(w, r, name, receiver, body)
}

func (in *Intake) take(w http.ResponseWriter, r *http.Request, name string, receiver connector.Receiver, body []byte) {
	messages, err := receiver.Receive(r, body)
	if err != nil {
		var bad *connector.BadInput
		if errors.As(err, &bad) {
			answer(w, http.StatusBadRequest, bad.Text, nil)
			return
		}
		in.log().ErrorContext(r.Context(), "a message could not be read", "system", name, "error", err)
		answer(w, http.StatusServiceUnavailable, "the message could not be read now; send it again", nil)
		return
	}
	// The sender may hang up; what it sent is stored all the same.
	accepted, err := in.Accept(context.WithoutCancel(r.Context()), name, messages, nil)
	if err != nil {
		if n, say := in.refused.say(time.Now()); say {
			in.log().ErrorContext(r.Context(), "messages could not be stored", "system", name, "error", err, "times since this was last said", n)
		}
		w.Header().Set("Retry-After", "60")
		answer(w, http.StatusServiceUnavailable, "the message could not be stored now; send it again later", nil)
		return
	}
	answer(w, http.StatusAccepted, "", accepted)
}

type reply struct {
	Error    string    `json:"error,omitempty"`
	Messages []receipt `json:"messages,omitempty"`
}

type receipt struct {
	Message    int64 `json:"message"`
	Duplicate  bool  `json:"duplicate,omitempty"`
	Deliveries int   `json:"deliveries"`
}

func answer(w http.ResponseWriter, status int, problem string, accepted []ledger.Accepted) {
	out := reply{Error: problem}
	for _, a := range accepted {
		out.Messages = append(out.Messages, receipt{a.Message, a.Duplicate, len(a.Deliveries)})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}
