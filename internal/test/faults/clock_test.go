package faults_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// leapAt moves the client's clock, and nobody else's, when a request to an endpoint
// has been processed and its answer is on its way.
func leapAt(e *testkit.Env, endpoint string, by time.Duration) {
	e.Wire.Set(func(r *http.Request) (*http.Response, error) {
		if endpointOf(r) != endpoint {
			return nil, nil
		}
		resp, err := e.Wire.Base.RoundTrip(r)
		e.Ahead.Add(int64(by))
		e.Wire.Set(nil)
		return resp, err
	})
}

// A machine sleeps, or its clock is set, while an answer is on its way. What cannot
// be had again is kept; what can is refused as the clock then says.
func TestClockLeapsDuringACall(t *testing.T) {
	const leap = time.Hour // twice the life of a token
	for _, tc := range []struct {
		name     string
		endpoint string
		call     func(e *testkit.Env, tokens authpi.TokenSet) error
		forward  string // the code after a leap forward; empty: no error
		backward string
	}{
		{"ExchangeCallback", "token", func(e *testkit.Env, _ authpi.TokenSet) error {
			callback, auth := e.Login()
			_, err := e.Client.ExchangeCallback(context.Background(), callback, auth)
			return err
		}, "invalid_token", "invalid_token"},
		{"VerifyAccessToken", "jwks", func(e *testkit.Env, _ authpi.TokenSet) error {
			_, err := e.Client.VerifyAccessToken(context.Background(), e.Issuer.AccessToken(nil), "")
			return err
		}, "invalid_token", "invalid_token"},
		{"VerifyLogoutToken", "jwks", func(e *testkit.Env, _ authpi.TokenSet) error {
			_, err := e.Client.VerifyLogoutToken(context.Background(), e.Issuer.LogoutToken(nil))
			return err
		}, "invalid_token", "invalid_token"},
		{"ClientCredentials", "token", func(e *testkit.Env, _ authpi.TokenSet) error {
			_, err := e.Client.ClientCredentials(context.Background(), nil)
			return err
		}, "", ""},
		{"UserInfo", "userinfo", func(e *testkit.Env, tokens authpi.TokenSet) error {
			_, err := e.Client.UserInfo(context.Background(), &authpi.Agent{ID: testkit.Subject, Tokens: tokens})
			return err
		}, "", ""},
	} {
		for _, by := range []time.Duration{leap, -leap} {
			code := tc.forward
			if by < 0 {
				code = tc.backward
			}
			t.Run(tc.name+" "+by.String(), func(t *testing.T) {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					tokens := e.SignIn()
					e.Client = e.NewClient(nil) // that has fetched nothing yet
					leapAt(e, tc.endpoint, by)
					err := tc.call(e, tokens)
					e.Log.Error(err)
					if code == "" {
						if err != nil {
							t.Errorf("got %v; want no error", err)
						}
						return
					}
					testkit.WantCode(t, err, code)
				})
			})
		}
	}
}

// The tokens of a refresh are a session's only ones: a leap does not cost them, nor
// does it lend them a longer life than the issuer gave.
func TestClockLeapsDuringARefresh(t *testing.T) {
	for _, endpoint := range []string{"token", "discovery", "jwks"} {
		for _, by := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
			t.Run(endpoint+" "+by.String(), func(t *testing.T) {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					store := &testkit.Store{Current: e.Expired()}
					e.Client = e.NewClient(nil)
					start := e.Config.Now()
					leapAt(e, endpoint, by)
					agent, err := e.Create(store.Current, store.Opts())
					if err != nil {
						t.Fatal(err)
					}
					store.WantCalls(t, 1, 0)
					testkit.WantSame(t, "stored", store.Current, agent.Tokens)
					if latest := start.Add(testkit.TokenLife); agent.Tokens.ExpiresAt.After(latest) {
						t.Errorf("expires at %s; want %s at the latest", agent.Tokens.ExpiresAt, latest)
					}
					e.Ahead.Store(0)
					e.WantAlive(e.MustCreate(store.Current, store.Opts()).Tokens)
				})
			})
		}
	}
}

// Between calls a clock that was set forward makes tokens expire early and one that
// was set back late. Neither costs a session, once it is right again.
func TestClockLeapsBetweenCalls(t *testing.T) {
	for _, by := range []time.Duration{-24 * time.Hour, -time.Hour, time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				store := &testkit.Store{Current: e.SignIn()}
				access := e.Issuer.AccessToken(nil)
				if _, err := e.Client.VerifyAccessToken(t.Context(), access, ""); err != nil {
					t.Fatal(err)
				}
				e.Ahead.Store(int64(by))
				_, err := e.Client.VerifyAccessToken(t.Context(), access, "") // although it is remembered
				testkit.WantCode(t, err, "invalid_token", map[bool]string{true: "exp", false: "iat"}[by > 0])
				if by < 0 {
					e.MustCreate(store.Current, store.Opts())
					e.WantSpent(0)
				}
				e.Ahead.Store(0)
				if _, err := e.Client.VerifyAccessToken(t.Context(), access, ""); err != nil {
					t.Errorf("with the clock set right: %v", err)
				}
				time.Sleep(testkit.TokenLife)
				agent := e.MustCreate(store.Current, store.Opts())
				e.WantAlive(agent.Tokens)
				e.WantSpent(1)
			})
		})
	}
}
