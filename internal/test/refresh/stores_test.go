package refresh_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Two callers hold the same tokens and have a store each. One of these holds a newer set
// already: both stores end with the newest one, and each is written to where it has to be.
func TestTwoStoresOfOneSession(t *testing.T) {
	type caller struct {
		store *testkit.Store
		opts  func(*testkit.Store) *authpi.AgentOptions
	}
	for _, expired := range []bool{false, true} {
		for _, other := range []struct {
			name string
			opts func(*testkit.Store) *authpi.AgentOptions
		}{
			{"that is only written", (*testkit.Store).Opts},
			{"that lags behind", (*testkit.Store).Reloading},
		} {
			for _, order := range []string{"after", "at once", "while the first reads"} {
				t.Run(fmt.Sprintf("a newer set, expired %v/a store %s/%s", expired, other.name, order), func(t *testing.T) {
					testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
						tokens := e.Expired()
						newer := elsewhere(e, tokens)
						if expired {
							time.Sleep(testkit.TokenLife + time.Second)
						}
						ahead := caller{&testkit.Store{Current: newer}, (*testkit.Store).Reloading}
						behind := caller{&testkit.Store{Current: tokens}, other.opts}
						aheadOpts := ahead.opts(ahead.store)
						if order == "while the first reads" {
							aheadOpts.Reload = slowly(aheadOpts.Reload, time.Second)
						}
						var first *authpi.Agent
						begun := testkit.After(func() { first = e.MustCreate(tokens, aheadOpts) })
						if order == "after" {
							<-begun
						}
						second := e.MustCreate(tokens, behind.opts(behind.store))
						<-begun
						testkit.WantSame(t, "the other's agent", second.Tokens, first.Tokens)
						testkit.WantSame(t, "the store ahead", ahead.store.Current, first.Tokens)
						testkit.WantSame(t, "the store behind", behind.store.Current, first.Tokens)
						behind.store.WantCalls(t, 1, 0)
						if expired {
							ahead.store.WantCalls(t, 1, 0)
							e.WantSpent(2)
						} else {
							ahead.store.WantCalls(t, 0, 0)
							e.WantSpent(1)
						}
						e.WantAlive(first.Tokens)
					})
				})
			}
		}
	}
}

func slowly(reload func(context.Context) (authpi.TokenSet, error), d time.Duration) func(context.Context) (authpi.TokenSet, error) {
	return func(ctx context.Context) (authpi.TokenSet, error) {
		set, err := reload(ctx)
		time.Sleep(d)
		return set, err
	}
}

// A store returns a set that is not the newest any more when it returns: this process
// knows what became of that, and sends no old token.
func TestStoreBehindThisProcess(t *testing.T) {
	for _, tc := range []struct {
		name string
		// others refresh what the store holds, while the caller reads it.
		others func(t *testing.T, e *testkit.Env, stored authpi.TokenSet) authpi.TokenSet
		left   time.Duration // of what the store holds when the caller begins to read it
		saves  int
	}{
		{"by one set", func(t *testing.T, e *testkit.Env, stored authpi.TokenSet) authpi.TokenSet {
			return refreshed(t, e, stored, nil)
		}, testkit.TokenLife, 1},
		{"by three sets", func(t *testing.T, e *testkit.Env, stored authpi.TokenSet) authpi.TokenSet {
			return refreshed(t, e, refreshed(t, e, refreshed(t, e, stored, nil), nil), nil)
		}, testkit.TokenLife, 1},
		{"by one of another grant", func(t *testing.T, e *testkit.Env, stored authpi.TokenSet) authpi.TokenSet {
			refreshed(t, e, stored, []string{api})
			return authpi.TokenSet{} // the caller refreshes that
		}, testkit.TokenLife, 1},
		{"by one that is on its way, and what it has is still good", func(t *testing.T, e *testkit.Env, stored authpi.TokenSet) authpi.TokenSet {
			e.Fault(authpitest.Fault{DelayAnswer: 3 * time.Second})
			refreshed(t, e, stored, nil)
			return stored
		}, testkit.TokenLife, 0},
		{"by one that is on its way, and what it has has expired", func(t *testing.T, e *testkit.Env, stored authpi.TokenSet) authpi.TokenSet {
			e.Fault(authpitest.Fault{DelayAnswer: 3 * time.Second})
			return refreshed(t, e, stored, nil)
		}, time.Second, 1},
	} {
		for _, way := range ways() {
			t.Run(tc.name+"/"+way.name, func(t *testing.T) {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					withAPI(e)
					tokens := e.Expired()
					store := &testkit.Store{Current: elsewhere(e, tokens)}
					time.Sleep(testkit.TokenLife - tc.left)
					opts := store.Reloading()
					opts.Reload = slowly(opts.Reload, 2*time.Second)
					done := testkit.After(func() {
						if err := way.get(t.Context(), e.Client, tokens, opts); err != nil {
							t.Errorf("got %v; want new tokens", err)
						}
					})
					newest := tc.others(t, e, store.Current)
					<-done
					if newest != (authpi.TokenSet{}) {
						testkit.WantSame(t, "stored", store.Current, newest)
					}
					store.WantCalls(t, tc.saves, 0)
					e.WantAlive(store.Current)
					if got := e.Issuer.Redemptions("refresh_token"); got != e.Spent() {
						t.Errorf("got %d refusals; want no token sent twice", e.Spent()-got)
					}
				})
			})
		}
	}
}

// refreshed is what this process makes of tokens.
func refreshed(t *testing.T, e *testkit.Env, tokens authpi.TokenSet, resources []string) authpi.TokenSet {
	t.Helper()
	agent, err := e.Client.Refresh(t.Context(), agentOf(tokens), &authpi.RefreshOptions{Resources: resources})
	if err != nil {
		t.Fatalf("Refresh: %v", err)
	}
	return agent.Tokens
}

// generations numbers the refresh tokens of an issuer in the order in which it hands
// them out.
type generations struct {
	base http.RoundTripper
	mu   sync.Mutex
	of   map[string]int
}

func number(e *testkit.Env) *generations {
	g := &generations{base: e.Wire.Base, of: map[string]int{}}
	e.Wire.Base = g
	return g
}

func (g *generations) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.base.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.RefreshToken != "" {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.of[answer.RefreshToken] = len(g.of) + 1
	}
	return resp, err
}

// storeLog is a session store that notes which set was written when.
type storeLog struct {
	generations *generations
	mu          sync.Mutex // guards all below
	begun, done []int
	current     authpi.TokenSet
}

func (l *storeLog) write(set authpi.TokenSet, takes time.Duration, err error) error {
	l.generations.mu.Lock()
	n := l.generations.of[set.RefreshToken]
	l.generations.mu.Unlock()
	l.mu.Lock()
	l.begun = append(l.begun, n)
	l.mu.Unlock()
	time.Sleep(takes)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.done = append(l.done, n)
		l.current = set
	}
	return err
}

func (l *storeLog) opts(takes time.Duration, err error) *authpi.AgentOptions {
	return &authpi.AgentOptions{OnRefresh: func(_ context.Context, set authpi.TokenSet) error {
		return l.write(set, takes, err)
	}}
}

// heard is what was written so far.
func (l *storeLog) heard() (begun, done []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.begun), slices.Clone(l.done)
}

// An older set never reaches a store after a newer one, however long whoever has it takes.
func TestOlderSetIsNotStoredAfterANewerOne(t *testing.T) {
	type scene struct {
		*testing.T
		*testkit.Env
		log    *storeLog
		tokens authpi.TokenSet
	}
	plain := func(s scene, takes time.Duration, err error) {
		_, got := s.Create(s.tokens, s.log.opts(takes, err))
		if !errors.Is(got, err) {
			s.T.Errorf("the plain caller: got %v; want %v", got, err)
		}
	}
	asks := func(s scene, resource string, takes time.Duration) {
		opts := s.log.opts(takes, nil)
		opts.Resources = []string{resource}
		s.MustCreate(s.tokens, opts)
	}
	down := errors.New("disk full")
	for _, tc := range []struct {
		name  string
		act   func(s scene)
		begun []int // generations, in order; those that fail, too
		done  []int
		took  time.Duration
	}{
		{"a slow OnRefresh, and another grant", func(s scene) {
			first := testkit.After(func() { plain(s, 3*time.Second, nil) })
			asks(s, api, 0)
			<-first
		}, []int{2, 3}, []int{2, 3}, 3 * time.Second},
		{"three grants, each slower than the next", func(s scene) {
			first := testkit.After(func() { plain(s, 3*time.Second, nil) })
			second := testkit.After(func() { asks(s, api, 2*time.Second) })
			asks(s, api+"more", 0)
			<-second
			<-first
		}, []int{2, 3, 4}, []int{2, 3, 4}, 5 * time.Second},
		{"a slow OnRefresh, and a refresh by name", func(s scene) {
			first := testkit.After(func() { plain(s, 3*time.Second, nil) })
			agent, err := s.Client.Refresh(context.Background(), agentOf(s.log.seen(s.T)), &authpi.RefreshOptions{OnRefresh: s.log.opts(0, nil).OnRefresh})
			if err != nil {
				s.T.Error(err)
			} else {
				s.WantAlive(agent.Tokens)
			}
			<-first
		}, []int{2, 3}, []int{2, 3}, 3 * time.Second},
		{"an OnRefresh that fails", func(s scene) {
			first := testkit.After(func() { plain(s, 3*time.Second, down) })
			asks(s, api, 0)
			<-first
		}, []int{2, 3}, []int{3}, 3 * time.Second},
		{"an OnRefresh that is deaf", func(s scene) {
			first := testkit.After(func() {
				_, err := s.Create(s.tokens, s.log.opts(time.Hour, nil))
				testkit.WantError(s.T, err, "refresh_error", false)
			})
			time.Sleep(time.Second)
			asks(s, api, 0)
			<-first
		}, []int{2, 3}, []int{3}, 30 * time.Second},
		{"two of a crowd are slow", func(s scene) {
			first := testkit.After(func() { plain(s, time.Second, nil) })
			second := testkit.After(func() { plain(s, 4*time.Second, nil) })
			asks(s, api, 0)
			<-first
			<-second
		}, []int{2, 2, 3}, []int{2, 2, 3}, 4 * time.Second},
		{"a slow Reload", func(s scene) {
			opts := s.log.opts(0, nil)
			opts.Reload = slowly(func(context.Context) (authpi.TokenSet, error) { return s.tokens, nil }, 3*time.Second)
			plain(s, 0, nil)
			first := testkit.After(func() { s.MustCreate(s.tokens, opts) })
			time.Sleep(time.Second)
			current, _ := s.log.read(context.Background())
			refreshed(s.T, s.Env, current, nil)
			<-first
		}, []int{2, 3}, []int{2, 3}, 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				numbered := number(e)
				s := scene{t, e, &storeLog{generations: numbered}, e.Expired()}
				wantWithin(t, "all of it", tc.took, tc.took, func() { tc.act(s) })
				if begun, done := s.log.heard(); !slices.Equal(begun, tc.begun) || !slices.Equal(done, tc.done) {
					t.Errorf("OnRefresh: got sets %v, stored %v; want %v, %v", begun, done, tc.begun, tc.done)
				}
				time.Sleep(2 * time.Hour) // the deaf one returns
			})
		})
	}
}

// seen waits for the set that a store is being given, and returns it.
func (l *storeLog) seen(t *testing.T) authpi.TokenSet {
	t.Helper()
	synctest.Wait()
	l.generations.mu.Lock()
	defer l.generations.mu.Unlock()
	for token, n := range l.generations.of {
		if n == len(l.generations.of) {
			return authpi.TokenSet{AccessToken: "at", RefreshToken: token, SubjectHint: testkit.Subject}
		}
	}
	t.Fatal("no token was handed out")
	panic("unreachable")
}

// A crowd of every kind on one session: its stores are written in the order of the sets,
// each by each caller once at most, and the session lives on.
func TestOrderInACrowd(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				random := rand.New(rand.NewPCG(seed, 0))
				store := &storeLog{generations: number(e)}
				store.current = e.Expired()
				e.Fault(authpitest.Fault{DelayAnswer: 30 * time.Millisecond, Times: 40})
				tokens := store.current
				var wg sync.WaitGroup
				for n := range 120 {
					came, takes, reads := rand500(random), rand500(random), rand500(random)
					grant := random.IntN(4)
					wg.Go(func() {
						time.Sleep(came)
						opts := store.opts(takes, nil)
						if n%3 == 0 {
							opts.Reload = slowly(store.read, reads)
						}
						if grant > 0 {
							opts.Resources = []string{fmt.Sprint(api, grant)}
						}
						if _, err := e.Create(tokens, opts); err != nil {
							t.Errorf("caller %d: got %v; want new tokens", n, err)
						}
					})
				}
				wg.Wait()
				if !slices.IsSorted(store.done) {
					t.Errorf("stored the sets %v; want them in order", store.done)
				}
				e.WantAlive(store.current)
				if e.Issuer.Redemptions("refresh_token") != e.Spent() {
					t.Error("a refresh token was sent twice")
				}
			})
		})
	}
}

func rand500(r *rand.Rand) time.Duration { return time.Duration(r.IntN(500)) * time.Millisecond }

func (l *storeLog) read(context.Context) (authpi.TokenSet, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current, nil
}

// OnRefresh fails for one of two callers, and the other one has no store. Later the first
// one comes again with the old tokens.
func TestFailedOnRefreshBesideAnotherCaller(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		store := &testkit.Store{Current: tokens, SaveErr: errors.New("database is away")}
		first := testkit.After(func() { _, _ = e.Create(tokens, store.Opts()) })
		other := testkit.After(func() { e.MustCreate(tokens, nil) })
		<-first
		<-other
		time.Sleep(2 * time.Minute)
		store.Mu.Lock()
		store.SaveErr = nil
		store.Mu.Unlock()
		agent := e.MustCreate(tokens, store.Opts())
		e.WantSpent(1)
		e.WantAlive(agent.Tokens)
	})
}

// The session has ended in the store that two callers read. What a third one without a
// store gets is stored by neither.
func TestEndedInTheStoreOfWhoWaits(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		ended := func(context.Context) (authpi.TokenSet, error) {
			time.Sleep(100 * time.Millisecond)
			return authpi.TokenSet{}, nil
		}
		store := &testkit.Store{}
		var err error
		all := []chan struct{}{
			testkit.After(func() { _, _ = e.Create(tokens, &authpi.AgentOptions{Reload: ended}) }),
			testkit.After(func() {
				opts := store.Opts()
				opts.Reload = ended
				_, err = e.Create(tokens, opts)
			}),
		}
		for range 20 { // any of them may lead
			all = append(all, testkit.After(func() { _, _ = e.Create(tokens, nil) }))
		}
		for _, done := range all {
			<-done
		}
		testkit.WantError(t, err, "session_expired", true)
		store.WantCalls(t, 0, 1)
	})
}

// With -race: a Reload is left behind, and the same call reloads once more when its
// access token has ended.
func TestReloadThatIsLeftBehind(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(3 * time.Second)
		newer := e.MustCreate(tokens, nil).Tokens // another caller's
		var reads atomic.Int32
		agent := e.MustCreate(tokens, &authpi.AgentOptions{Reload: func(context.Context) (authpi.TokenSet, error) {
			if reads.Add(1) == 1 {
				time.Sleep(20 * time.Second)
				return authpi.TokenSet{}, errors.New("late")
			}
			return tokens, nil
		}})
		testkit.WantSame(t, "tokens", agent.Tokens, newer)
		if got := reads.Load(); got != 2 {
			t.Errorf("%d reads; want 2", got)
		}
		time.Sleep(time.Minute)
	})
}
