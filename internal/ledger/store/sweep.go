package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// Retention and the archive go through the messages in the order in which they
// came, a few at a time: a cursor says how far each got, and those that were
// not ready are noted and looked at again. A step reads, then writes one short
// unit, then rests, so that work goes on beside it.
const (
	taskWipe    = "wipe"
	taskArchive = "archive"
)

const (
	// stepRows is how many rows a unit changes at most, but for one message that
	// has more by itself.
	stepRows = 400
	// stepLook is how many messages a step looks at.
	stepLook = 200
	// againAfter is how often those that were not ready are looked at again.
	againAfter = 24 * time.Hour
)

const (
	qCandidates  = `SELECT id, received FROM message WHERE id > ? ORDER BY id LIMIT ?`
	qPassedNext  = `SELECT message FROM passed WHERE task = ? AND message > ? ORDER BY message LIMIT ?`
	qPass        = `INSERT INTO passed (task, message) VALUES (?, ?) ON CONFLICT (task, message) DO NOTHING`
	qUnpass      = `DELETE FROM passed WHERE task = ? AND message = ?`
	qCursor      = `SELECT value FROM setting WHERE name = ?`
	qAddCursor   = `INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`
	qSetCursor   = `UPDATE setting SET value = ? WHERE name = ? AND value = ?`
	qPutCursor   = `UPDATE setting SET value = ? WHERE name = ?`
	qStill       = `SELECT COUNT(*), COALESCE(SUM(CASE WHEN ended = 0 THEN 1 ELSE 0 END), 0), COALESCE(MAX(ended), 0) FROM delivery WHERE message = ?`
	qSalt        = `SELECT salt FROM message WHERE id = ?`
	qOnList      = `SELECT 1 FROM listed WHERE doc = ? LIMIT 1`
	qNewest      = `SELECT message FROM version WHERE doc = ? ORDER BY seq DESC, message DESC LIMIT 1`
	qWipeMessage = `UPDATE message SET salt = NULL, head = ?, body = NULL WHERE id = ?`
	qWipeEach    = `UPDATE delivery SET sealed = ? WHERE id = ?`
	qWipePlans   = `UPDATE plan SET body = NULL WHERE id >= ? AND id < ? AND body IS NOT NULL`
	qWipeJournal = `UPDATE journal SET body = NULL WHERE plan >= ? AND plan < ? AND body IS NOT NULL`
	qWipeAsked   = `UPDATE question SET sealed = NULL, answer = NULL WHERE delivery = ?`
	qCutMessage  = `DELETE FROM message WHERE id = ?`
	qCutDelivery = `DELETE FROM delivery WHERE id = ?`
	qCutPlans    = `DELETE FROM plan WHERE id >= ? AND id < ?`
	qCutJournal  = `DELETE FROM journal WHERE plan >= ? AND plan < ?`
	qCutQuestion = `DELETE FROM question WHERE id = ?`
	qCutAudit    = `DELETE FROM audit WHERE id = ?`
	qAddGone     = `INSERT INTO gone_file (id) VALUES (?) ON CONFLICT (id) DO NOTHING`
	qGone        = `SELECT id FROM gone_file ORDER BY id LIMIT 200`
	qDropGone    = `DELETE FROM gone_file WHERE id = ?`
)

// bundle is a message with all that belongs to it.
type bundle struct {
	message  int64
	received int64
	rows     [][][]any // by archivedTables
	doc      []byte    // as in version, nil for none
	head     head
	box      *seal.Box
	salt     []byte
	each     []string // of its deliveries
	filed    bool     // its content was in a file
	open     int      // deliveries that have not ended
	ended    int64    // when the last one did, or when it came
}

// sweep is one task's way through the messages.
type sweep struct {
	s      *Store
	task   string
	now    int64 // microseconds
	before int64
	rest   func(took time.Duration) error
	n      int64 // messages dealt with
	work   func(ctx context.Context, ready []*bundle, rest func(t *tx) error) error
}

// Keep wipes contents and archives deliveries that are older than k says, as
// far as they are ready, and gives room back; see ledger.Keep. It may be
// stopped and killed at any point, and begins where it was. One process does
// it at a time. now is the time of day as it is believed: ledger time is ahead
// for ever once a clock was. Pace is how long it rests after each step, in parts of what the
// step took: 0 is the usual, negative not at all.
func (s *Store) Keep(ctx context.Context, now time.Time, k ledger.Keep, pace float64) (out ledger.Kept, err error) {
	if pace == 0 {
		pace = 5
	}
	rest := func(took time.Duration) error {
		if pace < 0 {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(5*time.Millisecond, time.Duration(pace*float64(took)))):
			return nil
		}
	}
	if err := s.dropGone(ctx); err != nil {
		return out, err
	}
	if k.Content > 0 {
		w := &sweep{s: s, task: taskWipe, now: micro(now), before: micro(now) - k.Content.Microseconds(), rest: rest, work: s.wipe}
		err = w.run(ctx)
		out.Wiped = w.n
	}
	if err == nil && k.Deliveries > 0 {
		if err := s.archiveReady(); err != nil {
			return out, err
		}
		w := &sweep{s: s, task: taskArchive, now: micro(now), before: micro(now) - k.Deliveries.Microseconds(), rest: rest, work: s.toArchive}
		err = w.run(ctx)
		out.Archived = w.n
	}
	if err == nil {
		err = s.dropGone(ctx)
	}
	if err == nil {
		out.Freed, err = s.giveBack(ctx, rest)
	}
	if err != nil {
		return out, fmt.Errorf("keep the ledger small: %w", err)
	}
	return out, nil
}

func (w *sweep) run(ctx context.Context) error {
	if err := w.again(ctx); err != nil {
		return err
	}
	for {
		began := time.Now()
		more, err := w.step(ctx)
		if err != nil || !more {
			return err
		}
		if err := w.rest(time.Since(began)); err != nil {
			return err
		}
	}
}

// errElsewhere: another process moved the cursor.
var errElsewhere = errors.New("another node does the same just now")

// step deals with the next messages; it gives false when none is left that is
// old enough.
func (w *sweep) step(ctx context.Context) (more bool, err error) {
	name := "sweep " + w.task
	at, had, err := w.cursor(ctx, name)
	if err != nil {
		return false, err
	}
	var ids []int64
	err = w.s.read(ctx, func(c conn) error {
		ids, more = nil, false
		return c.each(qCandidates, func(r row) (bool, error) {
			if r.int(1) >= w.before {
				more = false
				return false, nil
			}
			ids, more = append(ids, r.int(0)), true
			return true, nil
		}, at, int64(stepLook))
	})
	if err != nil || len(ids) == 0 {
		return false, err
	}
	ready, passed, looked, err := w.look(ctx, ids)
	if err != nil {
		return false, err
	}
	more = more || looked < len(ids)
	to := strconv.AppendInt(nil, ids[looked-1], 10)
	err = w.work(ctx, ready, func(t *tx) error {
		for _, id := range passed {
			if err := t.must(qPass, w.task, id); err != nil {
				return err
			}
		}
		n, err := t.exec(qSetCursor, to, name, had)
		if err == nil && n != 1 {
			err = errElsewhere
		}
		return err
	})
	w.n += int64(len(ready))
	return more, err
}

func (w *sweep) cursor(ctx context.Context, name string) (at int64, had []byte, err error) {
	read := func() error {
		return w.s.read(ctx, func(c conn) error {
			_, err := one(c, qCursor, func(r row) { had = r.blob(0) }, name)
			return err
		})
	}
	if err = read(); err != nil {
		return 0, nil, err
	}
	if had == nil {
		if _, err = doWith(ctx, w.s, lanes, need{}, func(t *tx) (struct{}, error) {
			return struct{}{}, t.must(qAddCursor, name, []byte("0"))
		}); err == nil {
			err = read()
		}
		if err != nil {
			return 0, nil, err
		}
	}
	at, err = strconv.ParseInt(string(had), 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("setting %s: %w", name, err)
	}
	return at, had, nil
}

// look reads messages and tells which are ready, as many as one unit takes.
func (w *sweep) look(ctx context.Context, ids []int64) (ready []*bundle, passed []int64, looked int, err error) {
	rows := 0
	err = w.s.readAll(ctx, func(c conn) error {
		ready, passed, looked, rows = nil, nil, 0, 0
		for _, id := range ids {
			b, err := w.s.bundle(c, id)
			if err != nil {
				return err
			}
			ok := b != nil
			if ok {
				if ok, err = w.ripe(c, b); err != nil {
					return err
				}
			}
			n := 1
			if ok {
				for _, r := range b.rows {
					n += len(r)
				}
			}
			if rows > 0 && rows+n > stepRows {
				return nil
			}
			rows += n
			looked++
			switch {
			case ok:
				ready = append(ready, b)
			case b == nil:
			case b.open > 0:
				passed = append(passed, id)
			case w.task == taskWipe && b.salt == nil: // wiped before
			default:
				passed = append(passed, id)
			}
		}
		return nil
	})
	return ready, passed, looked, err
}

// ripe tells whether a message may be dealt with: all its deliveries ended long
// enough ago, and no list needs it to say who left.
func (w *sweep) ripe(c conn, b *bundle) (bool, error) {
	if b.open > 0 || b.ended >= w.before || w.task == taskWipe && b.salt == nil {
		return false, nil
	}
	if b.doc == nil {
		return true, nil
	}
	on, err := one(c, qOnList, func(row) {}, b.doc)
	if err != nil || !on {
		return err == nil, err
	}
	newest := int64(0)
	_, err = one(c, qNewest, func(r row) { newest = r.int(0) }, b.doc)
	return err == nil && newest != b.message, err
}

// again looks once more at what was passed, once a day.
func (w *sweep) again(ctx context.Context) error {
	name := "passed " + w.task
	at, had, err := w.cursor(ctx, name)
	if age := w.now - at; err != nil || age >= 0 && age < againAfter.Microseconds() {
		return err
	}
	last := int64(0)
	for {
		began := time.Now()
		var ids []int64
		err := w.s.read(ctx, func(c conn) error {
			ids = nil
			return c.each(qPassedNext, func(r row) (bool, error) {
				ids = append(ids, r.int(0))
				return true, nil
			}, w.task, last, int64(stepLook))
		})
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		ready, passed, looked, err := w.look(ctx, ids)
		if err != nil {
			return err
		}
		last = ids[looked-1]
		gone := map[int64]bool{}
		for _, id := range ids[:looked] {
			gone[id] = true
		}
		for _, id := range passed {
			delete(gone, id)
		}
		if len(gone) == 0 {
			continue
		}
		if err := w.work(ctx, ready, func(t *tx) error {
			for _, id := range ids[:looked] {
				if !gone[id] {
					continue
				}
				if err := t.must(qUnpass, w.task, id); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		w.n += int64(len(ready))
		if err := w.rest(time.Since(began)); err != nil {
			return err
		}
	}
	_, err = doWith(ctx, w.s, lanes, need{}, func(t *tx) (struct{}, error) {
		n, err := t.exec(qSetCursor, strconv.AppendInt(nil, w.now, 10), name, had)
		if err == nil && n != 1 {
			err = errElsewhere
		}
		return struct{}{}, err
	})
	return err
}

// bundle reads a message with all that belongs to it, nil if it is not there.
func (s *Store) bundle(c conn, id int64) (*bundle, error) {
	cols := s.archive.cols
	b := &bundle{message: id, rows: make([][][]any, len(archivedTables))}
	read := func(i int, where string, args ...any) error {
		table := archivedTables[i]
		return c.each("SELECT "+columnList(cols[table])+" FROM "+table+where, func(r row) (bool, error) {
			b.rows[i] = append(b.rows[i], scanColumns(r, cols[table]))
			return true, nil
		}, args...)
	}
	if err := read(0, bundleMessage, id); err != nil || len(b.rows[0]) == 0 {
		return nil, err
	}
	if err := read(1, bundleDeliveries, id); err != nil {
		return nil, err
	}
	col := cols["delivery"]
	b.received = b.rows[0][0][place(cols["message"], "received")].(int64)
	b.ended = b.received
	for _, d := range b.rows[1] {
		ended := d[place(col, "ended")].(int64)
		if ended == 0 {
			b.open++
		}
		b.ended = max(b.ended, ended)
	}
	if b.open > 0 {
		return b, nil // it is not needed
	}
	for _, d := range b.rows[1] {
		del := d[place(col, "id")].(int64)
		if err := errors.Join(read(2, bundlePlans, planID(del, 0), planID(del+1, 0)), read(3, bundleJournal, planID(del, 0), planID(del+1, 0)),
			read(4, bundleQuestions, del), read(5, bundleAudits, del)); err != nil {
			return nil, err
		}
	}
	return b, s.openBundle(b)
}

const (
	bundleMessage    = ` WHERE id = ?`
	bundleDeliveries = ` WHERE message = ? ORDER BY id`
	bundlePlans      = ` WHERE id >= ? AND id < ? ORDER BY id`
	bundleJournal    = ` WHERE plan >= ? AND plan < ? ORDER BY plan, n`
	bundleQuestions  = ` WHERE delivery = ? ORDER BY id`
	bundleAudits     = ` WHERE delivery = ? AND delivery <> 0 ORDER BY id`
)

// openBundle opens what says which document it is, and the each-keys.
func (s *Store) openBundle(b *bundle) error {
	cols, m := s.archive.cols, b.rows[0][0]
	col := cols["message"]
	b.salt, _ = m[place(col, "salt")].([]byte)
	b.box = s.ring.Box(b.salt)
	sealed, _ := m[place(col, "head")].([]byte)
	var err error
	if b.head, err = openHead(b.box, b.message, sealed); err != nil {
		return fmt.Errorf("message %d: %w", b.message, err)
	}
	if b.head.Doc != "" {
		b.doc = s.ring.Mac("doc", m[place(col, "system")].(string), b.head.Doc)
	}
	col = cols["delivery"]
	for _, d := range b.rows[1] {
		sealed, _ := d[place(col, "sealed")].([]byte)
		each, err := b.box.Open(seal.Row("delivery", b.message, d[place(col, "flow")].(string)), sealed)
		if err != nil {
			return fmt.Errorf("delivery %d: %w", d[0], err)
		}
		b.each = append(b.each, string(each))
	}
	return nil
}

// still tells, within a unit, whether a message is as it was read.
func (t *tx) still(b *bundle) (bool, error) {
	var n, open, ended int64
	if _, err := one(t, qStill, func(r row) { n, open, ended = r.int(0), r.int(1), r.int(2) }, b.message); err != nil {
		return false, err
	}
	return n == int64(len(b.rows[1])) && open == 0 && max(ended, b.received) == b.ended, nil
}

// wipe destroys the keys of messages, and what was sealed with them. What says
// which document it was, and the each-keys, are sealed anew with the ledger's
// own key: they are needed for routing, for ever (law 33).
func (s *Store) wipe(ctx context.Context, ready []*bundle, rest func(t *tx) error) error {
	type sealed struct {
		head []byte
		each [][]byte
	}
	anew := make([]sealed, len(ready))
	main := s.ring.Main()
	col := s.archive.cols["delivery"]
	for i, b := range ready {
		h := b.head
		h.Problem = ""
		body, err := json.Marshal(h)
		if err != nil {
			return fmt.Errorf("encode head: %w", err)
		}
		anew[i].head = main.Seal(seal.Row("message", b.message, "head"), body)
		for j, d := range b.rows[1] {
			var key []byte
			if b.each[j] != "" {
				key = main.Seal(seal.Row("delivery", b.message, d[place(col, "flow")].(string)), []byte(b.each[j]))
			}
			anew[i].each = append(anew[i].each, key)
		}
	}
	_, err := doWith(ctx, s, lanes, need{}, func(t *tx) (struct{}, error) {
		for i, b := range ready {
			if err := t.wipeOne(b, anew[i].head, anew[i].each); err != nil {
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

func (t *tx) wipeOne(b *bundle, head []byte, each [][]byte) error {
	if ok, err := t.still(b); err != nil {
		return err
	} else if !ok {
		return t.must(qPass, taskWipe, b.message)
	}
	if err := t.goneFile(b); err != nil {
		return err
	}
	for j, d := range b.rows[1] {
		id := d[place(t.s.archive.cols["delivery"], "id")].(int64)
		if err := t.must(qWipeEach, each[j], id); err != nil {
			return err
		}
		if len(b.rows[4]) > 0 {
			if err := t.must(qWipeAsked, id); err != nil {
				return err
			}
		}
	}
	if t.s.pg == nil {
		return t.putWiped(b, head)
	}
	if err := t.must(qWipeMessage, head, b.message); err != nil {
		return err
	}
	return t.ofPlans(b, qWipePlans, qWipeJournal)
}

// ofPlans runs statements on the plans, and their journals, of a message's deliveries.
func (t *tx) ofPlans(b *bundle, queries ...string) error {
	for _, d := range b.rows[1] {
		id := d[place(t.s.archive.cols["delivery"], "id")].(int64)
		for _, q := range queries {
			if err := t.must(q, planID(id, 0), planID(id+1, 0)); err != nil {
				return err
			}
		}
	}
	return nil
}

// putWiped puts the rows of a message, its plans and their journals anew, wiped.
// So it is on SQLite: only then are pages that are nearly empty joined, and it
// is half of the disk that a wiped ledger takes.
func (t *tx) putWiped(b *bundle, head []byte) error {
	if err := t.must(qCutMessage, b.message); err != nil {
		return err
	}
	if err := t.ofPlans(b, qCutPlans, qCutJournal); err != nil {
		return err
	}
	wiped := map[string]any{"salt": nil, "head": head, "body": nil}
	for _, i := range []int{0, 2, 3} {
		cols := t.s.archive.cols[archivedTables[i]]
		insert := insertInto("INSERT", archivedTables[i], cols)
		for _, r := range b.rows[i] {
			r = slices.Clone(r)
			for k, c := range cols {
				if v, is := wiped[c.name]; is {
					r[k] = v
				}
			}
			if err := t.must(insert, r...); err != nil {
				return err
			}
		}
	}
	return nil
}

// goneFile notes that the file of a message is to be removed once this is
// committed.
func (t *tx) goneFile(b *bundle) error {
	body, _ := b.rows[0][0][place(t.s.archive.cols["message"], "body")].([]byte)
	if !isFiled(body) {
		return nil
	}
	return t.must(qAddGone, b.message)
}

// dropGone removes the files of messages that were wiped or archived.
func (s *Store) dropGone(ctx context.Context) error {
	if s.files == nil {
		return nil
	}
	for {
		var ids []int64
		if err := s.read(ctx, func(c conn) error {
			ids = nil
			return c.each(qGone, func(r row) (bool, error) {
				ids = append(ids, r.int(0))
				return true, nil
			})
		}); err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := os.Remove(s.bodyPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove the file of message %d: %w", id, err)
			}
		}
		if _, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
			for _, id := range ids {
				if err := t.must(qDropGone, id); err != nil {
					return struct{}{}, err
				}
			}
			return struct{}{}, nil
		}); err != nil {
			return err
		}
	}
}
