package refusals_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// module is one of the OpenID Foundation's relying-party conformance suite, code
// flow. Either its flow must succeed, or it sends what a row of the refusal table
// refuses.
type module struct {
	name, profile string
	refused       string // part of the table and row
	flow          func(t *testing.T)
}

func conformanceModules() []module {
	logout := "oidcc-client-test-rp-backchannel-rpinitlogout"
	return []module{
		{name: "oidcc-client-test", profile: "basic", flow: signsIn(nil, nil)},
		{name: "oidcc-client-test-invalid-iss", profile: "basic", refused: "ID token: iss of another issuer"},
		{name: "oidcc-client-test-missing-sub", profile: "basic", refused: "ID token: sub missing"},
		{name: "oidcc-client-test-invalid-aud", profile: "basic", refused: "ID token: aud of another client"},
		{name: "oidcc-client-test-missing-iat", profile: "basic", refused: "ID token: iat missing"},
		{name: "oidcc-client-test-kid-absent-single-jwks", profile: "basic", flow: signsInWithoutKid(1)},
		{name: "oidcc-client-test-kid-absent-multiple-jwks", profile: "basic", flow: signsInWithoutKid(3)},
		{name: "oidcc-client-test-idtoken-sig-rs256", profile: "basic", flow: signsIn(&authpitest.Options{Algorithm: "RS256"}, nil)},
		{name: "oidcc-client-test-idtoken-sig-none", profile: "basic, config", refused: "Signature of any token: alg none"},
		{name: "oidcc-client-test-invalid-sig-rs256", profile: "basic", refused: "Signature of any token: signature of RS256 broken"},
		{name: "oidcc-client-test-invalid-sig-es256", profile: "comprehensive", refused: "Signature of any token: signature of ES256 broken"},
		{name: "oidcc-client-test-invalid-sig-hs256", profile: "comprehensive", refused: "Signature of any token: alg HS256 under the issuer's public key"},
		{name: "oidcc-client-test-userinfo-invalid-sub", profile: "basic", refused: "User info: sub of another user"},
		{name: "oidcc-client-test-nonce-invalid", profile: "basic", refused: "ID token of a login: nonce of another login"},
		{name: "oidcc-client-test-scope-userinfo-claims", profile: "basic", flow: scopesReachUserInfo},
		{name: "oidcc-client-test-client-secret-basic", profile: "basic", flow: signsIn(&authpitest.Options{ClientSecret: "hush-hush"},
			func(cfg *authpi.Config) { cfg.AuthMethod = authpi.AuthMethodBasic })},
		{name: "oidcc-client-test-ignores-unparseable-key-in-jwks", profile: "comprehensive", flow: ignoresOddKeys},
		{name: "oidcc-client-test-discovery-openid-config", profile: "config", flow: discovers},
		{name: "oidcc-client-test-discovery-jwks-uri-keys", profile: "config", flow: findsKeys},
		{name: "oidcc-client-test-discovery-issuer-mismatch", profile: "config", refused: "Discovery: another issuer"},
		{name: "oidcc-client-test-signing-key-rotation", profile: "config", flow: followsRotation},
		{name: "oidcc-client-test-signing-key-rotation-just-before-signing", profile: "config", flow: followsLateRotation},
		{name: "oidcc-client-test-refresh-token", profile: "refresh token", flow: refreshes},
		{name: "oidcc-client-test-refresh-token-invalid-issuer", profile: "refresh token", refused: "ID token: iss of another issuer"},
		{name: "oidcc-client-test-refresh-token-invalid-sub", profile: "refresh token", refused: "ID token of a refresh: sub of another user"},
		{name: "oidcc-client-test-refresh-token-invalid-aud", profile: "in no profile", refused: "ID token: aud of another client"},
		{name: "oidcc-client-test-refresh-token-invalid-azp", profile: "in no profile", refused: "ID token: azp of another client"},
		{name: "oidcc-client-test-rp-init-logout", profile: "RP-initiated logout", flow: logsOut("s_1", "s_1")},
		{name: "oidcc-client-test-rp-init-logout-no-state", profile: "RP-initiated logout", flow: logsOut("", "")},
		{name: "oidcc-client-test-rp-init-logout-other-state", profile: "RP-initiated logout", flow: logsOut("s_1", "another")},
		{name: logout, profile: "back-channel logout", flow: endsSessions},
		{name: logout + "-alg-none", profile: "back-channel logout", refused: "Signature of any token: alg none"},
		{name: logout + "-wrong-alg", profile: "back-channel logout", refused: "Signature of any token: alg that the client does not accept"},
		{name: logout + "-wrong-iss", profile: "back-channel logout", refused: "Logout token: iss of another issuer"},
		{name: logout + "-wrong-aud", profile: "back-channel logout", refused: "Logout token: aud of another client"},
		{name: logout + "-no-event", profile: "back-channel logout", refused: "Logout token: events missing"},
		{name: logout + "-wrong-event", profile: "back-channel logout", refused: "Logout token: events of another kind"},
		{name: logout + "-with-nonce", profile: "back-channel logout", refused: "Logout token: nonce"},
	}
}

// TestConformance plays every module, and holds docs/review/security.md to the list.
func TestConformance(t *testing.T) {
	t.Parallel()
	table, modules := refusalTable(), conformanceModules()
	var lines []string
	var passed atomic.Int64
	t.Run("modules", func(t *testing.T) {
		for _, m := range modules {
			what := "succeeds"
			if m.flow == nil {
				what = "refused: " + m.refused
				m.flow = refusing(table, m.refused)
			}
			lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |", m.name, m.profile, what))
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				m.flow(t)
				if !t.Failed() {
					passed.Add(1)
				}
			})
		}
	})
	checkDocumented(t, "## ", map[string][]string{"Conformance suite": lines})
	t.Logf("conformance: %d of %d modules", passed.Load(), len(modules))
}

func refusing(table []refusals, name string) func(*testing.T) {
	title, row, _ := strings.Cut(name, ": ")
	return func(t *testing.T) {
		for _, part := range table {
			for _, r := range part.rows {
				if part.title == title && r.name == row {
					var ignored atomic.Int64
					r.play(t, part.ways, &ignored, &ignored)
					return
				}
			}
		}
		t.Errorf("the refusal table has no row %q", name)
	}
}

func signsIn(opts *authpitest.Options, config func(*authpi.Config)) func(*testing.T) {
	return func(t *testing.T) {
		issuer, client := testkit.New(t, opts, config)
		agent := testkit.SignIn(t, client, issuer, nil)
		info, err := client.UserInfo(t.Context(), agent)
		if err != nil || agent.ID != testkit.Subject || info.Subject != testkit.Subject {
			t.Errorf("got %v, %v; want %s signed in, and known to the user info endpoint", agent, err, testkit.Subject)
		}
	}
}

// signsInWithoutKid has ID tokens and RSA keys that nothing tells apart.
func signsInWithoutKid(keys int) func(*testing.T) {
	return func(t *testing.T) {
		s := newScene(t)
		ownKey("RS256")(s)
		rewritten(`,"kid":"raw"`, "")(s)
		inJSON("jwks", func(set map[string]any) {
			own := s.key.JWK()
			delete(own, "kid")
			set["keys"] = []any{own}
			for range keys - 1 {
				n := []byte(own["n"].(string))
				n[len(n)/2] ^= 1
				set["keys"] = append([]any{map[string]any{"kty": "RSA", "n": string(n), "e": own["e"]}}, set["keys"].([]any)...)
			}
		})(s)
		if err := tryExchange(s); err != nil {
			t.Errorf("got %v; want it accepted", err)
		}
	}
}

func ignoresOddKeys(t *testing.T) {
	s := newScene(t)
	ownKey("ES256")(s)
	s.beside = []any{
		map[string]any{"kty": "AKP", "alg": "ML-DSA-12", "kid": "a", "pub": "AAAA"},
		map[string]any{"kty": "XYZ", "kid": "b", "x": []int{1}}, map[string]any{}, nil, "key",
	}
	if err := tryExchange(s); err != nil {
		t.Errorf("got %v; want it accepted", err)
	}
}

func scopesReachUserInfo(t *testing.T) {
	issuer, client := testkit.New(t, nil, nil)
	info, err := client.UserInfo(t.Context(), testkit.SignIn(t, client, issuer, nil))
	if err != nil {
		t.Fatal(err)
	}
	if info.Email != "ada@example.com" || !info.EmailVerified || info.Name != "Ada Lovelace" || info.PhoneNumber == "" || info.Picture == "" {
		t.Errorf("got %+v; want what the scopes profile, email and phone give", info)
	}
}

// discovers has an issuer with a path of its own, given with and without a slash
// behind.
func discovers(t *testing.T) {
	for _, trailing := range []bool{false, true} {
		issuer := testkit.NewIssuer(t, &authpitest.Options{Path: "/deep/i_1", TrailingSlash: trailing, AnnounceIss: true})
		bare := strings.TrimSuffix(issuer.URL, "/")
		for _, given := range []string{bare, bare + "/", bare + "//"} {
			endpoints, err := authpi.DiscoverEndpoints(t.Context(), given, issuer.Client())
			want := authpi.Endpoints{
				Issuer: issuer.URL, Authorization: bare + "/authorize", Token: bare + "/token", UserInfo: bare + "/userinfo",
				Revocation: bare + "/revoke", Introspection: bare + "/introspect", EndSession: bare + "/logout", JWKS: bare + "/jwks.json",
			}
			if err != nil || endpoints != want {
				t.Fatalf("%s: got %+v, %v; want %+v", given, endpoints, err, want)
			}
			issuer.ResetCounters()
			for _, config := range []func(*authpi.Config){
				func(cfg *authpi.Config) { cfg.IssuerURL = given },
				func(cfg *authpi.Config) { cfg.IssuerURL, cfg.Endpoints = given, endpoints },
			} {
				if agent := testkit.SignIn(t, testkit.NewClient(t, issuer, config), issuer, nil); agent.ID != testkit.Subject {
					t.Errorf("%s: got %q; want %q", given, agent.ID, testkit.Subject)
				}
			}
			if got := issuer.Requests("discovery"); got != 1 {
				t.Errorf("%s: got %d discovery requests; want 1, none where endpoints are given", given, got)
			}
		}
	}
}

// findsKeys has keys where the discovery document says, and nowhere else.
func findsKeys(t *testing.T) {
	issuer := testkit.NewIssuer(t, nil)
	moved := testkit.IssuerURL + "/keys/of/it"
	issuer.Inject(authpitest.Fault{Endpoint: "discovery", Times: -1, Malform: chained([]func(string) string{asJSON(setting("jwks_uri", moved))})})
	var asked []string
	plain := issuer.Client().Transport
	client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
		cfg.HTTPClient = &http.Client{Transport: testkit.TransportFunc(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.Path)
			if r.URL.String() == moved {
				r = r.Clone(r.Context())
				r.URL.Path = "/i_test/jwks.json"
			}
			return plain.RoundTrip(r)
		})}
	})
	testkit.SignIn(t, client, issuer, nil)
	testkit.WantEqual(t, "requests", asked, []string{"/i_test/.well-known/openid-configuration", "/i_test/token", "/i_test/keys/of/it"})
}

// followsRotation has new keys, and the old ones gone, between two logins.
func followsRotation(t *testing.T) {
	for _, alg := range []string{"ES256", "RS256"} {
		issuer, client := testkit.New(t, &authpitest.Options{Algorithm: alg}, nil)
		testkit.SignIn(t, client, issuer, nil)
		issuer.RotateKeys()
		issuer.WithdrawKeys()
		testkit.SignIn(t, client, issuer, nil)
		if got := issuer.Requests("jwks"); got != 2 {
			t.Errorf("%s: got %d key requests; want 2", alg, got)
		}
	}
}

// followsLateRotation has new keys after the client has seen the set and sent the
// user away.
func followsLateRotation(t *testing.T) {
	issuer, client := testkit.New(t, nil, nil)
	if _, err := client.VerifyAccessToken(t.Context(), issuer.AccessToken(nil), ""); err != nil {
		t.Fatal(err)
	}
	callback, auth := testkit.StartLogin(t, client, issuer, nil)
	issuer.RotateKeys()
	issuer.WithdrawKeys()
	if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
		t.Errorf("got %v; want the new key found", err)
	}
}

func refreshes(t *testing.T) {
	if err := tryRefresh(newScene(t)); err != nil {
		t.Errorf("got %v; want a new set", err)
	}
}

// logsOut goes to the issuer and comes back with the state that was sent. Comparing
// it is the app's, and nothing hangs on it: the session has ended before the browser
// leaves.
func logsOut(state, back string) func(*testing.T) {
	return func(t *testing.T) {
		issuer, client := testkit.New(t, nil, nil)
		agent := testkit.SignIn(t, client, issuer, nil)
		logout, err := client.CreateLogoutURL(&authpi.LogoutOptions{
			IDTokenHint: agent.Tokens.IDToken, PostLogoutRedirectURI: "https://app.example/bye", State: state,
		})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(logout)
		if err != nil {
			t.Fatal(err)
		}
		if query := u.Query(); query.Get("state") != state || query.Has("state") != (state != "") || query.Get("id_token_hint") == "" {
			t.Errorf("got %v; want the state sent only where there is one", query)
		}
		query := u.Query()
		if query.Has("state") {
			query.Set("state", back)
		}
		u.RawQuery = query.Encode()
		answer, err := issuer.Client().Get(u.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		location, err := url.Parse(answer.Header.Get("Location"))
		if err != nil || location.Path != "/bye" || location.Query().Get("state") != back || issuer.SessionAlive(agent.Tokens.RefreshToken) {
			t.Errorf("got a redirect to %v, %v; want the session ended and the browser sent back", location, err)
		}
		if got, err := authpi.ParseCallback(location.String()); err != nil || (got.Get("state") == state) != (state == back) {
			t.Errorf("got %v, %v; want the state as it came", got, err)
		}
	}
}

// endsSessions is a logout token after a login, posted to the app.
func endsSessions(t *testing.T) {
	s := newScene(t)
	inToken(testkit.SetClaim("sid", "s_1"), testkit.At("exp", 2*time.Minute))(s)
	if err := tryLogoutPost(s); err != nil || s.ended != 1 {
		t.Errorf("got %v, %d sessions ended; want 1", err, s.ended)
	}
}
