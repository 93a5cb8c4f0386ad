package authpi_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
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
			return (&rtStore{current: tokens}).reloading()
		}, time.Second / 2},
	} {
		for _, tc := range []struct {
			name    string
			store   func(old, anew authpi.TokenSet) *rtStore
			anew    bool   // the caller gets what its store has
			code    string // of its error; empty: none
			ended   bool
			saved   int
			refused int
		}{
			{"nothing newer", func(old, _ authpi.TokenSet) *rtStore { return &rtStore{current: old} }, false, "", false, 1, 0},
			{"a new sign-in", func(_, anew authpi.TokenSet) *rtStore { return &rtStore{current: anew} }, true, "", false, 0, 0},
			{"signed out meanwhile", func(_, _ authpi.TokenSet) *rtStore { return &rtStore{} }, false, "session_expired", true, 0, 1},
			{"store away", func(old, _ authpi.TokenSet) *rtStore {
				return &rtStore{current: old, loadErr: errors.New("no connection")}
			}, false, "transport_error", false, 0, 1},
		} {
			t.Run(leader.name+"/"+tc.name, func(t *testing.T) {
				rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
					tokens := e.expired()
					e.fault(authpitest.Fault{DelayAnswer: time.Second})
					var wg sync.WaitGroup
					var first *authpi.Agent
					wg.Go(func() { first = e.mustCreate(tokens, leader.options(tokens)) })
					synctest.Wait()
					time.Sleep(leader.before)
					anew := e.signedInElsewhere()
					store := tc.store(tokens, anew)
					agent, err := e.create(tokens, store.reloading())
					wg.Wait()
					store.wantCalls(t, tc.saved, tc.refused)
					e.wantSpent(1)
					if tc.code != "" {
						rtWantError(t, err, tc.code, tc.ended)
						return
					}
					if err != nil {
						t.Fatalf("CreateAgent: %v", err)
					}
					want := first.Tokens
					if tc.anew {
						want = anew
					}
					rtSame(t, "the joining caller's", agent.Tokens, want)
				})
			})
		}
	}
}

// Where the flight is refused the store is asked once, and what it has is used.
func TestJoiningCallerOfARefusedFlight(t *testing.T) {
	rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
		tokens := e.expired()
		e.fault(authpitest.Fault{DelayAnswer: time.Second, Status: 400, Body: `{"error":"invalid_grant"}`})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := e.create(tokens, nil)
			rtWantError(t, err, "invalid_grant", true)
		})
		time.Sleep(time.Second / 2)
		store := &rtStore{current: e.signedInElsewhere()}
		rtSame(t, "the joining caller's", e.mustCreate(tokens, store.reloading()).Tokens, store.current)
		wg.Wait()
		if store.loads != 1 {
			t.Errorf("Reload %d times; want 1", store.loads)
		}
	})
}

// A flight that has taken most of a patient caller's time leaves none for spending, but
// enough for the store.
func TestPatientCallerAsksItsStoreAfterALongFlight(t *testing.T) {
	rtBubble(t, nil, nil, func(t *testing.T, e *rtEnv) {
		tokens := e.inBuffer(30 * time.Second)
		e.fault(authpitest.Fault{DelayAnswer: 4 * time.Second})
		var wg sync.WaitGroup
		var first *authpi.Agent
		wg.Go(func() { first = e.mustCreate(tokens, nil) })
		time.Sleep(time.Millisecond)
		agent := e.mustCreate(tokens, &authpi.AgentOptions{Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			return tokens, ctx.Err()
		}})
		wg.Wait()
		rtSame(t, "the joining caller's", agent.Tokens, first.Tokens)
		e.wantSpent(1)
	})
}

// signedInElsewhere gives the tokens of a new session, and leaves the counters alone.
func (e *rtEnv) signedInElsewhere() authpi.TokenSet {
	e.t.Helper()
	callback, auth := e.login()
	agent, err := e.newClient(nil).ExchangeCallback(context.Background(), callback, auth)
	if err != nil {
		e.t.Fatalf("ExchangeCallback: %v", err)
	}
	return agent.Tokens
}
