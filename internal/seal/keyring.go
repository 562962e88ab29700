package seal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// EnvKeyFile names the environment variable with the path of the keyring.
const EnvKeyFile = "KIUNGO_KEY_FILE"

const keySize = 32

type file struct {
	About   string `json:"about"`
	Current uint16 `json:"current"`
	Keys    []key  `json:"keys"`
	Mac     []byte `json:"mac"`
}

type key struct {
	ID   uint16    `json:"id"`
	Key  []byte    `json:"key"`
	Made time.Time `json:"made"`
}

const about = "Kiungo's keys. Without this file the ledger cannot be read: keep a copy apart from the backups of the data."

// Path gives the keyring of a data folder: KIUNGO_KEY_FILE, or keys.json in it.
func Path(dir string) string {
	if p := os.Getenv(EnvKeyFile); p != "" {
		return p
	}
	return filepath.Join(dir, "keys.json")
}

// Load reads a keyring. A missing file is fs.ErrNotExist.
func Load(path string) (*Ring, error) {
	f, err := read(path)
	if err != nil {
		return nil, err
	}
	return newRing(f)
}

// Create makes a keyring with fresh keys, readable by its owner only. It fails
// with fs.ErrExist if there is one.
func Create(path string) (*Ring, error) {
	f := fresh()
	if err := write(path, f, os.O_EXCL); err != nil {
		return nil, fmt.Errorf("create keyring %s: %w", path, err)
	}
	return newRing(f)
}

// Key is what may be known of a key.
type Key struct {
	ID   int       `json:"id"`
	Made time.Time `json:"made"`
	Used bool      `json:"used"` // by those who load the keyring from now on
}

// Keys lists the keys of a keyring, oldest first.
func Keys(path string) ([]Key, error) {
	f, err := read(path)
	if err != nil {
		return nil, err
	}
	out := make([]Key, len(f.Keys))
	for i, k := range f.Keys {
		out[i] = Key{ID: int(k.ID), Made: k.Made, Used: k.ID == f.Current}
	}
	return out, nil
}

// Add puts a new key into a keyring, which nothing is sealed with until Use: the
// nodes that share a ledger are all to know it before.
func Add(path string) (int, error) {
	f, err := read(path)
	if err != nil {
		return 0, err
	}
	last := f.Keys[len(f.Keys)-1].ID
	if last == packed-1 { // the highest bit marks what is compressed
		return 0, fmt.Errorf("keyring %s has used all its key ids", path)
	}
	f.Keys = append(f.Keys, key{ID: last + 1, Key: random(), Made: time.Now().UTC().Truncate(time.Second)})
	return int(last + 1), replace(path, f)
}

// Use has the newest key of a keyring seal what is written from the next Load on;
// what was sealed before stays readable. The hashing key is not changed.
func Use(path string) (int, error) {
	f, err := read(path)
	if err != nil {
		return 0, err
	}
	f.Current = f.Keys[len(f.Keys)-1].ID
	return int(f.Current), replace(path, f)
}

// replace stores a keyring in the place of the one before it, whole or not at all.
func replace(path string, f *file) error {
	next := path + ".new"
	was, err := os.Stat(path)
	if err == nil {
		err = write(next, f, os.O_TRUNC)
	}
	if err == nil {
		err = giveTo(next, was)
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("change keyring %s: %w", path, err)
	}
	return nil
}

// Temporary gives a keyring that lives in memory only, for tests and demos.
func Temporary() *Ring {
	r, err := newRing(fresh())
	if err != nil {
		panic(err)
	}
	return r
}

func fresh() *file {
	return &file{About: about, Current: 1, Mac: random(),
		Keys: []key{{ID: 1, Key: random(), Made: time.Now().UTC().Truncate(time.Second)}}}
}

func random() []byte {
	b := make([]byte, keySize)
	rand.Read(b) // never fails (crypto/rand, Go 1.24)
	return b
}

func read(path string) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 && !(open == 0o040 && isCredential(path)) {
		return nil, fmt.Errorf("keyring %s can be read by others (mode %04o): run chmod 600 on it", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("keyring %s is not readable JSON: restore it from its copy: %w", path, err)
	}
	return &f, f.check(path)
}

// isCredential tells whether systemd gave the file to this service
// (LoadCredential=). It allows the service's user to read it by an ACL, which
// shows as a right of the group; nobody else can enter the folder.
func isCredential(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	return dir != "" && filepath.Dir(filepath.Clean(path)) == filepath.Clean(dir)
}

func (f *file) check(path string) error {
	if len(f.Keys) == 0 || len(f.Mac) != keySize {
		return fmt.Errorf("keyring %s is incomplete: restore it from its copy", path)
	}
	for _, k := range f.Keys {
		if len(k.Key) != keySize {
			return fmt.Errorf("keyring %s: key %d has %d bytes, not %d: restore it from its copy", path, k.ID, len(k.Key), keySize)
		}
	}
	return nil
}

// write stores the keyring durably before anything is sealed with it.
func write(path string, f *file, flag int) (err error) {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := out.Write(append(b, '\n')); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
