package page

import (
	"net/http"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

//page:block A test
//page:fault signIn(t, browser, issuer, url, "usr_ada") =>
//page:fault /orgs/org_engines/ => /orgs/org_poetry/
//page:fault /orgs/org_observatory/ => /orgs/org_engines/

//page:block A test
//page:fault "usr_ada", authpitest.Organization{ => "usr_mary", authpitest.Organization{
//page:fault "projects:**", =>
//page:fault Name: "Ada Lovelace", => Name: "Ada",

func TestMembershipEnds(t *testing.T) {
	issuer := newIssuer(t)
	url := start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), Now: issuer.Now}, newApp)
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")
	//page:block Time
	//page:fault issuer.SetOrganizations("usr_ada") // none =>
	//page:fault issuer.Advance(31 * time.Minute) =>
	//page:fault got != 1 => got != 2

	//page:block Faults
	//page:fault issuer.Inject( => _ = (
	//page:fault issuer.Advance(31 * time.Minute) =>
	//page:fault issuer.ClearFaults() =>
	wantPage(t, browser, url+"/orgs/org_engines/projects", http.StatusForbidden, "")
}

func TestTokens(t *testing.T) {
	issuer := newIssuer(t)
	//page:block APIs and machines
	//page:fault "https://api.example.com" => "https://other.example"
	//page:fault "projects:read" => "projects:write"
	//page:fault map[string]any{"alg": "none"}) => nil)
	client := newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_api"})
	agent, err := client.VerifyAccessToken(t.Context(), token, "https://api.example.com")
	if err != nil || !agent.HasAccessIn("org_engines", "read", "projects") {
		t.Errorf("got %v, %v", agent, err)
	}
	if _, err := client.VerifyAccessToken(t.Context(), forged, ""); err == nil || !strings.Contains(err.Error(), " alg: ") {
		t.Errorf("a token without a signature: %v", err)
	}
}

func newApp(cfg authpi.Config) http.Handler {
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		panic(err)
	}
	app := authpihttp.New(client, nil, nil)
	mux := http.NewServeMux()
	app.Register(mux)
	mayRead := authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") })
	mux.Handle("GET /orgs/{org}/projects", app.RequireAgent(mayRead(http.HandlerFunc(says))))
	return mux
}

// Page runs the page's tests. Her name is what the issuer's page greets her by.
func Page(t *testing.T) {
	t.Run("members", TestOnlyMembersSeeProjects)
	t.Run("membership", TestMembershipEnds)
	t.Run("tokens", TestTokens)
	issuer := newIssuer(t)
	client := newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: "https://app.example/callback"})
	var profile struct{ Name string }
	if err := newAgent(t, client, issuer).Claims(&profile); err != nil || profile.Name != "Ada Lovelace" {
		t.Errorf("got %v, %v", profile, err)
	}
}
