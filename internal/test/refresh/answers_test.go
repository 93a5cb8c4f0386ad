package refresh_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// A successful answer whose optional members are odd is used: the refresh token is spent.
func TestOddAnswerIsUsed(t *testing.T) {
	type set = authpi.TokenSet
	scope := func(want string) func(got, old set) bool {
		return func(got, _ set) bool { return got.Scope == want }
	}
	oldScope := func(got, old set) bool { return got.Scope == old.Scope && old.Scope != "" }
	bearer := func(got, _ set) bool { return got.TokenType == "Bearer" }
	noIDToken := func(got, _ set) bool { return got.IDToken == "" && got.SubjectHint == testkit.Subject }
	for _, tc := range []struct {
		member, value string
		want          func(got, old set) bool
	}{
		{"scope", `["openid","email"]`, scope("openid email")},
		{"scope", `["openid",7,null,"email"]`, scope("openid email")},
		{"scope", `[]`, oldScope},
		{"scope", `7`, oldScope},
		{"scope", `null`, oldScope},
		{"scope", `{"a":"b"}`, oldScope},
		{"scope", `true`, oldScope},
		{"token_type", `null`, bearer},
		{"token_type", `7`, bearer},
		{"token_type", `["Bearer"]`, bearer},
		{"token_type", ``, bearer},
		{"id_token", `7`, noIDToken},
		{"id_token", `false`, noIDToken},
		{"id_token", `true`, noIDToken},
		{"id_token", `null`, noIDToken},
		{"id_token", `["a"]`, noIDToken},
		{"id_token", `{}`, noIDToken},
		{"id_token", `""`, noIDToken},
		{"expires_in", `null`, func(got, _ set) bool { return time.Until(got.ExpiresAt) == time.Hour }},
		{"expires_in", `{}`, func(got, _ set) bool { return time.Until(got.ExpiresAt) == time.Hour }},
		{"more", `[{"of":[]}]`, bearer},
	} {
		t.Run(tc.member+" is "+tc.value, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(authpitest.Fault{Malform: member(tc.member, tc.value)})
				store := &testkit.Store{}
				agent := e.MustCreate(tokens, store.Opts())
				store.WantCalls(t, 1, 0)
				testkit.WantSame(t, "stored", store.Current, agent.Tokens)
				if !tc.want(store.Current, tokens) || store.Current.RefreshToken == tokens.RefreshToken {
					t.Errorf("got %v; want the new set, without what cannot be read", store.Current)
				}
				if agent.ID != testkit.Subject || agent.Email != testkit.Email {
					t.Errorf("got %v; want Ada", agent)
				}
				// And it goes on.
				time.Sleep(time.Hour + time.Second)
				e.MustCreate(store.Current, store.Opts())
				e.WantSpent(2)
				e.WantAlive(store.Current)
			})
		})
	}
}

// An answer of the issuer's without a usable access token has spent the refresh token: that
// is not sent again, by nobody, for a day, and who comes is told what came.
func TestAnswerWithoutAccessTokenIsFinal(t *testing.T) {
	for _, tc := range []struct{ name, body, refreshToken string }{
		{"empty object", `{}`, ""},
		{"null", `{"access_token":null,"refresh_token":"rt_next_0123456789"}`, "rt_next_0123456789"},
		{"empty", `{"access_token":"","refresh_token":"rt_next_0123456789"}`, "rt_next_0123456789"},
		{"a number", `{"access_token":7,"token_type":"Bearer","refresh_token":"rt_next_0123456789"}`, "rt_next_0123456789"},
		{"an object", `{"access_token":{"value":"at_next_0123456789"}}`, ""},
		{"a list", `{"access_token":["at_next_0123456789"]}`, ""},
		{"missing", `{"token_type":"Bearer","expires_in":1800}`, ""},
		{"by another name", `{"Access_Token":"at_next_0123456789","refresh_token":"rt_next_0123456789"}`, "rt_next_0123456789"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				withAPI(e)
				e.Log.Secret("rt_next_0123456789")
				e.Log.Secret("at_next_0123456789")
				tokens := e.Expired()
				e.Fault(authpitest.Fault{Body: tc.body, Delay: time.Second})
				first := testkit.After(func() {
					_, err := e.Create(tokens, nil)
					testkit.WantError(t, err, "invalid_response", true)
					wantCarried(t, err, tc.refreshToken)
				})
				refused := func() {
					t.Helper()
					for _, way := range ways() {
						for _, resources := range [][]string{nil, {api}} {
							store := &testkit.Store{Current: tokens}
							opts := store.Reloading()
							opts.Resources = resources
							err := way.get(t.Context(), e.Client, tokens, opts)
							e.Log.Error(err)
							testkit.WantError(t, err, "invalid_response", true)
							if len(store.Saved) > 0 {
								t.Errorf("%s: got a set stored; want none", way.name)
							}
						}
					}
				}
				<-testkit.After(refused) // while it is on its way
				<-first
				for _, wait := range []time.Duration{0, time.Minute, 12 * time.Hour, 11 * time.Hour} {
					time.Sleep(wait)
					refused()
				}
				e.WantSpent(1)
			})
		})
	}
}

// wantCarried checks the refresh token that an error carries, empty for no tokens at all.
func wantCarried(t *testing.T, err error, refreshToken string) {
	t.Helper()
	var failed *authpi.RefreshError
	if !errors.As(err, &failed) {
		t.Fatalf("got %T; want a *RefreshError", err)
	}
	if set, _ := failed.Tokens(); set.RefreshToken != refreshToken {
		t.Errorf("the error carries another refresh token than came, or none")
	}
}

// A 200 that is no answer of the token endpoint's, or did not arrive whole, is a lost one:
// nobody is signed out, and the token is held back for a moment.
func TestLostAnswerEndsNoSession(t *testing.T) {
	half := func(body []byte) []byte { return body[:len(body)/2] }
	for _, tc := range []struct {
		name  string
		fault authpitest.Fault
	}{
		{"a gateway's page", authpitest.Fault{Body: "<html><title>Please wait</title></html>", ContentType: "text/html"}},
		{"a page said to be JSON", authpitest.Fault{Body: "<html>"}},
		{"nothing", authpitest.Fault{Malform: func([]byte) []byte { return nil }}},
		{"a text", authpitest.Fault{Body: `"ok"`}},
		{"a list", authpitest.Fault{Body: `[]`}},
		{"null", authpitest.Fault{Body: `null`}},
		{"a number", authpitest.Fault{Body: `7`}},
		{"two objects", authpitest.Fault{Body: `{}{}`}},
		{"half an answer", authpitest.Fault{Malform: half}},
		{"an answer and more", authpitest.Fault{Malform: func(body []byte) []byte { return append(body, "</html>"...) }}},
		{"a page without end", authpitest.Fault{Body: strings.Repeat("x", 2<<20)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(tc.fault)
				store := &testkit.Store{}
				fails := func() {
					t.Helper()
					_, err := e.Create(tokens, store.Opts())
					if err == nil || authpi.SessionEnded(err) {
						t.Errorf("got %v, session ended %v; want a passing failure", err, authpi.SessionEnded(err))
					}
				}
				fails()
				for range 10 { // for 5 s nobody asks again
					fails()
					time.Sleep(499 * time.Millisecond)
				}
				e.WantSpent(1)
				store.WantCalls(t, 0, 11)
				time.Sleep(10 * time.Millisecond)
				_, _ = e.Create(tokens, store.Opts())
				e.WantSpent(2)
			})
		})
	}
	t.Run("while the access token is good", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(50 * time.Second)
			e.Fault(authpitest.Fault{Body: "<html>"})
			store := &testkit.Store{}
			testkit.WantSame(t, "agent", e.MustCreate(tokens, store.Opts()).Tokens, tokens)
			store.WantCalls(t, 0, 0)
			time.Sleep(5 * time.Second)
			e.MustCreate(tokens, store.Opts())
			store.WantCalls(t, 1, 0)
			e.WantSpent(2)
		})
	})
	t.Run("a refresh by name is not held back", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(authpitest.Fault{Body: "<html>"})
			_, err := e.Create(tokens, nil)
			testkit.WantError(t, err, "invalid_response", false)
			if _, err := e.Client.Refresh(t.Context(), agentOf(tokens), nil); err != nil {
				t.Errorf("got %v; want new tokens", err)
			}
			e.WantSpent(2)
		})
	})
}

// A 200 that names an error is the refusal that it names.
func TestErrorWithStatus200(t *testing.T) {
	for _, tc := range []struct {
		code      string
		resources []string
		ended     bool
		spent     int // by two calls
	}{
		{"invalid_grant", nil, true, 1},
		{"invalid_grant", []string{api}, true, 1},
		{"refresh_token_expired", nil, true, 2},
		{"access_denied", nil, true, 2},
		{"access_denied", []string{api}, false, 2},
		{"invalid_target", []string{api}, false, 2},
		{"invalid_client", nil, false, 2},
	} {
		t.Run(fmt.Sprintf("%s, resources %v", tc.code, tc.resources), func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(authpitest.Fault{Body: `{"error":"` + tc.code + `"}`, Times: 2})
				for range 2 {
					_, err := e.Create(tokens, &authpi.AgentOptions{Resources: tc.resources})
					testkit.WantError(t, err, tc.code, tc.ended)
				}
				e.WantSpent(tc.spent)
			})
		})
	}
}
