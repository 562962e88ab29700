// Package metrics gives Prometheus what a running node does and what waits in
// its ledger. Labels are names of the site's systems, flows, streams, nodes,
// and words of Kiungo's own: never anything of a message (law 34).
package metrics

import (
	"context"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// Ledger is what is asked of a ledger; *store.Store has it.
type Ledger interface {
	Stats(ctx context.Context) (*ledger.Stats, error)
	Disk() (wal, free int64, ok bool)
	Floor() int64
}

// Metrics are the figures of one node.
type Metrics struct {
	registry *prometheus.Registry

	messages, requests, ended, calls *prometheus.CounterVec
	intake, delivery, call           *prometheus.HistogramVec
	commit, units                    prometheus.Histogram
	running                          atomic.Int64
	systems                          map[string]*system.Port
}

// New makes the figures of a node of that version.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(),
		messages: counter(messages), requests: counter(intakeRequests), ended: counter(deliveriesEnded), calls: counter(callsTotal),
		intake: histogram(intakeSeconds), delivery: histogram(deliverySeconds), call: histogram(callSeconds),
		commit: histogram(commitSeconds).WithLabelValues().(prometheus.Histogram), units: histogram(commitUnits).WithLabelValues().(prometheus.Histogram)}
	m.registry.MustRegister(m.messages, m.requests, m.ended, m.calls, m.intake, m.delivery, m.call, m.commit, m.units,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: running.name, Help: running.help}, func() float64 { return float64(m.running.Load()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	commit := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	b := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: build.name, Help: build.help}, build.labels)
	b.WithLabelValues(version, commit, runtime.Version()).Set(1)
	m.registry.MustRegister(b)
	return m
}

func counter(m metric) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.name, Help: m.help}, m.labels)
}

func histogram(m metric) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.name, Help: m.help, Buckets: m.buckets}, m.labels)
}

// Commit is for store.Options.Observe.
func (m *Metrics) Commit(units int, took time.Duration) {
	m.units.Observe(float64(units))
	m.commit.Observe(took.Seconds())
}

// Watch gives what an engine is to tell.
func (m *Metrics) Watch() engine.Watch {
	return engine.Watch{Taken: m.taken, Running: m.start, Ran: m.stop, Ended: m.end, Sent: m.sent}
}

// Attach adds what is asked at each scrape: of the engine's systems, of its
// ledger, and whether the node is ready (nil: not told). The engine is not
// started yet.
func (m *Metrics) Attach(e *engine.Engine, l Ledger, isReady func(context.Context) error) {
	m.systems = e.Systems
	m.registry.MustRegister(newPorts(e.Systems), newLook(l, e), newNode(l, e, isReady))
	for name := range e.Systems {
		// Counters begin at 0, so that a first failure is a rise.
		m.calls.WithLabelValues(name, "done", "read")
		m.messages.WithLabelValues(name, refused)
	}
}

const (
	refused   = "refused"
	duplicate = "duplicate"
	accepted  = "accepted"
)

func (m *Metrics) taken(_ context.Context, t intake.Taken) {
	if t.Err != nil {
		m.messages.WithLabelValues(t.System, refused).Inc()
		return
	}
	known := 0
	for _, a := range t.Accepted {
		if a.Duplicate {
			known++
		}
	}
	if known > 0 {
		m.messages.WithLabelValues(t.System, duplicate).Add(float64(known))
	}
	if n := len(t.Accepted) - known; n > 0 {
		m.messages.WithLabelValues(t.System, accepted).Add(float64(n))
	}
}

func (m *Metrics) start(ctx context.Context, _ *ledger.Work) context.Context {
	m.running.Add(1)
	return ctx
}

func (m *Metrics) stop(context.Context, *ledger.Work, error) { m.running.Add(-1) }

func (m *Metrics) end(_ context.Context, w *ledger.Work, e *ledger.End, now time.Time) {
	switch {
	case e.State.Ended():
		m.delivery.WithLabelValues(w.Delivery.Flow).Observe(max(0, now.Sub(w.Delivery.Created)).Seconds())
	case e.State == ledger.Held, e.State == ledger.HalfUndone:
	default:
		return // it pauses
	}
	m.ended.WithLabelValues(w.Delivery.Flow, word(string(e.State))).Inc()
}

func (m *Metrics) sent(_ context.Context, s system.Sent) {
	kind := "read"
	switch {
	case s.Probe:
		kind = "probe"
	case s.Request.Changes():
		kind = "write"
	}
	m.calls.WithLabelValues(s.Port.Name(), word(string(s.Verdict.Class)), kind).Inc()
	m.call.WithLabelValues(s.Port.Name()).Observe(s.Took.Seconds())
}

// word writes a state as a label's value.
func word(s string) string {
	if s == "" {
		return "none"
	}
	return strings.ReplaceAll(s, " ", "_")
}

// Intake measures requests to /in/{system}.
func (m *Metrics) Intake(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		name := r.PathValue("system")
		if _, ok := m.systems[name]; !ok {
			name = "unknown" // what a stranger asks for is no label
		}
		out := &status{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(out, r)
		m.requests.WithLabelValues(name, strconv.Itoa(out.code)).Inc()
		m.intake.WithLabelValues(name).Observe(time.Since(began).Seconds())
	})
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Gatherer gives the figures themselves: for tests.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }
