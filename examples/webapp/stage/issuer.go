// Package stage is the issuer that examples/webapp brings along, for trying the app
// out: anybody may sign in as anyone, and change what they are at an organization.
// An app of your own has none of this.
package stage

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// Issuer knows three users and three organizations.
type Issuer struct {
	*authpitest.Server
	appURL string
	mu     sync.Mutex                   // guards roles
	roles  map[string]map[string]string // by user, then organization
}

const nobody = "None" // the role of those who have none

var (
	organizations = []string{"org_engines", "org_observatory", "org_poetry"}
	roles         = []string{nobody, "Reader", "Editor", "Owner"}
	scopesOf      = map[string][]string{"Reader": {"*:read"}, "Editor": {"projects:**", "members:read"}, "Owner": {"owner", "*:**"}}
)

// NewIssuer starts one for the app at appURL.
func NewIssuer(appURL string, tokenLife time.Duration) *Issuer {
	i := &Issuer{appURL: appURL, roles: map[string]map[string]string{
		"usr_ada":   {"org_engines": "Editor", "org_poetry": "Owner"},
		"usr_mary":  {"org_observatory": "Owner", "org_engines": "Reader"},
		"usr_luigi": {},
	}}
	i.Server = authpitest.NewServer(&authpitest.Options{
		ClientID: "c_webapp", ClientSecret: "only for this run",
		RedirectURIs:           []string{appURL + "/auth/callback"},
		PostLogoutRedirectURIs: []string{appURL + "/"},
		AccessTokenLifetime:    tokenLife,
	})
	for _, u := range [][2]string{{"usr_ada", "Ada Lovelace"}, {"usr_mary", "Mary Somerville"}, {"usr_luigi", "Luigi Menabrea"}} {
		i.AddUser(authpitest.User{ID: u[0], Name: u[1], Email: u[0][4:] + "@example.com", EmailVerified: true})
		i.publish(u[0])
	}
	return i
}

// publish puts a user's roles into the tokens to come. The caller holds i.mu.
func (i *Issuer) publish(user string) {
	var orgs []authpitest.Organization
	for _, org := range organizations {
		if role := i.roles[user][org]; role != "" {
			orgs = append(orgs, authpitest.Organization{ID: org, Title: role, Scopes: scopesOf[role]})
		}
	}
	i.SetOrganizations(user, orgs...)
}

// Membership is a row of the issuer's panel.
type Membership struct {
	Org, Role string
	Roles     []string // to choose from
	Pending   bool     // the tokens say something else until they are refreshed
}

// Memberships compares the issuer's with the agent's, who may have chosen a single one.
func (i *Issuer) Memberships(agent *authpi.Agent, chosen string) (rows []Membership) {
	titles := map[string]string{}
	for _, o := range agent.Organizations {
		titles[o.ID] = o.Title
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, org := range organizations {
		role := i.roles[agent.ID][org]
		pending := role != titles[org] && (chosen == "" || chosen == org)
		rows = append(rows, Membership{org, cmp.Or(role, nobody), roles, pending})
	}
	return rows
}

// SetRole changes what a user is at an organization, and reports whether there is such
// a role. The app hears of it with the next refresh.
func (i *Issuer) SetRole(user, org, role string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	mine := i.roles[user]
	if mine == nil || !slices.Contains(organizations, org) || !slices.Contains(roles, role) {
		return false
	}
	delete(mine, org)
	if role != nobody {
		mine[org] = role
	}
	i.publish(user)
	return true
}

// SignOutEverywhere ends a user's sessions: no refresh token works any more, and the
// app is told by back-channel logout.
func (i *Issuer) SignOutEverywhere(user string) error {
	i.EndSession(user)
	token := i.LogoutToken(map[string]any{"sub": user})
	answer, err := http.PostForm(i.appURL+"/auth/backchannel-logout", url.Values{"logout_token": {token}})
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("back-channel logout: %s", answer.Status)
	}
	return nil
}
