package store

import (
	"fmt"
	"strings"
	"time"
	"unsafe"

	"modernc.org/libc"
	_ "modernc.org/sqlite" // patches of the library at start
	lite "modernc.org/sqlite/lib"
)

// sqliteConn speaks to SQLite by its C interface, as modernc translates it.
//
// Measured against the same driver through database/sql/driver: no copy of
// column names for each query, no allocation for each text argument; about
// half the time of a small statement.
type sqliteConn struct {
	tls   *libc.TLS
	db    uintptr
	stmts map[string]*stmt
	// arena holds the texts and blobs of the statement being run. SQLite is
	// told that they stay (SQLITE_STATIC): they are bound anew for every run.
	arena arena
}

type stmt struct {
	p      uintptr
	params int
	busy   bool // being read by an outer each
}

// sqliteError is an error of SQLite's, with its extended result code.
type sqliteError struct {
	Code int32
	Text string
}

func (e *sqliteError) Error() string { return fmt.Sprintf("sqlite: %s (%d)", e.Text, e.Code) }

// broken tells whether the error is of the disk or the file, not of a statement.
func (e *sqliteError) broken() bool {
	switch e.Code & 0xff {
	case lite.SQLITE_IOERR, lite.SQLITE_FULL, lite.SQLITE_CORRUPT, lite.SQLITE_CANTOPEN,
		lite.SQLITE_NOTADB, lite.SQLITE_READONLY, lite.SQLITE_NOMEM, lite.SQLITE_PROTOCOL:
		return true
	}
	return false
}

func (e *sqliteError) interrupted() bool { return e.Code&0xff == lite.SQLITE_INTERRUPT }

// openSQLiteConn opens a file, or a URI of one; with readOnly it must exist.
func openSQLiteConn(path string, readOnly bool) (*sqliteConn, error) {
	c := &sqliteConn{tls: libc.NewTLS(), stmts: map[string]*stmt{}}
	flags := int32(lite.SQLITE_OPEN_READWRITE | lite.SQLITE_OPEN_CREATE)
	if readOnly {
		flags = lite.SQLITE_OPEN_READONLY
	}
	if strings.HasPrefix(path, "file:") {
		flags |= lite.SQLITE_OPEN_URI
	}
	name, err := libc.CString(path)
	if err != nil {
		c.tls.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer libc.Xfree(c.tls, name)
	out := c.tls.Alloc(8)
	defer c.tls.Free(8)
	rc := lite.Xsqlite3_open_v2(c.tls, name, out, flags|lite.SQLITE_OPEN_NOMUTEX, 0)
	c.db = *(*uintptr)(pointer(out))
	if rc != lite.SQLITE_OK {
		err := fmt.Errorf("open %s: %w", path, c.failed(rc))
		lite.Xsqlite3_close_v2(c.tls, c.db)
		c.tls.Close()
		return nil, err
	}
	lite.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	lite.Xsqlite3_busy_timeout(c.tls, c.db, int32(5*time.Second/time.Millisecond))
	return c, nil
}

func (c *sqliteConn) failed(rc int32) error {
	return &sqliteError{Code: rc, Text: libc.GoString(lite.Xsqlite3_errmsg(c.tls, c.db))}
}

func (c *sqliteConn) prepare(q string) (*stmt, error) {
	if s, ok := c.stmts[q]; ok {
		return s, nil
	}
	text, err := libc.CString(q)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, text)
	out := c.tls.Alloc(8)
	defer c.tls.Free(8)
	if rc := lite.Xsqlite3_prepare_v3(c.tls, c.db, text, -1, lite.SQLITE_PREPARE_PERSISTENT, out, 0); rc != lite.SQLITE_OK {
		return nil, fmt.Errorf("prepare %q: %w", q, c.failed(rc))
	}
	s := &stmt{p: *(*uintptr)(pointer(out))}
	s.params = int(lite.Xsqlite3_bind_parameter_count(c.tls, s.p))
	c.stmts[q] = s
	return s, nil
}

// ready prepares and binds.
func (c *sqliteConn) ready(q string, args []any) (*stmt, error) {
	s, err := c.prepare(q)
	if err != nil {
		return nil, err
	}
	if s.busy {
		return nil, fmt.Errorf("statement is already being read: %q", q)
	}
	if len(args) != s.params {
		return nil, fmt.Errorf("statement %q wants %d arguments, has %d", q, s.params, len(args))
	}
	size := 0
	for _, a := range args {
		switch a := a.(type) {
		case string:
			size += len(a) + 1
		case []byte:
			size += len(a) + 1
		}
	}
	at, err := c.arena.take(c.tls, size)
	if err != nil {
		return nil, err
	}
	for i, a := range args {
		rc := int32(lite.SQLITE_OK)
		n := int32(i + 1)
		switch a := a.(type) {
		case int64:
			rc = lite.Xsqlite3_bind_int64(c.tls, s.p, n, a)
		case string:
			copy(memory(at, len(a)), a)
			rc = lite.Xsqlite3_bind_text(c.tls, s.p, n, at, int32(len(a)), 0)
			at += uintptr(len(a) + 1)
		case []byte:
			if a == nil {
				rc = lite.Xsqlite3_bind_null(c.tls, s.p, n)
				break
			}
			copy(memory(at, len(a)), a)
			rc = lite.Xsqlite3_bind_blob(c.tls, s.p, n, at, int32(len(a)), 0)
			at += uintptr(len(a) + 1)
		case nil:
			rc = lite.Xsqlite3_bind_null(c.tls, s.p, n)
		default:
			return nil, fmt.Errorf("statement %q: argument %d has type %T", q, n, a)
		}
		if rc != lite.SQLITE_OK {
			return nil, c.failed(rc)
		}
	}
	return s, nil
}

func (c *sqliteConn) exec(q string, args ...any) (int64, error) {
	defer c.arena.leave(c.tls, c.arena.enter())
	s, err := c.ready(q, args)
	if err != nil {
		return 0, err
	}
	rc := lite.Xsqlite3_step(c.tls, s.p)
	for rc == lite.SQLITE_ROW {
		rc = lite.Xsqlite3_step(c.tls, s.p)
	}
	if rc != lite.SQLITE_DONE {
		err = c.failed(rc)
		lite.Xsqlite3_reset(c.tls, s.p)
		return 0, err
	}
	n := int64(lite.Xsqlite3_changes(c.tls, c.db))
	lite.Xsqlite3_reset(c.tls, s.p)
	return n, nil
}

func (c *sqliteConn) each(q string, f func(row) (bool, error), args ...any) error {
	defer c.arena.leave(c.tls, c.arena.enter())
	s, err := c.ready(q, args)
	if err != nil {
		return err
	}
	s.busy = true
	defer func() {
		lite.Xsqlite3_reset(c.tls, s.p)
		s.busy = false
	}()
	for {
		switch rc := lite.Xsqlite3_step(c.tls, s.p); rc {
		case lite.SQLITE_ROW:
			more, err := f(sqliteRow{c, s.p})
			if err != nil || !more {
				return err
			}
		case lite.SQLITE_DONE:
			return nil
		default:
			return c.failed(rc)
		}
	}
}

func (c *sqliteConn) later(q string, args ...any) error {
	_, err := c.exec(q, args...)
	return err
}

func (c *sqliteConn) every(reads ...reading) error {
	for _, r := range reads {
		if err := c.each(r.q, r.f, r.args...); err != nil {
			return err
		}
	}
	return nil
}

// inTransaction tells whether a transaction is still open: SQLite ends it by
// itself after some errors.
func (c *sqliteConn) inTransaction() bool { return lite.Xsqlite3_get_autocommit(c.tls, c.db) == 0 }

// interrupt ends the statement being run; it may be called from another goroutine.
func (c *sqliteConn) interrupt() { lite.Xsqlite3_interrupt(nil, c.db) }

func (c *sqliteConn) close() error {
	for _, s := range c.stmts {
		lite.Xsqlite3_finalize(c.tls, s.p)
	}
	c.stmts = nil
	c.arena.free(c.tls)
	rc := lite.Xsqlite3_close_v2(c.tls, c.db)
	c.tls.Close()
	if rc != lite.SQLITE_OK {
		return &sqliteError{Code: rc, Text: "close"}
	}
	return nil
}

type sqliteRow struct {
	c *sqliteConn
	p uintptr
}

func (r sqliteRow) int(i int) int64 { return lite.Xsqlite3_column_int64(r.c.tls, r.p, int32(i)) }

func (r sqliteRow) null(i int) bool {
	return lite.Xsqlite3_column_type(r.c.tls, r.p, int32(i)) == lite.SQLITE_NULL
}

func (r sqliteRow) text(i int) string {
	p := lite.Xsqlite3_column_text(r.c.tls, r.p, int32(i))
	n := lite.Xsqlite3_column_bytes(r.c.tls, r.p, int32(i))
	if p == 0 || n == 0 {
		return ""
	}
	return string(memory(p, int(n)))
}

func (r sqliteRow) blob(i int) []byte {
	if r.null(i) {
		return nil
	}
	p := lite.Xsqlite3_column_blob(r.c.tls, r.p, int32(i))
	n := lite.Xsqlite3_column_bytes(r.c.tls, r.p, int32(i))
	out := make([]byte, n)
	if n > 0 {
		copy(out, memory(p, int(n)))
	}
	return out
}

// pointer and memory look at C memory, which the collector neither moves nor frees.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func memory(p uintptr, n int) []byte { return unsafe.Slice((*byte)(pointer(p)), n) }
