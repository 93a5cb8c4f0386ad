package authpihttp_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

const exampleAPI = "https://api.example.com"

// exampleBearer is a guard of exampleAPI.
func exampleBearer(issuer *authpitest.Server, opts authpihttp.BearerOptions) *authpihttp.Bearer {
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuer.URL, ClientID: "c_api", HTTPClient: issuer.Client()})
	if err != nil {
		log.Fatal(err)
	}
	opts.Resource = exampleAPI
	bearer, err := authpihttp.NewBearer(client, &opts)
	if err != nil {
		log.Fatal(err)
	}
	return bearer
}

// exampleCall calls an API with a token.
func exampleCall(api http.Handler, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, exampleAPI+path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return w
}

// An API with a page that describes it, and one for whoever has a good token.
func ExampleNewBearer() {
	issuer := authpitest.NewInMemory(nil)
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: "c_api", // no secret is needed
		HTTPClient: issuer.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	bearer, err := authpihttp.NewBearer(client, &authpihttp.BearerOptions{
		Resource:             "https://api.example.com", // tokens for other APIs are refused
		AuthorizationServers: []string{issuer.URL},
		ScopesSupported:      []string{"projects:read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(bearer.Metadata())
	mux.Handle("GET /me", bearer.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		fmt.Fprint(w, agent.ID)
	})))

	token := issuer.AccessToken(map[string]any{"sub": "usr_ada", "aud": "https://api.example.com"})
	foreign := issuer.AccessToken(map[string]any{"sub": "usr_ada", "aud": "https://other.example.com"})
	good, bad := exampleCall(mux, "/me", token), exampleCall(mux, "/me", foreign)
	fmt.Println(good.Code, good.Body)
	fmt.Println(bad.Code, bad.Body)
	// Output:
	// 200 usr_ada
	// 401 {"error":"invalid_token","error_description":"aud: is another API's; want 'https://api.example.com'"}
}

// Scopes are those of the token itself, which its client asked for.
func ExampleBearer_Require() {
	issuer := authpitest.NewInMemory(nil)
	api := exampleBearer(issuer, authpihttp.BearerOptions{Scopes: []string{"projects:read"}}).
		Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))

	for _, scope := range []string{"projects:read", "openid"} {
		token := issuer.AccessToken(map[string]any{"sub": "agt_worker", "aud": exampleAPI, "scope": scope})
		fmt.Println(scope, exampleCall(api, "/", token).Code)
	}
	fmt.Println("no token", exampleCall(api, "/", "").Code)
	// Output:
	// projects:read 200
	// openid 403
	// no token 401
}

// Clients find out where to get a token (RFC 9728).
func ExampleBearer_Metadata() {
	bearer := exampleBearer(authpitest.NewInMemory(nil), authpihttp.BearerOptions{
		AuthorizationServers: []string{"https://idp.authpi.com/i_1"},
	})
	pattern, handler := bearer.Metadata()
	mux := http.NewServeMux()
	mux.Handle(pattern, handler)
	fmt.Println(pattern)
	fmt.Println(exampleCall(mux, "/.well-known/oauth-protected-resource", "").Body)
	// Output:
	// GET /.well-known/oauth-protected-resource
	// {"resource":"https://api.example.com","authorization_servers":["https://idp.authpi.com/i_1"],"bearer_methods_supported":["header"]}
}

// A token of an old sign-in is asked to be replaced (RFC 9470).
func ExampleBearer_RequireRecent() {
	issuer := authpitest.NewInMemory(nil)
	bearer := exampleBearer(issuer, authpihttp.BearerOptions{AccessTokensCarryLoginTime: true})
	recent := bearer.RequireRecent(5 * time.Minute)
	api := bearer.Require(recent(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))

	for _, age := range []time.Duration{time.Minute, time.Hour} {
		token := issuer.AccessToken(map[string]any{
			"sub": "usr_ada", "aud": exampleAPI, "auth_time": issuer.Now().Add(-age).Unix(),
		})
		answer := exampleCall(api, "/", token)
		fmt.Println(answer.Code, answer.Header().Get("WWW-Authenticate") != "")
	}
	// Output:
	// 200 false
	// 401 true
}

// hello greets whoever is signed in.
func hello(w http.ResponseWriter, r *http.Request) {
	agent, ok := authpihttp.AgentFrom(r.Context())
	if !ok {
		http.Error(w, "hello is mounted without a guard", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "Hello, %s. May you write projects? %t.", agent.Email, agent.HasAccessIn("org_engines", "write", "projects"))
}

func ExampleAgentFrom() {
	w := httptest.NewRecorder()
	hello(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Print(w.Body)
	// Output: hello is mounted without a guard
}

// A handler is tested without a login.
func ExampleWithAgent() {
	ada := &authpi.Agent{ID: "usr_ada", Email: "ada@example.com", Organizations: []authpi.Organization{
		{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**"}},
	}}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	hello(w, r.WithContext(authpihttp.WithAgent(r.Context(), ada)))
	fmt.Print(w.Body)
	// Output: Hello, ada@example.com. May you write projects? true.
}

// An app logs in its own way, and leaves the answer to the package.
func ExampleWriteError() {
	opts := &authpihttp.Options{
		Error: func(w http.ResponseWriter, r *http.Request, status int, err error) {
			if !errors.Is(err, authpihttp.ErrNotSignedIn) {
				fmt.Println("log:", status, err)
			}
			authpihttp.WriteError(w, r, status, err)
		},
	}
	w := httptest.NewRecorder()
	opts.Error(w, httptest.NewRequest(http.MethodGet, "/", nil), http.StatusForbidden, authpihttp.ErrForbidden)
	fmt.Print(w.Body)
	// Output:
	// log: 403 authpihttp: not allowed
	// {"error":"forbidden","error_description":"Your account may not do this here."}
}
