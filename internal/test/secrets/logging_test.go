package secrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// An issuer that echoes what it was sent, in whatever way, does not get it printed.
func TestEchoedSecretsAreMasked(t *testing.T) {
	for _, tc := range []struct {
		name string
		echo func(r *http.Request, form string) (*http.Response, error)
	}{
		{"error_description", func(r *http.Request, form string) (*http.Response, error) {
			body, _ := json.Marshal(map[string]string{"error": "invalid_request", "error_description": "bad " + form, "error_uri": "https://x/?" + form})
			return testkit.Reply(r, http.StatusBadRequest, nil, string(body)), nil
		}},
		{"error code", func(r *http.Request, form string) (*http.Response, error) {
			body, _ := json.Marshal(map[string]string{"error": form})
			return testkit.Reply(r, http.StatusBadRequest, nil, string(body)), nil
		}},
		{"a page", func(r *http.Request, form string) (*http.Response, error) {
			return testkit.Reply(r, http.StatusBadGateway, nil, "<html>"+form), nil
		}},
		{"transport error", func(_ *http.Request, form string) (*http.Response, error) {
			return nil, errors.New("cannot send " + form)
		}},
		{"panic", func(_ *http.Request, form string) (*http.Response, error) { panic(form) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, opaque := range []bool{false, true} {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					tokens := e.InBuffer(30 * time.Second)
					if opaque {
						tokens.RefreshToken = "opaque/refresh+token=1234"
						e.Log.Secret(tokens.RefreshToken)
					}
					e.Wire.Set(func(r *http.Request) (*http.Response, error) {
						if !strings.HasSuffix(r.URL.Path, "/token") {
							return nil, nil
						}
						form := testkit.Form(r)
						return tc.echo(r, form.Encode()+" "+form.Get("refresh_token")+" "+form.Get("client_secret"))
					})
					_, _ = e.Create(tokens, nil)
					time.Sleep(time.Minute)
					if _, err := e.Create(tokens, nil); err == nil {
						t.Error("want an error")
					}
					time.Sleep(31 * time.Second) // net/http's timer goroutine of the panicking round tripper
				})
			}
		})
	}
}

// A coordinator's error may name anything that it was given.
func TestCoordinatorErrorsShowNoToken(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Client = e.NewClient(func(cfg *authpi.Config) {
			cfg.Coordinator = testkit.CoordinatorFunc(func(_ context.Context, id string, _ func(context.Context) ([]byte, error)) ([]byte, error) {
				return nil, errors.New("SET " + id + " for " + tokens.RefreshToken)
			})
		})
		_, err := e.Create(tokens, nil)
		testkit.WantError(t, err, "transport_error", false)
	})
}

// panickingHandler is a log handler with a fault.
type panickingHandler struct{ slog.Handler }

func (panickingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (panickingHandler) Handle(context.Context, slog.Record) error { panic("no log") }

// A log handler that panics costs neither the tokens that have just come, nor, where
// a goroutine of the package logs, the whole program.
func TestPanickingLogHandlerCostsNothing(t *testing.T) {
	for name, fault := range map[string]authpitest.Fault{
		"tokens":                        {},
		"tokens whose ID token is none": {Malform: testkit.ReplaceIDToken(func(string) string { return "opaque" })},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(fault)
				c := e.NewClient(func(cfg *authpi.Config) { cfg.Logger = slog.New(panickingHandler{slog.DiscardHandler}) })
				agent, err := e.CreateBy(t.Context(), c, tokens, nil)
				if err != nil {
					t.Fatalf("CreateAgent: %v", err)
				}
				e.WantAlive(agent.Tokens)
				e.WantSpent(1)
			})
		})
	}
}
