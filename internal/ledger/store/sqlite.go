package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

const (
	readerCount = 4
	// walLimit is the size past which the write-ahead log is truncated.
	walLimit = 256 << 20
	// walLook is how many commits go by between two looks at its size.
	walLook = 512
)

// sqliteFiles is the data folder of a SQLite ledger.
type sqliteFiles struct {
	dir, path string
	lock      *os.File
	commits   int
	looked    time.Time // at the free space, guarded by Store.mu
	asides    chan *aside
}

// OpenSQLite opens the ledger in a data folder, and makes it at first. Only one
// process may have it open. Lanes that an earlier process had taken are given
// out again (law 25).
func OpenSQLite(ctx context.Context, dir string, opts Options) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	if err := checkLocal(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	if opts.Gather == 0 {
		opts.Gather = usualGather
	}
	s := &Store{opts: opts, ring: opts.Ring, files: &sqliteFiles{dir: dir, path: filepath.Join(dir, "ledger.db"), lock: lock, asides: make(chan *aside, 1)},
		stopped: make(chan struct{}), readers: make(chan *sqliteConn, readerCount), running: map[int64]*running{}}
	s.queue.wake.L = &s.queue.mu
	if err := s.openFiles(ctx); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open ledger in %s: %w", dir, err)
	}
	go s.write()
	return s, nil
}

func (s *Store) openFiles(ctx context.Context) (err error) {
	if s.ring == nil {
		if s.ring, err = s.keyring(); err != nil {
			return err
		}
	}
	w, err := openWriter(s.files.path)
	if err != nil {
		return err
	}
	s.writer = w
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := migrate(w, sqliteDialect); err != nil {
		return err
	}
	if err := usable(w); err != nil {
		return err
	}
	if err := s.openArchive(w, s.files.dir); err != nil {
		return err
	}
	if err := s.register(ctx); err != nil {
		return err
	}
	if err := s.sweepBodies(w); err != nil {
		return err
	}
	for range readerCount {
		r, err := openReader(s.files.path)
		if err != nil {
			s.closeReaders(len(s.readers))
			return err
		}
		s.readers <- r
	}
	return nil
}

// keyring loads the keyring, or makes one for a new ledger. A ledger that is
// there without its keyring is not opened: a new one could not read it.
func (s *Store) keyring() (*seal.Ring, error) {
	path := seal.Path(s.files.dir)
	ring, err := seal.Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	if _, err := os.Stat(s.files.path); err == nil {
		return nil, fmt.Errorf("the keyring %s is missing: put its copy back, or name it in %s", path, seal.EnvKeyFile)
	}
	return seal.Create(path)
}

func openWriter(path string) (*sqliteConn, error) {
	c, err := openSQLiteConn(path, false)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{
		"PRAGMA auto_vacuum = INCREMENTAL",
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = FULL",
		"PRAGMA cache_size = -8192",
		"PRAGMA temp_store = MEMORY",
		"PRAGMA wal_autocheckpoint = 16000",
		"PRAGMA secure_delete = FAST",
		"PRAGMA trusted_schema = OFF",
		"PRAGMA schema_version", // the first look at the file opens the log
	} {
		if _, err := c.exec(p); err != nil {
			c.close()
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	c.gatherLog()
	return c, nil
}

func openReader(path string) (*sqliteConn, error) {
	c, err := openSQLiteConn(path, true)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{"PRAGMA query_only = ON", "PRAGMA cache_size = -2048", "PRAGMA trusted_schema = OFF"} {
		if _, err := c.exec(p); err != nil {
			c.close()
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return c, nil
}

// reopen opens the file again after an error of the disk, as often as needed,
// and gives the lanes out again; meanwhile intake is refused. It gives false
// when the store was closed.
func (s *Store) reopen(cause error) bool {
	why := "the ledger's disk failed and it is being reopened"
	s.full.Store(&why)
	s.log("the commit failed, the ledger reopens: %v", cause)
	s.writer.close()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		w, err := openWriter(s.files.path)
		if err == nil {
			s.writer = w
			if err = s.takeBack(false, nil); err == nil {
				s.full.Store(nil)
				s.log("the ledger is open again")
				return true
			}
			w.close()
		}
		s.log("the ledger cannot be reopened yet: %v", err)
		time.Sleep(wait)
		s.queue.mu.Lock()
		closed := s.queue.closed != nil
		s.queue.mu.Unlock()
		if closed {
			s.writer = nil
			return false
		}
	}
}

// Close runs what is queued, and closes the ledger. Lanes that are still taken
// count as in flight at a crash: release them first.
func (s *Store) Close() error {
	s.queue.shut(ledger.ErrClosed)
	if s.pg != nil {
		return s.closePostgres()
	}
	<-s.stopped
	s.queue.drop(ledger.ErrClosed)
	s.mu.Lock()
	lock := s.files.lock
	s.files.lock = nil
	s.mu.Unlock()
	if lock == nil {
		return nil // closed before
	}
	s.backing.Lock() // what a backup does at the writer's connection has ended
	defer s.backing.Unlock()
	err := errors.Join(s.closeReaders(readerCount), s.archive.close())
	s.keepMark(s.files.dir, true)
	if s.writer != nil {
		err = errors.Join(err, s.writer.close())
	}
	return errors.Join(err, lock.Close())
}

func (s *Store) closeReaders(n int) error {
	var errs []error
	for range n {
		errs = append(errs, (<-s.readers).close())
	}
	return errors.Join(errs...)
}

// tend looks after the size of the write-ahead log, between commits.
func (s *Store) tend() error {
	s.keepMark(s.files.dir, false)
	s.files.commits++
	if s.files.commits%walLook != 0 {
		return nil
	}
	info, err := os.Stat(s.files.path + "-wal")
	if err != nil || info.Size() < walLimit {
		return nil // no log is no problem
	}
	// It waits for those who read just now, but not so long that intake is felt;
	// else the next look does it.
	if _, err := s.writer.exec("PRAGMA busy_timeout = 50"); err != nil {
		return err
	}
	_, err = s.writer.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	_, again := s.writer.exec("PRAGMA busy_timeout = 5000")
	return errors.Join(err, again)
}

// usualFloor is how much must be free on the disk for messages to be taken.
const usualFloor = 256 << 20

func (s *Store) freeSpace(dir string) (int64, error) {
	if s.opts.Free != nil {
		return s.opts.Free(dir)
	}
	return freeSpace(dir)
}

// checkDisk refuses intake below the disk floor.
func (s *Store) checkDisk() error {
	if why := s.full.Load(); why != nil {
		return fmt.Errorf("%s: %w", *why, ledger.ErrFull)
	}
	floor := s.opts.MinFree
	if floor < 0 || s.pg != nil {
		return nil
	}
	if floor == 0 {
		floor = usualFloor
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.files.looked) < time.Second {
		return nil
	}
	for _, dir := range []string{s.files.dir, s.bodiesDir()} {
		free, err := s.freeSpace(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no large content yet
		}
		if err != nil {
			return fmt.Errorf("look at the free space: %w", err)
		}
		if free < floor {
			return fmt.Errorf("%d MB are free in %s, %d MB are the floor: %w", free>>20, dir, floor>>20, ledger.ErrFull)
		}
	}
	s.files.looked = time.Now()
	return nil
}
