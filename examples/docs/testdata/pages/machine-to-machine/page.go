package page

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func calling(ctx context.Context, client *authpi.IdpClient, apiURL string) *http.Client {
	//page:block A source of tokens
	//page:from worker/main.go
	//page:fault "projects:read" => "projects:write"
	//page:fault apiURL) => "https://other.example")
	//page:fault return http.ErrUseLastResponse => return nil
	return api
}

// sharing is the client of one of many processes.
func sharing(rdb redis.UniversalClient, issuerURL, clientID, clientSecret string) (*authpi.IdpClient, error) {
	//page:block Many processes
	//page:fault MachineTokens: authpiredis.NewStore(rdb, nil), =>
	_ = authpiredis.NewStore // where a fault leaves it out
	return client, err
}

func once(ctx context.Context, client *authpi.IdpClient) (*authpi.Agent, error) {
	//page:block One token
	//page:fault "https://api.example.com" => "https://other.example"
	return agent, err
}

func Page(t *testing.T) {
	issuer := development(t)
	api, elsewhere := newAPI(t, issuer)
	rdb, _ := newRedis(t)
	for range 3 { // processes
		client := must(sharing(rdb, issuer.URL, "c_worker", "s3cret"))(t)
		http := calling(t.Context(), client, api)
		wantPage(t, http, api+"/orgs/org_engines/projects", 200, "agent agt_worker")
		wantPage(t, http, api+"/orgs/org_poetry/projects", 403, "")
		wantPage(t, http, api+"/elsewhere", 302, "")
	}
	if got := issuer.Grants("client_credentials"); got != 1 {
		t.Errorf("three processes requested %d tokens; want one", got)
	}
	if *elsewhere != "" {
		t.Error("the token went to where the API redirects")
	}
	alone(t, issuer)
}

// alone has no Redis, so each process requests its own token.
func alone(t *testing.T, issuer *authpitest.Server) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	client := must(sharing(rdb, issuer.URL, "c_worker", "s3cret"))(t)
	if _, err := client.ClientCredentialsSource([]string{"projects:read"}).Token(); err != nil {
		t.Error(err)
	}
	if agent := must(once(t.Context(), client))(t); agent.ID != "c_worker" {
		t.Errorf("got %s", agent.ID)
	}
	if got := issuer.LastForm()["resource"]; fmt.Sprint(got) != "[https://api.example.com]" {
		t.Errorf("the token is for %v", got)
	}
}

// newAPI returns the address of an API, and what somebody else gets to whom it redirects.
func newAPI(t *testing.T, issuer *authpitest.Server) (url string, elsewhere *string) {
	elsewhere = new(string)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		*elsewhere = r.Header.Get("Authorization")
	}))
	t.Cleanup(other.Close)
	site := httptest.NewUnstartedServer(nil)
	url = "http://" + site.Listener.Addr().String()
	bearer := must(authpihttp.NewBearer(newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_api"}),
		&authpihttp.BearerOptions{Resource: url, Scopes: []string{"projects:read"}}))(t)
	mayRead := authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") })
	mux := http.NewServeMux()
	mux.Handle("GET /orgs/{org}/projects", bearer.Require(mayRead(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		_, _ = fmt.Fprint(w, agent.Type, " ", agent.ID)
	}))))
	mux.Handle("GET /elsewhere", http.RedirectHandler(other.URL, http.StatusFound))
	site.Config.Handler = mux
	site.Start()
	t.Cleanup(site.Close)
	return url, elsewhere
}
