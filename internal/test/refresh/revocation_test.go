package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// revoke signs out as an app does, whatever the issuer answers.
func revoke(e *testkit.Env, token string) {
	e.Log.Error(e.Client.RevokeToken(context.Background(), token, "refresh_token"))
}

// revocations has the issuer say yes to every revocation and do nothing, and notes the
// tokens.
type revocations struct {
	mu     sync.Mutex
	tokens []string
}

func noteRevocations(e *testkit.Env) *revocations {
	noted := &revocations{}
	e.Wire.Set(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Host == "api.example":
			return testkit.Reply(r, http.StatusOK, nil, `{}`), nil
		case !strings.HasSuffix(r.URL.Path, "/revoke"):
			return nil, nil
		}
		noted.mu.Lock()
		defer noted.mu.Unlock()
		noted.tokens = append(noted.tokens, testkit.Form(r).Get("token"))
		return testkit.Reply(r, http.StatusOK, nil, ``), nil
	})
	return noted
}

func (r *revocations) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.tokens...)
}

// wantSignedOut fails the test if anybody gets tokens in any way, or stores some.
func wantSignedOut(t *testing.T, e *testkit.Env, tokens authpi.TokenSet) {
	t.Helper()
	for _, way := range ways() {
		store := &testkit.Store{Current: tokens}
		err := way.get(context.Background(), e.Client, tokens, store.Reloading())
		e.Log.Error(err)
		if !authpi.SessionEnded(err) || !errors.Is(err, authpi.ErrSessionExpired) {
			t.Errorf("%s: got %v; want a session that has ended", way.name, err)
		}
		failures := 0
		if way.hears {
			failures = 1
		}
		store.WantCalls(t, 0, failures)
	}
}

// A chain of sets of which one was revoked: nobody gets any of them again, with whichever
// he comes, however late, and be it that the first waited in the memory for a day.
func TestRevokedChainNeverComesBack(t *testing.T) {
	for _, revoked := range []int{0, 1, 2, 3} {
		for _, late := range []time.Duration{0, 2 * time.Minute, time.Hour, 23 * time.Hour, 6 * 24 * time.Hour} {
			t.Run(fmt.Sprintf("set %d of 4, after %v", revoked, late), func(t *testing.T) {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					withAPI(e)
					chain := []authpi.TokenSet{e.InBuffer(50 * time.Second)}
					// Its first caller loses patience, so that the second set waits for a day.
					e.Fault(authpitest.Fault{DelayAnswer: 6 * time.Second})
					e.MustCreate(chain[0], nil)
					time.Sleep(10 * time.Second)
					store := &testkit.Store{}
					for range 3 {
						agent, err := e.Client.Refresh(t.Context(), agentOf(chain[len(chain)-1]), &authpi.RefreshOptions{OnRefresh: store.Opts().OnRefresh})
						if err != nil {
							t.Fatal(err)
						}
						chain = append(chain, agent.Tokens)
						time.Sleep(time.Second)
					}
					store.WantCalls(t, 3, 0)
					revoke(e, chain[revoked].RefreshToken)
					time.Sleep(late)
					spent := e.Spent()
					for _, tokens := range chain {
						tokens.ExpiresAt = time.Now().Add(-time.Second)
						wantSignedOut(t, e, tokens)
					}
					e.WantSpent(spent)
				})
			})
		}
	}
}

// A set waits for its caller for a day, and somebody with another grant has gone on from
// it. Once that session was signed out nobody gets the older set.
func TestWaitingSetDoesNotOutliveItsSuccessor(t *testing.T) {
	for _, signedOut := range []time.Duration{0, 2 * time.Minute, time.Hour} {
		for _, late := range []time.Duration{0, 2 * time.Minute, 22 * time.Hour} {
			t.Run(fmt.Sprintf("signed out after %v, late by %v", signedOut, late), func(t *testing.T) {
				testkit.Bubble(t, &authpitest.Options{AccessTokenLifetime: 48 * time.Hour}, nil, func(t *testing.T, e *testkit.Env) {
					tokens := e.SignIn()
					time.Sleep(time.Minute)
					tokens.ExpiresAt = time.Now().Add(20 * time.Second)
					e.Fault(authpitest.Fault{DelayAnswer: 6 * time.Second})
					e.MustCreate(tokens, nil) // its caller leaves after 5 s
					time.Sleep(time.Minute)
					store := &testkit.Store{}
					opts := store.Opts()
					opts.Resources = []string{api}
					e.MustCreate(tokens, opts)
					store.WantCalls(t, 1, 0)
					e.WantSpent(2)
					time.Sleep(signedOut)
					revoke(e, store.Current.RefreshToken)
					time.Sleep(late)
					again := &testkit.Store{}
					if _, err := e.Create(tokens, again.Opts()); !authpi.SessionEnded(err) {
						t.Errorf("got %v; want a session that has ended", err)
					}
					again.WantCalls(t, 0, 1)
				})
			})
		}
	}
}

// The issuer itself ended the session meanwhile: what waits in the memory is older than
// what it refused.
func TestEndedChainNeverComesBack(t *testing.T) {
	for _, late := range []time.Duration{0, 2 * time.Minute, 23 * time.Hour} {
		t.Run(fmt.Sprintf("after %v", late), func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				first := e.InBuffer(50 * time.Second)
				e.Fault(authpitest.Fault{DelayAnswer: 6 * time.Second})
				e.MustCreate(first, nil)
				time.Sleep(10 * time.Second)
				second, err := e.Client.Refresh(t.Context(), agentOf(first), nil)
				if err != nil {
					t.Fatal(err)
				}
				e.Issuer.EndSession(testkit.Subject)
				_, err = e.Client.Refresh(t.Context(), second, nil)
				testkit.WantError(t, err, "invalid_grant", true)
				time.Sleep(late)
				store := &testkit.Store{}
				first.ExpiresAt = time.Now().Add(-time.Second)
				_, err = e.Create(first, store.Opts())
				testkit.WantError(t, err, "invalid_grant", true)
				store.WantCalls(t, 0, 1)
			})
		})
	}
}

// Somebody signs out while the refresh is on its way: what comes is for nobody, and is
// revoked at the issuer, which may have taken the revocation for the old token's alone.
func TestSignOutDuringFlight(t *testing.T) {
	for _, moment := range []struct {
		name string
		arm  func(e *testkit.Env)
	}{
		{"before the issuer has it", func(e *testkit.Env) { e.Fault(authpitest.Fault{Delay: 2 * time.Second}) }},
		{"while the answer is on its way", func(e *testkit.Env) { e.Fault(authpitest.Fault{DelayAnswer: 2 * time.Second}) }},
		{"while the keys are fetched", func(e *testkit.Env) {
			e.Issuer.RotateKeys()
			e.Issuer.Inject(authpitest.Fault{Endpoint: "jwks", Delay: 2 * time.Second})
		}},
	} {
		for _, by := range []string{"the token in flight", "the one before it"} {
			for _, way := range ways() {
				t.Run(moment.name+"/by "+by+"/"+way.name, func(t *testing.T) {
					testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshMemory = time.Hour }, func(t *testing.T, e *testkit.Env) {
						before := e.Expired()
						tokens := e.MustCreate(before, nil).Tokens
						time.Sleep(testkit.TokenLife + time.Second)
						noted := noteRevocations(e)
						moment.arm(e)
						store := &testkit.Store{}
						flight := testkit.After(func() {
							err := way.get(t.Context(), e.Client, tokens, store.Opts())
							testkit.WantError(t, err, "session_expired", true)
						})
						revoked := map[string]authpi.TokenSet{"the token in flight": tokens, "the one before it": before}[by]
						revoke(e, revoked.RefreshToken)
						<-flight
						time.Sleep(time.Second)
						if len(store.Saved) > 0 {
							t.Error("a set was stored; want none")
						}
						wantSignedOut(t, e, tokens)
						all := noted.all()
						if len(all) != 2 || all[0] != revoked.RefreshToken || all[1] == tokens.RefreshToken || !e.Issuer.SessionAlive(all[1]) {
							t.Errorf("got %d revocations; want the old token's, and its successor's", len(all))
						}
						e.WantSpent(2)
					})
				})
			}
		}
	}
}

// A crowd waits when the user signs out: nobody gets anything.
func TestSignOutDuringCrowdedFlight(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		noted := noteRevocations(e)
		e.Fault(authpitest.Fault{DelayAnswer: 2 * time.Second})
		store := &testkit.Store{Current: tokens}
		var wg sync.WaitGroup
		<-testkit.After(func() {
			for i := range 40 {
				wg.Go(func() {
					opts := store.Opts()
					if i%2 == 1 {
						opts = store.Reloading()
					}
					if i%4 > 1 {
						opts.Resources = []string{api}
					}
					_, err := e.Create(tokens, opts)
					testkit.WantError(t, err, "session_expired", true)
				})
			}
			time.Sleep(time.Second)
			revoke(e, tokens.RefreshToken)
			wg.Wait()
		})
		store.WantCalls(t, 0, 40)
		if all := noted.all(); len(all) != 2 {
			t.Errorf("got %d revocations; want the token's and its successor's", len(all))
		}
		e.WantSpent(1)
	})
}

// A sign-out while a caller stores what came: the caller hears of it.
func TestSignOutDuringOnRefresh(t *testing.T) {
	for _, way := range ways() {
		t.Run(way.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				tokens := e.Expired()
				err := way.get(t.Context(), e.Client, tokens, &authpi.AgentOptions{OnRefresh: func(context.Context, authpi.TokenSet) error {
					revoke(e, tokens.RefreshToken)
					return nil
				}})
				testkit.WantError(t, err, "session_expired", true)
			})
		})
	}
}

// The session is over in this process whatever becomes of the revocation, for whoever
// holds its tokens, good or expired, and for the sources that are in use.
func TestRevocationHoldsWithoutTheIssuer(t *testing.T) {
	fault := func(f authpitest.Fault) func(*testkit.Env) {
		f.Endpoint, f.Times = "revoke", -1
		return func(e *testkit.Env) { e.Issuer.Inject(f) }
	}
	for _, tc := range []struct {
		name string
		arm  func(e *testkit.Env)
	}{
		{"accepted", func(*testkit.Env) {}},
		{"answer lost", fault(authpitest.Fault{DropAnswer: true})},
		{"request lost", fault(authpitest.Fault{Drop: true})},
		{"nobody there", fault(authpitest.Fault{Refuse: true})},
		{"hangs", fault(authpitest.Fault{Delay: time.Hour})},
		{"status 503", fault(authpitest.Fault{Status: 503})},
		{"refused", fault(authpitest.Fault{Status: 400, Body: `{"error":"unsupported_token_type"}`})},
		{"no such endpoint", func(e *testkit.Env) {
			e.Client = e.NewClient(func(cfg *authpi.Config) {
				cfg.Endpoints = authpi.Endpoints{
					Issuer: e.Issuer.URL, Token: e.Issuer.URL + "/token", JWKS: e.Issuer.URL + "/jwks.json", UserInfo: e.Issuer.URL + "/userinfo",
				}
			})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				tokens := e.SignIn()
				tc.arm(e)
				source := e.Client.TokenSource(agentOf(tokens), nil)
				web := e.Client.HTTPClient(agentOf(tokens), nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := e.Client.RevokeToken(ctx, tokens.RefreshToken, "refresh_token")
				if (err == nil) != (tc.name == "accepted") {
					t.Errorf("got %v; want what became of the request", err)
				}
				for _, wait := range []time.Duration{0, testkit.TokenLife} {
					time.Sleep(wait)
					_, err := e.Create(tokens, nil)
					testkit.WantError(t, err, "session_expired", true)
					_, err = source.Token()
					testkit.WantError(t, err, "session_expired", true)
					resp, err := web.Get(api)
					if err == nil {
						_ = resp.Body.Close()
					}
					testkit.WantError(t, err, "session_expired", true)
				}
				wantSignedOut(t, e, tokens)
				e.WantSpent(0)
			})
		})
	}
}

// A revocation names one session: another one of the same user goes on, and so do tokens
// without a refresh token, even where an app revokes the one that it does not have.
func TestRevocationEndsNoOtherSession(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		one, other := e.SignIn(), e.SignIn()
		bare := e.SignIn()
		bare.RefreshToken = ""
		source := e.Client.TokenSource(agentOf(bare), nil)
		revoke(e, one.RefreshToken)
		revoke(e, bare.RefreshToken)
		e.MustCreate(other, nil)
		e.MustCreate(bare, nil)
		if _, err := source.Token(); err != nil {
			t.Errorf("a source without a refresh token: got %v; want its token", err)
		}
		time.Sleep(testkit.TokenLife + time.Second)
		e.MustCreate(other, nil)
		_, err := e.Create(bare, nil)
		testkit.WantError(t, err, "token_expired", true)
		_, err = source.Token()
		testkit.WantError(t, err, "token_expired", true)
	})
}

// A source has refreshed for hours: whichever of its tokens is revoked ends it, the one that
// it began with and the newest, and nobody who comes with the other gets tokens again.
func TestRevocationReachesASourceOfHours(t *testing.T) {
	for _, name := range []string{"the first token", "the newest token"} {
		for _, one := range holders() {
			t.Run(name+"/"+one.name, func(t *testing.T) {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					withAPI(e)
					first := e.SignIn()
					store := &testkit.Store{}
					use := one.make(e, e.MustCreate(first, nil), store.Opts())
					for range 4 {
						time.Sleep(testkit.TokenLife + time.Second)
						if _, err := use(); err != nil {
							t.Fatal(err)
						}
					}
					noteRevocations(e) // the issuer itself ends nothing
					revoked := map[string]authpi.TokenSet{"the first token": first, "the newest token": store.Current}[name]
					time.Sleep(5 * time.Minute)
					revoke(e, revoked.RefreshToken)
					_, err := use()
					testkit.WantError(t, err, "session_expired", true)
					for _, tokens := range []authpi.TokenSet{first, store.Current} {
						tokens.ExpiresAt = time.Now().Add(-time.Second)
						wantSignedOut(t, e, tokens)
					}
					e.WantSpent(4)
				})
			})
		}
	}
}

// A user signs out while the refresh waits for its store, or for its turn among the
// processes: the token is not sent any more.
func TestSignOutBeforeTheTurn(t *testing.T) {
	for _, tc := range []struct {
		name string
		wait func(turn <-chan struct{}, cfg *authpi.Config, opts *authpi.AgentOptions)
	}{
		{"for its turn", func(turn <-chan struct{}, cfg *authpi.Config, _ *authpi.AgentOptions) {
			cfg.Coordinator = testkit.CoordinatorFunc(func(ctx context.Context, _ string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
				<-turn
				return spend(ctx)
			})
		}},
		{"for its store", func(turn <-chan struct{}, _ *authpi.Config, opts *authpi.AgentOptions) {
			reload := opts.Reload
			opts.Reload = func(ctx context.Context) (authpi.TokenSet, error) {
				stored, err := reload(ctx)
				<-turn
				return stored, err
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				store, turn := &testkit.Store{Current: tokens}, make(chan struct{})
				opts := store.Reloading()
				e.Client = e.NewClient(func(cfg *authpi.Config) { tc.wait(turn, cfg, opts) })
				noteRevocations(e)
				var err error
				done := testkit.After(func() { _, err = e.Create(tokens, opts) })
				revoke(e, tokens.RefreshToken)
				close(turn)
				<-done
				if !authpi.SessionEnded(err) || !errors.Is(err, authpi.ErrSessionExpired) {
					t.Errorf("got %v; want a session that has ended", err)
				}
				e.WantSpent(0)
				store.WantCalls(t, 0, 1)
			})
		})
	}
}

// The user signs out while OnRefresh is at work, which then fails: the error says that
// the session has ended, and carries no tokens.
func TestNoTokensAfterASignOut(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		var err error
		done := testkit.After(func() {
			_, err = e.Create(tokens, &authpi.AgentOptions{OnRefresh: func(ctx context.Context, _ authpi.TokenSet) error {
				<-ctx.Done()
				return ctx.Err()
			}})
		})
		if err := e.Client.RevokeToken(t.Context(), tokens.RefreshToken, "refresh_token"); err != nil {
			t.Error(err)
		}
		<-done
		testkit.WantError(t, err, "session_expired", true)
		var failed *authpi.RefreshError
		if errors.As(err, &failed) {
			if _, carried := failed.Tokens(); carried {
				t.Error("the error carries tokens of a session that has ended")
			}
		}
	})
}

// An app's store finds that the session has ended, revokes what came, and says so: that is
// the error, and it carries no tokens.
func TestOnRefreshThatRevokes(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		gone := errors.New("the row is gone")
		tokens := e.Expired()
		_, err := e.Create(tokens, &authpi.AgentOptions{OnRefresh: func(ctx context.Context, next authpi.TokenSet) error {
			return errors.Join(gone, e.Client.RevokeToken(ctx, next.RefreshToken, "refresh_token"))
		}})
		testkit.WantError(t, err, "session_expired", true)
		var failed *authpi.RefreshError
		if !errors.Is(err, gone) || !errors.As(err, &failed) {
			t.Fatalf("got %v; want the app's own error inside", err)
		}
		if _, carried := failed.Tokens(); carried {
			t.Error("the error carries tokens of a session that has ended")
		}
	})
}
