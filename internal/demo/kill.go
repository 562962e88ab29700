package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// TakenOver is what the demo saw of a node that it killed.
type TakenOver struct {
	Node     int     `json:"node"`
	PID      int     `json:"pid"`
	Lanes    int     `json:"lanes"`          // it ran when it was killed
	Freed    float64 `json:"freedSeconds"`   // until others were given them
	Ended    float64 `json:"carriedSeconds"` // until what it ran was carried to its end there, or waits for a person
	Restored bool    `json:"startedAgain"`
}

// crowd is what the demo asks a ledger of its nodes.
type crowd interface {
	Nodes(ctx context.Context) ([]ledger.Node, error)
	Held(ctx context.Context, node int64) ([]ledger.HeldLane, error)
}

// held is a lane that the killed node ran.
type held struct {
	w    *World
	node int64
	ledger.HeldLane
}

// most is how long the demo waits for something of a node.
const most = 2 * time.Minute

// killOne kills a node with SIGKILL in the middle of its work, sees its lanes
// taken over, and starts it again.
func (n *nodes) killOne(ctx context.Context) (*TakenOver, error) {
	p := n.list[len(n.list)-1]
	lanes, err := n.busy(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return nil, fmt.Errorf("kill node %d: %w", p.number, err)
	}
	began := time.Now()
	<-p.ended
	out := &TakenOver{Node: p.number, PID: p.cmd.Process.Pid}
	// What it held at its last breath: between the look and the kill it went on.
	if lanes, err = n.lanesOf(ctx, lanes[0].nodes()); err != nil {
		return nil, err
	}
	out.Lanes = len(lanes)
	n.d.say("node %d (process %d) is killed with SIGKILL in the middle of %d lanes", p.number, out.PID, out.Lanes)
	if err := n.wait(ctx, func() (bool, error) { return n.freed(ctx, lanes) }); err != nil {
		return nil, fmt.Errorf("the lanes of node %d: %w", p.number, err)
	}
	out.Freed = time.Since(began).Seconds()
	n.d.say("its lanes are given to the others %.1f s after the kill (the lease is %s)", out.Freed, n.d.Lease)
	if err := n.wait(ctx, func() (bool, error) { return n.carried(ctx, lanes) }); err != nil {
		return nil, fmt.Errorf("the deliveries of node %d: %w", p.number, err)
	}
	out.Ended = time.Since(began).Seconds()
	n.d.say("what it was doing is done by them %.1f s after the kill", out.Ended)
	again, err := n.launch(ctx, p.number)
	if err != nil {
		return nil, fmt.Errorf("start node %d again: %w", p.number, err)
	}
	out.Restored = true
	n.d.say("node %d is started again: process %d", again.number, again.cmd.Process.Pid)
	return out, nil
}

func (n *nodes) wait(ctx context.Context, done func() (bool, error)) error {
	for began := time.Now(); ; {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Since(began) > most {
			return errors.New("they are not taken over")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// at is a process as a world's ledger knows it.
type at struct {
	w    *World
	node int64
}

func (h held) nodes() at { return at{h.w, h.node} }

// busy waits until a node runs something, and gives that.
func (n *nodes) busy(ctx context.Context, p *process) (lanes []held, err error) {
	err = n.wait(ctx, func() (bool, error) {
		for _, w := range n.d.Worlds {
			list, err := w.Ledger.(crowd).Nodes(ctx)
			if err != nil {
				return false, err
			}
			for _, x := range list {
				if int(x.PID) != p.cmd.Process.Pid || x.Lanes == 0 {
					continue
				}
				lanes, err = n.lanesOf(ctx, at{w, x.ID})
				return len(lanes) > 0, err
			}
		}
		return false, nil
	})
	return lanes, err
}

func (n *nodes) lanesOf(ctx context.Context, of at) (out []held, err error) {
	list, err := of.w.Ledger.(crowd).Held(ctx, of.node)
	for _, x := range list {
		out = append(out, held{of.w, of.node, x})
	}
	return out, err
}

// freed tells whether a node has none of the lanes any more.
func (n *nodes) freed(ctx context.Context, lanes []held) (bool, error) {
	for _, l := range lanes {
		still, err := n.lanesOf(ctx, l.nodes())
		if err != nil || len(still) > 0 {
			return false, err
		}
	}
	return true, nil
}

// carried tells whether deliveries have ended, or wait for something else.
func (n *nodes) carried(ctx context.Context, lanes []held) (bool, error) {
	for _, l := range lanes {
		w, err := l.w.Ledger.Delivery(ctx, l.Delivery)
		if err != nil {
			return false, err
		}
		switch d := w.Delivery; {
		case d.State.Ended(), d.State == ledger.Held, d.State == ledger.HalfUndone, d.BlockedOn != "":
		default:
			return false, nil
		}
	}
	return true, nil
}
