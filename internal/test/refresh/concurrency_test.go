package refresh_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// rtCrowd is many callers with the tokens of one expired session.
type rtCrowd struct {
	name    string
	callers int
	spread  time.Duration // over which they arrive, evenly
	leave   func(i int) time.Duration
	reload  bool
}

// rtCrowds are the shapes that end sessions elsewhere: with plain singleflight the
// spread makes three redemptions, and the leader's leaving fails everybody.
func rtCrowds() []rtCrowd {
	leader := func(after time.Duration) func(int) time.Duration {
		return func(i int) time.Duration {
			if i == 0 {
				return after
			}
			return 0
		}
	}
	return []rtCrowd{
		{name: "burst", callers: 1000},
		{name: "spread over 60 ms", callers: 1000, spread: 60 * time.Millisecond},
		{name: "spread over 60 ms with Reload", callers: 1000, spread: 60 * time.Millisecond, reload: true},
		{name: "leader cancelled after 10 ms", callers: 1000, leave: leader(10 * time.Millisecond)},
		{name: "leader cancelled after 10 ms, spread", callers: 1000, spread: 60 * time.Millisecond, leave: leader(10 * time.Millisecond)},
		{name: "every second one cancelled", callers: 1000, leave: func(i int) time.Duration {
			return time.Duration(i%2) * 10 * time.Millisecond
		}},
	}
}

func (crowd rtCrowd) run(t *testing.T, e *testkit.Env, tokens authpi.TokenSet) {
	t.Helper()
	var wg sync.WaitGroup
	got := make([]authpi.TokenSet, crowd.callers)
	agents := make([]*authpi.Agent, crowd.callers)
	errs := make([]error, crowd.callers)
	var complaints atomic.Int64
	store := &testkit.Store{Current: tokens}
	leaves := func(i int) time.Duration {
		if crowd.leave == nil {
			return 0
		}
		return crowd.leave(i)
	}
	leader, leave := context.WithCancel(context.Background())
	defer leave()
	call := func(i int) {
		defer wg.Done()
		ctx := leader
		if i > 0 {
			ctx = context.Background()
			if after := leaves(i); after > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, after)
				defer cancel()
			}
		}
		opts := &authpi.AgentOptions{
			OnRefresh: func(_ context.Context, set authpi.TokenSet) error {
				got[i] = set
				store.Set(set)
				return nil
			},
			OnRefreshError: func(context.Context, error) { complaints.Add(1) },
		}
		if crowd.reload {
			opts.Reload = store.Reloading().Reload
		}
		agents[i], errs[i] = e.CreateBy(ctx, e.Client, tokens, opts)
	}
	wg.Add(crowd.callers)
	go call(0)
	testkit.Eventually(t, "caller 0 leads: its request arrives", func() bool { return e.Issuer.Grants("refresh_token") > 0 })
	if after := leaves(0); after > 0 {
		defer time.AfterFunc(after, leave).Stop()
	}
	for i := 1; i < crowd.callers; i++ {
		go call(i)
		if crowd.spread > 0 && i%25 == 0 {
			time.Sleep(crowd.spread * 25 / time.Duration(crowd.callers))
		}
	}
	wg.Wait()

	e.WantSpent(1)
	newest := agents[0]
	if newest == nil {
		t.Fatalf("the leader failed: %v", errs[0])
	}
	e.WantAlive(newest.Tokens)
	if complaints.Load() != 0 {
		t.Errorf("OnRefreshError was called %d times; want 0", complaints.Load())
	}
	unsaved, failed := 0, 0
	for i := range agents {
		switch {
		case errs[i] == nil:
			testkit.WantSame(t, "agent", agents[i].Tokens, newest.Tokens)
			if got[i].RefreshToken != newest.Tokens.RefreshToken {
				unsaved++
			}
		case i == 0 || leaves(i) == 0:
			failed++
			t.Logf("caller %d: %v", i, errs[i])
		case !errors.Is(errs[i], context.DeadlineExceeded):
			t.Errorf("caller %d: got %v; want it to wrap its context's error", i, errs[i])
		}
	}
	if failed > 0 || unsaved > 0 && !crowd.reload {
		t.Errorf("%d callers failed that nobody cancelled, %d own OnRefresh did not get the new set; want none", failed, unsaved)
	}
}

func TestThousandCallersOneRequest(t *testing.T) {
	for _, crowd := range rtCrowds() {
		t.Run("fake time/"+crowd.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(authpitest.Fault{DelayAnswer: 20 * time.Millisecond})
				crowd.run(t, e, tokens)
			})
		})
		t.Run("sockets/"+crowd.name, func(t *testing.T) {
			e := testkit.NewSocketEnv(t, nil, nil)
			tokens := e.SignIn()
			e.Advance(time.Hour)
			e.Fault(authpitest.Fault{DelayAnswer: 20 * time.Millisecond})
			crowd.run(t, e, tokens)
			e.Issuer.Close()
			testkit.WantNoGoroutines(t)
		})
	}
}

// A waiter outlives any number of leaders that fail before they spend anything.
func TestWaiterOutlivesFailingLeaders(t *testing.T) {
	for _, tc := range []struct {
		name   string
		reload func(ctx context.Context) (authpi.TokenSet, error)
		cancel bool
	}{
		{"their Reload fails", func(context.Context) (authpi.TokenSet, error) {
			time.Sleep(time.Millisecond)
			return authpi.TokenSet{}, errors.New("store away")
		}, false},
		{"they have signed out", func(context.Context) (authpi.TokenSet, error) {
			time.Sleep(time.Millisecond)
			return authpi.TokenSet{}, nil
		}, false},
		{"they leave during Reload", func(ctx context.Context) (authpi.TokenSet, error) {
			<-ctx.Done()
			return authpi.TokenSet{}, ctx.Err()
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				ctx := context.Background()
				if tc.cancel {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 5*time.Millisecond)
					defer cancel()
				}
				var wg sync.WaitGroup
				start := func() {
					wg.Go(func() { _, _ = e.CreateBy(ctx, e.Client, tokens, &authpi.AgentOptions{Reload: tc.reload}) })
				}
				start()
				synctest.Wait()
				errs := make([]error, 4)
				for i := range errs {
					wg.Go(func() { _, errs[i] = e.Create(tokens, nil) })
				}
				synctest.Wait()
				for range 400 {
					start()
				}
				wg.Wait()
				for _, err := range errs {
					if err != nil {
						t.Errorf("a caller that could refresh failed: %v", err)
					}
				}
				e.WantSpent(1)
			})
		})
	}
}

// Other resources or scopes are another grant: wait, then spend the successor.
func TestOtherGrantSpendsTheSuccessor(t *testing.T) {
	for _, tc := range []struct {
		name string
		call func(e *testkit.Env, tokens authpi.TokenSet, save func(context.Context, authpi.TokenSet) error) (*authpi.Agent, error)
		want map[string]string
	}{
		{"resources", func(e *testkit.Env, tokens authpi.TokenSet, save func(context.Context, authpi.TokenSet) error) (*authpi.Agent, error) {
			return e.Create(tokens, &authpi.AgentOptions{OnRefresh: save, Resources: []string{api}})
		}, map[string]string{"resource": api}},
		{"scopes", func(e *testkit.Env, tokens authpi.TokenSet, save func(context.Context, authpi.TokenSet) error) (*authpi.Agent, error) {
			return e.Client.Refresh(context.Background(), &authpi.Agent{ID: testkit.Subject, Tokens: tokens},
				&authpi.RefreshOptions{OnRefresh: save, Scopes: []string{"openid", "email"}})
		}, map[string]string{"scope": "openid email"}},
	} {
		for _, rotates := range []bool{true, false} {
			t.Run(tc.name+map[bool]string{true: "", false: ", not rotated"}[rotates], func(t *testing.T) {
				testkit.Bubble(t, &authpitest.Options{NoRotation: !rotates}, nil, func(t *testing.T, e *testkit.Env) {
					tokens := e.Expired()
					e.Fault(authpitest.Fault{DelayAnswer: 20 * time.Millisecond, Times: 2})
					var wg sync.WaitGroup
					store, other := &testkit.Store{}, &testkit.Store{}
					wg.Go(func() { e.MustCreate(tokens, store.Opts()) })
					synctest.Wait()
					wg.Go(func() {
						if _, err := tc.call(e, tokens, other.Opts().OnRefresh); err != nil {
							t.Errorf("the other grant: %v", err)
						}
					})
					wg.Wait()
					e.WantSpent(2)
					store.WantCalls(t, 1, 0)
					other.WantCalls(t, 1, 0)
					form := e.Issuer.LastForm()
					if got := form.Get("refresh_token"); got != store.Current.RefreshToken {
						t.Error("the second request does not hold the first one's successor")
					}
					for name, want := range tc.want {
						if got := form.Get(name); got != want {
							t.Errorf("%s: got %q; want %q", name, got, want)
						}
					}
					e.WantAlive(other.Current)
				})
			})
		}
	}
}

// A caller that found a successor and then was slow must not store it over the
// newer one that others got meanwhile.
func TestSlowCallerStoresTheNewest(t *testing.T) {
	testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshMemory = time.Hour }, func(t *testing.T, e *testkit.Env) {
		first := e.Expired()
		second := e.MustCreate(first, nil).Tokens

		reached, release := make(chan struct{}), make(chan struct{})
		slow := &testkit.Store{}
		opts := slow.Opts()
		opts.Reload = func(context.Context) (authpi.TokenSet, error) { // once the memory has been asked
			close(reached)
			<-release
			return first, nil
		}
		var wg sync.WaitGroup
		wg.Go(func() { e.MustCreate(first, opts) })
		<-reached
		third, err := e.Client.Refresh(t.Context(), &authpi.Agent{ID: testkit.Subject, Tokens: second}, nil)
		if err != nil {
			t.Fatal(err)
		}
		close(release)
		wg.Wait()
		slow.WantCalls(t, 1, 0)
		testkit.WantSame(t, "stored by the slow caller", slow.Current, third.Tokens)
		e.WantSpent(2)
	})
}

type rtKey struct{}

func TestDetachment(t *testing.T) {
	t.Run("cancelled before anything", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			store := &testkit.Store{}
			_, err := e.CreateBy(ctx, e.Client, tokens, store.Opts())
			if !errors.Is(err, context.Canceled) || authpi.SessionEnded(err) {
				t.Errorf("got %v; want context.Canceled, and a session that has not ended", err)
			}
			store.WantCalls(t, 0, 0)
			e.WantSpent(0)
		})
	})
	t.Run("cancelled before anything, inside the buffer", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(30 * time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			store := &testkit.Store{}
			_, err := e.CreateBy(ctx, e.Client, tokens, store.Opts())
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v; want context.Canceled", err)
			}
			store.WantCalls(t, 0, 0)
			e.WantSpent(0)
			// Its leaving says nothing about the issuer: the next one refreshes.
			e.MustCreate(tokens, store.Opts())
			e.WantSpent(1)
			store.WantCalls(t, 1, 0)
			if lines := e.Log.With("refresh failed for now"); len(lines) != 0 {
				t.Errorf("a caller's own leaving was logged as a failure: %s", lines)
			}
		})
	})
	t.Run("cancelled inside Reload", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			for _, tc := range []struct {
				name string
				err  func(context.Context) error
			}{
				{"context error", func(ctx context.Context) error { return ctx.Err() }},
				{"a driver's own error", func(context.Context) error { return errors.New("pq: canceling statement due to user request") }},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				store := &testkit.Store{}
				opts := store.Opts()
				opts.Reload = func(ctx context.Context) (authpi.TokenSet, error) {
					<-ctx.Done()
					return authpi.TokenSet{}, tc.err(ctx)
				}
				_, err := e.CreateBy(ctx, e.Client, tokens, opts)
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) || authpi.SessionEnded(err) {
					t.Errorf("%s: got %v; want the context's error", tc.name, err)
				}
				store.WantCalls(t, 0, 0)
			}
			e.WantSpent(0)
		})
	})
	t.Run("leader cancelled while the request is out", func(t *testing.T) {
		for _, omit := range []bool{false, true} {
			testkit.Bubble(t, &authpitest.Options{OmitIDTokenOnRefresh: omit}, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(authpitest.Fault{DelayAnswer: 20 * time.Millisecond})
				ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), rtKey{}, "trace"), 10*time.Millisecond)
				defer cancel()
				store := &testkit.Store{}
				opts := store.Opts()
				save := opts.OnRefresh
				opts.OnRefresh = func(ctx context.Context, tokens authpi.TokenSet) error {
					// Its limit is time that the process ran, which no deadline can say.
					if deadline, ok := ctx.Deadline(); ctx.Err() != nil || ok {
						t.Errorf("OnRefresh's context: error %v, deadline %v; want a live one without", ctx.Err(), deadline)
					}
					if ctx.Value(rtKey{}) != "trace" {
						t.Error("OnRefresh's context has lost the caller's values")
					}
					return save(ctx, tokens)
				}
				agent, err := e.CreateBy(ctx, e.Client, tokens, opts)
				if err != nil {
					t.Fatalf("the leader: %v", err)
				}
				if agent.Email != testkit.Email {
					t.Errorf("email: got %q; want %q", agent.Email, testkit.Email)
				}
				store.WantCalls(t, 1, 0)
				testkit.WantSame(t, "stored", store.Current, agent.Tokens)
				e.WantSpent(1)
			})
		}
	})
	t.Run("waiter leaves at once", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(authpitest.Fault{DelayAnswer: 20 * time.Second})
			var wg sync.WaitGroup
			wg.Go(func() { e.MustCreate(tokens, nil) })
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			store, began := &testkit.Store{}, time.Now()
			_, err := e.CreateBy(ctx, e.Client, tokens, store.Opts())
			if took := time.Since(began); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v after %s; want its context's error after 1 s", err, took)
			}
			store.WantCalls(t, 0, 0)
			wg.Wait()
			e.WantSpent(1)
		})
	})
	t.Run("RefreshTimeout bounds a hanging issuer", func(t *testing.T) {
		testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshTimeout = 3 * time.Second }, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(authpitest.Fault{Delay: time.Hour})
			store, began := &testkit.Store{}, time.Now()
			_, err := e.Create(tokens, store.Opts())
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("took %s; want 3 s", took)
			}
			testkit.WantError(t, err, "transport_error", false)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v; want it to wrap context.DeadlineExceeded", err)
			}
			store.WantCalls(t, 0, 1)
			// Nothing was spent, so the next one works.
			e.MustCreate(tokens, store.Opts())
			store.WantCalls(t, 1, 1)
		})
	})
	t.Run("RefreshTimeout bounds OnRefresh and Reload", func(t *testing.T) {
		testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshTimeout = 3 * time.Second }, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
			began := time.Now()
			_, err := e.Create(tokens, &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
				return authpi.TokenSet{}, hang(ctx)
			}})
			testkit.WantError(t, err, "transport_error", false)
			_, err = e.Create(tokens, &authpi.AgentOptions{OnRefresh: func(ctx context.Context, _ authpi.TokenSet) error { return hang(ctx) }})
			testkit.WantError(t, err, "refresh_error", false)
			testkit.Carried(t, err)
			if took := time.Since(began); took != 6*time.Second {
				t.Errorf("both took %s; want 6 s", took)
			}
		})
	})
}

// rtGuard calls f and swallows its panic.
func rtGuard(f func()) (fault any) {
	defer func() { fault = recover() }()
	f()
	return nil
}

func TestPanicsFreeEverybody(t *testing.T) {
	for _, tc := range []struct {
		name  string
		arm   func(e *testkit.Env) *authpi.AgentOptions
		out   bool   // the panic reaches its own caller
		spent int    // requests after everybody is done
		says  string // what the caller's error says of it
	}{
		{"OnRefresh", func(*testkit.Env) *authpi.AgentOptions {
			return &authpi.AgentOptions{OnRefresh: func(context.Context, authpi.TokenSet) error { panic("mine") }}
		}, true, 1, ""},
		{"OnRefreshError", func(e *testkit.Env) *authpi.AgentOptions {
			e.Fault(authpitest.Fault{Status: 500, Delay: time.Millisecond})
			return &authpi.AgentOptions{OnRefreshError: func(context.Context, error) { panic("mine") }}
		}, true, 2, ""},
		{"Reload", func(*testkit.Env) *authpi.AgentOptions {
			return &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
				time.Sleep(time.Millisecond)
				panic("mine")
			}}
		}, true, 1, ""},
		{"round tripper", func(e *testkit.Env) *authpi.AgentOptions {
			var once atomic.Bool
			e.Wire.Set(func(r *http.Request) (*http.Response, error) {
				if once.CompareAndSwap(false, true) {
					time.Sleep(time.Millisecond)
					panic("sent " + testkit.Form(r).Encode())
				}
				return nil, nil
			})
			return nil
		}, false, 1, "panicked with a string"},
		{"coordinator", func(e *testkit.Env) *authpi.AgentOptions {
			var once atomic.Bool
			inner := testkit.NewCoordinator()
			e.Client = e.NewClient(func(cfg *authpi.Config) {
				cfg.Coordinator = testkit.CoordinatorFunc(func(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
					if once.CompareAndSwap(false, true) {
						time.Sleep(time.Millisecond)
						panic("mine")
					}
					return inner.Do(ctx, id, spend)
				})
			})
			return nil
		}, false, 1, "panicked with a string"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				opts := tc.arm(e)
				var wg sync.WaitGroup
				wg.Go(func() {
					var err error
					fault := rtGuard(func() { _, err = e.Create(tokens, opts) })
					if (fault != nil) != tc.out || !tc.out && err == nil {
						t.Errorf("the caller itself: panic %v, error %v; want a panic: %v", fault, err, tc.out)
					}
					if err != nil && !strings.Contains(err.Error(), tc.says) {
						t.Errorf("got %v; want it to say %q", err, tc.says)
					}
				})
				synctest.Wait()
				for range 20 {
					wg.Go(func() { _, _ = e.Create(tokens, nil) })
				}
				wg.Wait()                    // a deadlock ends the bubble
				time.Sleep(31 * time.Second) // net/http has a timer goroutine that outlives a panicking round tripper
				agent := e.MustCreate(tokens, nil)
				e.WantAlive(agent.Tokens)
				e.WantSpent(tc.spent)
			})
		})
	}
}

// A coordinator that panics after the token was spent loses nothing.
func TestPanicAfterTheSpendKeepsTheSet(t *testing.T) {
	testkit.Bubble(t, nil, func(cfg *authpi.Config) {
		cfg.Coordinator = testkit.CoordinatorFunc(func(ctx context.Context, _ string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
			_, _ = spend(ctx)
			panic("after the spend")
		})
	}, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		store := &testkit.Store{}
		_, err := e.Create(tokens, store.Opts())
		agent, err2 := e.Create(tokens, store.Opts())
		if err2 != nil {
			t.Fatalf("the coordinator panicked after the token was spent, and the session is lost: %v, then %v", err, err2)
		}
		e.WantSpent(1)
		e.WantAlive(agent.Tokens)
	})
}

// Callers that wait for one refresh share the first one's decoding, and nothing that
// any of them could change or that is not theirs.
func TestWhoWaitsSharesNothingElse(t *testing.T) {
	// meet has a first caller and then others come, while the issuer takes a second.
	meet := func(t *testing.T, e *testkit.Env, fault authpitest.Fault, sets ...authpi.TokenSet) ([]*authpi.Agent, []error) {
		t.Helper()
		fault.Delay = time.Second
		e.Fault(fault)
		agents, errs := make([]*authpi.Agent, len(sets)), make([]error, len(sets))
		var wg sync.WaitGroup
		for i, set := range sets {
			wg.Go(func() { agents[i], errs[i] = e.Create(set, nil) })
			synctest.Wait()
		}
		wg.Wait()
		return agents, errs
	}
	t.Run("agents that keep their tokens", func(t *testing.T) {
		t.Parallel()
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(50 * time.Second)
			agents, errs := meet(t, e, authpitest.Fault{Status: 503}, tokens, tokens, tokens)
			for i, agent := range agents {
				if errs[i] != nil || agent.Tokens != tokens || !agent.HasAccessIn("org_1", "read", "projects") {
					t.Fatalf("caller %d: got %v, %v; want the agent as it was", i, agent, errs[i])
				}
				agent.Organizations[0].Scopes[0], agent.Organizations[0].ID, agent.ID = "changed", "changed", "changed"
				for j, other := range agents[i+1:] {
					if other.Organizations[0].Scopes[0] == "changed" || other.Organizations[0].ID == "changed" || other.ID == "changed" {
						t.Errorf("what caller %d changed shows at caller %d", i, i+1+j)
					}
				}
			}
		})
	})
	t.Run("an agent that a caller of Refresh has changed", func(t *testing.T) {
		t.Parallel()
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(50 * time.Second)
			changed := e.MustCreate(tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
			changed.Email = "eve@example.com"
			e.Fault(authpitest.Fault{Status: 503, Delay: time.Second})
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = e.Client.Refresh(context.Background(), changed, nil) })
			synctest.Wait()
			agent, err := e.Create(tokens, nil)
			wg.Wait()
			if err != nil || agent.Email != testkit.Email {
				t.Errorf("got %v, %v; want the agent of the stored tokens", agent, err)
			}
			e.WantSpent(1)
		})
	})
	t.Run("the same refresh token beside another user's ID token", func(t *testing.T) {
		t.Parallel()
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			stolen := tokens
			stolen.IDToken = testkit.Unsigned(`{"sub":"usr_eve"}`)
			agents, errs := meet(t, e, authpitest.Fault{}, tokens, stolen)
			if errs[0] != nil || agents[0].ID != testkit.Subject {
				t.Errorf("first caller: got %v, %v; want the agent", agents[0], errs[0])
			}
			var mismatch *authpi.SubjectMismatchError
			if !errors.As(errs[1], &mismatch) || mismatch.Expected != "usr_eve" {
				t.Errorf("second caller: got %v; want a *SubjectMismatchError", errs[1])
			}
			e.WantSpent(1)
		})
	})
	t.Run("the same refresh token beside an ID token that cannot be read", func(t *testing.T) {
		t.Parallel()
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			odd := tokens
			odd.IDToken = "odd"
			_, errs := meet(t, e, authpitest.Fault{}, tokens, odd)
			if errs[0] != nil {
				t.Errorf("first caller: got %v; want the agent", errs[0])
			}
			testkit.WantCode(t, errs[1], "invalid_token")
			e.WantSpent(1)
		})
	})
	t.Run("a refusal, without asking again", func(t *testing.T) {
		t.Parallel()
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			_, errs := meet(t, e, authpitest.Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, tokens, tokens, tokens)
			for i, err := range errs {
				if !errors.Is(err, authpi.ErrInvalidGrant) {
					t.Errorf("caller %d: got %v; want invalid_grant", i, err)
				}
			}
			e.WantSpent(1)
		})
	})
}
