package trace

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

func TestARouteKeepsOnlyWordsOfTheInterface(t *testing.T) {
	for path, want := range map[string]string{
		"/patient/2fb1ff52-0af5-4b1c-9b0d-0f5a6c8a1234/identifier": "/patient/{}/identifier",
		"/patient?q=Achieng&v=full":                                "/patient",
		"/a/kisumu-project/api/case/v2/abc":                        "/a/{}/api/case/v2/{}",
		"/tracker/trackedEntities/dXSTPtVg5Ac.json":                "/tracker/trackedEntities/{}",
		"/dataValueSets.json":                                      "/dataValueSets.json",
		"/medic/_all_docs":                                         "/medic/_all_docs",
		"/persons/achieng/0712345678":                              "/{}/{}/{}",
		"":                                                         "",
		"//":                                                       "//",
	} {
		if got := Route(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("/patient/Achieng/identifier?x=1")
	f.Add("/a/b.json/../c")
	f.Fuzz(func(t *testing.T, path string) {
		for part := range strings.SplitSeq(Route(path), "/") {
			base, ext, _ := strings.Cut(part, ".")
			if part != "" && part != "{}" && !words[part] && !(words[base] && (ext == "json" || ext == "xml")) {
				t.Errorf("%q of %q is shown", part, path)
			}
		}
	})
}

// named is a system with a name.
type named struct{ connector.System }

func (named) Name() string { return "openmrs-a" }

func traced(t *testing.T, ratio float64) (*Tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	tr, err := New(t.Context(), Options{Ratio: ratio, Salt: []byte("salt"), Exporter: spans})
	if err != nil {
		t.Fatal(err)
	}
	return tr, spans
}

// TestASystemIsToldTheTraceOnlyIfTheSiteSaysSo, and what the request was before
// is left as it was: a plan's headers are not the request's.
func TestASystemIsToldTheTraceOnlyIfTheSiteSaysSo(t *testing.T) {
	tr, spans := traced(t, 1)
	w := tr.Watch()
	ctx := w.Running(context.Background(), &ledger.Work{Delivery: ledger.Delivery{ID: 3, Message: 2, Flow: "f"}})
	for _, tell := range []bool{false, true} {
		port := system.New(named{}, "openmrs", system.Limits{Traceparent: tell})
		header := map[string]string{"Accept": "x"}
		r := call.Request{Method: "POST", Path: "/patient/Achieng", Header: header}
		c := w.Sending(ctx, port, &r)
		w.Sent(c, system.Sent{Port: port, Request: &r, Status: 201, Verdict: call.Verdict{Class: call.Done}})
		want := "00-" + api.SpanContextFromContext(c).TraceID().String() + "-" + api.SpanContextFromContext(c).SpanID().String() + "-01"
		if got, ok := r.Header["traceparent"]; ok != tell || tell && got != want || len(header) != 1 {
			t.Errorf("told %v: %v, the plan's own %v", tell, r.Header, header)
		}
	}
	for _, s := range spans.GetSpans() {
		if s.Parent.SpanID() != api.SpanContextFromContext(ctx).SpanID() {
			t.Errorf("%s is not under the delivery's run", s.Name)
		}
	}
}

// TestAllNodesChooseTheSameMessages: a message is traced whole or not at all.
func TestAllNodesChooseTheSameMessages(t *testing.T) {
	a, fromA := traced(t, 0.3)
	b, fromB := traced(t, 0.3)
	const n = 400
	for id := int64(1); id <= n; id++ {
		a.Watch().Taken(t.Context(), intake.Taken{System: "s", Accepted: []ledger.Accepted{{Message: id}}, Began: time.Now()})
		work := &ledger.Work{Delivery: ledger.Delivery{Message: id, Flow: "f"}}
		b.Watch().Ran(b.Watch().Running(context.Background(), work), work, nil)
	}
	chosen := map[api.TraceID]bool{}
	for _, s := range fromA.GetSpans() {
		chosen[s.SpanContext.TraceID()] = true
	}
	if len(chosen) < n/5 || len(chosen) > n*2/5 {
		t.Errorf("%d of %d messages are traced, want about three tenths", len(chosen), n)
	}
	runs := fromB.GetSpans()
	if len(runs) != len(chosen) {
		t.Errorf("%d messages, %d runs", len(chosen), len(runs))
	}
	for _, s := range runs {
		if !chosen[s.SpanContext.TraceID()] {
			t.Error("a run is traced whose message is not")
		}
	}
}

func TestAWrongAddressForTracesIsTold(t *testing.T) {
	for _, bad := range []string{"collector:4318", "ftp://x", "http://"} {
		if _, err := New(t.Context(), Options{Endpoint: bad, Ratio: 1}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	if _, err := New(t.Context(), Options{Endpoint: "http://127.0.0.1:1", Ratio: 2}); err == nil {
		t.Error("twice as many messages as there are were taken")
	}
	for given, want := range map[string]string{"http://c:4318": "http://c:4318/v1/traces", "https://c/": "https://c/v1/traces", "https://c/otlp/v1/traces": "https://c/otlp/v1/traces"} {
		if got, err := endpoint(given); err != nil || got != want {
			t.Errorf("%s: %s, %v", given, got, err)
		}
	}
}
