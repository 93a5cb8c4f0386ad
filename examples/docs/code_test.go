package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/sessions"
	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func newClient(t *testing.T, cfg authpi.Config) *authpi.IdpClient {
	t.Helper()
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newAgent signs usr_ada in, without an app.
func newAgent(t *testing.T, client *authpi.IdpClient, issuer *authpitest.Server) *authpi.Agent {
	t.Helper()
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := issuer.SignIn(auth.URL, "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	callback, err := authpi.ParseCallback(answer)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := client.ExchangeCallback(t.Context(), callback, *auth)
	if err != nil {
		t.Fatal(err)
	}
	return agent
}

func TestRedisSessions(t *testing.T) {
	t.Parallel()
	s := redisSessions(redis.NewClient(&redis.Options{}))
	if s.Store == nil || !s.HashTokenInStore || !s.Cookie.Secure || s.Cookie.Path != "/" || s.Cookie.Domain != "" {
		t.Errorf("got %+v", s)
	}
}

func TestSealed(t *testing.T) {
	t.Parallel()
	issuer, inner := newIssuer(t), memstore.New()
	store, err := newSealed(inner, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID()}, func(cfg authpi.Config) http.Handler {
		manager := scs.New()
		manager.Store = store
		return greeter(manager, newClient(t, cfg))
	})
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")
	if _, _, text := visit(t, browser, url+"/"); text != "usr_ada" {
		t.Errorf("signed in: %q", text)
	}
	all, err := inner.All()
	if err != nil || len(all) != 2 {
		t.Fatalf("got %d sessions, %v; want the browser's and the sign-in", len(all), err)
	}
	for token, data := range all {
		if bytes.Contains(data, []byte("token")) {
			t.Error("a session is kept in the clear")
		}
		if err := inner.Commit("another", data, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, found, err := store.Find("another"); found || err != nil {
			t.Errorf("a session was moved to another token: %v, %v", found, err)
		}
		if _, found, err := store.Find(token); !found || err != nil {
			t.Errorf("a session was not found: %v", err)
		}
	}
}

// greeter is an app that says who is there.
func greeter(manager *scs.SessionManager, client *authpi.IdpClient) http.Handler {
	return manager.LoadAndSave(greeterMux(manager, client))
}

func greeterMux(session authpihttp.Session, client *authpi.IdpClient) *http.ServeMux {
	app := authpihttp.New(client, session, nil)
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		_, _ = fmt.Fprint(w, agent.ID)
	})))
	return mux
}

func TestBesideGorilla(t *testing.T) {
	t.Parallel()
	issuer, down := newIssuer(t), &failing{Store: memstore.New()}
	site := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID()}, func(cfg authpi.Config) http.Handler {
		manager := scs.New()
		manager.Store = down
		carrier := sessions.NewCookieStore(bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32))
		carrier.Options.SameSite, carrier.Options.HttpOnly, carrier.Options.Secure = http.SameSiteLaxMode, true, false
		return besideGorilla(carrier, manager, greeterMux(manager, newClient(t, cfg)))
	})
	browser := newBrowser(t)
	signIn(t, browser, issuer, site, "usr_ada")
	if status, _, text := visit(t, browser, site+"/"); text != "usr_ada" {
		t.Errorf("signed in: %d %q", status, text)
	}
	down.commits = true
	if status, _, _ := visit(t, browser, site+"/auth/login"); status < 500 {
		t.Errorf("a login that could not be kept: %d", status)
	}
	down.commits = false
	home, _ := url.Parse(site)
	before := browser.Jar.Cookies(home)
	answer, err := browser.PostForm(site+"/auth/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if status, _, _ := visit(t, browser, site+"/"); status != http.StatusUnauthorized {
		t.Errorf("signed out: %d", status)
	}
	browser.Jar.SetCookies(home, before)
	if status, _, _ := visit(t, browser, site+"/"); status != http.StatusUnauthorized {
		t.Errorf("with the old cookie: %d", status)
	}
}

// failing is a store that can be told to fail.
type failing struct {
	scs.Store
	commits bool
}

func (f *failing) Commit(token string, data []byte, expiry time.Time) error {
	if f.commits {
		return errors.New("the store is full")
	}
	return f.Store.Commit(token, data, expiry)
}

// It works outside of the sessions' middleware and within, and behind net/http's own
// protection against forged requests.
func TestBackchannelLogout(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		newApp func(client *authpi.IdpClient, manager *scs.SessionManager) http.Handler
	}{
		{"outside", func(client *authpi.IdpClient, manager *scs.SessionManager) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/", greeter(manager, client))
			mountLogout(mux, client, authpihttp.New(client, manager, nil), manager)
			return mux
		}},
		{"within", func(client *authpi.IdpClient, manager *scs.SessionManager) http.Handler {
			mux := greeterMux(manager, client)
			mountLogout(mux, client, authpihttp.New(client, manager, nil), manager)
			return secure(manager.LoadAndSave(mux))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			checkBackchannelLogout(t, func(cfg authpi.Config) http.Handler { return tc.newApp(newClient(t, cfg), scs.New()) })
		})
	}
}

func checkBackchannelLogout(t *testing.T, newApp func(authpi.Config) http.Handler) {
	issuer := newIssuer(t)
	url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID()}, newApp)
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")
	answer, err := http.PostForm(url+"/auth/backchannel-logout", map[string][]string{
		"logout_token": {issuer.LogoutToken(map[string]any{"sub": "usr_ada"})},
	})
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", answer, err)
	}
	_ = answer.Body.Close()
	if status, _, _ := visit(t, browser, url+"/"); status != http.StatusUnauthorized {
		t.Errorf("signed out: %d", status)
	}
}

// memory is a [Store].
type memory map[string]authpi.TokenSet

func (m memory) Load(_ context.Context, id string) (authpi.TokenSet, error) { return m[id], nil }
func (m memory) Save(_ context.Context, id string, tokens authpi.TokenSet) error {
	m[id] = tokens
	return nil
}

func TestAgentOf(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	client := newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: "https://app.example/callback"})
	tokens := newAgent(t, client, issuer).Tokens
	tokens.ExpiresAt = time.Now().Add(-time.Hour)
	store := memory{"1": tokens}
	agent, err := agentOf(t.Context(), client, store, "1")
	if err != nil || agent.ID != "usr_ada" || store["1"].RefreshToken == tokens.RefreshToken {
		t.Errorf("got %v, %v", agent, err)
	}
	if _, err := agentOf(t.Context(), client, store, "2"); !authpi.SessionEnded(err) {
		t.Errorf("nobody: %v", err)
	}
}

func TestOrganizations(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	client := newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: "https://app.example/callback"})
	manager := scs.New()
	app := narrowed(client, manager)
	w := httptest.NewRecorder()
	manager.LoadAndSave(http.HandlerFunc(app.Login)).ServeHTTP(w, httptest.NewRequest("GET", "/auth/login?org=org_1", nil))
	if location := w.Header().Get("Location"); !strings.Contains(location, "org=org_1") {
		t.Errorf("the login leads to %q", location)
	}

	menu(newAgent(t, client, issuer))
}

// away answers for a host that the tests cannot reach.
type away struct{ t *testing.T }

func (a away) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "api.example" {
		return http.DefaultTransport.RoundTrip(r)
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
		a.t.Error("the API was called without a token")
	}
	w := httptest.NewRecorder()
	return w.Result(), nil
}

func TestRecheckAndCall(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), HTTPClient: &http.Client{Transport: away{t}}},
		func(cfg authpi.Config) http.Handler {
			client, manager := newClient(t, cfg), scs.New()
			app := authpihttp.New(client, manager, nil)
			mux := http.NewServeMux()
			app.Register(mux)
			mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				before, _ := authpihttp.AgentFrom(r.Context())
				after, err := recheck(r.Context(), client, app, before)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := callAPI(r, client, app)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				_, _ = fmt.Fprint(w, before.IsMemberOf("org_2"), after.IsMemberOf("org_2"))
			})))
			return manager.LoadAndSave(mux)
		})
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_2", Scopes: []string{"owner", "projects:write"}})
	if _, _, text := visit(t, browser, url+"/"); text != "false true" {
		t.Errorf("a member of org_2 before and after: %s", text)
	}
	if _, _, text := visit(t, browser, url+"/"); text != "true true" {
		t.Errorf("the fresh tokens were not stored: %s", text)
	}
}

func TestMachines(t *testing.T) {
	t.Parallel()
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_job", ClientSecret: "s3cret"})
	defer issuer.Close()
	if err := once(t.Context(), newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_job", ClientSecret: "s3cret"})); err != nil {
		t.Error(err)
	}
}
