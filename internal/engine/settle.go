package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// enough tries of a delivery to call it quiet although it will try again.
const enoughTries = 8

// Settle waits until nothing moves by itself any more: every delivery has
// ended, is held, waits for something outside, or has tried many times.
func (e *Engine) Settle(ctx context.Context, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		moving, err := e.moving(ctx)
		if err != nil {
			return err
		}
		if moving == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("delivery %d (%s) does not settle: it is %s after %s (try %d, due in %s): %s", moving.ID, moving.Flow, moving.State, patience,
				moving.Attempts, moving.Due.Sub(e.Ledger.Now()).Round(time.Millisecond), moving.Reason)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

var movingStates = []ledger.State{ledger.Received, ledger.Planning, ledger.Applying, ledger.Undoing, ledger.Waiting}

// moving gives a delivery that still moves, or nil. Deliveries behind a held
// or blocked one of their lane do not move.
func (e *Engine) moving(ctx context.Context) (*ledger.Delivery, error) {
	list, err := e.Ledger.Deliveries(ctx, ledger.Filter{States: movingStates, Limit: 1000})
	if err != nil {
		return nil, err
	}
	stuck, err := e.stuckLanes(ctx, list)
	if err != nil {
		return nil, err
	}
	for i, d := range list {
		switch {
		case d.BlockedOn == ledger.BlockCircuit:
			if port, ok := e.Systems[d.BlockedBy]; ok {
				if open, _ := port.Open(); open {
					continue
				}
			}
			return &list[i], nil
		case d.BlockedOn != "" && d.BlockedOn != ledger.BlockClaim, d.Attempts >= enoughTries && d.State != ledger.Received, stuck[d.Lane] && (d.State == ledger.Received || d.State == ledger.Waiting && !d.Due.After(e.Ledger.Now())):
			continue
		}
		return &list[i], nil
	}
	return nil, nil
}

func (e *Engine) stuckLanes(ctx context.Context, list []ledger.Delivery) (map[int64]bool, error) {
	stuck := map[int64]bool{}
	for _, d := range list {
		if d.BlockedOn != "" || d.Attempts >= enoughTries {
			stuck[d.Lane] = true
		}
	}
	held, err := e.Ledger.Deliveries(ctx, ledger.Filter{States: []ledger.State{ledger.Held, ledger.HalfUndone}, Limit: 1000})
	if err != nil {
		return nil, err
	}
	for _, d := range held {
		stuck[d.Lane] = true
	}
	return stuck, nil
}
