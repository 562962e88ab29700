package control

import (
	"context"
	"fmt"
	"net/http"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Restored is what is asked and ordered about systems that were restored from a
// backup.
type Restored interface {
	// Stops lists the systems to which nothing is sent until a person says so.
	Stops(ctx context.Context) ([]ledger.Stopped, error)
	// Replay looks for what a system lost, and puts it back.
	Replay(ctx context.Context, o ledger.ReplayOrder) (*ledger.ReplayReport, error)
}

// Stops lists the systems that are stopped.
func (l Local) Stops(ctx context.Context) ([]ledger.Stopped, error) {
	led, ok := l.Ledger.(ledger.Replayer)
	if !ok {
		return nil, nil
	}
	return led.Stops(ctx)
}

// Replay looks for what a system lost, and puts it back.
func (l Local) Replay(ctx context.Context, o ledger.ReplayOrder) (*ledger.ReplayReport, error) {
	if l.Restored == nil {
		return nil, errNoEngine
	}
	return l.Restored(ctx, o)
}

func handleRestored(mux *http.ServeMux, s Restored) {
	on(mux, "stops", func(ctx context.Context, _ struct{}) (any, error) { return s.Stops(ctx) })
	on(mux, "replay", func(ctx context.Context, o ledger.ReplayOrder) (any, error) { return s.Replay(ctx, o) })
}

// Stops lists the systems that are stopped.
func (c Remote) Stops(ctx context.Context) (out []ledger.Stopped, err error) {
	err = c.desk(ctx, "stops", struct{}{}, &out)
	return out, err
}

// Replay has the running server put back what a system lost; that may take
// hours, and goes on only as long as it is waited for.
func (c Remote) Replay(ctx context.Context, o ledger.ReplayOrder) (*ledger.ReplayReport, error) {
	patient := *c.client
	patient.Timeout = 0
	var out ledger.ReplayReport
	if err := (Remote{&patient}).desk(ctx, "replay", o, &out); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return &out, nil
}
