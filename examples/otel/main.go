// Command otel shows what authpi does as OpenTelemetry spans and metrics, on standard
// output: a sign-in, a refresh that two requests share, tokens that hold and that do
// not, and a machine's token.
//
//	go run ./examples/otel
//
// It needs nothing: the issuer lives as long as the program. The file to copy is
// telemetry/telemetry.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/otel/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "otel:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, logs io.Writer) (err error) {
	spans, err := stdouttrace.New(stdouttrace.WithWriter(out))
	if err != nil {
		return err
	}
	numbers, err := stdoutmetric.New(stdoutmetric.WithWriter(out))
	if err != nil {
		return err
	}
	tracers := trace.NewTracerProvider(trace.WithBatcher(spans))
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(numbers)))
	defer func() { // prints what is left
		last := context.WithoutCancel(ctx)
		err = errors.Join(err, tracers.Shutdown(last), meters.Shutdown(last))
	}()

	issuer := authpitest.NewServer(&authpitest.Options{ClientSecret: "only for this run"})
	defer issuer.Close()
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	handler, err := telemetry.NewHandler(slog.NewTextHandler(logs, nil), tracers, meters)
	if err != nil {
		return err
	}
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: issuer.ClientID(), ClientSecret: issuer.ClientSecret(),
		RedirectURI: "http://127.0.0.1/callback",
		HTTPClient:  telemetry.HTTPClient(nil, tracers, meters),
		Logger:      slog.New(handler),
		Now:         issuer.Now,
	})
	if err != nil {
		return err
	}
	ctx, span := tracers.Tracer("examples/otel").Start(ctx, "a tour")
	defer span.End()
	return tour(ctx, client, issuer)
}

func tour(ctx context.Context, client *authpi.IdpClient, issuer *authpitest.Server) error {
	agent, err := signIn(ctx, client, issuer)
	if err != nil {
		return err
	}
	issuer.Advance(time.Hour) // the access token expires
	var wg sync.WaitGroup
	for range 2 { // two requests of the same session
		wg.Go(func() {
			if _, err := client.CreateAgent(ctx, agent.Tokens, nil); err != nil {
				fmt.Fprintln(os.Stderr, "otel:", err)
			}
		})
	}
	wg.Wait()
	if _, err := client.VerifyAccessToken(ctx, issuer.AccessToken(nil), ""); err != nil {
		return err
	}
	if _, err := client.VerifyAccessToken(ctx, issuer.AccessToken(map[string]any{"aud": "another"}), ""); err == nil {
		return errors.New("a token for another API was taken")
	}
	_, err = client.ClientCredentialsSource([]string{"jobs:run"}).Token()
	return err
}

func signIn(ctx context.Context, client *authpi.IdpClient, issuer *authpitest.Server) (*authpi.Agent, error) {
	auth, err := client.CreateAuthorizationURL([]string{"openid", "offline_access"}, nil)
	if err != nil {
		return nil, err
	}
	raw, err := issuer.SignIn(auth.URL, "usr_ada") // as a browser would
	if err != nil {
		return nil, err
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		return nil, err
	}
	return client.ExchangeCallback(ctx, callback, *auth)
}
