package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// How deliveries are listed: each statement goes by an index or by the key
// within bounds, whatever the ledger's size; the rows of several are merged.
const (
	listFrom = `SELECT ` + deliveryCols + ` FROM delivery d JOIN message m ON m.id = d.message WHERE d.id < ?`
	listEnd  = ` ORDER BY d.id DESC LIMIT ?`

	qListAll     = listFrom + listEnd
	qListMessage = listFrom + ` AND d.message = ?` + listEnd
	qListCause   = listFrom + ` AND d.cause = ? AND d.cause <> '' AND d.state = ?` + listEnd
	qListOpen    = listFrom + ` AND d.ended = 0 AND d.flow = ? AND d.state = ?` + listEnd
	qListBlock   = listFrom + ` AND d.id >= ?` + listEnd
	qListLane    = listFrom + ` AND d.lane = ?` + listEnd
	qLed         = `WITH RECURSIVE led(id) AS (SELECT CAST(? AS BIGINT) UNION SELECT l.id FROM lane l JOIN led ON l.alias = led.id WHERE l.alias <> 0) SELECT id FROM led`
)

var (
	openStates  = []ledger.State{ledger.Received, ledger.Planning, ledger.Applying, ledger.Undoing, ledger.Waiting, ledger.Held, ledger.HalfUndone}
	endedStates = []ledger.State{ledger.Done, ledger.Skipped, ledger.Superseded, ledger.Refused, ledger.Undone}
)

// listing gathers the deliveries of a filter, newest first.
type listed struct {
	s     *Store
	f     ledger.Filter
	below int64
	limit int64
	rows  []workRow
}

// Deliveries lists deliveries, newest first. What is rare is found as fast as
// what is not; see zone.
func (s *Store) Deliveries(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error) {
	for _, st := range f.States {
		if !slices.Contains(openStates, st) && !slices.Contains(endedStates, st) {
			return nil, fmt.Errorf("%q is no state of a delivery: %w", st, ledger.ErrState)
		}
	}
	l := &listed{s: s, f: f, below: below(f.After), limit: limited(f.Limit, 50, 1000)}
	if err := l.gather(ctx); err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return s.openAll(l.newest())
}

func (l *listed) gather(ctx context.Context) error {
	f := l.f
	one := func(q string, args ...any) error {
		return l.s.read(ctx, func(c conn) error { return l.page(c, q, l.below, args...) })
	}
	switch {
	case f.Message != 0:
		return one(qListMessage, f.Message)
	case f.Cause != "":
		return l.s.readAll(ctx, func(c conn) error {
			for _, st := range l.of(slices.Concat(openStates, endedStates)) {
				if err := l.page(c, qListCause, l.below, f.Cause, string(st)); err != nil {
					return err
				}
			}
			return nil
		})
	case len(f.States) == 0 && f.Flow == "" && f.System == "":
		return one(qListAll)
	case len(f.States) == 0:
		return l.blocks(ctx)
	}
	// Those that are open first: one that ends meanwhile is then seen twice, not missed.
	if open := l.of(openStates); len(open) > 0 {
		if err := l.open(ctx, open); err != nil {
			return err
		}
	}
	if len(l.of(endedStates)) > 0 {
		return l.blocks(ctx)
	}
	return nil
}

// of gives those of some states that the filter takes.
func (l *listed) of(states []ledger.State) (out []ledger.State) {
	for _, st := range states {
		if len(l.f.States) == 0 || slices.Contains(l.f.States, st) {
			out = append(out, st)
		}
	}
	return out
}

// takes tells whether the filter takes deliveries of a flow and source.
func (l *listed) takes(n zoneName) bool {
	return (l.f.Flow == "" || l.f.Flow == n.flow) && (l.f.System == "" || l.f.System == n.what)
}

// open lists open deliveries by the index of those, of one commit: one that goes
// from state to state meanwhile is not missed.
func (l *listed) open(ctx context.Context, states []ledger.State) error {
	return l.s.readAll(ctx, func(c conn) error {
		names, err := zoneNames(c, zoneFrom, l.takes)
		if err != nil {
			return err
		}
		flows := make([]string, 0, len(names))
		for _, n := range names {
			flows = append(flows, n.flow)
		}
		for _, flow := range slices.Compact(flows) {
			for _, st := range states {
				if err := l.page(c, qListOpen, l.below, flow, string(st)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// blocks lists what is in the blocks that may have it, downwards; each step is
// a read of its own.
func (l *listed) blocks(ctx context.Context) error {
	var all []*blocks
	err := l.s.read(ctx, func(c conn) error {
		all = nil
		names, err := zoneNames(c, zoneFrom, l.takes)
		if err != nil {
			return err
		}
		if l.f.System != "" || len(l.f.States) == 0 {
			all = append(all, newBlocks(zoneFrom, names))
		}
		if len(l.f.States) > 0 {
			ends, err := zoneNames(c, zoneEnd, func(n zoneName) bool {
				return (l.f.Flow == "" || l.f.Flow == n.flow) && slices.Contains(l.f.States, ledger.State(n.what))
			})
			if err != nil {
				return err
			}
			all = append(all, newBlocks(zoneEnd, ends))
		}
		return nil
	})
	if err != nil {
		return err
	}
	before := len(l.rows)
	at := (l.below - 1) / zoneSize
	for at >= 0 && int64(len(l.rows)-before) < l.limit {
		err := l.s.read(ctx, func(c conn) (err error) {
			if at, err = common(c, at, all); err != nil || at < 0 {
				return err
			}
			return l.page(c, qListBlock, min(l.below, (at+1)*zoneSize), at*zoneSize)
		})
		if err != nil {
			return err
		}
		at--
	}
	return nil
}

// page reads at most limit rows below a number by a statement, and whatever
// else the filter asks for.
func (l *listed) page(c conn, q string, below int64, args ...any) error {
	q, args = l.statement(q, below, args)
	return c.each(q, func(r row) (bool, error) {
		l.rows = append(l.rows, scanDelivery(r))
		return true, nil
	}, args...)
}

// statement adds the rest of the filter to a statement.
func (l *listed) statement(q string, below int64, more []any) (string, []any) {
	head := strings.TrimSuffix(q, listEnd)
	args := append([]any{below}, more...)
	if len(l.f.States) > 0 && q != qListOpen && q != qListCause {
		var names []string
		for _, st := range l.of(slices.Concat(openStates, endedStates)) {
			names = append(names, "'"+string(st)+"'")
		}
		head += ` AND d.state IN (` + strings.Join(names, ", ") + `)`
	}
	for _, f := range []struct{ col, val string }{{"d.flow", l.f.Flow}, {"m.system", l.f.System}, {"d.cause", l.f.Cause}} {
		if f.val != "" {
			head += ` AND ` + f.col + ` = ?`
			args = append(args, f.val)
		}
	}
	return head + listEnd, append(args, l.limit)
}

// newest gives the newest of what was read, each once.
func (l *listed) newest() []workRow {
	slices.SortStableFunc(l.rows, func(a, b workRow) int { return cmp.Compare(b.d.ID, a.d.ID) })
	l.rows = slices.CompactFunc(l.rows, func(a, b workRow) bool { return a.d.ID == b.d.ID })
	return l.rows[:min(int64(len(l.rows)), l.limit)]
}

// openAll opens the seals of deliveries.
func (s *Store) openAll(rows []workRow) ([]ledger.Delivery, error) {
	out := make([]ledger.Delivery, len(rows))
	for i := range rows {
		var err error
		if out[i], err = rows[i].delivery(s.ring.Box(rows[i].salt)); err != nil {
			return nil, fmt.Errorf("delivery %d: %w", rows[i].d.ID, err)
		}
	}
	return out, nil
}

// OfLane lists the deliveries of a lane, newest first; see ledger.Ledger. Of
// documents whose deliveries are in the archive the newest are among them.
func (s *Store) OfLane(ctx context.Context, key string, after int64, limit int) ([]ledger.Delivery, error) {
	lane, err := s.laneNamed(ctx, key)
	if err != nil || lane == nil {
		return nil, err
	}
	l := &listed{s: s, below: below(after), limit: limited(limit, 50, 1000)}
	var archived []routedRow
	err = s.readAll(ctx, func(c conn) error {
		l.rows, archived = nil, nil
		var led []int64
		if err := c.each(qLed, func(r row) (bool, error) {
			led = append(led, r.int(0))
			return true, nil
		}, lane.id); err != nil {
			return err
		}
		for _, id := range led {
			if err := l.page(c, qListLane, l.below, id); err != nil {
				return err
			}
			if err := c.each(qRoutedLane, func(r row) (bool, error) {
				archived = append(archived, scanRouted(r))
				return true, nil
			}, id, l.below, l.limit); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	out, err := s.openAll(l.newest())
	if err != nil {
		return nil, err
	}
	return s.withRouted(out, archived, l.limit)
}

// Messages lists messages, newest first, without their content.
func (s *Store) Messages(ctx context.Context, system string, after int64, limit int) ([]connector.Message, error) {
	n := limited(limit, 50, 1000)
	if system == "" {
		return s.messages(ctx, qMessages, false, below(after), n)
	}
	var out []connector.Message
	from := []*blocks{newBlocks(zoneSource, []zoneName{{what: system}})}
	for at := (below(after) - 1) / zoneSize; int64(len(out)) < n; at-- {
		err := s.read(ctx, func(c conn) (err error) {
			at, err = common(c, at, from)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read messages: %w", err)
		}
		if at < 0 {
			break
		}
		list, err := s.messages(ctx, qMessagesFrom, false, min(below(after), upTo(at)), at*zoneSize, system, n-int64(len(out)))
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// upTo is the end of a block.
func upTo(block int64) int64 {
	if block >= math.MaxInt64/zoneSize {
		return math.MaxInt64
	}
	return (block + 1) * zoneSize
}
