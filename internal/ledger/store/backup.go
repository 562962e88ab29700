package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// partSuffix is of what is not complete yet.
const partSuffix = ".part"

// Progress is how far something long has come.
type Progress struct {
	Doing string `json:"doing"` // "copy ledger.db"
	Done  int64  `json:"done"`
	Of    int64  `json:"of"` // 0: not known
}

func tell(f func(Progress), p Progress) {
	if f != nil {
		f(p)
	}
}

// BackupOptions of a backup.
type BackupOptions struct {
	// Keyring puts a copy of the keyring beside the data: whoever has the backup
	// can then read it.
	Keyring bool
	Who     string // for the audit trail
	// Progress is told now and then; it must not block.
	Progress func(Progress)
}

// ErrBackingUp: another backup of this process is under way.
var ErrBackingUp = errors.New("a backup is being made already")

// Backup makes a backup in a new folder within to, while the ledger goes on,
// and reads it back: its file is checked, it must end where the ledger was, and
// some of its rows are unsealed. It gives the folder, named by its time. An
// error leaves nothing that looks like a backup.
func (s *Store) Backup(ctx context.Context, to string, o BackupOptions) (folder string, m *Manifest, err error) {
	if !s.backing.TryLock() {
		return "", nil, ErrBackingUp
	}
	defer s.backing.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	folder, m, err = s.backup(ctx, to, o)
	note := ""
	if err == nil {
		note = fmt.Sprintf("%d files, %d bytes, up to %s", len(m.Files), m.Size(), m.At.Format(time.RFC3339))
	}
	if err != nil {
		return "", nil, fmt.Errorf("backup to %s: %w", to, err)
	}
	return folder, m, s.Audit(ctx, ledger.Audit{Who: o.Who, Act: "backup", Note: note})
}

func (s *Store) backup(ctx context.Context, to string, o BackupOptions) (_ string, m *Manifest, err error) {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", nil, err
	}
	removeParts(to)
	began := s.clock().UTC()
	folder := filepath.Join(to, began.Format("20060102T150405Z"))
	for n := 2; exists(folder); n++ {
		folder = filepath.Join(to, fmt.Sprintf("%s-%d", began.Format("20060102T150405Z"), n))
	}
	part := folder + partSuffix
	if err := os.Mkdir(part, 0o700); err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(part))
		}
	}()
	b := &backup{s: s, ctx: ctx, part: part, o: o, m: &Manifest{Format: manifestFormat, Kiungo: version(), Codec: codec, Ledger: s.id,
		Began: began, Keys: keysOf(s.ring), WithKeyring: o.Keyring}}
	if list, err := Backups(to); err == nil && len(list) > 0 {
		b.before = &list[len(list)-1]
	}
	if err := b.fill(); err != nil {
		return "", nil, err
	}
	b.m.Ended = s.clock().UTC()
	if err := b.m.write(part); err != nil {
		return "", nil, err
	}
	if err := errors.Join(syncPath(part), os.Rename(part, folder), syncPath(to)); err != nil {
		return "", nil, err
	}
	return folder, b.m, nil
}

// backup is one being made.
type backup struct {
	s      *Store
	ctx    context.Context
	part   string
	o      BackupOptions
	m      *Manifest
	before *BackupAt
}

// fill puts everything in its place. Sealed files are there before the row that
// names them, and a row leaves the ledger after it is in the archive: so files
// are copied before the ledger, and what is new after it; the archive after it.
func (b *backup) fill() error {
	dir := b.s.dir()
	for _, step := range []func() error{
		func() error { return b.folder(filepath.Join(dir, filesFolder), filesFolder) },
		b.ledger,
		func() error { return b.folder(filepath.Join(dir, filesFolder), filesFolder) },
		func() error { return b.folder(b.s.archive.dir, archiveFolder) },
		func() error {
			if !b.o.Keyring {
				return nil
			}
			return b.copy(seal.Path(dir), keyringFile, "")
		},
	} {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// dir is the data folder.
func (s *Store) dir() string {
	if s.pg != nil {
		return s.pg.dir
	}
	return s.files.dir
}

// ledger copies the ledger and reads the copy.
func (b *backup) ledger() error {
	path := filepath.Join(b.part, ledgerFile)
	part := path + partSuffix
	var at mark
	var err error
	if b.s.pg != nil {
		b.m.Of = "postgres"
		at, err = b.s.dumpPostgres(b.ctx, part, b.o.Progress)
	} else {
		b.m.Of = "sqlite"
		at, err = b.s.copyPages(b.ctx, part, func(done, of int) {
			tell(b.o.Progress, Progress{"copy " + ledgerFile, int64(done), int64(of)})
		})
	}
	if err == nil {
		err = plainJournal(part)
	}
	if err != nil {
		return err
	}
	b.m.At, b.m.Incarnation = at.At, at.Incarnation
	tell(b.o.Progress, Progress{Doing: "read " + ledgerFile + " back"})
	if err := testRead(b.ctx, part, b.s.ring, b.m); err != nil {
		return fmt.Errorf("the copy of the ledger is not good: %w", err)
	}
	size, sum, err := hashFile(part)
	if err != nil {
		return err
	}
	b.m.Files = append(b.m.Files, Backed{Name: ledgerFile, Size: size, SHA256: sum})
	return os.Rename(part, path)
}

// folder copies the files of a folder that are not there yet. One that is the
// same as in the backup before is linked to that one's copy: it takes no room.
func (b *backup) folder(root, name string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no such folder, or a file that was removed just now
		}
		if err != nil || d.IsDir() || !d.Type().IsRegular() || passing(path) {
			return err
		}
		if err := b.ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		to, source := name+"/"+filepath.ToSlash(rel), fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
		if b.m.file(to) != nil || b.link(to, source) {
			return nil
		}
		tell(b.o.Progress, Progress{Doing: "copy " + name, Done: int64(len(b.m.Files))})
		if err = b.copy(path, to, source); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// passing tells whether a file is only there for a while.
func passing(path string) bool {
	for _, end := range []string{partSuffix, ".tmp", "-wal", "-shm", "-journal"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// link takes a file of the backup before, if it is of the same source.
func (b *backup) link(name, source string) bool {
	if b.before == nil {
		return false
	}
	old := b.before.Manifest.file(name)
	if old == nil || old.Source != source {
		return false
	}
	from, to := filepath.Join(b.before.Folder, filepath.FromSlash(name)), filepath.Join(b.part, filepath.FromSlash(name))
	if os.MkdirAll(filepath.Dir(to), 0o700) != nil || os.Link(from, to) != nil {
		return false // another kind of disk: it is copied
	}
	b.m.Files = append(b.m.Files, *old)
	return true
}

func (b *backup) copy(from, name, source string) error {
	to := filepath.Join(b.part, filepath.FromSlash(name))
	if strings.HasSuffix(name, ".db") {
		if err := copyDatabase(b.ctx, from, to); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		size, sum, err := hashFile(to)
		b.m.Files = append(b.m.Files, Backed{name, size, sum, source})
		return err
	}
	size, sum, err := copyFile(from, to)
	if err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	b.m.Files = append(b.m.Files, Backed{name, size, sum, source})
	return nil
}

// removeParts removes what backups left that were killed: none of this process
// is under way, and another's would be at work within the hour.
func removeParts(in string) {
	entries, err := os.ReadDir(in)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasSuffix(e.Name(), "Z"+partSuffix) {
			continue
		}
		path := filepath.Join(in, e.Name())
		newest := time.Time{}
		_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
			if err == nil {
				if info, err := d.Info(); err == nil && info.ModTime().After(newest) {
					newest = info.ModTime()
				}
			}
			return nil
		})
		if time.Since(newest) > time.Hour {
			_ = os.RemoveAll(path) // it only takes room
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// keysOf tells keyrings apart without telling their keys.
func keysOf(r *seal.Ring) string { return hex.EncodeToString(r.Mac("keyring", "this ledger")) }

// version is of this program, as it was built.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}
