package authpitest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/url"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// A login from the authorization URL to the tokens, with net/http as the client.
func Example() {
	srv := authpitest.NewServer(nil)
	defer srv.Close()
	srv.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})

	// What the client under test would make:
	authURL := srv.URL + "/authorize?" + url.Values{
		"client_id": {srv.ClientID()}, "redirect_uri": {"https://app.example/callback"},
		"response_type": {"code"}, "scope": {"openid email"}, "state": {"xyz"},
		"code_challenge":        {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, // RFC 7636, appendix B
		"code_challenge_method": {"S256"},
	}.Encode()

	// What a browser would do:
	callback, err := srv.SignIn(authURL, "usr_ada")
	if err != nil {
		log.Fatal(err)
	}
	u, err := url.Parse(callback)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("state:", u.Query().Get("state"))

	// And the client under test again:
	resp, err := srv.Client().PostForm(srv.URL+"/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {srv.ClientID()},
		"code": {u.Query().Get("code")}, "redirect_uri": {"https://app.example/callback"},
		"code_verifier": {"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	var tokens struct {
		TokenType string `json:"token_type"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&tokens); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tokens.TokenType, tokens.ExpiresIn)
	fmt.Println("sessions:", srv.Sessions("usr_ada"))
	// Output:
	// state: xyz
	// Bearer 1800
	// sessions: 1
}

// The next request for keys is answered after its caller has lost patience.
func ExampleServer_Inject() {
	srv := authpitest.NewInMemory(nil)
	srv.Inject(authpitest.Fault{Endpoint: "jwks", Delay: time.Hour})
	client := srv.Client()
	client.Timeout = 10 * time.Millisecond
	_, err := client.Get(srv.URL + "/jwks.json")
	fmt.Println(err != nil)
	fmt.Println("requests:", srv.Requests("jwks"))
	// Output:
	// true
	// requests: 1
}

// An issuer over a loopback port, with a person and two memberships.
func ExampleNewServer() {
	srv := authpitest.NewServer(nil)
	defer srv.Close()
	srv.AddUser(authpitest.User{ID: "usr_ada", Name: "Ada Lovelace", Email: "ada@example.com"})
	srv.SetOrganizations("usr_ada",
		authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**", "members:read"}},
		authpitest.Organization{ID: "org_poetry", Title: "Owner", Scopes: []string{"owner", "*:**"}},
	)

	// The app under test is configured with srv.URL, srv.ClientID() and
	// srv.ClientSecret().
	fmt.Println(srv.ClientID(), srv.Sessions("usr_ada"))
	// Output: c_test 0
}

// An API under test gets one good token, and one that anybody could have written.
func ExampleServer_AccessToken() {
	srv := authpitest.NewServer(nil)
	defer srv.Close()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: srv.URL, ClientID: "c_api"})
	if err != nil {
		log.Fatal(err)
	}
	good := srv.AccessToken(map[string]any{"sub": "usr_ada", "aud": "https://api.example.com"})
	forged := srv.Sign(map[string]any{"sub": "usr_ada", "aud": "https://api.example.com"}, map[string]any{"alg": "none"})

	agent, err := client.VerifyAccessToken(context.Background(), good, "https://api.example.com")
	fmt.Println(agent.ID, err)
	_, err = client.VerifyAccessToken(context.Background(), forged, "https://api.example.com")
	fmt.Println(errors.Is(err, authpi.ErrInvalidToken))
	// Output:
	// usr_ada <nil>
	// true
}

// Without a socket only the server's own client reaches it, and testing/synctest can
// drive the time.
func ExampleNewInMemory() {
	srv := authpitest.NewInMemory(nil)
	answer, err := srv.Client().Get(srv.URL + "/.well-known/openid-configuration")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	fmt.Println(answer.StatusCode)
	// Output: 200
}
