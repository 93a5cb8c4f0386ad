package refresh_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Who joins a flight has not been asked for by whoever started it: that one may have no
// session store, or have asked it before the user signed out. So the store of the one who
// joins has a say in what the flight brought.
func TestJoiningCallerAsksItsOwnStore(t *testing.T) {
	for _, leader := range []struct {
		name    string
		options func(authpi.TokenSet) *authpi.AgentOptions
		before  time.Duration
	}{
		{"a leader without Reload", func(authpi.TokenSet) *authpi.AgentOptions { return nil }, 0},
		{"a leader that asked before", func(tokens authpi.TokenSet) *authpi.AgentOptions {
			return (&testkit.Store{Current: tokens}).Reloading()
		}, time.Second / 2},
	} {
		for _, tc := range []struct {
			name    string
			store   func(old, anew authpi.TokenSet) *testkit.Store
			anew    bool   // the caller gets what its store has
			code    string // of its error; empty: none
			ended   bool
			saved   int
			refused int
		}{
			{"nothing newer", func(old, _ authpi.TokenSet) *testkit.Store { return &testkit.Store{Current: old} }, false, "", false, 1, 0},
			{"a new sign-in", func(_, anew authpi.TokenSet) *testkit.Store { return &testkit.Store{Current: anew} }, true, "", false, 0, 0},
			{"signed out meanwhile", func(_, _ authpi.TokenSet) *testkit.Store { return &testkit.Store{} }, false, "session_expired", true, 0, 1},
			{"store away", func(old, _ authpi.TokenSet) *testkit.Store {
				return &testkit.Store{Current: old, LoadErr: errors.New("no connection")}
			}, false, "transport_error", false, 0, 1},
		} {
			t.Run(leader.name+"/"+tc.name, func(t *testing.T) {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					tokens := e.Expired()
					e.Fault(authpitest.Fault{DelayAnswer: time.Second})
					var wg sync.WaitGroup
					var first *authpi.Agent
					wg.Go(func() { first = e.MustCreate(tokens, leader.options(tokens)) })
					synctest.Wait()
					time.Sleep(leader.before)
					anew := signedInElsewhere(e)
					store := tc.store(tokens, anew)
					agent, err := e.Create(tokens, store.Reloading())
					wg.Wait()
					store.WantCalls(t, tc.saved, tc.refused)
					e.WantSpent(1)
					if tc.code != "" {
						testkit.WantError(t, err, tc.code, tc.ended)
						return
					}
					if err != nil {
						t.Fatalf("CreateAgent: %v", err)
					}
					want := first.Tokens
					if tc.anew {
						want = anew
					}
					testkit.WantSame(t, "the joining caller's", agent.Tokens, want)
				})
			})
		}
	}
}

// Where the flight is refused the store is asked once, and what it has is used.
func TestJoiningCallerOfARefusedFlight(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Fault(authpitest.Fault{DelayAnswer: time.Second, Status: 400, Body: `{"error":"invalid_grant"}`})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := e.Create(tokens, nil)
			testkit.WantError(t, err, "invalid_grant", true)
		})
		time.Sleep(time.Second / 2)
		store := &testkit.Store{Current: signedInElsewhere(e)}
		testkit.WantSame(t, "the joining caller's", e.MustCreate(tokens, store.Reloading()).Tokens, store.Current)
		wg.Wait()
		if store.Loads != 1 {
			t.Errorf("Reload %d times; want 1", store.Loads)
		}
	})
}

// A flight that has taken most of a patient caller's time leaves none for spending, but
// enough for the store.
func TestPatientCallerAsksItsStoreAfterALongFlight(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(30 * time.Second)
		e.Fault(authpitest.Fault{DelayAnswer: 4 * time.Second})
		var wg sync.WaitGroup
		var first *authpi.Agent
		wg.Go(func() { first = e.MustCreate(tokens, nil) })
		time.Sleep(time.Millisecond)
		agent := e.MustCreate(tokens, &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			return tokens, ctx.Err()
		}})
		wg.Wait()
		testkit.WantSame(t, "the joining caller's", agent.Tokens, first.Tokens)
		e.WantSpent(1)
	})
}

// signedInElsewhere gives the tokens of a new session, and leaves the counters alone.
func signedInElsewhere(e *testkit.Env) authpi.TokenSet {
	e.T.Helper()
	callback, auth := e.Login()
	agent, err := e.NewClient(nil).ExchangeCallback(context.Background(), callback, auth)
	if err != nil {
		e.T.Fatalf("ExchangeCallback: %v", err)
	}
	return agent.Tokens
}
