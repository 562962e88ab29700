package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// report writes the outcome: answers to the senders, deliveries, requests per
// system in order, and what is different in each system's state.
func (b *bench) report(ctx context.Context) (string, error) {
	var out strings.Builder
	if len(b.answers) > 0 {
		out.WriteString("# answers\n")
		for _, a := range b.answers {
			out.WriteString(a + "\n")
		}
	}
	out.WriteString(b.between.String())
	out.WriteString("\n# deliveries\n")
	if err := b.deliveries(ctx, &out); err != nil {
		return "", err
	}
	if err := b.questions(ctx, &out); err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(b.sims)) {
		sim := b.sims[name]
		requests := b.withoutProbes(name, sim.Traffic().Requests())
		fmt.Fprintf(&out, "\n# requests to %s (%d, %d of them changing)\n", name, len(requests), changes(requests))
		for _, r := range requests {
			out.WriteString(line(r) + "\n")
		}
		after, err := sim.State()
		if err != nil {
			return "", err
		}
		diff, err := Difference(b.before[name], after)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "\n# what changed in %s\n", name)
		if len(diff) == 0 {
			out.WriteString("nothing\n")
		}
		for _, d := range diff {
			out.WriteString(d + "\n")
		}
	}
	return minutes.ReplaceAllStringFunc(moments.ReplaceAllStringFunc(out.String(), recent), b.thisMinute), nil
}

// moments are those of JSON and of queries.
var moments = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?`)

// recent writes a moment of this run, or little before it (a sweep reads back),
// as NOW: it differs from run to run.
func recent(m string) string {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, m); err == nil && time.Since(t).Abs() < 2*time.Hour {
			return "NOW"
		}
	}
	return m
}

func changes(requests []simulate.Recorded) int {
	n := 0
	for _, r := range requests {
		if r.CallID != "" && r.CallID != byClerk {
			n++
		}
	}
	return n
}

func line(r simulate.Recorded) string {
	s := r.Method + " " + readable(r.Path)
	if r.Body != "" {
		s += " " + canonical(r.Body)
	}
	if r.CallID == byClerk {
		s = "a clerk: " + s
	} else if r.CallID != "" {
		// delivery/plan/call/epoch: the epoch differs from run to run
		s += "  [" + r.CallID[:strings.LastIndexByte(r.CallID, '/')] + "]"
	}
	if r.Status == 0 {
		s += " -> no answer"
	} else {
		s += fmt.Sprintf(" -> %d", r.Status)
	}
	if r.Fault != "" {
		s += " (fault: " + string(r.Fault) + ")"
	}
	return s
}

// readable writes a path with its query decoded; what a custom representation
// lists is left out, for a connector's tests hold it.
func readable(uri string) string {
	u, err := url.ParseRequestURI(uri)
	if err != nil || u.RawQuery == "" {
		return uri
	}
	q := u.Query()
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(q)) {
		for _, v := range q[k] {
			if strings.HasPrefix(v, "custom:(") {
				v = "custom"
			}
			if day, err := time.Parse(time.DateOnly, v); err == nil && time.Since(day).Abs() < 36*time.Hour {
				v = "TODAY"
			}
			parts = append(parts, k+"="+v)
		}
	}
	return u.Path + "?" + strings.Join(parts, "&")
}

func canonical(body string) string {
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return strings.Join(strings.Fields(body), " ")
	}
	text, err := json.Marshal(v)
	if err != nil {
		return body
	}
	return string(text)
}

// meanwhile notes how deliveries stand before somebody acts.
func (b *bench) meanwhile(ctx context.Context, what string) error {
	fmt.Fprintf(&b.between, "\n# deliveries before the %s\n", what)
	return b.deliveries(ctx, &b.between)
}

// withoutProbes leaves out the requests by which Kiungo sees whether a system
// is up: how many there are is a matter of time.
func (b *bench) withoutProbes(name string, requests []simulate.Recorded) []simulate.Recorded {
	port := b.engine.Systems[name]
	if port == nil {
		return requests
	}
	probe := port.System.Probe()
	return slices.DeleteFunc(requests, func(r simulate.Recorded) bool {
		at, query, _ := strings.Cut(r.Path, "?")
		if r.CallID != "" || r.Method != probe.Method || !strings.HasSuffix(at, probe.Path) {
			return false
		}
		asked, err := url.ParseQuery(query)
		return err == nil && maps.EqualFunc(asked, url.Values(probe.Query), slices.Equal)
	})
}

func (b *bench) deliveries(ctx context.Context, out *strings.Builder) error {
	list, err := b.ledger.Deliveries(ctx, ledger.Filter{Limit: 1000})
	if err != nil {
		return err
	}
	if err := b.stops(ctx, out); err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b ledger.Delivery) int { return int(a.ID - b.ID) })
	if len(list) == 0 {
		out.WriteString("none\n")
	}
	for _, d := range list {
		fmt.Fprintf(out, "%d %s", d.ID, d.Flow)
		if d.Each != "" {
			fmt.Fprintf(out, " [%s]", d.Each)
		}
		if d.Replay != nil {
			fmt.Fprintf(out, " (repeats %d)", d.Replay.Of)
		}
		fmt.Fprintf(out, " %s, %d calls", d.State, d.Calls)
		if d.BlockedOn != "" {
			fmt.Fprintf(out, ", waits for %s %s", d.BlockedOn, d.BlockedBy)
		}
		if d.Reason != "" {
			fmt.Fprintf(out, ": %s", d.Reason)
		}
		if d.Cause != "" {
			fmt.Fprintf(out, "\n  cause: %s", d.Cause)
		}
		for _, r := range d.Remarks {
			fmt.Fprintf(out, "\n  remark: %s", r)
		}
		out.WriteString("\n")
	}
	return nil
}

// Difference lists what is not the same in two JSON documents, path by path.
func Difference(before, after []byte) ([]string, error) {
	var a, b any
	if err := json.Unmarshal(before, &a); err != nil {
		return nil, fmt.Errorf("state before: %w", err)
	}
	if err := json.Unmarshal(after, &b); err != nil {
		return nil, fmt.Errorf("state after: %w", err)
	}
	var out []string
	difference("", a, b, &out)
	return out, nil
}

func difference(path string, a, b any, out *[]string) {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		keys := map[string]bool{}
		for k := range am {
			keys[k] = true
		}
		for k := range bm {
			keys[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			av, ain := am[k]
			bv, bin := bm[k]
			switch {
			case !ain:
				*out = append(*out, "+ "+path+"/"+k+" "+text(bv))
			case !bin:
				*out = append(*out, "- "+path+"/"+k+" "+text(av))
			default:
				difference(path+"/"+k, av, bv, out)
			}
		}
		return
	}
	if al, bl := keyed(a), keyed(b); al != nil && bl != nil {
		difference(path, al, bl, out)
		return
	}
	if text(a) != text(b) {
		*out = append(*out, "~ "+path+" "+text(a)+" => "+text(b))
	}
}

// keyed turns a list whose rows have ids into a map, so that a change of one
// row reads as such; nil if it is none.
func keyed(v any) any {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	out := map[string]any{}
	for _, row := range list {
		m, ok := row.(map[string]any)
		if !ok {
			return nil
		}
		id, ok := m["uuid"].(string)
		if !ok {
			if id, ok = m["case_id"].(string); !ok {
				return nil
			}
		}
		if _, twice := out[id]; twice {
			return nil
		}
		out[id] = row
	}
	return out
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
