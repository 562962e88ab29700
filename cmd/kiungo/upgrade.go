package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/engine"
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
			"with --old-site.\n\n" +
			"The copy is a backup: the running server makes it, or on PostgreSQL the old program. A large database is\n" +
			"better copied by what copies it anyway (a snapshot, a restored base backup; pg_dump | psql; createdb -T\n" +
			"only while nobody uses it). Name that copy with --database, and say --copy: this program brings its tables\n" +
			"up to date, so it serves once.",
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
	cmd.Flags().BoolVar(&t.copied, "copy", false, "the ledger that is named is a copy that nobody uses, and that may be changed: do not copy it")
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
	l, err := a.copyLedger(ctx, work, t, or(t.old, self))
	if err != nil {
		return nil, err
	}
	side := func(name, program, site, integrations string) ([]upgrade.Line, error) {
		data, err := l.forOne(filepath.Join(work, name))
		if err != nil {
			return nil, err
		}
		args := []string{"plans", "--site", site, "--integrations", integrations, "--reads", filepath.Join(work, "reads"),
			"--last", strconv.Itoa(t.last), "--salt", hex.EncodeToString(salt), "--data", data}
		out, err := runProgram(ctx, program, l.database, args...)
		if err != nil {
			if t.copied && strings.Contains(err.Error(), "run the newer program") {
				err = fmt.Errorf("%w\nthe copy was tried on before, and serves once: make a new one", err)
			}
			return nil, fmt.Errorf("the %s version (%s) could not plan: %w", name, program, err)
		}
		return upgrade.Read(out)
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
