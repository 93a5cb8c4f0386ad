package authpihttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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

// A CORS preflight carries no cookie and no token: the app's CORS layer answers it,
// inside the guards or outside.
func TestPreflight(t *testing.T) {
	t.Parallel()
	s, api := newAPI(t, &authpihttp.BearerOptions{AccessTokensCarryLoginTime: true})
	cors := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if agent, ok := authpihttp.AgentFrom(r.Context()); ok || agent != nil {
			t.Error("a preflight has an agent")
		}
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		w.WriteHeader(http.StatusNoContent)
	})
	access := authpihttp.RequireAccess("read", "projects", orgOf)
	for name, handler := range map[string]http.Handler{
		"RequireAgent":         s.app.RequireAgent(cors),
		"Bearer.Require":       api.Require(cors),
		"RequireAccess":        s.app.RequireAgent(access(cors)),
		"behind Bearer":        api.Require(access(cors)),
		"RequireRecent":        s.app.RequireAgent(s.app.RequireRecent(1)(cors)),
		"Bearer.RequireRecent": api.Require(api.RequireRecent(1)(cors)),
	} {
		preflight := map[string]string{"Origin": "https://spa.test", "Access-Control-Request-Method": "GET", "Accept": "*/*"}
		for _, tc := range []struct {
			name, without string
			passes        bool
		}{{"whole", "", true}, {"no origin", "Origin", false}, {"no method", "Access-Control-Request-Method", false}} {
			r, err := http.NewRequest(http.MethodOptions, "/orgs/org_1", nil)
			if err != nil {
				t.Fatal(err)
			}
			for header, value := range preflight {
				if header != tc.without {
					r.Header.Set(header, value)
				}
			}
			w := newRecorder()
			handler.ServeHTTP(w, r)
			if passes := w.Code == http.StatusNoContent; passes != tc.passes {
				t.Errorf("%s, %s: got %d; want it to pass: %t", name, tc.name, w.Code, tc.passes)
			}
		}
	}
}

// A preflight passes the guards, so nothing of what they guard may come back: a handler
// that looks at the path alone, as a file server does, would answer it in full.
func TestPreflightBringsNoContent(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	secret := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://spa.test")
		w.Header().Set("ETag", `"of-the-secret"`)
		_, _ = io.WriteString(w, "TOP SECRET")
	})
	readers := authpihttp.RequireAccess("read", "projects", orgOf)
	api, err := authpihttp.NewBearer(s.client, &authpihttp.BearerOptions{Audience: "https://api.test"})
	if err != nil {
		t.Fatal(err)
	}
	for name, guarded := range map[string]http.Handler{
		"RequireAgent":                    s.app.RequireAgent(secret),
		"RequireAgent and RequireAccess":  s.app.RequireAgent(readers(secret)),
		"RequireAgent and RequireRecent":  s.app.RequireAgent(s.app.RequireRecent(time.Minute)(secret)),
		"Bearer.Require":                  api.Require(secret),
		"Bearer.Require and access":       api.Require(readers(secret)),
		"RequireAccess alone, in between": readers(secret),
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodOptions, "/x", nil)
		r.Header.Set("Origin", "https://spa.test")
		r.Header.Set("Access-Control-Request-Method", "GET")
		guarded.ServeHTTP(w, r)
		if w.Body.Len() > 0 || w.Header().Get("ETag") != "" || w.Header().Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%s: got %q with %v; want the headers of CORS alone", name, w.Body, w.Header())
		}
	}
}
