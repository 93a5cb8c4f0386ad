package authpi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// An ID token that cannot be checked now, or is none, must not cost the session:
// the set is stored without it, and the identity comes from the user info endpoint.
func TestUncheckableIDTokenIsLeftOut(t *testing.T) {
	idToken := func(change func(string) any) func([]byte) []byte {
		return func(body []byte) []byte {
			var answer map[string]any
			_ = json.Unmarshal(body, &answer)
			text, _ := answer["id_token"].(string)
			answer["id_token"] = change(text)
			body, _ = json.Marshal(answer)
			return body
		}
	}
	for _, tc := range []struct {
		name string
		arm  func(e *rtEnv)
		took time.Duration
	}{
		{"key set answers 500", func(e *rtEnv) { e.srv.Inject(authpitest.Fault{Endpoint: "jwks", Status: 500, Times: -1}) }, 0},
		{"key set hangs", func(e *rtEnv) { e.srv.Inject(authpitest.Fault{Endpoint: "jwks", Delay: time.Hour, Times: -1}) }, 5 * time.Second},
		{"key set drops", func(e *rtEnv) { e.srv.Inject(authpitest.Fault{Endpoint: "jwks", Drop: true, Times: -1}) }, 0},
		{"key set is garbage", func(e *rtEnv) { e.srv.Inject(authpitest.Fault{Endpoint: "jwks", Body: "<html>", Times: -1}) }, 0},
		{"discovery answers 500", func(e *rtEnv) { e.srv.Inject(authpitest.Fault{Endpoint: "discovery", Status: 500, Times: -1}) }, 0},
		{"discovery hangs", func(e *rtEnv) { e.srv.Inject(authpitest.Fault{Endpoint: "discovery", Delay: time.Hour, Times: -1}) }, 5 * time.Second},
		{"no ID token", func(e *rtEnv) { e.fault(authpitest.Fault{Malform: idToken(func(string) any { return nil })}) }, 0},
		{"not three parts", func(e *rtEnv) { e.fault(authpitest.Fault{Malform: idToken(func(string) any { return "opaque" })}) }, 0},
		{"encrypted", func(e *rtEnv) { e.fault(authpitest.Fault{Malform: idToken(func(s string) any { return s + ".a.b" })}) }, 0},
		{"header is no JSON", func(e *rtEnv) {
			e.fault(authpitest.Fault{Malform: idToken(func(s string) any { return "AAAA" + s[strings.Index(s, "."):] })})
		}, 0},
		{"looks like an API key", func(e *rtEnv) { e.fault(authpitest.Fault{Malform: idToken(func(string) any { return "key_1:2" })}) }, 0},
		{"looks like a personal token", func(e *rtEnv) {
			e.fault(authpitest.Fault{Malform: idToken(func(string) any { return "ptk_12345678" })})
		}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
				tokens := e.expired()
				e.srv.RotateKeys()
				e.client = e.newClient(nil) // no key and no discovery is cached
				tc.arm(e)
				store, began := &rtStore{}, time.Now()
				agent := e.mustCreate(tokens, store.opts())
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %s; want %s", took, tc.took)
				}
				store.wantCalls(t, 1, 0)
				if store.current.IDToken != "" || store.current.SubjectHint != rtUser {
					t.Errorf("stored: ID token %v, subject_hint %q; want none, %q", store.current.IDToken != "", store.current.SubjectHint, rtUser)
				}
				if agent.ID != rtUser || agent.Email != rtEmail || !agent.HasAccessIn("org_1", "read", "projects") {
					t.Errorf("agent: got %v; want the user info's identity", agent)
				}
				e.wantAlive(store.current)
				e.wantSpent(1)

				// The stored set goes on working, and the next refresh may bring an ID token.
				e.srv.ClearFaults()
				time.Sleep(rtLife + time.Minute)
				agent = e.mustCreate(store.current, store.opts())
				if agent.ID != rtUser || agent.Tokens.IDToken == "" {
					t.Errorf("the refresh after it: got %v; want an ID token again", agent)
				}
				e.wantSpent(2)
			})
		})
	}
}

// A patient caller leaves after 5 s; the set that arrives meanwhile, or just then,
// must not be lost, however long nobody comes.
func TestSetOfAnAbandonedAttemptIsKept(t *testing.T) {
	for _, tc := range []struct {
		name string
		arm  func(e *rtEnv)
	}{
		{"answer after 6 s", func(e *rtEnv) { e.fault(authpitest.Fault{DelayAnswer: 6 * time.Second}) }},
		{"keys hang after the answer", func(e *rtEnv) {
			e.srv.RotateKeys()
			e.client = e.newClient(nil)
			e.srv.Inject(authpitest.Fault{Endpoint: "jwks", Delay: time.Hour, Times: -1})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
				tokens := e.inBuffer(30 * time.Second)
				tc.arm(e)
				store := &rtStore{current: tokens}
				e.mustCreate(tokens, store.opts())
				e.wantSpent(1)
				e.srv.ClearFaults()
				time.Sleep(5 * time.Minute) // a quiet session
				e.mustCreate(store.current, store.opts())
				e.wantAlive(store.current)
				e.wantSpent(1)
			})
		})
	}
}

// An ID token that was checked and does not hold is hostile: nothing is stored,
// and nobody ever gets that set, be it the caller or who waits for it. What else is
// refused stands in the refusal table.
func TestRefusedIDToken(t *testing.T) {
	claim := func(name string, value any) func(h, c map[string]any) {
		return func(_, c map[string]any) {
			c[name] = value
			if value == nil {
				delete(c, name)
			}
		}
	}
	header := func(name string, value any) func(h, c map[string]any) {
		return func(h, _ map[string]any) { h[name] = value }
	}
	for _, tc := range []struct {
		name   string
		change func(header, claims map[string]any)
		code   string
		names  string // what the error names
	}{
		{"signature", header("_signature", "bad"), "invalid_token", "signature"},
		{"iss", claim("iss", "https://evil.example"), "invalid_token", "iss"},
		{"another sub", claim("sub", "usr_eve"), "subject_mismatch", "sub"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
				tokens := e.expired()
				e.fault(authpitest.Fault{IDToken: tc.change, DelayAnswer: time.Millisecond})
				store, waiting := &rtStore{}, &rtStore{}
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = e.create(tokens, waiting.opts()) })
				synctest.Wait()
				_, err := e.create(tokens, store.opts())
				wg.Wait()
				rtWantError(t, err, tc.code, true)
				if !strings.Contains(err.Error(), tc.names) {
					t.Errorf("got %v; want it to name %s", err, tc.names)
				}
				refused := rtCarried(t, err)
				store.wantCalls(t, 0, 1)
				waiting.wantCalls(t, 0, 1)
				e.wantSpent(1)

				// The memory does not hand it out, and the token, which is spent, is not
				// sent again: the issuer would take that for a thief's.
				agent, err := e.create(tokens, store.opts())
				if err == nil || agent != nil {
					t.Fatal("a caller was signed in after its ID token was refused")
				}
				rtWantError(t, err, tc.code, true)
				e.wantSpent(1)
				if refused.RefreshToken == tokens.RefreshToken {
					t.Error("the error carries the old tokens")
				}
				store.wantCalls(t, 0, 2)
			})
		})
	}
}

func TestFailedOnRefreshLosesNothing(t *testing.T) {
	rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
		tokens := e.expired()
		down := errors.New("disk full")
		store := &rtStore{saveErr: down}
		_, err := e.create(tokens, store.opts())
		rtWantError(t, err, "refresh_error", false)
		if !errors.Is(err, down) {
			t.Errorf("got %v; want it to wrap the error of OnRefresh", err)
		}
		carried := rtCarried(t, err)
		store.wantCalls(t, 0, 1)

		store.saveErr = nil
		agent := e.mustCreate(tokens, store.opts())
		rtSame(t, "agent", agent.Tokens, carried)
		rtSame(t, "stored", store.current, carried)
		e.wantSpent(1)
		e.wantAlive(carried)

		// Refresh carries them as well, and tells of no callback error.
		store.saveErr = down
		_, err = e.client.Refresh(t.Context(), agent, &authpi.RefreshOptions{OnRefresh: store.opts().OnRefresh})
		if !errors.Is(err, down) || rtCarried(t, err).AccessToken == carried.AccessToken {
			t.Errorf("Refresh: got %v; want the error of OnRefresh and the newest tokens", err)
		}
	})
}

// Nothing of the caller's error text that is a token comes out.
func TestFailedOnRefreshShowsNoToken(t *testing.T) {
	rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
		tokens := e.signIn()
		for _, secret := range []string{"opaque-old-refresh-token", "opaque-old-access-token", "opaque-new-refresh-token"} {
			e.log.secret(secret)
		}
		tokens.RefreshToken, tokens.AccessToken = "opaque-old-refresh-token", "opaque-old-access-token"
		time.Sleep(rtLife + time.Second)
		e.fault(authpitest.Fault{Body: `{"access_token":"opaque-new-access-token","refresh_token":"opaque-new-refresh-token"}`, Times: -1})
		_, err := e.create(tokens, &authpi.AgentOptions{OnRefresh: func(_ context.Context, set authpi.TokenSet) error {
			return errors.New("UPDATE sessions SET rt = '" + set.RefreshToken + "' WHERE rt = '" + tokens.RefreshToken + "' AND at = '" + tokens.AccessToken + "'")
		}})
		rtWantError(t, err, "refresh_error", false)
		newer := authpi.TokenSet{AccessToken: "x", RefreshToken: "opaque-new-refresh-token", SubjectHint: rtUser}
		_, err = e.create(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
			return newer, errors.New("SELECT ... WHERE rt = '" + tokens.RefreshToken + "': got " + newer.RefreshToken)
		}})
		if err != nil && strings.Contains(err.Error(), "opaque-old") {
			t.Errorf("got %v", err)
		}
	})
}

// User info comes after the set is stored: its failure is its own error.
func TestUserInfoFailsAfterAStoredRefresh(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault authpitest.Fault
		code  string
	}{
		{"status 500", authpitest.Fault{Status: 500}, "userinfo_error"},
		{"refused", authpitest.Fault{Status: 401, Body: `{"error":"invalid_token"}`}, "userinfo_error"},
		{"another subject", authpitest.Fault{Body: `{"sub":"usr_eve"}`}, "subject_mismatch"},
		{"garbage", authpitest.Fault{Body: `<html>`}, "invalid_response"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rtBubble(t, &authpitest.Options{OmitIDTokenOnRefresh: true}, nil, func(t *testing.T, e *rtEnv) {
				tokens := e.expired()
				tc.fault.Endpoint, tc.fault.Times = "userinfo", 3
				e.srv.Inject(tc.fault)
				store := &rtStore{}
				_, err := e.create(tokens, store.opts())
				var own *authpi.OAuthError
				var refresh *authpi.RefreshError
				if !errors.As(err, &own) || own.Code != tc.code || errors.As(err, &refresh) {
					t.Errorf("got %T %v; want an error of its own, %s", err, err, tc.code)
				}
				store.wantCalls(t, 1, 0)
				e.wantSpent(1)

				// Without OnRefresh nobody has the tokens but the error.
				bare := &rtStore{}
				opts := bare.opts()
				opts.OnRefresh = nil
				_, err = e.create(tokens, opts)
				rtSame(t, "carried", rtCarried(t, err), store.current)
				bare.wantCalls(t, 0, 1)

				e.srv.ClearFaults()
				agent := e.mustCreate(store.current, store.opts())
				if agent.Email != rtEmail {
					t.Errorf("email: got %q; want %q", agent.Email, rtEmail)
				}
				e.wantSpent(1)
			})
		})
	}
}

func TestReload(t *testing.T) {
	t.Run("newer set is used", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			elsewhere, err := e.createBy(t.Context(), e.newClient(nil), tokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			store := &rtStore{current: elsewhere.Tokens}
			agent := e.mustCreate(tokens, store.reloading())
			rtSame(t, "agent", agent.Tokens, elsewhere.Tokens)
			store.wantCalls(t, 0, 0)
			e.wantSpent(1)
			// And it is remembered for callers without Reload.
			rtSame(t, "late", e.mustCreate(tokens, nil).Tokens, elsewhere.Tokens)
			e.wantSpent(1)
		})
	})
	t.Run("same refresh token, later expiry", func(t *testing.T) {
		rtBubble(t, &authpitest.Options{NoRotation: true}, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			elsewhere, err := e.createBy(t.Context(), e.newClient(nil), tokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			store := &rtStore{current: elsewhere.Tokens}
			rtSame(t, "agent", e.mustCreate(tokens, store.reloading()).Tokens, elsewhere.Tokens)
			store.wantCalls(t, 0, 0)
			e.wantSpent(1)
		})
	})
	t.Run("newer set has expired too", func(t *testing.T) {
		for _, rotates := range []bool{true, false} {
			rtBubble(t, &authpitest.Options{NoRotation: !rotates}, nil, func(t *testing.T, e *rtEnv) {
				tokens := e.expired()
				elsewhere, err := e.createBy(t.Context(), e.newClient(nil), tokens, nil)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(rtLife + time.Second)
				store := &rtStore{current: elsewhere.Tokens}
				agent := e.mustCreate(tokens, store.reloading())
				store.wantCalls(t, 1, 0)
				e.wantSpent(2)
				e.wantAlive(agent.Tokens)
				if agent.IsExpired() {
					t.Error("the agent has expired")
				}
			})
		}
	})
	t.Run("nothing newer", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			store := &rtStore{current: tokens}
			e.mustCreate(tokens, store.reloading())
			store.wantCalls(t, 1, 0)
			e.wantSpent(1)
			if store.loads != 1 {
				t.Errorf("Reload: got %d calls; want 1", store.loads)
			}
		})
	})
	t.Run("signed out", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			store := &rtStore{}
			_, err := e.create(e.expired(), store.reloading())
			rtWantError(t, err, "session_expired", true)
			store.wantCalls(t, 0, 1)
			e.wantSpent(0)
		})
	})
	t.Run("signed out, inside the buffer", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			store := &rtStore{}
			_, err := e.create(e.inBuffer(30*time.Second), store.reloading())
			rtWantError(t, err, "session_expired", true)
			e.wantSpent(0)
		})
	})
	t.Run("store away", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			store := &rtStore{loadErr: errors.New("no connection")}
			_, err := e.create(tokens, store.reloading())
			rtWantError(t, err, "transport_error", false)
			if !errors.Is(err, store.loadErr) {
				t.Errorf("got %v; want it to wrap the error of Reload", err)
			}
			store.wantCalls(t, 0, 1)
			e.wantSpent(0)
		})
	})
	t.Run("store away, inside the buffer", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.inBuffer(30 * time.Second)
			store := &rtStore{loadErr: errors.New("no connection")}
			rtSame(t, "agent", e.mustCreate(tokens, store.reloading()).Tokens, tokens)
			store.wantCalls(t, 0, 0)
			e.wantSpent(0)
		})
	})
	t.Run("another subject", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			e.srv.AddUser(authpitest.User{ID: "usr_eve"})
			store := &rtStore{current: authpi.TokenSet{
				AccessToken: "at", RefreshToken: "rt-of-eve", SubjectHint: "usr_eve", ExpiresAt: time.Now().Add(time.Hour),
			}}
			_, err := e.create(tokens, store.reloading())
			var mismatch *authpi.SubjectMismatchError
			if !errors.As(err, &mismatch) || mismatch.Expected != rtUser || mismatch.Actual != "usr_eve" {
				t.Errorf("got %v; want a SubjectMismatchError", err)
			}
			store.wantCalls(t, 0, 1)
			e.wantSpent(0)
		})
	})
	t.Run("asked once more on invalid_grant", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			store := &rtStore{current: tokens}
			opts := store.reloading()
			// Another process is first while our request is on its way.
			e.fault(authpitest.Fault{Delay: time.Second})
			other := &rtStore{}
			var wg sync.WaitGroup
			wg.Go(func() {
				time.Sleep(time.Second / 2)
				e.srv.ClearFaults()
				agent, err := e.createBy(t.Context(), e.newClient(nil), tokens, other.opts())
				if err != nil {
					t.Error(err)
					return
				}
				store.set(agent.Tokens)
			})
			agent := e.mustCreate(tokens, opts)
			wg.Wait()
			rtSame(t, "agent", agent.Tokens, other.current)
			if store.loads != 2 {
				t.Errorf("Reload: got %d calls; want 2", store.loads)
			}
			store.wantCalls(t, 0, 0)
		})
	})
	t.Run("invalid_grant and nothing newer", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			e.srv.EndSession(rtUser)
			store := &rtStore{current: tokens}
			_, err := e.create(tokens, store.reloading())
			rtWantError(t, err, "invalid_grant", true)
			if store.loads != 2 {
				t.Errorf("Reload: got %d calls; want 2", store.loads)
			}
			store.wantCalls(t, 0, 1)
			e.wantSpent(1)
		})
	})
	t.Run("store lags behind the memory", func(t *testing.T) {
		rtBubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshMemory = 2 * time.Hour }, func(t *testing.T, e *rtEnv) {
			first := e.expired()
			second := e.mustCreate(first, nil).Tokens
			time.Sleep(rtLife + time.Second)
			store := &rtStore{current: first}
			agent := e.mustCreate(second, store.reloading())
			store.wantCalls(t, 1, 0)
			e.wantSpent(2)
			e.wantAlive(agent.Tokens)
			// From the first one's view, with the same lagging store.
			time.Sleep(rtLife + time.Second)
			lagging := &rtStore{current: second}
			agent = e.mustCreate(first, lagging.reloading())
			e.wantSpent(3)
			e.wantAlive(agent.Tokens)
		})
	})
	t.Run("newer set without refresh token has expired", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			store := &rtStore{current: authpi.TokenSet{AccessToken: "at", IDToken: tokens.IDToken, ExpiresAt: time.Now().Add(-time.Minute)}}
			_, err := e.create(tokens, store.reloading())
			rtWantError(t, err, "token_expired", true)
			e.wantSpent(0)
		})
	})
	t.Run("one Reload for one flight", func(t *testing.T) {
		rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			e.fault(authpitest.Fault{DelayAnswer: time.Second})
			store := &rtStore{current: tokens}
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { e.mustCreate(tokens, store.reloading()) })
			}
			wg.Wait()
			store.wantCalls(t, 100, 0)
			if store.loads != 1 {
				t.Errorf("Reload: got %d calls; want 1", store.loads)
			}
		})
	})
}

// Config.VerifyStoredTokens is for stores that others can write to: what Reload
// brings from there is verified too.
func TestReloadedTokensAreVerified(t *testing.T) {
	for _, verify := range []bool{false, true} {
		rtBubble(t, nil, func(cfg *authpi.Config) { cfg.VerifyStoredTokens = verify }, func(t *testing.T, e *rtEnv) {
			tokens := e.expired()
			forged := tokens
			forged.AccessToken = "another-access-token"
			payload, _ := json.Marshal(map[string]any{
				"iss": e.srv.URL, "sub": rtUser, "aud": e.srv.ClientID(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
				"organizations": []any{map[string]any{"id": "org_victim", "scopes": []string{"owner"}}},
			})
			parts := strings.Split(tokens.IDToken, ".")
			forged.IDToken = parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2]
			forged.ExpiresAt = time.Now().Add(time.Hour)
			store := &rtStore{current: forged}
			agent, err := e.create(tokens, store.reloading())
			if !verify {
				if err != nil || !agent.IsOwnerOf("org_victim") {
					t.Errorf("without VerifyStoredTokens the store is trusted: got %v, %v", agent, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("a forged ID token from the store was believed: owner of org_victim: %v", agent.IsOwnerOf("org_victim"))
			}
			rtWantError(t, err, "invalid_token", true)
			e.wantSpent(0)
			if agent, err := e.create(tokens, &authpi.AgentOptions{}); err == nil && agent.IsOwnerOf("org_victim") {
				t.Error("the memory hands the forged set out")
			}
		})
	}
}
