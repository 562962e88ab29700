package store

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

const (
	qNodes = `SELECT n.id, n.host, n.pid, n.version, n.started, n.heartbeat, n.lease, n.stopped, (SELECT COUNT(*) FROM lane l WHERE l.owner = n.id AND l.owner <> 0) FROM node n WHERE n.stopped = 0 ORDER BY n.id`
	// All lanes of one node; there are never more than it has workers.
	qHeld = `SELECT id, running FROM lane WHERE owner = ? AND owner <> 0 ORDER BY id`
)

// Nodes lists the processes that have this ledger open and have not stopped,
// those that were killed and not yet given up among them.
func (s *Store) Nodes(ctx context.Context) (out []ledger.Node, err error) {
	err = s.read(ctx, func(c conn) (err error) {
		out, err = nodesOf(c)
		return err
	})
	return out, err
}

func nodesOf(c conn) (out []ledger.Node, err error) {
	err = c.each(qNodes, func(r row) (bool, error) {
		out = append(out, ledger.Node{ID: r.int(0), Host: r.text(1), PID: r.int(2), Version: r.text(3), Started: fromMicro(r.int(4)),
			Heard: fromMicro(r.int(5)), Until: fromMicro(r.int(5) + r.int(6)), Stopped: r.int(7) != 0, Lanes: int(r.int(8))})
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return out, nil
}

// Held lists the lanes that a node runs.
func (s *Store) Held(ctx context.Context, node int64) (out []ledger.HeldLane, err error) {
	err = s.read(ctx, func(c conn) error {
		out = nil
		return c.each(qHeld, func(r row) (bool, error) {
			out = append(out, ledger.HeldLane{Lane: r.int(0), Delivery: r.int(1)})
			return true, nil
		}, node)
	})
	return out, err
}

// program is the version of this program, as others see it: a module's version,
// or the commit.
var program = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) > 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
})
