package docs

import (
	"cmp"
	"fmt"
	"net/http"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// nameOf returns what to greet somebody by. The login must ask for the scope profile,
// as authpihttp does by default.
func nameOf(agent *authpi.Agent) string {
	var profile struct {
		Name string `json:"name"`
	}
	if err := agent.Claims(&profile); err != nil {
		return agent.Email
	}
	return cmp.Or(profile.Name, agent.Email, agent.ID)
}

func menu(agent *authpi.Agent) {
	for _, org := range agent.Organizations {
		fmt.Println(org.ID, org.Title)
		if agent.HasAccessIn(org.ID, "write", "projects") {
			fmt.Println("  New project")
		}
		if agent.IsOwnerOf(org.ID) || agent.IsAdminOf(org.ID) {
			fmt.Println("  Members")
		}
	}
}

func routes(mux *http.ServeMux, app *authpihttp.App, list, create http.Handler) {
	org := func(r *http.Request) string { return r.PathValue("org") }
	mayRead := authpihttp.RequireAccess("read", "projects", org)
	mayWrite := authpihttp.RequireAccess("write", "projects", org)
	mux.Handle("GET /orgs/{org}/projects", app.RequireAgent(mayRead(list)))
	mux.Handle("POST /orgs/{org}/projects", app.RequireAgent(mayWrite(create)))
}

// narrowed asks for tokens of one organization where the login names one:
// GET /auth/login?org=org_poetry.
func narrowed(client *authpi.IdpClient, store authpihttp.Store) *authpihttp.App {
	return authpihttp.New(client, store, &authpihttp.Options{
		PostLogoutRedirectURI: "https://app.example/auth/signed-out", // as registered
		Authorize: func(r *http.Request) *authpi.AuthorizationOptions {
			return &authpi.AuthorizationOptions{Org: r.URL.Query().Get("org")}
		},
	})
}

// recheck returns an agent with the memberships of this moment.
func recheck(r *http.Request, client *authpi.IdpClient, app *authpihttp.App, agent *authpi.Agent) (*authpi.Agent, error) {
	opts := app.AgentOptions(r)
	return client.Refresh(r.Context(), agent, &authpi.RefreshOptions{
		OnRefresh: opts.OnRefresh, Reload: opts.Reload, Resources: opts.Resources,
	})
}
