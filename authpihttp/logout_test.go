package authpihttp_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestLogoutOfAnotherSite(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	for _, header := range []map[string]string{
		{"Sec-Fetch-Site": "cross-site"},
		{"Sec-Fetch-Site": "same-site"},
		{"Origin": "https://evil.test"},
		{"Origin": "null"},
	} {
		a := b.send(http.MethodPost, "/auth/logout", header)
		if a.status != http.StatusForbidden {
			t.Errorf("%v: got %d; want 403", header, a.status)
		}
		wantNoSecrets(t, a)
		b.wantUser("usr_ada")
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		b.send(method, "/auth/logout", nil)
		b.wantUser("usr_ada")
	}
	if got := s.issuer.Requests("revoke"); got != 0 {
		t.Errorf("got %d revocations; want 0", got)
	}
	if a := b.send(http.MethodPost, "/auth/logout", map[string]string{"Origin": origin}); a.status != http.StatusSeeOther {
		t.Errorf("own site: got %d; want 303", a.status)
	}
	b.wantUser("")
}

func TestLogoutOfNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	if a := b.send(http.MethodPost, "/auth/logout", nil); a.status != http.StatusSeeOther || a.location != "/" {
		t.Errorf("got %d to %q; want 303 home", a.status, a.location)
	}
}

// A refresh token that could not be revoked is good until it expires: the log says so.
func TestFailedRevocationIsLogged(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*setup)
		fault  *authpitest.Fault
		want   string // in the log; empty: nothing
	}{
		{"revoked", nil, nil, ""},
		{"the issuer is down", nil, &authpitest.Fault{Endpoint: "revoke", Times: -1, Status: 503}, `level=WARN msg="authpihttp: a refresh token could not be revoked" error="authpi: revoke token`},
		{"no answer", nil, &authpitest.Fault{Endpoint: "revoke", Times: -1, Drop: true}, "level=WARN"},
		{"an issuer that revokes nothing", func(made *setup) {
			const issuer = "https://idp.authpi.test/i_test"
			made.client.Endpoints = authpi.Endpoints{Authorization: issuer + "/authorize", Token: issuer + "/token", JWKS: issuer + "/jwks.json"}
		}, nil, ""},
	} {
		out := defaultLog(t, slog.LevelInfo)
		s := newSite(t, tc.change)
		b := s.browser()
		b.signIn("usr_ada")
		token := b.tokens().RefreshToken
		if tc.fault != nil {
			s.issuer.Inject(*tc.fault)
		}
		b.send(http.MethodPost, "/auth/logout", nil)
		b.wantUser("")
		got := out.String()
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) || strings.Count(got, "\n") > 1 || strings.Contains(got, token) {
			t.Errorf("%s: got log %q; want %q", tc.name, got, tc.want)
		}
	}
}

// The issuer is down: the user is signed out here all the same, and soon.
func TestLogoutWithoutIssuer(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	s.issuer.Inject(authpitest.Fault{Times: -1, Status: 500})
	if a := b.send(http.MethodPost, "/auth/logout", nil); a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, s.issuer.URL) {
		t.Errorf("got %d to %q; want 303 to the issuer", a.status, a.location)
	}
	b.wantUser("")
}

func TestLogoutWithStoreAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	s.store.set(func(st *store) { st.full = true })
	if a := b.send(http.MethodPost, "/auth/logout", nil); a.status != http.StatusServiceUnavailable {
		t.Errorf("got %d; want 503: the user is still signed in", a.status)
	}
	if got := s.issuer.Requests("revoke"); got != 0 {
		t.Errorf("got %d revocations; want 0", got)
	}
	s.store.set(func(st *store) { st.full = false })
	b.wantUser("usr_ada")
	b.send(http.MethodPost, "/auth/logout", nil)
	b.wantUser("")
}

// The hint is the last ID token, also after refreshes that brought none.
func TestLogoutHintOutlivesRefreshes(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.issuer.OmitIDTokenOnRefresh = true })
	b := s.browser()
	b.signIn("usr_ada")
	idToken := b.tokens().IDToken
	for range 2 {
		s.expire()
		b.wantUser("usr_ada")
	}
	if got := b.tokens(); got.IDToken != "" || got.SubjectHint != "usr_ada" {
		t.Fatalf("got %v; want tokens without ID token", got)
	}
	a := b.send(http.MethodPost, "/auth/logout", nil)
	if got := param(t, a.location, "id_token_hint"); got != idToken {
		t.Errorf("got id_token_hint %q; want the first ID token", got)
	}
}
