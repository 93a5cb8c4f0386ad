package refusals_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// refusedLogoutTokens are those of OpenID Connect Back-Channel Logout.
func refusedLogoutTokens() refusals {
	const section = "Back-Channel Logout 2.6"
	event := func(name string, value any, given ...testkit.Change) refusal {
		return tokenRow(name, section+" (6)", "events", testkit.SetClaim("events", value), given...)
	}
	right := map[string]any{logoutEvent: map[string]any{"x": 1}, "other": 1}
	return refusals{"Logout token", []way{byLogout}, []refusal{
		tokenRow("typ of an access token", "RFC 8725 section 3.11", "typ", testkit.SetHeader("typ", "at+jwt"), testkit.SetHeader("typ", "JWT")),
		tokenRow("typ of an access token, with a parameter", "RFC 8725 section 3.11", "typ", testkit.SetHeader("typ", "at+jwt; v=1")),
		tokenRow("typ of another event", "RFC 8725 section 3.11", "typ", testkit.SetHeader("typ", "secevent+jwt"), testkit.SetHeader("typ", "application/logout+jwt")),
		tokenRow("iss missing", section+" (4)", "iss", testkit.DropClaim("iss"), testkit.SetHeader("typ", nil)),
		tokenRow("iss of another issuer", section+" (4)", "iss", testkit.SetClaim("iss", "https://evil.example")),
		tokenRow("iss of a tenant under the same keys", section+" (4)", "iss", testkit.SetClaim("iss", "https://idp.authpi.test/i_other")),
		tokenRow("iss with a slash behind", section+" (4)", "iss", testkit.SetClaim("iss", testkit.IssuerURL+"/")),
		tokenRow("aud missing", section+" (4)", "aud", testkit.DropClaim("aud")),
		tokenRow("aud of another client", section+" (4)", "aud", testkit.SetClaim("aud", "c_other"), testkit.SetClaim("aud", []string{"c_test"})),
		tokenRow("exp missing", section+" (4)", "exp", testkit.DropClaim("exp")),
		tokenRow("exp passed by the skew", section+" (4)", "exp", testkit.At("exp", -30*time.Second), testkit.At("exp", -29*time.Second)),
		enormous(section + " (4)"),
		tokenRow("iat missing", section+" (4)", "iat", testkit.DropClaim("iat")),
		tokenRow("iat ahead by more than the skew", section+" (4)", "iat", testkit.At("iat", 31*time.Second), testkit.At("iat", 30*time.Second)),
		tokenRow("neither sub nor sid", section+" (5)", "sub", testkit.DropClaim("sid"), testkit.DropClaim("sub"), testkit.SetClaim("sid", "s_1")),
		tokenRow("sub and sid empty", section+" (5)", "sub", testkit.SetClaim("sid", ""), testkit.SetClaim("sub", ""), testkit.SetClaim("sid", "s_1")),
		tokenRow("sub and sid no texts", section+" (5)", "sub", testkit.SetClaim("sid", 1), testkit.SetClaim("sub", 1), testkit.SetClaim("sid", "s_1")),
		tokenRow("events missing", section+" (6)", "events", testkit.DropClaim("events")),
		event("events null", nil),
		event("events of another kind", map[string]any{"https://example.com/event": map[string]any{}}),
		event("events a list", []string{logoutEvent}),
		event("events with the member as text", map[string]any{logoutEvent: "yes"}, testkit.SetClaim("events", right)),
		event("events with the member null", map[string]any{logoutEvent: nil}, testkit.SetClaim("events", right)),
		event("events in other case", map[string]any{strings.ToUpper(logoutEvent): map[string]any{}}),
		event("events with the member too deep", map[string]any{"x": right}, testkit.SetClaim("events", right)),
		tokenRow("nonce", section+" (7)", "nonce", testkit.SetClaim("nonce", "n")),
		tokenRow("nonce null", section+" (7)", "nonce", testkit.SetClaim("nonce", nil)),
		tokenRow("nonce empty", section+" (7)", "nonce", testkit.SetClaim("nonce", "")),
		tokenRow("jti missing", "Back-Channel Logout 2.4", "jti", testkit.DropClaim("jti")),
		tokenRow("jti empty", "Back-Channel Logout 2.4", "jti", testkit.SetClaim("jti", "")),
		tokenRow("jti a number", "Back-Channel Logout 2.4", "jti", testkit.SetClaim("jti", 1)),
		tokenRow("ID token in its place", section+" (6, 7)", "events", testkit.Both(testkit.SetHeader("typ", nil), testkit.DropClaim("events"), testkit.SetClaim("nonce", "n"))),
		tokenRow("access token in its place", "RFC 9068 section 5", "typ", testkit.Both(testkit.SetHeader("typ", "at+jwt"), testkit.DropClaim("events"))),
	}}
}

// refusedLogoutPosts are requests of the issuer's to authpihttp.BackchannelLogout.
func refusedLogoutPosts() refusals {
	row := func(name, source, part string, fault func(s *scene, r *http.Request)) refusal {
		return refusal{
			name: name, source: source, code: "invalid_request", part: part,
			fault: func(s *scene) { s.request = append(s.request, func(r *http.Request) { fault(s, r) }) },
		}
	}
	const section = "Back-Channel Logout 2.5"
	used := func(s *scene, r *http.Request, token string) {
		if w := s.post(token); w.Code != http.StatusOK {
			s.t.Fatalf("got %d %s for the first use", w.Code, w.Body)
		}
	}
	return refusals{"Request of a logout", []way{{"authpihttp.BackchannelLogout", tryLogoutPost}}, []refusal{
		row("logout token used before", "Back-Channel Logout 2.6 (8)", "jti", func(s *scene, r *http.Request) { used(s, r, r.PostForm.Get("logout_token")) }),
		row("jti used before, in another token", "Back-Channel Logout 2.6 (8)", "jti", func(s *scene, r *http.Request) {
			used(s, r, s.issuer.LogoutToken(map[string]any{"jti": "j_1", "sub": "usr_bob"}))
		}),
		row("two logout tokens", section, "one logout_token", func(s *scene, r *http.Request) { r.PostForm.Add("logout_token", s.issuer.LogoutToken(nil)) }),
		row("logout token in the query", section, "one logout_token", func(_ *scene, r *http.Request) {
			r.URL.RawQuery = r.PostForm.Encode()
			r.PostForm = url.Values{}
		}),
		row("logout token in JSON", section, "form", func(_ *scene, r *http.Request) { r.Header.Set("Content-Type", "application/json") }),
	}}
}

func tryLogoutPost(s *scene) error {
	s.start()
	s.api = authpihttp.BackchannelLogout(s.client, func(context.Context, authpi.LogoutToken) error { s.ended++; return nil }, nil)
	token := s.forge(s.issuer.LogoutToken(map[string]any{"jti": "j_1"}), "logout+jwt", "")
	s.hide(token)
	before := 0
	w := s.post(token, append(s.request, func(*http.Request) { before = s.ended })...)
	if (s.ended > before) != (w.Code == http.StatusOK) {
		s.t.Errorf("got %d, %d sessions ended", w.Code, s.ended-before)
	}
	if w.Code == http.StatusOK {
		return nil
	}
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil {
		s.t.Fatal(err)
	}
	return &authpi.OAuthError{Code: said.Error, Description: said.Description}
}

// post sends a logout token as the issuer does, but for the changes.
func (s *scene) post(token string, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "https://app.example/backchannel", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.PostForm = url.Values{"logout_token": {token}}
	for _, change := range changes {
		change(r)
	}
	sent := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(r.PostForm.Encode()))
	sent.Header = r.Header
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, sent)
	return w
}
