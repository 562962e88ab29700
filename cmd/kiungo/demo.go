package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/demo"
)

func (a *app) demoCmd() *cobra.Command {
	o := demo.Options{}
	var exit, noFaults bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine: simulated systems, forms that flow, faults",
		Long: "Demo starts simulators of CommCare and of two OpenMRS servers, the ledger and the engine, and lets forms\n" +
			"flow at a steady rate with some faults switched on. Then it prints what became of every message, and stays\n" +
			"up with the addresses to look at; --exit ends it there.",
		Example: "  kiungo demo\n  kiungo demo --exit --json\n  kiungo demo --only i05 --messages 1000 --rate 200",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Registry, o.Faults, o.Log = a.reg, !noFaults, slog.New(slog.DiscardHandler)
			if a.verbose {
				o.Log = a.log()
			}
			if cmd.Flags().Changed("data") {
				o.Dir = a.dataDir
			}
			return a.demo(cmd.Context(), o, exit)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&exit, "exit", false, "end after the table")
	f.StringSliceVar(&o.Only, "only", nil, "only these integrations: i01, i04, i05")
	f.IntVar(&o.Messages, "messages", 200, "forms for each integration")
	f.Float64Var(&o.Rate, "rate", 60, "forms a second, over all")
	f.Uint64Var(&o.Seed, "seed", 1, "another seed gives other people and forms")
	f.BoolVar(&noFaults, "no-faults", false, "without faults")
	return cmd
}

func (a *app) demo(ctx context.Context, o demo.Options, exit bool) error {
	d, err := demo.Start(ctx, o)
	if err != nil {
		return err
	}
	defer d.Stop()
	if !a.asJSON {
		for _, x := range d.Addresses {
			fmt.Fprintf(a.out, "%-36s %s\n", x[0], x[1])
		}
		fmt.Fprintln(a.out)
	}
	progress, finish := a.progress(d.Total())
	if err := d.Feed(ctx, progress); err != nil {
		return err
	}
	if err := d.Settle(ctx, 2*time.Minute); err != nil {
		return err
	}
	finish()
	rows, err := d.Report(ctx)
	if err != nil {
		return err
	}
	if err := a.showDemo(rows); err != nil {
		return err
	}
	if exit {
		return balanced(rows, o.Messages)
	}
	local := local(d.Engine)
	fmt.Fprintf(os.Stderr, "\nThe demo stays up. In another terminal:\n  kiungo deliveries --state held --data %s/ledger\nEnd it with Ctrl-C.\n", d.Dir())
	err = control.Serve(ctx, d.Dir()+"/ledger", local)
	if errors.Is(err, context.Canceled) || ctx.Err() != nil {
		return nil
	}
	return err
}

// progress shows how many forms were sent, on a terminal only.
func (a *app) progress(total int) (step func(int), finish func()) {
	if a.asJSON || !term.IsTerminal(int(os.Stderr.Fd())) {
		if !a.asJSON {
			fmt.Fprintf(a.out, "%d forms flow …\n", total)
		}
		return func(int) {}, func() {}
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("forms"),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetWidth(40), progressbar.OptionClearOnFinish())
	return func(n int) { _ = bar.Set(n) }, func() { _ = bar.Finish() }
}

func (a *app) showDemo(rows []demo.Row) error {
	if a.asJSON {
		return a.printJSON(map[string]any{"integrations": rows})
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "integration\tmessages\tdone\tundone\theld\tcalls\tseconds\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f\t\n", r.ID, r.Messages, r.Done, r.Undone, r.Held, r.Calls, r.Seconds)
	}
	return w.Flush()
}

// balanced fails when a message that was sent is not accounted for.
func balanced(rows []demo.Row, sent int) error {
	for _, r := range rows {
		if r.Messages != sent || r.Done+r.Undone+r.Held != r.Messages {
			return fmt.Errorf("%s: %d forms were sent, %d arrived, and %d are accounted for", r.ID, sent, r.Messages, r.Done+r.Undone+r.Held)
		}
	}
	return nil
}
