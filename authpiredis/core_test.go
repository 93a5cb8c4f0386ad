package authpiredis_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// Four processes, 250 requests in each, all with the same session that has just
// expired, at an issuer that ends a session when a refresh token comes twice.
func TestThousandRequestsInFourProcesses(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	issuer := authpitest.NewServer(nil)
	t.Cleanup(issuer.Close)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	var ahead atomic.Int64
	var log logged
	newClient := func() *authpi.IdpClient {
		client, err := authpi.NewIdpClient(authpi.Config{
			IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: "https://app.example/callback",
			Coordinator: s.process(authpiredis.Options{Logger: log.logger()}),
			Now:         func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	first := newClient()
	tokens := signIn(t, first, issuer)
	issuer.Advance(time.Hour)
	ahead.Store(int64(time.Hour))
	issuer.ResetCounters()
	issuer.Inject(authpitest.Fault{Endpoint: "token", Times: -1, DelayAnswer: 50 * time.Millisecond})

	var mu sync.Mutex
	var stored []authpi.TokenSet
	opts := &authpi.AgentOptions{OnRefresh: func(_ context.Context, t authpi.TokenSet) error {
		mu.Lock()
		defer mu.Unlock()
		stored = append(stored, t)
		return nil
	}}
	clients := []*authpi.IdpClient{first, newClient(), newClient(), newClient()}
	var failures atomic.Int64
	var wg sync.WaitGroup
	for _, client := range clients {
		for range 250 {
			wg.Go(func() {
				if _, err := client.CreateAgent(context.Background(), tokens, opts); err != nil {
					failures.Add(1)
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if got := issuer.Grants("refresh_token"); got != 1 {
		t.Errorf("refresh grants: got %d; want 1", got)
	}
	if failures.Load() > 0 || len(stored) != 1000 {
		t.Errorf("got %d failures and %d calls of OnRefresh; want 0 and 1000", failures.Load(), len(stored))
	}
	for _, set := range stored {
		if set.RefreshToken != stored[0].RefreshToken {
			t.Fatal("OnRefresh got different token sets")
		}
	}
	if !issuer.SessionAlive(stored[0].RefreshToken) {
		t.Error("the session is over")
	}

	dump := s.dump()
	if !strings.Contains(dump, "result") {
		t.Fatalf("nothing in Redis: %q", dump)
	}
	for _, set := range []authpi.TokenSet{tokens, stored[0]} {
		for name, secret := range map[string]string{"access": set.AccessToken, "refresh": set.RefreshToken, "ID": set.IDToken} {
			if secret == "" || strings.Contains(dump, secret) {
				t.Errorf("the %s token is in Redis, or there is none", name)
			}
		}
	}
	log.want(t, "WARN", 0)
}

// dump is everything that the server holds.
func (s *server) dump() string {
	s.t.Helper()
	client, ctx := s.client(), context.Background()
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	var all strings.Builder
	for _, key := range keys {
		value, err := client.Get(ctx, key).Result()
		if err != nil {
			s.t.Fatal(err)
		}
		all.WriteString(key + "=" + value + "\n")
	}
	return all.String()
}

func signIn(t *testing.T, client *authpi.IdpClient, issuer *authpitest.Server) authpi.TokenSet {
	t.Helper()
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email", "offline_access"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := issuer.SignIn(auth.URL, "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := client.ExchangeCallback(context.Background(), callback, *auth)
	if err != nil {
		t.Fatal(err)
	}
	return agent.Tokens
}
