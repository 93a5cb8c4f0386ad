package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// deafFor is how long what does not heed its context takes. In between lies all that
// waits for it.
const deafFor = time.Hour

// deaf is something foreign that does not heed its context.
type deaf struct {
	name string
	// arm makes it so, for one call; it returns the options of whoever leads.
	arm   func(e *testkit.Env) *authpi.AgentOptions
	spent int // tokens sent until it has its say
	// patient: it is waited for all of RefreshTimeout while the access token is good, too.
	patient bool
}

// deafBody is an answer's body whose first read does not end in time.
type deafBody struct {
	io.ReadCloser
	first func() bool
}

func (b deafBody) Read(p []byte) (int, error) {
	if b.first() {
		time.Sleep(deafFor)
	}
	return b.ReadCloser.Read(p)
}

// once reports whether it is asked for the first time.
func once() func() bool {
	var asked atomic.Bool
	return func() bool { return asked.CompareAndSwap(false, true) }
}

// onPath has do answer the first request to a path in place of the issuer.
func onPath(e *testkit.Env, path string, do func(*http.Request) (*http.Response, error)) {
	first := once()
	e.Wire.Set(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Host == "api.example":
			return testkit.Reply(r, http.StatusOK, nil, `{}`), nil
		case strings.HasSuffix(r.URL.Path, path) && first():
			return do(r)
		}
		return nil, nil
	})
}

func deafThings() []deaf {
	none := func(*testkit.Env) *authpi.AgentOptions { return &authpi.AgentOptions{} }
	coordinated := func(do func(inner *testkit.Coordinator) testkit.CoordinatorFunc) func(e *testkit.Env) *authpi.AgentOptions {
		return func(e *testkit.Env) *authpi.AgentOptions {
			withAPI(e)
			e.Client = e.NewClient(func(cfg *authpi.Config) { cfg.Coordinator = do(testkit.NewCoordinator()) })
			return none(e)
		}
	}
	type spend = func(context.Context) ([]byte, error)
	return []deaf{
		{"a round tripper, before the request", func(e *testkit.Env) *authpi.AgentOptions {
			onPath(e, "/token", func(*http.Request) (*http.Response, error) { time.Sleep(deafFor); return nil, nil })
			return none(e)
		}, 0, false},
		{"a round tripper, after the answer", func(e *testkit.Env) *authpi.AgentOptions {
			onPath(e, "/token", func(r *http.Request) (*http.Response, error) {
				resp, err := e.Wire.Base.RoundTrip(r)
				time.Sleep(deafFor)
				return resp, err
			})
			return none(e)
		}, 1, false},
		{"an answer's body", func(e *testkit.Env) *authpi.AgentOptions {
			onPath(e, "/token", func(r *http.Request) (*http.Response, error) {
				resp, err := e.Wire.Base.RoundTrip(r)
				if err == nil {
					resp.Body = deafBody{resp.Body, once()}
				}
				return resp, err
			})
			return none(e)
		}, 1, false},
		{"a coordinator, before the spend", coordinated(func(inner *testkit.Coordinator) testkit.CoordinatorFunc {
			first := once()
			return func(ctx context.Context, id string, spend spend) ([]byte, error) {
				if first() {
					time.Sleep(deafFor)
				}
				return inner.Do(ctx, id, spend)
			}
		}), 0, false},
		{"a Reload", func(e *testkit.Env) *authpi.AgentOptions {
			withAPI(e)
			return &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
				time.Sleep(deafFor)
				return authpi.TokenSet{}, errors.New("late")
			}}
		}, 0, false},
		{"an OnRefresh", func(e *testkit.Env) *authpi.AgentOptions {
			withAPI(e)
			return &authpi.AgentOptions{OnRefresh: func(context.Context, authpi.TokenSet) error {
				time.Sleep(deafFor)
				return nil
			}}
		}, 1, true},
	}
}

// Whatever is deaf, nobody waits for it beyond RefreshTimeout: who leads, who joins and who
// comes while it is still at it. While the access token is good nobody waits beyond 5 s,
// but for its own OnRefresh.
func TestNobodyWaitsForWhatIsDeaf(t *testing.T) {
	const timeout, patience = 20 * time.Second, 5 * time.Second
	for _, thing := range deafThings() {
		for _, good := range []bool{false, true} {
			for _, way := range ways() {
				if good && way.name == "Refresh" {
					continue // it waits for RefreshTimeout, whatever the access token
				}
				t.Run(fmt.Sprintf("%s/good %v/%s", thing.name, good, way.name), func(t *testing.T) {
					testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshTimeout = timeout }, func(t *testing.T, e *testkit.Env) {
						tokens, limit := e.Expired(), timeout
						if good {
							tokens, limit = e.InBuffer(45*time.Second), patience
						}
						opts := thing.arm(e)
						least, most := limit, limit
						if good {
							least = patience / 2 // what is left after that is for the spend
						}
						if thing.patient {
							least, most = timeout, timeout
						}
						store := &testkit.Store{Current: tokens} // of the others
						leader := testkit.After(func() {
							wantWithin(t, "who leads", least, most+time.Second, func() {
								checkDeaf(t, way.get(t.Context(), e.Client, tokens, opts), good && !thing.patient)
							})
						})
						joined := testkit.After(func() {
							wantWithin(t, "who joins", 0, limit+time.Second, func() {
								_ = way.get(t.Context(), e.Client, tokens, store.Opts())
							})
						})
						time.Sleep(2 * time.Second)
						wantWithin(t, "who comes later", 0, limit+time.Second, func() {
							_ = way.get(t.Context(), e.Client, tokens, store.Opts())
						})
						<-joined
						<-leader
						if e.Spent() < thing.spent || e.Issuer.Redemptions("refresh_token") != e.Spent() {
							t.Errorf("got %d requests, %d of them good; want no token sent twice", e.Spent(), e.Issuer.Redemptions("refresh_token"))
						}
						// Once it has had its say, all is well.
						time.Sleep(2 * deafFor)
						if err := way.get(t.Context(), e.Client, store.Current, store.Opts()); err != nil {
							t.Errorf("later: got %v; want new tokens", err)
						}
						if e.Issuer.Redemptions("refresh_token") != e.Spent() {
							t.Error("later: a token was sent twice")
						}
						e.WantAlive(store.Current)
					})
				})
			}
		}
	}
}

func checkDeaf(t *testing.T, err error, good bool) {
	t.Helper()
	switch {
	case good && err != nil:
		t.Errorf("got %v; want the tokens as they are", err)
	case !good && (err == nil || authpi.SessionEnded(err) || !errors.Is(err, context.DeadlineExceeded)):
		t.Errorf("got %v, session ended %v; want a deadline, and a session that goes on", err, authpi.SessionEnded(err))
	}
}

// Deaf keys cost a refresh 5 s, and a waiting caller its own patience alone.
func TestDeafKeysAtRefresh(t *testing.T) {
	for _, path := range []string{"jwks.json", "openid-configuration"} {
		t.Run(path, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Issuer.RotateKeys()
				e.Client = e.NewClient(nil)
				onPath(e, path, func(*http.Request) (*http.Response, error) { time.Sleep(deafFor); return nil, nil })
				store := &testkit.Store{}
				wantWithin(t, "the refresh", 5*time.Second, 6*time.Second, func() {
					if agent := e.MustCreate(tokens, store.Opts()); agent.ID != testkit.Subject {
						t.Errorf("got %v; want Ada", agent)
					}
				})
				store.WantCalls(t, 1, 0)
				e.WantSpent(1)
				time.Sleep(2 * deafFor)
			})
		})
	}
}

// A caller's own deadline counts for whoever waits, and for who leads until the token
// leaves, deaf or not.
func TestOwnDeadline(t *testing.T) {
	const own = 2 * time.Second
	for _, way := range ways() {
		if way.name == "TokenSource" {
			continue // its callers have no context
		}
		t.Run(way.name+" waits", func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				tokens := e.Expired()
				e.Fault(authpitest.Fault{DelayAnswer: 10 * time.Second})
				leader := testkit.After(func() { e.MustCreate(tokens, nil) })
				ctx, cancel := context.WithTimeout(t.Context(), own)
				defer cancel()
				store := &testkit.Store{}
				wantWithin(t, "who waits", own, own, func() {
					if err := way.get(ctx, e.Client, tokens, store.Opts()); !errors.Is(err, context.DeadlineExceeded) || authpi.SessionEnded(err) {
						t.Errorf("got %v; want its own deadline", err)
					}
				})
				store.WantCalls(t, 0, 0)
				<-leader
				e.WantSpent(1)
			})
		})
		t.Run(way.name+" reads a deaf store", func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				tokens := e.Expired()
				ctx, cancel := context.WithTimeout(t.Context(), own)
				defer cancel()
				wantWithin(t, "who reads", own, own+time.Second, func() {
					err := way.get(ctx, e.Client, tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
						time.Sleep(deafFor)
						return tokens, nil
					}})
					if !errors.Is(err, context.DeadlineExceeded) || authpi.SessionEnded(err) {
						t.Errorf("got %v; want its own deadline", err)
					}
				})
				e.WantSpent(0)
				time.Sleep(2 * deafFor)
			})
		})
	}
	// HTTPClient keeps to the request's deadline, also where its own request would lead:
	// the refresh goes on, and the next request has its result.
	t.Run("HTTPClient leads", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			withAPI(e)
			tokens := e.Expired()
			e.Fault(authpitest.Fault{DelayAnswer: 10 * time.Second})
			store := &testkit.Store{}
			client := e.Client.HTTPClient(agentOf(tokens), store.Opts())
			ctx, cancel := context.WithTimeout(t.Context(), own)
			defer cancel()
			wantWithin(t, "who leads", own, own, func() {
				if err := callAPI(ctx, client); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v; want its own deadline", err)
				}
			})
			time.Sleep(10 * time.Second)
			store.WantCalls(t, 1, 0)
			wantWithin(t, "the next one", 0, 0, func() {
				if err := callAPI(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
			e.WantSpent(1)
			e.WantAlive(store.Current)
		})
	})
}

// An OnRefresh does not begin once its caller has gone: here it waits for an older one,
// which is deaf, until both have had all their time.
func TestOnRefreshDoesNotOutliveItsCaller(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		var gone, began atomic.Bool
		first := testkit.After(func() {
			_, _ = e.Create(tokens, &authpi.AgentOptions{OnRefresh: func(context.Context, authpi.TokenSet) error {
				time.Sleep(deafFor)
				return nil
			}})
		})
		_, err := e.Create(tokens, &authpi.AgentOptions{Resources: []string{api}, OnRefresh: func(context.Context, authpi.TokenSet) error {
			began.Store(true)
			if gone.Load() {
				t.Error("OnRefresh began after its caller had gone")
			}
			return nil
		}})
		gone.Store(true)
		<-first
		time.Sleep(2 * deafFor)
		if began.Load() != (err == nil) {
			t.Errorf("got %v, and OnRefresh called: %v; want it called, or an error that has the set", err, began.Load())
		}
		if err != nil {
			testkit.Carried(t, err)
		}
		store := &testkit.Store{}
		opts := store.Opts()
		opts.Resources = []string{api}
		e.MustCreate(tokens, opts)
		store.WantCalls(t, 1, 0)
		e.WantAlive(store.Current)
	})
}

// A coordinator that is deaf once there is a result: when it has spent the token, or when it
// is asked what became of another process's set. The result is used, and nobody waits long.
func TestCoordinatorThatIsDeafAfterwards(t *testing.T) {
	type spend = func(context.Context) ([]byte, error)
	t.Run("when it has spent", func(t *testing.T) {
		testkit.Bubble(t, nil, func(cfg *authpi.Config) {
			cfg.Coordinator = testkit.CoordinatorFunc(func(ctx context.Context, _ string, spend spend) ([]byte, error) {
				defer time.Sleep(deafFor)
				return spend(ctx)
			})
		}, func(t *testing.T, e *testkit.Env) {
			tokens, store := e.Expired(), &testkit.Store{}
			wantWithin(t, "all of it", 0, 6*time.Second, func() {
				leader := testkit.After(func() { e.MustCreate(tokens, store.Opts()) })
				e.MustCreate(tokens, store.Opts())
				<-leader
			})
			store.WantCalls(t, 2, 0)
			e.WantSpent(1)
			e.WantAlive(store.Current)
			time.Sleep(2 * deafFor)
		})
	})
	t.Run("when it is asked for a successor", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			shared, asked := testkit.NewCoordinator(), 0
			other := testkit.Processes(e, shared, 1)[0]
			tokens := e.Expired()
			agent, err := e.CreateBy(t.Context(), other, tokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			c := e.NewClient(func(cfg *authpi.Config) {
				cfg.Coordinator = testkit.CoordinatorFunc(func(ctx context.Context, id string, spend spend) ([]byte, error) {
					if asked++; asked > 1 {
						time.Sleep(deafFor)
					}
					return shared.Do(ctx, id, spend)
				})
			})
			store := &testkit.Store{}
			wantWithin(t, "the call", 0, 3*time.Second, func() {
				got, err := e.CreateBy(t.Context(), c, tokens, store.Opts())
				if err != nil {
					t.Fatalf("got %v; want the other process's set", err)
				}
				testkit.WantSame(t, "agent", got.Tokens, agent.Tokens)
			})
			store.WantCalls(t, 1, 0)
			e.WantSpent(1)
			time.Sleep(2 * deafFor)
		})
	})
}
