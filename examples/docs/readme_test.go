package docs

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

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

func TestREADME(t *testing.T) {
	t.Parallel()
	readmeAccess(&authpi.Agent{})
	client := newClient(t, authpi.Config{IssuerURL: "https://idp.example", ClientID: "c_1", RedirectURI: "https://app.example/auth/callback"})
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	readmeStore(client, rdb, make([]byte, 32)).Register(http.NewServeMux())
	var cfg authpi.Config
	readmeCoordinator(&cfg, rdb)
	if bearer, err := readmeBearer(client); err != nil || bearer == nil || cfg.Coordinator == nil {
		t.Errorf("got %v, %v and %v", bearer, err, cfg.Coordinator)
	}
}

// What a sign-in costs somebody who is new here, without the pages that it guards.
// examples/readme runs it.
func TestSignInIsShort(t *testing.T) {
	t.Parallel()
	const most = 19
	text := read(t, "../../README.md")
	_, program, _ := strings.Cut(text, "func main() {")
	program, _, found := strings.Cut(program, "func home(")
	if !found {
		t.Fatal("the README shows no sign-in with authpihttp")
	}
	lines := 1 // that of func main
	for line := range strings.Lines(program) {
		if strings.TrimSpace(line) != "" {
			lines++
		}
	}
	if lines > most || !strings.Contains(text, fmt.Sprintf("| %d, below |", most)) {
		t.Errorf("a sign-in takes %d lines; want at most %d, and the README to say so", lines, most)
	}
	for _, part := range []string{"authpi.NewIdpClient(", "authpihttp.New(", "PostLogoutRedirectURI", "app.RequireAgent(", ".RequireAccess(", ".ListenAndServe("} {
		if !strings.Contains(program, part) {
			t.Errorf("a sign-in is not whole without %s", part)
		}
	}
}
