package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A backup is a folder: ledger.db, a SQLite ledger whichever database it is of;
// files, the sealed bodies that lie beside the ledger; archive, what was closed
// long ago; and manifest.json, which is written last.
const (
	manifestFile   = "manifest.json"
	ledgerFile     = "ledger.db"
	filesFolder    = "files"
	archiveFolder  = "archive"
	keyringFile    = "keys.json"
	manifestFormat = 1
)

// Manifest says what a backup holds. Nothing in it comes from a message.
type Manifest struct {
	Format      int       `json:"format"`
	Kiungo      string    `json:"kiungo,omitempty"` // version of the program
	Schema      int64     `json:"schema"`
	Codec       int64     `json:"codec"`
	Of          string    `json:"of"`     // "sqlite" or "postgres"
	Ledger      string    `json:"ledger"` // the ledger's name for itself
	Incarnation int64     `json:"incarnation"`
	At          time.Time `json:"at"` // ledger time of the last commit in it
	Began       time.Time `json:"began"`
	Ended       time.Time `json:"ended"`
	Messages    int64     `json:"messages"` // the last number given out
	Deliveries  int64     `json:"deliveries"`
	// Keys tells which keyring reads it, without telling the keys.
	Keys        string   `json:"keys"`
	WithKeyring bool     `json:"with_keyring"`
	Files       []Backed `json:"files"`
}

// Backed is one file of a backup.
type Backed struct {
	Name   string `json:"name"` // with slashes, within the backup
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Source is size and time of what was copied, to tell later that it is
	// still the same; not of ledger.db.
	Source string `json:"source,omitempty"`
}

// Size is that of all files, in bytes.
func (m *Manifest) Size() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

func (m *Manifest) file(name string) *Backed {
	if i := slices.IndexFunc(m.Files, func(b Backed) bool { return b.Name == name }); i >= 0 {
		return &m.Files[i]
	}
	return nil
}

// ReadManifest reads what the backup in a folder holds; fs.ErrNotExist if there
// is none or it is not complete.
func ReadManifest(folder string) (*Manifest, error) {
	b, err := os.ReadFile(filepath.Join(folder, manifestFile))
	if err != nil {
		return nil, fmt.Errorf("read the backup's manifest: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("the manifest in %s is damaged: %w", folder, err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("the backup in %s has format %d, this program knows %d: run the newer program", folder, m.Format, manifestFormat)
	}
	for _, f := range m.Files {
		if !fs.ValidPath(f.Name) || f.Name == "." {
			return nil, fmt.Errorf("the manifest in %s names the file %q outside of the backup", folder, f.Name)
		}
	}
	if m.file(ledgerFile) == nil {
		return nil, fmt.Errorf("the manifest in %s names no %s", folder, ledgerFile)
	}
	return &m, nil
}

func (m *Manifest) write(folder string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(folder, manifestFile)
	if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return syncPath(path)
}

// FindBackup gives the backup that a path names: its own folder, or the newest
// complete one in a folder of backups.
func FindBackup(path string) (folder string, m *Manifest, err error) {
	m, err = ReadManifest(path)
	if err == nil {
		return path, m, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	list, err := Backups(path)
	if err != nil {
		return "", nil, err
	}
	if len(list) == 0 {
		return "", nil, fmt.Errorf("there is no complete backup in %s", path)
	}
	last := list[len(list)-1]
	return last.Folder, last.Manifest, nil
}

// BackupAt is a complete backup.
type BackupAt struct {
	Folder   string
	Manifest *Manifest
}

// Backups lists the complete backups in a folder, oldest first. Those whose
// manifest cannot be read are left out.
func Backups(in string) ([]BackupAt, error) {
	entries, err := os.ReadDir(in)
	if err != nil {
		return nil, fmt.Errorf("look for backups: %w", err)
	}
	var out []BackupAt
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), partSuffix) {
			continue
		}
		folder := filepath.Join(in, e.Name())
		if m, err := ReadManifest(folder); err == nil {
			out = append(out, BackupAt{folder, m})
		}
	}
	slices.SortFunc(out, func(a, b BackupAt) int { return a.Manifest.Ended.Compare(b.Manifest.Ended) })
	return out, nil
}

// verify compares the files of a backup with its manifest.
func (m *Manifest) verify(folder string, progress func(Progress)) error {
	var done int64
	for _, f := range m.Files {
		size, sum, err := hashFile(filepath.Join(folder, filepath.FromSlash(f.Name)))
		if err != nil {
			return fmt.Errorf("the backup is not whole: %w", err)
		}
		if size != f.Size || sum != f.SHA256 {
			return fmt.Errorf("%s in the backup %s is not what was written: it has %d bytes and SHA-256 %s, the manifest says %d and %s; take another backup", f.Name, folder, size, sum, f.Size, f.SHA256)
		}
		done += size
		tell(progress, Progress{"verify", done, m.Size()})
	}
	return nil
}

func hashFile(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// copyFile copies a file by way of one with another name, synced.
func copyFile(from, to string) (size int64, sum string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, "", err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return 0, "", err
	}
	part := to + partSuffix
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(out, h), in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return 0, "", errors.Join(err, os.Remove(part))
	}
	return size, hex.EncodeToString(h.Sum(nil)), os.Rename(part, to)
}

// syncPath syncs a file or, where the system can, a folder.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if info, statErr := f.Stat(); statErr == nil && info.IsDir() {
		err = nil // not all systems can; those that must, do
	}
	return errors.Join(err, f.Close())
}

// DropBackup removes a backup. Its manifest goes first: what is left half
// removed is no backup.
func DropBackup(folder string) error {
	if err := os.Remove(filepath.Join(folder, manifestFile)); err != nil {
		return err
	}
	return os.RemoveAll(folder)
}
