package refusals_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// refusedAccessTokens hold for the access tokens that come to an API.
func refusedAccessTokens() refusals {
	const (
		typed    = "RFC 9068 section 4, RFC 8725 section 3.11"
		section  = "RFC 9068 section 4"
		audience = "RFC 9068 section 4, RFC 9700 section 4.10.2"
	)
	aud := func(name string, value any, given ...testkit.Change) refusal {
		return tokenRow(name, audience, "aud", testkit.SetClaim("aud", value), given...)
	}
	return refusals{"Access token", []way{byAPI}, []refusal{
		tokenRow("typ missing", typed, "typ", testkit.SetHeader("typ", nil), testkit.SetHeader("typ", "application/at+jwt")),
		tokenRow("typ JWT", typed, "typ", testkit.SetHeader("typ", "JWT"), testkit.SetHeader("typ", "AT+JWT")),
		tokenRow("typ empty", typed, "typ", testkit.SetHeader("typ", "")),
		tokenRow("typ of a logout token", typed, "typ", testkit.SetHeader("typ", "logout+jwt")),
		tokenRow("typ that begins like the right one", typed, "typ", testkit.SetHeader("typ", "at+jwt2")),
		tokenRow("typ with a space behind", typed, "typ", testkit.SetHeader("typ", "at+jwt ")),
		tokenRow("typ of an access token of another kind", typed, "typ", testkit.SetHeader("typ", "text/at+jwt")),
		tokenRow("iss missing", section, "iss", testkit.DropClaim("iss")),
		tokenRow("iss of another issuer", section, "iss", testkit.SetClaim("iss", "https://evil.example")),
		tokenRow("iss of a tenant under the same keys", section+", RFC 8725 section 3.8", "iss", testkit.SetClaim("iss", "https://idp.authpi.test/i_other")),
		tokenRow("iss with a slash behind", section, "iss", testkit.SetClaim("iss", testkit.IssuerURL+"/")),
		aud("aud of another API", "https://other.example", testkit.SetClaim("aud", []string{"https://other.example", "c_test"})),
		aud("aud with a slash behind", "c_test/"),
		aud("aud empty", ""),
		aud("aud an empty list", []string{}),
		aud("aud a list with a number", []any{"c_test", 7}, testkit.SetClaim("aud", []any{"c_test"})),
		tokenRow("aud missing", audience, "aud", testkit.DropClaim("aud")),
		tokenRow("exp missing", section, "exp", testkit.DropClaim("exp")),
		tokenRow("exp as text", section, "exp", testkit.SetClaim("exp", "1760001800")),
		tokenRow("exp passed by the skew", section, "exp", testkit.At("exp", -30*time.Second), testkit.At("exp", -29*time.Second)),
		enormous(section),
		tokenRow("iat missing", "RFC 9068 section 2.2", "iat", testkit.DropClaim("iat")),
		tokenRow("iat ahead by more than the skew", section, "iat", testkit.At("iat", 31*time.Second), testkit.At("iat", 30*time.Second)),
		tokenRow("nbf ahead by more than the skew", "RFC 7519 section 4.1.5", "nbf", testkit.At("nbf", 31*time.Second), testkit.At("nbf", 30*time.Second)),
		tokenRow("sub missing", "RFC 9068 section 2.2", "sub", testkit.DropClaim("sub")),
		tokenRow("sub a number", "RFC 9068 section 2.2", "sub", testkit.SetClaim("sub", 5)),
		{
			name: "ID token in its place", source: typed, code: "invalid_token", part: "typ", given: []edit{ownKey("ES256")},
			fault: inRaw(func(r *rawToken) { r.header = testkit.RawHeader; r.payload = withFirst(r.payload, `"nonce":"n"`) }),
		},
		{
			name: "logout token in its place", source: typed, code: "invalid_token", part: "typ", given: []edit{ownKey("ES256")},
			fault: func(s *scene) { s.raw = append(s.raw, asLogoutToken) },
		},
	}}
}

// enormous is an exp that no 64 bits and no float64 hold.
func enormous(source string) refusal {
	return rawRow("exp 1e999", source, "exp", inRaw(func(r *rawToken) { r.payload = strings.Replace(r.payload, `"exp":`, `"exp":1e999,"was":`, 1) }))
}

func asLogoutToken(r *rawToken) {
	r.header = `{"alg":"ES256","kid":"raw","typ":"logout+jwt"}`
	r.payload = withFirst(r.payload, `"events":{"`+logoutEvent+`":{}}`)
}

// refusedRequests are requests to an API that authpihttp.Bearer guards.
func refusedRequests() refusals {
	const methods = "RFC 6750 section 2"
	row := func(name, source, code, part string, fault func(*http.Request)) refusal {
		return refusal{name: name, source: source, code: code, part: part, fault: func(s *scene) { s.request = append(s.request, fault) }}
	}
	malformed := func(name, source, part string, fault func(*http.Request)) refusal {
		return row(name, source, "invalid_request", part, fault)
	}
	authorization := func(f func(string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", f(r.Header.Get("Authorization"))) }
	}
	tokenOf := func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") }
	return refusals{"Request to an API", []way{{"authpihttp.Bearer", tryRequest}}, []refusal{
		malformed("token in the query", "RFC 6750 section 2.3, RFC 9700 section 4.3.2", "query", func(r *http.Request) {
			r.URL.RawQuery = "access_token=" + tokenOf(r)
			r.Header.Del("Authorization")
		}),
		malformed("token in the query, too", methods, "query", func(r *http.Request) { r.URL.RawQuery = "access%5Ftoken=" + tokenOf(r) }),
		malformed("header twice", methods, "repeated", func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }),
		malformed("two tokens", "RFC 6750 section 2.1", "single token", authorization(func(a string) string { return a + " a.b.c" })),
		malformed("two tokens with a comma", "RFC 6750 section 2.1", "single token", authorization(func(a string) string { return a + "," + a })),
		malformed("no token", "RFC 6750 section 2.1", "single token", authorization(func(string) string { return "Bearer " })),
		malformed("token in quotes", "RFC 6750 section 2.1", "single token", authorization(func(a string) string { return strings.Replace(a, " ", ` "`, 1) + `"` })),
		row("token in the form", "RFC 6750 section 2.2", "no_token", "Bearer", func(r *http.Request) {
			r.Method, r.Body = http.MethodPost, http.NoBody
			r.Form = url.Values{"access_token": {tokenOf(r)}}
			r.PostForm = r.Form
			r.Header.Del("Authorization")
		}),
		row("another scheme", "RFC 6750 section 2.1", "no_token", "Bearer", authorization(func(a string) string { return strings.Replace(a, "Bearer", "DPoP", 1) })),
		{
			name: "scope too narrow", source: "RFC 6750 section 3.1", code: "insufficient_scope", part: "does not allow",
			fault: inToken(testkit.SetClaim("scope", "openid emails")),
		},
		{
			name: "scope under another case", source: "RFC 6750 section 3.1", code: "insufficient_scope", part: "does not allow",
			fault: inToken(testkit.SetClaim("scope", "openid EMAIL")),
		},
		{name: "token of another API", source: "RFC 9700 section 4.10.2", code: "invalid_token", part: "aud", fault: inToken(testkit.SetClaim("aud", "https://other.example"))},
	}}
}

// tryRequest is a request with a token; what the guard says to it comes back as an
// error.
func tryRequest(s *scene) error {
	s.start()
	guard, err := authpihttp.NewBearer(s.client, &authpihttp.BearerOptions{Scopes: []string{"email"}})
	if err != nil {
		s.t.Fatal(err)
	}
	token := s.forge(s.issuer.AccessToken(nil), "at+jwt", "")
	s.hide(token)
	r := httptest.NewRequest(http.MethodGet, "https://api.example/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	for _, change := range s.request {
		change(r)
	}
	w, reached := httptest.NewRecorder(), false
	guard.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })).ServeHTTP(w, r)
	if reached != (w.Code == http.StatusOK) {
		s.t.Errorf("got status %d, handler reached %t", w.Code, reached)
	}
	if reached {
		return nil
	}
	challenge := w.Header().Get("WWW-Authenticate")
	return &authpi.OAuthError{Code: challengeParam(challenge, "error", "no_token"), Description: challengeParam(challenge, "error_description", challenge)}
}

func challengeParam(challenge, name, otherwise string) string {
	_, rest, found := strings.Cut(challenge, name+`="`)
	if !found {
		return otherwise
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
