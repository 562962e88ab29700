package main

import (
	"context"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// keepPace is how long the archive rests after each step when it is told to work
// now, in parts of what the step took: other work goes on beside it.
const keepPace = 1

func (a *app) archiveCmd() *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use:   "archive",
		Short: "Show the archive of ended deliveries; --now puts old ones there at once",
		Long: "A running server wipes the contents of messages and archives ended deliveries by itself, a few at a\n" +
			"time, when they are older than keep: in site.yaml says (90 and 365 days, if it does not say). What is\n" +
			"open, held or half undone stays. The archive is one file a month, by when the message came in;\n" +
			"kiungo deliveries --archived lists it, and kiungo deliveries ID finds one there too.\n" +
			"--now does at once what is due. It can be stopped and run again at any time.",
		Example: "  kiungo archive\n  kiungo archive --now",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if now {
				return a.archiveNow(cmd.Context())
			}
			s, done, err := a.service(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			files, err := s.Archives(cmd.Context())
			if err != nil {
				return err
			}
			return a.printArchives(files)
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "wipe and archive what is due, now")
	return cmd
}

// archiveNow has the running server do it, or does it here by the site's rules.
func (a *app) archiveNow(ctx context.Context) error {
	var s control.Service
	if remote, ok := control.Dial(a.dataDir); ok {
		s = remote
	} else {
		e, done, err := a.quietEngine(ctx)
		if err != nil {
			return err
		}
		defer done()
		s = local(e)
	}
	kept, err := s.Keep(ctx)
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(kept)
	}
	fmt.Fprintf(a.out, "%s wiped, %s archived, %d MB given back to the disk\n", counted(int(kept.Wiped), "content"), counted(int(kept.Archived), "message"), kept.Freed>>20)
	return nil
}

func (a *app) printArchives(files []ledger.ArchiveFile) error {
	if a.asJSON {
		if files == nil {
			files = []ledger.ArchiveFile{}
		}
		return a.printJSON(files)
	}
	if len(files) == 0 {
		fmt.Fprintln(a.out, "nothing is in the archive")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tDELIVERIES\tMB")
	for _, f := range files {
		fmt.Fprintf(w, "%s\t%d\t%.1f\n", filepath.Base(f.Path), f.Deliveries, float64(f.Bytes)/(1<<20))
	}
	return w.Flush()
}
