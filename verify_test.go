package authpi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestClockSkew(t *testing.T) {
	t.Parallel()
	const none = -1
	tests := []struct {
		name string
		skew time.Duration
		late time.Duration // how long after exp
		ok   bool
	}{
		{"default, 1 ns before", 0, 30*time.Second - 1, true},
		{"default, exactly", 0, 30 * time.Second, false},
		{"default, 1 s beyond", 0, 31 * time.Second, false},
		{"none, 1 ns before", none, -1, true},
		{"none, exactly", none, 0, false},
		{"5 s, 1 ns before", 5 * time.Second, 5*time.Second - 1, true},
		{"5 s, exactly", 5 * time.Second, 5 * time.Second, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := testkit.NewClock()
			issuer, client := testkit.New(t, &authpitest.Options{Now: clock.Now, AccessTokenLifetime: time.Minute}, func(cfg *authpi.Config) { cfg.Now, cfg.ClockSkew = clock.Now, tc.skew })
			token := issuer.AccessToken(nil)
			clock.Advance(time.Minute + tc.late)
			_, err := client.VerifyAccessToken(t.Context(), token, "")
			if tc.ok && err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
			if !tc.ok {
				testkit.WantCode(t, err, "invalid_token", "exp")
			}
		})
	}
}

func TestVerifyAccessToken(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	orgs := []map[string]any{{"id": "org_1", "scopes": []string{"projects:read"}, "title": nil, "joined_at": 1700000000}}
	token := issuer.AccessToken(map[string]any{
		"sub": "key_1", "sid": "s_1", "org_id": "org_1", "organizations": orgs, "scope": "email projects:write", "act": "x",
	})
	agent, err := client.VerifyAccessToken(t.Context(), token, "")
	if err != nil {
		t.Fatalf("VerifyAccessToken: %v", err)
	}
	if agent.ID != "key_1" || agent.Type != authpi.PrincipalAPIKey || agent.SessionID != "s_1" || agent.OrgID != "org_1" {
		t.Errorf("got %+v; want the token's identity", agent)
	}
	if !agent.AuthTime.IsZero() {
		t.Errorf("AuthTime: got %v; want zero", agent.AuthTime)
	}
	want := authpi.TokenSet{AccessToken: token, TokenType: "Bearer", Scope: "email projects:write", ExpiresAt: agent.ExpiresAt()}
	if agent.Tokens != want || agent.ExpiresIn() < 29*time.Minute || agent.IsExpired() {
		t.Errorf("got %v, expiring in %v; want the access token alone, for 30 minutes", agent.Tokens, agent.ExpiresIn())
	}
	if !agent.HasAccessIn("org_1", "read", "projects") || agent.HasAccess("write", "projects") || !agent.HasScope("email") {
		t.Errorf("got other access than the token's")
	}
	var extra struct{ Act string }
	if err := agent.Claims(&extra); err != nil || extra.Act != "x" {
		t.Errorf("Claims: got %+v, %v; want act x", extra, err)
	}
}

// signChanged signs the claims of a token once more, after a change. A nil typ is
// left out.
func signChanged(t testing.TB, issuer *authpitest.Server, token string, typ any, c testkit.Change) string {
	t.Helper()
	claims, header := testkit.PayloadOf(t, token), map[string]any{"typ": typ}
	c(header, claims)
	return issuer.Sign(claims, header)
}

func TestAccessTokenAudience(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	api, own := issuer.AccessToken(map[string]any{"aud": "https://api.example"}), issuer.AccessToken(nil)
	for range 2 {
		if _, err := client.VerifyAccessToken(t.Context(), api, "https://api.example"); err != nil {
			t.Errorf("got %v; want it accepted for its own API", err)
		}
		_, err := client.VerifyAccessToken(t.Context(), api, "https://api.example/")
		testkit.WantCode(t, err, "invalid_token", "aud", `want "https://api.example/"`)
		_, err = client.VerifyAccessToken(t.Context(), api, "")
		testkit.WantCode(t, err, "invalid_token", "aud", `want "`+issuer.ClientID()+`"`)
		_, err = client.VerifyAccessToken(t.Context(), own, "https://api.example")
		testkit.WantCode(t, err, "invalid_token", "aud", `want "https://api.example"`)
	}
}

// Whatever else people send in an Authorization header is told by its name.
func TestOtherCredentialsAsBearer(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	agent := testkit.SignIn(t, client, issuer, nil)
	tests := []struct{ name, token, says string }{
		{"personal token", "ptk_0123456789abcdef", "personal token"},
		{"API key", "key_0123:secret-of-the-key", "API key"},
		{"API key without its colon", "key_0123456789abcdef", "not three parts"},
		{"ID token", agent.Tokens.IDToken, "this is an ID token"},
		{"refresh token", agent.Tokens.RefreshToken, "refresh token"},
		{"logout token", issuer.LogoutToken(nil), `"logout+jwt"`},
		{"empty", "", "format"},
		{"opaque", "2YotnFZFEjr1zCsicMWpAA", "format"},
		{"with its scheme", "Bearer " + agent.Tokens.AccessToken, "pass the token alone"},
		{"a line of header", agent.Tokens.AccessToken + "\r\nX: y", "signature"},
		{"five parts", agent.Tokens.AccessToken + ".A.B", "format"},
		{"longer than 512 KiB", strings.Repeat("a", 512<<10+1), "length"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := client.VerifyAccessToken(t.Context(), tc.token, "")
			testkit.WantCode(t, err, "invalid_token", tc.says)
			testkit.WantHidden(t, err.Error(), tc.token, "secret-of-the-key", "0123456789abcdef")
			_, err = client.VerifyLogoutToken(t.Context(), tc.token)
			if tc.name != "logout token" {
				testkit.WantCode(t, err, "invalid_token")
			}
		})
	}
}

func TestVerifiedTokenIsNotRemembered(t *testing.T) {
	t.Parallel()
	t.Run("beyond its expiry", func(t *testing.T) {
		t.Parallel()
		clock := testkit.NewClock()
		issuer, client := testkit.New(t, &authpitest.Options{Now: clock.Now}, func(cfg *authpi.Config) { cfg.Now = clock.Now })
		token := issuer.AccessToken(nil)
		for _, step := range []struct {
			advance time.Duration
			ok      bool
		}{{0, true}, {0, true}, {30*time.Minute - 1, true}, {1, true}, {30*time.Second - 1, true}, {1, false}, {time.Hour, false}} {
			clock.Advance(step.advance)
			_, err := client.VerifyAccessToken(t.Context(), token, "")
			if (err == nil) != step.ok {
				t.Fatalf("%v after its expiry: got %v; want accepted %t", clock.Now().Sub(testkit.NewClock().Now())-30*time.Minute, err, step.ok)
			}
		}
	})
	t.Run("beyond its key's withdrawal", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			issuer, client := testkit.New(t, &authpitest.Options{AccessTokenLifetime: 24 * time.Hour}, nil)
			token := issuer.AccessToken(nil)
			if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
				t.Fatalf("got %v; want it accepted", err)
			}
			issuer.RotateKeys()
			time.Sleep(time.Hour)
			if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
				t.Fatalf("rotated, not withdrawn: got %v; want it accepted", err)
			}
			issuer.WithdrawKeys()
			time.Sleep(time.Hour)
			_, err := client.VerifyAccessToken(t.Context(), token, "")
			testkit.WantCode(t, err, "invalid_token", "kid")
		})
	})
	t.Run("for another token under its signature", func(t *testing.T) {
		t.Parallel()
		issuer, client := testkit.New(t, nil, nil)
		// The memory is asked in one way the second time, and in another from then
		// on.
		for seen := range 4 {
			token := issuer.AccessToken(map[string]any{"jti": fmt.Sprint("seen ", seen)})
			for range seen {
				if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
					t.Fatalf("got %v; want it accepted", err)
				}
			}
			parts := strings.Split(token, ".")
			claims := testkit.PayloadOf(t, token)
			claims["sub"] = "usr_root"
			payload, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			for _, forged := range []string{
				parts[0] + "." + testkit.Base64(payload) + "." + parts[2],
				parts[0] + "." + parts[1] + "AAAA." + parts[2],
				testkit.Base64([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." + parts[1] + "." + parts[2],
				parts[1] + "." + parts[2],
				"." + parts[2],
				parts[2],
			} {
				if agent, err := client.VerifyAccessToken(t.Context(), forged, ""); err == nil {
					t.Errorf("seen %d times: got %s let in; want it refused", seen, agent.ID)
				}
			}
			for range 2 {
				if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
					t.Errorf("seen %d times, then forged: got %v; want it accepted", seen, err)
				}
			}
		}
	})
	t.Run("with what a caller changed", func(t *testing.T) {
		t.Parallel()
		issuer, client := testkit.New(t, nil, nil)
		token := issuer.AccessToken(map[string]any{"organizations": []map[string]any{
			{"id": "org_1", "scopes": []string{"projects:read", "tasks:read"}}, {"id": "org_2", "scopes": []string{"admin"}},
		}})
		for range 4 {
			agent, err := client.VerifyAccessToken(t.Context(), token, "")
			if err != nil {
				t.Fatalf("VerifyAccessToken: %v", err)
			}
			testkit.WantEqual(t, "org_1", agent.ScopesFor("org_1"), []string{"projects:read", "tasks:read"})
			testkit.WantEqual(t, "org_2", agent.ScopesFor("org_2"), []string{"admin"})
			if len(agent.Organizations) != 2 {
				t.Fatalf("got %d organizations; want 2", len(agent.Organizations))
			}
			agent.Organizations[0].Scopes[0] = "owner"
			agent.Organizations[0].Scopes = append(agent.Organizations[0].Scopes, "owner")
			testkit.WantEqual(t, "org_2 after an append to org_1", agent.ScopesFor("org_2"), []string{"admin"})
			agent.Organizations[1].ID = "org_9"
			agent.Organizations = append(agent.Organizations[:1], authpi.Organization{ID: "org_3"})
			agent.ScopesFor("org_1")[0] = "x:y"
			agent.Tokens.Scope = "owner"
		}
	})
}

// While the issuer cannot be reached the token is not to blame.
func TestKeysUnavailable(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	token := issuer.AccessToken(nil)
	for _, endpoint := range []string{"discovery", "jwks"} {
		issuer.Inject(authpitest.Fault{Endpoint: endpoint, Times: -1, Status: 503, Body: "{}"})
		_, err := client.VerifyAccessToken(t.Context(), token, "")
		testkit.WantCode(t, err, "transport_error", "keys")
		if errors.Is(err, authpi.ErrInvalidToken) || authpi.SessionEnded(err) {
			t.Errorf("%s away: got %v; want no verdict on the token", endpoint, err)
		}
		issuer.ClearFaults()
	}
	if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
		t.Errorf("got %v; want it accepted once the issuer is back", err)
	}
}

func TestVerifyLogoutToken(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock()
	issuer, client := testkit.New(t, &authpitest.Options{Now: clock.Now}, func(cfg *authpi.Config) { cfg.Now = clock.Now })
	got, err := client.VerifyLogoutToken(t.Context(), issuer.LogoutToken(map[string]any{
		"sid": "s_1", "jti": "j_1", "sub": testkit.Subject, "aud": []string{"c_other", "c_test"},
	}))
	if err != nil {
		t.Fatalf("VerifyLogoutToken: %v", err)
	}
	testkit.WantEqual(t, "Audience", got.Audience, []string{"c_other", "c_test"})
	got.Audience = nil
	want := authpi.LogoutToken{
		Issuer: issuer.URL, Subject: testkit.Subject, SessionID: "s_1", JTI: "j_1",
		IssuedAt: clock.Now(), ExpiresAt: clock.Now().Add(2 * time.Minute),
	}
	if fmt.Sprint(*got) != fmt.Sprint(want) {
		t.Errorf("got %+v; want %+v", *got, want)
	}
}

// Two keys for three algorithms are asked for once, whatever the number of tokens.
func TestKeysAreFetchedOnce(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	if got := issuer.Requests(""); got != 0 {
		t.Errorf("before the first call: got %d requests; want 0", got)
	}
	for range 20 {
		if _, err := client.VerifyAccessToken(t.Context(), issuer.AccessToken(nil), ""); err != nil {
			t.Fatal(err)
		}
	}
	if discovery, jwks := issuer.Requests("discovery"), issuer.Requests("jwks"); discovery != 1 || jwks != 1 {
		t.Errorf("got %d discovery and %d key requests; want 1 and 1", discovery, jwks)
	}
	// Known kids fetch nothing, however bad the signature.
	for range 20 {
		_, _ = client.VerifyAccessToken(t.Context(), issuer.Sign(map[string]any{}, map[string]any{"_signature": "bad"}), "")
	}
	if got := issuer.Requests("jwks"); got != 1 {
		t.Errorf("after bad signatures: got %d key requests; want 1", got)
	}
	// Forged ones a burst of two.
	for i := range 20 {
		_, _ = client.VerifyAccessToken(t.Context(), issuer.Sign(map[string]any{}, map[string]any{"kid": fmt.Sprint("forged", i)}), "")
	}
	if got := issuer.Requests("jwks"); got > 3 {
		t.Errorf("after forged kids: got %d key requests; want at most 3", got)
	}
}

func TestEndpointsWithoutJWKS(t *testing.T) {
	t.Parallel()
	client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.Endpoints.JWKS = "" }, func(r *http.Request) (*http.Response, error) {
		t.Errorf("got a request to %s; want none", r.URL)
		return testkit.Reply(r, 500, nil, ""), nil
	})
	_, err := client.ExchangeCode(t.Context(), "code", "verifier", nil)
	testkit.WantField(t, err, "Endpoints.JWKS")
	_, err = client.VerifyAccessToken(t.Context(), testkit.NewRawKey(t).Sign(`{"alg":"ES256","typ":"at+jwt"}`, `{}`), "")
	testkit.WantField(t, err, "Endpoints.JWKS")
}

// A verified token that is remembered keeps no key document in memory: forged key
// IDs have one fetched every ten seconds.
func TestRememberedTokenKeepsNoKeyDocument(t *testing.T) {
	clock := testkit.NewClock()
	issuer := testkit.NewIssuer(t, &authpitest.Options{Now: clock.Now})
	base := issuer.Client().Transport
	client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
		cfg.Now = clock.Now
		cfg.HTTPClient = &http.Client{Transport: testkit.TransportFunc(func(r *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(r)
			if err != nil || !strings.Contains(r.URL.Path, "jwks") {
				return resp, err
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			padded := strings.Replace(string(body), "{", `{"pad":"`+strings.Repeat("x", 900<<10)+`",`, 1)
			return testkit.Reply(r, http.StatusOK, nil, padded), err
		})}
	})
	before := testkit.Heap()
	for i := range 40 {
		token := issuer.AccessToken(map[string]any{"jti": fmt.Sprint(i)})
		if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token, ".")
		forged := testkit.Base64(fmt.Appendf(nil, `{"alg":"ES256","typ":"at+jwt","kid":"forged %d"}`, i)) + "." + parts[1] + "." + parts[2]
		if _, err := client.VerifyAccessToken(t.Context(), forged, ""); err == nil {
			t.Fatal("a forged token was accepted")
		}
		clock.Advance(10 * time.Second)
	}
	testkit.WantHeap(t, "40 sets of keys", before, 8)
	runtime.KeepAlive(client)
}

// The error says what was sent in an access token's place, as far as its claims
// tell.
func TestKindOfAnotherToken(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	for claim, value := range map[string]any{
		"nonce": "n", "at_hash": "h", "email": "ada@example.com", "organizations": []any{map[string]any{"id": "org_1"}},
	} {
		_, err := client.VerifyAccessToken(t.Context(), issuer.Sign(map[string]any{"sub": testkit.Subject, claim: value}, nil), "")
		testkit.WantCode(t, err, "invalid_token", "typ: ", "this is an ID token")
		testkit.WantHidden(t, err.Error(), "or a refresh token")
	}
	_, err := client.VerifyAccessToken(t.Context(), issuer.Sign(map[string]any{"sub": testkit.Subject}, nil), "")
	testkit.WantCode(t, err, "invalid_token", "typ: ", "an ID token or a refresh token")
}

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
		issuer, client := testkit.New(t, &authpitest.Options{Algorithm: "EdDSA"}, nil)
		callback, auth := testkit.StartLogin(t, client, issuer, nil)
		// Only the answer holds the access token, so the ID token is made anew from
		// it.
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

// With VerifyStoredTokens the scope is the access token's own word. One that is no
// access token of this client and user allows nothing; where nothing else names the
// user, it is refused.
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

// A scope that cannot be checked now is no empty one: the call fails, and may be
// tried again.
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
