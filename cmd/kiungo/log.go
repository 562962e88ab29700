package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	api "go.opentelemetry.io/otel/trace"

	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
	"github.com/kiungo-health/kiungo/internal/trace"
)

// logOptions say how is logged: to standard error, ids only, never anything of
// a message (law 34).
type logOptions struct {
	format string // text or json
	level  string // debug, info, warn or error; "": what --verbose says
}

func (a *app) log() *slog.Logger {
	l, err := newLog(os.Stderr, a.logs, a.verbose)
	if err != nil { // checked when the command began
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return l
}

func newLog(to io.Writer, o logOptions, verbose bool) (*slog.Logger, error) {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	if o.level != "" {
		if err := level.UnmarshalText([]byte(o.level)); err != nil || strings.ContainsAny(o.level, "+-") {
			return nil, usagef("--log-level %s: it is debug, info, warn or error", o.level)
		}
	}
	opts := &slog.HandlerOptions{Level: level}
	switch o.format {
	case "", "text":
		return slog.New(withIDs{slog.NewTextHandler(to, opts)}), nil
	case "json":
		return slog.New(withIDs{slog.NewJSONHandler(to, opts)}), nil
	}
	return nil, usagef("--log %s: it is text or json", o.format)
}

// withIDs adds to a record which request, and which trace, it belongs to.
type withIDs struct{ slog.Handler }

// Handle is slog.Handler's.
func (h withIDs) Handle(ctx context.Context, r slog.Record) error {
	if id, ok := ctx.Value(requestKey{}).(string); ok {
		r.AddAttrs(slog.String("request", id))
	}
	if c := api.SpanContextFromContext(ctx); c.HasTraceID() {
		r.AddAttrs(slog.String("trace", c.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (h withIDs) WithAttrs(a []slog.Attr) slog.Handler { return withIDs{h.Handler.WithAttrs(a)} }

// WithGroup is slog.Handler's.
func (h withIDs) WithGroup(name string) slog.Handler { return withIDs{h.Handler.WithGroup(name)} }

// watchLog logs what happens, at level debug.
func watchLog(log *slog.Logger) engine.Watch {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return engine.Watch{}
	}
	return engine.Watch{
		Taken: func(ctx context.Context, t intake.Taken) {
			for _, a := range t.Accepted {
				log.DebugContext(ctx, "a message was accepted", "system", t.System, "message", a.Message, "duplicate", a.Duplicate, "deliveries", fmt.Sprint(a.Deliveries))
			}
		},
		Ended: func(ctx context.Context, w *ledger.Work, e *ledger.End, now time.Time) {
			log.DebugContext(ctx, "a delivery ended or pauses", "delivery", w.Delivery.ID, "message", w.Delivery.Message, "flow", w.Delivery.Flow, "state", string(e.State),
				"code", e.Code, "blocked_on", string(e.BlockedOn), "calls", e.Calls, "age", fmt.Sprint(now.Sub(w.Delivery.Created).Round(time.Millisecond)))
		},
		Sent: func(ctx context.Context, s system.Sent) {
			log.DebugContext(ctx, "a request was sent", "system", s.Port.Name(), "method", s.Request.Method, "route", trace.Route(s.Request.Path), "status", s.Status,
				"class", string(s.Verdict.Class), "took", fmt.Sprint(s.Took.Round(time.Microsecond)))
		},
	}
}

type requestKey struct{}

// requestHeader tells the sender under which id its request is logged. One that
// it gives is not taken: it could be anything.
const requestHeader = "X-Request-Id"

// logged gives each request an id, and logs it once it is answered. Its path is
// not logged, for a stranger may write anything there; the system's name is,
// if there is one of that name.
func logged(log *slog.Logger, known func(system string) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		w.Header().Set(requestHeader, id)
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
		if !log.Enabled(r.Context(), slog.LevelDebug) {
			next.ServeHTTP(w, r)
			return
		}
		began := time.Now()
		out := &answered{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(out, r)
		name := r.PathValue("system")
		if !known(name) {
			name = "unknown"
		}
		log.DebugContext(r.Context(), "answered a request", "system", name, "status", out.code, "bytes", r.ContentLength, "took", fmt.Sprint(time.Since(began).Round(time.Microsecond)))
	})
}

// answered remembers the status.
type answered struct {
	http.ResponseWriter
	code int
}

func (a *answered) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
