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

// elsewhere is what another process made of tokens.
func elsewhere(e *testkit.Env, tokens authpi.TokenSet) authpi.TokenSet {
	e.T.Helper()
	agent, err := e.CreateBy(context.Background(), e.NewClient(nil), tokens, nil)
	if err != nil {
		e.T.Fatalf("another process: %v", err)
	}
	return agent.Tokens
}

// The store is asked again once, and only where the issuer calls the grant invalid.
func TestReloadIsAskedOnceMoreForAnInvalidGrant(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault authpitest.Fault // of each attempt
		dead  bool             // the store's newer set is no good either
		loads int
		code  string
	}{
		{"the store has nothing newer", authpitest.Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, false, 2, "invalid_grant"},
		{"what the store has is dead, too", authpitest.Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, true, 3, "invalid_grant"},
		{"another refusal", authpitest.Fault{Status: 400, Body: `{"error":"invalid_scope"}`}, false, 1, "invalid_scope"},
		{"a passing failure", authpitest.Fault{Status: 503}, false, 1, "refresh_error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				newer := tokens
				if tc.dead {
					newer = elsewhere(e, tokens)
					time.Sleep(testkit.TokenLife + time.Second)
				}
				tc.fault.Times = -1
				e.Fault(tc.fault)
				loads := 0
				_, err := e.Create(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
					if loads++; loads == 1 {
						return tokens, nil
					}
					return newer, nil
				}})
				testkit.WantError(t, err, tc.code, tc.code == "invalid_grant")
				if loads != tc.loads {
					t.Errorf("Reload %d times; want %d", loads, tc.loads)
				}
			})
		})
	}
	t.Run("the store is away by then", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			elsewhere(e, tokens)
			loads := 0
			_, err := e.Create(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
				if loads++; loads == 1 {
					return tokens, nil
				}
				return authpi.TokenSet{}, errors.New("connection refused")
			}})
			testkit.WantError(t, err, "transport_error", false) // the newer set may be there
		})
	})
}

// What the store gives belongs to the same user, and can be read, before anything is done
// with it.
func TestReloadedSetIsTheUsersOwn(t *testing.T) {
	t.Run("another user's, expired", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			other := tokens
			other.RefreshToken, other.AccessToken, other.IDToken = "rt_eve", "at_eve", testkit.Unsigned(`{"sub":"usr_eve"}`)
			_, err := e.Create(tokens, (&testkit.Store{Current: other}).Reloading())
			testkit.WantError(t, err, "subject_mismatch", true)
			e.WantSpent(0)
		})
	})
	t.Run("unreadable", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			broken := tokens
			broken.RefreshToken, broken.IDToken = "rt_new", "no JWT"
			_, err := e.Create(tokens, (&testkit.Store{Current: broken}).Reloading())
			testkit.WantError(t, err, "invalid_token", true)
			e.WantSpent(0)
		})
	})
	t.Run("verified, and good", func(t *testing.T) {
		testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.VerifyStoredTokens = true }, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			store := &testkit.Store{Current: elsewhere(e, tokens)}
			testkit.WantSame(t, "agent", e.MustCreate(tokens, store.Reloading()).Tokens, store.Current)
			e.WantSpent(1)
		})
	})
}

// What came from the store is followed like every other successor.
func TestReloadedSetHasSuccessors(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		store := &testkit.Store{Current: elsewhere(e, tokens)}
		agent := e.MustCreate(tokens, store.Reloading())
		newest, err := e.Client.Refresh(t.Context(), agent, nil)
		if err != nil {
			t.Fatal(err)
		}
		testkit.WantSame(t, "a late caller's", e.MustCreate(tokens, nil).Tokens, newest.Tokens)
		e.WantSpent(2)
	})
}

// A store that lags behind by more than the memory reaches back must not win over it; one
// that is ahead must.
func TestStoreThatTheMemoryDoesNotKnow(t *testing.T) {
	for name, ahead := range map[string]bool{"lags behind": false, "is ahead": true} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				first := e.Expired()
				second := e.MustCreate(first, nil).Tokens
				time.Sleep(testkit.TokenLife + time.Second) // first is forgotten
				third := e.MustCreate(second, nil).Tokens
				want := third
				store := &testkit.Store{Current: first}
				if ahead {
					time.Sleep(10 * time.Second)
					agent, err := e.NewClient(nil).Refresh(t.Context(), &authpi.Agent{ID: testkit.Subject, Tokens: third}, nil)
					if err != nil {
						t.Fatal(err)
					}
					store.Current, want = agent.Tokens, agent.Tokens
				}
				testkit.WantSame(t, "agent", e.MustCreate(second, store.Reloading()).Tokens, want)
			})
		})
	}
}

// While a refresh that is not urgent pauses, the store is left alone, too; when the access
// token has expired it is asked.
func TestReloadInThePause(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(8 * time.Second)
		e.Fault(authpitest.Fault{DelayAnswer: 6 * time.Second})
		store := &testkit.Store{Current: tokens}
		testkit.WantSame(t, "at first", e.MustCreate(tokens, store.Opts()).Tokens, tokens) // until 5 s
		time.Sleep(2 * time.Second)                                                        // the answer is in the memory
		testkit.WantSame(t, "in the pause", e.MustCreate(tokens, store.Reloading()).Tokens, tokens)
		if store.Loads != 0 {
			t.Errorf("Reload %d times in the pause; want none", store.Loads)
		}
		time.Sleep(time.Second) // expired, and still in the pause
		if agent := e.MustCreate(tokens, store.Reloading()); agent.Tokens.RefreshToken == tokens.RefreshToken || store.Loads != 1 {
			t.Errorf("got the old set %v, Reload %d times; want the new one, and 1", agent, store.Loads)
		}
		e.WantSpent(1)
	})
}

// A patient caller spends the token where half of its patience is left, and not later.
func TestSlowReloadLeavesTimeToSpend(t *testing.T) {
	for wait, spent := range map[time.Duration]int{2400 * time.Millisecond: 1, 2600 * time.Millisecond: 0} {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(30 * time.Second)
			e.MustCreate(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
				time.Sleep(wait)
				return tokens, nil
			}})
			e.WantSpent(spent)
			time.Sleep(time.Minute) // the store returns
		})
	}
}

// A revocation is final in this process, for the token and for those before it, also
// for an app without Reload.
func TestRevokedTokens(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		old := e.Expired()
		agent := e.MustCreate(old, nil)
		if err := e.Client.RevokeToken(t.Context(), agent.Tokens.RefreshToken, "refresh_token"); err != nil {
			t.Fatal(err)
		}
		_, err := e.Create(old, nil)
		testkit.WantError(t, err, "session_expired", true)
		e.WantSpent(1)
		_, err = e.Client.Refresh(t.Context(), agent, nil)
		testkit.WantError(t, err, "session_expired", true)
		e.WantSpent(1)
	})
}

// An issuer that does not rotate is remembered for RefreshMemory, too, and no longer.
func TestMemoryOfATokenThatStays(t *testing.T) {
	testkit.Bubble(t, &authpitest.Options{NoRotation: true}, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		first := e.MustCreate(tokens, nil).Tokens
		testkit.WantSame(t, "at once", e.MustCreate(tokens, nil).Tokens, first)
		e.WantSpent(1)
		time.Sleep(time.Minute + time.Second)
		e.MustCreate(tokens, nil)
		e.WantSpent(2)
	})
}

// The old session ends while the store is asked, and the store holds a new sign-in: that is
// another session, which the end of the old one does not touch.
func TestNewSignInInPlaceOfARevokedToken(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		anew := e.SignIn()
		agent := e.MustCreate(tokens, &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			return anew, e.Client.RevokeToken(ctx, tokens.RefreshToken, "refresh_token")
		}})
		testkit.WantSame(t, "agent", agent.Tokens, anew)
		e.WantSpent(0)
	})
}
