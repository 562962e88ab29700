package store

import (
	"fmt"
	"slices"
)

// The statements that begin a transaction on PostgreSQL. They go in one round
// trip; each sees what the locks of those before it waited for.
const (
	pgNow = `CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)`

	qShare     = `SELECT pg_advisory_xact_lock_shared(?), ` + pgNow + `, txid_current()`
	qExclude   = `SELECT pg_advisory_xact_lock(?), ` + pgNow + `, txid_current()`
	qLockKeys  = `SELECT pg_advisory_xact_lock(k) FROM unnest(CAST(? AS BIGINT[])) AS k`
	qMakeLanes = `INSERT INTO lane (id, mac, name, due_at, gen, owner, epoch, running, alias, merging, recovering)
SELECT nextval('lane_number'), k.mac, k.name, NULL, 0, 0, 0, 0, 0, 0, 0 FROM unnest(CAST(? AS BYTEA[]), CAST(? AS BYTEA[])) AS k(mac, name)
WHERE NOT EXISTS (SELECT 1 FROM lane l WHERE l.mac = k.mac) ON CONFLICT (mac) DO NOTHING`
	qLockLanes = `SELECT ` + laneCols + ` FROM lane WHERE alias = 0 AND id = ANY(CAST(? AS BIGINT[])) ORDER BY id FOR UPDATE`
	qLockByMac = `SELECT ` + laneCols + ` FROM lane WHERE alias = 0 AND (mac = ANY(CAST(? AS BYTEA[])) OR id = ANY(CAST(? AS BIGINT[]))) ORDER BY id FOR UPDATE`
	// alias + 0 hides the condition from the index of aliases: PostgreSQL 15 took it
	// for free when no lane was an alias as the table was analysed, and walked
	// through all there were later.
	qAliasLanes  = `SELECT id, mac, alias FROM lane WHERE alias + 0 <> 0 AND id = ANY(CAST(? AS BIGINT[]))`
	qAliasByMac  = `SELECT id, mac, alias FROM lane WHERE alias + 0 <> 0 AND (mac = ANY(CAST(? AS BYTEA[])) OR id = ANY(CAST(? AS BIGINT[])))`
	qFences      = `SELECT ` + laneCols + ` FROM lane WHERE id = ANY(CAST(? AS BIGINT[]))`
	qDrawSeqs    = `SELECT nextval('receive_number') FROM generate_series(1, CAST(? AS BIGINT))`
	qAllVersions = `SELECT doc, mac, message FROM version WHERE doc = ANY(CAST(? AS BYTEA[])) ORDER BY seq, message`
)

// mostTries is how often a transaction begins again because a lane it needs is
// an alias of one that it had not locked.
const mostTries = 4

// begin begins a transaction. A shared one has then locked what its units need.
func (w *pgWriter) begin(alone bool, n need) (*tx, error) {
	t := &tx{conn: w.c, s: w.s, alone: alone, shard: w.shard}
	if alone {
		return t, w.open(t, qExclude)
	}
	macs, names := make([][]byte, len(n.lanes)), make([][]byte, len(n.lanes))
	for i, k := range n.lanes {
		macs[i], names[i] = k.mac, k.name
	}
	for range mostTries {
		t.shared = newShared()
		ids := w.s.pg.aliases.hints(macs, n.ids)
		if err := w.open(t, qShare, prelude(t.shared, n, macs, names, ids)...); err != nil {
			return nil, err
		}
		w.s.pg.aliases.learn(t.shared)
		if t.shared.complete(macs, n.ids) {
			return t, nil
		}
		if err := w.rollback(); err != nil {
			return nil, err
		}
	}
	return nil, errAlone
}

func (w *pgWriter) open(t *tx, lock string, more ...reading) error {
	if err := w.c.later("BEGIN"); err != nil {
		return err
	}
	var at int64
	head := first(lock, func(r row) { at, w.xid = r.int(1), r.int(2) }, w.s.pg.world)
	if err := w.c.every(append([]reading{head}, more...)...); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	w.s.pg.saw(at)
	t.now = max(at, w.s.last.Load())
	if w.s.opts.Clock != nil {
		t.now = w.s.nowMicro()
	}
	return nil
}

// prelude locks and reads what a batch needs: documents, then lanes, then
// numbers. ids are the lanes to lock by number.
func prelude(h *shared, n need, macs, names [][]byte, ids []int64) []reading {
	var reads []reading
	none := func(row) {}
	if len(n.keys) > 0 {
		reads = append(reads, all(qLockKeys, none, n.keys))
	}
	locked := func(r row) {
		l := scanLane(r)
		l.locked = true
		h.lanes[l.id] = l
		h.byMac[string(l.mac)] = l.id
	}
	alias := func(r row) {
		h.alias[r.int(0)] = r.int(2)
		h.byMac[string(r.blob(1))] = r.int(0)
	}
	switch {
	case len(macs) > 0:
		reads = append(reads, all(qMakeLanes, none, macs, names), all(qLockByMac, locked, macs, ids), all(qAliasByMac, alias, macs, ids))
	case len(ids) > 0:
		reads = append(reads, all(qLockLanes, locked, ids), all(qAliasLanes, alias, ids))
	}
	if len(n.fences) > 0 {
		reads = append(reads, all(qFences, func(r row) {
			if l := scanLane(r); h.lanes[l.id] == nil {
				h.lanes[l.id] = l
			}
		}, n.fences))
	}
	if n.seqs > 0 {
		reads = append(reads, all(qDrawSeqs, func(r row) { h.seqs = append(h.seqs, r.int(0)) }, int64(n.seqs)))
	}
	if len(n.docs) > 0 {
		reads = append(reads, all(qAllVersions, func(r row) {
			doc := string(r.blob(0))
			h.versions[doc] = append(h.versions[doc], knownVersion{r.blob(1), r.int(2)})
		}, n.docs))
	}
	return reads
}

// complete tells whether all that was asked for leads to a locked lane. A lane
// that became an alias just now, or is one of a lane unknown before, does not.
func (h *shared) complete(macs [][]byte, ids []int64) bool {
	for _, m := range macs {
		id, ok := h.byMac[string(m)]
		if !ok || h.follow(id) == 0 {
			return false
		}
	}
	return !slices.ContainsFunc(ids, func(id int64) bool {
		// A lane that is not there at all is for the unit to complain of.
		_, there := h.alias[id]
		return there && h.follow(id) == 0
	})
}
