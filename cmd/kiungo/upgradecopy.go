package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// ledgerCopy is a ledger that an upgrade is tried on.
type ledgerCopy struct {
	base     string // a data folder that each version is given a copy of
	database string // of a copy on PostgreSQL; each version is given a folder with the keyring
	asIs     bool   // base is a copy that somebody has made: it is not copied again
	keyring  string // its file; it is in no backup
}

// copyLedger makes a copy of the ledger, or takes the one that is there. The
// program that runs now copies a database: a newer one would bring its tables up
// to date.
func (a *app) copyLedger(ctx context.Context, work string, t tried, now string) (*ledgerCopy, error) {
	l := &ledgerCopy{base: filepath.Join(work, "ledger"), keyring: seal.Path(a.dataDir)}
	url := a.databaseURL()
	if t.copied {
		l.base, l.database, l.asIs = a.dataDir, url, true
		return l, unused(ctx, url)
	}
	remote, running := control.Dial(a.dataDir)
	from := a.dataDir
	switch {
	case running:
		made, err := remote.Backup(ctx, control.BackupRequest{To: filepath.Join(work, "backup"), Who: whoAmI()}, nil)
		if err != nil {
			return nil, err
		}
		from = made.Folder
	case url != "":
		facts, err := store.Examine(ctx, url, a.dataDir)
		if err != nil {
			return nil, err
		}
		if !facts.Exists {
			return nil, usagef("the database has no ledger: look at --database and its search_path")
		}
		if t.old == "" && facts.Schema < facts.Known {
			return nil, usagef("the ledger's tables are of an older program than this one, which would bring them up to date by looking: name the program that runs now with --old")
		}
		to := filepath.Join(work, "backup")
		if _, err := runProgram(ctx, now, url, "backup", "--to", to, "--data", a.dataDir); err != nil {
			return nil, fmt.Errorf("have %s copy the ledger: %w", now, err)
		}
		if from, _, err = store.FindBackup(to); err != nil {
			return nil, err
		}
	}
	if err := copyFolder(from, l.base); err != nil {
		return nil, fmt.Errorf("copy the ledger: %w", err)
	}
	if from != a.dataDir { // it takes room, and each version has a copy of the copy
		_ = os.RemoveAll(filepath.Join(work, "backup"))
	}
	return l, nil
}

// unused refuses a database that a node has open: it is no copy.
func unused(ctx context.Context, url string) error {
	if url == "" {
		return nil
	}
	host, err := store.InUse(ctx, url)
	if err == nil && host != "" {
		err = usagef("that is no copy: a node on %s has it open (a fresh copy of a running ledger says so too, for 35 seconds: then try again)", host)
	}
	return err
}

// forOne gives a version its data folder: each its own, for the new one may
// bring the tables up to date. One of a database has the keyring alone, neither
// the name of a node nor how far its ledger had come: that is the original's.
func (l *ledgerCopy) forOne(dir string) (string, error) {
	switch {
	case l.database != "":
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
	case l.asIs:
		return l.base, nil
	default:
		if err := copyFolder(l.base, dir); err != nil {
			return "", fmt.Errorf("copy the ledger: %w", err)
		}
	}
	keyring := seal.Path(dir)
	if keyring == l.keyring {
		return dir, nil // the environment names one for all
	}
	err := copyFile(l.keyring, keyring)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the keyring %s is missing: name this node's folder with --data, or the keyring in %s", l.keyring, seal.EnvKeyFile)
	}
	return dir, err
}

// runProgram runs a version of kiungo, on the ledger of a database or, without
// one, of the folder that its arguments name, whatever this process was told;
// and without an archive, which nobody plans from. The URL may have a password:
// it is not for the list of processes.
func runProgram(ctx context.Context, program, database string, args ...string) (*bytes.Buffer, error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KIUNGO_DATABASE="+database, "KIUNGO_ARCHIVE="+filepath.Join(os.TempDir(), "kiungo-no-archive"))
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, strings.TrimSpace(said.String()))
	}
	return &out, nil
}

// copyFolder copies the files of a data folder, but for what belongs to a
// process or to nobody's plans.
func copyFolder(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "archive" {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if !d.Type().IsRegular() || strings.HasSuffix(rel, "-shm") || strings.HasSuffix(rel, ".lock") || rel == "lock" {
			return nil
		}
		return copyFile(path, filepath.Join(to, rel))
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
