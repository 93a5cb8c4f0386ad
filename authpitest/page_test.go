package authpitest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/authpitest"
)

// page fetches the sign-in page and returns it with its form as a browser would send
// it.
func (c rp) page(pairs ...string) (reply, url.Values) {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, c.authURL(pairs...), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r := c.do(req)
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(r.body, -1) {
		form.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return r, form
}

func TestSignInPage(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	r, form := c.page("resource", "https://a.example", "resource", "https://b.example")
	r.wantOK(t)
	if want, _ := url.Parse(c.authURL("resource", "https://a.example", "resource", "https://b.example")); form.Encode() != want.Query().Encode() {
		t.Errorf("form: got %v; want %v", form, want.Query())
	}
	for _, want := range []string{
		`<button type="submit" name="user" value="usr_ada"`, `data-initials="AL"`, `Ada Lovelace <code>usr_ada</code>`, "<strong>c_test</strong>",
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the page lacks %q:\n%s", want, r.body)
		}
	}
	form.Set("user", "usr_ada")
	back := c.do(c.request(http.MethodPost, "/authorize", form))
	callback, err := url.Parse(back.header.Get("Location"))
	if err != nil || back.status != http.StatusSeeOther || callback.Query().Get("state") != "st-1" {
		t.Fatalf("got %d %q", back.status, back.header.Get("Location"))
	}
	c.exchange(callback.Query().Get("code")).wantOK(t)

	// The cookie is the sign-in that prompt=none finds.
	req, _ := http.NewRequest(http.MethodGet, c.authURL("prompt", "none"), nil)
	if got := c.do(req).header.Get("Location"); !strings.Contains(got, "error=login_required") {
		t.Errorf("without cookie: got %q", got)
	}
	cookie, err := http.ParseSetCookie(back.header.Get("Set-Cookie"))
	if err != nil || !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode {
		t.Fatalf("cookie %v, %v", cookie, err)
	}
	req.AddCookie(cookie)
	if got := c.do(req).header.Get("Location"); !strings.Contains(got, "code=") {
		t.Errorf("with cookie: got %q", got)
	}
}

func TestSignInPageNames(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	c.srv.AddClient(authpitest.Client{ID: "c_test", Name: "Project board"})
	for _, u := range []authpitest.User{
		{ID: "usr_bare"}, {ID: "usr_noted", Name: "élodie de la Tour", Note: "Owner of Engines"}, {ID: "usr_blocked", Name: "Prince"},
	} {
		c.srv.AddUser(u)
	}
	c.srv.BlockUser("usr_blocked")
	r, _ := c.page()
	for _, want := range []string{
		"<strong>Project board</strong> asks", `data-initials="U"`, ">usr_bare </span>", `data-initials="ÉT"`, ">Owner of Engines</span>", `data-initials="P"`, ">blocked</span>",
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the page lacks %q:\n%s", want, r.body)
		}
	}
}

func TestSignInPageCancels(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	_, form := c.page()
	form.Set("cancel", "1")
	got := c.do(c.request(http.MethodPost, "/authorize", form)).header.Get("Location")
	if !strings.Contains(got, "error=access_denied") || !strings.Contains(got, "state=st-1") {
		t.Errorf("got %q; want access_denied", got)
	}
}

func TestSignInPageEscapes(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script>`
	c := inMemory(t, nil)
	c.srv.AddUser(authpitest.User{ID: "usr_" + evil, Name: "<b>" + evil, Email: evil})
	c.srv.AddClient(authpitest.Client{ID: "c_" + evil})
	r, form := c.page("client_id", "c_"+evil, "state", evil, "x"+evil, evil, "scope", "openid "+evil)
	r.wantOK(t)
	if strings.Contains(r.body, "<script") || strings.Contains(r.body, "<b>") {
		t.Errorf("not escaped:\n%s", r.body)
	}
	if form.Get("state") != evil || form.Get("x"+evil) != evil {
		t.Errorf("form: got %v", form)
	}
}

func TestPageHeaders(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	for name, pairs := range map[string][]string{"sign in": nil, "problem": {"client_id", "c_nope"}} {
		t.Run(name, func(t *testing.T) {
			r, _ := c.page(pairs...)
			_, after, _ := strings.Cut(r.body, "<style>")
			style, _, _ := strings.Cut(after, "</style>")
			sum := sha256.Sum256([]byte(style))
			csp := r.header.Get("Content-Security-Policy")
			for _, want := range []string{
				"default-src 'none'", "frame-ancestors 'none'",
				"style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
			} {
				if !strings.Contains(csp, want) {
					t.Errorf("CSP %q lacks %q", csp, want)
				}
			}
			if strings.Contains(csp, "form-action") {
				t.Errorf("CSP %q: form-action stops the redirect", csp)
			}
			if got := r.header.Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("X-Content-Type-Options: got %q", got)
			}
		})
	}
}

func TestSignInPageWithoutUsers(t *testing.T) {
	t.Parallel()
	srv := authpitest.NewInMemory(nil)
	r, _ := rp{t, srv}.page()
	if r.status != http.StatusOK || !strings.Contains(r.body, "no users yet") {
		t.Errorf("got %d %s", r.status, r.body)
	}
}
