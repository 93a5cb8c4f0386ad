package authpi_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// leapAt moves the client's clock, and nobody else's, when a request to an endpoint
// has been processed and its answer is on its way.
func leapAt(e *rtEnv, endpoint string, by time.Duration) {
	e.wire.set(func(r *http.Request) (*http.Response, error) {
		if endpointOf(r) != endpoint {
			return nil, nil
		}
		resp, err := e.wire.base.RoundTrip(r)
		e.ahead.Add(int64(by))
		e.wire.set(nil)
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
		call     func(e *rtEnv, tokens authpi.TokenSet) error
		forward  string // the code after a leap forward; empty: no error
		backward string
	}{
		{"ExchangeCallback", "token", func(e *rtEnv, _ authpi.TokenSet) error {
			callback, auth := e.login()
			_, err := e.client.ExchangeCallback(context.Background(), callback, auth)
			return err
		}, "invalid_token", "invalid_token"},
		{"VerifyAccessToken", "jwks", func(e *rtEnv, _ authpi.TokenSet) error {
			_, err := e.client.VerifyAccessToken(context.Background(), e.srv.AccessToken(nil), "")
			return err
		}, "invalid_token", "invalid_token"},
		{"VerifyLogoutToken", "jwks", func(e *rtEnv, _ authpi.TokenSet) error {
			_, err := e.client.VerifyLogoutToken(context.Background(), e.srv.LogoutToken(nil))
			return err
		}, "invalid_token", "invalid_token"},
		{"ClientCredentials", "token", func(e *rtEnv, _ authpi.TokenSet) error {
			_, err := e.client.ClientCredentials(context.Background(), nil)
			return err
		}, "", ""},
		{"UserInfo", "userinfo", func(e *rtEnv, tokens authpi.TokenSet) error {
			_, err := e.client.UserInfo(context.Background(), &authpi.Agent{ID: rtUser, Tokens: tokens})
			return err
		}, "", ""},
	} {
		for _, by := range []time.Duration{leap, -leap} {
			code := tc.forward
			if by < 0 {
				code = tc.backward
			}
			t.Run(tc.name+" "+by.String(), func(t *testing.T) {
				rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
					tokens := e.signIn()
					e.client = e.newClient(nil) // that has fetched nothing yet
					leapAt(e, tc.endpoint, by)
					err := tc.call(e, tokens)
					e.log.error(err)
					if code == "" {
						if err != nil {
							t.Errorf("got %v; want no error", err)
						}
						return
					}
					wantCode(t, err, code)
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
				rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
					store := &rtStore{current: e.expired()}
					e.client = e.newClient(nil)
					start := e.cfg.Now()
					leapAt(e, endpoint, by)
					agent, err := e.create(store.current, store.opts())
					if err != nil {
						t.Fatal(err)
					}
					store.wantCalls(t, 1, 0)
					rtSame(t, "stored", store.current, agent.Tokens)
					if latest := start.Add(rtLife); agent.Tokens.ExpiresAt.After(latest) {
						t.Errorf("expires at %s; want %s at the latest", agent.Tokens.ExpiresAt, latest)
					}
					e.ahead.Store(0)
					e.wantAlive(e.mustCreate(store.current, store.opts()).Tokens)
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
			rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
				store := &rtStore{current: e.signIn()}
				access := e.srv.AccessToken(nil)
				if _, err := e.client.VerifyAccessToken(t.Context(), access, ""); err != nil {
					t.Fatal(err)
				}
				e.ahead.Store(int64(by))
				_, err := e.client.VerifyAccessToken(t.Context(), access, "") // although it is remembered
				wantCode(t, err, "invalid_token", map[bool]string{true: "exp", false: "iat"}[by > 0])
				if by < 0 {
					e.mustCreate(store.current, store.opts())
					e.wantSpent(0)
				}
				e.ahead.Store(0)
				if _, err := e.client.VerifyAccessToken(t.Context(), access, ""); err != nil {
					t.Errorf("with the clock set right: %v", err)
				}
				time.Sleep(rtLife)
				agent := e.mustCreate(store.current, store.opts())
				e.wantAlive(agent.Tokens)
				e.wantSpent(1)
			})
		})
	}
}
