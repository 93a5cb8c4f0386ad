package docs

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// newIssuer returns an issuer that knows Ada, an editor at org_engines.
func newIssuer(t *testing.T) *authpitest.Server {
	issuer := authpitest.NewServer(nil)
	t.Cleanup(issuer.Close)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Name: "Ada Lovelace", Email: "ada@example.com"})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{
		ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**", "members:read"},
	})
	return issuer
}

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

func TestOnlyMembersSeeProjects(t *testing.T) {
	issuer := newIssuer(t)
	url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID()}, newApp)
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")

	if status, _, _ := visit(t, browser, url+"/orgs/org_engines/projects"); status != http.StatusOK {
		t.Errorf("her own organization: %d", status)
	}
	if status, _, _ := visit(t, browser, url+"/orgs/org_observatory/projects"); status != http.StatusForbidden {
		t.Errorf("another organization: %d", status)
	}
}

func TestMembershipEndsAndTheIssuerFails(t *testing.T) {
	issuer := newIssuer(t)
	url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), Now: issuer.Now}, newApp)
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")

	issuer.SetOrganizations("usr_ada") // none
	issuer.Advance(31 * time.Minute)
	if status, _, _ := visit(t, browser, url+"/orgs/org_engines/projects"); status != http.StatusForbidden {
		t.Errorf("after the membership has ended: %d", status)
	}
	if got := issuer.Redemptions("refresh_token"); got != 1 {
		t.Errorf("%d refreshes; want 1", got)
	}

	issuer.Advance(31 * time.Minute) // the next refresh is due
	issuer.Inject(authpitest.Fault{Endpoint: "token", Status: http.StatusServiceUnavailable, Times: -1})
	if status, _, _ := visit(t, browser, url+"/orgs/org_engines/projects"); status != http.StatusServiceUnavailable {
		t.Errorf("while the issuer is unreachable: %d", status)
	}
	issuer.ClearFaults()
	if status, _, _ := visit(t, browser, url+"/orgs/org_engines/projects"); status != http.StatusForbidden {
		t.Errorf("when it is back: %d", status)
	}
}

func TestAPI(t *testing.T) {
	issuer := newIssuer(t)
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuer.URL, ClientID: "c_api"})
	if err != nil {
		t.Fatal(err)
	}
	token := issuer.AccessToken(map[string]any{
		"sub": "usr_ada", "aud": "https://api.example.com",
		"organizations": []map[string]any{{"id": "org_engines", "scopes": []string{"projects:read"}}},
	})
	forged := issuer.Sign(map[string]any{"sub": "usr_ada"}, map[string]any{"alg": "none"})
	for _, tc := range []struct {
		token, org string
		want       int
	}{
		{token, "org_engines", http.StatusOK},
		{token, "org_observatory", http.StatusForbidden},
		{forged, "org_engines", http.StatusUnauthorized},
	} {
		if got := verify(t.Context(), client, tc.token, tc.org); got != tc.want {
			t.Errorf("%s: got %d; want %d", tc.org, got, tc.want)
		}
	}
}

func TestMachine(t *testing.T) {
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_worker", ClientSecret: "s3cret"})
	t.Cleanup(issuer.Close)
	issuer.SetOrganizations("agt_worker", authpitest.Organization{ID: "org_engines", Scopes: []string{"*:read"}})
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuer.URL, ClientID: "c_worker", ClientSecret: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := client.ClientCredentials(t.Context(), []string{"projects:read"}, "https://api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if got := verify(t.Context(), client, machine.Tokens.AccessToken, "org_engines"); got != http.StatusOK {
		t.Errorf("its own organization: %d", got)
	}
	if machine.ID != "c_worker" || machine.Type != authpi.PrincipalUser || len(machine.Organizations) != 0 {
		t.Errorf("got %v; want what docs/machine-to-machine.md says of it", machine)
	}
}

func TestAnHourLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := authpitest.NewInMemory(nil)
		defer issuer.Close()
		issuer.AddUser(authpitest.User{ID: "usr_ada"})
		client, err := authpi.NewIdpClient(authpi.Config{
			IssuerURL: issuer.URL, ClientID: issuer.ClientID(), HTTPClient: issuer.Client(),
			RedirectURI: "https://app.example/callback",
		})
		if err != nil {
			t.Fatal(err)
		}
		auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
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
		stored := agent.Tokens

		time.Sleep(time.Hour) // takes no time
		_, err = client.CreateAgent(t.Context(), stored, &authpi.AgentOptions{
			OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
				stored = tokens
				return nil
			},
		})
		if err != nil || stored.AccessToken == agent.Tokens.AccessToken {
			t.Errorf("no new tokens were stored (%v)", err)
		}
	})
}

func newApp(cfg authpi.Config) http.Handler {
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		panic(err)
	}
	app := authpihttp.New(client, nil, nil)
	mux := http.NewServeMux()
	app.Register(mux)
	routes(mux, app, http.HandlerFunc(ok), http.HandlerFunc(ok))
	return mux
}

func ok(http.ResponseWriter, *http.Request) {}
