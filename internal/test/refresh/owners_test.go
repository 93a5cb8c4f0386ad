package refresh_test

import (
	"context"
	"errors"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// An app gives Refresh an Agent whose ID it has changed. Whoever shares that refresh
// is still held against its own subject, and nothing of another one is stored.
func TestCallersOfOneTokenKeepTheirOwnSubject(t *testing.T) {
	eve := func(tokens authpi.TokenSet) *authpi.Agent { return &authpi.Agent{ID: "usr_eve", Tokens: tokens} }
	for name, tc := range map[string]struct {
		issuer   *authpitest.Options
		eveLeads bool
	}{
		"the changed Agent joins": {nil, false},
		"the changed Agent leads": {&authpitest.Options{OmitIDTokenOnRefresh: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, tc.issuer, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(authpitest.Fault{DelayAnswer: time.Second})
				store := &testkit.Store{}
				byName := func() error {
					opts := &authpi.RefreshOptions{}
					if !tc.eveLeads {
						opts.OnRefresh = store.Opts().OnRefresh
					}
					_, err := e.Client.Refresh(t.Context(), eve(tokens), opts)
					return err
				}
				leads, joins := func() error { _, err := e.Create(tokens, nil); return err }, byName
				if tc.eveLeads {
					leads, joins = byName, func() error { _, err := e.Create(tokens, store.Opts()); return err }
				}
				first := testkit.After(func() { _ = leads() })
				var mismatch *authpi.SubjectMismatchError
				if err := joins(); !errors.As(err, &mismatch) {
					t.Errorf("got %v; want a SubjectMismatchError", err)
				}
				<-first
				if len(store.Saved) != 0 {
					t.Error("a set of another subject was stored")
				}
				e.WantSpent(1)
			})
		})
	}
}

// A caller whose ID token cannot be read is nobody: its store is left alone, also
// where the new set of its refresh token is known.
func TestUnreadableIDTokenReadsNoStore(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.MustCreate(tokens, nil)
		tokens.IDToken = "opaque"
		store := &testkit.Store{Current: e.SignIn()}
		_, err := e.Create(tokens, store.Reloading())
		testkit.WantCode(t, err, "invalid_token", "stored ID token")
		store.WantCalls(t, 0, 0) // nothing was tried
		if store.Loads != 0 {
			t.Errorf("Reload was called %d times; want 0", store.Loads)
		}
	})
}

// A Reload that has nothing newer changes nothing: what could be refreshed without it
// still can be.
func TestReloadOfTheSameTokens(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		agent := agentOf(e.Expired())
		agent.Tokens.IDToken = "opaque"
		opts := &authpi.RefreshOptions{Reload: func(context.Context) (authpi.TokenSet, error) { return agent.Tokens, nil }}
		if _, err := e.Client.Refresh(t.Context(), agent, opts); err != nil {
			t.Errorf("got %v; want new tokens", err)
		}
		e.WantSpent(1)
	})
}
