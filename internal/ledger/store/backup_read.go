package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"modernc.org/libc"
	lite "modernc.org/sqlite/lib"

	"github.com/kiungo-health/kiungo/internal/seal"
)

// wholeCheck is the size up to which all indexes of a copy are compared with
// their tables; a bigger one gets the quick check.
const wholeCheck = 64 << 20

// unsealed is how many rows of a kind are unsealed to see that they can be.
const unsealed = 50

// testRead reads a copy as a restore would: its pages, where it ends, and some
// sealed rows, the newest ones. It fills in what the manifest says of it.
func testRead(ctx context.Context, path string, ring *seal.Ring, m *Manifest) error {
	c, err := openCopy(path)
	if err != nil {
		return err
	}
	defer c.close()
	defer context.AfterFunc(ctx, c.interrupt)()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	check := "PRAGMA quick_check(1)"
	if info.Size() <= wholeCheck {
		check = "PRAGMA integrity_check(1)"
	}
	var found string
	if _, err := one(c, check, func(r row) { found = r.text(0) }); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("its file is damaged: %s", found)
	}
	var now standing
	if _, err := one(c, qStands, func(r row) { now = scanStanding(r) }); err != nil {
		return err
	}
	if at := fromMicro(now.at); at.Before(m.At) || now.incarnation != m.Incarnation {
		return fmt.Errorf("it ends at %s in incarnation %d, the ledger was at %s in %d", at.Format(timeForm), now.incarnation, m.At.Format(timeForm), m.Incarnation)
	}
	m.At = fromMicro(now.at)
	for _, q := range []struct {
		q  string
		to *int64
	}{{`SELECT COALESCE(MAX(version), 0) FROM schema_version`, &m.Schema}, {`SELECT COALESCE(MAX(id), 0) FROM message`, &m.Messages}, {`SELECT COALESCE(MAX(id), 0) FROM delivery`, &m.Deliveries}} {
		if _, err := one(c, q.q, func(r row) { *q.to = r.int(0) }); err != nil {
			return err
		}
	}
	return unsealSome(c, ring)
}

// unsealSome opens the newest messages, links and lines of the audit trail.
func unsealSome(c conn, ring *seal.Ring) error {
	var failed error
	try := func(what string, id int64, box *seal.Box, place, sealed []byte) {
		if sealed == nil || failed != nil {
			return
		}
		if _, err := box.Open(place, sealed); err != nil {
			failed = fmt.Errorf("%s %d cannot be unsealed: %w", what, id, err)
		}
	}
	reads := []reading{
		all(`SELECT id, salt, head FROM message WHERE salt IS NOT NULL ORDER BY id DESC LIMIT ?`, func(r row) {
			try("message", r.int(0), ring.Box(r.blob(1)), seal.Row("message", r.int(0), "head"), r.blob(2))
		}, int64(unsealed)),
		all(`SELECT id, note FROM audit ORDER BY id DESC LIMIT ?`, func(r row) {
			try("audit line", r.int(0), ring.Main(), seal.Row("audit", r.int(0), "note"), r.blob(1))
		}, int64(unsealed)),
		all(`SELECT ident, sealed FROM link LIMIT ?`, func(r row) {
			try("link", 0, ring.Main(), seal.RowKey("link", r.blob(0), "sealed"), r.blob(1))
		}, int64(unsealed)),
	}
	return errors.Join(c.every(reads...), failed)
}

// copyDatabase copies a SQLite file that another connection may write to, in
// one go if it can be, else from the beginning.
func copyDatabase(ctx context.Context, from, to string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	part := to + partSuffix
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	src, err := openSQLiteConn(fileURI(from, "mode=ro"), true)
	if err != nil {
		return err
	}
	defer src.close()
	dst, err := openSQLiteConn(fileURI(part, "nolock=1"), false)
	if err != nil {
		return err
	}
	defer dst.close()
	for _, p := range []string{"PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF"} {
		if _, err := dst.exec(p); err != nil {
			return err
		}
	}
	p := &pageCopy{dst: dst}
	if err := p.begin(src); err != nil {
		return err
	}
	for !p.over {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, p.end())
		}
		if err := p.some(); err != nil {
			return errors.Join(err, p.end())
		}
	}
	if err := plainJournal(part); err != nil {
		return err
	}
	return os.Rename(part, to)
}

// some copies pages of a file that is not the writer's own.
func (p *pageCopy) some() error {
	const pages = 4096
	switch rc := lite.Xsqlite3_backup_step(p.dst.tls, p.backup, pages); rc {
	case lite.SQLITE_OK:
		return nil
	case lite.SQLITE_BUSY, lite.SQLITE_LOCKED:
		time.Sleep(20 * time.Millisecond)
		return nil
	case lite.SQLITE_DONE:
		p.over = true
		return p.end()
	default:
		return &sqliteError{Code: rc, Text: libc.GoString(lite.Xsqlite3_errstr(p.dst.tls, rc))}
	}
}
