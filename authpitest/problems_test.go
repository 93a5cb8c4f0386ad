package authpitest_test

import (
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/authpitest"
)

// What came, what is registered, and what changes that stands on the page, and in the
// error of SignIn.
func TestNotRegistered(t *testing.T) {
	t.Parallel()
	const evil = `https://app.example/"><script>alert(1)</script>`
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("https://app.example/%d%s", i, strings.Repeat("x", 1000))
	}
	c := inMemory(t, &authpitest.Options{
		RedirectURIs: []string{redirectURI, "https://app.example/b"}, PostLogoutRedirectURIs: []string{"https://app.example/bye"},
	})
	for _, client := range []authpitest.Client{{ID: "c_any"}, {ID: "c_none", RedirectURIs: []string{""}}, {ID: "c_many", RedirectURIs: many}} {
		c.srv.AddClient(client)
	}
	idToken := c.login().text("id_token")
	for _, tc := range []struct {
		name, url string
		want      string
	}{
		{"unknown client", c.authURL("client_id", "c_nope"),
			`The client_id "c_nope" is not registered. Registered: "c_any", "c_many", "c_none", "c_test". Correct what the app sends, or change Options.ClientID (of the issuer command: -client-id).`},
		{"no client", c.authURL("client_id", ""), `The client_id is missing or repeated.`},
		{"two clients", c.authURL("client_id", "c_test", "client_id", "c_any"), `The client_id is missing or repeated.`},
		{"a long client", c.authURL("client_id", strings.Repeat("é", 5000)), `The client_id "ééé`},
		{"another redirect", c.authURL("redirect_uri", redirectURI+"?x=1"),
			`The redirect_uri "` + redirectURI + `?x=1" is not registered. Registered: "` + redirectURI + `", "https://app.example/b". Correct what the app sends, or change Options.RedirectURIs (of the issuer command: -redirect).`},
		{"a hostile redirect", c.authURL("redirect_uri", evil), `The redirect_uri "https://app.example/\"><script>alert(1)</script>" is not registered.`},
		{"of a client without any", c.authURL("client_id", "c_none"), `" is not registered. Registered: none. Correct what the app sends, or change Client.RedirectURIs (of the issuer command: redirect_uris in the file of -people).`},
		{"of a client with many", c.authURL("client_id", "c_many"), `...", and 295 more. Correct`},
		{"no redirect", c.authURL("redirect_uri", ""), `The redirect_uri is missing or repeated.`},
		{"a script", c.authURL("client_id", "c_any", "redirect_uri", "javascript:alert(1)"), `The redirect_uri "javascript:alert(1)" is no absolute URI without a fragment.`},
		{"after a logout", c.endpoint("/logout?id_token_hint=" + idToken + "&post_logout_redirect_uri=https://app.example/"),
			`The post_logout_redirect_uri "https://app.example/" is not registered. Registered: "https://app.example/bye". Correct what the app sends, or change Options.PostLogoutRedirectURIs (of the issuer command: -after-logout).`},
		{"a script after a logout", c.endpoint("/logout?id_token_hint=" + idToken + "&post_logout_redirect_uri=javascript:alert(1)"),
			`The post_logout_redirect_uri "javascript:alert(1)" is no absolute URI without a fragment.`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := c.do(c.request(http.MethodGet, strings.TrimPrefix(tc.url, c.endpoint("")), nil))
			if page := html.UnescapeString(r.body); r.status != http.StatusBadRequest || !strings.Contains(page, tc.want) || strings.Contains(r.body, "<script") || len(r.body) > 10<<10 {
				t.Errorf("got %d\n%s\nwant %s", r.status, r.body, tc.want)
			}
			if !strings.Contains(tc.url, "/authorize?") {
				return
			}
			if _, err := c.srv.SignIn(tc.url, "usr_ada"); err == nil || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 2<<10 {
				t.Errorf("SignIn: got %v; want %s", err, tc.want)
			}
		})
	}
}
