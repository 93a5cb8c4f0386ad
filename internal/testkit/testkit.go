// Package testkit holds what the tests of several folders share: an issuer with a user,
// clients, logins, keys and tokens with any claim, a session store, and the checks of
// errors and secrets. It is for this module's tests alone; apps use package authpitest.
package testkit

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// What every test's issuer knows, unless the test says otherwise.
const (
	RedirectURI = "https://app.example/callback"
	Subject     = "usr_ada"
	IssuerURL   = "https://idp.authpi.test/i_test" // of a server without a socket
)

// NewIssuer makes an issuer without a socket where Ada can sign in. She owns org_1 and may read
// projects in org_2.
func NewIssuer(t testing.TB, opts *authpitest.Options) *authpitest.Server {
	t.Helper()
	issuer := authpitest.NewInMemory(opts)
	t.Cleanup(issuer.Close)
	AddAda(issuer)
	return issuer
}

// NewSocketIssuer is NewIssuer with a listening socket.
func NewSocketIssuer(t testing.TB, opts *authpitest.Options) *authpitest.Server {
	t.Helper()
	issuer := authpitest.NewServer(opts)
	t.Cleanup(issuer.Close)
	AddAda(issuer)
	return issuer
}

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

// NewClient makes a client of issuer; mutate, which may be nil, changes its configuration first.
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

// Clock is a clock that a test moves by hand. It starts at a whole second.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

func NewClock() *Clock { return &Clock{now: time.Unix(1760000000, 0).UTC()} }

func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// WantCode fails the test unless err is an *OAuthError with code whose text holds every part.
func WantCode(t testing.TB, err error, code string, parts ...string) *authpi.OAuthError {
	t.Helper()
	var e *authpi.OAuthError
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T); want an *OAuthError with the code %s", err, err, code)
	}
	if e.Code != code {
		t.Fatalf("got code %q (%v); want %q", e.Code, err, code)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q; want it to name %q", err, part)
		}
	}
	return e
}

// WantField fails the test unless err is a *ConfigurationError about field.
func WantField(t testing.TB, err error, field string) {
	t.Helper()
	var e *authpi.ConfigurationError
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T); want a *ConfigurationError", err, err)
	}
	if e.Field != field || e.Reason == "" {
		t.Fatalf("got field %q, reason %q; want field %q and a reason", e.Field, e.Reason, field)
	}
}

// WantHidden fails the test if any of the secrets shows in text, as it is or URL-encoded.
func WantHidden(t testing.TB, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if secret != "" && strings.Contains(text, form) {
				t.Errorf("got %.300q, which shows the secret %q; want it hidden", text, form)
			}
		}
	}
}

// WantSilent fails the test if an error, or one behind it, shows a secret in any way to print it.
func WantSilent(t testing.TB, err error, secrets ...string) {
	t.Helper()
	for _, one := range ErrorChain(err) {
		WantHidden(t, fmt.Sprintf("%v\n%+v\n%#v\n", one, one, one)+one.Error(), secrets...)
	}
}

// ErrorChain gives err and every error that it wraps.
func ErrorChain(err error) []error {
	if err == nil {
		return nil
	}
	all := []error{err}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		all = append(all, ErrorChain(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			all = append(all, ErrorChain(one)...)
		}
	}
	return all
}

// TransportFunc is an http.RoundTripper made of a function.
type TransportFunc func(*http.Request) (*http.Response, error)

func (f TransportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Reply is an answer for a TransportFunc.
func Reply(r *http.Request, status int, header http.Header, body string) *http.Response {
	all := http.Header{"Content-Type": {"application/json"}}
	maps.Copy(all, header)
	return &http.Response{
		StatusCode: status, Header: all, Body: io.NopCloser(strings.NewReader(body)), Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)),
	}
}

// Scripted is a client whose every request answer gets; the form is parsed already.
func Scripted(t testing.TB, mutate func(*authpi.Config), answer TransportFunc) *authpi.IdpClient {
	t.Helper()
	cfg := authpi.Config{
		IssuerURL: "https://idp.example/i_1", ClientID: "c_1", RedirectURI: RedirectURI,
		HTTPClient: &http.Client{Transport: TransportFunc(func(r *http.Request) (*http.Response, error) {
			if err := r.ParseForm(); err != nil {
				return nil, err
			}
			return answer(r)
		})},
		Endpoints: authpi.Endpoints{
			Authorization: "https://idp.example/i_1/authorize", Token: "https://idp.example/i_1/token",
			UserInfo: "https://idp.example/i_1/userinfo", Revocation: "https://idp.example/i_1/revoke",
			Introspection: "https://idp.example/i_1/introspect", EndSession: "https://idp.example/i_1/logout",
			JWKS: "https://idp.example/i_1/jwks.json",
		},
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

func Base64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// PayloadOf decodes a token's claims and verifies nothing.
func PayloadOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("got %d parts; want a JWT", len(parts))
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(data, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// Unsigned is a token that no key has signed, as a session store may hold it.
func Unsigned(payload string) string {
	return Base64([]byte(`{"alg":"ES256"}`)) + "." + Base64([]byte(payload)) + "." + Base64([]byte("signature"))
}

// ReplaceIDToken is for Fault.Malform: it puts another ID token into a token answer.
func ReplaceIDToken(change func(old string) string) func([]byte) []byte {
	return func(body []byte) []byte {
		var answer map[string]any
		if err := json.Unmarshal(body, &answer); err != nil {
			panic(err)
		}
		old, _ := answer["id_token"].(string)
		return bytes.Replace(body, []byte(`"`+old+`"`), []byte(`"`+change(old)+`"`), 1)
	}
}

// WantEqual compares two lists.
func WantEqual(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q; want %q", what, got, want)
	}
}

// LeftHalfSHA384 is at_hash for the algorithms of 384 bits.
func LeftHalfSHA384(token string) string {
	sum := sha512.Sum384([]byte(token))
	return Base64(sum[:24])
}

// LeftHalfSHA256 is at_hash for the algorithms of 256 bits.
func LeftHalfSHA256(token string) string {
	sum := sha256.Sum256([]byte(token))
	return Base64(sum[:16])
}

// Offline is a client whose issuer must not be asked.
func Offline(t testing.TB, mutate func(*authpi.Config)) *authpi.IdpClient {
	return Scripted(t, mutate, func(r *http.Request) (*http.Response, error) {
		t.Errorf("got a request to %s; want none", r.URL)
		return nil, errors.New("no request was due")
	})
}
