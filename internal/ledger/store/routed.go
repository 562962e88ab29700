package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// Of an archived delivery a slim row stays, one for each document, flow and
// each-key: where the next version of the document, or its withdrawal, is to be
// routed to, and in whose lane it stood.
const (
	routedCols = `r.maker, r.delivery, r.message, r.system, r.kind, r.flow, r.lane, r.seq, r.state, r.systems, r.calls, r.generation, r.created, r.ended, r.sealed`

	// One that a person made due again may still be there.
	notThere     = ` AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = r.delivery)`
	qDocKnown    = `SELECT 1 FROM version WHERE doc = ? UNION ALL SELECT 1 FROM routed WHERE doc = ? LIMIT 1`
	qRoutedDoc   = `SELECT ` + routedCols + ` FROM routed r WHERE r.doc = ?` + notThere + ` ORDER BY r.delivery`
	qRoutedLane  = `SELECT ` + routedCols + ` FROM routed r WHERE r.lane = ? AND r.delivery < ?` + notThere + ` ORDER BY r.delivery DESC LIMIT ?`
	qRoutedOne   = `SELECT ` + routedCols + ` FROM routed r WHERE r.delivery = ?`
	qRoutedNewer = `SELECT 1 FROM routed WHERE maker = ? AND delivery > ?`
	qSetRouted   = `INSERT INTO routed (maker, doc, delivery, message, system, kind, flow, lane, seq, state, systems, calls, generation, created, ended, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (maker) DO UPDATE SET delivery = excluded.delivery, message = excluded.message, lane = excluded.lane, seq = excluded.seq, state = excluded.state, systems = excluded.systems, calls = excluded.calls, generation = excluded.generation, created = excluded.created, ended = excluded.ended, sealed = excluded.sealed`
)

type routedRow struct {
	d             ledger.Delivery
	maker, sealed []byte
}

type routedBody struct {
	Doc     string `json:"doc"`
	Version string `json:"version,omitempty"`
	Each    string `json:"each,omitempty"`
}

func scanRouted(r row) routedRow {
	out := routedRow{maker: r.blob(0), sealed: r.blob(14)}
	out.d = ledger.Delivery{ID: r.int(1), Message: r.int(2), System: r.text(3), Kind: r.text(4), Flow: r.text(5), Lane: r.int(6), Seq: r.int(7),
		State: ledger.State(r.text(8)), Calls: int(r.int(10)), Generation: int(r.int(11)), Created: fromMicro(r.int(12)), Ended: fromMicro(r.int(13)), Archived: true}
	if s := r.text(9); s != "" {
		out.d.Systems = strings.Split(s, "\n")
	}
	return out
}

func (r *routedRow) open(ring *seal.Ring) (ledger.Delivery, error) {
	b, err := ring.Main().Open(seal.RowKey("routed", r.maker, "sealed"), r.sealed)
	if err != nil {
		return r.d, fmt.Errorf("archived delivery %d: %w", r.d.ID, err)
	}
	var body routedBody
	if err := json.Unmarshal(b, &body); err != nil {
		return r.d, fmt.Errorf("decode archived delivery %d: %w", r.d.ID, err)
	}
	r.d.Doc, r.d.Version, r.d.Each = body.Doc, body.Version, body.Each
	return r.d, nil
}

// withRouted adds archived deliveries to a listing, newest first.
func (s *Store) withRouted(out []ledger.Delivery, archived []routedRow, limit int64) ([]ledger.Delivery, error) {
	if len(archived) == 0 {
		return out, nil
	}
	for i := range archived {
		d, err := archived[i].open(s.ring)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	slices.SortStableFunc(out, func(a, b ledger.Delivery) int { return cmp.Compare(b.ID, a.ID) })
	return out[:min(int64(len(out)), limit)], nil
}

// Document lists the deliveries of all versions of a document, oldest first,
// of those in the archive the newest for each flow and each-key.
func (s *Store) Document(ctx context.Context, system, doc string) ([]ledger.Delivery, error) {
	mac := s.ring.Mac("doc", system, doc)
	known := false
	err := s.read(ctx, func(c conn) (err error) {
		known, err = one(c, qDocKnown, func(row) {}, mac, mac)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for a document: %w", err)
	}
	if !known {
		return nil, nil // as most are that come in
	}
	var rows []workRow
	var archived []routedRow
	err = s.readAll(ctx, func(c conn) error {
		rows, archived = nil, nil
		return c.every(all(qDeliveriesOfDoc, func(r row) { rows = append(rows, scanDelivery(r)) }, mac),
			all(qRoutedDoc, func(r row) { archived = append(archived, scanRouted(r)) }, mac))
	})
	if err != nil {
		return nil, fmt.Errorf("list deliveries of a document: %w", err)
	}
	out, err := s.openAll(rows)
	if err != nil {
		return nil, err
	}
	for i := range archived {
		d, err := archived[i].open(s.ring)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	slices.SortStableFunc(out, func(a, b ledger.Delivery) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}
