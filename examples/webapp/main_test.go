package main

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/webapp/stage"
)

// world is the app, its issuer and their common clock.
type world struct {
	t      *testing.T
	app    *httptest.Server
	issuer *stage.Issuer
	ahead  atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, "memory", "")
}

func newWorldOn(t *testing.T, kind, storeURL string) *world {
	t.Helper()
	w := &world{t: t}
	var handler http.Handler
	w.app = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(w.app.Close)
	st, err := openStore(t.Context(), kind, storeURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := authpi.Config{Coordinator: st.refresh, Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }}
	a, err := newSite(cfg, w.app.URL, st.signIns, 2*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	w.issuer = a.embedded.Issuer
	t.Cleanup(w.issuer.Close)
	handler = a.handler()
	return w
}

func (w *world) later(d time.Duration) {
	w.issuer.Advance(d)
	w.ahead.Add(int64(d))
}

// browser keeps cookies and follows redirects.
func (w *world) browser() *browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{w, &http.Client{Jar: jar, Timeout: 30 * time.Second}}
}

type browser struct {
	*world
	http *http.Client
}

type shown struct {
	status int
	url    *url.URL
	body   string
	header http.Header
}

func (b *browser) do(r *http.Request, err error) shown {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return shown{resp.StatusCode, resp.Request.URL, string(body), resp.Header}
}

func (b *browser) get(target string) shown {
	b.t.Helper()
	r, err := http.NewRequest("GET", target, nil)
	if err == nil {
		r.Header.Set("Accept", "text/html")
	}
	return b.do(r, err)
}

func (b *browser) post(target string, form url.Values, site string) shown {
	b.t.Helper()
	r, err := http.NewRequest("POST", target, strings.NewReader(form.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Site", site)
	}
	return b.do(r, err)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// signIn goes through the issuer's page.
func (b *browser) signIn(field, value string) shown {
	b.t.Helper()
	return b.signInAt("/auth/login", field, value)
}

func (b *browser) signInAt(path, field, value string) shown {
	b.t.Helper()
	return b.answer(b.get(b.app.URL+path), field, value)
}

// answer fills in the issuer's page.
func (b *browser) answer(page shown, field, value string) shown {
	b.t.Helper()
	if !strings.HasPrefix(page.url.String(), b.issuer.URL+"/authorize?") {
		b.t.Fatalf("the login led to %s", page.url.Path)
	}
	form := url.Values{field: {value}}
	for _, match := range hidden.FindAllStringSubmatch(page.body, -1) {
		form.Add(html.UnescapeString(match[1]), html.UnescapeString(match[2]))
	}
	return b.post(b.issuer.URL+"/authorize", form, "same-origin")
}

func (b *browser) sessionID() string {
	b.t.Helper()
	u, err := url.Parse(b.app.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.http.Jar.Cookies(u) {
		if c.Name == "session" {
			return c.Value
		}
	}
	return ""
}

func want(t *testing.T, page shown, status int, texts ...string) {
	t.Helper()
	if page.status != status {
		t.Errorf("%s: got status %d; want %d", page.url.Path, page.status, status)
	}
	for _, text := range texts {
		if !strings.Contains(html.UnescapeString(page.body), text) {
			t.Errorf("%s lacks %q:\n%s", page.url.Path, text, page.body)
		}
	}
	if strings.Contains(page.body, "eyJ") {
		t.Error("a page shows a token")
	}
}

// act posts one of the app's own forms.
func (b *browser) act(path string, form url.Values) shown {
	b.t.Helper()
	return b.post(b.app.URL+path, form, "same-origin")
}

func rotations(page shown) int { return strings.Count(page.body, "<time ") }

func TestSignInToLogout(t *testing.T) {
	b := newWorld(t).browser()
	want(t, b.get(b.app.URL), 200, "Sign in")
	page := b.signIn("user", "usr_ada")
	want(t, page, 200, "Ada Lovelace", "ada@example.com", "Analytical Engines", "org_engines", "Poetry Society", "None yet",
		`http-equiv="refresh"`, "Expires in", "Refreshes every 10 s")
	if page.url.Path != "/" || page.url.RawQuery != "" {
		t.Errorf("signed in at %s; want /", page.url)
	}
	if allowed := strings.Count(page.body, "✓ yes"); allowed != 4+5 {
		t.Errorf("%d checks are allowed; want 4 in org_engines and 5 in org_poetry", allowed)
	}
	before := b.sessionID()
	b.signIn("user", "usr_ada")
	if len(before) != 43 || b.sessionID() == before {
		t.Error("another sign-in did not renew the session ID")
	}
	for range 2 {
		page = b.act("/pause", url.Values{"paused": {"true"}})
		want(t, b.get(b.app.URL), 200, "Paused", "Resume")
		if strings.Contains(page.body, "http-equiv") || strings.Contains(page.body, "Refreshes every") {
			t.Error("a paused page loads anew all the same")
		}
	}
	want(t, b.act("/pause", url.Values{"paused": {"false"}}), 200, "Refreshes every 10 s", "Pause")

	// Rotation, with a membership that has changed.
	page = b.act("/issuer/membership", url.Values{"org": {"org_observatory"}, "role": {"Reader"}})
	want(t, page, 200, "arrives with the next refresh", "None yet")
	b.later(50 * time.Second)
	want(t, b.get(b.app.URL), 200, "None yet", "org_poetry")
	b.later(55 * time.Second)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if resp, err := b.http.Get(b.app.URL); err != nil {
				t.Error(err)
			} else {
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	page = b.get(b.app.URL)
	want(t, page, 200, "<strong>Royal Observatory</strong> now Reader <code>*:read</code>", `href="/orgs/org_observatory/projects"`)
	if n := b.issuer.Grants("refresh_token"); n != 1 || rotations(page) != 1 || strings.Contains(page.body, "arrives with the next") {
		t.Errorf("%d refreshes, %d rotations shown; want 1 of each, and nothing pending", n, rotations(page))
	}
	b.later(3 * time.Minute)
	if page := b.get(b.app.URL); rotations(page) != 2 {
		t.Errorf("%d rotations shown; want 2", rotations(page))
	}
	b.signsOut()
}

// signsOut is not for other sites to do; then it happens here and at the issuer.
func (b *browser) signsOut() {
	t := b.t
	t.Helper()
	want(t, b.post(b.app.URL+"/auth/logout", nil, "cross-site"), 403)
	want(t, b.get(b.app.URL), 200, "Ada Lovelace")
	want(t, b.get(b.app.URL+"/auth/logout"), 200, "Sign out?", "Tessera")
	want(t, b.get(b.app.URL), 200, "Ada Lovelace")
	page := b.act("/auth/logout", nil)
	want(t, page, 200, "Sign in", "Who may do what")
	if page.url.String() != b.app.URL+"/" || b.issuer.Requests("logout") != 1 || b.issuer.Requests("revoke") != 2 {
		t.Errorf("logout led to %s, %d logouts, %d revocations", page.url, b.issuer.Requests("logout"), b.issuer.Requests("revoke"))
	}
	if n := b.issuer.Sessions("usr_ada"); n != 0 {
		t.Errorf("%d sessions live on at the issuer", n)
	}
}

func TestOneOrganization(t *testing.T) {
	b := newWorld(t).browser()
	page := b.signInAt("/auth/login?org=org_engines", "user", "usr_ada")
	want(t, page, 200, `value="org_engines" aria-current="true"`)
	if strings.Contains(page.body, "/orgs/org_poetry") || strings.Contains(page.body, "arrives with the next") {
		t.Error("tokens for org_engines tell of org_poetry, or wait for it")
	}
	want(t, b.signIn("user", "usr_ada"), 200, `value="" aria-current="true"`, "/orgs/org_poetry")
	want(t, b.signInAt("/auth/login?org=org_observatory", "user", "usr_ada"), 403, "does not belong to this organization")
	want(t, b.get(b.app.URL), 200, "Ada Lovelace") // signed in as before
}

func TestPageOfAnOrganization(t *testing.T) {
	b := newWorld(t).browser()
	page := b.signInAt("/orgs/org_engines/projects?x=1", "user", "usr_ada")
	want(t, page, 200, "Projects of Analytical Engines", "org_engines", "Ada Lovelace")
	if page.url.RequestURI() != "/orgs/org_engines/projects?x=1" {
		t.Errorf("signed in at %s; want where it began", page.url)
	}
	want(t, b.get(b.app.URL+"/orgs/org_observatory/projects"), 403, "Not allowed")
	want(t, b.get(b.app.URL+"/orgs/org_unheard_of/projects"), 403, "Not allowed")
}

func TestMembership(t *testing.T) {
	b := newWorld(t).browser()
	want(t, b.signIn("user", "usr_ada"), 200)
	leave := url.Values{"org": {"org_poetry"}, "role": {"None"}}
	want(t, b.post(b.app.URL+"/issuer/membership", leave, "cross-site"), 403)
	want(t, b.act("/issuer/membership", leave), 200, "arrives with the next refresh", "/orgs/org_poetry")
	page := b.act("/refresh", nil)
	want(t, page, 200, "<strong>Poetry Society</strong> left")
	if strings.Contains(page.body, "/orgs/org_poetry") || strings.Contains(page.body, "arrives with the next") {
		t.Error("the membership is still there, or still under way")
	}
	want(t, b.act("/issuer/membership", url.Values{"org": {"org_engines"}, "role": {"Reader"}}), 200)
	want(t, b.act("/refresh", nil), 200, "<strong>Analytical Engines</strong> now Reader <code>*:read</code>")
	for _, odd := range []url.Values{nil, {"org": {"org_x"}, "role": {"Owner"}}, {"org": {"org_poetry"}, "role": {"King"}}} {
		want(t, b.act("/issuer/membership", odd), 400, "no such role")
	}
	want(t, b.world.browser().act("/issuer/membership", leave), 200, "Continue as") // at the login
}

// A session that has ended leaves nothing to whoever signs in next.
func TestAnotherUser(t *testing.T) {
	b := newWorld(t).browser()
	want(t, b.signIn("user", "usr_ada"), 200, "Ada Lovelace")
	want(t, b.act("/pause", url.Values{"paused": {"true"}}), 200, "Resume")
	want(t, b.act("/issuer/end-sessions", nil), 200, "Your session has ended")
	want(t, b.signIn("user", "usr_ada"), 200, "Ada Lovelace", "Resume")
	want(t, b.act("/issuer/end-sessions", nil), 200, "Your session has ended")
	want(t, b.signIn("user", "usr_mary"), 200, "Mary Somerville", "Refreshes every")
}

func TestSignOutEverywhere(t *testing.T) {
	signOutEverywhere(t, newWorld(t))
}

func signOutEverywhere(t *testing.T, w *world) {
	t.Helper()
	one, other, mary := w.browser(), w.browser(), w.browser()
	want(t, one.signIn("user", "usr_ada"), 200, "Ada Lovelace")
	want(t, other.signIn("user", "usr_ada"), 200, "Ada Lovelace")
	want(t, mary.signIn("user", "usr_mary"), 200, "Mary Somerville")
	want(t, one.act("/refresh", nil), 200, "<time ")
	want(t, one.act("/issuer/end-sessions", nil), 200, "Your session has ended")
	want(t, other.get(w.app.URL), 200, "Your session has ended", "Sign in")
	want(t, other.get(w.app.URL), 200, "Who may do what")
	want(t, mary.get(w.app.URL), 200, "Mary Somerville")
	if n := w.issuer.Sessions("usr_ada"); n != 0 {
		t.Errorf("%d sessions live on at the issuer", n)
	}
	forged := url.Values{"logout_token": {w.issuer.LogoutToken(map[string]any{"sub": "usr_mary", "aud": "c_other"})}}
	want(t, one.post(w.app.URL+"/auth/backchannel-logout", forged, ""), 400)
	want(t, mary.get(w.app.URL), 200, "Mary Somerville")
}

func TestRefusedCallbacks(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	want(t, b.signIn("cancel", "1"), 403, "cancelled", "Sign in again")
	want(t, b.get(b.app.URL+"/auth/callback?code=x&state=y"), 200, "Continue as") // at a new login
	want(t, b.get(b.app.URL+"/auth/callback?code=x&state=y"), 400, "allow cookies")
	want(t, w.browser().get(b.app.URL+"/auth/callback?code=x&state="), 200, "Continue as")

	// The callback of another browser's login.
	attacker := w.browser()
	attacker.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	location := attacker.get(b.app.URL + "/auth/login").header.Get("Location")
	callback, err := w.issuer.SignIn(location, "usr_mary")
	if err != nil {
		t.Fatal(err)
	}
	b.get(b.app.URL + "/auth/login")
	want(t, b.get(callback), 400, "allow cookies")
	want(t, attacker.get(callback), 303)
	if again := attacker.get(callback); again.status != 303 || again.header.Get("Location") != "/" {
		t.Errorf("the callback once more: status %d; want a redirect home", again.status)
	}
	if n := w.issuer.Grants("authorization_code"); n != 1 {
		t.Errorf("%d codes were exchanged; want 1", n)
	}
}

func TestTroubleAtTheIssuer(t *testing.T) {
	b := newWorld(t).browser()
	want(t, b.signIn("user", "usr_luigi"), 200, "You are in no organization")

	b.later(3 * time.Minute)
	b.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503})
	want(t, b.get(b.app.URL), 503, "One moment")
	want(t, b.get(b.app.URL), 200, "<time ") // still signed in
	b.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503})
	want(t, b.act("/refresh", nil), 503, "One moment")

	b.issuer.EndSession("usr_luigi")
	b.later(3 * time.Minute)
	want(t, b.get(b.app.URL), 200, "Your session has ended")
	want(t, b.get(b.app.URL), 200, "Who may do what")

	want(t, b.signIn("user", "usr_luigi"), 200)
	b.issuer.EndSession("usr_luigi")
	want(t, b.act("/refresh", nil), 200, "Sign in")
}

// What goes wrong has the app's own look for people, and none for programs.
func TestErrorPages(t *testing.T) {
	b := newWorld(t).browser()
	for _, path := range []string{"/nowhere", "/orgs/org_engines", "/refresh", "/auth/nowhere"} {
		want(t, b.get(b.app.URL+path), 404, "There is no such page", "Tessera", "To the start page")
	}
	want(t, b.post(b.app.URL+"/refresh", nil, "cross-site"), 403, "That did not come from this site", "Tessera")
	want(t, b.signIn("user", "usr_ada"), 200)
	want(t, b.get(b.app.URL+"/orgs/org_observatory/projects"), 403, "Not allowed", "Tessera")
	r, err := http.NewRequest("GET", b.app.URL+"/orgs/org_observatory/projects", nil)
	if got := b.do(r, err); got.status != 403 || !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
		t.Errorf("a program got %d, %s", got.status, got.header.Get("Content-Type"))
	}
}

// Another site may start a login by a form, and post nothing else.
func TestThirdPartyLogin(t *testing.T) {
	b := newWorld(t).browser()
	form := url.Values{"iss": {b.issuer.URL}, "target_link_uri": {b.app.URL + "/orgs/org_engines/projects"}}
	page := b.answer(b.post(b.app.URL+"/auth/login", form, "cross-site"), "user", "usr_ada")
	want(t, page, 200, "Projects of Analytical Engines")
	for _, path := range []string{"/auth/logout", "/auth/callback", "/pause"} {
		want(t, b.post(b.app.URL+path, form, "cross-site"), 403, "That did not come from this site", "Tessera")
	}
	want(t, b.get(b.app.URL), 200, "Ada Lovelace")
}

func TestLife(t *testing.T) {
	for seconds, want := range map[int]string{-3: "0s", 0: "0s", 59: "59s", 60: "1m 0s", 119: "1m 59s", 3599: "59m 59s", 3600: "1h 0m", 5400: "1h 30m"} {
		if got := life(time.Duration(seconds) * time.Second); got != want {
			t.Errorf("%d seconds: got %q; want %q", seconds, got, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	b := newWorld(t).browser()
	page := b.get(b.app.URL + "/")
	for name, value := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := page.header.Get(name); got != value {
			t.Errorf("%s: %q; want %q", name, got, value)
		}
	}
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	login := b.get(b.app.URL + "/auth/login")
	cookie := login.header.Get("Set-Cookie")
	if !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
		t.Errorf("the cookie's attributes: %s", cookie[strings.Index(cookie, ";"):])
	}
	r, err := http.NewRequest("GET", b.app.URL+"/auth/login", nil)
	if err == nil {
		r.Host = "localhost:1"
	}
	if page := b.do(r, err); page.status != 303 || page.header.Get("Location") != b.app.URL+"/" {
		t.Errorf("another host: %d to %s; want a redirect to %s/", page.status, page.header.Get("Location"), b.app.URL)
	}
	for _, name := range []string{"/live.js", "/mark.svg"} {
		want(t, b.get(b.app.URL+name), 200)
	}
	if style := b.get(b.app.URL + "/style.css"); style.status != 200 || !strings.HasPrefix(style.header.Get("Content-Type"), "text/css") {
		t.Errorf("style.css: %d %s", style.status, style.header.Get("Content-Type"))
	}
}
