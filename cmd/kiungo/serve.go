package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/metrics"
	"github.com/kiungo-health/kiungo/internal/trace"
)

// serveOptions are those of kiungo serve.
type serveOptions struct {
	listen  string
	metrics string // address; "": none
	asked   bool   // for that address: else one that is in use is done without
	workers int
	drain   time.Duration
	otlp    string  // address for traces; "": none, but for OpenTelemetry's environment
	sample  float64 // share of messages that are traced
}

func (a *app) serveCmd() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run: take messages in, and carry them to where they belong",
		Long: "Serve takes messages at http://LISTEN/in/SYSTEM, polls the sources that are polled,\n" +
			"and applies what the active integrations say. It is stopped with Ctrl-C; nothing is lost.\n" +
			"With --database, any number of nodes share the work; each has a data folder of its own,\n" +
			"with a copy of the first one's keyring.\n\n" +
			"It answers /healthz (it lives) and /readyz (it takes messages; ?verbose for JSON) at LISTEN.\n" +
			"A first Ctrl-C or SIGTERM ends what is under way, a second one stops at once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, set := os.LookupEnv("KIUNGO_METRICS")
			o.asked = set || cmd.Flags().Changed("metrics")
			return a.serve(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", env("KIUNGO_LISTEN", "127.0.0.1:8282"), "address for messages; put a TLS proxy before it")
	f.StringVar(&o.metrics, "metrics", envOr("KIUNGO_METRICS", "127.0.0.1:9282"), "address for Prometheus, at /metrics; empty for none")
	f.IntVar(&o.workers, "workers", 32, "deliveries worked on at a time")
	f.DurationVar(&o.drain, "drain", 0, "how long to go on taking messages, no longer ready, before stopping: for a load balancer to notice")
	f.StringVar(&o.otlp, "otlp", "", "where to send traces, by OTLP over HTTP: http://127.0.0.1:4318; else "+trace.EnvEndpoint+", else none")
	f.Float64Var(&o.sample, "sample", number("KIUNGO_SAMPLE", 1), "share of the messages that is traced, 0 to 1")
	return cmd
}

// envOr is env for what may be set to nothing.
func envOr(name, fallback string) string {
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	return fallback
}

func number(name string, fallback float64) float64 {
	if v, err := strconv.ParseFloat(os.Getenv(name), 64); err == nil {
		return v
	}
	return fallback
}

// server is a running kiungo serve.
type server struct {
	*app
	serveOptions
	logger  *slog.Logger
	ledger  *store.Store
	engine  *engine.Engine
	metrics *metrics.Metrics // nil: none
	tracer  *trace.Tracer    // nil: none
	ready   *readiness
	closed  atomic.Bool // intake takes nothing any more

	listener, scrapes net.Listener
}

// serve runs until ctx ends, and ends what is under way then.
func (a *app) serve(ctx context.Context, o serveOptions) error {
	s := &server{app: a, serveOptions: o, logger: a.log()}
	if err := s.open(ctx); err != nil {
		s.shut()
		return err
	}
	defer s.shut()
	// What is under way outlives the signal.
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	if err := s.engine.Start(running); err != nil {
		return err
	}
	failed := make(chan error, 4)
	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug)}
	go func() { failed <- web.Serve(s.listener) }()
	commands := make(chan struct{})
	go func() {
		defer close(commands)
		if err := control.Serve(running, a.dataDir, local(s.engine)); err != nil {
			failed <- fmt.Errorf("listen for commands: %w", err)
		}
	}()
	if s.scrapes != nil {
		figures := http.NewServeMux()
		figures.Handle("GET /metrics", s.metrics.Handler())
		m := &http.Server{Handler: figures, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
		defer m.Close()
		go func() { failed <- m.Serve(s.scrapes) }()
	}
	go func() {
		if err := watchdog(running, s.ledger.Ready); err != nil {
			s.logger.Error("systemd is not told that this lives", "error", err)
		}
	}()
	fmt.Fprintf(a.out, "kiungo takes messages at http://%s/in/SYSTEM; stop with Ctrl-C\n", s.listener.Addr())
	s.logger.Info("serving", "listen", s.listener.Addr().String(), "node", s.ledger.Node(), "version", version)
	s.tell(notifyReady)
	var cause error
	select {
	case cause = <-failed:
	case <-ctx.Done():
	}
	s.stop(web, cause == nil)
	cancel(nil)
	<-commands
	return cause
}

// drained waits: tests end it themselves.
var drained = time.Sleep

// tell tells systemd.
func (s *server) tell(state string) {
	if err := notify(state); err != nil {
		s.logger.Error("systemd was not told", "error", err)
	}
}

// stop stops taking messages, then working. Whoever looks is told first.
func (s *server) stop(web *http.Server, drain bool) {
	s.ready.stopping.Store(true)
	s.tell(notifyStopping)
	s.logger.Info("stopping", "drain", s.drain.String())
	if drain {
		drained(s.drain)
	}
	s.closed.Store(true)
	quiet, end := context.WithTimeout(context.Background(), 10*time.Second)
	defer end()
	if err := web.Shutdown(quiet); err != nil {
		s.logger.Warn("some requests were not answered; their senders come again", "error", err)
	}
	s.engine.Stop()
}

// open opens all that is needed, listeners first: an address in use is told
// before anything happens.
func (s *server) open(ctx context.Context) error {
	site, integrations, err := s.load()
	if err != nil {
		return err
	}
	if len(integrations) == 0 {
		return usagef("no integration is active in %s", s.siteFile)
	}
	if s.listener, err = net.Listen("tcp", s.listen); err != nil {
		return err
	}
	o := s.storeOptions()
	var watch engine.Watch
	if err := s.listenForScrapes(); err != nil {
		return err
	}
	if s.scrapes != nil {
		s.metrics = metrics.New(version)
		o.Observe, watch = s.metrics.Commit, s.metrics.Watch()
	}
	if s.ledger, err = store.Open(ctx, s.databaseURL(), s.dataDir, o); err != nil {
		return err
	}
	if s.otlp != "" || os.Getenv(trace.EnvEndpoint) != "" {
		s.tracer, err = trace.New(ctx, trace.Options{Endpoint: s.otlp, Ratio: s.sample, Version: version, Salt: s.ledger.Mark("trace")})
		if err != nil {
			return &usageError{err}
		}
		watch = watch.Join(s.tracer.Watch())
	}
	watch = watch.Join(watchLog(s.logger))
	s.engine, err = engine.New(engine.Options{Ledger: s.ledger, Registry: s.reg, Site: site, Integrations: integrations, Concurrency: s.workers,
		Log: s.logger, Dispatcher: s.dispatcher(ctx, s.ledger), Watch: watch})
	if err != nil {
		return &usageError{err}
	}
	s.ready = &readiness{look: s.ledger.Ready, node: s.ledger.Node(), systems: s.engine.Systems, log: s.logger}
	if s.metrics != nil {
		s.metrics.Attach(s.engine, s.ledger, s.ready.err)
	}
	return nil
}

// listenForScrapes does without the usual address if another node of this
// machine has it.
func (s *server) listenForScrapes() (err error) {
	address := s.serveOptions.metrics
	if address == "" {
		return nil
	}
	if s.scrapes, err = net.Listen("tcp", address); err == nil {
		return nil
	}
	s.scrapes = nil
	if s.asked {
		return fmt.Errorf("listen for Prometheus (--metrics, empty for none): %w", err)
	}
	s.logger.Warn("there are no metrics: the usual address is in use; give another with --metrics", "address", address)
	return nil
}

// shut closes what open opened, as far as it came.
func (s *server) shut() {
	for _, l := range []net.Listener{s.listener, s.scrapes} {
		if l != nil {
			_ = l.Close() // mostly closed by its server
		}
	}
	if s.engine != nil {
		s.engine.Stop()
	}
	if s.ledger != nil {
		if err := s.ledger.Close(); err != nil && !errors.Is(err, context.Canceled) {
			s.logger.Error("the ledger was not closed well; it is repaired at the next start", "error", err)
		}
	}
	if s.tracer != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.tracer.Close(ctx); err != nil {
			s.logger.Warn("the last traces were not taken", "error", err)
		}
	}
}

// handler answers senders, and who asks how it goes.
func (s *server) handler() http.Handler {
	var in http.Handler = http.HandlerFunc(s.intake)
	if s.metrics != nil {
		in = s.metrics.Intake(in)
	}
	known := func(name string) bool { return s.engine.Systems[name] != nil }
	mux := http.NewServeMux()
	mux.Handle("/in/{system}", logged(s.logger, known, in))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /readyz", s.ready)
	return mux
}

// intake takes messages until the server stops: then senders are told to come
// again, to another node or later.
func (s *server) intake(w http.ResponseWriter, r *http.Request) {
	if s.ready.stopping.Load() {
		w.Header().Set("Connection", "close")
	}
	if s.closed.Load() {
		w.Header().Set("Retry-After", "5")
		http.Error(w, `{"error":"this node stops; send it again"}`, http.StatusServiceUnavailable)
		return
	}
	s.engine.Intake.ServeHTTP(w, r)
}

// local is what commands need of an engine of this process.
func local(e *engine.Engine) control.Local {
	return control.Local{Ledger: e.Ledger, Ring: e.Ring, Learned: e.Learned, Forgot: e.Forgot, Plan: e.Runner.Plan, Lists: e.Ask, Restored: e.Replay, Today: e.Today, ConfirmClock: e.ConfirmClock,
		KeepNow: func(ctx context.Context) (ledger.Kept, error) { return e.Keep(ctx, keepPace) }}
}
