package docs

import (
	"net/http"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// The pieces of the README, as they stand there. They are compiled, and those that
// need no session are run.

func readmeAccess(agent *authpi.Agent) {
	agent.HasAccessIn("org_engines", "write", "projects") // ask this before touching the organization's data
	agent.IsOwnerOf("org_poetry")                         // roles are not scopes: ask for each
	agent.HasAccess("read", "projects")                   // in any organization: for menus only
}

func readmeStore(client *authpi.IdpClient, rdb *redis.Client, key []byte) *authpihttp.App {
	app := authpihttp.New(client, authpiredis.NewStore(rdb, nil), &authpihttp.Options{Keys: [][]byte{key}})
	return app
}

func readmeBearer(client *authpi.IdpClient) (*authpihttp.Bearer, error) {
	bearer, err := authpihttp.NewBearer(client, &authpihttp.BearerOptions{Resource: "https://api.example.com"})
	return bearer, err
}

func readmeCalls(r *http.Request, client *authpi.IdpClient, app *authpihttp.App, agent *authpi.Agent) (any, any) {
	api := client.HTTPClient(agent, app.AgentOptions(r)) // for the user; refreshes when needed
	source := client.ClientCredentialsSource([]string{"projects:read"}, "https://api.example.com")
	return api, source
}

func readmeCoordinator(cfg *authpi.Config, rdb *redis.Client) {
	cfg.Coordinator = authpiredis.NewCoordinator(rdb, nil)
}

func readmeIssuer(authURL string) (string, error) {
	issuer := authpitest.NewServer(nil)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	callback, err := issuer.SignIn(authURL, "usr_ada") // what her browser would do
	return callback, err
}

var _ = []any{readmeBearer, readmeCalls, readmeIssuer}
