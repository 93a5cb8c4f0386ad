package refusals_test

import (
	"net/url"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// refusedConfigurations are mistakes that would open a door, and what logins may not
// ask for.
func refusedConfigurations() refusals {
	config := func(name, source, field string, fault func(*authpi.Config)) refusal {
		return refusal{name: name, source: source, code: configuration, part: field, fault: inConfig(fault)}
	}
	extra := func(name, value, source string) refusal {
		return refusal{
			name: "Extra with " + name, source: source, code: "invalid_request", part: name,
			given: []edit{func(s *scene) { s.login.Extra = url.Values{"ui_locales": {"en"}} }},
			fault: func(s *scene) { s.login.Extra.Set(name, value) },
		}
	}
	algorithms := func(list ...string) func(*authpi.Config) {
		return func(cfg *authpi.Config) { cfg.SigningAlgorithms = list }
	}
	redirect := func(uri string) func(*authpi.Config) {
		return func(cfg *authpi.Config) { cfg.RedirectURI = uri }
	}
	issuer := func(change func(string) string) func(*authpi.Config) {
		return func(cfg *authpi.Config) { cfg.IssuerURL = change(cfg.IssuerURL) }
	}
	return refusals{"Configuration and authorization request", []way{{"login", tryConfiguration}}, []refusal{
		config("algorithm none allowed", "RFC 8725 section 3.2", "SigningAlgorithms", algorithms("ES256", "none")),
		config("algorithm HS256 allowed", "RFC 8725 section 3.1", "SigningAlgorithms", algorithms("HS256", "ES256")),
		config("issuer over http", "OpenID Connect Discovery 3", "IssuerURL", issuer(func(u string) string { return strings.Replace(u, "https", "http", 1) })),
		config("issuer with a query", "OpenID Connect Discovery 3", "IssuerURL", issuer(func(u string) string { return u + "?a" })),
		config("issuer with a fragment", "OpenID Connect Discovery 3", "IssuerURL", issuer(func(u string) string { return u + "#a" })),
		config("issuer with a user", "OpenID Connect Discovery 3", "IssuerURL", issuer(func(u string) string { return strings.Replace(u, "//", "//a:b@", 1) })),
		config("redirect URI over http", "RFC 9700 section 2.6", "RedirectURI", redirect("http://app.example/callback")),
		config("redirect URI javascript", "RFC 9700 section 4.1", "RedirectURI", redirect("javascript:alert(1)")),
		config("redirect URI with a wildcard", "RFC 9700 section 4.1", "RedirectURI", redirect("https://*.app.example/callback")),
		config("redirect URI with a fragment", "RFC 6749 section 3.1.2", "RedirectURI", redirect("https://app.example/callback#a")),
		config("redirect URI of a scheme without dot", "RFC 8252 section 7.1", "RedirectURI", redirect("myapp:/callback")),
		extra("code_challenge", "", "RFC 9700 section 4.8 (PKCE downgrade)"),
		extra("code_challenge_method", "plain", "RFC 9700 section 4.8 (PKCE downgrade)"),
		extra("state", "fixed", "RFC 9700 section 4.7"),
		extra("nonce", "fixed", "OpenID Connect Core 3.1.2.1"),
		extra("redirect_uri", "https://evil.example/", "RFC 9700 section 4.1"),
		extra("response_type", "token", "RFC 9700 section 2.1.2"),
		extra("request", "e30.e30.", "RFC 9101 section 6.3"),
		extra("request_uri", "https://evil.example/", "RFC 9101 section 6.3"),
		extra("client_id", "c_other", "RFC 6749 section 3.1"),
		extra("scope", "openid", "RFC 6749 section 3.1"),
		extra("org", "org_2", "RFC 6749 section 3.1"),
		extra("resource", "https://a.example", "RFC 6749 section 3.1"),
		extra("prompt", "none", "RFC 6749 section 3.1"),
		extra("max_age", "1", "RFC 6749 section 3.1"),
		extra("acr_values", "a", "RFC 6749 section 3.1"),
		extra("login_hint", "ada", "RFC 6749 section 3.1"),
	}}
}

// tryConfiguration makes a client and starts a login.
func tryConfiguration(s *scene) error {
	issuer := testkit.NewIssuer(s.t, &s.options)
	cfg := authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: testkit.RedirectURI, HTTPClient: issuer.Client()}
	for _, change := range s.config {
		change(&cfg)
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		if client != nil {
			s.t.Error("got a client beside the error")
		}
		return err
	}
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, &s.login)
	if err != nil {
		return err
	}
	u, err := url.Parse(auth.URL)
	if err != nil {
		return err
	}
	for name, values := range u.Query() {
		if len(values) != 1 {
			s.t.Errorf("got %s %d times; want it once", name, len(values))
		}
	}
	return nil
}
