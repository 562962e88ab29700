package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/upgrade"
)

// tried is how an upgrade is tried.
type tried struct {
	old, oldIntegrations, oldSite string
	last                          int
	copied                        bool // the ledger that is named is a copy already
}

// errDiffers: the versions differ; the report has said how.
var errDiffers = errors.New("the new version would not do the same")

func (a *app) upgradeCmd() *cobra.Command {
	var try bool
	var t tried
	cmd := &cobra.Command{
		Use:   "upgrade --try",
		Short: "Show what this version, or changed flows, would do differently with the last messages",
		Long: "Try plans the last messages twice on a copy of the ledger: with the old version and with this one. Both\n" +
			"are given the same answers of the systems, so that only the versions differ. Nothing is written and nothing\n" +
			"is sent but reads. It shows, by flow and kind of record, which calls and fields would be other ones, and\n" +
			"which messages would be held; no values of patients. It ends with 1 if anything differs.\n\n" +
			"Say what is old: the program before with --old, its integrations with --old-integrations, its site file\n" +
			"with --old-site. On PostgreSQL make the copy first (createdb -T), and say --copy.",
		Example: "  kiungo upgrade --try --old /usr/local/bin/kiungo-1.3\n" +
			"  kiungo upgrade --try --old-integrations /etc/kiungo/integrations --integrations ./integrations --last 5000\n" +
			"  kiungo upgrade --try --old ./kiungo-1.3 --database postgres://kiungo@db/kiungo_try --copy",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !try {
				return usagef("kiungo is upgraded by starting the new program; --try shows before what it would do differently")
			}
			if t.old == "" && t.oldIntegrations == "" && t.oldSite == "" {
				return usagef("say what is old: --old PROGRAM, --old-integrations FOLDER or --old-site FILE")
			}
			if t.last < 1 {
				return usagef("--last must be 1 or more")
			}
			r, err := a.tryUpgrade(cmd.Context(), t)
			if err != nil {
				return err
			}
			if a.asJSON {
				err = a.printJSON(r)
			} else {
				a.printTried(r)
			}
			if err == nil && r.Different > 0 {
				err = &shownError{errDiffers}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&try, "try", false, "compare, change nothing")
	cmd.Flags().StringVar(&t.old, "old", "", "the program that runs now; left out, this one")
	cmd.Flags().StringVar(&t.oldIntegrations, "old-integrations", "", "the integrations that run now; left out, those of --integrations")
	cmd.Flags().StringVar(&t.oldSite, "old-site", "", "the site file that is in force now; left out, that of --site")
	cmd.Flags().IntVar(&t.last, "last", 1000, "how many messages")
	cmd.Flags().BoolVar(&t.copied, "copy", false, "the ledger that is named is a copy that nobody uses: do not copy it")
	return cmd
}

// tryUpgrade plans with both versions and compares.
func (a *app) tryUpgrade(ctx context.Context, t tried) (*upgrade.Report, error) {
	work, err := os.MkdirTemp("", "kiungo-upgrade-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work) // recorded answers hold patients' data
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	base, err := a.copyLedger(ctx, work, t.copied)
	if err != nil {
		return nil, err
	}
	side := func(name, program, site, integrations string) ([]upgrade.Line, error) {
		data := base
		if base != "" && !t.copied { // each its own: the new one may bring the schema up to date
			data = filepath.Join(work, name)
			if err := copyFolder(base, data); err != nil {
				return nil, fmt.Errorf("copy the ledger: %w", err)
			}
		}
		args := []string{"plans", "--site", site, "--integrations", integrations, "--reads", filepath.Join(work, "reads"),
			"--last", strconv.Itoa(t.last), "--salt", hex.EncodeToString(salt), "--data", data}
		if url := a.databaseURL(); url != "" {
			args = append(args, "--database", url)
		}
		return plansOf(ctx, name, program, args)
	}
	old, err := side("old", or(t.old, self), or(t.oldSite, a.siteFile), or(t.oldIntegrations, a.integrations))
	if err != nil {
		return nil, err
	}
	now, err := side("new", self, a.siteFile, a.integrations)
	if err != nil {
		return nil, err
	}
	return upgrade.Compare(old, now), nil
}

func or(v, otherwise string) string {
	if v != "" {
		return v
	}
	return otherwise
}

// plansOf has a program print its plans.
func plansOf(ctx context.Context, name, program string, args []string) ([]upgrade.Line, error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the %s version (%s) could not plan: %w\n%s", name, program, err, strings.TrimSpace(said.String()))
	}
	return upgrade.Read(&out)
}

// copyLedger gives a folder with a copy of the ledger: a backup of the running
// server, or the files of one that is stopped.
func (a *app) copyLedger(ctx context.Context, work string, copied bool) (string, error) {
	if copied {
		return a.dataDir, nil
	}
	if a.databaseURL() != "" {
		return "", usagef("make a copy of the database first (createdb -T kiungo kiungo_try), name it with --database, and say --copy")
	}
	base := filepath.Join(work, "ledger")
	if remote, ok := control.Dial(a.dataDir); ok {
		made, err := remote.Backup(ctx, control.BackupRequest{To: filepath.Join(work, "backup"), Who: whoAmI()}, nil)
		if err != nil {
			return "", err
		}
		if err := copyFolder(made.Folder, base); err != nil {
			return "", err
		}
	} else if err := copyFolder(a.dataDir, base); err != nil {
		return "", fmt.Errorf("copy the ledger: %w", err)
	}
	// The keyring is not in a backup.
	if b, err := os.ReadFile(seal.Path(a.dataDir)); err == nil {
		if err := os.WriteFile(seal.Path(base), b, 0o600); err != nil {
			return "", err
		}
	}
	return base, nil
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

// plansCmd is what upgrade --try asks each version: of an old program too, so
// its flags and its output stay as they are.
func (a *app) plansCmd() *cobra.Command {
	var reads, salt string
	var last int
	cmd := &cobra.Command{
		Use: "plans", Short: "Print what this version plans for the last messages, for kiungo upgrade --try", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := hex.DecodeString(salt)
			if err != nil || reads == "" {
				return usagef("this is for kiungo upgrade --try")
			}
			site, integrations, err := a.load()
			if err != nil {
				return err
			}
			recorded, err := upgrade.OpenRecorded(reads, nil)
			if err != nil {
				return err
			}
			defer recorded.Close()
			l, err := a.openLedger(cmd.Context())
			if err != nil {
				return err
			}
			defer l.Close()
			e, err := engine.New(engine.Options{Ledger: l, Registry: a.reg, Site: site, Integrations: integrations, Log: a.log(), Transport: recorded})
			if err != nil {
				return &usageError{err}
			}
			silence(e)
			return upgrade.Print(cmd.Context(), e, last, key, a.out, nil)
		},
	}
	cmd.Flags().StringVar(&reads, "reads", "", "file of recorded answers")
	cmd.Flags().StringVar(&salt, "salt", "", "of the digests, in hexadecimal digits")
	cmd.Flags().IntVar(&last, "last", 1000, "how many messages")
	return cmd
}

// printTried shows what differs, flow by flow.
func (a *app) printTried(r *upgrade.Report) {
	flow := ""
	for _, d := range r.Found {
		if d.Flow != flow {
			flow = d.Flow
			fmt.Fprintf(a.out, "%s\n", flow)
		}
		fmt.Fprintf(a.out, "    %s, e.g. message %d\n", saidOf(d), d.Message)
	}
	fmt.Fprintf(a.out, "%s of %s planned with both versions; %d would go otherwise\n", counted(r.Deliveries, "delivery"), counted(r.Messages, "message"), r.Different)
	if r.Unread > 0 {
		fmt.Fprintf(a.out, "%d could not be planned by either: their systems did not answer\n", r.Unread)
	}
}

func saidOf(d upgrade.Difference) string {
	switch d.What {
	case "more":
		return fmt.Sprintf("%d more would be made (%s)", d.N, d.Name)
	case "fewer":
		return fmt.Sprintf("%d would not be made any more (%s)", d.N, d.Name)
	case "held":
		return fmt.Sprintf("%d would be held (%s)", d.N, d.Name)
	case "not held":
		return fmt.Sprintf("%d would not be held any more (%s)", d.N, d.Name)
	case "state":
		return fmt.Sprintf("%d would end otherwise (%s)", d.N, d.Name)
	case "field":
		return fmt.Sprintf("%s: %s would be written otherwise, %d times", d.Kind, d.Name, d.N)
	}
	return fmt.Sprintf("%s: %s %s, %d times", d.Kind, d.What, d.Name, d.N)
}
