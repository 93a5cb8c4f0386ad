package refresh_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// waits are answers that ask for a wait, and how long that is kept to.
var waits = []struct {
	name  string
	fault authpitest.Fault
	wait  time.Duration
}{
	{"429 for 30 s", authpitest.Fault{Status: 429, RetryAfter: "30"}, 30 * time.Second},
	{"429 with a code", authpitest.Fault{Status: 429, RetryAfter: "30", Body: `{"error":"slow_down"}`}, 30 * time.Second},
	{"503 for 30 s", authpitest.Fault{Status: 503, RetryAfter: "30", Body: "<html>"}, 30 * time.Second},
	{"500 for 7 s", authpitest.Fault{Status: 500, RetryAfter: "7"}, 7 * time.Second},
	{"429 until a date", authpitest.Fault{Status: 429}, 40 * time.Second}, // see arm
	{"429 that does not say", authpitest.Fault{Status: 429}, 5 * time.Second},
	{"429 that says it badly", authpitest.Fault{Status: 429, RetryAfter: "soon"}, 5 * time.Second},
	{"429 for a day", authpitest.Fault{Status: 429, RetryAfter: "86400"}, 5 * time.Minute},
}

// arm has the issuer ask for the wait once, at the token endpoint.
func arm(e *testkit.Env, n int, grant string) {
	fault := waits[n].fault
	if waits[n].name == "429 until a date" {
		fault.RetryAfter = time.Now().Add(waits[n].wait).UTC().Format(http.TimeFormat)
	}
	fault.Endpoint, fault.Grant = "token", grant
	e.Issuer.Inject(fault)
}

// wantHeld checks an error that says how long the issuer wants no request.
func wantHeld(t *testing.T, err error, left time.Duration) {
	t.Helper()
	var e *authpi.OAuthError
	if !errors.As(err, &e) || e.RetryAfter != left || authpi.SessionEnded(err) {
		t.Errorf("got %v, %+v; want a passing failure, and %v to wait", err, e, left)
	}
}

// Within the time that the issuer asks for, 40 calls of one session send one request,
// whoever they come from and whatever they ask for; then they go on.
func TestRetryAfterIsKept(t *testing.T) {
	for n, tc := range waits {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				tokens := e.Expired()
				arm(e, n, "refresh_token")
				store := &testkit.Store{Current: tokens}
				_, err := e.Create(tokens, store.Opts())
				e.Log.Error(err)
				began := time.Now()
				for i := range 40 {
					way := ways()[i%4]
					opts := store.Opts()
					if i%3 == 0 {
						opts = store.Reloading()
					}
					if i%5 == 0 {
						opts.Resources = []string{api}
					}
					left := tc.wait - time.Since(began)
					wantWithin(t, "a call in the wait", 0, 0, func() {
						wantHeld(t, way.get(t.Context(), e.Client, tokens, opts), (left + time.Second - 1).Truncate(time.Second))
					})
					time.Sleep(tc.wait / 41)
				}
				e.WantSpent(1)
				time.Sleep(tc.wait - time.Since(began))
				e.MustCreate(tokens, store.Opts())
				e.WantSpent(2)
				e.WantAlive(store.Current)
			})
		})
	}
}

// While the access token is good nobody is told, and it is kept to all the same: until
// the token has expired, and beyond.
func TestRetryAfterWhileTheTokenIsGood(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		withAPI(e)
		tokens := e.InBuffer(20 * time.Second)
		e.Fault(authpitest.Fault{Status: 429, RetryAfter: "60"})
		store := &testkit.Store{Current: tokens}
		for range 20 {
			for _, way := range ways() {
				err := way.get(t.Context(), e.Client, tokens, store.Opts())
				if way.name != "Refresh" && err != nil {
					t.Errorf("%s: got %v; want the token that is good", way.name, err)
				}
				if way.name == "Refresh" && err == nil {
					t.Errorf("%s: got new tokens; want an error with what is left of the wait", way.name)
				}
			}
			time.Sleep(time.Second)
		}
		store.WantCalls(t, 0, 0)
		for range 40 {
			_, err := e.Create(tokens, nil)
			wantHeld(t, err, 40*time.Second)
		}
		e.WantSpent(1)
		time.Sleep(40 * time.Second)
		e.MustCreate(tokens, store.Opts())
		e.WantSpent(2)
	})
}

// Whom a wait does not concern: another session, whoever finds a newer set in its store or
// in the memory, and a client whose clock has moved on.
func TestWaitConcernsOneToken(t *testing.T) {
	held := authpitest.Fault{Status: 429, RetryAfter: "60"}
	t.Run("another session", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			other, tokens := e.SignIn(), e.Expired()
			e.Fault(held)
			_, err := e.Create(tokens, nil)
			wantHeld(t, err, time.Minute)
			e.MustCreate(other, nil)
		})
	})
	t.Run("a newer set in the store", func(t *testing.T) {
		for _, way := range ways() {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				tokens := e.Expired()
				e.Fault(held)
				_, err := e.Create(tokens, nil)
				wantHeld(t, err, time.Minute)
				store := &testkit.Store{Current: elsewhere(e, tokens)}
				if err := way.get(t.Context(), e.Client, tokens, store.Reloading()); err != nil {
					t.Errorf("%s: got %v; want what the store has", way.name, err)
				}
				store.WantCalls(t, 0, 0)
				e.WantSpent(2)
			})
		}
	})
	t.Run("a late caller, whose successor is the one that waits", func(t *testing.T) {
		testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.RefreshMemory = time.Hour }, func(t *testing.T, e *testkit.Env) {
			first := e.Expired()
			second := e.MustCreate(first, nil).Tokens
			e.Fault(held)
			_, err := e.Client.Refresh(t.Context(), agentOf(second), nil)
			wantHeld(t, err, time.Minute)
			testkit.WantSame(t, "its set", e.MustCreate(first, nil).Tokens, second) // which is good
			_, err = e.Create(first, &authpi.AgentOptions{Resources: []string{api}})
			wantHeld(t, err, time.Minute)
			e.WantSpent(2)
		})
	})
	for name, leap := range map[string]time.Duration{"clock put forward": time.Hour, "clock set back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(held)
				_, err := e.Create(tokens, nil)
				wantHeld(t, err, time.Minute)
				e.Advance(leap)
				if leap < 0 {
					time.Sleep(time.Minute)
					tokens.ExpiresAt = tokens.ExpiresAt.Add(2 * leap)
				}
				e.MustCreate(tokens, nil)
				e.WantSpent(2)
			})
		})
	}
	t.Run("everybody who waits for the request", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			fault := held
			fault.Delay = time.Second
			e.Fault(fault)
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					opts := &authpi.AgentOptions{}
					if i%2 == 0 {
						opts.Resources = []string{api}
					}
					_, err := e.Create(tokens, opts)
					wantHeld(t, err, time.Minute)
				})
			}
			wg.Wait()
			e.WantSpent(1)
		})
	})
}

// A passing failure that asks for no wait holds nobody back once the access token has
// expired: a short outage must not be made longer.
func TestFailureWithoutWaitHoldsNobody(t *testing.T) {
	for _, fault := range []authpitest.Fault{
		{Status: 503}, {Status: 500}, {Status: 503, RetryAfter: "0"}, {Status: 408}, {Status: 425}, {Drop: true}, {Status: 502, Body: "<html>"},
	} {
		t.Run(fmt.Sprintf("status %d, dropped %v, Retry-After %q", fault.Status, fault.Drop, fault.RetryAfter), func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(fault)
				_, err := e.Create(tokens, nil)
				if err == nil || authpi.SessionEnded(err) {
					t.Errorf("got %v; want a passing failure", err)
				}
				e.MustCreate(tokens, nil)
				e.WantSpent(2)
			})
		})
	}
}

// A machine's tokens: 40 calls in the wait send one request, whichever source they ask, and a
// token that is good goes on being returned.
func TestRetryAfterOfMachines(t *testing.T) {
	const grant = "client_credentials"
	for n, tc := range waits {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				sources := []oauth2.TokenSource{
					e.Client.ClientCredentialsSource(nil), e.Client.ClientCredentialsSource(nil),
					e.Client.ClientCredentialsSource([]string{"jobs:run"}), e.Client.ClientCredentialsSource(nil, api),
				}
				arm(e, n, grant)
				began := time.Now()
				for i := range 40 {
					_, err := sources[i%4].Token()
					e.Log.Error(err)
					if i > 0 {
						wantHeld(t, err, (tc.wait - time.Since(began) + time.Second - 1).Truncate(time.Second))
					}
					time.Sleep(tc.wait / 41)
				}
				if got := e.Issuer.Grants(grant); got != 1 {
					t.Errorf("requests: got %d; want 1", got)
				}
				time.Sleep(tc.wait - time.Since(began))
				for i, source := range sources {
					if _, err := source.Token(); err != nil {
						t.Errorf("source %d after the wait: got %v; want a token", i, err)
					}
				}
			})
		})
	}
	t.Run("while a token is good", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			source := e.Client.ClientCredentialsSource(nil)
			first, err := source.Token()
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(first.Expiry) - 20*time.Second)
			e.Issuer.ResetCounters()
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503, RetryAfter: "40", Times: -1})
			for range 20 {
				if token, err := source.Token(); err != nil || token != first {
					t.Errorf("got another token, or %v; want the good one", err)
				}
				time.Sleep(time.Second)
			}
			_, err = source.Token()
			wantHeld(t, err, 20*time.Second)
			if got := e.Issuer.Grants(grant); got != 1 {
				t.Errorf("requests: got %d; want 1", got)
			}
		})
	})
	t.Run("a user's wait is another", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Grant: grant, Status: 429, RetryAfter: "60"})
			_, err := e.Client.ClientCredentialsSource(nil).Token()
			wantHeld(t, err, time.Minute)
			e.MustCreate(tokens, nil)
		})
	})
}

// What is told of a wait is what is left of it when the call returns, however long its
// store took to be read meanwhile.
func TestRetryAfterOfASlowStore(t *testing.T) {
	for _, way := range ways() {
		t.Run(way.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				tokens := e.Expired()
				e.Fault(authpitest.Fault{Status: 503, RetryAfter: "60"})
				store := &testkit.Store{Current: tokens}
				_, err := e.Create(tokens, store.Opts())
				e.Log.Error(err)
				opts := store.Reloading()
				opts.Reload = slowly(opts.Reload, 10*time.Second)
				wantHeld(t, way.get(t.Context(), e.Client, tokens, opts), 50*time.Second)
				e.WantSpent(1)
			})
		})
	}
}
