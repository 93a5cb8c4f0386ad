package projects

import "github.com/authpi/authpi-idp-go/authpitest"

// The clients of [NewIssuer].
const (
	WorkerID     = "c_worker"
	WorkerSecret = "only for trying it out"
	CLIID        = "c_cli"
)

// NewIssuer starts an issuer for trying the examples out: anybody may sign in there
// as anyone. Ada may do everything with the projects of an organization, the worker
// read them.
func NewIssuer() *authpitest.Server {
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: WorkerID, ClientSecret: WorkerSecret})
	issuer.AddClient(authpitest.Client{ID: CLIID}) // public, and any redirect URI will do
	issuer.AddUser(authpitest.User{ID: "usr_ada", Name: "Ada Lovelace", Email: "ada@example.com", EmailVerified: true})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**", "members:read"}})
	issuer.SetOrganizations("agt_worker", authpitest.Organization{ID: "org_engines", Title: "Reader", Scopes: []string{"projects:read"}})
	return issuer
}
