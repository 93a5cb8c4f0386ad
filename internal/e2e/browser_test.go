package e2e

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// browser is somebody's browser, as far as a login form needs one: it keeps
// cookies, follows redirects, and stops where the app would be.
type browser struct {
	t      *testing.T
	app    string // URLs that begin so are the app's
	client *http.Client
}

func newBrowser(t *testing.T, app string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, app: app}
	b.client = &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), b.app) || len(via) > 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

// page is where the browser ended up: at a page, or at the app's door.
type page struct {
	url    *url.URL
	status int
	text   string
	app    *url.URL // nil: still at the provider
}

func (b *browser) open(target string) page {
	b.t.Helper()
	return b.arrive(b.client.Get(target))
}

func (b *browser) arrive(resp *http.Response, err error) page {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("browser: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		b.t.Fatalf("browser: %v", err)
	}
	p := page{url: resp.Request.URL, status: resp.StatusCode, text: string(body)}
	if at := resp.Header.Get("Location"); strings.HasPrefix(at, b.app) {
		if p.app, err = url.Parse(at); err != nil {
			b.t.Fatalf("browser: the app's URL: %v", err)
		}
	}
	return p
}

var (
	formTag  = regexp.MustCompile(`<form\b[^>]*>`)
	inputTag = regexp.MustCompile(`<input\b[^>]*>`)
	attr     = regexp.MustCompile(`([a-z]+)="([^"]*)"`)
)

func attrs(tag string) map[string]string {
	all := map[string]string{}
	for _, m := range attr.FindAllStringSubmatch(tag, -1) {
		all[m[1]] = html.UnescapeString(m[2])
	}
	return all
}

// submit fills in the page's form and sends it.
func (b *browser) submit(p page, fill map[string]string) page {
	b.t.Helper()
	form := attrs(formTag.FindString(p.text))
	if !strings.EqualFold(form["method"], http.MethodPost) {
		b.t.Fatalf("browser: no form to post at %s: status %d\n%s", p.url.Path, p.status, p.text)
	}
	action, err := p.url.Parse(form["action"])
	if err != nil {
		b.t.Fatalf("browser: action: %v", err)
	}
	values := url.Values{}
	for _, tag := range inputTag.FindAllString(p.text, -1) {
		input := attrs(tag)
		values.Set(input["name"], input["value"])
	}
	for name, value := range fill {
		if !values.Has(name) {
			b.t.Fatalf("browser: the form has no field %q", name)
		}
		values.Set(name, value)
	}
	return b.arrive(b.client.PostForm(action.String(), values))
}

// logIn opens an authorization URL, signs the test user in, and gives the URL at
// which the app is called back.
func (b *browser) logIn(authURL string) *url.URL {
	b.t.Helper()
	p := b.submit(b.open(authURL), map[string]string{"username": username, "password": password})
	if p.app == nil {
		b.t.Fatalf("browser: signed in, but not sent back to the app: status %d at %s\n%s", p.status, p.url.Path, p.text)
	}
	return p.app
}

var allScopes = []string{"openid", "profile", "email", "offline_access"}

// signIn takes a user through a whole login with client.
func signIn(t *testing.T, client *authpi.IdpClient) *authpi.Agent {
	t.Helper()
	return signInAt(t, client, redirectURI)
}

func signInAt(t *testing.T, client *authpi.IdpClient, redirect string) *authpi.Agent {
	t.Helper()
	auth, err := client.CreateAuthorizationURL(allScopes, nil)
	if err != nil {
		t.Fatalf("CreateAuthorizationURL: %v", err)
	}
	callback := newBrowser(t, redirect).logIn(auth.URL)
	agent, err := client.ExchangeCallback(t.Context(), callback.Query(), *auth)
	if err != nil {
		t.Fatalf("ExchangeCallback: %v", err)
	}
	return agent
}
