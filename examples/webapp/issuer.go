package main

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// issuer is for trying the app out: anybody may sign in as anyone, and change it.
type issuer struct {
	*authpitest.Server
	mu    sync.Mutex                   // guards roles
	roles map[string]map[string]string // by user, then organization
}

var (
	organizations = []string{"org_engines", "org_observatory", "org_poetry"}
	roles         = []string{"None", "Reader", "Editor", "Owner"}
	scopesOf      = map[string][]string{"Reader": {"*:read"}, "Editor": {"projects:**", "members:read"}, "Owner": {"owner", "*:**"}}
)

func newIssuer(appURL string, tokenLife time.Duration) *issuer {
	i := &issuer{roles: map[string]map[string]string{
		"usr_ada":   {"org_engines": "Editor", "org_poetry": "Owner"},
		"usr_mary":  {"org_observatory": "Owner", "org_engines": "Reader"},
		"usr_guest": {},
	}}
	i.Server = authpitest.NewServer(&authpitest.Options{
		ClientID: "c_webapp", ClientSecret: "only for this run",
		RedirectURIs:           []string{appURL + "/auth/callback"},
		PostLogoutRedirectURIs: []string{appURL + "/"},
		AccessTokenLifetime:    tokenLife,
	})
	for _, u := range [][2]string{{"usr_ada", "Ada Lovelace"}, {"usr_mary", "Mary Somerville"}, {"usr_guest", "A guest without organizations"}} {
		i.AddUser(authpitest.User{ID: u[0], Name: u[1], Email: u[0][4:] + "@example.com", EmailVerified: true})
		i.publish(u[0])
	}
	return i
}

// publish puts a user's roles into the tokens to come. The caller holds i.mu.
func (i *issuer) publish(user string) {
	var orgs []authpitest.Organization
	for _, org := range organizations {
		if role := i.roles[user][org]; role != "" {
			orgs = append(orgs, authpitest.Organization{ID: org, Title: role, Scopes: scopesOf[role]})
		}
	}
	i.SetOrganizations(user, orgs...)
}

// membership is a row of the issuer's panel.
type membership struct {
	Org, Role string
	Roles     []string // to choose from
	Pending   bool     // the tokens say something else until they are refreshed
}

// memberships compares the issuer's with the agent's, who may have chosen a single one.
func (i *issuer) memberships(agent *authpi.Agent, chosen string) (rows []membership) {
	titles := map[string]string{}
	for _, o := range agent.Organizations {
		titles[o.ID] = o.Title
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, org := range organizations {
		role := i.roles[agent.ID][org]
		pending := role != titles[org] && (chosen == "" || chosen == org)
		rows = append(rows, membership{org, cmp.Or(role, roles[0]), roles, pending})
	}
	return rows
}

// switchMembership changes a role. The app hears of it with the next refresh.
func (a *app) switchMembership(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	org, role := r.PostFormValue("org"), r.PostFormValue("role")
	a.issuer.mu.Lock()
	defer a.issuer.mu.Unlock()
	mine := a.issuer.roles[agent.ID]
	if mine == nil || !slices.Contains(organizations, org) || !slices.Contains(roles, role) {
		render(w, http.StatusBadRequest, view{Name: "There is no such role", Text: "Please go back and press one of the buttons.", Back: true})
		return
	}
	delete(mine, org)
	if role != roles[0] {
		mine[org] = role
	}
	a.issuer.publish(agent.ID)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// endSessions is the issuer signing a user out everywhere: no refresh token works any
// more, and the app is told by back-channel logout.
func (a *app) endSessions(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	a.issuer.EndSession(agent.ID)
	token := a.issuer.LogoutToken(map[string]any{"sub": agent.ID})
	answer, err := http.PostForm(a.url+"/auth/backchannel-logout", url.Values{"logout_token": {token}})
	if err == nil {
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			err = errors.New("back-channel logout: " + answer.Status)
		}
	}
	if err != nil {
		a.auth.Unavailable(w, r, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
