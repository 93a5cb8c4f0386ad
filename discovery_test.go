package authpi_test

import (
	"net/http"
	"slices"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// What a document may say stands in the refusal table; these are no documents at all.
func TestDiscoverEndpoints(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault authpitest.Fault
		code  string
		says  string
	}{
		{"404", authpitest.Fault{Status: 404, Body: `{"error":"x"}`}, "invalid_response", "404"},
		{"redirect", authpitest.Fault{Status: 302}, "invalid_response", "302"},
		{"cut off", authpitest.Fault{Times: 2, Drop: true}, "transport_error", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer := testkit.NewSocketIssuer(t, nil)
			issuer.Inject(tc.fault)
			_, err := authpi.DiscoverEndpoints(t.Context(), issuer.URL, nil)
			address := issuer.URL + "/.well-known/openid-configuration"
			testkit.WantCode(t, err, tc.code, tc.says, address)
			issuer.Inject(tc.fault)
			_, err = testkit.NewClient(t, issuer, nil).VerifyAccessToken(t.Context(), issuer.AccessToken(nil), "")
			testkit.WantCode(t, err, "transport_error", tc.says, address)
			issuer.ClearFaults()
			if got, err := authpi.DiscoverEndpoints(t.Context(), issuer.URL, nil); err != nil || got.Issuer != issuer.URL {
				t.Errorf("got %+v, %v; want the endpoints of %s", got, err, issuer.URL)
			}
		})
	}
	for _, bad := range []string{"", "idp", "http://idp.example", "https://idp.example/?q", "https://u@idp.example"} {
		_, err := authpi.DiscoverEndpoints(t.Context(), bad, nil)
		testkit.WantField(t, err, "IssuerURL")
	}
}

// The issuer of the endpoints is IssuerURL as given where it is left empty.
func TestEndpointsIssuerDefault(t *testing.T) {
	t.Parallel()
	key := testkit.NewRawKey(t)
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
			client := testkit.Scripted(t, func(cfg *authpi.Config) {
				cfg.IssuerURL, cfg.Endpoints.Issuer = tc.configured, tc.given
			}, func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.URL.Path)
				return testkit.Reply(r, 200, nil, key.JWKS()), nil
			})
			payload := `{"iss":` + testkit.Quote(tc.iss) + `,"aud":"c_1","sub":"usr_1","exp":4000000000,"iat":1700000000}`
			_, err := client.VerifyAccessToken(t.Context(), key.Sign(`{"alg":"ES256","kid":"raw","typ":"at+jwt"}`, payload), "")
			if tc.ok && err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
			if !tc.ok {
				testkit.WantCode(t, err, "invalid_token", "iss")
			}
			if !slices.Equal(asked, []string{"/i_1/jwks.json"}) {
				t.Errorf("got requests %q; want the key set alone, without discovery", asked)
			}
		})
	}
}
