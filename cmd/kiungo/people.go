package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

func (a *app) peopleCmd() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "people SYSTEM/ID",
		Short: "Show who somebody is in every system; link, unlink, merge and split",
		Example: "  kiungo people commcare/6934807c-a5b5-5f1c-9770-e8860fa81468\n" +
			"  kiungo people link commcare/CASE openmrs-a/Patient/UUID --note \"seen her card\"\n" +
			"  kiungo people split commcare/CASE openmrs-a/Patient/UUID --to openmrs-a/Patient/OTHER",
		Args: cobra.ExactArgs(1),
		RunE: a.served(func(cmd *cobra.Command, s control.Service, args []string) error {
			p, err := s.Person(cmd.Context(), args[0], limit)
			if errors.Is(err, desk.ErrNobody) {
				return fmt.Errorf("%w; write SYSTEM/ID, with the id that system has", err)
			}
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(p)
			}
			return a.printPerson(p)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many of her deliveries to show")
	cmd.AddCommand(a.tieCmd("link", "Say that a record is that person's"), a.tieCmd("unlink", "Say that a record is not that person's any more; what was sent stays"),
		a.mergePeopleCmd(), a.splitCmd())
	return cmd
}

func (a *app) printPerson(p *desk.Person) error {
	fmt.Fprintf(a.out, "goes by %s\n", p.Key)
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, l := range p.Links {
		fmt.Fprintf(w, "is\t%s %s %s\t%s\tby %s, %s\t%s\n", l.System, l.Kind, l.ID, l.State, l.By, l.At.Local().Format("2006-01-02 15:04"), l.How)
	}
	for _, l := range p.Apart {
		fmt.Fprintf(w, "is not\t%s %s %s\t\t\t\n", l.System, l.Kind, l.ID)
	}
	for _, t := range p.Ties {
		fmt.Fprintf(w, "%s\t%s %s %s\t%s\tby %s\t%s\n", t.Act, t.Link.System, t.Link.Kind, t.Link.ID, t.At.Local().Format("2006-01-02 15:04"), t.Who, t.Note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(p.Deliveries) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	return a.printDeliveries(p.Deliveries, nil, -1)
}

// recordOf reads SYSTEM/Kind/ID.
func (a *app) recordOf(text string) (ledger.Link, error) {
	parts := strings.SplitN(text, "/", 3)
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return ledger.Link{}, usagef("%q is no record; write SYSTEM/Kind/ID: openmrs-a/Patient/UUID", text)
	}
	site, problems := flow.LoadSite(a.siteFile, a.reg)
	if problems.Errors() > 0 || site.Systems[parts[0]] == nil {
		return ledger.Link{}, usagef("%s has no system %q; say where the site is with --site", a.siteFile, parts[0])
	}
	connector := site.Systems[parts[0]].Connector
	for _, k := range a.reg[connector].Kinds {
		if k.Person && strings.TrimPrefix(k.Name, connector+"/") == parts[1] {
			return ledger.Link{System: parts[0], Kind: connector + "/" + parts[1], ID: parts[2]}, nil
		}
	}
	return ledger.Link{}, usagef("%s has no people of kind %q", connector, parts[1])
}

func (a *app) tieCmd(act, about string) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: act + " SYSTEM/ID SYSTEM/Kind/ID", Short: about, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.recordOf(args[1])
			if err != nil {
				return err
			}
			return a.decide(cmd.Context(), control.Decision{Act: act, Person: args[0], Link: l, Who: whoAmI(), Note: note}, act+"ed")
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why, for the history")
	return cmd
}

func (a *app) mergePeopleCmd() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: "merge SYSTEM/ID SYSTEM/ID", Short: "Say that two are one person: all that the second had is the first's", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.decide(cmd.Context(), control.Decision{Act: "merge", Person: args[0], With: args[1], Who: whoAmI(), Note: note}, "merged")
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why, for the history")
	return cmd
}

func (a *app) decide(ctx context.Context, d control.Decision, done string) error {
	s, end, err := a.service(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.Decide(ctx, d); err != nil {
		return err
	}
	fmt.Fprintln(a.out, done)
	return nil
}

func (a *app) splitCmd() *cobra.Command {
	var note, to string
	var yes bool
	cmd := &cobra.Command{
		Use:   "split SYSTEM/ID SYSTEM/Kind/ID",
		Short: "Take back what was sent to the wrong record, and send it to the right one",
		Long: "Split shows every document that wrote under a wrong link, with the calls that take it back. With --yes it does so: the record\n" +
			"is kept apart from the person, each document is taken back, and sent again: to the record named with --to, else to whom the flow finds.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.recordOf(args[1])
			if err != nil {
				return err
			}
			d := control.Decision{Act: "split", Person: args[0], Link: l, Who: whoAmI(), Note: note}
			if to != "" {
				right, err := a.recordOf(to)
				if err != nil {
					return err
				}
				d.To = &right
			}
			s, end, err := a.planningService(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			redos, err := s.Split(cmd.Context(), d)
			if err != nil {
				return err
			}
			if err := a.printSplit(redos, yes); err != nil || !yes {
				return err
			}
			if err := s.Decide(cmd.Context(), d); err != nil {
				return err
			}
			fmt.Fprintln(a.out, "split; what was sent is being taken back and sent again")
			return nil
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why, for the history")
	cmd.Flags().StringVar(&to, "to", "", "the right record: SYSTEM/Kind/ID")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without it, it is only shown")
	return cmd
}

func (a *app) printSplit(redos []desk.Redo, yes bool) error {
	if a.asJSON {
		return a.printJSON(redos)
	}
	for _, r := range redos {
		fmt.Fprintf(a.out, "delivery %d of %s, message %d\n", r.Delivery.ID, r.Delivery.Flow, r.Delivery.Message)
		if r.Plan == nil {
			fmt.Fprintf(a.out, "    will need a person: %s\n", r.Why)
			continue
		}
		for _, line := range r.Plan.Lines() {
			fmt.Fprintf(a.out, "    %s\n", line)
		}
	}
	fmt.Fprintf(a.out, "%s to be taken back and sent again\n", counted(len(redos), "document"))
	if !yes {
		fmt.Fprintln(a.out, "nothing was done; --yes does it")
	}
	return nil
}
