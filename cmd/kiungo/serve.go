package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/engine"
)

func (a *app) serveCmd() *cobra.Command {
	var listen string
	var workers int
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run: take messages in, and carry them to where they belong",
		Long: "Serve takes messages at http://LISTEN/in/SYSTEM, polls the sources that are polled,\n" +
			"and applies what the active integrations say. It is stopped with Ctrl-C; nothing is lost.\n" +
			"With --database, any number of nodes share the work; each has a data folder of its own,\n" +
			"with a copy of the first one's keyring.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			site, integrations, err := a.load()
			if err != nil {
				return err
			}
			if len(integrations) == 0 {
				return usagef("no integration is active in %s", a.siteFile)
			}
			ctx := cmd.Context()
			l, err := a.openLedger(ctx)
			if err != nil {
				return err
			}
			defer l.Close()
			e, err := engine.New(engine.Options{Ledger: l, Registry: a.reg, Site: site, Integrations: integrations, Concurrency: workers, Log: a.log(), Dispatcher: a.dispatcher(ctx, l)})
			if err != nil {
				return &usageError{err}
			}
			if err := e.Start(ctx); err != nil {
				return err
			}
			defer e.Stop()
			listener, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "kiungo takes messages at http://%s/in/SYSTEM; stop with Ctrl-C\n", listener.Addr())
			return serve(ctx, listener, a.dataDir, e, local(e))
		},
	}
	cmd.Flags().StringVar(&listen, "listen", env("KIUNGO_LISTEN", "127.0.0.1:8282"), "address for messages; put a TLS proxy before it")
	cmd.Flags().IntVar(&workers, "workers", 32, "deliveries worked on at a time")
	return cmd
}

// local is what commands need of an engine of this process.
func local(e *engine.Engine) control.Local {
	return control.Local{Ledger: e.Ledger, Ring: e.Ring, Learned: e.Learned, Forgot: e.Forgot, Plan: e.Runner.Plan, Lists: e.Ask}
}

// serve answers senders and commands until ctx ends.
func serve(ctx context.Context, listener net.Listener, dataDir string, e *engine.Engine, s control.Service) error {
	mux := http.NewServeMux()
	mux.Handle("/in/{system}", e.Intake)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	commands := make(chan struct{})
	go func() {
		defer close(commands)
		if err := control.Serve(ctx, dataDir, s); err != nil {
			cancel(fmt.Errorf("listen for commands: %w", err))
		}
	}()
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(listener) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	quiet, end := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer end()
	err := server.Shutdown(quiet)
	<-commands
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
