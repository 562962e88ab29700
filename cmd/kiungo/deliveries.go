package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/runner"
)

// service gives the running server of the data folder, or opens the ledger.
func (a *app) service(ctx context.Context) (control.Service, func(), error) {
	if remote, ok := control.Dial(a.dataDir); ok {
		return remote, func() {}, nil
	}
	if found, _ := filepath.Glob(filepath.Join(a.dataDir, "*")); len(found) == 0 && a.databaseURL() == "" {
		return nil, nil, usagef("there is no ledger in %s; name its folder with --data", a.dataDir)
	}
	l, err := a.openLedger(ctx)
	if err != nil {
		return nil, nil, err
	}
	return control.Local{Ledger: l}, func() { _ = l.Close() }, nil
}

// served makes what a command does out of what it does with the service.
func (a *app) served(do func(cmd *cobra.Command, s control.Service, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, done, err := a.service(cmd.Context())
		if err != nil {
			return err
		}
		defer done()
		return do(cmd, s, args)
	}
}

// planningService is service where plans are made too: the running server, or
// the site's systems opened here.
func (a *app) planningService(ctx context.Context) (control.Service, func(), error) {
	if remote, ok := control.Dial(a.dataDir); ok {
		return remote, func() {}, nil
	}
	e, done, err := a.quietEngine(ctx)
	if err != nil {
		return nil, nil, err
	}
	return local(e), done, nil
}

func (a *app) deliveriesCmd() *cobra.Command {
	var states []string
	var counts, archived bool
	var f ledger.Filter
	cmd := &cobra.Command{
		Use:   "deliveries [ID]",
		Short: "List deliveries, newest first; or show one with every call",
		Example: "  kiungo deliveries --state held\n" +
			"  kiungo deliveries 1234",
		Args: cobra.MaximumNArgs(1),
		RunE: a.served(func(cmd *cobra.Command, s control.Service, args []string) error {
			if counts {
				return a.showCounts(cmd.Context(), s)
			}
			if len(args) == 1 {
				return a.showDelivery(cmd.Context(), s, args[0])
			}
			for _, st := range states {
				f.States = append(f.States, ledger.State(st))
			}
			find := s.Deliveries
			if archived {
				find = s.Archived
			}
			list, err := find(cmd.Context(), f)
			if err != nil {
				return err
			}
			behind, err := behindHeld(cmd.Context(), s, list)
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(deliveryRows(list, behind))
			}
			return a.printDeliveries(list, behind, f.Limit)
		}),
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only these states: received, applying, waiting, held, half undone, done, skipped, undone …")
	cmd.Flags().BoolVar(&archived, "archived", false, "those in the archive instead (by flow and state; see kiungo archive)")
	cmd.Flags().BoolVar(&counts, "counts", false, "only count them by flow and state; also the messages that no flow wanted, by kind")
	cmd.Flags().StringVar(&f.Flow, "flow", "", "only this flow: i05/visit-to-openmrs")
	cmd.Flags().StringVar(&f.Cause, "cause", "", "only those with this cause")
	cmd.Flags().Int64Var(&f.After, "after", 0, "only those older than this delivery (for paging)")
	cmd.Flags().IntVar(&f.Limit, "limit", 50, "how many at the most")
	return cmd
}

// countRow is one count as --json prints it.
type countRow struct {
	What  string    `json:"what"` // the flow; or, for messages that no flow wanted, their kind
	State string    `json:"state"`
	N     int64     `json:"n"`
	Calls int64     `json:"calls"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

func (a *app) showCounts(ctx context.Context, s control.Service) error {
	counts, err := s.Counts(ctx)
	if err != nil {
		return err
	}
	rows := make([]countRow, 0, len(counts))
	for _, c := range counts {
		rows = append(rows, countRow{c.Flow, string(c.State), c.N, c.Calls, c.First, c.Last})
	}
	if a.asJSON {
		return a.printJSON(rows)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FLOW OR KIND OF MESSAGE\tSTATE\tHOW MANY\tCALLS\tLAST")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", r.What, r.State, r.N, r.Calls, r.Last.Local().Format("2006-01-02 15:04:05"))
	}
	return w.Flush()
}

// deliveryRow is one delivery as --json prints it.
type deliveryRow struct {
	ID       int64      `json:"id"`
	Message  int64      `json:"message"`
	Flow     string     `json:"flow"`
	Each     string     `json:"each,omitempty"`
	State    string     `json:"state"`
	Reason   string     `json:"reason,omitempty"`
	Code     string     `json:"code,omitempty"`
	Cause    string     `json:"cause,omitempty"`
	WaitsFor string     `json:"waits_for,omitempty"`
	Remarks  []string   `json:"remarks,omitempty"`
	Attempts int        `json:"attempts"`
	Calls    int        `json:"calls"`
	Created  time.Time  `json:"created"`
	Ended    *time.Time `json:"ended,omitempty"`
	Repeats  int64      `json:"repeats,omitempty"` // the delivery that it repeats (replay)
}

func rowOf(d ledger.Delivery) deliveryRow {
	r := deliveryRow{ID: d.ID, Message: d.Message, Flow: d.Flow, Each: d.Each, State: string(d.State), Reason: d.Reason,
		Code: d.Code, Cause: d.Cause, Remarks: d.Remarks, Attempts: d.Attempts, Calls: d.Calls, Created: d.Created}
	if d.BlockedOn != "" {
		r.WaitsFor = strings.TrimSpace(string(d.BlockedOn) + " " + d.BlockedBy)
	}
	if !d.Ended.IsZero() {
		r.Ended = &d.Ended
	}
	if d.Replay != nil {
		r.Repeats = d.Replay.Of
	}
	return r
}

// behindHeld tells which of the deliveries wait behind a held one of their lane.
func behindHeld(ctx context.Context, s control.Service, list []ledger.Delivery) (map[int64]int64, error) {
	waiting := func(d ledger.Delivery) bool { return d.State == ledger.Received && d.BlockedOn == "" }
	if !slices.ContainsFunc(list, waiting) {
		return nil, nil
	}
	held, err := s.Deliveries(ctx, ledger.Filter{States: []ledger.State{ledger.Held, ledger.HalfUndone}, Limit: 1000})
	if err != nil {
		return nil, err
	}
	first := map[int64]ledger.Delivery{}
	for _, h := range held {
		if f, ok := first[h.Lane]; !ok || h.Seq < f.Seq {
			first[h.Lane] = h
		}
	}
	behind := map[int64]int64{}
	for _, d := range list {
		if h, ok := first[d.Lane]; ok && waiting(d) && h.Seq < d.Seq {
			behind[d.ID] = h.ID
		}
	}
	return behind, nil
}

func deliveryRows(list []ledger.Delivery, behind map[int64]int64) []deliveryRow {
	rows := make([]deliveryRow, 0, len(list))
	for _, d := range list {
		r := rowOf(d)
		if id, ok := behind[d.ID]; ok {
			r.WaitsFor = fmt.Sprintf("delivery %d", id)
		}
		rows = append(rows, r)
	}
	return rows
}

func (a *app) printDeliveries(list []ledger.Delivery, behind map[int64]int64, limit int) error {
	if len(list) == 0 {
		fmt.Fprintln(a.out, "no deliveries like that")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tRECEIVED\tFLOW\tSTATE\tCALLS\tWHY")
	for _, d := range list {
		if id, ok := behind[d.ID]; ok {
			d.Reason = fmt.Sprintf("waits behind delivery %d, which is held", id)
		}
		why := short(d.Reason, 90)
		if d.Code == "stopped" {
			why = d.Reason // it ends in what to do
		}
		if d.Replay != nil {
			why = strings.TrimSpace(fmt.Sprintf("repeats %d; ", d.Replay.Of) + why)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\n", d.ID, d.Created.Local().Format("2006-01-02 15:04:05"), d.Flow, d.State, d.Calls, strings.TrimSuffix(why, ";"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(list) == limit {
		fmt.Fprintf(a.out, "there may be more: --after %d\n", list[len(list)-1].ID)
	}
	return nil
}

func short(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func deliveryID(arg string) (int64, error) {
	id, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return 0, usagef("%q is not the number of a delivery; kiungo deliveries lists them", arg)
	}
	return id, nil
}

func (a *app) showDelivery(ctx context.Context, s control.Service, arg string) error {
	id, err := deliveryID(arg)
	if err != nil {
		return err
	}
	work, err := s.Show(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("there is no delivery %d; kiungo deliveries lists them", id)
	}
	if err != nil {
		return err
	}
	timeline, err := timelineOf(work)
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(timeline)
	}
	return timeline.print(a.out)
}

func (a *app) retryCmd() *cobra.Command {
	return a.decideCmd("retry", "Try held deliveries again", "due again", control.Service.Retry)
}

func (a *app) skipCmd() *cobra.Command {
	var leave bool
	skip := func(s control.Service, ctx context.Context, id int64, who, note string) error {
		if !leave {
			if n, err := standing(ctx, s, id); err != nil {
				return err
			} else if n > 0 {
				return fmt.Errorf("it is half applied: %d calls stand. Retry it; or skip it with --leave, and what was written stays: %w", n, ledger.ErrState)
			}
		}
		return s.Skip(ctx, id, who, note)
	}
	cmd := a.decideCmd("skip", "End held deliveries; their lanes go on", "skipped", skip)
	cmd.Flags().BoolVar(&leave, "leave", false, "also half applied ones: what was written stays")
	return cmd
}

// standing is how many calls of a delivery have, or may have, changed something
// that was not taken back.
func standing(ctx context.Context, s control.Service, id int64) (int, error) {
	w, err := s.Show(ctx, id)
	if err != nil || w.Plan == nil {
		return 0, err
	}
	p, err := plan.Decode(w.Plan)
	if err != nil {
		return 0, err
	}
	book, err := runner.Open(p, w.Journal)
	if err != nil {
		return 0, err
	}
	return book.Standing(), nil
}

func (a *app) decideCmd(verb, about, done string, do func(control.Service, context.Context, int64, string, string) error) *cobra.Command {
	var note, cause string
	cmd := &cobra.Command{
		Use:     verb + " ID...",
		Short:   about,
		Example: fmt.Sprintf("  kiungo %s 1234 --note \"corrected in OpenMRS\"\n  kiungo %s --cause \"case.sex = other is not in gender.csv\"", verb, verb),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && cause == "" {
				return usagef("name the deliveries to %s, or all of one cause with --cause", verb)
			}
			s, end, err := a.service(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			ids, err := a.chosen(cmd.Context(), s, args, cause)
			if err != nil {
				return err
			}
			var failed []error
			for _, id := range ids {
				if err := do(s, cmd.Context(), id, whoAmI(), note); err != nil {
					failed = append(failed, fmt.Errorf("delivery %d: %w", id, err))
					continue
				}
				if !a.asJSON {
					fmt.Fprintf(a.out, "delivery %d: %s\n", id, done)
				}
			}
			if a.asJSON {
				if err := a.printJSON(map[string]any{verb: len(ids) - len(failed), "failed": len(failed)}); err != nil {
					return err
				}
			}
			return errors.Join(failed...)
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why, for the audit trail")
	cmd.Flags().StringVar(&cause, "cause", "", "all held deliveries with this cause")
	return cmd
}

func (a *app) chosen(ctx context.Context, s control.Service, args []string, cause string) ([]int64, error) {
	var ids []int64
	for _, arg := range args {
		id, err := deliveryID(arg)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	if cause == "" {
		return ids, nil
	}
	f := ledger.Filter{States: []ledger.State{ledger.Held, ledger.HalfUndone}, Cause: cause, Limit: 1000}
	for {
		list, err := s.Deliveries(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			ids = append(ids, d.ID)
		}
		if len(list) < f.Limit {
			return ids, nil
		}
		f.After = list[len(list)-1].ID
	}
}

func whoAmI() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "command line"
}
