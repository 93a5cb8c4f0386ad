package authpi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// change alters a token before it is signed.
type change func(header, claims map[string]any)

func setClaim(name string, value any) change {
	return func(_, claims map[string]any) { claims[name] = value }
}

func setHeader(name string, value any) change {
	return func(header, _ map[string]any) { header[name] = value }
}

func dropClaim(name string) change {
	return func(_, claims map[string]any) { delete(claims, name) }
}

// at moves a date claim to so long before or after the issuer's now.
func at(name string, d time.Duration) change {
	return func(_, claims map[string]any) { claims[name] = newTestClock().now.Add(d).Unix() }
}

func both(changes ...change) change {
	return func(header, claims map[string]any) {
		for _, c := range changes {
			c(header, claims)
		}
	}
}

func untouched(_, _ map[string]any) {}

// narrowed accepts ES256 and EdDSA alone.
func narrowed(clock *testClock) func(*authpi.Config) {
	return func(cfg *authpi.Config) {
		cfg.Now = clock.Now
		cfg.SigningAlgorithms = []string{"ES256", "EdDSA"}
	}
}

func TestIssuerIdentity(t *testing.T) {
	t.Parallel()
	t.Run("trailing slash in discovery", func(t *testing.T) {
		t.Parallel()
		issuer := newIssuer(t, &authpitest.Options{TrailingSlash: true, AnnounceIss: true})
		for _, configured := range []string{issuer.URL, strings.TrimSuffix(issuer.URL, "/"), issuer.URL + "//"} {
			client := newClient(t, issuer, func(cfg *authpi.Config) { cfg.IssuerURL = configured })
			if agent := signIn(t, client, issuer, nil); agent.ID != testSubject {
				t.Errorf("IssuerURL %s: got %q; want %q", configured, agent.ID, testSubject)
			}
		}
	})
	t.Run("without the slash that discovery states", func(t *testing.T) {
		t.Parallel()
		issuer := newIssuer(t, &authpitest.Options{TrailingSlash: true})
		client := newClient(t, issuer, nil)
		callback, auth := startLogin(t, client, issuer, nil)
		issuer.Inject(authpitest.Fault{IDToken: setClaim("iss", strings.TrimSuffix(issuer.URL, "/"))})
		_, err := client.ExchangeCallback(t.Context(), callback, auth)
		wantCode(t, err, "invalid_token", "iss")
	})
	t.Run("discovery states another issuer", func(t *testing.T) {
		t.Parallel()
		issuer := newIssuer(t, nil)
		client := newClient(t, issuer, nil)
		callback, auth := startLogin(t, client, issuer, nil)
		issuer.Inject(authpitest.Fault{Endpoint: "discovery", Times: -1, Malform: func(body []byte) []byte {
			return []byte(strings.Replace(string(body), `"issuer":"`, `"issuer":"https://evil.example/`, 1))
		}})
		_, err := client.ExchangeCallback(t.Context(), callback, auth)
		wantCode(t, err, "invalid_issuer", "evil.example")
		if got := issuer.Requests("token"); got != 0 {
			t.Errorf("got %d token requests; want 0: the code must not be spent", got)
		}
	})
	t.Run("an issuer given with the endpoints", func(t *testing.T) {
		t.Parallel()
		issuer := newIssuer(t, &authpitest.Options{TrailingSlash: true})
		endpoints, err := authpi.DiscoverEndpoints(t.Context(), issuer.URL, issuer.Client())
		if err != nil {
			t.Fatalf("DiscoverEndpoints: %v", err)
		}
		if endpoints.Issuer != issuer.URL {
			t.Fatalf("got issuer %q; want %q, slash included", endpoints.Issuer, issuer.URL)
		}
		issuer.ResetCounters()
		client := newClient(t, issuer, func(cfg *authpi.Config) { cfg.Endpoints = endpoints })
		signIn(t, client, issuer, nil)
		if got := issuer.Requests("discovery"); got != 0 {
			t.Errorf("got %d discovery requests; want 0", got)
		}
		endpoints.Issuer = strings.TrimSuffix(issuer.URL, "/")
		client = newClient(t, issuer, func(cfg *authpi.Config) { cfg.Endpoints = endpoints })
		callback, auth := startLogin(t, client, issuer, nil)
		_, err = client.ExchangeCallback(t.Context(), callback, auth)
		wantCode(t, err, "invalid_token", "iss")
	})
}

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
			clock := newTestClock()
			issuer := newIssuer(t, &authpitest.Options{Now: clock.Now, AccessTokenLifetime: time.Minute})
			client := newClient(t, issuer, func(cfg *authpi.Config) { cfg.Now, cfg.ClockSkew = clock.Now, tc.skew })
			token := issuer.AccessToken(nil)
			clock.Advance(time.Minute + tc.late)
			_, err := client.VerifyAccessToken(t.Context(), token, "")
			if tc.ok && err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
			if !tc.ok {
				wantCode(t, err, "invalid_token", "exp")
			}
		})
	}
}

func TestVerifyAccessToken(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, nil)
	client := newClient(t, issuer, nil)
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

// tokenCheck is about a token that anybody may have sent: the bad one fails one
// check alone, the good one beside it differs in that point only.
type tokenCheck struct {
	name      string
	bad, good change
	names     string // what the error has to name
}

// The checks of every such token, whatever its kind.
var signatureChecks = []tokenCheck{
	{"alg none", setHeader("alg", "none"), untouched, "alg"},
	{"alg HS256 with the public key", setHeader("alg", "HS256"), untouched, "alg"},
	{"alg not accepted here", setHeader("alg", "RS256"), untouched, "alg"},
	{"kid unknown", setHeader("kid", "nobody"), setHeader("kid", nil), "kid"},
	{"signature broken", setHeader("_signature", "bad"), untouched, "signature"},
	{"crit", setHeader("crit", []string{"x"}), untouched, "crit"},
	{"jku", setHeader("jku", "https://evil.example"), untouched, "jku"},
	{"jwk", setHeader("jwk", map[string]any{}), untouched, "jwk"},
	{"x5u", setHeader("x5u", "https://evil.example"), untouched, "x5u"},
}

// signChanged signs the claims of a token once more, after a change. A nil typ is
// left out.
func signChanged(t testing.TB, issuer *authpitest.Server, token string, typ any, c change) string {
	t.Helper()
	claims, header := payloadOf(t, token), map[string]any{"typ": typ}
	c(header, claims)
	return issuer.Sign(claims, header)
}

var accessTokenChecks = []tokenCheck{
	{"typ missing", setHeader("typ", nil), setHeader("typ", "application/at+jwt"), "typ"},
	{"typ JWT", setHeader("typ", "JWT"), setHeader("typ", "AT+JWT"), "typ"},
	{"typ of a logout token", setHeader("typ", "logout+jwt"), untouched, "typ"},
	{"iss missing", dropClaim("iss"), untouched, "iss"},
	{"iss of a tenant under the same keys", setClaim("iss", "https://idp.authpi.test/i_other"), untouched, "iss"},
	{"aud missing", dropClaim("aud"), untouched, "aud"},
	{"aud another API", setClaim("aud", "https://other.example"), setClaim("aud", []string{"https://other.example", "c_test"}), "aud"},
	{"aud empty text", setClaim("aud", ""), untouched, "aud"},
	{"exp missing", dropClaim("exp"), untouched, "exp"},
	{"exp as text", setClaim("exp", "1760001800"), untouched, "exp"},
	{"exp passed by the skew", at("exp", -30*time.Second), at("exp", -29*time.Second), "exp"},
	{"iat missing", dropClaim("iat"), untouched, "iat"},
	{"iat ahead", at("iat", 31*time.Second), at("iat", 30*time.Second), "iat"},
	{"nbf ahead", at("nbf", 31*time.Second), at("nbf", 30*time.Second), "nbf"},
	{"sub missing", dropClaim("sub"), untouched, "sub"},
	{"sub a number", setClaim("sub", 5), untouched, "sub"},
}

func TestAccessTokenChecks(t *testing.T) {
	t.Parallel()
	for _, tc := range slices.Concat(accessTokenChecks, signatureChecks) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := newTestClock()
			issuer := newIssuer(t, &authpitest.Options{Now: clock.Now})
			client := newClient(t, issuer, narrowed(clock))
			sign := func(c change) string { return signChanged(t, issuer, issuer.AccessToken(nil), "at+jwt", c) }
			bad := sign(tc.bad)
			for range 2 { // the second time it may come from the memory
				_, err := client.VerifyAccessToken(t.Context(), bad, "")
				e := wantCode(t, err, "invalid_token", "authpi: access token: invalid_token: ")
				if !strings.HasPrefix(e.Description, tc.names+": ") || !errors.Is(err, authpi.ErrInvalidToken) {
					t.Errorf("got %v; want ErrInvalidToken that names %s", err, tc.names)
				}
				wantNone(t, err.Error(), bad)
			}
			if _, err := client.VerifyAccessToken(t.Context(), sign(tc.good), ""); err != nil {
				t.Errorf("the mended token: got %v; want it accepted", err)
			}
		})
	}
}

func TestAccessTokenAudience(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, nil)
	client := newClient(t, issuer, nil)
	api, own := issuer.AccessToken(map[string]any{"aud": "https://api.example"}), issuer.AccessToken(nil)
	for range 2 {
		if _, err := client.VerifyAccessToken(t.Context(), api, "https://api.example"); err != nil {
			t.Errorf("got %v; want it accepted for its own API", err)
		}
		_, err := client.VerifyAccessToken(t.Context(), api, "https://api.example/")
		wantCode(t, err, "invalid_token", "aud")
		_, err = client.VerifyAccessToken(t.Context(), api, "")
		wantCode(t, err, "invalid_token", "aud")
		_, err = client.VerifyAccessToken(t.Context(), own, "https://api.example")
		wantCode(t, err, "invalid_token", "aud")
	}
}

// Whatever else people send in an Authorization header is told by its name.
func TestOtherCredentialsAsBearer(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, nil)
	client := newClient(t, issuer, nil)
	agent := signIn(t, client, issuer, nil)
	tests := []struct{ name, token, says string }{
		{"personal token", "ptk_0123456789abcdef", "personal token"},
		{"API key", "key_0123:secret-of-the-key", "API key"},
		{"ID token", agent.Tokens.IDToken, "an ID token"},
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
			wantCode(t, err, "invalid_token", tc.says)
			wantNone(t, err.Error(), tc.token, "secret-of-the-key", "0123456789abcdef")
			_, err = client.VerifyLogoutToken(t.Context(), tc.token)
			if tc.name != "logout token" {
				wantCode(t, err, "invalid_token")
			}
		})
	}
}

func TestVerifiedTokenIsNotRemembered(t *testing.T) {
	t.Parallel()
	t.Run("beyond its expiry", func(t *testing.T) {
		t.Parallel()
		clock := newTestClock()
		issuer := newIssuer(t, &authpitest.Options{Now: clock.Now})
		client := newClient(t, issuer, func(cfg *authpi.Config) { cfg.Now = clock.Now })
		token := issuer.AccessToken(nil)
		for _, step := range []struct {
			advance time.Duration
			ok      bool
		}{{0, true}, {0, true}, {30*time.Minute - 1, true}, {1, true}, {30*time.Second - 1, true}, {1, false}, {time.Hour, false}} {
			clock.Advance(step.advance)
			_, err := client.VerifyAccessToken(t.Context(), token, "")
			if (err == nil) != step.ok {
				t.Fatalf("%v after its expiry: got %v; want accepted %t", clock.Now().Sub(newTestClock().now)-30*time.Minute, err, step.ok)
			}
		}
	})
	t.Run("beyond its key's withdrawal", func(t *testing.T) {
		t.Parallel()
		clock := newTestClock()
		issuer := newIssuer(t, &authpitest.Options{Now: clock.Now, AccessTokenLifetime: 24 * time.Hour})
		client := newClient(t, issuer, func(cfg *authpi.Config) { cfg.Now = clock.Now })
		token := issuer.AccessToken(nil)
		if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
			t.Fatalf("got %v; want it accepted", err)
		}
		issuer.RotateKeys()
		clock.Advance(time.Hour)
		if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
			t.Fatalf("rotated, not withdrawn: got %v; want it accepted", err)
		}
		issuer.WithdrawKeys()
		clock.Advance(time.Hour)
		_, err := client.VerifyAccessToken(t.Context(), token, "")
		wantCode(t, err, "invalid_token", "kid")
	})
	t.Run("for another token under its signature", func(t *testing.T) {
		t.Parallel()
		issuer := newIssuer(t, nil)
		client := newClient(t, issuer, nil)
		// The memory is asked in one way the second time, and in another from then on.
		for seen := range 4 {
			token := issuer.AccessToken(map[string]any{"jti": fmt.Sprint("seen ", seen)})
			for range seen {
				if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
					t.Fatalf("got %v; want it accepted", err)
				}
			}
			parts := strings.Split(token, ".")
			claims := payloadOf(t, token)
			claims["sub"] = "usr_root"
			payload, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			for _, forged := range []string{
				parts[0] + "." + b64(payload) + "." + parts[2],
				parts[0] + "." + parts[1] + "AAAA." + parts[2],
				b64([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." + parts[1] + "." + parts[2],
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
		issuer := newIssuer(t, nil)
		client := newClient(t, issuer, nil)
		token := issuer.AccessToken(map[string]any{"organizations": []map[string]any{
			{"id": "org_1", "scopes": []string{"projects:read", "tasks:read"}}, {"id": "org_2", "scopes": []string{"admin"}},
		}})
		for range 4 {
			agent, err := client.VerifyAccessToken(t.Context(), token, "")
			if err != nil {
				t.Fatalf("VerifyAccessToken: %v", err)
			}
			wantEqual(t, "org_1", agent.ScopesFor("org_1"), []string{"projects:read", "tasks:read"})
			wantEqual(t, "org_2", agent.ScopesFor("org_2"), []string{"admin"})
			if len(agent.Organizations) != 2 {
				t.Fatalf("got %d organizations; want 2", len(agent.Organizations))
			}
			agent.Organizations[0].Scopes[0] = "owner"
			agent.Organizations[0].Scopes = append(agent.Organizations[0].Scopes, "owner")
			wantEqual(t, "org_2 after an append to org_1", agent.ScopesFor("org_2"), []string{"admin"})
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
	issuer := newIssuer(t, nil)
	client := newClient(t, issuer, nil)
	token := issuer.AccessToken(nil)
	for _, endpoint := range []string{"discovery", "jwks"} {
		issuer.Inject(authpitest.Fault{Endpoint: endpoint, Times: -1, Status: 503, Body: "{}"})
		_, err := client.VerifyAccessToken(t.Context(), token, "")
		wantCode(t, err, "transport_error", "keys")
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
	clock := newTestClock()
	issuer := newIssuer(t, &authpitest.Options{Now: clock.Now})
	client := newClient(t, issuer, func(cfg *authpi.Config) { cfg.Now = clock.Now })
	got, err := client.VerifyLogoutToken(t.Context(), issuer.LogoutToken(map[string]any{
		"sid": "s_1", "jti": "j_1", "sub": testSubject, "aud": []string{"c_other", "c_test"},
	}))
	if err != nil {
		t.Fatalf("VerifyLogoutToken: %v", err)
	}
	wantEqual(t, "Audience", got.Audience, []string{"c_other", "c_test"})
	got.Audience = nil
	want := authpi.LogoutToken{
		Issuer: issuer.URL, Subject: testSubject, SessionID: "s_1", JTI: "j_1",
		IssuedAt: clock.Now(), ExpiresAt: clock.Now().Add(2 * time.Minute),
	}
	if fmt.Sprint(*got) != fmt.Sprint(want) {
		t.Errorf("got %+v; want %+v", *got, want)
	}
}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

func TestLogoutTokenChecks(t *testing.T) {
	t.Parallel()
	events := func(v any) change { return setClaim("events", v) }
	tests := []tokenCheck{
		{"typ of an access token", setHeader("typ", "at+jwt"), setHeader("typ", "JWT"), "typ"},
		{"typ of an access token, with a parameter", setHeader("typ", "at+jwt; v=1"), untouched, "typ"},
		{"typ of an event", setHeader("typ", "secevent+jwt"), setHeader("typ", "application/logout+jwt"), "typ"},
		{"iss missing", dropClaim("iss"), untouched, "iss"},
		{"iss of a tenant under the same keys", setClaim("iss", "https://idp.authpi.test/i_other"), setHeader("typ", nil), "iss"},
		{"aud missing", dropClaim("aud"), untouched, "aud"},
		{"aud another client", setClaim("aud", "c_other"), setClaim("aud", []string{"c_test"}), "aud"},
		{"exp missing", dropClaim("exp"), untouched, "exp"},
		{"exp passed", at("exp", -30*time.Second), at("exp", -29*time.Second), "exp"},
		{"iat missing", dropClaim("iat"), untouched, "iat"},
		{"iat ahead", at("iat", 31*time.Second), at("iat", 30*time.Second), "iat"},
		{"neither sub nor sid", dropClaim("sub"), both(dropClaim("sub"), setClaim("sid", "s_1")), "sub"},
		{"events missing", dropClaim("events"), untouched, "event"},
		{"events of another kind", events(map[string]any{"https://example.com/event": map[string]any{}}), untouched, "event"},
		{"events a list", events([]string{logoutEvent}), untouched, "event"},
		{"events with the member as text", events(map[string]any{logoutEvent: "yes"}),
			events(map[string]any{logoutEvent: map[string]any{"x": 1}, "other": 1}), "event"},
		{"events in other case", events(map[string]any{strings.ToUpper(logoutEvent): map[string]any{}}), untouched, "event"},
		{"nonce", setClaim("nonce", "n"), untouched, "nonce"},
		{"nonce null", setClaim("nonce", nil), untouched, "nonce"},
		{"jti missing", dropClaim("jti"), untouched, "jti"},
		{"jti a number", setClaim("jti", 1), untouched, "jti"},
	}
	for _, tc := range slices.Concat(tests, signatureChecks) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := newTestClock()
			issuer := newIssuer(t, &authpitest.Options{Now: clock.Now})
			client := newClient(t, issuer, narrowed(clock))
			sign := func(c change) string { return signChanged(t, issuer, issuer.LogoutToken(nil), "logout+jwt", c) }
			_, err := client.VerifyLogoutToken(t.Context(), sign(tc.bad))
			e := wantCode(t, err, "invalid_token", "authpi: logout token: invalid_token: ")
			if !strings.HasPrefix(e.Description, tc.names+": ") || !errors.Is(err, authpi.ErrInvalidToken) {
				t.Errorf("got %v; want ErrInvalidToken that names %s", err, tc.names)
			}
			if _, err := client.VerifyLogoutToken(t.Context(), sign(tc.good)); err != nil {
				t.Errorf("the mended token: got %v; want it accepted", err)
			}
		})
	}
	t.Run("other tokens", func(t *testing.T) {
		t.Parallel()
		issuer := newIssuer(t, nil)
		client := newClient(t, issuer, nil)
		agent := signIn(t, client, issuer, nil)
		for name, token := range map[string]string{
			"ID token": agent.Tokens.IDToken, "refresh token": agent.Tokens.RefreshToken, "access token": agent.Tokens.AccessToken,
		} {
			if _, err := client.VerifyLogoutToken(t.Context(), token); !errors.Is(err, authpi.ErrInvalidToken) {
				t.Errorf("%s: got %v; want ErrInvalidToken", name, err)
			}
		}
	})
}

// Two keys for three algorithms are asked for once, whatever the number of tokens.
func TestKeysAreFetchedOnce(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, nil)
	client := newClient(t, issuer, nil)
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
	client := scripted(t, func(cfg *authpi.Config) { cfg.Endpoints.JWKS = "" }, func(r *http.Request) (*http.Response, error) {
		t.Errorf("got a request to %s; want none", r.URL)
		return reply(r, 500, nil, ""), nil
	})
	_, err := client.ExchangeCode(t.Context(), "code", "verifier", nil)
	wantField(t, err, "Endpoints.JWKS")
	_, err = client.VerifyAccessToken(t.Context(), newRawKey(t).sign(`{"alg":"ES256","typ":"at+jwt"}`, `{}`), "")
	wantField(t, err, "Endpoints.JWKS")
}
