package authpi_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestDiscoverEndpoints(t *testing.T) {
	t.Parallel()
	issuer := newSocketIssuer(t, &authpitest.Options{Path: "/deep/i_1"})
	got, err := authpi.DiscoverEndpoints(t.Context(), issuer.URL+"/", nil)
	if err != nil {
		t.Fatalf("DiscoverEndpoints: %v", err)
	}
	base := issuer.URL
	want := authpi.Endpoints{
		Issuer: base, Authorization: base + "/authorize", Token: base + "/token", UserInfo: base + "/userinfo",
		Revocation: base + "/revoke", Introspection: base + "/introspect", EndSession: base + "/logout", JWKS: base + "/jwks.json",
	}
	if got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}

	fault := func(body string) authpitest.Fault { return authpitest.Fault{Endpoint: "discovery", Body: body} }
	doc := func(issuer, jwks string) string {
		return `{"issuer":` + quote(issuer) + `,"jwks_uri":` + quote(jwks) + `}`
	}
	tests := []struct {
		name  string
		fault authpitest.Fault
		code  string
		says  string
	}{
		{"another issuer", fault(doc("https://evil.example", base+"/k")), "invalid_issuer", "evil.example"},
		{"two slashes", fault(doc(base+"//", base+"/k")), "invalid_issuer", ""},
		{"a path below", fault(doc(base+"/x", base+"/k")), "invalid_issuer", ""},
		{"issuer missing", fault(`{"jwks_uri":"https://k.example/"}`), "invalid_response", "issuer"},
		{"jwks_uri missing", fault(`{"issuer":` + quote(base) + `}`), "invalid_response", "jwks_uri"},
		{"jwks_uri over http", fault(doc(base, "http://keys.example/")), "invalid_response", "jwks_uri"},
		{"jwks_uri javascript", fault(doc(base, "javascript:x")), "invalid_response", "jwks_uri"},
		{"issuer twice", fault(`{"issuer":"https://evil.example",` + doc(base, base+"/k")[1:]), "invalid_response", "JSON"},
		{"no object", fault(`[]`), "invalid_response", "object"},
		{"no JSON", fault(`<html>`), "invalid_response", ""},
		{"404", authpitest.Fault{Endpoint: "discovery", Status: 404, Body: `{"error":"x"}`}, "invalid_response", "404"},
		{"redirect", authpitest.Fault{Endpoint: "discovery", Status: 302}, "invalid_response", "302"},
		{"too long", fault(`{"x":"` + strings.Repeat("a", 1<<20) + `"}`), "invalid_response", "1 MiB"},
		{"cut off", authpitest.Fault{Endpoint: "discovery", Times: 2, Drop: true}, "transport_error", ""},
	}
	for _, tc := range tests { // one after the other: they share the server's faults
		issuer.ClearFaults()
		issuer.Inject(tc.fault)
		_, err := authpi.DiscoverEndpoints(t.Context(), base, issuer.Client())
		var e *authpi.OAuthError
		if !errors.As(err, &e) || e.Code != tc.code || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %v; want %s that says %q", tc.name, err, tc.code, tc.says)
		}
	}
	for _, bad := range []string{"", "idp", "http://idp.example", "https://idp.example/?q", "https://u@idp.example"} {
		_, err := authpi.DiscoverEndpoints(t.Context(), bad, nil)
		wantField(t, err, "IssuerURL")
	}
}

// The issuer of the endpoints is IssuerURL as given where it is left empty.
func TestEndpointsIssuerDefault(t *testing.T) {
	t.Parallel()
	key := newRawKey(t)
	for _, tc := range []struct {
		name, configured, given, iss string
		ok                           bool
	}{
		{"given", "https://idp.example/i_1", "https://login.example", "https://login.example", true},
		{"given, IssuerURL in the token", "https://idp.example/i_1", "https://login.example", "https://idp.example/i_1", false},
		{"left out", "https://idp.example/i_1", "", "https://idp.example/i_1", true},
		{"left out, with a slash", "https://idp.example/i_1/", "", "https://idp.example/i_1/", true},
		{"left out, slash missing", "https://idp.example/i_1", "", "https://idp.example/i_1/", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			client := scripted(t, func(cfg *authpi.Config) {
				cfg.IssuerURL, cfg.Endpoints.Issuer = tc.configured, tc.given
			}, func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.URL.Path)
				return reply(r, 200, nil, key.jwks()), nil
			})
			payload := `{"iss":` + quote(tc.iss) + `,"aud":"c_1","sub":"usr_1","exp":4000000000,"iat":1700000000}`
			_, err := client.VerifyAccessToken(t.Context(), key.sign(`{"alg":"ES256","kid":"raw","typ":"at+jwt"}`, payload), "")
			if tc.ok && err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
			if !tc.ok {
				wantCode(t, err, "invalid_token", "iss")
			}
			if !slices.Equal(asked, []string{"/i_1/jwks.json"}) {
				t.Errorf("got requests %q; want the key set alone, without discovery", asked)
			}
		})
	}
}
