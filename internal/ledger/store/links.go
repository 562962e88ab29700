package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

type linkRow struct {
	ledger.Link
	ident, person, sealed []byte
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
	}
	return out, nil
}

// checkLinks refuses links whose identifier belongs to another person, before
// anything is written.
func (t *tx) checkLinks(links []linkRow) error {
	for i := range links {
		var other []byte
		if _, err := one(t, qLinkPerson, func(r row) { other = r.blob(0) }, links[i].ident); err != nil {
			return err
		}
		if other != nil && !bytes.Equal(other, links[i].person) {
			return fmt.Errorf("link to %s %s: %w", links[i].System, links[i].Kind, ledger.ErrLinked)
		}
		for j := range links[:i] {
			if bytes.Equal(links[j].ident, links[i].ident) && !bytes.Equal(links[j].person, links[i].person) {
				return fmt.Errorf("link to %s %s for two persons at once: %w", links[i].System, links[i].Kind, ledger.ErrLinked)
			}
		}
	}
	return nil
}

func (t *tx) writeLinks(e *ending) error {
	for i := range e.links {
		l := &e.links[i]
		state := l.State
		if state == "" {
			state = "linked"
		}
		if err := t.must(qSetLink, l.ident, l.person, l.System, l.Kind, state, t.now, l.sealed); err != nil {
			return err
		}
	}
	for i := range e.unlink {
		if err := t.must(qUnlink, e.unlink[i].ident, e.unlink[i].person); err != nil {
			return err
		}
	}
	return nil
}

// Links gives what the crosswalk knows of a person.
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
