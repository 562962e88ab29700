//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/lane/river"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/runner"
)

const (
	shipped   = "../../integrations/i05-commcare-openmrs-feed"
	ordersEnv = "KIUNGO_CHAOS_CHILD" // orders, as JSON: this process is a node
)

// orders say how a node is to run.
type orders struct {
	Site     string // folder of site.yaml
	Data     string // data folder
	Database string // "" for SQLite
	Lease    time.Duration
	Sweep    time.Duration // on PostgreSQL; 0: the usual
	Workers  int
	MinFree  int64
	// Strike kills the process at that point of a commit: two to each, before and
	// after, from 1. 0: never.
	Strike int64
	// Unshared commits do not wait for company, so that there are more of them.
	Unshared bool
	// Board: it polls the board, too.
	Board bool
	conditions
}

// conditions can be changed while a node runs, by POST /conditions.
type conditions struct {
	Clock bool          // the ledger goes by a clock that is Ahead of the machine's
	Ahead time.Duration // may be negative
	Delay time.Duration // commits take up to so much longer
	// FileLimit is the size at which writes to files fail; 0: none.
	FileLimit uint64
}

// node is the child: a whole Kiungo.
type node struct {
	orders
	now    atomic.Pointer[conditions]
	points atomic.Int64
	strike atomic.Int64 // Strike, until it is disarmed
	ledger *store.Store
	engine *engine.Engine
}

// child runs a node until it is told to stop, or its parent is gone.
func child(text string) error {
	n := &node{}
	if err := json.Unmarshal([]byte(text), &n.orders); err != nil {
		return err
	}
	n.now.Store(&n.conditions)
	n.strike.Store(n.Strike)
	signal.Ignore(syscall.SIGXFSZ) // the write fails, as on a full disk
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3) // the parent is gone
	}()
	if err := n.open(ctx); err != nil {
		return err
	}
	if err := n.engine.Start(ctx); err != nil {
		return err
	}
	err := n.serve(ctx)
	n.engine.Stop()
	return errors.Join(err, n.ledger.Close())
}

func (n *node) open(ctx context.Context) error {
	site, in, err := clinictest.LoadSite(n.Site, shipped, registry)
	if err != nil {
		return err
	}
	ins := []*flow.Integration{in}
	if n.Board {
		notices, problems := flow.Load(noticesFolder, registry, site)
		if err := problems.Err(); err != nil {
			return err
		}
		ins = append(ins, notices)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	o := store.Options{MinFree: n.MinFree, Lease: n.Lease, Fault: n.fault, Log: func(text string) { log.Warn(text) }}
	if n.Clock {
		o.Clock = func() time.Time { return time.Now().Add(n.now.Load().Ahead) }
	}
	if n.Unshared {
		o.Gather = -1
	}
	if n.ledger, err = store.Open(ctx, n.Database, n.Data, o); err != nil {
		return err
	}
	eo := engine.Options{Ledger: n.ledger, Registry: registry, Site: site, Integrations: ins, Concurrency: n.Workers, NoPolls: !n.Board, Log: log,
		Probe: 50 * time.Millisecond, Soon: 5 * time.Millisecond, Grace: 5 * time.Second,
		Policy: runner.Policy{First: 20 * time.Millisecond, Most: 300 * time.Millisecond}}
	if n.Database != "" {
		eo.Dispatcher = func(run lane.Run, o lane.Options) (engine.Dispatcher, error) {
			o.Sweep = n.Sweep
			return river.New(ctx, n.ledger, run, river.Options{Options: o, Database: n.Database})
		}
	}
	n.engine, err = engine.New(eo)
	return err
}

// fault stands in every commit.
func (n *node) fault(point string) error {
	if n.points.Add(1) == n.strike.Load() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if d := n.now.Load().Delay; d > 0 && point == "before commit" {
		time.Sleep(rand.N(d))
	}
	return nil
}

func (n *node) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("/in/{system}", n.engine.Intake)
	mux.HandleFunc("GET /deliveries", func(w http.ResponseWriter, r *http.Request) { clinictest.ServeDeliveries(w, r, n.ledger) })
	mux.HandleFunc("POST /retry/{id}", n.retry)
	mux.HandleFunc("POST /poll", tell(func(ctx context.Context) error { return n.engine.Poll(ctx, boardName, "notices") }))
	mux.HandleFunc("POST /fetch", tell(n.fetch))
	mux.HandleFunc("GET /questions", n.questions)
	mux.HandleFunc("POST /answer/{id}/{answer}", n.answer)
	mux.HandleFunc("GET /points", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n.points.Load()) })
	mux.HandleFunc("POST /disarm", func(http.ResponseWriter, *http.Request) { n.strike.Store(0) })
	mux.HandleFunc("GET /today", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := n.engine.Today(); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("POST /conditions", func(w http.ResponseWriter, r *http.Request) {
		c := &conditions{}
		if err := json.NewDecoder(r.Body).Decode(c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n.now.Store(c)
		if err := limitFiles(c.FileLimit); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// The address appears whole or not at all.
	address := filepath.Join(n.Site, "address")
	if err := os.WriteFile(address+".new", []byte("http://"+listener.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(address+".new", address); err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(listener) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	quiet, end := context.WithTimeout(context.Background(), 10*time.Second)
	defer end()
	return server.Shutdown(quiet)
}

// limitFiles has writes beyond a size fail.
func limitFiles(size uint64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	if size > 0 {
		l.Cur = size
	}
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l)
}

func (n *node) retry(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	var due int64
	if err == nil {
		due, err = n.ledger.Retry(r.Context(), id, "chaos", "")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	n.engine.Ring(due)
	fmt.Fprintln(w, "rung")
}

// tell makes a handler of what a node is told to do.
func tell(f func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := f(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// fetch asks for the board's list, as an operator does, and reads it.
func (n *node) fetch(ctx context.Context) error {
	if _, err := n.engine.Ask(ctx, "roster-to-phones", boardName, ""); err != nil {
		return err
	}
	return n.engine.Fetch(ctx, "roster-to-phones", boardName)
}

func (n *node) questions(w http.ResponseWriter, r *http.Request) {
	list, err := n.ledger.Questions(r.Context(), "open", 0, 1000)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(list)
}

func (n *node) answer(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	var due int64
	if err == nil {
		due, err = n.ledger.Answer(r.Context(), id, r.PathValue("answer"), "chaos")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	n.engine.Ring(due)
}
