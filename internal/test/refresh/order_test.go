package refresh_test

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
	"github.com/authpi/authpi-idp-go/internal/testkit"
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
		arm  func(e *testkit.Env)
		took time.Duration
	}{
		{"key set answers 500", func(e *testkit.Env) { e.Issuer.Inject(authpitest.Fault{Endpoint: "jwks", Status: 500, Times: -1}) }, 0},
		{"key set hangs", func(e *testkit.Env) { e.Issuer.Inject(authpitest.Fault{Endpoint: "jwks", Delay: time.Hour, Times: -1}) }, 5 * time.Second},
		{"key set drops", func(e *testkit.Env) { e.Issuer.Inject(authpitest.Fault{Endpoint: "jwks", Drop: true, Times: -1}) }, 0},
		{"key set is garbage", func(e *testkit.Env) { e.Issuer.Inject(authpitest.Fault{Endpoint: "jwks", Body: "<html>", Times: -1}) }, 0},
		{"discovery answers 500", func(e *testkit.Env) { e.Issuer.Inject(authpitest.Fault{Endpoint: "discovery", Status: 500, Times: -1}) }, 0},
		{"discovery hangs", func(e *testkit.Env) {
			e.Issuer.Inject(authpitest.Fault{Endpoint: "discovery", Delay: time.Hour, Times: -1})
		}, 5 * time.Second},
		{"no ID token", func(e *testkit.Env) { e.Fault(authpitest.Fault{Malform: idToken(func(string) any { return nil })}) }, 0},
		{"not three parts", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{Malform: idToken(func(string) any { return "opaque" })})
		}, 0},
		{"encrypted", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{Malform: idToken(func(s string) any { return s + ".a.b" })})
		}, 0},
		{"header is no JSON", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{Malform: idToken(func(s string) any { return "AAAA" + s[strings.Index(s, "."):] })})
		}, 0},
		{"looks like an API key", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{Malform: idToken(func(string) any { return "key_1:2" })})
		}, 0},
		{"looks like a personal token", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{Malform: idToken(func(string) any { return "ptk_12345678" })})
		}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Issuer.RotateKeys()
				e.Client = e.NewClient(nil) // no key and no discovery is cached
				tc.arm(e)
				store, began := &testkit.Store{}, time.Now()
				agent := e.MustCreate(tokens, store.Opts())
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %s; want %s", took, tc.took)
				}
				store.WantCalls(t, 1, 0)
				if store.Current.IDToken != "" || store.Current.SubjectHint != testkit.Subject {
					t.Errorf("stored: ID token %v, subject_hint %q; want none, %q", store.Current.IDToken != "", store.Current.SubjectHint, testkit.Subject)
				}
				if agent.ID != testkit.Subject || agent.Email != testkit.Email || !agent.HasAccessIn("org_1", "read", "projects") {
					t.Errorf("agent: got %v; want the user info's identity", agent)
				}
				e.WantAlive(store.Current)
				e.WantSpent(1)

				// The stored set goes on working, and the next refresh may bring an ID token.
				e.Issuer.ClearFaults()
				time.Sleep(testkit.TokenLife + time.Minute)
				agent = e.MustCreate(store.Current, store.Opts())
				if agent.ID != testkit.Subject || agent.Tokens.IDToken == "" {
					t.Errorf("the refresh after it: got %v; want an ID token again", agent)
				}
				e.WantSpent(2)
			})
		})
	}
}

// A patient caller leaves after 5 s; the set that arrives meanwhile, or just then,
// must not be lost, however long nobody comes.
func TestSetOfAnAbandonedAttemptIsKept(t *testing.T) {
	for _, tc := range []struct {
		name string
		arm  func(e *testkit.Env)
	}{
		{"answer after 6 s", func(e *testkit.Env) { e.Fault(authpitest.Fault{DelayAnswer: 6 * time.Second}) }},
		{"keys hang after the answer", func(e *testkit.Env) {
			e.Issuer.RotateKeys()
			e.Client = e.NewClient(nil)
			e.Issuer.Inject(authpitest.Fault{Endpoint: "jwks", Delay: time.Hour, Times: -1})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.InBuffer(30 * time.Second)
				tc.arm(e)
				store := &testkit.Store{Current: tokens}
				e.MustCreate(tokens, store.Opts())
				e.WantSpent(1)
				e.Issuer.ClearFaults()
				time.Sleep(5 * time.Minute) // a quiet session
				e.MustCreate(store.Current, store.Opts())
				e.WantAlive(store.Current)
				e.WantSpent(1)
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
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(authpitest.Fault{IDToken: tc.change, DelayAnswer: time.Millisecond})
				store, waiting := &testkit.Store{}, &testkit.Store{}
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = e.Create(tokens, waiting.Opts()) })
				synctest.Wait()
				_, err := e.Create(tokens, store.Opts())
				wg.Wait()
				testkit.WantError(t, err, tc.code, true)
				if !strings.Contains(err.Error(), tc.names) {
					t.Errorf("got %v; want it to name %s", err, tc.names)
				}
				refused := testkit.Carried(t, err)
				store.WantCalls(t, 0, 1)
				waiting.WantCalls(t, 0, 1)
				e.WantSpent(1)

				// The memory does not hand it out, and the token, which is spent, is not
				// sent again: the issuer would take that for a thief's.
				agent, err := e.Create(tokens, store.Opts())
				if err == nil || agent != nil {
					t.Fatal("a caller was signed in after its ID token was refused")
				}
				testkit.WantError(t, err, tc.code, true)
				e.WantSpent(1)
				if refused.RefreshToken == tokens.RefreshToken {
					t.Error("the error carries the old tokens")
				}
				store.WantCalls(t, 0, 2)
			})
		})
	}
}

func TestFailedOnRefreshLosesNothing(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		down := errors.New("disk full")
		store := &testkit.Store{SaveErr: down}
		_, err := e.Create(tokens, store.Opts())
		testkit.WantError(t, err, "refresh_error", false)
		if !errors.Is(err, down) {
			t.Errorf("got %v; want it to wrap the error of OnRefresh", err)
		}
		carried := testkit.Carried(t, err)
		store.WantCalls(t, 0, 1)

		store.SaveErr = nil
		agent := e.MustCreate(tokens, store.Opts())
		testkit.WantSame(t, "agent", agent.Tokens, carried)
		testkit.WantSame(t, "stored", store.Current, carried)
		e.WantSpent(1)
		e.WantAlive(carried)

		// Refresh carries them as well, and tells of no callback error.
		store.SaveErr = down
		_, err = e.Client.Refresh(t.Context(), agent, &authpi.RefreshOptions{OnRefresh: store.Opts().OnRefresh})
		if !errors.Is(err, down) || testkit.Carried(t, err).AccessToken == carried.AccessToken {
			t.Errorf("Refresh: got %v; want the error of OnRefresh and the newest tokens", err)
		}
	})
}

// Nothing of the caller's error text that is a token comes out.
func TestFailedOnRefreshShowsNoToken(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.SignIn()
		for _, secret := range []string{"opaque-old-refresh-token", "opaque-old-access-token", "opaque-new-refresh-token"} {
			e.Log.Secret(secret)
		}
		tokens.RefreshToken, tokens.AccessToken = "opaque-old-refresh-token", "opaque-old-access-token"
		time.Sleep(testkit.TokenLife + time.Second)
		e.Fault(authpitest.Fault{Body: `{"access_token":"opaque-new-access-token","refresh_token":"opaque-new-refresh-token"}`, Times: -1})
		_, err := e.Create(tokens, &authpi.AgentOptions{OnRefresh: func(_ context.Context, set authpi.TokenSet) error {
			return errors.New("UPDATE sessions SET rt = '" + set.RefreshToken + "' WHERE rt = '" + tokens.RefreshToken + "' AND at = '" + tokens.AccessToken + "'")
		}})
		testkit.WantError(t, err, "refresh_error", false)
		newer := authpi.TokenSet{AccessToken: "x", RefreshToken: "opaque-new-refresh-token", SubjectHint: testkit.Subject}
		_, err = e.Create(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
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
			testkit.Bubble(t, &authpitest.Options{OmitIDTokenOnRefresh: true}, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				tc.fault.Endpoint, tc.fault.Times = "userinfo", 3
				e.Issuer.Inject(tc.fault)
				store := &testkit.Store{}
				_, err := e.Create(tokens, store.Opts())
				var own *authpi.OAuthError
				var refresh *authpi.RefreshError
				if !errors.As(err, &own) || own.Code != tc.code || errors.As(err, &refresh) {
					t.Errorf("got %T %v; want an error of its own, %s", err, err, tc.code)
				}
				store.WantCalls(t, 1, 0)
				e.WantSpent(1)

				// Without OnRefresh nobody has the tokens but the error.
				bare := &testkit.Store{}
				opts := bare.Opts()
				opts.OnRefresh = nil
				_, err = e.Create(tokens, opts)
				testkit.WantSame(t, "carried", testkit.Carried(t, err), store.Current)
				bare.WantCalls(t, 0, 1)

				e.Issuer.ClearFaults()
				agent := e.MustCreate(store.Current, store.Opts())
				if agent.Email != testkit.Email {
					t.Errorf("email: got %q; want %q", agent.Email, testkit.Email)
				}
				e.WantSpent(1)
			})
		})
	}
}

func TestReload(t *testing.T) {
	t.Run("newer set is used", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			elsewhere, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			store := &testkit.Store{Current: elsewhere.Tokens}
			agent := e.MustCreate(tokens, store.Reloading())
			testkit.WantSame(t, "agent", agent.Tokens, elsewhere.Tokens)
			store.WantCalls(t, 0, 0)
			e.WantSpent(1)
			// And it is remembered for callers without Reload.
			testkit.WantSame(t, "late", e.MustCreate(tokens, nil).Tokens, elsewhere.Tokens)
			e.WantSpent(1)
		})
	})
	t.Run("same refresh token, later expiry", func(t *testing.T) {
		testkit.Bubble(t, &authpitest.Options{NoRotation: true}, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			elsewhere, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			store := &testkit.Store{Current: elsewhere.Tokens}
			testkit.WantSame(t, "agent", e.MustCreate(tokens, store.Reloading()).Tokens, elsewhere.Tokens)
			store.WantCalls(t, 0, 0)
			e.WantSpent(1)
		})
	})
	t.Run("newer set has expired too", func(t *testing.T) {
		for _, rotates := range []bool{true, false} {
			testkit.Bubble(t, &authpitest.Options{NoRotation: !rotates}, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				elsewhere, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, nil)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(testkit.TokenLife + time.Second)
				store := &testkit.Store{Current: elsewhere.Tokens}
				agent := e.MustCreate(tokens, store.Reloading())
				store.WantCalls(t, 1, 0)
				e.WantSpent(2)
				e.WantAlive(agent.Tokens)
				if agent.IsExpired() {
					t.Error("the agent has expired")
				}
			})
		}
	})
	t.Run("nothing newer", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			store := &testkit.Store{Current: tokens}
			e.MustCreate(tokens, store.Reloading())
			store.WantCalls(t, 1, 0)
			e.WantSpent(1)
			if store.Loads != 1 {
				t.Errorf("Reload: got %d calls; want 1", store.Loads)
			}
		})
	})
	t.Run("signed out", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			store := &testkit.Store{}
			_, err := e.Create(e.Expired(), store.Reloading())
			testkit.WantError(t, err, "session_expired", true)
			store.WantCalls(t, 0, 1)
			e.WantSpent(0)
		})
	})
	t.Run("signed out, inside the buffer", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			store := &testkit.Store{}
			_, err := e.Create(e.InBuffer(30*time.Second), store.Reloading())
			testkit.WantError(t, err, "session_expired", true)
			e.WantSpent(0)
		})
	})
	t.Run("store away", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			store := &testkit.Store{LoadErr: errors.New("no connection")}
			_, err := e.Create(tokens, store.Reloading())
			testkit.WantError(t, err, "transport_error", false)
			if !errors.Is(err, store.LoadErr) {
				t.Errorf("got %v; want it to wrap the error of Reload", err)
			}
			store.WantCalls(t, 0, 1)
			e.WantSpent(0)
		})
	})
	t.Run("store away, inside the buffer", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(30 * time.Second)
			store := &testkit.Store{LoadErr: errors.New("no connection")}
			testkit.WantSame(t, "agent", e.MustCreate(tokens, store.Reloading()).Tokens, tokens)
			store.WantCalls(t, 0, 0)
			e.WantSpent(0)
		})
	})
	t.Run("another subject", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Issuer.AddUser(authpitest.User{ID: "usr_eve"})
			store := &testkit.Store{Current: authpi.TokenSet{
				AccessToken: "at", RefreshToken: "rt-of-eve", SubjectHint: "usr_eve", ExpiresAt: time.Now().Add(time.Hour),
			}}
			_, err := e.Create(tokens, store.Reloading())
			var mismatch *authpi.SubjectMismatchError
			if !errors.As(err, &mismatch) || mismatch.Expected != testkit.Subject || mismatch.Actual != "usr_eve" {
				t.Errorf("got %v; want a SubjectMismatchError", err)
			}
			store.WantCalls(t, 0, 1)
			e.WantSpent(0)
		})
	})
	t.Run("asked once more on invalid_grant", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			store := &testkit.Store{Current: tokens}
			opts := store.Reloading()
			// Another process is first while our request is on its way.
			e.Fault(authpitest.Fault{Delay: time.Second})
			other := &testkit.Store{}
			var wg sync.WaitGroup
			wg.Go(func() {
				time.Sleep(time.Second / 2)
				e.Issuer.ClearFaults()
				agent, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, other.Opts())
				if err != nil {
					t.Error(err)
					return
				}
				store.Set(agent.Tokens)
			})
			agent := e.MustCreate(tokens, opts)
			wg.Wait()
			testkit.WantSame(t, "agent", agent.Tokens, other.Current)
			if store.Loads != 2 {
				t.Errorf("Reload: got %d calls; want 2", store.Loads)
			}
			store.WantCalls(t, 0, 0)
		})
	})
	t.Run("invalid_grant and nothing newer", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Issuer.EndSession(testkit.Subject)
			store := &testkit.Store{Current: tokens}
			_, err := e.Create(tokens, store.Reloading())
			testkit.WantError(t, err, "invalid_grant", true)
			if store.Loads != 2 {
				t.Errorf("Reload: got %d calls; want 2", store.Loads)
			}
			store.WantCalls(t, 0, 1)
			e.WantSpent(1)
		})
	})
	t.Run("store lags behind the memory", func(t *testing.T) {
		testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshMemory = 2 * time.Hour }, func(t *testing.T, e *testkit.Env) {
			first := e.Expired()
			second := e.MustCreate(first, nil).Tokens
			time.Sleep(testkit.TokenLife + time.Second)
			store := &testkit.Store{Current: first}
			agent := e.MustCreate(second, store.Reloading())
			store.WantCalls(t, 1, 0)
			e.WantSpent(2)
			e.WantAlive(agent.Tokens)
			// From the first one's view, with the same lagging store.
			time.Sleep(testkit.TokenLife + time.Second)
			lagging := &testkit.Store{Current: second}
			agent = e.MustCreate(first, lagging.Reloading())
			e.WantSpent(3)
			e.WantAlive(agent.Tokens)
		})
	})
	t.Run("newer set without refresh token has expired", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			store := &testkit.Store{Current: authpi.TokenSet{AccessToken: "at", IDToken: tokens.IDToken, ExpiresAt: time.Now()}}
			_, err := e.Create(tokens, store.Reloading())
			testkit.WantError(t, err, "token_expired", true)
			e.WantSpent(0)
		})
	})
	t.Run("one Reload for one flight", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(authpitest.Fault{DelayAnswer: time.Second})
			store := &testkit.Store{Current: tokens}
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { e.MustCreate(tokens, store.Reloading()) })
			}
			wg.Wait()
			store.WantCalls(t, 100, 0)
			if store.Loads != 1 {
				t.Errorf("Reload: got %d calls; want 1", store.Loads)
			}
		})
	})
}

// Config.VerifyStoredTokens is for stores that others can write to: what Reload
// brings from there is verified too.
func TestReloadedTokensAreVerified(t *testing.T) {
	for _, verify := range []bool{false, true} {
		testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.VerifyStoredTokens = verify }, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			forged := tokens
			forged.AccessToken = "another-access-token"
			payload, _ := json.Marshal(map[string]any{
				"iss": e.Issuer.URL, "sub": testkit.Subject, "aud": e.Issuer.ClientID(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
				"organizations": []any{map[string]any{"id": "org_victim", "scopes": []string{"owner"}}},
			})
			parts := strings.Split(tokens.IDToken, ".")
			forged.IDToken = parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2]
			forged.ExpiresAt = time.Now().Add(time.Hour)
			store := &testkit.Store{Current: forged}
			agent, err := e.Create(tokens, store.Reloading())
			if !verify {
				if err != nil || !agent.IsOwnerOf("org_victim") {
					t.Errorf("without VerifyStoredTokens the store is trusted: got %v, %v", agent, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("a forged ID token from the store was believed: owner of org_victim: %v", agent.IsOwnerOf("org_victim"))
			}
			testkit.WantError(t, err, "invalid_token", true)
			e.WantSpent(0)
			if agent, err := e.Create(tokens, &authpi.AgentOptions{}); err == nil && agent.IsOwnerOf("org_victim") {
				t.Error("the memory hands the forged set out")
			}
		})
	}
}
