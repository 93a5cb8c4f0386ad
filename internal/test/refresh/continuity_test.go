package refresh_test

import (
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// What a stored ID token and the one after a refresh both say must be the same; what one of
// them leaves out binds nobody (OpenID Connect Core section 12.2).
func TestContinuityWithAStoredToken(t *testing.T) {
	t.Parallel()
	nothing := func(_, _ map[string]any) {}
	nonce := testkit.SetClaim("nonce", "n-0S6_WzA2Mj")
	tests := []struct {
		name        string
		before, now testkit.Change
		part        string // that is refused; empty: accepted
	}{
		{"as it was", nothing, nothing, ""},
		{"iss another", testkit.SetClaim("iss", "https://evil.example"), nothing, "iss"},
		{"iss missing before", testkit.DropClaim("iss"), nothing, ""},
		{"aud more before", testkit.SetClaim("aud", []string{"c_test", "api"}), nothing, "aud"},
		{"aud empty before", testkit.SetClaim("aud", []string{}), nothing, ""},
		{"aud a number before", testkit.SetClaim("aud", 7), nothing, ""},
		{"auth_time another", testkit.SetClaim("auth_time", 1), nothing, "auth_time"},
		{"auth_time missing before", testkit.DropClaim("auth_time"), nothing, ""},
		{"auth_time missing now", nothing, testkit.DropClaim("auth_time"), ""},
		{"azp the same", testkit.SetClaim("azp", "c_test"), testkit.SetClaim("azp", "c_test"), ""},
		{"azp another", testkit.SetClaim("azp", "c_other"), testkit.SetClaim("azp", "c_test"), "azp"},
		{"azp missing before", testkit.DropClaim("azp"), testkit.SetClaim("azp", "c_test"), ""},
		{"azp missing now", testkit.SetClaim("azp", "c_test"), testkit.DropClaim("azp"), ""},
		{"nonce the same", nonce, nonce, ""},
		{"nonce another", testkit.SetClaim("nonce", "another"), nonce, "nonce"},
		{"nonce missing before", testkit.DropClaim("nonce"), nonce, ""},
		{"nonce missing now", nonce, testkit.DropClaim("nonce"), ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := testkit.NewClock()
			issuer, client := testkit.New(t, &authpitest.Options{Now: clock.Now}, func(cfg *authpi.Config) { cfg.Now = clock.Now })
			tokens := testkit.SignIn(t, client, issuer, nil).Tokens
			claims := testkit.PayloadOf(t, tokens.IDToken)
			tc.before(nil, claims)
			tokens.IDToken = testkit.Unsigned(testkit.JSON(claims))
			clock.Advance(31 * time.Minute)
			issuer.Inject(authpitest.Fault{Endpoint: "token", IDToken: tc.now})
			agent, err := client.CreateAgent(t.Context(), tokens, nil)
			if tc.part != "" {
				testkit.WantCode(t, err, "invalid_token", tc.part+": differs")
			} else if err != nil || agent.ID != testkit.Subject {
				t.Errorf("got %v, %v; want %s", agent, err, testkit.Subject)
			}
		})
	}
}
