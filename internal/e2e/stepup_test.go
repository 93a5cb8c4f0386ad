package e2e

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// visitor is a browser at an app of authpihttp, which is served in memory.
type visitor struct {
	t   *testing.T
	app http.Handler
	jar http.CookieJar
}

func (v *visitor) get(target string) (status int, location string) {
	v.t.Helper()
	u, err := url.Parse(redirectURI)
	if err == nil {
		u, err = u.Parse(target)
	}
	if err != nil {
		v.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, u.String(), nil)
	r.RequestURI = u.RequestURI()
	r.Header.Set("Accept", "text/html")
	for _, c := range v.jar.Cookies(u) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	v.app.ServeHTTP(w, r)
	v.jar.SetCookies(u, w.Result().Cookies())
	return w.Code, w.Header().Get("Location")
}

// Step-up at a provider that we did not write: an age is satisfied by one login; a
// fresh sign-in, or a context that it does not know, ends in 403 and no loop.
func TestZitadelStepUp(t *testing.T) {
	t.Parallel()
	bothServers(t, func(t *testing.T, p *provider) {
		app := authpihttp.New(p.web(t), nil, &authpihttp.Options{Scopes: allScopes})
		mux := http.NewServeMux()
		redirect, err := url.Parse(redirectURI)
		if err != nil {
			t.Fatal(err)
		}
		mux.HandleFunc("GET /auth/login", app.Login)
		mux.HandleFunc("GET "+redirect.Path, app.Callback)
		ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		mux.Handle("/page", app.RequireAgent(ok))
		for path, guard := range map[string]func(http.Handler) http.Handler{
			"/hour": app.RequireRecent(time.Hour), "/always": app.RequireRecent(-1), "/gold": app.RequireRecent(0, "urn:gold"),
		} {
			mux.Handle(path, app.RequireAgent(guard(ok)))
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		v := &visitor{t, mux, jar}
		login := func(from string) {
			t.Helper()
			status, location := v.get(from)
			if status != http.StatusSeeOther || !strings.HasPrefix(location, "/auth/login?") {
				t.Fatalf("%s: got %d to %q; want the login", from, status, location)
			}
			_, location = v.get(location)
			if _, location = v.get(newBrowser(t, redirectURI).logIn(location).String()); location != from {
				t.Fatalf("%s: the callback leads to %q", from, location)
			}
		}
		login("/page")
		for path, want := range map[string]int{"/page": http.StatusOK, "/hour": http.StatusOK} {
			if status, _ := v.get(path); status != want {
				t.Errorf("%s: got %d; want %d", path, status, want)
			}
		}
		login("/always")
		if status, _ := v.get("/always"); status != http.StatusOK {
			t.Errorf("/always after a sign-in for it: got %d; want 200", status)
		}
		login("/gold")
		for range 2 {
			if status, location := v.get("/gold"); status != http.StatusForbidden {
				t.Errorf("/gold: got %d to %q; want 403 and no further login", status, location)
			}
		}
		if status, _ := v.get("/page"); status != http.StatusOK {
			t.Errorf("/page afterwards: got %d; want 200", status)
		}
	})
}
