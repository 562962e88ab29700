package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/demo"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/metrics"
	"github.com/kiungo-health/kiungo/internal/trace"
)

// personal are keys under which documents of the simulated systems hold what is
// somebody's.
var personal = regexp.MustCompile(`(?i)(given|family|first|middle|last|full|patient|client|mother)_?name$|^(display|givenName|familyName|familyName2|case_name|child_name)$|phone|telephone|national_?id|(^|_)nid$|identifier$|case_id$|external_id$|trackedEntity$|village$|cityVillage$`)

// ours are values under such keys that are not: names of the site's own, and
// names of fields.
var ours = regexp.MustCompile(`^(i\d\d|demo|openmrs|commcare|dhis2|cht|http|true|false|Unknown|none|/)|^(properties|name|address|attributes|identifiers)/`)

// harvest gathers what is somebody's in a document.
func harvest(v any, under string, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			harvest(x, k, into)
		}
	case []any:
		for _, x := range v {
			harvest(x, under, into)
		}
	case string:
		if len(v) >= 6 && personal.MatchString(under) && !ours.MatchString(v) && !personal.MatchString(v) {
			into[v] = true
		}
	}
}

// TestNothingOfAPatientLeavesTheLedger runs the demo's worlds, with their faults
// and their clerk, all that can be told told, and looks for names, phone numbers
// and identifiers of their messages and plans in the logs, the metrics, the
// traces, the deliveries' texts, the audit trail, and every byte of the ledgers'
// folders (law 34).
func TestNothingOfAPatientLeavesTheLedger(t *testing.T) {
	dir := t.TempDir()
	var logs clinictest.Log
	log := slog.New(withIDs{slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})})
	spans := tracetest.NewInMemoryExporter()
	tracer, err := trace.New(t.Context(), trace.Options{Ratio: 1, Version: version, Salt: []byte("test"), Exporter: spans})
	if err != nil {
		t.Fatal(err)
	}
	figures := metrics.New(version)
	d, err := demo.Start(t.Context(), demo.Options{Messages: 20, Rate: 400, Dir: dir, Faults: true, Registry: connectors.All(), Log: log,
		Watch: figures.Watch().Join(tracer.Watch()).Join(watchLog(log))})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	figures.Attach(d.Worlds[0].Engine, d.Worlds[0].Ledger.(metrics.Ledger), nil)
	if err := d.Feed(t.Context(), func(int) {}); err != nil {
		t.Fatal(err)
	}
	if err := d.Settle(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	rows, err := d.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Answer(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	everybody := map[string]bool{}
	texts := map[string]*strings.Builder{}
	add := func(where, text string) {
		if texts[where] == nil {
			texts[where] = &strings.Builder{}
		}
		texts[where].WriteString(text + "\n")
	}
	for _, w := range d.Worlds {
		// What is kept of a world is searched for its own people: two worlds name
		// people, and health workers, from the same lists.
		own, kept := map[string]bool{}, map[string]*strings.Builder{}
		gather(t, w, own, func(where, text string) {
			add(where, text)
			if kept[where] == nil {
				kept[where] = &strings.Builder{}
			}
			kept[where].WriteString(text + "\n")
		})
		absent(t, w.ID, own, kept)
		maps.Copy(everybody, own)
	}
	told := map[string]*strings.Builder{}
	tell := func(where, text string) {
		add(where, text)
		told[where] = texts[where]
	}
	tell("the log", logs.String())
	families, err := figures.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		var b bytes.Buffer
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
		tell("the metrics", b.String())
	}
	for _, s := range spans.GetSpans() {
		tell("the traces", fmt.Sprint(s.Name, s.Attributes, s.Events, s.Status, s.Links, s.Resource))
	}
	absent(t, "all worlds", everybody, told)
	for where, must := range map[string]string{"the log": "a delivery ended", "the metrics": "kiungo_calls_total{", "the traces": "delivery of i05", "the ledger's files": "visit-to-openmrs",
		"the deliveries' texts": "held", "the audit trail": "clerk"} {
		if texts[where] == nil || !strings.Contains(texts[where].String(), must) {
			t.Errorf("%s has no %q: the search proves nothing", where, must)
		}
	}
	if len(everybody) < 150 {
		t.Errorf("only %d names, numbers and identifiers were found to look for", len(everybody))
	}
}

// absent looks for what is somebody's.
func absent(t *testing.T, whose string, markers map[string]bool, texts map[string]*strings.Builder) {
	t.Helper()
	for where, text := range texts {
		all := text.String()
		for m := range markers {
			if i := find(all, m); i >= 0 {
				t.Errorf("%s, %s: %q: …%q…", whose, where, m, all[max(0, i-120):min(len(all), i+120)])
			}
		}
	}
}

// find gives where a marker is, -1 if it is not there. A number within a longer
// one (a sum of seconds) is none.
func find(text, marker string) int {
	for from := 0; ; {
		i := strings.Index(text[from:], marker)
		if i < 0 {
			return -1
		}
		i += from
		end := i + len(marker)
		digits := strings.Trim(marker, "0123456789") == ""
		within := func(b byte) bool { return b >= '0' && b <= '9' || b == '.' }
		if !digits || !(i > 0 && within(text[i-1])) && !(end < len(text) && within(text[end])) {
			return i
		}
		from = i + 1
	}
}

// gather takes a world's markers, from its messages and plans, and its texts
// that are not sealed.
func gather(t *testing.T, w *demo.World, markers map[string]bool, add func(where, text string)) {
	t.Helper()
	for after := int64(0); ; {
		list, err := w.Ledger.Messages(t.Context(), "", after, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, head := range list {
			m, err := w.Ledger.Message(t.Context(), head.ID)
			if err != nil {
				t.Fatal(err)
			}
			var v any
			if json.Unmarshal(m.Content, &v) == nil {
				harvest(v, "", markers)
			}
			after = head.ID
		}
		if len(list) == 0 {
			break
		}
	}
	for after := int64(0); ; {
		list, err := w.Ledger.Deliveries(t.Context(), ledger.Filter{After: after, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			work, err := w.Ledger.Delivery(t.Context(), x.ID)
			if err != nil {
				t.Fatal(err)
			}
			var v any
			if json.Unmarshal(work.Plan, &v) == nil {
				harvest(v, "", markers)
			}
			add("the deliveries' texts", strings.Join(append([]string{string(x.State), x.Reason, x.Cause, x.Code, x.BlockedBy}, x.Remarks...), " "))
			after = x.ID
		}
		if len(list) == 0 {
			break
		}
	}
	audits, err := w.Ledger.Audits(t.Context(), 0, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range audits {
		add("the audit trail", a.Who+" "+a.Act) // its note is sealed
	}
	for _, name := range []string{"ledger.db", "ledger.db-wal"} {
		b, err := os.ReadFile(filepath.Join(w.Data(), name))
		if err != nil {
			t.Fatal(err)
		}
		add("the ledger's files", string(b))
	}
}

// TestAMessagesSpansAreOneTrace: message, runs and requests, in whatever process.
func TestAMessagesSpansAreOneTrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	open := func() engine.Watch {
		tracer, err := trace.New(t.Context(), trace.Options{Ratio: 1, Salt: []byte("one ledger"), Exporter: spans})
		if err != nil {
			t.Fatal(err)
		}
		return tracer.Watch()
	}
	here, there := open(), open()
	here.Taken(t.Context(), intake.Taken{System: "commcare", Accepted: []ledger.Accepted{{Message: 7, Deliveries: []int64{8}}, {Message: 7, Duplicate: true}}, Began: time.Now()})
	for _, w := range []engine.Watch{here, there} {
		work := &ledger.Work{Delivery: ledger.Delivery{ID: 8, Message: 7, Flow: "i05/visit"}}
		ctx := w.Running(context.Background(), work)
		w.Ended(ctx, work, &ledger.End{State: ledger.Done}, time.Now())
		w.Ran(ctx, work, nil)
	}
	got := spans.GetSpans()
	if len(got) != 3 {
		t.Fatalf("%d spans, want a message and two runs", len(got))
	}
	for _, s := range got[1:] {
		if s.SpanContext.TraceID() != got[0].SpanContext.TraceID() || s.Parent.SpanID() != got[0].SpanContext.SpanID() {
			t.Errorf("a run is not under its message: %v, %v", s.Parent, got[0].SpanContext)
		}
	}
}
