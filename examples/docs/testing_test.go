package docs

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// start runs an app against the issuer and returns its URL.
func start(t *testing.T, cfg authpi.Config, newApp func(authpi.Config) http.Handler) string {
	site := httptest.NewUnstartedServer(nil)
	t.Cleanup(site.Close)
	url := "http://" + site.Listener.Addr().String()
	cfg.RedirectURI = url + "/auth/callback"
	site.Config.Handler = newApp(cfg)
	site.Start()
	return url
}

// signIn goes through the app's login as a user.
func signIn(t *testing.T, browser *http.Client, issuer *authpitest.Server, url, userID string) {
	t.Helper()
	_, authURL, _ := visit(t, browser, url+"/auth/login")
	callback, err := issuer.SignIn(authURL, userID)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := visit(t, browser, callback); status != http.StatusSeeOther {
		t.Fatalf("callback: %d %s", status, text)
	}
}

// newBrowser keeps cookies and follows no redirects.
func newBrowser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// visit returns an answer's status, Location and text.
func visit(t *testing.T, browser *http.Client, url string) (status int, location, text string) {
	t.Helper()
	answer, err := browser.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Location"), string(body)
}
