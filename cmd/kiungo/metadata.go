package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/system"
)

func (a *app) metadataCmd() *cobra.Command {
	var search string
	var limit int
	cmd := &cobra.Command{
		Use:   "metadata SYSTEM [LIST [NAME]]",
		Short: "Look through a system's metadata; print the mapping lines of a data set or program",
		Long: "Metadata lists what a flow can be mapped to. Of one data set or program, by UID, code or name, it prints a\n" +
			"table for the flow: a line for each data element and category option combination. Only site.yaml is read.",
		Example: "  kiungo metadata dhis2\n  kiungo metadata dhis2 dataElements --search fever\n" +
			"  kiungo metadata dhis2 dataset \"IMCI monthly report\" > tables/i13-cht-dhis2-aggregate/cells.csv",
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			port, done, err := a.oneSystem(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer done()
			b, ok := port.System.(connector.Browser)
			if !ok {
				return usagef("%s (%s) has no metadata to look through", args[0], port.Connector)
			}
			resource := ""
			if len(args) > 1 {
				if resource, err = resourceOf(b, args[1]); err != nil {
					return err
				}
			}
			if len(args) == 3 {
				m, err := b.Mapping(cmd.Context(), port.Reader(0), resource, args[2])
				if err != nil {
					return err
				}
				return a.printMapping(m)
			}
			list, err := b.Browse(cmd.Context(), port.Reader(0), resource, search, limit)
			if err != nil {
				return err
			}
			return a.printMetadata(list, limit)
		},
	}
	cmd.Flags().StringVar(&search, "search", "", "only what has all these words in its name or code")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at the most")
	return cmd
}

// resourceOf finds a list by its name, in whatever case and number: dataset for
// dataSets.
func resourceOf(b connector.Browser, word string) (string, error) {
	for _, r := range b.Resources() {
		if strings.EqualFold(r, word) || strings.EqualFold(r, word+"s") {
			return r, nil
		}
	}
	return "", usagef("there is no list %q; there are: %s", word, strings.Join(b.Resources(), ", "))
}

// oneSystem opens one system of the site; its integrations are not read, as they
// may be unfinished.
func (a *app) oneSystem(ctx context.Context, name string) (*system.Port, func(), error) {
	if !exists(a.siteFile) {
		return nil, nil, usagef("there is no site file %s; name one with --site, or begin with a copy of docs/site.example.yaml", a.siteFile)
	}
	site, problems := flow.LoadSite(a.siteFile, a.reg)
	if problems.Errors() > 0 {
		fmt.Fprintln(os.Stderr, problems)
		return nil, nil, &usageError{&shownError{fmt.Errorf("%d problems", problems.Errors())}}
	}
	dir, err := os.MkdirTemp("", "kiungo-metadata-")
	if err != nil {
		return nil, nil, err
	}
	l, err := store.OpenSQLite(ctx, dir, store.Options{})
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, nil, err
	}
	done := func() { _ = l.Close(); _ = os.RemoveAll(dir) }
	for other, s := range site.Systems {
		// A secret of another system may not be at hand here.
		s.Active = s.Active && other == name
	}
	e, err := engine.New(engine.Options{Ledger: l, Registry: a.reg, Site: site, Log: a.log()})
	if err != nil {
		done()
		return nil, nil, &usageError{err}
	}
	silence(e)
	port, ok := e.Systems[name]
	if !ok {
		done()
		names := make([]string, 0, len(site.Systems))
		for n := range site.Systems {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil, nil, usagef("there is no active system %q in %s; there are: %s", name, a.siteFile, strings.Join(names, ", "))
	}
	return port, done, nil
}

func (a *app) printMetadata(list []connector.Metadata, limit int) error {
	if a.asJSON {
		return a.printJSON(append([]connector.Metadata{}, list...))
	}
	if len(list) == 0 {
		fmt.Fprintln(a.out, "nothing was found")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LIST\tID\tCODE\tNAME\tABOUT")
	for _, m := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Resource, m.ID, m.Code, m.Name, m.About)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(list) == limit {
		fmt.Fprintln(a.out, "there may be more: --limit, or --search")
	}
	return nil
}

func (a *app) printMapping(m *connector.Mapping) error {
	if a.asJSON {
		return a.printJSON(m)
	}
	fmt.Fprintf(a.out, "# %s (%s)\n", m.Of.Name, m.Of.ID)
	w := csv.NewWriter(a.out)
	return w.WriteAll(append([][]string{m.Columns}, m.Rows...))
}
