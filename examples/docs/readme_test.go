package docs

import (
	"context"
	"errors"
	"log"
	"net/http"
	"net/url"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// The pieces of the README, as they stand there. They are compiled, and those that
// need no session are run.

func readmeLogin(client *authpi.IdpClient) (*authpi.AuthorizationURL, error) {
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, &authpi.AuthorizationOptions{
		Org:    "org_1",           // tokens for one organization only
		Prompt: []string{"login"}, // ask for the credentials even if somebody is signed in
	})
	return auth, err
}

func readmeCallback(client *authpi.IdpClient, r *http.Request, stored authpi.AuthorizationURL) (*authpi.Agent, error) {
	// stored is the *auth of the login, from the session
	agent, err := client.ExchangeCallback(r.Context(), r.URL.Query(), stored)
	return agent, err
}

type tokenStore interface {
	Save(ctx context.Context, id string, tokens authpi.TokenSet) error
	Load(ctx context.Context, id string) (authpi.TokenSet, error)
}

func readmeAgent(ctx context.Context, client *authpi.IdpClient, store tokenStore, tokens authpi.TokenSet, sessionID string) *authpi.Agent {
	agent, err := client.CreateAgent(ctx, tokens, &authpi.AgentOptions{
		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error {
			return store.Save(ctx, sessionID, tokens)
		},
	})
	if authpi.SessionEnded(err) {
		// Sign in again. With any other error the same tokens may be tried later.
	}
	return agent
}

func readmeAccess(agent *authpi.Agent) {
	agent.HasAccessIn("org_1", "write", "projects") // the question to ask before touching org_1's data
	agent.HasAccess("read", "projects")             // in any organization
	agent.IsOwnerOf("org_1")                        // roles are not scopes: an owner needs both
	authpi.HasAccess([]string{"projects:**"}, "delete", "projects.tasks")
}

func readmeAPIs(client *authpi.IdpClient, agent *authpi.Agent, save func(context.Context, authpi.TokenSet) error) (*http.Response, error) {
	api := client.HTTPClient(agent, &authpi.AgentOptions{OnRefresh: save})
	resp, err := api.Get("https://api.example/projects")
	return resp, err
}

func readmeMachine(client *authpi.IdpClient) (any, error) {
	source := client.ClientCredentialsSource([]string{"projects:read"}) // make it once, share it
	token, err := source.Token()
	return token, err
}

func readmeLogout(ctx context.Context, client *authpi.IdpClient, tokens authpi.TokenSet) (string, error) {
	if err := client.RevokeToken(ctx, tokens.RefreshToken, "refresh_token"); err != nil {
		log.Print("sign-out: ", err) // the session here ends all the same
	}
	target, err := client.CreateLogoutURL(&authpi.LogoutOptions{
		IDTokenHint:           tokens.IDToken, // AuthPI requires it
		PostLogoutRedirectURI: "https://app.example/",
	})
	return target, err
}

func readmeVerify(ctx context.Context, client *authpi.IdpClient, raw string) {
	agent, err := client.VerifyAccessToken(ctx, raw, "https://api.example") // the audience: this API
	switch {
	case errors.Is(err, authpi.ErrInvalidToken): // 401
	case err != nil: // 503: the issuer's keys cannot be had
	case !agent.HasAccessIn("org_1", "read", "projects"): // 403
	}
}

func readmeReplicas(store tokenStore, sessionID string) *authpi.AgentOptions {
	opts := &authpi.AgentOptions{
		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error { return store.Save(ctx, sessionID, tokens) },
		Reload:    func(ctx context.Context) (authpi.TokenSet, error) { return store.Load(ctx, sessionID) },
	}
	return opts
}

func readmeIssuer(authURL func(issuer, clientID, secret string) string) (url.Values, error) {
	srv := authpitest.NewServer(nil)
	defer srv.Close()
	srv.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	srv.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}})

	callback, err := srv.SignIn(authURL(srv.URL, srv.ClientID(), srv.ClientSecret()), "usr_ada")
	if err != nil {
		return nil, err
	}
	return authpi.ParseCallback(callback)
}

var _ = []any{
	readmeCallback, readmeAccess, readmeAgent, readmeAPIs, readmeMachine, readmeLogout, readmeVerify, readmeReplicas,
}

func TestREADME(t *testing.T) {
	t.Parallel()
	callback, err := readmeIssuer(func(issuer, clientID, secret string) string {
		client, err := authpi.NewIdpClient(authpi.Config{
			IssuerURL: issuer, ClientID: clientID, ClientSecret: secret, RedirectURI: "https://app.example/callback",
		})
		if err != nil {
			t.Fatal(err)
		}
		auth, err := readmeLogin(client)
		if err != nil {
			t.Fatal(err)
		}
		return auth.URL
	})
	if err != nil || callback.Get("code") == "" {
		t.Errorf("got no code, %v", err)
	}
}

// What a sign-in costs somebody who is new here: the README shows all of it, and
// docs/quickstart runs it.
func TestSignInIsShort(t *testing.T) {
	t.Parallel()
	const most = 19
	for _, block := range fence.FindAllStringSubmatch(read(t, "../../README.md"), -1) {
		if !strings.Contains(block[2], "app.Register(mux)") {
			continue
		}
		lines := 0
		for line := range strings.Lines(block[2]) {
			if strings.TrimSpace(line) != "" {
				lines++
			}
		}
		if lines > most {
			t.Errorf("a sign-in takes %d lines; want at most %d", lines, most)
		}
		for _, part := range []string{"authpi.NewIdpClient(", "authpihttp.New(", "app.RequireAgent(", ".RequireAccess(", ".ListenAndServe("} {
			if !strings.Contains(block[2], part) {
				t.Errorf("a sign-in is not whole without %s", part)
			}
		}
		return
	}
	t.Error("the README shows no sign-in with authpihttp")
}
