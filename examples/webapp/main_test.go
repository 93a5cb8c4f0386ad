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
)

// world is the app, its issuer and their common clock.
type world struct {
	t      *testing.T
	app    *httptest.Server
	issuer *authpitest.Server
	ahead  atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	var handler http.Handler
	w.app = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(w.app.Close)
	w.issuer = newIssuer(w.app.URL)
	t.Cleanup(w.issuer.Close)
	a, err := newApp(authpi.Config{
		IssuerURL: w.issuer.URL, ClientID: w.issuer.ClientID(), ClientSecret: w.issuer.ClientSecret(),
		RefreshBuffer: 20 * time.Second,
		Now:           func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	}, w.app.URL)
	if err != nil {
		t.Fatal(err)
	}
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
	return b.do(http.NewRequest("GET", target, nil))
}

func (b *browser) post(target string, form url.Values, site string) shown {
	b.t.Helper()
	r, err := http.NewRequest("POST", target, strings.NewReader(form.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
	}
	return b.do(r, err)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// signIn goes through the issuer's page.
func (b *browser) signIn(field, value string) shown {
	b.t.Helper()
	page := b.get(b.app.URL + "/login")
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

func TestSignInToLogout(t *testing.T) {
	b := newWorld(t).browser()
	want(t, b.get(b.app.URL+"/dashboard"), 200, "Sign in") // sent home
	b.get(b.app.URL + "/login")
	before := b.sessionID()

	page := b.signIn("user", "usr_ada")
	want(t, page, 200, "Ada Lovelace", "org_engines", "org_poetry", "projects:**", "not yet", `http-equiv="refresh"`)
	if page.url.Path != "/dashboard" || page.url.RawQuery != "" {
		t.Errorf("signed in at %s; want /dashboard", page.url)
	}
	if allowed := strings.Count(page.body, "allowed"); allowed != 4+5 {
		t.Errorf("%d checks are allowed; want 4 in org_engines and 5 in org_poetry", allowed)
	}
	if len(before) != 43 || b.sessionID() == before {
		t.Error("the sign-in did not renew the session ID")
	}

	// Rotation, with a membership that has changed.
	b.issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_new", Scopes: []string{"projects:read"}})
	b.later(50 * time.Second)
	want(t, b.get(b.app.URL+"/dashboard"), 200, "not yet", "org_poetry")
	b.later(55 * time.Second)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if resp, err := b.http.Get(b.app.URL + "/dashboard"); err != nil {
				t.Error(err)
			} else {
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	want(t, b.get(b.app.URL+"/dashboard"), 200, "org_new", "<dd>1</dd>")
	if n := b.issuer.Grants("refresh_token"); n != 1 {
		t.Errorf("%d refreshes; want 1", n)
	}
	b.later(3 * time.Minute)
	want(t, b.get(b.app.URL+"/dashboard"), 200, "<dd>2</dd>")

	// Logout: not for other sites; then here and at the issuer.
	want(t, b.post(b.app.URL+"/logout", nil, "cross-site"), 403)
	want(t, b.get(b.app.URL+"/dashboard"), 200, "Ada Lovelace")
	if page := b.get(b.app.URL + "/logout"); page.status != 405 {
		t.Errorf("GET /logout: %d; want 405", page.status)
	}
	page = b.post(b.app.URL+"/logout", nil, "same-origin")
	want(t, page, 200, "Sign in")
	if page.url.String() != b.app.URL+"/" || b.issuer.Requests("logout") != 1 || b.issuer.Requests("revoke") != 1 {
		t.Errorf("logout led to %s, %d logouts, %d revocations", page.url, b.issuer.Requests("logout"), b.issuer.Requests("revoke"))
	}
	if n := b.issuer.Sessions("usr_ada"); n != 0 {
		t.Errorf("%d sessions live on at the issuer", n)
	}
	want(t, b.get(b.app.URL+"/dashboard"), 200, "Sign in")
}

func TestRefusedCallbacks(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	want(t, b.signIn("cancel", "1"), 400, "You are not signed in", "cancelled")
	want(t, b.get(b.app.URL+"/callback?code=x&state=y"), 400, "not yours")
	want(t, w.browser().get(b.app.URL+"/callback?code=x&state="), 400, "not yours")

	// The callback of another browser's login.
	attacker := w.browser()
	attacker.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	location := attacker.get(b.app.URL + "/login").header.Get("Location")
	callback, err := w.issuer.SignIn(location, "usr_mary")
	if err != nil {
		t.Fatal(err)
	}
	b.get(b.app.URL + "/login")
	want(t, b.get(callback), 400, "not yours")
	want(t, attacker.get(callback), 303)
	want(t, attacker.get(callback), 400, "not yours") // and only once
}

func TestTroubleAtTheIssuer(t *testing.T) {
	b := newWorld(t).browser()
	want(t, b.signIn("user", "usr_guest"), 200, "You are in no organization")

	b.later(3 * time.Minute)
	b.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503})
	want(t, b.get(b.app.URL+"/dashboard"), 503, "come back")
	want(t, b.get(b.app.URL+"/dashboard"), 200, "<dd>1</dd>") // still signed in

	b.issuer.EndSession("usr_guest")
	b.later(3 * time.Minute)
	want(t, b.get(b.app.URL+"/dashboard"), 401, "Your session has ended")
	want(t, b.get(b.app.URL+"/dashboard"), 200, "Sign in")
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
	login := b.get(b.app.URL + "/login")
	cookie := login.header.Get("Set-Cookie")
	if !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
		t.Errorf("the cookie's attributes: %s", cookie[strings.Index(cookie, ";"):])
	}
	r, err := http.NewRequest("GET", b.app.URL+"/login", nil)
	if err == nil {
		r.Host = "localhost:1"
	}
	if page := b.do(r, err); page.status != 303 || page.header.Get("Location") != b.app.URL+"/" {
		t.Errorf("another host: %d to %s; want a redirect to %s/", page.status, page.header.Get("Location"), b.app.URL)
	}
	if style := b.get(b.app.URL + "/style.css"); style.status != 200 || !strings.HasPrefix(style.header.Get("Content-Type"), "text/css") {
		t.Errorf("style.css: %d %s", style.status, style.header.Get("Content-Type"))
	}
}
