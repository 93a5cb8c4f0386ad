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
		base     string
		user     string
		want     string // in the error
	}{
		{"another path", "/callback", "", "", "usr_ada", `RedirectURI has path "/callback", but the callback is mounted at "/auth/callback"`},
		{"refused", "/callback", "", "", "", `has path "/callback"`},
		{"home page", "/", "", "", "usr_ada", `has path "/", but`},
		{"login handler", "/auth/login", "", "", "usr_ada", `has path "/auth/login", but`},
		{"behind a proxy that takes a prefix away", "/app/callback", "/callback", "", "usr_ada", `has path "/app/callback", but`},
		{"behind a proxy that adds one", "/auth/callback", "/v2/auth/callback", "", "usr_ada", `must be mounted at "/auth/callback"`},
		{"behind a proxy that takes too much away", "/shop/auth/callback", "/callback", "/shop", "usr_ada", `must be mounted at "/auth/callback"`},
		{"behind a proxy that takes another start away", "/auth/callback", "/callback", "/shop", "usr_ada", `has path "/auth/callback", but the callback is mounted at "/shop/auth/callback"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(made *setup) {
				made.client.RedirectURI, made.options.BasePath = origin+tc.redirect, tc.base
			})
			b := s.browser()
			callback := s.atIssuer(b.start("/x"), tc.user)
			code, state := param(t, callback, "code"), param(t, callback, "state")
			if tc.callback != "" {
				callback = strings.Replace(callback, tc.redirect, tc.callback, 1)
			}
			a := b.get(callback)
			if a.status != http.StatusInternalServerError || a.location != "" || a.header.Get("Referrer-Policy") != "strict-origin" {
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
