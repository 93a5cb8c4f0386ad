package refresh_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// holder is something that an app holds over hours, and that refreshes by itself.
type holder struct {
	name string
	make func(e *testkit.Env, agent *authpi.Agent, opts *authpi.AgentOptions) (use func() (access string, err error))
}

func holders() []holder {
	return []holder{
		{"TokenSource", func(e *testkit.Env, agent *authpi.Agent, opts *authpi.AgentOptions) func() (string, error) {
			source := e.Client.TokenSource(agent, opts)
			return func() (string, error) {
				token, err := source.Token()
				if err != nil {
					return "", err
				}
				return token.AccessToken, nil
			}
		}},
		{"HTTPClient", func(e *testkit.Env, agent *authpi.Agent, opts *authpi.AgentOptions) func() (string, error) {
			client := e.Client.HTTPClient(agent, opts)
			return func() (string, error) {
				resp, err := client.Get("https://api.example/")
				if err != nil {
					return "", err
				}
				defer func() { _ = resp.Body.Close() }()
				return strings.TrimPrefix(resp.Request.Header.Get("Authorization"), "Bearer "), nil
			}
		}},
	}
}

// Sources of one agent without a store share what the client knows for as long as one of
// them lives, whichever is used when, and whenever it was made.
func TestSourcesOfOneAgent(t *testing.T) {
	type pair struct {
		first, second func() (string, error)
		make          func() func() (string, error) // one more
		again         func(func() (string, error))  // uses it, in order
	}
	hours := func(n int, use func()) {
		for range n {
			time.Sleep(testkit.TokenLife + time.Second)
			use()
		}
	}
	for _, tc := range []struct {
		name  string
		act   func(p pair)
		spent int
	}{
		{"in turn", func(p pair) {
			hours(6, func() { p.again(p.first); p.again(p.second) })
		}, 6},
		{"each in its own half hour", func(p pair) {
			hours(3, func() { p.again(p.first) })
			hours(3, func() { p.again(p.second) })
			hours(3, func() { p.again(p.first) })
		}, 9},
		{"one sleeps for hours", func(p pair) {
			hours(10, func() { p.again(p.first) })
			p.again(p.second)
		}, 10},
		{"both at once", func(p pair) {
			hours(4, func() {
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() { p.again(p.first) })
					wg.Go(func() { p.again(p.second) })
				}
				wg.Wait()
			})
		}, 4},
		{"one that is made after hours", func(p pair) {
			hours(5, func() { p.again(p.first) })
			p.again(p.make())
			hours(1, func() { p.again(p.make()) })
			hours(1, func() { p.again(p.first) })
		}, 7},
		{"one that is made while the other refreshes", func(p pair) {
			hours(2, func() {
				done := testkit.After(func() { p.again(p.first) })
				p.again(p.make())
				<-done
			})
		}, 2},
	} {
		for _, one := range holders() {
			for _, other := range holders() {
				t.Run(tc.name+"/"+one.name+" and "+other.name, func(t *testing.T) {
					testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
						withAPI(e)
						agent := e.MustCreate(e.SignIn(), nil)
						e.Fault(authpitest.Fault{DelayAnswer: time.Second, Times: -1})
						create := func() func() (string, error) { return other.make(e, agent, nil) }
						var newest sync.Map
						tc.act(pair{one.make(e, agent, nil), create(), create, func(use func() (string, error)) {
							access, err := use()
							if err != nil {
								t.Errorf("got %v; want a token", err)
							}
							newest.Store("", access)
						}})
						e.WantSpent(tc.spent)
						if access, _ := newest.Load(""); !e.Issuer.SessionAlive(access.(string)) {
							t.Error("the session is dead; want alive")
						}
					})
				})
			}
		}
	}
}

// A source learns what requests with a store make of its session, and the other way round.
func TestSourceBesideRequests(t *testing.T) {
	for _, one := range holders() {
		t.Run(one.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				store := &testkit.Store{Current: e.SignIn()}
				use := one.make(e, e.MustCreate(store.Current, nil), nil)
				for range 5 { // only requests, for hours
					time.Sleep(testkit.TokenLife + time.Second)
					e.MustCreate(store.Current, store.Opts())
				}
				if access, err := use(); err != nil || access != store.Current.AccessToken {
					t.Errorf("after hours: got another token, or %v; want the requests' newest", err)
				}
				e.WantSpent(5)
				time.Sleep(testkit.TokenLife + time.Second)
				access, err := use()
				if err != nil {
					t.Fatal(err)
				}
				agent := e.MustCreate(store.Current, store.Opts()) // within RefreshMemory
				if agent.Tokens.AccessToken != access || store.Current.AccessToken != access {
					t.Error("a request got another token than the source")
				}
				e.WantSpent(6)
				e.WantAlive(store.Current)
			})
		})
	}
}

// RefreshBuffer is longer than the tokens live: at most half of a life is used as buffer,
// whoever refreshes and whatever the tokens look like.
func TestBufferLongerThanALife(t *testing.T) {
	const life = 10 * time.Minute
	opaque := func(e *testkit.Env) {
		e.Issuer.Inject(authpitest.Fault{
			Endpoint: "token", Times: -1, IDToken: func(_, claims map[string]any) { delete(claims, "at_hash") },
			Malform: func(body []byte) []byte {
				return member("access_token", `"opaque-`+fmt.Sprint(time.Now().UnixNano())+`"`)(body)
			},
		})
	}
	for _, tokens := range []struct {
		name string
		arm  func(e *testkit.Env)
	}{
		{"access tokens that are JWTs", func(*testkit.Env) {}},
		{"opaque access tokens", opaque},
	} {
		for _, tc := range []struct {
			name string
			use  func(e *testkit.Env, signedIn authpi.TokenSet) func() error
		}{
			{"CreateAgent", func(e *testkit.Env, signedIn authpi.TokenSet) func() error {
				store := &testkit.Store{Current: signedIn}
				return func() error { _, err := e.Create(store.Current, store.Opts()); return err }
			}},
			{"CreateAgent with the old tokens", func(e *testkit.Env, signedIn authpi.TokenSet) func() error {
				store := &testkit.Store{Current: signedIn}
				return func() error {
					old := store.Current
					_, err := e.Create(old, store.Opts())
					if err == nil {
						_, err = e.Create(old, store.Opts())
					}
					return err
				}
			}},
			{"TokenSource", func(e *testkit.Env, signedIn authpi.TokenSet) func() error {
				source := e.Client.TokenSource(agentOf(signedIn), nil)
				return func() error { _, err := source.Token(); return err }
			}},
			{"HTTPClient", func(e *testkit.Env, signedIn authpi.TokenSet) func() error {
				use := holders()[1].make(e, agentOf(signedIn), nil)
				return func() error { _, err := use(); return err }
			}},
			{"ClientCredentialsSource", func(e *testkit.Env, _ authpi.TokenSet) func() error {
				source := e.Client.ClientCredentialsSource(nil)
				return func() error { _, err := source.Token(); return err }
			}},
		} {
			t.Run(tokens.name+"/"+tc.name, func(t *testing.T) {
				issuer := &authpitest.Options{AccessTokenLifetime: life, AgentTokenLifetime: life}
				testkit.Bubble(t, issuer, func(cfg *authpi.Config) { cfg.RefreshBuffer = time.Hour }, func(t *testing.T, e *testkit.Env) {
					withAPI(e)
					tokens.arm(e)
					use := tc.use(e, e.SignIn())
					const each = 10 * time.Second
					for range 2 * time.Hour / each {
						if err := use(); err != nil {
							t.Fatal(err)
						}
						time.Sleep(each)
					}
					got, want := e.Issuer.Requests("token"), int(2*time.Hour/(life/2))
					if got < want-2 || got > want+2 {
						t.Errorf("token requests in 2 hours: got %d; want about %d, one for each half of a life", got, want)
					}
				})
			})
		}
	}
}
