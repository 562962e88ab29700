package main

import (
	"fmt"
	"os"
	"runtime/pprof"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/bench"
)

func (a *app) benchCmd() *cobra.Command {
	o := bench.Options{}
	var calls []time.Duration
	var profile string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure deliveries a second on this machine, beside a bare loop of the same calls",
		Long: "Bench sends forms through intake, plan, journal and apply to a stub that answers at once (and once more at\n" +
			"20 ms a call), and beside it, in the same run, the same requests in a bare loop without a ledger.\n" +
			"docs/performance.md has the method and the figures.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Registry, o.Database = a.reg, a.databaseURL()
			if o.Nodes > 1 && o.Database == "" {
				return usagef("several nodes share a PostgreSQL: give --database")
			}
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return usagef("%w", err)
				}
				defer f.Close()
				o.Began = sync.OnceFunc(func() {
					if err := pprof.StartCPUProfile(f); err != nil {
						a.log().Error("nothing is profiled", "error", err)
					}
				})
				defer pprof.StopCPUProfile()
			}
			var runs []*bench.Run
			for _, c := range calls {
				one := o
				one.Call = c
				if c > 0 {
					// At 20 ms a call a delivery takes its calls' time: fewer are enough.
					one.Deliveries = min(o.Deliveries, 3000)
				}
				some, err := bench.Measure(cmd.Context(), one)
				if err != nil {
					return err
				}
				runs = append(runs, some...)
			}
			if a.asJSON {
				return a.printJSON(runs)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "call ms\tat a time\tform kB\tlanes\tnodes\twaiting\tdeliveries/s\tloop/s\tratio\tCPU ms each\tloop CPU ms\tpeak MB\trequests each\tcalls each\t")
			for _, r := range runs {
				fmt.Fprintf(w, "%.0f\t%d\t%d\t%d\t%d\t%d\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%.0f\t%d\t%d\t\n", r.CallMillis, r.Concurrency, r.FormKB, r.Lanes, r.Nodes, r.Waiting, r.DeliveriesPerSecond, r.LoopPerSecond, r.Ratio,
					r.CPUMillis, r.LoopCPUMillis, r.PeakMB, r.Requests, r.Calls)
			}
			return w.Flush()
		},
	}
	cmd.AddCommand(a.benchSourcesCmd())
	f := cmd.Flags()
	f.IntVar(&o.Deliveries, "deliveries", 10000, "deliveries to measure")
	f.IntVar(&o.Concurrency, "concurrency", 32, "deliveries worked on at a time")
	f.IntVar(&o.Waiting, "waiting", 0, "measure also a ledger in which so many deliveries wait for a system that is down, in turn with an empty one")
	f.IntVar(&o.Lanes, "lanes", 0, "how many lanes the forms stand in, one behind the other; left out, each stands in that of its own patient")
	f.IntVar(&o.Rounds, "rounds", 1, "how often to measure")
	f.IntVar(&o.FormKB, "form-kb", 0, "answers in each form that no flow reads, in kB")
	f.IntVar(&o.Nodes, "nodes", 1, "nodes that share the database; with --database")
	f.StringVar(&profile, "cpuprofile", "", "write a CPU profile of the first run there")
	f.DurationSliceVar(&calls, "call", []time.Duration{0, 20 * time.Millisecond}, "latency of each request at the target; one run for each")
	return cmd
}
