package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/system"
)

// liveRow is what was found on one live system, as --json prints it.
type liveRow struct {
	System   string `json:"system"`
	Severity string `json:"severity"` // error, warning or ok
	Where    string `json:"where,omitempty"`
	Text     string `json:"text"`
}

// checkLive asks every active system of the site whether it is there, takes our
// credentials, and has and allows all that the flows say of it.
func (a *app) checkLive(ctx context.Context, folders []string) error {
	e, done, err := a.quietEngine(ctx)
	if err != nil {
		return err
	}
	defer done()
	silence(e)
	uses := usesBySystem(e, folders)
	rows := []liveRow{}
	bad := 0
	for _, name := range slices.Sorted(maps.Keys(e.Systems)) {
		found := liveSystem(ctx, e.Systems[name], name, uses[name])
		for _, r := range found {
			if r.Severity == string(flow.SeverityError) {
				bad++
			}
		}
		rows = append(rows, found...)
	}
	if a.asJSON {
		if err := a.printJSON(rows); err != nil {
			return err
		}
	} else {
		for _, r := range rows {
			where := r.System
			if r.Where != "" && r.Where != r.System {
				where += ": " + r.Where
			}
			fmt.Fprintf(a.out, "%s: %s: %s\n", where, r.Severity, r.Text)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%s on the live systems", counted(bad, "error"))
	}
	return nil
}

// silence has nobody told of a system that is down: the engine is not started,
// and the error itself says it.
func silence(e *engine.Engine) {
	for _, port := range e.Systems {
		port.OnChange = nil
	}
}

// usesBySystem gathers what the flows say of each system. Where the message
// decides, a record may go to every system of its connector.
func usesBySystem(e *engine.Engine, folders []string) map[string][]connector.Use {
	var ids []string
	for _, dir := range folders {
		if abs, err := filepath.Abs(dir); err == nil {
			ids = append(ids, filepath.Base(abs))
		}
	}
	out := map[string][]connector.Use{}
	for _, in := range e.Integrations {
		if len(ids) > 0 && !slices.Contains(ids, in.ID) {
			continue
		}
		for _, f := range in.Flows {
			for _, u := range f.Uses() {
				for name, port := range e.Systems {
					if u.System == name || u.System == "" && u.Connector == port.Connector {
						out[name] = append(out[name], u.Use)
					}
				}
			}
		}
	}
	return out
}

func liveSystem(ctx context.Context, port *system.Port, name string, uses []connector.Use) []liveRow {
	c, ok := port.System.(connector.Checker)
	if !ok {
		if _, err := port.Reader(0).Do(ctx, "ask whether it is there", port.System.Probe()); err != nil {
			return []liveRow{{System: name, Severity: string(flow.SeverityError), Text: err.Error()}}
		}
		return []liveRow{{System: name, Severity: "ok", Text: "it answers and takes our credentials; what flows say of it cannot be asked of this kind of system"}}
	}
	found, err := c.CheckLive(ctx, port.Reader(0), uses)
	if err != nil {
		return []liveRow{{System: name, Severity: string(flow.SeverityError), Text: err.Error()}}
	}
	rows := make([]liveRow, 0, len(found)+1)
	bad := 0
	for _, f := range found {
		r := liveRow{System: name, Severity: string(flow.SeverityError), Where: f.Where, Text: f.Text}
		if f.Warning {
			r.Severity = string(flow.SeverityWarning)
		} else {
			bad++
		}
		rows = append(rows, r)
	}
	if bad == 0 {
		rows = append(rows, liveRow{System: name, Severity: "ok", Text: fmt.Sprintf("it has and allows what %s of flows say of it", counted(len(uses), "record"))})
	}
	return rows
}
