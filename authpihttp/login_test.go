package authpihttp_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()

	a := b.get("/projects?page=2")
	if a.status != http.StatusSeeOther || a.location != "/auth/login?return_to=%2Fprojects%3Fpage%3D2" {
		t.Fatalf("page: got %d to %q; want 303 to the login", a.status, a.location)
	}
	if got := a.header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("page: got Cache-Control %q; want no-store", got)
	}
	a = b.get(a.location)
	if got := a.header.Values("Cache-Control"); got[0] != "no-store" {
		t.Errorf("login: got Cache-Control %q; want no-store", got)
	}
	if got := param(t, a.location, "scope"); got != "openid profile email" {
		t.Errorf("got scope %q; want openid profile email", got)
	}
	a = b.get(s.atIssuer(a.location, "usr_ada"))
	if a.status != http.StatusSeeOther || a.location != "/projects?page=2" {
		t.Fatalf("callback: got %d to %q, %v; want 303 to where the login came from", a.status, a.location, s.lastRefusal())
	}
	if cache, referrer := a.header.Get("Cache-Control"), a.header.Get("Referrer-Policy"); cache != "no-store" || referrer != "no-referrer" {
		t.Errorf("callback: got Cache-Control %q and Referrer-Policy %q; want no-store and no-referrer", cache, referrer)
	}
	a = b.get(a.location)
	if a.status != http.StatusOK || a.body != "usr_ada" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("page: got %d %q with Cache-Control %q", a.status, a.body, a.header.Get("Cache-Control"))
	}

	tokens := s.signIns()
	if len(tokens) != 1 {
		t.Fatalf("got %d sign-ins in the store; want 1", len(tokens))
	}
	a = b.send(http.MethodPost, "/auth/logout", map[string]string{"Sec-Fetch-Site": "same-origin"})
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, s.issuer.URL+"/logout?") {
		t.Fatalf("logout: got %d to %q; want 303 to the issuer", a.status, a.location)
	}
	if got := param(t, a.location, "id_token_hint"); got != tokens[0].IDToken {
		t.Errorf("got id_token_hint %q; want the ID token", got)
	}
	if got := param(t, a.location, "post_logout_redirect_uri"); got != origin+"/bye" {
		t.Errorf("got post_logout_redirect_uri %q", got)
	}
	if s.issuer.SessionAlive(tokens[0].RefreshToken) {
		t.Error("the refresh token was not revoked")
	}
	if left := s.store.copy(); len(left) != 0 {
		t.Errorf("got %d sessions left in the store; want 0", len(left))
	}
	b.wantUser("")
}

func TestLoginOptions(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.options.Scopes = []string{"openid", "offline_access"}
		made.options.Home = "/dashboard"
		made.options.Authorize = func(r *http.Request) *authpi.AuthorizationOptions {
			if r.FormValue("bad") != "" {
				return &authpi.AuthorizationOptions{MaxAge: -1}
			}
			return &authpi.AuthorizationOptions{Org: r.FormValue("org")}
		}
	})
	b := s.browser()
	a := b.get("/auth/login?org=org_2")
	if org, scope := param(t, a.location, "org"), param(t, a.location, "scope"); org != "org_2" || scope != "openid offline_access" {
		t.Errorf("got org %q and scope %q", org, scope)
	}
	if a = b.get(s.atIssuer(a.location, "usr_ada")); a.location != "/dashboard" {
		t.Errorf("got %q; want the home page", a.location)
	}
	if a = b.get("/auth/login?bad=1"); a.status != http.StatusInternalServerError || !strings.Contains(a.body, "our fault") {
		t.Errorf("got %d %s for options that cannot be sent; want 500, and no blame for the user", a.status, a.body)
	}
	s.mux.HandleFunc("/bare/login", s.app.Login)
	if a = b.send(http.MethodPost, "/bare/login", nil); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET" {
		t.Errorf("got %d for a posted login; want 405", a.status)
	}
}

func TestTwoTabs(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	first, second := b.start("/one"), b.start("/two")
	for _, tab := range []struct{ auth, want string }{{second, "/two"}, {first, "/one"}} {
		a := b.get(s.atIssuer(tab.auth, "usr_ada"))
		if a.status != http.StatusSeeOther || a.location != tab.want {
			t.Errorf("got %d to %q, %v; want 303 to %q", a.status, a.location, s.lastRefusal(), tab.want)
		}
	}
	b.wantUser("usr_ada")
	if got := len(s.signIns()); got != 1 {
		t.Errorf("got %d sign-ins in the store; want 1", got)
	}
}

func TestOpenLoginsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	var started []string
	for i := range 9 {
		started = append(started, b.start(fmt.Sprintf("/tab/%d", i)))
	}
	if a := b.get(s.atIssuer(started[0], "usr_ada")); a.status != http.StatusBadRequest {
		t.Errorf("the ninth-last login: got %d; want 400", a.status)
	}
	for i, auth := range started[1:] {
		want := fmt.Sprintf("/tab/%d", i+1)
		if a := b.get(s.atIssuer(auth, "usr_ada")); a.location != want {
			t.Errorf("got %d to %q; want %q", a.status, a.location, want)
		}
	}
}

func TestOpenLoginsExpire(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		wait time.Duration
		want int
	}{
		{"just in time", 10*time.Minute - time.Second, http.StatusSeeOther},
		{"too late", 10 * time.Minute, http.StatusBadRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, nil)
				b := s.browser()
				auth := b.start("")
				time.Sleep(tc.wait)
				if a := b.get(s.atIssuer(auth, "usr_ada")); a.status != tc.want {
					t.Errorf("got %d, %v; want %d", a.status, s.lastRefusal(), tc.want)
				}
			})
		})
	}
}

// Logins and callbacks of one browser at the same time: whoever loses gets a page
// that helps, and somebody wins.
func TestLoginsRace(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	var callbacks []string
	for range 6 {
		callbacks = append(callbacks, s.atIssuer(b.start("/x"), "usr_ada"))
	}
	callbacks = append(callbacks, callbacks[0]) // one of them twice
	var all sync.WaitGroup
	for _, callback := range callbacks {
		all.Go(func() {
			if a := b.get(callback); a.status != http.StatusSeeOther && a.status != http.StatusBadRequest {
				t.Errorf("got %d, %v", a.status, s.lastRefusal())
			}
		})
	}
	for range 4 {
		all.Go(func() { b.start("/y") })
	}
	all.Wait()
	b.get(s.atIssuer(b.start("/z"), "usr_ada"))
	b.wantUser("usr_ada")
}

// paths that look local to somebody, and those that are.
var (
	foreignPaths = []string{
		"", "home", "//evil.test", "///evil.test", "////evil.test", `/\evil.test`, `\\evil.test`, `\/evil.test`, `/\/evil.test`,
		`/\\evil.test`, "https://evil.test", "https:evil.test", "https:/evil.test", "HTTPS://evil.test", "//app.test", "https://app.test/x",
		"javascript:alert(1)", "data:text/html,x", "/%2fevil.test", "/%2Fevil.test", "/%5cevil.test", "/%5Cevil.test", "%2f%2fevil.test",
		"/%252fevil.test", "/%25252fevil.test", "/%255cevil.test", "/%2525252525255cevil.test", "/\t/evil.test", "/\n/evil.test", "/\r\n/evil.test",
		"\t//evil.test", " //evil.test", "/ /evil.test", "/%09/evil.test", "/%0a/evil.test", "/%0d%0aLocation:https://evil.test", "/%00",
		"/\x00/evil.test", "/\x7f", "/\u0085/evil.test", "/\u00a0/evil.test", "/\u2028/evil.test", "/.//evil.test", "/..//evil.test", "/./\\evil.test",
		"/%2e/%2fevil.test", "/%2e%2e//evil.test", "/x/..//evil.test", "/x/../../evil.test", "//user:pass@evil.test", "//evil.test@app.test",
		"//[::1]/", "?//evil.test", "#//evil.test", "/%zz", "/\xff", "/x\ny", "/?next=\n", "/" + strings.Repeat("x", 2048), "/auth/login", "/auth/%6cogin",
		"/auth//login", "/auth/login?return_to=/auth/login", "/auth/callback?code=x", "/ab\\cd",
	}
	localPaths = []string{
		"/x", "/x/", "/x?y=z&z=//w", "/x#part", "/x%20y", "/x%25252520y", "/100%25", "/a//b", "/@evil.test", "/user:pass@evil.test", "/x?u=https://evil.test/",
		"/..x", "/x..", "/.well-known/x", "/caf%C3%A9", "/" + strings.Repeat("x", 2047), "/auth/settings",
	}
)

func TestNoOpenRedirect(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	check := func(asked, want string) {
		t.Helper()
		a := b.get(s.atIssuer(b.start(asked), "usr_ada"))
		if a.status != http.StatusSeeOther || a.location != want {
			t.Errorf("return_to %q: got %d to %q; want 303 to %q", asked, a.status, a.location, want)
		}
	}
	for _, path := range foreignPaths {
		check(path, "/")
	}
	for _, path := range localPaths {
		check(path, path)
	}
	check("/café?q=ü", "/caf%C3%A9?q=%C3%BC")
}

// FuzzReturnTo holds what a login accepts against what browsers make of it.
func FuzzReturnTo(f *testing.F) {
	for _, path := range append(foreignPaths, localPaths...) {
		f.Add(path)
	}
	s := newSite(f, nil)
	base, _ := url.Parse(origin)
	f.Fuzz(func(t *testing.T, asked string) {
		r, err := http.NewRequest(http.MethodGet, origin+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		got := returnToOf(t, s, r, asked)
		if got == "" {
			return
		}
		// As the URL standard has it: tabs and newlines go, backslashes are slashes.
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.TrimFunc(got, func(c rune) bool { return c <= ' ' }))
		for range 3 {
			u, err := base.Parse(seen)
			if err != nil {
				return // decoded once too often
			}
			if u.Host != base.Host || u.Scheme != base.Scheme || strings.HasPrefix(u.Path, "//") {
				t.Fatalf("%q became %q, which leads to %s", asked, got, u)
			}
			if seen, err = url.PathUnescape(seen); err != nil {
				return
			}
			seen = strings.ReplaceAll(seen, `\`, "/")
		}
	})
}

// returnToOf is the way back that a page's redirect to the login has for a request
// target.
func returnToOf(t *testing.T, s *site, r *http.Request, target string) string {
	t.Helper()
	w := newRecorder()
	r.RequestURI = target
	s.handler.ServeHTTP(w, r)
	return param(t, w.Header().Get("Location"), "return_to")
}
