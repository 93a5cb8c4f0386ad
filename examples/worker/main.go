// Command worker calls examples/api, as itself and for a user.
//
//	go run ./examples/worker
//
// It starts the API and an issuer within itself, unless AUTHPI_ISSUER_URL,
// AUTHPI_CLIENT_ID and AUTHPI_CLIENT_SECRET name a real issuer and API_URL the API.
// ORG is the organization that it asks about, org_engines where it is not set. A user
// signs in only at the issuer of its own: see examples/cli for the other way.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/api/projects"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, getenv func(string) string) error {
	cfg := authpi.Config{
		IssuerURL:    getenv("AUTHPI_ISSUER_URL"),
		ClientID:     getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: getenv("AUTHPI_CLIENT_SECRET"),
		RedirectURI:  "http://127.0.0.1/callback", // of the user, whom the issuer of our own signs in
	}
	apiURL := getenv("API_URL")
	var issuer *authpitest.Server
	if cfg.IssuerURL == "" && cfg.ClientID == "" {
		issuer = projects.NewIssuer()
		defer issuer.Close()
		cfg.IssuerURL, cfg.ClientID, cfg.ClientSecret = issuer.URL, issuer.ClientID(), issuer.ClientSecret()
		api := httptest.NewUnstartedServer(nil)
		apiURL = "http://" + api.Listener.Addr().String()
		handler, err := projects.NewHandler(issuer.URL, issuer.ClientID(), apiURL)
		if err != nil {
			return err
		}
		api.Config.Handler = handler
		api.Start()
		defer api.Close()
	}
	if apiURL == "" {
		return errors.New("API_URL is not set")
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		return err
	}
	w := &worker{out: out, apiURL: apiURL, orgURL: apiURL + "/orgs/" + cmp.Or(getenv("ORG"), "org_engines") + "/projects"}
	if err := w.asMachine(ctx, client, apiURL); err != nil || issuer == nil {
		return err
	}
	return w.asUser(ctx, client, issuer)
}

type worker struct {
	out            io.Writer
	apiURL, orgURL string
}

// asMachine signs in with the client's own secret. The source is made once and
// shared; it asks for a new token shortly before the old one expires.
func (w *worker) asMachine(ctx context.Context, client *authpi.IdpClient, apiURL string) error {
	source := client.ClientCredentialsSource([]string{"projects:read"}, apiURL) // https://api.example.com
	api := oauth2.NewClient(ctx, source)
	api.Timeout = 30 * time.Second
	// oauth2's client would show the token to wherever the API redirects.
	api.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return w.tour(ctx, api)
}

// asUser acts for somebody who has signed in and whose tokens are kept.
func (w *worker) asUser(ctx context.Context, client *authpi.IdpClient, issuer *authpitest.Server) error {
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"},
		&authpi.AuthorizationOptions{Resources: []string{w.apiURL}})
	if err != nil {
		return err
	}
	answer, err := issuer.SignIn(auth.URL, "usr_ada") // as a browser would
	if err != nil {
		return err
	}
	callback, err := authpi.ParseCallback(answer)
	if err != nil {
		return err
	}
	agent, err := client.ExchangeCallback(ctx, callback, *auth)
	if err != nil {
		return err
	}
	stored := agent.Tokens // where a real worker has a database
	api := client.HTTPClient(agent, &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			stored = tokens // this program makes one request at a time, so no lock
			return nil
		},
	})
	api.Timeout = 30 * time.Second
	return errors.Join(w.tour(ctx, api), client.RevokeToken(ctx, stored.RefreshToken, "refresh_token"))
}

// tour makes the same requests whoever the client signs for.
func (w *worker) tour(ctx context.Context, api *http.Client) error {
	return errors.Join(
		w.call(ctx, api, http.MethodGet, w.apiURL+"/me", ""),
		w.call(ctx, api, http.MethodPost, w.orgURL, `{"name": "difference engine"}`),
		w.call(ctx, api, http.MethodGet, w.orgURL, ""),
	)
}

func (w *worker) call(ctx context.Context, api *http.Client, method, url, body string) error {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := api.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var said json.RawMessage
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&said); err != nil {
		return fmt.Errorf("%s %s: %s: %w", method, url, resp.Status, err)
	}
	_, _ = fmt.Fprintf(w.out, "%-4s %s\n     %s %s\n", method, strings.TrimPrefix(url, w.apiURL), resp.Status, said)
	return nil
}
