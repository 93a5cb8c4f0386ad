package projects

import "github.com/authpi/authpi-idp-go/authpitest"

// The clients of [NewIssuer].
const (
	WorkerID     = "c_worker"
	WorkerSecret = "only for trying it out"
	CLIID        = "c_cli"
)

// NewIssuer starts an issuer for trying the examples out: anybody may sign in there
// as anyone. Its machine may read the projects of one organization, its user do all
// in another.
func NewIssuer() *authpitest.Server {
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: WorkerID, ClientSecret: WorkerSecret})
	issuer.AddClient(authpitest.Client{ID: CLIID}) // public, and any redirect URI will do
	issuer.AddUser(authpitest.User{ID: "usr_ada", Name: "Ada", Email: "ada@example.com", EmailVerified: true})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Scopes: []string{"owner", "projects:**"}})
	issuer.SetOrganizations("agt_worker", authpitest.Organization{ID: "org_engines", Scopes: []string{"projects:read"}})
	return issuer
}
