package store

import (
	"context"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// listing is a ledger.Listing hashed.
type listing struct {
	list []byte
	run  int64
	docs [][]byte
	left bool
}

func (s *Store) listing(adv *ledger.Advance) *listing {
	if adv == nil || adv.List == nil {
		return nil
	}
	l := &listing{list: s.ring.Mac("list", adv.System, adv.List.List), run: adv.List.Run, left: adv.List.Left}
	for _, doc := range adv.List.Docs {
		l.docs = append(l.docs, s.ring.Mac("doc", adv.System, doc))
	}
	return l
}

func (t *tx) list(l *listing) error {
	if l == nil {
		return nil
	}
	for _, doc := range l.docs {
		var err error
		if l.left {
			err = t.must(qUnlist, l.list, doc)
		} else {
			err = t.must(qList, l.list, doc, l.run)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Listed says in which run each document was last on a list; see ledger.Ledger.
func (s *Store) Listed(ctx context.Context, system, list string, docs []string) ([]int64, error) {
	name := s.ring.Mac("list", system, list)
	out := make([]int64, len(docs))
	err := s.readAll(ctx, func(c conn) error {
		for i, doc := range docs {
			out[i] = 0
			if _, err := one(c, qListed, func(r row) { out[i] = r.int(0) }, name, s.ring.Mac("doc", system, doc)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read who was on list %s of %s: %w", list, system, err)
	}
	return out, nil
}

// Unlisted gives members of earlier runs; see ledger.Ledger.
func (s *Store) Unlisted(ctx context.Context, system, list string, run int64, limit int) ([]ledger.Member, error) {
	var ids []int64
	err := s.read(ctx, func(c conn) error {
		ids = nil
		return c.each(qUnlisted, func(r row) (bool, error) {
			ids = append(ids, r.int(0))
			return true, nil
		}, s.ring.Mac("list", system, list), run, limited(limit, 50, 1000))
	})
	if err != nil {
		return nil, fmt.Errorf("read who left list %s of %s: %w", list, system, err)
	}
	out := make([]ledger.Member, len(ids))
	for i, id := range ids {
		m, err := s.Message(ctx, id)
		if err != nil {
			return nil, err
		}
		out[i] = ledger.Member{Doc: m.Doc, Message: id}
	}
	return out, nil
}

// Members counts who is on a list, by its newest run and by earlier ones; see
// ledger.Ledger.
func (s *Store) Members(ctx context.Context, system, list string) (now, earlier int64, err error) {
	name := s.ring.Mac("list", system, list)
	err = s.readAll(ctx, func(c conn) error {
		var run, all int64
		if _, err := one(c, qLatestRun, func(r row) { run = r.int(0) }, name); err != nil {
			return err
		}
		if _, err := one(c, qMembers, func(r row) { all = r.int(0) }, name); err != nil {
			return err
		}
		_, err := one(c, qMembersOf, func(r row) { now = r.int(0) }, name, run)
		earlier = all - now
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count list %s of %s: %w", list, system, err)
	}
	return now, earlier, nil
}
