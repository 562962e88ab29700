package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// Poller polls one stream of one system: position and messages are committed
// together, chunk by chunk, compare-and-set (law 35).
type Poller struct {
	In     *Intake
	System *system.Port
	Stream connector.Stream
	// Now wakes it before its time.
	Now chan struct{}
}

// Run polls until ctx ends. A poll that fails is tried again at its next time,
// from the same position; it never skips.
func (p *Poller) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.Now:
		}
		if err := p.Once(ctx); err != nil && ctx.Err() == nil {
			p.In.log().Warn("a poll failed and will be tried again", "system", p.System.Name(), "stream", p.Stream.Name, "error", err)
		}
		timer.Reset(p.Stream.Every)
	}
}

// smallPoll is how many messages a poll of today's work brings at most, with all
// there is behind it. One that brings more catches up: the rest is bulk, and
// lets what comes meanwhile go first (law 27).
const smallPoll = 50

// Once polls all that there is now.
func (p *Poller) Once(ctx context.Context) error {
	source, ok := p.System.System.(connector.Poller)
	if !ok {
		return fmt.Errorf("%s cannot be polled", p.System.Name())
	}
	brought := 0
	for {
		position, err := p.In.Ledger.Position(ctx, p.System.Name(), p.Stream.Name)
		if err != nil {
			return err
		}
		batch, err := source.Poll(ctx, p.System.Reader(0), p.Stream.Name, position)
		if err != nil {
			return err
		}
		if batch.Lost != "" && p.In.Lost != nil {
			if err := p.In.Lost(ctx, p.System.Name(), batch.Lost); err != nil {
				return err
			}
		}
		brought += len(batch.Messages)
		advance := &ledger.Advance{System: p.System.Name(), Stream: p.Stream.Name, Old: position, New: batch.Position, Bulk: brought > smallPoll}
		_, err = p.In.Accept(ctx, p.System.Name(), batch.Messages, advance)
		if errors.Is(err, ledger.ErrMoved) {
			return nil // another poller was faster
		}
		if err != nil {
			return err
		}
		for _, text := range batch.Alarms {
			p.In.log().Error("a stream needs a look", "system", p.System.Name(), "stream", p.Stream.Name, "alarm", text)
			if err := p.In.Ledger.Audit(ctx, ledger.Audit{Who: "kiungo", Act: "alarm " + p.System.Name() + "/" + p.Stream.Name, Note: text}); err != nil {
				return err
			}
		}
		if !batch.More {
			return nil
		}
	}
}
