package authpi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// exampleIssuer starts an issuer with one user, and makes a client of it.
func exampleIssuer(opts *authpitest.Options) (*authpitest.Server, *authpi.IdpClient) {
	srv := authpitest.NewServer(opts)
	srv.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace"})
	srv.SetOrganizations("usr_ada",
		authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**", "members:read"}},
		authpitest.Organization{ID: "org_poetry", Title: "Owner", Scopes: []string{"owner", "*:**"}},
	)
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:    srv.URL,
		ClientID:     srv.ClientID(),
		ClientSecret: srv.ClientSecret(),
		RedirectURI:  "https://app.example/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	return srv, client
}

// exampleSignIn does the whole login at once.
func exampleSignIn(srv *authpitest.Server, client *authpi.IdpClient) *authpi.Agent {
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email", "profile"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	callback, err := srv.SignIn(auth.URL, "usr_ada")
	if err != nil {
		log.Fatal(err)
	}
	query, err := authpi.ParseCallback(callback)
	if err != nil {
		log.Fatal(err)
	}
	agent, err := client.ExchangeCallback(context.Background(), query, *auth)
	if err != nil {
		log.Fatal(err)
	}
	return agent
}

// A sign-in from the login to a page, by the three calls.
func Example() {
	srv, client := exampleIssuer(nil) // authpi.NewIdpClient
	defer srv.Close()
	ctx := context.Background()

	// The login handler keeps *auth in the browser's session and redirects to
	// auth.URL.
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
	if err != nil {
		log.Fatal(err)
	}

	// The provider sends the browser to the callback, whose query is r.URL.Query().
	location, err := srv.SignIn(auth.URL, "usr_ada")
	if err != nil {
		log.Fatal(err)
	}
	query, err := authpi.ParseCallback(location)
	if err != nil {
		log.Fatal(err)
	}
	agent, err := client.ExchangeCallback(ctx, query, *auth)
	if err != nil {
		log.Fatal(err)
	}
	stored := agent.Tokens // in the session, under a new session ID

	// Every later request.
	agent, err = client.CreateAgent(ctx, stored, &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			stored = tokens // where a real app writes to its session store
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, org := range agent.Organizations {
		fmt.Println(agent.Email, org.Title, org.ID, agent.HasAccessIn(org.ID, "write", "members"))
	}
	// Output:
	// ada@example.com Editor org_engines false
	// ada@example.com Owner org_poetry true
}

// Who is signed in, and as what in each organization.
func ExampleAgent() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	fmt.Println(agent.ID, agent.Email)
	for _, org := range agent.Organizations {
		fmt.Println(org.ID, org.Title, agent.ScopesFor(org.ID), "owner:", agent.IsOwnerOf(org.ID))
	}
	// Output:
	// usr_ada ada@example.com
	// org_engines Editor [projects:** members:read] owner: false
	// org_poetry Owner [owner *:**] owner: true
}

// An Agent has no display name: the ID token's claims have one, if the login asked
// for the scope profile.
func ExampleAgent_Claims() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	var profile struct {
		Name string `json:"name"`
	}
	if err := agent.Claims(&profile); err != nil {
		log.Fatal(err)
	}
	fmt.Println(profile.Name, agent.ID)
	// Output: Ada Lovelace usr_ada
}

func ExampleNewIdpClient() {
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:    "https://idp.authpi.com/i_1",
		ClientID:     "c_1",
		ClientSecret: "from your secret store; leave it out for a public client",
		RedirectURI:  "https://app.example/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client != nil)

	// What is wrong with a configuration is said by field, before any request.
	_, err = authpi.NewIdpClient(authpi.Config{IssuerURL: "https://idp.authpi.com/i_1"})
	var wrong *authpi.ConfigurationError
	if errors.As(err, &wrong) {
		fmt.Println(wrong.Field)
	}
	// Output:
	// true
	// ClientID
}

func ExampleIdpClient_CreateAuthorizationURL() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()

	login := func(w http.ResponseWriter, r *http.Request) {
		auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, &authpi.AuthorizationOptions{
			Org: "org_engines", // tokens for this organization alone; leave it out for all
		})
		if err != nil {
			http.Error(w, "sign-in is not configured", http.StatusInternalServerError)
			return
		}
		// Keep *auth in this user's session, for the callback. Then:
		http.Redirect(w, r, auth.URL, http.StatusFound)
	}

	w := httptest.NewRecorder()
	login(w, httptest.NewRequest("GET", "/login", nil))
	location, err := w.Result().Location()
	if err != nil {
		log.Fatal(err)
	}
	query := location.Query()
	fmt.Println(w.Code, query.Get("response_type"), query.Get("code_challenge_method"), query.Get("org"))
	fmt.Println("requests so far:", srv.Requests(""))
	// Output:
	// 302 code S256 org_engines
	// requests so far: 0
}

func ExampleIdpClient_ExchangeCallback() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	target, err := srv.SignIn(auth.URL, "usr_ada") // what the user's browser does
	if err != nil {
		log.Fatal(err)
	}

	callback := func(w http.ResponseWriter, r *http.Request) {
		agent, err := client.ExchangeCallback(r.Context(), r.URL.Query(), *auth) // *auth from the session
		if err != nil {
			http.Error(w, "sign-in failed", http.StatusBadRequest)
			return
		}
		// Store agent.Tokens in the session, under a new session ID.
		fmt.Fprintln(w, "signed in as", agent.Email)
	}

	w := httptest.NewRecorder()
	callback(w, httptest.NewRequest("GET", target, nil))
	fmt.Print(w.Body)

	// A callback that belongs to another login is refused before anything is sent.
	_, err = client.ExchangeCallback(context.Background(), url.Values{"code": {"x"}, "state": {"y"}}, *auth)
	fmt.Println(errors.Is(err, authpi.ErrInvalidState))
	// Output:
	// signed in as ada@example.com
	// true
}

// Where state and nonce were checked in another way, the code can be exchanged on
// its own. ExchangeCallback is the safer choice.
func ExampleIdpClient_ExchangeCode() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	target, err := srv.SignIn(auth.URL, "usr_ada")
	if err != nil {
		log.Fatal(err)
	}
	query, err := authpi.ParseCallback(target)
	if err != nil || query.Get("state") != auth.State {
		log.Fatal("not our login")
	}

	agent, err := client.ExchangeCode(context.Background(), query.Get("code"), auth.CodeVerifier,
		&authpi.ExchangeOptions{Nonce: auth.Nonce})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(agent.ID)

	// A code is good for one exchange.
	_, err = client.ExchangeCode(context.Background(), query.Get("code"), auth.CodeVerifier, nil)
	fmt.Println(errors.Is(err, authpi.ErrInvalidGrant))
	// Output:
	// usr_ada
	// true
}

// A native app gets its callback as text.
func ExampleParseCallback() {
	query, err := authpi.ParseCallback("com.example.app:/callback?code=abc&state=xyz")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(query.Get("code"), query.Get("state"))
	// Output: abc xyz
}

func ExampleIdpClient_CreateAgent() {
	srv, client := exampleIssuer(&authpitest.Options{AccessTokenLifetime: -time.Second}) // due at once
	defer srv.Close()
	store := map[string]authpi.TokenSet{"session-1": exampleSignIn(srv, client).Tokens}
	before := store["session-1"]

	agent, err := client.CreateAgent(context.Background(), store["session-1"], &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			store["session-1"] = tokens // the old refresh token no longer works
			return nil
		},
		OnRefreshError: func(_ context.Context, err error) {
			if authpi.SessionEnded(err) {
				delete(store, "session-1")
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(agent.ID)
	fmt.Println("new refresh token stored:", store["session-1"].RefreshToken != before.RefreshToken)
	// Output:
	// usr_ada
	// new refresh token stored: true
}

// Refresh shows a change of memberships at once, without waiting for expiry.
func ExampleIdpClient_Refresh() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)
	srv.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_observatory", Scopes: []string{"owner"}})

	renewed, err := client.Refresh(context.Background(), agent, &authpi.RefreshOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			return nil // store tokens here
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(agent.IsOwnerOf("org_observatory"), renewed.IsOwnerOf("org_observatory"))
	// Output: false true
}

// TokenSource fits any library that takes an oauth2.TokenSource.
func ExampleIdpClient_TokenSource() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	source := client.TokenSource(agent, &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			return nil // store tokens here
		},
	})
	api := oauth2.NewClient(context.Background(), source)
	resp, err := api.Get(srv.URL + "/userinfo")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

func ExampleIdpClient_HTTPClient() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		fmt.Println("the API was called with a", scheme, "token")
	}))
	defer api.Close()

	resp, err := client.HTTPClient(agent, &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			return nil // store tokens here
		},
	}).Get(api.URL + "/projects")
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	// Output: the API was called with a Bearer token
}

func ExampleIdpClient_ClientCredentials() {
	srv, client := exampleIssuer(&authpitest.Options{ClientID: "c_worker", ClientSecret: "s3cret"})
	defer srv.Close()

	agent, err := client.ClientCredentials(context.Background(), []string{"projects:read"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(agent.ID, agent.HasAccess("read", "projects"), agent.HasAccess("write", "projects"))
	// Output: c_worker true false
}

func ExampleIdpClient_ClientCredentialsSource() {
	srv, client := exampleIssuer(&authpitest.Options{ClientID: "c_worker", ClientSecret: "s3cret"})
	defer srv.Close()

	source := client.ClientCredentialsSource([]string{"projects:read"}) // make it once, share it
	for range 3 {
		if _, err := source.Token(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("token requests:", srv.Grants("client_credentials"))
	// Output: token requests: 1
}

func ExampleIdpClient_UserInfo() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	info, err := client.UserInfo(context.Background(), agent)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Name, info.Email, len(info.Organizations))
	// Output: Ada Lovelace ada@example.com 2
}

func ExampleIdpClient_RevokeToken() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	if err := client.RevokeToken(context.Background(), agent.Tokens.RefreshToken, "refresh_token"); err != nil {
		log.Fatal(err)
	}
	_, err := client.Refresh(context.Background(), agent, nil)
	fmt.Println(authpi.SessionEnded(err))
	// Output: true
}

func ExampleIdpClient_Introspect() {
	srv, client := exampleIssuer(&authpitest.Options{ClientID: "c_1", ClientSecret: "s3cret"})
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	state, err := client.Introspect(context.Background(), agent.Tokens.AccessToken, "access_token")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state.Active, state.Subject)

	srv.EndSession("usr_ada") // an administrator ends the session
	state, err = client.Introspect(context.Background(), agent.Tokens.AccessToken, "access_token")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state.Active)
	// Output:
	// true usr_ada
	// false
}

func ExampleIdpClient_CreateLogoutURL() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	// First end your own session. Then send the browser here:
	target, err := client.CreateLogoutURL(&authpi.LogoutOptions{
		IDTokenHint:           agent.Tokens.IDToken,
		PostLogoutRedirectURI: "https://app.example/",
	})
	if err != nil {
		log.Fatal(err)
	}
	u, err := url.Parse(target)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(u.Path, u.Query().Get("post_logout_redirect_uri"), u.Query().Has("id_token_hint"))
	// Output: /i_test/logout https://app.example/ true
}

// An API checks the token that a caller sent, without asking the issuer.
func ExampleIdpClient_VerifyAccessToken() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()

	projects := func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		agent, err := client.VerifyAccessToken(r.Context(), raw, "https://api.example")
		switch {
		case errors.Is(err, authpi.ErrInvalidToken):
			http.Error(w, "token refused", http.StatusUnauthorized)
		case err != nil: // the issuer's keys cannot be had
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		case !agent.HasAccessIn("org_engines", "read", "projects"):
			http.Error(w, "not allowed", http.StatusForbidden)
		default:
			fmt.Fprintln(w, "hello", agent.ID)
		}
	}

	for _, audience := range []string{"https://api.example", "https://other.example"} {
		r := httptest.NewRequest("GET", "/projects", nil)
		r.Header.Set("Authorization", "Bearer "+srv.AccessToken(map[string]any{
			"aud":           audience,
			"organizations": []any{map[string]any{"id": "org_engines", "scopes": []any{"projects:read"}}},
		}))
		w := httptest.NewRecorder()
		projects(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 hello usr_test
	// 401 token refused
}

// The issuer posts a logout_token to the app when a session ends elsewhere.
func ExampleIdpClient_VerifyLogoutToken() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()

	posted := srv.LogoutToken(map[string]any{"sub": "usr_ada", "sid": "s_1"}) // r.PostFormValue("logout_token")
	logout, err := client.VerifyLogoutToken(context.Background(), posted)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("end session", logout.SessionID, "of", logout.Subject)
	// Output: end session s_1 of usr_ada
}

// A program that verifies with go-oidc, by the keys that this client keeps.
func ExampleIdpClient_KeySet() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	verifier := oidc.NewVerifier(srv.URL, client.KeySet(), &oidc.Config{
		ClientID:             srv.ClientID(),
		SupportedSigningAlgs: []string{oidc.ES256, oidc.RS256, oidc.EdDSA},
	})
	token, err := verifier.Verify(context.Background(), agent.Tokens.IDToken)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Subject)
	// Output: usr_ada
}

// At start-up, before the first user comes.
func ExampleIdpClient_Check() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	fmt.Println(client.Check(context.Background()))

	mistyped, err := authpi.NewIdpClient(authpi.Config{IssuerURL: srv.URL + "/i_mistyped", ClientID: "c_1"})
	if err != nil {
		log.Fatal(err)
	}
	err = mistyped.Check(context.Background())
	var wrong *authpi.ConfigurationError
	if errors.As(err, &wrong) {
		fmt.Println(wrong.Field)
	}
	// Output:
	// <nil>
	// IssuerURL
}

// An issuer with other paths than AuthPI's.
func ExampleDiscoverEndpoints() {
	srv := authpitest.NewServer(nil)
	defer srv.Close()

	endpoints, err := authpi.DiscoverEndpoints(context.Background(), srv.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: srv.URL, ClientID: srv.ClientID(), Endpoints: endpoints,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.TrimPrefix(endpoints.Token, srv.URL), client != nil)
	// Output: /token true
}

func ExampleParseScope() {
	fmt.Println(authpi.ParseScope("projects.tasks:delete"))
	fmt.Println(authpi.ParseScope("owner")) // a role is no scope
	// Output:
	// {projects.tasks delete} true
	// { } false
}

func ExampleHasAccess() {
	scopes := []string{"users:read", "projects:**"}
	fmt.Println(authpi.HasAccess(scopes, "read", "users"))
	fmt.Println(authpi.HasAccess(scopes, "write", "users"))
	fmt.Println(authpi.HasAccess(scopes, "write", "projects.tasks"))
	// Output:
	// true
	// false
	// true
}

func ExampleAgent_HasAccessIn() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	fmt.Println(agent.HasAccessIn("org_engines", "write", "projects"))    // she has projects:** there,
	fmt.Println(agent.HasAccessIn("org_engines", "write", "members"))     // and members:read
	fmt.Println(agent.HasAccessIn("org_observatory", "read", "projects")) // she is no member there
	// Output:
	// true
	// false
	// false
}

func ExampleSessionEnded() {
	srv, client := exampleIssuer(&authpitest.Options{AccessTokenLifetime: -time.Minute}) // expired at once
	defer srv.Close()
	tokens := exampleSignIn(srv, client).Tokens

	srv.Inject(authpitest.Fault{Endpoint: "token", Status: http.StatusServiceUnavailable})
	_, err := client.CreateAgent(context.Background(), tokens, nil)
	fmt.Println("issuer unreachable:", authpi.SessionEnded(err)) // keep the tokens, answer 503

	srv.EndSession("usr_ada")
	_, err = client.CreateAgent(context.Background(), tokens, nil)
	fmt.Println("session revoked:", authpi.SessionEnded(err)) // send the user to sign in
	// Output:
	// issuer unreachable: false
	// session revoked: true
}

// What the issuer said is inside every error of a refresh.
func ExampleOAuthError() {
	srv, client := exampleIssuer(&authpitest.Options{AccessTokenLifetime: -time.Minute}) // expired at once
	defer srv.Close()
	tokens := exampleSignIn(srv, client).Tokens

	srv.Inject(authpitest.Fault{Endpoint: "token", Status: http.StatusTooManyRequests, RetryAfter: "17"})
	_, err := client.CreateAgent(context.Background(), tokens, nil)
	var e *authpi.OAuthError
	if errors.As(err, &e) {
		fmt.Println(e.StatusCode, e.Code, e.RetryAfter)
	}
	fmt.Println("sign in again:", authpi.SessionEnded(err))
	// Output:
	// 429 refresh_error 17s
	// sign in again: false
}

func ExampleParseTokenSet() {
	srv, client := exampleIssuer(nil)
	defer srv.Close()
	agent := exampleSignIn(srv, client)

	stored, err := json.Marshal(agent.Tokens) // holds every token: encrypt it where it rests
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := authpi.ParseTokenSet(stored)
	if err != nil {
		log.Fatal(err)
	}
	agent, err = client.CreateAgent(context.Background(), tokens, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(agent.Email)
	// Output: ada@example.com
}
