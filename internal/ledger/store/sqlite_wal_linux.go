package store

import (
	"sync"
	"unsafe"

	"modernc.org/libc"
	lite "modernc.org/sqlite/lib"
)

// SQLite writes each page of a commit to the write-ahead log with two system
// calls, its 24 bytes of header and the page: more than a hundred for a commit
// of many deliveries, and a tenth of the CPU of a delivery. The log's pages
// follow each other, so here they are gathered and written together, at the
// latest before the log is synced. Readers do not look at them before: SQLite
// publishes a commit (in the log's index) after that sync only, with
// synchronous=FULL, and the writer's own reads of the log write them first.

// gatherMost is how much is gathered; a commit that is larger is written in parts.
const gatherMost = 512 << 10

// writeMost is how much SQLite may be told to write at a time: it keeps 17 bits
// of the length (os_unix.c, seekAndWriteFd, 3.54.1).
const writeMost = 96 << 10

// gathered is the log of one writer's connection.
type gathered struct {
	old   uintptr // its methods as SQLite has them
	own   uintptr // and with those below
	buf   uintptr
	at    int64
	len   int32
	tls   *libc.TLS
	whole []byte // buf
}

var logs struct {
	mu    sync.RWMutex
	files map[uintptr]*gathered // by sqlite3_file
}

func logOf(file uintptr) *gathered {
	logs.mu.RLock()
	defer logs.mu.RUnlock()
	return logs.files[file]
}

// gatherLog has the pages that this connection writes to its log gathered. It
// does nothing where the log is not open.
func (c *sqliteConn) gatherLog() {
	out := c.tls.Alloc(8)
	defer c.tls.Free(8)
	*(*uintptr)(pointer(out)) = 0
	if lite.Xsqlite3_file_control(c.tls, c.db, 0, lite.SQLITE_FCNTL_JOURNAL_POINTER, out) != lite.SQLITE_OK {
		return
	}
	file := *(*uintptr)(pointer(out))
	if file == 0 || methodsOf(file) == 0 || logOf(file) != nil {
		return
	}
	size := unsafe.Sizeof(lite.Tsqlite3_io_methods{})
	g := &gathered{old: methodsOf(file), own: libc.Xmalloc(c.tls, libc.Tsize_t(size)), buf: libc.Xmalloc(c.tls, gatherMost), tls: c.tls}
	if g.own == 0 || g.buf == 0 {
		libc.Xfree(c.tls, g.own)
		libc.Xfree(c.tls, g.buf)
		return
	}
	g.whole = memory(g.buf, gatherMost)
	m := (*lite.Tsqlite3_io_methods)(pointer(g.own))
	*m = *(*lite.Tsqlite3_io_methods)(pointer(g.old))
	m.FxWrite, m.FxSync, m.FxRead = function(logWrite), function(logSync), function(logRead)
	m.FxTruncate, m.FxFileSize, m.FxClose = function(logTruncate), function(logSize), function(logClose)
	logs.mu.Lock()
	if logs.files == nil {
		logs.files = map[uintptr]*gathered{}
	}
	logs.files[file] = g
	logs.mu.Unlock()
	setMethods(file, g.own)
}

func methodsOf(file uintptr) uintptr { return (*lite.Tsqlite3_file)(pointer(file)).FpMethods }

func setMethods(file, m uintptr) { (*lite.Tsqlite3_file)(pointer(file)).FpMethods = m }

// function gives a function as the translated C calls it.
func function(f any) uintptr {
	type value [2]uintptr
	return (*value)(unsafe.Pointer(&f))[1]
}

type (
	transfer = func(tls *libc.TLS, file, buf uintptr, n int32, at int64) int32
	withInt  = func(tls *libc.TLS, file uintptr, flags int32) int32
	withSize = func(tls *libc.TLS, file uintptr, size int64) int32
	withOut  = func(tls *libc.TLS, file, out uintptr) int32
	onlyFile = func(tls *libc.TLS, file uintptr) int32
)

// original gives a method as SQLite has it.
func original[F any](p uintptr) F { return *(*F)(unsafe.Pointer(&struct{ uintptr }{p})) }

func (g *gathered) methods() *lite.Tsqlite3_io_methods {
	return (*lite.Tsqlite3_io_methods)(pointer(g.old))
}

// flush writes what was gathered. After an error it is gone, as the transaction
// that wrote it is.
func (g *gathered) flush(tls *libc.TLS, file uintptr) int32 {
	if g.len == 0 {
		return lite.SQLITE_OK
	}
	left := g.len
	g.len = 0
	for done := int32(0); left > 0; {
		n := min(left, writeMost)
		if rc := original[transfer](g.methods().FxWrite)(tls, file, g.buf+uintptr(done), n, g.at+int64(done)); rc != lite.SQLITE_OK {
			return rc
		}
		done, left = done+n, left-n
	}
	return lite.SQLITE_OK
}

func logWrite(tls *libc.TLS, file, buf uintptr, n int32, at int64) int32 {
	g := logOf(file)
	if g.len > 0 && (at != g.at+int64(g.len) || n > gatherMost-g.len) {
		if rc := g.flush(tls, file); rc != lite.SQLITE_OK {
			return rc
		}
	}
	if n > gatherMost {
		return original[transfer](g.methods().FxWrite)(tls, file, buf, n, at)
	}
	if g.len == 0 {
		g.at = at
	}
	copy(g.whole[g.len:], memory(buf, int(n)))
	g.len += n
	return lite.SQLITE_OK
}

func logRead(tls *libc.TLS, file, buf uintptr, n int32, at int64) int32 {
	g := logOf(file)
	if rc := g.flush(tls, file); rc != lite.SQLITE_OK {
		return rc
	}
	return original[transfer](g.methods().FxRead)(tls, file, buf, n, at)
}

func logSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	g := logOf(file)
	if rc := g.flush(tls, file); rc != lite.SQLITE_OK {
		return rc
	}
	return original[withInt](g.methods().FxSync)(tls, file, flags)
}

func logTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	g := logOf(file)
	if rc := g.flush(tls, file); rc != lite.SQLITE_OK {
		return rc
	}
	return original[withSize](g.methods().FxTruncate)(tls, file, size)
}

func logSize(tls *libc.TLS, file, out uintptr) int32 {
	g := logOf(file)
	if rc := g.flush(tls, file); rc != lite.SQLITE_OK {
		return rc
	}
	return original[withOut](g.methods().FxFileSize)(tls, file, out)
}

func logClose(tls *libc.TLS, file uintptr) int32 {
	g := logOf(file)
	rc := g.flush(tls, file)
	logs.mu.Lock()
	delete(logs.files, file)
	logs.mu.Unlock()
	setMethods(file, g.old)
	if closed := original[onlyFile](g.methods().FxClose)(tls, file); rc == lite.SQLITE_OK {
		rc = closed
	}
	libc.Xfree(g.tls, g.own)
	libc.Xfree(g.tls, g.buf)
	return rc
}
