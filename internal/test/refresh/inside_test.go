package refresh_test

import (
	"context"
	"errors"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// A call out of a callback of the same refresh is answered at once: with what is known, or
// with an error that passes. To wait for what waits for it would take all of the time.
func TestCallInsideItsOwnRefresh(t *testing.T) {
	type scene struct {
		e            *testkit.Env
		before, have authpi.TokenSet // the tokens before those that are refreshed, and these
		call         func(ctx context.Context, tokens authpi.TokenSet) error
	}
	passes := func(t *testing.T, err error) {
		t.Helper()
		if err == nil || authpi.SessionEnded(err) {
			t.Errorf("got %v, session ended %v; want a passing failure", err, authpi.SessionEnded(err))
		}
	}
	works := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("got %v; want the new tokens", err)
		}
	}
	for _, tc := range []struct {
		name string
		opts func(s scene, called func(error)) *authpi.AgentOptions
		want func(*testing.T, error)
	}{
		{"in Reload", func(s scene, called func(error)) *authpi.AgentOptions {
			return &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
				called(s.call(ctx, s.have))
				return s.have, nil
			}}
		}, passes},
		{"in Reload, with the tokens before", func(s scene, called func(error)) *authpi.AgentOptions {
			return &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
				called(s.call(ctx, s.before))
				return s.have, nil
			}}
		}, passes},
		{"in Reload, with a context of its making", func(s scene, called func(error)) *authpi.AgentOptions {
			return &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
				defer cancel()
				called(s.call(ctx, s.have))
				return s.have, nil
			}}
		}, passes},
		{"in Reload, in a goroutine", func(s scene, called func(error)) *authpi.AgentOptions {
			return &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
				got := make(chan error)
				go func() { got <- s.call(ctx, s.have) }()
				called(<-got)
				return s.have, nil
			}}
		}, passes},
		{"in OnRefresh, with the old tokens", func(s scene, called func(error)) *authpi.AgentOptions {
			return &authpi.AgentOptions{OnRefresh: func(ctx context.Context, _ authpi.TokenSet) error {
				called(s.call(ctx, s.have))
				return nil
			}}
		}, works},
		{"in OnRefresh, with the tokens before", func(s scene, called func(error)) *authpi.AgentOptions {
			return &authpi.AgentOptions{OnRefresh: func(ctx context.Context, _ authpi.TokenSet) error {
				called(s.call(ctx, s.before))
				return nil
			}}
		}, works},
	} {
		for _, way := range ways() {
			if way.name == "TokenSource" {
				continue // it hands no context on, see below
			}
			t.Run(tc.name+"/"+way.name, func(t *testing.T) {
				testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshMemory = time.Hour }, func(t *testing.T, e *testkit.Env) {
					withAPI(e)
					s := scene{e: e, before: e.Expired()}
					s.have = e.MustCreate(s.before, nil).Tokens
					time.Sleep(testkit.TokenLife + time.Second)
					inner := &testkit.Store{}
					s.call = func(ctx context.Context, tokens authpi.TokenSet) error {
						return way.get(ctx, e.Client, tokens, inner.Opts())
					}
					calls := 0
					opts := tc.opts(s, func(err error) {
						calls++
						e.Log.Error(err)
						tc.want(t, err)
					})
					wantWithin(t, "all of it", 0, 0, func() {
						e.MustCreate(s.have, opts)
						if calls == 0 {
							t.Error("the callback was not called")
						}
						e.WantSpent(2)
					})
					if len(inner.Saved) > 0 {
						t.Errorf("the inner OnRefresh was called %d times; the outer call stores the set", len(inner.Saved))
					}
				})
			})
		}
	}
}

// With a context that does not come from the callback such a call cannot be recognised. It
// ends with RefreshTimeout, and the outer call goes on.
func TestForeignCallInsideARefresh(t *testing.T) {
	for name, get := range map[string]func(e *testkit.Env, tokens authpi.TokenSet) error{
		"CreateAgent": func(e *testkit.Env, tokens authpi.TokenSet) error {
			_, err := e.Create(tokens, nil)
			return err
		},
		"TokenSource": func(e *testkit.Env, tokens authpi.TokenSet) error {
			_, err := e.Client.TokenSource(agentOf(tokens), nil).Token()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshTimeout = 3 * time.Second }, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				inner := make(chan error, 1)
				wantWithin(t, "the outer call", 3*time.Second, 4*time.Second, func() {
					_, err := e.Create(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
						inner <- get(e, tokens)
						return tokens, nil
					}})
					testkit.WantError(t, err, "transport_error", false)
				})
				testkit.WantError(t, <-inner, "transport_error", false)
				e.MustCreate(tokens, nil)
				e.WantSpent(1)
			})
		})
	}
}

// A context that outlives its callback is nobody's inside any more, and other tokens never
// were.
func TestCallAfterACallback(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens, other := e.SignIn(), e.SignIn()
		time.Sleep(testkit.TokenLife + time.Second)
		bare := other
		bare.RefreshToken = ""
		var kept context.Context
		e.MustCreate(tokens, &authpi.AgentOptions{
			Reload: func(ctx context.Context) (authpi.TokenSet, error) {
				if _, err := e.CreateBy(ctx, e.Client, other, nil); err != nil {
					t.Errorf("another session inside Reload: got %v; want new tokens", err)
				}
				_, err := e.CreateBy(ctx, e.Client, bare, nil)
				testkit.WantError(t, err, "token_expired", true)
				return tokens, nil
			},
			OnRefresh: func(ctx context.Context, set authpi.TokenSet) error {
				kept, tokens = context.WithoutCancel(ctx), set
				return nil
			},
		})
		time.Sleep(testkit.TokenLife + time.Second)
		if _, err := e.CreateBy(kept, e.Client, tokens, nil); err != nil {
			t.Errorf("after the callback: got %v; want new tokens", err)
		}
		e.WantSpent(3)
	})
}

// A failure inside is the callback's to judge, and says nothing of the session: the outer
// call goes on, and so do others.
func TestFailedCallInsideEndsNothing(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(50 * time.Second)
		e.Fault(authpitest.Fault{DelayAnswer: time.Second})
		store := &testkit.Store{Current: tokens}
		opts := store.Opts()
		failed := errors.New("not called")
		opts.Reload = func(ctx context.Context) (authpi.TokenSet, error) {
			var agent *authpi.Agent
			agent, failed = e.CreateBy(ctx, e.Client, tokens, nil)
			if failed == nil {
				testkit.WantSame(t, "inside", agent.Tokens, tokens) // it is still good
			}
			return tokens, nil
		}
		agent := e.MustCreate(tokens, opts)
		if failed != nil || agent.Tokens == tokens {
			t.Errorf("inside: got %v; want the agent as it is there, and new tokens outside", failed)
		}
		store.WantCalls(t, 1, 0)
		e.WantSpent(1)
	})
}
