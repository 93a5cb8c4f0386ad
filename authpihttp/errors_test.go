package authpihttp_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// Every error page leads on: to where trying again makes sense, and to the start.
func TestErrorPagesLeadOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.options.Authorize = func(r *http.Request) *authpi.AuthorizationOptions {
			return &authpi.AuthorizationOptions{Org: r.FormValue("org")}
		}
	})
	s.mux.Handle("GET /orgs/{org}", s.app.RequireAgent(authpihttp.RequireAccess("read", "projects", orgOf)(http.HandlerFunc(s.whoami))))
	denied := func(b *browser, login, user string) answer { return b.get(s.atIssuer(b.get(login).location, user)) }
	const again, home, login = `<a href="">Try again`, `<a href="/">To the start page`, `<a href="/auth/login?return_to=%2Fx">Try again`
	for _, tc := range []struct {
		name        string
		do          func(b *browser) answer
		status      int
		text        string
		links, none []string
	}{
		{"forbidden", func(b *browser) answer { return b.get("/orgs/org_9") }, 403, "may not do this", []string{home}, []string{"Try again"}},
		{"cancelled", func(b *browser) answer { return denied(b, "/auth/login?return_to=/x", "") }, 403, "Sign-in was cancelled", []string{login, home}, nil},
		{"no member of the organization", func(b *browser) answer { return denied(b, "/auth/login?return_to=/x&org=org_9", "usr_ada") }, 403,
			"your account does not belong to this organization", []string{login, home}, []string{"was cancelled</h1>"}},
		{"cancelled for an organization", func(b *browser) answer { return denied(b, "/auth/login?return_to=/x&org=org_1", "") }, 403,
			"It was cancelled, or", []string{login, home}, nil},
		{"callback of no login", func(b *browser) answer { return s.browser().get("/auth/callback?code=c&state=s") }, 400,
			"another browser", []string{`<a href="/auth/login">Try again`, home}, nil},
		{"other site's form", func(b *browser) answer {
			return b.send("POST", "/auth/logout", map[string]string{"Sec-Fetch-Site": "cross-site"})
		}, 403, "press the button here", []string{home}, []string{"Try again"}},
		{"page while the issuer is away", func(b *browser) answer { return b.get("/x") }, 503, "in a few seconds", []string{again, home}, nil},
		{"form while the issuer is away", func(b *browser) answer { return b.send("POST", "/x", nil) }, 503, "in a few seconds", []string{home}, []string{"Try again"}},
		{"start page while the issuer is away", func(b *browser) answer { return b.get("/") }, 503, "in a few seconds", []string{again}, []string{"start page"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := s.browser()
			b.signIn("usr_ada")
			if tc.status == 503 {
				s.expire()
				s.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 502})
			}
			a := tc.do(b)
			if a.status != tc.status || !strings.Contains(a.body, tc.text) {
				t.Errorf("got %d %s; want %d with %q", a.status, a.body, tc.status, tc.text)
			}
			for _, link := range tc.links {
				if !strings.Contains(a.body, link) {
					t.Errorf("got %s; want %s", a.body, link)
				}
			}
			for _, text := range tc.none {
				if strings.Contains(a.body, text) {
					t.Errorf("got %s; want no %q", a.body, text)
				}
			}
			b.wantUser("usr_ada") // signed in as before
		})
	}
}

// Unavailable is for whatever may pass, and blames the session store only for what
// nobody else has put a name to.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		err   error
		says  string
		retry string
	}{
		{"the sessions' middleware", errors.New("dial: refused"), "authpihttp: session store: dial: refused", "5"},
		{"the issuer", &authpi.OAuthError{Code: "slow_down", StatusCode: 429, RetryAfter: 1e9 * 30}, (&authpi.OAuthError{Code: "slow_down", StatusCode: 429}).Error(), "30"},
		{"the issuer's last word", &authpi.OAuthError{Code: "invalid_grant", StatusCode: 400}, (&authpi.OAuthError{Code: "invalid_grant", StatusCode: 400}).Error(), "5"},
		{"what Agent returned", authpihttp.ErrNotSignedIn, authpihttp.ErrNotSignedIn.Error(), "5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			w := httptest.NewRecorder()
			s.app.Unavailable(w, httptest.NewRequest("GET", "/x", nil), tc.err)
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != tc.retry || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("got %d %v; want 503 after %s s", w.Code, w.Header(), tc.retry)
			}
			if err := s.lastRefusal(); !errors.Is(err, tc.err) || err.Error() != tc.says {
				t.Errorf("got %q; want %q", err, tc.says)
			}
		})
	}
}
