package authpi_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// The checks of an ID token at code exchange. Each bad token fails one of them alone; the good
// one beside it differs in that point only.
var idTokenChecks = []struct {
	name      string
	bad, good change
	code      string // invalid_token where empty
	names     string // what the error has to name
}{
	{"iss missing", dropClaim("iss"), untouched, "", "iss"},
	{"iss of another issuer", setClaim("iss", "https://evil.example"), untouched, "", "iss"},
	{"iss of a tenant under the same keys", setClaim("iss", "https://idp.authpi.test/i_other"), untouched, "", "iss"},
	{"iss with a trailing slash", setClaim("iss", "https://idp.authpi.test/i_test/"), untouched, "", "iss"},
	{"iss in other case", setClaim("iss", "https://idp.authpi.test/I_TEST"), untouched, "", "iss"},
	{"iss as a list", setClaim("iss", []string{"https://idp.authpi.test/i_test"}), untouched, "", "iss"},
	{"iss under a name in other case", both(dropClaim("iss"), setClaim("ISS", "https://idp.authpi.test/i_test")), untouched, "", "iss"},
	{"iss right and ISS wrong", dropClaim("iss"), setClaim("ISS", "https://evil.example"), "", "iss"},

	{"aud missing", dropClaim("aud"), untouched, "", "aud"},
	{"aud another client", setClaim("aud", "c_other"), untouched, "", "aud"},
	{"aud in other case", setClaim("aud", "C_TEST"), untouched, "", "aud"},
	{"aud a number", setClaim("aud", 7), untouched, "", "aud"},
	{"aud an empty list", setClaim("aud", []string{}), setClaim("aud", []string{"c_test"}), "", "aud"},
	{"aud a list with a number", setClaim("aud", []any{"c_test", 7}), setClaim("aud", []any{"c_test"}), "", "aud"},
	{"aud an object", setClaim("aud", map[string]any{"c_test": "c_test"}), untouched, "", "aud"},
	{"aud null", setClaim("aud", nil), untouched, "", "aud"},
	{"aud others only", setClaim("aud", []string{"c_1", "c_2"}), untouched, "", "aud"},

	{"several audiences without azp", setClaim("aud", []string{"c_test", "api"}),
		both(setClaim("aud", []string{"api", "c_test"}), setClaim("azp", "c_test")), "", "azp"},
	{"several audiences with another azp", both(setClaim("aud", []string{"c_test", "api"}), setClaim("azp", "api")),
		both(setClaim("aud", []string{"c_test", "api"}), setClaim("azp", "c_test")), "", "azp"},
	{"azp another client", setClaim("azp", "c_other"), setClaim("azp", "c_test"), "", "azp"},
	{"azp a list", setClaim("azp", []string{"c_test"}), setClaim("azp", "c_test"), "", "azp"},
	{"azp empty", setClaim("azp", ""), setClaim("azp", "c_test"), "", "azp"},

	{"exp missing", dropClaim("exp"), untouched, "", "exp"},
	{"exp as text", setClaim("exp", "1760001800"), setClaim("exp", 1760001800), "", "exp"},
	{"exp null", setClaim("exp", nil), untouched, "", "exp"},
	{"exp negative", setClaim("exp", -1), untouched, "", "exp"},
	{"exp beyond the year 9999", setClaim("exp", int64(253402300800)), setClaim("exp", int64(253402300799)), "", "exp"},
	{"exp that overflows", setClaim("exp", 1e300), untouched, "", "exp"},
	{"exp with a fraction", at("exp", -30*time.Second), setClaim("exp", 1760000000.75), "", "exp"},
	{"exp passed by the skew", at("exp", -30*time.Second), at("exp", -29*time.Second), "", "exp"},
	{"exp passed by more than the skew", at("exp", -31*time.Second), at("exp", -29*time.Second), "", "exp"},

	{"iat missing", dropClaim("iat"), untouched, "", "iat"},
	{"iat as text", setClaim("iat", "1760000000"), untouched, "", "iat"},
	{"iat ahead by more than the skew", at("iat", 31*time.Second), at("iat", 30*time.Second), "", "iat"},

	{"nbf as text", setClaim("nbf", "1760000000"), at("nbf", 0), "", "nbf"},
	{"nbf ahead by more than the skew", at("nbf", 31*time.Second), at("nbf", 30*time.Second), "", "nbf"},

	{"nonce missing", dropClaim("nonce"), untouched, "invalid_nonce", "nonce"},
	{"nonce of another login", setClaim("nonce", "another"), untouched, "invalid_nonce", "nonce"},
	{"nonce empty", setClaim("nonce", ""), untouched, "invalid_nonce", "nonce"},
	{"nonce a number", setClaim("nonce", 1), untouched, "invalid_nonce", "nonce"},

	{"sub missing", dropClaim("sub"), untouched, "", "sub"},
	{"sub empty", setClaim("sub", ""), untouched, "", "sub"},
	{"sub a number", setClaim("sub", 17), setClaim("sub", "17"), "", "sub"},

	{"at_hash of another access token", setClaim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), dropClaim("at_hash"), "", "at_hash"},
	{"at_hash empty", setClaim("at_hash", ""), dropClaim("at_hash"), "", "at_hash"},
	{"at_hash null", setClaim("at_hash", nil), dropClaim("at_hash"), "", "at_hash"},

	{"auth_time missing", dropClaim("auth_time"), untouched, "", "auth_time"},
	{"auth_time as text", setClaim("auth_time", "1760000000"), untouched, "", "auth_time"},
	{"auth_time too long ago", at("auth_time", -331*time.Second), at("auth_time", -330*time.Second), "", "auth_time"},

	{"alg none", setHeader("alg", "none"), untouched, "", "alg"},
	{"alg in other case", setHeader("alg", "es256"), untouched, "", "alg"},
	{"alg None", setHeader("alg", "None"), untouched, "", "alg"},
	{"alg HS256 with the public key", setHeader("alg", "HS256"), untouched, "", "alg"},
	{"alg HS512 with the client's ID", both(setHeader("alg", "HS512"), setHeader("_secret", "c_test")), untouched, "", "alg"},
	{"alg missing", func(header, _ map[string]any) { delete(header, "alg") }, untouched, "", "alg"},
	{"alg a number", setHeader("alg", 256), untouched, "", "alg"},
	{"alg not accepted here", setHeader("alg", "RS256"), setHeader("alg", "ES256"), "", "alg"},
	{"alg that the key does not have", setHeader("alg", "EdDSA"), untouched, "", "alg"},
	{"alg under a name in other case", func(header, _ map[string]any) {
		header["ALG"] = header["alg"]
		delete(header, "alg")
	}, untouched, "", "alg"},

	{"kid unknown", setHeader("kid", "nobody"), untouched, "", "kid"},
	{"kid a number", setHeader("kid", 1), func(header, _ map[string]any) { delete(header, "kid") }, "", "kid"},
	{"kid empty", setHeader("kid", ""), func(header, _ map[string]any) { delete(header, "kid") }, "", "kid"},
	{"kid null", setHeader("kid", nil), func(header, _ map[string]any) { delete(header, "kid") }, "", "kid"},

	{"signature broken", setHeader("_signature", "bad"), untouched, "", "signature"},
	{"signature broken without kid", func(header, _ map[string]any) {
		delete(header, "kid")
		header["_signature"] = "bad"
	}, func(header, _ map[string]any) { delete(header, "kid") }, "", "signature"},

	{"typ of an access token", setHeader("typ", "at+jwt"), setHeader("typ", "JWT"), "", "typ"},
	{"typ of an access token, long form", setHeader("typ", "application/AT+JWT"), setHeader("typ", "jwt"), "", "typ"},
	{"typ of an access token, with a parameter", setHeader("typ", "application/at+jwt; v=1"), untouched, "", "typ"},
	{"typ of an access token, with a space behind", setHeader("typ", "at+jwt "), untouched, "", "typ"},
	{"typ of a logout token", setHeader("typ", "logout+jwt"), setHeader("typ", "JWT"), "", "typ"},
	{"typ a number", setHeader("typ", 1), untouched, "", "typ"},

	{"crit", setHeader("crit", []string{"exp"}), setHeader("cty", "JSON"), "", "crit"},
	{"crit empty", setHeader("crit", []string{}), untouched, "", "crit"},
	{"b64 false", setHeader("b64", false), untouched, "", "crit"},
	{"jku", setHeader("jku", "https://evil.example/jwks"), setHeader("x5t", "AAAA"), "", "jku"},
	{"jwk", setHeader("jwk", map[string]any{"kty": "EC"}), untouched, "", "jwk"},
	{"x5u", setHeader("x5u", "https://evil.example/cert"), untouched, "", "x5u"},
}

func TestIDTokenChecks(t *testing.T) {
	t.Parallel()
	for _, tc := range idTokenChecks {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := newTestClock()
			issuer := newIssuer(t, &authpitest.Options{Now: clock.Now})
			client := newClient(t, issuer, narrowed(clock))
			if tc.name == "alg that the key does not have" {
				// The header names the ES256 key before the current one.
				tc.bad = both(setHeader("alg", "EdDSA"), setHeader("kid", issuer.KeyIDs()[3]))
			}

			callback, auth := startLogin(t, client, issuer, &authpi.AuthorizationOptions{MaxAge: 5 * time.Minute})
			issuer.Inject(authpitest.Fault{Endpoint: "token", IDToken: tc.bad})
			_, err := client.ExchangeCallback(t.Context(), callback, auth)
			code := tc.code
			if code == "" {
				code = "invalid_token"
			}
			e := wantCode(t, err, code, tc.names)
			if !strings.HasPrefix(e.Description, tc.names) {
				t.Errorf("got description %q; want it to begin with %q, what failed", e.Description, tc.names)
			}
			if sentinel := authpi.ErrInvalidToken; tc.code == "" && !errors.Is(err, sentinel) {
				t.Errorf("errors.Is(%v, ErrInvalidToken): got false; want true", err)
			}
			if tc.code == "invalid_nonce" && !errors.Is(err, authpi.ErrInvalidNonce) {
				t.Errorf("errors.Is(%v, ErrInvalidNonce): got false; want true", err)
			}
			wantNone(t, err.Error(), auth.Nonce, auth.State, auth.CodeVerifier, callback.Get("code"))

			callback, auth = startLogin(t, client, issuer, &authpi.AuthorizationOptions{MaxAge: 5 * time.Minute})
			issuer.Inject(authpitest.Fault{Endpoint: "token", IDToken: tc.good})
			if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
				t.Errorf("the mended token: got %v; want it accepted", err)
			}
		})
	}
}

func TestIDTokenAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			issuer := newIssuer(t, &authpitest.Options{Algorithm: alg})
			agent := signIn(t, newClient(t, issuer, nil), issuer, nil)
			if agent.ID != testSubject {
				t.Errorf("got %q; want %q", agent.ID, testSubject)
			}
		})
	}
	t.Run("EdDSA with an at_hash by SHA-256", func(t *testing.T) {
		t.Parallel()
		issuer := newIssuer(t, &authpitest.Options{Algorithm: "EdDSA"})
		client := newClient(t, issuer, nil)
		callback, auth := startLogin(t, client, issuer, nil)
		// Only the answer holds the access token, so the ID token is made anew from it.
		issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: func(body []byte) []byte {
			var answer map[string]any
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Error(err)
			}
			claims := payloadOf(t, answer["id_token"].(string))
			claims["at_hash"] = leftHalfSHA256(answer["access_token"].(string))
			answer["id_token"] = issuer.Sign(claims, nil)
			body, _ = json.Marshal(answer)
			return body
		}})
		if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
			t.Errorf("got %v; want it accepted: no standard names a digest for EdDSA", err)
		}
	})
}

// Tokens that only another hand than the issuer's could write.
func TestIDTokenForms(t *testing.T) {
	t.Parallel()
	key := newRawKey(t)
	other := newRawKey(t)
	resign := func(change func(payload string) string) func(string) string {
		return func(old string) string { return key.sign(rawHeader, change(old)) }
	}
	first := func(old, insert string) string { return strings.Replace(old, "{", "{"+insert, 1) }
	tests := []struct {
		name  string
		token func(payload string) string
		names string // "" where it is accepted
	}{
		{"as it was", resign(func(p string) string { return p }), ""},
		{"iss twice", resign(func(p string) string { return first(p, `"iss":"https://evil.example",`) }), "payload"},
		{"iss twice, once escaped", resign(func(p string) string { return first(p, `"\u0069ss":"https://evil.example",`) }), "payload"},
		{"a repeated member deep inside", resign(func(p string) string { return first(p, `"x":[{"a":1,"a":2}],`) }), "payload"},
		{"payload is a list", resign(func(string) string { return `[]` }), "payload"},
		{"payload is no JSON", resign(func(p string) string { return p + "}" }), "payload"},
		{"payload is invalid UTF-8", resign(func(p string) string { return first(p, "\"x\":\"\xff\",") }), "payload"},
		{"alg twice", func(p string) string { return key.sign(`{"alg":"ES256","alg":"ES256","kid":"raw"}`, p) }, "header"},
		{"header is a list", func(p string) string { return key.sign(`["ES256"]`, p) }, "header"},
		{"header too long", func(p string) string {
			return key.sign(`{"alg":"ES256","kid":"raw","x":"`+strings.Repeat("a", 9<<10)+`"}`, p)
		}, "header"},
		{"by another key under that kid", func(p string) string { return other.sign(rawHeader, p) }, "signature"},
		{"five parts", func(p string) string { return key.sign(rawHeader, p) + ".AAAA.AAAA" }, "format"},
		{"two parts", func(p string) string { return "eyJhbGciOiJub25lIn0." + b64([]byte(p)) }, "format"},
		{"no signature", func(p string) string { return b64([]byte(rawHeader)) + "." + b64([]byte(p)) + "." }, "signature"},
		{"padding", func(p string) string { return key.sign(rawHeader, p) + "==" }, "signature"},
		{"trailing space", func(p string) string { return key.sign(rawHeader, p) + " " }, "signature"},
		{"standard base64", func(p string) string { return key.sign(rawHeader, p) + "+/" }, "signature"},
		{"a line end in the header", func(p string) string {
			token := key.sign(rawHeader, p)
			return token[:4] + `\n` + token[4:]
		}, "header"},
		{"longer than 512 KiB", resign(func(p string) string { return first(p, `"x":"`+strings.Repeat("a", 400<<10)+`",`) }), "length"},
		{"a personal token", func(string) string { return "ptk_0123456789" }, "format"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer := newIssuer(t, nil)
			client := newClient(t, issuer, nil)
			issuer.Inject(authpitest.Fault{Endpoint: "jwks", Times: -1, Body: key.jwks()})
			callback, auth := startLogin(t, client, issuer, nil)
			issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: replaceIDToken(func(old string) string {
				payload, _ := json.Marshal(payloadOf(t, old))
				return tc.token(string(payload))
			})})
			agent, err := client.ExchangeCallback(t.Context(), callback, auth)
			if tc.names == "" {
				if err != nil || agent.ID != testSubject {
					t.Errorf("got %v, %v; want %s signed in", agent, err, testSubject)
				}
				return
			}
			wantCode(t, err, "invalid_token", tc.names+": ")
		})
	}
}

func TestOtherTokensAreNoIDTokens(t *testing.T) {
	t.Parallel()
	for _, member := range []string{"access_token", "refresh_token"} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			issuer := newIssuer(t, nil)
			client := newClient(t, issuer, nil)
			callback, auth := startLogin(t, client, issuer, nil)
			issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: func(body []byte) []byte {
				var answer map[string]any
				if err := json.Unmarshal(body, &answer); err != nil {
					t.Error(err)
				}
				answer["id_token"] = answer[member]
				body, _ = json.Marshal(answer)
				return body
			}})
			_, err := client.ExchangeCallback(t.Context(), callback, auth)
			wantCode(t, err, "invalid_token", "id_token")
		})
	}
}

func TestVerifyStoredTokens(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, nil)
	on := func(cfg *authpi.Config) { cfg.VerifyStoredTokens = true }
	client := newClient(t, issuer, on)
	good := signIn(t, client, issuer, nil).Tokens
	with := func(c change) string { return signChanged(t, issuer, good.IDToken, nil, c) }
	tests := []struct{ name, token, names string }{
		{"as stored", good.IDToken, ""},
		{"expired long ago", with(setClaim("exp", 1600000000)), ""},
		{"without exp", with(dropClaim("exp")), ""},
		{"unsigned", unsigned(`{"sub":"usr_ada","iss":"` + issuer.URL + `","aud":"c_test"}`), "signature"},
		{"signature broken", with(setHeader("_signature", "bad")), "signature"},
		{"iss of another tenant", with(setClaim("iss", "https://idp.authpi.test/i_2")), "iss"},
		{"aud another client", with(setClaim("aud", "c_2")), "aud"},
		{"typ of an access token", with(setHeader("typ", "at+jwt")), "typ"},
		{"alg none", with(setHeader("alg", "none")), "alg"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, issuer, on)
			tokens := good
			tokens.IDToken = tc.token
			for range 2 {
				agent, err := client.CreateAgent(t.Context(), tokens, nil)
				if tc.names != "" {
					wantCode(t, err, "invalid_token", tc.names)
				} else if err != nil || agent.ID != testSubject {
					t.Errorf("got %v, %v; want %s", agent, err, testSubject)
				}
			}
			if tc.names != "" {
				if agent, err := newClient(t, issuer, nil).CreateAgent(t.Context(), tokens, nil); err != nil || agent.ID != testSubject {
					t.Errorf("without VerifyStoredTokens: got %v, %v; want it trusted as stored", agent, err)
				}
			}
		})
	}
}
