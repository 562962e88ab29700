package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// readiness tells load balancers and people whether this node takes messages
// and works on them.
type readiness struct {
	look     func(context.Context) error // asks the ledger
	node     int64
	systems  map[string]*system.Port
	log      *slog.Logger
	stopping atomic.Bool

	mu    sync.Mutex
	until time.Time // what was found is good until then
	found string
}

// Reasons for not being ready, as they are answered. What is behind them is in
// the log: an answer to the network names no folder and no database.
const (
	reasonStopping = "stopping"
	reasonFull     = "the disk is below its floor, or the ledger is behind"
	reasonLease    = "the database was not reached for the length of the lease"
	reasonClosed   = "the ledger is closed"
	reasonSilent   = "the ledger does not answer"
)

const (
	readyFor    = time.Second     // how long an answer is good
	readyWithin = 3 * time.Second // how long the ledger may think about it
)

// reason gives why the node is not ready, "" if it is.
func (r *readiness) reason(ctx context.Context) string {
	if r.stopping.Load() {
		return reasonStopping
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		return r.found
	}
	// One that hangs up must not make the others unready.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWithin)
	defer cancel()
	err := r.look(ctx)
	why := ""
	switch {
	case err == nil:
	case errors.Is(err, ledger.ErrFull):
		why = reasonFull
	case errors.Is(err, ledger.ErrFenced):
		why = reasonLease
	case errors.Is(err, ledger.ErrClosed):
		why = reasonClosed
	default:
		why = reasonSilent
	}
	if why != r.found {
		if err != nil {
			r.log.Error("not ready", "reason", why, "error", err)
		} else {
			r.log.Info("ready again")
		}
	}
	r.found, r.until = why, time.Now().Add(readyFor)
	return why
}

// err is reason as an error.
func (r *readiness) err(ctx context.Context) error {
	if why := r.reason(ctx); why != "" {
		return errors.New(why)
	}
	return nil
}

// readyReply is what /readyz?verbose answers.
type readyReply struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	Node   int64  `json:"node"`
	// Down are the systems that are taken for down: their deliveries wait, and
	// the node is ready all the same.
	Down    []string `json:"systems_down,omitempty"`
	Version string   `json:"version"`
}

// ServeHTTP answers 200, or 503 with the reason.
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	why := r.reason(req.Context())
	code := http.StatusOK
	if why != "" {
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	if !req.URL.Query().Has("verbose") {
		w.WriteHeader(code)
		if why == "" {
			why = "ready"
		}
		fmt.Fprintln(w, why)
		return
	}
	reply := readyReply{Ready: why == "", Reason: why, Node: r.node, Version: version}
	for _, name := range slices.Sorted(maps.Keys(r.systems)) {
		if open, _ := r.systems[name].Open(); open {
			reply.Down = append(reply.Down, name)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(reply)
}
