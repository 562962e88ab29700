package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kiungo-health/kiungo/internal/seal"
)

// side is a ledger that is copied from, or to.
type side interface {
	sink
	conn() conn
	pg() bool
	close() error
}

func (d *sqliteSide) conn() conn   { return d.c }
func (d *sqliteSide) pg() bool     { return false }
func (d *sqliteSide) close() error { return d.c.close() }

func (d *pgCopySide) conn() conn { return d.c }
func (d *pgCopySide) pg() bool   { return true }

// close gives the locks back first: the database would take a moment to see
// that the connection is gone, and the next command would be refused.
func (d *pgCopySide) close() error {
	_ = d.c.each(`SELECT pg_advisory_unlock_all()`, func(row) (bool, error) { return true, nil }) // a lost connection has none
	return d.c.close()
}

// openPgSide connects to a database that is copied from, or to, and brings its
// schema up to date. No node is opening it meanwhile.
func openPgSide(ctx context.Context, database string, log func(string, ...any)) (*pgCopySide, *postgres, error) {
	conf, err := pgconn.ParseConfig(database)
	if err != nil {
		return nil, nil, fmt.Errorf("the database's URL: %w", err) // pgconn leaves the password out
	}
	p := &postgres{conf: conf}
	if err := p.names(); err != nil {
		return nil, nil, err
	}
	c, err := openPg(ctx, conf, map[string]string{"synchronous_commit": "on", "jit": "off", "lock_timeout": "20000"})
	if err != nil {
		return nil, nil, err
	}
	d := &pgCopySide{c}
	alone := false
	_, err = one(c, `SELECT CASE WHEN pg_try_advisory_lock(?) THEN 1 ELSE 0 END`, func(r row) { alone = r.int(0) == 1 }, p.key("move", nil))
	if err == nil && !alone {
		err = fmt.Errorf("%s: another move or restore is under way", p.words())
	}
	if err == nil {
		err = c.each(`SELECT pg_advisory_lock(?)`, func(row) (bool, error) { return true, nil }, p.key("open", nil))
	}
	for _, step := range []func() error{func() error { return p.look(c, log) }, func() error { return p.makeSchema(c) }, func() error { return migrate(c, postgresDialect) }} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		d.close()
		return nil, nil, err
	}
	return d, p, nil
}

// words names a database for a person, without the password.
func (p *postgres) words() string {
	return fmt.Sprintf("database %s on %s:%d, schema %s", p.conf.Database, p.conf.Host, p.conf.Port, p.schema)
}

const qAlive = `SELECT host FROM node WHERE stopped = 0 AND heartbeat + lease >= ` + pgNow + ` LIMIT 1`

// idle refuses a database that a node has open.
func (d *pgCopySide) idle() error {
	host := ""
	if _, err := one(d.c, qAlive, func(r row) { host = r.text(0) }); err != nil {
		return err
	}
	if host != "" {
		return fmt.Errorf("a node on %s has it open: stop kiungo on every node first (one that was killed counts as gone when its lease of 35 s is over)", host)
	}
	return nil
}

// ledgerTables tell whether anything was ever accepted or said.
var ledgerTables = []string{"message", "version", "delivery", "link", "question", "poll_position", "lesson"}

// empty tells whether a ledger holds nothing that would be lost.
func empty(c conn) (bool, error) {
	for _, t := range ledgerTables {
		if found, err := one(c, "SELECT 1 FROM "+t+" LIMIT 1", func(row) {}); err != nil || found {
			return false, err
		}
	}
	return true, nil
}

// prepare makes a target ready to be copied to: an empty one, or one that the
// same copy was begun to. It fills in how far that came.
func prepare(to side, tables []copied, p *progress) error {
	c := to.conn()
	before, err := settingJSON[progress](c, settingMoving)
	if err != nil {
		return err
	}
	switch {
	case before != nil && before.Ledger == p.Ledger && before.At == p.At:
		p.Tables = before.Tables
		return nil
	case before == nil:
		free, err := empty(c)
		if err != nil {
			return err
		}
		if !free {
			return errors.New("there is a ledger in it already: name an empty one")
		}
	}
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	p.Tables = map[string]*howFar{}
	err = setSettingJSON(c, settingMoving, p)
	for _, t := range tables {
		if err == nil {
			_, err = c.exec("DELETE FROM " + t.name)
		}
	}
	if err != nil {
		_, _ = c.exec("ROLLBACK") // the first error is the one to tell
		return err
	}
	_, err = c.exec("COMMIT")
	return err
}

// clockRow is the row of clock with the last numbers, wherever they are kept.
func clockRow(from side) (cols []column, vals []any, err error) {
	c := from.conn()
	if cols, err = columnsOf(c, "clock", from.pg()); err != nil {
		return nil, nil, err
	}
	found, err := one(c, "SELECT "+columnList(cols)+" FROM clock WHERE id = 1", func(r row) { vals = scanColumns(r, cols) })
	if err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, errors.New("the ledger has no clock row: it was damaged")
	}
	if !from.pg() {
		return cols, vals, nil
	}
	for i, name := range sequences {
		if _, err := one(c, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM "+name, func(r row) { vals[place(cols, sequenceColumns[i])] = r.int(0) }); err != nil {
			return nil, nil, err
		}
	}
	_, err = one(c, qDBNow, func(r row) { vals[place(cols, "at")] = max(r.int(0), vals[place(cols, "at")].(int64)) })
	return cols, vals, err
}

// sequenceColumns are the columns of clock, in the order of sequences.
var sequenceColumns = []string{"message", "seq", "delivery", "lane", "question", "audit"}

// carryRest carries over what is not copied row by row, in one transaction, and
// with it the ledger is complete: order, if it is not nil, is what is to be done
// when it is opened.
func carryRest(from, to side, ring *seal.Ring, order *toRaise) error {
	cols, vals, err := clockRow(from)
	if err != nil {
		return err
	}
	settings := map[string][]byte{}
	if err := from.conn().each(`SELECT name, value FROM setting`, func(r row) (bool, error) {
		if !slices.Contains(ofTheCopy, r.text(0)) {
			settings[r.text(0)] = r.blob(1)
		}
		return true, nil
	}); err != nil {
		return err
	}
	c := to.conn()
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	err = func() error {
		if _, err := c.exec(`DELETE FROM clock`); err != nil {
			return err
		}
		if _, err := c.exec("INSERT INTO clock ("+columnList(cols)+") VALUES ("+strings.TrimSuffix(strings.Repeat("?, ", len(cols)), ", ")+")", vals...); err != nil {
			return err
		}
		at := vals[place(cols, "at")].(int64)
		if _, err := c.exec(`UPDATE node SET stopped = ? WHERE stopped = 0`, at); err != nil {
			return err
		}
		for name, v := range settings {
			if err := setSetting(c, name, v); err != nil {
				return err
			}
		}
		if to.pg() {
			if err := setNumbers(c, cols, vals); err != nil {
				return err
			}
			if err := setSetting(c, settingKeyring, ring.Mac("keyring", "this ledger")); err != nil {
				return err
			}
		}
		if order != nil {
			if err := setSettingJSON(c, settingRaise, order); err != nil {
				return err
			}
		}
		if err := dropSetting(c, settingMoved); err != nil {
			return err
		}
		return dropSetting(c, settingMoving)
	}()
	if err != nil {
		_, _ = c.exec("ROLLBACK") // the first error is the one to tell
		return err
	}
	_, err = c.exec("COMMIT")
	return err
}

func setNumbers(c conn, cols []column, vals []any) error {
	for i, name := range sequences {
		n, called := vals[place(cols, sequenceColumns[i])].(int64), "true"
		if n == 0 {
			n, called = 1, "false"
		}
		if err := c.each(`SELECT setval('`+name+`', ?, `+called+`)`, func(row) (bool, error) { return true, nil }, n); err != nil {
			return err
		}
	}
	return nil
}

// dumpPostgres writes one snapshot of the database as a SQLite ledger.
func (s *Store) dumpPostgres(ctx context.Context, path string, progressed func(Progress)) (at mark, err error) {
	c, err := openPg(ctx, s.pg.conf, map[string]string{"statement_timeout": "0", "jit": "off"})
	if err != nil {
		return at, err
	}
	defer c.close()
	c.ctx = ctx
	if _, err := c.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return at, err
	}
	dst, err := openSQLiteConn(fileURI(path, "nolock=1"), false)
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, dst.close()) }()
	for _, q := range []string{"PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -16384"} {
		if _, err := dst.exec(q); err != nil {
			return at, err
		}
	}
	if err := migrate(dst, sqliteDialect); err != nil {
		return at, err
	}
	tables, err := tablesOf()
	if err != nil {
		return at, err
	}
	from, to := &pgCopySide{c}, &sqliteSide{c: dst}
	work := &copier{from: from, to: to, tables: tables, p: &progress{From: s.pg.words(), Ledger: s.id, Tables: map[string]*howFar{}}, tell: progressed}
	for _, step := range []func() error{func() error { return prepare(to, tables, work.p) }, func() error { return work.run(ctx) }, func() error { return work.verify(ctx) }, func() error { return carryRest(from, to, s.ring, nil) }} {
		if err := step(); err != nil {
			return at, err
		}
	}
	_, err = one(dst, qStands, func(r row) { at = mark{s.id, r.int(1), fromMicro(r.int(0))} })
	return at, err
}

// restorePostgres copies a backup into an empty database.
func restorePostgres(ctx context.Context, folder string, m *Manifest, database, dir string, order toRaise, o RestoreOptions) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	ring, err := seal.Load(seal.Path(dir))
	if err != nil {
		return err
	}
	to, p, err := openPgSide(ctx, database, logTo(o.Options))
	if err != nil {
		return err
	}
	defer to.close()
	if err := to.idle(); err != nil {
		return err
	}
	from, drop, err := backupSide(folder, m, dir)
	if err != nil {
		return err
	}
	defer drop()
	tables, err := tablesOf()
	if err != nil {
		return err
	}
	c := &copier{from: from, to: to, tables: tables, p: &progress{From: "the backup of " + m.At.UTC().Format("2006-01-02 15:04:05"), Ledger: m.Ledger, At: m.At.UnixMicro()}, tell: o.Progress}
	if err := prepare(to, tables, c.p); err != nil {
		return fmt.Errorf("%s: %w", p.words(), err)
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	if err := c.verify(ctx); err != nil {
		return err
	}
	for _, f := range m.Files {
		if strings.HasPrefix(f.Name, archiveFolder+"/") {
			if err := put(folder, f, o.placeOf(dir, f.Name)); err != nil {
				return err
			}
		}
	}
	return carryRest(from, to, ring, &order)
}

// backupSide opens the ledger of a backup; one of an older schema by way of a
// copy that is brought up to date.
func backupSide(folder string, m *Manifest, dir string) (*sqliteSide, func(), error) {
	path := filepath.Join(folder, ledgerFile)
	known, err := knownSchema()
	if err != nil {
		return nil, nil, err
	}
	if m.Schema > known {
		return nil, nil, fmt.Errorf("the backup's schema is version %d, this program knows %d: run the newer program", m.Schema, known)
	}
	if m.Schema == known {
		c, err := openCopy(path)
		if err != nil {
			return nil, nil, err
		}
		return &sqliteSide{c, bodiesOf(folder)}, func() { _ = c.close() }, nil
	}
	copyOf := filepath.Join(dir, "restore.db")
	if _, _, err := copyFile(path, copyOf); err != nil {
		return nil, nil, err
	}
	c, err := openSQLiteConn(copyOf, false)
	if err != nil {
		return nil, nil, err
	}
	drop := func() {
		_ = c.close()
		_ = os.Remove(copyOf) // it only takes room
	}
	if err := migrate(c, sqliteDialect); err != nil {
		drop()
		return nil, nil, err
	}
	return &sqliteSide{c, bodiesOf(folder)}, drop, nil
}

// knownSchema is the version of the schema that this program makes.
func knownSchema() (int64, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, err
	}
	number, _, _ := strings.Cut(strings.TrimPrefix(files[len(files)-1], "migrations/"), "_")
	return strconv.ParseInt(number, 10, 64)
}

func logTo(o Options) func(string, ...any) { return (&Store{opts: o}).log }
