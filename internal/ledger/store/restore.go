package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// RestoreOptions of a restore.
type RestoreOptions struct {
	Options  Options // of the ledger that is opened at the end
	Who      string
	Progress func(Progress)
}

// Restored says what a restored ledger is, for who has to know what comes next.
type Restored struct {
	Folder      string           `json:"folder"` // of the backup
	Manifest    *Manifest        `json:"backup"`
	Incarnation int64            `json:"incarnation"`
	Open        []ledger.Count   `json:"open"`  // deliveries that have not ended
	Since       time.Time        `json:"since"` // the oldest of them was accepted
	Sources     []RestoredSource `json:"sources"`
}

// RestoredSource is a stream that is read again from where the backup was.
type RestoredSource struct {
	System string    `json:"system"`
	Stream string    `json:"stream"`
	At     time.Time `json:"at"` // when its position was last moved
}

// Restore puts a backup into an empty data folder, or with database into an
// empty PostgreSQL database, and raises the incarnation (law 24). from is a
// backup, or a folder of backups: then the newest is taken. A restore that was
// killed is begun again with the same call.
func Restore(ctx context.Context, from, database, dir string, o RestoreOptions) (*Restored, error) {
	folder, m, err := FindBackup(from)
	if err != nil {
		return nil, err
	}
	if err := m.verify(folder, o.Progress); err != nil {
		return nil, err
	}
	if err := fits(m, folder, dir); err != nil {
		return nil, err
	}
	order := toRaise{Why: fmt.Sprintf("restored from the backup of %s", m.At.UTC().Format(time.RFC3339)), Who: o.Who, Lost: true}
	if database == "" {
		err = restoreFolder(folder, m, dir, order, o)
	} else {
		err = restorePostgres(ctx, folder, m, database, dir, order, o)
	}
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", folder, err)
	}
	s, err := Open(ctx, database, dir, o.Options)
	if err != nil {
		return nil, fmt.Errorf("the backup is in place, but %w", err)
	}
	out, err := s.describe(ctx)
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	out.Folder, out.Manifest = folder, m
	return out, nil
}

// fits puts the keyring that came with a backup into the data folder, or sees
// that the one that is there is the backup's.
func fits(m *Manifest, folder, dir string) error {
	path := seal.Path(dir)
	ring, err := seal.Load(path)
	if errors.Is(err, fs.ErrNotExist) && m.WithKeyring {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if _, _, err := copyFile(filepath.Join(folder, keyringFile), path); err != nil {
			return fmt.Errorf("put the keyring back: %w", err)
		}
		ring, err = seal.Load(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the keyring %s is missing and the backup holds none: put its copy there first (or name it in %s); without it nothing of the backup can be read", path, seal.EnvKeyFile)
	}
	if err != nil {
		return err
	}
	if keysOf(ring) != m.Keys {
		return fmt.Errorf("the keyring %s is not the one that the backup was made with: put that one's copy there", path)
	}
	return nil
}

// emptyFolder refuses a data folder that has a ledger already.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name == filesFolder || name == archiveFolder {
			inside, err := os.ReadDir(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			if len(inside) == 0 || exists(filepath.Join(dir, ledgerFile+partSuffix)) {
				continue // also of a restore that was killed
			}
			return fmt.Errorf("the data folder %s has %s in it: restore into an empty folder", dir, name)
		}
		if strings.HasPrefix(name, ledgerFile) && name != ledgerFile+partSuffix {
			return fmt.Errorf("the data folder %s has a ledger already (%s): restore into an empty folder, or move that one away first", dir, name)
		}
	}
	return nil
}

// restoreFolder copies a backup. The ledger's file gets its name last.
func restoreFolder(folder string, m *Manifest, dir string, order toRaise, o RestoreOptions) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := checkLocal(dir); err != nil {
		return err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := emptyFolder(dir); err != nil {
		return err
	}
	part := filepath.Join(dir, ledgerFile+partSuffix)
	if err := os.WriteFile(part, nil, 0o600); err != nil { // a restore is under way
		return err
	}
	var done int64
	for _, f := range slices.Backward(m.Files) { // ledger.db is near the beginning
		if f.Name == keyringFile || f.Name == ledgerFile {
			continue
		}
		if err := put(folder, f, o.placeOf(dir, f.Name)); err != nil {
			return err
		}
		done += f.Size
		tell(o.Progress, Progress{"copy", done, m.Size()})
	}
	db := *m.file(ledgerFile)
	if err := put(folder, db, part); err != nil {
		return err
	}
	tell(o.Progress, Progress{"copy", done + db.Size, m.Size()})
	c, err := openSQLiteConn(part, false)
	if err != nil {
		return err
	}
	err = markRestored(c, sqliteDialect, order)
	if err = errors.Join(err, c.close()); err != nil {
		return err
	}
	return errors.Join(syncPath(part), os.Rename(part, filepath.Join(dir, ledgerFile)), syncPath(dir))
}

// placeOf is where a file of a backup goes.
func (o *RestoreOptions) placeOf(dir, name string) string {
	if rest, ok := strings.CutPrefix(name, archiveFolder+"/"); ok && o.Options.Archive != "" {
		return filepath.Join(o.Options.Archive, filepath.FromSlash(rest))
	}
	return filepath.Join(dir, filepath.FromSlash(name))
}

// put copies one file of a backup and compares it with the manifest.
func put(folder string, f Backed, to string) error {
	size, sum, err := copyFile(filepath.Join(folder, filepath.FromSlash(f.Name)), to)
	if err == nil && (size != f.Size || sum != f.SHA256) {
		err = errors.New("it is not what the manifest says")
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", f.Name, err)
	}
	return nil
}

// markRestored brings a copied ledger up to date, and has the incarnation raised
// when it is opened.
func markRestored(c conn, d dialect, order toRaise) error {
	if err := migrate(c, d); err != nil {
		return err
	}
	if err := dropSetting(c, settingMoved); err != nil { // it may be a copy made before a move
		return err
	}
	return setSettingJSON(c, settingRaise, order)
}

// describe says what is open, and what is read again.
func (s *Store) describe(ctx context.Context) (*Restored, error) {
	out := &Restored{Incarnation: s.Incarnation()}
	counts, err := s.Counts(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range counts {
		if c.State.Ended() || c.State == ledger.NotRouted {
			continue
		}
		out.Open = append(out.Open, c)
		if out.Since.IsZero() || c.First.Before(out.Since) {
			out.Since = c.First
		}
	}
	err = s.read(ctx, func(c conn) error {
		return c.each(`SELECT system, stream, at FROM poll_position ORDER BY system, stream`, func(r row) (bool, error) {
			out.Sources = append(out.Sources, RestoredSource{r.text(0), r.text(1), fromMicro(r.int(2))})
			return true, nil
		})
	})
	return out, err
}
