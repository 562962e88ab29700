// Package trace gives OpenTelemetry what happens to a message: a span when it
// is accepted, one for each run of a delivery, one for each request. All spans
// of a message are in one trace, whose id is made from the message's number:
// also those of a retry on another node a day later. Attributes are ids of
// Kiungo's own, names of the site's, and words of Kiungo's: never anything of a
// message (law 34).
package trace

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// EnvEndpoint is OpenTelemetry's own name for where traces go.
const EnvEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

// Options of a Tracer.
type Options struct {
	// Endpoint takes OTLP over HTTP: http://collector:4318, or with the path if
	// it is not /v1/traces. Empty: what OpenTelemetry's environment says.
	Endpoint string
	Ratio    float64 // of messages that are traced, 0 to 1
	Version  string
	// Salt makes ids of traces from numbers of messages: the same on every node
	// of a ledger, unlike those of other ledgers.
	Salt []byte
	// Exporter replaces OTLP: for tests.
	Exporter sdk.SpanExporter
}

// Tracer makes spans.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   api.Tracer
	sampler  sdk.Sampler
	salt     []byte
}

// New makes a tracer. Nothing is sent before there are spans; an endpoint that
// does not answer costs spans, never messages.
func New(ctx context.Context, o Options) (*Tracer, error) {
	if o.Ratio < 0 || o.Ratio > 1 {
		return nil, fmt.Errorf("%g of the messages cannot be traced: give a number from 0 to 1", o.Ratio)
	}
	out := sdk.WithSyncer(o.Exporter)
	if o.Exporter == nil {
		var opts []otlptracehttp.Option
		if o.Endpoint != "" {
			full, err := endpoint(o.Endpoint)
			if err != nil {
				return nil, err
			}
			opts = append(opts, otlptracehttp.WithEndpointURL(full))
		}
		exporter, err := otlptracehttp.New(ctx, opts...)
		if err != nil {
			return nil, fmt.Errorf("set up traces: %w", err)
		}
		out = sdk.WithBatcher(exporter)
	}
	host, _ := os.Hostname() // empty is said as it is
	what, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "kiungo"), attribute.String("service.version", o.Version),
		attribute.String("service.instance.id", host)), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("set up traces: %w", err)
	}
	sampler := sdk.TraceIDRatioBased(o.Ratio)
	p := sdk.NewTracerProvider(out, sdk.WithResource(what), sdk.WithIDGenerator(ids{}), sdk.WithSampler(sdk.ParentBased(sampler)))
	return &Tracer{provider: p, tracer: p.Tracer("github.com/kiungo-health/kiungo"), sampler: sampler, salt: o.Salt}, nil
}

func endpoint(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("the address for traces must look like http://127.0.0.1:4318")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// Close sends what is left.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Watch gives what an engine is to tell.
func (t *Tracer) Watch() engine.Watch {
	return engine.Watch{Taken: t.taken, Running: t.running, Ran: t.ran, Ended: t.ended, Sending: t.sending, Sent: t.sent}
}

// message gives the place of a message's span in its trace.
func (t *Tracer) message(id int64) api.SpanContextConfig {
	h := sha256.New()
	h.Write(t.salt)
	_ = binary.Write(h, binary.BigEndian, id) // a hash takes everything
	sum := h.Sum(nil)
	return api.SpanContextConfig{TraceID: api.TraceID(sum[:16]), SpanID: api.SpanID(sum[16:24])}
}

func (t *Tracer) taken(ctx context.Context, m intake.Taken) {
	now := time.Now()
	for _, a := range m.Accepted {
		if a.Duplicate {
			continue // the first of them has its span
		}
		c := context.WithValue(ctx, wanted{}, t.message(a.Message))
		_, span := t.tracer.Start(c, "message from "+m.System, api.WithNewRoot(), api.WithSpanKind(api.SpanKindConsumer), api.WithTimestamp(m.Began), api.WithAttributes(
			attribute.Int64("kiungo.message", a.Message), attribute.String("kiungo.system", m.System), attribute.Int("kiungo.deliveries", len(a.Deliveries))))
		span.End(api.WithTimestamp(now))
	}
}

func (t *Tracer) running(ctx context.Context, w *ledger.Work) context.Context {
	place := t.message(w.Delivery.Message)
	if t.sampler.ShouldSample(sdk.SamplingParameters{TraceID: place.TraceID}).Decision == sdk.RecordAndSample {
		place.TraceFlags = api.FlagsSampled
	}
	place.Remote = true
	ctx, _ = t.tracer.Start(api.ContextWithSpanContext(ctx, api.NewSpanContext(place)), "delivery of "+w.Delivery.Flow, api.WithAttributes(
		attribute.Int64("kiungo.message", w.Delivery.Message), attribute.Int64("kiungo.delivery", w.Delivery.ID),
		attribute.String("kiungo.flow", w.Delivery.Flow), attribute.Int("kiungo.attempt", w.Delivery.Attempts)))
	return ctx
}

func (t *Tracer) ended(ctx context.Context, _ *ledger.Work, e *ledger.End, _ time.Time) {
	span := api.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("kiungo.state", string(e.State)), attribute.String("kiungo.code", e.Code), attribute.Int("kiungo.calls", e.Calls))
	if e.BlockedOn != ledger.BlockNone {
		span.SetAttributes(attribute.String("kiungo.blocked_on", string(e.BlockedOn)))
	}
	if e.State == ledger.Held || e.State == ledger.HalfUndone {
		span.SetStatus(codes.Error, string(e.State))
	}
}

func (t *Tracer) ran(ctx context.Context, _ *ledger.Work, err error) {
	span := api.SpanFromContext(ctx)
	if err != nil {
		span.SetStatus(codes.Error, "the ledger did not take the outcome")
	}
	span.End()
}

func (t *Tracer) sending(ctx context.Context, p *system.Port, r *call.Request) context.Context {
	ctx, span := t.tracer.Start(ctx, r.Method+" "+p.Name(), api.WithSpanKind(api.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("kiungo.system", p.Name()),
			attribute.String("kiungo.connector", p.Connector), attribute.String("url.template", Route(r.Path)), attribute.Bool("kiungo.changes", r.Changes()))
	}
	if p.Limits.Traceparent {
		header := make(map[string]string, len(r.Header)+1)
		maps.Copy(header, r.Header)
		propagation.TraceContext{}.Inject(ctx, propagation.MapCarrier(header))
		delete(header, "tracestate") // nothing of ours is in it
		r.Header = header
	}
	return ctx
}

func (t *Tracer) sent(ctx context.Context, s system.Sent) {
	span := api.SpanFromContext(ctx)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("kiungo.class", string(s.Verdict.Class)), attribute.Bool("kiungo.probe", s.Probe))
		if s.Status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", s.Status))
		}
		if s.Verdict.Class != call.Done && s.Verdict.Class != call.Queued {
			span.SetStatus(codes.Error, string(s.Verdict.Class))
		}
	}
	span.End()
}

// wanted is the key of ids that a span is to have.
type wanted struct{}

// ids gives a message's span its own ids, and every other random ones.
type ids struct{}

// NewIDs is sdk.IDGenerator's.
func (ids) NewIDs(ctx context.Context) (api.TraceID, api.SpanID) {
	if c, ok := ctx.Value(wanted{}).(api.SpanContextConfig); ok {
		return c.TraceID, c.SpanID
	}
	var id api.TraceID
	_, _ = rand.Read(id[:]) // never fails
	return id, ids{}.NewSpanID(ctx, id)
}

// NewSpanID is sdk.IDGenerator's.
func (ids) NewSpanID(context.Context, api.TraceID) api.SpanID {
	var id api.SpanID
	_, _ = rand.Read(id[:]) // never fails
	return id
}
