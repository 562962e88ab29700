package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// On SQLite a large content is a sealed file of its own, written and made
// durable before its message is committed, so that it never keeps the writer
// (law 36). Its row holds a mark in its place, which is too short to be sealed.
// PostgreSQL keeps large values beside the table by itself.
const (
	// largeBody is the size in bytes from which content is a file.
	largeBody = 256 << 10
	// filesAFolder: files are in folders of so many numbers.
	filesAFolder = 4096
)

var filedMark = []byte("in a file")

func isFiled(body []byte) bool { return bytes.Equal(body, filedMark) }

func (s *Store) bodiesDir() string { return filepath.Join(s.files.dir, "files") }

// bodyPath is where the content of a message is: files/FOLDER/NUMBER.
func (s *Store) bodyPath(message int64) string {
	return filepath.Join(s.bodiesDir(), strconv.FormatInt(message/filesAFolder, 10), strconv.FormatInt(message, 10))
}

// fileBody puts a large sealed content into a file and gives what stands in the
// row. The file is durable when it returns.
func (s *Store) fileBody(a *arrival, size int) error {
	if s.files == nil || size < largeBody {
		return nil
	}
	path := s.bodyPath(a.id)
	if err := s.makeFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("make a folder for large contents: %w", err)
	}
	if err := writeDurably(path, a.body); err != nil {
		_ = os.Remove(path) // an orphan is swept at the next start
		return fmt.Errorf("write the content of message %d: %w", a.id, full(err))
	}
	a.body, a.filed = filedMark, true
	return s.fault("filed")
}

// dropBodies removes the files of messages that were not stored: duplicates,
// and all if nothing was committed for certain.
func (s *Store) dropBodies(in []arrival, out []ledger.Accepted, err error) {
	if errors.Is(err, ledger.ErrUncertain) || errors.Is(err, ledger.ErrClosed) {
		return // those without a message are swept at the next start
	}
	for i := range in {
		if in[i].filed && (err != nil || out[i].Message != in[i].id) {
			_ = os.Remove(s.bodyPath(in[i].id)) // swept at the next start otherwise
		}
	}
}

// full tells a full disk from other faults of it.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ledger.ErrFull, err)
	}
	return err
}

// makeFolder makes a folder for files, durably.
func (s *Store) makeFolder(dir string) error {
	for _, d := range []string{s.bodiesDir(), dir} {
		err := os.Mkdir(d, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = syncFolder(filepath.Dir(d))
		}
		if err != nil {
			return full(err)
		}
	}
	return nil
}

func writeDurably(path string, body []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}

// bodyOf opens the content of a message, wherever it is.
func (s *Store) bodyOf(m *connector.Message, w *workRow) ([]byte, error) {
	if !isFiled(w.body) {
		return w.body, nil
	}
	if s.files == nil {
		return nil, fmt.Errorf("its content is in a file of a SQLite ledger")
	}
	sealed, err := os.ReadFile(s.bodyPath(m.ID))
	if err != nil {
		return nil, fmt.Errorf("its content is in a file: %w", err)
	}
	return sealed, nil
}

// sweptFolders is how far back orphans are looked for: a file is written just
// before its commit, so one without a message is among the last.
const sweptFolders = 16

// sweepBodies removes files whose message was never committed: the process
// ended in between. Only the newest folders are looked at, so that it takes no
// longer with the years.
func (s *Store) sweepBodies(c conn) error {
	entries, err := os.ReadDir(s.bodiesDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the files of large contents: %w", err)
	}
	from := s.numbers.message.Load()/filesAFolder - sweptFolders
	for _, e := range entries {
		folder, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil || folder < from {
			continue
		}
		if err := s.sweepFolder(c, filepath.Join(s.bodiesDir(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

const qBody = `SELECT body FROM message WHERE id = ?`

func (s *Store) sweepFolder(c conn, dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look at the files of large contents: %w", err)
	}
	for _, f := range files {
		id, err := strconv.ParseInt(f.Name(), 10, 64)
		if err != nil {
			continue // not ours
		}
		filed := false
		if _, err := one(c, qBody, func(r row) { filed = isFiled(r.blob(0)) }, id); err != nil {
			return err
		}
		if filed {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a file without a message: %w", err)
		}
	}
	return nil
}
