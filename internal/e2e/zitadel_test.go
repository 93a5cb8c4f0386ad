package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// bothServers runs a test against zitadel's older and newer server.
func bothServers(t *testing.T, test func(t *testing.T, p *provider)) {
	for name, isNew := range map[string]bool{"provider": false, "server interface": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newProvider(t, providerOptions{newServer: isNew}))
		})
	}
}

func TestZitadelSession(t *testing.T) {
	t.Parallel()
	bothServers(t, func(t *testing.T, p *provider) {
		ctx := t.Context()
		client := p.web(t)
		agent := signIn(t, client)
		if agent.ID != subject || agent.Type != authpi.PrincipalUser || agent.IsExpired() || len(agent.Organizations) != 0 {
			t.Errorf("agent = %v; want user %s, not expired, no organizations", agent, subject)
		}
		if since := time.Since(agent.AuthTime); since < 0 || since > time.Minute {
			t.Errorf("AuthTime = %v; want just now", agent.AuthTime)
		}
		var extra struct {
			AMR []string `json:"amr"`
			AZP string   `json:"azp"`
		}
		if err := agent.Claims(&extra); err != nil || len(extra.AMR) != 1 || extra.AMR[0] != "pwd" || extra.AZP != webID {
			t.Errorf("Claims = %+v, %v; want amr [pwd] and azp %q", extra, err, webID)
		}
		info, err := client.UserInfo(ctx, agent)
		if err != nil {
			t.Fatalf("UserInfo: %v", err)
		}
		if info.Subject != subject || info.Email != "test-user2@zitadel.ch" || !info.EmailVerified || info.Name != "Test User2" || info.Locale != "de" {
			t.Errorf("UserInfo = %+v", info)
		}

		stored, err := json.Marshal(agent.Tokens)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := authpi.ParseTokenSet(stored)
		if err != nil {
			t.Fatalf("ParseTokenSet: %v", err)
		}
		p.forget()
		if again, err := client.CreateAgent(ctx, tokens, nil); err != nil || again.ID != subject || len(p.seen) != 0 {
			t.Errorf("CreateAgent of good tokens = %v, %v after %d requests; want the user and none", again, err, len(p.seen))
		}

		renewed, saved := refreshed(t, client, tokens)
		if renewed.ID != subject || !renewed.AuthTime.Equal(agent.AuthTime) {
			t.Errorf("renewed agent = %v, signed in %v; want %s and %v", renewed, renewed.AuthTime, subject, agent.AuthTime)
		}
		if saved.RefreshToken == tokens.RefreshToken || saved.AccessToken == tokens.AccessToken {
			t.Error("the refresh did not rotate the tokens")
		}
		if saved != renewed.Tokens {
			t.Error("OnRefresh got another set than the agent has")
		}
		if saved.IDToken == "" || saved.IDToken == tokens.IDToken {
			t.Error("the refresh brought no new ID token")
		}
		if _, err := client.UserInfo(ctx, renewed); err != nil {
			t.Errorf("UserInfo after the refresh: %v", err)
		}
		if _, err := client.UserInfo(ctx, agent); err == nil || authpi.SessionEnded(err) {
			t.Errorf("UserInfo with the withdrawn access token: %v; want an error that does not end the session", err)
		}

		// This process remembers what became of the spent token; another does not.
		if late, err := client.CreateAgent(ctx, expired(tokens), nil); err != nil || late.Tokens != saved {
			t.Errorf("late request with the spent token: %v; want the successor", err)
		}
		refused(t, p.web(t), tokens)

		twice, saved := refreshed(t, client, saved)
		if twice.ID != subject {
			t.Errorf("second refresh: agent %v", twice)
		}
		if err := client.RevokeToken(ctx, saved.RefreshToken, "refresh_token"); err != nil {
			t.Fatalf("RevokeToken: %v", err)
		}
		if err := client.RevokeToken(ctx, saved.RefreshToken, ""); err != nil {
			t.Errorf("RevokeToken once more: %v", err)
		}
		ended(t, client, saved)
		refused(t, p.web(t), saved) // so says the provider, too
	})
}

// expired is the set as it will be when its access token has run out.
func expired(t authpi.TokenSet) authpi.TokenSet {
	t.ExpiresAt = time.Now().Add(-time.Minute)
	return t
}

// refreshed lets CreateAgent refresh a set, and gives what OnRefresh got.
func refreshed(t *testing.T, client *authpi.IdpClient, tokens authpi.TokenSet) (*authpi.Agent, authpi.TokenSet) {
	t.Helper()
	var saved authpi.TokenSet
	agent, err := client.CreateAgent(t.Context(), expired(tokens), &authpi.AgentOptions{
		OnRefresh:      func(_ context.Context, set authpi.TokenSet) error { saved = set; return nil },
		OnRefreshError: func(_ context.Context, err error) { t.Errorf("OnRefreshError: %v", err) },
	})
	if err != nil {
		t.Fatalf("CreateAgent: %v", err)
	}
	return agent, saved
}

// refused wants the provider to say that the set's refresh token works no more.
func refused(t *testing.T, client *authpi.IdpClient, tokens authpi.TokenSet) {
	t.Helper()
	var told error
	_, err := client.CreateAgent(t.Context(), expired(tokens), &authpi.AgentOptions{
		OnRefresh:      func(context.Context, authpi.TokenSet) error { t.Error("OnRefresh was called"); return nil },
		OnRefreshError: func(_ context.Context, err error) { told = err },
	})
	var e *authpi.RefreshError
	if !errors.As(err, &e) || !errors.Is(err, authpi.ErrInvalidGrant) || !authpi.SessionEnded(err) {
		t.Errorf("refresh with a token that is spent or revoked: %v; want invalid_grant and the session's end", err)
	}
	if told == nil || !errors.Is(told, authpi.ErrInvalidGrant) {
		t.Errorf("OnRefreshError heard %v; want invalid_grant", told)
	}
	if err != nil && strings.Contains(err.Error(), tokens.RefreshToken) {
		t.Error("the error shows the refresh token")
	}
}

// ended wants this process to know by itself that the session was signed out.
func ended(t *testing.T, client *authpi.IdpClient, tokens authpi.TokenSet) {
	t.Helper()
	_, err := client.CreateAgent(t.Context(), expired(tokens), nil)
	if !errors.Is(err, authpi.ErrSessionExpired) || !authpi.SessionEnded(err) {
		t.Errorf("refresh after RevokeToken: %v; want session_expired and the session's end", err)
	}
}

func TestZitadelLoginRefusals(t *testing.T) {
	t.Parallel()
	bothServers(t, func(t *testing.T, p *provider) {
		ctx := t.Context()
		client := p.web(t)
		start := func(opts *authpi.AuthorizationOptions) *authpi.AuthorizationURL {
			t.Helper()
			auth, err := client.CreateAuthorizationURL(allScopes, opts)
			if err != nil {
				t.Fatal(err)
			}
			return auth
		}

		auth := start(&authpi.AuthorizationOptions{Prompt: []string{"none"}})
		at := newBrowser(t, redirectURI).open(auth.URL)
		if at.app == nil {
			t.Fatalf("prompt=none: no redirect, status %d\n%s", at.status, at.text)
		}
		if _, err := client.ExchangeCallback(ctx, at.app.Query(), *auth); !errors.Is(err, authpi.ErrLoginRequired) {
			t.Errorf("prompt=none without a session: %v; want login_required", err)
		}

		auth = start(&authpi.AuthorizationOptions{MaxAge: time.Hour})
		b := newBrowser(t, redirectURI)
		again := b.submit(b.open(auth.URL), map[string]string{"username": username, "password": "wrong"})
		if again.app != nil || !strings.Contains(again.text, "wrong") {
			t.Fatalf("a wrong password: status %d\n%s", again.status, again.text)
		}
		done := b.submit(again, map[string]string{"username": username, "password": password})
		if done.app == nil {
			t.Fatal("the right password after a wrong one: no redirect")
		}
		callback := done.app.Query()
		other := start(nil)
		if _, err := client.ExchangeCallback(ctx, callback, *other); !errors.Is(err, authpi.ErrInvalidState) {
			t.Errorf("another login's callback: %v; want invalid_state", err)
		}
		if n := len(p.requests(pathToken, "")); n != 0 {
			t.Errorf("%d token requests for callbacks that do not hold; want none", n)
		}
		wrong := *auth
		wrong.Nonce = other.Nonce
		if _, err := client.ExchangeCallback(ctx, callback, wrong); !errors.Is(err, authpi.ErrInvalidNonce) {
			t.Errorf("another nonce: %v; want invalid_nonce", err)
		}
		if _, err := client.ExchangeCallback(ctx, callback, *auth); !errors.Is(err, authpi.ErrInvalidGrant) {
			t.Errorf("the code a second time: %v; want invalid_grant", err)
		}

		auth = start(nil)
		callback = newBrowser(t, redirectURI).logIn(auth.URL).Query()
		wrong = *auth
		wrong.CodeVerifier = other.CodeVerifier
		if _, err := client.ExchangeCallback(ctx, callback, wrong); !errors.Is(err, authpi.ErrInvalidGrant) {
			t.Errorf("another verifier: %v; want invalid_grant", err)
		}
		if _, err := client.ExchangeCallback(ctx, callback, *auth); err != nil {
			t.Errorf("the same code with its own verifier: %v", err)
		}
	})
}

func TestZitadelClientAuthentication(t *testing.T) {
	t.Parallel()
	const wrongSecret = "not-the-secret"
	for name, method := range map[string]authpi.AuthMethod{"post": authpi.AuthMethodPost, "basic": authpi.AuthMethodBasic} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, providerOptions{})
			cfg := p.config(t, webID, webSecret)
			cfg.AuthMethod = method
			client := newClient(t, cfg)
			agent := signIn(t, client)
			_, saved := refreshed(t, client, agent.Tokens)
			if err := client.RevokeToken(t.Context(), saved.AccessToken, "access_token"); err != nil {
				t.Errorf("RevokeToken: %v", err)
			}
			for _, r := range append(p.requests(pathToken, ""), p.requests("/revoke", "")...) {
				inForm := r.form.Get("client_id") == webID && r.form.Get("client_secret") == webSecret
				inHeader := r.user == url.QueryEscape(webID) && r.pass == url.QueryEscape(webSecret)
				neither := !r.form.Has("client_secret") && !r.form.Has("client_id")
				switch {
				case method == authpi.AuthMethodPost && (!inForm || r.header.Get("Authorization") != ""):
					t.Errorf("%s: want the client in the form alone; got %v", r.path, r.header)
				case method == authpi.AuthMethodBasic && (!inHeader || !neither):
					t.Errorf("%s: want the client in the header alone; got user %q", r.path, r.user)
				}
				if !strings.HasPrefix(r.header.Get("User-Agent"), "authpi-idp-go/") {
					t.Errorf("%s: User-Agent %q", r.path, r.header.Get("User-Agent"))
				}
			}

			cfg.ClientSecret = wrongSecret
			_, err := newClient(t, cfg).CreateAgent(t.Context(), expired(saved), nil)
			var e *authpi.OAuthError
			if !errors.As(err, &e) || e.Code != "invalid_client" || authpi.SessionEnded(err) {
				t.Errorf("wrong secret: %v; want invalid_client, which does not end the session", err)
			}
			if _, err := client.CreateAgent(t.Context(), expired(saved), nil); err != nil {
				t.Errorf("the right secret afterwards: %v", err)
			}
		})
	}
}

func TestZitadelPublicClient(t *testing.T) {
	t.Parallel()
	for name, redirect := range map[string]string{
		"loopback on any port": "http://127.0.0.1:61234/callback",
		"private-use scheme":   "com.example.app:/callback",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, providerOptions{})
			cfg := p.config(t, nativeID, "")
			cfg.RedirectURI = redirect
			client := newClient(t, cfg)
			agent := signInAt(t, client, redirect)
			if agent.ID != subject {
				t.Errorf("agent = %v; want %s", agent, subject)
			}
			_, saved := refreshed(t, client, agent.Tokens)
			for _, r := range p.requests(pathToken, "") {
				if r.form.Get("client_id") != nativeID || r.form.Has("client_secret") || r.header.Get("Authorization") != "" {
					t.Errorf("want client_id alone; got a secret or a header")
				}
			}
			if err := client.RevokeToken(t.Context(), saved.RefreshToken, ""); err != nil {
				t.Errorf("RevokeToken: %v", err)
			}
			ended(t, client, saved)
			refused(t, newClient(t, cfg), saved)
			var missing *authpi.ConfigurationError
			if _, err := client.ClientCredentials(t.Context(), nil); !errors.As(err, &missing) {
				t.Errorf("ClientCredentials: %v; want a ConfigurationError", err)
			}
		})
	}
}

func TestZitadelClientCredentials(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]authpi.AuthMethod{"post": authpi.AuthMethodPost, "basic": authpi.AuthMethodBasic} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothServers(t, func(t *testing.T, p *provider) {
				cfg := p.config(t, machineID, machineKey)
				cfg.AuthMethod = method
				client := newClient(t, cfg)
				agent, err := client.ClientCredentials(t.Context(), []string{"projects:read", "projects:write"})
				if err != nil {
					t.Fatalf("ClientCredentials: %v", err)
				}
				set := agent.Tokens
				if agent.ID != machineID || set.RefreshToken != "" || set.IDToken != "" || agent.IsExpired() {
					t.Errorf("agent = %v; want %s without refresh and ID token", agent, machineID)
				}
				if !agent.HasScope("projects:read") || !agent.HasAccess("write", "projects") || agent.HasAccess("delete", "projects") {
					t.Errorf("scope = %q; want read and write", set.Scope)
				}

				p.forget()
				source := client.ClientCredentialsSource([]string{"projects:read"})
				together(t, 20, func(int) error { _, err := source.Token(); return err })
				if n := len(p.requests(pathToken, "client_credentials")); n != 1 {
					t.Errorf("20 callers made %d requests; want 1", n)
				}

				cfg.ClientSecret = "wrong"
				_, err = newClient(t, cfg).ClientCredentials(t.Context(), nil)
				var e *authpi.OAuthError
				if !errors.As(err, &e) || e.StatusCode < 400 || strings.Contains(err.Error(), machineKey) {
					t.Errorf("wrong secret: %v; want an OAuthError", err)
				}
			})
		})
	}
}

func TestZitadelConcurrentRefresh(t *testing.T) {
	t.Parallel()
	bothServers(t, func(t *testing.T, p *provider) {
		const callers = 50
		client := p.web(t)
		stale := expired(signIn(t, client).Tokens)
		p.forget()
		var saved [callers]authpi.TokenSet
		together(t, callers, func(i int) error {
			agent, err := client.CreateAgent(t.Context(), stale, &authpi.AgentOptions{
				OnRefresh: func(_ context.Context, set authpi.TokenSet) error { saved[i] = set; return nil },
			})
			if err == nil && agent.Tokens != saved[i] {
				err = errors.New("the agent has another set than was stored")
			}
			return err
		})
		if n := len(p.requests(pathToken, "")); n != 1 {
			t.Errorf("%d callers made %d token requests; want 1", callers, n)
		}
		for i, set := range saved {
			if set != saved[0] || set == (authpi.TokenSet{}) {
				t.Fatalf("caller %d stored another set than caller 0", i)
			}
		}
		// The session lives: its last refresh token works, in another process too.
		if agent, _ := refreshed(t, p.web(t), saved[0]); agent.ID != subject {
			t.Errorf("agent = %v", agent)
		}
	})
}

// together runs what n callers do at the same time.
func together(t *testing.T, n int, call func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if err := call(i); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
}

func TestZitadelIntrospection(t *testing.T) {
	t.Parallel()
	p := newProvider(t, providerOptions{})
	cfg := p.config(t, webID, webSecret)
	cfg.AuthMethod = authpi.AuthMethodBasic
	client := newClient(t, cfg)
	agent := signIn(t, client)
	seen, err := client.Introspect(t.Context(), agent.Tokens.AccessToken, "access_token")
	if err != nil {
		t.Fatalf("Introspect: %v", err)
	}
	if !seen.Active || seen.Subject != subject || seen.ClientID != webID || seen.Scope != strings.Join(allScopes, " ") {
		t.Errorf("Introspect = %+v", seen)
	}
	if d := seen.ExpiresAt.Sub(agent.ExpiresAt()).Abs(); d > 2*time.Second {
		t.Errorf("ExpiresAt = %v; want about %v", seen.ExpiresAt, agent.ExpiresAt())
	}
	if err := client.RevokeToken(t.Context(), agent.Tokens.AccessToken, "access_token"); err != nil {
		t.Fatalf("RevokeToken: %v", err)
	}
	if seen, err = client.Introspect(t.Context(), agent.Tokens.AccessToken, ""); err != nil || seen.Active {
		t.Errorf("Introspect of a revoked token = %+v, %v; want inactive", seen, err)
	}
	// The older server takes HTTP Basic alone here, and says so in plain text.
	_, err = p.web(t).Introspect(t.Context(), agent.Tokens.AccessToken, "")
	var e *authpi.OAuthError
	if !errors.As(err, &e) || e.StatusCode != http.StatusUnauthorized || authpi.SessionEnded(err) {
		t.Errorf("Introspect by form: %v; want status 401", err)
	}
}

func TestZitadelLogout(t *testing.T) {
	t.Parallel()
	bothServers(t, func(t *testing.T, p *provider) {
		client := p.web(t)
		agent := signIn(t, client)
		target, err := client.CreateLogoutURL(&authpi.LogoutOptions{
			IDTokenHint: agent.Tokens.IDToken, PostLogoutRedirectURI: byeURI, State: "s&1",
		})
		if err != nil {
			t.Fatalf("CreateLogoutURL: %v", err)
		}
		at := newBrowser(t, byeURI).open(target)
		if at.app == nil || at.app.Query().Get("state") != "s&1" {
			t.Fatalf("logout ended at %v, status %d; want %s with the state\n%s", at.app, at.status, byeURI, at.text)
		}
		if _, err := client.UserInfo(t.Context(), agent); err == nil {
			t.Error("UserInfo still works after the logout")
		}
		refused(t, client, agent.Tokens)

		if target, err = client.CreateLogoutURL(nil); err != nil {
			t.Fatalf("CreateLogoutURL: %v", err)
		}
		if at := newBrowser(t, byeURI).open(target); !strings.Contains(at.text, "signed out") {
			t.Errorf("logout without parameters: status %d\n%s", at.status, at.text)
		}
	})
}

// The provider's issuer may end in a slash or have a path; the app may write it
// with a slash or without.
func TestZitadelIssuers(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "/", "/a/tenant", "/a/tenant/"} {
		t.Run("issuer"+suffix, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, providerOptions{suffix: suffix})
			for _, configured := range []string{p.base, p.base + "/"} {
				endpoints, err := authpi.DiscoverEndpoints(t.Context(), configured, nil)
				if err != nil {
					t.Fatalf("DiscoverEndpoints(%q): %v", configured, err)
				}
				want := authpi.Endpoints{
					Issuer:        p.issuer,
					Authorization: p.base + "/auth",
					Token:         p.base + pathToken,
					UserInfo:      p.base + "/userinfo",
					Revocation:    p.base + "/revoke",
					Introspection: p.base + pathIntrospect,
					EndSession:    p.base + "/end_session",
					JWKS:          p.base + pathKeys,
				}
				if endpoints != want {
					t.Errorf("DiscoverEndpoints(%q) = %+v; want %+v", configured, endpoints, want)
				}
				cfg := p.config(t, webID, webSecret)
				cfg.IssuerURL, cfg.Endpoints = configured, endpoints
				client := newClient(t, cfg)
				agent := signIn(t, client)
				var claims struct {
					Issuer string `json:"iss"`
				}
				if err := agent.Claims(&claims); err != nil || claims.Issuer != p.issuer {
					t.Errorf("iss = %q, %v; want %q", claims.Issuer, err, p.issuer)
				}
				refreshed(t, client, agent.Tokens)
			}
		})
	}
	t.Run("another one's", func(t *testing.T) {
		t.Parallel()
		p := newProvider(t, providerOptions{})
		for _, other := range []string{p.issuer + "/x", strings.Replace(p.issuer, "127.0.0.1", "localhost", 1)} {
			if _, err := authpi.DiscoverEndpoints(t.Context(), other, nil); err == nil {
				t.Errorf("DiscoverEndpoints(%q): no error", other)
			}
		}
		// An iss that differs by its slash alone is another issuer.
		cfg := p.config(t, webID, webSecret)
		cfg.Endpoints.Issuer += "/"
		client := newClient(t, cfg)
		auth, err := client.CreateAuthorizationURL(allScopes, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.ExchangeCallback(t.Context(), newBrowser(t, redirectURI).logIn(auth.URL).Query(), *auth)
		wantInvalid(t, "another issuer", err, "iss")
	})
}

// wantInvalid wants a token refused for one of the named parts.
func wantInvalid(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	var e *authpi.OAuthError
	if !errors.As(err, &e) || !errors.Is(err, authpi.ErrInvalidToken) {
		t.Errorf("%s: %v; want invalid_token", what, err)
		return
	}
	for _, part := range parts {
		if strings.Contains(e.Description, part) {
			return
		}
	}
	t.Errorf("%s: %v; want the error to name one of %q", what, err, parts)
}
