package docs

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
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
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email", "profile"}, nil)
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

// The app's own session follows the sign-in, and the issuer's logout passes net/http's
// own protection against forged requests.
func TestFollowing(t *testing.T) {
	t.Parallel()
	issuer, manager := newIssuer(t), scs.New()
	url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID()}, func(cfg authpi.Config) http.Handler {
		mux := greeter(authpihttp.New(newClient(t, cfg), nil, following(manager)))
		mux.HandleFunc("GET /note", func(w http.ResponseWriter, r *http.Request) {
			if note := r.FormValue("put"); note != "" {
				manager.Put(r.Context(), "note", note)
			}
			_, _ = fmt.Fprint(w, manager.GetString(r.Context(), "note"))
		})
		return secure(manager.LoadAndSave(mux))
	})
	browser := newBrowser(t)
	visit(t, browser, url+"/note?put=kept")
	signIn(t, browser, issuer, url, "usr_ada")
	if _, _, text := visit(t, browser, url+"/note"); text != "kept" {
		t.Errorf("signed in: %q", text)
	}
	answer, err := http.PostForm(url+"/auth/backchannel-logout", map[string][]string{
		"logout_token": {issuer.LogoutToken(map[string]any{"sub": "usr_ada"})},
	})
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", answer, err)
	}
	_ = answer.Body.Close()
	if status, _, _ := visit(t, browser, url+"/"); status != http.StatusUnauthorized {
		t.Errorf("signed out by the issuer: %d", status)
	}
	signIn(t, browser, issuer, url, "usr_ada")
	if answer, err = browser.PostForm(url+"/auth/logout", nil); err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if _, _, text := visit(t, browser, url+"/note"); text != "" {
		t.Errorf("signed out: %q", text)
	}
}

func TestRedisApp(t *testing.T) {
	t.Parallel()
	client := newClient(t, authpi.Config{IssuerURL: "https://idp.example", ClientID: "c_1", RedirectURI: "https://app.example/auth/callback"})
	app := newRedisApp(client, redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), bytes.Repeat([]byte{7}, 32))
	app.Register(http.NewServeMux())
}

// greeter is an app that says who is there.
func greeter(app *authpihttp.App) *http.ServeMux {
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		_, _ = fmt.Fprint(w, agent.ID)
	})))
	return mux
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
	app := narrowed(client, nil)
	w := httptest.NewRecorder()
	app.Login(w, httptest.NewRequest("GET", "/auth/login?org=org_engines", nil))
	if location := w.Header().Get("Location"); !strings.Contains(location, "org=org_engines") {
		t.Errorf("the login leads to %q", location)
	}

	agent := newAgent(t, client, issuer)
	menu(agent)
	if got := nameOf(agent); got != "Ada Lovelace" {
		t.Errorf("got the name %q", got)
	}
}

// away answers for a host that the tests cannot reach.
type away struct{ t *testing.T }

func (a away) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "api.example.com" {
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
			client := newClient(t, cfg)
			app := authpihttp.New(client, nil, nil)
			mux := http.NewServeMux()
			app.Register(mux)
			mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				before, _ := authpihttp.AgentFrom(r.Context())
				after, err := recheck(r, client, app, before)
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
				_, _ = fmt.Fprint(w, before.IsMemberOf("org_observatory"), after.IsMemberOf("org_observatory"))
			})))
			return mux
		})
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_observatory", Scopes: []string{"owner", "projects:write"}})
	if _, _, text := visit(t, browser, url+"/"); text != "false true" {
		t.Errorf("a member of org_observatory before and after: %s", text)
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
	// Without its Redis each process asks for itself.
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	client, err := sharing(rdb, issuer.URL, "c_job", "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.ClientCredentialsSource([]string{"projects:read"}).Token(); err != nil {
		t.Error(err)
	}
}
