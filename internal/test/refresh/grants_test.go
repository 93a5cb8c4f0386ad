package refresh_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// refusals are what an issuer may say to a caller that asks for more than it may have.
var refusals = []struct {
	code   string
	status int
	ended  bool // for whoever asked
}{
	{"access_denied", 403, false},
	{"access_denied", 400, false},
	{"invalid_scope", 400, false},
	{"invalid_target", 400, false},
	{"invalid_request", 400, false},
	{"unauthorized_client", 400, false},
	{"consent_required", 400, true},
	{"a_code_of_its_own", 403, true},
}

func refusal(status int, code string) authpitest.Fault {
	return authpitest.Fault{Status: status, Body: `{"error":"` + code + `"}`, Delay: time.Second}
}

// A caller that asks for Resources is refused while another one waits for the same
// refresh token: that is an answer to the first alone.
func TestRefusedGrantIsItsOwn(t *testing.T) {
	for _, refused := range refusals {
		for _, waits := range ways() {
			t.Run(fmt.Sprintf("%s %d/%s", refused.code, refused.status, waits.name), func(t *testing.T) {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					withAPI(e)
					tokens := e.Expired()
					e.Fault(refusal(refused.status, refused.code))
					asks, plain := &testkit.Store{}, &testkit.Store{Current: tokens}
					var wg sync.WaitGroup
					wg.Go(func() {
						opts := asks.Opts()
						opts.Resources = []string{api}
						_, err := e.Create(tokens, opts)
						testkit.WantError(t, err, refused.code, refused.ended)
					})
					<-testkit.After(func() {
						if err := waits.get(t.Context(), e.Client, tokens, plain.Reloading()); err != nil {
							t.Errorf("the plain caller: got %v; want new tokens", err)
						}
					})
					wg.Wait()
					asks.WantCalls(t, 0, 1)
					plain.WantCalls(t, 1, 0)
					e.WantSpent(2)
					e.WantAlive(plain.Current)
				})
			})
		}
	}
}

// The same in other company: a crowd of each kind, a plain caller that is first, scopes
// in place of resources, an access token that is still good, two processes.
func TestRefusedGrantInOtherCompany(t *testing.T) {
	t.Run("a crowd of each", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(refusal(403, "access_denied"))
			asks, plain := &testkit.Store{}, &testkit.Store{}
			var wg sync.WaitGroup
			ask := func() {
				opts := asks.Opts()
				opts.Resources = []string{api}
				_, err := e.Create(tokens, opts)
				testkit.WantError(t, err, "access_denied", false)
			}
			wg.Go(ask)
			<-testkit.After(func() {
				for range 20 {
					wg.Go(ask)
					wg.Go(func() { e.MustCreate(tokens, plain.Opts()) })
				}
				wg.Wait()
			})
			asks.WantCalls(t, 0, 21)
			plain.WantCalls(t, 20, 0)
			e.WantSpent(2) // one for each grant
			e.WantAlive(plain.Current)
		})
	})
	t.Run("the plain caller is first", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(authpitest.Fault{DelayAnswer: time.Second})
			e.Fault(refusal(400, "invalid_target"))
			plain, asks := &testkit.Store{}, &testkit.Store{}
			first := testkit.After(func() { e.MustCreate(tokens, plain.Opts()) })
			<-testkit.After(func() {
				opts := asks.Opts()
				opts.Resources = []string{api}
				_, err := e.Create(tokens, opts)
				testkit.WantError(t, err, "invalid_target", false)
			})
			<-first
			plain.WantCalls(t, 1, 0)
			testkit.WantSame(t, "a late caller's", e.MustCreate(tokens, nil).Tokens, plain.Current)
			e.WantSpent(2)
			e.WantAlive(plain.Current)
		})
	})
	t.Run("more scopes than granted", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(refusal(400, "invalid_scope"))
			plain := &testkit.Store{}
			first := testkit.After(func() {
				_, err := e.Client.Refresh(t.Context(), agentOf(tokens), &authpi.RefreshOptions{Scopes: []string{"everything"}})
				testkit.WantError(t, err, "invalid_scope", false)
			})
			<-testkit.After(func() { e.MustCreate(tokens, plain.Opts()) })
			<-first
			plain.WantCalls(t, 1, 0)
			e.WantAlive(plain.Current)
		})
	})
	t.Run("the access token is still good", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(50 * time.Second)
			e.Fault(refusal(403, "access_denied"))
			asks, plain := &testkit.Store{}, &testkit.Store{}
			first := testkit.After(func() {
				opts := asks.Opts()
				opts.Resources = []string{api}
				_, err := e.Create(tokens, opts)
				testkit.WantError(t, err, "access_denied", false)
			})
			<-testkit.After(func() { e.MustCreate(tokens, plain.Opts()) })
			<-first
			plain.WantCalls(t, 1, 0)
			e.WantAlive(plain.Current)
			e.WantSpent(2)
		})
	})
	t.Run("in another process", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			clients := testkit.Processes(e, testkit.NewCoordinator(), 2)
			tokens := e.Expired()
			e.Fault(refusal(403, "access_denied"))
			first := testkit.After(func() {
				_, err := e.CreateBy(t.Context(), clients[0], tokens, &authpi.AgentOptions{Resources: []string{api}})
				testkit.WantError(t, err, "access_denied", false)
			})
			plain := &testkit.Store{}
			<-testkit.After(func() {
				if _, err := e.CreateBy(t.Context(), clients[1], tokens, plain.Opts()); err != nil {
					t.Errorf("the plain caller: got %v; want new tokens", err)
				}
			})
			<-first
			plain.WantCalls(t, 1, 0)
			e.WantSpent(2)
			e.WantAlive(plain.Current)
		})
	})
}

// audience is what an access token is good for.
func audience(t *testing.T, access string) (all []string) {
	t.Helper()
	claim, err := json.Marshal(testkit.PayloadOf(t, access)["aud"])
	if err != nil {
		t.Fatal(err)
	}
	var one string
	if json.Unmarshal(claim, &one) == nil {
		return []string{one}
	}
	_ = json.Unmarshal(claim, &all)
	return all
}

// However many grants are wanted at once, everybody gets an answer to its own.
func TestManyGrantsAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		issuer authpitest.Options
		grants int
		delay  time.Duration // of each answer
		shared bool          // by two processes
	}{
		{"16", authpitest.Options{}, 16, 100 * time.Millisecond, false},
		{"16, slowly", authpitest.Options{}, 16, 1500 * time.Millisecond, false},
		{"100", authpitest.Options{}, 100, 10 * time.Millisecond, false},
		{"16, at an issuer that does not rotate", authpitest.Options{NoRotation: true}, 16, 100 * time.Millisecond, false},
		{"16, in two processes", authpitest.Options{}, 16, 100 * time.Millisecond, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, &tc.issuer, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(authpitest.Fault{DelayAnswer: tc.delay, Times: tc.grants})
				clients := []*authpi.IdpClient{e.Client}
				if tc.shared {
					clients = testkit.Processes(e, testkit.NewCoordinator(), 2)
				}
				var newest sync.Map
				var wg sync.WaitGroup
				for n := range tc.grants {
					wg.Go(func() {
						resource := fmt.Sprintf("https://api.example/%d", n)
						store := &testkit.Store{}
						opts := store.Opts()
						opts.Resources = []string{resource}
						agent, err := e.CreateBy(t.Context(), clients[n%len(clients)], tokens, opts)
						if err != nil {
							t.Errorf("caller %d: got %v; want new tokens", n, err)
							return
						}
						if got := audience(t, agent.Tokens.AccessToken); !slices.Contains(got, resource) {
							t.Errorf("caller %d: got tokens for %q; want them for %s", n, got, resource)
						}
						store.WantCalls(t, 1, 0)
						newest.Store(agent.Tokens.RefreshToken, agent.Tokens)
					})
				}
				wg.Wait()
				e.WantSpent(tc.grants)
				newest.Range(func(_, set any) bool { e.WantAlive(set.(authpi.TokenSet)); return true })
			})
		})
	}
}

// Half of many grants are refused: each refusal is its own, and the session lives on.
func TestManyGrantsSomeRefused(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Fault(authpitest.Fault{Delay: 10 * time.Millisecond}) // the issuer itself refuses what is no URI
		var wg sync.WaitGroup
		var mu sync.Mutex
		var alive authpi.TokenSet
		for n := range 16 {
			wg.Go(func() {
				resource := fmt.Sprintf("https://api.example/%d", n)
				if n%2 == 1 {
					resource = fmt.Sprintf("no-uri-%d", n)
				}
				agent, err := e.Create(tokens, &authpi.AgentOptions{Resources: []string{resource}})
				switch {
				case n%2 == 1:
					testkit.WantError(t, err, "invalid_target", false)
				case err != nil:
					t.Errorf("caller %d: got %v; want new tokens", n, err)
				default:
					mu.Lock()
					defer mu.Unlock()
					alive = agent.Tokens
				}
			})
		}
		wg.Wait()
		e.WantSpent(16)
		e.WantAlive(alive)
	})
}

// A refusal is no answer for late callers either: nobody remembers it.
func TestRefusedGrantIsNotRemembered(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Fault(refusal(403, "access_denied"))
		ask := &authpi.AgentOptions{Resources: []string{api}}
		_, err := e.Create(tokens, ask)
		testkit.WantError(t, err, "access_denied", false)
		var failed *authpi.RefreshError
		if errors.As(err, &failed) {
			if _, ok := failed.Tokens(); ok {
				t.Error("the error carries tokens; want none, since none came")
			}
		}
		if _, err := e.Create(tokens, ask); err != nil {
			t.Errorf("granted meanwhile: got %v; want new tokens", err)
		}
		e.WantSpent(2)
	})
}
