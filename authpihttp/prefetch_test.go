package authpihttp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// Whoever fetches in advance neither starts nor finishes a login.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.mux.Handle("GET /gold", s.app.RequireAgent(s.app.RequireRecent(0, "gold")(http.HandlerFunc(s.whoami))))
	for name, header := range map[string]map[string]string{
		"speculation rules": {"Sec-Purpose": "prefetch"},
		"prerender":         {"Sec-Purpose": "prefetch;prerender"},
		"another site's":    {"Sec-Purpose": "prefetch;anonymous-client-ip"},
		"older browsers":    {"Purpose": "prefetch"},
		"a preview":         {"X-Purpose": "preview"},
		"Firefox":           {"X-Moz": "prefetch"},
		"in capitals":       {"Sec-Purpose": "Prefetch"},
	} {
		t.Run(name, func(t *testing.T) {
			b := s.browser()
			callback := s.atIssuer(b.start("/x"), "usr_ada")
			before := len(b.cookies())
			for _, path := range []string{"/x", "/auth/login?return_to=/y", callback} {
				a := b.send("GET", path, header)
				if a.status != http.StatusServiceUnavailable || a.location != "" || a.header.Get("Set-Cookie") != "" || a.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: got %d to %q with the cookie %q; want 503 and nothing else", path, a.status, a.location, a.header.Get("Set-Cookie"))
				}
			}
			asked := map[string]string{"Accept": "*/*"} // as by <link rel=prefetch>
			for name, value := range header {
				asked[name] = value
			}
			if a := b.send("GET", "/x", asked); a.status != http.StatusServiceUnavailable {
				t.Errorf("by a link: got %d; want 503", a.status)
			}
			if got := len(b.cookies()); got != before {
				t.Errorf("got %d cookies; want the %d of before", got, before)
			}
			if a := b.get(callback); a.location != "/x" {
				t.Errorf("the login was spent: got %d to %q", a.status, a.location)
			}
			if a := b.send("GET", "/x", header); a.status != http.StatusOK {
				t.Errorf("signed in: got %d; want the page", a.status)
			}
			for _, header := range []map[string]string{header, asked} {
				if a := b.send("GET", "/gold", header); a.status != http.StatusServiceUnavailable || a.location != "" || a.header.Get("Cache-Control") != "no-store" {
					t.Errorf("for a step-up: got %d to %q; want 503 and nothing else", a.status, a.location)
				}
			}
		})
	}
}

// HEAD and OPTIONS, as scanners of links send them, do no harm.
func TestHarmlessMethods(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	for _, method := range []string{http.MethodHead, http.MethodOptions} {
		for _, path := range []string{"/x", "/auth/login", callback, "/auth/logout", "/auth/signed-out"} {
			if a := b.send(method, path, nil); a.header.Get("Set-Cookie") != "" || strings.HasPrefix(a.location, s.issuer.URL) {
				t.Errorf("%s %s: got %d to %q with the cookie %q", method, path, a.status, a.location, a.header.Get("Set-Cookie"))
			}
		}
	}
	if a := b.get(callback); a.location != "/x" {
		t.Errorf("the login was spent: got %d to %q", a.status, a.location)
	}
}

// A CORS preflight carries no cookie and no token, and anybody can send one: it gets
// an answer, with the headers of the CORS layer around the guards, and what they
// guard never runs.
func TestPreflight(t *testing.T) {
	t.Parallel()
	s, api := newAPI(t, &authpihttp.BearerOptions{AccessTokensCarryLoginTime: true})
	guarded := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request without an agent was served") })
	access := authpihttp.RequireAccess("read", "projects", orgOf)
	for name, handler := range map[string]http.Handler{
		"RequireAgent":               s.app.RequireAgent(guarded),
		"Bearer.Require":             api.Require(guarded),
		"RequireAccess":              s.app.RequireAgent(access(guarded)),
		"RequireAccess alone":        access(guarded),
		"behind Bearer":              api.Require(access(guarded)),
		"RequireRecent":              s.app.RequireAgent(s.app.RequireRecent(1)(guarded)),
		"RequireRecent alone":        s.app.RequireRecent(1)(guarded),
		"Bearer.RequireRecent":       api.Require(api.RequireRecent(1)(guarded)),
		"Bearer.RequireRecent alone": api.RequireRecent(1)(guarded),
	} {
		preflight := map[string]string{"Origin": "https://spa.test", "Access-Control-Request-Method": "GET", "Accept": "*/*"}
		for _, tc := range []struct {
			name, without string
			answered      bool
		}{{"whole", "", true}, {"no origin", "Origin", false}, {"no method", "Access-Control-Request-Method", false}} {
			r := httptest.NewRequest(http.MethodOptions, "/orgs/org_1", nil)
			for header, value := range preflight {
				if header != tc.without {
					r.Header.Set(header, value)
				}
			}
			w := newRecorder()
			w.Header().Set("Access-Control-Allow-Origin", "https://spa.test")
			handler.ServeHTTP(w, r)
			if answered := w.Code == http.StatusNoContent; answered != tc.answered {
				t.Errorf("%s, %s: got %d; want 204: %t", name, tc.name, w.Code, tc.answered)
			}
			if w.Header().Get("Access-Control-Allow-Origin") == "" {
				t.Errorf("%s, %s: the headers of CORS are gone", name, tc.name)
			}
		}
	}
}
