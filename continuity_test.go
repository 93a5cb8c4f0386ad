package authpi_test

import (
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// What a stored ID token and the one after a refresh both say must be the same; what one of
// them leaves out binds nobody (OpenID Connect Core section 12.2).
func TestContinuityWithAStoredToken(t *testing.T) {
	t.Parallel()
	nothing := func(_, _ map[string]any) {}
	nonce := setClaim("nonce", "n-0S6_WzA2Mj")
	tests := []struct {
		name        string
		before, now change
		part        string // that is refused; empty: accepted
	}{
		{"as it was", nothing, nothing, ""},
		{"iss another", setClaim("iss", "https://evil.example"), nothing, "iss"},
		{"iss missing before", dropClaim("iss"), nothing, ""},
		{"aud more before", setClaim("aud", []string{"c_test", "api"}), nothing, "aud"},
		{"aud empty before", setClaim("aud", []string{}), nothing, ""},
		{"aud a number before", setClaim("aud", 7), nothing, ""},
		{"auth_time another", setClaim("auth_time", 1), nothing, "auth_time"},
		{"auth_time missing before", dropClaim("auth_time"), nothing, ""},
		{"auth_time missing now", nothing, dropClaim("auth_time"), ""},
		{"azp the same", setClaim("azp", "c_test"), setClaim("azp", "c_test"), ""},
		{"azp another", setClaim("azp", "c_other"), setClaim("azp", "c_test"), "azp"},
		{"azp missing before", dropClaim("azp"), setClaim("azp", "c_test"), ""},
		{"azp missing now", setClaim("azp", "c_test"), dropClaim("azp"), ""},
		{"nonce the same", nonce, nonce, ""},
		{"nonce another", setClaim("nonce", "another"), nonce, "nonce"},
		{"nonce missing before", dropClaim("nonce"), nonce, ""},
		{"nonce missing now", nonce, dropClaim("nonce"), ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := newTestClock()
			issuer := newIssuer(t, &authpitest.Options{Now: clock.Now})
			client := newClient(t, issuer, func(cfg *authpi.Config) { cfg.Now = clock.Now })
			tokens := signIn(t, client, issuer, nil).Tokens
			claims := payloadOf(t, tokens.IDToken)
			tc.before(nil, claims)
			tokens.IDToken = unsigned(mustMarshal(claims))
			clock.Advance(31 * time.Minute)
			issuer.Inject(authpitest.Fault{Endpoint: "token", IDToken: tc.now})
			agent, err := client.CreateAgent(t.Context(), tokens, nil)
			if tc.part != "" {
				wantCode(t, err, "invalid_token", tc.part+": differs")
			} else if err != nil || agent.ID != testSubject {
				t.Errorf("got %v, %v; want %s", agent, err, testSubject)
			}
		})
	}
}
