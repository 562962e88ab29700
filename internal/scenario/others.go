package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/question"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// byClerk stands in place of a call's id on requests that are not Kiungo's.
const byClerk = "clerk"

// clerk sends a request as somebody who works in the system would cause it.
func (b *bench) clerk(ctx context.Context, c *ClerkStep) error {
	sim, ok := b.sims[c.System]
	if !ok {
		return fmt.Errorf("clerk: no system %q", c.System)
	}
	if err := await(sim.Traffic(), c.After); err != nil {
		return err
	}
	var body []byte
	if c.Body != nil {
		var err error
		if body, err = json.Marshal(c.Body); err != nil {
			return err
		}
	}
	req := httptest.NewRequestWithContext(ctx, c.Method, "http://"+c.System+".sim"+c.Path, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(call.IDHeader, byClerk)
	req.SetBasicAuth("clerk", "Clerk123")
	out := httptest.NewRecorder()
	sim.ServeHTTP(out, req)
	if out.Code >= http.StatusBadRequest && out.Code != c.Status {
		return fmt.Errorf("clerk: %s %s: HTTP %d %s", c.Method, c.Path, out.Code, strings.TrimSpace(out.Body.String()))
	}
	return nil
}

// await waits until a request was seen that a fault has hit.
func await(t *simulate.Traffic, what string) error {
	if what == "" {
		return nil
	}
	method, pattern, _ := strings.Cut(what, " ")
	seen := func(r simulate.Recorded) bool {
		at, _, _ := strings.Cut(r.Path, "?")
		hit, err := path.Match(pattern, at)
		return err == nil && hit && r.Method == method && r.Fault != ""
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if slices.ContainsFunc(t.Requests(), seen) {
			return nil
		}
	}
	return fmt.Errorf("clerk: after: %s was never seen to fail", what)
}

// answer answers the open questions of a kind as a person would.
func (b *bench) answer(ctx context.Context, a *AnswerStep) error {
	d := desk.Desk{Ledger: b.ledger, Ring: b.engine.Ring, Learned: b.engine.Learned}
	list, err := d.Questions(ctx, 0, 1000)
	if err != nil {
		return err
	}
	who, n := a.Who, 0
	if who == "" {
		who = "scenario"
	}
	for _, q := range list {
		if a.Kind != "" && q.Kind != a.Kind {
			continue
		}
		if now, err := d.Question(ctx, q.ID); err != nil || now.State != "open" {
			continue // one answer served this one too
		}
		done, err := d.Answer(ctx, desk.Answer{Question: q.ID, Answer: a.Answer, Who: who})
		if err != nil {
			return fmt.Errorf("answer question %d (%s): %w", q.ID, q.Kind, err)
		}
		n += done
	}
	if n == 0 {
		return fmt.Errorf("answer: there is no open question of kind %q", a.Kind)
	}
	return nil
}

// split takes a record from a person, as kiungo people split does.
func (b *bench) split(ctx context.Context, s *SplitStep) error {
	wrong, err := b.record(s.Record)
	if err != nil {
		return err
	}
	var right *ledger.Link
	if s.To != "" {
		l, err := b.record(s.To)
		if err != nil {
			return err
		}
		right = &l
	}
	d := desk.Desk{Ledger: b.ledger, Ring: b.engine.Ring, Learned: b.engine.Learned}
	p, err := d.Person(ctx, s.Person, 1)
	if err != nil {
		return fmt.Errorf("split: %w", err)
	}
	redos, err := d.Split(ctx, p, wrong, b.engine.Runner.Plan)
	if err != nil {
		return fmt.Errorf("split: %w", err)
	}
	return d.DoSplit(ctx, p, wrong, redos, right, "scenario", "")
}

// record reads SYSTEM/Kind/ID.
func (b *bench) record(text string) (ledger.Link, error) {
	name, rest, _ := strings.Cut(text, "/")
	kind, id, ok := strings.Cut(rest, "/")
	sys := b.site.Systems[name]
	if !ok || sys == nil {
		return ledger.Link{}, fmt.Errorf("split: %q is not a record; write SYSTEM/Kind/ID", text)
	}
	return ledger.Link{System: name, Kind: sys.Connector + "/" + kind, ID: id}, nil
}

// questions writes what waits for an answer.
func (b *bench) questions(ctx context.Context, out *strings.Builder) error {
	d := desk.Desk{Ledger: b.ledger}
	list, err := d.Questions(ctx, 0, 1000)
	if err != nil || len(list) == 0 {
		return err
	}
	out.WriteString("\n# questions\n")
	for _, q := range list {
		fmt.Fprintf(out, "%s of delivery %d, for the %s: %s\n", q.Kind, q.Delivery, q.Job, q.Text)
		for _, side := range q.Offer.Sides {
			fmt.Fprintf(out, "    %s:", side.Name)
			for _, f := range side.Fields {
				fmt.Fprintf(out, " %s=%s;", f.Name, f.Value)
			}
			for _, w := range side.Why {
				fmt.Fprintf(out, " [%s]", w)
			}
			out.WriteString("\n")
		}
		for _, line := range q.Offer.Plan {
			out.WriteString("    | " + line + "\n")
		}
		if slices.Equal(q.Offer.Choices, question.Usual()) && q.Offer.Other == "" {
			continue
		}
		for _, c := range q.Offer.Choices {
			fmt.Fprintf(out, "    - %s: %s\n", c.Value, c.Text)
		}
		if q.Offer.Other != "" {
			fmt.Fprintf(out, "    - or %s\n", q.Offer.Other)
		}
	}
	return nil
}

// healed waits until Kiungo has found out that a system is well again.
func (b *bench) healed(system string) error {
	port := b.engine.Systems[system]
	for end := time.Now().Add(patience); port != nil; time.Sleep(time.Millisecond) {
		if open, _ := port.Open(); !open {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("calm: Kiungo still takes %s for down", system)
		}
	}
	return nil
}

// table puts a table beside the site's configuration. The new rows count from
// the next start on, as in a site.
func (b *bench) table(ctx context.Context, t *TableStep) error {
	dir := filepath.Join(b.work, "tables", filepath.Base(b.dir))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, t.Name+".csv"), []byte(t.Rows), 0o600); err != nil {
		return err
	}
	if err := b.load(); err != nil {
		return err
	}
	return b.restart(ctx)
}

func (b *bench) restart(ctx context.Context) error {
	b.stop()
	return b.start(ctx)
}
