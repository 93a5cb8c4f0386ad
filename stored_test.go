package authpi_test

import (
	"net/http"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// With VerifyStoredTokens the scope is the access token's own word. One that is no access token
// of this client and user allows nothing; where nothing else names the user, it is refused.
func TestVerifyStoredAccessToken(t *testing.T) {
	t.Parallel()
	issuer := testkit.NewIssuer(t, nil)
	good := testkit.SignIn(t, testkit.NewClient(t, issuer, nil), issuer, nil).Tokens
	access := func(c testkit.Change) string { return signChanged(t, issuer, good.AccessToken, "at+jwt", c) }
	tests := []struct {
		name, token, part string // empty: it holds
	}{
		{"as stored", good.AccessToken, ""},
		{"expired long ago", access(testkit.SetClaim("exp", 1600000000)), ""},
		{"opaque", "an-opaque-access-token", "format"},
		{"another kind of token", signChanged(t, issuer, good.AccessToken, "JWT", testkit.SetClaim("jti", "x")), "typ"},
		{"of another issuer", access(testkit.SetClaim("iss", "https://evil.example")), "iss"},
		{"of another client", access(testkit.SetClaim("client_id", "c_other")), "client_id"},
		{"of no client", access(testkit.DropClaim("client_id")), "client_id"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := verifyingClient(t, issuer, nil)
			for name, named := range map[string]func(*authpi.TokenSet){
				"by its ID token": func(*authpi.TokenSet) {},
				"by a hint":       func(t *authpi.TokenSet) { t.IDToken, t.SubjectHint = "", testkit.Subject },
				"by nothing":      func(t *authpi.TokenSet) { t.IDToken, t.RefreshToken = "", "" },
			} {
				tokens := good
				tokens.AccessToken, tokens.Scope = tc.token, "projects:**"
				named(&tokens)
				agent, err := client.CreateAgent(t.Context(), tokens, nil)
				if tc.part != "" && name == "by nothing" {
					testkit.WantCode(t, err, "invalid_token", "stored access token", tc.part)
					continue
				}
				owner, want := testkit.Subject, good.Scope
				if name == "by nothing" {
					owner = issuer.ClientID() // a machine's
				}
				if tc.part != "" {
					want = ""
				}
				if err != nil || agent.ID != owner || agent.Tokens.Scope != want {
					t.Errorf("named %s: got %v, %v; want %s with the scope %q", name, agent, err, owner, want)
				}
			}
		})
	}
}

// verifyingClient checks stored tokens, and learns that every access token is Ada's.
func verifyingClient(t *testing.T, issuer *authpitest.Server, edit func(*authpi.Config)) *authpi.IdpClient {
	return testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
		cfg.VerifyStoredTokens = true
		cfg.HTTPClient = &http.Client{
			Transport: answeringAt(cfg.HTTPClient.Transport, "/userinfo", http.StatusOK, `{"sub":"`+testkit.Subject+`"}`),
		}
		if edit != nil {
			edit(cfg)
		}
	})
}

// A scope that cannot be checked now is no empty one: the call fails, and may be tried again.
func TestStoredScopeWithoutKeys(t *testing.T) {
	t.Parallel()
	issuer := testkit.NewIssuer(t, nil)
	tokens := testkit.SignIn(t, testkit.NewClient(t, issuer, nil), issuer, nil).Tokens
	tokens.IDToken, tokens.SubjectHint = "", testkit.Subject
	client := verifyingClient(t, issuer, func(cfg *authpi.Config) {
		cfg.HTTPClient.Transport = answeringAt(cfg.HTTPClient.Transport, "/jwks", http.StatusServiceUnavailable, "busy")
	})
	agent, err := client.CreateAgent(t.Context(), tokens, nil)
	testkit.WantCode(t, err, "transport_error")
	if agent != nil || authpi.SessionEnded(err) {
		t.Errorf("got %v, %v; want nobody, and a passing failure", agent, err)
	}
}

// answeringAt is a transport that answers one endpoint itself.
func answeringAt(base http.RoundTripper, suffix string, status int, body string) http.RoundTripper {
	return testkit.TransportFunc(func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, suffix) {
			return testkit.Reply(r, status, nil, body), nil
		}
		return base.RoundTrip(r)
	})
}
