package store

import (
	"bytes"
	"errors"
	"slices"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// On PostgreSQL several transactions write at once, of this process and of
// others. A transaction is one of two sorts, told apart by one advisory lock
// that all of them hold until they end:
//
//   - alone (the lock is exclusive): nobody else writes. Then the rules hold as
//     they do on SQLite, without another thought. It is the default.
//   - shared: what is done a thousand times a second (accept, start, journal,
//     step, end, release). It says before which lanes it needs; their rows are
//     locked in the order of their numbers, before a receive number is drawn
//     (law 3). What it may not touch so (merging, superseding, claims that
//     others wait for, deliveries in several lanes, what a crash left) gives
//     errAlone, and the unit is run again alone.
//
// While a shared transaction lasts no lane is taken over or merged: aliases
// stand still but for those of lanes that nobody used.

// errAlone says that a unit must be run with the ledger for itself.
var errAlone = errors.New("it needs the ledger for itself")

// need is what a shared unit needs, besides what is its own.
type need struct {
	alone  bool
	keys   []int64   // numbers to lock that stand for documents and positions
	docs   [][]byte  // documents whose versions are asked for
	lanes  []laneKey // to lock; those that are not there are made
	ids    []int64   // lanes to lock
	fences []int64   // lanes only read: those that this node runs
	seqs   int       // receive numbers
	// work is forgotten if the outcome stays unknown.
	work *ledger.Work
}

// knownVersion is a row of version.
type knownVersion struct {
	mac     []byte
	message int64
}

// shared is what a shared transaction has locked and read.
type shared struct {
	lanes    map[int64]*lane
	byMac    map[string]int64 // lanes by key, before aliases
	alias    map[int64]int64
	versions map[string][]knownVersion
	seqs     []int64
}

func newShared() *shared {
	return &shared{lanes: map[int64]*lane{}, byMac: map[string]int64{}, alias: map[int64]int64{}, versions: map[string][]knownVersion{}}
}

// follow gives the lane that an id leads to, 0 if it is not locked.
func (h *shared) follow(id int64) int64 {
	for range len(h.alias) + 1 {
		if l := h.lanes[id]; l != nil && l.locked && l.alias == 0 {
			return id
		}
		next, ok := h.alias[id]
		if !ok {
			return 0
		}
		id = next
	}
	return 0
}

// lane gives a copy of a locked lane.
func (h *shared) lane(id int64) (*lane, error) {
	to := h.follow(id)
	if to == 0 {
		return nil, errAlone
	}
	l := *h.lanes[to]
	l.via = id
	return &l, nil
}

func (h *shared) laneOf(mac []byte) (*lane, error) {
	id, ok := h.byMac[string(mac)]
	if !ok {
		return nil, errAlone
	}
	return h.lane(id)
}

// needAlone gives errAlone in a shared transaction.
func (t *tx) needAlone() error {
	if t.alone {
		return nil
	}
	return errAlone
}

// setLane writes a lane's row. In a shared transaction the lane must be locked.
func (t *tx) setLane(id int64, change func(*lane), q string, args ...any) error {
	if t.shared != nil {
		l := t.shared.lanes[id]
		if l == nil || !l.locked {
			return errAlone
		}
		change(l)
	}
	return t.must(q, args...)
}

// seq draws a receive number; the lanes are locked already.
func (t *tx) seq() (int64, error) {
	switch {
	case t.s.pg == nil:
		return draw(&t.s.numbers.seq), nil
	case t.shared != nil:
		if len(t.shared.seqs) == 0 {
			return 0, errAlone
		}
		n := t.shared.seqs[0]
		t.shared.seqs = t.shared.seqs[1:]
		return n, nil
	}
	var n int64
	_, err := one(t, qNextSeq, func(r row) { n = r.int(0) })
	return n, err
}

// versionsOf reads the versions of a document, oldest first.
func (t *tx) versionsOf(doc []byte) (out []knownVersion, err error) {
	if t.shared != nil {
		return t.shared.versions[string(doc)], nil
	}
	err = t.each(qVersions, func(r row) (bool, error) {
		out = append(out, knownVersion{r.blob(0), r.int(1)})
		return true, nil
	}, doc)
	return out, err
}

func (t *tx) addVersion(doc, mac []byte, message, seq int64) error {
	if t.shared != nil {
		v := slices.DeleteFunc(slices.Clone(t.shared.versions[string(doc)]), func(k knownVersion) bool { return bytes.Equal(k.mac, mac) })
		t.shared.versions[string(doc)] = append(v, knownVersion{mac, message})
	}
	return t.must(qAddVersion, doc, mac, message, seq)
}

// needs adds up what the units of a batch need, sorted.
func needs(batch []*unit) need {
	var n need
	for _, u := range batch {
		n.keys = append(n.keys, u.need.keys...)
		n.docs = append(n.docs, u.need.docs...)
		n.lanes = append(n.lanes, u.need.lanes...)
		n.ids = append(n.ids, u.need.ids...)
		n.fences = append(n.fences, u.need.fences...)
		n.seqs += u.need.seqs
	}
	slices.Sort(n.keys)
	n.keys = slices.Compact(n.keys)
	slices.SortFunc(n.lanes, func(a, b laneKey) int { return bytes.Compare(a.mac, b.mac) })
	n.lanes = slices.CompactFunc(n.lanes, func(a, b laneKey) bool { return bytes.Equal(a.mac, b.mac) })
	slices.Sort(n.ids)
	n.ids = slices.Compact(n.ids)
	slices.Sort(n.fences)
	n.fences = slices.Compact(n.fences)
	return n
}

// fenced gives ErrFenced unless a lane is run so.
func (h *shared) fenced(w *ledger.Work, node int64) (l *lane, ok bool) {
	l = h.lanes[w.LaneID]
	return l, l != nil && l.epoch == w.Epoch && l.owner == node && l.running == w.Delivery.ID
}
