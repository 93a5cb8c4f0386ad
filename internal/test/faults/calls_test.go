package faults_test

import (
	"context"
	"io"
	"net/http"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// faultCall is one call of the public surface that makes requests.
type faultCall struct {
	name      string
	endpoints []string // that it asks, in this order
	code      string   // where its own endpoint refuses and gives none
	refreshes bool
	stores    bool // its OnRefresh does
	inBuffer  bool // the access token is still good
	keysFirst bool // it looks at a signature before all else
	bodyless  bool // a 200 is all that it wants
	noContext bool
	leaves    bool // when its context ends: the refresh goes on, and the set is stored then
	opts      authpitest.Options
	edit      func(*authpi.Config)
	prepare   func(e *faultEnv, s *testkit.Store) func(context.Context) error
}

// allCalls are all that make requests, by each of the ways that lead to one.
func allCalls() []faultCall {
	return append(refreshCalls(), plainCalls()...)
}

func plainCalls() []faultCall {
	return []faultCall{
		{name: "ExchangeCode", endpoints: []string{"discovery", "token", "jwks"}, code: "token_error", prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			callback, auth := e.Login()
			return func(ctx context.Context) error {
				_, err := e.Client.ExchangeCode(ctx, callback.Get("code"), auth.CodeVerifier, &authpi.ExchangeOptions{Nonce: auth.Nonce})
				return err
			}
		}},
		{name: "ExchangeCallback", endpoints: []string{"discovery", "token", "jwks"}, code: "token_error", prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			callback, auth := e.Login()
			return func(ctx context.Context) error {
				_, err := e.Client.ExchangeCallback(ctx, callback, auth)
				return err
			}
		}},
		{name: "CreateAgent without ID token", endpoints: []string{"userinfo"}, code: "userinfo_error", prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			tokens := e.SignIn()
			tokens.IDToken, tokens.SubjectHint = "", testkit.Subject
			return func(ctx context.Context) error {
				_, err := e.Client.CreateAgent(ctx, tokens, nil)
				return err
			}
		}},
		{name: "CreateAgent with VerifyStoredTokens", endpoints: []string{"discovery", "jwks"}, keysFirst: true,
			edit: func(cfg *authpi.Config) { cfg.VerifyStoredTokens = true },
			prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
				tokens := e.SignIn()
				e.Client = e.NewClient(nil) // that has fetched nothing yet
				return func(ctx context.Context) error {
					_, err := e.Client.CreateAgent(ctx, tokens, nil)
					return err
				}
			}},
		{name: "ClientCredentials", endpoints: []string{"token"}, code: "token_error", prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := e.Client.ClientCredentials(ctx, nil)
				return err
			}
		}},
		{name: "ClientCredentialsSource", endpoints: []string{"token"}, code: "token_error", noContext: true, prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			source := e.Client.ClientCredentialsSource(nil)
			return func(context.Context) error {
				_, err := source.Token()
				return err
			}
		}},
		{name: "ClientCredentialsSource before expiry", endpoints: []string{"token"}, code: "token_error", noContext: true, inBuffer: true, prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			source := e.Client.ClientCredentialsSource(nil)
			if _, err := source.Token(); err != nil {
				e.T.Fatal(err)
			}
			time.Sleep(5*time.Minute - 30*time.Second)
			return func(context.Context) error {
				_, err := source.Token()
				return err
			}
		}},
		{name: "UserInfo", endpoints: []string{"userinfo"}, code: "userinfo_error", prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			agent := e.MustCreate(e.SignIn(), nil)
			return func(ctx context.Context) error {
				_, err := e.Client.UserInfo(ctx, agent)
				return err
			}
		}},
		{name: "RevokeToken", endpoints: []string{"revoke"}, code: "revocation_error", bodyless: true, prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			token := e.SignIn().RefreshToken
			return func(ctx context.Context) error { return e.Client.RevokeToken(ctx, token, "refresh_token") }
		}},
		{name: "Introspect", endpoints: []string{"introspect"}, code: "introspection_error", prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			token := e.SignIn().AccessToken
			return func(ctx context.Context) error {
				_, err := e.Client.Introspect(ctx, token, "")
				return err
			}
		}},
		{name: "VerifyAccessToken", endpoints: []string{"discovery", "jwks"}, keysFirst: true, prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			token := e.accessToken()
			return func(ctx context.Context) error {
				_, err := e.Client.VerifyAccessToken(ctx, token, "")
				return err
			}
		}},
		{name: "VerifyLogoutToken", endpoints: []string{"discovery", "jwks"}, keysFirst: true, prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			token := e.logoutToken()
			return func(ctx context.Context) error {
				_, err := e.Client.VerifyLogoutToken(ctx, token)
				return err
			}
		}},
		{name: "DiscoverEndpoints", endpoints: []string{"discovery"}, prepare: func(e *faultEnv, _ *testkit.Store) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := authpi.DiscoverEndpoints(ctx, e.Issuer.URL, e.Config.HTTPClient)
				return err
			}
		}},
	}
}

func refreshCalls() []faultCall {
	create := func(opts func(*testkit.Store) *authpi.AgentOptions) func(e *faultEnv, s *testkit.Store) func(context.Context) error {
		return func(e *faultEnv, s *testkit.Store) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := e.Client.CreateAgent(ctx, s.Current, opts(s))
				return err
			}
		}
	}
	everything := []string{"token", "discovery", "jwks"}
	noIDToken := authpitest.Options{OmitIDTokenOnRefresh: true}
	all := []faultCall{
		{name: "CreateAgent", endpoints: everything, stores: true, prepare: create((*testkit.Store).Opts)},
		{name: "CreateAgent with Reload", endpoints: everything, stores: true, prepare: create((*testkit.Store).Reloading)},
		{name: "CreateAgent without OnRefresh", endpoints: everything, prepare: create(func(*testkit.Store) *authpi.AgentOptions { return nil })},
		{name: "CreateAgent before expiry", endpoints: everything, stores: true, inBuffer: true, prepare: create((*testkit.Store).Opts)},
		{name: "CreateAgent that gets no ID token", endpoints: []string{"token", "userinfo"}, stores: true, opts: noIDToken, prepare: create((*testkit.Store).Opts)},
		{name: "Refresh", endpoints: everything, stores: true, prepare: func(e *faultEnv, s *testkit.Store) func(context.Context) error {
			agent := e.unrefreshed(s.Current)
			return func(ctx context.Context) error {
				_, err := e.Client.Refresh(ctx, agent, &authpi.RefreshOptions{OnRefresh: s.Opts().OnRefresh})
				return err
			}
		}},
		{name: "Refresh that gets no ID token", endpoints: []string{"token", "userinfo"}, opts: noIDToken, prepare: func(e *faultEnv, s *testkit.Store) func(context.Context) error {
			agent := e.unrefreshed(s.Current)
			return func(ctx context.Context) error {
				_, err := e.Client.Refresh(ctx, agent, nil)
				return err
			}
		}},
		{name: "TokenSource", endpoints: everything, stores: true, noContext: true, prepare: func(e *faultEnv, s *testkit.Store) func(context.Context) error {
			source := e.Client.TokenSource(e.unrefreshed(s.Current), s.Opts())
			return func(context.Context) error {
				_, err := source.Token()
				return err
			}
		}},
		{name: "TokenSource before expiry", endpoints: everything, stores: true, noContext: true, inBuffer: true, prepare: func(e *faultEnv, s *testkit.Store) func(context.Context) error {
			source := e.Client.TokenSource(e.unrefreshed(s.Current), s.Opts())
			return func(context.Context) error {
				_, err := source.Token()
				return err
			}
		}},
		{name: "HTTPClient", endpoints: everything, stores: true, leaves: true, prepare: func(e *faultEnv, s *testkit.Store) func(context.Context) error {
			client := e.Client.HTTPClient(e.unrefreshed(s.Current), s.Opts())
			return func(ctx context.Context) error {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+faultAPI, nil)
				if err != nil {
					return err
				}
				resp, err := client.Do(r)
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					err = resp.Body.Close()
				}
				return err
			}
		}},
	}
	for i := range all {
		all[i].code, all[i].refreshes = "refresh_error", true
	}
	return all
}

// unrefreshed is the agent of tokens as they are.
func (e *faultEnv) unrefreshed(tokens authpi.TokenSet) *authpi.Agent {
	return e.MustCreate(tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
}
