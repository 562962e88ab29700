package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/lane/river"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/runner"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// nodeConfig is what a node of the demo is told: in a file, because it holds
// the database's URL.
type nodeConfig struct {
	Integrations string
	Keys         string // the keyring that all nodes have a copy of
	Lease        time.Duration
	Workers      int
	Worlds       []worldConfig
}

type worldConfig struct{ ID, Site, Database, Dir string }

// ready is what a node prints once it works.
type ready struct {
	Address string `json:"address"`
}

// engineOptions are those of every engine of the demo: short pauses, so that one
// sees what happens.
func engineOptions(reg connector.Registry, log *slog.Logger) engine.Options {
	return engine.Options{Registry: reg, Log: log, Probe: 200 * time.Millisecond,
		Policy: runner.Policy{First: 200 * time.Millisecond, Most: 2 * time.Second}}
}

// RunNode is a node of a demo: a process of its own that does what kiungo serve
// does, for all the demo's worlds. It runs until ctx ends, or the demo does,
// which holds the other end of in.
func RunNode(ctx context.Context, reg connector.Registry, log *slog.Logger, file string, number int, in io.Reader, out io.Writer) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c nodeConfig
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("read what the demo says: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	ring, err := seal.Load(c.Keys)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for _, w := range c.Worlds {
		stop, h, err := nodeWorld(ctx, reg, log.With("world", w.ID, "node", number), &c, w, ring, number)
		if err != nil {
			return fmt.Errorf("%s: %w", w.ID, err)
		}
		defer stop()
		mux.Handle("/"+w.ID+"/in/{system}", h)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if err := json.NewEncoder(out).Encode(ready{"http://" + l.Addr().String()}); err != nil {
		return err
	}
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	return errors.Join(err, server.Close())
}

// nodeWorld runs one world's engine on a node.
func nodeWorld(ctx context.Context, reg connector.Registry, log *slog.Logger, c *nodeConfig, w worldConfig, ring *seal.Ring, number int) (stop func(), h http.Handler, err error) {
	site, problems := flow.LoadSite(w.Site, reg)
	if err := problems.Err(); err != nil {
		return nil, nil, err
	}
	active, problems := flow.LoadAll(c.Integrations, reg, site)
	if err := problems.Err(); err != nil {
		return nil, nil, err
	}
	l, err := store.Open(ctx, w.Database, filepath.Join(w.Dir, fmt.Sprintf("node-%d", number)), store.Options{Ring: ring, Lease: c.Lease, Log: func(s string) { log.Warn(s) }})
	if err != nil {
		return nil, nil, err
	}
	o := engineOptions(reg, log)
	o.Ledger, o.Site, o.Integrations, o.Concurrency = l, site, active, c.Workers
	o.Dispatcher = func(run lane.Run, lo lane.Options) (engine.Dispatcher, error) {
		return river.New(ctx, l, run, river.Options{Options: lo, Database: w.Database})
	}
	e, err := engine.New(o)
	if err == nil {
		err = e.Start(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return func() {
		e.Stop()
		_ = l.Close() // the others see that it is gone
	}, e.Intake, nil
}
