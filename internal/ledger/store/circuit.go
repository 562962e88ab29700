package store

import (
	"context"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// What belongs to a system and not to a node: whether it is down, which
// deliveries have met it down, who probes it next (law 27).

const (
	qFailing      = `SELECT DISTINCT system FROM circuit_lane ORDER BY system`
	qFailed       = `INSERT INTO circuit_lane (system, lane, at) VALUES (?, ?, ?) ON CONFLICT (system, lane) DO NOTHING`
	qFailedLanes  = `SELECT COUNT(*) FROM circuit_lane WHERE system = ?`
	qNotFailing   = `DELETE FROM circuit_lane WHERE system = ?`
	qOpenCircuit  = `INSERT INTO circuit (system, state, since, retry, failures, reason, login) VALUES (?, 'open', ?, ?, 0, ?, ?) ON CONFLICT (system) DO UPDATE SET state = excluded.state, since = excluded.since, retry = excluded.retry, failures = 0, reason = excluded.reason, login = excluded.login WHERE circuit.state <> 'open'`
	qProbed       = `UPDATE circuit SET failures = ?, retry = ?, reason = ? WHERE system = ? AND state = 'open' AND since = ?`
	qCloseCircuit = `UPDATE circuit SET state = 'closed', since = ?, retry = 0, failures = 0, reason = '', login = 0 WHERE system = ? AND state <> 'closed'`
	qLiveNodes    = `SELECT COUNT(*) FROM node WHERE stopped = 0 AND heartbeat + lease >= ?`
	qTaught       = `SELECT COUNT(*), COALESCE(MAX(at), 0) FROM lesson`
)

// Common reads what the nodes of this ledger know together.
func (s *Store) Common(ctx context.Context) (out ledger.Common, err error) {
	err = s.read(ctx, func(c conn) error {
		out = ledger.Common{}
		return c.every(
			all(qCircuits, func(r row) { out.Circuits = append(out.Circuits, scanCircuit(r)) }),
			all(qFailing, func(r row) { out.Failing = append(out.Failing, r.text(0)) }),
			first(qLiveNodes, func(r row) { out.Nodes = int(r.int(0)) }, s.nowMicro()),
			first(qTaught, func(r row) { out.Taught = fmt.Sprintf("%d, last at %d", r.int(0), r.int(1)) }))
	})
	out.Nodes = max(out.Nodes, 1) // this one
	if err != nil {
		return out, fmt.Errorf("read what the nodes know together: %w", err)
	}
	return out, nil
}

// NoteFailure notes that a delivery of a lane met a system down, and gives how
// many lanes did since its last success.
func (s *Store) NoteFailure(ctx context.Context, system string, lane int64) (lanesSoFar int, err error) {
	return do(ctx, s, lanes, func(t *tx) (int, error) {
		if err := t.must(qFailed, system, lane, t.now); err != nil {
			return 0, err
		}
		n := 0
		_, err := one(t, qFailedLanes, func(r row) { n = int(r.int(0)) }, system)
		return n, err
	})
}

// ForgetFailures: the system has answered.
func (s *Store) ForgetFailures(ctx context.Context, system string) error {
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) { return struct{}{}, t.must(qNotFailing, system) })
	return err
}

// OpenCircuit opens a system's circuit for all nodes, unless it is open
// already: then the first to open it is right, and its probes go on.
func (s *Store) OpenCircuit(ctx context.Context, c ledger.Circuit) (opened bool, err error) {
	return do(ctx, s, lanes, func(t *tx) (bool, error) {
		n, err := t.exec(qOpenCircuit, c.System, micro(c.Since), micro(c.Retry), c.Reason, flag(c.Login))
		if err != nil {
			return false, err
		}
		return n > 0, t.must(qNotFailing, c.System)
	})
}

// Probed stores what a failed probe of an open circuit found, and when the next
// may be made: whoever makes it. Since tells that it is still the same outage.
func (s *Store) Probed(ctx context.Context, c ledger.Circuit) error {
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		return struct{}{}, t.must(qProbed, int64(c.Failures), micro(c.Retry), c.Reason, c.System, micro(c.Since))
	})
	return err
}

// CloseCircuit closes a system's circuit for all nodes.
func (s *Store) CloseCircuit(ctx context.Context, system string) (closed bool, err error) {
	return do(ctx, s, lanes, func(t *tx) (bool, error) {
		n, err := t.exec(qCloseCircuit, t.now, system)
		if err != nil {
			return false, err
		}
		return n > 0, t.must(qNotFailing, system)
	})
}

func scanCircuit(r row) ledger.Circuit {
	return ledger.Circuit{System: r.text(0), State: r.text(1), Since: fromMicro(r.int(2)), Retry: fromMicro(r.int(3)), Failures: int(r.int(4)), Reason: r.text(5), Login: r.int(6) != 0}
}
