package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// arrival is a ledger.Arrival sealed and hashed, ready to be stored.
type arrival struct {
	id           int64
	system, kind string
	withdrawn    bool
	about        string
	doc, version []byte // hashes; nil without a document id
	salt         []byte
	head, body   []byte
	filed        bool // the body is in a file
	routes       []route
	alongside    bool
	bulk         bool
}

type route struct {
	flow    string
	mac     []byte // of the each-key
	sealed  []byte
	maker   []byte
	systems string
	lanes   []laneKey
}

type laneKey struct {
	mac  []byte
	name []byte // sealed
}

// head is what is sealed beside the content of a message, so that listings
// need not open the content.
type head struct {
	Doc     string    `json:"doc,omitempty"`
	Version string    `json:"version,omitempty"`
	Event   time.Time `json:"event,omitzero"`
	Problem string    `json:"problem,omitempty"`
}

// Accept stores messages with their deliveries; see ledger.Ledger.
func (s *Store) Accept(ctx context.Context, in []ledger.Arrival, adv *ledger.Advance) ([]ledger.Accepted, error) {
	if err := s.checkDisk(); err != nil {
		return nil, err
	}
	// What waited in the socket of a node that was paused is old: its sender gave
	// up, and others may have taken it, and what followed it, since.
	if _, ok := s.Lease(ctx); !ok {
		return nil, fmt.Errorf("this node did not reach the database for the length of its lease: %w", ledger.ErrFull)
	}
	ready := make([]arrival, len(in))
	for i := range in {
		var err error
		if ready[i], err = s.prepare(&in[i]); err != nil {
			s.dropBodies(ready[:i], nil, err)
			return nil, fmt.Errorf("message %d of %d: %w", i+1, len(in), err)
		}
		ready[i].bulk = adv != nil && adv.Bulk
	}
	listing := s.listing(adv)
	out, err := doWith(ctx, s, intake, s.needOf(ready, adv), func(t *tx) ([]ledger.Accepted, error) {
		if adv != nil {
			if err := t.checkPosition(adv); err != nil {
				return nil, err
			}
		}
		out := make([]ledger.Accepted, len(ready))
		for i := range ready {
			if err := t.accept(&ready[i], &out[i]); err != nil {
				return nil, fmt.Errorf("store message %d of %d: %w", i+1, len(ready), err)
			}
		}
		if adv == nil {
			return out, nil
		}
		if err := t.list(listing); err != nil {
			return nil, err
		}
		return out, t.must(qSetPosition, adv.System, adv.Stream, t.now, adv.New)
	})
	s.dropBodies(ready, out, err)
	return out, err
}

// needOf says what a shared transaction locks for messages: their documents,
// the position, and their lanes.
func (s *Store) needOf(in []arrival, adv *ledger.Advance) need {
	if s.pg == nil {
		return need{}
	}
	var n need
	if adv != nil {
		n.keys = append(n.keys, s.pg.key("position", []byte(adv.System+"\n"+adv.Stream)))
	}
	for i := range in {
		if a := &in[i]; a.doc != nil {
			n.keys = append(n.keys, s.pg.key("document", a.doc))
			n.docs = append(n.docs, a.doc)
		}
		n.seqs += 1 + len(in[i].routes)
		for j := range in[i].routes {
			n.lanes = append(n.lanes, in[i].routes[j].lanes...)
		}
	}
	return n
}

func (s *Store) prepare(in *ledger.Arrival) (arrival, error) {
	a := arrival{id: draw(&s.numbers.message), system: in.System, kind: in.Kind, withdrawn: in.Withdrawn, about: in.About, alongside: in.Alongside, salt: seal.NewSalt()}
	if in.System == "" {
		return a, fmt.Errorf("it has no source system")
	}
	if in.Doc != "" {
		a.doc = s.ring.Mac("doc", in.System, in.Doc)
		a.version = s.ring.Mac("version", in.System, in.Doc, in.Version)
	}
	box := s.ring.Box(a.salt)
	h, err := json.Marshal(head{in.Doc, in.Version, in.Event, in.Problem})
	if err != nil {
		return a, fmt.Errorf("encode head: %w", err)
	}
	a.head = box.Seal(seal.Row("message", a.id, "head"), h)
	a.body = box.Seal(seal.Row("message", a.id, "body"), in.Content)
	if err := s.fileBody(&a, len(in.Content)); err != nil {
		return a, err
	}
	a.routes = make([]route, len(in.Routes))
	for i := range in.Routes {
		if a.routes[i], err = s.prepareRoute(box, &a, in.Doc, &in.Routes[i]); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (s *Store) prepareRoute(box *seal.Box, a *arrival, doc string, r *ledger.Route) (route, error) {
	out := route{flow: r.Flow, mac: s.ring.Mac("each", r.Each)}
	if r.Flow == "" {
		return out, fmt.Errorf("a route has no flow")
	}
	if r.Each != "" {
		out.sealed = box.Seal(seal.Row("delivery", a.id, r.Flow), []byte(r.Each))
	}
	if doc == "" {
		doc = "message " + strconv.FormatInt(a.id, 10)
	}
	out.maker = s.ring.Mac("maker", a.system, doc, r.Flow, r.Each)
	for _, name := range r.Systems {
		if name == "" || strings.ContainsAny(name, "\n") {
			return out, fmt.Errorf("flow %s: %q is no name of a system", r.Flow, name)
		}
	}
	systems := slices.Compact(slices.Sorted(slices.Values(r.Systems)))
	out.systems = strings.Join(systems, "\n")
	keys := r.Lanes
	if len(keys) == 0 {
		keys = []string{"message:" + strconv.FormatInt(a.id, 10)} // law 42
	}
	for _, k := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		mac := s.ring.Mac("lane", k)
		out.lanes = append(out.lanes, laneKey{mac, s.ring.Main().Seal(seal.RowKey("lane", mac, "name"), []byte(k))})
	}
	return out, nil
}

// accept stores one message. The lanes are locked (on PostgreSQL), in the
// order of their hashes, before any receive number is drawn (law 3).
func (t *tx) accept(a *arrival, out *ledger.Accepted) error {
	*out = ledger.Accepted{}
	before, known, err := t.versions(a)
	if err != nil {
		return err
	}
	if known != 0 {
		out.Message, out.Duplicate = known, true
		return t.each(qDeliveryIDs, func(r row) (bool, error) {
			out.Deliveries = append(out.Deliveries, r.int(0))
			return true, nil
		}, known)
	}
	lanes, err := t.lockLanes(a)
	if err != nil {
		return err
	}
	var open []*older
	if before && !a.alongside {
		if open, err = t.olderOpen(a.doc); err != nil {
			return err
		}
	}
	if len(open) > 0 {
		if err := t.needAlone(); err != nil {
			return err
		}
	}
	seq, err := t.seq()
	if err != nil {
		return err
	}
	if a.doc != nil {
		if err := t.addVersion(a.doc, a.version, a.id, seq); err != nil {
			return err
		}
	}
	if err := t.must(qAddMessage, a.id, seq, a.system, a.kind, t.now, flag(a.withdrawn), a.salt, a.head, a.body); err != nil {
		return err
	}
	out.Message = a.id
	t.zone(zoneSource, "", a.system, a.id)
	if len(a.routes) == 0 && a.about != "" {
		t.tally(a.about, ledger.NotRouted, 1, 0)
	}
	for i := range a.routes {
		if err := t.deliver(a, &a.routes[i], lanes, open, out); err != nil {
			return fmt.Errorf("flow %s: %w", a.routes[i].flow, err)
		}
	}
	// What an older version had routed and the new one does not is not to be
	// written any more.
	for _, d := range open {
		if !d.replaced {
			if _, err := t.supersede(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// versions tells whether there are versions of the document already, and gives
// the message that brought this version, if it is the newest: a document that
// goes back to what it was before (a form that is no longer archived) is news.
func (t *tx) versions(a *arrival) (before bool, known int64, err error) {
	if a.doc == nil {
		return false, 0, nil
	}
	all, err := t.versionsOf(a.doc)
	if n := len(all); n > 0 && bytes.Equal(all[n-1].mac, a.version) {
		known = all[n-1].message
	}
	return len(all) > 0, known, err
}

// lockLanes finds or makes the lanes of all routes, aliases followed.
func (t *tx) lockLanes(a *arrival) (map[string]*lane, error) {
	var keys []laneKey
	for i := range a.routes {
		keys = append(keys, a.routes[i].lanes...)
	}
	if len(keys) > 1 {
		slices.SortFunc(keys, func(x, y laneKey) int { return bytes.Compare(x.mac, y.mac) })
	}
	lanes := make(map[string]*lane, len(keys))
	for _, k := range keys {
		if lanes[string(k.mac)] != nil {
			continue
		}
		l, err := t.lockLane(k)
		if err != nil {
			return nil, err
		}
		lanes[string(k.mac)] = l
	}
	return lanes, nil
}

// deliver makes one delivery and puts it in its lanes.
func (t *tx) deliver(a *arrival, r *route, lanes map[string]*lane, open []*older, out *ledger.Accepted) error {
	seq, err := t.seq()
	if err != nil {
		return err
	}
	d := brief{id: draw(&t.s.numbers.delivery), seq: seq}
	var via []int64
	for _, k := range r.lanes {
		l := lanes[string(k.mac)]
		via = append(via, l.via)
		if !slices.Contains(d.in, l.id) {
			d.in = append(d.in, l.id)
		}
	}
	for _, o := range open {
		if o.flow != r.flow || !bytes.Equal(o.mac, r.mac) {
			continue
		}
		done, err := t.supersede(o)
		if err != nil {
			return err
		}
		if done && slices.Equal(o.in, d.in) {
			d.seq = min(d.seq, o.seq) // it takes the older one's place
		}
	}
	if err := t.must(qAddDelivery, d.id, a.id, r.flow, r.mac, r.sealed, r.maker, d.in[0], joinIDs(via), d.seq, r.systems, t.now, t.now, flag(a.bulk)); err != nil {
		return err
	}
	t.zone(zoneFrom, r.flow, a.system, d.id)
	for _, id := range d.in {
		if err := t.must(qEnterLane, id, d.seq, d.id); err != nil {
			return err
		}
		if err := t.wake(id, t.now, a.bulk); err != nil {
			return err
		}
		if !slices.Contains(out.Lanes, id) {
			out.Lanes = append(out.Lanes, id)
		}
	}
	out.Deliveries = append(out.Deliveries, d.id)
	return nil
}

func (t *tx) checkPosition(adv *ledger.Advance) error {
	var now []byte
	if _, err := one(t, qPosition, func(r row) { now = r.blob(0) }, adv.System, adv.Stream); err != nil {
		return err
	}
	if !bytes.Equal(now, adv.Old) {
		return fmt.Errorf("position of %s, stream %s: %w", adv.System, adv.Stream, ledger.ErrMoved)
	}
	return nil
}

func joinIDs(ids []int64) string {
	var b []byte
	for i, id := range ids {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(b)
}

func splitIDs(s string) []int64 {
	var ids []int64
	for f := range strings.FieldsSeq(s) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err == nil {
			ids = append(ids, n)
		}
	}
	return ids
}
