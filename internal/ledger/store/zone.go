package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// A zone remembers that a block of numbers has, or had, a delivery of a flow
// from a system, one of a flow that ended so, or a message of a system. A
// listing for something rare then reads the blocks that may have it, and none
// of the others; an index over all deliveries would cost every one of them a
// row, this costs one row for thousands.
const (
	zoneFrom   = "from"   // deliveries: flow and source
	zoneEnd    = "end"    // deliveries: flow and state they ended in
	zoneSource = "source" // messages: source
)

const (
	// zoneSize is how many numbers a block has; migration 0007 knows it too.
	zoneSize = 4096
	// mostZones bounds what is remembered of rows that are there.
	mostZones = 10_000
)

const (
	qAddZone     = `INSERT INTO zone (kind, flow, what, block) VALUES (?, ?, ?, ?) ON CONFLICT (kind, flow, what, block) DO NOTHING`
	qAddZoneName = `INSERT INTO zone_name (kind, flow, what) VALUES (?, ?, ?) ON CONFLICT (kind, flow, what) DO NOTHING`
	qZoneNames   = `SELECT flow, what FROM zone_name WHERE kind = ? ORDER BY flow, what`
	qZoneBelow   = `SELECT block FROM zone WHERE kind = ? AND flow = ? AND what = ? AND block <= ? ORDER BY block DESC LIMIT 1`
)

type zone struct {
	kind, flow, what string
	block            int64
}

// zones remembers which zones are in the table.
type zones struct {
	mu    sync.Mutex
	known map[zone]struct{}
}

func (z *zones) has(k zone) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	_, ok := z.known[k]
	return ok
}

func (z *zones) learn(all []zone) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.known == nil || len(z.known) > mostZones {
		z.known = map[zone]struct{}{}
	}
	for _, k := range all {
		z.known[k] = struct{}{}
	}
}

// zone notes that a number is of a kind.
func (t *tx) zone(kind, flow, what string, id int64) {
	k := zone{kind, flow, what, id / zoneSize}
	if t.s.zones.has(k) {
		return
	}
	if t.zones == nil {
		t.zones = map[zone]struct{}{}
	}
	t.zones[k] = struct{}{}
}

// writeZones writes the new ones, in one order in all transactions.
func (t *tx) writeZones() error {
	if len(t.zones) == 0 {
		return nil
	}
	all := slices.SortedFunc(maps.Keys(t.zones), func(a, b zone) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.flow, b.flow), cmp.Compare(a.what, b.what), cmp.Compare(a.block, b.block))
	})
	for _, k := range all {
		if err := t.must(qAddZoneName, k.kind, k.flow, k.what); err != nil {
			return err
		}
		if err := t.must(qAddZone, k.kind, k.flow, k.what, k.block); err != nil {
			return err
		}
	}
	t.then(func() { t.s.zones.learn(all) })
	return nil
}

// zoneName is a flow with a source, or with a state.
type zoneName struct{ flow, what string }

// zoneNames lists the names of a kind that a filter takes.
func zoneNames(c conn, kind string, takes func(zoneName) bool) (out []zoneName, err error) {
	err = c.each(qZoneNames, func(r row) (bool, error) {
		if n := (zoneName{r.text(0), r.text(1)}); takes(n) {
			out = append(out, n)
		}
		return true, nil
	}, kind)
	return out, err
}

// blocks goes down the blocks of some names.
type blocks struct {
	kind  string
	names []zoneName
	at    []int64 // of each name: its highest block not above the last asked; -1: none
}

func newBlocks(kind string, names []zoneName) *blocks {
	b := &blocks{kind: kind, names: names, at: make([]int64, len(names))}
	for i := range b.at {
		b.at[i] = 1 << 62
	}
	return b
}

// below gives the highest block not above one, -1 if there is none.
func (b *blocks) below(c conn, block int64) (int64, error) {
	best := int64(-1)
	for i, n := range b.names {
		if b.at[i] > block {
			b.at[i] = -1
			if _, err := one(c, qZoneBelow, func(r row) { b.at[i] = r.int(0) }, b.kind, n.flow, n.what, block); err != nil {
				return 0, err
			}
		}
		best = max(best, b.at[i])
	}
	return best, nil
}

// common gives the highest block not above one that all have, -1 for none.
func common(c conn, block int64, all []*blocks) (int64, error) {
	for block >= 0 {
		low := block
		for _, b := range all {
			at, err := b.below(c, low)
			if err != nil {
				return 0, err
			}
			low = at
			if low < 0 {
				return -1, nil
			}
		}
		if low == block {
			return block, nil
		}
		block = low
	}
	return -1, nil
}
