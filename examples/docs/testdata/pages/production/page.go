package page

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

//page:block The app
//page:fault next = protection.Handler(next) =>
//page:fault "POST /auth/login" => "POST /auth/in"
//page:fault "POST /auth/logout" => "POST /auth/out"
//page:fault frame-ancestors 'none' => frame-ancestors *
//page:fault "nosniff" => "sniff"
//page:fault "same-origin" => "unsafe-url"
//page:fault max-age=31536000 => max-age=0
//page:fault secure(app) => app
//page:fault 64 << 10 => 1 << 20
//page:fault ReadHeaderTimeout: 10 * time.Second, =>
//page:fault ReadTimeout:       30 * time.Second, =>

func Page(t *testing.T) {
	issuer := development(t)
	site := httptest.NewUnstartedServer(nil)
	url := "http://" + site.Listener.Addr().String()
	app := authpihttp.New(newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_app", RedirectURI: url + "/auth/callback"}), nil, nil)
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("/", app.RequireAgent(http.HandlerFunc(says)))
	site.Config = newServer(mux)
	site.Start()
	t.Cleanup(site.Close)
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")
	for _, tc := range []struct {
		name, method, path, header, value string
		want                              int
		text                              string
	}{
		{"page", "GET", "/", "Sec-Fetch-Site", "cross-site", 200, ""},
		{"own form", "POST", "/", "Sec-Fetch-Site", "same-origin", 200, ""},
		{"form of another site", "POST", "/", "Sec-Fetch-Site", "cross-site", 403, "cross-origin"},
		{"login that a third party begins", "POST", "/auth/login?iss=https://other.example", "Sec-Fetch-Site", "cross-site", 400, "not for this site"},
		{"logout of another site", "POST", "/auth/logout", "Sec-Fetch-Site", "cross-site", 403, "did not come from this site"},
		{"the issuer's own request", "POST", "/", "X", "y", 200, ""},
		{"long header", "GET", "/", "X", strings.Repeat("x", 100<<10), 431, ""},
	} {
		r := must(http.NewRequest(tc.method, url+tc.path, nil))(t)
		r.Header.Set(tc.header, tc.value)
		r.Header.Set("Accept", "text/html")
		resp := must(browser.Do(r))(t)
		text := string(must(io.ReadAll(resp.Body))(t))
		_ = resp.Body.Close()
		if resp.StatusCode != tc.want || !strings.Contains(text, tc.text) {
			t.Errorf("%s: got %d, %s; want %d, %q", tc.name, resp.StatusCode, text, tc.want, tc.text)
		}
		if tc.want == 200 {
			wantHeaders(t, resp.Header)
		}
	}
	if s := site.Config; s.ReadHeaderTimeout < time.Second || s.ReadHeaderTimeout > 30*time.Second || s.ReadTimeout < time.Second {
		t.Error("a slow browser keeps the server busy")
	}
}

func wantHeaders(t *testing.T, got http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "same-origin", "Strict-Transport-Security": "max-age=31536000",
	} {
		if !strings.Contains(got.Get(name), want) {
			t.Errorf("%s: got %q; want %q", name, got.Get(name), want)
		}
	}
}
