package sessions

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// newIssuer returns an issuer that knows Ada and Bob.
func newIssuer(t *testing.T) *authpitest.Server {
	t.Helper()
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_app", ClientSecret: "s3cret"})
	t.Cleanup(issuer.Close)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	issuer.AddUser(authpitest.User{ID: "usr_bob", Email: "bob@example.com"})
	return issuer
}

// start runs an app that says who is there, as one process would, and returns its
// address. wrap goes around it, with a mux for more pages.
func start(t *testing.T, issuer *authpitest.Server, store authpihttp.Store, opts *authpihttp.Options, wrap func(*http.ServeMux) http.Handler) string {
	t.Helper()
	site := httptest.NewUnstartedServer(nil)
	t.Cleanup(site.Close)
	address := "http://" + site.Listener.Addr().String()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: "c_app", ClientSecret: "s3cret", RedirectURI: address + "/auth/callback", Now: issuer.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	app := authpihttp.New(client, store, opts)
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		_, _ = fmt.Fprint(w, agent.ID)
	})))
	site.Config.Handler = mux
	if wrap != nil {
		site.Config.Handler = wrap(mux)
	}
	site.Start()
	return address
}

// browser keeps cookies and follows no redirects.
type browser struct {
	*http.Client
	t      *testing.T
	issuer *authpitest.Server
}

func newBrowser(t *testing.T, issuer *authpitest.Server) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}, t, issuer}
}

// get returns a page's text, and "" for nobody who is signed in.
func (b browser) get(address string) string {
	b.t.Helper()
	_, _, text := b.answer(b.Get(address))
	return text
}

func (b browser) answer(resp *http.Response, err error) (status int, location, text string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		body = nil
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(body)
}

func (b browser) signIn(address string) { b.signInAs(address, "usr_ada") }

func (b browser) signInAs(address, user string) {
	b.t.Helper()
	_, login, _ := b.answer(b.Get(address + "/auth/login"))
	callback, err := b.issuer.SignIn(login, user)
	if err != nil {
		b.t.Fatal(err)
	}
	if status, _, text := b.answer(b.Get(callback)); status != http.StatusSeeOther {
		b.t.Fatalf("callback: %d %s", status, text)
	}
}

func (b browser) signOut(address string) {
	b.t.Helper()
	if status, _, text := b.answer(b.PostForm(address+"/auth/logout", nil)); status != http.StatusSeeOther {
		b.t.Fatalf("logout: %d %s", status, text)
	}
}

// endElsewhere is a sign-out at the issuer, which tells the app.
func (b browser) endElsewhere(address string) {
	b.t.Helper()
	token := b.issuer.LogoutToken(map[string]any{"sub": "usr_ada"})
	if status, _, text := b.answer(http.PostForm(address+"/auth/backchannel-logout", url.Values{"logout_token": {token}})); status != http.StatusOK {
		b.t.Fatalf("back-channel logout: %d %s", status, text)
	}
}
