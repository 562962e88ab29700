package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/record"
)

// timeline is a delivery with its plan and what became of each call.
type timeline struct {
	Delivery deliveryRow  `json:"delivery"`
	Document string       `json:"document"`
	From     string       `json:"from"`
	Records  []recordRow  `json:"records,omitempty"`
	Calls    []callRow    `json:"calls,omitempty"`
	Journal  []journalRow `json:"journal,omitempty"`
	Remarks  []string     `json:"remarks,omitempty"`
	Archived bool         `json:"archived,omitempty"`
	Wiped    bool         `json:"wiped,omitempty"` // its content is no longer kept
}

type recordRow struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	System  string            `json:"system"`
	ID      string            `json:"id,omitempty"`
	What    string            `json:"what"` // found, make, remove
	How     string            `json:"how,omitempty"`
	Changes map[string][2]any `json:"changes,omitempty"` // field -> is, becomes
}

type callRow struct {
	Name     string        `json:"name"`
	About    string        `json:"about"`
	System   string        `json:"system"`
	Request  call.Request  `json:"request"`
	Undo     *call.Request `json:"undo,omitempty"`
	Reversal call.Reversal `json:"reversal"`
	Repeat   call.Repeat   `json:"repeat"`
}

type journalRow struct {
	At   string `json:"at"`
	What string `json:"what"`
	Call string `json:"call,omitempty"`
}

func timelineOf(w *ledger.Work) (*timeline, error) {
	t := &timeline{Delivery: rowOf(w.Delivery), Document: w.Message.Doc, From: w.Message.System, Archived: w.Delivery.Archived, Wiped: w.Message.Wiped}
	for _, s := range w.Journal {
		what := string(s.Kind)
		if s.Intent != "" {
			what += "; next " + s.Intent
		}
		t.Journal = append(t.Journal, journalRow{At: s.At.Local().Format("2006-01-02 15:04:05.000"), What: what, Call: s.Call})
	}
	if w.Plan == nil {
		return t, nil
	}
	p, err := plan.Decode(w.Plan)
	if err != nil {
		return nil, err
	}
	t.addPlan(p)
	return t, nil
}

func (t *timeline) addPlan(p *plan.Plan) {
	for _, r := range p.Records {
		row := recordRow{Name: r.Name, Kind: r.Kind, System: r.System, ID: r.ID, How: r.How, What: "found"}
		switch {
		case r.Removed:
			row.What = "remove"
		case !r.Exists && r.ID == "" && r.Later == nil:
			row.What = "not there"
		case !r.Exists:
			row.What = "make"
		case len(r.Write) > 0:
			row.What = "change"
		}
		for path, v := range r.Write {
			if row.Changes == nil {
				row.Changes = map[string][2]any{}
			}
			row.Changes[path] = [2]any{r.Was[path], v}
		}
		t.Records = append(t.Records, row)
	}
	for _, c := range p.Calls {
		row := callRow{Name: c.Name, About: c.About, System: c.System, Request: c.Request, Reversal: c.Reversal, Repeat: c.Repeat}
		if c.Undo != nil {
			row.Undo = &c.Undo.Request
		}
		t.Calls = append(t.Calls, row)
	}
	t.Remarks = append(t.Remarks, p.Remarks...)
}

func (t *timeline) print(out io.Writer) error {
	d := t.Delivery
	if d.ID != 0 {
		fmt.Fprintf(out, "delivery %d of message %d, from %s\nflow     %s\nstate    %s", d.ID, d.Message, t.From, d.Flow, d.State)
		if d.Reason != "" {
			fmt.Fprintf(out, ": %s", d.Reason)
		}
		fmt.Fprintln(out)
		if d.WaitsFor != "" {
			fmt.Fprintf(out, "waits    for %s\n", d.WaitsFor)
		}
		for _, r := range d.Remarks {
			fmt.Fprintf(out, "remark   %s\n", r)
		}
		if t.Archived {
			fmt.Fprintln(out, "archived it has left the ledger")
		}
		if t.Wiped {
			fmt.Fprintln(out, "wiped    its content, plan and answers are no longer kept")
		}
	}
	for _, r := range t.Records {
		fmt.Fprintf(out, "\n%s  %s in %s: %s", r.Name, r.Kind, r.System, r.What)
		if r.ID != "" {
			fmt.Fprintf(out, " %s", r.ID)
		}
		if r.How != "" {
			fmt.Fprintf(out, " (by %s)", r.How)
		}
		fmt.Fprintln(out)
		paths := make([]string, 0, len(r.Changes))
		for path := range r.Changes {
			paths = append(paths, path)
		}
		sort.Strings(paths)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, path := range paths {
			c := r.Changes[path]
			fmt.Fprintf(w, "    %s\t%s\t-> %s\n", path, value(c[0]), value(c[1]))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for i, c := range t.Calls {
		fmt.Fprintf(out, "\n%d. %s, in %s%s\n", i+1, c.About, c.System, reversal(c))
		printRequest(out, "   send ", c.Request)
		if c.Undo != nil {
			printRequest(out, "   undo ", *c.Undo)
		}
	}
	for _, r := range t.Remarks {
		fmt.Fprintf(out, "\nremark: %s\n", r)
	}
	if len(t.Journal) > 0 {
		fmt.Fprintln(out, "\njournal")
		for _, j := range t.Journal {
			fmt.Fprintf(out, "  %s  %-22s %s\n", j.At, j.Call, j.What)
		}
	}
	return nil
}

func value(v any) string {
	switch v := v.(type) {
	case nil:
		return "(nothing)"
	case record.Clear:
		return "(emptied)"
	case record.Later:
		return "(from " + v.Call + ")"
	case string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// reversal says in words what an undo could not do.
func reversal(c callRow) string {
	switch c.Reversal {
	case call.Leftover:
		return " (cannot be undone; leaves something that does no harm)"
	case call.Final:
		return " (cannot be undone: after it the delivery only goes forward)"
	}
	return ""
}

// printRequest prints a request on one line. What a custom representation
// lists is left out; --json has it.
func printRequest(out io.Writer, lead string, r call.Request) {
	fmt.Fprintf(out, "%s%s %s", lead, r.Method, r.Path)
	sep := "?"
	keys := make([]string, 0, len(r.Query))
	for k := range r.Query {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		for _, v := range r.Query[k] {
			if strings.HasPrefix(v, "custom:") {
				v = "custom:…"
			}
			fmt.Fprintf(out, "%s%s=%s", sep, k, v)
			sep = "&"
		}
	}
	if len(r.Body) > 0 {
		fmt.Fprintf(out, " %s", r.Body)
	}
	for _, b := range r.Bind {
		fmt.Fprintf(out, "\n        %s comes from the answer to %s", b.At, b.Call)
	}
	fmt.Fprintln(out)
}
