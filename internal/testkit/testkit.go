// Package testkit holds what the tests of several folders share: an issuer with a
// user, clients, logins, keys and tokens with any claim, a session store, and the
// checks of errors and secrets. It is for this module's tests alone; apps use
// package authpitest.
package testkit

import (
	"net/url"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// What every test's issuer knows, unless the test says otherwise.
const (
	RedirectURI = "https://app.example/callback"
	Subject     = "usr_ada"
	IssuerURL   = "https://idp.authpi.test/i_test" // of a server without a socket
)

// NewIssuer makes an issuer without a socket where Ada can sign in. She owns org_1
// and may read projects in org_2.
func NewIssuer(t testing.TB, opts *authpitest.Options) *authpitest.Server {
	t.Helper()
	issuer := authpitest.NewInMemory(opts)
	t.Cleanup(issuer.Close)
	AddAda(issuer)
	return issuer
}

// New is NewIssuer with NewClient: opts and mutate may be nil.
func New(t testing.TB, opts *authpitest.Options, mutate func(*authpi.Config)) (*authpitest.Server, *authpi.IdpClient) {
	t.Helper()
	issuer := NewIssuer(t, opts)
	return issuer, NewClient(t, issuer, mutate)
}

// NewSocketIssuer is NewIssuer with a listening socket.
func NewSocketIssuer(t testing.TB, opts *authpitest.Options) *authpitest.Server {
	t.Helper()
	issuer := authpitest.NewServer(opts)
	t.Cleanup(issuer.Close)
	AddAda(issuer)
	return issuer
}

// AddAda makes Ada known to an issuer.
func AddAda(issuer *authpitest.Server) {
	issuer.AddUser(authpitest.User{
		ID: Subject, Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace", GivenName: "Ada",
		FamilyName: "Lovelace", Picture: "https://example.com/ada.png", Locale: "en-GB",
		PhoneNumber: "+44 20 7946 0000", PhoneNumberVerified: true,
	})
	issuer.SetOrganizations(Subject,
		authpitest.Organization{ID: "org_1", Title: "Engines", Scopes: []string{"owner", "projects:**"}},
		authpitest.Organization{ID: "org_2", Scopes: []string{"admin", "projects:read"}},
	)
}

// NewClient makes a client of issuer; mutate, which may be nil, changes its
// configuration first.
func NewClient(t testing.TB, issuer *authpitest.Server, mutate func(*authpi.Config)) *authpi.IdpClient {
	t.Helper()
	cfg := authpi.Config{
		IssuerURL:    issuer.URL,
		ClientID:     issuer.ClientID(),
		ClientSecret: issuer.ClientSecret(),
		RedirectURI:  RedirectURI,
		HTTPClient:   issuer.Client(),
	}
	if mutate != nil {
		mutate(&cfg)
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatalf("NewIdpClient: %v", err)
	}
	return client
}

// StartLogin is Ada's way from the authorization URL back to the callback.
func StartLogin(t testing.TB, client *authpi.IdpClient, issuer *authpitest.Server, opts *authpi.AuthorizationOptions) (url.Values, authpi.AuthorizationURL) {
	t.Helper()
	auth, err := client.CreateAuthorizationURL([]string{"openid", "profile", "email", "phone"}, opts)
	if err != nil {
		t.Fatalf("CreateAuthorizationURL: %v", err)
	}
	raw, err := issuer.SignIn(auth.URL, Subject)
	if err != nil {
		t.Fatalf("SignIn: %v", err)
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		t.Fatalf("ParseCallback: %v", err)
	}
	return callback, *auth
}

// SignIn signs Ada in; opts may be nil.
func SignIn(t testing.TB, client *authpi.IdpClient, issuer *authpitest.Server, opts *authpi.AuthorizationOptions) *authpi.Agent {
	t.Helper()
	callback, auth := StartLogin(t, client, issuer, opts)
	agent, err := client.ExchangeCallback(t.Context(), callback, auth)
	if err != nil {
		t.Fatalf("ExchangeCallback: %v", err)
	}
	return agent
}
