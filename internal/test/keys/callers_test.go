package keys_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// asking is a call that needs the issuer's keys, or what its discovery document
// says.
type asking struct {
	name string
	call func(ctx context.Context, s scene) error
}

type scene struct {
	t      *testing.T
	issuer *authpitest.Server
	client *authpi.IdpClient
	tokens *authpi.TokenSet // of Ada, the newest
}

// expired is Ada's set as it is when it has to be refreshed.
func (s scene) expired() authpi.TokenSet {
	set := *s.tokens
	set.ExpiresAt = time.Now().Add(-time.Second)
	return set
}

func askings() []asking {
	return []asking{
		{"VerifyAccessToken", func(ctx context.Context, s scene) error {
			_, err := s.client.VerifyAccessToken(ctx, s.issuer.AccessToken(nil), "")
			return err
		}},
		{"VerifyLogoutToken", func(ctx context.Context, s scene) error {
			_, err := s.client.VerifyLogoutToken(ctx, s.issuer.LogoutToken(nil))
			return err
		}},
		{"KeySet", func(ctx context.Context, s scene) error {
			_, err := s.client.KeySet().VerifySignature(ctx, s.issuer.AccessToken(nil))
			return err
		}},
		{"ExchangeCallback", func(ctx context.Context, s scene) error {
			callback, auth := testkit.StartLogin(s.t, s.client, s.issuer, nil)
			_, err := s.client.ExchangeCallback(ctx, callback, auth)
			return err
		}},
		{"CreateAgent, refreshed", func(ctx context.Context, s scene) error {
			agent, err := s.client.CreateAgent(ctx, s.expired(), &authpi.AgentOptions{
				OnRefresh: func(_ context.Context, next authpi.TokenSet) error { *s.tokens = next; return nil },
			})
			if err == nil && agent.Tokens.IDToken == "" {
				err = fmt.Errorf("the ID token was left out")
			}
			return err
		}},
		{"user info that is signed", func(ctx context.Context, s scene) error {
			s.issuer.Inject(authpitest.Fault{Endpoint: "userinfo", ContentType: "application/jwt", Body: s.issuer.Sign(
				map[string]any{"iss": s.issuer.URL, "aud": s.issuer.ClientID(), "sub": testkit.Subject}, nil)})
			_, err := s.client.UserInfo(ctx, &authpi.Agent{ID: testkit.Subject, Tokens: *s.tokens})
			return err
		}},
	}
}

// Discovery, the keys or both hang, once and again: each kind of call goes on at
// once with what is at hand, in the first hang, between two and in all later ones,
// however many call.
func TestHangingIssuerAndEveryCall(t *testing.T) {
	t.Parallel()
	for _, hangs := range [][]string{{"discovery"}, {"jwks"}, {"discovery", "jwks"}} {
		for _, ask := range askings() {
			t.Run(fmt.Sprintf("%v/%s", hangs, ask.name), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					issuer, client := testkit.New(t, &authpitest.Options{
						AccessTokenLifetime: 24 * time.Hour, RefreshTokenLifetime: 30 * 24 * time.Hour,
					}, nil)
					tokens := testkit.SignIn(t, client, issuer, nil).Tokens
					s := scene{t, issuer, client, &tokens}
					call := func() {
						if err := ask.call(t.Context(), s); err != nil {
							t.Errorf("got %v; want it to work", err)
						}
					}
					call()
					for range 4 {
						for _, endpoint := range hangs {
							issuer.Inject(authpitest.Fault{Endpoint: endpoint, Delay: time.Hour, Times: -1})
						}
						for range 8 { // for two hours; the copies age meanwhile
							time.Sleep(15 * time.Minute)
							within(t, 0, func() {
								if ask.name == "VerifyAccessToken" {
									crowd(call)
								}
								call()
							})
						}
						issuer.ClearFaults()
						time.Sleep(15 * time.Minute)
						within(t, 0, call)
					}
					time.Sleep(2 * time.Hour) // for what goes on in the background
				})
			})
		}
	}
}

func crowd(call func()) {
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(call)
	}
	wg.Wait()
}

// The keys that an issuer signs with are published a second later: a refresh goes on
// without the ID token, the next one has it, and a login works once it is tried
// again.
func TestKeysPublishedASecondLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var publishes time.Time
		issuer := testkit.NewIssuer(t, nil)
		base := issuer.Client().Transport
		before := []byte(nil)
		client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
			cfg.HTTPClient = &http.Client{Transport: testkit.TransportFunc(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/i_test/jwks.json" && time.Now().Before(publishes) {
					return testkit.Reply(r, http.StatusOK, nil, string(before)), nil
				}
				return base.RoundTrip(r)
			})}
		})
		tokens := testkit.SignIn(t, client, issuer, nil).Tokens
		before = published(t, issuer)
		rotate := func() {
			issuer.RotateKeys()
			publishes = time.Now().Add(time.Second)
		}
		refresh := func() *authpi.Agent {
			t.Helper()
			time.Sleep(time.Until(tokens.ExpiresAt))
			agent, err := client.CreateAgent(t.Context(), tokens, &authpi.AgentOptions{
				OnRefresh: func(_ context.Context, next authpi.TokenSet) error { tokens = next; return nil },
			})
			if err != nil {
				t.Fatalf("refresh: got %v; want the session to go on", err)
			}
			return agent
		}
		time.Sleep(time.Until(tokens.ExpiresAt))
		rotate()
		if agent := refresh(); agent.ID != testkit.Subject || tokens.IDToken != "" {
			t.Errorf("got %v; want Ada, and a set without ID token", agent)
		}
		if agent := refresh(); agent.ID != testkit.Subject || tokens.IDToken == "" {
			t.Errorf("later: got %v; want Ada, and a set with ID token", agent)
		}
		before = published(t, issuer)
		rotate()
		login := func() error {
			callback, auth := testkit.StartLogin(t, client, issuer, nil)
			_, err := client.ExchangeCallback(t.Context(), callback, auth)
			return err
		}
		first, second := login(), login()
		for _, err := range []error{first, second} {
			testkit.WantCode(t, err, "transport_error", "again")
		}
		if first.Error() != second.Error() {
			t.Errorf("got %q, then %q; want the same twice", first, second)
		}
		time.Sleep(10 * time.Second)
		if err := login(); err != nil {
			t.Errorf("a moment later: got %v; want Ada signed in", err)
		}
	})
}

// published is the issuer's key set as it is now.
func published(t *testing.T, issuer *authpitest.Server) []byte {
	t.Helper()
	resp, err := issuer.Client().Get(issuer.URL + "/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
