package refresh_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Who is told of a failure, and who is not.
func TestOnRefreshErrorIsForFailures(t *testing.T) {
	t.Run("no failure, and nobody who stores", func(t *testing.T) {
		for _, issuer := range []*authpitest.Options{nil, {OmitIDTokenOnRefresh: true}} {
			testkit.Bubble(t, issuer, nil, func(t *testing.T, e *testkit.Env) {
				store := &testkit.Store{}
				opts := store.Opts()
				opts.OnRefresh = nil
				e.MustCreate(e.Expired(), opts)
				store.WantCalls(t, 0, 0)
			})
		}
	})
	t.Run("the issuer refuses whom has left", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Issuer.EndSession(testkit.Subject)
			e.Fault(authpitest.Fault{DelayAnswer: time.Second})
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			store := &testkit.Store{}
			_, err := e.CreateBy(ctx, e.Client, tokens, store.Opts())
			testkit.WantError(t, err, "invalid_grant", true)
			store.WantCalls(t, 0, 1) // its session has ended, whoever has left
		})
	})
	t.Run("there is no refresh token", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			agent := e.MustCreate(e.SignIn(), nil)
			agent.Tokens.RefreshToken = ""
			_, err := e.Client.Refresh(t.Context(), agent, nil)
			testkit.WantError(t, err, "token_expired", true)
			var failed *authpi.RefreshError
			if errors.As(err, &failed) {
				t.Errorf("got %v as a RefreshError; want an OAuthError alone: nothing was tried", err)
			}
		})
	})
}

// A caller that has left takes nothing from the memory: nobody would store it.
func TestWhoHasLeftGetsNothing(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.MustCreate(tokens, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		store := &testkit.Store{}
		_, err := e.CreateBy(ctx, e.Client, tokens, store.Opts())
		testkit.WantCode(t, err, "transport_error", "the caller left: context canceled")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v; want context.Canceled", err)
		}
		store.WantCalls(t, 0, 0)
	})
}

// A caller leaves while its own Reload runs: nothing is spent for it, but what the store had
// is good for it all the same.
func TestLeavingInsideReload(t *testing.T) {
	for name, newer := range map[string]bool{"nothing newer": false, "a newer set": true} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				stored := tokens
				if newer {
					elsewhere, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, nil)
					if err != nil {
						t.Fatal(err)
					}
					stored = elsewhere.Tokens
				}
				spent := e.Spent()
				ctx, cancel := context.WithCancel(t.Context())
				agent, err := e.CreateBy(ctx, e.Client, tokens, &authpi.AgentOptions{
					Reload: func(context.Context) (authpi.TokenSet, error) { cancel(); return stored, nil },
				})
				if newer {
					if err != nil {
						t.Fatalf("got %v; want the newer set", err)
					}
					testkit.WantSame(t, "agent", agent.Tokens, stored)
				} else if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v; want context.Canceled", err)
				}
				e.WantSpent(spent)
			})
		})
	}
}

// The identity of a set without ID token is asked for once, and whoever waits for it may leave,
// but for who spent the token: that caller sees it through.
func TestLateCallerMayLeaveUserInfo(t *testing.T) {
	testkit.Bubble(t, &authpitest.Options{OmitIDTokenOnRefresh: true}, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Status: 503})
		_, err := e.CreateBy(t.Context(), e.Client, tokens, nil)
		testkit.WantCode(t, err, "userinfo_error")
		e.Issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Delay: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = e.CreateBy(ctx, e.Client, tokens, nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want context.DeadlineExceeded", err)
		}
		if lines := e.Log.With("ID token of a refresh could not be checked"); len(lines) != 0 {
			t.Errorf("no ID token came, and got the warning %s", lines)
		}
		time.Sleep(time.Second) // for the request, which goes on
	})
}

// So may a caller whose own store had a newer set: it has spent nothing.
func TestCallerOfItsStoreMayLeaveUserInfo(t *testing.T) {
	testkit.Bubble(t, &authpitest.Options{OmitIDTokenOnRefresh: true}, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		newer, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, nil)
		if err != nil {
			t.Fatal(err)
		}
		e.Issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Delay: 8 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantWithin(t, "CreateAgent", time.Second, time.Second, func() {
			_, err = e.CreateBy(ctx, e.Client, tokens, &authpi.AgentOptions{
				Reload: func(context.Context) (authpi.TokenSet, error) { return newer.Tokens, nil },
			})
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want context.DeadlineExceeded", err)
		}
		e.WantSpent(1)
		time.Sleep(8 * time.Second) // for the request, which goes on
	})
}

// A caller that waits for somebody else's refresh leaves no trace when it gives up: the set is
// remembered for RefreshMemory, as ever.
func TestWaiterThatGivesUpAbandonsNothing(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(30 * time.Second)
		agent := &authpi.Agent{ID: testkit.Subject, Tokens: tokens}
		e.Fault(authpitest.Fault{DelayAnswer: 8 * time.Second})
		done := make(chan error)
		go func() {
			_, err := e.Client.Refresh(t.Context(), agent, nil)
			done <- err
		}()
		time.Sleep(time.Second)
		testkit.WantSame(t, "the waiter's", e.MustCreate(tokens, nil).Tokens, tokens) // until 6 s
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		_, err := e.Create(tokens, nil)
		testkit.WantError(t, err, "invalid_grant", true)
		e.WantSpent(2)
	})
}

// Where the access token has expired everybody waits for the refresh, however long it takes.
func TestWaitersWithoutATokenArePatient(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Fault(authpitest.Fault{DelayAnswer: 10 * time.Second})
		done := make(chan error, 3)
		for range cap(done) {
			go func() {
				_, err := e.Create(tokens, nil)
				done <- err
			}()
		}
		for range cap(done) {
			if err := <-done; err != nil {
				t.Errorf("got %v; want the set after 10 s", err)
			}
		}
		e.WantSpent(1)
	})
}

// A caller's patience is one for all that it waits for: first for somebody who leaves, then for
// its own request.
func TestPatienceDoesNotBeginAnew(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(30 * time.Second)
		e.Fault(authpitest.Fault{DelayAnswer: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		go func() {
			_, _ = e.CreateBy(ctx, e.Client, tokens, &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
				<-ctx.Done()
				return authpi.TokenSet{}, ctx.Err()
			}})
		}()
		time.Sleep(time.Millisecond)
		began := time.Now()
		testkit.WantSame(t, "agent", e.MustCreate(tokens, nil).Tokens, tokens)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v; want 5 s", took)
		}
		e.WantSpent(1)
		time.Sleep(time.Minute)
	})
}

// A clock that panics once the token is spent costs nobody the new one.
func TestPanicInsideTheSpend(t *testing.T) {
	var broken atomic.Pointer[string] // what the clock panics with, once
	clock := func(cfg *authpi.Config) {
		cfg.Now = func() time.Time {
			if value := broken.Swap(nil); value != nil {
				panic(*value)
			}
			return time.Now()
		}
	}
	testkit.Bubble(t, nil, clock, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Log.OnMessage(func(message string) {
			if message == "authpi: refresh token spent" {
				broken.Store(&tokens.RefreshToken)
			}
		})
		agent := e.MustCreate(tokens, nil)
		e.WantAlive(agent.Tokens)
		e.WantSpent(1)
	})
}

// An ID token need only have held at some moment of the call: it may have taken long, and the
// clock may have been set back meanwhile.
func TestIDTokenOfALongCall(t *testing.T) {
	exact := func(cfg *authpi.Config) { cfg.ClockSkew = time.Second }
	t.Run("issued later than asked for", func(t *testing.T) {
		testkit.Bubble(t, nil, exact, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(authpitest.Fault{Delay: 10 * time.Second}) // more than the skew
			if agent := e.MustCreate(tokens, nil); agent.Tokens.IDToken == "" {
				t.Error("got no ID token; want the new one")
			}
		})
	})
	t.Run("expired when asked for, by a clock that is set back", func(t *testing.T) {
		testkit.Bubble(t, nil, exact, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Wire.Set(func(*http.Request) (*http.Response, error) {
				e.Ahead.Add(-int64(time.Hour))
				return nil, nil
			})
			e.Fault(authpitest.Fault{IDToken: testkit.SetClaim("exp", time.Now().Add(-10*time.Minute).Unix())})
			if agent := e.MustCreate(tokens, nil); agent.Tokens.IDToken == "" {
				t.Error("got no ID token; want the new one")
			}
		})
	})
}

// A token that ends in the very moment in which its caller loses patience is no good any more.
func TestTokenThatEndsWithThePatience(t *testing.T) {
	for left, good := range map[time.Duration]bool{5 * time.Second: false, 5*time.Second + time.Second: true} {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(left)
			e.Fault(authpitest.Fault{Delay: time.Hour})
			agent, err := e.Create(tokens, nil)
			if (err == nil) != good {
				t.Errorf("%v left: got %v, %v; want the agent as it is: %v", left, agent, err, good)
			}
			time.Sleep(time.Minute)
		})
	}
}
