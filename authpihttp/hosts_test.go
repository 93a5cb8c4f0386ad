package authpihttp_test

import (
	"bytes"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// A login takes the redirect URI of the request's host, else the first.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.client.RedirectURIs = []string{"https://b.test/auth/callback", "https://c.test:8443/auth/callback"}
	})
	for _, tc := range []struct{ host, want string }{
		{"app.test", origin + "/auth/callback"},
		{"b.test", "https://b.test/auth/callback"},
		{"B.test:443", "https://b.test/auth/callback"},
		{"c.test:8443", "https://c.test:8443/auth/callback"},
		{"c.test", origin + "/auth/callback"},
		{"internal:8080", origin + "/auth/callback"},
	} {
		t.Run(tc.host, func(t *testing.T) {
			b := s.browser()
			a := b.get("https://" + tc.host + "/auth/login?return_to=/x")
			if got := param(t, a.location, "redirect_uri"); got != tc.want {
				t.Fatalf("got redirect_uri %q; want %q", got, tc.want)
			}
			if strings.HasPrefix(tc.want, "https://"+strings.ToLower(strings.TrimSuffix(tc.host, ":443"))) {
				if a = b.get(s.atIssuer(a.location, "usr_ada")); a.location != "/x" {
					t.Errorf("got %d to %q, %v", a.status, a.location, s.lastRefusal())
				}
				if a = b.get(strings.TrimSuffix(tc.want, "/auth/callback") + "/"); a.body != "usr_ada" {
					t.Errorf("got %d %q; want to be signed in there", a.status, a.body)
				}
			}
		})
	}
}

// Whoever signs out comes back to the host that they were on: the page there asks for
// a cookie of that host, and at another one would start a login.
func TestSignedOutOnSeveralHosts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, after, host, want string }{
		{"first host", origin + "/auth/signed-out", "app.test", origin + "/auth/signed-out"},
		{"second host", origin + "/auth/signed-out?a=b", "b.test", "https://b.test/auth/signed-out?a=b"},
		{"its own port", origin + "/auth/signed-out", "c.test:8443", "https://c.test:8443/auth/signed-out"},
		{"a page of the app's own", origin + "/bye", "b.test", origin + "/bye"},
		{"another app's page", "https://other.test/auth/signed-out", "b.test", "https://other.test/auth/signed-out"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(made *setup) {
				made.client.RedirectURIs = []string{"https://b.test/auth/callback", "https://c.test:8443/auth/callback"}
				made.options.PostLogoutRedirectURI = tc.after
			})
			b, base := s.browser(), "https://"+tc.host
			b.get(s.atIssuer(b.get(base+"/auth/login").location, "usr_ada"))
			a := b.send("POST", base+"/auth/logout", map[string]string{"Sec-Fetch-Site": "same-origin"})
			if got := param(t, a.location, "post_logout_redirect_uri"); got != tc.want {
				t.Errorf("got %q; want %q", got, tc.want)
			}
		})
	}
}

// Hosts that share a cookie domain share the sign-in, and refresh it once.
func TestCookieDomain(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.client.RedirectURI = "https://one.app.test/auth/callback"
		made.client.RedirectURIs = []string{"https://two.app.test/auth/callback"}
		made.options.CookieDomain = "app.test"
	})
	b := s.browser()
	a := b.get("https://one.app.test/auth/login")
	if a = b.get(s.atIssuer(a.location, "usr_ada")); a.location != "/" {
		t.Fatalf("got %d to %q, %v", a.status, a.location, s.lastRefusal())
	}
	for _, cookie := range a.header.Values("Set-Cookie") {
		if strings.HasPrefix(cookie, "__Secure-authpi-") && (!strings.Contains(cookie, "Domain=app.test") || !strings.Contains(cookie, "Secure")) {
			t.Errorf("got the cookie %q; want it of the domain", cookie)
		}
	}
	s.expire()
	for _, host := range []string{"one", "two", "two", "one"} {
		if a = b.get("https://" + host + ".app.test/"); a.body != "usr_ada" {
			t.Errorf("%s: got %d %q", host, a.status, a.body)
		}
	}
	if got := s.issuer.Grants("refresh_token"); got != 1 {
		t.Errorf("got %d refreshes; want 1", got)
	}
	b.send("POST", "https://two.app.test/auth/logout", map[string]string{"Sec-Fetch-Site": "same-origin"})
	if a = b.get("https://one.app.test/"); a.status != http.StatusSeeOther {
		t.Errorf("signed out: got %d %q", a.status, a.body)
	}
}

func TestRedirectOutsideOfCookieDomain(t *testing.T) {
	t.Parallel()
	for domain, ok := range map[string]bool{"app.test": true, ".app.test": true, "test": true, "APP.test": true, "pp.test": false, "other.test": false, "x.app.test": false} {
		client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: "https://idp.test", ClientID: "c", RedirectURI: origin + "/auth/callback"})
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if got := recover() == nil; got != ok {
					t.Errorf("%s: accepted: %t; want %t", domain, got, ok)
				}
			}()
			authpihttp.New(client, nil, &authpihttp.Options{CookieDomain: domain})
		}()
	}
}

// Cookies are of the kind that the redirect URI's scheme allows, whatever r.TLS or a
// header says.
func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, redirect, prefix string
		secure                 bool
	}{
		{"https", origin + "/auth/callback", "__Host-authpi-", true},
		{"http on loopback", "http://127.0.0.1:8080/auth/callback", "authpi-", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(made *setup) { made.client.RedirectURI = tc.redirect })
			r, err := http.NewRequest("GET", "http://internal:8080/auth/login", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Forwarded-Proto", "http")
			w := newRecorder()
			s.handler.ServeHTTP(w, r)
			cookies := w.Result().Cookies()
			if len(cookies) != 1 {
				t.Fatalf("got %v; want one cookie", cookies)
			}
			c := cookies[0]
			if !strings.HasPrefix(c.Name, tc.prefix) || c.Secure != tc.secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 600 {
				t.Errorf("got %q", w.Header().Get("Set-Cookie"))
			}
		})
	}
}

// localhost and 127.0.0.1 do not share cookies: both names are in the log, and the
// error page leads to the right one. Not parallel: the default logger is
// everybody's.
func TestLocalhostAnd127001(t *testing.T) {
	out := defaultLog(t, slog.LevelInfo)
	s := newSite(t, func(made *setup) { made.client.RedirectURI = "http://127.0.0.1:8080/auth/callback" })
	visit := func(target string, cookies ...*http.Cookie) *http.Response {
		r, err := http.NewRequest("GET", target, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RequestURI = r.URL.RequestURI()
		r.Header.Set("Accept", "text/html")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := newRecorder()
		s.handler.ServeHTTP(w, r)
		return w.Result()
	}
	login := visit("http://localhost:8080/auth/login")
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "localhost:8080") || !strings.Contains(got, "127.0.0.1:8080") {
		t.Errorf("got the log %q; want both names", got)
	}
	callback := s.atIssuer(login.Header.Get("Location"), "usr_ada")
	again := visit(callback) // without localhost's cookie
	if again.StatusCode != http.StatusSeeOther || !strings.HasPrefix(again.Header.Get("Location"), "/auth/login?retry=1") {
		t.Fatalf("got %d to %q; want a new login there", again.StatusCode, again.Header.Get("Location"))
	}
	out.Reset()
	login = visit("http://127.0.0.1:8080"+again.Header.Get("Location"), again.Cookies()...)
	if got := out.String(); got != "" {
		t.Errorf("got the log %q; want none for the right host", got)
	}
	if landed := visit(s.atIssuer(login.Header.Get("Location"), "usr_ada"), login.Cookies()...); landed.Header.Get("Location") != "/" {
		t.Errorf("got %d to %q", landed.StatusCode, landed.Header.Get("Location"))
	}
	page := visit("http://localhost:8080/auth/login?retry=1")
	var body bytes.Buffer
	_, _ = body.ReadFrom(page.Body)
	if page.StatusCode != http.StatusBadRequest || !strings.Contains(body.String(), `href="http://127.0.0.1:8080/`) {
		t.Errorf("got %d %s; want a page that links to the right host", page.StatusCode, body.String())
	}
}

// A login that begins at a host of no redirect URI ends at another one. The log names
// both, once for each host, however many somebody makes up.
func TestLoginAtAnotherHost(t *testing.T) {
	out := defaultLog(t, slog.LevelInfo)
	s := newSite(t, func(made *setup) {
		made.client.RedirectURIs = []string{"https://b.test:8443/auth/callback"}
	})
	login := func(method, host string, header map[string]string) string {
		t.Helper()
		out.Reset()
		s.browser().send(method, "https://"+host+"/auth/login", header)
		return out.String()
	}
	for _, tc := range []struct{ name, method, host, header, want string }{
		{"the first one", "GET", "app.test", "", ""},
		{"its port and case", "GET", "APP.test:443", "", ""},
		{"the second one", "GET", "b.test:8443", "", ""},
		{"HEAD starts no login", "HEAD", "b.test", "", ""},
		{"nor does a prefetch", "GET", "b.test", "prefetch", ""},
		{"without the port", "GET", "b.test", "", "host=b.test redirect_host=app.test"},
		{"once more", "GET", "B.test:443", "", ""},
		{"one that was not listed", "GET", "www.app.test", "", "host=www.app.test redirect_host=app.test"},
		{"behind a proxy", "GET", "10.0.0.7:8080", "", "host=10.0.0.7:8080 redirect_host=app.test"},
		{"a long one", "GET", strings.Repeat("x", 100<<10) + ".test", "", "host=xxxxx"},
	} {
		got := login(tc.method, tc.host, map[string]string{"Sec-Purpose": tc.header})
		if tc.want == "" && got != "" || strings.Count(got, "\n") > 1 || len(got) > 1<<10 {
			t.Errorf("%s: got log %q", tc.name, got)
		}
		if tc.want != "" && (!strings.Contains(got, "level=WARN") || !strings.Contains(got, tc.want)) {
			t.Errorf("%s: got log %q; want a warning with %s", tc.name, got, tc.want)
		}
	}
	lines := 0
	for i := range 200 {
		lines += strings.Count(login("GET", fmt.Sprintf("made-up-%d.test", i), nil), "\n")
	}
	if lines > 10 {
		t.Errorf("200 hosts that somebody made up left %d lines", lines)
	}
	s.advance(time.Hour)
	if got := login("GET", "c.test", nil); !strings.Contains(got, "host=c.test") {
		t.Errorf("an hour later: got log %q; want a warning", got)
	}
}

// A proxy takes BasePath away; every address that leaves the app has it.
func TestBasePath(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.options.BasePath, made.client.RedirectURI = "portal/", origin+"/portal/auth/callback"
	})
	inner := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, found := strings.CutPrefix(r.URL.Path, "/portal")
		if !found {
			t.Errorf("a request for %s left the app's path", r.URL.Path)
		}
		r.URL.Path, r.RequestURI, r.Host = path, strings.TrimPrefix(r.RequestURI, "/portal"), "10.0.0.7:8080"
		inner.ServeHTTP(w, r)
	})
	b := s.browser()
	a := b.get("/portal/x?y=z")
	if want := "/portal/auth/login?return_to=" + url.QueryEscape("/portal/x?y=z"); a.location != want {
		t.Fatalf("got %q; want %q", a.location, want)
	}
	a = b.get(b.atIssuer(b.get(a.location).location, "usr_ada"))
	if a.location != "/portal/x?y=z" {
		t.Fatalf("got %d to %q, %v", a.status, a.location, s.lastRefusal())
	}
	if a = b.get("/portal/auth/login"); b.get(b.atIssuer(a.location, "usr_ada")).location != "/portal/" {
		t.Error("a login without return_to does not end at Home below BasePath")
	}
	for _, c := range b.cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") {
			t.Errorf("got the cookie %s", c.Name)
		}
	}
	a = b.get("/portal/auth/login?iss=https://evil.test")
	if !strings.Contains(a.body, `href="/portal/"`) || !strings.Contains(a.body, `action="/portal/auth/logout"`) {
		t.Errorf("got %s; want links below BasePath", a.body)
	}
	if a = b.get("/portal/auth/logout"); !strings.Contains(a.body, `action="/portal/auth/logout"`) {
		t.Errorf("got %s", a.body)
	}
	s.advance(2 * time.Minute)
	if a = b.send("POST", "/portal/auth/logout", map[string]string{"Origin": origin}); a.status != http.StatusSeeOther {
		t.Errorf("a logout behind another Host: got %d", a.status)
	}
}

// Logins are pruned on hosts that share a sign-in, too.
func TestPruningWithCookieDomain(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.options.CookieDomain = "app.test" })
	b := s.browser()
	for range 60 {
		b.start("/x")
	}
	if got := len(b.logins()); got != 25 {
		t.Errorf("got %d login cookies; want 25", got)
	}
}

// Whatever an app behind BasePath answers, each address of its own that leaves it is
// below BasePath.
func TestBasePathInEveryAddress(t *testing.T) {
	t.Parallel()
	const base = "/portal"
	s := newSite(t, func(made *setup) {
		made.options.BasePath, made.options.Home = base, "/start"
		made.client.RedirectURI = origin + base + "/auth/callback"
		made.options.PostLogoutRedirectURI = origin + base + "/auth/signed-out"
		made.issuer.PostLogoutRedirectURIs = []string{made.options.PostLogoutRedirectURI}
		made.options.Authorize = func(r *http.Request) *authpi.AuthorizationOptions {
			if r.FormValue("silent") != "" {
				return &authpi.AuthorizationOptions{Prompt: []string{"none"}}
			}
			return nil
		}
	})
	s.mux.Handle("/gold", s.app.RequireAgent(s.app.RequireRecent(0, "gold")(http.HandlerFunc(s.whoami))))
	s.mux.Handle("/forbidden", s.app.RequireAgent(authpihttp.RequireAccess("x", "y", func(*http.Request) string { return "org_none" })(http.HandlerFunc(s.whoami))))
	inner := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path, r.RequestURI = strings.TrimPrefix(r.URL.Path, base), strings.TrimPrefix(r.RequestURI, base); r.URL.Path == "" {
			t.Errorf("a request for %s", r.RequestURI)
		}
		inner.ServeHTTP(w, r)
	})
	address := regexp.MustCompile(`(?:href|action)="([^"]*)"`)
	b := s.browser()
	seen := 0
	// visit follows the app's own redirects, and the issuer's.
	visit := func(name, user, method, path string, header map[string]string) answer {
		t.Helper()
		a := b.send(method, base+path, header)
		for range 6 {
			places := []string{a.location}
			for _, m := range address.FindAllStringSubmatch(a.body, -1) {
				places = append(places, html.UnescapeString(m[1]))
			}
			for _, place := range places {
				if place == "" || strings.HasPrefix(place, s.issuer.URL) {
					continue
				}
				seen++
				back := param(t, place, "return_to")
				if !strings.HasPrefix(place, base+"/") || back != "" && !strings.HasPrefix(back, base+"/") {
					t.Errorf("%s: got the address %q; want it below %s", name, place, base)
				}
			}
			switch {
			case strings.HasPrefix(a.location, s.issuer.URL+"/logout"):
				a = b.get(param(t, a.location, "post_logout_redirect_uri") + "?state=" + param(t, a.location, "state"))
			case strings.HasPrefix(a.location, s.issuer.URL):
				a = b.get(s.atIssuer(a.location, user))
			case a.location != "":
				a = b.get(a.location)
			default:
				return a
			}
		}
		return a
	}
	for _, tc := range []struct {
		name, user, method, path string
		header                   map[string]string
	}{
		{"a callback of nobody", "usr_ada", "GET", "/auth/callback?code=c&state=s", nil},
		{"signing out", "", "POST", "/auth/logout", nil},
		{"signing out once more", "", "POST", "/auth/logout", nil},
		{"a form of nobody", "usr_ada", "POST", "/x", map[string]string{"Referer": origin + base + "/edit?x=1"}},
		{"a page", "usr_ada", "GET", "/x?y=z", nil},
		{"a step-up", "usr_ada", "GET", "/gold?x=1", nil},
		{"a forbidden page", "", "GET", "/forbidden", nil},
		{"a login of its own", "usr_ada", "GET", "/auth/login", nil},
		{"a silent login", "", "GET", "/auth/login?silent=1&return_to=" + base + "/x", nil},
		{"a third party's login", "usr_ada", "GET", "/auth/login?iss=" + url.QueryEscape(s.issuer.URL) + "&target_link_uri=" + url.QueryEscape(origin+base+"/x"), nil},
		{"a foreign login", "", "GET", "/auth/login?iss=https://evil.test", nil},
		{"a cancelled login", "", "GET", "/auth/login", nil},
		{"a callback that is too long", "", "GET", "/auth/callback?code=" + strings.Repeat("c", 70<<10), nil},
		{"a logout from elsewhere", "", "POST", "/auth/logout", map[string]string{"Sec-Fetch-Site": "cross-site"}},
		{"the logout's page", "", "GET", "/auth/logout", nil},
		{"the signed-out page", "", "GET", "/auth/signed-out", nil},
		{"a wrong method", "", "HEAD", "/auth/callback", nil},
	} {
		visit(tc.name, tc.user, tc.method, tc.path, tc.header)
	}
	if seen < 25 {
		t.Errorf("saw %d addresses; want more", seen)
	}
}
