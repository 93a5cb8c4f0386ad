package browser

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func (b *tab) scripts(allowed bool) {
	b.t.Helper()
	b.emulate(emulation.SetScriptExecutionDisabledParams{Value: !allowed})
}

// Tabs that are opened at once each end on their own page, of a new visitor and of
// somebody who has a cookie.
func TestManyTabs(t *testing.T) {
	t.Parallel()
	const many = 25
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("known before: %t", known), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			first := newPerson(t)
			if known {
				first.signInAt(s.url + "/before")
				s.issuer.EndSession("usr_ada")
			}
			tabs := []*tab{first}
			for range many - 1 {
				tabs = append(tabs, first.another())
			}
			together := func(do func(i int, b *tab)) {
				var all sync.WaitGroup
				for i, b := range tabs {
					all.Go(func() { do(i, b) })
				}
				all.Wait()
				if t.Failed() {
					t.FailNow()
				}
			}
			login := func(i int) string { return fmt.Sprintf("%s/auth/login?return_to=/tab/%d%%3Fx=y", s.url, i) }
			together(func(i int, b *tab) { b.open(login(i)) })
			together(func(i int, b *tab) { b.press("fieldset", ada) })
			together(func(i int, b *tab) { b.see(fmt.Sprintf("Page /tab/%d?x=y", i), "For usr_ada") })
			for _, v := range s.visits("/auth/callback") {
				if v.status != http.StatusSeeOther {
					t.Errorf("a callback got %d", v.status)
				}
			}
		})
	}
}

// What a page has the browser fetch in advance starts no login, and spends none.
func TestPrefetching(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.mux.HandleFunc("GET /advance", func(w http.ResponseWriter, _ *http.Request) {
		s.write(w, "In advance", "", `<link rel="prefetch" href="/linked"><a href="/ruled">ruled</a>
<script type="speculationrules">{"prefetch":[{"urls":["/ruled"],"eagerness":"immediate"}],"prerender":[{"urls":["/rendered"],"eagerness":"immediate"}]}</script>`)
	})
	b := newPerson(t)
	b.expect("503")
	b.scripts(true)
	b.open(s.url + "/advance")
	b.wait("prefetch of three kinds", func() error {
		for _, path := range []string{"/linked", "/ruled", "/rendered"} {
			if len(s.visits(path)) == 0 {
				return fmt.Errorf("nobody has fetched %s", path)
			}
		}
		return nil
	})
	for _, path := range []string{"/linked", "/ruled", "/rendered"} {
		for _, v := range s.visits(path) {
			if v.status != http.StatusServiceUnavailable || v.cookie || v.purpose == "" {
				t.Errorf("%s: got %+v; want 503 without a cookie", path, v)
			}
		}
	}
	if got := s.issuer.Requests("authorize"); got != 0 || len(s.visits("/auth/")) != 0 {
		t.Errorf("got %d requests at the issuer and %v; want none", got, s.visits("/auth/"))
	}
	b.open(s.url + "/ruled")
	b.press("fieldset", ada)
	b.see("Page /ruled")
}

// Back and forward show what was there, and nothing after the sign-out, whether the
// browser keeps pages or not.
func TestBackAndForward(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := newPerson(t)
	b.signInAt(s.url + "/one")
	b.open(s.url + "/two")
	b.see("Page /two")
	b.back()
	b.see("Page /one")
	ask[bool](b, `(history.forward(), true)`)
	b.see("Page /two")
	b.press("main", "Sign out")
	b.see("You are signed out")
	b.looksGood("signed out")
	b.back()
	b.wait("page that shows nobody", func() error {
		if strings.Contains(b.html(), "For usr_ada") {
			return fmt.Errorf("the page is there again")
		}
		return nil
	})
}

// back goes back without waiting for a page to load: the browser may have kept it.
func (b *tab) back() {
	b.t.Helper()
	ask[bool](b, `(history.back(), true)`)
}

// One client on two hosts: each has its own sign-in, and comes back to itself.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site, o *siteOptions) {
		o.client.RedirectURIs = []string{"http://localhost:" + s.port + "/auth/callback"}
	})
	b := newPerson(t)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		b.signInAt("http://" + host + ":" + s.port + "/" + host)
		if at := ask[string](b, `location.host`); at != host+":"+s.port {
			t.Errorf("%s: signed in at %s", host, at)
		}
	}
	b.open(s.url + "/again")
	b.see("Page /again", "For usr_ada")
}

// localhost, where the redirect URI is for 127.0.0.1: the login works all the same.
func TestWrongLoopbackName(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := newPerson(t)
	b.open("http://localhost:" + s.port + "/page")
	first := ask[string](b, `location.search`)
	b.press("fieldset", ada) // its cookie does not reach 127.0.0.1, so a login begins there
	b.wait("login there", func() error {
		if at := ask[string](b, `location.search`); at == first || !strings.Contains(b.html(), ada) {
			return fmt.Errorf("at %s", at)
		}
		return nil
	})
	b.press("fieldset", ada)
	b.see("Page /page", "For usr_ada")
}

// Signing out with an ID token of a thousand organizations, with JavaScript and
// without. The issuer is another site here, so the form carries none of its cookies.
func TestSignOutOfManyOrganizations(t *testing.T) {
	t.Parallel()
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprintf("scripts: %t", scripts), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(s *site, o *siteOptions) {
				o.client.RedirectURI = "http://localhost:" + s.port + "/auth/callback"
				o.options.PostLogoutRedirectURI = "http://localhost:" + s.port + "/auth/signed-out"
			})
			var orgs []authpitest.Organization
			for i := range 1000 {
				orgs = append(orgs, authpitest.Organization{ID: fmt.Sprintf("org_%025d", i), Scopes: []string{"owner", "projects:**"}})
			}
			s.issuer.SetOrganizations("usr_ada", orgs...)
			b := newPerson(t)
			b.signInAt("http://localhost:" + s.port + "/page")
			b.scripts(scripts)
			b.press("main", "Sign out")
			if !scripts {
				b.see("Signing out", "One more step")
				b.shot("signing-out.png")
				b.press("main", "Continue")
			}
			b.see("You are signed out", "You may close this page")
			if got := s.issuer.Sessions("usr_ada"); got != 0 {
				t.Errorf("got %d sessions at the issuer; want 0", got)
			}
			b.open("http://localhost:" + s.port + "/page")
			b.see("Continue as") // the issuer does not know her any more
		})
	}
}

// A silent login that brings nobody comes back, and does not begin again.
func TestSilentLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(_ *site, o *siteOptions) {
		o.options.Authorize = func(r *http.Request) *authpi.AuthorizationOptions {
			if r.URL.Query().Has("silent") {
				return &authpi.AuthorizationOptions{Prompt: []string{"none"}}
			}
			return nil
		}
	})
	b := newPerson(t)
	b.open(s.url + "/auth/login?silent&return_to=/public")
	b.see("Public")
	b.signInAt(s.url + "/page")
	b.open(s.url + "/auth/login?silent&return_to=/silently")
	b.see("Page /silently", "For usr_ada")
}

// Step-up asks once, and is satisfied.
func TestStepUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.mux.Handle("/danger", s.app.RequireAgent(s.app.RequireRecent(-1)(http.HandlerFunc(s.page))))
	s.mux.Handle("/gold", s.app.RequireAgent(s.app.RequireRecent(0, "gold")(http.HandlerFunc(s.page))))
	b := newPerson(t)
	b.signInAt(s.url + "/page")
	for _, path := range []string{"/danger", "/gold"} {
		b.open(s.url + path)
		b.press("fieldset", ada)
		b.see("Page "+path, "For usr_ada")
	}
	// An issuer that ignores the wish: 403, and no loop.
	s.issuer.Inject(authpitest.Fault{Times: -1, IDToken: func(_, claims map[string]any) { claims["acr"] = "bronze" }})
	s.mux.Handle("/silver", s.app.RequireAgent(s.app.RequireRecent(0, "silver")(http.HandlerFunc(s.page))))
	b.expect("403")
	b.open(s.url + "/silver")
	b.press("fieldset", ada)
	b.see("This needs a stronger sign-in", "Sign out", "To the start page")
	b.looksGood("stronger sign-in")
	b.shot("step-up-refused.png")
	b.open(s.url + "/silver")
	b.see("This needs a stronger sign-in")
}

// A browser without cookies sees a page that says so.
func TestCookiesOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := personWithoutCookies(t)
	b.expect("400")
	b.open(s.url + "/page")
	b.press("fieldset", ada)
	b.see("Your browser keeps no cookies for this site", "To the start page")
	b.looksGood("cookies off")
	b.shot("cookies-off.png")
}

// At twice the size, and by the keyboard alone.
func TestZoomAndKeyboard(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := newPerson(t)
	b.expect("403")
	b.do(chromedp.EmulateViewport(550, 400, chromedp.EmulateScale(2)))
	b.open(s.url + "/page")
	b.press("form", "Cancel")
	b.see("Sign-in was cancelled")
	b.looksGood("cancelled, 200 %")
	b.shot("cancelled-zoomed.png")
	b.tabTo("Sign in again")
	b.do(chromedp.KeyEvent("\r"))
	b.see("Continue as")
	b.tabTo(ada)
	b.do(chromedp.KeyEvent("\r"))
	b.see("Page /page")
	b.open(s.url + "/auth/logout")
	b.looksGood("sign out?, 200 %")
	b.shot("sign-out-zoomed.png")
	b.tabTo("Sign out")
	b.do(chromedp.KeyEvent("\r"))
	b.see("You are signed out")
	b.looksGood("signed out, 200 %")
}

// shot keeps a picture where AUTHPI_SHOTS names a folder, for somebody to look at.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("AUTHPI_SHOTS")
	if dir == "" {
		return
	}
	image, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), image, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// personWithoutCookies has a browser of their own, which takes none.
func personWithoutCookies(t *testing.T) *tab {
	t.Helper()
	b := browser{preferences: `{"profile":{"default_content_setting_values":{"cookies":2}}}`}
	b.start(needChromium(t))
	if b.err != nil {
		t.Fatalf("Chromium: %v", b.err)
	}
	t.Cleanup(b.stop)
	return openTab(t, b.ctx)
}
