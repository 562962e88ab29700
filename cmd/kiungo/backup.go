package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

func (a *app) backupCmd() *cobra.Command {
	var r control.BackupRequest
	cmd := &cobra.Command{
		Use:   "backup --to FOLDER",
		Short: "Back the ledger up while it runs, and read the backup back",
		Long: "Backup makes a new folder in FOLDER, named by the time, with the ledger, the files beside it and the\n" +
			"archive, and a manifest. The running server makes it, between its commits; without one the ledger is\n" +
			"opened. What has not changed since the backup before is linked, not copied. At the end the copy is read:\n" +
			"its pages are checked, and some of its rows are unsealed.\n\n" +
			"The keyring is not in it: WITHOUT A COPY OF THE KEYRING A BACKUP CANNOT BE READ. Keep that copy apart.\n" +
			"--with-keyring puts one in; then whoever has the backup can read the patients' data in it.",
		Example: "  kiungo backup --to /mnt/backup",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.To == "" {
				return usagef("back up to where? Name a folder with --to, on another disk")
			}
			to, err := filepath.Abs(r.To)
			if err != nil {
				return err
			}
			r.To, r.Who = to, whoAmI()
			s, done, err := a.service(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			show := newShown(a)
			made, err := s.Backup(cmd.Context(), r, show.tell)
			show.end()
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(made)
			}
			m := made.Manifest
			fmt.Fprintf(a.out, "%s\n%s in %s, in %s; all that was committed up to %s; read back and found good\n", made.Folder,
				size(m.Size()), counted(len(m.Files), "file"), m.Ended.Sub(m.Began).Round(time.Millisecond), m.At.Local().Format("2006-01-02 15:04:05"))
			if !m.WithKeyring {
				fmt.Fprintln(a.out, "The keyring is not in it: keep a copy of it apart, without it the backup cannot be read.")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&r.To, "to", "", "the folder where backups are kept; the backup is a new folder in it")
	cmd.Flags().BoolVar(&r.Keyring, "with-keyring", false, "put a copy of the keyring in: whoever has the backup can read it")
	return cmd
}

// shown prints progress in one line of a terminal; elsewhere nothing.
type shown struct {
	to   io.Writer
	last time.Time
	on   bool
}

func newShown(a *app) *shown {
	info, err := os.Stderr.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 || a.asJSON {
		return &shown{}
	}
	return &shown{to: os.Stderr}
}

func (s *shown) tell(p store.Progress) {
	if s.to == nil || time.Since(s.last) < 100*time.Millisecond {
		return
	}
	s.last, s.on = time.Now(), true
	text := p.Doing
	switch {
	case p.Of > 0:
		text += fmt.Sprintf(" %d %%", p.Done*100/p.Of)
	case p.Done > 0:
		text += fmt.Sprintf(" %d", p.Done)
	}
	fmt.Fprintf(s.to, "\r%-60s", text)
}

func (s *shown) end() {
	if s.on {
		fmt.Fprintf(s.to, "\r%60s\r", "")
	}
}

// size gives bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d kB", (n+1023)/1024)
}
