package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/plan"
)

func (a *app) planCmd() *cobra.Command {
	var from, message, onlyFlow string
	cmd := &cobra.Command{
		Use:   "plan [DELIVERY]",
		Short: "Show what a delivery, or a message in a file, would do; send nothing",
		Long: "Plan reads the live systems and prints the records found, the differences field by field, and every\n" +
			"request with its undo. Nothing is changed and nothing is sent but reads.",
		Example: "  kiungo plan 1234\n  kiungo plan --message visit.json --from commcare",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (message != "") {
				return usagef("name a delivery, or a message's file with --message")
			}
			e, done, err := a.quietEngine(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			var works []*ledger.Work
			if message != "" {
				works, err = a.worksOf(e, message, from, onlyFlow)
			} else {
				works, err = a.workOf(cmd.Context(), e, args[0])
			}
			if err != nil {
				return err
			}
			return a.preview(cmd.Context(), e, works)
		},
	}
	cmd.Flags().StringVar(&message, "message", "", "a file with a message as its system would send it")
	cmd.Flags().StringVar(&from, "from", "", "the system that the message is from")
	cmd.Flags().StringVar(&onlyFlow, "flow", "", "only this flow")
	return cmd
}

// quietEngine opens the site's systems without starting anything. When a
// server runs, its ledger is not opened: the preview then knows no snapshots.
func (a *app) quietEngine(ctx context.Context) (*engine.Engine, func(), error) {
	site, integrations, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	dir, database, clean := a.dataDir, a.databaseURL(), func() {}
	if _, running := serverOf(a.dataDir); running || !exists(filepath.Join(a.dataDir)) {
		temporary, err := os.MkdirTemp("", "kiungo-plan-")
		if err != nil {
			return nil, nil, err
		}
		dir, database, clean = temporary, "", func() { _ = os.RemoveAll(temporary) }
	}
	l, err := store.Open(ctx, database, dir, store.Options{})
	if err != nil {
		clean()
		return nil, nil, err
	}
	e, err := engine.New(engine.Options{Ledger: l, Registry: a.reg, Site: site, Integrations: integrations, Log: a.log()})
	if err != nil {
		_ = l.Close()
		clean()
		return nil, nil, &usageError{err}
	}
	return e, func() { _ = l.Close(); clean() }, nil
}

// worksOf makes the deliveries that a message would become, in memory.
func (a *app) worksOf(e *engine.Engine, file, from, onlyFlow string) ([]*ledger.Work, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("%w", err)
	}
	messages, err := decodeAs(e, from, file, body)
	if err != nil {
		return nil, err
	}
	var works []*ledger.Work
	for _, m := range messages {
		msg := connector.Message{System: m.from, Received: e.Ledger.Now(), Incoming: m.Incoming}
		var content any
		if err := json.Unmarshal(m.Content, &content); err != nil {
			return nil, err
		}
		for _, f := range e.Intake.Flows {
			if onlyFlow != "" && f.Name != onlyFlow {
				continue
			}
			items, err := f.Route(&msg, content)
			if err != nil {
				return nil, err
			}
			for _, item := range items {
				w := &ledger.Work{Message: msg, Delivery: ledger.Delivery{Flow: f.Name, Each: item.Each, System: m.from, State: ledger.Received}}
				if len(item.Lanes) > 0 {
					w.LaneKey = item.Lanes[0]
				}
				works = append(works, w)
			}
		}
	}
	return works, nil
}

type sourced struct {
	connector.Incoming
	from string
}

func decodeAs(e *engine.Engine, from, file string, body []byte) ([]sourced, error) {
	receiver, from, err := receiverOf(e, from)
	if err != nil {
		return nil, err
	}
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/in/" + from}, Header: http.Header{}}
	r.Header.Set("Content-Type", contentType(file))
	messages, err := receiver.Receive(r, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var out []sourced
	for _, m := range messages {
		out = append(out, sourced{m, from})
	}
	return out, nil
}

func contentType(file string) string {
	if strings.HasSuffix(file, ".xml") {
		return "text/xml"
	}
	return "application/json"
}

func receiverOf(e *engine.Engine, name string) (connector.Receiver, string, error) {
	var names []string
	for n, port := range e.Systems {
		r, ok := port.System.(connector.Receiver)
		if !ok {
			continue
		}
		if n == name {
			return r, n, nil
		}
		names = append(names, n)
	}
	if name == "" && len(names) == 1 {
		return e.Systems[names[0]].System.(connector.Receiver), names[0], nil
	}
	return nil, "", usagef("say which system the message is from with --from; these send messages: %s", strings.Join(names, ", "))
}

func (a *app) workOf(ctx context.Context, e *engine.Engine, arg string) ([]*ledger.Work, error) {
	id, err := deliveryID(arg)
	if err != nil {
		return nil, err
	}
	var w *ledger.Work
	if remote, ok := serverOf(a.dataDir); ok {
		w, err = remote.Show(ctx, id)
	} else {
		w, err = e.Ledger.Delivery(ctx, id)
	}
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, fmt.Errorf("there is no delivery %d; kiungo deliveries lists them", id)
	}
	if err != nil {
		return nil, err
	}
	return []*ledger.Work{w}, nil
}

func (a *app) preview(ctx context.Context, e *engine.Engine, works []*ledger.Work) error {
	if len(works) == 0 {
		fmt.Fprintln(a.out, "no flow takes this message")
		return nil
	}
	var all []*timeline
	for i, w := range works {
		t := &timeline{Delivery: rowOf(w.Delivery), Document: w.Message.Doc, From: w.Message.System}
		p, err := e.Runner.Plan(ctx, w)
		var stop *plan.Stop
		switch {
		case errors.As(err, &stop):
			t.Delivery.State, t.Delivery.Reason, t.Delivery.Code, t.Delivery.Cause = "would be "+string(stop.State), stop.Reason, stop.Code, stop.Cause
		case err != nil:
			return err
		default:
			t.Delivery.State = "would be done"
			if len(p.Calls) == 0 {
				t.Delivery.Reason = "nothing differs; no call"
			}
			t.addPlan(p)
		}
		all = append(all, t)
		if a.asJSON {
			continue
		}
		if i > 0 {
			fmt.Fprintln(a.out, strings.Repeat("-", 60))
		}
		if w.Delivery.ID == 0 {
			fmt.Fprintf(a.out, "%s", w.Delivery.Flow)
			if w.Delivery.Each != "" {
				fmt.Fprintf(a.out, " [%s]", w.Delivery.Each)
			}
			fmt.Fprintf(a.out, " %s", t.Delivery.State)
			if t.Delivery.Reason != "" {
				fmt.Fprintf(a.out, ": %s", t.Delivery.Reason)
			}
			fmt.Fprintln(a.out)
		}
		if err := t.print(a.out); err != nil {
			return err
		}
	}
	if a.asJSON {
		return a.printJSON(all)
	}
	return nil
}
