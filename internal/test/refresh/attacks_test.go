package refresh_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// What a security review found, each by the test that showed it.

// Somebody who has signed out must not be signed in again, and stored again, by a
// late request and what this process remembers.
func TestSignedOutStaysSignedOut(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		old := e.Expired()
		store := &testkit.Store{Current: old}
		agent := e.MustCreate(old, store.Reloading())
		if err := e.Client.RevokeToken(t.Context(), agent.Tokens.RefreshToken, "refresh_token"); err != nil {
			t.Fatal(err)
		}
		store.Set(authpi.TokenSet{})
		again, err := e.Create(old, store.Reloading())
		if err == nil {
			t.Errorf("signed out, but got %s", again.ID)
		}
		if !authpi.SessionEnded(err) {
			t.Errorf("got %v; want a session that has ended", err)
		}
		if store.Current.AccessToken != "" {
			t.Error("the session is in the store again")
		}
	})
}

// VerifyStoredTokens holds for sets without ID token, and for the scope, too.
func TestVerifyStoredTokensCannotBeBypassed(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, func(cfg *authpi.Config) { cfg.VerifyStoredTokens = true })
	forged := authpi.TokenSet{AccessToken: "forged", ExpiresAt: time.Now().Add(time.Hour), Scope: "*:**"}
	_, err := client.CreateAgent(t.Context(), forged, nil)
	testkit.WantCode(t, err, "invalid_token")

	issuer.AddUser(authpitest.User{ID: "usr_eve"})
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := issuer.SignIn(auth.URL, "usr_eve")
	if err != nil {
		t.Fatal(err)
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		t.Fatal(err)
	}
	eve, err := client.ExchangeCallback(t.Context(), callback, *auth)
	if err != nil {
		t.Fatal(err)
	}
	widened := eve.Tokens
	widened.Scope = "projects:**"
	agent, err := client.CreateAgent(t.Context(), widened, nil)
	if err != nil {
		t.Fatal(err)
	}
	if agent.HasAccess("delete", "projects") {
		t.Error("a scope that somebody wrote into the store counts")
	}
	if agent.Tokens.Scope != eve.Tokens.Scope {
		t.Errorf("scope: got %q; want the access token's %q", agent.Tokens.Scope, eve.Tokens.Scope)
	}

	// What another user's token allows, allows Eve nothing.
	mixed := eve.Tokens
	mixed.AccessToken = testkit.SignIn(t, client, issuer, nil).Tokens.AccessToken
	if agent, err = client.CreateAgent(t.Context(), mixed, nil); err != nil {
		t.Fatal(err)
	}
	if agent.ID != "usr_eve" || agent.Tokens.Scope != "" {
		t.Errorf("got %s with the scope %q of another user's token; want none", agent.ID, agent.Tokens.Scope)
	}
}

// Callers whose Reload hangs wait side by side, not one after the other.
func TestHangingReloadBoundsEveryCaller(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens, start := e.Expired(), time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := e.Client.CreateAgent(t.Context(), tokens, &authpi.AgentOptions{
					Reload: func(ctx context.Context) (authpi.TokenSet, error) {
						<-ctx.Done()
						return authpi.TokenSet{}, ctx.Err()
					},
				})
				testkit.WantCode(t, err, "transport_error")
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 31*time.Second {
			t.Errorf("the last caller waited %s; want RefreshTimeout", took)
		}
		e.WantSpent(0)
	})
}

// The 5 s of a refresh that is not urgent hold for Reload and request together.
func TestPatienceDoesNotAddUp(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(50 * time.Second)
		e.Fault(authpitest.Fault{Delay: 20 * time.Second})
		start := time.Now()
		_, err := e.Client.CreateAgent(t.Context(), tokens, &authpi.AgentOptions{
			Reload: func(context.Context) (authpi.TokenSet, error) {
				time.Sleep(4900 * time.Millisecond)
				return tokens, nil
			},
		})
		if took := time.Since(start); err != nil || took > 5100*time.Millisecond {
			t.Errorf("got %v after %s; want the agent after 5 s", err, took)
		}
		time.Sleep(time.Minute)
	})
}

type deafCoordinator struct{ stop chan struct{} }

func (d deafCoordinator) Do(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error) {
	<-d.stop
	return nil, errors.New("stopped")
}

// A coordinator that does not heed its context holds nobody for ever.
func TestDeafCoordinatorHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := deafCoordinator{make(chan struct{})}
		e := testkit.NewEnv(t, nil, func(cfg *authpi.Config) { cfg.Coordinator = deaf })
		tokens, start := e.Expired(), time.Now()
		go func() {
			time.Sleep(time.Hour)
			close(deaf.stop)
		}()
		_, err := e.Client.CreateAgent(t.Context(), tokens, nil)
		testkit.WantCode(t, err, "transport_error")
		if took := time.Since(start); took > 31*time.Second {
			t.Errorf("waited %s; want RefreshTimeout", took)
		}
		time.Sleep(2 * time.Hour)
	})
}

// Error reporters print whole chains: no link of one may show what was sent.
func TestErrorChainsShowNoSecret(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // a peer that echoes the body in the place of a status line
				defer func() { _ = conn.Close() }()
				buf := make([]byte, 8192)
				n, _ := conn.Read(buf)
				_, body, _ := bytes.Cut(buf[:n], []byte("\r\n\r\n"))
				_, _ = conn.Write(append(body, "\r\n\r\n"...))
			}()
		}
	}()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: "http://" + l.Addr().String(), ClientID: "c_1", ClientSecret: "hush-hush-hush",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CreateAgent(t.Context(), authpi.TokenSet{
		AccessToken: "a", RefreshToken: "rt-secret-rt-secret", SubjectHint: "u",
	}, nil)
	if err == nil {
		t.Fatal("an echo was taken for an answer")
	}
	for i := 0; err != nil; i, err = i+1, errors.Unwrap(err) {
		if strings.Contains(err.Error(), "rt-secret") || strings.Contains(err.Error(), "hush-hush") {
			t.Errorf("error %d of the chain (%T) shows a secret", i, err)
		}
	}
}

// Two resources are not one with a space in it.
func TestGrantsDoNotCollide(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		agent := e.MustCreate(e.SignIn(), nil)
		one, err := e.Client.Refresh(t.Context(), agent, &authpi.RefreshOptions{
			Resources: []string{"https://a.example", "https://b.example"},
		})
		if err != nil {
			t.Fatal(err)
		}
		two, err := e.Client.Refresh(t.Context(), agent, &authpi.RefreshOptions{
			Resources: []string{"https://a.example https://b.example"},
		})
		if err == nil && one.Tokens.AccessToken == two.Tokens.AccessToken {
			t.Error("two grants share an answer")
		}
	})
}

// Revoking an access token ends no session: its refresh token is not spent again.
func TestRevokedAccessTokenKeepsTheChain(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		old := e.Expired()
		agent := e.MustCreate(old, nil)
		if err := e.Client.RevokeToken(t.Context(), agent.Tokens.AccessToken, "access_token"); err != nil {
			t.Fatal(err)
		}
		e.MustCreate(old, nil)
		e.WantSpent(1)
		e.WantAlive(agent.Tokens)
	})
}

// Whichever set of a chain is revoked, no set of it comes out of the memory.
func TestRevokedChainIsEnded(t *testing.T) {
	for _, name := range []string{"the newest", "the oldest"} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				first := e.Expired()
				second := e.MustCreate(first, nil)
				third, err := e.Client.Refresh(t.Context(), second, nil)
				if err != nil {
					t.Fatal(err)
				}
				revoked := map[string]string{"the newest": third.Tokens.RefreshToken, "the oldest": first.RefreshToken}[name]
				if err := e.Client.RevokeToken(t.Context(), revoked, "refresh_token"); err != nil {
					t.Fatal(err)
				}
				store := &testkit.Store{Current: first}
				if _, err := e.Create(first, store.Opts()); !authpi.SessionEnded(err) {
					t.Errorf("got %v; want a session that has ended", err)
				}
				if store.Current != first {
					t.Error("a set of the revoked chain was stored")
				}
			})
		})
	}
}

// A refresh token that is revoked while it is being spent, after the issuer has
// answered: its successor is handed to nobody, and does not come out of the memory.
func TestRevokedDuringAFlight(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		fresh := e.NewClient(nil) // has no keys yet: it has to wait for them
		e.Wire.Set(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "jwks") {
				time.Sleep(2 * time.Second)
			}
			return nil, nil
		})
		store := &testkit.Store{Current: tokens}
		agents, errs := make([]*authpi.Agent, 2), make([]error, 2)
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() { agents[i], errs[i] = e.CreateBy(t.Context(), fresh, tokens, store.Opts()) })
			synctest.Wait()
		}
		time.Sleep(time.Second)
		e.WantSpent(1)
		if err := fresh.RevokeToken(t.Context(), tokens.RefreshToken, "refresh_token"); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		for i, err := range errs {
			if !authpi.SessionEnded(err) {
				t.Errorf("caller %d: got %v, %v; want a session that has ended", i, agents[i], err)
			}
		}
		if store.Current != tokens {
			t.Error("a set of the revoked chain was stored")
		}
		if agent, err := e.CreateBy(t.Context(), fresh, tokens, store.Opts()); !authpi.SessionEnded(err) {
			t.Errorf("late: got %v, %v; want a session that has ended", agent, err)
		}
	})
}

// A store so slow that no time is left to spend and store is a passing failure:
// a token spent then would be nobody's.
func TestSlowReloadSpendsNothingWithoutTimeToStore(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(50 * time.Second)
		e.Fault(authpitest.Fault{DelayAnswer: 300 * time.Millisecond})
		store := &testkit.Store{Current: tokens}
		opts := store.Opts()
		opts.Reload = func(context.Context) (authpi.TokenSet, error) {
			time.Sleep(4900 * time.Millisecond)
			return tokens, nil
		}
		e.MustCreate(tokens, opts)
		time.Sleep(time.Minute / 2)
		e.WantSpent(0)
		store.WantCalls(t, 0, 0)
	})
}

// An invalid_grant that took long still gets its second look into the store.
func TestLateInvalidGrantStillAsksTheStore(t *testing.T) {
	testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshTimeout = 10 * time.Second }, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		// Another process is first, and stores while this one's request is out.
		other := e.NewClient(nil)
		e.Fault(authpitest.Fault{Delay: 8 * time.Second, Status: 400, Body: `{"error":"invalid_grant"}`})
		store, asked := &testkit.Store{Current: tokens}, 0
		opts := store.Opts()
		opts.Reload = func(ctx context.Context) (authpi.TokenSet, error) {
			if asked++; asked == 1 {
				time.Sleep(4 * time.Second)
				return tokens, nil
			}
			agent, err := other.CreateAgent(ctx, tokens, nil)
			if err != nil {
				return authpi.TokenSet{}, err
			}
			return agent.Tokens, nil
		}
		agent, err := e.Client.CreateAgent(t.Context(), tokens, opts)
		if err != nil {
			t.Fatal(err)
		}
		e.WantAlive(agent.Tokens)
	})
}

// In the pause nobody waits for the store either.
func TestPauseAsksNoStore(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(50 * time.Second)
		e.Fault(authpitest.Fault{Status: 500})
		hang := func(ctx context.Context) (authpi.TokenSet, error) {
			<-ctx.Done()
			return authpi.TokenSet{}, ctx.Err()
		}
		opts := &authpi.AgentOptions{Reload: hang}
		e.MustCreate(tokens, opts) // starts the pause
		start := time.Now()
		e.MustCreate(tokens, opts)
		if took := time.Since(start); took != 0 {
			t.Errorf("a call in the pause took %s", took)
		}
	})
}
