package secrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Every event of a refresh is one record with the same key for the same session.
func TestRefreshEvents(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Fault(authpitest.Fault{DelayAnswer: time.Second})
		var wg sync.WaitGroup
		wg.Go(func() { e.MustCreate(tokens, nil) })
		synctest.Wait()
		wg.Go(func() { e.MustCreate(tokens, nil) })
		wg.Wait()
		newer := e.MustCreate(tokens, nil)

		store := &testkit.Store{Current: newer.Tokens}
		if _, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, store.Reloading()); err != nil {
			t.Fatal(err)
		}
		shared := testkit.NewCoordinator()
		clients := testkit.Processes(e, shared, 2)
		other := e.Expired()
		for _, c := range clients {
			if _, err := e.CreateBy(t.Context(), c, other, nil); err != nil {
				t.Fatal(err)
			}
		}
		away := e.NewClient(func(cfg *authpi.Config) {
			cfg.Coordinator = testkit.CoordinatorFunc(func(_ context.Context, _ string, _ func(context.Context) ([]byte, error)) ([]byte, error) {
				return nil, errors.New("redis away")
			})
		})
		if _, err := e.CreateBy(t.Context(), away, other, nil); err == nil {
			t.Error("want an error without the coordinator")
		}

		for _, line := range e.Log.With(`"msg":"`) {
			if !strings.Contains(line, `"msg":"authpi: `) {
				t.Errorf("got %s; want a record that says whose it is", line)
			}
		}
		keys := map[string]string{}
		for _, want := range []struct{ level, message string }{
			{"INFO", "authpi: refresh token spent"},
			{"DEBUG", "authpi: refresh joined"},
			{"DEBUG", "authpi: refresh taken from memory"},
			{"DEBUG", "authpi: refresh found in the session store"},
			{"DEBUG", "authpi: refresh done by another process"},
			{"WARN", "authpi: refresh coordinator failed"},
		} {
			lines := e.Log.With(`"level":"` + want.level + `","msg":"` + want.message + `"`)
			if len(lines) == 0 {
				t.Errorf("no record %s %q", want.level, want.message)
				continue
			}
			var record struct{ Key string }
			if err := json.Unmarshal([]byte(lines[0]), &record); err != nil || len(record.Key) != 12 {
				t.Errorf("%q: key %q; want 12 digits of the id", want.message, record.Key)
			}
			keys[want.message] = record.Key
		}
		if keys["authpi: refresh token spent"] != keys["authpi: refresh joined"] || keys["authpi: refresh joined"] != keys["authpi: refresh taken from memory"] {
			t.Errorf("keys of one session differ: %v", keys)
		}
	})
}

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
