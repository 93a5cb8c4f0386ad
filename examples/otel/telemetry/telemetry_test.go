package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/otel/telemetry"
)

// world is a client that is watched, and its issuer.
type world struct {
	*testing.T
	issuer *authpitest.Server
	cfg    authpi.Config
	client *authpi.IdpClient
	spans  *tracetest.InMemoryExporter
	tracer *trace.TracerProvider
	reader *metric.ManualReader
	logs   bytes.Buffer
}

// in runs test in virtual time.
func in(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
		w.tracer = trace.NewTracerProvider(trace.WithSyncer(w.spans))
		meters := metric.NewMeterProvider(metric.WithReader(w.reader))
		w.issuer = authpitest.NewInMemory(&authpitest.Options{ClientSecret: "a-secret-of-many-letters"})
		w.issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
		handler, err := telemetry.NewHandler(slog.NewTextHandler(&w.logs, nil), w.tracer, meters)
		if err != nil {
			t.Fatal(err)
		}
		w.cfg = authpi.Config{
			IssuerURL: w.issuer.URL, ClientID: w.issuer.ClientID(), ClientSecret: w.issuer.ClientSecret(),
			RedirectURI: "https://app.example/callback", Logger: slog.New(handler),
			HTTPClient: telemetry.HTTPClient(w.issuer.Client().Transport, w.tracer, meters),
		}
		w.client = w.newClient(nil)
		test(w)
	})
}

func (w *world) newClient(edit func(*authpi.Config)) *authpi.IdpClient {
	w.Helper()
	cfg := w.cfg
	if edit != nil {
		edit(&cfg)
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		w.Fatal(err)
	}
	return client
}

// expired are the tokens of a session whose access token is good for left.
func (w *world) expiring(left time.Duration) authpi.TokenSet {
	w.Helper()
	auth, err := w.client.CreateAuthorizationURL([]string{"openid", "offline_access"}, nil)
	if err != nil {
		w.Fatal(err)
	}
	raw, err := w.issuer.SignIn(auth.URL, "usr_ada")
	if err != nil {
		w.Fatal(err)
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		w.Fatal(err)
	}
	agent, err := w.client.ExchangeCallback(w.Context(), callback, *auth)
	if err != nil {
		w.Fatal(err)
	}
	time.Sleep(30*time.Minute - left)
	return agent.Tokens
}

// named are the spans with a name.
func (w *world) named(name string) (found []tracetest.SpanStub) {
	for _, span := range w.spans.GetSpans() {
		if span.Name == name {
			found = append(found, span)
		}
	}
	return found
}

// attributes are a span's or a measurement's, as text.
func attributes(list []attribute.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range list {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// measured are the metrics so far, by name.
func (w *world) measured() map[string]metricdata.Aggregation {
	w.Helper()
	var all metricdata.ResourceMetrics
	if err := w.reader.Collect(w.Context(), &all); err != nil {
		w.Fatal(err)
	}
	found := map[string]metricdata.Aggregation{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			found[m.Name] = m.Data
		}
	}
	return found
}

// durations returns how often an operation was measured, and its longest time in
// seconds, where the attributes are these.
func (w *world) durations(name string, want map[string]string) (n uint64, longest float64) {
	w.Helper()
	data, _ := w.measured()[name].(metricdata.Histogram[float64])
	for _, point := range data.DataPoints {
		got := attributes(point.Attributes.ToSlice())
		fits := true
		for key, value := range want {
			fits = fits && got[key] == value
		}
		if fits {
			n += point.Count
			value, _ := point.Max.Value()
			longest = max(longest, value)
		}
	}
	return n, longest
}

func (w *world) wantDurations(name string, n uint64, longest float64, want map[string]string) {
	w.Helper()
	if got, took := w.durations(name, want); got != n || took != longest {
		w.Errorf("%s %v: got %d, the longest %v s; want %d, %v s", name, want, got, took, n, longest)
	}
}

// Two requests of a session share a refresh: the spans lie in each request's trace, as
// long as each has waited, and the metrics count both.
func TestSharedRefresh(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.expiring(0)
		w.spans.Reset()
		w.issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 3 * time.Second})
		traces := map[string]bool{}
		var wg sync.WaitGroup
		for range 2 {
			ctx, request := w.tracer.Tracer("app").Start(w.Context(), "GET /")
			traces[request.SpanContext().TraceID().String()] = true
			wg.Go(func() {
				defer request.End()
				if _, err := w.client.CreateAgent(ctx, tokens, nil); err != nil {
					w.Error(err)
				}
			})
			synctest.Wait()
			time.Sleep(time.Second)
		}
		wg.Wait()

		took := map[time.Duration]bool{}
		for _, span := range w.named("authpi refresh") {
			took[span.EndTime.Sub(span.StartTime)] = true
			if !traces[span.SpanContext.TraceID().String()] || span.Status.Code != codes.Unset {
				w.Errorf("got a span of another trace, or a failure: %+v", span)
			}
			delete(traces, span.SpanContext.TraceID().String())
		}
		if len(took) != 2 || !took[3*time.Second] || !took[2*time.Second] || len(traces) != 0 {
			w.Errorf("got refreshes of %v; want 3 s and 2 s, one in each trace", took)
		}
		spent, sent := w.named("authpi spend"), w.named("HTTP POST")
		if len(spent) != 1 || len(sent) != 1 || spent[0].Parent.SpanID() != sent[0].Parent.SpanID() {
			w.Errorf("got %d spends and %d requests; want one of each, side by side", len(spent), len(sent))
		}
		if key := attributes(spent[0].Attributes)["authpi.key"]; len(key) != 12 {
			w.Errorf("got the key %q; want 12 characters", key)
		}
		w.wantDurations("authpi.operation.duration", 1, 3, map[string]string{"authpi.op": "spend", "authpi.outcome": "ok"})
		w.wantDurations("authpi.operation.duration", 1, 2, map[string]string{"authpi.op": "refresh", "authpi.shared": "true"})
		w.wantDurations("authpi.operation.duration", 1, 3, map[string]string{"authpi.op": "refresh", "authpi.source": "issuer", "authpi.shared": "false"})
		w.wantDurations("http.client.request.duration", 2, 3, map[string]string{"http.request.method": "POST"}) // the login's, too
	})
}

// What fails is an error in the trace, and has its code in the metrics.
func TestFailures(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.expiring(30 * time.Second)
		w.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503})
		if _, err := w.client.CreateAgent(w.Context(), tokens, nil); err != nil {
			w.Error(err)
		}
		time.Sleep(time.Minute)
		w.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 400, Body: `{"error":"invalid_grant"}`})
		if _, err := w.client.CreateAgent(w.Context(), tokens, nil); err == nil {
			w.Error("want an error")
		}
		made := strings.Repeat("x ", 100)
		w.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 400, Body: `{"error":"` + made + `"}`})
		if _, err := w.client.ClientCredentials(w.Context(), nil); err == nil {
			w.Error("want an error")
		}
		const operations = "authpi.operation.duration"
		w.wantDurations(operations, 1, 0, map[string]string{"authpi.op": "refresh", "authpi.still_good": "true", "authpi.outcome": "failed"})
		w.wantDurations(operations, 1, 0, map[string]string{"authpi.op": "spend", "error.type": "invalid_grant", "authpi.outcome": "refused"})
		w.wantDurations(operations, 1, 0, map[string]string{"authpi.op": "machine_token", "error.type": "other"})
		for _, span := range append(w.named("authpi spend"), w.named("authpi machine_token")...) {
			if span.Status.Code != codes.Error || !strings.Contains(span.Status.Description, "authpi: ") {
				w.Errorf("got the status %+v; want the error", span.Status)
			}
		}
	})
}

type coordinator func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error)

func (do coordinator) Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	return do(ctx, id, spend)
}

func TestCoordinator(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.expiring(0)
		slow := w.newClient(func(cfg *authpi.Config) {
			cfg.Coordinator = coordinator(func(ctx context.Context, _ string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
				time.Sleep(4 * time.Second)
				return spend(ctx)
			})
		})
		if _, err := slow.CreateAgent(w.Context(), tokens, nil); err != nil {
			w.Error(err)
		}
		w.wantDurations("authpi.coordinator.wait", 1, 4, map[string]string{"authpi.source": "issuer", "authpi.outcome": "ok"})
		down := w.newClient(func(cfg *authpi.Config) {
			cfg.Coordinator = coordinator(func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error) {
				return nil, errors.New("redis is down")
			})
		})
		if _, err := down.CreateAgent(w.Context(), tokens, nil); err == nil {
			w.Error("want an error")
		}
		w.wantDurations("authpi.operation.duration", 1, 0, map[string]string{"authpi.op": "coordinate", "authpi.outcome": "failed"})
	})
}

// The age of keys that serve while no newer ones can be had is measured, and is zero
// once they can.
func TestStaleKeysAndWarnings(t *testing.T) {
	in(t, func(w *world) {
		age := func() float64 {
			w.Helper()
			data, _ := w.measured()["authpi.stale.age"].(metricdata.Gauge[float64])
			for _, point := range data.DataPoints {
				if attributes(point.Attributes.ToSlice())["authpi.op"] == "keys" {
					return point.Value
				}
			}
			return -1
		}
		verify := func() {
			w.Helper()
			if _, err := w.client.VerifyAccessToken(w.Context(), w.issuer.AccessToken(nil), ""); err != nil {
				w.Error(err)
			}
			synctest.Wait()
		}
		verify()
		if got := age(); got != 0 {
			w.Errorf("fresh keys: got %v; want 0", got)
		}
		time.Sleep(2 * time.Hour)
		w.issuer.Inject(authpitest.Fault{Endpoint: "jwks", Status: 503})
		verify()
		if got := age(); got != 7200 {
			w.Errorf("keys of two hours ago: got %v; want 7200", got)
		}
		time.Sleep(time.Minute)
		verify()
		if got := age(); got != 0 {
			w.Errorf("fresh keys again: got %v; want 0", got)
		}

		tokens := w.expiring(0)
		w.issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: func(body []byte) []byte {
			return bytes.Replace(body, []byte(`"token_type":"Bearer"`), []byte(`"token_type":7`), 1)
		}})
		if _, err := w.client.CreateAgent(w.Context(), tokens, nil); err != nil {
			w.Error(err)
		}
		data, _ := w.measured()["authpi.warnings"].(metricdata.Sum[int64])
		if len(data.DataPoints) != 1 || data.DataPoints[0].Value != 1 {
			w.Errorf("warnings: got %+v; want one", data)
		}
	})
}

// A verification is measured always, and has a span within a trace.
func TestVerifications(t *testing.T) {
	in(t, func(w *world) {
		for _, claims := range []map[string]any{nil, {"aud": "another"}, {"exp": 1}} {
			_, _ = w.client.VerifyAccessToken(w.Context(), w.issuer.AccessToken(claims), "")
		}
		if got := w.named("authpi verify"); len(got) != 0 {
			w.Errorf("got %d spans without a trace; want none", len(got))
		}
		ctx, request := w.tracer.Tracer("app").Start(w.Context(), "GET /")
		_, _ = w.client.VerifyAccessToken(ctx, w.issuer.AccessToken(nil), "")
		request.End()
		if got := w.named("authpi verify"); len(got) != 1 || got[0].Parent.SpanID() != request.SpanContext().SpanID() {
			w.Errorf("got %d spans; want one of the request", len(got))
		}
		for part, n := range map[string]uint64{"aud": 1, "exp": 1} {
			got, _ := w.durations("authpi.operation.duration", map[string]string{"authpi.op": "verify", "authpi.token": "access", "authpi.part": part})
			if got != n {
				w.Errorf("refused for %s: got %d; want %d", part, got, n)
			}
		}
	})
}

// The next handler is given what its level allows, with the attributes of the logger.
func TestNextHandler(t *testing.T) {
	in(t, func(w *world) {
		client := w.newClient(func(cfg *authpi.Config) { cfg.Logger = cfg.Logger.With("app", "shop").WithGroup("authpi") })
		tokens := w.expiring(0)
		if _, err := client.CreateAgent(w.Context(), tokens, nil); err != nil {
			w.Error(err)
		}
		logs := w.logs.String()
		if !strings.Contains(logs, "app=shop authpi.op=spend") || strings.Contains(logs, "level=DEBUG") {
			w.Errorf("got %s; want the spend, with its attributes, and nothing at Debug", logs)
		}
		w.wantDurations("authpi.operation.duration", 1, 0, map[string]string{"authpi.op": "refresh"})
	})
}

// No span and no metric shows a token or the secret.
func TestTelemetryShowsNoSecret(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.expiring(0)
		w.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 400, Body: `{"error":"invalid_grant","error_description":"` + tokens.RefreshToken + `"}`})
		_, _ = w.client.CreateAgent(w.Context(), tokens, nil)
		raw := w.issuer.AccessToken(map[string]any{"aud": "another"})
		_, _ = w.client.VerifyAccessToken(w.Context(), raw, "")
		all := fmt.Sprintf("%+v %+v %s", w.spans.GetSpans(), w.measured(), w.logs.String())
		for _, secret := range []string{tokens.AccessToken, tokens.RefreshToken, tokens.IDToken, w.issuer.ClientSecret(), raw} {
			if strings.Contains(all, secret) {
				w.Errorf("it shows %.12s...", secret)
			}
		}
	})
}

// The issuer is somebody else's: it is not told the trace, whatever the program's own
// propagator is.
func TestIssuerIsNotToldTheTrace(t *testing.T) {
	before := otel.GetTextMapPropagator()
	otel.SetTextMapPropagator(propagation.TraceContext{})
	t.Cleanup(func() { otel.SetTextMapPropagator(before) })
	in(t, func(w *world) {
		ctx, request := w.tracer.Tracer("app").Start(w.Context(), "job")
		defer request.End()
		if _, err := w.client.ClientCredentials(ctx, nil); err != nil {
			w.Error(err)
		}
		if got := w.issuer.LastHeader().Get("Traceparent"); got != "" {
			w.Errorf("got %q; want no header", got)
		}
	})
}

// Without a transport of the caller's it has its own, which follows the defaults.
func TestHTTPClient(t *testing.T) {
	client := telemetry.HTTPClient(nil, trace.NewTracerProvider(), metric.NewMeterProvider())
	if client.Timeout == 0 || client.Transport == nil || client.Transport == http.DefaultTransport {
		t.Errorf("got %+v; want a limit and a transport of its own", client)
	}
}
