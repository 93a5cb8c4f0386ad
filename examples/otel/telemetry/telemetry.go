// Package telemetry makes OpenTelemetry spans and metrics of what authpi logs. Copy this
// file into your program; docs/observability.md has the records, and what to alert on.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/authpi/authpi-idp-go"

// Handler is a slog.Handler for authpi.Config.Logger: it makes a span and a
// measurement of each operation, and passes on what the next handler's level allows.
type Handler struct {
	slog.Handler // the next one
	tracer       trace.Tracer
	duration     metric.Float64Histogram
	waited       metric.Float64Histogram
	age          metric.Float64Gauge
	warnings     metric.Int64Counter
}

// NewHandler returns a Handler in front of next.
func NewHandler(next slog.Handler, tracers trace.TracerProvider, meters metric.MeterProvider) (*Handler, error) {
	meter := meters.Meter(scope)
	buckets := metric.WithExplicitBucketBoundaries(.0001, .001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)
	h := &Handler{Handler: next, tracer: tracers.Tracer(scope)}
	var errs [4]error
	h.duration, errs[0] = meter.Float64Histogram("authpi.operation.duration", metric.WithUnit("s"), buckets,
		metric.WithDescription("What authpi did, and how it ended."))
	h.waited, errs[1] = meter.Float64Histogram("authpi.coordinator.wait", metric.WithUnit("s"), buckets,
		metric.WithDescription("How long a refresh waited for its coordinator."))
	h.age, errs[2] = meter.Float64Gauge("authpi.stale.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the issuer's keys or discovery document where no newer ones can be had; 0: they can."))
	h.warnings, errs[3] = meter.Int64Counter("authpi.warnings", metric.WithDescription("Warnings within operations that went on."))
	return h, errors.Join(errs[:]...)
}

// Enabled wants every record: most operations are logged at Debug.
func (h *Handler) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs returns a Handler whose next one has the attributes.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	own := *h
	own.Handler = h.Handler.WithAttrs(attrs)
	return &own
}

// WithGroup returns a Handler whose next one has the group.
func (h *Handler) WithGroup(name string) slog.Handler {
	own := *h
	own.Handler = h.Handler.WithGroup(name)
	return &own
}

// Handle measures the record, and passes it on.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	fields := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool {
		fields[a.Key] = a.Value.Resolve()
		return true
	})
	switch op, isOp := fields["op"]; {
	case isOp:
		h.measure(ctx, op.String(), fields)
		h.span(ctx, r.Time, op.String(), fields)
	case r.Level >= slog.LevelWarn:
		h.warnings.Add(ctx, 1, metric.WithAttributes(attribute.String("authpi.warning", r.Message)))
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// labels are the fields that have few values, and their names as attributes.
var labels = map[string]string{
	"op": "authpi.op", "outcome": "authpi.outcome", "code": "error.type", "source": "authpi.source", "token": "authpi.token",
	"part": "authpi.part", "shared": "authpi.shared", "held": "authpi.held", "still_good": "authpi.still_good",
}

func (h *Handler) measure(ctx context.Context, op string, fields map[string]slog.Value) {
	var attrs []attribute.KeyValue
	for field, value := range fields {
		if name, ok := labels[field]; ok {
			attrs = append(attrs, attribute.String(name, bounded(value.String())))
		}
	}
	h.duration.Record(ctx, fields["duration"].Duration().Seconds(), metric.WithAttributes(attrs...))
	if waited, ok := fields["waited"]; ok {
		h.waited.Record(ctx, waited.Duration().Seconds(), metric.WithAttributes(attrs...))
	}
	if op != "keys" && op != "discovery" {
		return
	}
	age, stale := fields["age"]
	if of := metric.WithAttributes(attribute.String("authpi.op", op)); stale {
		h.age.Record(ctx, age.Duration().Seconds(), of)
	} else if fields["outcome"].String() == "ok" {
		h.age.Record(ctx, 0, of)
	}
}

var plain = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,40}$`)

// bounded keeps invented error codes from becoming time series.
func bounded(value string) string {
	if !plain.MatchString(value) {
		return "other"
	}
	return value
}

// span makes the span that has just ended. A verification has one within a trace only.
func (h *Handler) span(ctx context.Context, end time.Time, op string, fields map[string]slog.Value) {
	if op == "verify" && !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	_, span := h.tracer.Start(ctx, "authpi "+op, trace.WithTimestamp(end.Add(-fields["duration"].Duration())))
	defer span.End(trace.WithTimestamp(end))
	if outcome := fields["outcome"].String(); outcome == "failed" || outcome == "refused" {
		span.SetStatus(codes.Error, fields["error"].String())
	}
	for field, value := range fields {
		name, ok := labels[field]
		if !ok {
			name = "authpi." + field
		}
		if field != "duration" && field != "error" {
			span.SetAttributes(attribute.String(name, value.String()))
		}
	}
}

// HTTPClient is for authpi.Config.HTTPClient: each request to the issuer has a span
// and the metrics of an HTTP client. The issuer does not see the trace.
func HTTPClient(base http.RoundTripper, tracers trace.TracerProvider, meters metric.MeterProvider) *http.Client {
	if base == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = 32 // all requests go to one host
		base = own
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: otelhttp.NewTransport(base,
		otelhttp.WithTracerProvider(tracers), otelhttp.WithMeterProvider(meters),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator()))}
}
