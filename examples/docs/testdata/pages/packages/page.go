package page

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func fromEnvironment() (*authpi.IdpClient, error) {
	//page:block client.go
	//page:fault os.Getenv("AUTHPI_ISSUER_URL") => "https://idp.example"
	//page:fault os.Getenv("AUTHPI_CLIENT_SECRET") => ""
	//page:fault https://app.example/auth/callback => https://other.example/auth/callback
	return client, err
}

func login(client *authpi.IdpClient) (*authpi.AuthorizationURL, error) {
	//page:block client.go
	//page:fault "email" => "profile"
	return auth, err
}

func callback(ctx context.Context, r *http.Request, client *authpi.IdpClient, auth *authpi.AuthorizationURL) (*authpi.Agent, error) {
	//page:block client.go
	//page:fault r.URL.Query() => url.Values{"code": r.URL.Query()["code"]}
	return agent, err
}

func request(ctx context.Context, w io.Writer, client *authpi.IdpClient, tokens authpi.TokenSet, save func(context.Context, authpi.TokenSet) error) error {
	//page:block client.go
	//page:fault OnRefresh: save =>
	//page:fault org_engines => org_observatory
	return err
}

func handlers(client *authpi.IdpClient) http.Handler {
	//page:block app.go
	//page:fault http://127.0.0.1:8080/auth/signed-out => http://127.0.0.1:8080/
	//page:fault app.RequireAgent(http.HandlerFunc(home)) => http.HandlerFunc(projects)
	//page:fault "read" => "delete"
	return mux
}

func home(w http.ResponseWriter, r *http.Request) { says(w, r) }

func projects(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprint(w, "projects of "+r.PathValue("org"))
}

// issued has the issuer of package authpitest sign Ada in.
func issued(login func(*authpitest.Server) (authURL string), claims func(srv *authpitest.Server, callback string)) error {
	//page:block server.go
	//page:fault "ada@example.com" => "mary@example.com"
	//page:fault "projects:**" => "members:read"
	authURL := login(srv)
	//page:block server.go
	//page:fault "usr_ada" => ""
	claims(srv, callback)
	return err
}

func overRedis(cfg *authpi.Config, redisAddr string) authpihttp.Store {
	//page:block coordinator.go
	//page:set "localhost:6379" => redisAddr
	//page:fault cfg.Coordinator = authpiredis.NewCoordinator(client, nil) =>
	//page:fault cfg.MachineTokens = store =>
	return store
}

func Page(t *testing.T) {
	byHand(t)
	withHandlers(t)
	inMemory(t)
	shared(t)
}

// byHand takes the steps of package authpi's own comment.
func byHand(t *testing.T) {
	issuer := development(t)
	t.Setenv("AUTHPI_ISSUER_URL", issuer.URL)
	t.Setenv("AUTHPI_CLIENT_ID", "c_worker")
	t.Setenv("AUTHPI_CLIENT_SECRET", "s3cret")
	client := must(fromEnvironment())(t)
	auth := must(login(client))(t)
	address := must(issuer.SignIn(auth.URL, "usr_ada"))(t)
	if !strings.HasPrefix(address, "https://app.example/auth/callback?") {
		t.Errorf("the callback is %s", address)
	}
	agent := must(callback(t.Context(), httptest.NewRequest("GET", address, nil), client, auth))(t)
	if agent.Email != "ada@example.com" {
		t.Errorf("got %v, without an address", agent)
	}
	var page strings.Builder
	tokens, saved := agent.Tokens, authpi.TokenSet{}
	tokens.ExpiresAt = time.Now().Add(-time.Hour)
	err := request(t.Context(), &page, client, tokens, func(_ context.Context, tokens authpi.TokenSet) error {
		saved = tokens
		return nil
	})
	if err != nil || page.String() != "New project\n" || saved.RefreshToken == "" || saved.RefreshToken == tokens.RefreshToken {
		t.Errorf("got %q, %v; saved: %v", page.String(), err, saved)
	}
}

func withHandlers(t *testing.T) {
	issuer := development(t)
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Scopes: []string{"projects:read"}})
	site := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_app"}, func(cfg authpi.Config) http.Handler {
		return handlers(newClient(t, cfg))
	})
	browser := newBrowser(t)
	signIn(t, browser, issuer, site, "usr_ada")
	wantPage(t, browser, site+"/", 200, "usr_ada")
	wantPage(t, browser, site+"/orgs/org_engines/projects", 200, "projects of org_engines")
	wantPage(t, browser, site+"/orgs/org_poetry/projects", 403, "")
	resp := must(browser.Post(site+"/auth/logout", "", nil))(t)
	_ = resp.Body.Close()
	if got := resp.Header.Get("Location"); !strings.Contains(got, url.QueryEscape("http://127.0.0.1:8080/auth/signed-out")) {
		t.Errorf("signing out leads to %s", got)
	}
}

func inMemory(t *testing.T) {
	var client *authpi.IdpClient
	var auth *authpi.AuthorizationURL
	err := issued(func(srv *authpitest.Server) string {
		client = newClient(t, authpi.Config{IssuerURL: srv.URL, ClientID: srv.ClientID(), RedirectURI: "https://app.example/auth/callback"})
		auth = must(login(client))(t)
		return auth.URL
	}, func(_ *authpitest.Server, address string) {
		agent, err := callback(t.Context(), httptest.NewRequest("GET", address, nil), client, auth)
		if err != nil || agent.Email != "ada@example.com" || !agent.HasAccessIn("org_engines", "write", "projects") {
			t.Errorf("got %v, %v", agent, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// shared has two processes with one Redis, which spend a token and ask for one once.
func shared(t *testing.T) {
	issuer := development(t)
	rdb, _ := newRedis(t)
	address := rdb.Options().Addr
	tokens := newAgent(t, appClient(t, issuer), issuer).Tokens
	tokens.ExpiresAt = time.Now().Add(-time.Hour)
	for range 2 {
		user := authpi.Config{IssuerURL: issuer.URL, ClientID: "c_app"}
		machine := authpi.Config{IssuerURL: issuer.URL, ClientID: "c_worker", ClientSecret: "s3cret"}
		if overRedis(&user, address) == nil || overRedis(&machine, address) == nil {
			t.Error("there is no store")
		}
		if _, err := newClient(t, user).CreateAgent(t.Context(), tokens, nil); err != nil {
			t.Error(err)
		}
		if _, err := newClient(t, machine).ClientCredentialsSource(nil).Token(); err != nil {
			t.Error(err)
		}
	}
	if spent, asked := issuer.Grants("refresh_token"), issuer.Grants("client_credentials"); spent != 1 || asked != 1 {
		t.Errorf("%d refreshes and %d machine tokens; want one of each", spent, asked)
	}
}
