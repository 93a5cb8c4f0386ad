package authpihttp_test

import (
	"net/http"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
)

// Two tenants have an issuer and an App each, and one store. An issuer may say of
// anybody what it likes, but to its own tenant only: neither's cookies or callbacks
// mean anything to the other, whatever their authorization endpoints look like.
func TestTenants(t *testing.T) {
	t.Parallel()
	key := [][]byte{[]byte(strings.Repeat("k", 32))}
	shared := func(made *setup) { made.options.Keys = key }
	elsewhere := func(query string) func(*setup) {
		return func(made *setup) {
			made.client.Endpoints = authpi.Endpoints{
				Authorization: "https://login.test/authorize" + query, Token: "https://idp.authpi.test/other/token",
				JWKS: "https://idp.authpi.test/other/jwks.json",
			}
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*setup)
	}{
		{"another issuer", func(made *setup) { made.issuer.Path = "/other" }},
		{"another client", func(made *setup) { made.issuer.ClientID, made.client.ClientID = "c_other", "c_other" }},
		{"one authorization endpoint, another query", func(made *setup) { made.issuer.Path = "/other"; elsewhere("?tenant=other")(made) }},
		{"one authorization endpoint", func(made *setup) { made.issuer.Path = "/other"; elsewhere("")(made) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mallory := newSite(t, shared)
			victim := newSite(t, func(made *setup) { shared(made); tc.change(made); made.store = mallory.store })
			here, there := mallory.browser(), victim.browser()
			here.signIn("usr_ada")

			// Her cookie, under either name.
			login := there.get("/auth/login")
			callback := "/auth/callback?code=c&state=" + param(t, login.location, "state")
			own := there.logins()[0]
			suffix := own[len(own)-8:]
			there.setCookie(here.cookie())
			there.setCookie(&http.Cookie{Name: "__Host-authpi-" + suffix, Value: here.cookie().Value})
			there.wantUser("")
			mallory.expire()
			victim.expire()
			there.wantUser("")
			there.send(http.MethodPost, "/auth/logout", nil)
			if got := victim.issuer.Requests("token") + victim.issuer.Requests("revoke"); got != 0 {
				t.Errorf("got %d requests with another issuer's tokens; want 0", got)
			}

			// Nor does a login of the one take the other's callback, even with its
			// cookie.
			stranger := mallory.browser()
			mine := stranger.logins
			stranger.start("/y")
			for _, c := range there.cookies() {
				if signInName.MatchString(c.Name) {
					continue
				}
				stranger.setCookie(c)
				stranger.setCookie(&http.Cookie{Name: strings.Replace(c.Name, suffix, mine()[0][len(own)-8:], 1), Value: c.Value})
			}
			if a := stranger.get(callback); a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, "/auth/login?retry=1") {
				t.Errorf("a callback of the other tenant's: got %d to %q; want a new login", a.status, a.location)
			}
			if got := mallory.issuer.Grants("authorization_code"); got != 1 {
				t.Errorf("got %d exchanges; want her own alone", got)
			}
			here.wantUser("usr_ada")
		})
	}
}
