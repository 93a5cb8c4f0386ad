package authpihttp_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
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
	if cache, referrer := a.header.Get("Cache-Control"), a.header.Get("Referrer-Policy"); cache != "no-store" || referrer != "strict-origin" {
		t.Errorf("callback: got Cache-Control %q and Referrer-Policy %q; want no-store and strict-origin", cache, referrer)
	}
	a = b.get(a.location)
	if a.status != http.StatusOK || a.body != "usr_ada" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("page: got %d %q with Cache-Control %q", a.status, a.body, a.header.Get("Cache-Control"))
	}

	tokens, key := b.tokens(), b.recordKey()
	a = b.send(http.MethodPost, "/auth/logout", map[string]string{"Sec-Fetch-Site": "same-origin"})
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, s.issuer.URL+"/logout?") {
		t.Fatalf("logout: got %d to %q; want 303 to the issuer", a.status, a.location)
	}
	if got := param(t, a.location, "id_token_hint"); got != tokens.IDToken {
		t.Errorf("got id_token_hint %q; want the ID token", got)
	}
	if got := param(t, a.location, "post_logout_redirect_uri"); got != origin+"/bye" {
		t.Errorf("got post_logout_redirect_uri %q", got)
	}
	if s.issuer.SessionAlive(tokens.RefreshToken) {
		t.Error("the refresh token was not revoked")
	}
	if s.hasRecord(key) || b.cookie() != nil {
		t.Error("the sign-in is still there after the logout")
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
				return &authpi.AuthorizationOptions{MaxAge: 1}
			}
			return forOrganization(r)
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
	if a = b.send(http.MethodPost, "/auth/login", nil); a.status != http.StatusBadRequest {
		t.Errorf("got %d for a posted login of nobody; want 400", a.status)
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
	if left := b.logins(); len(left) != 0 {
		t.Errorf("got the login cookies %v; want none left", left)
	}
}

// Tabs that were opened at once, by a new visitor or by somebody with a cookie, each
// end on their own page, in any order.
func TestManyTabs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		before func(*browser)
		order  func(i int) int
	}{
		{"new visitor, in order", func(*browser) {}, func(i int) int { return i }},
		{"new visitor, the other way round", func(*browser) {}, func(i int) int { return 24 - i }},
		{"signed in before", func(b *browser) { b.signIn("usr_ada") }, func(i int) int { return i * 7 % 25 }},
		{"with an old cookie", func(b *browser) {
			b.signIn("usr_ada")
			b.store.set(func(st *store) { clear(st.items) })
		}, func(i int) int { return i * 11 % 25 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			b := s.browser()
			tc.before(b)
			var callbacks [25]string
			for i := range callbacks {
				callbacks[i] = s.atIssuer(b.start(fmt.Sprintf("/tab/%d", i)), "usr_ada")
			}
			for i := range callbacks {
				n := tc.order(i)
				if a := b.get(callbacks[n]); a.status != http.StatusSeeOther || a.location != fmt.Sprintf("/tab/%d", n) {
					t.Errorf("tab %d: got %d to %q, %v", n, a.status, a.location, s.lastRefusal())
				}
				b.wantUser("usr_ada")
			}
			if left := b.logins(); len(left) != 0 {
				t.Errorf("got %d login cookies; want none left", len(left))
			}
		})
	}
}

// Logins that are left do not pile up: servers answer 431 to long headers.
func TestAbandonedLoginsArePruned(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	var first, last string
	for i := range 1000 {
		last = b.start(fmt.Sprintf("/tab/%d", i))
		if i == 0 {
			first = last
		}
		s.advance(time.Millisecond)
	}
	header := 0
	for _, c := range b.cookies() {
		header += len(c.Name) + len(c.Value) + 3
	}
	if got := len(b.logins()); got > 25 || header > 4<<10 {
		t.Errorf("got %d login cookies and %d bytes; want at most 25 and 4 KB", got, header)
	}
	if a := b.get(s.atIssuer(last, "usr_ada")); a.location != "/tab/999" {
		t.Errorf("the last login: got %d to %q", a.status, a.location)
	}
	if a := b.get(s.atIssuer(first, "usr_ada")); a.location != "/tab/0" { // signed in by now
		t.Errorf("the first login: got %d to %q", a.status, a.location)
	}
	for name := range s.store.copy() {
		if len(name) != 43 {
			t.Errorf("got the store's key %q; want 43 characters", name)
		}
	}
}

// Planted cookies of the kind leave first, whatever their size.
func TestPlantedLoginsArePruned(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.start("/x")
	name := b.logins()[0]
	for i := range 30 {
		planted := strings.Replace(name, name[14:17], fmt.Sprintf("%03d", i), 1)
		b.setCookie(&http.Cookie{Name: planted, Value: strings.Repeat("x", 500)})
	}
	callback := s.atIssuer(b.start("/y"), "usr_ada")
	if got := len(b.logins()); got > 25 {
		t.Errorf("got %d login cookies; want at most 25", got)
	}
	if a := b.get(callback); a.location != "/y" {
		t.Errorf("got %d to %q, %v", a.status, a.location, s.lastRefusal())
	}
}

// Nothing is stored before somebody has signed in.
func TestCrawlersLeaveNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for range 1000 {
		b := s.browser()
		b.start("/x")
		b.get("/auth/callback?code=c&state=s")
		b.get(s.atIssuer(b.start("/x"), ""))
	}
	if got := len(s.store.copy()); got != 0 {
		t.Errorf("got %d entries in the store; want 0", got)
	}
}

func TestOpenLoginsExpire(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		wait time.Duration
		want string
	}{
		{"just in time", 10*time.Minute - time.Second, "/"},
		{"too late", 10 * time.Minute, "/auth/login?retry=1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, nil)
				b := s.browser()
				auth := b.start("")
				time.Sleep(tc.wait)
				if a := b.get(s.atIssuer(auth, "usr_ada")); a.location != tc.want {
					t.Errorf("got %d to %q, %v; want %q", a.status, a.location, s.lastRefusal(), tc.want)
				}
			})
		})
	}
}

// Logins and callbacks of one browser at the same time do not disturb each other.
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
			if a := b.get(callback); a.status != http.StatusSeeOther || a.location != "/x" {
				t.Errorf("got %d to %q, %v", a.status, a.location, s.lastRefusal())
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
		"\t//evil.test", " //evil.test", "/ /evil.test", "/%09/evil.test", "/%0a/evil.test", "/%0d%0a//evil.test",
		"/\x00/evil.test", "/\x7f", "/\u0085/evil.test", "/\u00a0/evil.test", "/\u2028/evil.test", "/.//evil.test", "/..//evil.test", "/./\\evil.test",
		"/%2e/%2fevil.test", "/%2e%2e//evil.test", "/x/..//evil.test", "/x/../../evil.test", "//user:pass@evil.test", "//evil.test@app.test",
		"//[::1]/", "?//evil.test", "#//evil.test", "/%zz", "/\xff", "/x\ny", "/?next=\n", "/" + strings.Repeat("x", 3072), "/auth/login", "/auth/%6cogin",
		"/auth//login", "/auth/login?return_to=/auth/login", "/auth/callback?code=x", "/ab\\cd", "/%5c%5cevil.test", "/%5c/evil.test", "/%2e%5cevil.test", "/x/%2e%2e/%2fevil.test", "/auth/logout",
	}
	localPaths = []string{
		"/x", "/x/", "/x?y=z&z=//w", "/x#part", "/x%20y", "/x%25252520y", "/100%25", "/a//b", "/@evil.test", "/user:pass@evil.test", "/x?u=https://evil.test/",
		"/..x", "/x..", "/.well-known/x", "/caf%C3%A9", "/" + strings.Repeat("x", 3071), "/auth/settings",
		"/files/a%2Fb%5Cc", "/files/a%252Fb", "/x%2F%2Fy", `/x?path=C:\dir&y=\\z`, "/x?state=s&code=c", "/x?error=e&state=s", "/x;y?z;w", "/x?%zz", "/%0d%0aLocation:https://evil.test", "/%00",
		"/x?" + strings.Repeat("y", 3069),
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
			t.Errorf("return_to %.80q: got %d to %q; want 303 to %q", asked, a.status, a.location, want)
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

// An address that is too long to come back to loses its query, which a line in the log
// says without it. Not parallel: the default logger is everybody's.
func TestLongDeepLink(t *testing.T) {
	out := defaultLog(t, slog.LevelInfo)
	s := newSite(t, nil)
	b := s.browser()
	for _, tc := range []struct{ name, path, want, log string }{
		{"a query too long", "/deep/link?q=" + strings.Repeat("secret", 600), "/deep/link", "path=/deep/link\n"},
		{"a query that grows too long in ASCII", "/auth/login?return_to=" + url.QueryEscape("/deep/link?q=secret"+strings.Repeat("é", 700)), "/deep/link", "path=/deep/link\n"},
		{"a path that grows too long in ASCII", "/auth/login?return_to=" + url.QueryEscape("/deep/"+strings.Repeat("x", 2<<10)+strings.Repeat("é", 200)), "/", "path=/deep/xxxx"},
		{"a path too long", "/deep/" + strings.Repeat("x", 3<<10) + "?q=secret", "/", "path=/deep/xxxx"},
	} {
		out.Reset()
		a := b.get(tc.path)
		if !strings.HasPrefix(a.location, s.issuer.URL) {
			a = b.get(a.location)
		}
		if a = b.get(s.atIssuer(a.location, "usr_ada")); a.location != tc.want {
			t.Errorf("%s: got %d to %.80q; want %q", tc.name, a.status, a.location, tc.want)
		}
		if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, tc.log) || strings.Contains(got, "secret") || len(got) > 1<<10 {
			t.Errorf("%s: got the log %q; want one line with the path", tc.name, got)
		}
		b.send(http.MethodPost, "/auth/logout", nil)
	}
}

// Without Register nothing has refused a client that signs nobody in.
func TestLoginWithoutRedirectURI(t *testing.T) {
	t.Parallel()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: "https://idp.authpi.test/i_1", ClientID: clientID})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	authpihttp.New(client, nil, &authpihttp.Options{Error: authpihttp.WriteError}).Login(w, httptest.NewRequest("GET", "/auth/login", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("got %d; want 500", w.Code)
	}
}
