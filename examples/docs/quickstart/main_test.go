package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestProgram(t *testing.T) {
	t.Parallel()
	issuer := authpitest.NewServer(nil)
	defer issuer.Close()
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}})
	site := httptest.NewUnstartedServer(nil)
	url := "http://" + site.Listener.Addr().String()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: url + "/auth/callback",
	})
	if err != nil {
		t.Fatal(err)
	}
	site.Config.Handler = newHandler(client)
	site.Start()
	defer site.Close()

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(url string) (resp *http.Response, body string) {
		t.Helper()
		resp, err := browser.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, _ := io.ReadAll(resp.Body)
		return resp, string(text)
	}
	login, _ := get(url + "/auth/login")
	callback, err := issuer.SignIn(login.Header.Get("Location"), "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	get(callback)
	home, body := get(url + "/")
	if !strings.Contains(body, "<p>Hello, ada@example.com</p>") || home.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("home says %q, %v", body, home.Header)
	}
	if _, body := get(url + "/orgs/org_1/projects"); body != "The projects of org_1\n" {
		t.Errorf("the projects say %q", body)
	}
	if resp, body := get(url + "/orgs/org_2/projects"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another organization: %s, %q", resp.Status, body)
	}
	form := regexp.MustCompile(`<form method="post" action="([^"]+)">`).FindStringSubmatch(body)
	if form == nil {
		t.Fatalf("home has no way to sign out: %q", body)
	}
	logout, err := browser.PostForm(url+form[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = logout.Body.Close()
	if location := logout.Header.Get("Location"); !strings.HasPrefix(location, issuer.URL+"/logout?") {
		t.Errorf("signing out: %s to %q", logout.Status, location)
	}
	if resp, _ := get(url + "/"); resp.StatusCode == http.StatusOK {
		t.Errorf("signed out: %s", resp.Status)
	}
}
