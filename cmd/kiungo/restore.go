package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

func (a *app) restoreCmd() *cobra.Command {
	var from string
	var here bool
	cmd := &cobra.Command{
		Use:   "restore --from FOLDER",
		Short: "Put a backup into an empty data folder, or with --database into an empty database",
		Long: "Restore verifies a backup (the newest one of a folder of backups), copies it, and raises the ledger's\n" +
			"incarnation: what the backup shows as open may have been done since it was made, so that systems are\n" +
			"asked before each write, and what cannot be asked becomes a question. The keyring's copy must be in the\n" +
			"data folder, or be named in KIUNGO_KEY_FILE.\n\n" +
			"--here says that the ledger was put back by other means (a database restored from pg_dump or to a point\n" +
			"in time, a disk from a snapshot): it only raises the incarnation. Kiungo notices most of that by itself.",
		Example: "  kiungo restore --from /mnt/backup --data /var/lib/kiungo-new\n" +
			"  kiungo restore --here --database postgres://kiungo@db/kiungo",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if here == (from != "") {
				return usagef("restore what? Name a backup with --from, or say with --here that the ledger was put back already")
			}
			if _, ok := control.Dial(a.dataDir); ok {
				return errors.New("a server runs with this data folder: stop it first")
			}
			if here {
				return a.raise(cmd)
			}
			show := newShown(a)
			r, err := store.Restore(cmd.Context(), from, a.databaseURL(), a.dataDir,
				store.RestoreOptions{Options: a.storeOptions(), Who: whoAmI(), Progress: show.tell})
			show.end()
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r)
			}
			return a.printRestored(r)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "a backup, or a folder of backups: then the newest")
	cmd.Flags().BoolVar(&here, "here", false, "the ledger was put back by other means: only raise the incarnation")
	return cmd
}

// raise says that a ledger was put back by other means.
func (a *app) raise(cmd *cobra.Command) error {
	l, err := a.openLedger(cmd.Context())
	if err != nil {
		return err
	}
	err = l.Raise(cmd.Context(), "somebody said that the ledger was put back", whoAmI())
	incarnation := l.Incarnation()
	if err = errors.Join(err, l.Close()); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "incarnation %d: systems are asked before each write for what may have been done since\n", incarnation)
	return nil
}

// printRestored says what was restored, what is lost, and what happens next.
func (a *app) printRestored(r *store.Restored) error {
	m := r.Manifest
	fmt.Fprintf(a.out, "restored %s\n\n", r.Folder)
	fmt.Fprintf(a.out, "It ends at %s, %s ago. The ledger is incarnation %d now.\n\n", m.At.Local().Format("2006-01-02 15:04:05"), roughly(time.Since(m.At)), r.Incarnation)
	var open int64
	var states []string
	for _, c := range r.Open {
		open += c.N
	}
	byState := map[string]int64{}
	for _, c := range r.Open {
		if byState[string(c.State)] == 0 {
			states = append(states, string(c.State))
		}
		byState[string(c.State)] += c.N
	}
	for i, s := range states {
		states[i] = fmt.Sprintf("%d %s", byState[s], s)
	}
	fmt.Fprintln(a.out, "Open: "+openText(open, states, r.Since))
	fmt.Fprintln(a.out, "  What they were to write may have been written after the backup was made. Before each write the system is\n"+
		"  asked; what is there already is not written again. What cannot be asked for (an SMS) becomes a question.")
	fmt.Fprintf(a.out, "Lost: messages that were pushed after %s, and answers that people gave since.\n", m.At.Local().Format("2006-01-02 15:04:05"))
	fmt.Fprintln(a.out, "  Senders that keep what they sent must send it again (CommCare: resend the forms of that time).")
	if len(r.Sources) == 0 {
		fmt.Fprintln(a.out, "Read again: nothing, no source is polled.")
		return nil
	}
	fmt.Fprintln(a.out, "Read again by themselves, from where the backup was:")
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, s := range r.Sources {
		fmt.Fprintf(w, "  %s\t%s\tsince %s\n", s.System, s.Stream, s.At.Local().Format("2006-01-02 15:04:05"))
	}
	return w.Flush()
}

func openText(n int64, states []string, since time.Time) string {
	if n == 0 {
		return "no delivery."
	}
	return fmt.Sprintf("%s (%s), the oldest since %s.", counted(int(n), "delivery"), strings.Join(states, ", "), since.Local().Format("2006-01-02 15:04:05"))
}

// roughly gives a length of time for people.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d/time.Hour))
	}
	return counted(int(d/time.Minute), "minute")
}
