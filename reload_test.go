package authpi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// elsewhere is what another process made of tokens.
func (e *rtEnv) elsewhere(tokens authpi.TokenSet) authpi.TokenSet {
	e.t.Helper()
	agent, err := e.createBy(context.Background(), e.newClient(nil), tokens, nil)
	if err != nil {
		e.t.Fatalf("another process: %v", err)
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
			rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
				tokens := e.expired()
				newer := tokens
				if tc.dead {
					newer = e.elsewhere(tokens)
					time.Sleep(rtLife + time.Second)
				}
				tc.fault.Times = -1
				e.fault(tc.fault)
				loads := 0
				_, err := e.create(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
					if loads++; loads == 1 {
						return tokens, nil
					}
					return newer, nil
				}})
				rtWantError(t, err, tc.code, tc.code == "invalid_grant")
				if loads != tc.loads {
					t.Errorf("Reload %d times; want %d", loads, tc.loads)
				}
			})
		})
	}
	t.Run("the store is away by then", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			e.elsewhere(tokens)
			loads := 0
			_, err := e.create(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
				if loads++; loads == 1 {
					return tokens, nil
				}
				return authpi.TokenSet{}, errors.New("connection refused")
			}})
			rtWantError(t, err, "transport_error", false) // the newer set may be there
		})
	})
}

// What the store gives belongs to the same user, and can be read, before anything is done
// with it.
func TestReloadedSetIsTheUsersOwn(t *testing.T) {
	t.Run("another user's, expired", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			other := tokens
			other.RefreshToken, other.AccessToken, other.IDToken = "rt_eve", "at_eve", unsigned(`{"sub":"usr_eve"}`)
			_, err := e.create(tokens, (&rtStore{current: other}).reloading())
			rtWantError(t, err, "subject_mismatch", true)
			e.wantSpent(0)
		})
	})
	t.Run("unreadable", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			broken := tokens
			broken.RefreshToken, broken.IDToken = "rt_new", "no JWT"
			_, err := e.create(tokens, (&rtStore{current: broken}).reloading())
			rtWantError(t, err, "invalid_token", true)
			e.wantSpent(0)
		})
	})
	t.Run("verified, and good", func(t *testing.T) {
		rtBubble(t, nil, func(cfg *authpi.Config) { cfg.VerifyStoredTokens = true }, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			store := &rtStore{current: e.elsewhere(tokens)}
			rtSame(t, "agent", e.mustCreate(tokens, store.reloading()).Tokens, store.current)
			e.wantSpent(1)
		})
	})
}

// What came from the store is followed like every other successor.
func TestReloadedSetHasSuccessors(t *testing.T) {
	rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
		tokens := e.expired()
		store := &rtStore{current: e.elsewhere(tokens)}
		agent := e.mustCreate(tokens, store.reloading())
		newest, err := e.client.Refresh(t.Context(), agent, nil)
		if err != nil {
			t.Fatal(err)
		}
		rtSame(t, "a late caller's", e.mustCreate(tokens, nil).Tokens, newest.Tokens)
		e.wantSpent(2)
	})
}

// A store that lags behind by more than the memory reaches back must not win over it; one
// that is ahead must.
func TestStoreThatTheMemoryDoesNotKnow(t *testing.T) {
	for name, ahead := range map[string]bool{"lags behind": false, "is ahead": true} {
		t.Run(name, func(t *testing.T) {
			rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
				first := e.expired()
				second := e.mustCreate(first, nil).Tokens
				time.Sleep(rtLife + time.Second) // first is forgotten
				third := e.mustCreate(second, nil).Tokens
				want := third
				store := &rtStore{current: first}
				if ahead {
					time.Sleep(10 * time.Second)
					agent, err := e.newClient(nil).Refresh(t.Context(), &authpi.Agent{ID: rtUser, Tokens: third}, nil)
					if err != nil {
						t.Fatal(err)
					}
					store.current, want = agent.Tokens, agent.Tokens
				}
				rtSame(t, "agent", e.mustCreate(second, store.reloading()).Tokens, want)
			})
		})
	}
}

// While a refresh that is not urgent pauses, the store is left alone, too; when the access
// token has expired it is asked.
func TestReloadInThePause(t *testing.T) {
	rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
		tokens := e.inBuffer(8 * time.Second)
		e.fault(authpitest.Fault{DelayAnswer: 6 * time.Second})
		store := &rtStore{current: tokens}
		rtSame(t, "at first", e.mustCreate(tokens, store.opts()).Tokens, tokens) // until 5 s
		time.Sleep(2 * time.Second)                                              // the answer is in the memory
		rtSame(t, "in the pause", e.mustCreate(tokens, store.reloading()).Tokens, tokens)
		if store.loads != 0 {
			t.Errorf("Reload %d times in the pause; want none", store.loads)
		}
		time.Sleep(time.Second) // expired, and still in the pause
		if agent := e.mustCreate(tokens, store.reloading()); agent.Tokens.RefreshToken == tokens.RefreshToken || store.loads != 1 {
			t.Errorf("got the old set %v, Reload %d times; want the new one, and 1", agent, store.loads)
		}
		e.wantSpent(1)
	})
}

// A patient caller spends the token where half of its patience is left, and not later.
func TestSlowReloadLeavesTimeToSpend(t *testing.T) {
	for wait, spent := range map[time.Duration]int{2500 * time.Millisecond: 1, 2500*time.Millisecond + 1: 0} {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.inBuffer(30 * time.Second)
			e.mustCreate(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
				time.Sleep(wait)
				return tokens, nil
			}})
			e.wantSpent(spent)
		})
	}
}

// Of a token that was revoked the issuer has the last word; of one before it the memory has.
func TestRevokedTokens(t *testing.T) {
	rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
		old := e.expired()
		agent := e.mustCreate(old, nil)
		if err := e.client.RevokeToken(t.Context(), agent.Tokens.RefreshToken, "refresh_token"); err != nil {
			t.Fatal(err)
		}
		_, err := e.create(old, nil)
		rtWantError(t, err, "session_expired", true)
		e.wantSpent(1)
		_, err = e.client.Refresh(t.Context(), agent, nil)
		rtWantError(t, err, "invalid_grant", true)
		e.wantSpent(2)
	})
}

// An issuer that does not rotate is remembered for RefreshMemory, too, and no longer.
func TestMemoryOfATokenThatStays(t *testing.T) {
	rtBubble(t, &authpitest.Options{NoRotation: true}, nil, func(t *testing.T, e *rtEnv) {
		tokens := e.expired()
		first := e.mustCreate(tokens, nil).Tokens
		rtSame(t, "at once", e.mustCreate(tokens, nil).Tokens, first)
		e.wantSpent(1)
		time.Sleep(time.Minute + time.Second)
		e.mustCreate(tokens, nil)
		e.wantSpent(2)
	})
}

// The old session ends while the store is asked, and the store holds a new sign-in: that is
// another session, which the end of the old one does not touch.
func TestNewSignInInPlaceOfARevokedToken(t *testing.T) {
	rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
		tokens := e.expired()
		anew := e.signIn()
		agent := e.mustCreate(tokens, &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			return anew, e.client.RevokeToken(ctx, tokens.RefreshToken, "refresh_token")
		}})
		rtSame(t, "agent", agent.Tokens, anew)
		e.wantSpent(0)
	})
}
