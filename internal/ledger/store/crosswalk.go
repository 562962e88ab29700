package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// tieRow is a line of a person's history, sealed.
type tieRow struct {
	id       int64
	person   []byte
	act, who string
	at       int64
	sealed   []byte
}

type tieBody struct {
	Note string      `json:"note,omitempty"`
	Link ledger.Link `json:"link"`
}

func (s *Store) tie(person, act, who, note string, l ledger.Link) (tieRow, error) {
	row := tieRow{id: draw(&s.numbers.audit), person: s.ring.Mac("person", person), act: act, who: who}
	b, err := json.Marshal(tieBody{note, l})
	if err != nil {
		return row, fmt.Errorf("encode a change of the crosswalk: %w", err)
	}
	row.sealed = s.ring.Main().Seal(seal.Row("tie", row.id, "sealed"), b)
	return row, nil
}

func (t *tx) tie(r tieRow) error {
	return t.must(qAddTie, r.id, r.person, t.now, r.act, r.who, r.sealed)
}

// Relink gives an identifier to a person; see ledger.Ledger.
func (s *Store) Relink(ctx context.Context, l ledger.Link, who, note string) error {
	l.State, l.By = "linked", who
	if l.How == "" {
		l.How = "decided by a person"
	}
	rows, err := s.sealLinks([]ledger.Link{l})
	if err != nil {
		return err
	}
	row := &rows[0]
	line, err := s.tie(l.Person, "linked", who, note, l)
	if err != nil {
		return err
	}
	former, err := s.LinkOf(ctx, l.System, l.Kind, l.ID)
	if err != nil {
		return err
	}
	_, err = do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		if former != nil && former.Person != l.Person {
			if err := t.drop(former, who, note); err != nil {
				return struct{}{}, err
			}
		}
		if err := t.must(qDropApart, row.person, row.ident); err != nil {
			return struct{}{}, err
		}
		if err := t.must(qSetLink, row.ident, row.person, row.System, row.Kind, "linked", t.now, row.sealed); err != nil {
			return struct{}{}, err
		}
		if err := t.joinLanes(row); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.tie(line)
	})
	return err
}

// Unlink takes an identifier from its person; see ledger.Ledger.
func (s *Store) Unlink(ctx context.Context, l ledger.Link, who, note string) error {
	former, err := s.LinkOf(ctx, l.System, l.Kind, l.ID)
	if err != nil {
		return err
	}
	if former == nil || l.Person != "" && former.Person != l.Person {
		return fmt.Errorf("%s of %s is not linked so: %w", l.Kind, l.System, ledger.ErrNotFound)
	}
	_, err = do(ctx, s, lanes, func(t *tx) (struct{}, error) { return struct{}{}, t.drop(former, who, note) })
	return err
}

// drop takes a link away, and the lane with it.
func (t *tx) drop(l *ledger.Link, who, note string) error {
	rows, err := t.s.sealLinks([]ledger.Link{*l})
	if err != nil {
		return err
	}
	n, err := t.exec(qDropLink, rows[0].ident, rows[0].person)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%s of %s is not linked so any more: %w", l.Kind, l.System, ledger.ErrNotFound)
	}
	if err := t.partLanes(&rows[0]); err != nil {
		return err
	}
	line, err := t.s.tie(l.Person, "unlinked", who, note, *l)
	if err != nil {
		return err
	}
	return t.tie(line)
}

// MergePeople makes two people one; see ledger.Ledger.
func (s *Store) MergePeople(ctx context.Context, loser, winner, who, note string) error {
	var err error
	if loser, err = s.Person(ctx, loser); err != nil {
		return err
	}
	if winner, err = s.Person(ctx, winner); err != nil {
		return err
	}
	if loser == winner {
		return fmt.Errorf("that is the same person already: %w", ledger.ErrState)
	}
	links, err := s.Links(ctx, loser)
	if err != nil {
		return err
	}
	apart, err := s.stillApart(ctx, loser, winner, links)
	if err != nil {
		return err
	}
	moved := make([]ledger.Link, len(links))
	for i, l := range links {
		l.Person = winner
		moved[i] = l
	}
	rows, err := s.sealLinks(moved)
	if err != nil {
		return err
	}
	ties := make([]tieRow, len(links))
	for i, l := range links {
		if ties[i], err = s.tie(winner, "merged", who, note, l); err != nil {
			return err
		}
	}
	a, b := s.laneKey("person:"+loser), s.laneKey("person:"+winner)
	line := s.auditRow(who, "merge people", 0, note)
	_, err = do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		for i := range rows {
			l := &rows[i]
			if err := t.must(qSetLink, l.ident, l.person, l.System, l.Kind, l.State, t.now, l.sealed); err != nil {
				return struct{}{}, err
			}
			if err := t.tie(ties[i]); err != nil {
				return struct{}{}, err
			}
		}
		for _, person := range []string{loser, winner} {
			if err := t.must(qDropAparts, s.ring.Mac("person", person)); err != nil {
				return struct{}{}, err
			}
		}
		for _, row := range apart {
			if err := t.must(qSetApart, row.person, row.ident, row.sealed); err != nil {
				return struct{}{}, err
			}
		}
		if err := t.must(qMoveTies, s.ring.Mac("person", winner), s.ring.Mac("person", loser)); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.merge(a, b, line)
	})
	return err
}

// stillApart are the records that either of two people was kept apart from,
// sealed for the winner: but for those that the other has.
func (s *Store) stillApart(ctx context.Context, loser, winner string, had []ledger.Link) ([]linkRow, error) {
	has, err := s.Links(ctx, winner)
	if err != nil {
		return nil, err
	}
	theirs := map[[3]string]bool{}
	for _, l := range slices.Concat(had, has) {
		theirs[[3]string{l.System, l.Kind, l.ID}] = true
	}
	var out []linkRow
	for _, person := range []string{winner, loser} {
		list, err := s.Apart(ctx, person)
		if err != nil {
			return nil, err
		}
		for _, l := range list {
			if theirs[[3]string{l.System, l.Kind, l.ID}] {
				continue
			}
			l.Person = winner
			row, err := s.sealApart(l)
			if err != nil {
				return nil, err
			}
			out = append(out, row)
		}
	}
	return out, nil
}

// sealApart seals a record that is kept apart from its person.
func (s *Store) sealApart(l ledger.Link) (linkRow, error) {
	rows, err := s.sealLinks([]ledger.Link{l})
	if err != nil {
		return linkRow{}, err
	}
	row := rows[0]
	b, err := json.Marshal(l)
	if err != nil {
		return row, fmt.Errorf("encode what is kept apart: %w", err)
	}
	row.sealed = s.ring.Main().Seal(seal.RowKey("apart", append(append([]byte(nil), row.person...), row.ident...), "sealed"), b)
	return row, nil
}

// KeepApart remembers that a record is not that person's; see ledger.Ledger.
func (s *Store) KeepApart(ctx context.Context, l ledger.Link, who, note string) error {
	row, err := s.sealApart(l)
	if err != nil {
		return err
	}
	line, err := s.tie(l.Person, "apart", who, note, l)
	if err != nil {
		return err
	}
	_, err = do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		if err := t.must(qSetApart, row.person, row.ident, row.sealed); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.tie(line)
	})
	return err
}

// Apart lists the records that are not that person's.
func (s *Store) Apart(ctx context.Context, person string) ([]ledger.Link, error) {
	mac := s.ring.Mac("person", person)
	type sealedRow struct{ ident, sealed []byte }
	var rows []sealedRow
	err := s.read(ctx, func(c conn) error {
		rows = nil
		return c.each(qApart, func(r row) (bool, error) {
			rows = append(rows, sealedRow{r.blob(0), r.blob(1)})
			return true, nil
		}, mac)
	})
	if err != nil {
		return nil, fmt.Errorf("read who is kept apart: %w", err)
	}
	out := make([]ledger.Link, len(rows))
	for i, r := range rows {
		b, err := s.ring.Main().Open(seal.RowKey("apart", append(append([]byte(nil), mac...), r.ident...), "sealed"), r.sealed)
		if err == nil {
			err = json.Unmarshal(b, &out[i])
		}
		if err != nil {
			return nil, fmt.Errorf("open who is kept apart: %w", err)
		}
	}
	return out, nil
}

// Ties is the history of a person's links, newest first.
func (s *Store) Ties(ctx context.Context, person string) ([]ledger.Tie, error) {
	var rows []tieRow
	err := s.read(ctx, func(c conn) error {
		rows = nil
		return c.each(qTies, func(r row) (bool, error) {
			rows = append(rows, tieRow{id: r.int(0), at: r.int(1), act: r.text(2), who: r.text(3), sealed: r.blob(4)})
			return true, nil
		}, s.ring.Mac("person", person))
	})
	if err != nil {
		return nil, fmt.Errorf("read a person's history: %w", err)
	}
	out := make([]ledger.Tie, len(rows))
	for i, r := range rows {
		b, err := s.ring.Main().Open(seal.Row("tie", r.id, "sealed"), r.sealed)
		var body tieBody
		if err == nil {
			err = json.Unmarshal(b, &body)
		}
		if err != nil {
			return nil, fmt.Errorf("open line %d of a person's history: %w", r.id, err)
		}
		out[i] = ledger.Tie{ID: r.id, At: fromMicro(r.at), Act: r.act, Who: r.who, Note: body.Note, Link: body.Link}
	}
	return out, nil
}

// Person follows the aliases of a person's lane; see ledger.Ledger.
func (s *Store) Person(ctx context.Context, person string) (string, error) {
	l, err := s.laneNamed(ctx, "person:"+person)
	if err != nil || l == nil {
		return person, err
	}
	name, err := s.ring.Main().Open(seal.RowKey("lane", l.mac, "name"), l.name)
	if err != nil {
		return "", fmt.Errorf("name of lane %d: %w", l.id, err)
	}
	return strings.TrimPrefix(string(name), "person:"), nil
}

// laneNamed reads a lane by its key, aliases followed; nil if there is none.
func (s *Store) laneNamed(ctx context.Context, key string) (*lane, error) {
	mac := s.ring.Mac("lane", key)
	var l *lane
	err := s.readAll(ctx, func(c conn) error {
		l = nil
		if _, err := one(c, qLaneByMac, func(r row) { l = scanLane(r) }, mac); err != nil {
			return err
		}
		for l != nil && l.alias != 0 {
			next := l.alias
			if _, err := one(c, qLane, func(r row) { l = scanLane(r) }, next); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read a lane: %w", err)
	}
	return l, nil
}

// Question gives one question.
func (s *Store) Question(ctx context.Context, id int64) (*ledger.Question, error) {
	var q sealedQuestion
	var found bool
	err := s.read(ctx, func(c conn) (err error) {
		found, err = one(c, qQuestion, func(r row) { q = scanQuestion(r) }, id)
		return err
	})
	if err == nil && !found {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("question %d: %w", id, err)
	}
	out, err := q.open(s.ring)
	return &out, err
}

// Causes groups what is held; see ledger.Ledger.
func (s *Store) Causes(ctx context.Context) ([]ledger.Cause, error) {
	var out []ledger.Cause
	err := s.readAll(ctx, func(c conn) error {
		out = nil
		if err := c.each(qCauses, func(r row) (bool, error) {
			out = append(out, ledger.Cause{Code: r.text(0), Cause: r.text(1), Flow: r.text(2), N: r.int(3), Oldest: fromMicro(r.int(4)), Delivery: r.int(5)})
			return true, nil
		}); err != nil {
			return err
		}
		for i := range out {
			var salt []byte
			if _, err := one(c, qReason, func(r row) { out[i].Reason, salt = r.text(0), r.blob(1) }, out[i].Delivery); err != nil {
				return err
			}
			var err error
			if out[i].Reason, err = openText(s.ring.Box(salt), salt, out[i].Delivery, "reason", out[i].Reason); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("group what is held: %w", err)
	}
	return out, nil
}
