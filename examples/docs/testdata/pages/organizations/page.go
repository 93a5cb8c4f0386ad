package page

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2/memstore"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

//page:block Who is signed in
//page:fault json:"name" => json:"nickname"
//page:fault cmp.Or(profile.Name, agent.Email, agent.ID) => cmp.Or(agent.Email, profile.Name, agent.ID)

//page:block Check access
//page:fault agent.HasAccessIn(org.ID, "write", "projects") => !agent.HasAccessIn(org.ID, "write", "projects")
//page:fault agent.IsOwnerOf(org.ID) || => agent.IsOwnerOf("org_engines") ||
//page:fault org.Title => ""

//page:block In routes
//page:fault "read" => "list"
//page:fault "write" => "read"
//page:fault app.RequireAgent(mayWrite(create)) => mayWrite(create)
//page:fault "org") => "organization")

//page:block One organization only
//page:fault Org: r.URL.Query().Get("org") =>
//page:fault "https://app.example/auth/signed-out" => "https://app.example/"

//page:block When memberships change
//page:fault client.Refresh( => renew(client)(
//page:fault OnRefresh: opts.OnRefresh, =>

// renew is no refresh.
func renew(*authpi.IdpClient) func(any, *authpi.Agent, *authpi.RefreshOptions) (*authpi.Agent, error) {
	return func(_ any, agent *authpi.Agent, _ *authpi.RefreshOptions) (*authpi.Agent, error) { return agent, nil }
}

func Page(t *testing.T) {
	issuer := development(t)
	agent := newAgent(t, appClient(t, issuer), issuer)
	if got := nameOf(agent); got != "Ada Lovelace" {
		t.Errorf("got the name %q", got)
	}
	if got := printed(t, func() { menu(agent) }); got != "org_engines Editor\n  New project\norg_poetry Owner\n  New project\n  Members\n" {
		t.Errorf("got the menu\n%s", got)
	}
	narrow(t, issuer)
	changes(t, issuer)
}

// narrow signs in to one organization, and out.
func narrow(t *testing.T, issuer *authpitest.Server) {
	for org, want := range map[string]string{"org_poetry": "org_poetry [org_poetry]", "": " [org_engines org_poetry]"} {
		url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_app"}, func(cfg authpi.Config) http.Handler {
			app := narrowed(newClient(t, cfg), nil)
			mux := http.NewServeMux()
			app.Register(mux)
			mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				agent, _ := authpihttp.AgentFrom(r.Context())
				var ids []string
				for _, org := range agent.Organizations {
					ids = append(ids, org.ID)
				}
				_, _ = fmt.Fprint(w, agent.OrgID, " ", ids)
			})))
			return mux
		})
		browser := newBrowser(t)
		_, authURL, _ := visit(t, browser, url+"/auth/login?org="+org)
		wantPage(t, browser, must(issuer.SignIn(authURL, "usr_ada"))(t), 303, "")
		wantPage(t, browser, url+"/", 200, want)
		resp := must(browser.Post(url+"/auth/logout", "", nil))(t)
		_ = resp.Body.Close()
		if got := resp.Header.Get("Location"); !strings.Contains(got, "post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fauth%2Fsigned-out") {
			t.Errorf("signing out leads to %s", got)
		}
	}
}

// changes makes Ada a Reader while she is signed in. The page that checks again notices
// at once, and so do the routes from then on, in an app that has been started again.
func changes(t *testing.T, issuer *authpitest.Server) {
	signIns := memstore.New()
	app := func(cfg authpi.Config) http.Handler {
		client := newClient(t, cfg)
		app := authpihttp.New(client, signIns, &authpihttp.Options{Keys: [][]byte{make([]byte, 32)}})
		mux := http.NewServeMux()
		app.Register(mux)
		routes(mux, app, http.HandlerFunc(says), http.HandlerFunc(says))
		mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			agent, _ := authpihttp.AgentFrom(r.Context())
			agent, err := recheck(r, client, app, agent)
			_, _ = fmt.Fprint(w, err, " ", agent.HasAccessIn("org_engines", "write", "projects"))
		})))
		return mux
	}
	var cfg authpi.Config
	var site http.Handler
	url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_app"}, func(at authpi.Config) http.Handler {
		cfg, site = at, app(at)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { site.ServeHTTP(w, r) })
	})
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")
	post := func(org string) int {
		resp := must(browser.Post(url+"/orgs/"+org+"/projects", "", nil))(t)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	wantPage(t, browser, url+"/orgs/org_engines/projects", 200, "usr_ada")
	wantPage(t, browser, url+"/orgs/org_observatory/projects", 403, "")
	if here, there := post("org_engines"), post("org_observatory"); here != 200 || there != 403 {
		t.Errorf("writing: got %d and %d; want 200 and 403", here, there)
	}
	wantPage(t, browser, url+"/", 200, "<nil> true")
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Title: "Reader", Scopes: []string{"projects:read"}})
	wantPage(t, browser, url+"/", 200, "<nil> false")
	site = app(cfg)
	wantPage(t, browser, url+"/orgs/org_engines/projects", 200, "usr_ada")
	if got := post("org_engines"); got != 403 {
		t.Errorf("a Reader writes: got %d; want 403", got)
	}
}
