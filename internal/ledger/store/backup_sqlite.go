package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/libc"
	lite "modernc.org/sqlite/lib"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// aside is something to be done on the writer's own connection, between two of
// its transactions.
type aside struct {
	f    func(*sqliteConn) error
	done chan error
}

// beside has the writer run f between two transactions, and waits for it. f
// must be short: everybody's commits wait.
func (s *Store) beside(ctx context.Context, f func(*sqliteConn) error) error {
	a := &aside{f, make(chan error, 1)}
	select {
	case s.files.asides <- a:
	case <-s.stopped:
		return ledger.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	// An empty unit wakes the writer; it writes nothing and costs no commit.
	wake := &unit{class: lanes, run: func(*tx) error { return nil }, done: make(chan error, 1)}
	if err := s.queue.put(wake); err != nil {
		return err
	}
	select {
	case err := <-a.done:
		return err
	case <-s.stopped:
		return ledger.ErrClosed
	}
}

// runAside is called by the writer after each batch.
func (s *Store) runAside() {
	select {
	case a := <-s.files.asides:
		if c, ok := s.writer.(*sqliteConn); ok {
			a.done <- a.f(c)
		} else {
			a.done <- ledger.ErrClosed
		}
	default:
	}
}

const (
	// sliceFor is how long the writer copies pages between two commits.
	sliceFor = time.Millisecond
	// slicePages are copied before the time is looked at.
	slicePages = 16
	// sliceRest, times as long as a slice, goes by between two of them while
	// others have something to commit.
	sliceRest = 2
	// mostAgain is how often a copy is begun again from its first page, because a
	// transaction that had spilled into the log was taken back, before it is made
	// in one go.
	mostAgain = 5
)

// pageCopy is a copy of the ledger's file being made. Pages that are written
// meanwhile by the connection it reads with are copied again by SQLite itself
// (law 26): it ends with the ledger as it was at one commit.
type pageCopy struct {
	src    *sqliteConn
	dst    *sqliteConn
	backup uintptr
	total  int
	done   int
	again  int
	stands mark
	over   bool
}

// copyPages copies the ledger into a new file, a little between commits, and
// says where the ledger stood in the copy.
func (s *Store) copyPages(ctx context.Context, path string, progress func(done, of int)) (at mark, err error) {
	dst, err := openSQLiteConn(fileURI(path, "nolock=1"), false)
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, dst.close()) }()
	for _, p := range []string{"PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -4096"} {
		if _, err := dst.exec(p); err != nil {
			return at, err
		}
	}
	p := &pageCopy{dst: dst}
	defer func() { err = errors.Join(err, s.giveUp(p)) }()
	if err := s.beside(ctx, p.begin); err != nil {
		return at, err
	}
	for !p.over {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		began := time.Now()
		if err := s.beside(ctx, func(c *sqliteConn) error { return p.slice(s, c) }); err != nil {
			return at, err
		}
		if progress != nil {
			progress(p.done, p.total)
		}
		if !p.over && s.queue.busy() {
			time.Sleep(sliceRest * time.Since(began))
		}
	}
	return p.stands, nil
}

func (q *queue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.intake)+len(q.lanes) > 0
}

func (p *pageCopy) begin(c *sqliteConn) error {
	p.src = c
	main, err := libc.CString("main")
	if err != nil {
		return err
	}
	defer libc.Xfree(p.dst.tls, main)
	p.backup = lite.Xsqlite3_backup_init(p.dst.tls, p.dst.db, main, c.db, main)
	if p.backup == 0 {
		return fmt.Errorf("begin to copy the ledger: %w", p.dst.failed(lite.Xsqlite3_errcode(p.dst.tls, p.dst.db)))
	}
	return nil
}

// slice copies some pages.
func (p *pageCopy) slice(s *Store, c *sqliteConn) error {
	if c != p.src {
		return errors.New("the ledger was reopened while it was copied")
	}
	pages := int32(slicePages)
	if p.again > mostAgain {
		pages = -1
	}
	for began := time.Now(); ; {
		rc := lite.Xsqlite3_backup_step(p.dst.tls, p.backup, pages)
		left := int(lite.Xsqlite3_backup_remaining(p.dst.tls, p.backup))
		p.total = int(lite.Xsqlite3_backup_pagecount(p.dst.tls, p.backup))
		if p.total-left < p.done {
			p.again++
		}
		p.done = p.total - left
		switch rc {
		case lite.SQLITE_OK:
		case lite.SQLITE_DONE:
			p.over, p.stands = true, s.stands()
			return p.end()
		default:
			return fmt.Errorf("copy the ledger: %w", &sqliteError{Code: rc, Text: libc.GoString(lite.Xsqlite3_errstr(p.dst.tls, rc))})
		}
		if time.Since(began) > sliceFor {
			return nil
		}
	}
}

// giveUp ends a copy that was left in the middle, where the writer is or after
// it has gone.
func (s *Store) giveUp(p *pageCopy) error {
	if p.over {
		return nil
	}
	err := s.beside(context.Background(), func(*sqliteConn) error { return p.end() })
	if errors.Is(err, ledger.ErrClosed) {
		<-s.stopped
		return p.end()
	}
	return err
}

func (p *pageCopy) end() error {
	if p.backup == 0 {
		return nil
	}
	rc := lite.Xsqlite3_backup_finish(p.dst.tls, p.backup)
	p.backup = 0
	if rc != lite.SQLITE_OK {
		return fmt.Errorf("end the copy of the ledger: %w", &sqliteError{Code: rc, Text: libc.GoString(lite.Xsqlite3_errstr(p.dst.tls, rc))})
	}
	return nil
}

// fileURI names a file for SQLite with options.
func fileURI(path, options string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	path = filepath.ToSlash(path)
	if path[0] != '/' {
		path = "/" + path // of a drive
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: options}).String()
}

// plainJournal marks a copied file as one without a write-ahead log, so that it
// can be read where it lies and by itself: bytes 18 and 19 of the header, "file
// format versions", sqlite.org/fileformat2.html section 1.3.
func plainJournal(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err = f.Chmod(0o600); err == nil {
		_, err = f.WriteAt([]byte{1, 1}, 18)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// openCopy opens a copy that nobody writes to.
func openCopy(path string) (*sqliteConn, error) {
	return openSQLiteConn(fileURI(path, "mode=ro&immutable=1"), true)
}
