package authpi_test

import (
	"encoding/json"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestIDTokenAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			issuer := testkit.NewIssuer(t, &authpitest.Options{Algorithm: alg})
			agent := testkit.SignIn(t, testkit.NewClient(t, issuer, nil), issuer, nil)
			if agent.ID != testkit.Subject {
				t.Errorf("got %q; want %q", agent.ID, testkit.Subject)
			}
		})
	}
	t.Run("EdDSA with an at_hash by SHA-256", func(t *testing.T) {
		t.Parallel()
		issuer := testkit.NewIssuer(t, &authpitest.Options{Algorithm: "EdDSA"})
		client := testkit.NewClient(t, issuer, nil)
		callback, auth := testkit.StartLogin(t, client, issuer, nil)
		// Only the answer holds the access token, so the ID token is made anew from it.
		issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: func(body []byte) []byte {
			var answer map[string]any
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Error(err)
			}
			claims := testkit.PayloadOf(t, answer["id_token"].(string))
			claims["at_hash"] = testkit.LeftHalfSHA256(answer["access_token"].(string))
			answer["id_token"] = issuer.Sign(claims, nil)
			body, _ = json.Marshal(answer)
			return body
		}})
		if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
			t.Errorf("got %v; want it accepted: no standard names a digest for EdDSA", err)
		}
	})
}

func TestVerifyStoredTokens(t *testing.T) {
	t.Parallel()
	issuer := testkit.NewIssuer(t, nil)
	on := func(cfg *authpi.Config) { cfg.VerifyStoredTokens = true }
	client := testkit.NewClient(t, issuer, on)
	good := testkit.SignIn(t, client, issuer, nil).Tokens
	with := func(c testkit.Change) string { return signChanged(t, issuer, good.IDToken, nil, c) }
	tests := []struct{ name, token, names string }{
		{"as stored", good.IDToken, ""},
		{"expired long ago", with(testkit.SetClaim("exp", 1600000000)), ""},
		{"without exp", with(testkit.DropClaim("exp")), ""},
		{"unsigned", testkit.Unsigned(`{"sub":"usr_ada","iss":"` + issuer.URL + `","aud":"c_test"}`), "signature"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := testkit.NewClient(t, issuer, on)
			tokens := good
			tokens.IDToken = tc.token
			for range 2 {
				agent, err := client.CreateAgent(t.Context(), tokens, nil)
				if tc.names != "" {
					testkit.WantCode(t, err, "invalid_token", tc.names)
				} else if err != nil || agent.ID != testkit.Subject {
					t.Errorf("got %v, %v; want %s", agent, err, testkit.Subject)
				}
			}
			if tc.names != "" {
				if agent, err := testkit.NewClient(t, issuer, nil).CreateAgent(t.Context(), tokens, nil); err != nil || agent.ID != testkit.Subject {
					t.Errorf("without VerifyStoredTokens: got %v, %v; want it trusted as stored", agent, err)
				}
			}
		})
	}
}
