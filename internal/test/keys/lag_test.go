package keys_test

import (
	"context"
	"errors"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// The issuer signs with a key that it has not published yet.
var lagging = testkit.SetHeader("kid", "not-published-yet")

// rejected are the ID tokens of such an issuer that are no accident: what they say
// without proof is not even what is expected.
var rejected = map[string]testkit.Change{
	"another issuer":    testkit.SetClaim("iss", "https://idp.authpi.test/i_other"),
	"no issuer":         testkit.DropClaim("iss"),
	"another client":    testkit.SetClaim("aud", "c_other"),
	"no audience":       testkit.DropClaim("aud"),
	"no subject":        testkit.DropClaim("sub"),
	"subject a number":  testkit.SetClaim("sub", 7),
	"an access token":   testkit.SetHeader("typ", "at+jwt"),
	"unsigned":          testkit.SetHeader("alg", "none"),
	"HMAC":              testkit.SetHeader("alg", "HS256"),
	"an algorithm more": testkit.SetHeader("alg", "RS256"),
}

func laggingClient(t *testing.T) (*authpitest.Server, *testkit.Clock, *authpi.IdpClient) {
	clock := testkit.NewClock()
	issuer := testkit.NewIssuer(t, &authpitest.Options{Now: clock.Now})
	return issuer, clock, testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
		cfg.Now, cfg.SigningAlgorithms = clock.Now, []string{"ES256"}
	})
}

// At a refresh the session goes on: the set is stored without the ID token, and the
// identity comes from the user info endpoint. It does so however often the keys lag.
func TestLaggingKeysAtRefresh(t *testing.T) {
	t.Parallel()
	issuer, clock, client := laggingClient(t)
	tokens := testkit.SignIn(t, client, issuer, nil).Tokens
	for n := range 5 { // more than may be fetched at once
		tokens.ExpiresAt = clock.Now()
		issuer.Inject(authpitest.Fault{Grant: "refresh_token", IDToken: lagging})
		stored := authpi.TokenSet{}
		agent, err := client.CreateAgent(t.Context(), tokens, &authpi.AgentOptions{
			OnRefresh: func(_ context.Context, next authpi.TokenSet) error { stored = next; return nil },
		})
		if err != nil {
			t.Fatalf("refresh %d: got %v; want the session to go on", n, err)
		}
		if agent.ID != testkit.Subject || len(agent.Organizations) != 2 || stored != agent.Tokens ||
			stored.IDToken != "" || stored.SubjectHint != testkit.Subject || stored.RefreshToken == tokens.RefreshToken {
			t.Errorf("refresh %d: got %v, stored %v; want Ada, and a new set without ID token", n, agent, stored)
		}
		tokens = stored
	}
}

// A forged one ends the refresh as before.
func TestLaggingKeysAtRefreshRejected(t *testing.T) {
	t.Parallel()
	cases := map[string]testkit.Change{"another subject": testkit.SetClaim("sub", "usr_eve")}
	for name, change := range rejected {
		cases[name] = change
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer, clock, client := laggingClient(t)
			tokens := testkit.SignIn(t, client, issuer, nil).Tokens
			clock.Advance(time.Hour)
			issuer.Inject(authpitest.Fault{Grant: "refresh_token", IDToken: testkit.Both(lagging, change)})
			_, err := client.CreateAgent(t.Context(), tokens, &authpi.AgentOptions{
				OnRefresh: func(context.Context, authpi.TokenSet) error { t.Error("got it stored"); return nil },
			})
			if !errors.Is(err, authpi.ErrInvalidToken) || !authpi.SessionEnded(err) {
				t.Errorf("got %v; want it refused", err)
			}
		})
	}
}

// At a login the error is passing: another login may succeed. It is the same error
// however often, before and after the budget for key fetches is spent.
func TestLaggingKeysAtLogin(t *testing.T) {
	t.Parallel()
	issuer, _, client := laggingClient(t)
	login := func(change testkit.Change) error {
		callback, auth := testkit.StartLogin(t, client, issuer, nil)
		issuer.Inject(authpitest.Fault{Grant: "authorization_code", IDToken: change})
		agent, err := client.ExchangeCallback(t.Context(), callback, auth)
		if (agent == nil) != (err != nil) {
			t.Errorf("got %v, %v; want the one or the other", agent, err)
		}
		return err
	}
	first := ""
	for n := range 5 {
		err := login(lagging)
		testkit.WantCode(t, err, "transport_error", "exchange code", "kid", "again")
		if authpi.SessionEnded(err) {
			t.Errorf("login %d: got a session that has ended; want it passing", n)
		}
		if n == 0 {
			first = err.Error()
		} else if err.Error() != first {
			t.Errorf("login %d: got %q; want what was said at first, %q", n, err, first)
		}
	}
	for name, change := range rejected {
		if err := login(testkit.Both(lagging, change)); !errors.Is(err, authpi.ErrInvalidToken) {
			t.Errorf("%s: got %v; want it refused", name, err)
		}
	}
	if err := login(func(_, _ map[string]any) {}); err != nil {
		t.Errorf("once the key is published: got %v; want Ada signed in", err)
	}
}

// Nobody knows where access and logout tokens come from: they are refused.
func TestUnknownKeyFromElsewhere(t *testing.T) {
	t.Parallel()
	issuer, _, client := laggingClient(t)
	for range 5 {
		access := issuer.Sign(testkit.PayloadOf(t, issuer.AccessToken(nil)), map[string]any{"typ": "at+jwt", "kid": "unknown"})
		_, err := client.VerifyAccessToken(t.Context(), access, "")
		testkit.WantCode(t, err, "invalid_token", "kid")
		logout := issuer.Sign(testkit.PayloadOf(t, issuer.LogoutToken(nil)), map[string]any{"typ": "logout+jwt", "kid": "unknown"})
		_, err = client.VerifyLogoutToken(t.Context(), logout)
		testkit.WantCode(t, err, "invalid_token", "kid")
	}
}
