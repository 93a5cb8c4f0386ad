// Command cli signs a person in on their own machine (RFC 8252), keeps the tokens in
// a file that several processes may share, and tells who is signed in:
//
//	go run ./examples/cli login
//	go run ./examples/cli whoami
//	go run ./examples/cli logout
//
// AUTHPI_ISSUER_URL and AUTHPI_CLIENT_ID name the issuer and a public client: examples/api
// prints those of an issuer to try it with. The redirect URI is
// http://127.0.0.1:PORT/callback with any free port; AUTHPI_CLI_PORT fixes it, for
// issuers that compare it exactly. AUTHPI_CLI_DIR is where the file is kept, if not with
// the user's configuration; AUTHPI_CLI_BROWSER=none opens no browser.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/examples/loopback"
	"github.com/authpi/authpi-idp-go/examples/tokenfile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, strings.Join(os.Args[1:], " "))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cli:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command string) error {
	dir := os.Getenv("AUTHPI_CLI_DIR")
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return err
		}
		dir = filepath.Join(config, "authpi-example")
	}
	file, err := tokenfile.Open(dir, os.Getenv("AUTHPI_ISSUER_URL"), os.Getenv("AUTHPI_CLIENT_ID"))
	if err != nil {
		return err
	}
	switch command {
	case "login":
		return login(ctx, file)
	case "whoami":
		return whoami(ctx, file)
	case "logout":
		return logout(ctx, file)
	}
	return errors.New("usage: cli login | whoami | logout")
}

func newClient(redirectURI string) (*authpi.IdpClient, error) {
	return authpi.NewIdpClient(authpi.Config{
		IssuerURL:   os.Getenv("AUTHPI_ISSUER_URL"),
		ClientID:    os.Getenv("AUTHPI_CLIENT_ID"),
		RedirectURI: redirectURI,
		// A server refreshes ahead of time and goes on if that takes long. This process
		// may end a moment later, and the answer would be lost: wait until it is due.
		RefreshBuffer: -1,
	})
}

// login signs somebody in with the system's browser, which comes back to a listener
// on the loopback interface (RFC 8252 section 7.3). PKCE keeps other programs on this
// machine from using the code.
func login(ctx context.Context, file *tokenfile.File) error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("AUTHPI_CLI_PORT"), "0"))
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	client, err := newClient("http://" + listener.Addr().String() + "/callback")
	if err != nil {
		return err
	}
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email", "profile"}, nil)
	if err != nil {
		return err
	}
	fmt.Printf("Sign in with your browser:\n\n%s\n\n", auth.URL)
	if os.Getenv("AUTHPI_CLI_BROWSER") != "none" {
		loopback.Open(auth.URL)
	}
	callback, err := loopback.Wait(ctx, listener, "/callback", auth.State)
	if err != nil {
		return err
	}
	agent, err := client.ExchangeCallback(ctx, callback, *auth)
	if err != nil {
		return err
	}
	if _, err := file.Swap(ctx, agent.Tokens); err != nil {
		return err
	}
	fmt.Println("You are signed in as", agent.ID)
	return nil
}

func whoami(ctx context.Context, file *tokenfile.File) error {
	client, err := newClient("")
	if err != nil {
		return err
	}
	agent, err := file.Agent(ctx, client)
	if errors.Is(err, authpi.ErrTokenExpired) { // there are no tokens, or none to refresh by
		return errors.New("you are not signed in, run login")
	}
	if authpi.SessionEnded(err) {
		return fmt.Errorf("you are not signed in, run login: %w", err)
	}
	if err != nil {
		return err
	}
	fmt.Println(agent.ID, agent.Email)
	for _, org := range agent.Organizations {
		fmt.Printf("  %s: %s\n", org.ID, cmp.Or(strings.Join(org.Scopes, " "), "nothing"))
	}
	fmt.Println("The access token is good until", agent.ExpiresAt().Local().Format(time.TimeOnly))
	return nil
}

// logout ends the session here even if the issuer cannot be told.
func logout(ctx context.Context, file *tokenfile.File) error {
	client, err := newClient("")
	if err != nil {
		return err
	}
	last, err := file.Swap(ctx, authpi.TokenSet{})
	if err != nil {
		return err
	}
	if last.RefreshToken != "" {
		if err := client.RevokeToken(ctx, last.RefreshToken, "refresh_token"); err != nil {
			return fmt.Errorf("signed out here, but the issuer does not know: %w", err)
		}
	}
	fmt.Println("You are signed out.")
	return nil
}
