package fuzz_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// FuzzConfiguration asks what becomes of the URLs of a configuration: one that is
// accepted goes to the issuer's host, and comes back where it was told to, letter
// for letter.
func FuzzConfiguration(f *testing.F) {
	f.Fuzz(func(t *testing.T, issuerURL, redirectURI, clientID string) {
		client, err := authpi.NewIdpClient(authpi.Config{
			IssuerURL: issuerURL, RedirectURI: redirectURI, ClientID: clientID, ClientSecret: sentSecret, HTTPClient: http.DefaultClient,
		})
		if err != nil {
			var e *authpi.ConfigurationError
			if client != nil || !errors.As(err, &e) || e.Reason == "" || e.Field != "IssuerURL" && e.Field != "ClientID" && e.Field != "RedirectURI" {
				t.Errorf("got %v, %v; want a *ConfigurationError of a field", client, err)
			}
			testkit.WantSilent(t, err, sentSecret)
			return
		}
		if redirectURI == "" {
			return
		}
		auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
		if err != nil {
			t.Fatalf("accepted, but no login can start: %v", err)
		}
		issuer, err := url.Parse(issuerURL)
		if err != nil || issuer.User != nil {
			t.Fatalf("%q was accepted: got %v, %v", issuerURL, issuer, err)
		}
		u, err := url.Parse(auth.URL)
		if err != nil || u.Scheme != issuer.Scheme || u.Host != issuer.Host || u.Path != strings.TrimRight(issuer.Path, "/")+"/authorize" || u.Fragment != "" {
			t.Fatalf("got %q, %v; want the issuer's own address", auth.URL, err)
		}
		q, err := url.ParseQuery(u.RawQuery)
		if err != nil || q.Get("redirect_uri") != redirectURI || q.Get("client_id") != clientID || q.Get("state") != auth.State || q.Get("nonce") != auth.Nonce {
			t.Errorf("got %v, %v; want %q and %q back", q, err, redirectURI, clientID)
		}
		if back, err := url.Parse(redirectURI); err != nil || back.Scheme == "javascript" || back.Scheme == "data" || back.User != nil || strings.Contains(redirectURI, "#") {
			t.Errorf("%q was accepted", redirectURI)
		}
		testkit.WantHidden(t, auth.URL, auth.CodeVerifier, sentSecret)
	})
}

// FuzzDiscovery reads discovery documents a second time. What is accepted is the
// issuer's own, and a configuration that works.
func FuzzDiscovery(f *testing.F) {
	var doc string
	server := &http.Client{Transport: testkit.TransportFunc(func(r *http.Request) (*http.Response, error) {
		return testkit.Reply(r, http.StatusOK, nil, doc), nil
	})}
	f.Fuzz(func(t *testing.T, body string) {
		doc = body
		got, err := authpi.DiscoverEndpoints(context.Background(), fuzzIssuer, server)
		o, ok := readObject(t, strings.TrimPrefix(body, "\ufeff"))
		want := authpi.Endpoints{
			Issuer: o.text("issuer"), Authorization: o.text("authorization_endpoint"), Token: o.text("token_endpoint"),
			UserInfo: o.text("userinfo_endpoint"), Revocation: o.text("revocation_endpoint"), Introspection: o.text("introspection_endpoint"),
			EndSession: o.text("end_session_endpoint"), JWKS: o.text("jwks_uri"),
		}
		_, configErr := authpi.NewIdpClient(authpi.Config{IssuerURL: fuzzIssuer, ClientID: fuzzClient, Endpoints: want})
		ok = ok && strings.TrimSuffix(want.Issuer, "/") == fuzzIssuer && want.JWKS != "" && configErr == nil
		if (err == nil) != ok {
			t.Fatalf("got %v; want a refusal: %t (%v)", err, !ok, configErr)
		}
		if err == nil && got != want {
			t.Errorf("got %+v; encoding/json says %+v", got, want)
		}
		if err != nil {
			var e *authpi.OAuthError
			if got != (authpi.Endpoints{}) || !errors.As(err, &e) || e.Code != "invalid_response" && e.Code != "invalid_issuer" {
				t.Errorf("got %+v, %v; want no endpoints and a named refusal", got, err)
			}
			if len(err.Error()) > 1<<10 {
				t.Errorf("got an error of %d bytes; want a short one", len(err.Error()))
			}
		}
	})
}
