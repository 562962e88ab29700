package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

func (a *app) replayCmd() *cobra.Command {
	var missing bool
	var since string
	var o ledger.ReplayOrder
	cmd := &cobra.Command{
		Use:   "replay --missing SYSTEM",
		Short: "Put back what a system lost that was restored from a backup",
		Long: "When a system is restored from a backup, what Kiungo did in it since is gone. Kiungo notices, and sends\n" +
			"nothing more to it. Replay compares what it made there with what is there, and makes a delivery for each\n" +
			"message of which something is missing, in the order in which they were received: what is gone is made\n" +
			"again under its own id, what stands is left, what people changed since is theirs. Then the system goes on.\n" +
			"What cannot be taken back nor looked up, such as an SMS, is not sent again unless --again names its record.",
		Example: "  kiungo replay --missing openmrs --dry-run\n" +
			"  kiungo replay --missing openmrs\n" +
			"  kiungo replay --missing openmrs --since 2026-11-20T14:00\n" +
			"  kiungo replay --missing openmrs --accept --note \"the administrator purged test patients\"",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !missing {
				return usagef("say what to replay: --missing")
			}
			if o.Accept && (o.DryRun || len(o.Again) > 0) {
				return usagef("--accept replays nothing: leave out the other flags")
			}
			var err error
			if o.Since, err = moment(since); err != nil {
				return err
			}
			o.System, o.Who = args[0], whoAmI()
			s, done, err := a.planningService(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			r, err := s.Replay(cmd.Context(), o)
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r)
			}
			a.printReplay(r, &o)
			return nil
		},
	}
	cmd.Flags().BoolVar(&missing, "missing", false, "what is missing in the system")
	cmd.Flags().StringVar(&since, "since", "", "only what was done since then (2026-11-20T14:00, or a day); left out, since the last moment at which all was there")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only show what is missing")
	cmd.Flags().BoolVar(&o.Accept, "accept", false, "put nothing back: what is gone may stay so, and the system goes on")
	cmd.Flags().StringSliceVar(&o.Again, "again", nil, "records of flows that are sent again although they cannot be taken back nor looked up")
	cmd.Flags().StringVar(&o.Note, "note", "", "why, for the audit trail")
	return cmd
}

// moment reads a moment or a day as a person types it, in the local zone.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%q is no moment; write 2026-11-20T14:00", text)
}

func (a *app) printReplay(r *ledger.ReplayReport, o *ledger.ReplayOrder) {
	if o.Accept {
		fmt.Fprintf(a.out, "what is gone in %s stays so; it goes on\n", r.System)
		return
	}
	wiped := 0
	if len(r.Missing) > 0 {
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "DELIVERY\tDONE\tFLOW\tGONE\tAS BEFORE\tTHERE AGAIN")
		for _, m := range r.Missing {
			flow := m.Flow
			if m.Wiped {
				flow += " (its message is not kept any more)"
				wiped++
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", m.Delivery, m.Ended.Local().Format("2006-01-02 15:04"), flow, kindsOf(m.Gone), kindsOf(m.Changed), kindsOf(m.Back))
		}
		_ = w.Flush()
	}
	fmt.Fprintf(a.out, "%s compared in %s, something is missing of %d\n", counted(r.Looked, "document"), r.System, len(r.Missing))
	if wiped > 0 {
		fmt.Fprintf(a.out, "%d of them cannot be put back: their messages were wiped\n", wiped)
	}
	switch {
	case o.DryRun:
		fmt.Fprintf(a.out, "nothing was done; kiungo replay --missing %s puts it back\n", r.System)
	case r.Resumed:
		fmt.Fprintf(a.out, "%s repeated; %s goes on\n", counted(len(r.Repeated), "delivery"), r.System)
	default:
		fmt.Fprintf(a.out, "%s repeated\n", counted(len(r.Repeated), "delivery"))
	}
}

func kindsOf(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}
