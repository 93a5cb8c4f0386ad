package authpihttp_test

import (
	"net/http"
	"strings"
	"testing"
)

// The issuer knows the user by now, so a callback that is sent to the login comes
// back at once, and so for ever.
func TestMisplacedCallback(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		redirect string // path of the client's RedirectURI
		callback string // where it arrives; empty: there
		user     string
		want     string // in the error
	}{
		{"another path", "/callback", "", "usr_ada", `RedirectURI has path "/callback", but the callback is mounted at "/auth/callback"`},
		{"refused", "/callback", "", "", `has path "/callback"`},
		{"home page", "/", "", "usr_ada", `has path "/", but`},
		{"login handler", "/auth/login", "", "usr_ada", `has path "/auth/login", but`},
		{"behind a proxy that takes a prefix away", "/app/callback", "/callback", "usr_ada", `has path "/app/callback", but`},
		{"behind a proxy that adds one", "/auth/callback", "/v2/auth/callback", "usr_ada", `must be mounted at "/auth/callback"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(made *setup) { made.client.RedirectURI = origin + tc.redirect })
			b := s.browser()
			callback := s.atIssuer(b.start("/x"), tc.user)
			code, state := param(t, callback, "code"), param(t, callback, "state")
			if tc.callback != "" {
				callback = strings.Replace(callback, tc.redirect, tc.callback, 1)
			}
			a := b.get(callback)
			if a.status != http.StatusInternalServerError || a.location != "" || a.header.Get("Referrer-Policy") != "no-referrer" {
				t.Fatalf("got %d to %q, %v; want 500", a.status, a.location, a.header)
			}
			if got := s.lastRefusal().Error(); !strings.Contains(got, tc.want) || code != "" && strings.Contains(got, code) {
				t.Errorf("got %q; want %q", got, tc.want)
			}
			wantNoSecrets(t, a, code, state)
			// Another browser has no such login, but the path tells.
			if tc.callback == "" {
				if a = s.browser().get(callback); a.status != http.StatusInternalServerError {
					t.Errorf("without the session: got %d to %q; want 500", a.status, a.location)
				}
			}
		})
	}
}

// Behind a proxy that takes a prefix away everything may be right.
func TestCallbackBehindPrefix(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.client.RedirectURI = origin + "/app/auth/callback" })
	s.handler = http.StripPrefix("/app", s.handler)
	b := s.browser()
	authURL := b.get("/app/auth/login?return_to=/x").location
	if a := b.get(s.atIssuer(authURL, "usr_ada")); a.status != http.StatusSeeOther || a.location != "/x" {
		t.Errorf("got %d to %q, %v; want 303 to /x", a.status, a.location, s.lastRefusal())
	}
}

// A page may be the callback of another service. That is no mistake; but no login
// carries its code along.
func TestCallbackOfAnotherService(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.start("/x")
	for path, want := range map[string]string{
		"/github?code=sesame&state=theirs":         "/auth/login",
		"/github?error=access_denied&state=theirs": "/auth/login",
		"/search?state=open":                       "/auth/login?return_to=%2Fsearch%3Fstate%3Dopen",
		"/search?code=1":                           "/auth/login?return_to=%2Fsearch%3Fcode%3D1",
	} {
		if a := b.get(path); a.status != http.StatusSeeOther || a.location != want {
			t.Errorf("%s: got %d to %q; want 303 to %q", path, a.status, a.location, want)
		}
	}
}
