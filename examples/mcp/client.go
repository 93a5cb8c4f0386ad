package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
)

// connect opens an MCP session, whose requests carry the handler's tokens.
func connect(ctx context.Context, endpoint string, handler auth.OAuthHandler) (*mcp.ClientSession, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "projects-client", Version: "1.0.0"}, nil)
	return client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: endpoint, OAuthHandler: handler}, nil)
}

// person is for an MCP client that somebody holds in their hands. The SDK finds the
// issuer by the server's metadata, and asks for more scope when the server does. open
// sends a browser to a URL and returns the one that it was sent back to.
func person(clientID, redirectURI string, open func(ctx context.Context, url string) (callback string, err error)) (auth.OAuthHandler, error) {
	return auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: clientID},
		RedirectURL:         redirectURI,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			answer, err := open(ctx, args.URL)
			if err != nil {
				return nil, err
			}
			callback, err := authpi.ParseCallback(answer)
			if err != nil {
				return nil, err
			}
			if code := callback.Get("error"); code != "" {
				return nil, fmt.Errorf("the sign-in failed: %q", code)
			}
			return &auth.AuthorizationResult{Code: callback.Get("code"), State: callback.Get("state"), Iss: callback.Get("iss")}, nil
		},
	})
}

// holder is for clients that have a source of tokens already: a machine, by
// [authpi.IdpClient.ClientCredentialsSource], or a web app that calls for the user who
// is signed in there, by [authpi.IdpClient.TokenSource]. Each request of a session
// carries the token of that moment, so sessions outlive tokens.
type holder struct{ source oauth2.TokenSource }

func (h holder) TokenSource(context.Context) (oauth2.TokenSource, error) { return h.source, nil }

// Authorize is called when the server has refused: no other token is to be had.
func (h holder) Authorize(_ context.Context, _ *http.Request, resp *http.Response) error {
	_ = resp.Body.Close()
	return fmt.Errorf("%s: %s", resp.Status, resp.Header.Get("WWW-Authenticate"))
}
