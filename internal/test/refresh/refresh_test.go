package refresh_test

import (
	"encoding/json"
	"errors"

	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestRefreshGivesANewAgent(t *testing.T) {
	testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.Resources = []string{"https://default.example/"} }, func(t *testing.T, e *testkit.Env) {
		tokens := e.SignIn()
		agent := e.MustCreate(tokens, nil)
		time.Sleep(time.Second)
		store := &testkit.Store{}
		renewed, err := e.Client.Refresh(t.Context(), agent, &authpi.RefreshOptions{OnRefresh: store.Opts().OnRefresh})
		if err != nil {
			t.Fatal(err)
		}
		testkit.WantSame(t, "stored", store.Current, renewed.Tokens)
		testkit.WantSame(t, "the old agent", agent.Tokens, tokens)
		if renewed.ID != testkit.Subject || renewed.Email != testkit.Email || renewed.Tokens.Scope == "" {
			t.Errorf("got %v; want the same user", renewed)
		}
		if got := e.Issuer.LastForm()["resource"]; len(got) != 1 || got[0] != "https://default.example/" {
			t.Errorf("resource: got %q; want Config's", got)
		}
		if _, err := e.Client.Refresh(t.Context(), renewed, &authpi.RefreshOptions{Resources: []string{}}); err != nil {
			t.Fatal(err)
		}
		if got := e.Issuer.LastForm()["resource"]; got != nil {
			t.Errorf("resource: got %q; want none", got)
		}
		_, err = e.Client.Refresh(t.Context(), nil, nil)
		testkit.WantError(t, err, "invalid_request", false)
		_, err = e.Client.Refresh(t.Context(), &authpi.Agent{ID: testkit.Subject}, nil)
		testkit.WantError(t, err, "token_expired", true)
		e.WantSpent(2)
	})
}

func TestUnexpiredTokensMakeNoRequest(t *testing.T) {
	for _, tc := range []struct {
		name string
		left time.Duration
		mode authpi.RefreshMode
		want int
	}{
		{"fresh", testkit.TokenLife, authpi.RefreshDefault, 0},
		{"just outside the buffer", 61 * time.Second, authpi.RefreshDefault, 0},
		{"at the buffer's edge", 60 * time.Second, authpi.RefreshDefault, 1},
		{"expired", 0, authpi.RefreshDefault, 1},
		{"off", 30 * time.Second, authpi.RefreshOff, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.InBuffer(tc.left)
				e.MustCreate(tokens, &authpi.AgentOptions{AutoRefresh: tc.mode})
				e.WantSpent(tc.want)
				if got := e.Issuer.Requests(""); got > tc.want {
					t.Errorf("requests: got %d; want %d", got, tc.want)
				}
			})
		})
	}
}

func TestLateCallerGetsTheNewestSet(t *testing.T) {
	for _, rotations := range []int{1, 3, 20} {
		t.Run(fmt.Sprintf("%d rotations", rotations), func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				first := e.Expired()
				agent := e.MustCreate(first, nil)
				for range rotations - 1 {
					time.Sleep(time.Second)
					var err error
					if agent, err = e.Client.Refresh(t.Context(), agent, nil); err != nil {
						t.Fatal(err)
					}
				}
				store := &testkit.Store{}
				late := e.MustCreate(first, store.Opts())
				testkit.WantSame(t, "late", late.Tokens, agent.Tokens)
				testkit.WantSame(t, "stored", store.Current, agent.Tokens)
				e.WantSpent(rotations)
				e.WantAlive(agent.Tokens)
			})
		})
	}
}

func TestRefreshMemory(t *testing.T) {
	for _, tc := range []struct {
		name   string
		memory time.Duration
		after  time.Duration
		known  bool
	}{
		{"default, just before", 0, 60*time.Second - 1, true},
		{"default, over", 0, 60 * time.Second, false},
		{"configured, just before", time.Hour, testkit.TokenLife - time.Second, true},
		{"configured, over", 10 * time.Second, 10 * time.Second, false},
		{"none", -1, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshMemory = tc.memory }, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				newer := e.MustCreate(tokens, nil)
				time.Sleep(tc.after)
				agent, err := e.Create(tokens, nil)
				if tc.known {
					if err != nil {
						t.Fatal(err)
					}
					testkit.WantSame(t, "late", agent.Tokens, newer.Tokens)
					e.WantSpent(1)
					return
				}
				testkit.WantError(t, err, "invalid_grant", true)
				e.WantSpent(2)
			})
		})
	}
}

// An issuer that does not rotate is remembered only while its set is fresh.
func TestIssuerThatDoesNotRotate(t *testing.T) {
	testkit.Bubble(t, &authpitest.Options{NoRotation: true}, func(cfg *authpi.Config) { cfg.RefreshMemory = 24 * time.Hour }, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		agent := e.MustCreate(tokens, nil)
		if agent.Tokens.RefreshToken != tokens.RefreshToken {
			t.Fatal("the refresh token was not kept")
		}
		time.Sleep(testkit.TokenLife - 61*time.Second) // outside the buffer
		testkit.WantSame(t, "fresh", e.MustCreate(tokens, nil).Tokens, agent.Tokens)
		e.WantSpent(1)
		time.Sleep(time.Second)
		store := &testkit.Store{}
		newer := e.MustCreate(tokens, store.Opts())
		if newer.ExpiresIn() < testkit.TokenLife-time.Second {
			t.Errorf("expires in %s; want a new set", newer.ExpiresIn())
		}
		store.WantCalls(t, 1, 0)
		e.WantSpent(2)
	})
}

// While the access token is good, an issuer that is briefly away fails nobody.
func TestGrace(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault authpitest.Fault
		took  time.Duration
		sent  int
	}{
		{"status 500", authpitest.Fault{Status: 500}, 0, 1},
		{"status 503", authpitest.Fault{Status: 503, Body: "<html>"}, 0, 1},
		{"status 408", authpitest.Fault{Status: 408}, 0, 1},
		{"status 425", authpitest.Fault{Status: 425}, 0, 1},
		{"status 429", authpitest.Fault{Status: 429, Body: `{"error":"slow_down"}`}, 0, 1},
		{"hangs", authpitest.Fault{Delay: time.Hour}, 5 * time.Second, 1},
		{"drops", authpitest.Fault{Drop: true}, 0, 1},
		{"refuses the connection", authpitest.Fault{Refuse: true}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.InBuffer(59 * time.Second)
				tc.fault.Times = -1
				e.Fault(tc.fault)
				store := &testkit.Store{}
				began := time.Now()
				testkit.WantSame(t, "agent", e.MustCreate(tokens, store.Opts()).Tokens, tokens)
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %s; want %s", took, tc.took)
				}
				if lines := e.Log.With(`"level":"WARN","msg":"authpi: refresh failed for now`); len(lines) != 1 {
					t.Errorf("warnings: got %q; want 1", lines)
				}
				e.WantSpent(tc.sent)

				// None for 5 s, however often anybody asks.
				for range 9 {
					time.Sleep(500 * time.Millisecond)
					began := time.Now()
					e.MustCreate(tokens, store.Opts())
					if took := time.Since(began); took != 0 {
						t.Fatalf("a call in the pause took %s", took)
					}
				}
				e.WantSpent(tc.sent)
				store.WantCalls(t, 0, 0)

				// Then again: a busy session must not keep the pause going.
				time.Sleep(500 * time.Millisecond)
				if tc.fault.Delay == 0 {
					e.MustCreate(tokens, store.Opts())
					e.WantSpent(2 * tc.sent)
					time.Sleep(5 * time.Second)
					e.Issuer.ClearFaults()
					agent := e.MustCreate(tokens, store.Opts())
					if agent.Tokens.AccessToken == tokens.AccessToken {
						t.Error("the issuer is back, and no refresh was tried")
					}
					store.WantCalls(t, 1, 0)
					e.WantAlive(agent.Tokens)
				}
				time.Sleep(31 * time.Second) // the hanging attempt ends
			})
		})
	}
	t.Run("reported once the token has expired", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(3 * time.Second)
			e.Fault(authpitest.Fault{Status: 503, Times: -1})
			store := &testkit.Store{}
			e.MustCreate(tokens, store.Opts())
			time.Sleep(3 * time.Second) // inside the pause, too
			_, err := e.Create(tokens, store.Opts())
			testkit.WantError(t, err, "refresh_error", false)
			store.WantCalls(t, 0, 1)
			e.WantSpent(2)
		})
	})
	t.Run("reported where the token expires during the wait", func(t *testing.T) {
		for name, get := range map[string]func(*testkit.Env, authpi.TokenSet, *authpi.AgentOptions) error{
			"CreateAgent": func(e *testkit.Env, tokens authpi.TokenSet, opts *authpi.AgentOptions) error {
				_, err := e.Create(tokens, opts)
				return err
			},
			"TokenSource": func(e *testkit.Env, tokens authpi.TokenSet, opts *authpi.AgentOptions) error {
				_, err := e.Client.TokenSource(&authpi.Agent{ID: testkit.Subject, Tokens: tokens}, opts).Token()
				return err
			},
		} {
			// The answer comes with the end of the token, or when the call would have left.
			for _, delay := range []time.Duration{2 * time.Second, 20 * time.Second} {
				t.Run(fmt.Sprint(name, " after ", delay), func(t *testing.T) {
					testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
						tokens := e.InBuffer(2 * time.Second)
						e.Fault(authpitest.Fault{Delay: delay, Status: 503})
						store := &testkit.Store{}
						testkit.WantError(t, get(e, tokens, store.Opts()), "refresh_error", false)
						store.WantCalls(t, 0, 1)
						e.WantSpent(1)
					})
				})
			}
		}
	})
	t.Run("final failures are reported at once", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(30 * time.Second)
			e.Issuer.EndSession(testkit.Subject)
			store := &testkit.Store{}
			_, err := e.Create(tokens, store.Opts())
			testkit.WantError(t, err, "invalid_grant", true)
			store.WantCalls(t, 0, 1)
		})
	})
	t.Run("a late answer is found in memory", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(30 * time.Second)
			e.Fault(authpitest.Fault{DelayAnswer: 7 * time.Second})
			store := &testkit.Store{}
			testkit.WantSame(t, "agent", e.MustCreate(tokens, store.Opts()).Tokens, tokens)
			time.Sleep(3 * time.Second)
			agent := e.MustCreate(tokens, store.Opts()) // still inside the pause
			if agent.Tokens.RefreshToken == tokens.RefreshToken {
				t.Error("the late answer was not picked up")
			}
			store.WantCalls(t, 1, 0)
			e.WantSpent(1)
			e.WantAlive(agent.Tokens)
		})
	})
	t.Run("a hanging attempt is joined, not repeated", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(30 * time.Second)
			e.Fault(authpitest.Fault{DelayAnswer: 12 * time.Second})
			e.MustCreate(tokens, nil) // until 5 s
			time.Sleep(5 * time.Second)
			agent := e.MustCreate(tokens, nil) // from 10 s on
			if agent.Tokens.RefreshToken == tokens.RefreshToken {
				t.Error("the answer of the first attempt was not picked up")
			}
			e.WantSpent(1)
		})
	})
}

// A refresh is sent again only where it certainly never arrived.
func TestNoBlindRetries(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault authpitest.Fault
		sent  int
		works bool
		alive bool
	}{
		{"one dial error", authpitest.Fault{Refuse: true}, 1, true, true},
		{"two dial errors", authpitest.Fault{Refuse: true, Times: 2}, 0, false, true},
		{"dropped before it was processed", authpitest.Fault{Drop: true}, 1, false, true},
		{"answer lost", authpitest.Fault{DropAnswer: true}, 1, false, true},
		{"status 500", authpitest.Fault{Status: 500}, 1, false, true},
		{"status 429", authpitest.Fault{Status: 429, RetryAfter: "7"}, 1, false, true},
		{"cut answer", authpitest.Fault{Malform: func(b []byte) []byte { return b[:len(b)/2] }}, 1, false, true},
		{"redirect", authpitest.Fault{Status: 307, Body: "x"}, 1, false, true},
		{"empty answer", authpitest.Fault{Malform: func([]byte) []byte { return nil }}, 1, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(tc.fault)
				store := &testkit.Store{}
				_, err := e.Create(tokens, store.Opts())
				if (err == nil) != tc.works {
					t.Fatalf("got %v; want success: %v", err, tc.works)
				}
				e.WantSpent(tc.sent)
				e.WantAlive(tokens)
				if err == nil {
					return
				}
				if authpi.SessionEnded(err) {
					t.Errorf("got %v, session ended; want it to go on", err)
				}
				store.WantCalls(t, 0, 1)
				var oauth *authpi.OAuthError
				if tc.fault.RetryAfter != "" && (!errors.As(err, &oauth) || oauth.RetryAfter != 7*time.Second || oauth.StatusCode != 429) {
					t.Errorf("got %+v; want status 429 and RetryAfter 7 s", oauth)
				}
			})
		})
	}
}

// What expires_in says, or does not say.
func TestExpiresIn(t *testing.T) {
	for _, tc := range []struct {
		name string
		raw  string // "": missing
		want time.Duration
	}{
		{"missing", "", time.Hour},
		{"null", `null`, time.Hour},
		{"words", `"soon"`, time.Hour},
		{"empty text", `""`, time.Hour},
		{"object", `{}`, time.Hour},
		{"list", `[1800]`, time.Hour},
		{"true", `true`, time.Hour},
		{"number", `1800`, 30 * time.Minute},
		{"digits in a text", `"1800"`, 30 * time.Minute},
		{"fraction", `1800.9`, 30 * time.Minute},
		{"negative", `-5`, -5 * time.Second},
		{"zero", `0`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				agent, store := rtExpiresIn(t, e, tc.raw)
				if got := agent.ExpiresIn(); got != tc.want {
					t.Errorf("expires in: got %s; want %s", got, tc.want)
				}
				testkit.WantSame(t, "stored", store.Current, agent.Tokens)
				e.WantSpent(1)
				e.WantAlive(agent.Tokens)
			})
		})
	}
	for _, huge := range []string{`1e400`, `1e9`, `99999999999999999999`, `9223372036854775807`, `-9223372036854775808`, `"9223372036854775807"`, `1e-400`} {
		t.Run("huge "+huge, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				agent, store := rtExpiresIn(t, e, huge)
				if got := agent.ExpiresIn(); got > 11*366*24*time.Hour || got < -11*366*24*time.Hour {
					t.Errorf("expires in: got %s; want it bounded", got)
				}
				store.WantCalls(t, 1, 0)
				data, err := json.Marshal(store.Current)
				if err != nil {
					t.Fatal(err)
				}
				back, err := authpi.ParseTokenSet(data)
				if err != nil || !back.ExpiresAt.Equal(store.Current.ExpiresAt) {
					t.Errorf("the stored form: %v, expires at %s; want %s", err, back.ExpiresAt, store.Current.ExpiresAt)
				}
			})
		})
	}
}

func rtExpiresIn(t *testing.T, e *testkit.Env, raw string) (*authpi.Agent, *testkit.Store) {
	t.Helper()
	tokens := e.Expired()
	e.Fault(authpitest.Fault{Malform: func(body []byte) []byte {
		var answer map[string]json.RawMessage
		_ = json.Unmarshal(body, &answer)
		delete(answer, "expires_in")
		if raw != "" {
			answer["expires_in"] = json.RawMessage("0")
		}
		text, _ := json.Marshal(answer)
		if raw != "" {
			// Not through encoding/json, which refuses some of these numbers.
			text = []byte(strings.Replace(string(text), `"expires_in":0`, `"expires_in":`+raw, 1))
		}
		return text
	}})
	store := &testkit.Store{}
	return e.MustCreate(tokens, store.Opts()), store
}

// A refresh token with another user's name on it gets nobody's tokens.
func TestSameTokenOfAnotherUser(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.MustCreate(tokens, nil)
		forged := tokens
		forged.IDToken, forged.SubjectHint = "", "usr_eve"
		store := &testkit.Store{}
		agent, err := e.Create(forged, store.Opts())
		var mismatch *authpi.SubjectMismatchError
		if !errors.As(err, &mismatch) || agent != nil {
			t.Errorf("got %v, %v; want a SubjectMismatchError", agent, err)
		}
		store.WantCalls(t, 0, 1)
	})
}

// An issuer that hands out an old refresh token again makes a chain without an end:
// nobody may follow it forever.
func TestChainThatBitesItsTail(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		tokens.RefreshToken = "refresh-a"
		requests := 0
		e.Wire.Set(func(r *http.Request) (*http.Response, error) {
			if !strings.HasSuffix(r.URL.Path, "/token") {
				return testkit.Reply(r, http.StatusOK, nil, `{"sub":"`+testkit.Subject+`"}`), nil
			}
			requests++
			next := map[string]string{"refresh-a": "refresh-b", "refresh-b": "refresh-a"}[testkit.Form(r).Get("refresh_token")]
			return testkit.Reply(r, http.StatusOK, nil, fmt.Sprintf(`{"access_token":"at-%d","expires_in":-1,"refresh_token":%q}`, requests, next)), nil
		})
		for range 5 {
			_, _ = e.Create(tokens, nil)
		}
		if requests > 20 {
			t.Errorf("requests: got %d; want a few", requests)
		}
		time.Sleep(2 * time.Minute)
		e.MustCreate(tokens, nil) // once forgotten, all is well
	})
}

// A failure is not remembered longer than it is true.
func TestFailuresAreNotRemembered(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Issuer.BlockUser(testkit.Subject)
		_, err := e.Create(tokens, nil)
		testkit.WantError(t, err, "user_blocked", true)
		e.Issuer.AddUser(authpitest.User{ID: testkit.Subject, Email: testkit.Email})
		agent := e.MustCreate(tokens, nil)
		e.WantAlive(agent.Tokens)
		e.WantSpent(2)
	})
}
