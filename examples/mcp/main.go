// Command mcp is an MCP server whose tools are allowed per organization, and its callers:
// a person's MCP client, which finds the issuer by itself, and a machine.
//
//	go run ./examples/mcp
//
// plays all of it, with an issuer of its own. With AUTHPI_ISSUER_URL and
// AUTHPI_CLIENT_ID it serves instead, for MCP clients of yours, at MCP_URL: by default
// http://127.0.0.1:8082/mcp, where ADDR is 127.0.0.1:8082.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mcp:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, getenv func(string) string) error {
	issuerURL, clientID := getenv("AUTHPI_ISSUER_URL"), getenv("AUTHPI_CLIENT_ID")
	if issuerURL == "" && clientID == "" {
		return play(ctx, out)
	}
	listener, err := net.Listen("tcp", cmp.Or(getenv("ADDR"), "127.0.0.1:8082"))
	if err != nil {
		return err
	}
	endpoint := cmp.Or(getenv("MCP_URL"), "http://"+listener.Addr().String()+"/mcp")
	server, err := newHTTPServer(issuerURL, clientID, endpoint)
	if err != nil {
		_ = listener.Close()
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	_, _ = fmt.Fprintln(out, "The MCP server is at", endpoint)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newHTTPServer(issuerURL, clientID, endpoint string) (*http.Server, error) {
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuerURL, ClientID: clientID})
	if err != nil {
		return nil, err
	}
	handler, err := newHandler(client, issuerURL, endpoint)
	if err != nil {
		return nil, err
	}
	return &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, nil
}

// play runs the server, and calls it as a person and as a machine.
func play(ctx context.Context, out io.Writer) error {
	issuer := newIssuer()
	defer issuer.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	endpoint := "http://" + listener.Addr().String() + "/mcp"
	server, err := newHTTPServer(issuer.URL, "c_mcp", endpoint)
	if err != nil {
		return err
	}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()

	ada, err := person("c_cli", "http://127.0.0.1:8765/callback", func(_ context.Context, url string) (string, error) {
		_, _ = fmt.Fprintln(out, "  (somebody signs in)")
		return issuer.SignIn(url, "usr_ada") // where a browser would open
	})
	if err != nil {
		return err
	}
	worker, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), ClientSecret: issuer.ClientSecret()})
	if err != nil {
		return err
	}
	machine := holder{worker.ClientCredentialsSource([]string{"projects:read", "projects:write"}, endpoint)}
	return errors.Join(tour(ctx, out, "A person", endpoint, ada), tour(ctx, out, "A machine", endpoint, machine))
}

// newIssuer knows Ada, an Editor of one organization, and a machine that may read there.
func newIssuer() *authpitest.Server {
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_worker", ClientSecret: "only for this run"})
	issuer.AddClient(authpitest.Client{ID: "c_cli", Name: "An MCP client"}) // public
	issuer.AddUser(authpitest.User{ID: "usr_ada", Name: "Ada Lovelace", Email: "ada@example.com", EmailVerified: true})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**", "members:read"}})
	issuer.SetOrganizations("agt_worker", authpitest.Organization{ID: "org_engines", Title: "Reader", Scopes: []string{"projects:read"}})
	return issuer
}

// tour calls the same tools whoever holds the tokens.
func tour(ctx context.Context, out io.Writer, who, endpoint string, handler auth.OAuthHandler) error {
	_, _ = fmt.Fprintln(out, who)
	session, err := connect(ctx, endpoint, handler)
	if err != nil {
		return err
	}
	defer session.Close()
	for _, call := range []struct {
		tool string
		args map[string]any
	}{
		{"who_am_i", map[string]any{}},
		{"list_projects", map[string]any{"organization": "org_engines"}},
		{"create_project", map[string]any{"organization": "org_engines", "name": "difference engine"}},
		{"create_project", map[string]any{"organization": "org_observatory", "name": "telescope"}},
	} {
		result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: call.tool, Arguments: call.args})
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "  %s %v: %s\n", call.tool, call.args, text(result))
	}
	return nil
}

// text is what a model would read.
func text(result *mcp.CallToolResult) string {
	said := ""
	for _, content := range result.Content {
		if c, ok := content.(*mcp.TextContent); ok {
			said += c.Text
		}
	}
	return said
}
