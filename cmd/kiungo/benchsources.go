package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/bench"
)

// serveSims is the hidden command of the process that the simulators run in.
const serveSims = "simulators"

// benchSourcesCmd measures what comes in by itself: feeds, reports, totals.
func (a *app) benchSourcesCmd() *cobra.Command {
	o := bench.SourceOptions{}
	var together bool
	all := []struct {
		name string
		do   func(context.Context, bench.SourceOptions) (*bench.SourceRun, error)
	}{{"feed", bench.Feed}, {"report", bench.Report}, {"values", bench.Values}}
	cmd := &cobra.Command{
		Use:   "sources [feed|report|values]...",
		Short: "Measure a feed, a report and a month's data values",
		Long: "Source and target are simulators in a process of their own, so that the memory shown is Kiungo's alone;\n" +
			"both processes share the machine's processors.",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Registry = a.reg
			if !together {
				o.Apart = []string{"bench", "sources", serveSims}
			}
			var runs []*bench.SourceRun
			for _, m := range all {
				if len(args) > 0 && !slices.Contains(args, m.name) {
					continue
				}
				run, err := m.do(cmd.Context(), o)
				if err != nil {
					return fmt.Errorf("%s: %w", m.name, err)
				}
				runs = append(runs, run)
			}
			if a.asJSON {
				return a.printJSON(runs)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "what\tn\tn/s\tseconds\tread in s\tbase MB\theap MB\tpeak MB\tdeliveries\t")
			for _, r := range runs {
				var states []string
				for s, n := range r.States {
					states = append(states, fmt.Sprintf("%d %s", n, s))
				}
				slices.Sort(states)
				fmt.Fprintf(w, "%s\t%d\t%.0f\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t%s\t\n", r.What, r.N, r.PerSecond, r.Seconds, r.Read, r.BaseMB, r.HeapMB, r.PeakMB, strings.Join(states, ", "))
			}
			return w.Flush()
		},
	}
	cmd.AddCommand(&cobra.Command{Use: serveSims, Hidden: true, Args: cobra.NoArgs, Short: "The simulators of a measurement, as their standard input says",
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.Serve(cmd.Context(), a.reg, os.Stdin, a.out) }})
	f := cmd.Flags()
	f.BoolVar(&together, "together", false, "run the simulators in this process: their work and memory are in the figures then")
	f.IntVar(&o.Concurrency, "concurrency", 32, "deliveries worked on at a time")
	f.IntVar(&o.Entries, "entries", 50_000, "entries of the feed")
	f.IntVar(&o.Patients, "patients", 10_000, "patients that the entries are about")
	f.IntVar(&o.Rows, "rows", 20_000, "rows of the report; one in a hundred is bad")
	f.IntVar(&o.OrgUnits, "org-units", 500, "org units that report")
	f.IntVar(&o.Elements, "elements", 200, "data values of each")
	return cmd
}
