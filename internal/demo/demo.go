// Package demo runs the whole product on one machine: for each integration a
// world of its own, with simulators, a ledger and an engine; forms that flow at
// a steady rate with some faults switched on, and clerks who work meanwhile.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kiungo-health/kiungo/integrations"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
)

// Options of a demo.
type Options struct {
	Only     []string // ids of integrations: i05; empty: all
	Messages int      // forms for each integration that forms feed; default 200
	Rate     float64  // forms a second over all; default 60
	Dir      string   // of the ledgers; empty: a temporary one
	Faults   bool
	Seed     uint64
	Workers  int // over all worlds; default 32
	Registry connector.Registry
	Log      *slog.Logger
	// Watch is told what happens in every world.
	Watch engine.Watch

	// Nodes, if not 0, is how many processes run the worlds together, on ledgers
	// in the PostgreSQL of Database (postgres://…); one is killed on the way.
	Nodes    int
	Database string
	// Lease is how long a node may be silent before the others take its lanes;
	// default 5 s, so that one sees it: kiungo serve has 30 s.
	Lease time.Duration
	// Child is the command of a node: it is given a file's name and the node's
	// number, and is to call RunNode. Default: this program's "demo node".
	Child []string
	// Say is told what happens to the nodes; nil: nobody.
	Say func(text string)
}

// usualLease of the demo's nodes.
const usualLease = 5 * time.Second

// Demo is a running demo.
type Demo struct {
	Options
	Worlds    []*World
	Addresses [][2]string // what, where

	// Killed is what was seen of the node that was killed, nil if none was.
	Killed *TakenOver

	nodes   *nodes // nil: the worlds run in this process
	dir     string
	temp    bool
	servers []*http.Server
	began   time.Time
}

// Start makes every world and starts it; no form flows yet.
func Start(ctx context.Context, o Options) (*Demo, error) {
	if o.Messages <= 0 {
		o.Messages = 200
	}
	if o.Rate <= 0 {
		o.Rate = 60
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Workers <= 0 {
		o.Workers = 32
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lease <= 0 {
		o.Lease = usualLease
	}
	if o.Nodes == 1 {
		return nil, errors.New("one node has nobody to take over from it: let there be two or more")
	}
	d := &Demo{Options: o, dir: o.Dir}
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "kiungo-demo-")
		if err != nil {
			return nil, err
		}
		d.dir, d.temp = dir, true
	}
	if err := d.start(ctx); err != nil {
		d.Stop()
		return nil, err
	}
	return d, nil
}

func (d *Demo) start(ctx context.Context) error {
	if err := d.choose(); err != nil {
		return err
	}
	folder := filepath.Join(d.dir, "integrations")
	if err := integrations.Unpack(folder); err != nil {
		return err
	}
	if d.Nodes > 0 {
		var err error
		if d.nodes, err = d.newNodes(); err != nil {
			return err
		}
	}
	for _, w := range d.Worlds {
		if err := w.start(ctx, d, folder); err != nil {
			return fmt.Errorf("%s: %w", w.ID, err)
		}
	}
	if d.nodes == nil {
		return nil
	}
	return d.nodes.start(ctx, folder)
}

func (d *Demo) say(format string, args ...any) {
	if d.Say != nil {
		d.Say(fmt.Sprintf(format, args...))
	}
}

// choose makes the worlds that are asked for.
func (d *Demo) choose() error {
	for n, newWorld := range worlds {
		w := newWorld(d.Seed*100 + uint64(n))
		if len(d.Only) == 0 || slices.Contains(d.Only, w.ID) {
			d.Worlds = append(d.Worlds, w)
		}
	}
	var ids []string
	for _, newWorld := range worlds {
		ids = append(ids, newWorld(1).ID)
	}
	for _, id := range d.Only {
		if !slices.Contains(ids, id) {
			return fmt.Errorf("the demo has no integration %q; it has %v", id, ids)
		}
	}
	return nil
}

// listen serves a handler on a free port of this machine.
func (d *Demo) listen(what string, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	d.servers = append(d.servers, server)
	go func() { _ = server.Serve(l) }()
	address := "http://" + l.Addr().String()
	d.Addresses = append(d.Addresses, [2]string{what, address})
	return address, nil
}

// Dir is the folder of the demo; each world's site and ledger are below it.
func (d *Demo) Dir() string { return d.dir }

// Stop stops everything, and removes temporary ledgers.
func (d *Demo) Stop() {
	if d.nodes != nil {
		d.nodes.stop()
	}
	for _, w := range d.Worlds {
		w.stop()
	}
	for _, s := range slices.Backward(d.servers) {
		_ = s.Close()
	}
	for _, w := range d.Worlds {
		if w.Ledger != nil {
			_ = w.Ledger.Close()
		}
	}
	if d.nodes != nil {
		d.nodes.drop()
	}
	if d.temp {
		_ = os.RemoveAll(d.dir)
	}
}

// Total is how many turns the worlds take together: a turn is a form, or what
// is recorded for a report.
func (d *Demo) Total() int {
	n := 0
	for _, w := range d.Worlds {
		n += w.story.turns(d.Messages)
	}
	return n
}

// Feed lets the workers and the clerks of all worlds work, in turn, at the
// demo's rate; progress is told after each turn. Lists on a schedule are asked
// for once at the beginning and once at the end.
func (d *Demo) Feed(ctx context.Context, progress func(sent int)) error {
	d.began = time.Now()
	for _, w := range d.Worlds {
		if err := w.begin(ctx); err != nil {
			return fmt.Errorf("%s: begin: %w", w.ID, err)
		}
	}
	tick := time.NewTicker(time.Duration(float64(time.Second) / d.Rate))
	defer tick.Stop()
	killed := make(chan error, 1)
	sent := 0
	for n := 0; sent < d.Total(); n++ {
		for _, w := range d.Worlds {
			if n >= w.story.turns(d.Messages) {
				continue
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
			if err := w.story.turn(ctx, w, n); err != nil {
				return fmt.Errorf("%s: turn %d: %w", w.ID, n, err)
			}
			sent++
			if d.nodes != nil && sent == d.Total()/2 {
				go func() {
					var err error
					d.Killed, err = d.nodes.killOne(ctx)
					killed <- err
				}()
			}
			if progress != nil {
				progress(sent)
			}
		}
	}
	for _, w := range d.Worlds {
		if err := w.story.end(ctx, w); err != nil {
			return fmt.Errorf("%s: end: %w", w.ID, err)
		}
	}
	if d.nodes != nil {
		return <-killed
	}
	return nil
}

// Settle waits until everything that was sent has arrived and nothing moves by
// itself any more.
func (d *Demo) Settle(ctx context.Context, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	var failed []error
	for _, w := range d.Worlds {
		if err := w.settle(ctx, deadline); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", w.ID, err))
		}
	}
	return errors.Join(failed...)
}
