package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// openArchive learns which columns there are to archive, at the opening.
func (s *Store) openArchive(c conn, dir string) error {
	if s.opts.Archive != "" {
		dir = s.opts.Archive
	} else {
		dir = filepath.Join(dir, "archive")
	}
	s.archive = &archive{dir: dir, cols: map[string][]column{}}
	for _, table := range archivedTables {
		cols, err := columnsOf(c, table, s.pg != nil)
		if err != nil {
			return fmt.Errorf("read the columns of %s: %w", table, err)
		}
		s.archive.cols[table] = cols
	}
	return nil
}

// archiveReady tells whether the archive may be written.
func (s *Store) archiveReady() error {
	floor := s.opts.MinFree
	if floor < 0 {
		return nil
	}
	if floor == 0 {
		floor = usualFloor
	}
	if err := os.MkdirAll(s.archive.dir, 0o700); err != nil {
		return fmt.Errorf("make the archive's folder: %w", err)
	}
	free, err := s.freeSpace(s.archive.dir)
	if err != nil {
		return fmt.Errorf("look at the free space of the archive: %w", err)
	}
	if free < floor {
		return fmt.Errorf("%d MB are free in the archive's folder %s, %d MB are the floor: %w", free>>20, s.archive.dir, floor>>20, ledger.ErrFull)
	}
	return nil
}

// toArchive copies messages with all that belongs to them into the files of
// their months, and deletes them from the ledger once the copies are durable.
func (s *Store) toArchive(ctx context.Context, ready []*bundle, rest func(t *tx) error) error {
	byMonth := map[string][]*bundle{}
	for _, b := range ready {
		if err := s.withFile(b); err != nil {
			return err
		}
		name := monthOf(b.received)
		byMonth[name] = append(byMonth[name], b)
	}
	for name, list := range byMonth {
		err := s.archive.with(name, func(f *archiveFile) error {
			return f.store(s.archive, list, func() error { return s.fault("before archiving") })
		})
		if err != nil {
			return fmt.Errorf("archive %s: %w", name, err)
		}
	}
	if err := s.fault("archived"); err != nil {
		return err
	}
	stay := make([][][]byte, len(ready))
	for i, b := range ready {
		for j, d := range b.rows[1] {
			row, err := s.sealRouted(b, d, b.each[j])
			if err != nil {
				return err
			}
			stay[i] = append(stay[i], row)
		}
	}
	_, err := doWith(ctx, s, lanes, need{}, func(t *tx) (struct{}, error) {
		for i, b := range ready {
			if err := t.cut(b, stay[i]); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, rest(t)
	})
	if err != nil {
		return err
	}
	return s.dropGone(ctx)
}

// withFile takes the content of a message that is in a file of its own into
// its row.
func (s *Store) withFile(b *bundle) error {
	at := place(s.archive.cols["message"], "body")
	body, _ := b.rows[0][0][at].([]byte)
	if !isFiled(body) {
		return nil
	}
	sealed, err := os.ReadFile(s.bodyPath(b.message))
	if err != nil {
		return fmt.Errorf("message %d: %w", b.message, err)
	}
	b.filed = true
	b.rows[0][0][at] = sealed
	return nil
}

func (s *Store) sealRouted(b *bundle, d []any, each string) ([]byte, error) {
	body, err := json.Marshal(routedBody{b.head.Doc, b.head.Version, each})
	if err != nil {
		return nil, fmt.Errorf("encode where a document went: %w", err)
	}
	maker := d[place(s.archive.cols["delivery"], "maker")].([]byte)
	return s.ring.Main().Seal(seal.RowKey("routed", maker, "sealed"), body), nil
}

// cut deletes a message that is in the archive, with all that belongs to it,
// and keeps where it was routed to.
func (t *tx) cut(b *bundle, stay [][]byte) error {
	if ok, err := t.still(b); err != nil {
		return err
	} else if !ok {
		return t.must(qPass, taskArchive, b.message)
	}
	col := t.s.archive.cols["delivery"]
	for j, d := range b.rows[1] {
		id := d[place(col, "id")].(int64)
		if b.doc != nil {
			if err := t.keepRoute(b, d, stay[j]); err != nil {
				return err
			}
		}
		if err := t.must(qCutDelivery, id); err != nil {
			return err
		}
	}
	if err := t.ofPlans(b, qCutJournal, qCutPlans); err != nil {
		return err
	}
	for i, q := range map[int]string{4: qCutQuestion, 5: qCutAudit} {
		for _, r := range b.rows[i] {
			if err := t.must(q, r[place(t.s.archive.cols[archivedTables[i]], "id")]); err != nil {
				return err
			}
		}
	}
	if b.filed {
		if err := t.must(qAddGone, b.message); err != nil {
			return err
		}
	}
	if err := t.must(qUnpass, taskWipe, b.message); err != nil {
		return err
	}
	return t.must(qCutMessage, b.message)
}

func (t *tx) keepRoute(b *bundle, d []any, sealed []byte) error {
	col, mcol := t.s.archive.cols["delivery"], t.s.archive.cols["message"]
	get := func(name string) any { return d[place(col, name)] }
	newer, err := one(t, qRoutedNewer, func(row) {}, get("maker"), get("id"))
	if err != nil || newer {
		return err
	}
	m := b.rows[0][0]
	return t.must(qSetRouted, get("maker"), b.doc, get("id"), b.message, m[place(mcol, "system")], m[place(mcol, "kind")], get("flow"), get("lane"), get("seq"),
		get("state"), get("systems"), get("calls"), get("generation"), get("created"), get("ended"), sealed)
}

// Archived lists deliveries in the archive, newest first, by flow, states,
// message and number; other parts of the filter are not for the archive.
func (s *Store) Archived(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error) {
	if f.System != "" || f.Cause != "" {
		return nil, fmt.Errorf("the archive is listed by flow and state only: %w", ledger.ErrState)
	}
	l := &listed{s: s, f: f, below: below(f.After), limit: limited(f.Limit, 50, 1000)}
	for _, st := range f.States {
		if strings.ContainsAny(string(st), `'\`) {
			return nil, fmt.Errorf("%q is no state: %w", st, ledger.ErrState)
		}
	}
	months, err := s.archive.months()
	if err != nil {
		return nil, err
	}
	for _, m := range months {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if int64(len(l.rows)) >= l.limit {
			break
		}
		q, args := qListAll, []any{}
		if f.Message != 0 {
			q, args = qListMessage, []any{f.Message}
		}
		if err := s.archive.with(m, func(f *archiveFile) error { return l.page(f, q, l.below, args...) }); err != nil {
			return nil, fmt.Errorf("list the archive %s: %w", m, err)
		}
	}
	out, err := s.openAll(l.newest())
	for i := range out {
		out[i].Archived = true
	}
	return out, err
}

// Archives lists the month files of this node, newest first.
func (s *Store) Archives(ctx context.Context) ([]ledger.ArchiveFile, error) {
	months, err := s.archive.months()
	if err != nil {
		return nil, err
	}
	out := make([]ledger.ArchiveFile, 0, len(months))
	for _, m := range months {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		a := ledger.ArchiveFile{Path: filepath.Join(s.archive.dir, m)}
		err := s.archive.with(m, func(f *archiveFile) error {
			_, err := one(f, qArchivedCount, func(r row) { a.Deliveries = r.int(0) })
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the archive %s: %w", m, err)
		}
		if info, err := os.Stat(a.Path); err == nil {
			a.Bytes = info.Size()
		}
		out = append(out, a)
	}
	return out, nil
}

const (
	qMadeBy        = `SELECT name, sealed FROM made WHERE maker = ? ORDER BY name`
	qArchivedHas   = `SELECT 1 FROM delivery WHERE id = ?`
	qArchivedCount = `SELECT COUNT(*) FROM delivery`
)

// archived gives a delivery that is in the archive; of one whose file is on
// another node, what stayed in the ledger; nil if there is none.
func (s *Store) archived(ctx context.Context, id int64) (*sealedWork, error) {
	months, err := s.archive.months()
	if err != nil {
		return nil, err
	}
	for _, m := range months {
		sw := &sealedWork{}
		found := false
		err := s.archive.with(m, func(f *archiveFile) (err error) {
			if found, err = one(f, qWork, func(r row) { sw.row = scanWork(r) }, id); err != nil || !found {
				return err
			}
			d := &sw.row.d
			reads := []reading{questionsOf(sw, d.ID)}
			if sw.row.planned {
				plan := planID(d.ID, int64(d.PlanNo))
				reads = append(reads, first(qPlan, func(r row) { sw.plan = r.blob(0) }, plan), all(qJournal, func(r row) { sw.journal = append(sw.journal, scanStep(r)) }, plan))
			}
			return f.every(reads...)
		})
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w", m, err)
		}
		if found {
			sw.row.d.Archived = true
			return sw, s.aroundArchived(ctx, sw)
		}
	}
	var slim *routedRow
	if err := s.read(ctx, func(c conn) error {
		_, err := one(c, qRoutedOne, func(r row) {
			row := scanRouted(r)
			slim = &row
		}, id)
		return err
	}); err != nil || slim == nil {
		return nil, err
	}
	d, err := slim.open(s.ring)
	if err != nil {
		return nil, err
	}
	sw := &sealedWork{row: workRow{d: d, maker: slim.maker}}
	return sw, s.aroundArchived(ctx, sw)
}

// aroundArchived reads what the ledger itself knows of an archived delivery.
func (s *Store) aroundArchived(ctx context.Context, sw *sealedWork) error {
	return s.read(ctx, func(c conn) error {
		sw.made = nil
		return c.every(first(qLane, func(r row) { sw.lane = scanLane(r) }, sw.row.d.Lane),
			all(qMadeBy, func(r row) { sw.made = append(sw.made, scanMade(r)) }, sw.row.maker))
	})
}

// archivedMessage gives a message that is in the archive, ErrNotFound if none is.
func (s *Store) archivedMessage(id int64) (*connector.Message, error) {
	months, err := s.archive.months()
	if err != nil {
		return nil, err
	}
	for _, m := range months {
		var w *workRow
		if err := s.archive.with(m, func(f *archiveFile) error {
			_, err := one(f, qMessage, func(r row) {
				row := scanMessage(r, true)
				w = &row
			}, id)
			return err
		}); err != nil {
			return nil, fmt.Errorf("archive %s: %w", m, err)
		}
		if w != nil {
			out, err := w.message(s, s.ring.Box(w.salt))
			return &out, err
		}
	}
	return nil, ledger.ErrNotFound
}

// archivedAudits reads the lines about a delivery that is in the archive.
func (s *Store) archivedAudits(delivery int64, q string, take func(row) (bool, error), args []any) error {
	months, err := s.archive.months()
	for _, m := range months {
		if err != nil {
			return err
		}
		found := false
		err = s.archive.with(m, func(f *archiveFile) (err error) {
			if found, err = one(f, qArchivedHas, func(row) {}, delivery); err != nil || !found {
				return err
			}
			return f.each(q, take, args...)
		})
		if found {
			return err
		}
	}
	return err
}

const (
	// vacuumBite is how many free pages are given back in one unit.
	vacuumBite = 256
	// vacuumKept is how many free pages stay in the file, for what comes: 64 MB,
	// or an eighth of the file.
	vacuumKept = 16_384
	keptPart   = 8
)

// giveBack gives free pages of a SQLite file back to the disk, some at a time,
// but for some that are soon used again. It gives the bytes.
func (s *Store) giveBack(ctx context.Context, rest func(time.Duration) error) (freed int64, err error) {
	if s.pg != nil {
		return 0, nil // autovacuum's work
	}
	for {
		var free, pages, size int64
		if err := s.read(ctx, func(c conn) error {
			return c.every(first("PRAGMA freelist_count", func(r row) { free = r.int(0) }), first("PRAGMA page_count", func(r row) { pages = r.int(0) }),
				first("PRAGMA page_size", func(r row) { size = r.int(0) }))
		}); err != nil {
			return freed, err
		}
		kept := max(s.keptPages(), pages/keptPart)
		if free <= kept {
			return freed, nil
		}
		began := time.Now()
		bite := min(vacuumBite, free-kept)
		if _, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
			return struct{}{}, t.must(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumBite))
		}); err != nil {
			return freed, err
		}
		freed += bite * size
		if err := rest(time.Since(began)); err != nil {
			return freed, err
		}
	}
}

func (s *Store) keptPages() int64 {
	if s.opts.KeepFree > 0 {
		return s.opts.KeepFree
	}
	return vacuumKept
}

// errArchived says what cannot be done with a delivery that is in the archive.
func (t *tx) errArchived(id int64) error {
	found, err := one(t, qRoutedOne, func(row) {}, id)
	if err != nil {
		return err
	}
	if found {
		return fmt.Errorf("delivery %d is in the archive and cannot be tried again; have its source send the document again: %w", id, ledger.ErrState)
	}
	return fmt.Errorf("delivery %d: %w", id, ledger.ErrNotFound)
}

// notWiped refuses to run a delivery again whose message was wiped.
func (t *tx) notWiped(d *brief) error {
	var salt []byte
	found, err := one(t, qSalt, func(r row) { salt = r.blob(0) }, d.message)
	if err != nil {
		return err
	}
	if found && salt == nil {
		return fmt.Errorf("delivery %d: %w; have its source send the document again", d.id, errWiped)
	}
	return nil
}

var errWiped = errors.Join(ledger.ErrWiped, ledger.ErrState)
