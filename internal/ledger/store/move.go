package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/seal"
)

// MoveOptions of a move.
type MoveOptions struct {
	Options  Options // of the ledger that is opened at the end
	Who      string
	Progress func(Progress)

	fault func() error // for tests, after each commit
	rows  int          // for tests, of a chunk
}

// Moved says what was moved.
type Moved struct {
	From        string `json:"from"`
	To          string `json:"to"`
	Tables      int    `json:"tables"`
	Rows        int64  `json:"rows"`
	Archives    int    `json:"archives"`
	Incarnation int64  `json:"incarnation"`
	Restarted   bool   `json:"restarted"` // it went on where an earlier one was stopped
}

// FolderScheme begins the name of a data folder that a ledger is moved to.
const FolderScheme = "folder:"

// home is where a ledger is, or goes.
type home struct {
	side
	words    string // for a person, without a password
	dir      string // its data folder
	database string // "" for SQLite
	p        *postgres
	lock     *os.File
}

// unlock lets nodes open it; they are told why they cannot.
func (h *home) unlock() error {
	if h.p == nil {
		return nil
	}
	return h.conn().each(`SELECT pg_advisory_unlock(?)`, func(row) (bool, error) { return true, nil }, h.p.key("open", nil))
}

func (h *home) shut() {
	_ = h.close() // nothing is under way
	if h.lock != nil {
		_ = h.lock.Close()
		h.lock = nil
	}
}

// openHome opens a ledger to be moved, with nobody else at it.
func openHome(ctx context.Context, database, dir string, o Options) (*home, error) {
	if database != "" {
		if !IsPostgres(database) {
			_, err := Open(ctx, database, dir, o)
			return nil, err // it says what it takes
		}
		d, p, err := openPgSide(ctx, database, logTo(o))
		if err != nil {
			return nil, err
		}
		h := &home{side: d, words: p.words(), dir: dir, database: database, p: p}
		if err := d.idle(); err != nil {
			h.shut()
			return nil, fmt.Errorf("%s: %w", h.words, err)
		}
		return h, nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := checkLocal(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	c, err := openWriter(filepath.Join(dir, ledgerFile))
	if err == nil {
		if err = migrate(c, sqliteDialect); err != nil {
			_ = c.close() // the first error is the one to tell
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &home{side: &sqliteSide{c, bodiesOf(dir)}, words: "the folder " + abs, dir: dir, lock: lock}, nil
}

// target opens where a move goes: "postgres://…" or "folder:PATH". On
// PostgreSQL the node's folder stays the one that the ledger came from.
func target(ctx context.Context, to, dir string, o Options) (*home, error) {
	if path, ok := strings.CutPrefix(to, FolderScheme); ok && path != "" {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		return openHome(ctx, "", path, o)
	}
	if IsPostgres(to) {
		return openHome(ctx, to, dir, o)
	}
	return nil, errors.New("move to what? Give postgres://user@host/database, or folder:PATH")
}

// Move carries a ledger to another database, and seals the one that it came
// from (law 24): it is not opened again. Nobody may have it open meanwhile. to
// is a URL of PostgreSQL, or "folder:PATH" for SQLite in an empty data folder.
// A move that was killed goes on where it was when it is called again. At the
// end everything is read back and compared, and the incarnation is raised.
func Move(ctx context.Context, database, dir, to string, o MoveOptions) (_ *Moved, err error) {
	if database == "" && !exists(filepath.Join(dir, ledgerFile)) {
		return nil, fmt.Errorf("there is no ledger in %s to move", dir)
	}
	from, err := openHome(ctx, database, dir, o.Options)
	if err != nil {
		return nil, err
	}
	defer from.shut()
	dst, err := target(ctx, to, dir, o.Options)
	if err != nil {
		return nil, err
	}
	defer dst.shut()
	ring, err := seal.Load(seal.Path(dir))
	if err != nil {
		return nil, fmt.Errorf("the keyring: %w", err)
	}
	m := &moving{from: from, to: dst, ring: ring, o: o, out: &Moved{From: from.words, To: dst.words}}
	if err := m.run(ctx); err != nil {
		return nil, fmt.Errorf("move %s to %s: %w", from.words, dst.words, err)
	}
	from.shut()
	dst.shut()
	if dst.database == "" {
		if err := carryFolder(from.dir, dst.dir, o.Options.Archive == "", m.out); err != nil {
			return nil, err
		}
	}
	s, err := Open(ctx, dst.database, dst.dir, o.Options)
	if err != nil {
		return nil, fmt.Errorf("the ledger is at %s, but %w", dst.words, err)
	}
	m.out.Incarnation = s.Incarnation()
	return m.out, s.Close()
}

// moving is a move under way.
type moving struct {
	from, to *home
	ring     *seal.Ring
	o        MoveOptions
	out      *Moved
}

func (m *moving) run(ctx context.Context) error {
	src, dst := m.from.conn(), m.to.conn()
	id, err := nameLedger(src)
	if err != nil {
		return err
	}
	if err := m.welcome(src, dst, id); err != nil {
		return err
	}
	gone, lost, err := m.leave(src)
	if err != nil {
		return err
	}
	var at int64
	if _, err := one(src, qStands, func(r row) { at = r.int(0) }); err != nil {
		return err
	}
	order := &toRaise{Why: fmt.Sprintf("moved here from %s on %s", m.from.words, gone.At.UTC().Format(timeForm)), Who: m.o.Who, Lost: lost}
	arrived, err := settingJSON[toRaise](dst, settingRaise)
	if err != nil {
		return err
	}
	if arrived == nil || *arrived != *order { // else only the seal was left to do
		tables, err := tablesOf()
		if err != nil {
			return err
		}
		c := &copier{from: m.from, to: m.to, tables: tables, p: &progress{From: m.from.words, Ledger: id, At: at}, tell: m.o.Progress, fault: m.o.fault, rows: m.o.rows}
		if err := prepare(m.to, tables, c.p); err != nil {
			return err
		}
		m.out.Restarted = len(c.p.Tables) > 0
		// From now on both say themselves why they are not opened.
		if err := errors.Join(m.from.unlock(), m.to.unlock()); err != nil {
			return err
		}
		if err := c.run(ctx); err != nil {
			return err
		}
		if err := c.verify(ctx); err != nil {
			return err
		}
		m.out.Tables = len(tables)
		for _, t := range c.p.Tables {
			m.out.Rows += t.Rows
		}
		if err := carryRest(m.from, m.to, m.ring, order); err != nil {
			return err
		}
		if m.o.fault != nil {
			if err := m.o.fault(); err != nil {
				return err
			}
		}
	}
	gone.Done = true
	return setSettingJSON(src, settingMoved, gone)
}

// welcome refuses a target that holds something else, before the source is
// closed.
func (m *moving) welcome(src, dst conn, id string) error {
	coming, err := settingJSON[progress](dst, settingMoving)
	if err != nil {
		return err
	}
	if coming != nil && coming.Ledger == id {
		return nil
	}
	if coming != nil {
		return fmt.Errorf("%s is being copied to it: end that, or name an empty one", coming.From)
	}
	free, err := empty(dst)
	if err != nil || free {
		return err
	}
	here, err := settingOf(dst, settingLedger)
	if err != nil {
		return err
	}
	arrived, err := settingOf(dst, settingRaise)
	if err != nil {
		return err
	}
	gone, err := settingOf(src, settingMoved)
	if err != nil {
		return err
	}
	if string(here) == id && arrived != nil && gone != nil {
		return nil // all is there: only the seal is missing
	}
	return errors.New("there is a ledger in it already: name an empty one")
}

// leave closes the ledger that is moved: it is not opened from now on. It tells
// whether it had lost commits and did not know yet.
func (m *moving) leave(src conn) (gone *movedTo, lost bool, err error) {
	if gone, err = settingJSON[movedTo](src, settingMoved); err != nil {
		return nil, false, err
	}
	switch {
	case gone == nil:
		if err := usable(src); err != nil {
			return nil, false, err
		}
		gone = &movedTo{To: m.to.words, At: time.Now().UTC()}
		if err := setSettingJSON(src, settingMoved, gone); err != nil {
			return nil, false, err
		}
	case gone.To != m.to.words:
		return nil, false, fmt.Errorf("it is being moved, or was, to %s: end that with the same --to, or take it back with --undo", gone.To)
	case gone.Done:
		return nil, false, errors.New("it was moved before: serve from there")
	}
	pending, err := settingJSON[toRaise](src, settingRaise)
	if err != nil {
		return nil, false, err
	}
	return gone, pending != nil && pending.Lost, nil
}

// carryFolder copies what lies beside the ledger to another data folder: the
// keyring and the archive.
func carryFolder(from, to string, archive bool, out *Moved) error {
	if os.Getenv(seal.EnvKeyFile) == "" && !exists(seal.Path(to)) {
		if _, _, err := copyFile(seal.Path(from), seal.Path(to)); err != nil {
			return fmt.Errorf("copy the keyring: %w", err)
		}
	}
	if !archive {
		return nil // it is in a place of its own and stays
	}
	entries, err := os.ReadDir(filepath.Join(from, archiveFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || passing(e.Name()) {
			continue
		}
		if _, _, err := copyFile(filepath.Join(from, archiveFolder, e.Name()), filepath.Join(to, archiveFolder, e.Name())); err != nil {
			return fmt.Errorf("copy the archive: %w", err)
		}
		out.Archives++
	}
	return nil
}

// fingerprints tell whether anything ran on a ledger since it was moved.
var fingerprints = []string{
	`SELECT COALESCE(MAX(id), 0) FROM message`,
	`SELECT COALESCE(MAX(id), 0) FROM delivery`,
	`SELECT CAST(COALESCE(SUM(attempts + calls), 0) AS BIGINT) FROM delivery`,
	`SELECT COUNT(*) FROM delivery WHERE ended <> 0`,
	`SELECT COALESCE(MAX(id), 0) FROM plan`,
	`SELECT COUNT(*) FROM question WHERE state = 'open'`,
	`SELECT COALESCE(MAX(id), 0) FROM question`,
	`SELECT COALESCE(MAX(at), 0) FROM poll_position`,
	`SELECT COALESCE(MAX(id), 0) FROM tie`,
	`SELECT COUNT(*) FROM link`,
	`SELECT COUNT(*) FROM lesson`,
	`SELECT COUNT(*) FROM version`,
	`SELECT COUNT(*) FROM listed`,
	`SELECT COUNT(*) FROM audit WHERE act NOT IN ('raise incarnation', 'backup')`,
}

// UndoMove gives a ledger back that was moved to another place, if nothing ran
// there: the other one is sealed, and this one is opened again. Of a move that
// was not ended only the seal is taken off.
func UndoMove(ctx context.Context, database, dir, to string, o MoveOptions) (back string, err error) {
	from, err := openHome(ctx, database, dir, o.Options)
	if err != nil {
		return "", err
	}
	defer from.shut()
	src := from.conn()
	gone, err := settingJSON[movedTo](src, settingMoved)
	if err != nil {
		return "", err
	}
	if gone == nil {
		return "", fmt.Errorf("%s was not moved: there is nothing to take back", from.words)
	}
	if gone.Done {
		if to == "" {
			return "", fmt.Errorf("it was moved to %s: name that with --to, so that it can be seen whether anything ran there", gone.To)
		}
		if err := sealTarget(ctx, from, gone, to, o); err != nil {
			return "", err
		}
	}
	if database == "" {
		// The folder may have been a node's of the other ledger meanwhile.
		if err := os.Remove(markPath(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return from.words, dropSetting(src, settingMoved)
}

// sealTarget seals where a ledger was moved to, if nothing ran there.
func sealTarget(ctx context.Context, from *home, gone *movedTo, to string, o MoveOptions) error {
	dst, err := target(ctx, to, from.dir, o.Options)
	if err != nil {
		return err
	}
	defer dst.shut()
	if dst.words != gone.To {
		return fmt.Errorf("it was moved to %s, not to %s", gone.To, dst.words)
	}
	for _, q := range fingerprints {
		var here, there int64
		if _, err := one(from.conn(), q, func(r row) { here = r.int(0) }); err != nil {
			return err
		}
		if _, err := one(dst.conn(), q, func(r row) { there = r.int(0) }); err != nil {
			return err
		}
		if here != there {
			return fmt.Errorf("something ran at %s since: the move cannot be taken back without losing it; move back from there with --to folder:PATH", dst.words)
		}
	}
	return setSettingJSON(dst.conn(), settingMoved, movedTo{To: from.words, At: time.Now().UTC(), Done: true})
}
