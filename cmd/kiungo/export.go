package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/runner"
	"github.com/kiungo-health/kiungo/internal/system"
)

// export is one run of kiungo export.
type export struct {
	period, place, format, out string
	anyway                     bool

	name   string // of the system, or its connector
	flow   string // whole name
	engine *engine.Engine
	ledger control.Service
	left   []string // what is not in the file, and why
	say    io.Writer
}

func (a *app) exportCmd() *cobra.Command {
	x := &export{}
	cmd := &cobra.Command{
		Use:   "export SYSTEM FLOW --period PERIOD",
		Short: "Write the file that an officer uploads by hand, of what people have confirmed",
		Long: "A flow with an approval asks a person before it sends. Confirmed with the answer \"by hand\" it sends nothing, and\n" +
			"export writes what the person saw as a file for the system's own import. What nobody has confirmed, or what was\n" +
			"sent, is never in it. It is compared with the system once more: what stands there already is left out, and what\n" +
			"was changed there since is refused. Who wrote the file, and how many values, is kept in the audit trail.",
		Example: "  kiungo export dhis2 month-to-dhis2 --period 202610 --out october.json\n" +
			"  kiungo export dhis2 month-to-dhis2 --period 202610 --place OuVilBon001 --format adx --out nyangoma.xml",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if x.period == "" {
				return usagef("say which period with --period: 202610, 2026W44, 2026Q3")
			}
			x.name, x.say = args[0], cmd.ErrOrStderr()
			e, done, err := a.quietEngine(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			silence(e)
			x.engine, x.ledger = e, local(e)
			if remote, ok := serverOf(a.dataDir); ok {
				x.ledger = remote
			}
			if x.flow, err = flowNamed(e, args[1]); err != nil {
				return err
			}
			return a.exportTo(cmd.Context(), x)
		},
	}
	cmd.Flags().StringVar(&x.period, "period", "", "the period, by its name in the message: 202610, 2026W44, 2026Q3")
	cmd.Flags().StringVar(&x.place, "place", "", "only this place, by its org unit, id or name in the message")
	cmd.Flags().StringVar(&x.format, "format", "", "json, adx or csv; the system's usual one if not said")
	cmd.Flags().StringVar(&x.out, "out", "", "the file to write; else standard output")
	cmd.Flags().BoolVar(&x.anyway, "anyway", false, "also what was changed in the system since it was confirmed")
	return cmd
}

func flowNamed(e *engine.Engine, name string) (string, error) {
	var all []string
	for _, in := range e.Integrations {
		for _, f := range in.Flows {
			if f.Name == name || f.Short == name {
				return f.Name, nil
			}
			all = append(all, f.Name)
		}
	}
	return "", usagef("there is no active flow %q; there are: %s", name, strings.Join(all, ", "))
}

func (a *app) exportTo(ctx context.Context, x *export) error {
	port, writer, err := x.exporter()
	if err != nil {
		return err
	}
	works, err := x.confirmed(ctx)
	if err != nil {
		return err
	}
	var list []connector.Confirmed
	n := 0
	for _, w := range works {
		records, err := x.records(ctx, w, port)
		if err != nil {
			return err
		}
		list = append(list, records...)
		n += min(len(records), 1)
	}
	for _, why := range x.left {
		fmt.Fprintln(x.say, "not in the file:", why)
	}
	if len(list) == 0 {
		return fmt.Errorf("there is nothing to upload of %s for %s", x.flow, x.period)
	}
	file, err := writer.Export(ctx, port.Reader(0), x.format, list)
	if err != nil {
		return err
	}
	// Kept before anybody can have the file: what is uploaded was kept.
	if err := x.keep(ctx, writer, list); err != nil {
		return fmt.Errorf("the file is not written, since the audit trail cannot be: %w", err)
	}
	if x.out == "" {
		_, err = a.out.Write(file)
		return err
	}
	if err := os.WriteFile(x.out, file, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(x.say, "%s: %s of %s, %s\n", x.out, counted(n, "report"), x.flow, x.period)
	return nil
}

// keep writes into the audit trail, for each delivery in the file, who took how
// many values of it out.
func (x *export) keep(ctx context.Context, writer connector.Exporter, list []connector.Confirmed) error {
	values := map[int64]int{}
	for _, c := range list {
		values[c.Delivery] += writer.Exported(c)
	}
	for _, id := range slices.Sorted(maps.Keys(values)) {
		if values[id] == 0 {
			continue
		}
		e := control.Export{Delivery: id, Who: whoAmI(), Note: fmt.Sprintf("%s of %s, %s, written as %s for upload by hand", counted(values[id], "value"), x.flow, x.period, x.format)}
		if err := x.ledger.Exported(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// exporter gives the system, and checks the format.
func (x *export) exporter() (*system.Port, connector.Exporter, error) {
	var names []string
	var found *system.Port
	for _, name := range slices.Sorted(maps.Keys(x.engine.Systems)) {
		port := x.engine.Systems[name]
		if _, ok := port.System.(connector.Exporter); !ok {
			continue
		}
		names = append(names, name)
		if name == x.name || port.Connector == x.name && found == nil {
			found = port
		}
	}
	if found == nil {
		return nil, nil, usagef("there is no system %q with files to upload; there are: %s", x.name, strings.Join(names, ", "))
	}
	writer := found.System.(connector.Exporter)
	if x.format == "" {
		x.format = writer.Formats()[0]
	}
	if !slices.Contains(writer.Formats(), x.format) {
		return nil, nil, usagef("%s has no format %q; there are: %s", found.Name(), x.format, strings.Join(writer.Formats(), ", "))
	}
	return found, writer, nil
}

// exportPage is how many deliveries are read at a time.
const exportPage = 500

// confirmed gives the newest delivery of each document of the period that a
// person has confirmed for upload by hand, in order of the documents. Of others
// it notes why they are left out.
func (x *export) confirmed(ctx context.Context) ([]*ledger.Work, error) {
	var out []*ledger.Work
	seen := map[string]bool{}
	f := ledger.Filter{Flow: x.flow, Limit: exportPage}
	for {
		list, err := x.ledger.Deliveries(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			f.After = d.ID
			id := d.Doc + "\x00" + d.Each
			if seen[id] || d.State == ledger.Superseded {
				continue
			}
			seen[id] = true
			w, err := x.ledger.Show(ctx, d.ID)
			if err != nil {
				return nil, err
			}
			about, ok, err := x.about(w)
			if err != nil {
				return nil, err
			}
			if !ok || d.Code == "not-for-this-flow" {
				continue
			}
			if why := unconfirmed(w); why != "" {
				x.left = append(x.left, fmt.Sprintf("%s (delivery %d) %s", about, d.ID, why))
				continue
			}
			out = append(out, w)
		}
		if len(list) < exportPage {
			break
		}
	}
	slices.SortFunc(out, func(a, b *ledger.Work) int {
		return strings.Compare(a.Delivery.Doc+a.Delivery.Each, b.Delivery.Doc+b.Delivery.Each)
	})
	slices.Sort(x.left)
	return out, nil
}

// about tells whether a message is of the period and place asked for, and what
// it is called. A list's content has period, and orgUnit or place (Run.Period).
func (x *export) about(w *ledger.Work) (string, bool, error) {
	var content map[string]any
	if err := json.Unmarshal(w.Message.Content, &content); err != nil {
		return "", false, fmt.Errorf("read the message of delivery %d: %w", w.Delivery.ID, err)
	}
	texts := func(v any, keys ...string) []string {
		var out []string
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case map[string]any:
			for _, k := range keys {
				if t, ok := v[k].(string); ok && t != "" {
					out = append(out, t)
				}
			}
		}
		return out
	}
	if !slices.Contains(texts(content["period"], "name"), x.period) {
		return "", false, nil
	}
	places := append(texts(content["place"], "name", "id"), texts(content["orgUnit"])...)
	if w.Delivery.Each != "" {
		places = append(places, w.Delivery.Each)
	}
	here := x.place == "" || slices.ContainsFunc(places, func(p string) bool { return strings.EqualFold(p, x.place) })
	if len(places) == 0 {
		places = []string{w.Delivery.Doc}
	}
	return places[0], here, nil
}

// unconfirmed says why a delivery is not to be uploaded, "" if it is.
func unconfirmed(w *ledger.Work) string {
	d := w.Delivery
	switch {
	case d.State == ledger.Skipped && d.Code == "by-hand":
		return ""
	case d.State == ledger.Skipped:
		return "was not confirmed: " + d.Reason
	case d.State == ledger.Done && d.Calls > 0:
		return "was sent" + byWhom(w)
	case d.State == ledger.Done:
		return "is done: it stood there already"
	case approvalOf(w, "yes") != nil:
		return "is being sent" + byWhom(w)
	}
	why := fmt.Sprintf("is not confirmed yet (%s)", d.State)
	for _, q := range w.Questions {
		if q.State == "open" {
			why += fmt.Sprintf("; see kiungo questions %d", q.ID)
		}
	}
	return why
}

func byWhom(w *ledger.Work) string {
	if q := approvalOf(w, "yes"); q != nil {
		return ", approved by " + q.By
	}
	return ""
}

// approvalOf gives the last approval that was answered so.
func approvalOf(w *ledger.Work, answer string) *ledger.Question {
	for i, q := range slices.Backward(w.Questions) {
		if q.State == "answered" && q.Answer == answer && strings.HasPrefix(q.Key, "approve/") {
			return &w.Questions[i]
		}
	}
	return nil
}

// records plans a confirmed delivery once more and gives what it would write to
// the system: what the person saw, or an error.
func (x *export) records(ctx context.Context, w *ledger.Work, port *system.Port) ([]connector.Confirmed, error) {
	about, _, err := x.about(w)
	if err != nil {
		return nil, err
	}
	q := approvalOf(w, runner.ByHand)
	if q == nil {
		return nil, fmt.Errorf("delivery %d is confirmed by hand, but its answer is not in the ledger", w.Delivery.ID)
	}
	p, err := x.engine.Runner.Plan(ctx, w)
	var stop *plan.Stop
	if errors.As(err, &stop) {
		return nil, fmt.Errorf("%s (delivery %d) cannot be planned now: %s", about, w.Delivery.ID, stop.Reason)
	}
	if err != nil {
		return nil, err
	}
	offer, err := question.OfferOf(*q)
	if err != nil {
		return nil, err
	}
	var out []connector.Confirmed
	for _, r := range p.Records {
		if r.System == port.Name() && len(r.Write) > 0 && !r.Removed {
			out = append(out, connector.Confirmed{Kind: connector.ShortKind(r.Kind), ID: r.ID, Write: r.Write, Was: r.Was,
				By: q.By, At: w.Delivery.Ended, Delivery: w.Delivery.ID})
		}
	}
	if len(out) == 0 {
		x.left = append(x.left, fmt.Sprintf("%s (delivery %d) stands there already", about, w.Delivery.ID))
		return nil, nil
	}
	// Less than what was confirmed is fine: a part of it stands there already.
	other := slices.DeleteFunc(p.Lines(), func(line string) bool { return slices.Contains(offer.Plan, line) })
	if !x.anyway && len(other) > 0 {
		return nil, fmt.Errorf("%s (delivery %d): what stands in %s has changed since %s confirmed it:\n%s\nlook at it there; --anyway writes it",
			about, w.Delivery.ID, port.Name(), q.By, strings.Join(other, "\n"))
	}
	return out, nil
}
