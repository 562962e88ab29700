package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
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
	cmd := a.demoFlags(&o, &exit, &noFaults)
	cmd.AddCommand(a.demoNodeCmd())
	return cmd
}

func (a *app) demoFlags(o *demo.Options, exit, noFaults *bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine: simulated systems, forms that flow, faults",
		Long: "Demo starts a world for each integration: simulators of its systems (CommCare, OpenMRS, DHIS2, CHT), a ledger\n" +
			"and an engine. Forms flow at a steady rate with some faults switched on, and clerks at the clinics work meanwhile,\n" +
			"also on the same people. Then it prints what became of every message, what is held and for whom, and what is\n" +
			"asked; a clerk answers some of it, and the demo checks that nothing is lost and nobody there twice. It stays up\n" +
			"with the addresses and ledgers to look at; --exit ends it there.\n\n" +
			"With --nodes 2 the engines are processes of their own on one PostgreSQL: of --database, or one that is started and\n" +
			"thrown away if its programs are installed. One node is killed with SIGKILL in the middle of its work; the others take\n" +
			"its lanes over, it is started again, and the same is checked at the end. The lease is short (5 s), so that one sees\n" +
			"it; --lease 30s is what kiungo serve has.",
		Example: "  kiungo demo\n  kiungo demo --exit --json\n  kiungo demo --only i05 --messages 1000 --rate 200\n  kiungo demo --nodes 2 --exit\n  kiungo demo --nodes 3 --database postgres://kiungo@db.example/kiungo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Registry, o.Faults, o.Log = a.reg, !*noFaults, slog.New(slog.DiscardHandler)
			if a.verbose {
				o.Log = a.log()
			}
			if cmd.Flags().Changed("data") {
				o.Dir = a.dataDir
			}
			stop, err := a.demoNodes(cmd, o)
			if err != nil {
				return err
			}
			defer stop()
			return a.demo(cmd.Context(), *o, *exit)
		},
	}
	f := cmd.Flags()
	f.BoolVar(exit, "exit", false, "end after the table")
	f.StringSliceVar(&o.Only, "only", nil, "only these integrations: i01, i02, i03, i04, i05, i13")
	f.IntVar(&o.Messages, "messages", 200, "forms for each integration")
	f.Float64Var(&o.Rate, "rate", 60, "forms a second, over all")
	f.Uint64Var(&o.Seed, "seed", 1, "another seed gives other people and forms")
	f.BoolVar(noFaults, "no-faults", false, "without faults")
	f.IntVar(&o.Nodes, "nodes", 0, "so many processes share the work, on PostgreSQL; one is killed; --only is i05 then, if it is not given")
	f.DurationVar(&o.Lease, "lease", 5*time.Second, "with --nodes: how long a node may be silent before the others take its lanes")
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
	a.showKilled(d)
	rows, err := d.Report(ctx)
	if err != nil {
		return err
	}
	answered, after, err := d.Answer(ctx, rows)
	if err != nil {
		return err
	}
	if err := a.showDemo(rows, answered, after, d.Killed, !exit || o.Dir != ""); err != nil {
		return err
	}
	if err := demo.Balanced(after); err != nil || exit {
		return err
	}
	return a.stay(ctx, d)
}

// stay serves each world's ledger to commands until ctx ends.
func (a *app) stay(ctx context.Context, d *demo.Demo) error {
	fmt.Fprintf(os.Stderr, "\nThe demo stays up. In another terminal:\n")
	for _, w := range d.Worlds {
		fmt.Fprintf(os.Stderr, "  kiungo questions --data %s\n", w.Data())
	}
	fmt.Fprintln(os.Stderr, "End it with Ctrl-C.")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(d.Worlds))
	for _, w := range d.Worlds {
		go func() { ended <- control.Serve(ctx, w.Data(), w.Service()) }()
	}
	var failed []error
	for range d.Worlds {
		if err := <-ended; err != nil && ctx.Err() == nil {
			failed = append(failed, err)
			cancel()
		}
	}
	return errors.Join(failed...)
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

// showDemo prints what became of everything; kept: the ledgers can still be
// asked.
func (a *app) showDemo(rows []demo.Row, answered []demo.Answered, after []demo.Row, killed *demo.TakenOver, kept bool) error {
	if a.asJSON {
		all := map[string]any{"integrations": rows, "answered": answered, "after": after}
		if killed != nil {
			all["killed"] = killed
		}
		return a.printJSON(all)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "integration\tmessages\tdone\tleft alone\tundone\theld\tcalls\tseconds\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t\n", r.ID, r.Messages, r.Done, r.Left, r.Undone, r.Held, r.Calls, r.Seconds)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		a.showWorld(r)
	}
	a.showAnswered(answered)
	a.showOpen(after, kept)
	a.showChecked(after)
	return nil
}

// showWorld prints what one integration did each way, and what is held for whom.
func (a *app) showWorld(r demo.Row) {
	fmt.Fprintf(a.out, "\n%s\n", r.ID)
	for _, x := range r.Ways {
		fmt.Fprintf(a.out, "  from %s: %s, %d done, %d of them with a remark\n", x.From, deliveries(x.Deliveries), x.Done, x.Remarked)
	}
	for _, h := range r.Waiting {
		fmt.Fprintf(a.out, "  held for the %s: %s, %s\n", h.Job, deliveries(int(h.N)), short(h.Cause.Cause, 100))
	}
}

// showOpen prints the questions that stay open: of each kind one, with the
// commands that show and answer it.
func (a *app) showOpen(rows []demo.Row, kept bool) {
	fmt.Fprintln(a.out, "\nQuestions that are open, one of each kind:")
	for _, r := range rows {
		for _, q := range r.Asked {
			fmt.Fprintf(a.out, "  %s, for the %s: %s, e.g. %s\n", r.ID, q.Job, counted(q.N, q.Kind+" question"), short(q.Text, 160))
			if kept {
				fmt.Fprintf(a.out, "    kiungo questions %d --data %s\n    kiungo questions answer %d %s --data %s\n", q.Example, r.Data, q.Example, anAnswer(q.Right), r.Data)
			}
		}
	}
}

func deliveries(n int) string {
	if n == 1 {
		return "1 delivery"
	}
	return fmt.Sprintf("%d deliveries", n)
}

// anAnswer is an answer as it is typed.
func anAnswer(right string) string {
	switch {
	case right == "":
		return "ANSWER"
	case strings.ContainsAny(right, " '()"):
		return strconv.Quote(right)
	}
	return right
}

func (a *app) showAnswered(list []demo.Answered) {
	fmt.Fprintln(a.out, "\nA clerk answers:")
	for _, x := range list {
		var kinds []string
		for _, k := range slices.Sorted(maps.Keys(x.Answers)) {
			kinds = append(kinds, fmt.Sprintf("%d %s", x.Answers[k], k))
		}
		if len(kinds) == 0 {
			kinds = []string{"none"}
		}
		fmt.Fprintf(a.out, "  %s: %s; %d messages were held before, %d are now; %s open\n", x.ID, strings.Join(kinds, ", "), x.Before, x.After, counted(x.Open, "question"))
	}
}

// showChecked prints what the demo has checked of itself: it knows who is whom,
// and what each source has told.
func (a *app) showChecked(rows []demo.Row) {
	fmt.Fprintln(a.out, "\nChecked against what the simulators know:")
	for _, r := range rows {
		told, taken := 0, 0
		for _, s := range r.Sources {
			told, taken = told+s.Told, taken+s.Taken
		}
		fmt.Fprintf(a.out, "  %s: the sources told of %d documents and entries, %d are in the ledger", r.ID, told, taken)
		if p := r.People; p != nil {
			fmt.Fprintf(a.out, "; %d patients, %d cases, %d of them linked", p.Patients, p.Cases, p.Linked)
			switch {
			case len(p.Twice)+len(p.Unknown) > 0:
				fmt.Fprintf(a.out, "; %d people are there twice, %d records are nobody's", len(p.Twice), len(p.Unknown))
			case p.Asked > 0:
				fmt.Fprintf(a.out, "; nobody is there twice unasked (%d were entered in both at once: a clerk was asked about each)", p.Asked)
			default:
				fmt.Fprint(a.out, "; nobody is there twice")
			}
		}
		fmt.Fprintln(a.out)
	}
}
