package refresh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/seal"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestCoordinatorSharesOneRedemption(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := testkit.NewCoordinator()
		clients := testkit.Processes(e, shared, 4)
		tokens := e.Expired()
		e.Fault(authpitest.Fault{DelayAnswer: 50 * time.Millisecond})
		var wg sync.WaitGroup
		const each = 50
		stores := make([]testkit.Store, len(clients)*each)
		for i := range stores {
			wg.Go(func() {
				if _, err := e.CreateBy(t.Context(), clients[i%len(clients)], tokens, stores[i].Opts()); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		e.WantSpent(1)
		e.WantAlive(stores[0].Current)
		for i := range stores {
			stores[i].WantCalls(t, 1, 0)
			testkit.WantSame(t, "saved", stores[i].Current, stores[0].Current)
		}
		if len(shared.Doubled) > 0 {
			t.Errorf("one process had the same id in Do twice at once: %q", shared.Doubled)
		}

		// What lies in the shared store is no use without the old refresh token.
		for id, sealed := range shared.Results {
			if len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "" {
				t.Errorf("id %q: want 64 hexadecimal digits", id)
			}
			for secret := range e.Log.Secrets {
				for _, part := range append(strings.Split(secret, "."), secret, testkit.Subject, testkit.Email) {
					if len(part) > 6 && (bytes.Contains(sealed, []byte(part)) || strings.Contains(id, part)) {
						t.Errorf("the coordinator was given %d bytes of a secret", len(part))
					}
				}
			}
		}
	})
}

func TestCoordinatorID(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		id := func(edit func(*authpi.Config), refreshToken string) (got string) {
			c := e.NewClient(func(cfg *authpi.Config) {
				edit(cfg)
				cfg.Coordinator = testkit.CoordinatorFunc(func(_ context.Context, id string, _ func(context.Context) ([]byte, error)) ([]byte, error) {
					got = id
					return nil, errors.New("not today")
				})
			})
			_, _ = c.Refresh(t.Context(), &authpi.Agent{ID: testkit.Subject, Tokens: authpi.TokenSet{AccessToken: "a", RefreshToken: refreshToken}}, nil)
			return got
		}
		same := func(*authpi.Config) {}
		base := id(same, "rt-1")
		if again := id(func(cfg *authpi.Config) { cfg.IssuerURL += "/" }, "rt-1"); again != base {
			t.Errorf("the same token, issuer and client: got %s and %s; want one id", base, again)
		}
		for name, other := range map[string]string{
			"another token":  id(same, "rt-2"),
			"another client": id(func(cfg *authpi.Config) { cfg.ClientID = "c_other" }, "rt-1"),
			"another issuer": id(func(cfg *authpi.Config) { cfg.IssuerURL += "2" }, "rt-1"),
		} {
			if other == base || other == "" {
				t.Errorf("%s: got the same id", name)
			}
		}
	})
}

// A final refusal is published: no other process spends a dead token again.
func TestCoordinatorPublishesFinalRefusals(t *testing.T) {
	for _, tc := range []struct {
		name      string
		arm       func(e *testkit.Env)
		code      string
		published bool
		ended     bool
		spent     int // by two processes
	}{
		{"invalid_grant", func(e *testkit.Env) { e.Issuer.EndSession(testkit.Subject) }, "invalid_grant", true, true, 1},
		{"refused ID token", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{IDToken: func(_, c map[string]any) { c["aud"] = "another" }})
		}, "invalid_token", true, true, 1},
		{"another subject", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{IDToken: func(_, c map[string]any) { c["sub"] = "usr_eve" }})
		}, "subject_mismatch", true, true, 1},
		{"status 500", func(e *testkit.Env) { e.Fault(authpitest.Fault{Status: 500, Times: 2}) }, "refresh_error", false, false, 2},
		{"status 429", func(e *testkit.Env) { e.Fault(authpitest.Fault{Status: 429, Times: 2}) }, "refresh_error", false, false, 2},
		{"invalid_grant of a server in trouble", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{Status: 503, Body: `{"error":"invalid_grant"}`, Times: 2})
		}, "invalid_grant", false, false, 2},
		{"an answer without access token", func(e *testkit.Env) {
			e.Fault(authpitest.Fault{Body: `{"token_type":"Bearer","refresh_token":"rt","scope":7}`, Times: 2})
		}, "invalid_response", true, true, 1},
		{"a page", func(e *testkit.Env) { e.Fault(authpitest.Fault{Body: `<html>`, Times: 2}) }, "invalid_response", false, false, 2},
		{"dropped", func(e *testkit.Env) { e.Fault(authpitest.Fault{Drop: true, Times: 2}) }, "transport_error", false, false, 2},
		{"blocked for now", func(e *testkit.Env) { e.Issuer.BlockUser(testkit.Subject) }, "user_blocked", false, true, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				shared := testkit.NewCoordinator()
				clients := testkit.Processes(e, shared, 2)
				tokens := e.Expired()
				tc.arm(e)
				for i, c := range clients {
					store := &testkit.Store{}
					_, err := e.CreateBy(t.Context(), c, tokens, store.Opts())
					testkit.WantError(t, err, tc.code, tc.ended)
					var mismatch *authpi.SubjectMismatchError
					if tc.code == "subject_mismatch" && (!errors.As(err, &mismatch) || mismatch.Expected != testkit.Subject || mismatch.Actual != "usr_eve") {
						t.Errorf("client %d: got %v; want both subjects", i, err)
					}
					store.WantCalls(t, 0, 1)
				}
				e.WantSpent(tc.spent)
				if got := shared.Published() == 1; got != tc.published {
					t.Errorf("published: got %v; want %v", got, tc.published)
				}
			})
		})
	}
}

// A process that comes late with the first token gets the newest set.
func TestCoordinatorFollowsTheChain(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := testkit.NewCoordinator()
		clients := testkit.Processes(e, shared, 2)
		first := e.Expired()
		newest, err := e.CreateBy(t.Context(), clients[0], first, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if newest, err = clients[0].Refresh(t.Context(), newest, nil); err != nil {
				t.Fatal(err)
			}
		}
		store := &testkit.Store{}
		late, err := e.CreateBy(t.Context(), clients[1], first, store.Opts())
		if err != nil {
			t.Fatal(err)
		}
		testkit.WantSame(t, "late", late.Tokens, newest.Tokens)
		testkit.WantSame(t, "stored", store.Current, newest.Tokens)
		store.WantCalls(t, 1, 0)
		e.WantSpent(4)
		e.WantAlive(newest.Tokens)
	})
}

// Another grant in another process spends the successor, and an issuer that does
// not rotate is simply asked.
func TestCoordinatorOtherGrant(t *testing.T) {
	for _, rotates := range []bool{true, false} {
		t.Run(fmt.Sprintf("rotates %v", rotates), func(t *testing.T) {
			testkit.Bubble(t, &authpitest.Options{NoRotation: !rotates}, nil, func(t *testing.T, e *testkit.Env) {
				clients := testkit.Processes(e, testkit.NewCoordinator(), 2)
				tokens := e.Expired()
				if _, err := e.CreateBy(t.Context(), clients[0], tokens, nil); err != nil {
					t.Fatal(err)
				}
				agent, err := e.CreateBy(t.Context(), clients[1], tokens, &authpi.AgentOptions{Resources: []string{"https://api.example/"}})
				if err != nil {
					t.Fatalf("the other grant: %v", err)
				}
				e.WantSpent(2)
				e.WantAlive(agent.Tokens)
			})
		})
	}
}

// An issuer that does not rotate can be asked for more while the coordinator still
// holds the last answer.
func TestCoordinatorWithoutRotationIsNotStuck(t *testing.T) {
	testkit.Bubble(t, &authpitest.Options{NoRotation: true}, nil, func(t *testing.T, e *testkit.Env) {
		c := testkit.Processes(e, testkit.NewCoordinator(), 1)[0]
		agent, err := e.CreateBy(t.Context(), c, e.Expired(), nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // so that the next access token has another iat
		now, err := c.Refresh(t.Context(), agent, nil)
		if err != nil {
			t.Fatal(err)
		}
		if now.Tokens.AccessToken == agent.Tokens.AccessToken {
			t.Error("Refresh gave the old access token back")
		}
		time.Sleep(testkit.TokenLife + time.Second)
		later, err := e.CreateBy(t.Context(), c, now.Tokens, nil)
		if err != nil {
			t.Fatal(err)
		}
		if later.IsExpired() {
			t.Errorf("CreateAgent gave a token that expired %s ago", -later.ExpiresIn())
		}
	})
}

func TestCoordinatorThatFails(t *testing.T) {
	type spendFunc = func(context.Context) ([]byte, error)
	boom := errors.New("redis: connection refused")
	for _, tc := range []struct {
		name  string
		do    func(ctx context.Context, id string, spend spendFunc) ([]byte, error)
		works bool
		spent int
		is    error
		text  string
	}{
		{"asks nobody", func(context.Context, string, spendFunc) ([]byte, error) { return nil, boom }, false, 0, boom, "the coordinator: failed: redis"},
		{"fails after the spend", func(ctx context.Context, _ string, spend spendFunc) ([]byte, error) {
			_, _ = spend(ctx)
			return nil, boom
		}, true, 1, nil, ""},
		{"loses the result", func(ctx context.Context, _ string, spend spendFunc) ([]byte, error) {
			_, _ = spend(ctx)
			return nil, nil
		}, true, 1, nil, ""},
		{"spends twice", func(ctx context.Context, _ string, spend spendFunc) ([]byte, error) {
			_, _ = spend(ctx)
			return spend(ctx)
		}, true, 1, nil, ""},
		{"spends twice at once, elsewhere", func(ctx context.Context, _ string, spend spendFunc) (result []byte, err error) {
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = spend(ctx) })
			wg.Go(func() { result, err = spend(ctx) })
			wg.Wait()
			return result, err
		}, true, 1, nil, ""},
		{"gives up while it spends", func(ctx context.Context, _ string, spend spendFunc) ([]byte, error) {
			go func() { _, _ = spend(ctx) }()
			time.Sleep(time.Millisecond)
			return nil, boom
		}, true, 1, nil, ""},
		{"spends after it gave up", func(ctx context.Context, _ string, spend spendFunc) ([]byte, error) {
			go func() {
				time.Sleep(time.Second)
				_, _ = spend(context.WithoutCancel(ctx))
			}()
			return nil, boom
		}, false, 0, boom, "the coordinator: failed: redis"},
		{"cancels the spend halfway", func(ctx context.Context, _ string, spend spendFunc) ([]byte, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			defer cancel()
			return spend(ctx)
		}, true, 1, nil, ""},
		{"hands out garbage", func(context.Context, string, spendFunc) ([]byte, error) { return []byte("garbage"), nil }, false, 0, nil, "the coordinator: the sealed refresh result"},
		{"hands out nothing", func(context.Context, string, spendFunc) ([]byte, error) { return nil, nil }, false, 0, nil, "the coordinator: the sealed refresh result"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.Coordinator = testkit.CoordinatorFunc(tc.do) }, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(authpitest.Fault{DelayAnswer: 20 * time.Millisecond})
				store := &testkit.Store{}
				agent, err := e.Create(tokens, store.Opts())
				time.Sleep(time.Minute / 2)
				e.WantSpent(tc.spent)
				if tc.works {
					if err != nil {
						t.Fatalf("got %v; want the redeemed set", err)
					}
					e.WantAlive(agent.Tokens)
					store.WantCalls(t, 1, 0)
					return
				}
				testkit.WantError(t, err, "transport_error", false)
				testkit.WantCode(t, err, "transport_error", tc.text)
				if tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("got %v; want it to wrap %v", err, tc.is)
				}
				store.WantCalls(t, 0, 1)
				e.WantAlive(tokens)
			})
		})
	}
}

// A result is bound to its token and id: moved to another session's id, it opens
// for nobody.
func TestCoordinatorResultOfAnotherSession(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := testkit.NewCoordinator()
		mine, other := e.SignIn(), e.SignIn()
		time.Sleep(testkit.TokenLife + time.Second)
		clients := testkit.Processes(e, shared, 2)
		if _, err := e.CreateBy(t.Context(), clients[0], mine, nil); err != nil {
			t.Fatal(err)
		}
		var sealed []byte
		for _, sealed = range shared.Results {
		}
		c := e.NewClient(func(cfg *authpi.Config) {
			cfg.Coordinator = testkit.CoordinatorFunc(func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error) {
				return sealed, nil
			})
		})
		for name, tokens := range map[string]authpi.TokenSet{"another token": other, "its own": mine} {
			_, err := e.CreateBy(t.Context(), c, tokens, nil)
			if name == "its own" {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			testkit.WantCode(t, err, "transport_error", "the coordinator: the sealed refresh result")
			testkit.WantError(t, err, "transport_error", false)
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			broken := e.NewClient(func(cfg *authpi.Config) {
				cfg.Coordinator = testkit.CoordinatorFunc(func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error) {
					return changed, nil
				})
			})
			if _, err := e.CreateBy(t.Context(), broken, mine, nil); err == nil {
				t.Fatalf("a result with byte %d changed was accepted", i)
			}
			if i > 40 {
				break
			}
		}
		e.WantSpent(1)
	})
}

// What a process of another version may have sealed: neither tokens nor a refusal ends no
// session, and a token that is its own successor holds nobody up.
func TestCoordinatorResultOfAnotherVersion(t *testing.T) {
	for name, tc := range map[string]struct{ plain, code string }{
		"nothing known":               {`{"v":2,"result":"x"}`, "transport_error"},
		"no object":                   {`[]`, "transport_error"},
		"tokens without access token": {`{"tokens":{"access_token":"","expires_at":4000000000}}`, "transport_error"},
		"a refusal that is cut":       {`{"refused":{"code":"invalid_grant"}`, "transport_error"},
		"tokens that are cut":         {`{"tokens":{"access_token":"new","expires_at":4000000000,"subject_hint":"usr_ada"},"grant":"[] []"`, "transport_error"},
		"a refusal without code":      {`{"refused":{}}`, "transport_error"},
		"a refusal that echoes":       {`{"refused":{"code":"invalid_grant","description":"%s is spent"}}`, "invalid_grant"},
		"subjects that echo":          {`{"refused":{"code":"subject_mismatch","subjects":["usr_ada","%s"]}}`, "subject_mismatch"},
		"an ID token that is none":    {`{"tokens":{"access_token":"new","expires_at":4000000000,"id_token":"x","refresh_token":"","subject_hint":"usr_ada"},"grant":"[] []"}`, "invalid_token"},
		"the same token":              {`{"tokens":{"access_token":"new","expires_at":4000000000,"refresh_token":"%s"}}`, "transport_error"},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				c := e.NewClient(func(cfg *authpi.Config) {
					cfg.Coordinator = testkit.CoordinatorFunc(func(_ context.Context, id string, _ func(context.Context) ([]byte, error)) ([]byte, error) {
						return seal.Seal(tokens.RefreshToken, id, []byte(strings.ReplaceAll(tc.plain, "%s", tokens.RefreshToken)))
					})
				})
				start := time.Now()
				_, err := e.CreateBy(t.Context(), c, tokens, nil)
				testkit.WantError(t, err, tc.code, tc.code != "transport_error")
				testkit.WantSilent(t, err, tokens.RefreshToken)
				if took := time.Since(start); took != 0 {
					t.Errorf("took %v; want it at once", took)
				}
				e.WantSpent(0)
			})
		})
	}
}

// A refusal that another process has published counts here for as long as one of this
// process's own: a token that is dead for RefreshMemory, one that must not be sent
// again for 24 hours.
func TestPublishedRefusalIsRemembered(t *testing.T) {
	for code, asked := range map[string]int{"invalid_grant": 2, "invalid_token": 1} {
		t.Run(code, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens, got := e.Expired(), 0
				c := e.NewClient(func(cfg *authpi.Config) {
					cfg.Coordinator = testkit.CoordinatorFunc(func(_ context.Context, id string, _ func(context.Context) ([]byte, error)) ([]byte, error) {
						got++
						return seal.Seal(tokens.RefreshToken, id, []byte(`{"refused":{"code":"`+code+`"}}`))
					})
				})
				for range 2 {
					_, err := e.CreateBy(t.Context(), c, tokens, nil)
					testkit.WantError(t, err, code, true)
					time.Sleep(2 * time.Minute)
				}
				if got != asked {
					t.Errorf("the coordinator was asked %d times; want %d", got, asked)
				}
			})
		})
	}
}

// What another process published is followed where there is something to follow: not a set that
// stays, and not one without a refresh token.
func TestCoordinatorResultWithoutSuccessor(t *testing.T) {
	for name, tc := range map[string]struct {
		plain string
		asked int
	}{
		"with a successor":        {`{"tokens":{"access_token":"new","expires_at":4000000000,"refresh_token":"rt_2","subject_hint":"usr_ada"},"grant":"[] []"}`, 2},
		"kept":                    {`{"tokens":{"access_token":"new","expires_at":4000000000,"refresh_token":"rt_2","subject_hint":"usr_ada"},"grant":"[] []","kept":true}`, 2},
		"without a refresh token": {`{"tokens":{"access_token":"new","expires_at":4000000000,"subject_hint":"usr_ada"},"grant":"[] []"}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				asked := 0
				c := e.NewClient(func(cfg *authpi.Config) {
					cfg.Coordinator = testkit.CoordinatorFunc(func(_ context.Context, id string, _ func(context.Context) ([]byte, error)) ([]byte, error) {
						if asked++; asked > 1 {
							return nil, errors.New("nothing known")
						}
						return seal.Seal(tokens.RefreshToken, id, []byte(tc.plain))
					})
				})
				store := &testkit.Store{}
				_, _ = e.CreateBy(t.Context(), c, tokens, store.Opts()) // the user info endpoint knows no such token
				if asked != tc.asked || len(store.Saved) != 1 {
					t.Errorf("asked %d times, stored %d sets; want %d and 1", asked, len(store.Saved), tc.asked)
				}
				e.WantSpent(0)
			})
		})
	}
}

// A coordinator that hands out what another process did has had its say: a spend that it calls
// later, while the result is still being followed, sends nothing.
func TestCoordinatorThatSpendsBehindOurBack(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		const plain = `{"tokens":{"access_token":"new","expires_at":4000000000,"refresh_token":"rt_2","subject_hint":"usr_ada"},"grant":"[] []"}`
		late := make(chan error, 2)
		asked := 0
		c := e.NewClient(func(cfg *authpi.Config) {
			cfg.Coordinator = testkit.CoordinatorFunc(func(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
				if asked++; asked > 1 {
					time.Sleep(time.Second)
					return nil, errors.New("nothing known")
				}
				go func() {
					time.Sleep(time.Second / 2)
					for range 2 {
						_, err := spend(ctx)
						late <- err
					}
				}()
				return seal.Seal(tokens.RefreshToken, id, []byte(plain))
			})
		})
		store := &testkit.Store{}
		_, _ = e.CreateBy(t.Context(), c, tokens, store.Opts())
		for range 2 {
			testkit.WantError(t, <-late, "transport_error", false)
		}
		e.WantSpent(0)
		store.WantCalls(t, 1, 0)
	})
}

// One that has spent, and asks again when all is over, gets what it got.
func TestCoordinatorThatSpendsOnceMore(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		again := make(chan error, 1)
		c := e.NewClient(func(cfg *authpi.Config) {
			cfg.Coordinator = testkit.CoordinatorFunc(func(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
				go func() {
					time.Sleep(time.Second)
					_, err := spend(ctx)
					again <- err
				}()
				return spend(ctx)
			})
		})
		if _, err := e.CreateBy(t.Context(), c, e.Expired(), nil); err != nil {
			t.Fatal(err)
		}
		if err := <-again; err != nil {
			t.Errorf("got %v; want the result of the only request", err)
		}
		e.WantSpent(1)
	})
}

// The in-process flight stands in front of the coordinator.
func TestCoordinatorIsAskedOncePerProcess(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := testkit.NewCoordinator()
		clients := testkit.Processes(e, shared, 2)
		first := e.Expired()
		second, err := e.CreateBy(t.Context(), clients[0], first, nil)
		if err != nil {
			t.Fatal(err)
		}
		// The second process spends second, slowly, while a late caller of its own
		// looks for what became of first.
		e.Fault(authpitest.Fault{DelayAnswer: time.Second})
		var wg sync.WaitGroup
		var third, late *authpi.Agent
		wg.Go(func() { third, _ = clients[1].Refresh(t.Context(), second, nil) })
		synctest.Wait()
		wg.Go(func() { late, err = e.CreateBy(t.Context(), clients[1], first, nil) })
		wg.Wait()
		if err != nil || third == nil || late == nil {
			t.Fatalf("late: %v", err)
		}
		testkit.WantSame(t, "late", late.Tokens, third.Tokens)
		if len(shared.Doubled) > 0 {
			t.Errorf("one process had the same id in Do twice at once")
		}
		e.WantSpent(2)
	})
}

// rtCheapIssuer answers every refresh with new opaque tokens, padded to size.
type rtCheapIssuer struct {
	mu   sync.Mutex
	n    int
	size int // of the access token, in bytes
	junk int // of a member nobody reads
	kind int // of the token type
}

func (s *rtCheapIssuer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	return testkit.Reply(r, http.StatusOK, nil, fmt.Sprintf(
		`{"access_token":"at-%d-%s","token_type":"Bearer%s","expires_in":1800,"refresh_token":"next-%d","junk":"%s"}`,
		n, strings.Repeat("x", s.size), strings.Repeat("r", s.kind), n, strings.Repeat("j", s.junk))), nil
}
