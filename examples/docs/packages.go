package docs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// The pieces of the packages' own comments, as they stand there.

func packageClient() (*authpi.IdpClient, error) {
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:    os.Getenv("AUTHPI_ISSUER_URL"), // https://idp.authpi.com/i_...
		ClientID:     os.Getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: os.Getenv("AUTHPI_CLIENT_SECRET"),   // empty for a native app
		RedirectURI:  "https://app.example/auth/callback", // as registered
	})
	return client, err
}

func packageLogin(client *authpi.IdpClient) (*authpi.AuthorizationURL, error) {
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
	return auth, err
}

func packageCallback(ctx context.Context, r *http.Request, client *authpi.IdpClient, auth *authpi.AuthorizationURL) (*authpi.Agent, error) {
	// *auth was kept in the browser's session since the login
	agent, err := client.ExchangeCallback(ctx, r.URL.Query(), *auth)
	return agent, err
}

func packageRequest(ctx context.Context, w io.Writer, client *authpi.IdpClient, tokens authpi.TokenSet, save func(context.Context, authpi.TokenSet) error) error {
	agent, err := client.CreateAgent(ctx, tokens, &authpi.AgentOptions{OnRefresh: save})
	if err == nil && agent.HasAccessIn("org_engines", "write", "projects") {
		_, err = fmt.Fprintln(w, "New project")
	}
	return err
}

func packageIssuer(login func(*authpitest.Server) (authURL string)) (string, error) {
	srv := authpitest.NewServer(nil)
	defer srv.Close()
	srv.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com", EmailVerified: true})
	srv.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Scopes: []string{"projects:**"}})

	authURL := login(srv)
	callback, err := srv.SignIn(authURL, "usr_ada")
	return callback, err
}

func packageRedis(cfg *authpi.Config) authpihttp.Store {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	cfg.Coordinator = authpiredis.NewCoordinator(client, nil)
	store := authpiredis.NewStore(client, nil) // for package authpihttp
	cfg.MachineTokens = store                  // for ClientCredentialsSource
	return store
}
