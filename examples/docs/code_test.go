package docs

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
