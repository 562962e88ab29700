package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

type linkRow struct {
	ledger.Link
	ident, person, sealed []byte
	// own is the lane of the record by itself, whose the lane of the person.
	own, whose laneKey
	stands     bool // linked to that person already
	found      bool // linked or to be linked to that person
}

type linkBody struct {
	Person string `json:"person"`
	ID     string `json:"id"`
	By     string `json:"by,omitempty"`
	How    string `json:"how,omitempty"`
}

func (s *Store) sealLinks(in []ledger.Link) ([]linkRow, error) {
	out := make([]linkRow, len(in))
	for i, l := range in {
		if l.Person == "" || l.System == "" || l.Kind == "" || l.ID == "" {
			return nil, fmt.Errorf("a link to %s %s is incomplete", l.System, l.Kind)
		}
		out[i] = linkRow{Link: l, ident: s.ring.Mac("ident", l.System, l.Kind, l.ID), person: s.ring.Mac("person", l.Person)}
		b, err := json.Marshal(linkBody{l.Person, l.ID, l.By, l.How})
		if err != nil {
			return nil, fmt.Errorf("encode link: %w", err)
		}
		out[i].sealed = s.ring.Main().Seal(seal.RowKey("link", out[i].ident, "sealed"), b)
		out[i].own, out[i].whose = s.laneKey("person:"+l.System+"/"+l.ID), s.laneKey("person:"+l.Person)
	}
	return out, nil
}

// checkLinks refuses links whose identifier belongs to another person, before
// anything is written.
func (t *tx) checkLinks(links []linkRow) error {
	others, states := make([][]byte, len(links)), make([]string, len(links))
	reads := make([]reading, len(links))
	for i := range links {
		reads[i] = first(qLinkPerson, func(r row) { others[i], states[i] = r.blob(0), r.text(1) }, links[i].ident)
	}
	if err := t.every(reads...); err != nil {
		return err
	}
	for i := range links {
		other := others[i]
		if other != nil && !bytes.Equal(other, links[i].person) {
			if one, err := t.becameOne(&links[i]); err != nil {
				return err
			} else if !one {
				return fmt.Errorf("link to %s %s: %w", links[i].System, links[i].Kind, ledger.ErrLinked)
			}
		}
		links[i].stands = other != nil && states[i] == "linked"
		links[i].found = other != nil
		for j := range links[:i] {
			if !bytes.Equal(links[j].ident, links[i].ident) {
				continue
			}
			if !bytes.Equal(links[j].person, links[i].person) {
				return fmt.Errorf("link to %s %s for two persons at once: %w", links[i].System, links[i].Kind, ledger.ErrLinked)
			}
			links[i].found = true // once the first of both is written
		}
	}
	return nil
}

func (t *tx) writeLinks(e *ending) error {
	for i := range e.replaced {
		if err := t.must(qDropLink, e.replaced[i].ident, e.replaced[i].person); err != nil {
			return err
		}
	}
	for i := range e.links {
		l := &e.links[i]
		if l.stands {
			continue
		}
		state := l.State
		if state == "" {
			state = "linked"
		}
		joined := l.found // with the plan that announced it
		if err := t.setLink(l, state); err != nil {
			return err
		}
		if joined {
			continue
		}
		if err := t.joinLanes(l); err != nil {
			return err
		}
	}
	for i := range e.unlink {
		l := &e.unlink[i]
		n, err := t.exec(qUnlink, l.ident, l.person)
		if err != nil {
			return err
		}
		if n == 0 {
			if one, err := t.becameOne(l); err != nil {
				return err
			} else if one {
				if n, err = t.exec(qUnlink, l.ident, l.person); err != nil {
					return err
				}
			}
		}
		if n > 0 {
			if err := t.partLanes(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// becameOne makes a link that of the person who has the identifier, if both
// were made one person while the delivery ran, or will be once it ends.
func (t *tx) becameOne(l *linkRow) (bool, error) {
	has := linkRow{ident: l.ident}
	found, err := one(t, qLink, func(r row) { has.System, has.Kind, has.sealed = r.text(1), r.text(2), r.blob(5) }, l.ident)
	if err != nil || !found {
		return false, err
	}
	other, err := t.s.openLink(&has)
	if err != nil || other.Person == l.Person {
		return false, err
	}
	if err := t.needAlone(); err != nil {
		return false, err
	}
	if same, err := t.willBeOne(l.whose, t.s.laneKey("person:"+other.Person)); err != nil || !same {
		return false, err
	}
	mine := l.Link
	mine.Person = other.Person
	rows, err := t.s.sealLinks([]ledger.Link{mine})
	if err != nil {
		return false, err
	}
	*l = rows[0]
	return true, nil
}

// willBeOne tells whether two lanes are one, or will be once the merges that
// wait are done.
func (t *tx) willBeOne(a, b laneKey) (bool, error) {
	first, err := t.lockLane(a)
	if err != nil {
		return false, err
	}
	last, err := t.lockLane(b)
	if err != nil {
		return false, err
	}
	seen := []int64{first.id}
	for i := 0; i < len(seen); i++ {
		if seen[i] == last.id {
			return true, nil
		}
		err := t.each(qMerges, func(r row) (bool, error) {
			for _, id := range []int64{r.int(0), r.int(1)} {
				if !slices.Contains(seen, id) {
					seen = append(seen, id)
				}
			}
			return true, nil
		}, seen[i], seen[i])
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// setLink writes a link that checkLinks has looked at. One that was not there
// is added, not set: if somebody else adds it just now, one of both fails and
// looks again.
func (t *tx) setLink(l *linkRow, state string) error {
	q := qNewLink
	if l.found {
		q = qSetLink
	}
	l.found = true
	return t.must(q, l.ident, l.person, l.System, l.Kind, state, t.now, l.sealed)
}

// lanesOfLinks are the lanes that linking may join.
func lanesOfLinks(links []linkRow) (keys []laneKey) {
	for i := range links {
		keys = append(keys, links[i].own, links[i].whose)
	}
	return keys
}

// joinLanes makes the lane of a linked record the person's, so that what comes
// from any of her systems stands in one order (law 14). A lane that nobody used
// is joined at once.
func (t *tx) joinLanes(l *linkRow) error {
	if bytes.Equal(l.own.mac, l.whose.mac) {
		return nil
	}
	own, err := t.lockLane(l.own)
	if err != nil {
		return err
	}
	whose, err := t.lockLane(l.whose)
	if err != nil || own.id == whose.id {
		return err
	}
	used, err := one(t, qLaneUsed, func(row) {}, own.id)
	if err != nil {
		return err
	}
	if !used && own.owner == 0 && !own.merging && own.via == own.id {
		if h := t.shared; h != nil {
			h.alias[own.id] = whose.id
		}
		return t.setLane(own.id, func(l *lane) { l.alias, l.due, l.sleeping = whose.id, 0, true }, qSetAlias, whose.id, own.id)
	}
	return t.merge(l.own, l.whose, t.s.auditRow("kiungo", "merge lanes", 0, ""))
}

// partLanes gives a record that is not the person's any more its own lane back,
// with the open deliveries that came by it.
func (t *tx) partLanes(l *linkRow) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	var own *lane
	if _, err := one(t, qLaneByMac, func(r row) { own = scanLane(r) }, l.own.mac); err != nil || own == nil {
		return err
	}
	whose, err := t.lockLane(l.whose)
	if err != nil {
		return err
	}
	if own.id == whose.id {
		return nil // the person goes by this very record
	}
	if err := t.must(qDropMerge, own.id, whose.id); err != nil {
		return err
	}
	if own.alias == 0 {
		if err := t.mergeEnded(own.id); err != nil {
			return err
		}
		return t.mergeEnded(whose.id)
	}
	if err := t.must(qUnalias, own.id); err != nil {
		return err
	}
	if err := t.mergeEnded(whose.id); err != nil {
		return err
	}
	return t.moveBack(own.id, whose.id)
}

// moveBack moves the open deliveries that came by a lane out of another. One
// that is being run stays until it pauses; see rehome.
func (t *tx) moveBack(own, from int64) error {
	at, err := t.lane(from)
	if err != nil {
		return err
	}
	var open []int64
	err = t.each(qOpenInLane, func(r row) (bool, error) {
		open = append(open, r.int(1))
		return true, nil
	}, from)
	if err != nil {
		return err
	}
	for _, id := range open {
		if id == at.running {
			continue
		}
		if err := t.rehome(id, []int64{from}); err != nil {
			return err
		}
	}
	return t.wakeLane(own, t.now)
}

// rehome puts an open delivery that is not being run (any more) in the lanes
// that it came by, as they are now: a record that was unlinked has left the
// person's lane. was are lanes that it stands in.
func (t *tx) rehome(delivery int64, was []int64) error {
	var d brief
	found, err := one(t, qBrief, func(r row) { d = scanBrief(r) }, delivery)
	if err != nil || !found {
		return err
	}
	in, err := t.lanesOf(d.via)
	if err != nil {
		return err
	}
	for _, id := range was {
		if slices.Contains(in, id) {
			continue
		}
		if err := t.needAlone(); err != nil {
			return err
		}
		if err := t.must(qLeaveLane, id, d.seq, d.id); err != nil {
			return err
		}
		if err := t.must(qMoveDelivery, in[0], d.id, id); err != nil {
			return err
		}
	}
	for _, id := range in {
		if slices.Contains(was, id) {
			continue
		}
		if err := t.needAlone(); err != nil {
			return err
		}
		if err := t.must(qEnterLane, id, d.seq, d.id); err != nil {
			return err
		}
		if err := t.wakeLane(id, t.now); err != nil {
			return err
		}
	}
	return nil
}

// Links gives what the crosswalk knows of a person, for each kind of a system
// the oldest link first.
func (s *Store) Links(ctx context.Context, person string) ([]ledger.Link, error) {
	mac := s.ring.Mac("person", person)
	var rows []linkRow
	err := s.read(ctx, func(c conn) error {
		rows = nil
		return c.each(qLinks, func(r row) (bool, error) {
			l := linkRow{ident: r.blob(0), sealed: r.blob(6)}
			l.System, l.Kind, l.State, l.At = r.text(2), r.text(3), r.text(4), fromMicro(r.int(5))
			rows = append(rows, l)
			return true, nil
		}, mac)
	})
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	out := make([]ledger.Link, len(rows))
	for i := range rows {
		if out[i], err = s.openLink(&rows[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b ledger.Link) int {
		return cmp.Or(cmp.Compare(a.System, b.System), cmp.Compare(a.Kind, b.Kind), a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// LinkOf gives who an identifier belongs to, nil if nobody.
func (s *Store) LinkOf(ctx context.Context, system, kind, id string) (*ledger.Link, error) {
	l := linkRow{ident: s.ring.Mac("ident", system, kind, id)}
	var found bool
	err := s.read(ctx, func(c conn) (err error) {
		found, err = one(c, qLink, func(r row) {
			l.System, l.Kind, l.State, l.At, l.sealed = r.text(1), r.text(2), r.text(3), fromMicro(r.int(4)), r.blob(5)
		}, l.ident)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read link to %s %s: %w", system, kind, err)
	}
	if !found {
		return nil, nil
	}
	out, err := s.openLink(&l)
	if err != nil {
		return nil, err
	}
	return &out, nil
}

func (s *Store) openLink(l *linkRow) (ledger.Link, error) {
	b, err := s.ring.Main().Open(seal.RowKey("link", l.ident, "sealed"), l.sealed)
	if err != nil {
		return l.Link, fmt.Errorf("link to %s %s: %w", l.System, l.Kind, err)
	}
	var body linkBody
	if err := json.Unmarshal(b, &body); err != nil {
		return l.Link, fmt.Errorf("decode link to %s %s: %w", l.System, l.Kind, err)
	}
	l.Person, l.ID, l.By, l.How = body.Person, body.ID, body.By, body.How
	return l.Link, nil
}
