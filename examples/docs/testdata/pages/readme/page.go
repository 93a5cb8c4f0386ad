package page

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

//page:block Sign users in
//page:from readme/main.go
//page:fault "http://127.0.0.1:8080/auth/signed-out" => "http://127.0.0.1:8080/"
//page:fault app.RequireAgent(http.HandlerFunc(home)) => http.HandlerFunc(projects)
//page:fault RequireAccess("read", "projects", func => RequireAccess("read", "members", func
//page:fault {{.Email}} => {{.ID}}
//page:fault {{.Title}} => {{.OrgID}}
//page:fault /orgs/{{.ID}}/projects => /orgs/{{.ID}}

// asked is an agent, and what it was asked.
type asked struct {
	*authpi.Agent
	text *string
}

func (a asked) HasAccessIn(org, action, resource string) bool {
	ok := a.Agent.HasAccessIn(org, action, resource)
	*a.text += fmt.Sprintln(org, action, resource, ok)
	return ok
}

func (a asked) IsOwnerOf(org string) bool {
	ok := a.Agent.IsOwnerOf(org)
	*a.text += fmt.Sprintln(org, ok)
	return ok
}

func (a asked) HasAccess(action, resource string) bool {
	ok := a.Agent.HasAccess(action, resource)
	*a.text += fmt.Sprintln(action, resource, ok)
	return ok
}

func checks(agent asked) {
	//page:block Check what a user may do
	//page:fault org_engines => org_observatory
	//page:fault org_poetry => org_engines
	//page:fault agent.HasAccess("read" => agent.HasAccess("write"
}

func newApp(client *authpi.IdpClient, rdb *redis.Client, key []byte) *authpihttp.App {
	//page:block Keep sign-ins in a store
	//page:fault authpiredis.NewStore(rdb, nil) => nil
	//page:fault [][]byte{key} => nil
	return app
}

func newBearer(client *authpi.IdpClient) *authpihttp.Bearer {
	//page:block Guard an API
	//page:fault https://api.example.com => https://other.example
	if err != nil {
		panic(err)
	}
	return bearer
}

func calls(r *http.Request, client *authpi.IdpClient, app *authpihttp.App, agent *authpi.Agent) (*http.Client, oauth2.TokenSource) {
	//page:block Call an API
	//page:fault client.HTTPClient(agent, app.AgentOptions(r)) => &http.Client{Transport: transport{"api.example.com": http.HandlerFunc(home)}}
	//page:fault https://api.example.com => https://other.example
	//page:fault projects:read => projects:write
	return api, source
}

func coordinated(cfg authpi.Config, rdb *redis.Client) authpi.Config {
	//page:block Run several processes
	//page:fault cfg.Coordinator = authpiredis.NewCoordinator(rdb, nil) =>
	return cfg
}

// tested has an issuer of its own, to which authURL leads.
func tested(authURL func(*authpitest.Server) string) (string, error) {
	//page:block Test your app
	//page:set authURL => authURL(issuer)
	//page:fault AddUser(authpitest.User{ID: "usr_ada" => AddUser(authpitest.User{ID: "usr_mary"
	return callback, err
}

var _ = authpiredis.NewStore // where faults leave it out

func Page(t *testing.T) {
	issuer := development(t)
	program(t, issuer)

	var text string
	checks(asked{newAgent(t, appClient(t, issuer), issuer), &text})
	if text != "org_engines write projects true\norg_poetry true\nread projects true\n" {
		t.Errorf("Ada's rights: got\n%s", text)
	}
	callback, err := tested(func(issuer *authpitest.Server) string {
		client := newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: "https://app.example/auth/callback"})
		return must(client.CreateAuthorizationURL([]string{"openid"}, nil))(t).URL
	})
	if err != nil || !strings.HasPrefix(callback, "https://app.example/auth/callback?code=") && !strings.Contains(callback, "&code=") {
		t.Errorf("got %q, %v", callback, err)
	}
	processes(t, issuer)
}

// program signs in, looks around and signs out. TestNewcomer runs it with its main.
func program(t *testing.T, issuer *authpitest.Server) {
	site := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_app"}, func(cfg authpi.Config) http.Handler {
		return newHandler(newClient(t, cfg))
	})
	browser := newBrowser(t)
	wantPage(t, browser, site+"/", 401, "")
	signIn(t, browser, issuer, site, "usr_ada")
	wantPage(t, browser, site+"/", 200, "Hello, ada@example.com")
	wantPage(t, browser, site+"/", 200, `<a href="/orgs/org_engines/projects">org_engines</a>: Editor`)
	wantPage(t, browser, site+"/orgs/org_engines/projects", 200, "The projects of org_engines\n")
	wantPage(t, browser, site+"/orgs/org_observatory/projects", 403, "")
	issuer.SetOrganizations("usr_charles", authpitest.Organization{ID: "org_engines", Scopes: []string{"members:read"}})
	signIn(t, browser, issuer, site, "usr_charles")
	wantPage(t, browser, site+"/orgs/org_engines/projects", 403, "")
	resp := must(browser.Post(site+"/auth/logout", "", nil))(t)
	_ = resp.Body.Close()
	if got := resp.Header.Get("Location"); !strings.Contains(got, url.QueryEscape("http://127.0.0.1:8080/auth/signed-out")) {
		t.Errorf("signing out leads to %s", got)
	}
	wantPage(t, browser, site+"/", 401, "")
}

// processes are two apps with one Redis, which call an API for the user and for
// themselves. A third one has another key. The API names who calls.
func processes(t *testing.T, issuer *authpitest.Server) {
	rdb, commands := newRedis(t)
	api := newBearer(newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_api"})).Require(http.HandlerFunc(says))
	var sites []string
	late := time.Duration(0)
	for _, key := range []byte{7, 7, 8} {
		cfg := coordinated(authpi.Config{
			IssuerURL: issuer.URL, ClientID: "c_worker", ClientSecret: "s3cret", Resources: []string{"https://api.example.com"},
			Now:        func() time.Time { return time.Now().Add(late) },
			HTTPClient: &http.Client{Transport: transport{"api.example.com": api}},
		}, rdb)
		sites = append(sites, start(t, cfg, func(cfg authpi.Config) http.Handler {
			return newCaller(cfg, newClient(t, cfg), rdb, bytes.Repeat([]byte{key}, 32))
		}))
	}
	browser := newBrowser(t)
	signIn(t, browser, issuer, sites[0], "usr_ada")
	wantPage(t, browser, sites[0]+"/", 200, "usr_ada, agt_worker for projects:read")
	wantPage(t, browser, sites[1]+"/", 200, "usr_ada, agt_worker for projects:read")
	wantPage(t, browser, sites[2]+"/", 401, "")
	late = 31 * time.Minute
	wantPage(t, browser, sites[1]+"/", 200, "usr_ada, ")
	commands.wantKey(t, "authpi:refresh:")
}

func newCaller(cfg authpi.Config, client *authpi.IdpClient, rdb *redis.Client, key []byte) http.Handler {
	app := newApp(client, rdb, key)
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		user, source := calls(r, client, app, agent)
		_, _ = fmt.Fprint(w, answer(user))
		if token, err := source.Token(); err == nil {
			machine := oauth2.NewClient(context.WithValue(r.Context(), oauth2.HTTPClient, cfg.HTTPClient), source)
			_, _ = fmt.Fprint(w, ", ", answer(machine), " for ", token.Extra("scope"))
		}
	})))
	return mux
}

// answer is what the API says to a client.
func answer(client *http.Client) string {
	resp, err := client.Get("https://api.example.com/")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}
