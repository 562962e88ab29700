package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// archive is the folder of month files: ledger-2026-05.db holds what came in
// May 2026 and was archived. They are SQLite on either database, written by one
// process, and hold the rows as the ledger had them, sealed as they were.
type archive struct {
	dir  string
	mu   sync.Mutex // one statement at a time; holds are short
	open map[string]*archiveFile
	cols map[string][]column // of the archived tables, as the ledger has them
}

// archivedTables are copied with their message, in this order; the first
// column but for journal is its key.
var archivedTables = []string{"message", "delivery", "plan", "journal", "question", "audit"}

// mostArchives is how many month files are kept open.
const mostArchives = 3

// archiveFile is an open month file.
type archiveFile struct {
	*sqliteConn
	path string
	used time.Time
}

var archiveName = regexp.MustCompile(`^ledger-\d{4}-\d{2}\.db$`)

// months lists the files, newest first.
func (a *archive) months() ([]string, error) {
	entries, err := os.ReadDir(a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look into the archive: %w", err)
	}
	var out []string
	for _, e := range entries {
		if archiveName.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

// monthOf names the file of what was received at a time.
func monthOf(received int64) string {
	return "ledger-" + fromMicro(max(received, 1)).Format("2006-01") + ".db"
}

// file opens a month file, and makes it if it is not there. The archive is locked.
func (a *archive) file(name string) (*archiveFile, error) {
	if f := a.open[name]; f != nil {
		f.used = time.Now()
		return f, nil
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the archive's folder: %w", err)
	}
	for len(a.open) >= mostArchives {
		oldest := ""
		for n, f := range a.open {
			if oldest == "" || f.used.Before(a.open[oldest].used) {
				oldest = n
			}
		}
		if err := a.closeFile(oldest); err != nil {
			return nil, err
		}
	}
	f := &archiveFile{path: filepath.Join(a.dir, name), used: time.Now()}
	// SQLite would make it readable by others, where the folder lets them.
	made, err := os.OpenFile(f.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = made.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("make the archive's file: %w", err)
	}
	if f.sqliteConn, err = openSQLiteConn(f.path, false); err != nil {
		return nil, err
	}
	if err := a.prepare(f); err != nil {
		_ = f.close() // the first error is the one to tell
		return nil, fmt.Errorf("archive %s: %w", name, err)
	}
	if a.open == nil {
		a.open = map[string]*archiveFile{}
	}
	a.open[name] = f
	return f, nil
}

// prepare makes the tables that are not there, and adds columns that the ledger
// has got since.
func (a *archive) prepare(f *archiveFile) error {
	for _, p := range []string{
		"PRAGMA journal_mode = DELETE", "PRAGMA synchronous = EXTRA", "PRAGMA cache_size = -2048", "PRAGMA secure_delete = FAST", "PRAGMA trusted_schema = OFF",
	} {
		if _, err := f.exec(p); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	for _, table := range archivedTables {
		if err := f.exec1(tableOf(table, a.cols[table])); err != nil {
			return err
		}
		have, err := columnsOf(f, table, false)
		if err != nil {
			return err
		}
		for _, c := range a.cols[table] {
			if !slices.ContainsFunc(have, func(h column) bool { return h.name == c.name }) {
				if err := f.exec1("ALTER TABLE " + table + " ADD COLUMN " + declare(c)); err != nil {
					return err
				}
			}
		}
	}
	for _, index := range []string{
		"CREATE INDEX IF NOT EXISTS delivery_message ON delivery (message)",
		"CREATE INDEX IF NOT EXISTS delivery_flow ON delivery (flow, id)",
		"CREATE INDEX IF NOT EXISTS delivery_state ON delivery (state, id)",
		"CREATE INDEX IF NOT EXISTS question_delivery ON question (delivery)",
		"CREATE INDEX IF NOT EXISTS audit_delivery ON audit (delivery, id) WHERE delivery <> 0",
	} {
		if err := f.exec1(index); err != nil {
			return err
		}
	}
	return nil
}

// exec1 runs a statement that is not run again.
func (f *archiveFile) exec1(q string) error {
	_, err := f.exec(q)
	return err
}

// tableOf declares an archived table.
func tableOf(table string, cols []column) string {
	lines := make([]string, len(cols))
	for i, c := range cols {
		lines[i] = declare(c)
	}
	q := "CREATE TABLE IF NOT EXISTS " + table + " (" + strings.Join(lines, ", ")
	if table == "journal" {
		return q + ", PRIMARY KEY (plan, n)) WITHOUT ROWID"
	}
	return q + ")"
}

func declare(c column) string {
	switch {
	case c.name == "id":
		return "id INTEGER PRIMARY KEY"
	case c.kind == numbers64:
		return c.name + " BIGINT NOT NULL DEFAULT 0"
	case c.kind == texts:
		return c.name + " TEXT NOT NULL DEFAULT ''"
	}
	return c.name + " BLOB"
}

func (a *archive) closeFile(name string) error {
	f := a.open[name]
	delete(a.open, name)
	return f.close()
}

func (a *archive) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for name := range a.open {
		errs = append(errs, a.closeFile(name))
	}
	return errors.Join(errs...)
}

// with runs f on a month file.
func (a *archive) with(name string, f func(*archiveFile) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	file, err := a.file(name)
	if err != nil {
		return err
	}
	return f(file)
}

// store writes bundles into a month file, in one transaction that is durable
// when it returns. What was there of them before is replaced.
func (f *archiveFile) store(a *archive, all []*bundle, before func() error) (err error) {
	if err := f.exec1("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil && f.inTransaction() {
			_ = f.exec1("ROLLBACK") // the first error is the one to tell
		}
	}()
	for _, b := range all {
		if err := f.drop(b.message); err != nil {
			return err
		}
		for i, table := range archivedTables {
			cols := a.cols[table]
			q := insertInto(putRow, table, cols)
			for _, r := range b.rows[i] {
				if _, err := f.exec(q, r...); err != nil {
					return err
				}
			}
		}
	}
	if err := before(); err != nil {
		return err
	}
	return f.exec1("COMMIT")
}

const (
	qArchivedOf      = `SELECT id FROM delivery WHERE message = ? ORDER BY id`
	qArchivedDrop1   = `DELETE FROM journal WHERE plan >= ? AND plan < ?`
	qArchivedDrop2   = `DELETE FROM plan WHERE id >= ? AND id < ?`
	qArchivedDrop3   = `DELETE FROM question WHERE delivery = ?`
	qArchivedDrop4   = `DELETE FROM delivery WHERE id = ?`
	qArchivedMessage = `SELECT received FROM message WHERE id = ?`
)

// putRow replaces a line of the audit trail by itself, if it is there already.
var putRow = "INSERT OR REPLACE"

// drop removes an older copy of a message with its deliveries. Lines of the
// audit trail stay: they are never changed.
func (f *archiveFile) drop(message int64) error {
	var ids []int64
	if err := f.each(qArchivedOf, func(r row) (bool, error) {
		ids = append(ids, r.int(0))
		return true, nil
	}, message); err != nil {
		return err
	}
	for _, id := range ids {
		for _, q := range []string{qArchivedDrop1, qArchivedDrop2} {
			if _, err := f.exec(q, planID(id, 0), planID(id+1, 0)); err != nil {
				return err
			}
		}
		for _, q := range []string{qArchivedDrop3, qArchivedDrop4} {
			if _, err := f.exec(q, id); err != nil {
				return err
			}
		}
	}
	return nil
}
